"""Who decides: configurations are commands like others, and each decides the slots from α after its own.

Follows:  Lamport, "Paxos Made Simple" (2001), §3 (α); van Renesse and Altinbuken, "Paxos Made Moderately Complex"
          (2015), §2.1 (WINDOW, reconfiguration); Howard, Malkhi and Spiegelman, "Flexible Paxos" (2016), for quorums of
          other sizes; Ongaro's thesis §4.2.1, for learners that catch up before they vote.
Words:    a configuration is scheduled once it is chosen, and in force once the first slot that it decides is the next
          to be chosen. A slot has one configuration, so old and new may have nobody in common.
Departs:  a voter that is new is a learner first. When a configuration waits, the leader fills the slots up to it with
          no-ops. A leader that the configuration in force doesn't have hands over.
Evidence: tests/stories/multipaxos/test_members.py,
          tests/consensus/test_engine_contract.py.

Why a leader prepares again for a configuration that comes later: a leader of a lower ballot may have had it chosen,
too, and proposed in its slots to members who never promised the higher ballot. So no slot is proposed before a phase 1
quorum of the configuration that decides it has promised (`is_prepared`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.multipaxos import agreement, handover
from ostraka.consensus.multipaxos.messages import ForwardChange, ForwardRefused, MembersChanged, Slot
from ostraka.consensus.multipaxos.roles import Change, Leader, Progress, Stopped
from ostraka.consensus.quorum import Quorum, phases
from ostraka.model.effects import Done, Lost, MembersActive, Rejected, Why
from ostraka.model.events import ChangeMembers
from ostraka.model.ids import Instant, NodeId, Token
from ostraka.model.requests import Entry, Kind, Members

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ostraka.consensus.multipaxos.replica import Replica

ALPHA = 32
"""Lamport's α: slots are proposed up to so many after the chosen prefix. The same on every member, for ever."""

MOST_LEARNT = 1000
"""Slots that one answer to Learn may hold."""

PATIENCE = 4
"""Whoever decides nothing waits so many times as long before it canvasses."""

ROUNDS = 10
"""A new voter that hasn't caught up after so many rounds is too slow. (Thesis §4.2.1)"""

SILENT_FOR = 10
"""Election timeouts without a word after which a new voter is given up."""

WISHED_FOR = 60
"""Election timeouts that a wish waits for an answer: a new voter may have much to catch up with."""


@dataclass(slots=True)
class Wish:
    """A change that the leader was asked for."""

    token: Token
    expires: Instant


# Which configuration decides.


def members_at(me: Replica, slot: Slot) -> Members:
    """The configuration that decides this slot."""
    found = me.schedule[0][1]
    for first, members in me.schedule:
        if first > slot:
            break
        found = members
    return found


def voters_at(me: Replica, slot: Slot) -> tuple[NodeId, ...]:
    return members_at(me, slot).voters


def phase2(me: Replica, slot: Slot) -> Quorum:
    """Whose acceptance makes a value chosen in this slot."""
    return _phases(me, members_at(me, slot))[1]


def is_prepared(me: Replica, slot: Slot, promised: AbstractSet[NodeId]) -> bool:
    """Have enough of those who decide this slot promised?"""
    return _phases(me, members_at(me, slot))[0](promised)


def _phases(me: Replica, members: Members) -> tuple[Quorum, Quorum]:
    known = me.quorums.get(members)
    if known is None:
        known = me.quorums[members] = phases(members.voters, me.settings.phase2_quorum)
    return known


def deciding(me: Replica) -> list[Members]:
    """The configurations that decide slots which aren't chosen, as far as they are known."""
    later = [members for first, members in me.schedule if first > me.chosen + 1]
    return [members_at(me, me.chosen + 1), *later]


def promised_by_enough(me: Replica, promised: AbstractSet[NodeId]) -> bool:
    """Can one that these promised propose in every slot?"""
    return all(_phases(me, members)[0](promised) for members in deciding(me))


def electorate(me: Replica) -> tuple[NodeId, ...]:
    """Whose promises count, but for our own."""
    return tuple(sorted({voter for members in deciding(me) for voter in members.voters} - {me.id}))


def decides(me: Replica, node: NodeId) -> bool:
    """Is it a voter of any of them?"""
    return any(node in members.voters for members in deciding(me))


# Every replica.


def schedule(me: Replica, slot: Slot, members: Members) -> None:
    """A configuration was chosen in this slot. It must be known after a crash, so the slot waits for it to be saved."""
    if all(first < slot + ALPHA for first, _ in me.schedule):
        me.schedule.append((slot + ALPHA, members))
        me.save_promise()
        me.unsaved[slot] = me.pending_save()


def come_into_force(me: Replica) -> None:
    """Forget configurations that decided nothing that is still remembered, and know everybody who is in a later one."""
    while len(me.schedule) > 1 and me.schedule[1][0] <= me.log.first:
        del me.schedule[0]
    take_effect(me)


