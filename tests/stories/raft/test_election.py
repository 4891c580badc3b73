"""Who leads. (Raft §5.2, §5.4.1; thesis §4.2.3, §9.6)"""

from __future__ import annotations

import pytest

from ostraka.model.events import ForgetLeader
from tests.stories.story import Story


def candidates(*nodes: int, of: int) -> Story:
    """A scene in which these nodes are candidates of term 1, and nobody has heard it yet."""
    s = Story(nodes=of)
    s.hold("RequestVote")
    for n in nodes:
        s.campaign(n)
    s.settle()
    assert [s.role(n) for n in nodes] == ["candidate"] * len(nodes), s.transcript
    assert [s.term(n) for n in nodes] == [1] * len(nodes)
    s.free()
    return s


def test_the_first_to_lose_patience_leads() -> None:
    """§5.2. Nobody leads at first; n1 draws the shortest wait, and a majority elects it."""
    s = Story(nodes=3)
    assert [s.role(n) for n in (1, 2, 3)] == ["follower"] * 3
    s.advance(1150)
    assert [s.role(n) for n in (1, 2, 3)] == ["leader", "follower", "follower"], s.transcript
    assert {s.status(n).leader for n in (1, 2, 3)} == {1}
    assert {s.term(n) for n in (1, 2, 3)} == {1}


def test_a_new_leader_writes_an_empty_entry() -> None:
    """§8: it commits a no-op at the start of its term, to learn what is committed."""
    s = Story(nodes=3)
    s.elect(1)
    assert s.log(1) == ["noop"]
    assert s.committed(1) == 1


def test_heartbeats_keep_the_leader() -> None:
    """§5.2: while followers hear from the leader, they remain followers."""
    s = Story(nodes=3)
    s.elect(1)
    s.advance(20_000)
    assert s.role(1) == "leader"
    assert {s.term(n) for n in (1, 2, 3)} == {1}


def test_a_dead_leader_is_replaced() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.crash(1)
    s.advance(2_000)
    assert s.role(2) == "leader", "n2 has the shorter wait of the two that are left"
    assert s.term(2) == 2


def test_a_split_vote_is_resolved_by_the_dice() -> None:
    """§5.2: two candidates share the votes, nobody wins; then the one with the shorter wait tries first."""
    s = candidates(1, 2, of=4)
    s.deliver("RequestVote", 1, 3)
    s.deliver("RequestVote", 2, 4)
    s.deliver("RequestVote")
    s.settle()
    assert [s.role(n) for n in (1, 2)] == ["candidate", "candidate"], s.transcript
    s.luck(2, 0.8)
    s.advance(1_150)
    assert s.role(1) == "leader", s.transcript
    assert s.term(1) == 2
    assert s.role(2) == "follower"


def test_a_candidate_yields_to_the_leader_of_its_term() -> None:
    """§5.2: an AppendEntries of a legitimate leader turns a candidate back into a follower."""
    s = candidates(1, 2, of=3)
    s.deliver("RequestVote", 1, 3)
    s.settle()
    assert s.role(1) == "leader"
    assert s.role(2) == "follower"
    assert s.status(2).leader == 1
    assert s.term(2) == 1


def test_a_minority_elects_nobody() -> None:
    s = Story(nodes=5)
    s.only(1, 2)
    s.advance(10_000)
    assert "leader" not in {s.role(n) for n in range(1, 6)}
    assert {s.term(n) for n in range(1, 6)} == {0}, "without a majority of pre-votes no term begins"


def test_a_returning_node_does_not_disrupt() -> None:
    """Thesis §9.6: cut off, n3 asks for pre-votes in vain, so its term stays, and its return changes nothing."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.advance(10_000)
    assert s.term(3) == 1
    assert s.role(3) == "pre-candidate"
    s.heal()
    s.advance(3_000)
    assert s.role(1) == "leader"
    assert {s.term(n) for n in (1, 2, 3)} == {1}
    assert s.role(3) == "follower"


def test_who_hears_a_leader_grants_nothing() -> None:
    """Thesis §4.2.3: n3 alone lost its patience; the others hear n1 and refuse."""
    s = Story(nodes=3)
    s.elect(1)
    s.heartbeat(1)
    s.campaign(3)
    s.settle()
    assert s.role(1) == "leader"
    assert {s.term(n) for n in (1, 2, 3)} == {1}


def test_a_leader_without_a_majority_steps_down() -> None:
    """Thesis §6.2: n1 hears from nobody for an election timeout. Its callers must not wait for ever."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(2, 3)
    token = s.propose(1, "a")
    s.advance(2_500)
    assert s.role(1) != "leader"
    assert s.role(2) == "leader"
    assert s.term(1) == 1, "stepping down begins no term"
    s.heal()
    s.advance(500)
    assert s.answer(token) == "lost", "n2's entry took the place of it"
    assert "a" not in s.log(1)


def test_a_leader_with_a_majority_stays() -> None:
    """The other half of check-quorum: one follower of two is enough."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.advance(10_000)
    assert s.role(1) == "leader"
    assert s.term(1) == 1


def test_a_stale_log_loses() -> None:
    """§5.4.1: n3 missed an entry. Even with everybody tired of waiting, no majority will have it."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.propose(1, "a")
    s.settle()
    assert s.committed(1) == 2
    s.crash(1)
    s.only(2, 3)
    s.tire(2)
    s.campaign(3)
    s.settle()
    assert s.role(3) != "leader"
    s.elect(2)
    s.heartbeat(2)
    assert s.log(3) == ["noop", "a", "noop"]


