"""The client's side: calls go out, and each ends exactly once, with an outcome.

Follows:  "gRPC over HTTP2" (Requests; Responses; Errors), RFC 9113 §6.8 (GOAWAY), §8.7 (what is safe to retry).
Words:    a call is *refused* when it certainly was not executed: it never left, or the server vouches for it.
          It was *answered* when its status is the server's own word. A call that is neither may have been executed.
Departs:  header blocks are literals only: the server looks them up as a whole (see `blocks`).
Evidence: tests/transport/http2/test_client.py, test_pair.py (against our server), test_grpcio.py (against grpc's).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ostraka.model.ids import Instant
from ostraka.transport.http2 import frames
from ostraka.transport.http2.blocks import RESPONSES, TRAILERS
from ostraka.transport.http2.connection import Connection
from ostraka.transport.http2.errors import ConnectionFault, ErrorCode, Status, name_of, status_of_http
from ostraka.transport.http2.frames import DATA, END_STREAM, FRAME_SIZE, HEAD, PREFIX
from ostraka.transport.http2.headers import ResponseHead, literal, metadata_block, write_timeout
from ostraka.transport.http2.stream import ENDED, OVER, PEER_ENDED, Stream

LARGEST_REPLY = 256 << 20
"""Bytes of one message that a client takes."""

STREAMS_BEFORE_SETTINGS = 100
"""Calls to open before the server has said how many it takes. (RFC 9113 §6.5.2 recommends no fewer)"""

MOST_QUEUED = 10_000
"""Calls that may wait for a place on the connection; one more is refused."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Outcome(NamedTuple):
    """How a call ended."""

    status: int
    message: str = ""
    body: bytes = b""  # The reply of a unary call that ended well.
    metadata: Mapping[str, str] = _NOTHING  # What the server sent before its messages,
    trailers: Mapping[str, str] = _NOTHING  # and after them.
    answered: bool = False  # The status is the server's word.
    refused: bool = False  # It was not executed: safe to try again.


class Caller(Protocol):
    """Who is told what happens on a streaming call."""

    def on_message(self, message: bytes) -> None:
        """The next message. `call.pause()` keeps further ones back."""

    def on_end(self, outcome: Outcome) -> None:
        """The call is over; nothing comes after this."""

    def on_drained(self) -> None:
        """All that was queued is on its way: `call.unsent` is 0 again."""


Done = Callable[[Outcome], None]


