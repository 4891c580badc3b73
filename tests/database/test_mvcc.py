"""Revisions and ranges: each line that is easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.database import mvcc
from ostraka.database.commands import (
    AddMember,
    ClusterVersion,
    Code,
    DeleteRange,
    Failure,
    Found,
    KeyValue,
    LeaseExpire,
    LeaseGrant,
    LeaseRenew,
    LeaseTimeToLive,
    Put,
    Range,
    RegisterSession,
    encode,
)
from ostraka.model.requests import Request
from ostraka.simulation.reference import Reference, plain

from .driving import Driver
from .tables import DictTable

ALL = {"key": b"\0", "range_end": b"\0"}


@pytest.fixture
def store() -> Driver:
    return Driver(DictTable())


def put(store: Driver, *pairs: tuple[bytes, bytes]) -> None:
    for key, value in pairs:
        assert not isinstance(reply := store.do(Put(key, value)), Failure), reply


def keys(answer: Any) -> list[bytes]:
    return [pair.key for pair in answer.kvs]


def test_an_empty_store_is_at_revision_1_and_the_first_write_makes_it_2(store: Driver) -> None:
    assert plain(store.read(**ALL)) == ("range", 1, (), False, 0)
    assert store.do(Put(b"a", b"1")).revision == 2
    assert store.do(Put(b"a", b"1")).revision == 3, "a put of the same value is a change"


def test_what_changes_nothing_makes_no_revision(store: Driver) -> None:
    put(store, (b"a", b"1"))
    assert store.do(DeleteRange(b"z")).revision == 2
    assert store.do(Put(b"")).code == Code.INVALID_ARGUMENT
    assert store.do(Range(b"a")).revision == 2
    assert store.read(key=b"a").revision == 2


def test_leases_sessions_and_members_make_no_revision(store: Driver) -> None:
    put(store, (b"a", b"1"))
    for command in (
        LeaseGrant(1, 60),
        LeaseRenew((1,)),
        LeaseExpire((1,)),
        LeaseTimeToLive(1),
        RegisterSession(7),
        Found(((5, ("http://e:2380",)),)),
        AddMember(6, ("http://f:2380",), False),
        ClusterVersion(1),
    ):
        assert not isinstance(store.do(command), Failure), command
        assert store.read(key=b"a").revision == 2, command
    assert store.do(Put(b"a", lease=1)).revision == 3


def test_a_key_made_anew_begins_anew(store: Driver) -> None:
    put(store, (b"a", b"1"), (b"a", b"2"))
    assert store.read(key=b"a").kvs == (KeyValue(b"a", 2, 3, 2, b"2"),)
    assert store.do(DeleteRange(b"a", prev_kv=True)).previous == (KeyValue(b"a", 2, 3, 2, b"2"),)
    put(store, (b"a", b"3"))
    assert store.read(key=b"a").kvs == (KeyValue(b"a", 5, 5, 1, b"3"),)
    tombstone = next(mvcc.history(store.table, 4))
    assert tombstone == KeyValue(b"a", 0, 4, 0, b""), "a deletion has only its key and its revision"


def test_a_deleted_range_is_one_revision_in_the_order_of_keys(store: Driver) -> None:
    put(store, (b"b", b""), (b"a", b""), (b"c", b""))
    assert plain(store.do(DeleteRange(b"a", b"c"))) == ("delete", 5, 2, ())
    assert [(change.revision, change.key, change.new) for change in store.changes[3:]] == [
        (5, b"a", None),
        (5, b"b", None),
    ]


def test_the_header_shows_the_current_revision_even_when_reading_an_old_one(store: Driver) -> None:
    put(store, (b"a", b"1"), (b"a", b"2"))
    answer = store.read(key=b"a", revision=2)
    assert answer.revision == 3 and answer.kvs[0].value == b"1"


def test_a_negative_revision_is_the_current_one_and_a_future_one_is_refused(store: Driver) -> None:
    put(store, (b"a", b"1"), (b"a", b"2"))
    assert store.read(key=b"a", revision=-7).kvs[0].value == b"2"
    assert store.read(key=b"a", revision=3).kvs[0].value == b"2"
    assert store.read(key=b"a", revision=4) == Failure(
        Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"
    )


def test_the_compacted_revision_itself_can_be_read_and_those_below_it_not(store: Driver) -> None:
    put(store, (b"a", b"1"), (b"a", b"2"), (b"a", b"3"))
    at = mvcc.read(store.table, Range(b"a", revision=3), 4, 3)
    assert not isinstance(at, Failure) and at.kvs[0].value == b"2"
    assert mvcc.read(store.table, Range(b"a", revision=2), 4, 3) == Failure(
        Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
    )


def test_an_end_of_one_zero_byte_is_open_and_an_end_before_the_start_is_empty(store: Driver) -> None:
    put(store, (b"a", b""), (b"b", b""), (b"\xff\xff", b""))
    for revision in (0, 4):
        assert keys(store.read(key=b"b", range_end=b"\0", revision=revision)) == [b"b", b"\xff\xff"]
        assert keys(store.read(key=b"b", range_end=b"a", revision=revision)) == []
    put(store, (b"z", b""))
    assert keys(store.read(key=b"b", range_end=b"\0", revision=4)) == [b"b", b"\xff\xff"]
    assert keys(store.read(key=b"b", range_end=b"a", revision=4)) == []


def test_keys_of_any_bytes_keep_their_order_and_apart_in_the_past(store: Driver) -> None:
    """A key, the key with a zero byte after it, and one that looks like an escape."""
    odd = [b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\0", b"a\0\xff", b"a\x01", b"a\xff", b"b", b"\xff"]
    put(store, *[(key, b"old") for key in reversed(odd)])
    put(store, *[(key, b"new") for key in odd])
    answer = store.read(**ALL, revision=12)
    assert keys(answer) == sorted(odd) and {pair.value for pair in answer.kvs} == {b"old"}
    for key in odd:
        assert keys(store.read(key=key, revision=12)) == [key]
        assert keys(store.read(key=key, range_end=key + b"\0", revision=12)) == [key]
    assert sorted(odd, key=mvcc.escaped) == sorted(odd)


def test_count_ignores_limit_and_filters_and_more_tells_of_the_limit_only(store: Driver) -> None:
    put(store, (b"a", b""), (b"b", b""), (b"c", b""), (b"d", b""))
    limited = store.read(**ALL, limit=2)
    assert (keys(limited), limited.more, limited.count) == ([b"a", b"b"], True, 4)
    filtered = store.read(**ALL, min_mod_revision=4)
    assert (keys(filtered), filtered.more, filtered.count) == ([b"c", b"d"], False, 4)
    both = store.read(**ALL, limit=1, max_create_revision=3)
    assert (keys(both), both.more, both.count) == ([b"a"], True, 4)
    assert plain(store.read(**ALL, count_only=True, limit=1)) == ("range", 5, (), False, 4)
    exact = store.read(**ALL, limit=4)
    assert (len(exact.kvs), exact.more) == (4, False)


def test_without_an_order_the_limit_cuts_before_the_sorting_and_with_one_after_it(store: Driver) -> None:
    """Three are read for a limit of two; of these the two with the least values stay."""
    put(store, (b"a", b"4"), (b"b", b"3"), (b"c", b"2"), (b"d", b"1"))
    assert keys(store.read(**ALL, sort_target=4, limit=2)) == [b"c", b"b"]
    assert keys(store.read(**ALL, sort_target=4, sort_order=1, limit=2)) == [b"d", b"c"]
    assert keys(store.read(**ALL, sort_target=4, limit=2, min_mod_revision=1)) == [b"d", b"c"]
    assert keys(store.read(**ALL, sort_order=2, limit=2)) == [b"d", b"c"]


@pytest.mark.parametrize("options", [{"sort_order": 3}, {"sort_order": -1}, {"sort_target": 5}])
def test_an_unknown_order_is_refused(store: Driver, options: dict[str, int]) -> None:
    refused = Failure(Code.INVALID_ARGUMENT, "etcdserver: invalid sort option")
    assert store.read(**ALL, **options) == refused


def test_keys_only_leaves_out_the_values(store: Driver) -> None:
    put(store, (b"a", b"1"))
    assert store.read(key=b"a", keys_only=True).kvs == (KeyValue(b"a", 2, 2, 1, b""),)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (Put(b""), 3, "etcdserver: key is not provided"),
        (DeleteRange(b"", b"\0"), 3, "etcdserver: key is not provided"),
        (Put(b"a", b"v", ignore_value=True), 3, "etcdserver: value is provided"),
        (Put(b"a", b"v", lease=1, ignore_lease=True), 3, "etcdserver: lease is provided"),
        (Put(b"none", ignore_value=True), 3, "etcdserver: key not found"),
        (Put(b"none", b"v", ignore_lease=True), 3, "etcdserver: key not found"),
        (Put(b"a", b"v", lease=1), 5, "etcdserver: requested lease not found"),
    ],
)
def test_a_refused_write_has_etcds_words_and_leaves_nothing(
    store: Driver, command: Put, code: int, message: str
) -> None:
    put(store, (b"a", b"1"))
    before = dict(store.table.rows)
    assert store.do(command) == Failure(code, message)
    assert store.table.rows == before and len(store.changes) == 1


def test_what_is_ignored_stays(store: Driver) -> None:
    put(store, (b"a", b"1"))
    assert store.do(Put(b"a", ignore_value=True, prev_kv=True)).previous == KeyValue(b"a", 2, 2, 1, b"1")
    assert store.read(key=b"a").kvs == (KeyValue(b"a", 2, 3, 2, b"1"),)
    store.do(Put(b"a", b"2", ignore_lease=True))
    assert store.read(key=b"a").kvs == (KeyValue(b"a", 2, 4, 3, b"2"),)


def test_all_commands_of_an_entry_see_those_before_them(store: Driver) -> None:
    asked = [Put(b"a", b"1"), Range(b"a"), Put(b"a", b"2", prev_kv=True), DeleteRange(b"a"), Range(b"a", revision=3)]
    reference = Reference()
    replies = store.submit(*[Request(encode(command)) for command in asked])
    assert [plain(reply) for reply in replies] == [reference.execute(command) for command in asked]
