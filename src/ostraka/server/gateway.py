"""The JSON gateway: etcd's methods over HTTP/1.1, by etcd's paths.

A request becomes a gRPC call on a connection in memory, between the two halves of `transport.http2`: the services
serve it as they serve any other, with the same bounds, deadlines and flow control. A stream's messages come one on a
line, each as `{"result": ...}`; its request body may hold several objects, and may be sent while replies come.

Words:    an *exchange* is one HTTP request with its response, and the call in between.
Departs:  a wrong document is the caller's error (400) in a stream, too, where etcd says 500 or nothing. `?utf8=1`
          takes and gives keys and values as plain text. What we add to etcd's error texts comes as `details`.
          A browser's page of another origin is refused, and told nothing (no CORS): it needs no password to write.
Evidence: tests/server/test_gateway.py; tests/server/test_gateway_against_etcd.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import chain
from typing import Final
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import EncodeError
from starlette.types import Receive, Scope, Send

from ostraka.api import jsonform
from ostraka.api.jsonform import Documents
from ostraka.api.paths import method_at
from ostraka.api.services import Method
from ostraka.model.ids import Instant
from ostraka.server.calls import OVERHEAD, unread_on
from ostraka.server.member import Member
from ostraka.transport.http2.client import ClientCall, ClientConnection, Outcome
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.headers import read_timeout
from ostraka.transport.http2.server import Router, ServerConnection

HELD: Final = 256 << 10
"""Bytes of a stream's messages that wait for a slow reader here; more wait with the service."""

GATHERED: Final = 64 << 20
"""Bytes of request bodies that all callers together may have under way."""

MOST_IDLE: Final = 16
"""Connections in memory that are kept for later requests."""

BODY_TIME: Final = 30.0
"""Seconds in which a request's body must come, or a stream's first object."""

HTTP_OF: Final = {
    Status.OK: 200,
    Status.CANCELLED: 408,
    Status.UNKNOWN: 500,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 400,
    Status.ABORTED: 409,
    Status.OUT_OF_RANGE: 400,
    Status.UNIMPLEMENTED: 501,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
    Status.DATA_LOSS: 500,
    Status.UNAUTHENTICATED: 401,
}
"""HTTP's status for gRPC's, as grpc-gateway chooses it."""


class Refused(Exception):
    """The request gets no further than here."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gateway:
    """Serves the paths of one member, as an ASGI application."""

    def __init__(self, member: Member, router: Router, now: Callable[[], Instant] = time.monotonic_ns) -> None:
        self.router: Final = router
        self.now: Final = now
        self.largest_message: Final = member.max_request_bytes + OVERHEAD
        self.largest_body: Final = 2 * self.largest_message  # Base64 takes four thirds; the rest is for line breaks.
        self.exchanges: Final[dict[Exchange, None]] = {}
        self.gathered = 0
        self._idle: Final[list[Link]] = []

    @property
    def unread(self) -> int:
        """Bytes of replies that callers have yet to read."""
        return sum(exchange.unread for exchange in self.exchanges)

    def tick(self) -> None:
        """End the calls whose time is over."""
        moment = self.now()
        for exchange in list(self.exchanges):
            exchange.link.expire(moment)

    def close(self) -> None:
        """End all calls."""
        for exchange in list(self.exchanges):
            exchange.link.close("the server is stopping")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = method_at(scope["path"])
        if method is None:
            await _say(send, 404, b"Not Found\n", "text/plain; charset=utf-8")
        elif scope["method"] == "OPTIONS":
            await _say(send, 200, b"", allow=True)
        elif scope["method"] != "POST":
            await _say(send, 405, b"Method Not Allowed\n", "text/plain; charset=utf-8", allow=True)
        else:
            link = self._idle.pop() if self._idle else Link(self)
            exchange = Exchange(self, link, method, scope, receive, send)
            self.exchanges[exchange] = None
            try:
                await exchange.run()
            finally:
                del self.exchanges[exchange]
                if link.idle and len(self._idle) < MOST_IDLE:
                    self._idle.append(link)
                else:
                    link.close("the caller is gone")


class Link:
    """A gRPC connection in memory. What one side says, the other hears in the loop's next turn."""

    def __init__(self, gateway: Gateway) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._now: Final = gateway.now
        self._due = False
        self.client: Final = ClientConnection("gateway", self._pump_soon, self._now())
        self.server: Final = ServerConnection(gateway.router, self._pump_soon, self._now(), gateway.largest_message)

    def _pump_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._due = False
        moment = self._now()
        there = self.client.take()
        if there and not self.server.closed:
            self.server.feed(there, moment)
        back = self.server.take()
        if back and not self.client.closed:
            self.client.feed(back, moment)
        if self.server.closed:
            self.client.lost(self.server.reason)

    @property
    def idle(self) -> bool:
        """It can carry another call."""
        return not (self.client.streams or self.server.streams or self.client.closed or self.server.closed)

    def expire(self, moment: Instant) -> None:
        """End calls whose deadline has passed."""
        self.client.expire(moment)
        self.server.expire(moment)

    def close(self, reason: str) -> None:
        """End the call, whatever it is about."""
        self.server.lost(reason)
        self.client.lost(reason)


