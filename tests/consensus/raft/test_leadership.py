"""Elections: what must be saved before what is said, and who is left in peace."""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.messages import Append, AskPreVote, HardState, PreVote, RequestVote, Vote
from ostraka.model.effects import Discarded, RoleChanged, Send
from ostraka.model.events import Receive, Saved
from ostraka.model.ids import MILLISECOND, ORIGIN, Position
from ostraka.model.requests import Members

from .lone import Lone, logged

LATE = Position(9, 9)


def test_a_vote_waits_for_its_save() -> None:
    lone = Lone()
    lone.receive(2, RequestVote(3, LATE))
    (send,) = lone.sends(Vote)
    assert send.message == Vote(3, True) and send.after == 1
    assert lone.records()[-1] == HardState(3, 2)


def test_an_answer_in_a_new_term_waits_until_the_term_is_saved() -> None:
    lone = Lone(logged(1, 1))
    lone.receive(2, Append(4, Position(3, 7), (), 0, 0))
    assert lone.records() == (HardState(4, None),)
    (send,) = lone.all(Send)
    assert send.after == 1, "a refusal also tells our term"
    lone.save()
    lone.receive(2, Append(4, Position(3, 7), (), 0, 0))
    assert lone.all(Send)[0].after == 0


def test_a_repeated_request_of_the_same_candidate_is_granted_again() -> None:
    lone = Lone()
    lone.receive(2, RequestVote(3, LATE))
    lone.receive(2, RequestVote(3, LATE))
    assert lone.said(Vote).granted and lone.sends(Vote)[0].after == 1 and not lone.records()
    lone.receive(3, RequestVote(3, LATE))
    assert not lone.said(Vote).granted


def test_a_vote_outlives_a_crash() -> None:
    lone = Lone([HardState(3, 2)])
    lone.receive(3, RequestVote(3, LATE))
    assert not lone.said(Vote).granted
    assert lone.replica.hard_state() == (HardState(3, 2),)


@pytest.mark.parametrize(("last", "granted"), [((2, 2), False), ((1, 9), False), ((2, 3), True), ((3, 1), True)])
def test_only_a_log_as_complete_as_ours_gets_votes(last: tuple[int, int], granted: bool) -> None:
    lone = Lone(logged(4, 1, 2, 2))
    lone.receive(2, AskPreVote(5, Position(*last)))
    assert lone.said(PreVote).granted == granted
    lone.receive(2, RequestVote(5, Position(*last)))
    assert lone.said(Vote).granted == granted


def test_a_pre_vote_changes_nothing_and_is_refused_while_a_leader_lives() -> None:
    lone = Lone()
    lone.receive(3, AskPreVote(1, ORIGIN))
    assert lone.said(PreVote) == PreVote(1, True)
    assert lone.replica.term == 0 and not lone.records()
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    lone.receive(3, AskPreVote(2, LATE))
    assert lone.said(PreVote) == PreVote(1, False)
    lone.receive(3, RequestVote(2, LATE))
    assert lone.all(Discarded) == [Discarded(3, "a leader lives")] and lone.replica.term == 1
    lone.do(later=lone.settings.election_timeout)
    lone.replica.campaign_at = None  # Others lose patience first.
    lone.receive(3, RequestVote(2, LATE))
    assert lone.said(Vote) == Vote(2, True)


def test_a_refused_pre_candidate_learns_the_term() -> None:
    lone = Lone()
    lone.wake()
    assert lone.said(AskPreVote) == AskPreVote(1, ORIGIN) and lone.sends(AskPreVote)[0].to == (2, 3)
    lone.receive(2, PreVote(6, False))
    assert lone.replica.term == 6 and lone.replica.role.name == "follower"
    lone.wake()
    assert lone.said(AskPreVote).term == 7


def test_votes_count_once_by_identity_and_only_of_this_campaign() -> None:
    lone = Lone(members=Members((1, 2, 3, 4, 5)))
    lone.wake()
    lone.receive(2, PreVote(1, True), PreVote(1, True))
    assert lone.replica.role.name == "pre-candidate"
    lone.receive(3, PreVote(1, True))
    assert lone.replica.role.name == "candidate"
    lone.save()
    lone.receive(2, Vote(1, True), Vote(1, True), Vote(0, True))
    lone.receive(4, Vote(1, False))
    assert lone.replica.role.name == "candidate"
    lone.receive(5, Vote(1, True))
    assert lone.replica.role.name == "leader"


def test_our_own_vote_counts_once_it_is_saved() -> None:
    lone = Lone()
    lone.wake()
    lone.receive(2, PreVote(1, True))
    assert lone.records() == (HardState(1, 1),) and lone.sends(RequestVote)[0].after == 1
    lone.receive(2, Vote(1, True))
    assert lone.replica.role.name == "candidate"
    lone.save()
    assert lone.replica.role.name == "leader"


def test_a_single_voter_elects_itself() -> None:
    lone = Lone(members=Members((1,)))
    lone.wake()
    lone.save()
    lone.save()
    assert lone.replica.role.name == "leader" and lone.replica.commit == 1
    assert lone.replica.deadline is None, "it waits for nothing"


def test_a_learner_never_campaigns() -> None:
    assert Lone(members=Members((2, 3), learners=(1,))).replica.deadline is None


def test_a_leader_that_hears_no_quorum_steps_down_within_an_election_timeout() -> None:
    lone = Lone(members=Members((1, 2, 3))).lead()
    since = lone.now
    while lone.replica.role.name == "leader":
        lone.wake()
        assert lone.now <= since + lone.settings.election_timeout
    assert lone.all(RoleChanged) == [RoleChanged("follower", 1, 0)]


def test_a_leader_heard_by_a_quorum_stays() -> None:
    lone = Lone().lead()
    for _ in range(50):
        lone.wake()
        lone.acknowledge(3)
    assert lone.replica.role.name == "leader"


def test_a_leader_whose_disk_stalls_steps_down() -> None:
    lone = Lone().lead()
    lone.propose(1)
    since = lone.now
    while lone.replica.role.name == "leader":
        lone.wake()
        lone.acknowledge(2, 3)
    assert lone.now == since + 2 * lone.settings.election_timeout


def test_a_timeout_is_drawn_anew_whenever_a_leader_is_heard() -> None:
    lone = Lone()
    waits = set()
    for _ in range(20):
        lone.do(Receive(2, Append(1, ORIGIN, (), 0, 0)), Saved(lone.replica.last_save), later=50 * MILLISECOND)
        assert lone.replica.deadline is not None
        waits.add(lone.replica.deadline - lone.now)
    timeout = lone.settings.election_timeout
    assert len(waits) == 20 and all(timeout <= wait < 2 * timeout for wait in waits)
