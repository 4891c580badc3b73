"""What both sides of a connection do: settings, windows, pings, resets, bounds, and the end of it all.

Follows:  RFC 9113 §5, §6, §10.5 (denial of service).
Words:    *feed* takes what came in, *take* hands out what goes out: one joined write for each turn of the loop.
          *Chatter* is frames that cost us work and move nothing: pings, settings, empty data, priorities.
Departs:  frames on a stream that the peer had ended are always
          connection errors, as §5.4.1 allows; on one that we reset they are ignored, for they crossed our reset.
Evidence: tests/transport/http2/test_server_protocol.py (each error), test_hostile.py (any bytes, any chunks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from ostraka.model.ids import Instant
from ostraka.transport.http2 import frames
from ostraka.transport.http2.blocks import LARGEST_HEADER_LIST, BlockReader
from ostraka.transport.http2.deadlines import Deadlines
from ostraka.transport.http2.errors import ConnectionFault, ErrorCode, Status, status_of_reset
from ostraka.transport.http2.frames import (
    CONTINUATION,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    HEADERS,
    LARGEST_WINDOW,
)
from ostraka.transport.http2.framing import FrameReader
from ostraka.transport.http2.stream import OVER, PEER_ENDED, STREAM_WINDOW, Stream

CONNECTION_WINDOW = 16 << 20
"""Bytes that a peer may send on all streams ahead of their consumers."""

CONNECTION_CREDIT = CONNECTION_WINDOW // 4
"""Bytes that are consumed before the peer is told."""

LARGEST_GATHERED = 64 << 20
"""Bytes of messages in the making on all streams: these can't wait in the peer, or none would ever be whole."""

LARGEST_SENT_FRAME = 1 << 16
"""We send no larger frames, whatever the peer would take, so that streams share the connection fairly."""

SHARE = 4 * FRAME_SIZE
"""Bytes of one waiting stream that are sent before it is the next one's turn."""

MOST_ANSWERS = 2_000
"""Acknowledgements and resets that a peer can make us queue before it reads them."""

CHATTER = 1_000
"""Frames of chatter that are free each second, and for every `CHATTER_WORK` useful ones."""
CHATTER_WORK = 100

RESETS = 1_000
"""Resets after which it is asked whether the peer does anything else ("rapid reset", CVE-2023-44487)."""
RESETS_TIME = 5_000_000_000

ABANDONED = 4_096
"""Streams that we reset and still expect crossing frames on."""

SECOND = 1_000_000_000

StreamType = TypeVar("StreamType", bound=Stream)


