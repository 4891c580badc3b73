"""Who leads: canvassing, phase 1, and when a leader gives up.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.2 phase 1, §3; van Renesse and Altinbuken, "Paxos Made Moderately
          Complex" (2015), §2.3 (scouts), §3 (livelock); Ng, Haridi and Carbone, "Omni-Paxos: Breaking the Barriers of
          Partial Connectivity" (2023), §2, §5, for the three partitions that elections must survive.
Words:    to canvass is to ask whether enough members would promise; leader stickiness: who hears a leader would not.
Departs:  whoever is connected to a quorum can lead, however little of the log it has: phase 1 brings it the log. That,
          stickiness, and leaders that give up without a quorum, is what Omni-Paxos' ballot leader election is for. One
          round is promised to one member only, so that a round, our epoch, names one leader.
Evidence: tests/consensus/multipaxos/test_leadership.py, tests/stories/multipaxos/test_elections.py,
          tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.multipaxos import agreement, handover, membership
from ostraka.consensus.multipaxos.messages import Ballot, Canvass, Nack, PaxosMessage, Prepare, Promise, Support
from ostraka.consensus.multipaxos.roles import Candidate, Canvasser, Follower, Leader, Progress
from ostraka.consensus.quorum import reached
from ostraka.model.effects import Send
from ostraka.model.events import ForgetLeader
from ostraka.model.ids import Instant, NodeId, SaveToken

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica

DISK_STALLED = 2
"""A leader gives up when a save takes this many election timeouts."""


def leader_lives(me: Replica) -> bool:
    """Has a leader been heard from within the least election timeout? We count too: we check our quorum."""
    role = me.role
    if isinstance(role, Leader):
        return True
    return isinstance(role, Follower) and role.leader != 0 and me.now < role.heard + me.settings.election_timeout


def watch_the_time(me: Replica) -> None:
    """Canvass when no leader was heard from for too long; give up leading without a quorum or a disk."""
    if me.handover is not None and me.now >= me.handover.until:
        handover.abandon(me)
        if isinstance(me.role, Leader) and not membership.decides(me, me.id):
            give_up(me)  # Nobody wants to inherit, and we don't belong here any more.
    role = me.role
    if isinstance(role, Leader):
        timeout = me.settings.election_timeout
        if me.now >= role.quorum_at:
            heard = {peer: progress.heard for peer, progress in role.progress.items()}
            heard[me.id] = me.now
            role.quorum_at = reached(membership.phase2(me, me.chosen + 1), heard) + timeout
        if me.now >= role.quorum_at or (me.saves and me.now >= me.saves[0].issued + DISK_STALLED * timeout):
            give_up(me)
    elif me.campaign_at is not None and me.now >= me.campaign_at:
        canvass(me)


def deadlines(me: Replica, role: Leader) -> list[Instant]:
    """What a leader waits for."""
    due = [role.heartbeat_at, role.quorum_at] if role.progress else []
    if role.gathered and role.cut_at + me.settings.linger > me.now:
        due.append(role.cut_at + me.settings.linger)
    if me.saves:
        due.append(me.saves[0].issued + DISK_STALLED * me.settings.election_timeout)
    return due


def give_up(me: Replica) -> None:
    """Lead no more, and know of nobody who does."""
    me.become(Follower(), 0)
    me.rest()


def next_ballot(me: Replica) -> Ballot:
    """Above every ballot that was heard of. Durably promised to ourselves before it is used, it is never used twice."""
    return Ballot(max(me.promised.round, me.highest_round) + 1, me.id)


def canvass(me: Replica) -> None:
    """Find out whether phase 1 could succeed before disturbing anybody with a new ballot."""
    ballot = next_ballot(me)
    me.become(Canvasser(ballot, {me.id}), 0)
    me.rest()
    if membership.promised_by_enough(me, {me.id}):
        prepare(me)
    else:
        me.send_now(membership.electorate(me), Canvass(ballot))


def on_canvass(me: Replica, sender: NodeId, message: Canvass) -> None:
    """Say whether we would promise. However complete our log is: the new leader learns it."""
    if leader_lives(me):
        me.discard(sender, "a leader lives")
    elif may_promise(me, message.ballot):
        me.send_now((sender,), Support(message.ballot))
    else:
        me.send_now((sender,), Nack(me.promised))


def may_promise(me: Replica, ballot: Ballot) -> bool:
    """A higher round than any promised; or the very ballot that is, since the answer may have been lost."""
    return ballot.round > me.promised.round or ballot == me.promised


def on_support(me: Replica, sender: NodeId, message: Support) -> None:
    """Go on to phase 1 once enough would promise."""
    role = me.role
    if not isinstance(role, Canvasser) or message.ballot != role.ballot:
        me.discard(sender, "support for another ballot")
        return
    role.supporters.add(sender)
    if membership.promised_by_enough(me, role.supporters):
        prepare(me)


def prepare(me: Replica, handed_over: bool = False) -> None:
    """Phase 1a: a new ballot, promised to ourselves first. (PMS §2.2; PMMC, `Scout`)"""
    ballot = next_ballot(me)
    role = Candidate(ballot, prepared=0)
    me.promise(ballot)
    me.become(role, 0)
    role.prepared = me.pending_save()
    me.rest()
    if others := membership.electorate(me):
        me.out.append(Send(others, Prepare(ballot, me.chosen + 1, handed_over), role.prepared))


def on_prepare(me: Replica, sender: NodeId, message: Prepare) -> None:
    """Phase 1b: promise never to accept anything below this ballot, and tell all that was accepted. (PMS §2.2)

    A promise has to outlive a crash, so it is saved before it is sent.
    """
    ballot = message.ballot
    if ballot.node != sender:
        me.discard(sender, "a ballot of somebody else")
    elif ballot != me.promised and leader_lives(me) and sender != me.leader and not message.handed_over:
        me.discard(sender, "a leader lives")  # So one that can't hear it does no harm.
    elif not may_promise(me, ballot):
        me.send_now((sender,), Nack(me.promised))
    else:
        if ballot != me.promised:
            me.promise(ballot)
            me.become(Follower(), 0)
            me.rest()
        after = max(me.chosen, message.first - 1)
        me.send(sender, Promise(ballot, me.chosen, me.log.after(after)))


def on_promise(me: Replica, sender: NodeId, message: Promise) -> None:
    """Count who promised; a leader goes on with whoever decides slots that it couldn't propose in yet."""
    role = me.role
    if isinstance(role, Candidate) and message.ballot == role.ballot:
        role.promises[sender] = message
        lead_if_promised(me, role)
    elif isinstance(role, Leader) and message.ballot == role.ballot and sender not in role.promised:
        role.promised.add(sender)
        agreement.take_over(me, role, sender, message)
    else:
        me.discard(sender, "a promise of another ballot, or a second one")


