"""Linearizable reads without a log entry: the ReadIndex protocol, in rounds.

Follows:  Ongaro's thesis §6.4 (processing read-only queries more efficiently).
Words:    a round is one heartbeat exchange that confirms the leader; an ask is a member's question for a read index.
Departs:  rounds are numbered by the engine, never by the caller, so an old acknowledgement can't confirm a new read.
          One round is under way at a time, and what comes meanwhile shares the next. A leader asks itself as its
          followers ask it. An answer is good for all earlier reads of the one who asked.
Evidence: tests/consensus/raft/test_reads.py, tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.quorum import reached
from ostraka.consensus.raft import agreement, lease
from ostraka.consensus.raft.messages import AskRead, ReadAnswer
from ostraka.consensus.raft.roles import Leader, Stopped
from ostraka.model.effects import ReadAt, Rejected, Why
from ostraka.model.events import Read
from ostraka.model.ids import Index, Instant, NodeId, Token

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

ASKED_FOR = 5
"""Election timeouts that a read waits for an answer."""


@dataclass(slots=True)
class Asked:
    """Reads of this replica's own callers that have no answer."""

    number: int
    tokens: tuple[Token, ...]
    expires: Instant


def on_read(me: Replica, event: Read) -> None:
    """Gather what this turn brings; `submit` asks once for all of it."""
    if isinstance(me.role, Stopped):
        me.out.append(Rejected(event.tokens, Why.FINISHED))
    elif me.refill is not None:
        me.out.append(Rejected(event.tokens, Why.REFILLING, me.leader))
    else:
        me.reading.extend(event.tokens)


def submit(me: Replica) -> None:
    """Ask the leader, if there is one; ask again after a change of leader, and when no answer comes."""
    while me.asked and me.asked[0].expires <= me.now:
        me.out.append(Rejected(me.asked.popleft().tokens, Why.NO_LEADER, me.leader))
    fresh = bool(me.reading)
    if fresh:
        me.asks += 1
        me.asked.append(Asked(me.asks, tuple(me.reading), me.now + ASKED_FOR * me.settings.election_timeout))
        me.reading = []
    if not me.asked or not me.leader:
        return
    late = me.ask_again_at is None or me.now >= me.ask_again_at
    if late and not fresh:
        me.asks += 1  # A number of its own: the answer is to this question, and so covers all before it.
        me.asked[-1].number = me.asks
    if late or fresh:
        me.ask_again_at = me.now + me.settings.election_timeout // 2
        if isinstance(me.role, Leader):
            me.role.asks[me.id] = (me.life, me.asks)
        else:
            me.send_now((me.leader,), AskRead(me.term, me.life, me.asks))


def on_ask_read(me: Replica, sender: NodeId, ask: AskRead) -> None:
    """Put it into the next round. Asking again does no harm."""
    if not isinstance(me.role, Leader):
        me.discard(sender, "asked one who does not lead")
        return
    life, number = me.role.asks.get(sender, (ask.life, 0))
    me.role.asks[sender] = (ask.life, max(number, ask.number) if life == ask.life else ask.number)


def confirm(me: Replica, role: Leader) -> None:
    """Answer the round that a quorum has confirmed, and begin the next. (Thesis §6.4, steps 1 to 4)

    The read index is taken when the round begins, after its reads came and before its heartbeats leave. Under a lease
    no round is needed: nobody else has committed anything.
    """
    if role.asks and lease.holds(me, role, me.now):
        for asks in (role.asking, role.asks):
            reply(me, asks, me.commit)
            asks.clear()
        if lease.renew(me, role):
            agreement.append_noop(me, role)
    while True:
        if role.asking:
            rounds = {peer: progress.round for peer, progress in role.progress.items()}
            rounds[me.id] = role.round
            if reached(me.quorum, rounds) < role.round:
                return
            asking, role.asking = role.asking, {}
            reply(me, asking, role.read_index)
        if not role.asks or me.commit < role.first:
            return  # Before its own no-op is committed a leader doesn't know what is. (Step 1)
        role.round += 1
        role.read_index = me.commit
        role.asking, role.asks = role.asks, {}
        role.beat = True
        if lease.renew(me, role):
            agreement.append_noop(me, role)


def reply(me: Replica, asks: Mapping[NodeId, tuple[int, int]], index: Index) -> None:
    """These asks are answered with this index."""
    for node, (life, number) in asks.items():
        if node == me.id:
            answer(me, number, index)
        else:
            me.send_now((node,), ReadAnswer(me.term, life, number, index))


def on_read_answer(me: Replica, sender: NodeId, message: ReadAnswer) -> None:
    """It holds whatever became of that leader since: it led after we asked."""
    if message.life != me.life or not answer(me, message.number, message.index):
        me.discard(sender, "an answer that nobody waits for")


def answer(me: Replica, number: int, index: Index) -> bool:
    """Reads up to this number are linearizable at this index. Was there any?"""
    answered: list[Token] = []
    while me.asked and me.asked[0].number <= number:
        answered += me.asked.popleft().tokens
    if answered:
        me.out.append(ReadAt(tuple(answered), index))
    return bool(answered)


def deadline(me: Replica) -> Instant | None:
    """When to ask again, or to give up."""
    if not me.asked:
        return None
    expires = me.asked[0].expires
    return min(expires, me.ask_again_at) if me.leader and me.ask_again_at is not None else expires
