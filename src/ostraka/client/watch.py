"""Watches: every change of a range from some revision on, in order, across connections and members.

Words:    the *next* revision is the first of which no event has come yet. A connection that is lost, or a member that
          loses its leader, costs nothing: the watch goes on elsewhere from there.
Departs:  one stream for each watch, so that a slow reader holds back no other: HTTP/2's own window does it.
          Members answer a *requested* progress of etcd before 3.5.8 too early (etcd#15220): such a bookmark is told to
          the caller, and never becomes the point to go on from.
Evidence: tests/client/test_watch.py.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import IntEnum
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from ostraka.api import etcd
from ostraka.client import results
from ostraka.client.calls import Calls
from ostraka.client.operations import Key, span
from ostraka.client.outcomes import error_of, passing, refusal_of
from ostraka.client.results import KeyValue
from ostraka.errors import EventsLost, NotExecuted, OstrakaError, Refused, Unavailable
from ostraka.transport.http2.client import ClientCall, Outcome

WATCH: Final = "/etcdserverpb.Watch/Watch"
BUFFER: Final = 1 << 20
"""Bytes of events that are taken in ahead of the reader; beyond it the server has to wait."""
FIRST_PAUSE: Final = 0.02  # Seconds between two attempts to go on elsewhere,
LONGEST_PAUSE: Final = 1.0  # and the longest such pause.


class EventKind(IntEnum):
    """Numbered as etcd's."""

    PUT = 0
    DELETE = 1


class Event(msgspec.Struct, frozen=True):
    """A change of one key. `previous`: what it was before, if `prev_kv` asked for it and that is not compacted."""

    kind: EventKind
    kv: KeyValue
    previous: KeyValue | None = None

    @property
    def key(self) -> bytes:
        """The key that was changed."""
        return self.kv.key

    @property
    def value(self) -> bytes:
        """Its value; empty if it was deleted."""
        return self.kv.value

    @property
    def revision(self) -> int:
        """When it was changed."""
        return self.kv.mod_revision

    @property
    def is_put(self) -> bool:
        """It was put, not deleted."""
        return self.kind is EventKind.PUT

    @property
    def is_create(self) -> bool:
        """It was put, and did not exist before."""
        return self.is_put and self.kv.create_revision == self.kv.mod_revision


class Bookmark(msgspec.Struct, frozen=True):
    """All events up to this revision have been returned."""

    revision: int


Item = TypeVar("Item")