class ClientCall(Stream):
    """One call. It may wait for a place on the connection; what is sent meanwhile is kept."""

    __slots__ = (
        "_caller",
        "_client",
        "_done",
        "_early",
        "_early_end",
        "_head",
        "_reply",
        "_trailers",
        "block",
        "deadline",
    )

    def __init__(
        self, client: ClientConnection, block: bytes, deadline: Instant | None, caller: Caller | None, done: Done | None
    ) -> None:
        super().__init__(client, 0)
        self.block = block  # The header block, but for the timeout.
        self.deadline = deadline
        self._client = client
        self._caller = caller
        self._done = done
        self._early: list[bytes] = []
        self._early_end = False
        self._head: ResponseHead | None = None
        self._trailers: ResponseHead | None = None
        self._reply: bytes | None = None

    @property
    def over(self) -> bool:
        """The outcome has been told."""
        return bool(self.state & OVER)

    @property
    def unsent(self) -> int:
        """Bytes that wait: for a place on the connection, the server's window, or the transport."""
        return sum(map(len, self._early)) + (self.outbox.size if self.outbox is not None else 0)

    def send(self, message: bytes) -> None:
        """Send a message."""
        if self.state & (ENDED | OVER) or self._early_end:
            return
        payload = PREFIX.pack(0, len(message)) + message
        if self.id:
            self.write(payload)
        else:
            self._early.append(payload)

    def half_close(self) -> None:
        """Send no more."""
        if self.state & (ENDED | OVER):
            return
        if self.id:
            self.write_tail(b"")
        else:
            self._early_end = True

    def cancel(self) -> None:
        """End the call now. What the server did of it, nobody knows, unless it never left."""
        self.give_up(Status.CANCELLED, "the call was cancelled")

    def give_up(self, status: Status, message: str) -> None:
        """End the call from our side, with this status."""
        if self.state & OVER:
            return
        if self.id:
            self._client.abandon(self, ErrorCode.CANCEL)
        else:
            self._client.dequeue(self)
        self._tell(Outcome(status, message, refused=not self.id))

    def start(self, stream_id: int, now: Instant) -> None:
        """There is a place: send what there is to send."""
        self.id = stream_id
        client = self._client
        block = self.block
        if self.deadline is not None:
            client.deadlines.add(stream_id, self.deadline)
            block += literal(b"grpc-timeout", write_timeout(self.deadline - now))
        early, self._early = self._early, []
        client.emit_headers(stream_id, block, False)
        size = len(early[0]) if len(early) == 1 and self._early_end else FRAME_SIZE + 1
        if size <= FRAME_SIZE and size <= client.send_window and size <= client.peer_stream_window:
            client.send_window -= size
            self.window -= size
            self.state |= ENDED
            client.emit(HEAD.pack(size << 8 | DATA, END_STREAM, stream_id) + early[0])
            return
        for payload in early:
            self.write(payload)
        if self._early_end:
            self.write_tail(b"")

    # What the stream tells us.

    def message_arrived(self, message: bytes) -> None:
        """See `Stream`."""
        if self._caller is not None:
            self._caller.on_message(message)
        elif self._reply is None:
            self._reply = message
        else:
            self.refuse_input(Status.INTERNAL, "the server sent two replies to a unary call")

    def input_ended(self) -> None:
        """See `Stream`."""
        head, trailers = self._head, self._trailers
        if self.state & ENDED and self.outbox is None:
            self._client.forget(self)
        else:
            self._client.abandon(self, ErrorCode.NO_ERROR)  # It has answered; the rest of the request is of no use.
        metadata = head.metadata if head is not None else _NOTHING
        if trailers is None or trailers.status is None:
            text = "the server ended the stream without a grpc-status"
            self._tell(Outcome(Status.INTERNAL, text, metadata=metadata))
        elif not trailers.status and self._caller is None and self._reply is None:
            self._tell(
                Outcome(Status.INTERNAL, "the server ended a unary call well, without a reply", metadata=metadata)
            )
        else:
            body = (self._reply or b"") if not trailers.status else b""
            self._tell(Outcome(trailers.status, trailers.message, body, metadata, trailers.metadata, answered=True))

    def drained(self) -> None:
        """See `Stream`."""
        if self._caller is not None:
            self._caller.on_drained()

    def send_tail(self, tail: bytes) -> None:
        """See `Stream`. A request has no trailers: an empty DATA frame ends it."""
        self._client.emit(frames.frame(DATA, END_STREAM, self.id))

    def refuse_input(self, status: Status, message: str) -> None:
        """See `Stream`."""
        self.give_up(status, message)

    def aborted(self, status: Status, reason: str, refused: bool) -> None:
        """See `Stream`."""
        self._tell(Outcome(status, reason, refused=refused))

    def was_reset(self, code: int) -> None:
        """See `Stream`. After a whole answer NO_ERROR only asks us to stop sending. (RFC 9113 §8.1)"""
        if code == ErrorCode.NO_ERROR and self.state & PEER_ENDED:
            self.state |= ENDED
            self._client.waiting.pop(self.id, None)
            self.outbox = None
        else:
            super().was_reset(code)

    def encoding(self) -> str:
        """See `Stream`."""
        return self._head.encoding if self._head is not None else "identity"

    def head_arrived(self, head: ResponseHead, ends: bool) -> None:
        """The response's first header block; with `ends` it is trailers as well."""
        http = head.http or 0
        if head.malformed or (http < 200 and ends):
            text = head.malformed or "an interim response that ends the stream"
            self._client.reset(self.id, ErrorCode.PROTOCOL_ERROR, text)
        elif http < 200:
            return  # Interim: the real one follows.
        elif http != 200 or not (head.is_grpc or (ends and head.status is not None)):
            if ends:
                self.state |= PEER_ENDED
            self.give_up(status_of_http(http), f"not gRPC: the server answered with HTTP status {http}")
        else:
            self._head = head
            if ends:
                self.trailers_arrived(head)

    @property
    def has_head(self) -> bool:
        """The next header block is trailers."""
        return self._head is not None

    def trailers_arrived(self, trailers: ResponseHead) -> None:
        """The end, to be told after all messages."""
        self._trailers = trailers
        self._client.data_on_open(self, END_STREAM, b"", 0)

    def _tell(self, outcome: Outcome) -> None:
        """Tell the outcome. The stream is over, so it can't happen twice."""
        self.state |= OVER
        self._early.clear()
        if self._done is not None:
            self._done(outcome)
        elif self._caller is not None:
            self._caller.on_end(outcome)