def test_a_vote_survives_a_crash() -> None:
    """§5.1, Figure 2: votedFor is on disk before the answer, so n3 can't vote twice in term 1."""
    s = candidates(1, 2, of=3)
    s.lose("Vote", 3, 1)
    s.deliver("RequestVote", 1, 3)
    s.settle()
    s.restart(3)
    s.deliver("RequestVote", 2, 3)
    s.settle()
    assert s.role(2) != "leader"
    assert s.term(3) == 1
    assert s.said("n3 → n1 Vote(term=1, granted=True)") == 1
    assert s.said("n3 → n2 Vote(term=1, granted=True)") == 0


def test_a_vote_that_was_not_saved_was_not_given() -> None:
    """Figure 2, "before responding": n3's disk is slow, and n3 dies before the vote is on it."""
    s = candidates(1, 2, of=3)
    s.delay_saves(3)
    s.deliver("RequestVote", 1, 3)
    s.settle()
    assert s.role(1) == "candidate", "the vote may not leave before it is saved"
    s.restart(3)
    s.quick_saves(3)
    s.deliver("RequestVote", 2, 3)
    s.settle()
    assert s.role(2) == "leader", "n3 never promised anything to n1"


def test_a_vote_leaves_once_it_is_saved() -> None:
    s = candidates(1, of=3)
    s.delay_saves(3)
    s.deliver("RequestVote", 1, 3)
    s.settle()
    assert s.role(1) == "candidate"
    s.save(3)
    s.settle()
    assert s.role(1) == "leader"


def test_a_doubled_request_gets_the_same_vote() -> None:
    """Figure 2: "votedFor is null or candidateId". The first answer was lost."""
    s = candidates(1, of=3)
    s.lose("Vote", 3, 1)
    s.deliver("RequestVote", 1, 3, keep=True)
    s.settle()
    s.free()
    assert s.role(1) == "candidate"
    s.deliver("RequestVote", 1, 3)
    s.settle()
    assert s.role(1) == "leader"


def test_votes_are_counted_by_who_gave_them() -> None:
    """One vote, delivered three times, is one vote."""
    s = candidates(1, of=5)
    s.hold("Vote")
    s.deliver("RequestVote", 1, 3)
    s.settle()
    for _ in range(3):
        s.deliver("Vote", 3, 1, keep=True)
    s.settle()
    assert s.role(1) == "candidate"


def test_a_candidate_counts_its_own_vote_once_it_is_saved() -> None:
    """Its vote is a promise like any other: n1 and n2 are a majority of three only once both are on disk."""
    s = Story(nodes=3)
    s.only(1, 2)
    s.delay_saves(1)
    s.campaign(1)
    s.settle()
    assert s.role(1) == "candidate"
    s.save(1)
    s.settle()
    assert s.role(1) == "leader"


def test_a_candidate_that_dies_unsaved_may_vote_for_another() -> None:
    s = Story(nodes=3)
    s.only(1, 2)
    s.delay_saves(1)
    s.hold("RequestVote")
    s.campaign(1)
    s.settle()
    s.restart(1)
    s.quick_saves(1)
    s.free()
    s.elect(2)
    assert s.role(2) == "leader"
    s.deliver("RequestVote")
    s.settle()
    assert s.role(2) == "leader"


@pytest.mark.parametrize("late", ["Vote", "PreVote"])
def test_late_votes_of_an_earlier_term_count_for_nothing(late: str) -> None:
    """n1's campaign of term 1 failed; the votes for it arrive during the one of term 2."""
    s = Story(nodes=5)
    s.hold(late)
    s.campaign(1)
    s.settle()
    s.free()
    s.only(1)
    s.campaign(1)
    s.settle()
    before = s.term(1)
    s.deliver(late)
    s.settle()
    assert s.role(1) != "leader"
    assert s.term(1) <= before + 1


def test_one_node_alone_leads_once_it_has_saved() -> None:
    s = Story(nodes=1)
    s.delay_saves(1)
    s.campaign(1)
    s.settle()
    assert s.role(1) == "candidate"
    s.save(1)
    s.settle()
    assert s.role(1) == "leader"


def test_who_is_told_that_its_leader_is_gone_votes_for_another() -> None:
    """Its supervisor knows that n1 is dead. n3 has heard from n1 a moment ago, and would protect it for a second."""
    s = Story(nodes=3)
    s.elect(1)
    s.tire(2)
    s.lose("Append", to=2)
    s.heartbeat(1)
    s.crash(1)
    s.wake(2)
    s.settle()
    assert s.role(2) == "pre-candidate", "n3 believes in n1"
    s.tell(3, ForgetLeader())
    s.wake(2)
    s.settle()
    assert s.role(2) == "leader"


def test_a_leader_that_was_forgotten_wrongly_is_remembered() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.tell(2, ForgetLeader())
    s.tell(3, ForgetLeader())
    assert s.status(2).leader == 0
    s.heartbeat(1)
    assert [s.status(n).leader for n in (1, 2, 3)] == [1, 1, 1] and s.term(1) == 1
