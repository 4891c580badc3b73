"""Watchers over a database in memory, and sinks that record what a client would be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostraka.checkers.watch import Event, Pair, Request, Response, Watch
from ostraka.database import commands as c
from ostraka.database.topics import interval_of
from ostraka.database.watch import Batch, Bounds, View, Watcher, Watchers
from ostraka.model.machine import Change

from .driving import Driver
from .tables import DictTable


def pair_of(pair: Any) -> Pair | None:
    """As the checker knows it."""
    if pair is None:
        return None
    return Pair(pair.key, pair.value, pair.create_revision, pair.mod_revision, pair.version, pair.lease)


def event_of(change: Change, with_previous: bool = True) -> Event:
    """As the checker knows it."""
    old = pair_of(change.old) if with_previous else None
    return Event(change.revision, change.key, pair_of(change.new), old)


class Recorded(Watcher):
    """A watch with what it was told."""

    def __init__(self, request: Request, revision: int, sink: Recorder) -> None:
        view = View(request.puts, request.deletions, request.prev_kv)
        super().__init__(interval_of(request.key, request.range_end), view, request.start, revision, sink)
        self.record = Watch(request, [Response(revision, created=True)])


class Recorder:
    """A sink with room for so many deliveries."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.deliveries = 0
        self.batches: list[Batch] = []

    @property
    def full(self) -> bool:
        return self.room <= 0

    def deliver(self, watcher: Watcher, batch: Batch) -> int | None:
        assert isinstance(watcher, Recorded), watcher
        if self.full:
            return None
        events = tuple(event_of(change, watcher.view.prev_kv) for change in watcher.view.of(batch.changes))
        if events:
            self.room -= 1
            self.deliveries += 1
            self.batches.append(batch)
            watcher.record.responses.append(Response(batch.revision, events))
        return 100 * len(events)

    def compacted(self, watcher: Watcher, revision: int) -> None:
        assert isinstance(watcher, Recorded), watcher
        watcher.record.responses.append(Response(0, canceled=True, compact_revision=revision))


class Watched(Driver):
    """A database whose changes are watched."""

    def __init__(self, rows: int = 5, held: int = 64 << 20, piece: int = 1 << 20) -> None:
        super().__init__(DictTable())
        self.rows = rows  # Read from the history in one piece.
        self.bounds = Bounds(turn=100, held=held, piece=piece)
        self.watchers = Watchers(self, self.revision, self.bounds)
        self.asleep = False  # What happens is not told: another state will take the place of ours.

    @property
    def revision(self) -> int:
        return int(self.database.read(c.Inspect(), self.table).revision)

    def submit(self, *requests: Any) -> list[Any]:
        before = len(self.changes)
        replies = super().submit(*requests)
        if not self.asleep:
            self.watchers.changed(self.changes[before:])
        return replies

    def wake(self) -> None:
        self.asleep = False
        self.watchers.jumped(self.revision)

    def past(self, first: int) -> c.Past:
        found: c.Past = self.database.read(c.History(first, self.rows, self.bounds.piece), self.table)
        return found

    def previous(self, key: bytes, revision: int) -> c.KeyValue | None:
        found = self.database.read(c.Range(key, revision=revision - 1), self.table)
        return found.kvs[0] if isinstance(found, c.RangeDone) and found.kvs else None

    def watch(self, request: Request, sink: Recorder | None = None) -> Recorded:
        watcher = Recorded(request, self.watchers.revision, sink or Recorder())
        self.watchers.add(watcher)
        return watcher

    def settle(self) -> None:
        """Until there is nothing left to tell."""
        while self.watchers.turn():
            pass

    def turn(self, budget: int) -> bool:
        """One turn of the watchers, with so much to do."""
        self.watchers._bounds = msgspec.structs.replace(self.bounds, turn=budget)
        more = self.watchers.turn()
        self.watchers._bounds = self.bounds
        return more

    @property
    def history(self) -> list[Event]:
        return [event_of(change) for change in self.changes]


def told(watcher: Recorded) -> Sequence[Event]:
    """All events, in their order."""
    return [event for response in watcher.record.responses for event in response.events]
