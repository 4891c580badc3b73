"""A configuration counts from the moment that it is in the log; how one follows on another. (Raft §6; thesis §4)"""

from __future__ import annotations

import pytest

from ostraka.consensus.raft import membership
from ostraka.consensus.raft.messages import (
    Append,
    Appended,
    AskPreVote,
    ForwardChange,
    ForwardRefused,
    HardState,
    Logged,
    MembersChanged,
    PreVote,
    RequestVote,
    SnapshotOffer,
    TimeoutNow,
    Vote,
)
from ostraka.model.effects import Discarded, Done, FetchSnapshot, Lost, MembersActive, Rejected, Why
from ostraka.model.events import (
    ChangeMembers,
    Propose,
    Read,
    Receive,
    SnapshotFetched,
    SnapshotInstalled,
    TransferLeadership,
)
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry, Kind, Members, Request, SnapshotMeta

from .lone import THREE, Lone, entries

FIVE = Members((1, 2, 3, 4, 5))


def configuration(index: int, term: int, members: Members) -> Entry:
    return Entry(index, term, 0, Kind.MEMBERS, (), members)


def test_a_configuration_counts_before_it_is_committed_and_goes_with_its_entry() -> None:
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, (*entries(1), configuration(2, 1, FIVE)), 0, 0))
    assert lone.all(MembersActive) == [MembersActive(FIVE, 2)]
    assert lone.replica.status().members == FIVE and lone.replica.commit == 0
    lone.receive(3, Append(2, Position(1, 1), (Entry(2, 2, 0),), 0, 0))
    assert lone.replica.status().members == Members((1, 2, 3))
    assert not lone.replica.quorum({1, 4, 5})


def test_nobody_turns_away_from_a_member_before_its_removal_is_committed() -> None:
    """Where the removal is rolled back, that member may lead: who wouldn't talk to it could never be told so."""
    lone = Lone()
    two = Members((1, 2))
    lone.receive(2, Append(1, ORIGIN, (*entries(1), configuration(2, 1, two)), 1, 0))
    lone.save()
    assert lone.replica.status().members == two
    assert (lone.replica.status().everyone, lone.replica.status().configured) == ((1, 2, 3), 0)
    lone.receive(2, Append(1, Position(1, 2), (), 2, 0))
    assert lone.all(MembersActive) == [MembersActive(two, 2)], "links to others can go now"
    assert (lone.replica.status().everyone, lone.replica.status().configured) == ((1, 2), 2)


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    replica = Lone([HardState(1, None), Logged(entries(1)[0]), Logged(configuration(2, 1, FIVE))]).replica
    assert replica.status().members == FIVE and replica.peers == {2, 3, 4, 5}


def test_a_stranger_is_heard_for_we_may_be_new() -> None:
    """Neither the voter nor the new member may know yet that the sender is a member."""
    lone = Lone(members=Members(()))
    assert lone.replica.deadline is None, "without a configuration nobody campaigns"
    lone.receive(9, AskPreVote(1, ORIGIN), RequestVote(1, ORIGIN))
    assert lone.said(Vote).granted
    lone.receive(9, Append(1, ORIGIN, entries(1), 1, 0))
    assert lone.replica.leader == 9 and lone.replica.commit == 1
    meta = SnapshotMeta(1, 7, 0, Members((1, 9)))
    lone.receive(9, SnapshotOffer(1, meta))
    assert lone.all(FetchSnapshot) == [FetchSnapshot(meta, (9,))]
    lone.receive(8, Vote(7, True), Appended(7, True, 1, 0))
    assert lone.all(Discarded) == [Discarded(8, "not a member")] * 2 and lone.replica.term == 1


