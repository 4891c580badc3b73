"""Compaction: what is forgotten, what stays, and that the work is done in bounded steps."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.database import commands as c
from ostraka.database import failures, machine, mvcc
from ostraka.database.commands import Compact, DeleteRange, Put, Range, Sweep, Txn
from ostraka.database.digest import digest_of
from ostraka.database.machine import Database
from ostraka.model.requests import Entry, Request

from .driving import Driver
from .tables import DictTable


@pytest.fixture
def store() -> Driver:
    return Driver(DictTable())


def put(store: Driver, *keys: bytes) -> None:
    for key in keys:
        store.do(Put(key, b"%d" % store.index))


def history(store: Driver) -> list[tuple[int, bytes]]:
    return [(change.mod_revision, change.key) for change in mvcc.history(store.table, 0)]


def finish(store: Driver) -> None:
    while store.do(Sweep()).left:
        pass


def test_it_answers_with_the_current_revision_and_makes_none(store: Driver) -> None:
    put(store, b"a", b"a", b"a")
    assert store.do(Compact(2)) == c.CompactDone(4)
    assert store.do(Put(b"a")).revision == 5


def test_what_is_compacted_already_and_what_is_to_come_are_refused(store: Driver) -> None:
    """An empty store can be compacted at 0, as in etcd, and then at 1."""
    assert store.do(Compact(-1)) == failures.COMPACTED
    assert store.do(Compact(2)) == failures.FUTURE_REVISION
    assert store.do(Compact(0)) == c.CompactDone(1)
    assert store.do(Compact(0)) == failures.COMPACTED
    assert store.do(Compact(1)) == c.CompactDone(1)
    put(store, b"a", b"a", b"a")
    assert store.do(Compact(3)) == c.CompactDone(4)
    for revision in (1, 2, 3, 0, -5):
        assert store.do(Compact(revision)) == failures.COMPACTED
    assert store.do(Compact(5)) == failures.FUTURE_REVISION
    assert store.database.read(c.Inspect(), store.table).compact_revision == 3


def test_the_newest_version_of_each_key_that_lives_stays(store: Driver) -> None:
    """Revisions: a 2, b 3, a 4, b deleted 5, c 6, a 7."""
    put(store, b"a", b"b", b"a")
    store.do(DeleteRange(b"b"))
    put(store, b"c", b"a")
    store.do(Compact(6))
    assert history(store) == [(4, b"a"), (6, b"c"), (7, b"a")]
    at = store.read(key=b"\0", range_end=b"\0", revision=6)
    assert [(pair.key, pair.mod_revision) for pair in at.kvs] == [(b"a", 4), (b"c", 6)]
    assert store.read(key=b"\0", range_end=b"\0", revision=5) == failures.COMPACTED
    assert [pair.mod_revision for pair in store.read(key=b"\0", range_end=b"\0").kvs] == [7, 6]


def test_the_revision_itself_stays_whole_until_the_next_compaction(store: Driver) -> None:
    """A watch may begin there, and has to be told of the deletion."""
    put(store, b"a", b"b")
    store.do(Txn((), (Put(b"b", b"x"), DeleteRange(b"a"))))
    store.do(Compact(4))
    assert history(store) == [(4, b"b"), (4, b"a")]
    assert store.read(key=b"a", revision=4).kvs == ()
    put(store, b"c")
    store.do(Compact(5))
    assert history(store) == [(4, b"b"), (5, b"c")]


def test_what_was_undone_within_the_revision_itself_stays_too(store: Driver) -> None:
    put(store, b"z")
    store.do(Txn((), (Txn((), (Put(b"a"),)), Txn((), (DeleteRange(b"a"),)))))
    store.do(Compact(3))
    assert history(store) == [(2, b"z"), (3, b"a"), (3, b"a")]
    put(store, b"z")
    store.do(Compact(4))
    assert history(store) == [(4, b"z")]


def test_one_that_is_overtaken_in_the_midst_of_its_revision_leaves_nothing(
    store: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept for its own sake has to be looked at again."""
    put(store, *[b"%d" % number for number in range(9)])
    store.do(DeleteRange(b"0", b"\0"))
    monkeypatch.setattr(machine, "SWEPT_BY_ENTRY", 7)
    store.do(Compact(11))
    store.do(Put(b"z"))
    assert len(history(store)) == 4 + 9 + 1, "the cursor stands among the deletions: four have still to be looked at"
    store.do(Compact(12))
    finish(store)
    assert history(store) == [(12, b"z")]


def test_a_digest_that_never_counted_a_change_does_not_miss_it(store: Driver) -> None:
    put(store, b"a", b"a")
    store.database.digest(store.table)
    put(store, b"a", b"a", b"b")
    store.do(Compact(6))
    assert len(history(store)) == 2, "one that was counted is gone, and two that were not"
    assert store.database.digest(store.table) == digest_of(store.table)


