"""From what survived to a replica: the same at the first start and after a crash at any instruction.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.5; Chandra et al., "Paxos Made Live" (2007), §5.1, §5.5.
Words:    `applied` is what the state machine's durable state is a state of.
Departs:  which slots are chosen is not recorded: the applied state is a chosen prefix, and the rest is learnt again.
Evidence: tests/consensus/multipaxos/test_restore.py,
          tests/consensus/test_engine_contract.py.

Why what it returns is right. Records are released only below a slot that the state machine had made durable, so all
that was accepted after the applied slot is among them. A record of a slot replaces the one before: it was saved later,
and with a ballot that is not lower. What was learnt as chosen is recorded as accepted; any leader that asks finds it,
and can propose nothing else. The promise is at least the highest ballot that was accepted from a leader, since both
are saved together. The configurations are recorded before the slot that holds one is handed on, and before a state
is installed, so they are never older than the applied state.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostraka.consensus.multipaxos.log import Log
from ostraka.consensus.multipaxos.messages import NONE, Ballot, HardState, Installed, PValue, Schedule, Slot, Voted
from ostraka.consensus.multipaxos.replica import Replica
from ostraka.errors import Corruption
from ostraka.model.effects import Record
from ostraka.model.engine import Settings, Sign
from ostraka.model.ids import Dice, Instant, NodeId
from ostraka.model.requests import SnapshotMeta


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
    assert not refilling, "only an engine that can is asked to"
    promised, schedule, pvalues = replay(records)
    base = applied.index
    while base in pvalues:
        base -= 1
    log = Log(base)
    for slot in sorted(pvalues):
        if slot > base:
            log.put(pvalues[slot])
    replica = Replica(me, settings, dice, applied, promised, schedule or ((0, applied.members),), log, now)
    replica.rest()
    return replica


def replay(records: Sequence[Record]) -> tuple[Ballot, Schedule, dict[Slot, PValue]]:
    """The promise, who decides (nothing if that was never recorded), and what is accepted in each slot."""
    promised: Ballot = NONE
    schedule: Schedule = ()
    pvalues: dict[Slot, PValue] = {}
    for record in records:
        match record:
            case HardState():
                promised, schedule = record.promised, record.schedule
            case Voted(pvalue=pvalue):
                pvalues[pvalue.value.index] = pvalue
            case Installed(slot=slot):
                pvalues = {each: pvalue for each, pvalue in pvalues.items() if each > slot}
            case _:
                raise Corruption(
                    f"a record that is not Multi-Paxos': {type(record).__name__}; was another engine used here?"
                )
    return promised, schedule, pvalues
