"""From what survived to a replica: the same at the first start and after a crash at any instruction.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figure 2 (persistent state), §7.
Words:    released records were deleted with their segment of the write-ahead log; `applied` is what the state machine's
          durable state is a state of.
Departs:  the paper recovers a snapshot and a log; here the state machine's own durable state is the snapshot.
Evidence: tests/consensus/raft/test_restore.py, tests/consensus/test_engine_contract.py.

Why what `recover` returns is right. Let A be `applied.position`, and let records be a gap-free run of what was saved.

1. *Entries in the log that matter are all there.* Records are released only below an index that the state machine
   had made durable (`Compact` follows `flushed`), so every durable entry after A is among the records.
2. *Table flushed, log not*: can't be. An entry is decided only once it is saved here, so A was in the log before it
   was in the state, unless the state came from a snapshot.
3. *Segments released.* The first entry found then has a predecessor of unknown epoch. It isn't after A, by 1; so it is
   at A itself, whose epoch is known, or before it: then this first entry is given up, and serves as the base.
   `Logged` with an index that doesn't follow on what was read tells the same: what was read before it is older.
4. *Snapshot installed.* The state flips durably to A before the record `Installed` is saved. After a crash in between,
   the log read is the old one. If it holds A (index and epoch), it agrees with the state up to A and its rest goes on
   from there (Log Matching). If it ends before A, or has another epoch there, nothing of it is known to follow
   on A: it is dropped. No promise is broken: what this replica acknowledged up to A is in the state, and what it
   acknowledged after A was of leaders whose entry at A was another, so it can't have been committed.
5. The drop of 4 must not be forgotten when entries after A follow in the same stream, so the first save of the new life
   begins with `Installed(A)`: replayed, the old entries up to A are then not mistaken for the predecessors.
6. *Log damaged.* With `refilling` the records may be any gap-free run of what was saved, or none, and last of all the
   second copy of the hard state, which is as new as anything that was promised. What can't be joined to A is dropped,
   and the replica refills (see `refill`).
7. *Term.* No entry comes from a term that was not saved with it or before; a state from a snapshot may. A replica never
   voted in a term that it hadn't saved, so the highest epoch seen is a term in which it is free to vote.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostraka.consensus.raft import membership, refill
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import HardState, Installed, Logged, Term
from ostraka.consensus.raft.replica import Replica
from ostraka.errors import Corruption, MissingEntries
from ostraka.model.effects import Record
from ostraka.model.engine import Settings, Sign
from ostraka.model.ids import ORIGIN, Dice, Instant, NodeId, Position
from ostraka.model.requests import Entry, SnapshotMeta


def restore(
    me: NodeId,
    settings: Settings,
    dice: Dice,
    sign: Sign,
    records: Sequence[Record],
    applied: SnapshotMeta,
    now: Instant,
    refilling: bool = False,
) -> Replica:
    """A replica from what was saved and survived. Raises `Corruption` if records and state can't belong together."""
    term, voted_for, base, entries = replay(records)
    try:
        log, dropped = recover(base, entries, applied)
    except MissingEntries:
        if not (refilling or was_refilling(records)):
            raise
        log, dropped = Log(applied.position, applied.stamp), True
    replica = Replica(me, settings, dice, applied, log, now)
    replica.term = max(term, log.last.epoch)
    replica.voted_for = voted_for if replica.term == term else None
    replica.leases.longest = next((record.lease for record in reversed(records) if isinstance(record, HardState)), 0)
    if dropped:
        replica.save(Installed(applied.position))
    for entry in log.entries(applied.index + 1, log.last.index):
        if entry.members is not None:
            replica.configurations.append((entry.index, entry.members))
    log.release(log.last.index, settings.max_held)  # Durable, all of it.
    if refilling or was_refilling(records):
        refill.begin(replica)
    membership.take_effect(replica)
    replica.rest()
    return replica


def was_refilling(records: Sequence[Record]) -> bool:
    """Had the last life not got its log back yet?"""
    states = [record for record in records if isinstance(record, HardState)]
    return bool(states) and states[-1].refilling


def replay(records: Sequence[Record]) -> tuple[Term, NodeId | None, Position | None, list[Entry]]:
    """Term, vote, the position before the entries where it is known, and the entries."""
    term: Term = 0
    voted_for: NodeId | None = None
    base: Position | None = None if records else ORIGIN
    entries: list[Entry] = []
    for record in records:
        match record:
            case HardState():
                term, voted_for = record.term, record.voted_for
            case Logged(entry=entry):
                offset = entry.index - entries[0].index if entries else 0
                if entries and 0 <= offset <= len(entries):
                    del entries[offset:]
                elif entries or base is None or entry.index != base.index + 1:
                    base, entries = None, []
                    if entry.index == 1:
                        base = ORIGIN
                entries.append(entry)
            case Installed(position=position):
                offset = position.index - entries[0].index if entries else -1
                if not (0 <= offset < len(entries) and entries[offset].epoch == position.epoch):
                    base, entries = position, []
            case _:
                raise Corruption(f"a record that is not Raft's: {type(record).__name__}; was another engine used here?")
    return term, voted_for, base, entries


def recover(base: Position | None, entries: list[Entry], applied: SnapshotMeta) -> tuple[Log, bool]:
    """The log that goes with the applied state, and whether entries had to be dropped for it."""
    before = entries[0].index - 1 if entries else base.index if base is not None else 0
    if applied.index < before:
        raise MissingEntries(
            f"the log begins at index {before + 1}, but the state ends at {applied.index}: "
            "the entries between are missing; restore the data directory from a backup, or add this member anew"
        )
    if not entries:
        return Log(applied.position, applied.stamp), False
    at = applied.index - before  # So many entries up to the applied one.
    if at == 0:
        return Log(applied.position, applied.stamp, entries), False
    if at > len(entries) or entries[at - 1].epoch != applied.epoch:
        return Log(applied.position, applied.stamp), True
    if base is None:
        return Log(entries[0].position, entries[0].stamp, entries[1:]), False
    return Log(base, 0, entries), False
