"""What is chosen: phase 2 for many slots at once, what a new leader takes over, and how everybody learns.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.2 phase 2, §2.3, §3; van Renesse and Altinbuken, "Paxos Made
          Moderately Complex" (2015), §2.2 to §2.4 (`Commander`, `pmax`), §4.
Words:    to take in is to accept a batch from a caller's node; to propose is to begin phase 2 of a slot; to take over
          is to adopt what may have been chosen under lower ballots. Told is what a follower knows to be chosen.
Departs:  a value holds all batches that gathered meanwhile. Values are chosen in any order, and handed on in order. A
          value keeps the round and the stamp that it was first proposed with; where it is handed on, both are raised to
          those of the one before it, so that neither goes back along the log.
Evidence: tests/consensus/multipaxos/test_agreement.py, tests/stories/multipaxos/test_slots.py,
          tests/consensus/test_engine_contract.py, invariants.OneValueChosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ostraka.consensus.multipaxos import checkpoint, handover, leadership, membership, reads
from ostraka.consensus.multipaxos.messages import (
    Accept,
    Accepted,
    Learn,
    Learned,
    Prepare,
    Promise,
    PValue,
    Slot,
)
from ostraka.consensus.multipaxos.roles import Follower, Leader, Proposal
from ostraka.model.effects import Commit
from ostraka.model.events import LinkDown, LinkUp
from ostraka.model.ids import NodeId
from ostraka.model.requests import Batch, Entry, Kind

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica

ENOUGH = 64 << 10
"""With so many bytes gathered a value is made, whatever is under way."""


# Decisions.


def pmax(*sources: Iterable[PValue]) -> dict[Slot, PValue]:
    """For each slot the pvalue with the highest ballot: what must be proposed again. (PMMC, `pmax`)"""
    best: dict[Slot, PValue] = {}
    for pvalues in sources:
        for pvalue in pvalues:
            slot = pvalue.value.index
            if slot not in best or pvalue.ballot > best[slot].ballot:
                best[slot] = pvalue
    return best


def runs(slots: Iterable[Slot]) -> list[tuple[Slot, Slot]]:
    """Ascending slots as stretches without gaps, each by its first and last slot."""
    found: list[tuple[Slot, Slot]] = []
    for slot in slots:
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found


# A new leader.


def take_over(me: Replica, role: Leader, sender: NodeId, promise: Promise) -> None:
    """Whatever this acceptor accepted may have been chosen. What it knows as chosen is learnt instead. (PMS §3)

    What we have proposed under this ballot stands: a quorum of those who decide it had promised before.
    """
    role.recovered = pmax(role.recovered.values(), (p for p in promise.accepted if p.value.index >= role.next))
    role.recovered_upto = max(role.recovered_upto, *role.recovered, 0)
    if promise.chosen > role.learn_upto:
        role.learn_upto, role.source = promise.chosen, sender


def go_on(me: Replica, role: Leader) -> None:
    """Propose in the next slots, as far as the window reaches, in the configurations that decide them. (PMMC §2.4)

    First what may have been chosen, with no-ops in holes; then what callers want; then, if a configuration waits to
    come into force, no-ops up to there.
    """
    if me.chosen < role.learn_upto:
        learn_before_leading(me, role)
        return
    while role.next <= me.chosen + membership.ALPHA:
        if not membership.is_prepared(me, role.next, role.promised):
            ask_for_promises(me, role)
            return
        if role.next <= role.recovered_upto:
            old = role.recovered.pop(role.next, None)
            propose(me, role, no_op(me, role) if old is None else old.value)
        elif role.gathered and is_due(me, role):
            value = made_of_gathered(me, role)
            propose(me, role, value, value.size())
        elif role.next < me.schedule[-1][0]:
            propose(me, role, no_op(me, role))
        else:
            return


def learn_before_leading(me: Replica, role: Leader) -> None:
    """Ask whoever knows most. If all who knew have crashed since, and forgot what is chosen: phase 1 once more.

    For then they tell what they accepted there.
    """
    if role.learnt != me.chosen:
        role.learnt, role.learnt_at = me.chosen, me.now
    best = max(role.progress, key=lambda peer: role.progress[peer].chosen, default=role.source)
    ask_to_learn(me, best if best in role.progress and role.progress[best].chosen > me.chosen else role.source)
    if (
        me.now >= role.learnt_at + me.settings.election_timeout
        and me.states.fetching is None
        and me.states.installing is None
    ):
        leadership.prepare(me)


def is_settled(me: Replica, role: Leader) -> bool:
    """Is all that may have been chosen before this ballot known to be chosen, wherever anybody could have?"""
    return me.chosen >= max(role.learn_upto, role.recovered_upto) and membership.promised_by_enough(me, role.promised)


def ask_for_promises(me: Replica, role: Leader) -> None:
    """Another configuration decides from here on: phase 1 with its members, too. Asked again with each heartbeat."""
    if role.beat or me.now >= role.heartbeat_at:
        missing = tuple(
            node for node in membership.voters_at(me, role.next) if node not in role.promised and node != me.id
        )
        if missing:
            me.send_now(missing, Prepare(role.ballot, role.next))


def no_op(me: Replica, role: Leader) -> Entry:
    return Entry(role.next, role.ballot.round, stamp(me, role))


def stamp(me: Replica, role: Leader) -> int:
    """Cluster time: it goes on from the last stamp at the pace of the leader's clock."""
    return role.clock + me.now - role.since


