"""Who watches all nodes at once, and remembers: what must hold after each turn of any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ostraka.consensus.raft import lease
from ostraka.consensus.raft.invariants import Invariants
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import ReadAnswer
from ostraka.consensus.raft.replica import Replica
from ostraka.consensus.raft.roles import Leader
from ostraka.model.ids import Index, NodeId, Position
from ostraka.model.machine import Outcome
from ostraka.model.requests import Entry
from ostraka.node.group import Group
from ostraka.simulation.promises import Promises

if TYPE_CHECKING:
    from ostraka.simulation.world import World


class Judge:
    """There is one order of entries, and every node in every life executes a part of it, without gaps, alike."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._order: Final[list[tuple[Entry, Outcome]]] = []  # As the first node that executed it did.
        self._applied: Final[dict[NodeId, Index]] = {}  # Of the present life, as the two below.
        self._seen: Final[dict[NodeId, tuple[Any, ...]]] = {}
        self._last: Final[dict[NodeId, Position]] = {}
        self._promises: Final = Promises()
        self._invariants: Final = Invariants()

    @property
    def length(self) -> Index:
        """The last entry that anybody executed."""
        return len(self._order)

    def began(self, node: NodeId, group: Group) -> None:
        """A life begins with what the disk remembers."""
        assert group.applied <= self.length, f"n{node} begins with entry {group.applied} of {self.length}"
        replica = _replica(group)
        self._applied[node] = group.applied
        self._last[node] = replica.log.last
        self._promises.began(node, replica)
        self._invariants.observe(replica)

    def died(self, node: NodeId) -> None:
        """What was in its memory is no longer of interest."""
        self._last.pop(node, None)
        self._seen.pop(node, None)

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> None:
        """A frame leaves a node."""
        message = self._promises.sent(node, to, frame)
        if isinstance(message, ReadAnswer) and self._leases(node):
            self._world.counts["a follower's read by a lease"] += 1
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
            self._world.workload.applied(outcome)
            if entry.members is not None:
                self._world.census.decided(entry.members)
            return
        first, its_outcome = self._order[entry.index - 1]
        assert entry == first, f"n{node} executes {entry} where another node, or an earlier life, executed {first}"
        assert outcome == its_outcome, f"n{node} executes {entry.position} to {outcome}, others to {its_outcome}"

    def turned(self, node: NodeId, group: Group) -> None:
        """After each turn of a node."""
        world, replica = self._world, _replica(group)
        log = replica.log
        now = (replica.role, replica.term, replica.commit, replica.decided, replica.saved, group.applied, log.last)
        if now == self._seen.get(node):
            return  # Most turns only pass something on.
        self._seen[node] = now
        if group.applied != self._applied[node]:
            assert group.applied > self._applied[node], f"n{node} goes back to {group.applied}"
            assert group.applied <= self.length, f"n{node} installed state {group.applied} of {self.length}"
            world.counts["a snapshot install"] += 1
            world.note(f"n{node} installed state {group.applied}")
            self._applied[node] = group.applied
        self._look_at_log(node, log)
        self._promises.turned(node, replica)
        self._invariants.observe(replica)
        self._look_at_leases(node, replica)
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
        for node in self._world.nodes:
            for row, its_row in zip(states[node], states[first], strict=False):
                assert row == its_row, f"after entry {self.length}, n{node} has {row} and n{first} has {its_row}"
            assert len(states[node]) == len(states[first]), f"the tables of n{node} and n{first} differ in length"

    def _look_at_leases(self, node: NodeId, replica: Replica) -> None:
        """While one leader may read by its lease no other commits, by true time. (LeaseGuard)"""
        role = replica.role
        if not isinstance(role, Leader):
            return
        if replica.now < role.commits_at:
            self._world.counts["a wait for a lease to end"] += 1
        if replica.commit < role.first:
            return
        for other in self._world.nodes:
            group = self._world.members[other].group
            if group is not None and self._leases(other):
                assert replica.term <= _replica(group).term, (
                    f"n{node} commits {replica.commit} in term {replica.term}, "
                    f"and n{other} may read by its lease of term {_replica(group).term}"
                )

    def _leases(self, node: NodeId) -> bool:
        """May it read by its lease, at this instant of its clock?"""
        member = self._world.members[node]
        if member.group is None:
            return False
        replica = _replica(member.group)
        return isinstance(replica.role, Leader) and lease.holds(replica, replica.role, member.computer.clock_now())

    def _look_at_log(self, node: NodeId, log: Log) -> None:
        """Has a later leader cut off what the log held?"""
        last, before = log.last, self._last[node]
        if last != before:
            self._last[node] = last
            if log.position_at(before.index) != before and before.index > log.base.index:
                self._world.counts["a conflict truncation"] += 1
                self._world.note(f"n{node} cut its log, which ended with {before}")


def _replica(group: Group) -> Replica:
    """Raft is the only engine that is judged so far."""
    assert isinstance(group.engine, Replica), f"{group.engine} is no replica of Raft"
    return group.engine


def _state(group: Group | None) -> list[tuple[bytes, bytes]]:
    """All that the machine has in its table."""
    assert group is not None, "compared when all are up"
    return list(group.table.scan(b"\x01", None))
