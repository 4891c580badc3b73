"""Header fields: what a request and a response say, checked, and the literals that we write.

Follows:  RFC 9113 §8.1.1 (malformed messages), §8.2 (fields), §8.3 (pseudo-header fields);
          RFC 7541 §6.2.2 (literal without indexing); "gRPC over HTTP2" (grpc-timeout, grpc-message, metadata).
Words:    a *head* is what one header block says. It is shared by all calls whose block has the same bytes.
Departs:  values are read as Latin-1, so that every byte which HTTP allows survives; gRPC itself uses ASCII.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote, unquote

from ostraka.model.ids import Duration
from ostraka.transport.http2.errors import Status

LONGEST_MESSAGE = 4_096
"""Characters of a `grpc-message` that are sent: a peer's limit on header lists may be as low as 8 KiB."""

Field = tuple[bytes, bytes]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_OF_A_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_OF_GRPC = frozenset((b"content-type", b"te", b"content-length"))

_UNITS: dict[bytes, Duration] = {
    b"n": 1,
    b"u": 1_000,
    b"m": 1_000_000,
    b"S": 1_000_000_000,
    b"M": 60_000_000_000,
    b"H": 3_600_000_000_000,
}


class Malformed(Exception):
    """The fields break HTTP's rules: the stream is reset with PROTOCOL_ERROR. (RFC 9113 §8.1.1)"""


class RequestHead:
    """What a request's header block says.

    `trouble` is None for a call that can go on. Otherwise it is the HTTP status to answer with, and the gRPC
    status and text beside it; an HTTP status of 0 says that the block is malformed.
    """

    __slots__ = ("content_length", "encoding", "metadata", "path", "trouble")

    def __init__(
        self,
        path: str,
        metadata: Mapping[str, str],
        encoding: str = "identity",
        content_length: int | None = None,
        trouble: tuple[int, Status, str] | None = None,
    ) -> None:
        self.path = path
        self.metadata = metadata
        self.encoding = encoding
        self.content_length = content_length
        self.trouble = trouble


class ResponseHead:
    """What a response's header block says: its first, its trailers, or both in one.

    `http` is None in trailers, `status` is None where no `grpc-status` was given.
    """

    __slots__ = ("encoding", "http", "is_grpc", "malformed", "message", "metadata", "status")

    def __init__(self) -> None:
        self.http: int | None = None
        self.status: int | None = None
        self.message = ""
        self.metadata: Mapping[str, str] = MappingProxyType({})
        self.encoding = "identity"
        self.is_grpc = False
        self.malformed = ""


def read_timeout(value: bytes) -> Duration | None:
    """The nanoseconds that a `grpc-timeout` stands for; None if it is not one."""
    digits, unit = value[:-1], _UNITS.get(value[-1:])
    return int(digits) * unit if unit is not None and digits.isdigit() and len(digits) <= 8 else None


def write_timeout(timeout: Duration) -> bytes:
    """A `grpc-timeout` of at least `timeout` nanoseconds, in the finest unit that has room for it."""
    timeout = max(timeout, 0)
    for unit, length in _UNITS.items():
        amount = -(-timeout // length)
        if amount < 100_000_000:
            return b"%d%s" % (amount, unit)
    return b"99999999H"


def write_message(message: str) -> bytes:
    """A `grpc-message`: printable ASCII, all else percent-encoded as UTF-8."""
    return quote(message[:LONGEST_MESSAGE], safe=_PLAIN).encode("ascii")


def encode_binary(value: bytes) -> str:
    """The value of a metadata key that ends in `-bin`."""
    return base64.b64encode(value).decode("ascii").rstrip("=")


def decode_binary(value: str) -> bytes:
    """The bytes of a metadata value whose key ends in `-bin`; ValueError if it is not base64."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {value!r}") from error


def _integer(value: int, prefix: int) -> bytes:
    """An integer whose first byte has `prefix` bits free. (RFC 7541 §5.1)"""
    full = (1 << prefix) - 1
    if value < full:
        return bytes((value,))
    out = bytearray((full,))
    value -= full
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal(name: bytes, value: bytes) -> bytes:
    """One field that leaves no trace in the peer's table. (RFC 7541 §6.2.2)"""
    return b"\x00" + _integer(len(name), 7) + name + _integer(len(value), 7) + value


def indexed_literal(name: bytes, value: bytes) -> bytes:
    """One field that the peer's table keeps, as its newest entry. (RFC 7541 §6.2.1)"""
    return b"\x40" + _integer(len(name), 7) + name + _integer(len(value), 7) + value


def metadata_block(metadata: Iterable[tuple[str, str]]) -> bytes:
    """A caller's own fields as literals; ValueError for one that HTTP/2 or gRPC can't carry."""
    block = b""
    for key, text in metadata:
        name, value = key.encode("ascii"), text.encode("latin-1")
        if not _NAME.fullmatch(name) or name.startswith(b"grpc-") or name in _OF_GRPC or name in _OF_A_CONNECTION:
            raise ValueError(f"{key!r} can't be a metadata key: it must be lower-case and not reserved")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the metadata value of {key!r} has a line break or a zero byte in it")
        block += literal(name, value)
    return block


def _split(fields: Sequence[Field], allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[Field]]:
    """The pseudo-header fields and the others, after all checks that both directions share."""
    pseudo: dict[bytes, bytes] = {}
    others: list[Field] = []
    for name, value in fields:
        if not _VALUE.fullmatch(value) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
            raise Malformed(f"the value of {name!r} has forbidden characters")
        if name.startswith(b":"):
            if others or name in pseudo or name not in allowed:
                raise Malformed(f"{name!r} is doubled, unknown, or comes after ordinary fields")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name):
            raise Malformed(f"{name!r} can't be a field's name")
        if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
            raise Malformed(f"{name!r} belongs to HTTP/1.1")
        others.append((name, value))
    return pseudo, others


