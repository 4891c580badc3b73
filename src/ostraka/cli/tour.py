"""What the demonstration shows: a load, the death of the leader, a new leader, and the return of the old one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ostraka.cli.cluster import Cluster, ClusterFailed, Node
from ostraka.cli.load import PATIENCE, Load
from ostraka.cli.observers import Observers, Sample
from ostraka.errors import NotExecuted, OstrakaError, OutcomeUnknown
from ostraka.model.ids import Index

CALLERS: Final = 4
PAUSE: Final = 0.002  # Seconds, as are all below: between two requests of a caller during the tour,
PAUSE_LATER: Final = 0.05  # and after it.
SCENE: Final = 3.0
ELECTED_WITHIN: Final = 20.0
CAUGHT_UP_WITHIN: Final = 20.0
VERIFIED_WITHIN: Final = 20.0
RESTARTED_AFTER: Final = 3.0
DIES_AT_ONCE: Final = 10.0  # A node that ended sooner after its restart is not restarted again.
LOOK_EVERY: Final = 0.02
STOPS_WITHIN: Final = 2.0


class TourFailed(OstrakaError):
    """Something was not as promised; the text says what."""


class Tour:
    """One tour through a cluster. As a context, it stops its load and its observers."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self.cluster: Final = cluster
        self.console: Final = console
        self.began: Final = time.monotonic()
        self.made = False  # To its end.
        self.live = False
        self._begun = False
        self.load: Load
        self.observers: Observers
        self._restarted: dict[str, float] = {}

    def __enter__(self) -> Tour:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._begun:
            self.load.stopping.set()
            self.observers.stopping.set()
            for node in self.cluster.nodes:
                node.kill()  # So that nobody waits for an answer any more. To the data it makes no difference.
            self.load.stop(STOPS_WITHIN)
            self.observers.stop()

    def say(self, text: str) -> None:
        """One line, with the time since the beginning."""
        self.console.print(f"{time.monotonic() - self.began:5.1f} s  {text}", markup=False, soft_wrap=True)

    def begin(self) -> None:
        """Start the nodes, and tell how to reach them."""
        nodes = self.cluster.nodes
        self.say(f"Starting {_nodes(len(nodes))}; data and logs are in {self.cluster.directory}")
        self.cluster.start()
        self.load = Load(self.cluster.endpoints, max(CALLERS, len(nodes)))
        self.observers = Observers(self.cluster)
        self._begun = True
        self.observers.start()
        self._until(lambda: all(map(self.observers.sample, nodes)), ELECTED_WITHIN, "not all nodes answer")
        self.say("Ready. From another terminal, with etcd's own client or with ours:")
        endpoints = ",".join(self.cluster.endpoints)
        self.console.print(f"    etcdctl --endpoints={endpoints} put hello world", markup=False, soft_wrap=True)
        self.console.print(f"    ostraka get --endpoints={endpoints} hello", markup=False, soft_wrap=True)

    def make(self) -> None:
        """The tour. Raises TourFailed, ClusterFailed."""
        self.load.pause = PAUSE
        self.load.start()
        self.say(f"{len(self.load.callers)} callers put and get, each one request at a time.")
        self.cluster.sleep(SCENE)
        self.show()
        leader, sample = self._leader()
        if len(self.cluster.nodes) > 2:
            self._fail_over(leader, sample)
            self.show()
        else:
            self.say(f"kill -9 {leader.pid}: that was {leader.name}. Too few are left for a majority, so writes wait.")
            leader.kill()
            self.cluster.sleep(SCENE / 2)
        self._bring_back(leader, max([sample.commit, *self._commits()]))
        self.cluster.sleep(SCENE / 2)
        self.show()
        self._verify(self.cluster.nodes)
        self.say(f"{self.load.summary()}.")
        self.made = True

    def _fail_over(self, leader: Node, sample: Sample) -> None:
        self.say(f"kill -9 {leader.pid}: that was {leader.name}, the leader of epoch {sample.epoch}.")
        acknowledged, killed = self.load.acknowledged, time.monotonic()
        self.load.longest_gap()
        leader.kill()
        others = [node for node in self.cluster.nodes if node is not leader]

        def elected() -> bool:
            found = self.observers.leader()
            return found is not None and found[0] is not leader and found[1].epoch > sample.epoch

        self._until(elected, ELECTED_WITHIN, f"no other node leads, though {len(others)} are left")
        successor, its = self._leader()
        self.say(f"{successor.name} leads epoch {its.epoch}, {time.monotonic() - killed:.1f} s later.")
        enough = acknowledged + 10
        self._until(lambda: self.load.acknowledged > enough, ELECTED_WITHIN, "the new leader takes no writes")
        self.cluster.sleep(SCENE / 2)
        self.say(f"Writes stood still for {self.load.longest_gap():.1f} s, and go on without {leader.name}.")
        self._verify(others)

    def _commits(self) -> list[int]:
        """What each node that answers knows to be committed."""
        samples = [self.observers.sample(node) for node in self.cluster.nodes]
        return [sample.commit for sample in samples if sample is not None]

    def _bring_back(self, node: Node, goal: Index) -> None:
        started = time.monotonic()
        self.cluster.launch(node)
        self.say(f"Restarted {node.name}, with process id {node.pid}.")

        def caught_up() -> bool:
            self.cluster.check()
            sample = self.observers.sample(node)
            return sample is not None and sample.leader != 0 and sample.applied >= goal

        self._until(caught_up, CAUGHT_UP_WITHIN, f"{node.name} did not catch up")
        took = time.monotonic() - started
        self.say(
            f"{node.name} has applied all that was committed before its restart (entry {goal}), after {took:.1f} s."
        )

    def _verify(self, nodes: Sequence[Node]) -> None:
        """Read every key back from each of these nodes."""
        compared = 0
        wrong = list(self.load.broken)
        for node in nodes:
            compared, found = self._in_background(partial(self.load.verify, node.endpoint))
            wrong += found
        if wrong:
            raise TourFailed(f"{len(wrong)} promises are broken:\n" + "\n".join(f"    {each}" for each in wrong[:10]))
        count, names = self.load.acknowledged, _listed([node.name for node in nodes])
        self.say(f"Read {compared:,} keys back from {names}: none of {count:,} acknowledged writes is lost or doubled.")

    def go_on(self) -> None:
        """Until `cluster.sleep` raises: restart what is killed."""
        self.load.pause = PAUSE_LATER
        self.say("Now it is your turn: kill -9 any process of the table; it is restarted. Ctrl-C ends it all.")
        while True:
            self.cluster.sleep(LOOK_EVERY)
            for node in self.cluster.nodes:
                if node.pid is None:
                    self._revive(node)

    def _revive(self, node: Node) -> None:
        if time.monotonic() - self._restarted.get(node.name, self.began) < DIES_AT_ONCE:
            self.cluster.check()
        self.say(f"{node.name} has ended; it will be restarted.")
        self.cluster.sleep(RESTARTED_AFTER)
        self.cluster.launch(node)
        self._restarted[node.name] = time.monotonic()

    def _leader(self) -> tuple[Node, Sample]:
        found: list[tuple[Node, Sample]] = []

        def known() -> bool:
            leading = self.observers.leader()
            found[:] = [] if leading is None else [leading]
            return bool(found)

        self._until(known, ELECTED_WITHIN, "nobody leads")
        return found[0]

    def _until(self, condition: Callable[[], bool], within: float, complaint: str) -> None:
        give_up = time.monotonic() + within
        while not condition():
            if time.monotonic() > give_up:
                tails = "\n".join(node.log_tail() for node in self.cluster.nodes)
                raise ClusterFailed(f"after {within:.0f} s, {complaint}.\n{tails}")
            self.cluster.sleep(LOOK_EVERY)

    def _in_background(self, read: Callable[[], tuple[int, list[str]]]) -> tuple[int, list[str]]:
        """What `read` returns; a signal need not wait for it. It is tried again where it fails."""
        results: list[tuple[int, list[str]]] = []
        give_up = time.monotonic() + VERIFIED_WITHIN

        def work() -> None:
            while not results and time.monotonic() < give_up:
                try:
                    results.append(read())
                except (NotExecuted, OutcomeUnknown):
                    time.sleep(PATIENCE / 10)

        threading.Thread(target=work, daemon=True).start()
        self._until(lambda: bool(results), VERIFIED_WITHIN, "the keys could not be read back")
        return results[0]

    # How it looks.

    def table(self) -> Live:
        """The live table, as a context."""
        self.live = True
        return Live(get_renderable=self.picture, console=self.console, refresh_per_second=5)

    def show(self) -> None:
        """Print the table, where it is not always in sight."""
        if not self.live:
            self.console.print(self.picture())

    def picture(self) -> RenderableType:
        """The nodes and the load, as they are now."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("node")
        table.add_column("role")
        for name in ("epoch", "commit", "applied", "requests/s", "pid"):
            table.add_column(name, justify="right")
        for node in self.cluster.nodes:
            table.add_row(*_row(node, self.observers.sample(node)))
        return Group(table, Text(f"{self.load.summary()}.")) if self.live else table


def _row(node: Node, sample: Sample | None) -> list[RenderableType]:
    pid = node.pid
    if sample is None or pid is None:
        role = Text("dead", style="red") if pid is None else Text("no answer", style="yellow")
        return [node.name, role, "", "", "", "", str(pid or "")]
    if sample.leads:
        role = Text("leader", style="bold green")
    else:
        role = Text("follower") if sample.leader else Text("no leader", style="yellow")
    return [
        node.name,
        role,
        str(sample.epoch),
        f"{sample.commit:,}",
        f"{sample.applied:,}",
        f"{sample.rate:,.0f}",
        str(pid),
    ]


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
