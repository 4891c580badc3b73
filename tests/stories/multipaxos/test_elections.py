"""Who leads, whoever hears whom. (Paxos Made Simple §3; Omni-Paxos §2; PMMC §3)"""

from __future__ import annotations

import pytest

from .scenes import connect_only, replica, scene

HUB = ((1, 3), (2, 3), (3, 4), (3, 5))
"""Everybody is connected to n3, and to nobody else."""


def test_a_leader_without_a_quorum_gives_way_to_who_has_one() -> None:
    """Quorum loss: the leader lives, but only n3 still hears a majority. (Omni-Paxos §2, Figure 1a)"""
    s = scene(5)
    s.elect(5)
    s.propose(5, "a")
    s.settle()
    connect_only(s, *HUB)
    s.advance(20_000)
    assert s.role(3) == "leader" and s.role(5) != "leader", s.transcript[-20:]
    token = s.propose(3, "b")
    s.settle()
    assert str(s.answer(token)).startswith("committed")
    epoch = s.term(3)
    s.advance(20_000)
    assert (s.role(3), s.term(3)) == ("leader", epoch), "and it stays: nobody disturbs it"


def test_who_lacks_the_log_leads_if_only_it_can() -> None:
    """Constrained election: n3 alone is connected to a majority, and its log is behind. (Omni-Paxos §2, Figure 1b)"""
    s = scene(5)
    s.elect(5)
    s.only(1, 2, 4, 5)
    s.propose(5, "a")
    s.propose(5, "b")
    s.settle()
    assert s.state(1) == "" or s.committed(5) == 2
    s.heal()
    s.crash(5)
    connect_only(s, *HUB)
    s.advance(20_000)
    assert s.role(3) == "leader", s.transcript[-20:]
    s.propose(3, "c")
    s.settle()
    s.advance(500)
    assert {s.state(n) for n in (1, 2, 3, 4)} == {"a b c"}


def test_one_end_of_a_chain_disturbs_nobody() -> None:
    """Chained links: n3 doesn't hear the leader, n1, and n2 hears both. (Omni-Paxos §2, Figure 1c)"""
    s = scene(3)
    s.elect(1)
    epoch = s.term(1)
    connect_only(s, (1, 2), (2, 3))
    s.advance(30_000)
    assert (s.role(1), s.term(1)) == ("leader", epoch), "leadership does not go to and fro"
    token = s.propose(1, "a")
    s.settle()
    assert s.answer(token) == "committed at 1"


def test_two_proposers_end_their_duel() -> None:
    """Both are in phase 1 at once, of the same round: one goes on, the other gives up and waits. (PMMC §3)"""
    s = scene(3)
    s.hold("Prepare")
    s.campaign(1)
    s.campaign(2)
    s.settle()
    assert [s.role(n) for n in (1, 2)] == ["candidate"] * 2
    s.free()
    s.deliver("Prepare")
    s.settle()
    s.advance(5_000)
    assert sorted(s.role(n) for n in (1, 2, 3)) == ["follower", "follower", "leader"]
    epoch = max(s.term(n) for n in (1, 2, 3))
    assert epoch <= 2
    s.advance(20_000)
    assert {s.term(n) for n in (1, 2, 3)} == {epoch}


def test_a_round_is_promised_to_one_member_only() -> None:
    """So that a round names one leader: (1, 1) and (1, 2) differ, and n3 promises only one of them."""
    s = scene(3)
    s.hold("Prepare")
    s.campaign(1)
    s.campaign(2)
    s.settle()
    s.free()
    s.deliver("Prepare", sender=1, to=3)
    s.settle()
    assert s.role(1) == "leader" and s.said("n3 → n1 Promise(ballot=1.1")
    s.deliver("Prepare", sender=2)
    s.settle()
    assert s.role(1) == "leader" and s.role(2) == "follower"
    assert {replica(s, n).promised for n in (1, 2, 3)} == {(2, 1)}, "n2, which promised 1.2, follows to a higher round"


def test_who_hears_a_leader_promises_nobody_else() -> None:
    """A member that can't hear the leader asks in vain, and its ballot does no harm. (Stickiness)"""
    s = scene(3)
    s.elect(1)
    s.lose(sender=1, to=3)
    s.advance(10_000)
    assert s.role(1) == "leader" and replica(s, 2).promised == (1, 1)
    assert not s.said("→ candidate, term 2")


def test_a_deposed_leader_is_refused_and_its_value_comes_once_at_most() -> None:
    """Its Accepts arrive when a higher ballot was promised. (PMS §2.2: phase 2b)"""
    s = scene(3)
    s.elect(1)
    s.hold("Accept", sender=1)
    token = s.propose(1, "a")
    s.settle()
    s.tire(3)
    s.elect(2)
    s.propose(2, "b")
    s.settle()
    s.free()
    s.deliver("Accept", sender=1)
    s.settle()
    s.advance(1_000)
    assert s.said("→ n1 Nack(ballot=2.2)")
    assert s.role(2) == "leader" and s.answer(token) == "lost"
    assert {s.state(n) for n in (1, 2, 3)} == {"b"}


@pytest.mark.parametrize("saved", [False, True])
def test_a_ballot_is_never_used_again_after_a_crash(saved: bool) -> None:
    """It is promised durably to its own maker before anybody hears of it. (PMS §2.5)"""
    s = scene(3)
    s.delay_saves(1)
    s.campaign(1)
    s.settle()
    assert s.role(1) == "candidate" and not s.said("Prepare(")
    if saved:
        s.save(1)
        s.settle()
        assert s.role(1) == "leader"
    s.quick_saves(1)
    s.restart(1)
    s.elect(1)
    assert replica(s, 1).promised.round == (2 if saved else 1)