def test_a_configuration_comes_with_a_snapshot() -> None:
    lone = Lone()
    meta = SnapshotMeta(1, 7, 0, FIVE)
    lone.receive(2, SnapshotOffer(1, meta))
    lone.do(SnapshotFetched(meta, True))
    lone.do(SnapshotInstalled(meta))
    assert lone.all(MembersActive) == [MembersActive(FIVE, 7)]
    lone.receive(3, Append(2, Position(1, 7), (configuration(8, 1, THREE),), 7, 0))
    assert lone.replica.members == THREE
    lone.receive(4, Append(3, Position(1, 7), (Entry(8, 3, 0),), 7, 0))
    assert lone.replica.members == FIVE, "rolled back to what the snapshot said"


# What the leader decides.


def members_appended(lone: Lone) -> list[Members]:
    """The configurations that the last step appended."""
    logged = [record.entry for record in lone.records() if isinstance(record, Logged)]
    return [entry.members for entry in logged if entry.members is not None]


def committed(lone: Lone, *followers: int) -> None:
    """What is in the log becomes durable here and there."""
    lone.save()
    lone.acknowledge(*followers)


def until_refused(lone: Lone) -> list[Rejected]:
    """Let time pass, with n2 and n3 there, until something is refused."""
    for _ in range(200):
        lone.wake()
        if refused := lone.all(Rejected):
            return refused
        lone.acknowledge(2, 3)
    raise AssertionError("nothing is ever refused")


@pytest.mark.parametrize(
    ("now", "target", "step"),
    [
        (THREE, Members((1, 2)), Members((1, 2))),
        (THREE, Members((1, 2, 3, 4)), Members((1, 2, 3, 4))),
        (THREE, Members((1, 2, 3), (4, 5, 6)), Members((1, 2, 3), (4, 5, 6))),
        (THREE, Members((1, 2, 4)), Members((1, 2, 4), (), (1, 2, 3))),
        (THREE, Members((3,), (1,)), Members((3,), (1,), (1, 2, 3))),
    ],
)
def test_one_voter_is_a_single_step_and_more_are_joint(now: Members, target: Members, step: Members) -> None:
    assert membership.next_step(now, target) == step


def test_a_member_less_is_one_entry() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((2, 1))))
    assert members_appended(lone) == [Members((1, 2))] and lone.replica.peers == {2}
    assert lone.all(MembersActive) == [MembersActive(Members((1, 2)), 2)]
    committed(lone, 3)
    assert lone.replica.commit == 1, "n3 doesn't count any more"
    lone.acknowledge(2)
    assert lone.all(Done) == [Done((7,))]


def test_several_go_through_a_joint_configuration() -> None:
    lone = Lone(members=FIVE)
    lone.wake()
    lone.do(*(Receive(voter, PreVote(1, True)) for voter in (2, 3)))
    lone.save()
    lone.do(*(Receive(voter, Vote(1, True)) for voter in (2, 3)))
    committed(lone, 2, 3)
    lone.do(ChangeMembers(7, Members((1, 4, 5))))
    assert members_appended(lone) == [Members((1, 4, 5), (), (1, 2, 3, 4, 5))]
    committed(lone, 2, 3)
    assert lone.replica.commit == 1, "a majority of the old ones is not enough"
    lone.acknowledge(4)
    assert members_appended(lone) == [Members((1, 4, 5))] and not lone.all(Done), "C-new follows by itself"
    committed(lone, 4)
    assert lone.all(Done) == [Done((7,))]


def test_a_joint_configuration_needs_the_old_majority_too() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1,))))
    committed(lone)
    assert lone.replica.members == Members((1,), (), (1, 2, 3)) and lone.replica.commit == 1
    lone.acknowledge(3)
    assert members_appended(lone) == [Members((1,))]


def test_a_new_voter_learns_first() -> None:
    lone = Lone().lead()
    four = Members((1, 2, 3, 4))
    lone.do(ChangeMembers(7, four))
    assert members_appended(lone) == [Members((1, 2, 3), (4,))]
    committed(lone, 2)
    assert not members_appended(lone), "it has nothing yet"
    lone.receive(4, Appended(1, False, 1, 0, Position(0, 1)))
    assert [send.message.prev for send in lone.sends(Append)] == [ORIGIN]  # type: ignore[attr-defined]
    lone.acknowledge(4)
    assert members_appended(lone) == [four]
    committed(lone, 2, 4)
    assert lone.all(Done) == [Done((7,))]


