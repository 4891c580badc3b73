"""What the judge looks at in members that run Multi-Paxos: its invariants, and what its members have told others.

Evidence that every Save was durable before the Send that told of it: the messages themselves are the promises. (Paxos
Made Simple, §2.5: "An acceptor records its intended response in stable storage before actually sending the response.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostraka.consensus.multipaxos.invariants import Invariants
from ostraka.consensus.multipaxos.messages import (
    NONE,
    Accept,
    Accepted,
    Ballot,
    MultiPaxosMessage,
    Prepare,
    Promise,
    Slot,
)
from ostraka.consensus.multipaxos.replica import Replica
from ostraka.model.ids import NodeId
from ostraka.model.requests import Entry, Kind
from ostraka.transport import wire

if TYPE_CHECKING:
    from ostraka.simulation.world import World

SOME: Final = Ballot(1, 0)  # As low as a ballot can be.

_decode = msgspec.msgpack.Decoder(MultiPaxosMessage).decode


class MultiPaxosWitness:
    """Implements `judge.Witness`."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._invariants: Final = Invariants()
        self._promised: Final[dict[NodeId, Ballot]] = {}  # The highest that each has told of, in a 1b or 2b.
        self._accepted: Final[dict[NodeId, dict[Slot, Ballot]]] = {}  # And what it told to have accepted.
        self._made: Final[dict[NodeId, Ballot]] = {}  # The highest ballot that each has prepared or proposed under,
        self._earlier: Final[dict[NodeId, Ballot]] = {}  # in its earlier lives.
        self._asked: Final[dict[Ballot, Slot]] = {}  # From which slot on phase 1 of a ballot asked, at most.
        self._value: Final[dict[tuple[Slot, Ballot], Entry]] = {}  # What was proposed.
        self._last: Final[dict[Slot, Entry]] = {}  # The latest of it.

    def began(self, node: NodeId, replica: Any) -> None:
        """A new life must know what the ones before have told."""
        assert isinstance(replica, Replica)
        promised = self._promised.get(node, NONE)
        assert replica.promised >= promised, f"n{node} has promised {promised}, and remembers {replica.promised}"
        accepted = self._accepted.setdefault(node, {})
        for slot in [slot for slot in accepted if slot <= replica.log.base]:
            del accepted[slot]
        for slot, ballot in accepted.items():
            pvalue = replica.log.get(slot)
            assert pvalue is not None and pvalue.ballot >= ballot, (
                f"n{node} has accepted slot {slot} under {ballot}, and remembers {pvalue}"
            )
        self._earlier[node] = self._made.get(node, NONE)
        self._invariants.observe(replica)

    def died(self, node: NodeId) -> None:
        """What it told others outlives it."""

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> Any:
        said = wire.decode_frame(frame)
        if not isinstance(said, wire.Said):
            return None
        message = _decode(said.message)
        match message:
            case Prepare():
                self._makes(node, message.ballot)
                self._asked[message.ballot] = max(self._asked.get(message.ballot, 0), message.first)
            case Promise():
                self._promises(node, message)
            case Accept():
                self._makes(node, message.ballot)
                for value in message.values:
                    self._proposes(node, message.ballot, value)
            case Accepted() if message.first <= message.last:
                self._accepts(node, message)
        return message

    def state(self, replica: Any) -> tuple[Any, ...]:
        return (replica.role, replica.last_save, replica.now_saved, replica.chosen, replica.decided)

    def turned(self, node: NodeId, replica: Any) -> None:
        assert isinstance(replica, Replica)
        self._invariants.observe(replica)

    def _makes(self, node: NodeId, ballot: Ballot) -> None:
        """Ballots are their makers' own, and of one life. (PMMC §2.1)"""
        assert ballot.node == node, f"n{node} makes {ballot}"
        earlier = self._earlier.get(node, NONE)
        assert ballot > earlier, f"n{node} makes {ballot}, and made {earlier} in an earlier life"
        self._made[node] = max(self._made.get(node, NONE), ballot)

    def _proposes(self, node: NodeId, ballot: Ballot, value: Entry) -> None:
        """Under one ballot one value is proposed in a slot. (PMMC, C1)"""
        slot = value.index
        first = self._value.setdefault((slot, ballot), value)
        assert first == value, f"n{node} proposes {value} under {ballot}, under which it proposed {first}"
        before = self._last.get(slot)
        if before is not None and before.epoch != ballot.round:
            if before.batches and before == value:
                self._world.counts["a value proposed again"] += 1
            elif before.batches and value.kind is Kind.NOOP:
                self._world.counts["a no-op in a hole"] += 1
        self._last[slot] = value

    def _promises(self, node: NodeId, message: Promise) -> None:
        """A 1b tells all that was accepted. (PMS §2.2; PMMC §2.2)"""
        self._promised[node] = max(self._promised.get(node, NONE), message.ballot)
        told = {pvalue.value.index: pvalue.ballot for pvalue in message.accepted}
        after = max(message.chosen, self._asked.get(message.ballot, 0) - 1)
        for slot, ballot in self._accepted.get(node, {}).items():
            assert slot <= after or told.get(slot, NONE) >= ballot, (
                f"n{node} has accepted slot {slot} under {ballot}, and tells {message.ballot} of {told.get(slot)}"
            )

    def _accepts(self, node: NodeId, message: Accepted) -> None:
        """Nothing is accepted below what was promised. (PMS §2.2; PMMC, A2)

        Of a slot that it knows as chosen an acceptor may keep the pvalue of a lower ballot: the value is the same.
        """
        promised = self._promised.get(node, NONE)
        assert message.ballot >= promised, f"n{node} accepts under {message.ballot}, and has promised {promised}"
        self._promised[node] = message.ballot
        accepted = self._accepted.setdefault(node, {})
        for slot in range(message.first, message.last + 1):
            accepted[slot] = max(accepted.get(slot, SOME), message.ballot if slot > message.chosen else SOME)