class Exchange:
    """One HTTP request. It is the `Caller` of its call."""

    def __init__(
        self, gateway: Gateway, link: Link, method: Method, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.gateway: Final = gateway
        self.method: Final = method
        self.link: Final = link
        self._headers: Final[list[tuple[bytes, bytes]]] = list(scope["headers"])
        self._plain: Final = parse_qs(scope["query_string"].decode("latin-1")).get("utf8", [""])[-1] in ("1", "true")
        self._receive: Final = receive
        self._send: Final = send
        self._call: ClientCall
        self._more_body = True
        self._messages: Final[deque[bytes]] = deque()
        self._held = 0  # Bytes of messages, the one that is being written included.
        self._outcome: Outcome | None = None
        self._gone = False  # The caller has hung up.
        self._news: Final = asyncio.Event()  # A message, the outcome, or the caller's end.
        self._drained: Final = asyncio.Event()

    @property
    def unread(self) -> int:
        """Bytes of replies that the caller has yet to read."""
        return self._held + unread_on(self.link.server)

    # What the call tells us.

    def on_message(self, message: bytes) -> None:
        """See `Caller`."""
        self._messages.append(message)
        self._held += len(message)
        if self._held > HELD and self.method.server_streaming:  # Of one reply there is no more to come than its end.
            self._call.pause()
        self._news.set()

    def on_end(self, outcome: Outcome) -> None:
        """See `Caller`."""
        if self._outcome is None:
            self._outcome = outcome
        self._drained.set()
        self._news.set()

    def on_drained(self) -> None:
        """See `Caller`."""
        self._drained.set()

    # The way in.

    async def run(self) -> None:
        """Serve it."""
        try:
            metadata, deadline = self._metadata()
            documents = Documents(self.gateway.largest_body)
            first = await self._first(documents)
            if self._gone:
                return
            requests = [self._request(document) for document in first]
        except Refused as refused:
            await self._fail(Outcome(refused.status, str(refused)))
            return
        path, now = self.method.path, self.gateway.now()
        try:
            self._call = self.link.client.stream(path, self, now, deadline, metadata)
        except (ValueError, UnicodeError) as error:
            await self._fail(Outcome(Status.INVALID_ARGUMENT, str(error)))
            return
        for request in requests:
            self._call.send(request)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read_on(documents))
            await (self._answer_stream() if self.method.server_streaming else self._answer())
            reader.cancel()

    def _metadata(self) -> tuple[list[tuple[str, str]], Instant | None]:
        """What the headers say to the service, and by when it must have answered."""
        metadata, deadline, host, origin = [], None, b"", b""
        for name, value in self._headers:
            if name == b"authorization":
                metadata.append(("token", value.decode("latin-1")))
            elif name.startswith(b"grpc-metadata-"):
                metadata.append((name[14:].decode("latin-1"), value.decode("latin-1")))
            elif name == b"grpc-timeout":
                timeout = read_timeout(value)
                if timeout is None:
                    raise Refused(Status.INVALID_ARGUMENT, f"invalid grpc-timeout: {value.decode('latin-1')}")
                deadline = self.gateway.now() + timeout
            elif name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        if origin and urlsplit(origin).netloc != host:
            raise Refused(
                Status.PERMISSION_DENIED,
                f"ostraka: a page of {origin.decode('latin-1')} may not call this server from a browser",
            )
        return metadata, deadline

    async def _first(self, documents: Documents) -> list[bytes]:
        """The whole body; of a stream of requests what came with the first object. Raises Refused."""
        gathered = 0
        try:
            async with asyncio.timeout(BODY_TIME):
                whole: list[bytes] = []
                while self._more_body:
                    data = await self._next_data()
                    gathered += len(data)
                    self._gather(len(data), gathered)
                    if not self.method.client_streaming:
                        whole.append(data)
                        continue
                    found = list(_checked(documents, data))
                    if found:
                        return found
        except TimeoutError:
            raise Refused(Status.DEADLINE_EXCEEDED, f"the request did not come within {BODY_TIME:g} s") from None
        finally:
            self.gateway.gathered -= gathered
        if not self.method.client_streaming:
            return [b"".join(whole)]
        raise Refused(Status.INVALID_ARGUMENT, "the body must be JSON objects, and has no whole one")

    def _gather(self, size: int, own: int) -> None:
        self.gateway.gathered += size
        if own > self.gateway.largest_body:
            text = f"grpc: received message larger than max ({own} vs. {self.gateway.largest_message})"
            raise Refused(Status.RESOURCE_EXHAUSTED, text)
        if self.gateway.gathered > GATHERED:
            raise Refused(Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests")

    async def _next_data(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone, self._more_body = True, False
            return b""
        self._more_body = message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _request(self, document: bytes) -> bytes:
        """A request's bytes. No body at all is a request that says nothing. Raises Refused."""
        try:
            value = jsonform.value_of(document) if document.strip() else None
            return bytes(jsonform.read(self.method.request, value, self._plain).SerializeToString())
        except (ValueError, EncodeError) as error:
            raise Refused(Status.INVALID_ARGUMENT, str(error)) from None

    async def _read_on(self, documents: Documents) -> None:
        """Send what else the body holds, then wait until the caller hangs up."""
        call = self._call
        while self._more_body:
            try:
                for document in _checked(documents, await self._next_data()):
                    call.send(self._request(document))
            except Refused as refused:
                self.on_end(Outcome(refused.status, str(refused)))
                call.cancel()
                break
            while call.unsent and not call.over:
                self._drained.clear()
                await self._drained.wait()
        call.half_close()
        while not self._gone:
            await self._next_data()
        call.cancel()
        self._news.set()

    # The way out.

    async def _answer(self) -> None:
        """One reply."""
        while self._outcome is None:
            await self._news.wait()
            self._news.clear()
        if self._gone:
            return
        if self._outcome.status or not self._messages:
            await self._fail(self._outcome)
            return
        parts = jsonform.pieces(self.method.response.FromString(self._messages.popleft()), self._plain)
        first = next(parts)
        if (second := next(parts, None)) is None:
            await _say(self._send, 200, first.encode())
            return
        await self._start(200)
        for part in chain((first, second), parts):
            await self._body(part)
        await self._send({"type": "http.response.body", "body": b""})

    async def _answer_stream(self) -> None:
        """One line for each message."""
        begun = False
        while not self._gone:
            while self._messages and not self._gone:
                if not begun:
                    await self._start(200)
                    begun = True
                await self._line(self._messages.popleft())
            if self._outcome is not None:
                break
            self._news.clear()
            await self._news.wait()
        if self._gone:
            return
        assert self._outcome is not None, "the only other way out of the loop"
        status = self._outcome.status
        if not begun:
            await self._start(HTTP_OF.get(Status(status), 500))
        if status:
            await self._body(_compact({"error": _stream_error(self._outcome)}))
        await self._send({"type": "http.response.body", "body": b""})

    async def _line(self, message: bytes) -> None:
        """One message, and one chunk of HTTP's: there are clients that take these for the same, since etcd's are."""
        parts = []
        for part in jsonform.pieces(self.method.response.FromString(message), self._plain):
            parts.append(part)
            await asyncio.sleep(0)
        await self._body(f'{{"result":{"".join(parts)}}}\n')
        self._held -= len(message)
        if self._held <= HELD // 2:
            self._call.resume()

    async def _fail(self, outcome: Outcome) -> None:
        text = outcome.message
        said = {"error": text, "code": int(outcome.status), "message": text, **_details(outcome)}
        await _say(self._send, HTTP_OF.get(Status(outcome.status), 500), _compact(said).encode())

    async def _start(self, status: int) -> None:
        headers = [(b"content-type", b"application/json")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, text: str) -> None:
        """Write it; a reader who is slow is waited for, and whoever else waits for the loop has a turn."""
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await asyncio.sleep(0)


def _checked(documents: Documents, data: bytes) -> Iterator[bytes]:
    try:
        yield from documents.feed(data)
    except ValueError as error:
        raise Refused(Status.INVALID_ARGUMENT, str(error)) from None


def _stream_error(outcome: Outcome) -> dict[str, object]:
    http = HTTP_OF.get(Status(outcome.status), 500)
    return {
        "grpc_code": int(outcome.status),
        "http_code": http,
        "message": outcome.message,
        "http_status": HTTPStatus(http).phrase,
        **_details(outcome),
    }


def _details(outcome: Outcome) -> dict[str, object]:
    """What we add to etcd's text."""
    detail = outcome.trailers.get("ostraka-detail")
    return {"details": [detail]} if detail else {}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


async def _say(send: Send, status: int, body: bytes, kind: str = "application/json", allow: bool = False) -> None:
    """A whole response."""
    headers = [(b"content-type", kind.encode())] if body else []
    headers.append((b"content-length", b"%d" % len(body)))
    if allow:
        headers.append((b"allow", b"POST, OPTIONS"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
