"""Clusters of real processes on loopback, each in a directory of its own, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ostraka.cli.cluster import SERVE, Cluster

FAST = ("--heartbeat-interval", "60", "--election-timeout", "400", "--log-level", "warn")
COMMAND = tuple(shlex.split(os.environ.get("OSTRAKA_TEST_SERVER", ""))) or SERVE
"""To see that a test asks for nothing that etcd does not do, let it run on one: OSTRAKA_TEST_SERVER=…/etcd."""


class Start(Protocol):
    """Starts a cluster of so many nodes, which run this engine, and waits until it serves."""

    def __call__(self, size: int, consensus: str = "raft") -> Cluster: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.process)
            item.add_marker(pytest.mark.timeout(150))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a cluster of so many nodes, and waits until it serves."""
    with contextlib.ExitStack() as stack:

        def begin(size: int, consensus: str = "raft") -> Cluster:
            directory = tmp_path / "cluster"
            cluster = stack.enter_context(Cluster(directory, size, consensus=consensus, command=COMMAND, flags=FAST))
            cluster.start()
            return cluster

        yield begin


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that serve, for tests that do them no harm."""
    with Cluster(tmp_path_factory.mktemp("three"), 3, command=COMMAND, flags=FAST) as cluster:
        cluster.start()
        yield cluster
