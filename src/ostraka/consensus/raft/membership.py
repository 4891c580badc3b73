"""Who takes part: configurations, in effect from the moment that they are in the log, and the way from one to the next.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §6 (joint consensus); Ongaro's
          thesis §4.1 (one server at a time), §4.2.1 (catching up), §4.2.2 (a leader that is removed), §4.3; and
          Ongaro's correction "bug in single-server membership changes" (raft-dev, 2015): nothing is changed before an
          entry of the current term is committed.
Words:    members are the paper's configuration; outgoing voters are C-old of a joint one; learners are its
          non-voting members. A wish is a change that was given to the leader of another replica.
Departs:  the leader chooses: one voter more or less is a single step, anything else goes through a joint
          configuration. A voter that is new is a learner first, by itself, in a configuration of its own. A change
          that began elsewhere than it was asked for is refused, so two that were thought of at once can't undo
          one another. A learner that is promoted by command must be in sync already. A removed leader hands over
          rather than falling silent.
Evidence: tests/consensus/raft/test_membership.py, tests/stories/raft/test_members.py, tests/stories/raft/members.story,
          tests/consensus/test_engine_contract.py, invariants.OneChangeAtATime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.quorum import quorum_of
from ostraka.consensus.raft import agreement, handover
from ostraka.consensus.raft.messages import ForwardChange, ForwardRefused, MembersChanged
from ostraka.consensus.raft.roles import Change, Leader, Progress, Stopped
from ostraka.model.effects import Done, MembersActive, Rejected, Why
from ostraka.model.events import ChangeMembers
from ostraka.model.ids import Index, Instant, NodeId, Token
from ostraka.model.requests import Entry, Kind, Members

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

ROUNDS = 10
"""A new voter that hasn't caught up after so many rounds is too slow. (Thesis §4.2.1)"""

IN_SYNC = 9, 10
"""A learner is promoted by command only if it has so much of the log, and has spoken lately: see `lags`. (etcd)"""

SILENT_FOR = 10
"""Election timeouts without a word after which a new voter is given up."""

WISHED_FOR = 60
"""Election timeouts that a wish waits for an answer: a new voter may have much to catch up with."""


@dataclass(slots=True)
class Wish:
    """A change that the leader was asked for."""

    token: Token
    expires: Instant


# Decisions.


def tidy(members: Members) -> Members:
    """The same configuration, as one value."""
    return Members(*(tuple(sorted(set(ids))) for ids in (members.voters, members.learners, members.outgoing)))


def well_formed(members: Members) -> bool:
    """Is there a voter, and each member named once? A joint configuration can't be asked for."""
    everyone = (*members.voters, *members.learners)
    return bool(members.voters) and not members.outgoing and len(set(everyone)) == len(everyone) and min(everyone) > 0


def next_step(now: Members, target: Members) -> Members:
    """Any two majorities of configurations that differ by one voter have a member in common, so that is one step.

    Anything else needs both majorities for a while. (Thesis §4.1; Raft §6)
    """
    if len(set(now.voters) ^ set(target.voters)) <= 1:
        return target
    return Members(target.voters, target.learners, outgoing=now.voters)


def may_campaign(me: Replica) -> bool:
    """A voter may; and one that was, until the configuration without it is committed: it might be needed for that.

    (Thesis §4.2.2) One that refills may not.
    """
    if me.refill is not None:
        return False
    return any(me.id in members.voters or me.id in members.outgoing for _, members in me.configurations)


def everyone(me: Replica) -> tuple[NodeId, ...]:
    """All members of the last configuration that is committed, and of those after it: each of them may come to count.

    Who is to be removed may lead again once that is rolled back, so nobody turns away from it before it is committed.
    """
    return tuple(sorted({node for _, members in me.configurations for node in members.everyone()}))


# Every replica.


def take_effect(me: Replica) -> None:
    """A server uses the latest configuration in its log, committed or not. (§6)"""
    index, members = me.configurations[-1]
    if members != me.members:
        me.out.append(MembersActive(members, index))
    me.members = members
    me.quorum = quorum_of(members)
    me.peers = frozenset(members.everyone()) - {me.id}
    me.belongs = me.id in members.everyone()
    if isinstance(me.role, Leader):
        known, last = me.role.progress, me.log.last.index
        me.role.progress = {peer: known.get(peer) or Progress(next=last, heard=me.now) for peer in sorted(me.peers)}
    elif may_campaign(me) != (me.campaign_at is not None):
        me.rest()


def roll_back(me: Replica, first: Index) -> None:
    """Entries from this index on are gone, and the configurations in them with them."""
    if me.configurations[-1][0] >= first:
        while me.configurations[-1][0] >= first:
            me.configurations.pop()
        take_effect(me)


def forget_replaced(me: Replica) -> None:
    """A configuration can't come back once its successor is committed."""
    if me.configurations[1][0] <= me.commit:
        while len(me.configurations) > 1 and me.configurations[1][0] <= me.commit:
            del me.configurations[0]
        take_effect(me)
        me.out.append(MembersActive(me.members, me.configurations[-1][0]))


