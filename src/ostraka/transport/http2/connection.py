"""What both sides of a connection do: frames, settings, windows, pings, resets, and the end of it all.

Follows:  RFC 9113 §4 to §6, §10.5 (denial of service).
Words:    *feed* takes what came in, *take* hands out what goes out: one joined write for each turn of the loop.
          *Chatter* is frames that cost us work and move nothing: pings, settings, empty data, priorities.
Departs:  priorities are read and ignored (RFC 9113 §5.3.2). Frames on a stream that the peer had ended are always
          connection errors, as §5.4.1 allows; on one that we reset they are ignored, for they crossed our reset.
Evidence: tests/transport/http2/test_server_protocol.py (each error), test_hostile.py (any bytes, any chunks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from ostraka.model.ids import Instant
from ostraka.transport.http2 import frames
from ostraka.transport.http2.blocks import LARGEST_HEADER_LIST, BlockReader
from ostraka.transport.http2.deadlines import Deadlines
from ostraka.transport.http2.errors import ConnectionFault, ErrorCode, Status, name_of, status_of_reset
from ostraka.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    read_head,
)
from ostraka.transport.http2.stream import OVER, PEER_ENDED, STREAM_WINDOW, Stream

CONNECTION_WINDOW = 16 << 20
"""Bytes that a peer may send on all streams ahead of their consumers."""

CONNECTION_CREDIT = CONNECTION_WINDOW // 4
"""Bytes that are consumed before the peer is told."""

LARGEST_SENT_FRAME = 1 << 16
"""We send no larger frames, whatever the peer would take, so that streams share the connection fairly."""

SHARE = 4 * FRAME_SIZE
"""Bytes of one waiting stream that are sent before it is the next one's turn."""

MOST_CONTINUATIONS = 16
"""CONTINUATION frames of one header block."""

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


