"""Reads that the leader's ballot confirms: of nothing older than what may have been chosen before they were asked."""

from __future__ import annotations

from ostraka.consensus.multipaxos.messages import Accept, Accepted
from ostraka.model.effects import ReadAt
from ostraka.model.events import Read

from .lone import Lone, pvalue


def test_no_read_while_a_lower_ballot_may_have_chosen_what_is_not_known() -> None:
    """Trap T10: a value that one acceptor holds is settled before any read, so that no later one revives it."""
    lone = Lone()
    ballot = lone.lead(pvalue(1, (1, 2), b"a")).ballot
    lone.do(Read((5,)))
    lone.receive(3, Accepted(ballot, 1, 0, 0, 1))
    assert not lone.all(ReadAt)
    lone.save()
    lone.accepted(2, 1, 1)
    assert lone.replica.chosen == 1 and not lone.all(ReadAt)
    lone.receive(3, Accepted(ballot, 1, 0, 0, 1))
    assert lone.all(ReadAt) == [ReadAt((5,), 1)]


def test_an_earlier_round_confirms_no_later_read() -> None:
    lone = Lone()
    ballot = lone.lead().ballot
    lone.do(Read((5,)))
    assert lone.said(Accept).round == 1
    lone.receive(3, Accepted(ballot, 1, 0, 0, 1))
    assert lone.all(ReadAt)
    lone.do(Read((6,)))
    lone.receive(2, Accepted(ballot, 1, 0, 0, 1))
    assert not lone.all(ReadAt)
    lone.receive(2, Accepted(ballot, 1, 0, 0, 2))
    assert lone.all(ReadAt)
