"""Leadership transfer: who may begin it, when the heir is told, and how it ends. (Thesis §3.10)"""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.messages import (
    Append,
    AskPreVote,
    Claim,
    Forward,
    ForwardRefused,
    PreVote,
    RequestVote,
    TimeoutNow,
    Vote,
)
from ostraka.model.effects import Discarded, Done, Lost, Rejected, Why
from ostraka.model.events import ForgetLeader, Propose, Receive, SaveFailed, TransferLeadership
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Members, Request

from .lone import Lone, entries

LATE = Position(9, 9)


def handing_over(to: int = 2) -> Lone:
    """A leader that has told its heir to campaign."""
    lone = Lone().lead()
    lone.do(TransferLeadership(7, to))
    assert lone.sends(TimeoutNow)[0].to == (to,)
    return lone


def test_only_a_leader_hands_over_and_only_to_another_voter() -> None:
    lone = Lone(members=Members((1, 2, 3), learners=(4,)))
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    lone.do(TransferLeadership(1, 3))
    assert lone.all(Rejected) == [Rejected((1,), Why.NOT_LEADER, 2)]
    lone = Lone(members=Members((1, 2, 3), learners=(4,))).lead()
    lone.do(TransferLeadership(1, 4), TransferLeadership(2, 9), TransferLeadership(3, 1))
    assert lone.all(Rejected) == [Rejected((1,), Why.NOT_A_VOTER, 1), Rejected((2,), Why.NOT_A_VOTER, 1)]
    assert lone.all(Done) == [Done((3,))], "it leads already"


def test_the_heir_is_told_once_it_has_all_and_all_is_committed() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.do(TransferLeadership(7, 2))
    assert not lone.sends(TimeoutNow)
    lone.acknowledge(3)
    lone.save()
    assert lone.replica.commit == 2 and not lone.sends(TimeoutNow), "n2 lacks an entry"
    lone.acknowledge(2)
    assert lone.sends(TimeoutNow)[0].to == (2,)


def test_what_was_gathered_goes_first() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.propose(2)
    assert lone.replica.log.last.index == 2, "the second lingers"
    lone.do(TransferLeadership(7, 2))
    assert lone.replica.log.last.index == 3


def test_no_request_is_taken_in_during_it_and_the_own_ones_wait() -> None:
    lone = handing_over()
    lone.propose(1)
    assert lone.replica.log.last.index == 1 and len(lone.replica.held) == 1
    lone.receive(3, Forward(1, 5, 1, b"\x90"))
    assert lone.said(ForwardRefused) == ForwardRefused(1, 5, 1, Why.TRANSFERRING)
    lone.do(TransferLeadership(8, 3))
    assert lone.all(Rejected) == [Rejected((8,), Why.TRANSFERRING, 1)]
    lone.receive(2, RequestVote(2, LATE, handed_over=True))
    assert lone.said(Vote).granted and not lone.all(Lost)
    lone.receive(2, Append(2, Position(1, 1), (), 0, 0))
    assert lone.all(Done) == [Done((7,))]
    assert lone.said(Forward).term == 2, "and go to the heir"


def test_it_is_abandoned_after_an_election_timeout() -> None:
    lone = handing_over()
    lone.propose(1)
    told = 0
    while lone.replica.handover is not None:
        lone.wake()
        told += len(lone.sends(TimeoutNow))
        lone.acknowledge(3)
    assert lone.now <= lone.replica.settings.election_timeout + lone.replica.role.since  # type: ignore[union-attr]
    assert lone.replica.log.last.index == 2 and lone.replica.role.name == "leader"
    assert told > 5, "with each heartbeat"


@pytest.mark.parametrize(("told", "end"), [(True, Lost((7,))), (False, Rejected((7,), Why.BEHIND, 1))])
def test_who_asked_learns_whether_it_may_yet_happen(told: bool, end: Lost | Rejected) -> None:
    lone = Lone().lead()
    if not told:
        lone.propose(1)
    lone.do(TransferLeadership(7, 2))
    ends = []
    while lone.replica.handover is not None:
        lone.wake()
        ends += [*lone.all(Lost), *lone.all(Rejected)]
        lone.acknowledge(3)
    assert ends == [end]


def test_another_heir_is_not_the_one_asked_for() -> None:
    lone = handing_over()
    lone.receive(3, Append(4, Position(1, 1), (), 0, 0))
    assert lone.all(Lost) == [Lost((7,))] and lone.replica.handover is None


def test_a_failed_disk_ends_it() -> None:
    lone = handing_over()
    lone.do(SaveFailed("no space"))
    assert lone.all(Lost) == [Lost((7,))]
    lone.do(TransferLeadership(8, 2))
    assert lone.all(Rejected) == [Rejected((8,), Why.FINISHED)]


def test_the_heir_campaigns_at_once_and_its_voters_forget_the_leader() -> None:
    heir = Lone().follow(1, commit=1)
    heir.receive(2, TimeoutNow(1))
    assert heir.said(RequestVote) == RequestVote(2, Position(1, 1), handed_over=True)
    voter = Lone().follow(1, commit=1)
    voter.receive(3, RequestVote(2, Position(1, 1)))
    assert voter.all(Discarded) == [Discarded(3, "a leader lives")]
    voter.receive(3, RequestVote(2, Position(1, 1), handed_over=True))
    assert voter.said(Vote) == Vote(2, True)


