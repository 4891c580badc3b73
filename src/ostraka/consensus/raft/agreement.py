"""What is decided: the leader's entries, their way to the followers, and the commit rule.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.3, §5.4.2, Figure 2
          (AppendEntries); Ongaro's thesis §10.2.1 (writing to disk in parallel), §10.2.2 (batching and pipelining).
Words:    to take in is to accept a batch; to cut is to close an entry; told is what a follower knows to be committed.
Departs:  an entry holds all batches that gathered while the one before was under way. A leader tells followers with
          waiting callers of a commit at once. Entries up to our own commit index are not compared again: any leader of
          a later term has them (Leader Completeness). Cluster time is stamped here.
Evidence: tests/consensus/raft/test_agreement.py, invariants.LogMatching, invariants.LeaderCompleteness,
          invariants.StateMachineSafety.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ostraka.consensus.quorum import Quorum, reached
from ostraka.consensus.raft import checkpoint, handover, lease, loading, membership, reads, refill
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Append, Appended, End, Term
from ostraka.consensus.raft.roles import Follower, Leader, Progress
from ostraka.model.effects import Commit, Named
from ostraka.model.events import LinkDown, LinkUp
from ostraka.model.ids import ORIGIN, Index, NodeId, Position
from ostraka.model.requests import Batch, Entry, Kind

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

ENOUGH = 64 << 10
"""With so many bytes gathered an entry is cut, whatever is under way."""


# Decisions.


def committable(quorum: Quorum, match: Mapping[NodeId, Index], log: Log, term: Term, commit: Index) -> Index:
    """How far a leader may commit: to an entry of its own term that a quorum holds. (§5.4.2, Figure 8)

    An entry of an older term on a quorum may still be replaced; it is committed by one of this term behind it.
    """
    index = reached(quorum, match)
    if index > commit and (at := log.position_at(index)) is not None and at.epoch == term:
        return index
    return commit


def conflict_at(log: Log, prev: Index, commit: Index) -> Position:
    """What to tell a leader whose `prev` isn't here: the term found there and where it begins. (§5.3)"""
    at = log.position_at(prev)
    if at is None:
        return Position(0, log.last.index + 1)
    return Position(at.epoch, max(log.first_of_epoch(prev), commit + 1))


def back_up(log: Log, rejected: Index, conflict: Position) -> Index:
    """Where to go on after a rejection: skip all of a term that we don't have, in one step. (§5.3)"""
    found = log.end_of_epoch(conflict.epoch, below=rejected) if conflict.epoch else None
    return min(conflict.index if found is None else found + 1, rejected)


# The leader.


def begin_term(me: Replica, role: Leader) -> None:
    """Append a no-op: once it is committed, so is all before it. (§8)"""
    role.cut_at = me.now
    append_noop(me, role)


def append_noop(me: Replica, role: Leader) -> None:
    """An entry that asks for nothing."""
    me.append((Entry(me.log.last.index + 1, me.term, stamp(me, role)),))


def stamp(me: Replica, role: Leader) -> int:
    """Cluster time: it goes on from the last stamp at the pace of the leader's clock."""
    return role.clock + me.now - role.since


def take_in(me: Replica, role: Leader, batch: Batch) -> bool:
    """Accept a batch for the log, unless too much is undecided already."""
    size = len(batch.requests)
    if role.uncommitted and role.uncommitted + size > me.settings.max_uncommitted:
        return False
    role.gathered.append(batch)
    role.gathered_bytes += size
    role.uncommitted += size
    return True


def lead_on(me: Replica, role: Leader) -> None:
    """What a leader does at the end of each turn."""
    lease.name(me, role)
    if role.recount and me.now >= role.commits_at:
        role.recount = False
        match = {peer: progress.match for peer, progress in role.progress.items()}
        match[me.id] = me.saved
        me.commit = committable(me.quorum, match, me.log, me.term, me.commit)
        while role.entry_sizes and role.entry_sizes[0][0] <= me.commit:
            role.uncommitted -= role.entry_sizes.popleft()[1]
        lease.extend(me, role)
    membership.proceed(me, role)
    if role.claims:
        handover.give_way(me, role)
    if me.handover is not None:
        handover.proceed(me, role, me.handover)
    elif role.gathered and (
        me.log.last.index <= me.commit or role.gathered_bytes >= ENOUGH or me.now >= role.cut_at + me.settings.linger
    ):
        cut(me, role)
    reads.confirm(me, role)
    replicate(me, role)


