"""Random commands of all kinds, over few keys and small numbers, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ostraka.database.commands import (
    Compact,
    Compare,
    DeleteRange,
    LeaseExpire,
    LeaseGrant,
    LeaseRenew,
    LeaseRevoke,
    LeaseTimeToLive,
    Put,
    Range,
    Sweep,
    Txn,
)

some_key = st.sampled_from([b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"\xff"])
value = st.sampled_from([b"", b"1", b"2", b"\0"])
revision = st.just(0) | st.integers(-2, 16)
small = st.integers(-1, 4)
lease = st.sampled_from([1, 1, 2, -1])
puts = (
    st.builds(
        Put,
        some_key,
        value,
        st.sampled_from([0, 0, 0, 1, 2, -1]),
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
some_leases = st.lists(lease, max_size=3).map(tuple)
grants = st.builds(LeaseGrant, lease, st.sampled_from([-1, 1, 2, 2, 3, 8]))
leases = (
    grants
    | grants
    | st.builds(LeaseGrant, st.integers(0, 1), st.sampled_from([5, 9_000_000_000, 9_000_000_001]))
    | st.builds(LeaseRevoke, lease)
    | st.builds(LeaseRenew, some_leases)
    | st.builds(LeaseExpire, some_leases)
    | st.just(LeaseExpire((2, 1, -1)))
    | st.builds(LeaseTimeToLive, lease, st.booleans())
    | st.builds(Put, st.sampled_from([b"a", b"ab", b"b"]), value, lease, st.booleans())
)

# Within a transaction most keys are given, or hardly one of them would get as far as to be executed.
given_key = st.sampled_from([b"a", b"a\0", b"ab", b"b", b"c", b"\xff"])
mild_puts = st.builds(Put, given_key, value, prev_kv=st.booleans(), ignore_lease=st.booleans())
mild_puts |= st.builds(Put, given_key, value, st.sampled_from([0, 0, 1, 2]), st.booleans())
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
one_within = transactions(mild).map(lambda txn: (txn,))
nested |= st.builds(Txn, st.lists(compares, max_size=1).map(tuple), one_within, one_within)  # Taken either way.
txns = transactions(mild) | nested | transactions(st.recursive(wild, transactions, max_leaves=6))
some_lease_command = leases.map(lambda command: command)  # One choice among others, not as many as it has itself.
old_ranges = st.builds(Range, given_key, st.just(b""), st.just(0), st.integers(1, 3))  # Compacted, if anything is.
commands = puts | puts | deletes | ranges | old_ranges | txns | txns | compacts | st.just(Sweep()) | some_lease_command

# Few leases, which live long enough to get keys, and then do not live long.
lease = st.sampled_from([1, 2])
leased_puts = st.builds(Put, given_key, value, st.sampled_from([0, 1, 1, 1, 2, 2]), ignore_lease=st.just(False))
about_leases = (
    st.builds(LeaseGrant, lease, st.sampled_from([3, 5, 9]))
    | st.builds(LeaseGrant, lease, st.sampled_from([3, 5, 9]))
    | leased_puts
    | leased_puts
    | leased_puts
    | mild_puts
    | mild_deletes
    | st.just(LeaseExpire((2, 1)))
    | st.builds(LeaseRenew, some_leases)
    | st.sampled_from([LeaseRevoke(1), LeaseTimeToLive(1, True), LeaseTimeToLive(2, True)])
    | transactions(leased_puts | mild).map(lambda command: command)
)
