"""Watches, with both servers, and with servers that fail as the test says."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.client import AsyncClient, Put, watch
from ostraka.client.watch import WATCH, Bookmark, Event, EventKind
from ostraka.errors import EventsLost, NotExecuted, PermissionDenied, Refused, Unavailable
from ostraka.transport.http2 import ServerCall, Status

from .proxy import Proxy
from .scripted import Server, header

served = pytest.mark.process


def seen(event: Event) -> tuple[str, bytes, bytes, int]:
    return event.kind.name, event.key, event.value, event.revision


@served
async def test_changes_come_in_order(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client, client.watch(prefix="w/", prev_kv=True) as changes:
        first = (await client.put("w/a", "1")).revision
        await client.put("other", "x")
        await client.put("w/a", "2")
        await client.delete(prefix="w/")
        events = [await anext(changes) for _ in range(3)]
        assert [seen(event) for event in events] == [
            ("PUT", b"w/a", b"1", first),
            ("PUT", b"w/a", b"2", first + 2),
            ("DELETE", b"w/a", b"", first + 3),
        ]
        assert [event.is_create for event in events] == [True, False, False]
        assert [event.previous and event.previous.value for event in events] == [None, b"1", b"2"]
        assert changes.revision == first + 3
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(changes)
        await client.put("w/b", "3")
        assert (await anext(changes)).key == b"w/b"


@served
async def test_from_the_past_and_only_what_is_wanted(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        first = (await client.put("w/a", "1")).revision
        await client.delete("w/a")
        await client.put("w/b", "2")
        async with client.watch(prefix="w/", start_revision=first, puts=False) as deletes:
            assert seen(await anext(deletes)) == ("DELETE", b"w/a", b"", first + 1)
        async with client.watch("w/a", "w/c", start_revision=first, deletes=False) as puts:
            assert [(await anext(puts)).key for _ in range(2)] == [b"w/a", b"w/b"]
        async for event in client.watch("w/b", start_revision=first):
            assert seen(event) == ("PUT", b"w/b", b"2", first + 2)
            break
        async with client.watch("w/a", start_revision=first + 5) as future:
            for number in range(5):
                await client.put("w/a", str(number))
            assert [(await anext(future)).revision for _ in range(3)] == [first + 5, first + 6, first + 7]


@served
async def test_what_was_compacted_is_named_and_what_came_after_follows(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        first = (await client.put("w", "1")).revision
        for number in range(2, 6):
            last = (await client.put("w", str(number))).revision
        await client.compact(last - 1)
        async with client.watch("w", start_revision=first) as changes:
            with pytest.raises(EventsLost) as raised:
                await anext(changes)
            assert (raised.value.first, raised.value.last) == (first, last - 2)
            assert [(await anext(changes)).value for _ in range(2)] == [b"4", b"5"]
        async with client.watch("w", start_revision=last - 1) as changes:
            assert (await anext(changes)).value == b"4"


@served
async def test_a_transaction_arrives_whole_and_bookmarks_tell_how_far_it_is(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client, client.watch(prefix="w/", bookmarks=True) as changes:
        done = await client.txn().then(*[watch_put(number) for number in range(5)]).commit()
        await client.put("other")
        revisions = []
        for _ in range(5):
            item = await anext(changes)
            assert isinstance(item, Event)
            revisions.append((item.revision, changes.revision))
        assert revisions == [(done.revision, 0)] * 4 + [(done.revision, done.revision)]
        await changes.request_progress()
        item = await anext(changes)
        assert isinstance(item, Bookmark) and item.revision >= done.revision and changes.revision == item.revision


def watch_put(number: int) -> Any:
    return Put(f"w/{number}")


@served
async def test_a_slow_reader_loses_nothing_and_holds_nobody_up(endpoint: str) -> None:
    async with AsyncClient([endpoint], timeout=30) as client:
        async with client.watch(prefix="w/") as slow, client.watch(prefix="w/") as quick:
            value = bytes(64 << 10)

            async def read() -> None:
                for _ in range(200):
                    await anext(quick)

            reading = asyncio.create_task(read())
            for number in range(200):
                await client.put(f"w/{number:03}", value)
            await reading
            assert slow._feed is not None and slow._feed._size < watch.BUFFER + (4 << 20)
            keys = [(await anext(slow)).key for _ in range(200)]
        assert keys == [b"w/%03d" % number for number in range(200)]
        await client.delete(prefix="w/")


@served
async def test_nothing_is_lost_or_doubled_though_connections_are_lost(endpoint: str) -> None:
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(endpoint, Random(number), 15)) for number in (1, 2)]
        client = await stack.enter_async_context(AsyncClient([endpoint]))
        watcher = await stack.enter_async_context(AsyncClient([proxy.endpoint for proxy in proxies]))
        changes = await stack.enter_async_context(watcher.watch(prefix="w/"))

        def enough(count: int) -> bool:
            return count >= 300 and sum(proxy.lost_answers for proxy in proxies) > 2

        async def write() -> list[int]:
            revisions: list[int] = []
            while not enough(len(revisions)):
                assert len(revisions) < 10_000, "the connections are hardly ever lost"
                revisions.append((await client.put(f"w/{len(revisions) % 7}", str(len(revisions)))).revision)
            await client.put("w/end", "end")
            return revisions

        writing = asyncio.create_task(write())
        values = []
        while (event := await anext(changes)).value != b"end":
            values.append(event)
        assert [event.revision for event in values] == await writing
        assert [event.value for event in values] == [b"%d" % number for number in range(len(values))]


@served
async def test_a_forgotten_watch_is_ended(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        async for _ in client.watch("w", start_revision=(await client.put("w")).revision):
            break
        gc.collect()
        (channel,) = [each.channel for each in client._calls.endpoints.each]
        assert channel is not None
        for _ in range(200):
            await asyncio.sleep(0.005)
            if not channel.http2.streams:
                break
        assert not channel.http2.streams


@served
async def test_closing_ends_the_iteration(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        changes = client.watch("w")
        await changes.__aenter__()

        async def read() -> list[Event]:
            return [event async for event in changes]

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.02)
        await changes.close()
        assert await reading == []
        assert [event async for event in changes] == []
        orphan = client.watch("w")
        await orphan.__aenter__()
        waiting = asyncio.create_task(anext(orphan))
        await asyncio.sleep(0.02)
    with pytest.raises(NotExecuted):
        await waiting


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": "a", "start_revision": -1}, ValueError),
        ({"key": "a", "puts": False, "deletes": False}, ValueError),
        ({"key": "a", "prefix": "b"}, TypeError),
        ({}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        AsyncClient(["h:1"]).watch(**options)


# ---- Servers that do what the test says. ----------------------------------------------------------------------------


class Watched(Server):
    """Keeps what each watch asks for, and says what it is told to."""

    def __init__(self, cluster: int = 1) -> None:
        super().__init__()
        self.cluster = cluster
        self.streams: list[ServerCall] = []
        self.asked: list[Any] = []
        self.refusal: tuple[int, str] | None = None
        self.mute = False
        self.router.stream(WATCH, self._open)

    def _open(self, call: ServerCall) -> Watched:
        if self.refusal is not None:
            call.fail(*self.refusal)
        else:
            self.streams.append(call)
        return self

    def on_message(self, message: bytes) -> None:
        self.asked.append(etcd.WatchRequest.FromString(message).create_request)
        if self.streams and not self.mute:
            self.say(created=True)

    def say(self, revision: int = 7, **fields: Any) -> None:
        head = header(revision)
        head.cluster_id = self.cluster
        self.streams[-1].send(etcd.WatchResponse(header=head, **fields).SerializeToString())
        for line in self.connections:
            line.flush()

    def tell(self, *revisions: int) -> None:
        """One event for each."""
        kvs = [etcd.KeyValue(key=b"k", value=b"v", mod_revision=each, create_revision=2) for each in revisions]
        self.say(events=[etcd.Event(kv=kv) for kv in kvs])

    def end(self, status: int, text: str) -> None:
        self.streams[-1].fail(status, text)
        for line in self.connections:
            line.flush()

    def on_half_close(self) -> None: ...
    def on_cancel(self) -> None: ...
    def on_drained(self) -> None: ...


async def test_it_goes_on_where_it_was() -> None:
    async with Watched() as server, AsyncClient([server.endpoint]) as client, client.watch("k") as changes:
        assert server.asked[-1].start_revision == 0 and server.asked[-1].progress_notify
        assert server.streams[-1].head.metadata["hasleader"] == "true"
        await server.hang_up()
        reading = asyncio.create_task(anext(changes))
        while len(server.asked) < 2:
            await asyncio.sleep(0.005)
        assert server.asked[-1].start_revision == 8, "it had been promised all that came after revision 7"
        server.tell(7, 8, 9, 9)
        assert (await reading).revision == 8
        assert [(await anext(changes)).revision for _ in range(2)] == [9, 9]
        server.say(20)  # The server's own progress.
        server.say(30, watch_id=-1)  # One that was asked for, which some servers give too early.
        server.end(Status.UNAVAILABLE, "etcdserver: no leader")
        reading = asyncio.create_task(anext(changes))
        while len(server.asked) < 3:
            await asyncio.sleep(0.005)
        assert server.asked[-1].start_revision == 21 and changes.revision == 30
        server.tell(21)
        assert (await reading).revision == 21


async def test_it_begins_elsewhere_if_an_endpoint_has_no_leader_or_says_nothing() -> None:
    async with Watched() as one, Watched() as other:
        one.refusal = (Status.UNAVAILABLE, "etcdserver: no leader")
        async with AsyncClient([one.endpoint, other.endpoint]) as client:
            for _ in range(4):
                async with client.watch("k"):
                    pass
        one.refusal, one.mute = None, True
        async with AsyncClient([one.endpoint], timeout=0.1) as client:
            with pytest.raises(NotExecuted, match="not created in time"):
                await client.watch("k").__aenter__()
    async with AsyncClient([one.endpoint]) as client:
        with pytest.raises(Unavailable):
            await client.watch("k").__aenter__()


async def test_what_will_not_pass_by_is_raised() -> None:
    async with Watched() as server, AsyncClient([server.endpoint]) as client:
        async with client.watch("k") as changes:
            server.say(created=True, canceled=True, watch_id=-1, cancel_reason="etcdserver: permission denied")
            with pytest.raises(PermissionDenied):
                await anext(changes)
        async with client.watch("k") as changes:
            server.say(canceled=True)
            with pytest.raises(Refused, match="cancelled by the server"):
                await anext(changes)
        server.refusal = (Status.UNAUTHENTICATED, "etcdserver: invalid auth token")
        with pytest.raises(Refused, match="invalid auth token"):
            await client.watch("k").__aenter__()


async def test_the_events_of_another_cluster_are_not_taken_for_those_of_this() -> None:
    async with Watched(1) as one, AsyncClient([one.endpoint]) as client, client.watch("k") as changes:
        one.cluster = 2
        one.tell(8)
        with pytest.raises(Refused, match="another cluster"):
            await anext(changes)


def test_events_are_numbered_as_etcds() -> None:
    assert [int(kind) for kind in EventKind] == [etcd.Event.PUT, etcd.Event.DELETE]
