"""What the tests share: a peer that speaks raw frames, and a pipe between our own two sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ostraka.transport.http2 import PREFACE, ClientConnection, Outcome, Router, ServerCall, ServerConnection
from ostraka.transport.http2 import frames as f
from ostraka.transport.http2.headers import literal

Frame = tuple[int, int, int, bytes]
GREETING = f.settings({})


def cut(data: bytes) -> list[Frame]:
    """The frames in these bytes: type, flags, stream, payload."""
    found, at = [], 0
    while at < len(data):
        word, flags, stream_id = f.read_head(data, at)
        end = at + 9 + (word >> 8)
        assert end <= len(data), "half a frame was sent"
        found.append((word & 0xFF, flags, stream_id, data[at + 9 : end]))
        at = end
    return found


def request(path: str = "/test.Service/Echo", *more: tuple[str, str], **changed: str | None) -> bytes:
    """A request's header block, as literals. `changed` replaces or removes pseudo-header and ordinary fields."""
    fields: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    fields.update({key.replace("_", "-").replace("pseudo-", ":"): value for key, value in changed.items()})
    pairs = [(key, value) for key, value in fields.items() if value is not None]
    return b"".join(literal(key.encode("latin-1"), value.encode("latin-1")) for key, value in [*pairs, *more])


def headers(stream_id: int, block: bytes, *, ends: bool = False) -> bytes:
    return f.frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if ends else 0), stream_id, block)


def data(stream_id: int, payload: bytes, *, ends: bool = False) -> bytes:
    return f.frame(f.DATA, f.END_STREAM if ends else 0, stream_id, payload)


def message(content: bytes) -> bytes:
    return f.PREFIX.pack(0, len(content)) + content


def call(stream_id: int, content: bytes = b"hello", block: bytes | None = None) -> bytes:
    """A whole unary call."""
    return headers(stream_id, block or request()) + data(stream_id, message(content), ends=True)


@dataclass
class Log:
    """A receiver or a caller that keeps what it is told."""

    call: Any = None
    messages: list[bytes] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    outcome: Outcome | None = None

    def on_message(self, content: bytes) -> None:
        self.messages.append(content)

    def on_half_close(self) -> None:
        self.events.append("half-close")

    def on_cancel(self) -> None:
        self.events.append("cancel")

    def on_drained(self) -> None:
        self.events.append("drained")

    def on_end(self, outcome: Outcome) -> None:
        assert self.outcome is None, "a call ended twice"
        self.outcome = outcome


class Service:
    """Echo, a call that is never answered by itself, and a stream, all of which are remembered."""

    def __init__(self) -> None:
        self.calls: list[ServerCall] = []
        self.logs: list[Log] = []
        self.cancelled: list[int] = []
        self.router = Router()
        self.router.unary("/test.Service/Echo", self.echo)
        self.router.unary("/test.Service/Wait", self.wait)
        self.router.stream("/test.Service/Stream", self.stream)

    def echo(self, call: ServerCall, content: bytes) -> None:
        self.calls.append(call)
        call.reply(content)

    def wait(self, call: ServerCall, content: bytes) -> None:
        self.calls.append(call)
        call.on_cancel = lambda: self.cancelled.append(call.id)

    def stream(self, call: ServerCall) -> Log:
        self.logs.append(Log(call))
        return self.logs[-1]


class RawClient:
    """A client that may say anything, talking to our server."""

    def __init__(self, *, greeted: bool = True, largest_message: int = 1 << 21) -> None:
        self.service = Service()
        self.woken = 0
        self.server = ServerConnection(self.service.router, self.wake, 0, largest_message)
        self.now = 0
        if greeted:
            self.say(PREFACE + GREETING + f.SETTINGS_ACK)
            self.say(call(1, block=b"\x20" + request()))  # The table is gone, and blocks can be cached from now on.

    def wake(self) -> None:
        self.woken += 1

    def say(self, *parts: bytes) -> list[Frame]:
        """Send, and hear what comes back."""
        self.server.feed(b"".join(parts), self.now)
        return self.hear()

    def hear(self) -> list[Frame]:
        return cut(self.server.take())


class RawServer:
    """A server that may say anything, talking to our client."""

    def __init__(self, *, greeted: bool = True) -> None:
        self.client = ClientConnection("test", lambda: None, 0)
        self.outcomes: list[Outcome] = []
        assert self.client.take().startswith(PREFACE)
        if greeted:
            self.say(GREETING + f.SETTINGS_ACK)

    def say(self, *parts: bytes) -> list[Frame]:
        self.client.feed(b"".join(parts), 0)
        return cut(self.client.take())

    def unary(self, content: bytes = b"hello", deadline: int | None = None) -> Any:
        return self.client.unary("/test.Service/Echo", content, self.outcomes.append, 0, deadline)


class Pipe:
    """Our client and our server, joined. Nothing flows until `settle`, and at most `chunk` bytes in a piece."""

    def __init__(self, chunk: int = 1 << 30) -> None:
        self.service = Service()
        self.server = ServerConnection(self.service.router, lambda: None, 0)
        self.client = ClientConnection("test", lambda: None, 0)
        self.outcomes: list[Outcome] = []
        self.chunk = chunk
        self.now = 0

    def settle(self) -> None:
        """Carry bytes both ways until both sides are silent."""
        for _ in range(100_000):
            up, down = self.client.take(), self.server.take()
            if not up and not down:
                return
            for at in range(0, len(up), self.chunk):
                self.server.feed(up[at : at + self.chunk], self.now)
            for at in range(0, len(down), self.chunk):
                self.client.feed(down[at : at + self.chunk], self.now)
        raise AssertionError("the two sides never fall silent")

    def unary(self, method: str = "Echo", content: bytes = b"hello", deadline: int | None = None) -> Any:
        path = f"/test.Service/{method}"
        return self.client.unary(path, content, self.outcomes.append, self.now, deadline)

    def stream(self) -> Log:
        log = Log()
        log.call = self.client.stream("/test.Service/Stream", log, self.now)
        return log
