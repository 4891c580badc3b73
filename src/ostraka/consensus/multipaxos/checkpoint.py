"""Where the log begins: what may be forgotten, and members that need what is no longer there.

Follows:  van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015), §4.2 (garbage collection); Chandra et al.,
          "Paxos Made Live" (2007), §5.5 (snapshots).
Words:    a state is what the state machine is after the slot that its meta names.
Departs:  compaction follows what the state machine has made durable, but never takes the last α slots, whose
          configurations may not be in force. A state comes with the configurations that decide after it; they are
          durable before it is installed. An install never lowers a promise, nor removes what was accepted after it.
Evidence: tests/stories/multipaxos/test_slots.py,
          tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.multipaxos import membership
from ostraka.consensus.multipaxos.messages import Accepted, Installed, Schedule, Slot, SnapshotOffer
from ostraka.consensus.multipaxos.roles import Leader, Stopped
from ostraka.model.effects import Compact, FetchSnapshot, InstallSnapshot, TakeSnapshot
from ostraka.model.events import Applied, SnapshotFetched, SnapshotInstalled, SnapshotTaken
from ostraka.model.ids import NodeId
from ostraka.model.requests import Members, SnapshotMeta

if TYPE_CHECKING:
    from ostraka.consensus.multipaxos.replica import Replica

TAIL_BYTES = 64 << 20
"""However many slots the settings keep for slow members, they are kept only up to this size."""


def on_applied(me: Replica, event: Applied) -> None:
    """What the state machine can do without is forgotten, but for a tail. (PMMC §4.2)"""
    me.applied = max(me.applied, min(event.index, me.decided))
    me.flushed = max(me.flushed, min(event.flushed, me.applied))
    if isinstance(me.role, Stopped):
        return
    tail = me.settings.tail if me.log.size <= 2 * TAIL_BYTES else 0
    upto = me.flushed - max(tail, membership.ALPHA)
    if upto - me.log.base >= me.settings.compact_every or (tail == 0 and upto > me.log.base):
        me.log.forget(upto)
        me.out.append(Compact(me.log.first))


def offer(me: Replica, peer: NodeId) -> None:
    """Offer the last state taken, if our log goes on from it; else have one taken first."""
    if me.states.snapshot is not None and me.states.snapshot.index >= me.log.base:
        me.send_now((peer,), SnapshotOffer(me.promised, me.states.snapshot, tuple(me.schedule)))
        return
    me.states.offer_to.add(peer)
    if not me.states.taking:
        me.states.taking = True
        me.out.append(TakeSnapshot(me.applied))


def on_taken(me: Replica, event: SnapshotTaken) -> None:
    """Offer it to those that wait for it."""
    me.states.taking = False
    me.states.snapshot = event.meta
    waiting, me.states.offer_to = sorted(me.states.offer_to), set()
    for peer in waiting:
        offer(me, peer)


def on_offer(me: Replica, sender: NodeId, message: SnapshotOffer) -> None:
    """Pull the state if it is ahead of what we know to be chosen."""
    meta = message.meta
    if meta.index <= me.chosen:
        me.discard(sender, "a state that is behind us")
    elif me.states.fetching is None and me.states.installing is None:
        me.states.fetching = (meta, message.schedule)
        me.out.append(FetchSnapshot(meta, (sender,)))


def on_fetched(me: Replica, event: SnapshotFetched) -> None:
    """Install what was pulled, unless we have overtaken it, once it is durable who decides after it."""
    if me.states.fetching is None or event.meta != me.states.fetching[0] or isinstance(me.role, Stopped):
        return
    (meta, schedule), me.states.fetching = me.states.fetching, None
    if event.ok and meta.index > me.chosen:
        me.schedule = merged(me.schedule, schedule)
        me.save_promise()
        me.states.installing = meta
        me.states.install_after = me.pending_save()


def merged(mine: list[tuple[Slot, Members]], theirs: Schedule) -> list[tuple[Slot, Members]]:
    """Both schedules are true; where one knows more, it is taken."""
    return sorted({**dict(mine), **dict(theirs)}.items(), key=lambda each: each[0])


def proceed(me: Replica) -> None:
    """Install once what has to be durable before is."""
    if me.states.installing is not None and 0 < me.states.install_after <= me.now_saved:
        me.states.install_after = 0
        me.out.append(InstallSnapshot(me.states.installing))


def on_installed(me: Replica, event: SnapshotInstalled) -> None:
    """The state is durable; now the log begins after it, and keeps what was accepted later."""
    meta: SnapshotMeta = event.meta
    if meta != me.states.installing or isinstance(me.role, Stopped):
        return
    me.states.installing = None
    me.log.forget(meta.index)
    me.unsaved = {slot: save for slot, save in me.unsaved.items() if slot > meta.index}
    me.save(Installed(meta.index))
    me.out.append(Compact(me.log.first))
    me.chosen = max(me.chosen, meta.index)
    me.decided = me.applied = me.flushed = meta.index
    me.decided_epoch, me.decided_stamp = meta.epoch, meta.stamp
    membership.come_into_force(me)
    if isinstance(me.role, Leader):
        role = me.role
        role.open = {slot: proposal for slot, proposal in role.open.items() if slot > meta.index}
        role.clock = max(role.clock, meta.stamp + role.since - me.now)
    elif me.leader:
        me.send(me.leader, Accepted(me.promised, 1, 0, me.chosen, 0))