def cut(me: Replica, role: Leader) -> None:
    """Close entries over all that has gathered. (Thesis §10.2.2)"""
    waiting: list[list[Batch]] = []
    room = 0
    for batch in role.gathered:
        if not waiting or len(batch.requests) > room:
            waiting.append([])
            room = max(me.settings.max_entry, len(batch.requests))
        waiting[-1].append(batch)
        room -= len(batch.requests)
    time = stamp(me, role)
    entries = []
    for index, batches in enumerate(waiting, me.log.last.index + 1):
        entry = Entry(index, me.term, time, Kind.REQUESTS, tuple(batches))
        entries.append(entry)
        role.entry_sizes.append((index, entry.size()))
        for batch in batches:
            role.callers[batch.origin] = index
    me.append(entries)
    role.gathered = []
    role.gathered_bytes = 0
    role.cut_at = me.now


def replicate(me: Replica, role: Leader) -> None:
    """Send what each follower lacks, as far as its window allows; then tell those that must hear something.

    The followers are written to while our own disk is: what is sent here promises nothing about it. (Thesis §10.2.1)
    """
    if me.now >= role.heartbeat_at:
        role.beat = True
    served: set[NodeId] = set()
    while lacking := behind(me, role):
        for first, peers in lacking.items():
            send_entries(me, role, first, peers)
            served.update(peers)
    loading.load_for_followers(me, role)
    empty: dict[tuple[Index, Index], list[NodeId]] = {}
    for peer, progress in role.progress.items():
        if peer in served:
            continue
        if role.beat:
            progress.awaiting = False
            empty.setdefault((progress.next, min(progress.match, me.commit)), []).append(peer)
        elif role.callers.get(peer, 0) > progress.told < me.commit and not progress.probing:
            # `prev` lets the follower verify as much itself, so it may be told more than it has acknowledged.
            empty.setdefault((progress.next, me.commit), []).append(peer)
    for (first, commit), peers in empty.items():
        send_empty(me, role, first, commit, peers)
    if role.beat or len(served) == len(role.progress):
        role.heartbeat_at = me.now + me.settings.heartbeat
    role.beat = False


def behind(me: Replica, role: Leader) -> dict[Index, list[NodeId]]:
    """Who can be sent entries now, by the index that they begin with."""
    last, shed = me.log.last.index, me.log.shed.index
    lacking: dict[Index, list[NodeId]] = {}
    for peer, progress in role.progress.items():
        if shed < progress.next <= last and progress.may_send(me.settings):
            lacking.setdefault(progress.next, []).append(peer)
    return lacking


def send_entries(me: Replica, role: Leader, first: Index, peers: list[NodeId]) -> None:
    """One message for all who go on from the same place."""
    send_these(me, role, me.log.entries(first, me.log.last.index), peers)


def send_these(me: Replica, role: Leader, entries: tuple[Entry, ...], peers: list[NodeId]) -> None:
    """As many of these entries as fit into one message."""
    prev = me.log.position_at(entries[0].index - 1)
    assert prev is not None
    entries, size = fill(entries, me.settings.max_append)
    end = prev.index + len(entries)
    me.send_now(tuple(peers), Append(me.term, prev, entries, me.commit, role.round, me.leases.longest))
    for peer in peers:
        progress = role.progress[peer]
        progress.sent(end, size)
        progress.told = max(progress.told, min(me.commit, end))


def fill(entries: tuple[Entry, ...], most: int) -> tuple[tuple[Entry, ...], int]:
    """As many of these entries as fit into one message, at least one, and their size."""
    size = 0
    for count, entry in enumerate(entries):
        more = entry.size()
        if count and size + more > most:
            return entries[:count], size
        size += more
    return entries, size


def send_empty(me: Replica, role: Leader, first: Index, commit: Index, peers: list[NodeId]) -> None:
    """A heartbeat, a read round or the news of a commit. Its `prev` also finds out whether entries were lost."""
    prev = me.log.position_at(first - 1)
    me.send_now(tuple(peers), Append(me.term, prev or ORIGIN, (), commit, role.round, me.leases.longest))
    for peer in peers:
        role.progress[peer].told = max(role.progress[peer].told, commit)
        if prev is None:
            checkpoint.offer(me, peer)  # The log begins too late for this one.


def on_appended(me: Replica, sender: NodeId, answer: Appended) -> None:
    """Count what the follower holds; where the logs differ, go back. (§5.3)"""
    role = me.role
    if answer.term != me.term or not isinstance(role, Leader):
        me.discard(sender, "an answer to another term's leader")
        return
    progress = role.progress.get(sender)
    if progress is None or answer.match > me.log.last.index or answer.round > role.round:
        me.discard(sender, "an answer to what was never sent")
        return
    progress.heard = me.now
    if answer.round > progress.round:
        progress.round = answer.round
    if answer.life:
        me.send_now((sender,), End(me.term, answer.life, me.log.last.index))
        if not answer.ok and answer.match <= progress.match:
            progress.match = 0  # It says itself that it has lost what it acknowledged. `commit` stays where it is.
    if answer.ok:
        role.recount = role.recount or answer.match > progress.match
        progress.matches(answer.match)
        progress.probing = progress.awaiting = False
    elif is_stale(progress, answer.match):
        me.discard(sender, "a rejection of what was since resolved")
    else:
        progress.probe(back_up(me.log, answer.match, answer.conflict))
        # One that has lost what it acknowledged, and does not say so, is asked again with the heartbeats only.
        progress.awaiting = progress.next > answer.match