def on_nack(me: Replica, sender: NodeId, message: Nack) -> None:
    """Somebody has promised a higher ballot: whoever holds it, or comes next, may lead. (PMMC, `preempted`)"""
    if message.ballot <= me.promised:
        me.discard(sender, "a refusal for a ballot that is no longer ours")
        return
    me.highest_round = max(me.highest_round, message.ballot.round)
    if isinstance(me.role, Leader) and message.ballot.round == me.promised.round:
        prepare(me)  # Left over from a race that we won: our followers follow us to a higher round.
    elif isinstance(me.role, Leader | Candidate | Canvasser):
        give_up(me)


def on_saved(me: Replica, token: SaveToken) -> None:
    """Our own promise counts once it is durable, like any other."""
    role = me.role
    if isinstance(role, Candidate) and token >= role.prepared:
        lead_if_promised(me, role)


def lead_if_promised(me: Replica, role: Candidate) -> None:
    """Enough have promised: lead. (PMMC, `adopted`)"""
    promised = set(role.promises)
    if role.prepared <= me.now_saved:
        promised.add(me.id)
    if not membership.promised_by_enough(me, promised):
        return
    leader = Leader(
        ballot=role.ballot,
        promised=promised,
        recovered={pvalue.value.index: pvalue for pvalue in me.log.after(me.chosen)},
        learn_upto=me.chosen,
        source=0,
        learnt=me.chosen,
        learnt_at=me.now,
        recovered_upto=me.log.last,
        next=me.chosen + 1,
        since=me.now,
        clock=max(me.decided_stamp, me.log.stamp()),
        progress={peer: Progress(heard=me.now) for peer in sorted(me.peers)},
        heartbeat_at=me.now + me.settings.heartbeat,
        quorum_at=me.now + me.settings.election_timeout,
        cut_at=me.now,
        beat=True,
    )
    me.become(leader, me.id)
    me.campaign_at = None
    for sender in sorted(role.promises):
        agreement.take_over(me, leader, sender, role.promises[sender])


def on_forget_leader(me: Replica, event: ForgetLeader) -> None:
    """Stop protecting a leader that is known to be gone. Our own patience is as it was."""
    if isinstance(me.role, Follower) and me.leader:
        me.become(Follower(), 0)


def is_of_leader(me: Replica, sender: NodeId, message: PaxosMessage) -> bool:
    """Follow whoever proposes under a ballot that is not below what we promised. Is it so?

    To accept under a higher ballot is to promise it. (PMS §2.2)
    """
    ballot = message.ballot
    if ballot.node != sender:
        me.discard(sender, "not what a leader would send")
        return False
    if ballot < me.promised:
        me.send_now((sender,), Nack(me.promised))
        return False
    if ballot > me.promised:
        me.promise(ballot)
    role = me.role
    if type(role) is not Follower or role.leader != sender:
        role = Follower(sender)
        me.become(role, sender)
    role.heard = me.now
    me.rest()
    return True