class ClientConnection(Connection[ClientCall]):
    """A connection to one server: see `Connection` for feeding it.

    Callbacks are called from within `feed`, `expire`, `lost`, `close`, `resume_writing`, and from a call's `cancel`.
    """

    def __init__(
        self,
        authority: str,
        on_output: Callable[[], None],
        now: Instant,
        scheme: str = "http",
        largest_message: int = LARGEST_REPLY,
    ) -> None:
        super().__init__(on_output, now, largest_message, frames.PREFACE, {frames.ENABLE_PUSH: 0}, b"")
        self._start = b"\x83" + literal(b":scheme", scheme.encode("ascii"))  # 0x83 is `:method: POST`.
        self._middle = (
            literal(b":authority", authority.encode("ascii"))
            + literal(b"te", b"trailers")
            + literal(b"content-type", b"application/grpc")
            + literal(b"user-agent", b"ostraka")
        )
        self._next_id = 1
        self._most_streams = STREAMS_BEFORE_SETTINGS
        self._queue: deque[ClientCall] = deque()

    def unary(
        self,
        path: str,
        message: bytes,
        done: Done,
        now: Instant,
        deadline: Instant | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> ClientCall:
        """Call with one message; `done` gets the outcome, perhaps before this returns (if the call is refused).

        Times are ns on the clock of `feed`. ValueError for metadata that can't be sent.
        """
        call = ClientCall(self, self._block(path, metadata), deadline, None, done)
        call.send(message)
        call.half_close()
        self._open(call, now)
        return call

    def stream(
        self,
        path: str,
        caller: Caller,
        now: Instant,
        deadline: Instant | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> ClientCall:
        """Open a call with any number of messages either way; as `unary` otherwise."""
        call = ClientCall(self, self._block(path, metadata), deadline, caller, None)
        self._open(call, now)
        return call

    def shutdown(self) -> None:
        """Open no more calls; when the last one is over, be `closed`."""
        self._stop(Outcome(Status.UNAVAILABLE, "the connection is shutting down", refused=True))

    def dequeue(self, call: ClientCall) -> None:
        """This call no longer waits for a place."""
        self._queue.remove(call)

    def _block(self, path: str, metadata: Iterable[tuple[str, str]]) -> bytes:
        return self._start + literal(b":path", path.encode("latin-1")) + self._middle + metadata_block(metadata)

    def _open(self, call: ClientCall, now: Instant) -> None:
        self.now = now
        if self.closed or self.draining:
            reason = f"the connection is closed: {self.reason}" if self.closed else "the connection is shutting down"
            call.aborted(Status.UNAVAILABLE, reason, True)
        elif len(self._queue) >= MOST_QUEUED:
            call.aborted(Status.RESOURCE_EXHAUSTED, f"{MOST_QUEUED} calls wait for a place on the connection", True)
        else:
            self._queue.append(call)
            self._start_queued()
            if call.deadline is not None and not call.id:
                # It still waits. The id 0 is no stream's: it only makes sure that `expire` is called.
                self.deadlines.add(0, call.deadline)

    def _start_queued(self) -> None:
        """Start calls as there is room for them, in their order."""
        while self._queue and len(self.streams) < self._most_streams and not self.closed and not self.draining:
            if self._next_id > frames.LARGEST_STREAM_ID:
                self._stop(Outcome(Status.UNAVAILABLE, "the connection has used up its stream ids", refused=True))
                return
            call = self._queue.popleft()
            self.streams[self._next_id] = call
            self._next_id += 2
            call.start(self._next_id - 2, self.now)

    def _stop(self, outcome: Outcome) -> None:
        self.draining = True
        queued, self._queue = self._queue, deque()
        for call in queued:
            call.aborted(Status(outcome.status), outcome.message, True)
        self.finish_draining()

    # What the connection tells us.

    def headers_arrived(self, stream_id: int, ends: bool, block: bytes) -> None:
        """See `FrameReader`."""
        call = self.streams.get(stream_id)
        first = call is not None and not call.has_head
        head, _ = self.blocks.read(block, RESPONSES if first else TRAILERS)
        if call is None or call.state & PEER_ENDED:
            if self.is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which is not open")
            self.headers_on_closed(stream_id)
        elif first:
            call.head_arrived(head, ends)
        elif head.malformed or not ends:
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR, head.malformed or "trailers without the end of the stream")
        else:
            call.trailers_arrived(head)

    def data_arrived(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """See `FrameReader`."""
        call = self.streams.get(stream_id)
        if call is None or call.state & PEER_ENDED:
            self.data_on_closed(stream_id, end - start)
        elif not call.has_head:
            self.consume(end - start)
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS")
        else:
            self.data_on_open(call, flags, data[start:end], end - start)

    def forget(self, stream: Stream) -> None:
        """See `Connection`. A place is free."""
        super().forget(stream)
        self._start_queued()

    def ended(self) -> None:
        """See `Connection`. What waits has never left."""
        self._stop(Outcome(Status.UNAVAILABLE, f"the connection ended: {self.reason}", refused=True))

    def is_idle(self, stream_id: int) -> bool:
        """See `Connection`. Nobody has allowed the server to open streams."""
        return stream_id >= self._next_id or not stream_id & 1

    def opened(self) -> int:
        """See `Connection`."""
        return self._next_id >> 1

    def last_peer_stream(self) -> int:
        """See `Connection`."""
        return 0

    def setting_arrived(self, key: int, value: int) -> None:
        """See `Connection`."""
        if key == frames.MAX_CONCURRENT_STREAMS:
            self._most_streams = value
            self._start_queued()
        elif key == frames.ENABLE_PUSH and value:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a server can't enable push")

    def goaway_arrived(self, last: int, code: int, text: str) -> None:
        """See `FrameReader`. Calls after `last` were not executed. (RFC 9113 §6.8)"""
        reason = f"the server is going away: {name_of(code)}" + (f" ({text})" if text else "")
        self.draining = True
        for call in [call for stream_id, call in self.streams.items() if stream_id > last]:
            self.forget(call)
            call.aborted(Status.UNAVAILABLE, reason, True)
        self._stop(Outcome(Status.UNAVAILABLE, reason, refused=True))

    def expire(self, now: Instant) -> None:
        """See `Connection`. Calls that wait for a place run out of time too."""
        super().expire(now)
        for call in [call for call in self._queue if call.deadline is not None and call.deadline <= now]:
            call.give_up(Status.DEADLINE_EXCEEDED, "context deadline exceeded")

    def expired(self, stream: ClientCall) -> None:
        """See `Connection`."""
        stream.give_up(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
