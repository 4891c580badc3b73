"""What replicas say to one another, and what an acceptor must not forget.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.2, §3; van Renesse and Altinbuken, "Paxos Made Moderately Complex"
          (2015), Figures 2 to 7 (p1a, p1b, p2a, p2b); Chandra et al., "Paxos Made Live" (2007), §5.
Words:    a slot is an index of the log; a pvalue is a value accepted in a slot under a ballot; a slot is chosen once a
          quorum has accepted the same pvalue in it. The chosen prefix ends before the first slot not known as chosen.
Departs:  Prepare and Promise are for all slots at once. An Accept carries the values of several slots, and, without
          any, is a heartbeat; it tells how far everything is chosen. An acceptor answers for all slots of a message. A
          refusal names the ballot that was promised instead (PMMC's p1b and p2b do both).
Evidence: tests/consensus/multipaxos/test_messages.py.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ostraka.model.effects import Record, Why
from ostraka.model.events import Message
from ostraka.model.ids import Index, NodeId
from ostraka.model.requests import Entry, Members, SnapshotMeta

Slot = Index
"""A place in the sequence of commands. (PMMC §2)"""


class Ballot(NamedTuple):
    """Ballots are ordered: by round, then by who made it. (PMMC §2.1) One round is promised to one member only."""

    round: int
    node: NodeId


NONE = Ballot(0, 0)
"""Below every ballot."""

Schedule = tuple[tuple[Slot, Members], ...]
"""From which slot on each configuration decides, in ascending order."""


class PValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Under this ballot this value was accepted, in the slot that is the value's index. (PMMC §2.1)"""

    ballot: Ballot
    value: Entry


class PaxosMessage(Message, frozen=True, array_like=True, gc=False):
    """Each begins with a ballot: the sender's, or the one that is answered."""

    ballot: Ballot


class Canvass(PaxosMessage, frozen=True, gc=False, tag=1):
    """Would you promise this ballot? Asked before anybody's promise is moved."""


class Support(PaxosMessage, frozen=True, gc=False, tag=2):
    """The answer: yes. It binds nobody. A refusal is a Nack, or silence where a leader lives."""


class Prepare(PaxosMessage, frozen=True, gc=False, tag=3):
    """Phase 1a, for all slots from `first` on: the first that the sender does not know as chosen. (PMS §2.2; p1a)"""

    first: Slot
    handed_over: bool = False  # The leader itself asked for this, so nobody protects it.


class Promise(PaxosMessage, frozen=True, gc=False, tag=4):
    """Phase 1b: nothing below this ballot will be accepted any more, and this is what was. (PMS §2.2; p1b)

    `chosen`: the end of the sender's chosen prefix: what is up to it must be learnt, not proposed anew.
    """

    chosen: Slot
    accepted: tuple[PValue, ...]  # After it, and from `first` on.


class Accept(PaxosMessage, frozen=True, gc=False, tag=5):
    """Phase 2a: accept these values, in slots that follow on one another; or, without any, a heartbeat. (p2a)"""

    values: tuple[Entry, ...]
    chosen: Slot  # The end of the leader's chosen prefix. (PMMC's decisions)
    round: int  # The leader's read round, echoed by the answer.


class Accepted(PaxosMessage, frozen=True, gc=False, tag=6):
    """Phase 2b: all of these slots are accepted under this ballot, durably. (p2b) `last` below `first`: none."""

    first: Slot
    last: Slot
    chosen: Slot  # The end of the sender's chosen prefix.
    round: int


class Nack(PaxosMessage, frozen=True, gc=False, tag=7):
    """A ballot was refused; this one was promised."""


class Learn(PaxosMessage, frozen=True, gc=False, tag=8):
    """Tell me what was chosen from this slot on. (PMS §2.3)"""

    first: Slot


class Learned(PaxosMessage, frozen=True, gc=False, tag=9):
    """The answer: these were chosen, in a ballot no higher than this one."""

    values: tuple[Entry, ...]


class SnapshotOffer(PaxosMessage, frozen=True, gc=False, tag=10):
    """What you want to learn is no longer here one by one: pull this state."""

    meta: SnapshotMeta
    schedule: Schedule  # Which configurations decide after it.


class Forward(PaxosMessage, frozen=True, gc=False, tag=11):
    """A follower's batch for the leader of this ballot, and of no other. Never sent twice by the engine."""

    life: int
    number: int
    requests: bytes


class ForwardRefused(PaxosMessage, frozen=True, gc=False, tag=12):
    """The batch was not taken in, and never will be."""

    life: int
    number: int
    why: Why


class AskRead(PaxosMessage, frozen=True, gc=False, tag=13):
    """A follower asks for an index at which its reads up to this number are linearizable."""

    life: int  # So that an answer to an earlier life's question answers nothing.
    number: int


class ReadAnswer(PaxosMessage, frozen=True, gc=False, tag=14):
    """The answer, good for every read of that life up to this number."""

    life: int
    number: int
    index: Index


class TakeOver(PaxosMessage, frozen=True, gc=False, tag=15):
    """The leader of this ballot asks a follower that knows all that was chosen to prepare at once."""


class ForwardChange(PaxosMessage, frozen=True, gc=False, tag=16):
    """A follower's wish for other members, for the leader of this ballot, and of no other. Never sent twice."""

    life: int
    number: int  # Counted with its batches. A refusal is a ForwardRefused.
    members: Members
    base: Members | None


class MembersChanged(PaxosMessage, frozen=True, gc=False, tag=17):
    """The configuration that was wished for is in force."""

    life: int
    number: int


MultiPaxosMessage = (
    Canvass
    | Support
    | Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Learn
    | Learned
    | SnapshotOffer
    | Forward
    | ForwardRefused
    | AskRead
    | ReadAnswer
    | TakeOver
    | ForwardChange
    | MembersChanged
)


class HardState(Record, frozen=True, gc=False, tag=1):
    """What was promised, and which configurations decide from which slot on."""

    promised: Ballot
    schedule: Schedule


class Voted(Record, frozen=True, gc=False, tag=2):
    """This was accepted, or learnt as chosen: then it is as if it had been accepted under the ballot it was told by."""

    pvalue: PValue

    def mark(self) -> Index:
        return self.pvalue.value.index


class Installed(Record, frozen=True, gc=False, tag=3):
    """A state of this slot was installed: what was accepted up to it is settled."""

    slot: Slot

    def mark(self) -> Index:
        return self.slot


MultiPaxosRecord = HardState | Voted | Installed
