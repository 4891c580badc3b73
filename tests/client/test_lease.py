"""Leases: kept alive, revoked, and lost in time, with both servers and with one that does as the test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.client import AsyncClient, Client, lease
from ostraka.client.lease import GRANT, KEEP_ALIVE, REVOKE
from ostraka.errors import LeaseExists, LeaseNotFound, NotExecuted, OutcomeUnknown
from ostraka.transport.http2 import ErrorCode, ServerCall, Status

from .scripted import Server, after, fails

served = pytest.mark.process


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@served
async def test_a_lease_keeps_its_keys_as_long_as_it_is_held(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        async with client.lease(2) as held:
            await client.put("here", "I am", lease=held.id)
            assert held.ttl >= 1 and not held.lost.is_set()
            assert not await held.lost.wait(2.5)
            found = await client.get("here")
            assert found is not None and found.lease == held.id
        assert held.lost.is_set() and "by its owner" in held.lost.reason
        assert await client.get("here") is None


@served
async def test_the_loss_is_told_when_somebody_else_revokes_it(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client, client.lease(2) as held:
        await client.call(REVOKE, etcd.LeaseRevokeRequest(ID=held.id))
        assert await held.lost.wait(5)
        assert "expired, or was revoked" in held.lost.reason
        with pytest.raises(LeaseNotFound):
            await client.put("here", lease=held.id)


@served
def test_leases_for_threads(endpoint: str) -> None:
    with Client([endpoint]) as client:
        with client.lease(60) as held:
            client.put("here", "I am", lease=held.id)
            assert held.ttl == 60 and not held.lost.is_set() and not held.lost.wait(0.01)
        assert held.lost.wait() and held.lost.reason
        assert client.get("here") is None
        other = client.lease(60)
        other.__enter__()
        other.revoke()
        other.revoke()


class Clock:
    """Stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(lease, "clock", lambda: self.now)


class Leases(Server):
    """Grants and keeps alive, as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: list[Any] = []
        self.renewals = 0
        self.ttl = 1
        self.grant: Any = self._granted
        self.keep_alive: Any = self._renewed
        for path, name in ((GRANT, "grant"), (KEEP_ALIVE, "keep_alive")):
            self.router.unary(path, lambda call, message, name=name: getattr(self, name)(call, message))
        self.router.unary(REVOKE, lambda call, message: call.reply(b""))

    def _granted(self, call: ServerCall, message: bytes) -> None:
        self.granted.append(etcd.LeaseGrantRequest.FromString(message))
        call.reply(etcd.LeaseGrantResponse(ID=self.granted[-1].ID, TTL=self.ttl).SerializeToString())

    def _renewed(self, call: ServerCall, message: bytes) -> None:
        self.renewals += 1
        call.reply(etcd.LeaseKeepAliveResponse(ID=self.granted[-1].ID, TTL=self.ttl).SerializeToString())


async def test_the_time_counts_from_when_the_last_successful_renewal_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    async with Leases() as server, AsyncClient([server.endpoint]) as client:
        server.ttl = 60
        async with client.lease(60) as held:
            clock.now += 59
            assert not held.lost.is_set()
            sent: list[ServerCall] = []
            server.keep_alive = lambda call, message: sent.append(call)
            renewing = asyncio.create_task(held._renew())
            await until(lambda: sent)
            clock.now += 0.5  # So long it takes to be answered.
            server._renewed(sent[0], b"")
            server.connections[0].flush()
            assert await renewing
            clock.now += 59.4
            assert not held.lost.is_set()
            clock.now += 0.2
            assert held.lost.is_set() and "not renewed in time" in held.lost.reason, "60 s after it was sent"


async def test_a_stall_is_noticed_by_whoever_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was stopped, or the machine slept: no timer of the loop has run since."""
    clock = Clock(monkeypatch)
    async with Leases() as server, AsyncClient([server.endpoint]) as client, client.lease(1) as held:
        clock.now += 1.01
        assert held.lost.is_set()
        before = server.renewals
        assert await held.lost.wait(5), "and those who wait for it hear of it"
        assert server.renewals == before, "what was lost is not renewed"


async def test_it_is_renewed_until_it_can_not_be_and_then_lost() -> None:
    async with Leases() as server, AsyncClient([server.endpoint]) as client, client.lease(1) as held:
        await until(lambda: server.renewals >= 2)
        server.keep_alive = fails(Status.UNAVAILABLE, "etcdserver: no leader")
        assert not held.lost.is_set()
        assert await held.lost.wait(5)
        assert "could not be renewed for 1 s" in held.lost.reason and "no leader" in held.lost.reason


async def test_a_renewal_that_fails_is_tried_again_in_time() -> None:
    async with Leases() as server, AsyncClient([server.endpoint]) as client, client.lease(1) as held:
        stumbles = [fails(Status.UNKNOWN, "lease: not a primary lessor"), lambda call, message: None]
        for stumble in stumbles:
            count = server.renewals
            server.keep_alive = after(1, stumble, server._renewed)
            await until(lambda count=count: server.renewals > count or held.lost.is_set())
            assert not held.lost.is_set()


def hang_up(call: ServerCall, message: bytes) -> None:
    call.connection.close(ErrorCode.INTERNAL_ERROR, "dies")


async def test_it_is_granted_once_though_the_answer_is_lost() -> None:
    async with Leases() as server, AsyncClient([server.endpoint]) as client:
        asked: list[Any] = []

        def grant(call: ServerCall, message: bytes) -> None:
            asked.append(etcd.LeaseGrantRequest.FromString(message).ID)
            if len(asked) == 1:
                server.granted.append(etcd.LeaseGrantRequest.FromString(message))
                hang_up(call, message)
            else:
                call.fail(Status.FAILED_PRECONDITION, "etcdserver: lease already exists")

        server.grant = grant
        server.ttl = 7
        async with client.lease(5) as held:
            assert held.ttl == 7 and asked == [held.id, held.id]
        asked.append(0)
        with pytest.raises(LeaseExists):
            await client.lease(5).__aenter__()
        server.grant = hang_up
        async with AsyncClient([server.endpoint], timeout=0.2) as hasty:
            with pytest.raises(OutcomeUnknown):
                await hasty.lease(5).__aenter__()


@served
async def test_a_client_that_is_closed_keeps_nothing_alive(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        held, lock = client.lease(60), client.lock("left", ttl=2)
        await held.__aenter__()
        await lock.acquire()
    assert "client is closed" in held.lost.reason and lock.lost.is_set()
    async with AsyncClient([endpoint]) as client, client.lock("left"):
        await client.call(REVOKE, etcd.LeaseRevokeRequest(ID=held.id))


async def test_a_lease_that_nobody_grants_is_an_error() -> None:
    async with AsyncClient(["127.0.0.1:1"]) as client:
        with pytest.raises(NotExecuted):
            async with client.lease(5):
                raise AssertionError("it was never granted")
        for ttl in (0, -1, 10**10):
            with pytest.raises(ValueError, match="time to live"):
                client.lease(ttl)
