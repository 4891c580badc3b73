"""Raft as the paper states it, rule by rule: terms, votes and elections.

Each test's docstring gives the rule in our words, and where it stands: Ongaro and Ousterhout, "In Search
of an Understandable Consensus Algorithm (Extended Version)", or Ongaro's thesis. The tests were written
from the paper, not from the engine. `test_paper_log` has the rules of the log.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ostraka.consensus.raft.messages import Append, Appended, AskPreVote, HardState, PreVote, RequestVote, Vote
from ostraka.model.events import Applied, Message, Wake
from ostraka.model.ids import ORIGIN, Position
from tests.consensus.raft.one_replica import ME, SETTINGS, Replica, at, log, only

ROLES = ("follower", "pre-candidate", "candidate", "leader")
OF_A_HIGHER_TERM = (
    Append(5, ORIGIN, (), 0, 0),
    Appended(5, False, 0, 0),
    Vote(5, False),
    PreVote(5, False),
)


# Rules for all servers.


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("message", OF_A_HIGHER_TERM, ids=lambda message: type(message).__name__)
def test_a_higher_term_makes_a_follower(role: str, message: Message) -> None:
    """Whoever sees a higher term in a request or an answer takes it over and is a follower. (Figure 2; §5.1)"""
    replica = at(role)
    replica.hear(2, message)
    assert (replica.role, replica.term) == ("follower", 5)
    assert replica.voted_for is None, "a new term has a new vote"
    assert replica.durable()[0] == 5


@pytest.mark.parametrize("role", ["follower", "pre-candidate", "candidate"])
def test_a_higher_term_in_a_request_for_votes(role: str) -> None:
    """The same, for who hears no leader. (Figure 2; §5.1)"""
    replica = at(role)
    replica.hear(2, RequestVote(5, Position(1, 1)))
    assert (replica.role, replica.term) == ("follower", 5)


def test_committed_entries_are_applied_in_order_once() -> None:
    """While commitIndex > lastApplied, the next entry is applied. (Figure 2; §5.3)"""
    replica = Replica(term=1)
    replica.hear(2, Append(1, ORIGIN, log(1, 1, 1), 1, 0))
    replica.hear(2, Append(1, Position(1, 3), log(1, 1, 1, 1, 1)[3:], 4, 0))
    replica.hear(2, Append(1, Position(1, 3), log(1, 1, 1, 1, 1)[3:], 4, 0))
    replica.hear(2, Append(1, Position(1, 5), (), 5, 0))
    assert [each.index for each in replica.committed] == [1, 2, 3, 4, 5]
    replica.step(Applied(5, 0))
    assert replica.engine.status().applied == 5


def test_nobody_forgets_its_term() -> None:
    """currentTerm, votedFor and the log are what a server starts again with. (Figure 2, persistent state)"""
    replica = Replica((1, 1, 2), term=4, voted_for=3)
    assert (replica.role, replica.term, replica.voted_for) == ("follower", 4, 3)
    assert replica.terms == [1, 1, 2]
    assert replica.commit == 0, "commitIndex is volatile: 0 at first"


# RequestVote.


def test_a_request_of_an_old_term_gets_no_vote() -> None:
    """1. Refuse if term < currentTerm; the answer carries currentTerm. (Figure 2, RequestVote)"""
    replica = Replica(term=3)
    assert replica.hear(2, RequestVote(2, Position(2, 9))) == [Vote(3, False)]
    assert replica.voted_for is None


@pytest.mark.parametrize(
    ("mine", "theirs", "granted"),
    [
        ((), ORIGIN, True),
        ((1, 1), Position(1, 2), True),
        ((1, 1), Position(1, 3), True),
        ((1, 1), Position(1, 1), False),  # The same last term: the longer log is more up to date.
        ((1, 1, 1), Position(2, 1), True),  # A later last term beats a longer log.
        ((2,), Position(1, 3), False),
        ((1, 2), Position(1, 2), False),
        ((1,), ORIGIN, False),
    ],
)
def test_only_a_log_as_up_to_date_gets_the_vote(mine: Sequence[int], theirs: Position, granted: bool) -> None:
    """2. Grant it if the candidate's log is at least as up to date: last terms first, then lengths. (§5.4.1)"""
    replica = Replica(mine, term=3)
    assert replica.hear(2, RequestVote(4, theirs)) == [Vote(4, granted)]
    assert replica.voted_for == (2 if granted else None)
    assert replica.term == 4, "the term is taken over even from who gets no vote"


def test_one_vote_in_a_term() -> None:
    """2. votedFor is null or the candidate: first come, first served, and the same answer again. (§5.2)"""
    replica = Replica(term=3)
    assert replica.hear(2, RequestVote(4, ORIGIN)) == [Vote(4, True)]
    assert replica.hear(3, RequestVote(4, ORIGIN)) == [Vote(4, False)]
    assert replica.hear(2, RequestVote(4, ORIGIN)) == [Vote(4, True)]
    assert replica.hear(3, RequestVote(5, ORIGIN)) == [Vote(5, True)]


