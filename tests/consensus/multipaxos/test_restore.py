"""What a replica is after a crash: what it promised and accepted, never less. (Traps T5, T6)"""

from __future__ import annotations

import pytest

from ostraka.consensus.multipaxos.messages import Ballot, HardState, Installed, Prepare, Promise, PValue, Voted
from ostraka.consensus.raft.messages import HardState as OfRaft
from ostraka.errors import Corruption
from ostraka.model.requests import Members, SnapshotMeta

from .lone import THREE, Lone, pvalue, value

TWO = Members((1, 2))


def test_the_promise_and_the_schedule_come_back() -> None:
    lone = Lone([HardState(Ballot(1, 2), ((0, THREE),)), HardState(Ballot(7, 3), ((0, THREE), (40, TWO)))])
    assert lone.replica.promised == (7, 3) and lone.replica.schedule == [(0, THREE), (40, TWO)]
    assert lone.replica.hard_state() == (HardState(Ballot(7, 3), ((0, THREE), (40, TWO))),)
    lone.wake()
    assert lone.replica.highest_round == 7, "its next ballot is above"


def test_the_last_that_was_accepted_in_a_slot_counts() -> None:
    lone = Lone([Voted(pvalue(1, (1, 2), b"a")), Voted(pvalue(2, (1, 2), b"x")), Voted(pvalue(1, (3, 3), b"b"))])
    assert lone.replica.log.after(0) == (pvalue(1, (3, 3), b"b"), pvalue(2, (1, 2), b"x"))
    assert lone.replica.chosen == 0, "which are chosen is learnt again"


def test_what_an_installed_state_settles_is_gone_and_the_rest_stays() -> None:
    """An install never lowers a promise, and takes nothing away that was accepted after it."""
    records = [
        HardState(Ballot(9, 2), ((0, THREE),)),
        Voted(pvalue(3, (9, 2), b"old")),
        Voted(pvalue(8, (9, 2), b"new")),
        Installed(5),
    ]
    lone = Lone(records, SnapshotMeta(4, 5, 5, THREE))
    assert lone.replica.log.after(0) == (pvalue(8, (9, 2), b"new"),) and lone.replica.log.base == 5
    assert (lone.replica.promised, lone.replica.chosen, lone.replica.applied) == ((9, 2), 5, 5)
    lone.receive(3, Prepare(Ballot(10, 3), 1))
    assert lone.said(Promise) == Promise(Ballot(10, 3), 5, (pvalue(8, (9, 2), b"new"),))


def test_pvalues_below_the_applied_state_stay_for_slow_members() -> None:
    records = [Voted(PValue(Ballot(1, 2), value(slot, b"x"))) for slot in (1, 3, 4, 5)]
    lone = Lone(records, SnapshotMeta(1, 5, 5, THREE))
    assert lone.replica.log.base == 2 and [each.value.index for each in lone.replica.log.after(0)] == [3, 4, 5]


def test_records_of_another_engine_are_refused() -> None:
    with pytest.raises(Corruption, match="a record that is not Multi-Paxos'"):
        Lone([OfRaft(1, None)])
