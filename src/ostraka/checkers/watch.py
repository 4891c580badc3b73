"""Did a watch keep its promises? Recorded responses are judged by all that happened.

Follows:  etcd's guarantees for watches ("KV API guarantees", and what its robustness tests make of them): ordered,
          unique, reliable, atomic, resumable, bookmarkable; and that each event is what the request asked for.
Words:    what a watch *owes* is every event in its range and of its kinds, from its start on.
Departs:  a watch may end at any time, as its connection may. But what it has said of itself must be true: up to the
          last event, and up to every progress notification, it has left out nothing.

Anything can be judged that gives watches by revision: make `Watch`es of what a client recorded, and `Event`s of all
that happened, from whatever source is trusted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec

OPEN_END: Final = b"\0"
"""As a range's end: all keys from its beginning on."""

_revision = attrgetter("revision")


class Pair(msgspec.Struct, frozen=True):
    """A key and its value, as one revision left them."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Event(msgspec.Struct, frozen=True):
    """One key's change. `pair` None: it was deleted. `previous`: what it was before, or None."""

    revision: int
    key: bytes
    pair: Pair | None
    previous: Pair | None = None

    def __str__(self) -> str:
        said = "deleted" if self.pair is None else f"put {self.pair.value[:20]!r}"
        return f"{self.key!r} {said} in {self.revision}"


class Request(msgspec.Struct, frozen=True):
    """What a watch was asked for. `start` 0: from when it was created. An empty `range_end`: one key."""

    key: bytes
    range_end: bytes = b""
    start: int = 0
    puts: bool = True
    deletions: bool = True
    prev_kv: bool = False
    fragment: bool = False

    def wants(self, event: Event) -> bool:
        """Is the event owed, if it isn't too early?"""
        key = self.key or b"\0"
        if not self.range_end:
            inside = event.key == key
        else:
            inside = event.key >= key and (self.range_end == OPEN_END or event.key < self.range_end)
        return inside and (self.deletions if event.pair is None else self.puts)


class Response(msgspec.Struct, frozen=True):
    """One message of a watch. With no events, and neither created nor canceled, it is a progress notification."""

    revision: int  # Of the header.
    events: tuple[Event, ...] = ()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    fragment: bool = False  # More of the same revisions follows.


class Watch(msgspec.Struct):
    """One watch, from its creation until its client stopped listening."""

    request: Request
    responses: list[Response]
    name: str = ""


class Violation(msgspec.Struct, frozen=True):
    """A promise that was not kept."""

    guarantee: str
    why: str
    watch: Watch

    def __str__(self) -> str:
        return f"not {self.guarantee}: {self.why}; {self.watch.name} {self.watch.request}"


def check(
    watch: Watch, history: Sequence[Event], *, complete_to: int | None = None, compacted: int = -1
) -> Violation | None:
    """The first violation, or None.

    `history`: all that happened, in the order of revisions, each event with what was before it. `complete_to`: the
    watch has been listened to for so long that it must have been told all up to this revision. `compacted`: the last
    compaction that may have come in its way, so that what was before an event may be unknown.
    """
    judge = _Judge(watch, history, compacted)
    for response in watch.responses:
        if (violation := judge.next(response)) is not None:
            return violation
    return None if complete_to is None else judge.end(complete_to)


