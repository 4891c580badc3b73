"""Calls that find a server: on the next endpoint when one fails, but never twice if that could matter.

A call that certainly did not happen is sent again elsewhere, until its deadline. One that may have happened is sent
again only if that does no harm: because it only reads, because a second execution changes nothing, or because its
session makes the cluster execute it once.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ostraka.api.services import METHODS
from ostraka.client.channel import Metadata, now
from ostraka.client.endpoints import Endpoint, Endpoints
from ostraka.client.outcomes import error_of, passing
from ostraka.errors import (
    NotExecuted,
    NotLeader,
    NotSupported,
    OstrakaError,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from ostraka.model.ids import SECOND
from ostraka.transport.http2.errors import Status

FIRST_PAUSE: Final = 0.01  # Seconds before a member that could not serve is followed by the next one,
LONGEST_PAUSE: Final = 0.25  # and the longest such pause.
SHORTEST_ATTEMPT: Final = 0.25  # Seconds: what is left is not divided into less.

READS: Final = frozenset(
    (
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.Cluster/MemberList",
        "/etcdserverpb.Maintenance/Status",
        "/etcdserverpb.Maintenance/Hash",
        "/etcdserverpb.Maintenance/HashKV",
        "/etcdserverpb.Lease/LeaseTimeToLive",
        "/etcdserverpb.Lease/LeaseLeases",
        "/v3electionpb.Election/Leader",
        "/grpc.health.v1.Health/Check",
    )
)
"""Methods that change nothing: a failed one certainly did no harm."""

_AT_THE_DOOR: Final = (Overloaded, NotSupported, Unauthenticated, PermissionDenied)


class Calls:
    """The endpoints, and the loop in which they are talked to. For one event loop, in one process."""

    def __init__(self, endpoints: Endpoints, timeout: float, on_first: Callable[[], None]) -> None:
        """`on_first` is called, in the loop, when the first call is made."""
        self.endpoints: Final = endpoints
        self.timeout: Final = _positive(timeout)
        self._on_first: Final = on_first
        self._background: Final[set[asyncio.Task[None]]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.process: Final = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, which must be the same for all calls. Raises NotExecuted."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise NotExecuted("this client belongs to another event loop: make one in each loop")
            self._loop = loop
            if not self.endpoints.closed:
                self._on_first()
        if os.getpid() != self.process:
            raise forked(self.process)
        if self.endpoints.closed:
            raise NotExecuted("this client is closed")
        return loop

    async def unary(
        self,
        path: str,
        request: Any,
        timeout: float | None = None,
        *,
        writes: bool = True,
        repeatable: bool = False,
        metadata: Metadata = (),
    ) -> Any:
        """The reply to a request. `writes`: it changes something. `repeatable`: doing so twice does no harm.

        `timeout`: seconds for all attempts; None: the client's. Raises NotExecuted or OutcomeUnknown, and their kinds.
        """
        loop = self.loop
        body = request.SerializeToString()
        deadline = loop.time() + (self.timeout if timeout is None else _positive(timeout))
        may_repeat = repeatable or not writes
        doubt: OutcomeUnknown | None = None
        failed: Endpoint | None = None
        pause = FIRST_PAUSE
        while True:
            try:
                endpoint = await self.endpoints.next(loop, deadline, failed)
            except Unavailable:
                if doubt is None:
                    raise
                if loop.time() >= deadline or self.endpoints.closed:
                    raise doubt from None
                await asyncio.sleep(FIRST_PAUSE)
                continue
            assert endpoint.channel is not None, "it was said to be connected"
            left = deadline - loop.time()
            if may_repeat and len(self.endpoints.each) > 1 and left > 2 * SHORTEST_ATTEMPT:
                left /= 2  # So that there is time for another, should this one be silent.
            outcome = await endpoint.channel.unary(path, body, now() + int(left * SECOND), metadata)
            if outcome.status == Status.OK:
                endpoint.well()
                return METHODS[path].response.FromString(outcome.body)
            error = error_of(endpoint.name, outcome, writes)
            if not outcome.answered or isinstance(error, NotLeader):
                endpoint.ill(loop.time())
            if not passing(error):
                if doubt is not None and isinstance(error, _AT_THE_DOOR):
                    raise doubt  # Who never let the request through to the database tells nothing of earlier attempts.
                raise error from doubt
            if isinstance(error, OutcomeUnknown):
                doubt = error
                if not may_repeat:
                    raise error
            failed = endpoint
            if loop.time() + pause >= deadline:
                raise doubt or error
            if outcome.answered or len(self.endpoints.each) == 1:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def call(self, path: str, request: Any, timeout: float | None = None) -> Any:
        """As `unary`, by the path alone: what isn't known to be harmless counts as a write."""
        return await self.unary(path, request, timeout, writes=path not in READS)

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in a task of its own, until the client is closed."""
        task = self.loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    @property
    def open(self) -> bool:
        """It has been used, and there is something to close."""
        return self._loop is not None and not self.endpoints.closed and os.getpid() == self.process

    async def close(self) -> None:
        """Give up all connections, and what goes on in the background."""
        if os.getpid() == self.process:
            for task in self._background:
                task.cancel()
            if self._background:
                await asyncio.wait(self._background)
            await self.endpoints.close()


def forked(process: int) -> OstrakaError:
    """Why a client is of no use in a child process: both would read from the same connection."""
    return NotExecuted(
        f"this client was made in process {process}, and this is process {os.getpid()}: make a client after the fork"
    )


def _positive(seconds: float) -> float:
    if not 0 < seconds < 1e9:
        raise ValueError(f"a timeout is a positive number of seconds, not {seconds!r}")
    return seconds
