"""Servers that do what a test says, in the test's own loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from ostraka.api import etcd
from ostraka.transport.http2 import Router, ServerCall, ServerConnection

Handler = Callable[[ServerCall, bytes], None]
PUT, RANGE = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"


class Server:
    """`calls` is what has come in. `unary[path]` answers; without one, a call waits for ever."""

    def __init__(self, **unary: Handler) -> None:
        self.calls: list[ServerCall] = []
        self.cancelled = 0
        self.connections: list[Line] = []
        self.silent = False  # As if its process was stopped.
        self.put: Handler | None = unary.get("put")
        self.range: Handler | None = unary.get("range")
        self.members: Handler | None = unary.get("members")
        self.router = Router()
        self.router.unary(PUT, lambda call, message: self._take(self.put, call, message))
        self.router.unary(RANGE, lambda call, message: self._take(self.range, call, message))
        path = "/etcdserverpb.Cluster/MemberList"
        self.router.unary(path, lambda call, message: self._take(self.members, call, message))

    def _take(self, handler: Handler | None, call: ServerCall, message: bytes) -> None:
        self.calls.append(call)
        call.on_cancel = self._count
        if handler is not None:
            handler(call, message)

    def _count(self) -> None:
        self.cancelled += 1

    async def __aenter__(self) -> Server:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Line(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.hang_up()
        await self._server.wait_closed()

    async def hang_up(self) -> None:
        """End all connections without a word."""
        for line in self.connections:
            line.transport.abort()
        while self.connections:
            await asyncio.sleep(0)

    def speak(self) -> None:
        """Be silent no longer."""
        self.silent = False
        for line in self.connections:
            line.flush()

    async def stop(self) -> None:
        """As if its process was gone."""
        self._server.close()
        await self.hang_up()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"


class Line(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)
        self.http2 = ServerConnection(self.server.router, lambda: None, time.monotonic_ns())
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.http2.feed(data, time.monotonic_ns())
        asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        if self.server.silent or self.transport.is_closing():
            return
        self.transport.write(self.http2.take())
        if self.http2.closed:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.http2.lost("the client is gone")
        self.server.connections.remove(self)


def header(revision: int) -> Any:
    return etcd.ResponseHeader(cluster_id=1, member_id=2, revision=revision, raft_term=3)


def put_done(call: ServerCall, message: bytes) -> None:
    """Answer well."""
    call.reply(etcd.PutResponse(header=header(2)).SerializeToString())


def found(call: ServerCall, message: bytes) -> None:
    """Answer that there is one key."""
    kv = etcd.KeyValue(key=b"k", value=b"v", create_revision=2, mod_revision=2, version=1)
    call.reply(etcd.RangeResponse(header=header(2), kvs=[kv], count=1).SerializeToString())


def fails(status: int, text: str) -> Handler:
    """Answer with an error."""
    return lambda call, message: call.fail(status, text)


def after(count: int, first: Handler, then: Handler) -> Handler:
    """The first so many calls one way, all others the other way."""
    left = [count]

    def handle(call: ServerCall, message: bytes) -> None:
        left[0] -= 1
        (first if left[0] >= 0 else then)(call, message)

    return handle