def test_one_vote_in_a_term_after_a_restart() -> None:
    """The vote was saved. (Figure 2, persistent state)"""
    replica = Replica(term=4, voted_for=2)
    assert replica.hear(3, RequestVote(4, ORIGIN)) == [Vote(4, False)]
    assert replica.hear(2, RequestVote(4, ORIGIN)) == [Vote(4, True)]


@pytest.mark.parametrize("role", ["candidate", "leader"])
def test_candidates_and_leaders_have_voted_for_themselves(role: str) -> None:
    """A candidate votes for itself, so for nobody else in that term. (§5.2)"""
    replica = at(role, term=4)
    assert replica.voted_for == ME
    assert replica.hear(2, RequestVote(4, Position(3, 9))) == [Vote(4, False)]
    assert replica.role == role


def test_a_vote_waits_for_the_disk() -> None:
    """Term and vote are on stable storage before the answer leaves. (Figure 2)"""
    replica = Replica(term=3)
    replica.slow = True
    assert replica.hear(2, RequestVote(4, ORIGIN)) == []
    replica.slow = False
    replica.step(*replica.finish_saves())
    assert (2, Vote(4, True)) in replica.sent
    assert replica.durable() == (4, 2)


def test_term_and_vote_are_saved_together() -> None:
    """Neither may be durable without the other, or an old vote would count in a new term. (Figure 2)"""
    replica = Replica(term=3, voted_for=5)
    replica.slow = True
    replica.hear(2, RequestVote(4, ORIGIN))
    for save in replica.saving:
        assert HardState(4, 5) not in save.records, "a vote of term 3 is no vote of term 4"
    assert HardState(4, 2) in replica.saving[-1].records


def test_a_granted_vote_renews_patience() -> None:
    """A follower campaigns if it neither heard the leader nor granted a vote for a timeout. (Figure 2, Followers)"""
    replica = Replica(term=3)
    before = replica.engine.deadline
    replica.now = 500_000_000
    replica.hear(2, RequestVote(4, ORIGIN))
    assert before is not None
    assert replica.engine.deadline is not None
    assert replica.engine.deadline >= before + 500_000_000


def test_who_hears_a_leader_ignores_candidates() -> None:
    """Within the minimum election timeout of hearing a leader: neither the term is updated, nor a vote given.

    (Thesis §4.2.3; paper §6)
    """
    replica = Replica(term=3)
    replica.hear(2, Append(3, ORIGIN, (), 0, 0))
    replica.now += SETTINGS.election_timeout - 1
    assert Vote(9, True) not in replica.hear(3, RequestVote(9, Position(8, 8)))
    assert (replica.term, replica.engine.status().leader) == (3, 2)
    replica.now += 2
    assert replica.hear(3, RequestVote(9, Position(8, 8))) == [Vote(9, True)]


def test_a_leader_ignores_candidates() -> None:
    """A leader that a majority answers hears a leader: itself. (Thesis §4.2.3)"""
    replica = at("leader", term=4)
    replica.hear(2, RequestVote(9, Position(8, 8)))
    assert (replica.role, replica.term) == ("leader", 4)


# PreVote.


def test_a_pre_vote_changes_nothing() -> None:
    """The asker's and the voter's terms stay, and no vote is used up. (Thesis §9.6)"""
    replica = Replica(term=3)
    for peer in (2, 3, 4):
        assert replica.hear(peer, AskPreVote(9, ORIGIN)) == [PreVote(9, True)], "it may be given to many"
    assert (replica.term, replica.voted_for, replica.records) == (3, None, [])


@pytest.mark.parametrize(
    ("mine", "ask", "granted"),
    [
        ((1, 1), AskPreVote(4, Position(1, 2)), True),
        ((1, 1), AskPreVote(4, Position(1, 1)), False),
        ((1, 2), AskPreVote(4, Position(1, 5)), False),
        ((1, 1), AskPreVote(2, Position(1, 2)), False),
    ],
)
def test_a_pre_vote_is_granted_as_a_vote_would_be(mine: Sequence[int], ask: AskPreVote, granted: bool) -> None:
    """Yes, if the asker's log is as up to date and its term as late as a vote would need. (Thesis §9.6)"""
    replica = Replica(mine, term=3)
    answer = only(replica.hear(2, ask), PreVote)
    assert answer == PreVote(ask.term if granted else 3, granted)


def test_a_pre_vote_is_refused_by_who_hears_a_leader() -> None:
    """It grants none before a baseline election timeout without a leader has passed. (Thesis §9.6)"""
    replica = Replica(term=3)
    replica.hear(2, Append(3, ORIGIN, (), 0, 0))
    assert PreVote(4, True) not in replica.hear(3, AskPreVote(4, ORIGIN))