def propose(me: Replica, role: Leader, value: Entry, size: int = 0) -> None:
    """Phase 2a for this slot: it is accepted here, and sent at the end of the turn. (PMS §2.2; PMMC, `Commander`)

    `size`: bytes of it that count as uncommitted.
    """
    assert value.index == role.next
    role.open[role.next] = Proposal(value, size)
    role.unsent = role.unsent or role.next
    for batch in value.batches:
        role.callers[batch.origin] = role.next
    me.accept(PValue(role.ballot, value))
    role.next += 1


# Requests.


def take_in(me: Replica, role: Leader, batch: Batch) -> bool:
    """Gather a batch, unless too much is undecided already."""
    size = len(batch.requests)
    if role.uncommitted and role.uncommitted + size > me.settings.max_uncommitted:
        return False
    role.gathered.append(batch)
    role.gathered_bytes += size
    role.uncommitted += size
    return True


def is_due(me: Replica, role: Leader) -> bool:
    """Batches gather while others are under way, but not for long."""
    return (
        not role.open
        or role.gathered_bytes >= ENOUGH
        or me.now >= role.cut_at + me.settings.linger
        or me.handover is not None
    )


def made_of_gathered(me: Replica, role: Leader) -> Entry:
    """One value of as many batches as it may hold."""
    batches = [role.gathered.popleft()]
    room = me.settings.max_entry - len(batches[0].requests)
    while role.gathered and len(role.gathered[0].requests) <= room:
        batches.append(role.gathered.popleft())
        room -= len(batches[-1].requests)
    role.gathered_bytes -= sum(len(batch.requests) for batch in batches)
    role.cut_at = me.now
    return Entry(role.next, role.ballot.round, stamp(me, role), Kind.REQUESTS, tuple(batches))


# The leader's turn.


def lead_on(me: Replica, role: Leader) -> None:
    """What a leader does at the end of each turn."""
    if role.recount:
        role.recount = False
        count(me, role)
    role.next = max(role.next, me.chosen + 1)
    membership.proceed(me, role)
    if me.handover is not None:
        handover.proceed(me, role, me.handover)
    go_on(me, role)
    if me.role is role:
        reads.confirm(me, role)
        tell(me, role)


def count(me: Replica, role: Leader) -> None:
    """A value is chosen once a quorum of the configuration that decides its slot has accepted it. (PMS §2.2)"""
    while (proposal := role.open.get(me.chosen + 1)) is not None:
        if not membership.phase2(me, me.chosen + 1)(proposal.accepted):
            break
        close(role, me.chosen + 1)
        advance(me, me.chosen + 1)


def close(role: Leader, slot: Slot) -> None:
    """It is chosen."""
    proposal = role.open.pop(slot, None)
    if proposal is not None:
        role.uncommitted -= proposal.size


