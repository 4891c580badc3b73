"""Who leads next: a leader hands over to a follower of its choice, without an election timeout between them.

Follows:  Ongaro's thesis §3.10 (leadership transfer extension).
Words:    to hand over is to transfer leadership; the follower told to campaign is the heir.
Departs:  the leader also waits until all of its log is committed, so that nobody who was promised an answer loses it;
          requests that come meanwhile are held for whoever leads afterwards. The heir is told again with each
          heartbeat. What is given up before the heir was told did not happen; afterwards nobody knows.
          Members may have priorities: whoever has a lower one than a voter that has caught up hands over to that one.
          Elections know nothing of them, so they cost no time when a leader is lost.
Evidence: tests/consensus/raft/test_handover.py, tests/stories/raft/handover.story, tests/stories/raft/test_handover.py,
          tests/consensus/test_engine_contract.py.

A read round needs no rule of its own: it is confirmed by a quorum that is still in the leader's term, after the read
came, and a heir that was elected before has taken a quorum out of it. A lease is given up before the heir is told
(see lease.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.raft import agreement, leadership, lease
from ostraka.consensus.raft.messages import Claim, TimeoutNow
from ostraka.consensus.raft.roles import Follower, Leader, Stopped
from ostraka.model.effects import Done, Lost, Rejected, Why
from ostraka.model.events import TransferLeadership
from ostraka.model.ids import Instant, NodeId, Token

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica


YIELDS_EVERY = 10
"""Election timeouts between attempts to hand over to one that comes first: each makes requests wait."""


@dataclass(slots=True)
class Handover:
    """Leadership on its way to the heir."""

    token: Token  # 0: nobody asked for it.
    to: NodeId
    until: Instant
    told: bool = False  # Whether the heir was told to campaign.


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
    elif event.to not in me.members.voters:
        why = Why.NOT_A_VOTER
    else:
        begin(me, me.role, event.to, event.token)
        return
    me.out.append(Rejected((event.token,), why, me.leader))


def begin(me: Replica, role: Leader, to: NodeId, token: Token = 0) -> None:
    """Stop accepting requests; what was taken in goes into the log. (Thesis §3.10, step 1)"""
    me.handover = Handover(token, to, me.now + me.settings.election_timeout)
    me.hold_until = me.handover.until
    role.beat = True  # A heir that lags shall say so.
    if role.gathered:
        agreement.cut(me, role)


def claim(me: Replica, role: Follower) -> None:
    """Tell the leader now and then that we would lead, if some come before others here."""
    if me.settings.priority and me.now >= role.claim_at and me.campaign_at is not None:
        role.claim_at = me.now + me.settings.election_timeout
        me.send_now((role.leader,), Claim(me.term, me.settings.priority))


def on_claim(me: Replica, sender: NodeId, message: Claim) -> None:
    """Remember who comes before us."""
    if message.term != me.term or not isinstance(me.role, Leader) or message.priority <= me.settings.priority:
        me.discard(sender, "claims what it can't have here")
        return
    me.role.claims[sender] = message.priority


def give_way(me: Replica, role: Leader) -> None:
    """Hand over to the first of those who come before us, once it has caught up, and not again soon if that fails."""
    if me.handover is not None or role.change is not None or me.commit < role.first or me.now < role.yield_at:
        return
    lately = me.now - 2 * me.settings.heartbeat
    ready = [
        (priority, voter)
        for voter, priority in role.claims.items()
        if voter in me.members.voters
        and role.progress[voter].match >= me.commit
        and role.progress[voter].heard >= lately
    ]
    if ready:
        role.yield_at = me.now + YIELDS_EVERY * me.settings.election_timeout
        begin(me, role, max(ready)[1])


def proceed(me: Replica, role: Leader, transfer: Handover) -> None:
    """Once the heir has all of our log, and it is committed, tell the heir. (Thesis §3.10, steps 2 and 3)"""
    if transfer.told and me.now < role.heartbeat_at:
        return
    last = me.log.last.index
    if role.progress[transfer.to].match == last == me.commit:
        transfer.told = True
        me.send_now((transfer.to,), lease.give_up(me, role))


def on_timeout_now(me: Replica, sender: NodeId, message: TimeoutNow) -> None:
    """Campaign as if our patience had ended, with a pass through the protection of the leader. (Thesis §3.10)"""
    if message.term != me.term or not isinstance(me.role, Follower) or me.leader != sender or me.campaign_at is None:
        me.discard(sender, "told to campaign by one who does not lead")
        return
    me.leases.given_up = message.last
    leadership.campaign(me, handed_over=True)


def conclude(me: Replica, transfer: Handover, leader: NodeId) -> None:
    """Somebody leads a later term."""
    me.handover = None
    if not transfer.token:
        return
    if leader == transfer.to:
        me.out.append(Done((transfer.token,)))
    else:
        abandoned(me, transfer)


def abandon(me: Replica) -> None:
    """It took too long: accept requests again. (Thesis §3.10: "within about an election timeout")"""
    transfer, me.handover = me.handover, None
    me.hold_until = 0
    if transfer is not None and transfer.token:
        abandoned(me, transfer)


def abandoned(me: Replica, transfer: Handover) -> None:
    """Whoever asked learns whether it may yet happen: not unless the heir was told."""
    tokens = (transfer.token,)
    me.out.append(Lost(tokens) if transfer.told else Rejected(tokens, Why.BEHIND, me.leader))
