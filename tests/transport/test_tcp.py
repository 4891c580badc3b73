"""The peers' network over real sockets on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from ostraka.transport.network import Channel
from ostraka.transport.newcomer import ask_roster
from ostraka.transport.tcp import MAX_STRANGERS, TcpNetwork, _Connection
from ostraka.transport.wire import MAX_FRAME, Hello, Listed, Roster

PATIENCE = 20.0


class Heard:
    """A receiver that remembers, and can be waited on."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.up: set[int] = set()
        self.downs = 0
        self.told_removed = False
        self.disowned_for = ""
        self.changed = asyncio.Event()

    def received(self, sender: int, frame: bytes) -> None:
        self.frames.append((sender, frame))
        self.changed.set()

    def link_up(self, peer: int) -> None:
        self.up.add(peer)
        self.changed.set()

    def link_down(self, peer: int) -> None:
        self.up.discard(peer)
        self.downs += 1
        self.changed.set()

    def expelled(self) -> None:
        self.told_removed = True
        self.changed.set()

    def disowned(self, reason: str) -> None:
        self.disowned_for = reason
        self.changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.changed.clear()
                await self.changed.wait()


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def url(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def hello(member: int, cluster: int = 7) -> Hello:
    return Hello("ostraka", 1, 1, cluster, member, member * 100, "raft", 0)


@asynccontextmanager
async def pair(cluster_of_second: int = 7) -> AsyncIterator[tuple[TcpNetwork, Heard, TcpNetwork, Heard]]:
    loop = asyncio.get_running_loop()
    sockets = {1: listening(), 2: listening()}
    members = {member: url(sock) for member, sock in sockets.items()}
    first, second = Heard(), Heard()
    one = TcpNetwork(loop, hello(1), [sockets[1]])
    two = TcpNetwork(loop, hello(2, cluster_of_second), [sockets[2]])
    for network, heard in ((one, first), (two, second)):
        network.start(heard)
        network.connect(members)
    try:
        yield one, first, two, second
    finally:
        one.close()
        two.close()
        await asyncio.sleep(0)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scene()

    asyncio.run(whole())


def test_frames_arrive_whole_and_in_order_both_ways() -> None:
    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            await second.until(lambda: second.up == {1})
            sizes = [0, 1, 100, 70_000, 3_000_000, 5]
            for size in sizes:
                one.send(2, bytes([size % 251]) * size)
                two.send(1, bytes([size % 241]) * size)
            await second.until(lambda: len(second.frames) == len(sizes))
            await first.until(lambda: len(first.frames) == len(sizes))
            assert second.frames == [(1, bytes([size % 251]) * size) for size in sizes]
            assert first.frames == [(2, bytes([size % 241]) * size) for size in sizes]

    run(scene)


def test_the_bulk_channel_is_a_connection_of_its_own() -> None:
    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            async with asyncio.timeout(PATIENCE):
                while not second.frames:
                    one.send(2, b"bulk", Channel.BULK)  # Dropped until that connection stands, too.
                    await asyncio.sleep(0.01)
            assert {frame for _, frame in second.frames} == {b"bulk"}
            assert len(two._links) == 2

    run(scene)


def test_a_lost_connection_is_told_and_made_again() -> None:
    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            await second.until(lambda: second.up == {1})
            two._links[1, Channel.CONSENSUS].close()
            await first.until(lambda: first.downs == 1 and first.up == {2})
            await second.until(lambda: second.up == {1})
            one.send(2, b"again")
            await second.until(lambda: second.frames == [(1, b"again")])

    run(scene)


def test_a_member_of_another_cluster_is_refused_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with pair(cluster_of_second=8) as (one, first, _two, _second):
            async with asyncio.timeout(PATIENCE):
                while "--initial-cluster-token" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert first.up == set()
            one.send(2, b"lost")  # To nobody, and no error.

    with caplog.at_level(logging.WARNING, "ostraka.peers"):
        run(scene)


def test_whoever_is_refused_learns_why_even_if_it_was_called(caplog: pytest.LogCaptureFixture) -> None:
    """The member with the lower id dials, and finds out last that it won't have the other; said once, not for ever."""

    async def scene() -> None:
        async with pair() as (one, first, two, second):
            one.admit = lambda hello: "your disk is another's" if hello.member == 2 else ""
            for network in (one, two):
                for link in list(network._links.values()):
                    link.close()
            async with asyncio.timeout(PATIENCE):
                while caplog.text.count("the member refuses the connection: your disk is another's") < 1:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # Some more attempts.
            assert first.up == set() and second.up == set()
            assert second.disowned_for == "your disk is another's" and not first.disowned_for
            assert caplog.text.count("the member refuses the connection: your disk is another's") == 1
            assert caplog.text.count("connection refused: your disk is another's") == 1

    with caplog.at_level(logging.WARNING, "ostraka.peers"):
        run(scene)


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\n\r\n" * 50, b"\xff" * 100, (MAX_FRAME + 1).to_bytes(4, "big"), b"\x00\x00\x00\x01\x90"],
)
def test_noise_is_refused_and_harms_nobody(noise: bytes) -> None:
    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            address = two._sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(noise)
            async with asyncio.timeout(PATIENCE):
                said = await reader.read()
            assert b"not an Ostraka peer" in said
            writer.close()
            one.send(2, b"still here")
            await second.until(lambda: second.frames == [(1, b"still here")])

    run(scene)


