"""The server's side: calls come in, by path, and are answered now or later.

Follows:  "gRPC over HTTP2" (Responses; trailers-only), RFC 9113 §6.8 (a graceful end in two GOAWAYs).
Words:    a *receiver* is who is told what happens on a streaming call.
Departs:  the two fields of every successful reply, `content-type: application/grpc` and `grpc-status: 0`, are put
          into the peer's dynamic table when first used, so that a reply's header blocks are two bytes and one byte
          long and cost the client nothing to decode. Nothing else is ever put there.
Evidence: tests/transport/http2/test_server_protocol.py, test_pair.py, test_grpcio.py (against grpc's own client).
          A unary call, in and out, costs 3.3 µs of CPU interpreted, 7 with a timeout (benchmarks/http2_micro.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Protocol

from ostraka.model.ids import Instant
from ostraka.transport.http2 import frames
from ostraka.transport.http2.blocks import REQUESTS, TRAILERS
from ostraka.transport.http2.connection import CONNECTION_CREDIT, Connection
from ostraka.transport.http2.errors import ConnectionFault, ErrorCode, Status
from ostraka.transport.http2.frames import DATA, END_HEADERS, END_STREAM, FRAME_SIZE, HEADERS, PREFIX, read_prefix
from ostraka.transport.http2.headers import (
    RequestHead,
    indexed_literal,
    literal,
    metadata_block,
    write_message,
)
from ostraka.transport.http2.stream import ENDED, OVER, PEER_ENDED, Inbox, Stream

MOST_STREAMS = 1_000
"""Calls that a connection may have open at once; one more is refused unseen, and safe to retry."""

LARGEST_REQUEST = 2 << 20
"""Bytes of one message that a server takes: etcd's 1.5 MiB for a request, and its 512 KiB for what is around it."""

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_STATUS_OK = (b"grpc-status", b"0")
_STATUS_200 = b"\x88"
_PLAIN_HEAD = _STATUS_200 + literal(*_CONTENT_TYPE)
_PLAIN_OK = literal(*_STATUS_OK)

# The entries of the peer's table as we fill it: the newest is number 62 (RFC 7541 §2.3.3).
_FIRST_HEAD = _STATUS_200 + indexed_literal(*_CONTENT_TYPE)
_NEXT_HEAD = _STATUS_200 + b"\xbe"
_FIRST_OK = indexed_literal(*_STATUS_OK)
_LATER_HEAD = _STATUS_200 + b"\xbf"
_LATER_OK = b"\xbe"

_QUICK_START = Struct(">IBI2sIBIBI").pack
_QUICK_END = Struct(">IBIB").pack
_WORD_HEAD = len(_LATER_HEAD) << 8 | HEADERS
_WORD_OK = len(_LATER_OK) << 8 | HEADERS
_LAST_HEADERS = END_HEADERS | END_STREAM


class Receiver(Protocol):
    """Who serves one streaming call."""

    def on_message(self, message: bytes) -> None:
        """The next message. `call.pause()` keeps further ones back."""

    def on_half_close(self) -> None:
        """The client will send no more. The call stays open until it is finished."""

    def on_cancel(self) -> None:
        """The call is over without having been finished: cancelled, out of time, or its connection lost."""

    def on_drained(self) -> None:
        """All that was queued is on its way: `call.unsent` is 0 again."""


UnaryHandler = Callable[["ServerCall", bytes], None]
StreamHandler = Callable[["ServerCall"], Receiver]


class Route:
    """Who serves one method: exactly one of the two is set."""

    __slots__ = ("stream", "unary")

    def __init__(self, unary: UnaryHandler | None, stream: StreamHandler | None) -> None:
        self.unary = unary
        self.stream = stream


