"""etcd's Watch service: streams that carry many watches each.

Whom to tell what is decided in `database.watch`. Here are the streams: what clients ask on them, and what is packed for
them, once for all who are told alike. Telling goes on in turns of the loop, a bounded piece in each, so that however
many watch, requests are taken in between. A stream that its client doesn't read holds a bounded number of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.api.packing import CANCELED, CREATED, FRAGMENT, delete_event, put_event, varint, watch_id
from ostraka.database.commands import History, Inspect, KeyValue, Overview, Past, Range, RangeDone
from ostraka.database.topics import EmptyRangeError, Interval, interval_of
from ostraka.database.watch import Batch, Bounds, View, Watcher, Watchers
from ostraka.model.ids import MILLISECOND, Duration, roll
from ostraka.model.machine import Change, Outcome
from ostraka.model.requests import Entry
from ostraka.node.clock import Timer
from ostraka.server.calls import (
    MAX_UNREAD_IN_ALL,
    SERVER_STOPPED,
    Refusal,
    malformed,
    refuse,
)
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

PATH: Final = "/etcdserverpb.Watch/Watch"
LARGE: Final = 4 << 20
"""Bytes of a response that is sent only when nothing waits before it."""
LEAST_INTERVAL: Final[Duration] = 100 * MILLISECOND
"""Of progress notifications: etcd's."""

ALL: Final = -1
"""The watch id of what concerns all watches of a stream, or none."""
COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
DUPLICATE: Final = "mvcc: duplicate watch ID provided on the WatchStream"
EMPTY: Final = "mvcc: watcher range is empty"


