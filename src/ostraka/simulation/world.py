"""The world: one heap of events in virtual time, and all that follows from one seed."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import msgspec

from ostraka.consensus.raft import RAFT
from ostraka.errors import OstrakaError
from ostraka.model.engine import Consensus, Settings
from ostraka.model.events import Event
from ostraka.model.ids import MILLISECOND, SECOND, Dice, Duration, Epoch, Instant, NodeId, roll
from ostraka.node.host import Upkeep
from ostraka.simulation.atlas import Atlas
from ostraka.simulation.census import Census
from ostraka.simulation.judge import Judge
from ostraka.simulation.locks import Locks
from ostraka.simulation.member import Member, Plan, peer_url
from ostraka.simulation.misfortunes import APART, DAMAGES, Changes, Misfortune, draw
from ostraka.simulation.network import Wires
from ostraka.simulation.transactions import Transactions
from ostraka.simulation.watches import Watches
from ostraka.simulation.workloads import Registers, Workload
from ostraka.storage.birth import Birth

BOUND: Final[Duration] = 5 * SECOND  # Of virtual time: within it, a cluster left in peace serves again.
MOST_EVENTS: Final = 1_000_000  # In a whole run; a hundredth is usual.


class SeedFailed(Exception):
    """What went wrong (the cause), in which seed, and how to see it happen again."""


class World:
    """One run."""

    def __init__(
        self,
        seed: int,
        *,
        consensus: Consensus = RAFT,
        nodes: int = 0,
        misfortunes: Sequence[type[Misfortune]] | None = None,
        workload: str = "registers",
        traced: bool = False,
    ) -> None:
        """`nodes` 0, `misfortunes` None: drawn. `traced`: keep the trace's lines, not only its digest.

        `workload`: see `WORKLOADS`.
        """
        self.seed: Final = seed
        self.now: Instant = 0
        self.counts: Final[Counter[str]] = Counter()  # What was seen.
        self.events = 0  # How many were processed.
        self.epoch: Epoch = 0  # The highest in which somebody led.
        self.absence: Duration = 20 * MILLISECOND  # A dead process comes back after up to this.
        self.at_peace = False  # No misfortune strikes any more.
        self.relapses = 0  # So many per mille of those who come back die again at once.
        self.lines: Final[list[str]] = []
        self.traced: Final = traced
        self._hash: Final = hashlib.sha256()
        self._unhashed: list[str] = []
        self._heap: list[tuple[Instant, int, Callable[[], None]]] = []
        self._sequence = 0
        dice = self.dice("plan")
        nodes = nodes or (3, 3, 3, 3, 3, 5, 5, 1)[roll(dice, 8)]
        settings = msgspec.structs.replace(
            _draw_settings(dice),
            lease=draw_lease(self.dice("lease")),
            clock_drift=APART,
            max_held=(1, 2000, 32 << 20)[roll(self.dice("memory"), 3)],
            priority=(0, 0, 1)[roll(self.dice("priorities"), 3)],
        )
        plan = Plan(consensus, nodes, settings, _draw_upkeep(dice, self.dice("pieces")))
        self._world_dice: Final = self.dice("world")
        self.nodes: Final = list(plan.members.voters)
        self.judge: Final = Judge(self, consensus.name)
        self._plan: Final = plan
        self.census: Final = Census(self, plan.members, self.dice("census"))
        urls: dict[NodeId, tuple[str, ...]] = {node: (peer_url(node),) for node in self.nodes}
        self.members: Final = {
            node: Member(self, node, plan, Birth("", plan.members.voters, urls, f"n{node}")) for node in self.nodes
        }
        self.wires: Final = Wires(self, self.dice("network"))
        self.wires.overhear = self.judge.sent
        self.workload: Final = WORKLOADS[workload](self, dice)
        self._flags: Final = _flags(consensus, workload)
        drawn = draw(self.dice("misfortunes"), misfortunes)
        changes = any(isinstance(misfortune, Changes) for misfortune in drawn)
        if misfortunes is None and consensus.refills:
            drawn += draw(self.dice("damage"), kinds=DAMAGES)
        self.misfortunes: Final = drawn
        self.atlas: Final = Atlas(nodes if consensus.refills and not changes else 0)

    def dice(self, concern: str) -> Random:
        """Dice of their own for each concern, so that one more draw here does not reshuffle what happens there."""
        return Random(f"{self.seed}:{concern}")

    # The heap and the trace.

    def at(self, when: Instant, callback: Callable[[], None]) -> None:
        """Call at this instant, which is not over, after all that was asked for before for the same one."""
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, callback))

    def note(self, line: str) -> None:
        """A line of the trace: the same in each run of the seed."""
        line = f"{self.now} {line}"
        if self.traced:
            self.lines.append(line)
        self._unhashed.append(line)
        if len(self._unhashed) >= 1000:
            self._settle_trace()

    def comment(self, line: str) -> None:
        """A line for who reads the trace, not part of the digest."""
        self.lines.append(f"{self.now}   {line}")

    def digest(self) -> str:
        """Of the trace so far."""
        self._settle_trace()
        return self._hash.hexdigest()

    def _settle_trace(self) -> None:
        lines, self._unhashed = self._unhashed, []
        if lines:
            self._hash.update("\n".join([*lines, ""]).encode())

    def _process_until(self, until: Instant) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, callback = pop(heap)
            self.events += 1
            callback()
        assert self.events < MOST_EVENTS, f"{self.events} events: somebody wakes up again and again"
        self.now = until

    # What misfortunes do.

    def leads(self, node: NodeId) -> bool:
        """Does it think so?"""
        group = self.members[node].group
        return group is not None and group.role == "leader"

    def crash(self, node: NodeId) -> None:
        """Its process dies now, if one runs."""
        self.members[node].crash()

    def light_fuse(self, node: NodeId, effects: int) -> None:
        """Its process will die at this many effects from now."""
        if self.members[node].computer.process is not None:
            self.members[node].computer.fuse = effects

    def pause(self, node: NodeId, lasting: Duration) -> None:
        """Its process stands still, as after SIGSTOP."""
        process = self.members[node].computer.process
        if process is not None:
            self.counts["a pause"] += 1
            process.busy_until = max(process.busy_until, self.now + lasting)

    def tell(self, node: NodeId, event: Event) -> None:
        """Let this happen to its replica, if a process runs."""
        group = self.members[node].group
        if group is not None:
            self.members[node].post(partial(group.happened, event))

    def hand_over(self, leader: NodeId, heir: NodeId) -> None:
        """Ask the leader to let the heir lead."""
        group = self.members[leader].group
        assert group is not None, "it leads"
        self.members[leader].post(partial(group.transfer_leadership, heir, self._handed_over))

    def _handed_over(self, error: OstrakaError | None) -> None:
        self.counts["a handover" if error is None else "a handover given up"] += 1

    def died(self, node: NodeId) -> None:
        """A process is gone: somebody starts it again, sooner or later."""
        self.counts["a death"] += 1
        self.note(f"n{node} dies")
        self.wires.died(node)
        self.judge.died(node)
        self.workload.died(node)
        if self.members[node].removed:
            self.census.left(node)
        else:
            self.at(self.now + MILLISECOND + roll(self._world_dice, self.absence), partial(self.boot, node))

    def arrive(self, node: NodeId) -> None:
        """There is one node more, with an empty disk."""
        self.members[node] = Member(self, node, self._plan)
        self.nodes.append(node)
        for misfortune in self.misfortunes:
            if not self.at_peace:
                misfortune.befall(self, node)

    def depart(self, node: NodeId) -> None:
        """This one never comes back."""
        self.nodes.remove(node)
        self.workload.served.pop(node, None)

    def boot(self, node: NodeId) -> None:
        """Start a process there, if none runs."""
        if node not in self.nodes:
            return
        self.members[node].boot()
        if self.relapses and roll(self._world_dice, 1000) < self.relapses:
            self.light_fuse(node, 1 + roll(self._world_dice, 1 + roll(self._world_dice, 60)))

    # A run.

    def run(self, rough: Duration = 2 * SECOND) -> None:
        """A rough time, and then peace, in which the cluster must serve, agree, and survive one more power cut.

        Raises SeedFailed for whatever goes wrong.
        """
        try:
            self._run(rough)
        except Exception as error:
            self.note(f"failed: {error}")
            raise SeedFailed(
                f"seed {self.seed}, after {self.now / SECOND:.6f} virtual s: {error}\nTo see how it came to that:\n"
                f"    .venv/bin/python -m ostraka.simulation --seed {self.seed} --rough {rough // MILLISECOND} --trace"
                + self._flags
            ) from error

    def _run(self, rough: Duration) -> None:
        for misfortune in self.misfortunes:
            self.note(f"{misfortune.name}, strength {misfortune.strength}")
            misfortune.begin(self)
        for node in self.nodes:
            self.at(roll(self._world_dice, 20 * MILLISECOND), partial(self.boot, node))
        self.workload.begin()
        self._process_until(rough)
        self._calm()
        self._settle()
        self.note("the last power cut")
        for node in self.nodes:
            self.crash(node)
        self._until(self._agreed, "replayed what they had executed")
        self.judge.compare_tables()
        self.workload.verdict()

    def _calm(self) -> None:
        self.note("peace")
        self.at_peace = True
        for misfortune in self.misfortunes:
            misfortune.end(self)
        for node in self.nodes:
            self.at(self.now, partial(self.boot, node))
        self.workload.served.clear()
        self._until(self._removed_are_gone, "who were removed have ended")
        self._until(lambda: len(self.workload.served) == len(self.nodes), "served a caller at each node")

    def _removed_are_gone(self) -> bool:
        """All but those whom nobody can tell."""
        if self.census.removed.intersection(self.nodes) != set(self.census.stranded()):
            return False
        for node in self.census.stranded():
            self.members[node].removed = True
            self.crash(node)
        return True

    def _settle(self) -> None:
        self.workload.end()
        self._until(lambda: not self.workload.under_way(), "answered all that was asked")
        self._until(self.workload.at_rest, "came to rest")
        self._until(self._agreed, "executed all that was decided")
        self.judge.compare_tables()

    def _agreed(self) -> bool:
        groups = [self.members[node].group for node in self.nodes]
        return all(group is not None and group.applied == self.judge.length for group in groups)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Let time pass until it holds; in peace that has a bound."""
        end = self.now + BOUND
        while not condition():
            assert self.now < end, f"in {BOUND / SECOND:g} virtual seconds of peace, not all {what}:\n{self._state()}"
            self._process_until(self.now + 10 * MILLISECOND)

    def _state(self) -> str:
        lines = [f"  open: {call}" for call in self.workload.under_way()[:10]]
        for node in self.nodes:
            group = self.members[node].group
            removed = ", removed" if node in self.census.removed else ""
            lines.append(f"  n{node}{removed}: {'down' if group is None else group.status()}")
        return "\n".join(lines)


