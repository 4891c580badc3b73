"""Real processes that read by a leader lease: one that stood still, or was killed, makes nobody read what is old."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ostraka.cli.cluster import SERVE, Cluster
from ostraka.client import Client
from tests.process.conftest import COMMAND, FAST
from tests.process.recorder import leader_of, until
from tests.process.test_misfortunes import leader


@pytest.fixture
def leasing(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that read by leases as long as may be."""
    if COMMAND != SERVE:
        pytest.skip("the flag is ours")
    with Cluster(tmp_path / "cluster", 3, command=COMMAND, flags=(*FAST, "--leader-lease", "400")) as cluster:
        cluster.start()
        yield cluster


def stand_still_and_read(cluster: Cluster, value: bytes) -> set[bytes | None]:
    """Stop the leader, write through another one, and ask the one that stands still. What it answers when it wakes."""
    first = leader(cluster)
    others = [node for node in cluster.nodes if node is not first]

    def get(client: Client) -> bytes | None:
        found = client.get("key")
        return None if found is None else found.value

    with (
        ThreadPoolExecutor(8) as threads,
        contextlib.ExitStack() as stack,
        Client([node.endpoint for node in others]) as client,
    ):
        sleepers = [stack.enter_context(Client([first.endpoint], timeout=30.0)) for _ in range(8)]
        for sleeper in sleepers:
            sleeper.put("key", b"old")
            assert get(sleeper) == b"old"
        first.signal(signal.SIGSTOP)
        try:
            until(lambda: leader_of(others) is not None, "another leads", cluster)
            client.put("key", value)
            asked = [threads.submit(get, sleeper) for sleeper in sleepers]
            until(lambda: all(future.running() for future in asked), "all are asking", cluster)
        finally:
            first.signal(signal.SIGCONT)
        return {future.result(30) for future in asked}


def test_a_leader_that_stood_still_reads_nothing_old(leasing: Cluster) -> None:
    """It wakes up as if nothing had happened, and finds the questions waiting."""
    for value in (b"1", b"2", b"3"):
        assert stand_still_and_read(leasing, value) == {value}


def test_writes_go_on_once_the_lease_of_a_dead_leader_is_over(leasing: Cluster) -> None:
    first = leader(leasing)
    others = [node for node in leasing.nodes if node is not first]
    with Client([node.endpoint for node in others], timeout=30.0) as client:
        client.put("key", b"before")
        first.kill()
        until(lambda: leader_of(others) is not None, "another leads", leasing)
        client.put("key", b"after")
        found = client.get("key")
        assert found is not None and found.value == b"after"
        leasing.launch(first)
        leasing.await_ready()