class _Judge:
    def __init__(self, watch: Watch, history: Sequence[Event], compacted: int) -> None:
        self.watch: Final = watch
        self.request: Final = watch.request
        self.history: Final = history
        self.compacted: Final = compacted
        self.owed: list[Event] = []
        self.told = 0  # So many of those owed have been told.
        self.first: int | None = None  # What is owed begins here.
        self.last = 0  # The revision of the last event, or of the last progress.
        self.open = False  # The last response was a fragment.
        self.over = False

    def next(self, response: Response) -> Violation | None:
        """Judge one response more."""
        if self.over:
            return self.broken("ordered", "a response after it was canceled")
        if self.first is None:
            return self.begin(response)
        if response.created:
            return self.broken("unique", "it was created twice")
        self.over = response.canceled
        if response.canceled:
            return self.canceled(response)
        return self.events(response) if response.events else self.progress(response)

    def begin(self, response: Response) -> Violation | None:
        if not response.created:
            return self.broken("ordered", f"{response} before it was created")
        self.over = response.canceled
        self.first = self.request.start or response.revision + 1
        at = bisect_left(self.history, self.first, key=_revision)
        self.owed = [event for event in self.history[at:] if self.request.wants(event)]
        return self.broken("ordered", "events came with its creation") if response.events else None

    def canceled(self, response: Response) -> Violation | None:
        assert self.first is not None, "it was created"
        reached = max(self.first, self.last + 1)
        if response.compact_revision and response.compact_revision <= reached:
            return self.broken("reliable", f"ended by compaction {response.compact_revision}, having reached {reached}")
        if response.compact_revision > max(self.compacted, 0):
            return self.broken("reliable", f"ended by compaction {response.compact_revision}, which never was")
        return None

    def events(self, response: Response) -> Violation | None:
        self.open = response.fragment
        if response.fragment and not self.request.fragment:
            return self.broken("atomic", "a fragment, which was not asked for")
        for event in response.events:
            if (violation := self.event(event)) is not None:
                return violation
        if response.revision < self.last:
            return self.broken("bookmarkable", f"header {response.revision} with an event of {self.last}")
        if not response.fragment and (due := self.due()) is not None and due.revision <= self.last:
            return self.broken("atomic", f"a response ended without {due}")
        return None

    def event(self, event: Event) -> Violation | None:
        due = self.due()
        if due is not None and (event.revision, event.key, event.pair) == (due.revision, due.key, due.pair):
            self.told += 1
            self.last = event.revision
            return self.previous(event, due)
        if not self.request.wants(event):
            return self.broken("filtered", f"{event} was not asked for")
        if any(event.revision == told.revision and event.key == told.key for told in self.owed[: self.told]):
            return self.broken("unique", f"{event} came twice")
        if event.revision < self.last:
            return self.broken("ordered", f"{event} came after {self.last}")
        if self.first is not None and event.revision < self.first:
            return self.broken("resumable", f"{event} is from before its start, {self.first}")
        if due is None or due.revision > event.revision:
            return self.broken("reliable", f"{event} never happened")
        if (due.revision, due.key) == (event.revision, event.key):
            return self.broken("faithful", f"{event.pair} where {due.pair} was put")
        return self.broken("reliable" if self.told else "resumable", f"{due} was left out before {event}")

    def previous(self, event: Event, due: Event) -> Violation | None:
        if event.previous == (due.previous if self.request.prev_kv else None):
            return None
        if self.request.prev_kv and event.previous is None and due.revision - 1 < self.compacted:
            return None
        return self.broken("faithful", f"{event}, before it {event.previous} where {due.previous} was")

    def progress(self, response: Response) -> Violation | None:
        due = self.due()
        if due is not None and due.revision <= response.revision:
            return self.broken("bookmarkable", f"progress {response.revision} without {due}")
        assert self.first is not None, "it was created"
        if response.revision < max(self.last, self.request.start or self.first - 1):
            why = f"progress {response.revision} after {self.last}, of a watch from {self.first} on"
            return self.broken("bookmarkable", why)
        self.last = response.revision
        return None

    def end(self, complete_to: int) -> Violation | None:
        """It was listened to for long enough."""
        due = self.due()
        if self.over:
            return None
        if self.first is None:
            return self.broken("reliable", "it was never created")
        if self.open:
            return self.broken("atomic", "the last fragment never came")
        if due is not None and due.revision <= complete_to:
            return self.broken("reliable", f"{due} never came")
        return None

    def due(self) -> Event | None:
        """What has to come next."""
        return self.owed[self.told] if self.told < len(self.owed) else None

    def broken(self, guarantee: str, why: str) -> Violation:
        return Violation(guarantee, why, self.watch)