def test_a_member_with_an_impossible_name_is_dialled_on_and_the_reason_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        network = TcpNetwork(asyncio.get_running_loop(), hello(1), [])
        network.start(Heard())
        network.connect({2: "http://n..2:2380"})
        async with asyncio.timeout(PATIENCE):
            while "cannot reach the member" not in caplog.text:
                await asyncio.sleep(0.01)
        assert not network._dialers[2, Channel.CONSENSUS].done()
        network.close()
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "ostraka.peers"):
        run(scene)


def test_a_slow_peer_s_frames_are_dropped_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ostraka.transport.tcp.MAX_QUEUED", 1 << 20)

    async def scene() -> None:
        async with pair() as (one, first, _two, second):
            await first.until(lambda: first.up == {2})
            await second.until(lambda: second.up == {1})
            for _ in range(3):
                one.send(2, b"x" * 400_000)
            await second.until(lambda: len(second.frames) == 2)
            one.send(2, b"later")
            await second.until(lambda: len(second.frames) == 3)
            assert second.frames[-1] == (1, b"later")
            assert caplog.text.count("frames are dropped") == 1

    with caplog.at_level(logging.WARNING, "ostraka.peers"):
        run(scene)


def test_a_stranger_is_not_let_in() -> None:
    async def scene() -> None:
        async with pair() as (_one, first, two, _second):
            await first.until(lambda: first.up == {2})
            loop = asyncio.get_running_loop()
            third = TcpNetwork(loop, hello(3), [])
            ghost = Heard()
            third.start(ghost)
            third.hello = msgspec.structs.replace(third.hello, member=0)  # Dials everybody, being the lowest.
            third.connect({2: url(two._sockets[0])})
            async with asyncio.timeout(PATIENCE):
                while not third._complaints:
                    await asyncio.sleep(0.01)
            assert "is not a member" in next(iter(third._complaints.values()))
            third.close()

    run(scene)


def test_who_goes_by_a_newer_configuration_is_let_in_until_we_have_caught_up() -> None:
    """A member that was down for long knows nobody of those who lead now, and they have what it lacks."""

    async def scene() -> None:
        async with pair() as (_one, first, two, second):
            await first.until(lambda: first.up == {2})
            two.connect(two.members, 10)
            third = TcpNetwork(asyncio.get_running_loop(), hello(3), [])
            newer = Heard()
            third.start(newer)
            third.connect({2: url(two._sockets[0])}, 11)
            await second.until(lambda: second.up == {1, 3})
            third.send(2, b"what you lack")
            await second.until(lambda: second.frames == [(3, b"what you lack")])
            two.send(3, b"thanks")
            await newer.until(lambda: newer.frames == [(2, b"thanks")])
            two.connect(two.members, 11)
            await second.until(lambda: second.up == {1})
            third.close()

    run(scene)


