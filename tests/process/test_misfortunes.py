"""Real processes under load, killed, stopped and restarted. To the data `kill -9` is a power cut: see `storage.disk`.

Afterwards every acknowledged write is on every node, in the same order, and nothing was executed twice.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from ostraka.cli.cluster import Cluster, Node
from tests.process.conftest import Start
from tests.process.recorder import Recorder, leader_of, status, until, verify


def leader(cluster: Cluster) -> Node:
    found: list[Node] = []

    def known() -> bool:
        node = leader_of(cluster.nodes)
        found[:] = [] if node is None else [node]
        return node is not None

    until(known, "somebody leads", cluster)
    return found[0]


def kill_the_leader(cluster: Cluster, load: Recorder) -> None:
    first = leader(cluster)
    first.kill()
    load.more()
    cluster.launch(first)


def kill_a_follower(cluster: Cluster, load: Recorder) -> None:
    first = leader(cluster)
    follower = next(node for node in cluster.nodes if node is not first)
    follower.kill()
    load.more()
    cluster.launch(follower)


def stop_the_leader_for_a_while(cluster: Cluster, load: Recorder) -> None:
    """It wakes up believing that it still leads, when another has led for a while."""
    first = leader(cluster)
    epoch = status(first).term
    others = [node for node in cluster.nodes if node is not first]
    first.signal(signal.SIGSTOP)
    try:
        until(lambda: leader_of(others) is not None, "another leads", cluster)
        load.more()
    finally:
        first.signal(signal.SIGCONT)
    until(lambda: getattr(status(first), "term", 0) > epoch, "the old leader learns that it is deposed", cluster)


def cut_the_power(cluster: Cluster, load: Recorder) -> None:
    for node in cluster.nodes:
        node.signal(signal.SIGKILL)
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        cluster.launch(node)


Misfortune = Callable[[Cluster, Recorder], None]
MISFORTUNES: list[Misfortune] = [kill_the_leader, kill_a_follower, stop_the_leader_for_a_while, cut_the_power]


@pytest.mark.parametrize(
    ("engine", "misfortune"),
    [
        *(("raft", each) for each in MISFORTUNES),
        *(("multipaxos", each) for each in (kill_the_leader, cut_the_power)),
    ],
)
def test_three_nodes_keep_what_they_promised(start: Start, engine: str, misfortune: Misfortune) -> None:
    cluster = start(3, engine)
    with Recorder(cluster) as load:
        for _ in range(2):
            load.more()
            misfortune(cluster, load)
            cluster.await_ready()
        load.more()
    verify(load)


def test_five_nodes_keep_what_they_promised(start: Start) -> None:
    cluster = start(5)
    with Recorder(cluster) as load:
        for misfortune in MISFORTUNES:
            load.more()
            misfortune(cluster, load)
            cluster.await_ready()
        load.more()
    verify(load)
