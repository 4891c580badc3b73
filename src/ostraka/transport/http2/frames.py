"""Frames: their types, flags and sizes, and the bytes of those that both sides send.

Follows:  RFC 9113 §4.1 (format), §6 (definitions), §6.5.2 (settings).
Departs:  a frame is never an object: `connection.py` reads the fields straight out of the buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first. (RFC 9113 §3.4)"""

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

FRAME_SIZE = 16_384
"""The largest payload that we accept: the default, which every peer may send, and most never exceed."""

LARGEST_FRAME_SIZE = 2**24 - 1
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LARGEST_STREAM_ID = 2**31 - 1
DEFAULT_HEADER_TABLE = 4_096

HEAD = Struct(">IBI")
"""A frame's nine bytes: length and type in one word (length << 8 | type), flags, stream id."""

PREFIX = Struct(">BI")
"""A gRPC message's five bytes: compressed or not, length."""

_SETTING = Struct(">HI")
_WORD = Struct(">I")
_TWO_WORDS = Struct(">II")

read_head = HEAD.unpack_from
read_prefix = PREFIX.unpack_from


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """Our settings, in the order given."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings in a payload whose length has been checked, in the order in which they must be applied."""
    return list(_SETTING.iter_unpack(payload))


def read_word(payload: bytes) -> int:
    """The 32 bits of a WINDOW_UPDATE or a RST_STREAM."""
    value: int = _WORD.unpack(payload)[0]
    return value


def read_goaway(payload: bytes) -> tuple[int, int]:
    """The last stream id and the error code of a GOAWAY."""
    last, code = _TWO_WORDS.unpack_from(payload)
    return last & LARGEST_STREAM_ID, code


def rst_stream(stream_id: int, code: int) -> bytes:
    """End one stream abruptly."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Let the peer send so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(increment))


def ping(payload: bytes, *, ack: bool) -> bytes:
    """Eight bytes that come back."""
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int, code: int, reason: str) -> bytes:
    """No stream after `last_stream_id` was or will be looked at."""
    return frame(GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream_id, code) + reason.encode()[:256])


SETTINGS_ACK = frame(SETTINGS, ACK, 0)
