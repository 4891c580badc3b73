"""One replica: acceptor, learner and, at times, leader; its state, the turn.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.5, §3; van Renesse and Altinbuken, "Paxos Made Moderately Complex"
          (2015), §2; Chandra et al., "Paxos Made Live" (2007), §5.
Words:    a turn is one call of `step`; a life lasts from one `restore` to the next crash; an epoch is a ballot's round.
Departs:  all roles in one process. Saves are asynchronous: a promise and an acceptance are on disk before they leave,
          because a Send names the save it waits for. Values are handed on only once they are durable here, too.
Evidence: tests/consensus/test_engine_contract.py, all of invariants.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ostraka.consensus.callers import Callers
from ostraka.consensus.multipaxos import (
    agreement,
    checkpoint,
    handover,
    leadership,
    membership,
    messages,
    reads,
    requests,
)
from ostraka.consensus.multipaxos.handover import Handover
from ostraka.consensus.multipaxos.log import Log
from ostraka.consensus.multipaxos.membership import Wish
from ostraka.consensus.multipaxos.messages import Ballot, HardState, PaxosMessage, PValue, Schedule, Slot, Voted
from ostraka.consensus.multipaxos.roles import Follower, Leader, Led, Role, Stopped
from ostraka.consensus.quorum import Quorum
from ostraka.model import events
from ostraka.model.effects import Discarded, Effect, Lost, Record, Rejected, RoleChanged, Save, Send, Why
from ostraka.model.engine import Settings, Status
from ostraka.model.events import Event, Message
from ostraka.model.ids import Dice, Instant, NodeId, SaveToken, roll
from ostraka.model.requests import Members, SnapshotMeta


@dataclass(slots=True)
class PendingSave:
    """A save under way."""

    token: SaveToken
    issued: Instant


@dataclass(slots=True)
class States:
    """What is under way with states of the machine."""

    snapshot: SnapshotMeta | None = None  # The last one taken here.
    taking: bool = False
    offer_to: set[NodeId] = field(default_factory=set)  # Who waits for it.
    fetching: tuple[SnapshotMeta, Schedule] | None = None
    installing: SnapshotMeta | None = None
    install_after: SaveToken = 0


class Replica:
    """A deterministic state machine without I/O: see `ostraka.model.engine.Engine`.

    applied ≤ decided ≤ chosen; every slot up to `chosen` and after the log's base has a pvalue.
    """

    def __init__(
        self,
        me: NodeId,
        settings: Settings,
        dice: Dice,
        applied: SnapshotMeta,
        promised: Ballot,
        schedule: Schedule,
        log: Log,
        now: Instant,
    ) -> None:
        self.id = me
        self.settings = settings
        self.dice = dice
        self.now = now
        self.life = dice.getrandbits(62)
        self.out: list[Effect] = []

        # Persistent, by records.
        self.promised = promised
        self.schedule: list[tuple[Slot, Members]] = list(schedule)  # From which slot on each configuration decides.
        self.log = log

        # Volatile.
        self.role: Role = Follower()
        self.campaign_at: Instant | None = None
        self.highest_round = promised.round  # Of any ballot heard of.
        self.chosen: Slot = applied.index  # The end of the prefix that is known to be chosen.
        self.decided: Slot = applied.index  # The last value in a `Commit`,
        self.decided_epoch = applied.epoch  # and what it was raised to.
        self.decided_stamp = applied.stamp
        self.applied: Slot = applied.index
        self.flushed: Slot = applied.index
        self.learn_again_at: Instant = 0
        self.led = Led()
        self.handover: Handover | None = None  # Under way, or its outcome is not known yet.

        self.decides = False  # Is it a voter of a configuration that decides, or will?
        self.members = applied.members  # Everybody in a configuration that decides, or will.
        self.peers: frozenset[NodeId] = frozenset()
        self.quorums: dict[Members, tuple[Quorum, Quorum]] = {}

        # Saves.
        self.records: list[Record] = []  # Of this turn.
        self.last_save: SaveToken = 0
        self.now_saved: SaveToken = 0
        self.promise_save: SaveToken = 0  # The save under way that holds our promise, 0 if none does.
        self.saves: deque[PendingSave] = deque()
        self.unsaved: dict[
            Slot, SaveToken
        ] = {}  # Slots with something that isn't durable, and the save that is for it.

        self.callers = Callers(me, self.life, settings, self.out)
        self.wishes: dict[int, Wish] = {}  # For other members, given to a leader, by number.

        self.states = States()
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
            self.callers.expire(now)
            membership.lose_wishes(self, now)
            self.callers.submit(now, lambda batch: requests.give(self, batch))
            self.callers.ask(now, lambda number: reads.ask(self, number))
            if isinstance(self.role, Leader):
                agreement.lead_on(self, self.role)
            agreement.decide(self)
            checkpoint.proceed(self)
        effects = self.out[:]
        self.out.clear()
        if self.records:
            self.last_save += 1
            effects.insert(0, Save(self.last_save, tuple(self.records)))
            self.saves.append(PendingSave(self.last_save, now))
            self.records = []
        return effects

    @property
    def deadline(self) -> Instant | None:
        """The earliest of all that this replica waits for."""
        role = self.role
        if isinstance(role, Stopped):
            return None
        due = self.callers.deadlines()
        if self.handover is not None:
            due.append(self.handover.until)
        if self.wishes:
            due.append(next(iter(self.wishes.values())).expires)
        if isinstance(role, Leader):
            due += leadership.deadlines(self, role)
        elif self.campaign_at is not None:
            due.append(self.campaign_at)
        return min(due, default=None)

    def status(self) -> Status:
        return Status(
            id=self.id,
            role=self.role.name,
            epoch=self.promised.round,
            leader=self.leader,
            first=self.log.first,
            last=self.log.last,
            commit=self.chosen,
            applied=self.applied,
            members=self.schedule[-1][1],
            everyone=self.members.everyone(),
            configured=self.schedule[-1][0],
        )

    def hard_state(self) -> tuple[Record, ...]:
        """The promise, and who decides. Where the log begins needs no record: see `restore`."""
        return (HardState(self.promised, tuple(self.schedule)),)

    @property
    def leader(self) -> NodeId:
        """Who leads the promised ballot; 0: nobody known."""
        return self.callers.leader

    # What transitions are made of.

    def save(self, record: Record) -> None:
        """Make this durable; what is sent from here on waits for it."""
        self.records.append(record)

    def save_promise(self) -> None:
        """Whoever hears our promise must never see us with a lower one. (PMS §2.5)"""
        self.save(HardState(self.promised, tuple(self.schedule)))
        self.promise_save = self.pending_save()

    def promise(self, ballot: Ballot) -> None:
        """Accept nothing below this ballot any more."""
        assert ballot > self.promised
        self.promised = ballot
        self.highest_round = max(self.highest_round, ballot.round)
        self.save_promise()

    def accept(self, pvalue: PValue) -> None:
        """This is what we accept in its slot, here and on disk."""
        self.log.put(pvalue)
        self.save(Voted(pvalue))
        self.unsaved[pvalue.value.index] = self.pending_save()

    def pending_save(self) -> SaveToken:
        """The token of the last save issued, this turn's included."""
        return self.last_save + 1 if self.records else self.last_save

    def send(self, to: NodeId, message: Message) -> None:
        """Send what is a promise: it leaves after all that was saved up to now."""
        self.out.append(Send((to,), message, self.pending_save()))

    def send_now(self, to: tuple[NodeId, ...], message: Message) -> None:
        """Send what promises nothing about values: only our ballot must be durable, and mostly is."""
        self.out.append(Send(to, message, self.promise_save))

    def discard(self, sender: NodeId, reason: str) -> None:
        self.out.append(Discarded(sender, reason))

    def rest(self) -> None:
        """Wait for one whole election timeout, newly drawn, before canvassing. (PMMC §3)

        Proposers need not be acceptors: one that decides nothing (any more) waits for longer, but it may be the only
        one who knows which configuration is in force, and then has to tell its members.
        """
        timeout = self.settings.election_timeout
        if not self.decides:
            timeout *= membership.PATIENCE
        knows = any(members.voters for _, members in self.schedule)
        self.campaign_at = self.now + timeout + roll(self.dice, timeout) if knows else None

    def become(self, role: Role, leader: NodeId) -> None:
        """Change role; what was entrusted to a leader is lost with it."""
        if isinstance(self.role, Leader):
            self.led = Led(self.role.ballot, self.role.seen)
            if self.role.change is not None and self.role.change.token:
                self.out.append(Lost((self.role.change.token,)))
        membership.lose_wishes(self)
        self.callers.follow(leader)
        self.role = role
        self.out.append(RoleChanged(role.name, self.promised.round, leader))
        if leader and self.handover is not None:
            handover.conclude(self, self.handover, leader)


