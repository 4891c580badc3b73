"""The database as a few dicts and lists, written to be obviously right: all states are kept whole.

It judges the machine in tests and every simulated run (`simulation.replay`), and shares nothing with it but the names
of commands.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from ostraka.database.commands import (
    Compact,
    CompactDone,
    Compare,
    DeleteDone,
    DeleteRange,
    Failure,
    KeyValue,
    LeaseExpire,
    LeaseExpired,
    LeaseGrant,
    LeaseGranted,
    LeaseLife,
    LeaseRenew,
    LeaseRenewed,
    LeaseRevoke,
    LeaseRevoked,
    LeaseTimeToLive,
    Put,
    PutDone,
    Range,
    RangeDone,
    Txn,
    TxnDone,
)
from ostraka.model.ids import SECOND, ClusterTime

State = dict[bytes, KeyValue]
COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE = "etcdserver: mvcc: required revision is a future revision"
NO_KEY = "etcdserver: key is not provided"
NOT_FOUND = "etcdserver: key not found"
NO_LEASE = "etcdserver: requested lease not found"
LEASE_EXISTS = "etcdserver: lease already exists"
LONG_TTL = "etcdserver: too large lease TTL"
DUPLICATE = "etcdserver: duplicate key given in txn request"


class Reference:
    """`states[r]` is the whole store at revision r. Answers are plain tuples; an error is its text."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {1: {}}
        self.revision = 1  # Of the last state.
        self.events: list[tuple[int, bytes, KeyValue | None, KeyValue | None]] = []
        self.compacted = -1
        self.now: ClusterTime = 0  # When a command comes.
        self.leases: dict[int, tuple[int, ClusterTime]] = {}  # The TTL in seconds, and when it is due.
        self.work: State = {}  # The state that a command makes of the last one,
        self.done: list[Any] = []  # and the events by which.

    def as_of(self, revision: int, compacted: int) -> Reference:
        """As it was then. To be asked only what changes nothing."""
        then = copy.copy(self)
        then.revision, then.compacted = revision, compacted
        return then

    @property
    def next(self) -> int:
        """Of the state that is being made: as yet the last one, if nothing has changed."""
        return self.revision + (1 if self.done else 0)

    def execute(self, command: Any) -> Any:
        self.work, self.done = dict(self.states[self.revision]), []
        if isinstance(command, Compact):
            return self.compact(command)
        if isinstance(command, LeaseGrant | LeaseRevoke | LeaseRenew | LeaseExpire | LeaseTimeToLive):
            return self.lease(command)
        error = malformed(command)
        if error is None:
            error = self.refuse_txn(command) if isinstance(command, Txn) else self.refuse(command)
        if error is not None:
            return error
        answer = self.run(command, self.decide(command) if isinstance(command, Txn) else None)
        if self.done:
            self.become(self.work)
            self.events += self.done
        return answer

    def become(self, state: State) -> None:
        self.revision += 1
        self.states[self.revision] = state

    def compact(self, ask: Compact) -> Any:
        if ask.revision <= self.compacted:
            return COMPACTED
        if ask.revision > self.revision:
            return FUTURE
        self.compacted = ask.revision
        return ("compact", self.revision)

    def lease(self, ask: Any) -> Any:
        match ask:
            case LeaseGrant():
                if ask.id == 0:
                    return NO_LEASE
                if ask.ttl > 9_000_000_000:
                    return LONG_TTL
                if ask.id in self.leases:
                    return LEASE_EXISTS
                ttl = max(ask.ttl, 1)
                self.leases[ask.id] = (ttl, self.now + ttl * SECOND)
                return ("granted", self.revision, ttl)
            case LeaseRevoke():
                if ask.id not in self.leases:
                    return NO_LEASE
                self.end(ask.id)
                return ("revoked", self.revision)
            case LeaseRenew():
                ttls = tuple(self.leases[each][0] if each in self.leases else 0 for each in ask.ids)
                for each in set(ask.ids) & set(self.leases):
                    self.leases[each] = (self.leases[each][0], self.now + self.leases[each][0] * SECOND)
                return ("renewed", self.revision, ttls)
            case LeaseExpire():
                known = [each for each in dict.fromkeys(ask.ids) if each in self.leases]
                due = [each for each in known if self.leases[each][1] <= self.now]
                for each in due:
                    self.end(each)
                return ("expired", self.revision, tuple(due))
            case _:
                if ask.id not in self.leases:
                    return ("life", self.revision, -1, 0, ())
                ttl, end = self.leases[ask.id]
                keys = tuple(sorted(key for key, pair in self.work.items() if pair.lease == ask.id and ask.keys))
                return ("life", self.revision, max(end - self.now, 0) // SECOND, ttl, keys)

    def end(self, lease: int) -> None:
        del self.leases[lease]
        state, revision = dict(self.states[self.revision]), self.revision + 1
        gone = [state.pop(key) for key in sorted(state) if state[key].lease == lease]
        if gone:
            self.become(state)
            self.events += [(revision, pair.key, pair, None) for pair in gone]

    # What is wrong with a command in the present state.

    def refuse(self, ask: Any) -> str | None:
        match ask:
            case Put() if ask.lease != 0 and ask.lease not in self.leases:
                return NO_LEASE
            case Put() if (ask.ignore_value or ask.ignore_lease) and ask.key not in self.work:
                return NOT_FOUND
            case Range() if ask.revision > self.revision:
                return FUTURE
            case Range() if 0 < ask.revision < self.compacted:
                return COMPACTED
        return None

    def refuse_txn(self, txn: Txn) -> str | None:
        if duplicate(list(places(txn.success, ()))) or duplicate(list(places(txn.failure, ()))):
            return DUPLICATE
        way = list(on_the_way(txn, self.decide(txn)))
        for number, ask in enumerate(way):
            if isinstance(ask, Put):
                before = [d for d in way[:number] if isinstance(d, DeleteRange) and d.range_end == b"\0"]
                there = ask.key in self.work and not any(ask.key >= d.key for d in before)
                if (ask.ignore_value or ask.ignore_lease) and not there:
                    return NOT_FOUND
                if ask.lease != 0 and ask.lease not in self.leases:
                    return NO_LEASE
        for ask in way:
            if isinstance(ask, Range) and ask.revision != 0:
                if ask.revision > self.revision:
                    return FUTURE
                if ask.revision < self.compacted:
                    return COMPACTED
        return None

    # Which way a transaction goes: for it and, in their order, for those in the branch it takes, a (bool, ways).

    def decide(self, txn: Txn) -> Any:
        succeeded = all(self.holds(compare) for compare in txn.compares)
        chosen = txn.success if succeeded else txn.failure
        return succeeded, [self.decide(ask) if isinstance(ask, Txn) else None for ask in chosen]

    def holds(self, compare: Compare) -> bool:
        pairs = [pair for key, pair in self.work.items() if within(key, compare.key, compare.range_end)]
        if not pairs and compare.target == 3:
            return False
        for pair in pairs or [KeyValue(b"", 0, 0, 0, b"", 0)]:
            found: Any = (pair.version, pair.create_revision, pair.mod_revision, pair.value, pair.lease)[compare.target]
            given: Any = compare.value if compare.target == 3 else compare.number
            if not (found == given, found > given, found < given, found != given)[compare.relation]:
                return False
        return True

    # Doing it.

    def run(self, ask: Any, way: Any) -> Any:
        match ask:
            case Put():
                return self.put(ask)
            case DeleteRange():
                return self.delete_range(ask)
            case Range():
                return self.range(ask)
            case _:
                chosen = ask.success if way[0] else ask.failure
                answers = tuple(self.run(each, deeper) for each, deeper in zip(chosen, way[1], strict=True))
                return ("txn", self.next, way[0], answers)

    def put(self, ask: Put) -> Any:
        old, revision = self.work.get(ask.key), self.revision + 1
        created, version = (revision, 0) if old is None else (old.create_revision, old.version)
        value = old.value if ask.ignore_value and old is not None else ask.value
        lease = old.lease if ask.ignore_lease and old is not None else ask.lease
        new = KeyValue(ask.key, created, revision, version + 1, value, lease)
        self.work[ask.key] = new
        self.done.append((revision, ask.key, old, new))
        return ("put", revision, old if ask.prev_kv else None)

    def delete_range(self, ask: DeleteRange) -> Any:
        gone = [self.work[key] for key in sorted(self.work) if within(key, ask.key, ask.range_end)]
        for pair in gone:
            del self.work[pair.key]
            self.done.append((self.revision + 1, pair.key, pair, None))
        return ("delete", self.next, len(gone), tuple(gone) if ask.prev_kv else ())

    def range(self, ask: Range) -> Any:
        state = self.states[ask.revision] if ask.revision > 0 else self.work
        found = [state[key] for key in sorted(state) if within(key, ask.key, ask.range_end)]
        count = len(found)
        if ask.count_only:
            return ("range", self.next, (), False, count)
        bounds = (ask.min_mod_revision, ask.max_mod_revision, ask.min_create_revision, ask.max_create_revision)
        if ask.sort_order == 0 and not any(bounds) and ask.limit > 0:
            found = found[: ask.limit + 1]  # etcd cuts here already, and sorts what is left.
        if ask.min_mod_revision:
            found = [pair for pair in found if pair.mod_revision >= ask.min_mod_revision]
        if ask.max_mod_revision:
            found = [pair for pair in found if pair.mod_revision <= ask.max_mod_revision]
        if ask.min_create_revision:
            found = [pair for pair in found if pair.create_revision >= ask.min_create_revision]
        if ask.max_create_revision:
            found = [pair for pair in found if pair.create_revision <= ask.max_create_revision]
        names = ("key", "version", "create_revision", "mod_revision", "value")
        if ask.sort_order != 0 or ask.sort_target != 0:
            found.sort(key=lambda pair: getattr(pair, names[ask.sort_target]), reverse=ask.sort_order == 2)
        more = ask.limit > 0 and len(found) > ask.limit
        if more:
            found = found[: ask.limit]
        if ask.keys_only:
            found = [KeyValue(p.key, p.create_revision, p.mod_revision, p.version, b"", p.lease) for p in found]
        return ("range", self.next, tuple(found), more, count)


def malformed(ask: Any) -> str | None:
    """What is wrong with a command, whatever the state."""
    match ask:
        case None:
            return NOT_FOUND
        case Txn():
            for compare in ask.compares:
                if compare.key == b"":
                    return NO_KEY
            for operation in ask.success + ask.failure:
                error = malformed(operation)
                if error is not None:
                    return error
        case _ if ask.key == b"":
            return NO_KEY
        case Put() if ask.ignore_value and ask.value != b"":
            return "etcdserver: value is provided"
        case Put() if ask.ignore_lease and ask.lease != 0:
            return "etcdserver: lease is provided"
        case Range() if ask.sort_order not in (0, 1, 2) or ask.sort_target not in (0, 1, 2, 3, 4):
            return "etcdserver: invalid sort option"
    return None


def places(operations: Any, before: tuple[int, ...]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Each operation with its place: position in a list, branch of the transaction there, position in that, …"""
    for position, operation in enumerate(operations):
        place = (*before, position)
        if isinstance(operation, Txn):
            yield from places(operation.success, (*place, 1))
            yield from places(operation.failure, (*place, 0))
        else:
            yield operation, place


def duplicate(operations: list[tuple[Any, tuple[int, ...]]]) -> bool:
    """Two operations of which etcd says that they name the same key, pair by pair."""
    for (one, here), (other, there) in combinations(operations, 2):
        fork = next(at for at in range(len(here)) if here[at] != there[at])
        if fork % 2 == 1:
            continue  # Two branches of one transaction: only one of them comes to pass.
        if isinstance(one, Put) and isinstance(other, Put) and one.key == other.key:
            return True
        for put, delete, deleted_first in ((one, other, False), (other, one, True)):
            if isinstance(put, Put) and isinstance(delete, DeleteRange):
                both_nested = len(here) > fork + 1 and len(there) > fork + 1
                names = put.key == delete.key if delete.range_end == b"" else delete.key <= put.key < delete.range_end
                if names and (deleted_first or not both_nested):
                    return True
    return False


def on_the_way(txn: Txn, way: Any) -> Iterator[Any]:
    """The operations that will be done, in their order."""
    for operation, deeper in zip(txn.success if way[0] else txn.failure, way[1], strict=True):
        if isinstance(operation, Txn):
            yield from on_the_way(operation, deeper)
        else:
            yield operation


def within(key: bytes, start: bytes, range_end: bytes) -> bool:
    if range_end == b"":
        return key == start
    if range_end == b"\0":
        return key >= start
    return start <= key < range_end


def plain(reply: Any) -> Any:
    """A reply of the machine as the reference would give it."""
    match reply:
        case Failure():
            return reply.message
        case PutDone():
            return ("put", reply.revision, reply.previous)
        case DeleteDone():
            return ("delete", reply.revision, reply.deleted, reply.previous)
        case RangeDone():
            return ("range", reply.revision, reply.kvs, reply.more, reply.count)
        case TxnDone():
            return ("txn", reply.revision, reply.succeeded, tuple(map(plain, reply.responses)))
        case CompactDone():
            return ("compact", reply.revision)
        case LeaseGranted():
            return ("granted", reply.revision, reply.ttl)
        case LeaseRevoked():
            return ("revoked", reply.revision)
        case LeaseRenewed():
            return ("renewed", reply.revision, reply.ttls)
        case LeaseExpired():
            return ("expired", reply.revision, reply.expired)
        case LeaseLife():
            return ("life", reply.revision, reply.remaining, reply.granted, reply.keys)
    return reply
