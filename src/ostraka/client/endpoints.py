"""Where the servers are: which of them to ask next, and what is known of their health.

Connections are made when somebody wants to ask, to all endpoints at once, and calls take turns among those that stand.
An endpoint that fails is left alone for a while, longer each time. Nobody asks while nobody calls.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Final

from ostraka.client.channel import Channel, reason_of
from ostraka.errors import Unavailable

CONNECTS_WITHIN: Final = 3.0  # Seconds, as are those below.
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0


def split(endpoint: str) -> tuple[str, int]:
    """Host and port of `host:port` or `http://host:port`. Raises ValueError."""
    text = endpoint.removeprefix("http://").rstrip("/")
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ValueError(f"{endpoint!r} is not an endpoint: give host:port, such as 127.0.0.1:2379")
    return host.strip("[]"), int(port)


class Endpoint:
    """One server: the connection to it, if there is one, and how it behaved."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address: Final = address
        self.name: Final = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.channel: Channel | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.failure = ""  # Why there is no connection,
        self.failed_at = 0.0  # and when that was found, by the loop's clock.
        self.rests_until = 0.0
        self._failures = 0
        self._leaving: set[Channel] = set()  # No new calls there; the last ones are under way.

    @property
    def connected(self) -> bool:
        """Calls can be sent there at once."""
        return self.channel is not None and self.channel.usable

    def connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to connect, unless that is under way."""
        if self.connecting is None:
            self.connecting = loop.create_task(self._connect(loop))

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.channel is not None:
            self._retire(self.channel)
            self.channel = None
        channel: Channel | None = None
        try:
            async with asyncio.timeout(CONNECTS_WITHIN):
                made = await loop.create_connection(lambda: Channel(loop, self.name), *self.address)
                channel = made[1]
                # Whatever accepts connections may still be no server, or a stopped one.
                await asyncio.shield(channel.ready)
        except (OSError, UnicodeError) as error:  # The latter for a name that can't be one.
            if channel is not None:
                await channel.close("it never answered")
            self.failure = reason_of(error) if isinstance(error, OSError) else str(error)
        except asyncio.CancelledError:
            if channel is not None:
                await channel.close("the client is closed")
            raise
        else:
            self.channel = channel
            self.well()
        finally:
            self.connecting = None
            if self.channel is None:
                self.ill(loop.time())

    def _retire(self, channel: Channel) -> None:
        if not channel.gone.done():
            self._leaving.add(channel)
            channel.gone.add_done_callback(lambda _: self._leaving.discard(channel))

    def well(self) -> None:
        """It has answered."""
        self._failures = 0
        self.rests_until = 0.0

    def ill(self, now: float) -> None:
        """It has not. Leave it alone for a while, unless there is no other."""
        self.failed_at = now
        if now < self.rests_until:
            return  # Many calls may fail of the same cause.
        pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 10)
        self.rests_until = now + pause * random.uniform(0.5, 1.0)  # So that clients don't all come back at once.

    async def close(self) -> None:
        """Give up its connections."""
        if self.connecting is not None:
            self.connecting.cancel()
            await asyncio.wait([self.connecting])
        channels = [*self._leaving, *([self.channel] if self.channel is not None else [])]
        await asyncio.gather(
            *(channel.close("the client is closed") for channel in channels if not channel.gone.done())
        )


class Endpoints:
    """All of them, in turns."""

    def __init__(self, given: Iterable[str]) -> None:
        """Raises ValueError if one is wrong, or there is none."""
        self._given: Final = [split(text) for text in given]
        if not self._given:
            raise ValueError("a client needs at least one endpoint, such as 127.0.0.1:2379")
        self.each: list[Endpoint] = [Endpoint(address) for address in dict.fromkeys(self._given)]
        self._turn = random.randrange(len(self.each))  # So that many clients don't all begin with the same.
        self._former: list[Endpoint] = []
        self.closed = False

    async def next(self, loop: asyncio.AbstractEventLoop, deadline: float, avoid: Endpoint | None = None) -> Endpoint:
        """The one whose turn it is among those that are connected; not `avoid`, if there is another.

        Waits for a connection until `deadline` (by the loop's clock). Raises Unavailable when none can be made.
        """
        began = loop.time()
        while True:
            if self.closed:
                raise Unavailable("this client is closed")
            now = loop.time()
            for endpoint in self.each:
                if not endpoint.connected and endpoint.rests_until <= now:
                    endpoint.connect(loop)
            found = self._pick(now, avoid)
            if found is not None:
                return found
            if now >= deadline or all(each.failure and each.failed_at >= began for each in self.each):
                raise self._unavailable()
            connecting = [each.connecting for each in self.each if each.connecting is not None]
            if connecting:
                await asyncio.wait(connecting, timeout=deadline - now, return_when=asyncio.FIRST_COMPLETED)
            else:
                rested = min(each.rests_until for each in self.each)
                await asyncio.sleep(max(min(rested, deadline) - now, 0.001))

    def _pick(self, now: float, avoid: Endpoint | None) -> Endpoint | None:
        connected = [each for each in self.each if each.connected]
        if not connected:
            return None
        if len(connected) > 1:
            connected = [each for each in connected if each is not avoid]
            connected = [each for each in connected if each.rests_until <= now] or connected
        self._turn += 1
        return connected[self._turn % len(connected)]

    def _unavailable(self) -> Unavailable:
        failures = "; ".join(f"{each.name}: {each.failure or 'no answer yet'}" for each in self.each)
        return Unavailable(
            f"no connection to any endpoint ({failures}): is a server running there? "
            "Start one with `ostraka serve`, or give other endpoints"
        )

    def replace(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Ask at these from now on, and at those that were given at first. Connections that stand are kept."""
        known = {each.address: each for each in self.each}
        wanted = dict.fromkeys([*addresses, *self._given])
        for address, endpoint in known.items():
            if address not in wanted:
                self._former.append(endpoint)
                if endpoint.channel is not None:
                    endpoint.channel.drain()
        self.each = [known.get(address) or Endpoint(address) for address in wanted]

    async def close(self) -> None:
        """Give up all connections, and make no more."""
        self.closed = True
        await asyncio.gather(*(each.close() for each in (*self.each, *self._former)))
