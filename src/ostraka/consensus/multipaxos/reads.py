"""Linearizable reads without a slot of their own: a quorum confirms the leader's ballot, in rounds.

Follows:  Ongaro's thesis §6.4, whose argument holds for any leader whose successor needs a quorum that meets this one.
Words:    a round is one heartbeat exchange under the leader's ballot; an ask is a member's question for a read index.
Departs:  no entry of the leader's own has to be chosen first, but all that may have been chosen under lower ballots.
          Rounds are numbered by the engine, never by the caller, so an old answer can't confirm a new read. One is
          under way at a time, and what comes meanwhile shares the next.
Evidence: tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.multipaxos import agreement, membership
from ostraka.consensus.multipaxos.messages import AskRead, ReadAnswer
from ostraka.consensus.multipaxos.roles import Leader
from ostraka.consensus.quorum import reached
from ostraka.model.ids import NodeId

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica


def ask(me: Replica, number: int) -> None:
    """Ask the leader: ourselves, or by a message."""
    if isinstance(me.role, Leader):
        me.role.asks[me.id] = (me.life, number)
    else:
        me.send_now((me.leader,), AskRead(me.promised, me.life, number))


def on_ask_read(me: Replica, sender: NodeId, message: AskRead) -> None:
    """Put it into the next round. Asking again does no harm."""
    if not isinstance(me.role, Leader):
        me.discard(sender, "asked one who does not lead")
        return
    life, number = me.role.asks.get(sender, (message.life, 0))
    me.role.asks[sender] = (message.life, max(number, message.number) if life == message.life else message.number)


def confirm(me: Replica, role: Leader) -> None:
    """Answer the round that a quorum has confirmed, and begin the next. (Thesis §6.4, steps 1 to 4)

    The read index is taken when the round begins, after its reads came and before its heartbeats leave. The quorum is
    of the configuration that decides the first slot that isn't chosen: nobody can have chosen it under a higher ballot
    without a promise from one of them.
    """
    while True:
        if role.asking:
            rounds = {peer: progress.round for peer, progress in role.progress.items()}
            rounds[me.id] = role.round
            if reached(membership.phase2(me, role.read_index + 1), rounds) < role.round:
                return
            asking, role.asking = role.asking, {}
            for node, (life, number) in asking.items():
                if node == me.id:
                    me.callers.answered(number, role.read_index)
                else:
                    me.send_now((node,), ReadAnswer(role.ballot, life, number, role.read_index))
        if not role.asks or not agreement.is_settled(me, role):
            return
        role.round += 1
        role.read_index = me.chosen
        role.asking, role.asks = role.asks, {}
        role.beat = True


def on_read_answer(me: Replica, sender: NodeId, message: ReadAnswer) -> None:
    """It holds whatever became of that leader since: it led after we asked."""
    if message.life != me.life or not me.callers.answered(message.number, message.index):
        me.discard(sender, "an answer that nobody waits for")
