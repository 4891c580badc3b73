"""Where the log begins: compaction, and followers that need what is no longer there.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §7.
Words:    a snapshot's meta is lastIncludedIndex, lastIncludedTerm and the configuration there.
Departs:  the leader only offers a snapshot; the follower pulls it beside the engine. Compaction follows what the state
          machine has made durable, without taking snapshots of its own.
Evidence: tests/consensus/raft/test_checkpoint.py, tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.raft import lease, membership, refill
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Appended, Installed, SnapshotOffer
from ostraka.consensus.raft.roles import Leader, Stopped
from ostraka.model.effects import Compact, FetchSnapshot, InstallSnapshot, TakeSnapshot
from ostraka.model.events import Applied, SnapshotFetched, SnapshotInstalled, SnapshotTaken
from ostraka.model.ids import Index, NodeId

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

TAIL_BYTES = 64 << 20
"""However many entries the settings keep for slow followers, they are kept only up to this size."""


def on_applied(me: Replica, event: Applied) -> None:
    """Entries that the state machine can do without are forgotten, but for a tail. (§7)"""
    me.applied = max(me.applied, min(event.index, me.decided))
    me.flushed = max(me.flushed, min(event.flushed, me.applied))
    if isinstance(me.role, Stopped):
        return
    upto = compactable(me.log, me.flushed, me.settings.tail)
    if upto - me.log.base.index >= me.settings.compact_every or (me.log.size > 2 * TAIL_BYTES and upto >= me.log.first):
        me.log.compact(upto)
        me.out.append(Compact(me.log.first))


def compactable(log: Log, flushed: Index, tail: int) -> Index:
    """The last entry that can go: durable in the state, and behind the tail by number or by size."""
    upto = max(flushed - tail, log.base.index)
    if log.size > 2 * TAIL_BYTES:
        upto = max(upto, min(log.end_of(TAIL_BYTES), flushed))
    return upto


def offer(me: Replica, peer: NodeId) -> None:
    """Offer the last snapshot taken, if our log goes on from it; else have one taken first."""
    if me.snapshot is not None and me.snapshot.index >= me.log.base.index:
        me.send_now((peer,), SnapshotOffer(me.term, me.snapshot, me.leases.longest))
    elif not me.taking:
        me.taking = True
        me.out.append(TakeSnapshot(me.applied))


def on_taken(me: Replica, event: SnapshotTaken) -> None:
    """Offer it to those that wait for it."""
    me.taking = False
    me.snapshot = event.meta
    if isinstance(me.role, Leader):
        for peer, progress in me.role.progress.items():
            if progress.next < me.log.first:
                offer(me, peer)


def on_offer(me: Replica, sender: NodeId, message: SnapshotOffer) -> None:
    """Pull the state if it is ahead of what we know to be committed. (Figure 13)"""
    meta = message.meta
    if message.term < me.term:
        me.send_now((sender,), Appended(me.term, False, 0, 0))
        return
    if isinstance(me.role, Leader):
        me.discard(sender, "not what a leader of this term would send")
        return
    me.hear(sender)
    lease.adopt(me, message.lease)
    if meta.index <= me.commit:
        me.send_now((sender,), Appended(me.term, True, min(me.commit, me.saved), 0, life=refill.life(me)))
    elif me.leases.longest and me.term_save:
        pass  # No entry may be durable before the lease by which it is read: the offer comes again.
    elif me.fetching is None and me.installing is None:
        me.fetching = meta
        me.out.append(FetchSnapshot(meta, (sender,)))


def on_fetched(me: Replica, event: SnapshotFetched) -> None:
    """Install what was pulled, unless the log has overtaken it. Nothing is decided until it is installed."""
    if event.meta != me.fetching or isinstance(me.role, Stopped):
        return
    me.fetching = None
    if event.ok and event.meta.index > me.commit:
        me.installing = event.meta
        me.out.append(InstallSnapshot(event.meta))


def on_installed(me: Replica, event: SnapshotInstalled) -> None:
    """The state is durable; now the log begins after it, and keeps what goes on from there. (Figure 13, 6 to 8)"""
    meta = event.meta
    if meta != me.installing or isinstance(me.role, Stopped):
        return
    me.installing = None
    me.leases.grown = me.now
    if me.log.position_at(meta.index) != meta.position:
        assert me.commit < meta.index and not isinstance(me.role, Leader), f"{meta.position} is not in our log"
        me.log = Log(meta.position, meta.stamp)
        me.saved = meta.index
        for save in me.saves:
            save.index = min(save.index, meta.index)
        me.configurations = []
        me.save(Installed(meta.position))
        me.out.append(Compact(me.log.first))
    me.saved = max(me.saved, meta.index)
    me.commit = max(me.commit, meta.index)
    me.decided = me.applied = me.flushed = meta.index
    later = [configuration for configuration in me.configurations if configuration[0] > meta.index]
    me.configurations = [(meta.index, meta.members), *later]
    membership.take_effect(me)
    if me.leader and not isinstance(me.role, Leader):
        me.send(me.leader, Appended(me.term, True, meta.index, 0, life=refill.life(me)))