class Router:
    """The methods of a server, by path. One router serves all its connections."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self._services: set[str] = set()

    def unary(self, path: str, handler: UnaryHandler) -> None:
        """`handler(call, message)` gets each call of `/package.Service/Method` with its one message."""
        self._add(path, Route(handler, None))

    def stream(self, path: str, handler: StreamHandler) -> None:
        """`handler(call)` gets each call of `/package.Service/Method` as it opens, and says who serves it."""
        self._add(path, Route(None, handler))

    def _add(self, path: str, route: Route) -> None:
        slash, service, method = path.split("/")
        assert not slash and service and method and path not in self.routes, f"{path}: not a path, or routed twice"
        self.routes[path] = route
        self._services.add(service)

    def explain(self, path: str) -> str:
        """Why there is no such method, in the words that grpc-go uses."""
        service, slash, method = path.removeprefix("/").rpartition("/")
        if not slash:
            return f'malformed method name: "{path}"'
        if service not in self._services:
            return f"unknown service {service}"
        return f"unknown method {method} for service {service}"


class ServerCall(Stream):
    """One call, from its headers to its status. Answer it in any later turn, or out of order."""

    __slots__ = ("_begun", "_message", "_receiver", "_server", "deadline", "head", "on_cancel", "unary")

    def __init__(
        self, server: ServerConnection, stream_id: int, head: RequestHead, deadline: Instant | None, route: Route
    ) -> None:
        super().__init__(server, stream_id)
        self.head = head
        self.deadline = deadline  # When it runs out of time (ns); None if it may take for ever.
        self.on_cancel: Callable[[], None] | None = None  # For unary calls: told as a receiver's `on_cancel` is.
        self._server = server
        self.unary = route.unary  # None for a streaming call.
        self._receiver: Receiver | None = None
        self._message: bytes | None = None
        self._begun = False  # Our first header block has left.

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        return self.head.path

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's fields, `user-agent` among them. Shared between calls; can't be changed."""
        return self.head.metadata

    @property
    def over(self) -> bool:
        """Answered, or cancelled: nothing that is sent now will reach anyone, and sending does nothing."""
        return bool(self.state & (ENDED | OVER))

    @property
    def cancelled(self) -> bool:
        """Over, and not because we answered."""
        return self.state & (ENDED | OVER) == OVER

    # Answering.

    def reply(self, message: bytes) -> None:
        """Answer with one message and the status OK."""
        server = self._server
        size = len(message) + 5
        if (
            self.state == PEER_ENDED
            and server.quick
            and self.inbox is None
            and not self._begun
            and size <= FRAME_SIZE
            and size <= server.send_window
            and size <= server.peer_stream_window + self.window
        ):
            server.send_window -= size
            self.state = PEER_ENDED | ENDED | OVER
            stream_id = self.id
            del server.streams[stream_id]
            out = server.out
            if not out:
                server.on_output()
            start = _QUICK_START(
                _WORD_HEAD, END_HEADERS, stream_id, _LATER_HEAD, size << 8 | DATA, 0, stream_id, 0, size - 5
            )
            out.append(start + message + _QUICK_END(_WORD_OK, _LAST_HEADERS, stream_id, 0xBE))
        else:
            self.send(message)
            self.finish()

    def send(self, message: bytes) -> None:
        """Send one of several messages. It may have to wait: see `unsent`."""
        if self.state & (ENDED | OVER):
            return
        if not self._begun:
            self._begun = True
            server = self._server
            server.emit_headers(self.id, server.reply_head(), False)
        self.write(PREFIX.pack(0, len(message)) + message)

    def send_all(self, messages: Iterable[bytes]) -> None:
        """Send these one after the other. What is too much to wait is so for all of them together."""
        if self.state & (ENDED | OVER):
            return
        if not self._begun:
            self._begun = True
            self._server.emit_headers(self.id, self._server.reply_head(), False)
        self.write(b"".join(PREFIX.pack(0, len(message)) + message for message in messages))

    def fail(self, code: int, message: str, trailers: Iterable[tuple[str, str]] = ()) -> None:
        """End the call with a status that is not OK."""
        self.finish(code, message, trailers)

    def finish(self, status: int = 0, message: str = "", trailers: Iterable[tuple[str, str]] = ()) -> None:
        """End the call once all that was sent has left. ValueError for trailers that can't be sent."""
        if self.state & (ENDED | OVER):
            return
        if self._begun and not status and not message and not trailers:
            quick = self.outbox is None
            self.write_tail(self._server.ok_tail() if quick else _PLAIN_OK)
            return
        block = literal(b"grpc-status", b"%d" % status)
        if message:
            block += literal(b"grpc-message", write_message(message))
        block += metadata_block(trailers)
        # A queued block must not depend on the table, for others overtake it: so all of these are literals.
        self.write_tail(block if self._begun else _PLAIN_HEAD + block)

    # What the stream tells us.

    def message_arrived(self, message: bytes) -> None:
        """See `Stream`."""
        if self._receiver is not None:
            self._receiver.on_message(message)
        elif self._message is None:
            self._message = message
        else:
            self.refuse_input(Status.INTERNAL, "a unary call has exactly one message, and this is the second")

    def input_ended(self) -> None:
        """See `Stream`."""
        if self._receiver is not None:
            self._receiver.on_half_close()
        elif self.unary is not None and self._message is not None:
            message, self._message = self._message, None
            self.unary(self, message)
        else:
            self.refuse_input(Status.INTERNAL, "a unary call has exactly one message, and there was none")

    def drained(self) -> None:
        """See `Stream`."""
        if self._receiver is not None:
            self._receiver.on_drained()

    def send_tail(self, tail: bytes) -> None:
        """See `Stream`. The tail is a header block."""
        connection = self._server
        connection.emit_headers(self.id, tail, True)
        if self.state & PEER_ENDED:
            connection.forget(self)
        else:
            # We have answered all there is to answer: the client can stop sending. (RFC 9113 §8.1)
            connection.abandon(self, ErrorCode.NO_ERROR)

    def refuse_input(self, status: Status, message: str) -> None:
        """See `Stream`."""
        if not self.over:
            self.finish(status, message)
            self._tell_cancelled()

    def aborted(self, status: Status, reason: str, refused: bool) -> None:
        """See `Stream`."""
        if not self.state & ENDED:
            self._tell_cancelled()

    def expire(self) -> None:
        """The deadline has passed."""
        self.refuse_input(Status.DEADLINE_EXCEEDED, "context deadline exceeded")

    def _tell_cancelled(self) -> None:
        if self._receiver is not None:
            self._receiver.on_cancel()
        elif self.on_cancel is not None:
            self.on_cancel()

    def encoding(self) -> str:
        """See `Stream`."""
        return self.head.encoding

    def begin(self, route: Route) -> None:
        """Find out who serves this call. A call with a promised length is counted from the start."""
        if self.head.content_length is not None:
            self.inbox = Inbox(self.head.content_length)
        if route.stream is not None:
            self._receiver = route.stream(self)


