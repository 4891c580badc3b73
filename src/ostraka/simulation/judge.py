"""Who watches all nodes at once, and remembers: what must hold after each turn of any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from ostraka.database.commands import Range
from ostraka.model.ids import Index, NodeId
from ostraka.model.machine import Outcome
from ostraka.model.requests import Entry
from ostraka.node.group import Group
from ostraka.simulation.multipaxos import MultiPaxosWitness
from ostraka.simulation.raft import RaftWitness
from ostraka.simulation.replay import Replay

if TYPE_CHECKING:
    from ostraka.simulation.world import World


class Witness(Protocol):
    """Knows one engine: its invariants, and what its messages promise. Raises AssertionError when one does not hold."""

    def began(self, node: NodeId, replica: Any) -> None:
        """A life begins with what the disk remembers."""

    def died(self, node: NodeId) -> None:
        """What was in its memory is no longer of interest."""

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> Any:
        """A frame leaves a node. Returns the engine's message in it, None for one about a snapshot."""

    def state(self, replica: Any) -> tuple[Any, ...]:
        """What must have changed since the last look for another one to be of use."""

    def turned(self, node: NodeId, replica: Any) -> None:
        """After a turn in which that has changed."""


WITNESSES: Final[Mapping[str, Callable[[World], Witness]]] = {"raft": RaftWitness, "multipaxos": MultiPaxosWitness}


class Judge:
    """There is one order of entries, and every node in every life executes a part of it, without gaps, alike."""

    def __init__(self, world: World, engine: str) -> None:
        self.replay: Final = Replay()
        self._world: Final = world
        self._order: Final[list[tuple[Entry, Outcome]]] = []  # As the first node that executed it did.
        self._applied: Final[dict[NodeId, Index]] = {}  # Of the present life, as the next.
        self._seen: Final[dict[NodeId, tuple[Any, ...]]] = {}
        self._witness: Final = WITNESSES[engine](world)

    @property
    def length(self) -> Index:
        """The last entry that anybody executed."""
        return len(self._order)

    def began(self, node: NodeId, group: Group) -> None:
        """A life begins with what the disk remembers."""
        assert group.applied <= self.length, f"n{node} begins with entry {group.applied} of {self.length}"
        self._applied[node] = group.applied
        self._witness.began(node, group.engine)
        self._world.atlas.began(node)

    def died(self, node: NodeId) -> None:
        """What was in its memory is no longer of interest."""
        self._seen.pop(node, None)
        self._witness.died(node)

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> None:
        """A frame leaves a node."""
        message = self._witness.sent(node, to, frame)
        if self._world.traced:
            self._world.comment(f"n{node} to n{to}: {message}")

    def applied(self, node: NodeId, entry: Entry, outcome: Outcome) -> None:
        """A node has executed an entry."""
        before = self._applied[node]
        assert entry.index == before + 1, f"n{node} executes entry {entry.index} after {before}"
        self._applied[node] = entry.index
        if entry.index == len(self._order) + 1:
            self._order.append((entry, outcome))
            self._world.note(f"entry {entry.index} of epoch {entry.epoch} decided: {len(entry.batches)} batches")
            self.replay.entry(entry, outcome)
            self._world.workload.applied(outcome)
            if entry.members is not None:
                self._world.census.decided(entry.members)
            return
        first, its_outcome = self._order[entry.index - 1]
        assert entry == first, f"n{node} executes {entry} where another node, or an earlier life, executed {first}"
        assert outcome == its_outcome, f"n{node} executes {entry.position} to {outcome}, others to {its_outcome}"

    def read(self, node: NodeId, query: Any, answer: Any) -> None:
        """A node's machine was asked for this, and answered."""
        group = self._world.members[node].group
        if group is not None:
            self.replay.read(group.applied, query, answer)

    def turned(self, node: NodeId, group: Group) -> None:
        """After each turn of a node."""
        world = self._world
        if world.atlas.turned(node, group):
            world.counts["damage mended"] += 1
        now = (*self._witness.state(group.engine), group.applied)
        if now == self._seen.get(node):
            return  # Most turns only pass something on.
        self._seen[node] = now
        if group.applied != self._applied[node]:
            assert group.applied > self._applied[node], f"n{node} goes back to {group.applied}"
            assert group.applied <= self.length, f"n{node} installed state {group.applied} of {self.length}"
            world.counts["a snapshot install"] += 1
            world.note(f"n{node} installed state {group.applied}")
            self._applied[node] = group.applied
        self._witness.turned(node, group.engine)
        if group.role == "leader" and group.epoch > world.epoch:
            world.epoch = group.epoch
            world.note(f"n{node} leads in epoch {group.epoch}")
            world.counts["an election"] += 1
            if world.workload.under_way():
                world.counts["an election under load"] += 1

    def compare_tables(self) -> None:
        """All have executed the same entries: then all of their state is the same."""
        states = {node: _state(self._world.members[node].group) for node in self._world.nodes}
        first = self._world.nodes[0]
        whole = self._world.members[first].group
        assert whole is not None, "compared when all are up"
        last = self.replay.revision_at(self.length)
        for revision in range(max(1, last - 20), last + 1):
            whole.query(Range(b"\0", b"\0", revision=revision))  # Whose answer is judged.
        for node in self._world.nodes:
            for row, its_row in zip(states[node], states[first], strict=False):
                assert row == its_row, f"after entry {self.length}, n{node} has {row} and n{first} has {its_row}"
            assert len(states[node]) == len(states[first]), f"the tables of n{node} and n{first} differ in length"


def _state(group: Group | None) -> list[tuple[bytes, bytes]]:
    """All that the machine has in its table."""
    assert group is not None, "compared when all are up"
    return list(group.table.scan(b"\x01", None))
