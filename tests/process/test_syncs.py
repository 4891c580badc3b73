"""No sync of a real process is superfluous: without it `kill -9`, which is a power cut here, loses what was promised.

Three syncs are not here: `wal.removal`, `wal.recovery` and `wal.recovery.name`. The real disk carries out what it is
given in order, so it takes one that reorders to show their want: tests/simulation/test_disk.py has it. Nor is
`identity.name`, since here the directory is synced again before anything is promised, nor those of the hard state's
second copy, which is missed only where the log is damaged, too: tests/simulation/test_the_world_finds_bugs.py has them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ostraka.cli.cluster import Cluster, ClusterFailed, Node
from ostraka.client import Client
from tests.process.conftest import FAST
from tests.process.lying_server import COMPACTS, LEFT_OUT
from tests.process.recorder import until

SERVER = (sys.executable, "-P", str(Path(__file__).with_name("lying_server.py")), "serve")
KEYS = 60
VALUE = b"v" * 1000  # So the log has several segments.


def live(cluster: Cluster) -> Node:
    """A member that is alone serves, and promises."""
    cluster.start()
    with Client(cluster.endpoints) as client:
        for number in range(KEYS):
            client.put(b"%d" % number, VALUE)
    return cluster.nodes[0]


def life(cluster: Cluster) -> None:
    """It serves, and dies."""
    live(cluster).kill()


def life_with_a_short_log(cluster: Cluster) -> None:
    """The same, and it has forgotten the beginning of its log by then."""
    node = live(cluster)
    until(lambda: not (node.data / "wal-0000000000000001").exists(), "the first segment is removed", cluster)
    node.kill()


def life_without_a_word(cluster: Cluster) -> None:
    """It dies before it had anything to save, since the others haven't come yet."""
    cluster._save_addresses()
    first = cluster.nodes[0]
    cluster.launch(first)
    until(lambda: answers(first), "it answers")
    first.kill()


def answers(node: Node) -> bool:
    try:
        return node.fetch("/version")[0] == 200
    except OSError:
        return False


def what_is_lost(cluster: Cluster) -> str:
    """What is wrong in the next life, on a disk that does as it says; "" if nothing is."""
    try:
        for node in cluster.nodes:
            cluster.launch(node)
        cluster.await_ready()
    except ClusterFailed as failure:
        return str(failure)
    if len(cluster.nodes) == 1:
        with Client(cluster.endpoints) as client:
            lost = [number for number in range(KEYS) if client.get(b"%d" % number) is None]
        return f"{len(lost)} keys are lost" if lost else ""
    return ""


@pytest.mark.parametrize(
    ("point", "size", "lives", "loss"),
    [
        ("wal.batch", 1, life, "damaged, since it once reached"),
        ("wal.segment", 2, life_without_a_word, "the header is damaged"),
        ("wal.name", 1, life, "keys are lost"),
        ("identity.content", 1, life, "identity, offset 0: damaged"),
        ("table.flush", 1, life_with_a_short_log, "the entries between are missing"),
    ],
)
def test_without_it_a_promise_is_broken(
    point: str, size: int, lives: Callable[[Cluster], None], loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lives is life_with_a_short_log:
        monkeypatch.setenv(COMPACTS, "yes")
    monkeypatch.setenv(LEFT_OUT, point)
    with Cluster(tmp_path / "lying", size, command=SERVER, flags=FAST) as cluster:
        lives(cluster)
        monkeypatch.delenv(LEFT_OUT)
        assert loss in what_is_lost(cluster)


@pytest.mark.parametrize("lives", [life, life_with_a_short_log])
def test_with_all_of_them_nothing_is_lost(
    lives: Callable[[Cluster], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lives is life_with_a_short_log:
        monkeypatch.setenv(COMPACTS, "yes")
    with Cluster(tmp_path / "honest", 1, command=SERVER, flags=FAST) as cluster:
        lives(cluster)
        assert what_is_lost(cluster) == ""