def test_a_key_that_lives_again_is_not_forgotten_with_its_former_life(store: Driver) -> None:
    put(store, b"a")
    store.do(DeleteRange(b"a"))
    put(store, b"a", b"z")
    store.do(Compact(3))
    store.do(Compact(5))
    assert history(store) == [(4, b"a"), (5, b"z")]
    assert store.read(key=b"a", revision=5).kvs[0].create_revision == 4


def test_keys_that_begin_alike_are_not_taken_for_one_another(store: Driver) -> None:
    odd = [b"a", b"a\0", b"a\0\xff", b"a\0\0", b"a\x01"]
    put(store, *odd, *odd)
    store.do(Compact(store.do(Range(b"a")).revision))
    finish(store)
    assert sorted(key for _, key in history(store)) == sorted(odd)
    for key in odd:
        assert store.read(key=key, revision=11).kvs[0].version == 2


def rows(store: Driver) -> int:
    return sum(key.startswith(b"h") for key in store.table.rows)


@pytest.fixture
def long(store: Driver, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A hundred versions, forgotten in steps of ten."""
    monkeypatch.setattr(machine, "SWEPT_BY_ENTRY", 10)
    monkeypatch.setattr(machine, "SWEPT_ON_DEMAND", 30)
    put(store, *[b"k%d" % (number % 3) for number in range(100)])
    return store


def test_one_entry_removes_a_bounded_number_of_rows_and_reads_are_refused_at_once(long: Driver) -> None:
    long.do(Compact(101))
    assert 90 <= rows(long) < 100
    assert long.read(key=b"k0", revision=100) == failures.COMPACTED
    left = rows(long)
    for _ in range(11):
        long.index += 1
        long.database.apply(Entry(long.index, 1, 0), long.table)
        assert left - 10 <= rows(long)
        left = rows(long)
    assert left == 3, "any entries go on with it, and there is an end"
    assert long.do(Sweep()) == c.SweepDone(101, False)


def test_who_waits_for_it_has_it_done_in_larger_steps(long: Driver) -> None:
    long.do(Compact(101))
    answers = [long.do(Sweep()) for _ in range(4)]
    assert [answer.left for answer in answers] == [True, True, False, False]
    assert rows(long) == 3


def test_an_earlier_one_that_is_still_under_way_is_overtaken(long: Driver) -> None:
    long.do(Compact(50))
    long.do(Compact(60))
    put(long, b"k0")
    long.do(Compact(102))
    finish(long)
    assert history(long) == [(99, b"k1"), (100, b"k2"), (102, b"k0")]


def run(payloads: list[bytes], restarts: bool, digests: int) -> Any:
    table = DictTable()
    driver = Driver(table)
    replies = []
    for number, payload in enumerate(payloads):
        if restarts and number % 3 == 0:
            driver.database = Database(table)
        replies += driver.submit(Request(payload))
        if digests and number % digests == 0:
            assert driver.database.digest(table) == digest_of(table), f"after request {number}"
    return replies, table.rows


def test_neither_restarts_nor_digests_in_between_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sweep goes on is in the table, and a digest follows what is removed, counted before or not."""
    monkeypatch.setattr(machine, "SWEPT_BY_ENTRY", 2)
    said: list[c.Command] = []
    for number in range(120):
        said.append(Put(b"k%d" % (number % 4), b"%d" % number))
        if number % 7 == 0:
            said.append(DeleteRange(b"k%d" % (number % 3)))
        if number % 20 == 19:
            said.append(Compact(number - 3))
    payloads = [c.encode(command) for command in said]
    plainly = run(payloads, False, 0)
    assert run(payloads, True, 0) == plainly
    for every in (1, 5, 17):
        assert run(payloads, False, every) == plainly


def test_a_key_made_and_deleted_many_times_leaves_nothing(store: Driver) -> None:
    for _ in range(50):
        put(store, b"lock")
        store.do(DeleteRange(b"lock"))
    put(store, b"other")
    store.do(Compact(102))
    finish(store)
    assert history(store) == [(102, b"other")]
    assert not [key for key in store.table.rows if key.startswith(b"vlock")]


def test_a_restart_after_all_is_compacted_keeps_the_revision(store: Driver) -> None:
    """No key is left: a store that counted on from its keys would go back."""
    put(store, b"a", b"b")
    store.do(DeleteRange(b"a", b"c"))
    revision = store.do(Compact(4)).revision
    store.do(Put(b"c"))
    store.do(DeleteRange(b"c"))
    store.do(Compact(6))
    finish(store)
    assert revision == 4 and not list(store.table.scan(b"c", b"d"))
    again = DictTable(store.table.rows)
    overview = Database(again).read(c.Inspect(), again)
    assert (overview.revision, overview.compact_revision) == (6, 6)