def test_who_gets_no_pre_votes_raises_no_term() -> None:
    """A server increments its term once a majority would vote for it. (Thesis §9.6)"""
    replica = Replica(term=3)
    asked = replica.wake()
    assert {to for to, message in asked if message == AskPreVote(4, ORIGIN)} == {2, 3, 4, 5}
    replica.hear(2, PreVote(4, True))
    replica.hear(2, PreVote(4, True))
    replica.hear(3, PreVote(3, False))
    assert (replica.role, replica.term) == ("pre-candidate", 3)
    replica.wake()
    assert replica.term == 3
    replica.hear(2, PreVote(4, True))
    replica.hear(4, PreVote(4, True))
    assert (replica.role, replica.term) == ("candidate", 4)


def test_a_pre_vote_for_another_term_counts_for_nothing() -> None:
    """An answer is to the question that was asked. (Thesis §9.6)"""
    replica = Replica(term=3)
    replica.wake()
    replica.hear(2, PreVote(3, True))
    replica.hear(3, PreVote(3, True))
    assert (replica.role, replica.term) == ("pre-candidate", 3)


# Followers and candidates.


def test_a_follower_without_a_leader_campaigns() -> None:
    """If an election timeout passes without a leader's AppendEntries: begin an election. (§5.2)"""
    replica = Replica((1,), term=3)
    assert replica.engine.deadline is not None
    assert SETTINGS.election_timeout <= replica.engine.deadline <= 2 * SETTINGS.election_timeout
    replica.now = replica.engine.deadline - 1
    replica.step(Wake())
    assert replica.role == "follower", "not before its time"
    replica.wake()
    assert replica.role == "pre-candidate"


def test_a_candidate_asks_for_votes() -> None:
    """It increments its term, votes for itself, resets its timer, and asks all others. (Figure 2, Candidates)"""
    replica = Replica((1, 2), term=3)
    replica.become_candidate()
    assert (replica.term, replica.voted_for) == (4, ME)
    asked = {to for to, message in replica.sent if message == RequestVote(4, Position(2, 2))}
    assert asked == {2, 3, 4, 5}
    assert replica.durable() == (4, ME)
    assert replica.engine.deadline is not None
    assert replica.engine.deadline >= replica.now + SETTINGS.election_timeout


def test_a_majority_of_votes_makes_a_leader() -> None:
    """Votes of a majority, each counted once; refusals and old terms don't count. (§5.2)"""
    replica = at("candidate", term=4)
    replica.hear(2, Vote(4, True))
    replica.hear(2, Vote(4, True))
    replica.hear(3, Vote(4, False))
    replica.hear(4, Vote(3, True))
    replica.hear(9, Vote(4, True))
    assert replica.role == "candidate", "n9 is no member"
    replica.hear(5, Vote(4, True))
    assert replica.role == "leader"


def test_votes_that_come_late_change_nothing() -> None:
    """A follower that was a candidate of an earlier term doesn't count its votes. (§5.2)"""
    replica = at("candidate", term=4)
    replica.hear(2, Append(5, ORIGIN, (), 0, 0))
    for peer in (2, 3, 4, 5):
        replica.hear(peer, Vote(4, True))
    assert (replica.role, replica.term) == ("follower", 5)


def test_its_own_vote_counts_once_it_is_saved() -> None:
    """Its vote for itself is as much a promise as one for another. (Figure 2, persistent state)"""
    replica = Replica((1,), term=3)
    replica.wake()
    replica.slow = True
    replica.hear(2, PreVote(4, True))
    replica.hear(3, PreVote(4, True))
    assert replica.role == "candidate"
    replica.hear(2, Vote(4, True))
    replica.hear(3, Vote(4, True))
    assert replica.role == "candidate", "two votes of five, and its own is not on disk"
    replica.slow = False
    replica.step(*replica.finish_saves())
    assert replica.role == "leader"


@pytest.mark.parametrize("role", ["pre-candidate", "candidate"])
def test_a_leader_of_the_same_term_ends_a_candidacy(role: str) -> None:
    """A leader whose term is at least as large is legitimate: back to follower. (§5.2)"""
    replica = at(role, term=4)
    replica.hear(2, Append(4, Position(1, 1), (), 0, 0))
    assert (replica.role, replica.term, replica.engine.status().leader) == ("follower", 4, 2)


def test_a_leader_of_an_older_term_does_not_end_a_candidacy() -> None:
    """One whose term is smaller is refused, and the candidacy goes on. (§5.2)"""
    replica = at("candidate", term=4)
    replica.hear(2, Append(3, Position(1, 1), (), 0, 0))
    assert (replica.role, replica.term) == ("candidate", 4)


def test_a_candidate_without_majority_tries_again() -> None:
    """If the election timeout elapses: a new election. (§5.2)"""
    replica = at("candidate", term=4)
    replica.wake()
    assert replica.role in ("pre-candidate", "candidate")
    for peer in (2, 3):
        replica.hear(peer, PreVote(replica.term + 1, True))
    assert (replica.role, replica.term) == ("candidate", 5)
