"""Observers that never complain prove nothing: each property is broken here once, and must be missed."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.consensus.raft import invariants
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Vote
from ostraka.model.ids import ORIGIN
from ostraka.model.requests import Entry, Members
from tests.stories.story import Story

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


def committed(*replicas: Any) -> invariants.Committed:
    """What these have seen committed."""
    known = invariants.Committed()
    for replica in replicas:
        known.learn(replica)
    return known


def test_a_leader_without_a_committed_entry_is_noticed() -> None:
    observer = invariants.LeaderCompleteness(committed(following(1, 1, commit=2)))
    with pytest.raises(AssertionError, match="leads term 2 without"):
        observer.observe(led(3, term=2))


def test_an_entry_that_its_leader_never_made_is_noticed() -> None:
    observer, leader = invariants.LeaderIsFirst(), led(3, term=2)
    observer.observe(leader)
    observer.observe(following(1, 1, 1, 1))
    observer.observe(following(2))
    with pytest.raises(AssertionError, match=r"n1 has 2.2, and n3 made only 2.1"):
        observer.observe(following(2, 2))


def test_a_leader_that_dies_unseen_may_have_made_more() -> None:
    observer, leader = invariants.LeaderIsFirst(), led(3, term=2)
    observer.observe(leader)
    leader.log.extend([Entry(2, 2, 0)])
    observer.observe(following(2, 2))


def named(node: int, replica: Any) -> Any:
    replica.id = node
    return replica


def test_a_commit_that_a_quorum_lacks_is_noticed() -> None:
    knows = following(1, 1, commit=2)
    observer = invariants.QuorumLog(committed(knows))
    observer.observe(named(2, following(1, 1)))
    observer.observe(named(3, following(1)))
    observer.observe(knows)
    observer = invariants.QuorumLog(committed(knows))
    observer.observe(named(2, following(1)))
    observer.observe(named(3, following(1)))
    with pytest.raises(AssertionError, match=r"n1 takes 2 as committed, and n\[2, 3\] don't hold it"):
        observer.observe(knows)


def test_a_life_that_has_kept_too_little_is_noticed() -> None:
    knows = following(1, 1, commit=2)
    observer = invariants.QuorumLog(committed(knows))
    for replica in (named(2, following(1, 1)), named(3, following(1)), knows):
        observer.observe(replica)
    with pytest.raises(AssertionError, match="n1 takes 2 as committed"):
        observer.observe(named(2, following(1)))


def test_a_more_up_to_date_log_without_a_committed_entry_is_noticed() -> None:
    """The slow follower of Figure 8 is none: what it knows was committed in a term that its log has not reached."""
    knows = following(1, 1, 2, commit=2)
    knows.term = 2
    for term, noticed in ((1, True), (2, True), (3, False)):
        known = committed(knows)
        known.entries = [(position, term) for position, _ in known.entries]
        observer = invariants.MoreUpToDateCorrect(known)
        observer.observe(knows)
        observer.observe(named(2, following(1, 1, 2)))
        observer.observe(named(3, following(1)))
        if noticed:
            with pytest.raises(AssertionError, match=r"n4's log ends at .* but only the latter holds"):
                observer.observe(named(4, following(1, 3, 3)))
        else:
            observer.observe(named(4, following(1, 3, 3)))


def test_what_is_executed_before_it_is_saved_is_noticed() -> None:
    observer, replica = invariants.CommittedIsDurable(committed()), following(1, 1, commit=2)
    observer.observe(replica)
    replica.saved = 1
    with pytest.raises(AssertionError, match="n1 decided 2, saved 1"):
        observer.observe(replica)


def test_what_a_next_life_no_longer_has_is_noticed() -> None:
    before = following(1, 1, commit=2)
    observer = invariants.CommittedIsDurable(committed(before))
    observer.observe(before)
    observer.observe(following(1, 1))
    with pytest.raises(AssertionError, match="n1 decided 2 in an earlier life, and begins with"):
        observer.observe(following(1))


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


def test_memory_that_grows_is_noticed() -> None:
    observer, lone = invariants.MemoryIsBounded(), Lone(max_held=1).follow(*[1] * 10, commit=5)
    observer.observe(lone.replica)
    lone.replica.decided = 6
    with pytest.raises(AssertionError, match="n1 holds"):
        observer.observe(lone.replica)


def test_all_of_them_run_together() -> None:
    kinds = {kind for kind in vars(invariants).values() if hasattr(kind, "observe")}
    kinds -= {invariants.Invariant, invariants.Invariants}
    assert {type(invariant) for invariant in invariants.Invariants().all} == kinds
    story = Story(nodes=3)
    story.elect(1)
    story.propose(1, "a")
    story.settle()
    story.nodes[2].replica.log.truncate(1)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="not applied ≤ decided ≤ commit ≤ last"):
        story.heartbeat(1)
