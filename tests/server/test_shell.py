"""The process around the node: what ends it, what it refuses, and its clock."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import resource
from pathlib import Path

import msgspec
import pytest

from ostraka.cli.cluster import free_ports
from ostraka.client import Client
from ostraka.database.commands import ListMembers, MemberInfo, Publish, encode
from ostraka.errors import ConfigurationError, StorageError, WrongIdentity
from ostraka.model.engine import Settings
from ostraka.model.ids import MILLISECOND
from ostraka.model.requests import Request
from ostraka.server.beginning import Joined
from ostraka.server.config import ServerConfig
from ostraka.server.shell import (
    LoopClock,
    Server,
    connections_allowed,
    directory_size,
    full_disk_advice,
    raise_file_limit,
)
from ostraka.transport import wire

from .test_listener import PATIENCE, in_loop

QUICK = Settings(heartbeat=10 * MILLISECOND, election_timeout=50 * MILLISECOND)


def configuration(directory: Path, **others: object) -> ServerConfig:
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    options = {"settings": QUICK, "initial_cluster": {"n1": (peer,)}, **others}
    return ServerConfig(
        name="n1",
        data_dir=directory / "data",
        listen_client_urls=(client,),
        advertise_client_urls=(client,),
        listen_peer_urls=(peer,),
        initial_advertise_peer_urls=(peer,),
        **options,
    )


class Run:
    """A server in this loop, from its start to its end."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config

    async def __aenter__(self) -> Run:
        loop = asyncio.get_running_loop()
        self.server = Server(loop, self.config)
        loop.set_exception_handler(self.server.unexpected)
        self.ended = loop.create_task(self.server.run())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.server.stop()
        await self.ended
        self.server.close()
        await asyncio.sleep(0.01)  # Sockets close in a later turn.

    async def published(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.server.group.query(ListMembers()).registrations:
                await asyncio.sleep(0.001)

    async def reason(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.ended


@in_loop
async def test_a_failed_disk_ends_the_process_with_its_cause(tmp_path):
    async with Run(configuration(tmp_path)) as run:
        await run.published()
        run.server.host.fail(StorageError("the log could not be synced: Input/output error"))
        assert await run.reason() == "the disk failed: the log could not be synced: Input/output error"


@in_loop
async def test_a_fault_of_the_node_ends_the_process_and_one_of_a_connection_does_not(tmp_path, caplog):
    async with Run(configuration(tmp_path)) as run:
        await run.published()
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "x", "exception": KeyError("lost"), "transport": None})
        assert not run.ended.done() and not run.server.outcome.done()

        def fault() -> None:
            raise AssertionError("two leaders")

        loop.call_soon(fault)
        assert (
            await run.reason() == "a fault of this program: AssertionError: two leaders; please report it with the log"
        )
        assert "two leaders" in caplog.text


@in_loop
async def test_a_fault_on_the_disk_s_thread_ends_the_process(tmp_path, monkeypatch):
    async with Run(configuration(tmp_path)) as run:
        await run.published()
        monkeypatch.setattr("threading.excepthook", run.server.thread_died)

        def fault() -> None:
            raise KeyError("a file that was never opened")

        run.server.disk.submit(fault, lambda error: None, "wal.batch")
        assert "a fault of this program: KeyError: 'a file that was never opened'" in await run.reason()


@in_loop
async def test_who_is_disowned_ends_and_says_what_to_do(tmp_path):
    async with Run(configuration(tmp_path)) as run:
        await run.published()
        run.server.host.disowned("disk 7 is registered for it")
        assert await run.reason() == "the other members refuse this one: disk 7 is registered for it"


@in_loop
async def test_a_disk_that_is_not_the_registered_one_is_refused(tmp_path):
    async with Run(configuration(tmp_path)) as run:
        await run.published()
        identity = run.server.host.identity
        ids = (identity.cluster, identity.member, identity.disk)
        hello = wire.Hello(wire.MAGIC, wire.OLDEST_VERSION, wire.VERSION, *ids, "raft", 0)
        assert run.server._admit(hello) == ""
        stranger = msgspec.structs.replace(hello, disk=identity.disk ^ 1)
        assert "is registered for it" in run.server._admit(stranger)


