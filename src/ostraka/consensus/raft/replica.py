"""One replica: its state, the turn, and the restart.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figure 2.
Words:    a turn is one call of `step`; a life lasts from one `restore` to the next crash.
Departs:  entries are decided for the state machine only once they are durable here too. Saves are asynchronous: what a
          message promises is on disk before it leaves, because a Send names the save it waits for.
Evidence: tests/consensus/raft/test_restore.py, tests/consensus/test_engine_contract.py, all of invariants.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ostraka.consensus.quorum import Quorum, quorum_of
from ostraka.consensus.raft import (
    agreement,
    checkpoint,
    handover,
    leadership,
    loading,
    membership,
    messages,
    reads,
    refill,
    requests,
)
from ostraka.consensus.raft.handover import Handover
from ostraka.consensus.raft.lease import Leases
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.membership import Wish
from ostraka.consensus.raft.messages import HardState, Logged, Term
from ostraka.consensus.raft.reads import Asked
from ostraka.consensus.raft.refill import Refill
from ostraka.consensus.raft.requests import Waiting
from ostraka.consensus.raft.roles import Follower, Leader, Led, Role, Stopped
from ostraka.model import events
from ostraka.model.effects import Discarded, Effect, Lost, Record, Rejected, RoleChanged, Save, Send, Why
from ostraka.model.engine import Settings, Status
from ostraka.model.events import Event, Message
from ostraka.model.ids import Dice, Index, Instant, NodeId, SaveToken, Token, roll
from ostraka.model.requests import Entry, Members, Request, SnapshotMeta


@dataclass(slots=True)
class PendingSave:
    """A save under way. Once it is durable, so is the log up to `index`."""

    token: SaveToken
    index: Index
    issued: Instant


class Replica:
    """A deterministic state machine without I/O: see `ostraka.model.engine.Engine`.

    applied ≤ decided ≤ min(commit, saved) ≤ log.last.index, except that an installed snapshot moves all at once.
    """

    def __init__(
        self, me: NodeId, settings: Settings, dice: Dice, applied: SnapshotMeta, log: Log, now: Instant
    ) -> None:
        self.id = me
        self.settings = settings
        self.dice = dice
        self.now = now
        self.life = dice.getrandbits(62)

        # Persistent, by records.
        self.term: Term = 0
        self.voted_for: NodeId | None = None
        self.log = log

        # Volatile.
        self.role: Role = Follower()
        self.leader: NodeId = 0  # 0: nobody known.
        self.campaign_at: Instant | None = None
        self.commit: Index = applied.index
        self.decided: Index = applied.index  # The last entry in a `Commit`.
        self.applied = self.flushed = applied.index
        self.led = Led()
        self.refill: Refill | None = None  # Until this replica has its log back.
        self.handover: Handover | None = None  # Under way, or its outcome is not known yet.
        self.leases = Leases(grown=now)
        self.configurations: list[tuple[Index, Members]] = [(applied.index, applied.members)]
        self.members = applied.members
        self.peers: frozenset[NodeId] = frozenset()
        self.belongs = False  # To the latest configuration.
        self.quorum: Quorum = quorum_of(applied.members)

        # Saves.
        self.records: list[Record] = []  # Of this turn.
        self.last_save: SaveToken = 0
        self.term_save: SaveToken = 0  # The save under way that holds our term and vote, 0 if none does.
        self.saves: deque[PendingSave] = deque()
        self.saved: Index = log.last.index  # The log is durable up to here.
        self.loads = self.deciding = 0  # The last token of a Load, and that of the one for the state machine.

        # This replica's own callers.
        self.incoming: list[tuple[Token, Request]] = []  # Requests of this turn,
        self.held: dict[int, Waiting] = {}  # batches that wait for a leader,
        self.sent: dict[int, Waiting] = {}  # and batches given to one, by number.
        self.hold_until: Instant = 0  # The leader hands over: it takes in no batches until then.
        self.batches = 0
        self.wishes: dict[int, Wish] = {}  # For other members, given to a leader, by number.
        self.own_bytes = 0  # Held and sent.
        self.reading: list[Token] = []  # Reads of this turn,
        self.asked: deque[Asked] = deque()  # and those that wait for an answer.
        self.asks = 0
        self.ask_again_at: Instant | None = None  # None: as soon as a leader is known.

        # Snapshots.
        self.snapshot: SnapshotMeta | None = None  # The last one taken here.
        self.taking = False
        self.fetching: SnapshotMeta | None = None
        self.installing: SnapshotMeta | None = None

        self.out: list[Effect] = []
        membership.take_effect(self)

    # The turn.

    def step(self, happened: Sequence[Event], now: Instant) -> list[Effect]:
        """Take in all that happened in this turn, then do what is due."""
        assert now >= self.now, f"time went back from {self.now} to {now}"
        self.now = now
        for event in happened:
            ON_EVENT[type(event)](self, event)
        if not isinstance(self.role, Stopped):
            leadership.watch_the_time(self)
            requests.expire(self)
            if not self.belongs:
                membership.stay_outside(self)
            requests.submit(self)
            reads.submit(self)
            if isinstance(self.role, Leader):
                agreement.lead_on(self, self.role)
            agreement.decide(self)
            loading.shed(self)
            if self.refill is not None:
                refill.proceed(self, self.refill)
        effects, self.out = self.out, []
        if self.records:
            self.last_save += 1
            effects.insert(0, Save(self.last_save, tuple(self.records)))
            self.saves.append(PendingSave(self.last_save, self.log.last.index, now))
            self.records = []
        return effects

    @property
    def deadline(self) -> Instant | None:
        """The earliest of all that this replica waits for."""
        role = self.role
        if isinstance(role, Stopped):
            return None
        due = [requests.deadline(self), reads.deadline(self)]
        if self.handover is not None:
            due.append(self.handover.until)
        if self.refill is not None and not self.refill.over:
            due.append(self.refill.say_at)
        due += leadership.deadlines(self, role) if isinstance(role, Leader) else [self.campaign_at]
        return min((instant for instant in due if instant is not None), default=None)

    def status(self) -> Status:
        return Status(
            id=self.id,
            role=self.role.name,
            epoch=self.term,
            leader=self.leader,
            first=self.log.first,
            last=self.log.last.index,
            commit=self.commit,
            applied=self.applied,
            members=self.members,
            everyone=membership.everyone(self),
            configured=self.configurations[0][0],
            refilling=self.refilling,
        )

    @property
    def refilling(self) -> bool:
        """Would a crash after the saves issued so far leave a log that must be refilled?"""
        return self.refill is not None and not self.refill.over

    def hard_state(self) -> tuple[Record, ...]:
        """Term, vote and lease, and whether we refill. Where the log begins needs no record: see `restore`."""
        return (HardState(self.term, self.voted_for, self.leases.longest, self.refilling),)

    # What transitions are made of.

    def save(self, record: Record) -> None:
        """Make this durable; what is sent from here on waits for it."""
        self.records.append(record)

    def save_term(self) -> None:
        """Whoever hears our term from us, or our vote, must never see us in an earlier one. (Figure 2)"""
        self.save(HardState(self.term, self.voted_for, self.leases.longest, self.refilling))
        self.term_save = self.pending_save()

    def pending_save(self) -> SaveToken:
        """The token of the last save issued, this turn's included."""
        return self.last_save + 1 if self.records else self.last_save

    def send(self, to: NodeId, message: Message) -> None:
        """Send what is a promise: it leaves after all that was saved up to now."""
        self.out.append(Send((to,), message, self.pending_save()))

    def send_now(self, to: tuple[NodeId, ...], message: Message) -> None:
        """Send what promises nothing about our log: only our term must be durable, and mostly is."""
        self.out.append(Send(to, message, self.term_save))

    def discard(self, sender: NodeId, reason: str) -> None:
        self.out.append(Discarded(sender, reason))

    def rest(self) -> None:
        """Wait for one whole election timeout, newly drawn, before campaigning. (§5.2)"""
        timeout = self.settings.election_timeout
        self.campaign_at = self.now + timeout + roll(self.dice, timeout) if membership.may_campaign(self) else None

    def become(self, role: Role, leader: NodeId, term: Term | None = None) -> None:
        """Change role, and term if one is given; what was entrusted to a leader is lost with it."""
        if isinstance(self.role, Leader):
            self.led = Led(self.term, self.role.seen)
            if self.role.change is not None and self.role.change.token:
                self.out.append(Lost((self.role.change.token,)))
        if self.leader and (leader != self.leader or term is not None):
            self.lose_sent()
        if leader != self.leader:
            self.ask_again_at = None
            self.hold_until = 0
        if term is not None:
            assert term > self.term
            self.term = term
            self.voted_for = None
        self.role = role
        self.leader = leader
        self.out.append(RoleChanged(role.name, self.term, leader))
        if leader and self.handover is not None:
            handover.conclude(self, self.handover, leader)

    def adopt(self, term: Term) -> None:
        """A higher term was seen: follow in it, leader unknown. (§5.1)"""
        was_leader = isinstance(self.role, Leader)
        self.become(Follower(), 0, term)
        self.save_term()
        if was_leader:
            self.rest()

    def hear(self, leader: NodeId) -> Follower:
        """The leader of this term lives: follow it. (§5.2)"""
        role = self.role
        if type(role) is not Follower or role.leader != leader:
            role = Follower(leader)
            self.become(role, leader)
        role.heard = self.now
        if self.refill is not None:
            refill.heard(self, self.refill)
        self.rest()
        return role

    def lose_sent(self) -> None:
        """Nobody here can tell any more what becomes of the batches given to the leader."""
        tokens = tuple(token for waiting in self.sent.values() for token in waiting.tokens)
        tokens += tuple(wish.token for wish in self.wishes.values())
        self.wishes.clear()
        self.own_bytes -= sum(len(waiting.batch.requests) for waiting in self.sent.values())
        self.sent.clear()
        if tokens:
            self.out.append(Lost(tokens))

    def append(self, entries: Sequence[Entry]) -> None:
        """Add these entries to the log, here and on disk. A configuration counts from now on. (§6)"""
        self.log.extend(entries)
        self.leases.grown = self.now
        if isinstance(self.role, Leader):
            self.role.proposed.append((self.log.last.index, self.now))
        for entry in entries:
            self.records.append(Logged(entry))
            if entry.members is not None:
                self.configurations.append((entry.index, entry.members))
                membership.take_effect(self)

    def truncate(self, first: Index) -> None:
        """Remove the entry at `first` and all after it: they conflict with the leader's. (§5.3)

        No record is needed: the entry that takes the place says so. Saves under way make only what
        stays durable, even if an equal entry should come back at one of these indexes.
        """
        assert first > self.commit, f"entry {first} conflicts, but {self.commit} is committed"
        self.log.truncate(first)
        self.saved = min(self.saved, first - 1)
        for save in self.saves:
            save.index = min(save.index, first - 1)
        membership.roll_back(self, first)


