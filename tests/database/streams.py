"""Random commands of all kinds, over few keys and small numbers, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ostraka.database.commands import Compact, Compare, DeleteRange, Put, Range, Sweep, Txn

some_key = st.sampled_from([b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"\xff"])
value = st.sampled_from([b"", b"1", b"2", b"\0"])
revision = st.just(0) | st.integers(-2, 16)
small = st.integers(-1, 4)
puts = (
    st.builds(
        Put,
        some_key,
        value,
        st.sampled_from([0, 0, 0, 0, 1, -1]),
        st.booleans(),
        *[st.sampled_from([False] * 4 + [True])] * 2,
    )
    | st.builds(Put, some_key, value, prev_kv=st.booleans(), ignore_lease=st.booleans())
    | st.builds(Put, st.just(b"a"), value, st.integers(0, 1), ignore_lease=st.just(True))
)
deletes = st.builds(DeleteRange, some_key, st.just(b"") | some_key, st.booleans())
bound = st.just(0) | revision
ranges = st.builds(
    Range, some_key, some_key, small, revision, st.integers(0, 3), small, st.booleans(), st.booleans(), *[bound] * 4
) | st.builds(Range, some_key, some_key, st.integers(0, 3), st.integers(0, 12), st.integers(0, 2), st.integers(0, 4))
compacts = st.builds(Compact, revision)

# Within a transaction most keys are given, or hardly one of them would get as far as to be executed.
given_key = st.sampled_from([b"a", b"a\0", b"ab", b"b", b"c", b"\xff"])
mild_puts = st.builds(Put, given_key, value, prev_kv=st.booleans(), ignore_lease=st.booleans())
mild_deletes = st.builds(DeleteRange, given_key, st.sampled_from([b"", b"", b"b", b"\0"]), st.booleans())
mild_ranges = st.builds(Range, given_key, st.sampled_from([b"", b"b", b"\0"]), st.just(0), st.just(0) | revision)
compares = st.builds(
    Compare,
    given_key,
    st.sampled_from([b"", b"", b"b", b"\0"]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.integers(0, 6),
    value,
)


def transactions(operations: Any) -> Any:
    lists = st.lists(operations, max_size=4).map(tuple)
    return st.builds(Txn, st.lists(compares, max_size=2).map(tuple), lists, lists)


mild = mild_puts | mild_puts | mild_deletes | mild_ranges
wild = mild | puts | ranges | st.none()
nested = transactions(mild | transactions(mild | mild | transactions(mild)))
txns = transactions(mild) | nested | transactions(st.recursive(wild, transactions, max_leaves=6))
commands = puts | puts | deletes | ranges | txns | txns | compacts | st.just(Sweep())