@in_loop
async def test_a_member_that_the_cluster_refuses_ends(tmp_path):
    """Its disk is blank, and another one is registered under its name."""
    config = configuration(tmp_path)
    async with Run(config) as run:
        other = Publish(MemberInfo(config.me, "n1", (), ()), run.server.host.identity.disk ^ 1)
        run.server.group.propose(Request(encode(other)), lambda reply, error: None)
        assert (await run.reason()).startswith("the cluster refuses this member: ostraka: another disk is registered")


@in_loop
async def test_a_request_reaches_the_disk_and_back(tmp_path):
    config = configuration(tmp_path)
    endpoint = config.listen_client_urls[0]
    async with Run(config) as run:
        await run.published()

        def talk() -> tuple[int, bytes]:
            with Client([endpoint]) as client:
                return client.put(b"k", b"v").revision, client.get(b"k").value

        assert await asyncio.to_thread(talk) == (2, b"v")
        assert run.server.member.waiting == {}
        assert directory_size(config.data_dir / "table") > 0


@in_loop
async def test_what_was_opened_is_closed_when_a_later_part_fails(tmp_path):
    config = configuration(tmp_path, existing=True)
    loop = asyncio.get_running_loop()
    with pytest.raises(WrongIdentity, match=r"no member of cluster 7 has the peer URLs .*: add it first, with"):
        Server(loop, config, Joined(7, (wire.Listed(1, "n1", ("http://127.0.0.1:1",)),)))
    async with Run(configuration(tmp_path)) as run:  # The directory is free again.
        await run.published()
        taken = msgspec.structs.replace(config, listen_client_urls=run.config.listen_client_urls)
        with pytest.raises(ConfigurationError, match=r"--listen-client-urls: can't listen on .*address already in use"):
            Server(loop, taken)


@in_loop
async def test_the_clock_never_rings_early():
    clock = LoopClock(asyncio.get_running_loop())
    rung = asyncio.get_running_loop().create_future()
    dice = random.Random(7)
    when = max(clock.now() + dice.randrange(3 * MILLISECOND) for _ in range(3))
    clock.call_at(when, lambda: rung.set_result(clock.now()))
    cancelled = clock.call_at(when, lambda: rung.set_exception(AssertionError("it was cancelled")))
    cancelled.cancel()
    async with asyncio.timeout(PATIENCE):
        assert await rung >= when


def test_the_ready_line_is_shown_at_every_log_level():
    from ostraka.server import shell

    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        shell._log_to_stderr("error")
        assert not shell.log.isEnabledFor(logging.INFO) and shell.ready_log.isEnabledFor(logging.INFO)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@in_loop
async def test_a_data_directory_that_cannot_be_used_is_named_with_what_to_do(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"--data-dir: .*data can't be used: File exists; give a directory"):
        Server(asyncio.get_running_loop(), configuration(tmp_path))


@in_loop
async def test_what_fails_while_closing_is_said_and_the_rest_is_closed(tmp_path, caplog):
    """The table flushes when it is closed: on a full disk that must not hide why the process ends."""
    config = configuration(tmp_path)
    server = Server(asyncio.get_running_loop(), config)

    def fails() -> None:
        raise StorageError("No space left on device")

    server._closers.append(fails)
    server.close()
    assert "while closing: No space left on device" in caplog.text
    Server(asyncio.get_running_loop(), config).close()  # Ports and directory are free.


def test_a_full_disk_is_named_with_what_to_do(tmp_path):
    assert "make room there" in full_disk_advice("the disk failed: [Errno 28] No space left on device", tmp_path)
    assert full_disk_advice("the disk failed: Input/output error", tmp_path) == ""


def test_clients_leave_open_files_to_the_log_and_the_table():
    assert connections_allowed(10_240) == 9600
    assert connections_allowed(1024) == 512
    assert connections_allowed(100) == 50
    assert raise_file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 50


@in_loop
async def test_a_process_without_open_files_left_goes_on(tmp_path):
    """A loop says so when it can't accept; that is no fault of the node."""
    async with Run(configuration(tmp_path)) as run:
        context = {"message": "accept", "exception": OSError(errno.EMFILE, "too many"), "socket": None}
        asyncio.get_running_loop().call_exception_handler(context)
        assert not run.server.outcome.done()
