"""What callers propose, on its way to whoever leads: given to ourselves, or forwarded once.

Follows:  van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015), §2.1 (replicas and their requests).
Words:    see `ostraka.consensus.callers`, which keeps what waits.
Departs:  a replica gives its batches to the leader alone, under one ballot, and does not propose them again.
Evidence: tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.callers import Seen
from ostraka.consensus.multipaxos import agreement, membership
from ostraka.consensus.multipaxos.messages import Forward, ForwardChange, ForwardRefused
from ostraka.consensus.multipaxos.roles import Change, Leader
from ostraka.model.effects import Rejected, Why
from ostraka.model.ids import NodeId
from ostraka.model.requests import Batch

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica


def give(me: Replica, batch: Batch) -> bool:
    """Hand a batch to the leader: ourselves, or by one message that is never sent again. False: there is no room."""
    role = me.role
    if isinstance(role, Leader):
        return agreement.take_in(me, role, batch)
    me.send_now((me.leader,), Forward(me.promised, batch.life, batch.number, batch.requests))
    return True


def on_forward(me: Replica, sender: NodeId, forward: Forward | ForwardChange) -> None:
    """Take in the batch, or the wish, if we lead the very ballot that it was meant for, and it has not come before.

    A refusal must be true for ever. So it is given only by the one who led that ballot, for a number that it has never
    seen, and which then counts as seen.
    """
    role = me.role
    leads = isinstance(role, Leader) and forward.ballot == role.ballot
    if not leads and forward.ballot != me.led.ballot:
        me.discard(sender, "forwarded to the leader of another ballot")
        return
    seen = role.seen if isinstance(role, Leader) and leads else me.led.seen
    why: Why | None = None
    if not seen.setdefault((sender, forward.life), Seen()).first_time(forward.number):
        me.discard(sender, "forwarded twice")
    elif not isinstance(role, Leader) or not leads:
        why = Why.NO_LEADER
    elif isinstance(forward, ForwardChange):
        change = Change(forward.members, asker=(sender, forward.life, forward.number))
        why = membership.take_on(me, role, change, forward.base)
    elif me.handover is not None:
        why = Why.TRANSFERRING
    elif not agreement.take_in(me, role, Batch(sender, forward.life, forward.number, forward.requests)):
        why = Why.OVERLOADED
    if why is not None:
        me.send_now((sender,), ForwardRefused(forward.ballot, forward.life, forward.number, why))


def on_forward_refused(me: Replica, sender: NodeId, refusal: ForwardRefused) -> None:
    """The leader did not take it in, so it never happens."""
    if refusal.life == me.life and refusal.number in me.wishes:
        me.out.append(Rejected((me.wishes.pop(refusal.number).token,), refusal.why, me.leader))
    elif refusal.life != me.life or not me.callers.refused(refusal.number, refusal.why, me.now):
        me.discard(sender, "a refusal that nobody waits for")
