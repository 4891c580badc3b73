"""Leases: kept alive in the background, and lost when it can't be told any more that they are alive.

Follows:  Gray and Cheriton, "Leases", SOSP '89: who holds one must give up before the one who gave it does.
Words:    a lease is *lost* when its time has passed since the last successful renewal was sent: at the servers it
          began later, and so it ends there later. Sent, not answered: how long the answer took nobody knows.
Departs:  a renewal is a stream of one message, so that it fails over like any other call.
Evidence: tests/client/test_lease.py.

The clock is one that also counts while the machine sleeps, where there is such a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable
from typing import Final, Self

from ostraka.api import etcd
from ostraka.client.calls import Calls
from ostraka.errors import LeaseExists, LeaseNotFound, Lost, OstrakaError

GRANT: Final = "/etcdserverpb.Lease/LeaseGrant"
REVOKE: Final = "/etcdserverpb.Lease/LeaseRevoke"
KEEP_ALIVE: Final = "/etcdserverpb.Lease/LeaseKeepAlive"
RENEWALS: Final = 3
"""How often a lease is renewed within its time."""
LATE: Final = "it was not renewed in time"
FAREWELL: Final = 2.0
"""Seconds that giving a lease back may take. If that fails it ends by itself."""


def _counts_sleep() -> Callable[[], float]:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic


clock: Callable[[], float] = _counts_sleep()


class AsyncLoss:
    """The loss of a lease, or of what hangs on it. Once lost it stays lost."""

    def __init__(self, cause: AsyncLoss | None = None) -> None:
        """`cause`: its loss is the loss of this, too."""
        self.expires = float("inf")  # By `clock`: lost from then on, unless that is put off before.
        self._cause: Final = cause
        self._reason = ""
        self._event: Final = asyncio.Event()

    @property
    def reason(self) -> str:
        """Why it is lost; "" as long as it isn't."""
        if not self._reason and clock() >= self.expires:
            self._reason = LATE  # However busy the loop is that should have noticed.
        return self._reason or (self._cause.reason if self._cause is not None else "")

    def is_set(self) -> bool:
        """Whether it is lost: asked of the clock, so that the answer is right after a stall, too."""
        return bool(self.reason)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is lost, but no longer than `timeout` seconds; whether it is."""
        events = [each._event for each in (self, self._cause) if each is not None]
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return self.is_set()

    def set(self, reason: str) -> None:
        """It is lost."""
        if self._reason in ("", LATE):
            self._reason = reason
        self._event.set()


class AsyncLease:
    """A lease: granted on entering, kept alive within, revoked on leaving; then its keys are gone.

        async with client.lease(10) as lease:
            await client.put("here", "I am", lease=lease.id)
            await lease.lost.wait()

    It is not renewed any more once it is `lost`: look at `lost.is_set()` before you rely on it.
    """

    def __init__(self, calls: Calls, ttl: int) -> None:
        if not 1 <= ttl <= 9_000_000_000:
            raise ValueError(f"the time to live of a lease is from 1 to 9,000,000,000 seconds, not {ttl!r}")
        self.id: Final = secrets.randbits(62) + 1  # Ours, so that asking for it twice grants it once.
        self.ttl = ttl  # Seconds; what the server makes of it, when it is granted.
        self.lost = AsyncLoss()
        self._calls: Final = calls
        self._renewed = 0.0  # When the last successful renewal was sent, by `clock`.
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._keeping is not None:
            raise Lost("a lease is granted once: make another one")
        sent = clock()
        try:
            request = etcd.LeaseGrantRequest(TTL=self.ttl, ID=self.id)
            reply = await self._calls.unary(GRANT, request, repeatable=True)
            self._alive(sent, reply.TTL)
        except LeaseExists as error:
            if error.__cause__ is None or not await self._renew():  # No earlier attempt of ours can have made it.
                raise
        self._keeping = self._calls.in_background(self._keep_alive())
        return self

    async def __aexit__(self, *exception: object) -> None:
        with contextlib.suppress(OstrakaError):  # Then it ends by itself.
            await self.revoke(FAREWELL)

    async def revoke(self, timeout: float | None = None) -> None:
        """End it, and delete its keys, in one revision. Nothing happens if it is gone already."""
        self.lost.set("it was revoked by its owner")
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        with contextlib.suppress(LeaseNotFound):
            await self._calls.unary(REVOKE, etcd.LeaseRevokeRequest(ID=self.id), timeout, repeatable=True)

    def _alive(self, sent: float, ttl: int) -> None:
        self.ttl = ttl
        self._renewed = sent
        self.lost.expires = sent + ttl

    async def _renew(self) -> bool:
        """Renew it; whether it was still there. Raises OstrakaError if nobody could tell in time."""
        sent = clock()
        patience = min(self.ttl / RENEWALS, max(self.lost.expires - sent, 0.01))
        request = etcd.LeaseKeepAliveRequest(ID=self.id)
        reply = await self._calls.unary(KEEP_ALIVE, request, patience, writes=False)
        if reply.TTL > 0 and not self.lost.is_set():
            self._alive(sent, reply.TTL)
        return bool(reply.TTL > 0)

    async def _keep_alive(self) -> None:
        why = LATE
        try:
            while not self.lost.is_set():
                rest = self._renewed + self.ttl / RENEWALS * random.uniform(0.8, 1.0) - clock()
                await asyncio.sleep(max(rest, 0.05))
                try:
                    if not await self._renew():
                        self.lost.set("it has expired, or was revoked by somebody else")
                except OstrakaError as error:
                    why = f"it could not be renewed for {self.ttl} s: {error}"
                    await asyncio.sleep(min(self.ttl / 20, max(self.lost.expires - clock(), 0)))
        except asyncio.CancelledError:
            why = "its client is closed"
            raise
        finally:
            self.lost.set(why)
