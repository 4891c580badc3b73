"""What can go wrong on the wire, and what a call can end with.

Follows:  RFC 9113 §7 (error codes of HTTP/2); "gRPC over HTTP2" and "Status codes and their use in gRPC".
Evidence: tests/transport/http2/test_server_protocol.py names each connection and stream error.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a stream was reset or a connection ended. (RFC 9113 §7)"""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Status(IntEnum):
    """How a gRPC call ended."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ConnectionFault(Exception):
    """The peer broke a rule that the whole connection hangs on: it gets a GOAWAY, and the connection ends.

    Raised and caught inside this package; it never reaches a caller of `feed`.
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


_STATUS_OF_RESET = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}

_STATUS_OF_HTTP = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}


def status_of_reset(code: int) -> Status:
    """The status of a call whose stream the peer reset. (gRPC over HTTP2, "HTTP2 Transport Mapping": Errors)"""
    try:
        return _STATUS_OF_RESET.get(ErrorCode(code), Status.INTERNAL)
    except ValueError:
        return Status.INTERNAL


def status_of_http(code: int) -> Status:
    """The status of a call that was answered by something which doesn't speak gRPC."""
    return _STATUS_OF_HTTP.get(code, Status.UNKNOWN)


def name_of(code: int) -> str:
    """An error code in words, also one that no RFC has named yet."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error code {code:#x}"
