"""Entries that memory no longer holds: shed when they take too much, and loaded for who lacks them.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.3 (any entry may have to
          be sent again), §7.
Words:    to shed an entry is to leave it to the write-ahead log alone; see log.py.
Departs:  what the state machine has got is shed, from the oldest on, so memory stays bounded however far a follower
          lags, and however late the state machine's state becomes durable. A follower too far behind even for the
          write-ahead log gets a snapshot, as ever.
Evidence: tests/consensus/raft/test_loading.py, tests/stories/raft/slow_follower.story,
          tests/storage/test_wal_loading.py.

An entry that was loaded is the one that was shed: a leader never cuts its log, and nobody cuts what is committed. The
write-ahead log vouches for its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.raft import agreement
from ostraka.consensus.raft.roles import Leader
from ostraka.model.effects import Load
from ostraka.model.events import Loaded
from ostraka.model.ids import Index, NodeId, Token

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

AT_ONCE = 1 << 20
"""Bytes that are loaded at a time: the driver checks them while nothing else goes on."""


def shed(me: Replica) -> None:
    """Leave to the write-ahead log what the state machine has got."""
    if me.log.held > me.settings.max_held:
        me.log.release(me.decided, me.settings.max_held)


def load(me: Replica, first: Index, last: Index) -> Token:
    """Ask for these entries, or for the first of them; `on_loaded` gets them."""
    me.loads += 1
    me.out.append(Load(me.loads, first, last, min(AT_ONCE, me.settings.max_append)))
    return me.loads


def load_for_followers(me: Replica, role: Leader) -> None:
    """Ask for what followers lack that memory doesn't hold; each waits for one answer at a time."""
    shed, base = me.log.shed.index, me.log.base.index
    lacking: dict[Index, list[NodeId]] = {}
    for peer, progress in role.progress.items():
        if base < progress.next <= shed and not progress.loading and progress.may_send(me.settings):
            lacking.setdefault(progress.next, []).append(peer)
    for first, peers in lacking.items():
        token = load(me, first, shed)
        for peer in peers:
            role.progress[peer].loading = token


def load_for_the_machine(me: Replica, last: Index) -> None:
    """After a restart memory needn't hold all that is to be executed again."""
    if not me.deciding:
        me.deciding = load(me, me.decided + 1, min(last, me.log.shed.index))


def on_loaded(me: Replica, event: Loaded) -> None:
    """Hand the entries on, as far as they are still wanted. There are none if they were compacted away meanwhile."""
    entries = event.entries
    for entry in entries:
        assert me.log.position_at(entry.index) in (entry.position, None), (
            f"{entry.position} was loaded, and is not here"
        )
    if event.token == me.deciding:
        me.deciding = 0
        if entries and entries[0].index == me.decided + 1 and me.installing is None:
            agreement.hand_on(me, entries)
        return
    role = me.role
    if not isinstance(role, Leader):
        return
    peers = [peer for peer, progress in role.progress.items() if progress.loading == event.token]
    for peer in peers:
        role.progress[peer].loading = 0
    if not entries or entries[0].index <= me.log.base.index:
        return
    first = entries[0].index
    ready = [peer for peer in peers if role.progress[peer].next == first and role.progress[peer].may_send(me.settings)]
    if ready:
        agreement.send_these(me, role, entries, ready)