class Watch:
    """The service of one member, and all that is watched there."""

    def __init__(self, member: Member, progress_every: Duration, bounds: Bounds | None = None) -> None:
        self.member: Final = member
        member.watch = self
        self.tally: Final = member.tally(PATH)
        self.progress_every: Final = max(progress_every, LEAST_INTERVAL)
        self.streams: Final[dict[WatchStream, None]] = {}
        self.bounds: Final = bounds or Bounds()
        self.watchers: Final = Watchers(self, self._revision(), self.bounds)
        self.events = 0  # Sent so far.
        self._turn_is_due = False
        member.group.observers.append(self._applied)
        member.group.on_installed.append(self._installed)
        member.on_stop.append(self._stop)

    def register(self, router: Router) -> None:
        router.stream(PATH, self.open)

    def open(self, call: ServerCall) -> WatchStream:
        """A client's stream begins."""
        self.tally.started += 1
        stream = WatchStream(self, call)
        refusal = self.member.gate(call)
        if refusal is not None:
            stream.end(refusal)
        else:
            self.streams[stream] = None
            self.member.require_leader(call, stream.end)
        return stream

    def schedule(self) -> None:
        """There may be something to tell, in a turn of its own."""
        if not self._turn_is_due and not self.watchers.idle:
            self._turn_is_due = True
            self.member.host.clock.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self.member.failed is None and self.watchers.turn():
            self.schedule()

    def _applied(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.changes:
            self.watchers.changed(outcome.changes)
            self.schedule()

    def _installed(self) -> None:
        self.watchers.jumped(self._revision())
        self.schedule()

    def _stop(self) -> None:
        for stream in list(self.streams):
            stream.end(SERVER_STOPPED)

    def _revision(self) -> int:
        overview: Overview | None = self.member.query(Inspect())
        return 0 if overview is None else overview.revision

    # What the watchers read.

    def past(self, first: int) -> Past | None:
        """See `database.watch.Reader`."""
        past: Past | None = self.member.query(History(first, self.bounds.rows, self.bounds.piece))
        return past

    def previous(self, key: bytes, revision: int) -> KeyValue | None:
        """See `database.watch.Reader`."""
        found = self.member.query(Range(key, revision=revision - 1))
        return found.kvs[0] if isinstance(found, RangeDone) and found.kvs else None


class StreamWatch(Watcher):
    """One watch of a stream."""

    __slots__ = ("fragment", "id", "notify", "quiet")

    def __init__(
        self, number: int, interval: Interval, view: View, start: int, revision: int, stream: WatchStream, ask: Any
    ) -> None:
        super().__init__(interval, view, start, revision, stream)
        self.id: Final = number
        self.fragment: Final[bool] = ask.fragment  # Large responses may be sent in pieces.
        self.notify: Final[bool] = ask.progress_notify
        self.quiet = True  # Told nothing since progress was last looked at.


class WatchStream:
    """One client's stream: a `Receiver` of what the client says, and the `Sink` of its watches."""

    def __init__(self, service: Watch, call: ServerCall) -> None:
        self.watches: Final[dict[int, StreamWatch]] = {}
        self._service: Final = service
        self._watchers: Final = service.watchers
        self._member: Final = service.member
        self._call: Final = call
        self._next_id = 0
        self._timer: Timer | None = None
        self._ended = False

    # What the client says.

    def on_message(self, message: bytes) -> None:
        """A request. One that says nothing is passed over, as in etcd."""
        try:
            ask = etcd.WatchRequest.FromString(message)
        except DecodeError as error:
            self.end(malformed(error))
            return
        match ask.WhichOneof("request_union"):
            case "create_request":
                self._create(ask.create_request)
            case "cancel_request":
                self._cancel(ask.cancel_request.watch_id)
            case "progress_request":
                self._watchers.ask(self, self.watches.values(), self, partial(self._progress, ALL))
                self._service.schedule()
            case _:
                return
        if self.full:
            self._call.pause()  # It asks for more than it reads.

    def on_half_close(self) -> None:
        """It asks for no more, and goes on listening."""

    def on_cancel(self) -> None:
        """The client is gone."""
        self._service.tally.handled[Status.CANCELLED] += 1
        self._close()

    def on_drained(self) -> None:
        """The client has read all there was."""
        self._watchers.resume(self)
        self._service.schedule()
        self._call.resume()

    def end(self, refusal: Refusal) -> None:
        """Nothing more can be told on this stream."""
        if not self._ended:
            refuse(self._call, self._service.tally, refusal)
            self._close()

    def _close(self) -> None:
        self._ended = True
        self._service.streams.pop(self, None)
        self._member.leave(self._call)
        if self._timer is not None:
            self._timer.cancel()
        self._watchers.withdraw(self)
        for watch in list(self.watches.values()):
            self._forget(watch)

    def _create(self, ask: Any) -> None:
        revision = self._watchers.revision
        number = ask.watch_id
        try:
            interval = interval_of(ask.key, ask.range_end)
        except EmptyRangeError:
            self._refuse(EMPTY)
            return
        if ask.start_revision < 0:
            self._refuse(COMPACTED)
            return
        if number and number in self.watches:
            self._refuse(DUPLICATE)
            return
        if not number:
            while self._next_id in self.watches:
                self._next_id += 1
            number = self._next_id
            self._next_id += 1
        kinds = etcd.WatchCreateRequest
        view = View(kinds.NOPUT not in ask.filters, kinds.NODELETE not in ask.filters, ask.prev_kv)
        watch = StreamWatch(number, interval, view, ask.start_revision, revision, self, ask)
        self._call.send(self._member.packer.header(revision) + watch_id(number) + CREATED)
        if self._ended:
            return
        self.watches[number] = watch
        self._watchers.add(watch)
        if watch.notify and self._timer is None:
            self._look_later()
        self._service.schedule()

    def _refuse(self, reason: str) -> None:
        """Created and canceled at once, as etcd does it."""
        text = reason.encode()
        header = self._member.packer.header(self._watchers.revision)
        self._call.send(header + watch_id(ALL) + CREATED + CANCELED + b"2" + varint(len(text)) + text)

    def _cancel(self, number: int) -> None:
        watch = self.watches.get(number)
        if watch is not None:
            self._forget(watch)
            self._call.send(self._member.packer.header(self._watchers.revision) + watch_id(number) + CANCELED)

    def _forget(self, watch: StreamWatch) -> None:
        self.watches.pop(watch.id, None)
        self._watchers.remove(watch)
        self._watchers.withdraw(watch)

    # What the watchers are told.

    @property
    def full(self) -> bool:
        """See `database.watch.Sink`. When all clients together leave too much unread, so is each that is slow."""
        unsent = self._call.unsent
        return unsent > self._service.bounds.room or (unsent > 0 and self._member.unread.total > MAX_UNREAD_IN_ALL)

    def deliver(self, watcher: Watcher, batch: Batch) -> int | None:
        """See `database.watch.Sink`."""
        assert isinstance(watcher, StreamWatch), "only those that are made here come back"
        view, call = watcher.view, self._call
        made = batch.packed.get(view)
        if made is None:
            events = b"".join(_events(batch, view))
            made = batch.packed[view] = self._member.packer.header(batch.revision), events
        header, packed = made
        if not packed:
            return 0
        start = header + watch_id(watcher.id)
        size = len(start) + len(packed)
        if call.unsent and (self.full or size > LARGE):
            return None
        watcher.quiet = False
        self._service.events += len(batch.changes)
        if watcher.fragment and size >= self._member.largest_message:
            call.send_all(list(self._fragments(start, _events(batch, view))))
        else:
            call.send(start + packed)
        if call.unsent:
            self._member.unread.total += size
        return size

    def _fragments(self, start: bytes, events: list[bytes]) -> Iterator[bytes]:
        """As few messages as there can be of which none is too large, unless by one event alone."""
        part: list[bytes] = []
        size = len(start) + len(FRAGMENT)
        for event in events:
            if part and size + len(event) >= self._member.largest_message:
                yield start + FRAGMENT + b"".join(part)
                part, size = [], len(start) + len(FRAGMENT)
            part.append(event)
            size += len(event)
        yield start + b"".join(part)

    def compacted(self, watcher: Watcher, revision: int) -> None:
        """See `database.watch.Sink`. As in etcd the header names no revision, and the id stays taken until canceled."""
        assert isinstance(watcher, StreamWatch), "only those that are made here come back"
        self._watchers.withdraw(watcher)
        header = self._member.packer.header(0)
        self._call.send(header + watch_id(watcher.id) + CANCELED + b"(" + varint(revision))

    # How far they have been told.

    def _progress(self, number: int, revision: int) -> None:
        self._call.send(self._member.packer.header(revision) + watch_id(number))

    def _look_later(self) -> None:
        host, every = self._member.host, self._service.progress_every
        self._timer = host.clock.call_at(host.clock.now() + every + roll(host.dice, max(1, every // 10)), self._look)

    def _look(self) -> None:
        """Tell those who were told nothing for long that there was nothing to tell."""
        self._look_later()
        for watch in self.watches.values():
            if watch.notify and watch.quiet and not watch.gone:
                self._watchers.ask(watch, (watch,), self, partial(self._progress, watch.id))
            watch.quiet = True
        self._service.schedule()


def _events(batch: Batch, view: View) -> list[bytes]:
    return [_event(change, view.prev_kv) for change in view.of(batch.changes)]


def _event(change: Change, prev_kv: bool) -> bytes:
    old = change.old if prev_kv else None
    if change.new is None:
        return delete_event(change.key, change.revision, old)
    return put_event(change.new, old)