# What happened, and who deals with it.


def on_receive(me: Replica, event: events.Receive) -> None:
    """Whoever leads, or wants to, may be unknown to us; others must be members."""
    sender, message = event.sender, event.message
    if isinstance(me.role, Stopped):
        return
    handler = ON_MESSAGE.get(type(message))
    if handler is None:
        me.discard(sender, f"no such message: {type(message).__name__}")
    elif sender not in me.peers and sender != me.leader and type(message) not in FROM_ANYONE:
        me.discard(sender, "not a member")
    else:
        assert isinstance(message, PaxosMessage)
        handler(me, sender, message)


def on_wake(me: Replica, event: events.Wake) -> None:
    """Every turn looks at the time."""


def on_saved(me: Replica, event: events.Saved) -> None:
    """What we saved counts from now on: our own promise, our own acceptance."""
    me.now_saved = max(me.now_saved, event.token)
    while me.saves and me.saves[0].token <= event.token:
        me.saves.popleft()
    if event.token >= me.promise_save:
        me.promise_save = 0
    durable = [slot for slot, token in me.unsaved.items() if token <= event.token]
    for slot in durable:
        del me.unsaved[slot]
    leadership.on_saved(me, event.token)
    agreement.on_saved(me, durable)


def on_save_failed(me: Replica, event: events.SaveFailed) -> None:
    """Stop: memory and disk differ now, and the disk is what a crash leaves."""
    if isinstance(me.role, Stopped):
        return
    me.become(Stopped(), 0)
    me.campaign_at = None
    me.records = []
    if me.handover is not None:
        handover.abandon(me)
    me.callers.finish()