class AsyncWatch(Generic[Item]):
    """The changes of a range: iterate over it with `async for`, in one task at a time.

        async with client.watch(prefix="jobs/") as watch:   # From here on nothing is missed.
            async for event in watch:
                print(event.key, event.value)

    It goes on by itself when a connection is lost, on another endpoint, for as long as it takes; nothing is lost and
    nothing doubled. When that can't be, since what is missing was compacted, it raises EventsLost; who goes on
    iterating gets what came after. Any other error is final.
    """

    def __init__(self, calls: Calls, request: Any, bookmarks: bool) -> None:
        """`request`: `etcd.WatchCreateRequest`."""
        self.revision = 0
        """All events up to this revision have been returned."""
        self._calls: Final = calls
        self._request: Final = request
        self._bookmarks: Final = bookmarks
        self._next: int = request.start_revision
        self._cluster = 0
        self._ready: deque[Event | Bookmark | EventsLost] = deque()
        self._feed: _Feed | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """It was ended by its owner, or with its client."""
        return self._closed or self._calls.endpoints.closed

    async def __aenter__(self) -> Self:
        """Begin: what happens from now on will be returned. Raises NotExecuted."""
        if self._feed is None:
            await self._open(self._calls.timeout)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it. Whoever waits for the next event comes to the end of the iteration."""
        self._closed = True
        self._ready.clear()
        if self._feed is not None:
            self._feed.close()

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is not None:
            feed.abandon()

    def __aiter__(self) -> Self:
        return self

    def pop(self) -> Item | None:
        """What has come already and was not returned yet; None if there is nothing. Raises EventsLost."""
        while self._ready:
            item: Any = self._ready.popleft()
            if isinstance(item, EventsLost):
                raise item
            if isinstance(item, Event):
                if not self._ready or getattr(self._ready[0], "revision", 0) != item.revision:
                    self.revision = item.revision  # A server tells all events of a revision at once.
            else:
                self.revision = max(self.revision, item.revision)
                if not self._bookmarks:
                    continue
            found: Item = item
            return found
        return None

    async def __anext__(self) -> Item:
        while not self._closed:
            item = self.pop()
            if item is not None:
                return item
            if self._feed is None:
                await self._open(None)
            else:
                try:
                    await self._take(self._feed)
                except OstrakaError as error:
                    if not passing(error) or self._calls.endpoints.closed:
                        raise
        raise StopAsyncIteration

    async def request_progress(self) -> None:
        """Ask for a bookmark now: it is returned in its place among the events, if `bookmarks` are."""
        if self._feed is not None:
            message = etcd.WatchRequest(progress_request=etcd.WatchProgressRequest())
            self._feed.call.send(message.SerializeToString())

    async def _take(self, feed: _Feed) -> None:
        """Wait for the server's next word. Raises what has ended the stream."""
        message = await feed.next()
        if message is not None:
            self._answered(feed, etcd.WatchResponse.FromString(message))
        elif not self._closed:
            self._feed = None
            assert feed.outcome is not None, "it has ended"
            raise error_of(feed.endpoint, feed.outcome, writes=False)

    async def _open(self, timeout: float | None) -> None:
        """Create the watch, on one endpoint after the other until one has; for so many seconds, or for ever."""
        loop = self._calls.loop
        deadline = None if timeout is None else loop.time() + timeout
        pause = FIRST_PAUSE
        while not self._closed:
            try:
                await self._create(deadline)
            except OstrakaError as error:
                if not passing(error) or self._calls.endpoints.closed:
                    raise
                if deadline is not None and (isinstance(error, Unavailable) or loop.time() + pause >= deadline):
                    raise
            else:
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _create(self, deadline: float | None) -> None:
        """Create the watch on the endpoint whose turn it is. Raises OstrakaError if that did not come to pass."""
        loop = self._calls.loop
        until = loop.time() + self._calls.timeout
        until = until if deadline is None else min(until, deadline)
        endpoint = await self._calls.endpoints.next(loop, until)
        assert endpoint.channel is not None, "it was said to be connected"
        feed = _Feed(endpoint.name, loop)
        feed.call = endpoint.channel.stream(WATCH, feed, [("hasleader", "true")])  # Else it would wait for ever there.
        self._request.start_revision = self._next
        feed.call.send(etcd.WatchRequest(create_request=self._request).SerializeToString())
        self._feed = feed
        try:
            async with asyncio.timeout_at(until):
                while self._feed is feed and not feed.created:
                    await self._take(feed)
        except TimeoutError:
            endpoint.ill(loop.time())
            raise NotExecuted(f"{endpoint.name}: the watch was not created in time") from None
        finally:
            if self._feed is not feed or not feed.created:
                self._feed = None
                feed.close()

    def _answered(self, feed: _Feed, answer: Any) -> None:
        """What the server says, in the order in which it does."""
        revision = answer.header.revision
        if self._cluster and answer.header.cluster_id != self._cluster:
            raise Refused(f"{feed.endpoint} belongs to another cluster than the endpoint before")
        self._cluster = answer.header.cluster_id
        if answer.canceled:
            self._canceled(feed, answer)
        elif answer.created:
            feed.created = True
            if not self._next:
                self._next = revision + 1  # Whatever becomes of this connection, the watch begins here.
        elif answer.events:
            for event in answer.events:
                if event.kv.mod_revision >= self._next:
                    self._ready.append(_event(event))
            self._next = max(self._next, answer.events[-1].kv.mod_revision + 1)
        else:
            self._ready.append(Bookmark(revision))
            if answer.watch_id != -1:
                self._next = max(self._next, revision + 1)

    def _canceled(self, feed: _Feed, answer: Any) -> None:
        self._feed = None
        feed.close()
        if answer.compact_revision:
            first, last = self._next, answer.compact_revision - 1
            self._next = answer.compact_revision
            text = (
                f"{feed.endpoint}: the revisions {first} to {last} are compacted: their events, if there were any, "
                f"are lost; read the range, and go on"
            )
            self._ready.append(EventsLost(text, first, last))
            feed.created = True  # In a way: the caller has something to be told.
            return
        raise refusal_of(feed.endpoint, answer.cancel_reason or "the watch was cancelled by the server")


def _event(message: Any) -> Event:
    previous = results.key_value(message.prev_kv) if message.HasField("prev_kv") else None
    return Event(EventKind(message.type), results.key_value(message.kv), previous)


class _Feed:
    """One stream's messages, until somebody takes them. It knows nothing of the watch, so that one can be forgotten."""

    call: ClientCall

    def __init__(self, endpoint: str, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint: Final = endpoint
        self.created = False
        self.outcome: Outcome | None = None
        self._loop: Final = loop
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> bytes | None:
        """The next message; None when there will be none."""
        while not self._messages:
            if self.outcome is not None:
                return None
            self._waiter = self._loop.create_future()
            await self._waiter
        message = self._messages.popleft()
        self._size -= len(message)
        if self._paused and self._size < BUFFER // 2:
            self._paused = False
            self.call.resume()
        return message

    def close(self) -> None:
        """Want no more."""
        self.call.cancel()

    def abandon(self) -> None:
        """The same, from any thread."""
        if self.outcome is None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.call.cancel)

    def on_message(self, message: bytes) -> None:
        """See `Caller`."""
        self._messages.append(message)
        self._size += len(message)
        if self._size > BUFFER and not self._paused:
            self._paused = True
            self.call.pause()
        self._wake()

    def on_end(self, outcome: Outcome) -> None:
        """See `Caller`."""
        self.outcome = outcome
        self._wake()

    def on_drained(self) -> None:
        """See `Caller`."""

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def create_request(
    key: Key | None,
    end: Key | None,
    prefix: Key | None,
    start_revision: int,
    prev_kv: bool,
    puts: bool,
    deletes: bool,
) -> Any:
    """`etcd.WatchCreateRequest`. ValueError for one that would never return anything."""
    if start_revision < 0:
        raise ValueError(f"a watch starts at a revision above 0, or, for 0, now; not at {start_revision}")
    if not puts and not deletes:
        raise ValueError("a watch without puts and without deletes would return nothing")
    start, stop = span(key, end, prefix)
    return etcd.WatchCreateRequest(
        key=start,
        range_end=stop,
        start_revision=start_revision,
        prev_kv=prev_kv,
        filters=[*([] if puts else ["NOPUT"]), *([] if deletes else ["NODELETE"])],
        progress_notify=True,  # So that a quiet watch need not go far back when it goes on elsewhere.
    )
