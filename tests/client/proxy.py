"""A proxy that lies: now and then it loses what the server has answered, or was asked, and with it the connection."""

from __future__ import annotations

import asyncio
from random import Random
from typing import cast


class Proxy:
    """Between a client and a server. `lost_answers`: how often the server's word was lost after it had come."""

    def __init__(self, upstream: str, dice: Random, one_in: int) -> None:
        """Of `one_in` pieces of data that it carries it loses about one, either way."""
        host, _, port = upstream.rpartition(":")
        self.upstream = host, int(port)
        self.dice = dice
        self.one_in = one_in
        self.lost_answers = self.lost_questions = 0
        self.sides: set[Side] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.get_running_loop().create_server(lambda: Side(self, None), "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while self.sides:
            for side in [*self.sides]:
                side.transport.abort()
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    def loses(self) -> bool:
        return self.one_in > 0 and self.dice.getrandbits(32) % self.one_in == 0


class Side(asyncio.Protocol):
    """One of the two connections that belong together."""

    def __init__(self, proxy: Proxy, other: Side | None) -> None:
        self.proxy = proxy
        self.other = other
        self.to_server = other is not None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.proxy.sides.add(self)
        if self.other is None:
            asyncio.get_running_loop().create_task(self._connect())
        else:
            self.other.other = self
            for data in self.other.early:
                self.transport.write(data)
            self.other.early.clear()
            if self.other.transport.is_closing():
                self.transport.abort()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Side(self.proxy, self), *self.proxy.upstream)
        except OSError:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif self.proxy.loses():
            if self.to_server:
                self.proxy.lost_answers += 1
            else:
                self.proxy.lost_questions += 1
            self.transport.abort()
            self.other.transport.abort()
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.sides.discard(self)
        if self.other is not None:
            self.other.transport.abort()
