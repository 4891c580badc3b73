"""One connection to one server, in an asyncio loop: many calls at once, each with a deadline.

Bytes go to and from `transport.http2`; what is to be written is gathered and written once a turn of the loop. A server
that has gone silent while somebody waits for it is pinged, and taken for dead if that is not answered: a machine that
lost its power says no goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final, cast

from ostraka.model.ids import SECOND, Instant
from ostraka.transport.http2.client import Caller, ClientCall, ClientConnection, Outcome

SILENCE: Final = 6.0  # Seconds after which a server is pinged: etcd ends connections that ping every 5 s or faster.
ANSWER: Final = 4.0  # Seconds within which the answer must come.
FAREWELL: Final = 0.5  # Seconds that the last bytes have to leave.

now: Callable[[], Instant] = time.monotonic_ns

Metadata = Iterable[tuple[str, str]]


class Channel(asyncio.Protocol):
    """See the module. Made by `loop.create_connection`; `ready` is done when the server has spoken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, authority: str) -> None:
        self.ready: Final[asyncio.Future[None]] = loop.create_future()
        self.gone: Final[asyncio.Future[None]] = loop.create_future()
        self._loop: Final = loop
        self._transport: asyncio.Transport | None = None
        self._writes = False  # `_flush` is about to be called.
        self.http2: Final = ClientConnection(authority, self._has_output, now())
        self._heard = loop.time()  # When bytes came last.
        self._pinged: float | None = None  # Since when a sign of life is awaited.
        self._watchdog: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None  # At the first deadline of a call,
        self._alarm_at: Instant = 0  # which is this one.

    @property
    def usable(self) -> bool:
        """New calls may be sent here."""
        return self.ready.done() and not self.http2.draining and not self.http2.closed

    async def unary(self, path: str, message: bytes, deadline: Instant, metadata: Metadata = ()) -> Outcome:
        """Call with one message and take one reply. Cancelled, it tells the server so."""
        outcome: asyncio.Future[Outcome] = self._loop.create_future()

        def done(ended: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(ended)

        call = self.http2.unary(path, message, done, now(), deadline, metadata)
        self._watch()
        try:
            return await outcome
        except asyncio.CancelledError:
            call.cancel()
            raise

    def stream(self, path: str, caller: Caller, metadata: Metadata = ()) -> ClientCall:
        """Open a call of many messages, without a deadline."""
        call = self.http2.stream(path, caller, now(), None, metadata)
        self._watch()
        return call

    def drain(self) -> None:
        """Take no new calls; close when the last one is over."""
        self.http2.shutdown()
        self._flush()

    async def close(self, reason: str) -> None:
        """End all calls, and the connection: within a moment, also if the server no longer reads."""
        self.http2.close(reason=reason)
        self._flush()
        if self._transport is not None:
            await asyncio.wait([self.gone], timeout=FAREWELL)
            if not self.gone.done():
                self._transport.abort()
                await self.gone

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._pinged = None
        self.http2.feed(data, now())
        if not self.ready.done() and not self.http2.closed:
            self.ready.set_result(None)
        if self.http2.closed:
            self._flush()

    def pause_writing(self) -> None:
        # Reading goes on all the same: a client and a server that each wait for the other to read would wait for ever.
        self.http2.pause_writing()

    def resume_writing(self) -> None:
        self.http2.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.http2.lost(reason_of(exc) if isinstance(exc, OSError) else "the server closed it")
        for timer in (self._watchdog, self._alarm):
            if timer is not None:
                timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self.http2.reason))
            self.ready.exception()  # Somebody may have given up waiting for it.
        if not self.gone.done():
            self.gone.set_result(None)

    def _has_output(self) -> None:
        if not self._writes:
            self._writes = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._writes = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = self.http2.take()
        if data:
            transport.write(data)
        if self.http2.closed:
            transport.close()

    def _watch(self) -> None:
        """A call was begun: see to its deadline, and to the server's signs of life."""
        if self._watchdog is None:
            self._heard = self._loop.time()
            self._watchdog = self._loop.call_later(SILENCE, self._look)
        self._set_alarm()

    def _set_alarm(self) -> None:
        deadline = self.http2.next_deadline()
        if deadline is None or self.http2.closed or (self._alarm is not None and self._alarm_at <= deadline):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max((deadline - now()) / SECOND, 0.0), self._expire)

    def _expire(self) -> None:
        self._alarm = None
        self.http2.expire(now())
        self._set_alarm()

    def _look(self) -> None:
        """Is the server alive? Asked only while somebody waits for it."""
        self._watchdog = None
        if not self.http2.streams or self.http2.closed:
            return
        moment = self._loop.time()
        if self._pinged is not None and moment - self._pinged >= ANSWER:
            self.http2.lost(f"the server gave no sign of life for {moment - self._heard:.0f} s")
            if self._transport is not None:
                self._transport.abort()
            return
        if self._pinged is None and moment - self._heard >= SILENCE:
            self._pinged = moment
            self.http2.ping(_nothing)
        since = self._pinged + ANSWER if self._pinged is not None else self._heard + SILENCE
        self._watchdog = self._loop.call_later(max(since - moment, 0.01), self._look)


def _nothing() -> None:
    """Any byte of the server's is a sign of life."""


def reason_of(error: OSError) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error) or type(error).__name__).lower()
