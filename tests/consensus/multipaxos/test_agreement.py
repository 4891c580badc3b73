"""Phase 2: what is accepted, when it is said, what counts, and what a new leader takes over."""

from __future__ import annotations

import pytest

from ostraka.consensus.multipaxos.agreement import pmax, runs
from ostraka.consensus.multipaxos.messages import (
    Accept,
    Accepted,
    Ballot,
    HardState,
    Learned,
    Nack,
    Promise,
    PValue,
    Support,
    Voted,
)
from ostraka.model.effects import Commit
from ostraka.model.events import Saved
from ostraka.model.requests import Members

from .lone import THREE, Lone, pvalue, value

A, B, C = (1, 1), (1, 2), (2, 1)


@pytest.mark.parametrize(
    ("told", "again"),
    [
        ([], {}),
        ([[(1, A, b"a")]], {1: b"a"}),
        ([[(1, A, b"a")], [(1, C, b"c")]], {1: b"c"}),
        ([[(1, C, b"c")], [(1, A, b"a")]], {1: b"c"}),
        ([[(1, A, b"a")], [(1, B, b"b")]], {1: b"b"}),  # The same round: the higher node.
        ([[(1, A, b"a"), (3, A, b"x")], [(2, B, b"y")]], {1: b"a", 2: b"y", 3: b"x"}),
        ([[(1, A, b"a"), (1, A, b"a")]], {1: b"a"}),
    ],
)
def test_pmax(told: list[list[tuple[int, tuple[int, int], bytes]]], again: dict[int, bytes]) -> None:
    """For each slot the value of the highest ballot, whoever told it, in whatever order."""
    sources = [[pvalue(*each) for each in source] for source in told]
    for order in (sources, sources[::-1]):
        assert {slot: found.value.batches[0].requests for slot, found in pmax(*order).items()} == again


@pytest.mark.parametrize(
    ("slots", "found"), [([], []), ([1], [(1, 1)]), ([1, 2, 3], [(1, 3)]), ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)])]
)
def test_runs(slots: list[int], found: list[tuple[int, int]]) -> None:
    assert runs(slots) == found


def test_an_acceptance_waits_for_its_save() -> None:
    lone = Lone()
    lone.receive(2, Accept(Ballot(1, 2), (value(1, b"a"), value(2, b"b")), 0, 0))
    (send,) = lone.sends(Accepted)
    assert send.message == Accepted(Ballot(1, 2), 1, 2, 0, 0) and send.after == 1
    assert lone.records() == (
        HardState(Ballot(1, 2), ((0, lone.replica.schedule[0][1]),)),
        Voted(pvalue(1, (1, 2), b"a")),
        Voted(pvalue(2, (1, 2), b"b")),
    )


def test_an_acceptance_waits_for_its_save_though_its_ballot_was_promised_before() -> None:
    lone = Lone([HardState(Ballot(1, 2), ((0, THREE),))])
    lone.receive(2, Accept(Ballot(1, 2), (value(1, b"a"),), 0, 0))
    assert lone.records() == (Voted(pvalue(1, (1, 2), b"a")),) and lone.sends(Accepted)[0].after == 1


def test_nothing_is_accepted_below_the_promise() -> None:
    """Trap T4."""
    lone = Lone([HardState(Ballot(3, 3), ())])
    lone.receive(2, Accept(Ballot(2, 2), (value(1, b"a"),), 0, 0))
    assert lone.said(Nack).ballot == (3, 3) and not lone.records() and lone.replica.log.get(1) is None


def test_to_accept_is_to_promise() -> None:
    lone = Lone()
    lone.receive(2, Accept(Ballot(4, 2), (value(1, b"a"),), 0, 0))
    lone.receive(3, Accept(Ballot(3, 3), (value(1, b"b"),), 0, 0))
    assert lone.said(Nack).ballot == (4, 2)


def test_only_the_maker_of_a_ballot_proposes_under_it() -> None:
    lone = Lone()
    lone.receive(3, Accept(Ballot(4, 2), (value(1, b"a"),), 0, 0))
    assert not lone.records() and not lone.sends(Accepted)


@pytest.mark.parametrize("slots", [(0,), (1, 3), (2, 1)])
def test_values_that_no_leader_would_send(slots: tuple[int, ...]) -> None:
    lone = Lone()
    lone.receive(2, Accept(Ballot(1, 2), tuple(value(slot) for slot in slots), 0, 0))
    assert not lone.records() and lone.replica.promised == (0, 0)


