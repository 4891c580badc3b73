"""Leases, locks and elections with etcdctl and aetcd, on a server of ours beside a real etcd."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import aetcd
import pytest

from .test_with_etcds_tools import OURS, PATIENCE, TOOLS, Process

pytestmark = pytest.mark.process

PATIENT = ("--heartbeat-interval", "100", "--election-timeout", "1000")
"""A lone leader whose disk stalls for so long steps down, and etcdctl asks for nothing twice."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process(OURS, tmp_path_factory.mktemp("ours"), *PATIENT)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process((str(TOOLS / "etcd"),), tmp_path_factory.mktemp("theirs"), *PATIENT)
    yield server
    server.stop()


class Tool:
    """An etcdctl that runs on, and whose lines are read as they come."""

    def __init__(self, server: Process, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [TOOLS / "etcdctl", "--endpoints", server.endpoint, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert self.process.stdout is not None
        self._lines = self.process.stdout

    def lines(self, count: int) -> list[str]:
        return [self._lines.readline() for _ in range(count)]

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.end()

    def end(self) -> None:
        self.process.wait(PATIENCE)
        self._lines.close()


def masked(text: str) -> str:
    """Without ids, and without the seconds that have passed."""
    return re.sub(r"remaining\(\d+s\)", "remaining", re.sub(r"\b[0-9a-f]{12,16}\b", "ID", text))


def test_etcdctl_says_the_same_of_leases(ours: Process, theirs: Process) -> None:
    def session(server: Process) -> list[str]:
        run = server.etcdctl
        granted = run("lease", "grant", "100").stdout
        lease = granted.split()[1]
        said = [granted, run("put", "--lease", lease, "l/a", "1").stdout]
        said += [str(f"{lease}\n" in run("lease", "list").stdout)]
        said += [run("lease", "timetolive", lease, "--keys").stdout, run("lease", "keep-alive", "--once", lease).stdout]
        said += [run("get", "l/a", "-w", "fields").stdout.partition('"Lease"')[2]]
        said += [run("lease", "revoke", lease).stdout, run("get", "l/a").stdout]
        for words in (("timetolive", lease), ("revoke", lease), ("keep-alive", "--once", lease), ("grant", "x")):
            done = run("lease", *words)
            said.append(re.sub(r'"ts":"[^"]*"|0x\w+|127.0.0.1:\d+', "", done.stdout + done.stderr))
        return [masked(re.sub(r"\b\d{18,19}\b", "ID", each)) for each in said]

    told = session(ours)
    assert told == session(theirs)
    assert "granted with TTL(100s)" in told[0] and "attached keys([l/a])" in told[3], told


def test_a_keep_alive_that_goes_on_goes_on(ours: Process) -> None:
    lease = ours.etcdctl("lease", "grant", "3").stdout.split()[1]
    keeper = Tool(ours, "lease", "keep-alive", lease)
    assert [masked(line) for line in keeper.lines(3)] == ["lease ID keepalived with TTL(3)\n"] * 3
    keeper.interrupt()


def test_etcdctl_locks_one_after_the_other(ours: Process, theirs: Process) -> None:
    for server in (ours, theirs):
        first = Tool(server, "lock", "mutex")
        [key] = first.lines(1)
        second = Tool(server, "lock", "mutex", "--", "echo", "mine")
        while server.etcdctl("get", "mutex/", "--prefix", "--keys-only").stdout.count("mutex/") < 2:
            pass
        assert second.process.poll() is None and key.startswith("mutex/")
        first.interrupt()
        assert second.lines(1) == ["mine\n"]
        second.end()
        assert server.etcdctl("get", "mutex/", "--prefix").stdout == ""


def test_a_lock_whose_holder_was_killed_is_free_when_its_lease_has_ended(ours: Process) -> None:
    first = Tool(ours, "lock", "orphan", "--ttl", "2")
    first.lines(1)
    first.process.kill()
    first.end()
    assert ours.etcdctl("lock", "orphan", "--", "echo", "mine").stdout == "mine\n"


def test_etcdctl_elects_and_listens(ours: Process, theirs: Process) -> None:
    for server in (ours, theirs):
        first = Tool(server, "elect", "race", "one")
        key, value = first.lines(2)
        assert key.startswith("race/") and value == "one\n"
        listener = Tool(server, "elect", "-l", "race")
        assert listener.lines(2) == [key, value]
        second = Tool(server, "elect", "race", "two")
        while server.etcdctl("get", "race/", "--prefix", "--keys-only").stdout.count("race/") < 2:
            pass
        first.interrupt()
        key, value = second.lines(2)
        assert value == "two\n" and listener.lines(2) == [key, value]
        second.interrupt()
        listener.interrupt()


def test_aetcd_has_leases_and_locks(ours: Process) -> None:
    async def talk() -> None:
        async with aetcd.Client(host="127.0.0.1", port=ours.client) as client:
            lease = await client.lease(30)
            await client.put(b"aetcd/leased", b"1", lease=lease)
            assert (await lease.remaining_ttl()) in (29, 30)
            assert list(await lease.keys()) == [b"aetcd/leased"]
            await lease.refresh()
            await lease.revoke()
            assert await client.get(b"aetcd/leased") is None
            lock = client.lock(b"aetcd-lock", ttl=5)
            assert await lock.acquire()
            other = client.lock(b"aetcd-lock", ttl=5)
            assert not await other.acquire(timeout=0.2)
            await lock.release()
            assert await other.acquire(timeout=PATIENCE)
            await other.release()

    asyncio.run(talk())