def _metadata(fields: Iterable[Field]) -> Mapping[str, str]:
    """What gRPC hands to the application. Values under one key are joined by a comma, as HTTP joins them."""
    metadata: dict[str, str] = {}
    for name, value in fields:
        if name in _OF_GRPC or name.startswith(b"grpc-"):
            continue
        key, text = name.decode("ascii"), value.decode("latin-1")
        metadata[key] = f"{metadata[key]},{text}" if key in metadata else text
    return MappingProxyType(metadata)


def _content_length(fields: Iterable[Field]) -> int | None:
    """The length that was promised; all promises must agree. (RFC 9110 §8.6)"""
    lengths = {value for name, value in fields if name == b"content-length"}
    if not lengths:
        return None
    value = min(lengths)
    if len(lengths) > 1 or not value.isdigit() or len(value) > 18:
        raise Malformed("content-length is not one number")
    return int(value)


def _is_grpc(content_type: bytes | None) -> bool:
    return content_type is not None and (
        content_type == b"application/grpc" or content_type.startswith((b"application/grpc+", b"application/grpc;"))
    )


_REQUEST = frozenset((b":method", b":scheme", b":path", b":authority"))
_RESPONSE = frozenset((b":status",))
_NONE: frozenset[bytes] = frozenset()


def read_request(fields: Sequence[Field]) -> tuple[RequestHead, Duration | None]:
    """What a request asks for, and the nanoseconds that it may take."""
    try:
        pseudo, others = _split(fields, _REQUEST)
        length = _content_length(others)
    except Malformed as fault:
        return RequestHead("", {}, trouble=(0, Status.INTERNAL, str(fault))), None
    path = pseudo.get(b":path", b"")
    if b":method" not in pseudo or b":scheme" not in pseudo or not path:
        return RequestHead("", {}, trouble=(0, Status.INTERNAL, "a pseudo-header field is missing")), None
    named = dict(others)
    trouble: tuple[int, Status, str] | None = None
    timeout: Duration | None = None
    content_type = named.get(b"content-type")
    if not _is_grpc(content_type):
        shown = (content_type or b"").decode("latin-1")
        trouble = (415, Status.INTERNAL, f'invalid gRPC request content-type "{shown}"')
    elif pseudo[b":method"] != b"POST":
        shown = pseudo[b":method"].decode("latin-1")
        trouble = (405, Status.INTERNAL, f'Received a HEADERS frame with :method "{shown}" which should be POST')
    elif b"grpc-timeout" in named:
        timeout = read_timeout(named[b"grpc-timeout"])
        if timeout is None:
            shown = named[b"grpc-timeout"].decode("latin-1")
            trouble = (400, Status.INTERNAL, f'malformed grpc-timeout: "{shown}"')
    encoding = named.get(b"grpc-encoding", b"identity").decode("latin-1")
    return RequestHead(path.decode("latin-1"), _metadata(others), encoding, length, trouble), timeout


def read_response(fields: Sequence[Field]) -> tuple[ResponseHead, None]:
    """What a response says, in its first header block."""
    return _read_response(fields, _RESPONSE), None


def read_trailers(fields: Sequence[Field]) -> tuple[ResponseHead, None]:
    """What a message says in its last header block: a request's trailers too, which gRPC has no use for."""
    return _read_response(fields, _NONE), None


def _read_response(fields: Sequence[Field], allowed: frozenset[bytes]) -> ResponseHead:
    head = ResponseHead()
    try:
        pseudo, others = _split(fields, allowed)
    except Malformed as fault:
        head.malformed = str(fault)
        return head
    if allowed:
        status = pseudo.get(b":status", b"")
        if len(status) != 3 or not status.isdigit():
            head.malformed = ":status is missing or not three digits"
            return head
        head.http = int(status)
    named = dict(others)
    code = named.get(b"grpc-status")
    if code is not None:
        # A status that is no number tells as little as one that nobody knows.
        head.status = int(code) if code.isdigit() and len(code) < 4 else Status.UNKNOWN
    head.message = unquote(named.get(b"grpc-message", b"").decode("latin-1"))
    head.encoding = named.get(b"grpc-encoding", b"identity").decode("latin-1")
    head.is_grpc = _is_grpc(named.get(b"content-type"))
    head.metadata = _metadata(others)
    return head