class Connection(FrameReader, Generic[StreamType]):
    """One side of one connection. It reads no clock and no socket, and never raises on what a peer sends.

    Give what arrives to `feed`; when `on_output` has been called, write what `take` returns before the turn ends;
    when `closed` is true, close the transport after that. While the transport's buffer is full (`pause_writing`)
    don't feed either: then nothing in here can grow.
    """

    def __init__(
        self,
        on_output: Callable[[], None],
        now: Instant,
        largest_message: int,
        greeting: bytes,
        settings: Mapping[int, int],
        awaited: bytes,
    ) -> None:
        super().__init__(now, awaited)
        self.on_output = on_output
        self.largest_message = largest_message
        self.reason = ""  # Why it is closed.
        self.streams: dict[int, StreamType] = {}
        self.waiting: dict[int, Stream] = {}  # Streams with unsent bytes, the next to be served first.
        self.send_window = DEFAULT_WINDOW
        self.peer_stream_window = DEFAULT_WINDOW
        self.peer_frame_size = FRAME_SIZE
        self.work = 0  # Useful frames, roughly: what chatter is weighed against.
        self.out: list[bytes | memoryview] = []
        self.blocks = BlockReader()
        self.deadlines = Deadlines(self.streams)
        self.draining = False
        self.gathered = 0  # Bytes of messages that are not whole yet.
        self.largest_gathered = max(LARGEST_GATHERED, 2 * largest_message)
        self._pings: dict[bytes, Callable[[], None]] = {}
        self._pinged = 0
        self._congested: int | None = None  # The send window, while the transport is full.
        self.consumed = 0  # Bytes to give back to the peer's connection window.
        self._held = 0  # Bytes that paused consumers will give back.
        self._table_update = b""  # To be said at the start of our next header block.
        self._abandoned: dict[int, None] = {}
        self._answers = 0
        self._chatter = 0
        self._chatter_since: tuple[Instant, int] = (now, 0)
        self._resets = 0
        self._resets_since: tuple[Instant, int] = (now, 0)
        ours = {
            frames.HEADER_TABLE_SIZE: 0,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_HEADER_LIST_SIZE: LARGEST_HEADER_LIST,
            **settings,
        }
        self.emit(greeting + frames.settings(ours) + frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    # What the two sides do differently.

    def is_idle(self, stream_id: int) -> bool:
        """Nobody has opened this stream yet."""
        raise NotImplementedError

    def opened(self) -> int:
        """How many streams there have been."""
        raise NotImplementedError

    def last_peer_stream(self) -> int:
        """The last stream of the peer's that we have looked at."""
        raise NotImplementedError

    def setting_arrived(self, key: int, value: int) -> None:
        """A setting that concerns one side only."""
        raise NotImplementedError

    def ended(self) -> None:
        """The connection is closed, and its streams have been told."""

    def expired(self, stream: StreamType) -> None:
        """The deadline of a call that is still open has passed."""
        raise NotImplementedError

    # What the transport calls.

    def take(self) -> bytes:
        """All that has to be written now."""
        data = b"".join(self.out)
        self.out.clear()
        self._answers = 0
        return data

    def pause_writing(self) -> None:
        """The transport is full: from now on messages are kept, and show up in `unsent`."""
        if self._congested is None:
            self._congested, self.send_window = self.send_window, 0

    def resume_writing(self) -> None:
        """The transport has room again."""
        if self._congested is not None:
            self.send_window, self._congested = self._congested, None
            self._send_waiting()

    def lost(self, reason: str) -> None:
        """The transport is gone: every open call ends."""
        if not self.closed:
            self._end(reason)

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End the connection at once: GOAWAY, and every open call ends."""
        if not self.closed:
            self.emit(frames.goaway(self.last_peer_stream(), code, reason))
            self._end(f"{code.name}: {reason}" if reason else code.name)

    def ping(self, done: Callable[[], None]) -> None:
        """Ask for a sign of life; `done` is called if and when it comes."""
        if not self.closed:
            self._pinged += 1
            payload = self._pinged.to_bytes(8, "big")
            self._pings[payload] = done
            self.emit(frames.ping(payload, ack=False))

    def next_deadline(self) -> Instant | None:
        """Call `expire` then; None while no call has a deadline. It changes with `feed`."""
        return self.deadlines.next()

    def expire(self, now: Instant) -> None:
        """End the calls whose time is over."""
        self.now = now
        for stream_id in self.deadlines.due(now):
            stream = self.streams.get(stream_id)
            if stream is not None:
                self.expired(stream)

    # What streams call.

    def emit(self, data: bytes | memoryview) -> None:
        """Queue bytes for the next `take`."""
        if not self.out:
            self.on_output()
        self.out.append(data)

    def emit_headers(self, stream_id: int, block: bytes, ends: bool) -> None:
        """Queue a header block, in as many frames as it takes."""
        block = self._table_update + block
        self._table_update = b""
        flags = END_STREAM if ends else 0
        kind = HEADERS
        while len(block) > FRAME_SIZE:
            self.emit(frames.frame(kind, flags, stream_id, block[:FRAME_SIZE]))
            block, kind, flags = block[FRAME_SIZE:], CONTINUATION, 0
        self.emit(frames.frame(kind, flags | END_HEADERS, stream_id, block))

    def forget(self, stream: Stream) -> None:
        """This stream is over."""
        stream.state |= OVER
        self.streams.pop(stream.id, None)
        if stream.outbox is not None:
            self.waiting.pop(stream.id, None)
            stream.outbox = None
        if stream.inbox is not None:
            self.gathered -= len(stream.inbox.data)
            self.release(stream.inbox.held)
            stream.inbox.held = 0
            stream.inbox.data = bytearray()
        if self.draining:
            self.finish_draining()

    def finish_draining(self) -> None:
        """Close once the last call is over."""
        if not self.streams and not self.closed:
            self._end("drained")

    def abandon(self, stream: Stream, code: ErrorCode) -> None:
        """Reset a stream of which nobody has to be told."""
        self.emit(frames.rst_stream(stream.id, code))
        if not stream.state & PEER_ENDED:
            self.remember(stream.id)
        self.forget(stream)

    def reset(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        """Reset a stream for the peer's fault, whether we know it or not."""
        self._count_answer()
        self._count_reset()
        stream = self.streams.get(stream_id)
        if stream is None:
            self.emit(frames.rst_stream(stream_id, code))
            self.remember(stream_id)
            return
        self.abandon(stream, code)
        stream.aborted(status_of_reset(code), reason, False)

    def hold(self, size: int) -> None:
        """These bytes wait for a paused consumer."""
        self._held += size

    def release(self, size: int) -> None:
        """These don't any more."""
        self._held -= size
        self.consume(size)

    def consume(self, size: int) -> None:
        """Give room in the connection's window back to the peer, in batches."""
        self.consumed += size
        if self.consumed >= CONNECTION_CREDIT and not self.closed:
            self.emit(frames.window_update(0, self.consumed))
            self.consumed = 0

    # Frames.

    def padded_data_arrived(self, stream_id: int, flags: int, content: bytes, flow: int) -> None:
        """See `FrameReader`."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.state & PEER_ENDED:
            self.data_on_closed(stream_id, flow)
        else:
            self.data_on_open(stream, flags, content, flow)

    def data_on_open(self, stream: Stream, flags: int, content: bytes, flow: int) -> None:
        """A DATA frame that is not simply one whole message. `flow` is its length with padding."""
        ends = bool(flags & END_STREAM)
        if content:
            self.work += 1
        elif not ends:
            self._count_chatter()
        if stream.inbox is None or not stream.inbox.paused:
            self.consume(flow)
        elif self.consumed + self._held + flow > CONNECTION_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window had room for")
        stream.data_arrived(content, flow, ends)

    def data_on_closed(self, stream_id: int, flow: int) -> None:
        """A DATA frame on a stream that isn't there. (RFC 9113 §5.1)"""
        self.consume(flow)
        if not stream_id or self.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"DATA on stream {stream_id}, which is not open")
        if stream_id not in self._abandoned:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"DATA on stream {stream_id} after its end")
        self._count_chatter()

    def headers_on_closed(self, stream_id: int) -> None:
        """A header block on a stream that isn't there any more."""
        if stream_id not in self._abandoned:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"HEADERS on stream {stream_id} after its end")
        self._count_chatter()

    def window_update_arrived(self, stream_id: int, increment: int) -> None:
        """See `FrameReader`. (RFC 9113 §6.9)"""
        if not stream_id:
            self._connection_window_opens(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on stream {stream_id}, not open yet")
        elif not increment:
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        elif self.peer_stream_window + stream.window + increment > LARGEST_WINDOW:
            self.reset(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window is over 2^31-1")
        else:
            stream.window += increment
            stream.drain(LARGEST_WINDOW)

    def _connection_window_opens(self, increment: int) -> None:
        window = increment + (self.send_window if self._congested is None else self._congested)
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if window > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is over 2^31-1")
        if self._congested is None:
            self.send_window = window
            self._send_waiting()
        else:
            self._congested = window

    def _send_waiting(self) -> None:
        """Share the room that there is among the streams that wait for it, in turns."""
        while self.waiting and self.send_window > 0:
            self.waiting.pop(next(iter(self.waiting))).drain(SHARE)

    def ping_arrived(self, payload: bytes) -> None:
        """See `FrameReader`."""
        self._count_chatter()
        self._count_answer()
        self.emit(frames.ping(payload, ack=True))

    def pong_arrived(self, payload: bytes) -> None:
        """See `FrameReader`."""
        done = self._pings.pop(payload, None)
        if done is not None:
            done()

    def idle_frame_arrived(self) -> None:
        """See `FrameReader`."""
        self._count_chatter()

    def bad_priority_arrived(self, stream_id: int) -> None:
        """See `FrameReader`."""
        if self.is_idle(stream_id):  # There is no stream to reset.
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
        self.reset(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")

    def reset_arrived(self, stream_id: int, code: int) -> None:
        """See `FrameReader`."""
        if self.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}, which is not open")
        self._count_reset()
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.was_reset(code)

    def settings_confirmed(self) -> None:
        """See `FrameReader`."""
        self.blocks.confirm()

    def settings_arrived(self, values: Sequence[tuple[int, int]]) -> None:
        """See `FrameReader`."""
        self._count_chatter()
        self._count_answer()
        for key, value in values:
            self._apply_setting(key, value)
        self.emit(frames.SETTINGS_ACK)
        if any(key == frames.INITIAL_WINDOW_SIZE for key, _ in values):
            self.waiting.update((stream.id, stream) for stream in self.streams.values() if stream.outbox is not None)
            self._send_waiting()

    def _apply_setting(self, key: int, value: int) -> None:
        """One setting of the peer's. (RFC 9113 §6.5.2)"""
        if key == frames.INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is over 2^31-1")
            # Each stream's window is this one plus its own difference, so all open streams are adjusted at once.
            if any(value + stream.window > LARGEST_WINDOW for stream in self.streams.values()):
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window overflow")
            self.peer_stream_window = value
        elif key == frames.MAX_FRAME_SIZE:
            if not FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            self.peer_frame_size = min(value, LARGEST_SENT_FRAME)
        elif key == frames.HEADER_TABLE_SIZE:
            if value < frames.DEFAULT_HEADER_TABLE:
                self._table_update = b"\x20"  # Our encoder empties the peer's table, and uses it no more.
                self.setting_arrived(key, value)
        elif key == frames.ENABLE_PUSH:
            if value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
            self.setting_arrived(key, value)
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self.setting_arrived(key, value)

    # Bounds and ends.

    def remember(self, stream_id: int) -> None:
        self._abandoned[stream_id] = None
        if len(self._abandoned) > ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]

    def _count_answer(self) -> None:
        self._answers += 1
        if self._answers > MOST_ANSWERS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"{MOST_ANSWERS} answers wait to be read")

    def _count_chatter(self) -> None:
        """A ping for each reply (as grpc-go's estimator of bandwidth sends) is fine, a thousand for nothing are not."""
        self._chatter += 1
        if self._chatter < CHATTER:
            return
        work = self.work + self.opened()
        since, work_then = self._chatter_since
        if self.now - since < SECOND and work - work_then < CHATTER_WORK:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do nothing")
        self._chatter, self._chatter_since = 0, (self.now, work)

    def _count_reset(self) -> None:
        """Cancelling is fine; opening streams only to have them reset is not."""
        self._resets += 1
        if self._resets < RESETS:
            return
        since, opened_then = self._resets_since
        if self.now - since < RESETS_TIME and self.opened() - opened_then < 2 * RESETS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams are reset")
        self._resets, self._resets_since = 0, (self.now, self.opened())

    def _end(self, reason: str) -> None:
        self.closed = True
        self.reason = reason
        self.drop_input()
        self._pings.clear()
        for stream in list(self.streams.values()):
            self.forget(stream)
            stream.aborted(Status.UNAVAILABLE, f"the connection ended: {reason}", False)
        self.ended()
