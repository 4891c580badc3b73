"""Who decides: a configuration decides the slots from α after its own. (Paxos Made Simple §3; PMMC, WINDOW)"""

from __future__ import annotations

from ostraka.consensus.multipaxos import membership
from ostraka.model.requests import Members
from tests.stories.story import Story

from .scenes import led_by, replica, scene


def until_done(s: Story, token: int, leader: int = 1) -> None:
    for _ in range(40):
        s.advance(100)
        if s.answer(token) is not None:
            return
    raise AssertionError(f"n{leader} never finishes:\n" + "\n".join(s.transcript[-30:]))


def test_members_with_nobody_in_common() -> None:
    """A slot has one configuration, so old and new need not share anybody; and the old can go."""
    s = scene(3, spare=3)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    token = s.change(1, 4, 5, 6)
    until_done(s, token)
    assert s.answer(token) == "done"
    s.advance(5_000)
    for n in (1, 2, 3):
        s.crash(n)
    s.advance(5_000)
    (leader,) = [n for n in (4, 5, 6) if s.role(n) == "leader"]
    token = s.propose(leader, "b")
    s.settle()
    s.advance(500)
    assert str(s.answer(token)).startswith("committed") and {s.state(n) for n in (4, 5, 6)} == {"a b"}
    assert s.status(leader).members == Members((4, 5, 6))


def test_nothing_is_proposed_beyond_the_window() -> None:
    """Who decides slot s is settled by the slots up to s - α, so no more are open. (Trap T9)"""
    s = scene(3)
    s.elect(1)
    s.only(1)
    for number in range(membership.ALPHA + 10):
        s.propose(1, f"r{number}")
    assert led_by(s, 1).next == membership.ALPHA + 1
    assert len(led_by(s, 1).gathered) == 10
    s.heal()
    s.heartbeat(1, times=3)
    assert s.committed(1) > membership.ALPHA and not led_by(s, 1).gathered


def test_phase_1_once_more_for_who_decides_later() -> None:
    """No slot of a later configuration is proposed before a quorum of it has promised this leader's ballot."""
    s = scene(3, spare=3)
    s.elect(1)
    s.hold("Promise", sender=4)
    s.hold("Promise", sender=5)
    s.hold("Promise", sender=6)
    token = s.change(1, 4, 5, 6)
    for _ in range(20):
        s.advance(100)
    role, schedule = led_by(s, 1), replica(s, 1).schedule
    first, members = schedule[-1]
    assert members == Members((4, 5, 6)) and s.answer(token) is None
    assert role.next == first, "it has filled all slots before"
    assert not role.promised & {4, 5, 6} and s.under_way("Promise", sender=4)
    s.free()
    s.deliver("Promise")
    until_done(s, token)
    assert s.answer(token) == "done"


def test_a_new_voter_learns_before_it_votes() -> None:
    """It has all that was chosen when it comes to count. (Trap T9; thesis §4.2.1)"""
    s = scene(3, spare=1)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.hold(to=4)
    token = s.change(1, 1, 2, 3, 4)
    s.advance(1_000)
    assert replica(s, 1).schedule[-1][1] == Members((1, 2, 3), (4,)) and s.answer(token) is None
    s.free()
    s.deliver(to=4)
    until_done(s, token)
    assert s.answer(token) == "done" and s.status(1).members == Members((1, 2, 3, 4))
    assert s.state(4) == "a"