class Connection(Generic[StreamType]):
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
        self.on_output = on_output
        self.largest_message = largest_message
        self.closed = False
        self.reason = ""  # Why it is closed.
        self.now = now
        self.streams: dict[int, StreamType] = {}
        self.waiting: dict[int, Stream] = {}  # Streams with unsent bytes, the next to be served first.
        self.send_window = DEFAULT_WINDOW
        self.peer_stream_window = DEFAULT_WINDOW
        self.peer_frame_size = FRAME_SIZE
        self.work = 0  # Useful frames, roughly: what chatter is weighed against.
        self.out: list[bytes | memoryview] = []
        self.blocks = BlockReader()
        self.deadlines = Deadlines()
        self.draining = False
        self._congested: int | None = None  # The send window, while the transport is full.
        self._awaited = awaited  # What is left of the preface.
        self._guarded = True  # Only certain frames may come now.
        self._greeted = False  # The peer's first SETTINGS have come.
        self._pieces: list[bytes] = []  # An incomplete frame,
        self._gathered = 0  # how much there is of it,
        self._needed = 0  # and how much is needed to go on.
        self._block_stream = 0  # The stream whose header block is incomplete; 0 is none.
        self._block_ends = False
        self._block_pieces: list[bytes] = []
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

    def headers_arrived(self, stream_id: int, ends: bool, block: bytes) -> None:
        """A whole header block."""
        raise NotImplementedError

    def data_arrived(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """A DATA frame without padding: `data[start:end]`."""
        raise NotImplementedError

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

    def goaway_arrived(self, last: int, code: int, text: str) -> None:
        """The peer wants to end the connection, and won't look at streams of ours after `last`."""
        raise NotImplementedError

    def pong_arrived(self, payload: bytes) -> None:
        """A ping of ours came back."""
        raise NotImplementedError

    def expired(self, stream: StreamType) -> None:
        """The deadline of a call that is still open has passed."""
        raise NotImplementedError

    # What the transport calls.

    def feed(self, data: bytes, now: Instant) -> None:
        """Take what arrived at `now` (ns, monotonic), in any pieces. Handlers are called from here."""
        if self.closed or not data:
            return
        self.now = now
        if self._pieces:
            self._pieces.append(data)
            self._gathered += len(data)
            if self._gathered < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        try:
            used = self._read_preface(data) if self._awaited else 0
            used = self._read_frames(data, used)
        except ConnectionFault as fault:
            self.close(fault.code, fault.reason)
            return
        if used < len(data) and not self.closed:
            self._pieces.append(data[used:])
            self._gathered = len(data) - used

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
            self.release(stream.inbox.held)
            stream.inbox.held = 0
            stream.inbox.pieces.clear()
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

    def _read_preface(self, data: bytes) -> int:
        part = data[: len(self._awaited)]
        if not self._awaited.startswith(part):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2: the preface is missing")
        self._awaited = self._awaited[len(part) :]
        return len(part)

    def _read_frames(self, data: bytes, at: int) -> int:
        """Act on all whole frames; returns where the first incomplete one starts."""
        size = len(data)
        while not self.closed:
            start = at + 9
            if start > size:
                self._needed = 9
                break
            word, flags, stream_id = read_head(data, at)
            end = start + (word >> 8)
            kind = word & 0xFF
            if end - start > FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {end - start} bytes")
            if end > size:
                self._needed = end - at
                break
            if self._guarded:
                self._check_order(kind, flags, stream_id & LARGEST_STREAM_ID)
            if kind == DATA and not flags & PADDED:
                self.data_arrived(stream_id & LARGEST_STREAM_ID, flags, data, start, end)
            elif kind == HEADERS and flags & (PADDED | HAS_PRIORITY | END_HEADERS) == END_HEADERS:
                self.headers_arrived(stream_id & LARGEST_STREAM_ID, bool(flags & END_STREAM), data[start:end])
            else:
                self._other_frame(kind, flags, stream_id & LARGEST_STREAM_ID, data[start:end])
            at = end
        return at

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        """SETTINGS come first (RFC 9113 §3.4), and nothing comes between the parts of a header block (§4.3)."""
        if not self._greeted:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._greeted = True
            self._guarded = False
        elif kind != CONTINUATION or stream_id != self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame between the parts of a header block")

    def _other_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """All frames that are not the two of the hot path."""
        if kind == WINDOW_UPDATE:
            self._window_update_arrived(stream_id, payload)
        elif kind == PING:
            self._ping_arrived(flags, stream_id, payload)
        elif kind == RST_STREAM:
            self._reset_arrived(stream_id, payload)
        elif kind == SETTINGS:
            self._settings_arrived(flags, stream_id, payload)
        elif kind == HEADERS:
            self._headers_part(flags, stream_id, payload)
        elif kind == CONTINUATION:
            self._continuation_arrived(flags, payload)
        elif kind == DATA:
            self._padded_data(flags, stream_id, payload)
        elif kind == GOAWAY:
            if stream_id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
            last, code = frames.read_goaway(payload)
            self.goaway_arrived(last, code, payload[8:264].decode("utf-8", "replace"))
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody allowed")
        else:
            self._count_chatter()
            if kind == PRIORITY:
                self._priority_arrived(stream_id, payload)

    def _priority_arrived(self, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            if self.is_idle(stream_id):  # There is no stream to reset.
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
            self.reset(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")

    def _unpadded(self, flags: int, payload: bytes) -> bytes:
        """The payload without padding. (RFC 9113 §6.1)"""
        if not flags & PADDED:
            return payload
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without a pad length")
        if payload[0] >= len(payload):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than the frame")
        return payload[1 : len(payload) - payload[0]]

    def _headers_part(self, flags: int, stream_id: int, payload: bytes) -> None:
        """HEADERS with padding, a priority, or CONTINUATION to follow."""
        block = self._unpadded(flags, payload)
        if flags & HAS_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without room for its priority")
            block = block[5:]
        if flags & END_HEADERS:
            self.headers_arrived(stream_id, bool(flags & END_STREAM), block)
            return
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        self._guarded = True
        self._block_stream = stream_id
        self._block_ends = bool(flags & END_STREAM)
        self._block_pieces = [block]

    def _continuation_arrived(self, flags: int, payload: bytes) -> None:
        pieces = self._block_pieces
        if not self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        pieces.append(payload)
        if len(pieces) > MOST_CONTINUATIONS or sum(map(len, pieces)) > LARGEST_HEADER_LIST:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header block of over {LARGEST_HEADER_LIST} bytes")
        if flags & END_HEADERS:
            stream_id, self._block_stream, self._block_pieces = self._block_stream, 0, []
            self._guarded = False
            self.headers_arrived(stream_id, self._block_ends, b"".join(pieces))

    def _padded_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        content = self._unpadded(flags, payload)
        stream = self.streams.get(stream_id)
        if stream is None or stream.state & PEER_ENDED:
            self.data_on_closed(stream_id, len(payload))
        else:
            self.data_on_open(stream, flags, content, len(payload))

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

    def _window_update_arrived(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        increment = frames.read_word(payload) & LARGEST_WINDOW
        if not stream_id:
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

    def _send_waiting(self) -> None:
        """Share the room that there is among the streams that wait for it, in turns."""
        progress = True
        while progress and self.send_window > 0:
            progress = False
            for stream_id, stream in list(self.waiting.items()):
                if self.waiting.pop(stream_id, None) is not None and stream.drain(SHARE):
                    progress = True

    def _ping_arrived(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes long")
        if flags & ACK:
            self.pong_arrived(payload)
            return
        self._count_chatter()
        self._count_answer()
        self.emit(frames.ping(payload, ack=True))

    def _reset_arrived(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        if not stream_id or self.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}, which is not open")
        self._count_reset()
        stream = self.streams.get(stream_id)
        if stream is not None:
            code = frames.read_word(payload)
            self.forget(stream)
            reason = f"the peer reset the stream: {name_of(code)}"
            stream.aborted(status_of_reset(code), reason, code == ErrorCode.REFUSED_STREAM)

    def _settings_arrived(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with a payload")
            self.blocks.confirm()
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6 bytes long")
        self._count_chatter()
        for key, value in frames.read_settings(payload):
            self._apply_setting(key, value)
        self._count_answer()
        self.emit(frames.SETTINGS_ACK)
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
        self._pieces.clear()
        self._block_pieces = []
        for stream in list(self.streams.values()):
            self.forget(stream)
            stream.aborted(Status.UNAVAILABLE, f"the connection ended: {reason}", False)
