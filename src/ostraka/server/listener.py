"""The clients' port. The first bytes of a connection decide who serves it: gRPC, or HTTP/1.1.

gRPC connections are fed as bytes come; what they have to say is gathered and written once a turn. A client that
doesn't read is not read from either, so what waits for it is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from ostraka.model.ids import Instant
from ostraka.server.calls import OVERHEAD, unread_on
from ostraka.server.http import HttpFront
from ostraka.server.member import Member
from ostraka.server.metrics import Traffic
from ostraka.transport.http2.frames import PREFACE
from ostraka.transport.http2.server import Router, ServerConnection

log = logging.getLogger("ostraka.clients")

HTTP2: Final = PREFACE[:14]  # "PRI * HTTP/2.0": what follows only says the same again.
TICK: Final = 0.1  # Seconds between two looks at deadlines.
UNDECIDED: Final = 100  # Ticks in which the first bytes must come.
GRACE: Final = 0.5  # Seconds that open calls have when the server stops.

now: Callable[[], Instant] = time.monotonic_ns


class Listener:
    """All client connections of one member."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        member: Member,
        router: Router,
        front: HttpFront,
        traffic: Traffic,
        max_connections: int,
    ) -> None:
        self.loop: Final = loop
        self.member: Final = member
        self.router: Final = router
        self.front: Final = front
        self.traffic: Final = traffic
        self.max_connections: Final = max_connections
        self.largest_message: Final = member.max_request_bytes + OVERHEAD
        self.undecided: Final[dict[FirstBytes, int]] = {}
        self.grpc: Final[dict[GrpcProtocol, None]] = {}
        self._dirty: list[GrpcProtocol] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._next_tick = loop.time()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on sockets that are bound."""
        for sock in sockets:
            server = await self.loop.create_server(lambda: FirstBytes(self), sock=sock, backlog=1024)
            self._servers.append(server)
        self._next_tick = self.loop.time()
        self._tick()

    async def stop(self) -> None:
        """Take nothing new, let open calls finish for a moment, and close."""
        for server in self._servers:
            server.close()
        self.member.stop()
        for protocol in list(self.grpc):
            protocol.connection.shutdown()
        self.front.shutdown()
        await self._while(lambda: self.front.connections or any(protocol.connection.streams for protocol in self.grpc))
        if self._ticker is not None:
            self._ticker.cancel()
        for protocol in list(self.grpc):
            protocol.connection.close()
        self._flush()
        for silent in list(self.undecided):
            silent.close()
        self.front.close()
        await self._while(lambda: self.front.connections)

    async def _while(self, busy: Callable[[], object]) -> None:
        """Wait until it is not, or for as long as one waits for clients."""
        deadline = self.loop.time() + GRACE
        while busy() and self.loop.time() < deadline:
            await asyncio.sleep(0.01)

    def admits(self) -> bool:
        """Whether there is room for one more connection."""
        return self.connections < self.max_connections

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.undecided) + len(self.grpc) + self.front.connections

    def write_later(self, protocol: GrpcProtocol) -> None:
        """Write what this connection has to say, after this turn's work."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(protocol)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for protocol in dirty:
            protocol.flush()

    def _tick(self) -> None:
        moment = now()
        self.traffic.lateness.observe(max(0.0, self.loop.time() - self._next_tick))
        self._next_tick = self.loop.time() + TICK
        self._ticker = self.loop.call_at(self._next_tick, self._tick)
        self.traffic.connections = self.connections
        self.member.expire(moment)
        if self.member.unread.total:
            self.member.unread.total = sum(protocol.unread for protocol in self.grpc) + self.front.unread
        for protocol in list(self.grpc):
            deadline = protocol.connection.next_deadline()
            if deadline is not None and deadline <= moment:
                protocol.connection.expire(moment)
        self.front.tick()
        for silent in list(self.undecided):
            self.undecided[silent] += 1
            if self.undecided[silent] > UNDECIDED:
                silent.close()


class FirstBytes(asyncio.Protocol):
    """A connection of which it isn't known yet what it speaks."""

    def __init__(self, listener: Listener) -> None:
        self._listener: Final = listener
        self._transport: asyncio.Transport
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.admits():
            log.warning("a connection is refused: there are %d already", self._listener.max_connections)
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._listener.undecided[self] = 0

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._data.startswith(HTTP2):
            self._hand_over(GrpcProtocol(self._listener))
        elif not HTTP2.startswith(self._data):
            self._hand_over(self._listener.front.protocol())

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        del self._listener.undecided[self]
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.undecided.pop(self, None)

    def close(self) -> None:
        self._transport.close()


class GrpcProtocol(asyncio.Protocol):
    """A client that speaks gRPC."""

    def __init__(self, listener: Listener) -> None:
        self._listener: Final = listener
        self._traffic: Final = listener.traffic
        self._transport: asyncio.Transport
        self.connection: ServerConnection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        listener = self._listener
        self._transport = cast(asyncio.Transport, transport)
        listener.grpc[self] = None
        self.connection = ServerConnection(
            listener.router, lambda: listener.write_later(self), now(), listener.largest_message
        )

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        self.connection.feed(data, now())

    def flush(self) -> None:
        """Write what was gathered in this turn."""
        transport = self._transport
        if transport.is_closing():
            return
        data = self.connection.take()
        self._traffic.sent += len(data)
        transport.write(data)
        if self.connection.closed:
            transport.close()

    @property
    def unread(self) -> int:
        """Bytes that the client has yet to read."""
        return unread_on(self.connection) + self._transport.get_write_buffer_size()

    @property
    def reads(self) -> bool:
        """Requests are taken: nothing holds the client back."""
        return self._transport.is_reading()

    def pause_writing(self) -> None:
        """The client doesn't read: take no further requests from it."""
        self.connection.pause_writing()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()
        self.connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.grpc.pop(self, None)
        self.connection.lost("the client is gone" if exc is None else str(exc))


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; of several addresses of a name, the first, IPv4 before IPv6. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=_family_rank)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _family_rank(found: tuple[Any, ...]) -> bool:
    return bool(found[0] != socket.AF_INET)
