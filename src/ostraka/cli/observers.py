"""What the nodes of a cluster say of themselves, asked again and again."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from typing import Final, NamedTuple

from ostraka.cli.cluster import Cluster, Node
from ostraka.client import Client
from ostraka.errors import NotExecuted, OutcomeUnknown

LOOK_EVERY: Final = 0.1  # Seconds, as are those below.
RATE_EVERY: Final = 1.0
PATIENCE: Final = 1.0
_COUNTER: Final = "grpc_server_handled_total{"


class Sample(NamedTuple):
    """A node at one moment. `commit` and `applied` are indexes of the log, `rate` is in requests a second."""

    member: int
    leader: int  # 0: it knows none.
    epoch: int
    commit: int
    applied: int
    rate: float = 0.0

    @property
    def leads(self) -> bool:
        return self.member == self.leader


class Observer(threading.Thread):
    """Asks one node, and keeps what it said last; None when it does not answer."""

    def __init__(self, node: Node, stopping: threading.Event) -> None:
        super().__init__(name=f"observer-{node.name}", daemon=True)
        self.node: Final = node
        self.stopping: Final = stopping
        self.sample: Sample | None = None
        self._rate = 0.0
        self._counted: tuple[float, float] | None = None  # When, and how many.

    def run(self) -> None:
        with Client([self.node.endpoint], timeout=PATIENCE) as client:
            while not self.stopping.wait(LOOK_EVERY):
                self.sample = self._look(client) if self.node.pid is not None else None

    def _look(self, client: Client) -> Sample | None:
        try:
            status = client.status()
            self._measure()
        except (NotExecuted, OutcomeUnknown, OSError, http.client.HTTPException):
            self._rate, self._counted = 0.0, None
            return None
        return Sample(
            status.member,
            status.leader,
            status.term,
            status.index,
            status.applied_index,
            self._rate,
        )

    def _measure(self) -> None:
        """The rate of requests served, from two looks at the node's counters."""
        now = time.monotonic()
        if self._counted is not None and now - self._counted[0] < RATE_EVERY:
            return
        count = requests_served(self.node.fetch("/metrics", PATIENCE)[1])
        if self._counted is not None:
            self._rate = (count - self._counted[1]) / (now - self._counted[0])
        self._counted = now, count


class Observers:
    """One for each node of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.stopping: Final = threading.Event()
        self.each: Final = [Observer(node, self.stopping) for node in cluster.nodes]

    def start(self) -> None:
        for observer in self.each:
            observer.start()

    def stop(self) -> None:
        self.stopping.set()
        for observer in self.each:
            if observer.is_alive():
                observer.join(2 * PATIENCE)

    def sample(self, node: Node) -> Sample | None:
        """What the node said last; None if it does not answer."""
        return next(observer.sample for observer in self.each if observer.node is node)

    def leader(self) -> tuple[Node, Sample] | None:
        """The node that leads the latest epoch in which somebody is known to lead, if it runs."""
        leading = [
            (observer.node, sample)
            for observer in self.each
            if (sample := observer.sample) is not None and sample.leads
        ]
        return max(leading, key=lambda found: found[1].epoch, default=None)


def requests_served(metrics: str) -> float:
    """How many puts and ranges a node has answered well, from the text of its /metrics."""
    total = 0.0
    for line in metrics.splitlines():
        if line.startswith(_COUNTER) and '"etcdserverpb.KV"' in line and 'grpc_code="OK"' in line:
            with contextlib.suppress(ValueError):
                total += float(line.rpartition(" ")[2])
    return total
