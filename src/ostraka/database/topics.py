"""Ranges of keys, and which of them a key lies in: so that what it costs to tell of a change hangs on who watches it.

A watch of one key is found in a dict. Ranges stand in a sorted list in blocks, each of which knows how far its ranges
reach: a search looks only into those that reach the key.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from ostraka.database.mvcc import OPEN_END
from ostraka.model.machine import Change

if TYPE_CHECKING:
    from ostraka.database.watch import Watcher

BLOCK: Final = 128
"""Ranges that stand together in `Ranges`."""

_revision = attrgetter("revision")


class EmptyRangeError(ValueError):
    """No key lies in the range."""


class Interval(NamedTuple):
    """The keys from `start` up to, but not including, `stop`; None: no end."""

    start: bytes
    stop: bytes | None

    @property
    def is_one_key(self) -> bool:
        return self.stop == self.start + b"\0"


def interval_of(key: bytes, range_end: bytes) -> Interval:
    """What a watch's request names. Whatever is decided about it is decided on this. Raises EmptyRangeError.

    Unlike in a `Range`, no key means the first one of all.
    """
    start = key or b"\0"
    if not range_end:
        return Interval(start, start + b"\0")
    if range_end == OPEN_END:
        return Interval(start, None)
    if range_end <= start:
        raise EmptyRangeError
    return Interval(start, range_end)


class Topic:
    """A range, and who watches just that."""

    __slots__ = ("held", "interval", "pending", "prev_kv", "telling", "watchers")

    def __init__(self, interval: Interval) -> None:
        self.interval: Final = interval
        self.watchers: dict[Watcher, None] = {}
        self.telling: Sequence[Change] = ()  # What this round tells,
        self.pending: list[Change] = []  # and the next.
        self.held = 0  # Bytes of `pending`, roughly.
        self.prev_kv = False  # For topics of one slice of history: somebody wants to know.

    def first_untold(self, watcher: Watcher) -> int | None:
        """The revision of the first change that it still has to be told."""
        for changes in (self.telling, self.pending):
            at = bisect_left(changes, watcher.next, key=_revision)
            if at < len(changes):
                return changes[at].revision
        return None


class Block:
    """Topics in the order of their starts, some that stand together."""

    __slots__ = ("furthest", "starts", "topics")

    def __init__(self, topics: list[Topic]) -> None:
        self.topics = topics
        self.starts = [topic.interval.start for topic in topics]
        self.furthest = b""
        self.measure()

    def measure(self) -> None:
        self.furthest = max((stop_of(topic) for topic in self.topics), default=b"")


def stop_of(topic: Topic) -> bytes:
    """For topics that have an end."""
    stop = topic.interval.stop
    assert stop is not None, "those without an end are kept apart"
    return stop


class Ranges:
    """Topics of many keys each, found by a key."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._endless = Block([])

    def add(self, topic: Topic) -> None:
        start = topic.interval.start
        if topic.interval.stop is None:
            at = bisect_right(self._endless.starts, start)
            self._endless.starts.insert(at, start)
            self._endless.topics.insert(at, topic)
            return
        number = max(0, bisect_right(self._blocks, start, key=lambda block: block.starts[0]) - 1)
        if not self._blocks:
            self._blocks.append(Block([topic]))
            return
        block = self._blocks[number]
        at = bisect_right(block.starts, start)
        block.starts.insert(at, start)
        block.topics.insert(at, topic)
        block.furthest = max(block.furthest, stop_of(topic))
        if len(block.topics) > BLOCK:
            half = BLOCK // 2
            self._blocks[number : number + 1] = [Block(block.topics[:half]), Block(block.topics[half:])]

    def remove(self, topic: Topic) -> None:
        start = topic.interval.start
        endless = topic.interval.stop is None
        for number, block in enumerate([self._endless] if endless else self._blocks):
            at = bisect_left(block.starts, start)
            while at < len(block.starts) and block.starts[at] == start:
                if block.topics[at] is topic:
                    del block.starts[at], block.topics[at]
                    if not endless and block.topics:
                        block.measure()
                    elif not endless:
                        del self._blocks[number]
                    return
                at += 1
        raise AssertionError(f"{topic.interval} is not among the ranges")

    def of(self, key: bytes) -> list[Topic]:
        """Those that the key lies in."""
        found = self._endless.topics[: bisect_right(self._endless.starts, key)]
        for block in self._blocks:
            if block.starts[0] > key:
                break
            if block.furthest > key:
                found += [topic for topic in block.topics[: bisect_right(block.starts, key)] if stop_of(topic) > key]
        return found


class Index:
    """Topics, found by their interval, and by a key in it."""

    def __init__(self) -> None:
        self._topics: dict[Interval, Topic] = {}
        self._of_one_key: dict[bytes, Topic] = {}
        self._ranges = Ranges()
        self._has_ranges = False

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def __bool__(self) -> bool:
        return bool(self._topics)

    def topic(self, interval: Interval) -> Topic:
        """The topic of this interval, made now if there is none."""
        topic = self._topics.get(interval)
        if topic is None:
            topic = self._topics[interval] = Topic(interval)
            if interval.is_one_key:
                self._of_one_key[interval.start] = topic
            else:
                self._ranges.add(topic)
                self._has_ranges = True
        return topic

    def remove(self, topic: Topic) -> None:
        del self._topics[topic.interval]
        if topic.interval.is_one_key:
            del self._of_one_key[topic.interval.start]
        else:
            self._ranges.remove(topic)

    def of(self, key: bytes) -> Sequence[Topic]:
        """Those that the key lies in."""
        one = self._of_one_key.get(key)
        if not self._has_ranges:
            return () if one is None else (one,)
        found = self._ranges.of(key)
        if one is not None:
            found.append(one)
        return found
