"""What Raft costs on this machine: an election after `kill -9`, and a read by ReadIndex beside one by a leader lease.

    .venv/bin/python benchmarks/raft_figures.py [--only elections,reads,changes,catching-up] [--kills 20] [--rounds 3]
        [--seconds 4]

Elections: three processes with etcd's default times while one client puts as fast as it is answered. The leader is
killed again and again; counted is the time until another one leads, and until the client's next put is answered. Under
leases the next leader's writes wait for the end of the dead one's.

Changes: one client puts as fast as it is answered while members are added and removed and leadership is moved; counted
is the longest time without an answer, from when a change is asked for until a second after it is made.

Catching up: see catching_up.py.

Reads: etcd's Go client, as in `run.py` (needs Go), on one cluster after the other, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from catching_up import catching_up_table
from versus.cluster import Cluster as Versus
from versus.driver import Driver, build
from versus.main import REPOSITORY, find_ostraka, positive, positive_int, progress
from versus.report import Row, Sample
from versus.usage import describe_machine

from ostraka.api import etcd
from ostraka.cli.cluster import Cluster, Node, choose_addresses
from ostraka.client import Client
from ostraka.errors import OstrakaError

ELECTION_TIMEOUT = 1.0  # Seconds: the default of `--election-timeout`.
LEASE = ("--leader-lease", "1000")  # As long as it may be.
WAYS: dict[str, tuple[str, ...]] = {"ReadIndex": (), "lease": LEASE}
READS = (
    *(Row(f"get, {callers}", "get", callers) for callers in (1, 16, 64, 256)),
    Row("mix 90:10, 64", "mix", 64),
)
PATIENCE = 30.0
T = TypeVar("T")


class Failover(NamedTuple):
    """How long it took, in seconds."""

    elected: float
    served: float


class Writer(threading.Thread):
    """Puts as fast as it is answered, and knows when it was answered last."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.endpoints = endpoints
        self.answered = 0.0
        self.longest = 0.0  # Seconds without an answer, since whoever looks set it to 0.
        self.stopping = False

    def run(self) -> None:
        with Client(self.endpoints, timeout=5.0) as client:
            while not self.stopping:
                try:
                    client.put("key", b"x" * 100)
                    now = time.monotonic()
                    self.longest, self.answered = max(self.longest, now - self.answered), now
                except OstrakaError:
                    time.sleep(0.002)


def until(look: Callable[[], T | None]) -> T:
    """What is looked for, once it is there."""
    give_up = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < give_up, "it does not come"
        time.sleep(0.002)
    return found


def leader_of(clients: dict[Node, Client], after: int = 0) -> tuple[Node, int] | None:
    """Who says that it leads, in which term later than `after`."""
    for node, client in clients.items():
        try:
            status = client.status()
        except OstrakaError:
            continue
        if status.leader == status.member and status.term > after:
            return node, status.term
    return None


def fail_over(cluster: Cluster, clients: dict[Node, Client], writer: Writer) -> Failover:
    """Kill the leader, and bring it back once it was missed."""
    leader, term = until(lambda: leader_of(clients))
    others = {node: client for node, client in clients.items() if node is not leader}
    leader.kill()
    killed = time.monotonic()
    until(lambda: leader_of(others, term))
    elected = time.monotonic() - killed
    until(lambda: writer.answered > killed + 0.02 or None)  # What was answered before may be read a moment later.
    found = Failover(elected, time.monotonic() - killed)
    progress(f"  {leader.name} killed: another leads after {found.elected:.2f} s, serves after {found.served:.2f} s")
    cluster.launch(leader)
    cluster.await_ready()
    return found


def elections(kills: int, flags: Sequence[str]) -> list[Failover]:
    """Kill the leader so many times."""
    found: list[Failover] = []
    with (
        tempfile.TemporaryDirectory(dir=REPOSITORY / "build" / "bench") as directory,
        Cluster(Path(directory) / "cluster", 3, flags=("--log-level", "warn", *flags)) as cluster,
    ):
        cluster.start()
        clients = {node: Client([node.endpoint], timeout=0.5) for node in cluster.nodes}
        writer = Writer(cluster.endpoints)
        writer.start()
        for _ in range(kills):
            time.sleep(2 * ELECTION_TIMEOUT)
            found.append(fail_over(cluster, clients, writer))
        writer.stopping = True
        writer.join(10)
        for client in clients.values():
            client.close()
    return found


def elections_table(kills: int) -> str:
    lines = [
        f"| after `kill -9` of the leader, {kills} times, in election timeouts | another leads: median / worst "
        "| serves writes: median / worst |",
        "|---|---:|---:|",
    ]
    for way, flags in WAYS.items():
        progress(f"elections, {way}")
        found = elections(kills, flags)
        columns = [
            f"{statistics.median(times) / ELECTION_TIMEOUT:.2f} / {max(times) / ELECTION_TIMEOUT:.2f}"
            for times in ([each.elected for each in found], [each.served for each in found])
        ]
        lines.append(f"| {way} | {columns[0]} | {columns[1]} |")
    return "\n".join(lines)