def stay_outside(me: Replica) -> None:
    """Nobody answers one who is no member, so those who wait are told at once. A leader first hands over."""
    if isinstance(me.role, Leader) or not (me.held or me.asked or me.incoming or me.reading):
        return
    tokens = [token for waiting in me.held.values() for token in waiting.tokens]
    tokens += [token for asked in me.asked for token in asked.tokens]
    tokens += [token for token, _ in me.incoming] + me.reading
    me.own_bytes -= sum(len(waiting.batch.requests) for waiting in me.held.values())
    me.held.clear()
    me.asked.clear()
    me.incoming, me.reading = [], []
    me.out.append(Rejected(tuple(tokens), Why.NOT_A_MEMBER, me.leader))


# Who asks.


def on_change_members(me: Replica, event: ChangeMembers) -> None:
    """Take it on if we lead, else ask the leader."""
    why: Why | None = None
    if isinstance(me.role, Stopped):
        why = Why.FINISHED
    elif me.refill is not None:
        why = Why.REFILLING
    elif isinstance(me.role, Leader):
        why = take_on(me, me.role, Change(event.members, event.token), event.base)
    elif not me.leader:
        why = Why.NO_LEADER
    else:
        me.batches += 1
        me.wishes[me.batches] = Wish(event.token, me.now + WISHED_FOR * me.settings.election_timeout)
        me.send_now((me.leader,), ForwardChange(me.term, me.life, me.batches, event.members, event.base))
    if why is not None:
        me.out.append(Rejected((event.token,), why, me.leader))


def on_members_changed(me: Replica, sender: NodeId, message: MembersChanged) -> None:
    """Our wish has come true."""
    wish = me.wishes.pop(message.number, None) if message.life == me.life else None
    if wish is None:
        me.discard(sender, "a change that nobody waits for")
    else:
        me.out.append(Done((wish.token,)))


# The leader.


def take_on(me: Replica, role: Leader, change: Change, base: Members | None) -> Why | None:
    """Begin with this change, or say why not. `proceed` does the rest."""
    if not well_formed(change.target):
        return Why.NO_CONFIGURATION
    if me.handover is not None:
        return Why.TRANSFERRING
    if role.change is not None or me.members.outgoing:
        return Why.CHANGING
    if base is not None and tidy(base) != tidy(me.members):
        return Why.CHANGED
    promoted = sorted(set(change.target.voters) & set(me.members.learners))
    if any(lags(me, role.progress[node]) for node in promoted):
        return Why.BEHIND
    change.target = tidy(change.target)
    role.change = change
    return None


def lags(me: Replica, learner: Progress) -> bool:
    """Is it so far behind, or silent, that whoever wants it promoted shall not wait for it?"""
    numerator, denominator = IN_SYNC
    silent = learner.heard <= me.now - me.settings.election_timeout
    return silent or learner.match * denominator < me.log.last.index * numerator


def end(me: Replica, role: Leader, change: Change, why: Why | None = None) -> None:
    """The change is done, or, for a reason, never will be."""
    role.change = None
    if change.asker is not None:
        asker, life, number = change.asker
        answer = MembersChanged(me.term, life, number) if why is None else ForwardRefused(me.term, life, number, why)
        me.send_now((asker,), answer)
    else:
        me.out.append(Done((change.token,)) if why is None else Rejected((change.token,), why, me.leader))


def proceed(me: Replica, role: Leader) -> None:
    """Take the next step, once the last is committed, and an entry of our own term. (§6; the correction of 2015)

    A leader that is not in C-new leaves once it is committed. (§6; thesis §4.2.2)
    """
    change, (index, members) = role.change, me.configurations[-1]
    if change is None and not members.outgoing and me.id in members.voters:
        return
    if me.commit < max(index, role.first) or me.handover is not None:
        return
    if members.outgoing:
        enter(me, role, Members(members.voters, members.learners))
    elif change is None:
        heir = max(members.voters, key=lambda voter: role.progress[voter].match)
        handover.begin(me, role, heir)
    elif tidy(members) == change.target:
        end(me, role, change)
        proceed(me, role)
    else:
        advance(me, role, change, tidy(members))


def advance(me: Replica, role: Leader, change: Change, now: Members) -> None:
    """Make new voters learners, wait until they have caught up, then let them vote. (Thesis §4.2.1)"""
    joining = sorted(set(change.target.voters) - set(now.voters))
    strangers = tuple(node for node in joining if node not in now.learners)
    others = [role.progress[node] for node in joining if node in role.progress]
    silent = me.now - SILENT_FOR * me.settings.election_timeout
    if strangers:
        change.added = strangers
        enter(me, role, Members(now.voters, tuple(sorted({*now.learners, *strangers}))))
    elif caught_up(me, change, others):
        enter(me, role, next_step(now, change.target))
    elif change.rounds > ROUNDS or any(progress.heard <= silent for progress in others):
        end(me, role, change, Why.BEHIND)
        if change.added:
            enter(me, role, Members(now.voters, tuple(node for node in now.learners if node not in change.added)))


def caught_up(me: Replica, change: Change, others: Sequence[Progress]) -> bool:
    """Replication goes in rounds, each of what the log held when it began; one must be short. (Thesis §4.2.1)"""
    while all(progress.match >= change.goal for progress in others):
        if change.rounds and me.now - change.since <= me.settings.election_timeout:
            return True
        change.rounds, change.since, change.goal = change.rounds + 1, me.now, me.log.last.index
    return False


def enter(me: Replica, role: Leader, members: Members) -> None:
    """Append this configuration; it counts from now on. (§6)"""
    me.append((Entry(me.log.last.index + 1, me.term, agreement.stamp(me, role), Kind.MEMBERS, (), members),))
