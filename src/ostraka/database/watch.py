"""Who is told which changes, and how far each has been told.

Follows:  etcd's guarantees of a watch: ordered, unique, reliable, atomic, resumable, bookmarkable.
Words:    a *watcher* is one watch, and its *sink* is the client's stream, which carries many. A *topic* is a range with
          all its watchers that are up to date. A watcher is *behind* while what it has to be told must be read from the
          history, and *parked* while its sink has no room. A *round* tells everybody all that happened up to one
          revision, its *level*.
Departs:  etcd sends a response for each revision, and keeps what a full channel did not take. Here what happens during
          a round is joined to one response in the next, so the more there is to tell, the less each change costs; and
          who is slow is told from the history again, so nothing waits for it. Progress is announced between rounds,
          when all who are up to date have been told the same.
Evidence: tests/database/test_watch.py, tests/simulation/test_watches.py (judged by checkers.watch).

`Watcher.next` is the only truth about a watcher: it has been told whatever is below, and nothing else. It only grows,
by whole revisions; so there is neither a gap nor a double, whichever way a watcher takes between topic and history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

import msgspec

from ostraka.database.commands import KeyValue, Past
from ostraka.database.topics import Index, Interval, Topic
from ostraka.model.machine import Change


class Bounds(msgspec.Struct, frozen=True):
    """How much is done at once, and how much may wait."""

    turn: int = 256  # Deliveries of one turn, a few microseconds each.
    rows: int = 500  # Changes that are read from the history in one piece,
    piece: int = 256 << 10  # or bytes of them; and bytes of one response, unless a single revision has more.
    room: int = 1 << 20  # Bytes that wait for a stream's client before it is told no more for now.
    held: int = 64 << 20  # Bytes of changes that wait for the next round; beyond it the history is read.


_revision = attrgetter("revision")


class View(NamedTuple):
    """What a watcher is told of the changes in its range."""

    puts: bool = True
    deletions: bool = True
    prev_kv: bool = False

    def of(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Those that it is told."""
        if self.puts and self.deletions:
            return changes
        return [change for change in changes if (self.deletions if change.new is None else self.puts)]


class Batch:
    """Changes in one range, in whole revisions, which many watchers are told alike."""

    __slots__ = ("changes", "held", "left", "packed", "revision", "topic", "upto")

    def __init__(
        self,
        topic: Topic | None,
        changes: Sequence[Change],
        revision: int,
        upto: int,
        watchers: Iterable[Watcher],
        held: int = 0,
    ) -> None:
        self.topic = topic  # None: read from the history.
        self.changes = changes
        self.revision = revision  # What the sink gives as the store's.
        self.upto = upto  # In the range, these are all changes up to here.
        self.left = iter(watchers)
        self.held = held
        self.packed: dict[View, tuple[bytes, bytes]] = {}  # For the sinks: what each view comes to, made once for all.

    def since(self, revision: int) -> Batch:
        """Without what was before."""
        at = bisect_left(self.changes, revision, key=_revision)
        return Batch(self.topic, self.changes[at:], self.revision, self.upto, ())


class Sink(Protocol):
    """A client's stream."""

    @property
    def full(self) -> bool:
        """There is no room for more. Once there is, `Watchers.resume` must be called."""

    def deliver(self, watcher: Watcher, batch: Batch) -> int | None:
        """Send the batch as the watcher's view shows it, if that leaves anything: how many bytes that were.

        None: there is no room for so much, and nothing was sent. Once there is, `Watchers.resume` must be called.
        """

    def compacted(self, watcher: Watcher, revision: int) -> None:
        """The watcher has ended: what it was to be told next was forgotten by a compaction at this revision."""


class Reader(Protocol):
    """The applied state."""

    def past(self, first: int) -> Past | None:
        """A piece of the changes from this revision on. None: the state can't be read, and nothing goes on."""

    def previous(self, key: bytes, revision: int) -> KeyValue | None:
        """What the key was before this revision; None also if that is forgotten."""