class Changing:
    """A cluster of three whose fourth member comes and goes."""

    def __init__(self, cluster: Cluster, writer: Writer) -> None:
        self.cluster = cluster
        self.writer = writer
        self.client = Client(cluster.endpoints, timeout=10.0)
        self.gaps: dict[str, list[float]] = {}
        self.added = 0

    def during(self, what: str, change: Callable[[], None]) -> None:
        """Make this change, and write down for how long nothing was answered."""
        time.sleep(2.0)
        self.writer.longest = 0.0
        change()
        time.sleep(1.0)  # Some stall comes after: whoever sent its puts to one that is gone turns to another.
        gap = max(self.writer.longest, time.monotonic() - self.writer.answered)
        self.gaps.setdefault(what, []).append(gap)
        progress(f"  {what}: {1000 * gap:.0f} ms")

    def call(self, name: str, request: Any) -> Any:
        return self.client.call(f"/etcdserverpb.Cluster/{name}", request)

    def add(self) -> None:
        """One more, with an empty disk, until it votes."""
        self.added += 1
        node = Node(f"more{self.added}", choose_addresses(1)[0], self.cluster.directory)
        self.member = self.call("MemberAdd", etcd.MemberAddRequest(peerURLs=[node.peer_url])).member.ID
        self.cluster.nodes.append(node)
        self.cluster.launch(node, ["--initial-cluster-state", "existing"])
        until(lambda: any(each.id == self.member and not each.learner for each in self.client.members()) or None)

    def move(self) -> None:
        """The new one leads."""
        clients = {node: Client([node.endpoint], timeout=5.0) for node in self.cluster.nodes}
        leader, _ = until(lambda: leader_of(clients))
        request = etcd.MoveLeaderRequest(targetID=self.member)
        clients[leader].call("/etcdserverpb.Maintenance/MoveLeader", request)
        for client in clients.values():
            client.close()

    def remove(self) -> None:
        self.call("MemberRemove", etcd.MemberRemoveRequest(ID=self.member))
        node = self.cluster.nodes.pop()
        until(lambda: node.pid is None or None)


def changes_table(rounds: int) -> str:
    with (
        tempfile.TemporaryDirectory(dir=REPOSITORY / "build" / "bench") as directory,
        Cluster(Path(directory) / "cluster", 3, flags=("--log-level", "warn")) as cluster,
    ):
        cluster.start()
        writer = Writer(cluster.endpoints)
        writer.start()
        changing = Changing(cluster, writer)
        changing.during("nothing", lambda: time.sleep(2.0))
        for _ in range(rounds):
            changing.during("a voter is added, learns, and votes", changing.add)
            changing.during("a follower is removed", changing.remove)
            changing.during("a voter is added, learns, and votes", changing.add)
            changing.during("leadership is moved", changing.move)
            changing.during("the leader is removed", changing.remove)
            changing.during("nothing", lambda: time.sleep(2.0))
        writer.stopping = True
        writer.join(10)
        changing.client.close()
    lines = ["| meanwhile | longest wait of a writer, ms: median / worst |", "|---|---:|"]
    for what, gaps in changing.gaps.items():
        lines.append(f"| {what} | {1000 * statistics.median(gaps):.0f} / {1000 * max(gaps):.0f} |")
    return "\n".join(lines)


def reads_table(rounds: int, seconds: float) -> str:
    directory = REPOSITORY / "build" / "bench"
    driver = Driver(build(directory), seconds=seconds, warmup=1.0)
    ostraka = find_ostraka()
    samples: dict[tuple[str, str], list[Sample]] = {}
    for round_ in range(1, rounds + 1):
        for way, flags in WAYS.items():
            progress(f"reads, round {round_} of {rounds}: {way}")
            with Versus(replace(ostraka, command=(*ostraka.command, *flags)), directory) as cluster:
                driver.fill(cluster.nodes)
                for row in READS:
                    sample = driver.measure(way, row, round_, cluster.nodes)
                    if sample.load is None or sample.void:
                        progress(f"  {row.name}: VOID: {sample.void}")
                        continue
                    samples.setdefault((row.name, way), []).append(sample)
                    progress(f"  {row.name}: {sample.rate:,.0f}/s, {sample.cpu:.0f} µs")
    lines = [
        "| row | ReadIndex/s | lease/s | ratio | p50/p99 ms, ReadIndex | p50/p99 ms, lease | CPU µs, three nodes |"
    ]
    lines.append("|---|---:|---:|---:|---|---|---|")
    for row in READS:
        by_way = [samples.get((row.name, way), []) for way in WAYS]
        if not all(by_way):
            continue
        rates = [statistics.median(sample.rate for sample in each) for each in by_way]
        waits = [" / ".join(f"{median_of(each, name) / 1000:.1f}" for name in ("p50_us", "p99_us")) for each in by_way]
        cpu = " / ".join(f"{statistics.median(sample.cpu for sample in each):.0f}" for each in by_way)
        lines.append(
            f"| {row.name} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[1] / rates[0]:.2f} "
            f"| {waits[0]} | {waits[1]} | {cpu} |"
        )
    return "\n".join(lines)


def median_of(samples: Sequence[Sample], name: str) -> float:
    return statistics.median(getattr(sample.load, name) for sample in samples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="elections,reads,changes,catching-up", help="which, comma-separated")
    parser.add_argument("--kills", type=positive_int, default=20)
    parser.add_argument("--rounds", type=positive_int, default=3)
    parser.add_argument("--seconds", type=positive, default=4.0)
    options = parser.parse_args()
    directory = REPOSITORY / "build" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    print(f"Machine: {describe_machine(directory)}.\n")
    wanted = options.only.split(",")
    if "elections" in wanted:
        print(elections_table(options.kills) + "\n")
    if "changes" in wanted:
        print(changes_table(5 * options.rounds) + "\n")
    if "catching-up" in wanted:
        print(catching_up_table(options.rounds) + "\n")
    if "reads" in wanted:
        print(reads_table(options.rounds, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