def test_who_was_removed_is_told_even_if_it_is_to_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody calls it any more, so the member with the higher id calls by itself when it has waited for long."""
    monkeypatch.setattr("ostraka.transport.tcp.LONELY", 0.05)

    async def scene() -> None:
        async with pair() as (one, first, _two, second):
            await second.until(lambda: second.up == {1})
            one.was_removed = lambda member: member == 2
            one.connect({})
            await second.until(lambda: second.told_removed)
            assert first.up == set() and not first.told_removed
            await second.until(lambda: second.up == set())

    run(scene)


def test_a_member_of_another_cluster_can_expel_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostraka.transport.tcp.LONELY", 0.05)

    async def scene() -> None:
        async with pair() as (one, _first, two, second):
            await second.until(lambda: second.up == {1})
            one.was_removed = lambda member: member == 2
            one.hello = msgspec.structs.replace(one.hello, cluster=8)
            one.connect({})
            async with asyncio.timeout(PATIENCE):
                while not two._complaints:
                    await asyncio.sleep(0.01)
            assert not second.told_removed

    run(scene)


def test_a_newcomer_is_told_who_the_members_are() -> None:
    async def scene() -> None:
        async with pair() as (_one, first, two, _second):
            await first.until(lambda: first.up == {2})
            address = two._sockets[0].getsockname()
            nobody = Hello("ostraka", 1, 1, 0, 0, 0, "raft", 0)
            with pytest.raises(OSError, match="can't be told just now: there is no leader"):
                await ask_roster(*address, nobody)
            roster = Roster((Listed(2, "two", ("http://two:1",)), Listed(9, "", ("http://nine:1",))))
            two.tell_roster = lambda tell: tell(roster)
            answer, told = await ask_roster(*address, nobody)
            assert (answer.cluster, answer.member, told) == (7, 2, roster)
            with pytest.raises(OSError, match="--consensus"):
                await ask_roster(*address, msgspec.structs.replace(nobody, consensus="pbft"))
            assert two.strangers == 0 or not await asyncio.sleep(0.1)
            assert set(two._links) == {(1, channel) for channel in Channel}

    run(scene)


def test_a_newcomer_says_what_it_met_instead_of_a_member() -> None:
    async def scene() -> None:
        nobody = Hello("ostraka", 1, 1, 0, 0, 0, "raft", 0)

        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.close()

        for behaviour, said in ((babble, "not an Ostraka peer"), (hang_up, "does not answer")):
            server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
            with pytest.raises(OSError, match=said):
                await ask_roster(*server.sockets[0].getsockname(), nobody)
            server.close()

    run(scene)


class Gone(asyncio.Transport):
    """A connection whose caller hung up before anybody looked at it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock, "peername": None})
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_caller_who_has_hung_up_already_harms_nobody() -> None:
    """A scan of the port must not end the node: an exception here is one in the loop, not in a connection."""

    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            sock = socket.socket()
            sock.close()
            gone = Gone(sock)
            connection = _Connection(two, Channel.CONSENSUS)
            connection.connection_made(gone)
            assert gone.closed
            connection.connection_lost(None)
            one.send(2, b"still here")
            await second.until(lambda: second.frames == [(1, b"still here")])

    run(scene)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels name these options otherwise")
def test_both_ends_of_a_silent_link_find_out_that_the_other_is_gone() -> None:
    async def scene() -> None:
        async with pair() as (one, first, two, second):
            await first.until(lambda: first.up == {2})
            await second.until(lambda: second.up == {1})
            for network in (one, two):
                for link in network._links.values():
                    assert link._transport is not None
                    sock = link._transport.get_extra_info("socket")
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 5000

    run(scene)


def test_strangers_cannot_use_up_the_files_of_the_process() -> None:
    async def scene() -> None:
        async with pair() as (_one, first, two, _second):
            await first.until(lambda: first.up == {2})
            address = two._sockets[0].getsockname()
            silent = [await asyncio.open_connection(*address) for _ in range(MAX_STRANGERS)]
            reader, writer = await asyncio.open_connection(*address)
            async with asyncio.timeout(PATIENCE):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b"", "one too many is sent away"
            for _, other in [*silent, (reader, writer)]:
                other.close()
            async with asyncio.timeout(PATIENCE):
                while two.strangers:
                    await asyncio.sleep(0.01)
            two._links[1, Channel.CONSENSUS].close()
            await first.until(lambda: first.downs == 1 and first.up == {2})

    run(scene)
