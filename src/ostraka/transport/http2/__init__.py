"""HTTP/2 and gRPC without I/O, both sides: bytes and `now` come in, bytes and calls of handlers come out.

A tour, from the wire up:

- `frames`      the nine bytes in front of everything, and the frames that are always the same;
- `headers`     what header fields mean, checked; literals, timeouts, percent-encoding;
- `blocks`      header blocks looked up by their bytes, decoded by the `hpack` library when they are new;
- `stream`      one stream: messages put together, bytes that wait for the peer's window;
- `framing`     whole frames out of bytes in any pieces;
- `connection`  what both sides share: settings, windows, floods, the end;
- `server`      calls that come in, by path: `Router`, `ServerConnection`, `ServerCall`;
- `client`      calls that go out: `ClientConnection`, `ClientCall`, `Outcome`;
- `deadlines`   calls that run out of time.

The one who owns the socket feeds what arrives, and writes what `take` returns once a turn of the loop, after
`on_output` has been called. A unary echo server is:

    router = Router()
    router.unary("/demo.Echo/Say", lambda call, message: call.reply(message))
    connection = ServerConnection(router, on_output, now)
"""

from ostraka.transport.http2.client import Caller, ClientCall, ClientConnection, Outcome
from ostraka.transport.http2.errors import ErrorCode, Status
from ostraka.transport.http2.frames import PREFACE
from ostraka.transport.http2.headers import decode_binary, encode_binary
from ostraka.transport.http2.server import Receiver, Router, ServerCall, ServerConnection

__all__ = [
    "PREFACE",
    "Caller",
    "ClientCall",
    "ClientConnection",
    "ErrorCode",
    "Outcome",
    "Receiver",
    "Router",
    "ServerCall",
    "ServerConnection",
    "Status",
    "decode_binary",
    "encode_binary",
]