def test_catching_up_goes_in_rounds_until_one_is_short() -> None:
    """Thesis §4.2.1: as long as a round takes an election timeout, the new voter would hold the others up."""
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1, 2, 3, 4))))
    committed(lone, 2)
    for round_ in range(3):
        goal = lone.replica.log.last.index
        for _ in range(11):
            lone.wake()
            lone.acknowledge(2, 3)
        lone.propose(round_ + 1)
        committed(lone, 2)
        lone.receive(4, Appended(1, True, goal, 0))
        assert not members_appended(lone), f"round {round_} took more than an election timeout"
    lone.acknowledge(4)
    assert members_appended(lone) == [Members((1, 2, 3, 4))]


def test_a_new_voter_that_is_never_heard_of_is_given_up() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1, 2, 3, 4))))
    committed(lone, 2)
    since = lone.now
    assert until_refused(lone) == [Rejected((7,), Why.BEHIND, 1)]
    assert lone.now - since <= 10 * lone.settings.election_timeout
    assert members_appended(lone) == [THREE], "the learner goes as it came"


def test_a_learner_that_was_there_before_stays_when_it_is_too_slow() -> None:
    before = Members((1, 2, 3), (4,))
    lone = Lone(members=before).lead()
    for number in range(20):
        lone.propose(number + 10)
        committed(lone, 2, 4)
    lone.propose(6)
    committed(lone, 2)
    lone.do(ChangeMembers(7, Members((1, 2, 3, 4))))
    assert not lone.all(Rejected) and lone.replica.members == before, "one entry is missing"
    assert until_refused(lone) == [Rejected((7,), Why.BEHIND, 1)] and lone.replica.members == before


