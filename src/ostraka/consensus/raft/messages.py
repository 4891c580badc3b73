"""What replicas say to one another, and what a replica must not forget.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figure 2 (RPCs and persistent
          state), Figure 13 (InstallSnapshot); Ongaro's thesis §9.6 (PreVote), §6.4 (ReadIndex), §3.10
          (TimeoutNow); LeaseGuard (arXiv 2512.15659).
Words:    RequestVote and its answer Vote; Append and Appended are AppendEntries and its answer; a term is an epoch.
Departs:  requests and answers are separate one-way messages, each with its sender's term first, so that a higher term
          is treated in one place. A heartbeat is an Append without entries, and carries `prev` like any other. A
          snapshot is offered by a message and pulled beside the engine. Followers forward what their clients ask.
Evidence: tests/consensus/raft/test_messages.py.
"""

from __future__ import annotations

from ostraka.model.effects import Record, Why
from ostraka.model.events import Message
from ostraka.model.ids import ORIGIN, Duration, Epoch, Index, NodeId, Position
from ostraka.model.requests import Entry, Members, SnapshotMeta

Term = Epoch
"""Raft's word for an epoch."""


class AskPreVote(Message, frozen=True, gc=False, tag=1):
    """Would you vote for me in this term? Asked before any term is raised. (Thesis §9.6)"""

    term: Term  # The one that the sender would campaign in: its own and one.
    last: Position  # Where its log ends.


class PreVote(Message, frozen=True, gc=False, tag=2):
    """The answer. It binds nobody, so nothing is saved for it."""

    term: Term  # Granted: the term asked about. Refused: the voter's own, so that a stale asker learns it.
    granted: bool


class RequestVote(Message, frozen=True, gc=False, tag=3):
    """A candidate asks for a vote. (Figure 2)"""

    term: Term
    last: Position  # Where the candidate's log ends.
    handed_over: bool = False  # The leader itself asked for this campaign, so nobody protects it. (Thesis §3.10)


class Vote(Message, frozen=True, gc=False, tag=4):
    """The answer. A refusal is sent too: it tells a stale candidate the term."""

    term: Term
    granted: bool


class Append(Message, frozen=True, gc=False, tag=5):
    """A leader replicates entries, or, without entries, says that it lives. (Figure 2, AppendEntries)"""

    term: Term
    prev: Position  # The entry just before these; the follower must hold it.
    entries: tuple[Entry, ...]
    commit: Index  # The leader's commit index, in a heartbeat no higher than what the follower is known to hold.
    round: int  # The leader's read round, echoed by the answer.
    lease: Duration = 0  # For so long after it was proposed somebody may read by one of these, or by one before.


class Appended(Message, frozen=True, gc=False, tag=6):
    """The answer to Append, and what a follower says after it installed a snapshot."""

    term: Term
    ok: bool
    match: Index  # ok: the logs agree up to here, durably. Not ok: the index of the `prev` that was not found.
    round: int
    conflict: Position = ORIGIN  # Not ok: the term found at `prev` and its first index; or (0, where the log ends + 1).
    life: int = 0  # Of one that refills: it may have lost what it acknowledged, and asks where the log ends. Else 0.


class SnapshotOffer(Message, frozen=True, gc=False, tag=7):
    """The log begins too late for you: pull this state. (§7; replaces InstallSnapshot)"""

    term: Term
    meta: SnapshotMeta
    lease: Duration = 0  # As in Append.


class Forward(Message, frozen=True, gc=False, tag=8):
    """A follower's batch for the leader of this term, and of no other. Never sent twice by the engine."""

    term: Term
    life: int
    number: int
    requests: bytes


class ForwardRefused(Message, frozen=True, gc=False, tag=9):
    """The batch was not taken in, and never will be."""

    term: Term
    life: int
    number: int
    why: Why


class AskRead(Message, frozen=True, gc=False, tag=10):
    """A follower asks for an index at which its reads up to this number are linearizable. (Thesis §6.4)"""

    term: Term
    life: int  # So that an answer to an earlier life's question answers nothing.
    number: int


class ReadAnswer(Message, frozen=True, gc=False, tag=11):
    """The answer, good for every read of that life up to this number."""

    term: Term
    life: int
    number: int
    index: Index


class TimeoutNow(Message, frozen=True, gc=False, tag=12):
    """The leader of this term asks a follower that has its whole log to campaign at once. (Thesis §3.10)"""

    term: Term
    last: Position = ORIGIN  # Where that log ends: the leader reads by no entry up to here any more. (LeaseGuard)


class ForwardChange(Message, frozen=True, gc=False, tag=13):
    """A follower's wish for other members, for the leader of this term, and of no other. Never sent twice."""

    term: Term
    life: int
    number: int  # Counted with its batches. A refusal is a ForwardRefused.
    members: Members
    base: Members | None


class MembersChanged(Message, frozen=True, gc=False, tag=14):
    """The configuration that was wished for is committed."""

    term: Term
    life: int
    number: int


class Claim(Message, frozen=True, gc=False, tag=15):
    """A voter would lead rather than any of lower priority."""

    term: Term
    priority: int


class End(Message, frozen=True, gc=False, tag=20):
    """The leader's log ends here: the answer to a replica whose life refills. (FAST '18)"""

    term: Term
    life: int
    last: Index


class Refilling(Message, frozen=True, gc=False, tag=21):
    """The sender refills, and hears from no leader. It binds nobody: those that refill count one another."""

    term: Term


RaftMessage = (
    AskPreVote
    | PreVote
    | RequestVote
    | Vote
    | Append
    | Appended
    | SnapshotOffer
    | Forward
    | ForwardRefused
    | AskRead
    | ReadAnswer
    | TimeoutNow
    | ForwardChange
    | MembersChanged
    | Claim
    | End
    | Refilling
)


class HardState(Record, frozen=True, gc=False, tag=1):
    """`currentTerm` and `votedFor`: one record, so that neither is ever durable without the other. (Figure 2)

    `lease` is for how long somebody may read by an entry in the log. (LeaseGuard)
    """

    term: Term
    voted_for: NodeId | None
    lease: Duration = 0
    refilling: bool = False  # The log was damaged, and is not whole again.


class Logged(Record, frozen=True, gc=False, tag=2):
    """The log now ends with this entry: what was at its index or after it is gone."""

    entry: Entry

    def mark(self) -> Index:
        return self.entry.index


class Installed(Record, frozen=True, gc=False, tag=3):
    """The log begins anew after this position, unless it holds the very entry. (§7)"""

    position: Position

    def mark(self) -> Index:
        return self.position.index


RaftRecord = HardState | Logged | Installed
