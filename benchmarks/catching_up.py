"""How fast one who lacks much catches up: from the log, and by a snapshot. Part of raft_figures.py."""

from __future__ import annotations

import asyncio
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from versus.main import REPOSITORY, progress

from ostraka.api import etcd
from ostraka.cli.cluster import Cluster, Node, choose_addresses
from ostraka.client import AsyncClient, Client
from ostraka.errors import OstrakaError

WRITERS = 128
PATIENCE = 180.0
RECEIVED = "etcd_network_peer_received_bytes_total"
T = TypeVar("T")


class CaughtUp(NamedTuple):
    """What came, and in what time."""

    seconds: float
    bytes: float  # Received from the other members.
    entries: int
    waited: float  # The longest time that a client waited meanwhile for its put, in seconds.


def until(look: Callable[[], T | None]) -> T:
    """What is looked for, once it is there."""
    give_up = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < give_up, "it does not come"
        time.sleep(0.005)
    return found


def metric(node: Node, name: str) -> float | None:
    """The sum of the samples of this name; None while the node does not answer."""
    try:
        page = node.fetch("/metrics")[1]
    except OSError:
        return None
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*?}})? (\S+)$", page, re.MULTILINE))


def applied(node: Node) -> int | None:
    """How far this node has executed the log."""
    try:
        with Client([node.endpoint], timeout=1.0) as client:
            return client.status().applied_index
    except OstrakaError:
        return None


def fill(endpoints: list[str], count: int, size: int) -> None:
    """Put so many values of this size, under as many keys, with WRITERS under way."""

    async def write(client: AsyncClient, first: int) -> None:
        for number in range(first, count, WRITERS):
            await client.put(b"key/%08d" % number, b"v" * size)

    async def all_of_them() -> None:
        async with AsyncClient(endpoints, timeout=30.0) as client:
            await asyncio.gather(*(write(client, first) for first in range(WRITERS)))

    asyncio.run(all_of_them())


def longest_wait(endpoints: list[str], there: Callable[[], bool]) -> float:
    """Put one value after the other until the condition holds; the longest that one took, in seconds."""
    longest = 0.0
    with Client(endpoints, timeout=10.0) as client:
        while not there():
            begun = time.monotonic()
            client.put("meanwhile", "x")
            longest = max(longest, time.monotonic() - begun)
    return longest


def from_the_log(cluster: Cluster, puts: int) -> CaughtUp:
    """A follower stands still for so many puts of 256 bytes, and goes on."""
    with Client(cluster.endpoints) as client:
        leader = client.status().leader
        late = next(node for node in cluster.nodes if Client([node.endpoint], timeout=5.0).status().member != leader)
    others = [node for node in cluster.nodes if node is not late]
    begins, received = applied(late), metric(late, RECEIVED)
    late.signal(signal.SIGSTOP)
    fill([node.endpoint for node in others], puts, 256)
    ends = until(lambda: applied(others[0]))
    late.signal(signal.SIGCONT)
    since = time.monotonic()
    until(lambda: True if (applied(late) or 0) >= ends else None)
    seconds = time.monotonic() - since
    assert begins is not None and received is not None
    return CaughtUp(seconds, until(lambda: metric(late, RECEIVED)) - received, ends - begins, 0.0)


def by_a_snapshot(cluster: Cluster) -> CaughtUp:
    """A member is added with an empty disk, when the log no longer goes back to the first entry."""
    others = [node.endpoint for node in cluster.nodes]
    node = Node("newcomer", choose_addresses(1)[0], cluster.directory)
    with Client(others, timeout=30.0) as client:
        request = etcd.MemberAddRequest(peerURLs=[node.peer_url], isLearner=True)
        client.call("/etcdserverpb.Cluster/MemberAdd", request)
    cluster.nodes.append(node)
    cluster.launch(node, ["--initial-cluster-state", "existing"])
    until(lambda: metric(node, RECEIVED))
    since = time.monotonic()
    waited = longest_wait(others, lambda: bool(metric(node, "ostraka_snapshots_installed_total")))
    return CaughtUp(time.monotonic() - since, until(lambda: metric(node, RECEIVED)), 0, waited)


def catching_up_table(rounds: int, puts: int = 60_000, large: int = 20_000) -> str:
    """Each round on a new cluster: first from the log, then by a snapshot of `large` values of 10 kB."""
    log: list[CaughtUp] = []
    snapshots: list[CaughtUp] = []
    for round_ in range(1, rounds + 1):
        with (
            tempfile.TemporaryDirectory(dir=REPOSITORY / "build" / "bench") as directory,
            Cluster(Path(directory) / "cluster", 3, flags=("--log-level", "warn")) as cluster,
        ):
            cluster.start()
            log.append(from_the_log(cluster, puts))
            progress(f"  round {round_}, from the log: {log[-1]}")
            fill(cluster.endpoints, large, 10_000)
            snapshots.append(by_a_snapshot(cluster))
            progress(f"  round {round_}, by a snapshot: {snapshots[-1]}")
    lines = ["| what | MB | seconds | MB/s | entries/s | requests/s |", "|---|---:|---:|---:|---:|---:|"]
    for what, found in (("from the log", log), ("by a snapshot, with an empty disk", snapshots)):
        seconds = statistics.median(each.seconds for each in found)
        size = statistics.median(each.bytes for each in found) / 1e6
        entries = statistics.median(each.entries for each in found)
        counts = f"{entries / seconds:,.0f} | {puts / seconds:,.0f}" if entries else "– | –"
        lines.append(f"| {what} | {size:,.0f} | {seconds:.1f} | {size / seconds:,.1f} | {counts} |")
    waited = 1000 * statistics.median(each.waited for each in snapshots)
    return "\n".join(
        [*lines, "", f"Longest wait of a client that puts meanwhile, median of the rounds: {waited:.0f} ms."]
    )