def test_a_learner_that_is_not_in_sync_is_not_promoted_by_command() -> None:
    """Whoever asks learns it at once: it may never have been started."""
    before = Members((1, 2, 3), (4,))
    lone = Lone(members=before).lead()
    lone.do(ChangeMembers(7, Members((1, 2, 3, 4))))
    assert lone.all(Rejected) == [Rejected((7,), Why.BEHIND, 1)] and lone.replica.members == before
    committed(lone, 2, 4)
    lone.do(later=lone.settings.election_timeout // 2)
    lone.acknowledge(2, 3)
    lone.do(ChangeMembers(8, Members((1, 2, 3, 4))), later=lone.settings.election_timeout // 2)
    assert lone.all(Rejected) == [Rejected((8,), Why.BEHIND, 1)], "it was, but has been silent"
    lone.acknowledge(2, 3, 4)
    lone.do(ChangeMembers(9, Members((1, 2, 3, 4))))
    assert members_appended(lone) == [Members((1, 2, 3, 4))]


def test_who_was_removed_waits_for_nobody() -> None:
    """Nobody would answer it: its callers are told at once, and so are those who come later."""
    lone = Lone(members=THREE)
    lone.do(Read((5,)), Propose(((6, Request(b"x")),)))
    lone.receive(2, Append(1, ORIGIN, (*entries(1), configuration(2, 1, Members((2, 3)))), 2, 0))
    [rejected] = lone.all(Rejected)
    assert set(rejected.tokens) == {5, 6} and rejected.why is Why.NOT_A_MEMBER
    lone.do(Read((7,)))
    assert lone.all(Rejected) == [Rejected((7,), Why.NOT_A_MEMBER, 2)] and lone.replica.own_bytes == 0


def test_a_leader_that_was_removed_still_answers() -> None:
    lone = Lone().lead()
    committed(lone, 2)
    lone.do(ChangeMembers(7, Members((2, 3))), Read((8,)))
    assert not lone.all(Rejected)


def test_nothing_changes_before_an_entry_of_the_term_is_committed() -> None:
    """The bug in single-server membership changes of 2015."""
    lone = Lone()
    lone.campaign()
    lone.receive(2, Vote(1, True))
    lone.do(ChangeMembers(7, Members((1, 2))))
    lone.save()
    assert lone.replica.members == THREE
    lone.acknowledge(2)
    assert members_appended(lone) == [Members((1, 2))], "but then it does by itself"


def test_an_uncommitted_configuration_of_an_older_term_goes_first() -> None:
    lone = Lone([HardState(1, None), Logged(entries(1)[0]), Logged(configuration(2, 1, FIVE))])
    lone.wake()
    lone.receive(2, PreVote(2, True))
    lone.receive(3, PreVote(2, True))
    lone.save()
    lone.receive(2, Vote(2, True))
    lone.receive(3, Vote(2, True))
    lone.do(ChangeMembers(7, Members((1, 2, 3, 4))))
    lone.save()
    assert lone.replica.members == FIVE
    lone.acknowledge(2, 3)
    assert members_appended(lone) == [Members((1, 2, 3, 4))]


def test_a_new_leader_leaves_the_joint_configuration() -> None:
    joint = Members((1, 2), (), (1, 2, 3))
    lone = Lone([HardState(1, None), Logged(entries(1)[0]), Logged(configuration(2, 1, joint))])
    lone.campaign()
    lone.receive(2, Vote(2, True))
    assert lone.replica.members == joint
    committed(lone, 2)
    assert members_appended(lone) == [Members((1, 2))]


def test_one_change_at_a_time() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1, 2))), ChangeMembers(8, Members((1, 3))), TransferLeadership(9, 2))
    assert lone.all(Rejected) == [Rejected((8,), Why.CHANGING, 1), Rejected((9,), Why.CHANGING, 1)]


def test_a_change_is_refused_unless_it_begins_with_the_members_there_are() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1, 2)), base=Members((1, 2, 3, 4))))
    assert lone.all(Rejected) == [Rejected((7,), Why.CHANGED, 1)]
    lone.do(ChangeMembers(8, Members((1, 2)), base=Members((3, 2, 1))))
    assert members_appended(lone) == [Members((1, 2))]


@pytest.mark.parametrize(
    "wrong",
    [Members(()), Members((), (1,)), Members((1, 2), (2,)), Members((1, 1)), Members((0,)), Members((1,), (), (2,))],
)
def test_what_is_no_configuration_is_refused(wrong: Members) -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, wrong))
    assert lone.all(Rejected) == [Rejected((7,), Why.NO_CONFIGURATION, 1)]


def test_the_same_configuration_again_is_done() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((3, 2, 1))))
    assert lone.all(Done) == [Done((7,))] and not members_appended(lone)


def test_a_removed_leader_hands_over_and_steps_down() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((2, 3))))
    committed(lone, 2)
    assert not lone.all(Done), "its own copy doesn't count (thesis §4.2.2)"
    lone.acknowledge(3)
    assert lone.all(Done) == [Done((7,))] and lone.sends(TimeoutNow)[0].to == (2,)
    since = lone.now
    while lone.replica.role.name == "leader":
        lone.wake()
        lone.acknowledge(2, 3)
    assert lone.now - since == lone.settings.election_timeout and lone.replica.campaign_at is None


def test_a_leader_that_loses_its_term_cannot_tell_what_becomes_of_a_change() -> None:
    lone = Lone().lead()
    lone.do(ChangeMembers(7, Members((1, 2))))
    lone.receive(2, Vote(5, False))
    assert lone.all(Lost) == [Lost((7,))]


# Who asks elsewhere.