def on_propose(me: Replica, event: events.Propose) -> None:
    """Gather what this turn brings."""
    if isinstance(me.role, Stopped):
        me.out.append(Rejected(tuple(token for token, _ in event.requests), Why.FINISHED))
    else:
        me.callers.incoming.extend(event.requests)


def on_read(me: Replica, event: events.Read) -> None:
    """Gather what this turn brings."""
    if isinstance(me.role, Stopped):
        me.out.append(Rejected(event.tokens, Why.FINISHED))
    else:
        me.callers.reading.extend(event.tokens)


def ignore(me: Replica, event: Event) -> None:
    """This engine never asks for what this would answer."""


ON_EVENT: dict[type[Event], Callable[[Replica, Any], None]] = {
    events.Receive: on_receive,
    events.Wake: on_wake,
    events.Saved: on_saved,
    events.SaveFailed: on_save_failed,
    events.Propose: on_propose,
    events.Read: on_read,
    events.ChangeMembers: membership.on_change_members,
    events.TransferLeadership: handover.on_transfer,
    events.ForgetLeader: leadership.on_forget_leader,
    events.Applied: checkpoint.on_applied,
    events.SnapshotTaken: checkpoint.on_taken,
    events.SnapshotFetched: checkpoint.on_fetched,
    events.SnapshotInstalled: checkpoint.on_installed,
    events.LinkUp: agreement.on_link,
    events.LinkDown: agreement.on_link,
    events.Loaded: ignore,
    events.Verified: ignore,
}

ON_MESSAGE: dict[type[Message], Callable[[Replica, NodeId, Any], None]] = {
    messages.Canvass: leadership.on_canvass,
    messages.Support: leadership.on_support,
    messages.Prepare: leadership.on_prepare,
    messages.Promise: leadership.on_promise,
    messages.Nack: leadership.on_nack,
    messages.Accept: agreement.on_accept,
    messages.Accepted: agreement.on_accepted,
    messages.Learn: agreement.on_learn,
    messages.Learned: agreement.on_learned,
    messages.SnapshotOffer: checkpoint.on_offer,
    messages.Forward: requests.on_forward,
    messages.ForwardRefused: requests.on_forward_refused,
    messages.AskRead: reads.on_ask_read,
    messages.ReadAnswer: reads.on_read_answer,
    messages.TakeOver: handover.on_take_over,
    messages.ForwardChange: requests.on_forward,
    messages.MembersChanged: membership.on_members_changed,
}

FROM_ANYONE = frozenset({messages.Canvass, messages.Prepare, messages.Accept, messages.SnapshotOffer, messages.Learned})
"""An acceptor need not know yet that the sender is a member, nor that it is one itself."""