def tell(me: Replica, role: Leader) -> None:
    """Send what was proposed in this turn to all, once more what somebody has not accepted, and heartbeats.

    The others are written to while our own disk is: what is sent here promises nothing about it.
    """
    peers = tuple(role.progress)
    if me.now >= role.heartbeat_at:
        role.beat = True
    told: set[NodeId] = set()
    if role.unsent and peers:
        for values in parts(
            [each.value for slot, each in role.open.items() if slot >= role.unsent], me.settings.max_append
        ):
            send_accept(me, role, peers, values)
        told.update(peers)
        for progress in role.progress.values():
            progress.resend_at = max(progress.resend_at, me.now + 2 * me.settings.heartbeat)
    role.unsent = 0
    for peer, progress in role.progress.items():
        if peer in told:
            continue
        if me.now >= progress.resend_at and (missing := [s for s, p in role.open.items() if peer not in p.accepted]):
            progress.resend_at = me.now + 2 * me.settings.heartbeat
            first, last = runs(missing)[0]
            values = [role.open[slot].value for slot in range(first, last + 1)]
            send_accept(me, role, (peer,), next(iter(parts(values, me.settings.max_append))))
            told.add(peer)
    quiet = tuple(
        peer
        for peer, progress in role.progress.items()
        if peer not in told and (role.beat or role.callers.get(peer, 0) > progress.told < me.chosen)
    )
    if quiet:
        send_accept(me, role, quiet, ())
    if role.beat or len(told) == len(peers):
        role.heartbeat_at = me.now + me.settings.heartbeat
    role.beat = False


def send_accept(me: Replica, role: Leader, peers: tuple[NodeId, ...], values: Iterable[Entry]) -> None:
    """Phase 2a."""
    me.send_now(peers, Accept(role.ballot, tuple(values), me.chosen, role.round))
    for peer in peers:
        role.progress[peer].told = me.chosen


def parts(values: list[Entry], most: int) -> Iterable[list[Entry]]:
    """These values in messages of at most so many bytes, but at least one value each."""
    part: list[Entry] = []
    size = 0
    for value in values:
        more = value.size()
        if part and size + more > most:
            yield part
            part, size = [], 0
        part.append(value)
        size += more
    if part:
        yield part


def on_accepted(me: Replica, sender: NodeId, message: Accepted) -> None:
    """Phase 2b: note who has accepted what."""
    role = me.role
    if not isinstance(role, Leader) or message.ballot != role.ballot:
        me.discard(sender, "it accepted under another ballot")
        return
    progress = role.progress.get(sender)
    if progress is None or message.round > role.round or message.last >= role.next:
        me.discard(sender, "an answer to what was never sent")
        return
    progress.heard = me.now
    progress.round = max(progress.round, message.round)
    progress.chosen = max(progress.chosen, message.chosen)
    for slot in range(max(message.first, me.chosen + 1), message.last + 1):
        proposal = role.open.get(slot)
        if proposal is not None:
            proposal.accepted.add(sender)
            role.recount = True


def on_saved(me: Replica, slots: Iterable[Slot]) -> None:
    """Our own vote counts once it is durable, like any other."""
    role = me.role
    if isinstance(role, Leader):
        for slot in slots:
            proposal = role.open.get(slot)
            if proposal is not None:
                proposal.accepted.add(me.id)
                role.recount = True


def on_link(me: Replica, event: LinkUp | LinkDown) -> None:
    """A hint that messages may be lost: send again soon; give up on what was forwarded."""
    if isinstance(me.role, Leader):
        if event.peer in me.role.progress:
            me.role.progress[event.peer].resend_at = me.now
    elif isinstance(event, LinkDown) and event.peer == me.leader:
        me.callers.lose_sent()
        membership.lose_wishes(me)


# Acceptors and learners.


def on_accept(me: Replica, sender: NodeId, message: Accept) -> None:
    """Accept these values, unless a higher ballot was promised. (PMS §2.2, phase 2b)"""
    if not well_formed(message):
        me.discard(sender, "not what a leader would send")
        return
    if not leadership.is_of_leader(me, sender, message):
        return
    fresh = False
    for value in message.values:
        if value.index > me.chosen:
            known = me.log.get(value.index)
            if known is None or known.ballot < message.ballot:
                me.accept(PValue(message.ballot, value))
                fresh = True
    role = me.role
    assert isinstance(role, Follower)
    first = message.values[0].index if message.values else 1
    last = message.values[-1].index if message.values else 0
    if fresh and message.round > role.round:
        # Readers wait for the round, and the round for nobody's disk: only the values do.
        role.round = message.round
        me.send_now((sender,), Accepted(message.ballot, 1, 0, me.chosen, message.round))
    learn_from_ballot(me, message)
    answer = Accepted(message.ballot, first, last, me.chosen, message.round)
    if message.values:
        me.send(sender, answer)
    else:
        me.send_now((sender,), answer)
    if message.chosen > me.chosen:
        ask_to_learn(me, sender)


