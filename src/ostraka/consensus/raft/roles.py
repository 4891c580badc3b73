"""What a replica is at a time, and what it knows only while it is that.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figures 2, 4; his thesis §4.2.1.
Words:    a follower's progress is the leader's nextIndex and matchIndex for it.
Departs:  a pre-candidate comes before a candidate (thesis §9.6); a replica whose disk failed has stopped.
Evidence: tests/consensus/raft/test_agreement.py, tests/consensus/raft/test_requests.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from ostraka.consensus.raft.messages import Term
from ostraka.model.engine import Settings
from ostraka.model.ids import ClusterTime, Index, Instant, NodeId, SaveToken, Token
from ostraka.model.requests import Batch, Members


@dataclass(slots=True)
class Follower:
    """Answers leaders and candidates. `leader` 0: nobody is known to lead this term."""

    name: ClassVar[str] = "follower"
    leader: NodeId = 0
    heard: Instant = 0  # When the leader was last heard from.
    round: int = 0  # The last read round that was acknowledged ahead of the entries that it came with.
    claim_at: Instant = 0  # When to claim leadership again, if some come before others.


@dataclass(slots=True)
class PreCandidate:
    """Asks whether it could win before it raises its term. (Thesis §9.6)"""

    name: ClassVar[str] = "pre-candidate"
    votes: set[NodeId]


@dataclass(slots=True)
class Candidate:
    """Asks for votes. Its own is cast once save `vote_saved` is durable."""

    name: ClassVar[str] = "candidate"
    vote_saved: SaveToken
    votes: set[NodeId] = field(default_factory=set)


@dataclass(slots=True)
class Stopped:
    """The disk failed: nothing that this replica could say would be true after a crash."""

    name: ClassVar[str] = "stopped"


@dataclass(slots=True)
class Progress:
    """What the leader knows of one other member. `match` < `next` always.

    While probing, one message is under way, and `next` moves only with answers. Afterwards
    messages are pipelined: `next` moves when they are sent, within the window.
    """

    next: Index
    heard: Instant
    match: Index = 0
    probing: bool = True
    awaiting: bool = False  # Probing, and the probe isn't answered.
    round: int = 0  # The last read round that it echoed.
    loading: Token = 0  # Of the entries that it waits for, if memory doesn't hold them.
    told: Index = 0  # The commit index that the last message to it carried.
    in_flight: deque[tuple[Index, int]] = field(default_factory=deque)  # The last index and the bytes of each message.
    in_flight_bytes: int = 0

    def may_send(self, settings: Settings) -> bool:
        """Is there room in the window?"""
        if self.probing:
            return not self.awaiting
        return len(self.in_flight) < settings.max_in_flight and self.in_flight_bytes < settings.max_in_flight_bytes

    def sent(self, last: Index, size: int) -> None:
        """A message with entries up to `last` left."""
        if self.probing:
            self.awaiting = True
        else:
            self.next = last + 1
            self.in_flight.append((last, size))
            self.in_flight_bytes += size

    def matches(self, index: Index) -> None:
        """The follower durably holds our log up to `index`."""
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        while self.in_flight and self.in_flight[0][0] <= self.match:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def probe(self, next_index: Index) -> None:
        """Messages may be lost, or the logs differ: go on from here, one message at a time."""
        self.next = max(next_index, self.match + 1)
        self.probing = True
        self.awaiting = False
        self.in_flight.clear()
        self.in_flight_bytes = 0


NUMBERS_REMEMBERED = 1024


@dataclass(slots=True)
class Seen:
    """Which numbers of one origin's life have come, so that a doubled forward is taken in once.

    Numbers far below the highest count as seen: better lost than executed twice.
    """

    highest: int = 0
    mask: int = 0  # Bit i stands for highest - i.

    def first_time(self, number: int) -> bool:
        """Has this number not come before? It has now."""
        behind = self.highest - number
        if behind < 0:
            kept = self.mask << -behind if -behind < NUMBERS_REMEMBERED else 0
            self.mask = (kept | 1) & ((1 << NUMBERS_REMEMBERED) - 1)
            self.highest = number
            return True
        if behind >= NUMBERS_REMEMBERED or self.mask >> behind & 1:
            return False
        self.mask |= 1 << behind
        return True


@dataclass(slots=True)
class Change:
    """A configuration that was asked for, on its way."""

    target: Members
    token: Token = 0  # Of our own caller,
    asker: tuple[NodeId, int, int] | None = None  # or the member, its life and its number.
    added: tuple[NodeId, ...] = ()  # Learners that this change brought in.
    rounds: int = 0  # Of catching up: this one began at that instant, and ends when all new voters have the goal.
    since: Instant = 0
    goal: Index = 0


Origin = tuple[NodeId, int]
"""A node and its life."""


@dataclass(slots=True)
class Leader:
    """Takes requests in, replicates them, and decides what is committed."""

    name: ClassVar[str] = "leader"
    first: Index  # The first entry of this term: nothing is known to be committed, nor read, before it is.
    since: Instant  # When it began to lead, and
    clock: ClusterTime  # what cluster time was then.
    progress: dict[NodeId, Progress]  # Of every other member, in ascending order.
    heartbeat_at: Instant
    quorum_at: Instant  # Step down then, unless a quorum has been heard from.
    commits_at: Instant  # Nothing is committed before: an earlier leader may still read by its lease.

    # Requests (agreement).
    gathered: list[Batch] = field(default_factory=list)  # Taken in, not yet in the log.
    gathered_bytes: int = 0
    cut_at: Instant = 0  # When the last entry was cut.
    uncommitted: int = 0  # Bytes gathered or in entries of ours that aren't committed.
    entry_sizes: deque[tuple[Index, int]] = field(default_factory=deque)  # Of those entries.
    callers: dict[NodeId, Index] = field(default_factory=dict)  # The last entry that holds a batch of this follower's.
    seen: dict[Origin, Seen] = field(default_factory=dict)
    change: Change | None = None  # Of members, as it was asked for.

    claims: dict[NodeId, int] = field(default_factory=dict)  # Who comes before us, with their priority.
    yield_at: Instant = 0  # When to try again to hand over to one of them.

    # Reads.
    round: int = 0
    asks: dict[NodeId, tuple[int, int]] = field(default_factory=dict)  # (life, number) of who waits for the next round,
    asking: dict[NodeId, tuple[int, int]] = field(default_factory=dict)  # and for the one under way,
    read_index: Index = 0  # which answers with this.

    proposed: deque[tuple[Index, Instant]] = field(default_factory=deque)  # Entries of ours that aren't committed.
    lease_from: Instant | None = None  # When the last committed one was proposed.

    beat: bool = False  # Every follower must hear from us in this turn.
    recount: bool = False  # A match index has moved in this turn.


Role = Follower | PreCandidate | Candidate | Leader | Stopped


@dataclass(slots=True)
class Led:
    """The last term that this replica led, and which forwards it took in: what it can still answer for."""

    term: Term = -1  # None yet in this life.
    seen: dict[Origin, Seen] = field(default_factory=dict)