class ServerConnection(Connection[ServerCall]):
    """A client's connection: see `Connection` for feeding it, `Router` for who is called.

    Handlers are called from within `feed`, `expire`, `lost`, `close` and `resume_writing`. What a handler raises
    comes out there, and leaves the connection unfit for further use.
    """

    def __init__(
        self, router: Router, on_output: Callable[[], None], now: Instant, largest_message: int = LARGEST_REQUEST
    ) -> None:
        settings = {frames.MAX_CONCURRENT_STREAMS: MOST_STREAMS}
        super().__init__(on_output, now, largest_message, b"", settings, frames.PREFACE)
        self.quick = False  # Both fields are in the peer's table, and nothing special is going on.
        self._router = router
        self._last_id = 0
        self._head = _FIRST_HEAD
        self._ok = _FIRST_OK

    def shutdown(self) -> None:
        """Take no new calls, let the open ones finish, then be `closed`. (RFC 9113 §6.8)

        The first GOAWAY names no stream, since calls may be on their way; the ping's answer comes after those.
        """
        if not self.draining and not self.closed:
            self.emit(frames.goaway(frames.LARGEST_STREAM_ID, ErrorCode.NO_ERROR, "shutting down"))
            self.ping(self._last_call_is_known)

    def _last_call_is_known(self) -> None:
        if not self.draining:
            self.emit(frames.goaway(self._last_id, ErrorCode.NO_ERROR, "shutting down"))
            self.draining = True
            self.quick = False
            self.finish_draining()

    def reply_head(self) -> bytes:
        """The first header block of a reply, to be sent at once."""
        head = self._head
        if head is _FIRST_HEAD:
            self._head = _NEXT_HEAD
        return head

    def ok_tail(self) -> bytes:
        """The last header block of a good reply, to be sent at once."""
        tail = self._ok
        if tail is _FIRST_OK:
            self._ok, self._head = _LATER_OK, _LATER_HEAD
            self.quick = not self.draining
        return tail

    def headers_arrived(self, stream_id: int, ends: bool, block: bytes) -> None:
        """See `Connection`. The hot path: a known block, a new call."""
        if stream_id <= self._last_id or not stream_id & 1:
            self._later_headers(stream_id, ends, block)
            return
        head, timeout = self.blocks.read(block, REQUESTS)
        self._last_id = stream_id
        route = self._router.routes.get(head.path)
        if head.trouble is not None or route is None or self.draining or len(self.streams) >= MOST_STREAMS:
            self._refuse(stream_id, ends, head)
            return
        deadline = None
        if timeout is not None:
            deadline = self.now + timeout
            self.deadlines.add(stream_id, deadline)
        call = ServerCall(self, stream_id, head, deadline, route)
        self.streams[stream_id] = call
        if route.unary is None or head.content_length is not None:
            call.begin(route)
        if ends and not call.state & OVER:
            self.data_on_open(call, END_STREAM, b"", 0)

    def data_arrived(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """See `Connection`. The hot path: one whole message, and the end."""
        call = self.streams.get(stream_id)
        size = end - start
        if call is None or call.state & PEER_ENDED:
            self.data_on_closed(stream_id, size)
            return
        unary = call.unary
        if flags & END_STREAM and unary is not None and call.inbox is None and size >= 5:
            compressed, length = read_prefix(data, start)
            if length == size - 5 and not compressed and length <= self.largest_message:
                self.consumed += size
                if self.consumed >= CONNECTION_CREDIT:
                    self.consume(0)
                call.state = PEER_ENDED
                unary(call, data[start + 5 : end])
                return
        self.data_on_open(call, flags, data[start:end], size)

    def is_idle(self, stream_id: int) -> bool:
        """See `Connection`."""
        return stream_id > self._last_id or not stream_id & 1

    def opened(self) -> int:
        """See `Connection`."""
        return (self._last_id + 1) >> 1

    def last_peer_stream(self) -> int:
        """See `Connection`."""
        return self._last_id

    def setting_arrived(self, key: int, value: int) -> None:
        """See `Connection`. A peer with a small table gets literals."""
        if key == frames.HEADER_TABLE_SIZE:
            self.quick = False
            self._head, self._ok = _PLAIN_HEAD, _PLAIN_OK

    def goaway_arrived(self, last: int, code: int, text: str) -> None:
        """See `Connection`. A client that leaves still waits for its replies."""

    def expired(self, stream: ServerCall) -> None:
        """See `Connection`."""
        stream.expire()

    def _later_headers(self, stream_id: int, ends: bool, block: bytes) -> None:
        """A header block on a stream that was opened before: trailers, which gRPC clients don't send."""
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        head, _ = self.blocks.read(block, TRAILERS)
        call = self.streams.get(stream_id)
        if call is None or call.state & PEER_ENDED:
            self.headers_on_closed(stream_id)
        elif head.malformed or not ends:
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR, head.malformed or "trailers without the end of the stream")
        else:
            self.data_on_open(call, END_STREAM, b"", 0)

    def _refuse(self, stream_id: int, ends: bool, head: RequestHead) -> None:
        """Answer a request that is not going to be a call."""
        if self.draining or len(self.streams) >= MOST_STREAMS:
            self.reset(stream_id, ErrorCode.REFUSED_STREAM, "no room for another stream")
            return
        if head.trouble is None:
            http, status, text = 200, Status.UNIMPLEMENTED, self._router.explain(head.path)
        else:
            http, status, text = head.trouble
        if not http:
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR, text)
            return
        first = _STATUS_200 if http == 200 else literal(b":status", b"%d" % http)
        block = first + literal(*_CONTENT_TYPE) + literal(b"grpc-status", b"%d" % status)
        self.emit_headers(stream_id, block + literal(b"grpc-message", write_message(text)), True)
        if not ends:
            self.emit(frames.rst_stream(stream_id, ErrorCode.NO_ERROR))
            self.remember(stream_id)
