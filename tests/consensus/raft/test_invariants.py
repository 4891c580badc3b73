"""Observers that never complain prove nothing: each property is broken here once, and must be missed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ostraka.consensus.raft import invariants
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Append, Vote
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry, Members

from .lone import Lone, entries


def led(node: int, term: int = 1) -> Any:
    """A replica with this id that leads this term."""
    lone = Lone()
    lone.replica.term = term - 1
    lone.campaign()
    lone.receive(2, Vote(term, True))
    lone.replica.id = node
    return lone.replica


def following(*terms: int, commit: int = 0) -> Any:
    return Lone().follow(*terms, commit=commit).replica


def test_two_leaders_of_a_term_are_noticed() -> None:
    observer = invariants.ElectionSafety()
    observer.observe(led(1))
    observer.observe(led(2, term=2))
    with pytest.raises(AssertionError, match="term 1: n1 and n3 both lead"):
        observer.observe(led(3))


def test_a_leader_that_removes_entries_is_noticed() -> None:
    observer, replica = invariants.LeaderAppendOnly(), led(1)
    observer.observe(replica)
    replica.log = Log(ORIGIN, 0, entries(0))
    with pytest.raises(AssertionError, match="has removed"):
        observer.observe(replica)


def test_a_leader_that_compacts_is_not() -> None:
    observer, lone = invariants.LeaderAppendOnly(), Lone().lead()
    observer.observe(lone.replica)
    lone.replica.log.compact(1)
    observer.observe(lone.replica)


def test_logs_that_differ_are_noticed_even_after_a_truncation() -> None:
    observer, one, other = invariants.LogMatching(), following(1, 1, 2), following(1, 1, 1)
    observer.observe(one)
    observer.observe(other)
    other.truncate(3)
    other.log._entries[1] = other.log.entries(1, 1)[0]
    other.log.extend([entries(1, 1, 2)[2]])
    observer.observe(other)  # Looked at index 2 already, and saw no change of its position there.
    different = following(1, 2)
    different.log.extend([entries(1, 1, 2)[2]])
    with pytest.raises(AssertionError, match="differ at"):
        observer.observe(different)


def test_a_leader_without_a_committed_entry_is_noticed() -> None:
    observer = invariants.LeaderCompleteness()
    observer.observe(following(1, 1, commit=2))
    with pytest.raises(AssertionError, match="leads term 2 without"):
        observer.observe(led(3, term=2))


def test_different_decisions_are_noticed() -> None:
    observer = invariants.StateMachineSafety()
    observer.observe(following(1, 1, commit=2))
    observer.observe(following(1, 2, commit=1))
    with pytest.raises(AssertionError, match="index 2"):
        observer.observe(following(1, 2, commit=2))


def test_going_back_is_noticed() -> None:
    for name in ("term", "commit"):
        observer, replica = invariants.TermsAndCommitNeverGoBack(), following(1, 1, commit=2)
        observer.observe(replica)
        setattr(replica, name, 0)
        with pytest.raises(AssertionError, match="went back"):
            observer.observe(replica)


def test_configurations_without_a_common_majority_are_noticed() -> None:
    observer, replica = invariants.OneChangeAtATime(), Lone().lead().replica
    one, two, joint = Members((1, 2, 3, 4)), Members((1, 2, 4, 5)), Members((1, 2, 4, 5), outgoing=(1, 2, 3, 4))
    for allowed in ([one], [one, joint], [joint, two], [Members(()), two]):
        replica.configurations = list(enumerate(allowed))
        observer.observe(replica)
    for apart in ([one, two], [joint, one], [Members((1, 2)), joint]):
        replica.configurations = list(enumerate(apart))
        with pytest.raises(AssertionError, match="n1 went from"):
            observer.observe(replica)


def test_a_change_too_early_is_noticed() -> None:
    observer, replica = invariants.OneChangeAtATime(), led(1, term=2)
    replica.log.extend([Entry(2, 2, 0, members=Members((1, 2)))])
    replica.configurations.append((2, Members((1, 2))))
    with pytest.raises(AssertionError, match="before an entry of term 2 was committed"):
        observer.observe(replica)


def test_two_changes_at_a_time_are_noticed() -> None:
    observer, replica = invariants.OneChangeAtATime(), Lone().lead().replica
    replica.configurations += [(2, Members((1, 2))), (3, Members((1,)))]
    with pytest.raises(AssertionError, match="n1 leads with"):
        observer.observe(replica)


def test_all_of_them_run_together() -> None:
    observer, lone = invariants.Invariants(), Lone().lead()
    for token in range(1, 4):
        lone.propose(token)
        observer.observe(lone.replica)
        lone.save()
        lone.acknowledge(2)
        observer.observe(lone.replica)
    lone.receive(3, Append(2, Position(1, 4), (), 4, 0))
    observer.observe(lone.replica)
    assert len(observer.all) == 7 and isinstance(observer, invariants.Invariants)
    assert not isinstance(SimpleNamespace(), invariants.Invariants)