# What happened, and who deals with it.


def on_receive(me: Replica, event: events.Receive) -> None:
    """If a message's term is higher, adopt it first. (Figure 2, Rules for All Servers)"""
    sender, message = event.sender, event.message
    if isinstance(me.role, Stopped):
        return
    handler = ON_MESSAGE.get(type(message))
    if handler is None:
        me.discard(sender, f"no such message: {type(message).__name__}")
    elif sender not in me.peers and sender != me.leader and type(message) not in FROM_ANYONE:
        me.discard(sender, "not a member")
    else:
        term: Term = message.term  # type: ignore[attr-defined]  # Every message of ours has one.
        if term <= me.term or leadership.on_higher_term(me, sender, message, term):
            handler(me, sender, message)


def on_wake(me: Replica, event: events.Wake) -> None:
    """Every turn looks at the time."""


def on_saved(me: Replica, event: events.Saved) -> None:
    """What we saved counts from now on: our own copy of entries, our own vote."""
    while me.saves and me.saves[0].token <= event.token:
        me.saved = max(me.saved, me.saves.popleft().index)
    if event.token >= me.term_save:
        me.term_save = 0
    assert me.saved <= me.log.last.index
    leadership.on_saved(me, event.token)
    if me.refill is not None:
        refill.on_saved(me, me.refill, event.token)
    if isinstance(me.role, Leader):
        me.role.recount = True