def well_formed(message: Accept) -> bool:
    """Do the values follow on one another?"""
    first = message.values[0].index if message.values else 1
    return first > 0 and all(value.index == slot for slot, value in enumerate(message.values, first))


def learn_from_ballot(me: Replica, message: Accept) -> None:
    """What we accepted under the leader's own ballot is what was chosen, in slots that it knows as chosen. (§2.3)"""
    upto = me.chosen
    while upto < message.chosen and (pvalue := me.log.get(upto + 1)) is not None and pvalue.ballot == message.ballot:
        upto += 1
    advance(me, upto)


def ask_to_learn(me: Replica, source: NodeId) -> None:
    """Ask for the first slot that we don't know as chosen, and more. One question at a time, repeated when it ages."""
    if me.now >= me.learn_again_at and me.states.fetching is None and me.states.installing is None:
        me.learn_again_at = me.now + 2 * me.settings.heartbeat
        me.send_now((source,), Learn(me.promised, me.chosen + 1))


def on_learn(me: Replica, sender: NodeId, message: Learn) -> None:
    """Tell what was chosen, or offer a state where that is forgotten. (PMS §2.3)"""
    if message.first > me.chosen:
        me.discard(sender, "nothing more is known to be chosen")
    elif message.first < me.log.first:
        checkpoint.offer(me, sender)
    else:
        values = list(me.log.values(message.first, min(me.chosen, message.first + membership.MOST_LEARNT)))
        part = next(iter(parts(values, me.settings.max_append)))
        me.send_now((sender,), Learned(me.promised, tuple(part)))


def on_learned(me: Replica, sender: NodeId, message: Learned) -> None:
    """It was chosen in a ballot up to that one, so it is as good as accepted under it."""
    before, role = me.chosen, me.role
    for value in message.values:
        slot = value.index
        if slot == me.chosen + 1 and me.states.installing is None:
            known = me.log.get(slot)
            if known is None or known.value != value:
                me.accept(PValue(message.ballot if known is None else max(message.ballot, known.ballot), value))
            if isinstance(role, Leader):
                close(role, slot)
                role.clock = max(role.clock, value.stamp + role.since - me.now)
            advance(me, slot)
    if me.chosen == before:
        me.discard(sender, "nothing new to learn")
        return
    me.learn_again_at = me.now
    if not isinstance(role, Leader):
        if me.leader == sender:
            me.send(sender, Accepted(me.promised, 1, 0, me.chosen, 0))
        ask_to_learn(me, sender)  # There may be more.


def advance(me: Replica, upto: Slot) -> None:
    """Everything up to this slot is known to be chosen. Configurations among it are scheduled. (PMMC §2.1, WINDOW)"""
    for slot in range(me.chosen + 1, upto + 1):
        me.chosen = slot
        pvalue = me.log.get(slot)
        assert pvalue is not None
        if pvalue.value.members is not None:
            membership.schedule(me, slot, pvalue.value.members)
    membership.come_into_force(me)


def decide(me: Replica) -> None:
    """Hand on what is chosen and durable here, in order, and say which of our own callers are in it."""
    if me.states.installing is not None:
        return
    upto = me.decided
    while upto < me.chosen and upto + 1 not in me.unsaved:
        upto += 1
    if upto == me.decided:
        return
    entries = []
    for value in me.log.values(me.decided + 1, upto):
        me.decided_epoch = max(me.decided_epoch, value.epoch)
        me.decided_stamp = max(me.decided_stamp, value.stamp)
        if (value.epoch, value.stamp) != (me.decided_epoch, me.decided_stamp):
            value = msgspec.structs.replace(value, epoch=me.decided_epoch, stamp=me.decided_stamp)
        entries.append(value)
    me.decided = upto
    me.out.append(Commit(tuple(entries), me.callers.named(entries)))
