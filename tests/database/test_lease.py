"""Leases: what goes with them, when, and who decides it."""

from __future__ import annotations

import pytest

from ostraka.database import commands as c
from ostraka.database import failures, lease
from ostraka.database.digest import Tracked
from ostraka.database.lease import Leases
from ostraka.database.machine import Database
from ostraka.model.ids import SECOND

from .driving import Driver
from .tables import DictTable

LIMITS = (1, 2**63 - 1, -1, -(2**63))


def store_with(*ids: int, ttl: int = 10) -> Driver:
    """A store with these leases, and a key `k1` and so on for each, attached to it."""
    store = Driver(DictTable())
    for number, each in enumerate(ids, 1):
        assert store.do(c.LeaseGrant(each, ttl)) == c.LeaseGranted(number, ttl)
        store.do(c.Put(b"k%d" % number, b"v", each))
    store.changes.clear()
    return store


def keys(store: Driver) -> list[bytes]:
    return [pair.key for pair in store.read(key=b"\0", range_end=b"\0").kvs]


@pytest.mark.parametrize("each", LIMITS)
def test_all_its_keys_go_in_one_revision_and_in_their_order(each: int) -> None:
    store = store_with(5)
    store.do(c.LeaseGrant(each, 10))
    for key in (b"z", b"a\0", b"a", b"\xff"):
        store.do(c.Put(key, b"v", each))
    store.changes.clear()
    assert store.do(c.LeaseRevoke(each)) == c.LeaseRevoked(7)
    assert [(change.revision, change.key) for change in store.changes] == [
        (7, b"a"), (7, b"a\0"), (7, b"z"), (7, b"\xff"),
    ]  # fmt: skip
    assert [(change.old.lease, change.new) for change in store.changes] == [(each, None)] * 4
    assert keys(store) == [b"k1"]
    assert store.do(c.LeaseRevoke(each)) == failures.LEASE_NOT_FOUND


def test_without_keys_no_revision_is_spent() -> None:
    store = Driver(DictTable())
    store.do(c.LeaseGrant(1, 10))
    assert store.do(c.LeaseRevoke(1)) == c.LeaseRevoked(1)
    assert not store.changes and store.do(c.Put(b"k")).revision == 2


def test_a_put_attaches_moves_and_detaches() -> None:
    store = store_with(1, 2)
    store.do(c.Put(b"k1", b"v", 2))
    assert store.do(c.LeaseTimeToLive(1, keys=True)).keys == ()
    assert store.do(c.LeaseTimeToLive(2, keys=True)).keys == (b"k1", b"k2")
    store.do(c.Put(b"k2", b"v"))
    store.do(c.Put(b"k1", b"w", ignore_lease=True))
    assert store.do(c.LeaseTimeToLive(2, keys=True)).keys == (b"k1",)
    store.do(c.LeaseRevoke(2))
    assert keys(store) == [b"k2"]


def test_a_deleted_key_is_detached_and_a_new_one_of_its_name_is_not_attached() -> None:
    store = store_with(1)
    store.do(c.DeleteRange(b"k1"))
    store.do(c.Put(b"k1", b"new"))
    assert store.do(c.LeaseTimeToLive(1, keys=True)).keys == ()
    store.do(c.LeaseRevoke(1))
    assert keys(store) == [b"k1"]


def test_a_transaction_with_a_lease_that_is_not_there_changes_nothing() -> None:
    store = store_with(1)
    bad = c.Txn((), (c.Put(b"new", b"v", 1), c.Txn((), (c.Put(b"other", b"v", 9),))))
    assert store.do(bad) == failures.LEASE_NOT_FOUND
    assert keys(store) == [b"k1"] and not store.changes
    store.do(c.Txn((), (c.Put(b"new", b"v", 1), c.DeleteRange(b"k1"))))
    assert store.do(c.LeaseTimeToLive(1, keys=True)).keys == (b"new",)


def test_what_is_granted_is_bounded_and_unique() -> None:
    store = store_with(1)
    assert store.do(c.LeaseGrant(1, 10)) == failures.LEASE_EXISTS
    assert store.do(c.LeaseGrant(0, 10)) == failures.LEASE_NOT_FOUND
    assert store.do(c.LeaseGrant(2, 9_000_000_001)) == failures.LEASE_TTL_TOO_LARGE
    assert store.do(c.LeaseGrant(2, 9_000_000_000)) == c.LeaseGranted(2, 9_000_000_000)
    assert store.do(c.LeaseGrant(3, -7)) == c.LeaseGranted(2, 1)


