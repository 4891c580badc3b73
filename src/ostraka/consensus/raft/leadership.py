"""Who leads: pre-votes, votes, and when a leader gives up.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.1, §5.2, §5.4.1; Ongaro's
          thesis §9.6 (PreVote), §6.2 (a leader without a quorum steps down), §4.2.3 (disruptive servers).
Words:    a campaign is the paper's election, seen from its candidate.
Departs:  a candidate's own vote counts only once it is durable. A leader whose disk stalls steps down: its followers
          would otherwise wait for one that can answer but not save.
Evidence: tests/consensus/raft/test_leadership.py, invariants.ElectionSafety.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.quorum import reached
from ostraka.consensus.raft import agreement, handover, lease, requests
from ostraka.consensus.raft.messages import (
    AskPreVote,
    ForwardRefused,
    PreVote,
    Refilling,
    RequestVote,
    Term,
    Vote,
)
from ostraka.consensus.raft.roles import Candidate, Follower, Leader, PreCandidate, Progress
from ostraka.model.effects import Send
from ostraka.model.events import ForgetLeader, Message
from ostraka.model.ids import Instant, NodeId, SaveToken

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

DISK_STALLED = 2
"""A leader gives up when a save takes this many election timeouts."""


def on_higher_term(me: Replica, sender: NodeId, message: Message, term: Term) -> bool:
    """Adopt a higher term, unless the message only asks about it. Is the message still to be dealt with? (§5.1)"""
    match message:
        case AskPreVote() | PreVote(granted=True) | Refilling():
            return True  # The term in it is one that nobody campaigns in yet, or that need not concern us.
        case RequestVote(handed_over=False) if leader_lives(me):
            me.discard(sender, "a leader lives")  # So a candidate that can't hear it does no harm. (Thesis §4.2.3)
            return False
        case ForwardRefused():
            requests.on_forward_refused(me, sender, message)  # Else the change of term would call the batch lost.
            me.adopt(term)
            return False
        case _:
            me.adopt(term)
            return True


def leader_lives(me: Replica) -> bool:
    """Has a leader been heard from within the least election timeout? We count too: we check our quorum."""
    role = me.role
    if isinstance(role, Leader):
        return True
    return isinstance(role, Follower) and role.leader != 0 and me.now < role.heard + me.settings.election_timeout


def watch_the_time(me: Replica) -> None:
    """Campaign when no leader was heard from for too long; give up leading without a quorum or a disk."""
    if me.handover is not None and me.now >= me.handover.until:
        handover.abandon(me)
        if isinstance(me.role, Leader) and me.id not in me.members.voters:
            me.become(Follower(), 0)  # Nobody wants to inherit, and we don't belong here any more.
            me.rest()
    role = me.role
    if isinstance(role, Leader):
        timeout = me.settings.election_timeout
        if me.now >= role.quorum_at:
            heard = {peer: progress.heard for peer, progress in role.progress.items()}
            heard[me.id] = me.now
            role.quorum_at = reached(me.quorum, heard) + timeout
        if me.now >= role.quorum_at or (me.saves and me.now >= me.saves[0].issued + DISK_STALLED * timeout):
            me.become(Follower(), 0)
            me.rest()
    elif me.campaign_at is not None and me.now >= me.campaign_at:
        ask_for_pre_votes(me)


def deadlines(me: Replica, role: Leader) -> list[Instant | None]:
    """What a leader waits for."""
    due: list[Instant | None] = [role.heartbeat_at, role.quorum_at] if role.progress else []
    if role.gathered:
        due.append(role.cut_at + me.settings.linger)
    if role.recount:
        due.append(role.commits_at)
    if me.saves:
        due.append(me.saves[0].issued + DISK_STALLED * me.settings.election_timeout)
    return due


def electorate(me: Replica) -> tuple[NodeId, ...]:
    """Whose votes count, but for our own."""
    return tuple(sorted({*me.members.voters, *me.members.outgoing} - {me.id}))


def ask_for_pre_votes(me: Replica) -> None:
    """Find out whether a campaign could succeed before disturbing anybody with a new term. (Thesis §9.6)"""
    me.become(PreCandidate({me.id}), 0)
    me.rest()
    if me.quorum({me.id}):
        campaign(me)
    else:
        me.send_now(electorate(me), AskPreVote(me.term + 1, me.log.last))


def on_ask_pre_vote(me: Replica, sender: NodeId, ask: AskPreVote) -> None:
    """Say whether we would vote so: for a log as complete as ours, when no leader lives. (Thesis §9.6)"""
    granted = ask.term > me.term and ask.last >= me.log.last and not leader_lives(me) and me.refill is None
    me.send_now((sender,), PreVote(ask.term if granted else me.term, granted))


def on_pre_vote(me: Replica, sender: NodeId, answer: PreVote) -> None:
    """Campaign once a quorum would vote for us."""
    role = me.role
    if not isinstance(role, PreCandidate) or not answer.granted or answer.term != me.term + 1:
        me.discard(sender, "not a pre-vote for this campaign")
        return
    role.votes.add(sender)
    if me.quorum(role.votes):
        campaign(me)


def campaign(me: Replica, handed_over: bool = False) -> None:
    """Raise the term, vote for ourselves, and ask the others. (§5.2)"""
    role = Candidate(vote_saved=0)
    me.become(role, 0, me.term + 1)
    me.voted_for = me.id
    me.save_term()
    role.vote_saved = me.pending_save()
    me.rest()
    if others := electorate(me):
        me.out.append(Send(others, RequestVote(me.term, me.log.last, handed_over), role.vote_saved))


def on_request_vote(me: Replica, sender: NodeId, ask: RequestVote) -> None:
    """Vote at most once in a term, and only for a log as complete as ours. (§5.2, §5.4.1)

    While it refills a replica does not know how complete its own was, so it elects nobody.
    """
    free = me.voted_for == sender or (me.voted_for is None and me.leader == 0)
    granted = ask.term == me.term and free and ask.last >= me.log.last and me.refill is None
    if granted:
        if me.voted_for is None:
            me.voted_for = sender
            me.save_term()  # A vote has to outlive a crash,
        if isinstance(me.role, PreCandidate):
            me.become(Follower(), 0)
        if not isinstance(me.role, Leader):
            me.rest()
    me.send(sender, Vote(me.term, granted))  # so it is saved before it is sent.


def on_vote(me: Replica, sender: NodeId, vote: Vote) -> None:
    """Count who votes for us. (§5.2)"""
    role = me.role
    if not isinstance(role, Candidate) or not vote.granted or vote.term != me.term:
        me.discard(sender, "not a vote for this campaign")
        return
    role.votes.add(sender)
    if me.quorum(role.votes):
        lead(me)


def on_saved(me: Replica, token: SaveToken) -> None:
    """Our own vote is cast once it is durable, like any other."""
    role = me.role
    if isinstance(role, Candidate) and token >= role.vote_saved:
        role.votes.add(me.id)
        if me.quorum(role.votes):
            lead(me)


def lead(me: Replica) -> None:
    """A quorum voted for us: lead, and append an entry of the new term at once. (§5.2, §8)"""
    first = me.log.last.index + 1
    role = Leader(
        first=first,
        since=me.now,
        clock=me.log.stamp,
        progress={peer: Progress(next=first, heard=me.now) for peer in sorted(me.peers)},
        heartbeat_at=me.now + me.settings.heartbeat,
        quorum_at=me.now + me.settings.election_timeout,
        commits_at=lease.wait(me),
    )
    me.become(role, me.id)
    lease.name(me, role)
    me.campaign_at = None
    agreement.begin_term(me, role)


def on_forget_leader(me: Replica, event: ForgetLeader) -> None:
    """Stop protecting a leader that is known to be gone. Our own patience is as it was."""
    if isinstance(me.role, Follower) and me.leader:
        me.become(Follower(), 0)