def take_effect(me: Replica) -> None:
    """Whoever is in a configuration that decides, or will, is a peer."""
    latest = me.schedule[-1][1]
    others = {node for members in deciding(me) for node in members.everyone()} - set(latest.everyone())
    known = Members(latest.voters, latest.learners, tuple(sorted(others)))
    if known != me.members:
        me.out.append(MembersActive(known, me.chosen))
    me.members = known
    me.peers = frozenset(known.everyone()) - {me.id}
    if isinstance(me.role, Leader):
        had = me.role.progress
        if had.keys() != me.peers:
            me.role.progress = {peer: had.get(peer) or Progress(heard=me.now) for peer in sorted(me.peers)}
            me.role.beat = True
    if me.decides != decides(me, me.id):
        me.decides = not me.decides
        if not isinstance(me.role, Leader):
            me.rest()


# Who asks.


def tidy(members: Members) -> Members:
    """The same configuration, as one value."""
    return Members(tuple(sorted(set(members.voters))), tuple(sorted(set(members.learners))))


def well_formed(members: Members) -> bool:
    """Is there a voter, and each member named once? There are no joint configurations here."""
    everyone = (*members.voters, *members.learners)
    return bool(members.voters) and not members.outgoing and len(set(everyone)) == len(everyone) and min(everyone) > 0


def on_change_members(me: Replica, event: ChangeMembers) -> None:
    """Take it on if we lead, else ask the leader."""
    why: Why | None = None
    if isinstance(me.role, Stopped):
        why = Why.FINISHED
    elif isinstance(me.role, Leader):
        why = take_on(me, me.role, Change(event.members, event.token), event.base)
    elif not me.leader:
        why = Why.NO_LEADER
    else:
        me.callers.numbers += 1
        expires = me.now + WISHED_FOR * me.settings.election_timeout
        me.wishes[me.callers.numbers] = Wish(event.token, expires)
        ask = ForwardChange(me.promised, me.life, me.callers.numbers, event.members, event.base)
        me.send_now((me.leader,), ask)
    if why is not None:
        me.out.append(Rejected((event.token,), why, me.leader))


def on_members_changed(me: Replica, sender: NodeId, message: MembersChanged) -> None:
    """Our wish has come true."""
    wish = me.wishes.pop(message.number, None) if message.life == me.life else None
    if wish is None:
        me.discard(sender, "a change that nobody waits for")
    else:
        me.out.append(Done((wish.token,)))


def lose_wishes(me: Replica, upto: Instant | None = None) -> None:
    """Nobody here can tell any more what becomes of them; or of those that have expired."""
    lost = [number for number, wish in me.wishes.items() if upto is None or wish.expires <= upto]
    tokens = tuple([me.wishes.pop(number).token for number in lost])
    if tokens:
        me.out.append(Lost(tokens))


# The leader.


def take_on(me: Replica, role: Leader, change: Change, base: Members | None) -> Why | None:
    """Begin with this change, or say why not. `proceed` does the rest."""
    if not well_formed(change.target):
        return Why.NO_CONFIGURATION
    if me.handover is not None:
        return Why.TRANSFERRING
    if role.change is not None:
        return Why.CHANGING
    if base is not None and tidy(base) != tidy(me.schedule[-1][1]):
        return Why.CHANGED
    change.target = tidy(change.target)
    role.change = change
    return None


def end(me: Replica, role: Leader, change: Change, why: Why | None = None) -> None:
    """The change is done, or, for a reason, never will be."""
    role.change = None
    if change.asker is not None:
        asker, life, number = change.asker
        answer = (
            MembersChanged(role.ballot, life, number) if why is None else ForwardRefused(role.ballot, life, number, why)
        )
        me.send_now((asker,), answer)
    else:
        me.out.append(Done((change.token,)) if why is None else Rejected((change.token,), why, me.leader))


def proceed(me: Replica, role: Leader) -> None:
    """Take the next step, once the last configuration is in force. A leader that is not in it hands over."""
    change, (first, members) = role.change, me.schedule[-1]
    if (change is not None and change.entered > me.chosen) or role.next > me.chosen + ALPHA:
        return
    if first > me.chosen + 1 or not agreement.is_settled(me, role) or me.handover is not None:
        return
    if change is None:
        if me.id not in members.voters:
            heir = max(members.voters, key=lambda voter: role.progress[voter].chosen)
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
        enter(me, role, change, Members(now.voters, tuple(sorted({*now.learners, *strangers}))))
    elif caught_up(me, change, others):
        enter(me, role, change, change.target)
    elif change.rounds > ROUNDS or any(progress.heard <= silent for progress in others):
        end(me, role, change, Why.BEHIND)
        if change.added:
            back = Members(now.voters, tuple(node for node in now.learners if node not in change.added))
            enter(me, role, Change(back), back)


def caught_up(me: Replica, change: Change, others: Sequence[Progress]) -> bool:
    """Learning goes in rounds, each of what was chosen when it began; one must be short. (Thesis §4.2.1)"""
    while all(progress.chosen >= change.goal for progress in others):
        if change.rounds and me.now - change.since <= me.settings.election_timeout:
            return True
        change.rounds, change.since, change.goal = change.rounds + 1, me.now, me.chosen
    return False


def enter(me: Replica, role: Leader, change: Change, members: Members) -> None:
    """Propose this configuration in the next slot."""
    change.entered = role.next
    value = Entry(role.next, role.ballot.round, agreement.stamp(me, role), Kind.MEMBERS, (), members)
    agreement.propose(me, role, value)