def _flags(consensus: Consensus, workload: str) -> str:
    """What makes `python -m ostraka.simulation` use these."""
    of_engine = "" if consensus is RAFT else f" --consensus {consensus.name}"
    return of_engine + ("" if workload == "registers" else f" --workload {workload}")


def _registers(world: World, dice: Dice) -> Registers:
    clients, keys = 2 + roll(dice, 5), 1 + roll(dice, 4)
    size, pause = (100, 600, 3000)[roll(dice, 3)], (2, 5, 20)[roll(dice, 3)] * MILLISECOND
    return Registers(world, world.dice("workload"), clients, keys, size, pause)


def _locks(world: World, dice: Dice) -> Locks:
    return Locks(world, world.dice("workload"))


def _watches(world: World, dice: Dice) -> Watches:
    return Watches(world, world.dice("workload"))


def _transactions(world: World, dice: Dice) -> Transactions:
    return Transactions(world, world.dice("workload"), 2 + roll(dice, 5), (2, 5, 20)[roll(dice, 3)] * MILLISECOND)


WORKLOADS: Final[dict[str, Callable[[World, Dice], Workload]]] = {
    "registers": _registers,
    "locks": _locks,
    "watches": _watches,
    "transactions": _transactions,
}
"""What a cluster is used for."""


