"""Within a session a write is executed once, though connections and answers are lost and members die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.cli.cluster import SERVE, Cluster
from ostraka.client import AsyncClient, Client, Get, Put, Value, Version
from ostraka.client.session import REGISTER, WINDOW
from ostraka.errors import NotExecuted, NotSupported, OutcomeUnknown, SessionExpired
from ostraka.transport.http2 import ErrorCode, ServerCall, Status

from .conftest import FAST
from .proxy import Proxy
from .scripted import Server, after, fails, put_done

WORKERS, TIMES = 8, 250
FORGOTTEN = fails(
    Status.UNAVAILABLE,
    "ostraka: no such session, or it was evicted: the request may have been executed before; begin a new session",
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("three") / "cluster", 3, command=SERVE, flags=FAST) as cluster:
        cluster.start()
        yield cluster


async def count_up(session: Any, key: str, times: int) -> int:
    """Increments, each of which must find what the one before has left. How many were refused."""
    refused = 0
    for number in range(times):
        condition = Value(key) == str(number) if number else Version(key) == 0
        step = session.txn().when(condition).then(Put(key, str(number + 1))).otherwise(Get(key))
        refused += not (await step.commit(timeout=30)).succeeded
    return refused


@pytest.mark.process
async def test_no_increment_is_lost_or_doubled_though_answers_are_lost(three: Cluster) -> None:
    dice = Random(1)
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(endpoint, dice, 10)) for endpoint in three.endpoints]
        client = await stack.enter_async_context(AsyncClient([proxy.endpoint for proxy in proxies]))
        session = await stack.enter_async_context(client.session())
        keys = [f"counter/{number}" for number in range(WORKERS)]
        refused = await asyncio.gather(*(count_up(session, key, TIMES) for key in keys))
        lost = sum(proxy.lost_answers for proxy in proxies)
    async with AsyncClient(three.endpoints) as client:
        counters = await client.get_prefix("counter/")
    assert refused == [0] * WORKERS, "an increment that was sent again found itself done already"
    assert [(int(pair.value), pair.version) for pair in counters.kvs] == [(TIMES, TIMES)] * WORKERS
    assert lost > 50, f"only {lost} answers were lost: that proves little"


@pytest.mark.process
async def test_without_a_session_the_same_loss_leaves_doubts(three: Cluster) -> None:
    """The proxy does lose what matters: were a write simply repeated, it would be executed twice."""
    doubled = 0
    async with Proxy(three.endpoints[0], Random(2), 6) as proxy, AsyncClient([proxy.endpoint]) as client:
        for number in range(400):
            if doubled:
                break
            try:
                await client.put(f"doubt/{number}")
            except OutcomeUnknown:
                async with AsyncClient(three.endpoints) as other:
                    await other.put(f"doubt/{number}")
                    doubled += (await other.get(f"doubt/{number}")).version == 2
            except NotExecuted:
                pass
    assert doubled


@pytest.mark.process
async def test_members_may_die_and_come_back_meanwhile(three: Cluster) -> None:
    """And a watch sees each increment once, and a lock is held all the while."""
    async with (
        AsyncClient(three.endpoints) as client,
        client.session() as session,
        client.watch("survivor") as changes,
        client.lock("survivors", ttl=30) as lock,
    ):
        counting = asyncio.create_task(count_up(session, "survivor", 300))
        for node in three.nodes:
            await asyncio.to_thread(node.kill)
            three.launch(node)
            await asyncio.to_thread(three.await_ready)
        assert await counting == 0
        assert (await client.get("survivor")).version == 300
        assert [int((await anext(changes)).value) for _ in range(300)] == list(range(1, 301))
        assert not lock.lost.is_set()
        assert [pair.key for pair in (await client.get_prefix("survivors/")).kvs] == [lock.key]


@pytest.mark.process
def test_sessions_for_threads(three: Cluster) -> None:
    with Client(three.endpoints) as client, client.session() as session:
        revision = session.put("threads", "1").revision
        assert session.get("threads").mod_revision == revision
        assert session.txn().when(Version("threads") == 1).then(Put("threads", "2")).commit().succeeded
        assert session.delete(prefix="threads").deleted == 1
        assert session.compact(revision) > revision


@pytest.mark.process
async def test_servers_without_sessions_are_named(endpoint: str, is_etcd: bool) -> None:
    async with AsyncClient([endpoint]) as client:
        if not is_etcd:
            async with client.session() as session:
                assert (await session.put("k")).revision
            return
        with pytest.raises(NotSupported, match="only Ostraka's servers have sessions"):
            async with client.session():
                pass
        with pytest.raises(NotSupported):
            await client.session().put("k")
        assert await client.get("k") is None


class Scripted(Server):
    """Registers sessions, and keeps what the calls said of theirs."""

    def __init__(self, put: Any) -> None:
        super().__init__(put=put)
        self.registered = 0
        self.router.unary(REGISTER, self._register)

    def _register(self, call: ServerCall, message: bytes) -> None:
        self.registered += 1
        call.reply(etcd.RegisterResponse(client=self.registered).SerializeToString())

    @property
    def ids(self) -> list[tuple[int, ...]]:
        names = ("ostraka-client", "ostraka-request", "ostraka-acked")
        return [tuple(int(call.head.metadata[name]) for name in names) for call in self.calls]


def hang_up(call: ServerCall, message: bytes) -> None:
    call.connection.close(ErrorCode.INTERNAL_ERROR, "dies")


async def test_a_request_keeps_its_number_and_says_what_was_seen() -> None:
    async with Scripted(after(2, hang_up, put_done)) as server, AsyncClient([server.endpoint]) as client:
        async with client.session() as session:
            for _ in range(3):
                await session.put("k")
        assert server.ids == [(1, 1, 0)] * 3 + [(1, 2, 1), (1, 3, 2)]


async def test_what_waits_holds_the_window_back() -> None:
    first_waits = after(1, lambda call, message: None, put_done)
    async with (
        Scripted(first_waits) as server,
        AsyncClient([server.endpoint]) as client,
        client.session() as session,
    ):
        calls = [asyncio.create_task(session.put("k")) for _ in range(WINDOW + 50)]
        while len(server.calls) < WINDOW:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert sorted(server.ids) == [(1, number, 0) for number in range(1, WINDOW + 1)]
        put_done(server.calls[0], b"")
        server.connections[0].flush()
        await asyncio.gather(*calls)
        assert len(server.calls) == WINDOW + 50
        assert {acked for _, number, acked in server.ids if number > WINDOW} >= {WINDOW}


async def test_a_forgotten_session_is_followed_by_another_if_that_leaves_no_doubt() -> None:
    async with Scripted(after(1, FORGOTTEN, put_done)) as server, AsyncClient([server.endpoint]) as client:
        async with client.session() as session:
            await asyncio.gather(session.put("k"), session.put("k"))
        assert server.registered == 2
        assert {ids[:2] for ids in server.ids} >= {(1, 1), (2, 1)}


async def test_a_forgotten_session_leaves_a_doubt_where_an_attempt_was_lost() -> None:
    async with Scripted(after(1, hang_up, FORGOTTEN)) as server, AsyncClient([server.endpoint]) as client:
        async with client.session() as session:
            with pytest.raises(SessionExpired) as raised:
                await session.put("k")
            assert isinstance(raised.value, OutcomeUnknown)
        assert server.registered == 1


async def test_at_its_deadline_a_request_is_in_doubt() -> None:
    async with Scripted(hang_up) as server, AsyncClient([server.endpoint]) as client, client.session() as session:
        with pytest.raises(OutcomeUnknown):
            await session.put("k", timeout=0.3)
        assert len(server.calls) > 2
        await server.stop()
        while client._calls.endpoints.each[0].connected:  # Until that is known here.
            await asyncio.sleep(0.005)
        with pytest.raises(NotExecuted):
            await session.put("k", timeout=0.3)
