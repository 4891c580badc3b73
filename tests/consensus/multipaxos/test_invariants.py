"""Each invariant notices what it is there for."""

from __future__ import annotations

import inspect

import pytest

from ostraka.consensus.multipaxos import invariants
from ostraka.consensus.multipaxos.messages import Ballot, HardState, PValue, Voted
from ostraka.consensus.multipaxos.replica import Replica

from .lone import Lone, pvalue, value


def having(*pvalues: PValue, node: int = 1, chosen: int = 0, promised: tuple[int, int] = (9, 9)) -> Replica:
    replica = Lone([HardState(Ballot(*promised), ()), *map(Voted, pvalues)]).replica
    replica.id, replica.chosen = node, chosen
    return replica


@pytest.mark.parametrize(("field", "less"), [("promised", Ballot(1, 1)), ("chosen", 0), ("decided", 0)])
def test_going_back_is_noticed(field: str, less: object) -> None:
    replica = having(pvalue(1, (1, 1)), chosen=1)
    replica.decided = 1
    invariant = invariants.NothingGoesBack()
    invariant.observe(replica)
    invariant.observe(replica)
    setattr(replica, field, less)
    if field == "chosen":
        replica.decided = 0
    with pytest.raises(AssertionError, match="n1 went back"):
        invariant.observe(replica)


def test_executing_what_is_not_chosen_is_noticed() -> None:
    replica = having()
    replica.decided = 1
    with pytest.raises(AssertionError, match="not applied ≤ decided ≤ chosen"):
        invariants.NothingGoesBack().observe(replica)


def test_a_forgotten_promise_is_noticed() -> None:
    invariant = invariants.OnePromiseOfALife()
    invariant.observe(having(promised=(2, 2)))
    invariant.observe(having(promised=(2, 3)))
    with pytest.raises(AssertionError, match="n1 promised"):
        invariant.observe(having(promised=(2, 2)))


def test_two_values_of_one_ballot_are_noticed() -> None:
    invariant = invariants.OneValueOfABallot()
    invariant.observe(having(pvalue(1, (1, 1), b"a")))
    invariant.observe(having(pvalue(1, (2, 2), b"b"), node=2))
    with pytest.raises(AssertionError, match=r"slot 1, ballot .*: n1 has .*, n3 has"):
        invariant.observe(having(pvalue(1, (1, 1), b"b"), node=3))


def test_two_values_chosen_are_noticed() -> None:
    invariant = invariants.OneValueChosen()
    invariant.observe(having(pvalue(1, (1, 1), b"a"), chosen=1))
    invariant.observe(having(PValue(Ballot(3, 3), value(1, b"a")), node=2, chosen=1))
    with pytest.raises(AssertionError, match=r"slot 1: n1 learnt .*, n3"):
        invariant.observe(having(pvalue(1, (2, 2), b"b"), node=3, chosen=1))


def test_all_are_evaluated() -> None:
    kinds = {
        kind for _, kind in inspect.getmembers(invariants, inspect.isclass) if kind.__module__ == invariants.__name__
    }
    kinds -= {invariants.Invariant, invariants.Invariants}
    assert {type(invariant) for invariant in invariants.Invariants().all} == kinds
