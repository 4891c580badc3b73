"""What a caller is told when servers fail, and what is tried again: with servers that fail as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import socket
import subprocess
import sys

import pytest

from ostraka.api import etcd
from ostraka.client import AsyncClient, Client, channel
from ostraka.client.endpoints import split
from ostraka.errors import NotExecuted, NotLeader, OutcomeUnknown, Overloaded, Unavailable
from ostraka.transport.http2 import ErrorCode, ServerCall, Status

from .scripted import Server, after, fails, found, put_done

NO_LEADER = fails(Status.UNAVAILABLE, "etcdserver: no leader")


def unused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def hang_up(call: ServerCall, message: bytes) -> None:
    """The server takes the request, and dies before it answers."""
    call.connection.close(ErrorCode.INTERNAL_ERROR, "dies")


def refuse_unseen(call: ServerCall, message: bytes) -> None:
    """The server vouches for not having looked at it."""
    call.connection.reset(call.id, ErrorCode.REFUSED_STREAM, "too busy")


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_nobody_there_is_said_at_once_and_names_all_endpoints() -> None:
    first, second = unused(), unused()
    async with AsyncClient([first, second], timeout=30) as client:
        for call in (client.put("k"), client.get("k")):
            with pytest.raises(Unavailable) as raised:
                await call
            assert f"{first}: connection refused; {second}: connection refused" in str(raised.value)


async def test_the_next_endpoint_serves_when_one_is_not_there() -> None:
    async with Server(put=put_done) as server, AsyncClient([unused(), server.endpoint, unused()]) as client:
        for _ in range(5):
            assert (await client.put("k")).revision == 2


async def test_calls_take_turns_and_come_back_to_one_that_is_there_again() -> None:
    async with (
        Server(put=put_done) as one,
        Server(put=put_done) as other,
        AsyncClient([one.endpoint, other.endpoint]) as client,
    ):
        await client.put("k")
        await until(lambda: one.connections and other.connections)
        await asyncio.gather(*(client.put("k") for _ in range(20)))
        assert 8 <= len(one.calls) <= 13 and 8 <= len(other.calls) <= 13
        await one.hang_up()
        count = len(one.calls)
        while len(one.calls) == count:
            with contextlib.suppress(OutcomeUnknown):  # Until it is known here that the connection is gone.
                await client.put("k")
            await asyncio.sleep(0.005)


async def test_a_write_whose_connection_is_lost_is_in_doubt_and_never_sent_again() -> None:
    async with (
        Server(put=hang_up) as one,
        Server(put=hang_up) as other,
        AsyncClient([one.endpoint, other.endpoint]) as client,
    ):
        for number in range(1, 5):
            with pytest.raises(OutcomeUnknown, match="may have happened or not"):
                await client.put("k")
            assert len(one.calls) + len(other.calls) == number


async def test_a_read_whose_connection_is_lost_is_sent_elsewhere() -> None:
    async with (
        Server(range=hang_up) as one,
        Server(range=found) as other,
        AsyncClient([one.endpoint, other.endpoint]) as client,
    ):
        for _ in range(4):
            assert (await client.get("k")).value == b"v"
        await until(lambda: one.calls)


@pytest.mark.parametrize("first", [refuse_unseen, NO_LEADER, fails(Status.UNAVAILABLE, "etcdserver: leader changed")])
async def test_a_write_that_did_not_happen_is_sent_again(first) -> None:
    async with Server(put=after(3, first, put_done)) as server, AsyncClient([server.endpoint]) as client:
        assert (await client.put("k")).revision == 2
        assert len(server.calls) == 4


async def test_without_a_leader_it_is_tried_until_the_deadline() -> None:
    async with Server(put=NO_LEADER, range=NO_LEADER) as server, AsyncClient([server.endpoint]) as client:
        for call in (client.put("k", timeout=0.2), client.get("k", timeout=0.2)):
            with pytest.raises(NotLeader, match="no leader"):
                await call
        assert len(server.calls) > 4


async def test_a_member_without_a_leader_is_left_alone_for_a_while() -> None:
    async with (
        Server(put=NO_LEADER) as cut_off,
        Server(put=put_done) as other,
        AsyncClient([cut_off.endpoint, other.endpoint]) as client,
    ):
        for _ in range(200):
            await client.put("k")
        assert len(other.calls) == 200 and 0 < len(cut_off.calls) < 50
        cut_off.put = put_done
        count = len(cut_off.calls)
        await asyncio.sleep(1.1)
        for _ in range(20):
            await client.put("k")
        assert len(cut_off.calls) > count + 5


async def test_an_overloaded_server_is_not_asked_again() -> None:
    too_many = fails(Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
    async with Server(put=too_many) as server, AsyncClient([server.endpoint]) as client:
        with pytest.raises(Overloaded):
            await client.put("k")
        assert len(server.calls) == 1


async def test_a_server_that_falls_silent_is_avoided_and_its_readers_are_served_elsewhere() -> None:
    async with (
        Server() as silent,
        Server(put=put_done, range=found) as other,
        AsyncClient([silent.endpoint, other.endpoint], timeout=1.0) as client,
    ):
        await asyncio.gather(*(client.get("k") for _ in range(6)))
        assert silent.calls, "some were sent there first"
        silent.calls.clear()
        for _ in range(5):
            await client.put("k")
        assert not silent.calls


async def test_a_write_without_an_answer_is_in_doubt_at_its_deadline() -> None:
    async with Server() as server, AsyncClient([server.endpoint], timeout=0.1) as client:
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await client.put("k")
        with pytest.raises(NotExecuted, match="no answer in time"):
            await client.get("k")
        await until(lambda: server.cancelled == 2)
        server.put = put_done
        await client.put("k", timeout=5)
        assert len(server.connections) == 1, "the connection is still of use"


async def test_short_deadlines_behind_long_ones() -> None:
    async with Server() as server, AsyncClient([server.endpoint]) as client:
        long = asyncio.create_task(client.put("k", timeout=50))
        await until(lambda: server.calls)
        with pytest.raises(OutcomeUnknown):
            await client.put("k", timeout=0.05)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long


async def test_a_cancelled_call_tells_the_server_and_leaves_the_connection_to_the_others() -> None:
    async with Server(range=found) as server, AsyncClient([server.endpoint]) as client:
        for _ in range(20):
            call = asyncio.create_task(client.put("k"))
            await until(lambda: server.calls)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            server.calls.clear()
        await until(lambda: server.cancelled == 20)
        await client.get("k")
        assert len(server.connections) == 1


async def test_cancelling_while_it_connects_harms_nobody_else() -> None:
    async with Server(put=put_done) as server, AsyncClient([server.endpoint]) as client:
        server.silent = True
        impatient, patient = asyncio.create_task(client.put("k")), asyncio.create_task(client.put("k"))
        await until(lambda: server.connections)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        server.speak()
        assert (await patient).revision == 2 and len(server.calls) == 1


async def test_a_dead_peer_is_found_out_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SILENCE", 0.05)
    monkeypatch.setattr(channel, "ANSWER", 0.05)
    async with Server() as server, AsyncClient([server.endpoint], timeout=30) as client:
        slow = asyncio.create_task(client.put("k"))
        await until(lambda: server.calls)
        await asyncio.sleep(0.3)
        assert not slow.done(), "a server that answers pings may take its time"
        server.silent = True
        with pytest.raises(OutcomeUnknown, match="no sign of life"):
            await slow
        with pytest.raises(Unavailable):
            await client.put("k", timeout=0.2)
        server.put = put_done
        server.speak()
        await client.put("k")


async def test_a_server_that_goes_away_in_order_loses_nothing() -> None:
    async with (
        Server() as one,
        Server(put=put_done) as other,
        AsyncClient([one.endpoint, other.endpoint]) as client,
    ):
        calls = [asyncio.create_task(client.put("k")) for _ in range(10)]
        await until(lambda: len(one.calls) >= 4)
        one.connections[0].http2.shutdown()
        one.connections[0].flush()
        for call in one.calls:
            put_done(call, b"")
        one.connections[0].flush()
        assert [(await call).revision for call in calls] == [2] * 10
        one.put = put_done
        await asyncio.gather(*(client.put("k") for _ in range(10)))


async def test_closing_ends_what_is_under_way() -> None:
    async with Server() as server:
        client = AsyncClient([server.endpoint, unused()])
        write, read = asyncio.create_task(client.put("k")), asyncio.create_task(client.get("k"))
        await until(lambda: len(server.calls) == 2)
        await client.close()
        with pytest.raises(OutcomeUnknown):
            await write
        with pytest.raises(NotExecuted):
            await read
        for call in (client.put("k"), client.get("k")):
            with pytest.raises(NotExecuted, match="this client is closed"):
                await call
        await until(lambda: not server.connections)
        await client.close()


async def test_closing_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        client = AsyncClient([f"127.0.0.1:{sock.getsockname()[1]}"])
        write = asyncio.create_task(client.put("k"))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(NotExecuted):
            await write


async def test_members_are_learnt_and_forgotten_but_never_the_given_endpoints() -> None:
    async with Server(put=put_done) as given, Server(put=put_done) as learnt:

        def members(call: ServerCall, message: bytes) -> None:
            urls = [f"http://{learnt.endpoint}", "unix://somewhere"]
            call.reply(etcd.MemberListResponse(members=[etcd.Member(ID=1, clientURLs=urls)]).SerializeToString())

        given.members = members
        async with AsyncClient([given.endpoint], sync_every=0.01) as client:
            await client.put("k")
            await until(lambda: client.endpoints == [learnt.endpoint, given.endpoint])
            while not learnt.calls:
                await client.put("k")
                await asyncio.sleep(0.001)
            nobody = etcd.MemberListResponse().SerializeToString()
            given.members = learnt.members = lambda call, message: call.reply(nobody)
            await until(lambda: client.endpoints == [given.endpoint])
            await until(lambda: not learnt.connections)
            await client.put("k")


async def test_a_client_belongs_to_one_loop() -> None:
    async with Server(put=put_done) as server, AsyncClient([server.endpoint]) as client:
        await client.put("k")
        with pytest.raises(NotExecuted, match="another event loop"):
            await asyncio.to_thread(asyncio.run, client.put("k"))


def _in_a_child(client: Client, answers) -> None:
    try:
        client.put("k")
    except NotExecuted as error:
        answers.send(str(error))


def test_a_fork_is_noticed(tmp_path) -> None:
    with Client(["127.0.0.1:1"]) as client:
        with pytest.raises(Unavailable):
            client.put("k")
        ours, theirs = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(client, theirs))
        child.start()
        assert ours.poll(20) and "make a client after the fork" in ours.recv()
        child.join(20)
        assert child.exitcode == 0


async def test_a_client_that_is_never_closed_is_named() -> None:
    client = AsyncClient(["127.0.0.1:1"])
    with pytest.raises(Unavailable):
        await client.put("k")
    with pytest.warns(ResourceWarning, match="a client was not closed"):
        del client
        gc.collect()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h:1", ("h", 1)),
        ("http://h:2379/", ("h", 2379)),
        ("[::1]:5", ("::1", 5)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
    ],
)
def test_endpoints(text: str, address: tuple[str, int]) -> None:
    assert split(text) == address


@pytest.mark.parametrize("wrong", ["localhost:2379", [], ["localhost"], ["https://h:1"], ["h:x"], ["h:99999"], [":1"]])
def test_what_is_no_endpoint(wrong) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        AsyncClient(wrong)


WITH_GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, socket, sys
from ostraka.client import Client
from ostraka.errors import Unavailable

ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.001)

ticker = gevent.spawn(tick)
with Client([sys.argv[1]]) as client, Client([sys.argv[1]]) as other:
    jobs = [gevent.spawn(each.put, f"gevent/{number}", str(number)) for number in range(50) for each in (client, other)]
    gevent.joinall(jobs, raise_error=True)
    assert client.range(prefix="gevent/", count_only=True).count == 50
    before = ticks
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        with Client([f"127.0.0.1:{silent.getsockname()[1]}"], timeout=0.2) as nobody:
            nobody.put("k")
    except Unavailable:
        pass
    assert ticks > before + 20, "waiting held the other greenlets up"
ticker.kill()
print("fine")
"""


@pytest.mark.process
def test_greenlets(endpoint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_GEVENT, endpoint], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "fine\n", done.stdout + done.stderr