def is_stale(progress: Progress, rejected: Index) -> bool:
    """Is this rejection about a message that no longer matters? It does not lower `match`."""
    if progress.probing:
        return rejected != progress.next - 1
    return not progress.match < rejected < progress.next


def on_link(me: Replica, event: LinkUp | LinkDown) -> None:
    """A hint that messages may be lost: find out where the follower is; give up on what was forwarded."""
    if isinstance(me.role, Leader):
        if event.peer in me.role.progress:
            me.role.progress[event.peer].probe(0)
    elif isinstance(event, LinkDown) and event.peer == me.leader:
        me.lose_sent()


# The follower.


def on_append(me: Replica, sender: NodeId, message: Append) -> None:
    """Accept entries whose predecessor is here; remove only what conflicts. (Figure 2, AppendEntries; §5.3)"""
    prev, entries = message.prev, message.entries
    if message.term < me.term:
        # A stale leader must learn the term, or it would go on while we can't follow it.
        me.send_now((sender,), Appended(me.term, False, prev.index, message.round))
        return
    if isinstance(me.role, Leader) or not well_formed(message):
        me.discard(sender, "not what a leader of this term would send")
        return
    handover.claim(me, me.hear(sender))
    lease.adopt(me, message.lease)
    life = refill.life(me)
    if prev.index < me.commit:
        entries = entries[me.commit - prev.index :]  # What is committed here, that leader has, too.
    elif me.log.position_at(prev.index) != prev:
        conflict = conflict_at(me.log, prev.index, me.commit)
        me.send_now((sender,), Appended(me.term, False, prev.index, message.round, conflict, life))
        return
    verified = max(prev.index + len(message.entries), me.commit)
    if me.refill is not None:
        me.refill.matched = max(me.refill.matched, verified)
    if accept(me, entries):
        role = me.role
        if isinstance(role, Follower) and message.round > role.round:
            # Readers wait for the round, and the round for nobody's disk: only the entries do.
            role.round = message.round
            me.send_now((sender,), Appended(me.term, True, min(prev.index, me.saved), message.round))
        me.send(sender, Appended(me.term, True, verified, message.round, life=life))
    else:
        # Nothing new to promise, so the answer (and the read round in it) need not wait for the disk.
        me.send_now((sender,), Appended(me.term, True, min(verified, me.saved), message.round, life=life))
    me.commit = max(me.commit, min(message.commit, verified))


def well_formed(message: Append) -> bool:
    """Do the entries follow on `prev` and on one another, in terms no higher than the leader's?"""
    epoch, index = message.prev
    for entry in message.entries:
        index += 1
        if entry.index != index or not epoch <= entry.epoch:
            return False
        epoch = entry.epoch
    return epoch <= message.term


def accept(me: Replica, entries: tuple[Entry, ...]) -> bool:
    """Add those entries that aren't here, after removing what conflicts with the first of them. Was there any?"""
    for place, entry in enumerate(entries):
        at = me.log.position_at(entry.index)
        if at is not None and at.epoch == entry.epoch:
            continue
        if at is not None:
            me.truncate(entry.index)
        me.append(entries[place:])
        return True
    return False


# Both.


def decide(me: Replica) -> None:
    """Hand on what is committed and durable here, and say which of our own callers are in it."""
    if len(me.configurations) > 1:
        membership.forget_replaced(me)
    upto = min(me.commit, me.saved)
    if upto <= me.decided or me.installing is not None:
        return
    if me.decided < me.log.shed.index:
        loading.load_for_the_machine(me, upto)
    else:
        hand_on(me, me.log.entries(me.decided + 1, upto))


def hand_on(me: Replica, entries: tuple[Entry, ...]) -> None:
    """The next entries for the state machine."""
    me.decided = entries[-1].index
    named = []
    for entry in entries:
        for place, batch in enumerate(entry.batches):
            if batch.origin == me.id and batch.life == me.life:
                waiting = me.sent.pop(batch.number, None)
                if waiting is not None:
                    me.own_bytes -= len(batch.requests)
                    named.append(Named(entry.index, place, waiting.tokens))
    me.out.append(Commit(entries, tuple(named)))
