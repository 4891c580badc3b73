"""Whole frames out of bytes in any pieces, with every check that one frame alone allows.

Follows:  RFC 9113 §3.4 (preface), §4.1 to §4.3, §6 (sizes, stream 0, padding), §6.10 (CONTINUATION).
Departs:  no frame objects: DATA and HEADERS, the hot path, are handed on as places in the buffer, all others as
          the values in them. Priorities are read and dropped (§5.3.2).
Evidence: tests/transport/http2/test_server_protocol.py, test_hostile.py (any bytes, in any pieces).
"""

from __future__ import annotations

from collections.abc import Sequence

from ostraka.model.ids import Instant
from ostraka.transport.http2.blocks import LARGEST_HEADER_LIST
from ostraka.transport.http2.errors import ConnectionFault, ErrorCode
from ostraka.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
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
    read_goaway,
    read_head,
    read_settings,
    read_word,
)

MOST_CONTINUATIONS = 16
"""CONTINUATION frames of one header block."""

_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_NAMES = {PRIORITY: "PRIORITY", RST_STREAM: "RST_STREAM", PING: "PING", WINDOW_UPDATE: "WINDOW_UPDATE"}

_OF_THE_CONNECTION = frozenset((SETTINGS, PING, GOAWAY))
_OF_A_STREAM = frozenset((DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION))


class FrameReader:
    """Cuts what arrives into frames, and calls the method that is named for each."""

    def __init__(self, now: Instant, awaited: bytes) -> None:
        self.closed = False
        self.now = now
        self._awaited = awaited  # What is left of the preface.
        self._guarded = True  # Only certain frames may come now.
        self._greeted = False  # The peer's first SETTINGS have come.
        self._pieces: list[bytes] = []  # An incomplete frame,
        self._gathered = 0  # how much there is of it,
        self._needed = 0  # and how much is needed to go on.
        self._block_stream = 0  # The stream whose header block is incomplete; 0 is none.
        self._block_ends = False
        self._block_pieces: list[bytes] = []

    # What happens.

    def headers_arrived(self, stream_id: int, ends: bool, block: bytes) -> None:
        """A whole header block."""
        raise NotImplementedError

    def data_arrived(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        """A DATA frame without padding: `data[start:end]`."""
        raise NotImplementedError

    def padded_data_arrived(self, stream_id: int, flags: int, content: bytes, flow: int) -> None:
        """A DATA frame that had padding: `flow` bytes with it."""
        raise NotImplementedError

    def window_update_arrived(self, stream_id: int, increment: int) -> None:
        """We may send so many bytes more."""
        raise NotImplementedError

    def reset_arrived(self, stream_id: int, code: int) -> None:
        """The peer ended a stream abruptly."""
        raise NotImplementedError

    def settings_arrived(self, values: Sequence[tuple[int, int]]) -> None:
        """The peer's settings, to be applied in this order."""
        raise NotImplementedError

    def settings_confirmed(self) -> None:
        """The peer has applied our settings."""
        raise NotImplementedError

    def ping_arrived(self, payload: bytes) -> None:
        """The peer wants these eight bytes back."""
        raise NotImplementedError

    def pong_arrived(self, payload: bytes) -> None:
        """A ping of ours came back."""
        raise NotImplementedError

    def goaway_arrived(self, last: int, code: int, text: str) -> None:
        """The peer wants to end the connection, and won't look at streams of ours after `last`."""
        raise NotImplementedError

    def idle_frame_arrived(self) -> None:
        """A priority, or a frame of a type that nobody knows."""
        raise NotImplementedError

    def bad_priority_arrived(self, stream_id: int) -> None:
        """A priority of the wrong size: the one frame whose size is the stream's error. (RFC 9113 §6.3)"""
        raise NotImplementedError

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End the connection."""
        raise NotImplementedError

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

    def drop_input(self) -> None:
        """Nothing more will be read."""
        self._pieces.clear()
        self._block_pieces = []

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
        size = _SIZES.get(kind)
        if size is not None and size != len(payload) and kind != PRIORITY:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{_NAMES[kind]} is not {size} bytes long")
        if kind in (_OF_THE_CONNECTION if stream_id else _OF_A_STREAM):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
        if kind == WINDOW_UPDATE:
            self.window_update_arrived(stream_id, read_word(payload) & LARGEST_WINDOW)
        elif kind == PING:
            if flags & ACK:
                self.pong_arrived(payload)
            else:
                self.ping_arrived(payload)
        elif kind == RST_STREAM:
            self.reset_arrived(stream_id, read_word(payload))
        elif kind == SETTINGS:
            self._settings(flags, payload)
        elif kind == HEADERS:
            self._headers_part(flags, stream_id, payload)
        elif kind == CONTINUATION:
            self._continuation(flags, payload)
        elif kind == DATA:
            self.padded_data_arrived(stream_id, flags, _unpadded(payload), len(payload))
        elif kind == GOAWAY:
            if len(payload) < 8:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
            last, code = read_goaway(payload)
            self.goaway_arrived(last, code, payload[8:264].decode("utf-8", "replace"))
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody allowed")
        elif kind == PRIORITY and len(payload) != 5:
            self.bad_priority_arrived(stream_id)
        else:
            self.idle_frame_arrived()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with a payload")
            self.settings_confirmed()
        elif len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6 bytes long")
        else:
            self.settings_arrived(read_settings(payload))

    def _headers_part(self, flags: int, stream_id: int, payload: bytes) -> None:
        """HEADERS with padding, a priority, or CONTINUATION to follow."""
        block = _unpadded(payload) if flags & PADDED else payload
        if flags & HAS_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without room for its priority")
            block = block[5:]
        if flags & END_HEADERS:
            self.headers_arrived(stream_id, bool(flags & END_STREAM), block)
            return
        self._guarded = True
        self._block_stream = stream_id
        self._block_ends = bool(flags & END_STREAM)
        self._block_pieces = [block]

    def _continuation(self, flags: int, payload: bytes) -> None:
        pieces = self._block_pieces
        if not self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        pieces.append(payload)
        if len(pieces) > MOST_CONTINUATIONS or sum(map(len, pieces)) > LARGEST_HEADER_LIST:
            text = f"a header block of over {LARGEST_HEADER_LIST} bytes, or in over {MOST_CONTINUATIONS} frames"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, text)
        if flags & END_HEADERS:
            stream_id, self._block_stream, self._block_pieces = self._block_stream, 0, []
            self._guarded = False
            self.headers_arrived(stream_id, self._block_ends, b"".join(pieces))


def _unpadded(payload: bytes) -> bytes:
    """The payload of a padded frame without the padding. (RFC 9113 §6.1)"""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without a pad length")
    if payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