def test_an_expiry_is_void_before_the_deadline_and_after_a_renewal() -> None:
    """Whoever proposes it, and however late it comes: the entry's own time decides."""
    store = store_with(1)
    store.now = 10 * SECOND - 1
    assert store.do(c.LeaseExpire((1,))) == c.LeaseExpired(2, ())
    assert store.do(c.LeaseRenew((1, 9))) == c.LeaseRenewed(2, (10, 0))
    store.now = 20 * SECOND - 2
    assert store.do(c.LeaseExpire((1, 9))) == c.LeaseExpired(2, ())
    store.now += 1
    assert store.do(c.LeaseExpire((1, 1))) == c.LeaseExpired(3, (1,))
    assert not keys(store)


def test_a_lease_that_is_due_and_not_gone_lives_on_when_renewed() -> None:
    store = store_with(1)
    store.now = 60 * SECOND
    assert store.do(c.LeaseTimeToLive(1)) == c.LeaseLife(2, 0, 10)
    assert store.do(c.LeaseRenew((1,))) == c.LeaseRenewed(2, (10,))
    assert store.do(c.LeaseExpire((1,))).expired == ()
    assert store.do(c.LeaseTimeToLive(1)) == c.LeaseLife(2, 10, 10)


def test_each_expired_lease_has_a_revision_of_its_own() -> None:
    store = store_with(1, 2, 3)
    store.now = 10 * SECOND
    assert store.do(c.LeaseExpire((3, 1))) == c.LeaseExpired(6, (3, 1))
    assert [(change.revision, change.key) for change in store.changes] == [(5, b"k3"), (6, b"k1")]


def test_the_life_that_is_left_is_told_in_whole_seconds() -> None:
    store = store_with(1)
    assert store.do(c.LeaseTimeToLive(2)) == c.LeaseLife(2, -1)
    store.now = 1
    assert store.do(c.LeaseTimeToLive(1)) == c.LeaseLife(2, 9, 10)


def test_another_machine_finds_all_leases_in_the_table() -> None:
    store = store_with(*LIMITS)
    store.now = 3 * SECOND
    store.do(c.LeaseRenew((1,)))
    store.database = Database(store.table)
    listed = store.database.read(c.ListLeases(), store.table)
    assert listed == c.LeaseList(5, (-(2**63), -1, 2**63 - 1, 1))
    store.now = 10 * SECOND
    due = store.database.read(c.DueLeases(store.now, 99), store.table)
    assert due == c.Due((-(2**63), -1, 2**63 - 1), False, 4)


def test_what_is_due_is_told_the_earliest_first_and_again_until_it_is_gone() -> None:
    leases = Leases(Tracked(DictTable()))
    for each in (1, 2, 3):
        leases.grant(each, 10 - each, 0)
    assert leases.due(7 * SECOND - 1, 9) == ((), False)
    assert leases.due(8 * SECOND, 9) == leases.due(8 * SECOND, 9) == ((3, 2), False)
    assert leases.due(9 * SECOND, 1) == ((3,), True)
    leases.remove(3)
    leases.renew(2, 8 * SECOND)
    assert leases.due(9 * SECOND, 9) == ((1,), False)
    leases.grant(3, 1, 0)  # Its old place is still there.
    assert leases.due(9 * SECOND, 9) == ((3, 1), False)


def test_one_look_at_what_is_due_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOKS", 2)
    leases = Leases(Tracked(DictTable()))
    for each in range(1, 6):
        leases.grant(each, 1, 0)
        leases.renew(each, 5 * SECOND)
    asked = [leases.due(SECOND, 9) for _ in range(3)]
    assert asked == [((), True), ((), True), ((), False)]


def test_leases_that_come_and_go_leave_nothing_behind() -> None:
    leases = Leases(Tracked(DictTable()))
    for each in range(1, 1000):
        leases.grant(each, 60, each)
        leases.remove(each)
    assert len(leases._heap) < 150


def test_what_is_done_with_leases_is_counted() -> None:
    store = store_with(1, 2)
    store.do(c.LeaseRenew((1, 2, 9)))
    store.do(c.LeaseRevoke(2))
    assert store.database.read(lease.Count(), store.table) == lease.Counts(1, 2, 2, 1)