class Watcher:
    """One watch. It is in one place at a time: a topic, behind, parked, or in a batch that was read for it."""

    __slots__ = ("batch", "gone", "interval", "next", "sink", "start", "topic", "view")

    def __init__(self, interval: Interval, view: View, start: int, revision: int, sink: Sink) -> None:
        """`start`: the revision that was asked for, or 0: from now on, where `revision` is the present one."""
        self.interval: Final = interval
        self.view: Final = view
        self.start: Final = start
        self.sink: Final = sink
        self.next = start or revision + 1
        self.topic: Topic | None = None
        self.batch: Batch | None = None
        self.gone = False


class Ask(msgspec.Struct):
    """Somebody wants to know how far all these watchers have been told."""

    watchers: Collection[Watcher]
    sink: Sink
    wanted: int  # At least so far.
    answer: Callable[[int], None]


class Watchers:
    """All watches of one member, over the state that it has applied.

    `changed` and `jumped` tell what happens to the state; `turn` tells it to the watchers, a bounded piece at a time.
    """

    def __init__(self, reader: Reader, revision: int, bounds: Bounds) -> None:
        self.revision = revision  # Of the applied state.
        self.count = 0
        self._reader: Final = reader
        self._bounds: Final = bounds
        self._index = Index()
        self._dirty: dict[Topic, None] = {}  # They have something pending.
        self._behind: dict[int, dict[Watcher, None]] = {}  # By `next`, whose turn it is first.
        self._parked: dict[Sink, dict[Watcher, None]] = {}
        self._round: deque[Batch] = deque()
        self._level = revision
        self.held = 0  # Bytes of changes that wait to be told.
        self._asks: dict[Hashable, Ask] = {}

    @property
    def idle(self) -> bool:
        """A turn would do nothing."""
        return not (self._dirty or self._behind or self._round or self._asks)

    @property
    def slow(self) -> int:
        """How many are behind or parked."""
        return sum(map(len, self._behind.values())) + sum(map(len, self._parked.values()))

    # What clients want.

    def add(self, watcher: Watcher) -> None:
        self.count += 1
        self._place(watcher)

    def remove(self, watcher: Watcher) -> None:
        """It is told nothing more. Does nothing if it has ended already."""
        if watcher.gone:
            return
        watcher.gone = True
        self.count -= 1
        if watcher.topic is not None:
            self._leave(watcher, watcher.topic)
        watcher.batch = None
        cohort = self._behind.get(watcher.next, {})
        if watcher in cohort:
            del cohort[watcher]
            if not cohort:
                del self._behind[watcher.next]
        self._parked.get(watcher.sink, {}).pop(watcher, None)

    def resume(self, sink: Sink) -> None:
        """The sink has room again."""
        for watcher in self._parked.pop(sink, ()):
            self._place(watcher)

    def ask(self, name: Hashable, watchers: Collection[Watcher], sink: Sink, answer: Callable[[int], None]) -> None:
        """Call `answer` with a revision, not below the present one, once all of them have been told all up to it.

        And nothing beyond, and none of them starts after it. Asking again under the same name replaces the question.
        """
        self._asks[name] = Ask(watchers, sink, self.revision, answer)

    def withdraw(self, name: Hashable) -> None:
        """The question under this name is of no interest any more."""
        self._asks.pop(name, None)

    # What happens to the state.

    def changed(self, changes: Sequence[Change]) -> None:
        """These changes, in whole revisions, have just been made."""
        if not self._index:
            if changes:
                self.revision = changes[-1].revision
            return
        topics_of = self._index.of
        for change in changes:
            self.revision = change.revision
            for topic in topics_of(change.key):
                if not topic.pending:
                    self._dirty[topic] = None
                topic.pending.append(change)
                size = _size(change)
                topic.held += size
                self.held += size
                if self.held > self._bounds.held:
                    for watcher in self._disperse(topic):
                        self._place(watcher)

    def jumped(self, revision: int) -> None:
        """Another state, at this revision, has taken the place of ours: what led to it is in its history only."""
        moved = [watcher for topic in list(self._index) for watcher in self._disperse(topic)]
        for batch in self._round:
            moved += [watcher for watcher in batch.left if watcher.batch is batch]
        self._round.clear()
        self.held = 0
        self.revision = revision
        for watcher in moved:
            watcher.batch = None
            self._place(watcher)

    # Telling.

    def turn(self) -> bool:
        """Do a piece of the work. Whether there is more to do."""
        budget = self._bounds.turn
        while budget > 0:
            if not self._round:
                rows = self._begin()
                if rows is None:
                    return False
                budget -= 1 + rows // 2
                if not self._round:
                    self._settle()
                    if not self._behind:
                        return False
                continue
            batch = self._round[0]
            for watcher in batch.left:
                budget -= self._tell(watcher, batch)
                if budget <= 0:
                    break
            else:
                self._round.popleft()
                self._finish(batch)
                if not self._round:
                    self._settle()
        return not self.idle

    def _begin(self) -> int | None:
        """A new round: how many rows it has read, or None if the state can't be read."""
        self._level = level = self.revision
        dirty, self._dirty = self._dirty, {}
        for topic in dirty:
            if topic.pending:
                topic.telling, topic.pending = topic.pending, []
                for part in self._parts(topic.telling):
                    revision = upto = part[-1].revision
                    self._round.append(Batch(topic, part, revision, upto, list(topic.watchers)))
                self._round[-1].upto, self._round[-1].held = level, topic.held
                topic.held = 0
        return self._read_on() if self._behind else 0

    def _parts(self, changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
        """In whole revisions, of which none is much larger than a piece, unless by its last revision."""
        start = size = 0
        for at, change in enumerate(changes):
            if size > self._bounds.piece and change.revision != changes[at - 1].revision:
                yield changes[start:at]
                start, size = at, 0
            size += _size(change)
        yield changes[start:]

    def _finish(self, batch: Batch) -> None:
        if batch.held and batch.topic is not None:
            self.held -= batch.held
            batch.topic.telling = ()

    def _tell(self, watcher: Watcher, batch: Batch) -> int:
        """What it cost."""
        if batch.topic is None:
            if watcher.batch is not batch:
                return 0
        elif watcher.topic is not batch.topic or watcher.next > batch.upto:
            return 0
        first = batch.changes[0].revision
        told = batch if watcher.next <= first else batch.since(watcher.next)
        size = watcher.sink.deliver(watcher, told) if told.changes else 0
        if size is None:
            watcher.next = max(watcher.next, first)
            self._park(watcher)
            return 1
        if not watcher.gone:
            watcher.next = max(watcher.next, batch.upto + 1)
            if batch.topic is None:
                watcher.batch = None
                if watcher.topic is None:
                    self._fall_behind(watcher)
        return 1 + (size >> 12)

    def _settle(self) -> None:
        """A round is over: answer whom it can be answered."""
        level = self._level
        for name, ask in list(self._asks.items()):
            if ask.wanted <= level and not ask.sink.full and all(_is_at(watcher, level) for watcher in ask.watchers):
                self._asks.pop(name, None)
                ask.answer(level)

    # From one place to another.

    def _place(self, watcher: Watcher) -> None:
        if watcher.next > self.revision:
            self._join(watcher)
        else:
            self._fall_behind(watcher)

    def _join(self, watcher: Watcher) -> None:
        watcher.topic = topic = self._index.topic(watcher.interval)
        topic.watchers[watcher] = None

    def _leave(self, watcher: Watcher, topic: Topic) -> None:
        watcher.topic = None
        del topic.watchers[watcher]
        if not topic.watchers:
            self.held -= topic.held
            topic.held, topic.pending = 0, []
            self._index.remove(topic)

    def _fall_behind(self, watcher: Watcher) -> None:
        self._behind.setdefault(watcher.next, {})[watcher] = None

    def _park(self, watcher: Watcher) -> None:
        watcher.batch = None
        if watcher.topic is not None:
            self._leave(watcher, watcher.topic)
        self._parked.setdefault(watcher.sink, {})[watcher] = None

    def _disperse(self, topic: Topic) -> list[Watcher]:
        """Its watchers, who leave it: what they have not been told by it they will be told from the history."""
        watchers = list(topic.watchers)
        for watcher in watchers:
            if watcher.batch is None:  # Else what was read for it will be read again.
                watcher.next = topic.first_untold(watcher) or max(watcher.next, self.revision + 1)
            watcher.batch = None
            self._leave(watcher, topic)
        return watchers

    # Reading the history.

    def _read_on(self) -> int | None:
        """Read a piece of the history for those whose turn it is, and for whom else it is of use."""
        first = next(iter(self._behind))
        if not self._with_room(first):
            return 0
        past = self._reader.past(first)
        if past is None:
            return None
        if first < past.compacted:
            for watcher in self._behind.pop(first):
                if not watcher.gone:  # Its stream may have ended with the one before.
                    watcher.gone = True
                    self.count -= 1
                    watcher.sink.compacted(watcher, past.compacted)
            return 0
        index = Index()
        for start in [start for start in self._behind if first <= start <= past.upto]:
            for watcher in self._with_room(start):
                topic = index.topic(watcher.interval)
                topic.watchers[watcher] = None
                topic.prev_kv |= watcher.view.prev_kv
            self._behind.pop(start, None)
        found, upto = self._found(index, past)
        for topic in index:
            self._hand_out(list(topic.watchers), found.get(topic, ()), upto)
        return len(past.changes)

    def _with_room(self, start: int) -> Collection[Watcher]:
        """Who is behind from there on, but for those whose sinks are full: these wait elsewhere."""
        cohort = self._behind[start]
        for watcher in [watcher for watcher in cohort if watcher.sink.full]:
            del cohort[watcher]
            self._park(watcher)
        if not cohort:
            del self._behind[start]
        return cohort

    def _found(self, index: Index, past: Past) -> tuple[dict[Topic, list[Change]], int]:
        """What each topic is told, and up to which revision: what keys were before makes the piece a smaller one."""
        found: dict[Topic, list[Change]] = {}
        latest: dict[bytes, KeyValue | None] = {}  # As this piece of the history has left them.
        room, revision = self._bounds.piece, 0
        for change in past.changes:
            if room <= 0 and change.revision != revision:
                return found, revision
            revision = change.revision
            topics = index.of(change.key)
            if any(topic.prev_kv for topic in topics):
                change = Change(revision, change.key, self._old(change, latest), change.new)
                room -= 0 if change.old is None else len(change.old.value)
            if topics:
                latest[change.key] = change.new
            for topic in topics:
                found.setdefault(topic, []).append(change)
        return found, past.upto

    def _old(self, change: Change, latest: dict[bytes, KeyValue | None]) -> KeyValue | None:
        new: KeyValue | None = change.new
        if new is not None and new.create_revision == new.mod_revision:
            return None
        if change.key in latest:
            return latest[change.key]
        return self._reader.previous(change.key, change.revision)

    def _hand_out(self, watchers: list[Watcher], changes: Sequence[Change], upto: int) -> None:
        """Whoever has thereby reached the present joins its topic at once, or it would never get there."""
        batch = Batch(None, changes, upto, upto, watchers) if changes else None
        for watcher in watchers:
            watcher.batch = batch
            if batch is None:
                watcher.next = max(watcher.next, upto + 1)
            if upto >= self.revision:
                self._join(watcher)
            elif batch is None:
                self._fall_behind(watcher)
        if batch is not None:
            self._round.append(batch)


def _is_at(watcher: Watcher, level: int) -> bool:
    """It was told all up to this level and nothing beyond, and begins no later; or it has ended."""
    return watcher.gone or (watcher.topic is not None and watcher.start <= level and watcher.next <= level + 1)


def _size(change: Change) -> int:
    """Bytes that it takes in memory, roughly."""
    size = 300 + len(change.key)
    for pair in (change.old, change.new):
        size += 0 if pair is None else len(pair.value)
    return size
