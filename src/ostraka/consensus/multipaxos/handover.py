"""Who leads next: a leader hands over to a member of its choice, without an election timeout between them.

Follows:  Ongaro's thesis §3.10 (leadership transfer extension), with Paxos' phase 1 in place of the vote.
Words:    to hand over is to transfer leadership; the member told to prepare is the heir.
Departs:  the leader waits until all that it proposed is chosen and the heir knows it, so that nobody who was promised
          an answer loses it; requests that come meanwhile are held for whoever leads afterwards. The heir is told again
          with each heartbeat. What is given up before the heir was told did not happen; afterwards nobody knows.
Evidence: tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.multipaxos import leadership
from ostraka.consensus.multipaxos.messages import TakeOver
from ostraka.consensus.multipaxos.roles import Follower, Leader, Stopped
from ostraka.model.effects import Done, Lost, Rejected, Why
from ostraka.model.events import TransferLeadership
from ostraka.model.ids import Instant, NodeId, Token

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica


@dataclass(slots=True)
class Handover:
    """Leadership on its way to the heir."""

    token: Token  # 0: nobody asked for it.
    to: NodeId
    until: Instant
    told: bool = False  # Whether the heir was told to prepare.


def on_transfer(me: Replica, event: TransferLeadership) -> None:
    """Hand over to that voter, if we lead and aren't handing over already. (Thesis §3.10)"""
    if isinstance(me.role, Leader) and me.handover is None and event.to == me.id:
        me.out.append(Done((event.token,)))
        return
    if isinstance(me.role, Stopped):
        why = Why.FINISHED
    elif not isinstance(me.role, Leader):
        why = Why.NOT_LEADER
    elif me.handover is not None:
        why = Why.TRANSFERRING
    elif me.role.change is not None:
        why = Why.CHANGING
    elif event.to not in me.schedule[-1][1].voters:
        why = Why.NOT_A_VOTER
    else:
        begin(me, me.role, event.to, event.token)
        return
    me.out.append(Rejected((event.token,), why, me.leader))


def begin(me: Replica, role: Leader, to: NodeId, token: Token = 0) -> None:
    """Stop accepting requests; what was taken in is proposed. (Thesis §3.10, step 1)"""
    me.handover = Handover(token, to, me.now + me.settings.election_timeout)
    me.callers.hold_until = me.handover.until
    role.beat = True  # A heir that lags shall say so.


def proceed(me: Replica, role: Leader, transfer: Handover) -> None:
    """Once all is chosen, and the heir knows it, tell the heir. (Thesis §3.10, steps 2 and 3)"""
    if transfer.told and me.now < role.heartbeat_at:
        return
    progress = role.progress.get(transfer.to)
    if progress is not None and not role.gathered and not role.open and progress.chosen >= me.chosen:
        transfer.told = True
        me.send_now((transfer.to,), TakeOver(role.ballot))


def on_take_over(me: Replica, sender: NodeId, message: TakeOver) -> None:
    """Prepare as if our patience had ended, with a pass through the protection of the leader. (Thesis §3.10)"""
    if message.ballot != me.promised or not isinstance(me.role, Follower) or me.leader != sender:
        me.discard(sender, "told to take over by one who does not lead")
    elif not me.decides:
        me.discard(sender, "told to take over, and not a voter")
    else:
        leadership.prepare(me, handed_over=True)


def conclude(me: Replica, transfer: Handover, leader: NodeId) -> None:
    """Somebody leads a later ballot."""
    me.handover = None
    if transfer.token:
        if leader == transfer.to:
            me.out.append(Done((transfer.token,)))
        else:
            abandoned(me, transfer)


def abandon(me: Replica) -> None:
    """It took too long: accept requests again. (Thesis §3.10: "within about an election timeout")"""
    transfer, me.handover = me.handover, None
    me.callers.hold_until = 0
    if transfer is not None and transfer.token:
        abandoned(me, transfer)


def abandoned(me: Replica, transfer: Handover) -> None:
    """Whoever asked learns whether it may yet happen: not unless the heir was told."""
    tokens = (transfer.token,)
    me.out.append(Lost(tokens) if transfer.told else Rejected(tokens, Why.BEHIND, me.leader))
