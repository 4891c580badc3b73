"""The clients' port, on real sockets, over a scripted group."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ostraka.api import etcd
from ostraka.errors import NotLeader, StorageError
from ostraka.server.calls import MAX_UNREAD
from ostraka.server.http import HttpFront, Pages
from ostraka.server.listener import UNDECIDED, Listener, bind
from ostraka.server.metrics import Traffic, registry_of
from ostraka.transport.http2 import PREFACE, Status
from ostraka.transport.http2.client import ClientConnection, Outcome

from .scripted import ME, World

PATIENCE = 20  # Seconds: only a hanging test meets it.


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run the test in an event loop of its own."""

    @functools.wraps(test)
    def run(**arguments: object) -> None:
        asyncio.run(test(**arguments))

    return run


class Port:
    """A listener, and what it serves."""

    def __init__(self, world: World, listener: Listener, address: tuple[str, int]) -> None:
        self.world = world
        self.listener = listener
        self.address = address
        self.opened: list[asyncio.StreamWriter] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        self.opened.append(writer)
        return reader, writer

    async def close(self) -> None:
        await self.listener.stop()
        for writer in self.opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self.until(lambda: not self.listener.connections)
        for _ in range(5):  # Transports close in a later turn.
            await asyncio.sleep(0)

    async def http(self, request: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer to an HTTP/1.1 request."""
        reader, writer = await self.open()
        writer.write(f"{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body

    async def grpc(self) -> Grpc:
        return Grpc(*await self.open())

    async def until(self, condition) -> None:
        while not condition():
            await asyncio.sleep(0)


class Grpc:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http2 = ClientConnection("x", lambda: None, 0)

    def send(self, path: str, request: object) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self.http2.unary(path, request.SerializeToString(), outcomes.append, 0)
        self.writer.write(self.http2.take())
        return outcomes

    async def answered(self, outcomes: list[Outcome], count: int = 1) -> None:
        while len(outcomes) < count:
            data = await self.reader.read(1 << 16)
            assert data, "the connection ended"
            self.http2.feed(data, 0)
            self.writer.write(self.http2.take())


@asynccontextmanager
async def a_port(max_connections: int = 100) -> AsyncIterator[Port]:
    loop = asyncio.get_running_loop()
    world = World()
    traffic = Traffic()
    front = HttpFront(Pages(world.member, registry_of(world.member, traffic), world.router), loop)
    listener = Listener(loop, world.member, world.router, front, traffic, max_connections)
    sock = bind("127.0.0.1", 0)
    address = sock.getsockname()
    async with asyncio.timeout(PATIENCE):
        await listener.start([sock])
        port = Port(world, listener, address)
        try:
            yield port
        finally:
            await port.close()


STATUS = "/etcdserverpb.Maintenance/Status"
RANGE = "/etcdserverpb.KV/Range"


@in_loop
async def test_one_port_speaks_both_protocols():
    async with a_port() as port:
        client = await port.grpc()
        outcomes = client.send(STATUS, etcd.StatusRequest())
        await client.answered(outcomes)
        assert etcd.StatusResponse.FromString(outcomes[0].body).leader == ME
        status, headers, body = await port.http("GET /version")
        assert (status, headers["content-type"], body) == (
            200,
            "application/json",
            '{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}',
        )


@in_loop
async def test_the_first_bytes_may_come_one_by_one():
    async with a_port() as port:
        reader, writer = await port.open()
        client = ClientConnection("x", lambda: None, 0)
        outcomes: list[Outcome] = []
        client.unary(STATUS, b"", outcomes.append, 0)
        for byte in client.take():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        grpc = Grpc(reader, writer)
        grpc.http2 = client
        await grpc.answered(outcomes)
        assert outcomes[0].status == 0


@pytest.mark.parametrize(
    "start", [b"P", b"PR", b"PRI * HTTP/1.1\r\n\r\n", b"POST /v3/kv/put HTTP/1.1\r\nhost: x\r\n\r\n"]
)
@in_loop
async def test_what_only_begins_like_the_preface_is_http_1(start):
    async with a_port() as port:
        reader, writer = await port.open()
        writer.write(start)
        if len(start) < 3:
            writer.write(b"X")
        writer.write(b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 ")


@in_loop
async def test_a_connection_that_says_nothing_is_closed_in_time():
    async with a_port() as port:
        reader, _ = await port.open()
        await port.until(lambda: port.listener.undecided)
        for silent in port.listener.undecided:
            port.listener.undecided[silent] = UNDECIDED
        assert await reader.read() == b""


@in_loop
async def test_there_is_a_bound_to_connections():
    async with a_port(max_connections=2) as port:
        held = [await port.open() for _ in range(2)]
        await port.until(lambda: len(port.listener.undecided) == 2)
        reader, _ = await port.open()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        for _, other in held:
            other.close()
        await port.until(lambda: not port.listener.undecided)
        assert (await port.http("GET /version"))[0] == 200


@in_loop
async def test_health_in_etcds_words():
    async with a_port() as port:
        asked = asyncio.create_task(port.http("GET /health"))
        await port.until(lambda: port.world.group.reads)
        port.world.group.decide()
        status, headers, body = await asked
        assert (status, body) == (200, '{"health":"true","reason":""}')
        assert headers["content-type"].startswith("text/plain")
        asked = asyncio.create_task(port.http("GET /health"))
        await port.until(lambda: port.world.group.reads)
        port.world.group.refuse(NotLeader("nobody"))
        assert await asked == (
            503,
            (await asked)[1],
            '{"health":"false","reason":"RANGE ERROR:etcdserver: no leader"}\n',
        )


@in_loop
async def test_without_a_leader_only_the_serializable_health_is_good():
    async with a_port() as port:
        port.world.group.leader = 0
        status, _, body = await port.http("GET /health")
        assert (status, json.loads(body)) == (503, {"health": "false", "reason": "RAFT NO LEADER"})
        assert (await port.http("GET /health?serializable=true"))[::2] == (200, '{"health":"true","reason":""}')
        assert (await port.http("GET /livez"))[::2] == (200, "ok\n")


@in_loop
async def test_a_failed_disk_is_not_healthy():
    async with a_port() as port:
        port.world.host.failed = StorageError("sync failed")
        for path in ("/health", "/health?serializable=true", "/livez", "/readyz"):
            status, _, body = await port.http(f"GET {path}")
            assert status == 503 and "sync failed" in body


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ("GET /nowhere", 404, "404 page not found"),
        ("POST /health", 405, "Method Not Allowed"),
        ("POST /v3/kv/put", 400, "etcdserver: key is not provided"),
    ],
)
@in_loop
async def test_other_pages(request_, status, text):
    async with a_port() as port:
        found, _, body = await port.http(request_)
        assert found == status and text in body


@in_loop
async def test_metrics_have_etcds_names():
    async with a_port() as port:
        port.world.host.metrics.observe_sync("wal.batch", 0.0003)
        port.world.host.metrics.observe_sync("table.flush", 0.5)
        client = await port.grpc()
        await client.answered(client.send(STATUS, etcd.StatusRequest()))
        for key in (b"a", b"b"):
            port.world.decided("/etcdserverpb.KV/Put", etcd.PutRequest(key=key))
        port.world.decided("/etcdserverpb.KV/DeleteRange", etcd.DeleteRangeRequest(key=b"a", range_end=b"c"))
        port.world.call("/grpc.health.v1.Health/Watch", etcd.HealthCheckRequest())
        port.world.server.lost("gone")
        status, headers, body = await port.http("GET /metrics")
        assert status == 200 and headers["content-type"].startswith("text/plain")
        lines = body.splitlines()
        for line in (
            "etcd_server_has_leader 1.0",
            "etcd_server_is_leader 1.0",
            "etcd_mvcc_db_total_size_in_bytes 4096.0",
            'etcd_disk_wal_fsync_duration_seconds_bucket{le="0.0002"} 0.0',
            'etcd_disk_wal_fsync_duration_seconds_bucket{le="0.0004"} 1.0',
            'etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 1.0',
            "etcd_disk_wal_fsync_duration_seconds_count 1.0",
            "etcd_disk_backend_commit_duration_seconds_sum 0.5",
            'grpc_server_started_total{grpc_method="Status",grpc_service="etcdserverpb.Maintenance",'
            'grpc_type="unary"} 1.0',
            'grpc_server_handled_total{grpc_code="Canceled",grpc_method="Watch",grpc_service="grpc.health.v1.Health",'
            'grpc_type="server_stream"} 1.0',
            'etcd_server_client_requests_total{client_api_version="unknown",type="stream"} 1.0',
            "etcd_mvcc_put_total 2.0",
            "etcd_mvcc_delete_total 2.0",
            "etcd_debugging_mvcc_events_total 4.0",
        ):
            assert line in lines, line
        for name in (
            "etcd_server_leader_changes_seen_total",
            "etcd_server_proposals_committed_total",
            "etcd_server_proposals_applied_total",
            "etcd_server_proposals_pending",
            "etcd_server_proposals_failed_total",
            "etcd_network_peer_sent_bytes_total",
            'ostraka_loop_lateness_seconds_bucket{le="+Inf"}',
            "etcd_network_client_grpc_received_bytes_total",
            "process_resident_memory_bytes",
            'grpc_server_handled_total{grpc_code="OK"',
        ):
            assert any(line.startswith(name) for line in lines), name


@in_loop
async def test_a_reader_that_is_slow_is_not_read_from_and_gets_limited_memory():
    """A client asks for 300 MiB and reads nothing: the server keeps little, and serves again when it reads."""
    async with a_port() as port:
        port.world.decided("/etcdserverpb.KV/Put", etcd.PutRequest(key=b"k", value=bytes(1 << 20)))
        client = await port.grpc()
        await client.answered(client.send(STATUS, etcd.StatusRequest()))
        [protocol] = port.listener.grpc
        ask = etcd.RangeRequest(key=b"k", serializable=True)
        outcomes = [client.send(RANGE, ask) for _ in range(300)]
        tally = port.world.member.tally(RANGE)
        await port.until(lambda: tally.started == 300 or not protocol.reads)
        connection = protocol.connection
        held = sum(map(len, connection.out)) + sum(stream.unsent for stream in connection.streams.values())
        assert held <= MAX_UNREAD, f"{held} bytes wait for a client that does not read"
        for outcome in outcomes:
            await client.answered(outcome)
        assert {outcome[0].status for outcome in outcomes} <= {Status.OK, Status.RESOURCE_EXHAUSTED}
        assert protocol.reads


@in_loop
async def test_a_paused_transport_pauses_its_connection():
    async with a_port() as port:
        client = await port.grpc()
        await client.answered(client.send(STATUS, etcd.StatusRequest()))
        [protocol] = port.listener.grpc
        protocol.pause_writing()
        tally = port.world.member.tally(STATUS)
        outcomes = client.send(STATUS, etcd.StatusRequest())
        for _ in range(50):
            await asyncio.sleep(0)
        assert tally.started == 1
        protocol.resume_writing()
        await client.answered(outcomes)


@in_loop
async def test_the_port_is_taken():
    sock = bind("localhost", 0)
    with pytest.raises(OSError, match="in use"):
        bind("localhost", sock.getsockname()[1])
    assert sock.family == socket.AF_INET
    sock.close()


@in_loop
async def test_stopping_lets_an_open_call_finish():
    async with a_port() as port:
        client = await port.grpc()
        outcomes = client.send("/etcdserverpb.KV/Put", etcd.PutRequest(key=b"k"))
        await port.until(lambda: port.world.group.proposed)
        stopping = asyncio.create_task(port.listener.stop())
        await asyncio.sleep(0)
        port.world.group.decide()
        await client.answered(outcomes)
        assert outcomes[0].status == 0
        await stopping
        assert await client.reader.read() is not None


def test_the_preface_is_what_decides():
    assert PREFACE.startswith(b"PRI * HTTP/2.0\r\n\r\n")


@pytest.mark.parametrize("start", [b"GET /hea", b"GET /version HTTP/1.1\r\nhost: x\r\n", b"POST /v3/kv"])
@in_loop
async def test_half_a_request_is_not_waited_for_for_ever(start, monkeypatch):
    """Or 256 of them would make every later request for /health a failed one."""
    monkeypatch.setattr("ostraka.server.http.SILENT", 1)
    async with a_port() as port:
        reader, writer = await port.open()
        writer.write(start)
        assert await reader.read() == b""
        assert (await port.http("GET /version"))[0] == 200


@in_loop
async def test_a_connection_is_kept_for_the_next_request_unless_places_are_scarce(monkeypatch):
    """Patroni asks every ten seconds; a connection that is closed under its request is an error to it."""
    monkeypatch.setattr("ostraka.server.http.SILENT", 1)
    async with a_port() as port:
        reader, writer = await port.open()
        for _ in range(3):
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"etcdcluster")
            for _ in range(10):
                port.listener.front.tick()
                await asyncio.sleep(0)
        writer.write(b"GET /ver")
        assert (await reader.read()).endswith(b"}")  # The rest of the last answer, and then the end.
        other, writer = await port.open()
        writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        await other.readuntil(b"etcdcluster")
        monkeypatch.setattr("ostraka.server.http.MAX_CONNECTIONS", 1)
        await other.read()


@in_loop
async def test_a_request_under_way_is_not_cut_off_for_lasting_long(monkeypatch):
    monkeypatch.setattr("ostraka.server.http.SILENT", 0)
    async with a_port() as port:
        port.world.group.leader = ME
        asking = asyncio.ensure_future(port.http("GET /health"))
        await port.until(lambda: port.world.group.reads)
        for _ in range(3):
            port.listener.front.tick()
            await asyncio.sleep(0)
        port.world.group.reads.pop()(None)
        assert (await asking)[0] == 200


@pytest.mark.parametrize(("size", "each"), [(1 << 20, 8), (60 << 10, 90)])
@in_loop
async def test_slow_readers_together_get_limited_memory(size, each, monkeypatch):
    """Each of them keeps within its own bound; it is their number that would use up the memory."""
    most = 20 << 20
    monkeypatch.setattr("ostraka.server.calls.MAX_UNREAD_IN_ALL", most)
    async with a_port() as port:
        port.world.decided("/etcdserverpb.KV/Put", etcd.PutRequest(key=b"k", value=bytes(size)))
        ask = etcd.RangeRequest(key=b"k", serializable=True)
        tally = port.world.member.tally(RANGE)
        slow = [await port.grpc() for _ in range(most // size // each + 4)]
        outcomes = [client.send(RANGE, ask) for client in slow for _ in range(each)]
        await port.until(lambda: tally.started == len(outcomes))
        held = sum(protocol.unread for protocol in port.listener.grpc)
        assert 0 < held <= most + (1 << 20), f"{held} bytes wait for clients that do not read"
        assert tally.handled[Status.RESOURCE_EXHAUSTED] > 0
        for client, number in zip(slow, range(len(slow)), strict=True):
            for outcome in outcomes[number * each : (number + 1) * each]:
                await client.answered(outcome)
        await port.until(lambda: not port.world.member.unread.total)
        other = await port.grpc()
        again = other.send(RANGE, ask)
        await other.answered(again)
        assert again[0].status == Status.OK
