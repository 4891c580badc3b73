"""Sessions: what is asked within one is executed once, however often and wherever it has to be sent.

Follows:  Ongaro, "Consensus: Bridging Theory and Practice", §6.3.
Words:    a *series* is what the cluster calls a session: an id, under which requests are numbered from 1.
Departs:  a series that the cluster has forgotten is followed by another one, as long as that leaves no doubt: that is,
          when the refused attempt was the only one. Otherwise its request ends with `SessionExpired`.
Evidence: tests/client/test_sessions.py, behind a proxy that loses what the servers answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from ostraka.api import etcd
from ostraka.client.calls import Calls
from ostraka.client.channel import Metadata
from ostraka.client.kv import AsyncKV
from ostraka.errors import NotSupported, SessionExpired

REGISTER: Final = "/ostraka.v1.Sessions/Register"
WINDOW: Final = 128
"""Requests from the first that waits for its answer to the last: the cluster keeps twice as many replies."""


class Series:
    """The numbers of one session, as the cluster knows it."""

    def __init__(self, client: int) -> None:
        self.client: Final = client
        self._last = 0
        self._open: dict[int, None] = {}  # Requests that wait, in ascending order.
        self._room = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Until there are not too many requests ahead of the first that waits."""
        while self._open and self._last + 1 - next(iter(self._open)) >= WINDOW:
            self._room.clear()
            await self._room.wait()

    @contextmanager
    def request(self) -> Iterator[Metadata]:
        """The ids of the next request. Whoever leaves has its answer, or will never send it again."""
        self._last += 1
        number = self._last
        self._open[number] = None
        acked = next(iter(self._open)) - 1
        try:
            yield (
                ("ostraka-client", str(self.client)),
                ("ostraka-request", str(number)),
                ("ostraka-acked", str(acked)),
            )
        finally:
            del self._open[number]
            self._room.set()


class AsyncSession(AsyncKV):
    """The methods of a client whose writes are repeated until their outcome is known, and executed once.

    Made by `AsyncClient.session`. A write raises OutcomeUnknown only when its time is over, or when the cluster has
    forgotten the session meanwhile (`SessionExpired`: it keeps the 10,000 that were used last).
    """

    def __init__(self, calls: Calls) -> None:
        self._calls: Final = calls
        self._series: Series | None = None
        self._beginning: Final = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._begun(None, None)
        return self

    async def __aexit__(self, *exception: object) -> None:
        """There is nothing to give back: the cluster forgets sessions that are not used."""

    async def _begun(self, forgotten: Series | None, timeout: float | None) -> Series:
        """The present series; a new one if that is `forgotten`. Raises NotSupported where there are no sessions."""
        async with self._beginning:
            if self._series is forgotten:
                ask = etcd.RegisterRequest(nonce=secrets.randbits(63))
                try:
                    reply = await self._calls.unary(REGISTER, ask, timeout, repeatable=True)
                except NotSupported as error:
                    raise NotSupported(f"{error}: only Ostraka's servers have sessions") from None
                self._series = Series(reply.client)
            assert self._series is not None, "it was begun above, if there was none"
            return self._series

    async def _read(self, path: str, request: Any, timeout: float | None) -> Any:
        return await self._calls.unary(path, request, timeout, writes=False)

    async def _write(self, path: str, request: Any, timeout: float | None) -> Any:
        series = self._series or await self._begun(None, timeout)
        while True:
            await series.wait_for_room()
            with series.request() as metadata:
                try:
                    return await self._calls.unary(path, request, timeout, repeatable=True, metadata=metadata)
                except SessionExpired as error:
                    if error.__cause__ is not None:
                        raise  # An earlier attempt may have been executed.
            series = await self._begun(series, timeout)
