"""Leases: keys that go when their owner no longer says that it lives.

Follows:  Gray and Cheriton, SOSP '89, "Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache
          Consistency"; etcd's Lease service for what can be asked, and how it is answered.
Words:    a lease's deadline is the cluster time at which it runs out; to renew it moves the deadline to one TTL from
          now; one whose deadline has passed is due until it is revoked.
Departs:  etcd's leader keeps renewals in its memory, and a new one must guess. Here a renewal is a command, many of
          them in one, and the deadline is replicated state: a change of leader changes no deadline. Time is that of the
          entry, so `expire` decides by the log alone whether a lease is due, whoever says so and however late.
Evidence: tests/database/test_lease.py, tests/simulation/test_locks.py; docs/decisions/0007-leases.md has the argument.

Rows: `l` and the lease's id hold a `Lease`; `k`, the id and a key say that the key is attached to it. The latter follow
from the history, and need no digest of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import msgspec

from ostraka.database import failures
from ostraka.database.commands import Failure, LeaseId
from ostraka.database.digest import Tracked
from ostraka.model.ids import SECOND, ClusterTime
from ostraka.model.machine import Table

LONGEST_TTL = 9_000_000_000
"""Seconds: etcd's bound. With it a deadline in nanoseconds stays below 2^63."""

LOOKS = 1000
"""So many places are looked at in one go, a microsecond each, when it is asked what is due."""

_encode = msgspec.msgpack.Encoder().encode


class Lease(msgspec.Struct, array_like=True, gc=False):
    """The row `l`."""

    ttl: int  # Seconds.
    deadline: ClusterTime


_decode: Callable[[bytes], Lease] = msgspec.msgpack.Decoder(Lease).decode


class Count(msgspec.Struct, frozen=True, gc=False):
    """A query: what has been done with leases? Answer: `Counts`."""


class Counts(msgspec.Struct, frozen=True, gc=False):
    """How many leases there are, and what happened here since the state was last loaded."""

    leases: int
    granted: int
    renewed: int
    revoked: int


def row_key(lease: LeaseId) -> bytes:
    return b"l" + lease.to_bytes(8, "big", signed=True)


def _attachments(lease: LeaseId) -> bytes:
    return b"k" + lease.to_bytes(8, "big", signed=True)


# ---- What keys have to do with leases --------------------------------------------------------------------------------


def exists(table: Table, lease: LeaseId) -> bool:
    """Whether it was granted, and not revoked since."""
    return table.get(row_key(lease)) is not None


def move(table: Table, key: bytes, old: LeaseId, new: LeaseId) -> None:
    """The key was attached to one lease, and is to the other from now on; 0 is none."""
    if old:
        table.delete(_attachments(old) + key)
    if new:
        table.put(_attachments(new) + key, b"")


def attached(table: Table, lease: LeaseId) -> list[bytes]:
    """The keys that go with this lease, in their order."""
    start = _attachments(lease)
    end = b"k" + (int.from_bytes(start[1:], "big") + 1).to_bytes(9, "big")[1:] if start[1:] < b"\xff" * 8 else b"l"
    return [key[len(start) :] for key, _ in table.scan(start, end)]


# ---- The leases themselves -------------------------------------------------------------------------------------------


class Leases:
    """All leases, in memory as in the table. What it costs to load them grows with their number, not with the keys'."""

    def __init__(self, table: Tracked) -> None:
        self._table = table
        self._by_id: dict[LeaseId, Lease] = {
            int.from_bytes(key[1:], "big", signed=True): _decode(row) for key, row in table.scan(b"l", b"m")
        }
        self.granted = self.renewed = self.revoked = 0  # So often by this instance: for who measures.
        # When each is due at the earliest. A renewal leaves its place here as it is: whoever finds it looks again.
        self._heap: list[tuple[ClusterTime, LeaseId]] = []
        self._rebuild()

    def __len__(self) -> int:
        return len(self._by_id)

    def grant(self, lease: LeaseId, ttl: int, now: ClusterTime) -> Lease | Failure:
        """A new lease, at least a second long."""
        if lease == 0:
            return failures.LEASE_NOT_FOUND
        if ttl > LONGEST_TTL:
            return failures.LEASE_TTL_TOO_LARGE
        if lease in self._by_id:
            return failures.LEASE_EXISTS
        ttl = max(ttl, 1)
        granted = self._by_id[lease] = Lease(ttl, now + ttl * SECOND)
        self._table.put(row_key(lease), _encode(granted))
        self.granted += 1
        if len(self._heap) > 2 * len(self._by_id) + 100:
            self._rebuild()  # Most of what is in it was revoked before its time.
        else:
            heapq.heappush(self._heap, (granted.deadline, lease))
        return granted

    def renew(self, lease: LeaseId, now: ClusterTime) -> int:
        """Move the deadline to one TTL from now: the TTL, or 0 if there is no such lease.

        One that is due lives on, too: nothing of it is gone yet.
        """
        known = self._by_id.get(lease)
        if known is None:
            return 0
        known.deadline = now + known.ttl * SECOND
        self._table.put(row_key(lease), _encode(known))
        self.renewed += 1
        return known.ttl

    def get(self, lease: LeaseId) -> Lease | None:
        return self._by_id.get(lease)

    def remove(self, lease: LeaseId) -> None:
        """Its keys are gone, and now so is it."""
        del self._by_id[lease]
        self._table.delete(row_key(lease))
        self.revoked += 1

    def is_due(self, lease: LeaseId, now: ClusterTime) -> bool:
        """Whether it exists, and its deadline has come."""
        known = self._by_id.get(lease)
        return known is not None and known.deadline <= now

    def due(self, now: ClusterTime, most: int) -> tuple[tuple[LeaseId, ...], bool]:
        """So many leases whose deadline has come, the earliest first, and whether there may be more."""
        heap, by_id = self._heap, self._by_id
        found: dict[LeaseId, ClusterTime] = {}
        looks = LOOKS
        while heap and heap[0][0] <= now and len(found) < most and looks:
            looks -= 1
            _, lease = heapq.heappop(heap)
            known = by_id.get(lease)
            if known is None or lease in found:
                continue  # Revoked; or granted again since, and so it has two places.
            if known.deadline <= now:
                found[lease] = known.deadline
            else:
                heapq.heappush(heap, (known.deadline, lease))
        more = bool(heap) and heap[0][0] <= now
        for lease, deadline in found.items():
            heapq.heappush(heap, (deadline, lease))  # Until it is gone, for it may be asked for again.
        return tuple(sorted(found, key=lambda lease: (found[lease], lease))), more

    def in_order(self) -> tuple[LeaseId, ...]:
        """All of them, the one with the earliest deadline first."""
        return tuple(sorted(self._by_id, key=lambda lease: (self._by_id[lease].deadline, lease)))

    def _rebuild(self) -> None:
        self._heap = [(known.deadline, lease) for lease, known in self._by_id.items()]
        heapq.heapify(self._heap)