@pytest.mark.parametrize(("sender", "term"), [(3, 1), (2, 0)])
def test_nobody_else_can_make_it_campaign(sender: int, term: int) -> None:
    lone = Lone().follow(1, commit=1)
    lone.receive(sender, TimeoutNow(term))
    assert lone.all(Discarded) == [Discarded(sender, "told to campaign by one who does not lead")]


def test_a_learner_is_no_heir() -> None:
    lone = Lone(members=Members((2, 3), learners=(1,))).follow(1, commit=1)
    lone.receive(2, TimeoutNow(1))
    assert lone.replica.role.name == "follower"


def test_a_doubled_call_makes_one_campaign() -> None:
    lone = Lone().follow(1, commit=1)
    lone.receive(2, TimeoutNow(1), TimeoutNow(1))
    assert lone.replica.term == 2


def test_what_a_leader_handing_over_refused_is_given_to_the_next() -> None:
    lone = Lone().follow(1, commit=1)
    lone.propose(5)
    first = lone.said(Forward)
    lone.receive(2, ForwardRefused(1, first.life, first.number, Why.TRANSFERRING))
    assert not lone.all(Rejected) and not lone.sends(Forward)
    lone.receive(3, Append(2, Position(1, 1), (), 0, 0))
    second = lone.said(Forward)
    assert second.requests == first.requests and (second.term, second.number) == (2, 2)
    lone.receive(3, ForwardRefused(2, second.life, second.number, Why.TRANSFERRING))
    assert lone.all(Rejected) == [Rejected((5,), Why.TRANSFERRING, 3)], "nobody waits for ever"


def test_the_same_leader_is_asked_again_when_it_was_abandoned() -> None:
    lone = Lone().follow(1, commit=1)
    lone.do(Propose(((5, Request(b"x")),)))
    first = lone.said(Forward)
    lone.receive(2, ForwardRefused(1, first.life, first.number, Why.TRANSFERRING))
    assert lone.replica.deadline == lone.now + lone.settings.election_timeout
    lone.do(Receive(2, Append(1, Position(1, 1), (), 1, 0)), later=lone.settings.election_timeout)
    assert lone.said(Forward).number == 2


def test_a_forgotten_leader_protects_nobody() -> None:
    lone = Lone().follow(1, commit=1)
    deadline = lone.replica.deadline
    lone.do(ForgetLeader())
    assert lone.replica.leader == 0 and lone.replica.deadline == deadline
    lone.receive(3, AskPreVote(2, Position(1, 1)))
    assert lone.said(PreVote).granted
    lone.receive(2, Append(1, Position(1, 1), (), 1, 0))
    assert lone.replica.leader == 2, "unless it lives after all"
    assert entries(1)[0].position == lone.replica.log.last


# Priorities.


def claimed(**settings: int) -> Lone:
    """A leader to whom n2 and n3 have said that they come first, n3 before n2."""
    lone = Lone(**settings).lead()
    lone.receive(2, Claim(1, 5))
    lone.receive(3, Claim(1, 7))
    return lone


def test_a_leader_hands_over_to_who_comes_first() -> None:
    lone = Lone(priority=6).lead()
    lone.receive(2, Claim(1, 5), Claim(1, 6))
    assert len(lone.all(Discarded)) == 2 and not lone.sends(TimeoutNow)
    lone.receive(3, Claim(1, 7))
    assert [send.to for send in lone.sends(TimeoutNow)] == [(3,)]


def test_it_hands_over_only_to_a_voter_that_is_there_and_has_all_that_is_committed() -> None:
    lone = Lone(members=Members((1, 2, 3), learners=(4,))).lead()
    lone.receive(4, Claim(1, 9))
    assert lone.replica.handover is None, "a learner can't lead"
    lone.propose(1)
    lone.save()
    lone.acknowledge(2)
    lone.receive(3, Claim(1, 7))
    assert lone.replica.handover is None, "n3 lacks an entry"
    lone.acknowledge(3)
    assert lone.replica.handover is not None and lone.replica.handover.to == 3
    lone = Lone().lead()
    for _ in range(3):
        lone.wake()
        lone.acknowledge(2)
    lone.receive(3, Claim(1, 7))
    assert lone.replica.handover is None, "n3 has been silent"


def test_it_does_not_try_again_soon() -> None:
    lone = claimed()
    began, tries = lone.now, 0
    assert lone.sends(TimeoutNow) or lone.replica.handover is not None
    while lone.now < began + 25 * lone.settings.election_timeout:
        before = lone.replica.handover
        lone.wake()
        lone.acknowledge(2, 3)
        tries += before is None and lone.replica.handover is not None
    assert tries == 2


def test_a_new_leader_first_commits_an_entry_of_its_own() -> None:
    lone = Lone()
    lone.campaign()
    lone.receive(2, Vote(1, True))
    lone.receive(3, Claim(1, 7))
    assert lone.replica.handover is None
    lone.save()
    lone.acknowledge(2, 3)
    assert lone.replica.handover is not None


def test_a_follower_claims_now_and_then_and_only_with_a_priority() -> None:
    lone = Lone(priority=3)
    lone.receive(2, Append(1, ORIGIN, entries(1), 0, 0))
    assert lone.said(Claim) == Claim(1, 3)
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    assert not lone.sends(Claim)
    lone.now += lone.settings.election_timeout
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    assert lone.sends(Claim)
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, entries(1), 0, 0))
    assert not lone.sends(Claim)
    learner = Lone(priority=3, members=Members((2, 3), learners=(1,)))
    learner.receive(2, Append(1, ORIGIN, entries(1), 0, 0))
    assert not learner.sends(Claim)