def test_a_higher_ballot_takes_the_place_of_a_lower() -> None:
    lone = Lone([Voted(pvalue(1, (1, 2), b"old"))])
    lone.receive(3, Accept(Ballot(2, 3), (value(1, b"new"),), 0, 0))
    assert lone.replica.log.get(1) == PValue(Ballot(2, 3), value(1, b"new"))


def test_an_accept_that_comes_twice_is_saved_once_and_answered_twice() -> None:
    lone = Lone()
    lone.receive(2, Accept(Ballot(1, 2), (value(1, b"a"),), 0, 0))
    lone.receive(2, Accept(Ballot(1, 2), (value(1, b"a"),), 0, 0))
    assert not lone.records()
    (send,) = lone.sends(Accepted)
    assert send.after == 1, "it still waits for the first"


def test_our_own_acceptance_counts_once_it_is_durable() -> None:
    lone = Lone()
    lone.lead()
    lone.propose(7)
    lone.accepted(2, 1, 1)
    assert lone.replica.chosen == 0, "n2 alone is no majority"
    lone.save()
    assert lone.replica.chosen == 1 and lone.all(Commit)


def test_two_others_choose_and_nothing_is_executed_before_it_is_durable_here() -> None:
    lone = Lone()
    lone.lead()
    lone.propose(7)
    lone.accepted(2, 1, 1)
    lone.accepted(3, 1, 1)
    assert lone.replica.chosen == 1 and not lone.all(Commit)
    lone.save()
    assert lone.all(Commit)


def test_an_acceptance_is_counted_by_who_sent_it() -> None:
    lone = Lone(members=Members((1, 2, 3, 4, 5)))
    lone.wake()
    ballot = Ballot(1, 1)
    lone.receive(2, Support(ballot))
    lone.receive(3, Support(ballot))
    lone.save()
    lone.receive(2, Promise(ballot, 0, ()))
    lone.receive(3, Promise(ballot, 0, ()))
    lone.propose(7)
    lone.save()
    for _ in range(3):
        lone.receive(2, Accepted(ballot, 1, 1, 0, 0))
    assert lone.replica.chosen == 0
    lone.receive(3, Accepted(ballot, 1, 1, 0, 0))
    assert lone.replica.chosen == 1


def test_an_acceptance_of_another_ballot_counts_for_nothing() -> None:
    lone = Lone()
    lone.lead()
    lone.propose(7)
    lone.save()
    lone.receive(2, Accepted(Ballot(9, 1), 1, 1, 0, 0))
    lone.receive(2, Accepted(Ballot(1, 2), 1, 1, 0, 0))
    lone.receive(2, Accepted(lone.replica.promised, 1, 5, 0, 0))
    assert lone.replica.chosen == 0


def test_a_new_leader_proposes_again_what_was_accepted_and_fills_holes() -> None:
    """Trap T2."""
    lone = Lone([Voted(pvalue(1, (1, 3), b"mine"))])
    role = lone.lead(pvalue(3, (1, 2), b"theirs"))
    proposed = {slot: proposal.value.batches for slot, proposal in role.open.items()}
    assert [bool(batches) for batches in proposed.values()] == [True, False, True] and list(proposed) == [1, 2, 3]
    assert role.open[3].value == pvalue(3, (1, 2), b"theirs").value, "as it was, but for the ballot"


def test_what_somebody_knows_as_chosen_is_learnt_before_anything_is_proposed() -> None:
    """Trap T1."""
    lone = Lone()
    role = lone.lead(chosen=2)
    lone.propose(7)
    assert not role.open and role.next == 1
    lone.receive(2, Learned(lone.replica.promised, (value(1, b"a"), value(2, b"b"))))
    assert lone.replica.chosen == 2 and list(role.open) == [3]


def test_only_what_was_accepted_under_the_leaders_ballot_is_taken_as_chosen() -> None:
    """Another value may have been chosen in a slot that it accepted under a lower one."""
    lone = Lone([Voted(pvalue(1, (1, 3), b"old"))])
    lone.receive(2, Accept(Ballot(2, 2), (), 1, 0))
    assert lone.replica.chosen == 0
    lone.receive(2, Accept(Ballot(2, 2), (value(1, b"new"),), 1, 0))
    assert lone.replica.chosen == 1
    lone.do(Saved(lone.replica.last_save))
    (commit,) = lone.all(Commit)
    assert commit.entries[0].batches == value(1, b"new").batches