def on_save_failed(me: Replica, event: events.SaveFailed) -> None:
    """Stop: memory and disk differ now, and the disk is what a crash leaves."""
    if isinstance(me.role, Stopped):
        return
    me.lose_sent()
    me.become(Stopped(), 0)
    me.campaign_at = None
    me.records = []
    if me.handover is not None:
        handover.abandon(me)
    tokens = [token for waiting in me.held.values() for token in waiting.tokens]
    tokens += [token for asked in me.asked for token in asked.tokens]
    tokens += [token for token, _ in me.incoming] + me.reading
    me.held, me.asked, me.incoming, me.reading = {}, deque(), [], []
    if tokens:
        me.out.append(Rejected(tuple(tokens), Why.FINISHED))


def ignore(me: Replica, event: Event) -> None:
    """This engine never asks for what this would answer."""


ON_EVENT: dict[type[Event], Callable[[Replica, Any], None]] = {
    events.Receive: on_receive,
    events.Wake: on_wake,
    events.Saved: on_saved,
    events.SaveFailed: on_save_failed,
    events.Propose: requests.on_propose,
    events.Read: reads.on_read,
    events.ChangeMembers: membership.on_change_members,
    events.TransferLeadership: handover.on_transfer,
    events.ForgetLeader: leadership.on_forget_leader,
    events.Applied: checkpoint.on_applied,
    events.SnapshotTaken: checkpoint.on_taken,
    events.SnapshotFetched: checkpoint.on_fetched,
    events.SnapshotInstalled: checkpoint.on_installed,
    events.LinkUp: agreement.on_link,
    events.LinkDown: agreement.on_link,
    events.Loaded: loading.on_loaded,
    events.Verified: ignore,
}

ON_MESSAGE: dict[type[Message], Callable[[Replica, NodeId, Any], None]] = {
    messages.AskPreVote: leadership.on_ask_pre_vote,
    messages.PreVote: leadership.on_pre_vote,
    messages.RequestVote: leadership.on_request_vote,
    messages.Vote: leadership.on_vote,
    messages.Append: agreement.on_append,
    messages.Appended: agreement.on_appended,
    messages.SnapshotOffer: checkpoint.on_offer,
    messages.Forward: requests.on_forward,
    messages.ForwardRefused: requests.on_forward_refused,
    messages.AskRead: reads.on_ask_read,
    messages.ReadAnswer: reads.on_read_answer,
    messages.TimeoutNow: handover.on_timeout_now,
    messages.Claim: handover.on_claim,
    messages.ForwardChange: requests.on_forward,
    messages.MembersChanged: membership.on_members_changed,
    messages.End: refill.on_end,
    messages.Refilling: refill.on_refilling,
}

FROM_ANYONE = frozenset({messages.AskPreVote, messages.RequestVote, messages.Append, messages.SnapshotOffer})
"""Who votes, and who accepts entries, need not know yet that the sender is a member, nor that it is one itself. (§6)"""