def _draw_settings(dice: Dice) -> Settings:
    """Small numbers, so that compaction, snapshots and full windows come often."""
    return Settings(
        heartbeat=30 * MILLISECOND,
        election_timeout=(100 + roll(dice, 100)) * MILLISECOND,
        linger=(0, 1, 2)[roll(dice, 3)] * MILLISECOND,
        max_entry=(200, 1 << 20)[roll(dice, 2)],
        max_append=(400, 4 << 20)[roll(dice, 2)],
        max_in_flight=(1, 4, 64)[roll(dice, 3)],
        max_in_flight_bytes=(1000, 16 << 20)[roll(dice, 2)],
        max_uncommitted=(5000, 64 << 20)[roll(dice, 2)],
        tail=(1, 10, 50)[roll(dice, 3)],
        compact_every=(1, 5, 20)[roll(dice, 3)],
    )


def draw_lease(dice: Dice) -> Duration:
    """None, or from shorter to longer than an election timeout."""
    return (0, 0, 50, 150, 400)[roll(dice, 5)] * MILLISECOND


def _draw_upkeep(dice: Dice, pieces: Dice) -> Upkeep:
    return Upkeep(
        flush_bytes=(300, 3000)[roll(dice, 2)],
        flush_every=(50, 300)[roll(dice, 2)] * MILLISECOND,
        look_every=(10, 50)[roll(dice, 2)] * MILLISECOND,
        segment_size=(1000, 4000, 30_000)[roll(dice, 3)],
        chunk_bytes=(1, 300, 256 << 10)[roll(pieces, 3)],
    )
