"""Watches of a real server process under other people's clients, side by side with a real etcd."""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import aetcd
import etcd3gw
import pytest
from aetcd.exceptions import RevisionCompactedError

from .test_with_etcds_tools import OURS, PATIENCE, TOOLS, Process

pytestmark = pytest.mark.process

QUICK = ("--experimental-watch-progress-notify-interval", "150ms")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process(OURS, tmp_path_factory.mktemp("ours"), *QUICK)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process((str(TOOLS / "etcd"),), tmp_path_factory.mktemp("theirs"), *QUICK)
    yield server
    server.stop()


class Etcdctl:
    """`etcdctl watch`, running."""

    def __init__(self, server: Process, *arguments: str) -> None:
        self.said = ""
        self.process = subprocess.Popen(
            [TOOLS / "etcdctl", "--endpoints", server.endpoint, "watch", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ETCDCTL_API": "3"},
        )

    def __enter__(self) -> Etcdctl:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def until(self, text: str) -> str:
        """All that it has said up to this."""
        assert self.process.stdout is not None
        give_up = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text not in self.said:
                assert selector.select(give_up - time.monotonic()), f"no {text!r} in {self.said!r}"
                said = os.read(self.process.stdout.fileno(), 1 << 16)
                assert said, f"it ended with {self.said!r}"
                self.said += said.decode()
        return self.said


def revision(server: Process) -> int:
    return int(re.findall(r'"revision":(\d+)', server.etcdctl("get", "none", "-w", "json").stdout)[0])


def test_etcdctl_prints_the_same_for_past_and_present(ours, theirs):
    def session(server: Process) -> str:
        for word in ("1", "2"):
            server.etcdctl("put", "past/a", word)
        start = revision(server)
        with Etcdctl(server, "--prefix", "past/", "--prev-kv", "--rev", str(start)) as watch:
            watch.until("PUT\npast/a\n1\npast/a\n2\n")
            server.etcdctl("put", "other", "x")
            server.etcdctl("put", "past/b", "3")
            server.etcdctl("del", "past/", "--prefix")
            server.etcdctl("put", "past/end", "")
            return watch.until("past/end\n")

    said = session(ours)
    assert said == session(theirs)
    assert said.count("DELETE\n") == 2 and "other" not in said


def test_etcdctl_prints_the_same_in_a_conversation(ours, theirs):
    """Several watches on one stream, and progress on request."""

    def session(server: Process) -> str:
        with Etcdctl(server, "-i") as watch:
            now = revision(server)
            watch.write(f"watch --rev {now + 1} talk/a\n")
            watch.write(f"watch --rev {now + 1} --prev-kv talk/b talk/c\n")
            server.etcdctl("put", "talk/a", "1")
            watch.until("talk/a\n1\n")
            server.etcdctl("put", "talk/b1", "2")
            watch.until("talk/b1\n2\n")
            watch.write("progress\n")
            watch.until(f"progress notify: {revision(server)}\n")
            return re.sub("progress notify: .*\n", "", watch.said)

    assert session(ours) == session(theirs)


def test_etcdctl_says_the_same_of_what_is_compacted(ours, theirs):
    def session(server: Process) -> tuple[str, str]:
        for _ in range(3):
            server.etcdctl("put", "compacted", "x")
        now = revision(server)
        server.etcdctl("compact", str(now))
        with Etcdctl(server, "compacted", "--rev", str(now - 1)) as watch:
            before = watch.until("required revision has been compacted")
        before = before.replace("Error: watch is canceled by the server\n", "")  # etcdctl may say so in time, or not.
        with Etcdctl(server, "compacted", "--rev", str(now)) as watch:
            return before, watch.until("compacted\nx\n")

    assert session(ours) == session(theirs)


def test_etcdctl_is_told_progress_by_itself(ours, theirs):
    def session(server: Process) -> str:
        with Etcdctl(server, "--progress-notify", "quiet") as watch:
            return watch.until("progress notify: ").partition(":")[0]

    assert session(ours) == session(theirs)


def test_aetcd_watches(ours, theirs):
    async def talk(server: Process) -> list[tuple[str, bytes, bytes, bytes | None]]:
        found = []
        async with aetcd.Client(host="127.0.0.1", port=server.client) as client:
            first = await client.put(b"aetcd/a", b"1")
            watch = await client.watch_prefix(b"aetcd/", start_revision=first.header.revision, prev_kv=True)
            deletions = await client.watch(b"aetcd/a", kind=aetcd.rtypes.EventKind.DELETE)
            await client.put(b"aetcd/b", b"2")
            await client.put(b"aetcd/a", b"3")
            await client.delete(b"aetcd/a")
            async with asyncio.timeout(PATIENCE):
                for stream, count in ((watch, 4), (deletions, 1)):
                    async for event in stream:
                        before = event.prev_kv.value if event.prev_kv is not None else None
                        found.append((str(event.kind), event.kv.key, event.kv.value, before))
                        count -= 1
                        if not count:
                            break
                    await stream.cancel()
            await client.compact(first.header.revision + 1, physical=True)
            late = await client.watch(b"aetcd/a", start_revision=1)
            with pytest.raises(RevisionCompactedError):
                async with asyncio.timeout(PATIENCE):
                    async for _ in late:
                        raise AssertionError("it was forgotten")
        return found

    found = asyncio.run(talk(ours))
    assert found == asyncio.run(talk(theirs))
    assert len(found) == 5


def test_etcd3gw_watches_through_the_gateway(ours, theirs):
    def session(server: Process) -> list[dict[str, Any]]:
        client = etcd3gw.Etcd3Client(port=server.client)
        client.put("gw/a", "1")
        start = revision(server)
        client.put("gw/b", "2")
        client.delete("gw/a")
        events, cancel = client.watch_prefix("gw/", start_revision=start, prev_kv=True)
        found = [next(events) for _ in range(3)]
        cancel()
        client.put("gw/c", "3")
        found.append(client.watch_once("gw/c", timeout=PATIENCE, start_revision=revision(server)))
        for each in found:
            for name in ("kv", "prev_kv"):
                for number in ("create_revision", "mod_revision"):
                    if number in each.get(name, {}):
                        each[name][number] = int(each[name][number]) - start
        return found

    found = session(ours)
    assert found == session(theirs)
    assert [each.get("type", "PUT") for each in found] == ["PUT", "PUT", "DELETE", "PUT"], found
