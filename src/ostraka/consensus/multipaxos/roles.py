"""What a replica is at a time, beside an acceptor and a learner, which it always is.

Follows:  van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015), §2 (leaders, scouts and commanders).
Words:    a candidate is a leader with a scout under way (phase 1); open proposals are a leader's commanders (phase 2).
Departs:  a canvasser comes before a candidate: it asks whether phase 1 could succeed. A leader that is told of chosen
          slots which it lacks learns them first.
Evidence: tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from ostraka.consensus.callers import Seen
from ostraka.consensus.multipaxos.messages import NONE, Ballot, Promise, PValue, Slot
from ostraka.model.ids import ClusterTime, Instant, NodeId, SaveToken, Token
from ostraka.model.requests import Batch, Entry, Members


@dataclass(slots=True)
class Follower:
    """Accepts what a leader proposes. `leader` 0: nobody is known to lead the promised ballot."""

    name: ClassVar[str] = "follower"
    leader: NodeId = 0
    heard: Instant = 0  # When the leader was last heard from.
    round: int = 0  # The last read round that was acknowledged ahead of the values that it came with.


@dataclass(slots=True)
class Canvasser:
    """Asks whether enough would promise, before it disturbs anybody."""

    name: ClassVar[str] = "pre-candidate"
    ballot: Ballot
    supporters: set[NodeId]


@dataclass(slots=True)
class Candidate:
    """Phase 1: a scout. Its own promise counts once save `prepared` is durable."""

    name: ClassVar[str] = "candidate"
    ballot: Ballot
    prepared: SaveToken
    promises: dict[NodeId, Promise] = field(default_factory=dict)


@dataclass(slots=True)
class Stopped:
    """The disk failed: nothing that this replica could say would be true after a crash."""

    name: ClassVar[str] = "stopped"


@dataclass(slots=True)
class Proposal:
    """Phase 2 of one slot: a commander."""

    value: Entry
    size: int  # Bytes that count as uncommitted.
    accepted: set[NodeId] = field(default_factory=set)


@dataclass(slots=True)
class Progress:
    """What the leader knows of one other member."""

    heard: Instant
    chosen: Slot = 0  # The end of its chosen prefix, as it said.
    round: int = 0  # The last read round that it echoed.
    told: Slot = 0  # The end of our chosen prefix that it was last told.
    resend_at: Instant = 0  # What it has not accepted by then is sent again.


@dataclass(slots=True)
class Change:
    """A configuration that was asked for, on its way."""

    target: Members
    token: Token = 0  # Of our own caller,
    asker: tuple[NodeId, int, int] | None = None  # or the member, its life and its number.
    added: tuple[NodeId, ...] = ()  # Learners that this change brought in.
    rounds: int = 0  # Of catching up: this one began at that instant, and ends when all new voters have the goal.
    since: Instant = 0
    goal: Slot = 0
    entered: Slot = 0  # The slot in which the next configuration was proposed.


Origin = tuple[NodeId, int]
"""A node and its life."""


@dataclass(slots=True)
class Leader:
    """A quorum has promised its ballot: it proposes.

    Every slot before `next` that is not chosen is open. No slot is proposed before a quorum of the configuration that
    decides it has promised, and what it may have accepted is taken over.
    """

    name: ClassVar[str] = "leader"
    ballot: Ballot
    promised: set[NodeId]  # Who has promised this ballot.
    recovered: dict[Slot, PValue]  # What was accepted under lower ballots, and must be proposed again. (pmax)
    learn_upto: Slot  # So far everything is known to be chosen, here or elsewhere,
    source: NodeId  # and by this one.
    learnt: Slot  # What was chosen here when we last learnt,
    learnt_at: Instant  # and when.
    next: Slot  # The next slot to propose in.
    since: Instant  # When it began to lead, and
    clock: ClusterTime  # what cluster time was then.
    progress: dict[NodeId, Progress]  # Of every other member, in ascending order.
    heartbeat_at: Instant
    quorum_at: Instant  # Step down then, unless a quorum has been heard from.
    recovered_upto: Slot = 0  # The highest slot in which something was.
    open: dict[Slot, Proposal] = field(default_factory=dict)  # Proposed and not chosen, in ascending order.
    unsent: Slot = 0  # The first slot that was proposed in this turn; 0: none was.

    # Requests (agreement).
    gathered: deque[Batch] = field(default_factory=deque)  # Taken in, not yet proposed.
    gathered_bytes: int = 0
    cut_at: Instant = 0  # When the last value was made of some.
    uncommitted: int = 0  # Bytes gathered or open.
    callers: dict[NodeId, Slot] = field(default_factory=dict)  # The last slot with a batch of this follower's.
    seen: dict[Origin, Seen] = field(default_factory=dict)
    change: Change | None = None  # Of members, as it was asked for.

    # Reads.
    round: int = 0
    asks: dict[NodeId, tuple[int, int]] = field(default_factory=dict)  # (life, number) of who waits for the next round,
    asking: dict[NodeId, tuple[int, int]] = field(default_factory=dict)  # and for the one under way,
    read_index: Slot = 0  # which answers with this.

    beat: bool = False  # Every follower must hear from us in this turn.
    recount: bool = False  # Somebody has accepted something in this turn.


Role = Follower | Canvasser | Candidate | Leader | Stopped


@dataclass(slots=True)
class Led:
    """The last ballot that this replica led, and which forwards it took in: what it can still answer for."""

    ballot: Ballot = NONE
    seen: dict[Origin, Seen] = field(default_factory=dict)