def test_a_follower_asks_the_leader() -> None:
    lone = Lone()
    lone.do(ChangeMembers(6, FIVE))
    assert lone.all(Rejected) == [Rejected((6,), Why.NO_LEADER)]
    lone.follow(1, commit=1)
    lone.do(ChangeMembers(7, FIVE, THREE), ChangeMembers(8, FIVE))
    life = lone.replica.life
    assert [send.message for send in lone.sends(ForwardChange)] == [
        ForwardChange(1, life, 1, FIVE, THREE),
        ForwardChange(1, life, 2, FIVE, None),
    ]
    lone.receive(2, MembersChanged(1, life, 1), MembersChanged(1, life, 1), ForwardRefused(1, life, 2, Why.CHANGING))
    assert lone.all(Done) == [Done((7,))] and lone.all(Rejected) == [Rejected((8,), Why.CHANGING, 2)]


def test_the_leader_answers_whoever_asked() -> None:
    lone = Lone().lead()
    lone.receive(2, ForwardChange(1, 5, 1, Members((1, 2)), None), ForwardChange(1, 5, 1, Members((1,)), None))
    lone.receive(3, ForwardChange(1, 5, 1, Members((1,)), None))
    assert lone.all(Discarded) == [Discarded(3, "not a member")]
    lone.receive(2, ForwardChange(1, 5, 2, Members((1,)), None))
    assert lone.said(ForwardRefused) == ForwardRefused(1, 5, 2, Why.CHANGING)
    committed(lone, 2)
    assert lone.sends(MembersChanged)[0].to == (2,) and lone.said(MembersChanged).number == 1


def test_a_wish_that_nobody_answers_is_lost() -> None:
    lone = Lone().follow(1, commit=1)
    lone.do(ChangeMembers(7, FIVE))
    for _ in range(60):
        assert not lone.all(Lost)
        lone.do(Receive(2, Append(1, Position(1, 1), (), 1, 0)), later=lone.settings.election_timeout)
    assert lone.all(Lost) == [Lost((7,))]
    lone.do(ChangeMembers(8, FIVE))
    lone.receive(3, Append(2, Position(1, 1), (), 1, 0))
    assert lone.all(Lost) == [Lost((8,))], "nor does another leader know of it"


# Who campaigns.


def test_one_that_was_removed_campaigns_until_that_is_committed() -> None:
    """Thesis §4.2.2: only it may have C-new, and then nobody else can win."""
    lone = Lone([HardState(1, None), Logged(entries(1)[0]), Logged(configuration(2, 1, Members((2,))))])
    lone.wake()
    assert lone.sends(AskPreVote)[0].to == (2,)
    lone.receive(2, PreVote(2, True))
    lone.save()
    assert lone.replica.role.name == "candidate", "its own vote doesn't count"
    lone.receive(2, Vote(2, True))
    assert lone.replica.role.name == "leader"
    lone = Lone().follow(1, 1)
    lone.receive(2, Append(1, Position(1, 2), (configuration(3, 1, Members((2, 3))),), 2, 0))
    assert lone.replica.campaign_at is not None
    lone.receive(2, Append(1, Position(1, 3), (), 3, 0))
    assert lone.replica.campaign_at is None and lone.replica.deadline is None


def test_a_learner_campaigns_once_it_votes_and_no_longer_when_that_is_rolled_back() -> None:
    lone = Lone(members=Members((2, 3), (1,)))
    lone.receive(2, Append(1, ORIGIN, (*entries(1), configuration(2, 1, THREE)), 1, 0))
    assert lone.replica.campaign_at is not None
    lone.receive(3, Append(2, Position(1, 1), (Entry(2, 2, 0),), 1, 0))
    assert lone.replica.campaign_at is None


def test_a_learner_counts_for_nothing() -> None:
    lone = Lone(members=Members((1, 2, 3), (4, 5))).lead()
    lone.propose(1)
    lone.save()
    lone.acknowledge(4, 5)
    assert lone.replica.commit == 1
    lone.acknowledge(2)
    assert lone.replica.commit == 2
