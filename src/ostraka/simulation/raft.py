"""What the judge looks at in members that run Raft: its invariants, its promises, its leases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ostraka.consensus.raft import lease
from ostraka.consensus.raft.invariants import Invariants
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import ReadAnswer
from ostraka.consensus.raft.replica import Replica
from ostraka.consensus.raft.roles import Leader
from ostraka.model.ids import NodeId, Position
from ostraka.simulation.promises import Promises

if TYPE_CHECKING:
    from ostraka.simulation.world import World


class RaftWitness:
    """Implements `judge.Witness`."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._last: Final[dict[NodeId, Position]] = {}  # Of the present life.
        self._promises: Final = Promises()
        self._invariants: Final = Invariants()

    def began(self, node: NodeId, replica: Any) -> None:
        assert isinstance(replica, Replica)
        self._last[node] = replica.log.last
        self._promises.began(node, replica)
        self._invariants.observe(replica)

    def died(self, node: NodeId) -> None:
        self._last.pop(node, None)

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> Any:
        message = self._promises.sent(node, to, frame)
        if isinstance(message, ReadAnswer) and self._leases(node):
            self._world.counts["a follower's read by a lease"] += 1
        return message

    def state(self, replica: Any) -> tuple[Any, ...]:
        return (replica.role, replica.term, replica.commit, replica.decided, replica.saved, replica.log.last)

    def turned(self, node: NodeId, replica: Any) -> None:
        assert isinstance(replica, Replica)
        self._look_at_log(node, replica.log)
        self._promises.turned(node, replica)
        self._invariants.observe(replica)
        self._look_at_leases(node, replica)

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
            leaseholder = self._replica(other)
            if leaseholder is not None and self._leases(other):
                assert replica.term <= leaseholder.term, (
                    f"n{node} commits {replica.commit} in term {replica.term}, "
                    f"and n{other} may read by its lease of term {leaseholder.term}"
                )

    def _leases(self, node: NodeId) -> bool:
        """May it read by its lease, at this instant of its clock?"""
        replica = self._replica(node)
        now = self._world.members[node].computer.clock_now()
        return replica is not None and isinstance(replica.role, Leader) and lease.holds(replica, replica.role, now)

    def _replica(self, node: NodeId) -> Replica | None:
        group = self._world.members[node].group
        if group is None:
            return None
        assert isinstance(group.engine, Replica)
        return group.engine

    def _look_at_log(self, node: NodeId, log: Log) -> None:
        """Has a later leader cut off what the log held?"""
        last, before = log.last, self._last[node]
        if last != before:
            self._last[node] = last
            if log.position_at(before.index) != before and before.index > log.base.index:
                self._world.counts["a conflict truncation"] += 1
                self._world.note(f"n{node} cut its log, which ended with {before}")
