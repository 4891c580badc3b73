"""Requests that arrive at a follower. Each token ends exactly once, and no request is executed twice."""

from __future__ import annotations

import pytest

from tests.stories.story import Story


def test_a_follower_forwards_and_is_answered_at_once() -> None:
    """A commit notice goes to the follower whose caller waits: it doesn't wait for the next heartbeat."""
    s = Story(nodes=3)
    s.elect(1)
    token = s.propose(2, "a")
    s.settle()
    assert s.answer(token) == "committed at 2"
    assert s.state(2) == "a"


def test_many_callers_at_all_nodes() -> None:
    s = Story(nodes=3)
    s.elect(1)
    tokens = [s.propose(n, f"n{n}r{number}") for number in range(5) for n in (1, 2, 3)]
    s.advance(50)
    assert {(s.answer(token) or "")[:9] for token in tokens} == {"committed"}
    assert sorted(s.state(1).split()) == sorted(s.names[token] for token in tokens)
    assert s.state(1) == s.state(2) == s.state(3)


def test_nobody_leads() -> None:
    """Callers wait a while for a leader, not for ever; what is refused never happens."""
    s = Story(nodes=3)
    s.only(2)
    tokens = [s.propose(2, "a"), s.read(2)]
    s.advance(30_000)
    assert [s.answer(token) for token in tokens] == ["rejected: no leader"] * 2
    s.heal()
    s.elect(1)
    s.heartbeat(1)
    assert s.log(1) == ["noop"]


def test_callers_wait_for_an_election() -> None:
    s = Story(nodes=3)
    tokens = [s.propose(2, "a"), s.propose(3, "b"), s.read(3)]
    s.elect(1)
    s.advance(50)
    assert [(s.answer(token) or "")[:9] for token in tokens[:2]] == ["committed"] * 2
    assert (s.answer(tokens[2]) or "").startswith("sees")
    assert sorted(s.state(1).split()) == ["a", "b"]


def test_a_doubled_forward_is_executed_once() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Forward")
    token = s.propose(2, "a")
    s.settle()
    for _ in range(3):
        s.deliver("Forward", keep=True)
        s.advance(5)
    assert s.answer(token) == "committed at 2"
    assert " ".join(s.log(1)).split().count("a") == 1


def test_a_forward_doubled_before_it_is_ordered() -> None:
    """Both copies come in before the leader's next batch leaves."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Forward")
    token = s.propose(2, "a")
    s.settle()
    s.hold("Appended")
    s.propose(1, "b")
    s.settle()
    s.deliver("Forward", keep=True)
    s.deliver("Forward", keep=True)
    s.free()
    s.deliver("Appended")
    s.advance(10)
    assert (s.answer(token) or "").startswith("committed")
    assert " ".join(s.log(1)).split().count("a") == 1


@pytest.mark.parametrize("dies", [False, True])
def test_a_forward_of_an_earlier_term_is_not_executed_again(dies: bool) -> None:
    """n1 executed it in term 1. It comes again when n1 leads term 3, and n1 may have forgotten."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Forward")
    token = s.propose(2, "a")
    s.settle()
    s.deliver("Forward", keep=True)
    s.settle()
    assert s.answer(token) == "committed at 2"
    s.elect(3)
    if dies:
        s.restart(1)
    s.elect(1)
    s.deliver("Forward")
    s.advance(10)
    assert " ".join(s.log(1)).split().count("a") == 1


def test_a_forward_to_a_deposed_leader() -> None:
    """It arrives when n1 no longer leads: n1 refuses it, and n2's caller is told."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Forward")
    token = s.propose(2, "a")
    s.settle()
    s.elect(3)
    s.deliver("Forward")
    s.settle()
    s.advance(3_000)
    answer = s.answer(token) or ""
    assert answer == "lost" or answer.startswith("rejected"), answer
    assert "a" not in s.log(3)


def test_a_refused_forward_names_the_leader() -> None:
    """n2 has not heard of n3's election; n1, which has, refuses at once. Nothing happened: safe to retry."""
    s = Story(nodes=5)
    s.elect(1)
    s.partition((1, 3, 4, 5), (2,))
    s.elect(3)
    s.partition((1, 2), (3, 4, 5))
    token = s.propose(2, "a")
    s.settle()
    assert s.answer(token) is not None, s.transcript[-5:]
    assert (s.answer(token) or "").startswith(("rejected", "lost"))
    assert "a" not in s.log(1)


def test_a_lost_forward_ends() -> None:
    """A forward is never repeated by itself; its caller hears that nobody knows."""
    s = Story(nodes=3)
    s.elect(1)
    s.lose("Forward")
    token = s.propose(2, "a")
    s.advance(10_000)
    assert s.answer(token) == "lost"
    s.free()
    s.advance(1_000)
    assert "a" not in s.log(1)


def test_the_leader_dies_with_a_forward() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.lose("Append", 1)
    token = s.propose(2, "a")
    s.settle()
    s.crash(1)
    s.advance(5_000)
    assert s.role(2) == "leader"
    assert s.answer(token) == "lost"
    s.free()
    s.start(1)
    s.advance(1_000)
    assert "a" not in s.log(1), "it was in n1's log alone, and was replaced"


def test_a_forward_that_outlived_its_leader_may_still_commit() -> None:
    """n1 replicated "a" and died. The next leader commits it; n2's caller hears so, or that nobody knows."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Appended", to=1)
    token = s.propose(2, "a")
    s.settle()
    s.crash(1)
    s.elect(3)
    s.heartbeat(3, times=2)
    s.advance(3_000)
    assert s.state(2) == "a"
    assert s.answer(token) in ("committed at 2", "lost")


def test_a_restarted_node_answers_nobody_of_its_earlier_life() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Append", 1, 2)
    token = s.propose(2, "a")
    s.settle()
    s.restart(2)
    s.free()
    s.deliver("Append")
    s.heartbeat(1)
    assert s.state(2) == "a"
    assert s.answer(token) == "crashed"
    again = s.propose(2, "b")
    s.settle()
    assert s.answer(again) == "committed at 3"


def test_forwards_of_two_lives_are_told_apart() -> None:
    """The first batch of the new life has the same number as that of the old one."""
    s = Story(nodes=3)
    s.elect(1)
    s.propose(2, "a")
    s.settle()
    s.restart(2)
    s.heartbeat(1)
    token = s.propose(2, "b")
    s.settle()
    assert s.answer(token) == "committed at 3"
    assert s.state(2) == "a b"


def test_too_much_at_the_leader_is_refused_at_the_follower() -> None:
    s = Story(nodes=3, linger=0, max_uncommitted=500)
    s.elect(1)
    s.lose("Appended")
    tokens = []
    for number in range(6):
        tokens.append(s.propose(2, f"{number}" * 200))
        s.advance(3)
    assert (s.answer(tokens[-1]) or "").startswith("rejected: too many uncommitted bytes"), s.answer(tokens[-1])
    s.free()
    s.advance(500)
    assert None not in [s.answer(token) for token in tokens]
