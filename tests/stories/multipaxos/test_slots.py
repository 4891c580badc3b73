"""What is proposed where: holes, what is taken over, and what is forgotten. (Paxos Made Simple §3; PMMC §2, §4)"""

from __future__ import annotations

from .scenes import led_by, replica, scene


def test_a_hole_is_filled_with_a_no_op() -> None:
    """Nobody accepted slot 1, and n3 slot 2. The next leader proposes a no-op, and the value again. (PMS §3)"""
    s = scene(3)
    s.elect(1)
    s.hold("Accept", sender=1)
    s.propose(1, "a")
    s.propose(1, "b")
    s.settle()
    s.deliver("Accept", sender=1, to=3, last=True)
    s.drop("Accept")
    s.free()
    s.crash(1)
    assert s.log(3) == ["b"]
    s.elect(2)
    assert s.log(2) == ["noop", "b"] and s.state(2) == "b"
    s.start(1)
    s.heartbeat(2, times=3)
    assert s.log(1) == ["noop", "b"], "what the old leader alone had accepted gives way"


def test_the_value_of_the_highest_ballot_is_proposed_again() -> None:
    """n4 accepted "old" under ballot 1.5, n3 "new" under 2.1: only the latter can have been chosen. (PMS §2.2, P2c)"""
    s = scene(5)
    s.elect(5)
    for to in (1, 2, 3):
        s.lose("Accept", sender=5, to=to)
    s.propose(5, "old")
    s.settle()
    s.crash(5)
    s.free()
    s.only(1, 2, 3)
    s.elect(1)
    s.lose("Accept", sender=1, to=2)
    s.propose(1, "new")
    s.settle()
    s.crash(1)
    s.free()
    s.heal()
    assert (s.log(3), s.log(4)) == (["new"], ["old"])
    s.elect(2)
    s.heartbeat(2)
    assert {s.state(n) for n in (2, 3, 4)} == {"new"}


def test_a_late_promise_changes_nothing_that_was_proposed() -> None:
    """n4's Promise comes when n1 leads: it adds no hole, and moves no slot. (Trap T3)"""
    s = scene(5)
    s.elect(5)
    for to in (1, 2, 3):
        s.lose("Accept", sender=5, to=to)
    s.propose(5, "old")
    s.settle()
    s.crash(5)
    s.free()
    s.hold("Promise", sender=4)
    s.elect(1)
    token = s.propose(1, "new")
    s.settle()
    assert s.answer(token) == "committed at 1" and led_by(s, 1).next == 2
    s.free()
    assert s.deliver("Promise", sender=4)
    s.settle()
    assert led_by(s, 1).next == 2 and not led_by(s, 1).open
    token = s.propose(1, "more")
    s.settle()
    assert s.answer(token) == "committed at 2"
    s.heartbeat(1)
    assert {s.state(n) for n in (1, 2, 3, 4)} == {"new more"}


def test_a_promise_of_an_earlier_ballot_counts_for_nothing() -> None:
    """It is counted for the ballot that it names. (Trap T5)"""
    s = scene(3)
    s.hold("Promise")
    s.campaign(1)
    s.settle()
    assert s.role(1) == "candidate"
    s.restart(1)
    s.campaign(1)
    s.settle()
    assert s.role(1) == "candidate" and replica(s, 1).promised == (2, 1)
    s.free()
    late = s.deliver("Promise", sender=2, first=True)
    assert late[0].message.ballot == (1, 1), late  # type: ignore[attr-defined]
    assert s.role(1) == "candidate"
    s.deliver("Promise", sender=2)
    assert s.role(1) == "leader"


def test_what_is_chosen_and_forgotten_is_learnt_not_proposed_anew() -> None:
    """n3 missed it all, and the others keep only a tail: they tell how far all is chosen. (Trap T1)"""
    s = scene(3, tail=1, compact_every=1)
    s.elect(1)
    s.only(1, 2)
    names = [f"r{number}" for number in range(60)]
    for name in names:
        s.propose(1, name)
        s.settle()
    s.heartbeat(1)
    s.flush(1)
    s.flush(2)
    s.settle()
    assert replica(s, 2).log.base > 20
    s.heal()
    s.crash(1)
    s.elect(3)
    token = s.propose(3, "after")
    s.settle()
    s.advance(2_000)
    assert s.answer(token) == "committed at 61"
    assert s.state(3).split() == [*names, "after"] and s.said("n3 installs snapshot") == 1


def test_who_forgot_what_is_chosen_still_tells_what_it_accepted() -> None:
    """That a value is chosen is in nobody's records; that it was accepted is, and so it is chosen again."""
    s = scene(3)
    s.elect(1)
    s.propose(1, "a")
    s.propose(1, "b")
    s.settle()
    for n in (1, 2, 3):
        s.crash(n)
    for n in (1, 2, 3):
        s.start(n)
    assert {s.committed(n) for n in (1, 2, 3)} == {0}
    s.elect(3)
    s.heartbeat(3)
    assert {s.state(n) for n in (1, 2, 3)} == {"a b"}


def test_a_read_waits_for_what_may_have_been_chosen() -> None:
    """A value that one acceptor holds is proposed again before any read: no later one revives it. (Trap T10)"""
    s = scene(3)
    s.elect(1)
    s.lose("Accept", sender=1, to=2)
    s.hold("Accepted", to=1)
    s.propose(1, "a")
    s.settle()
    s.crash(1)
    s.free()
    s.hold("Accepted", to=2)
    s.tire(3)
    s.campaign(2)
    s.settle()
    assert s.role(2) == "leader"
    read = s.read(2)
    s.settle()
    assert s.answer(read) is None, "slot 1 may be chosen, and is not known to be"
    s.free()
    s.deliver("Accepted", to=2)
    s.heartbeat(2, times=2)
    assert s.answer(read) == "sees a"


def test_an_installed_state_never_lowers_a_promise() -> None:
    """Nor does it take away what was accepted after it. (Trap T6)"""
    s = scene(3, tail=1, compact_every=1)
    s.elect(1)
    s.only(1, 2)
    for number in range(50):
        s.propose(1, f"r{number}")
        s.settle()
    s.heartbeat(1)
    s.flush(1)
    s.flush(2)
    s.settle()
    s.heal()
    s.tire(2)
    s.tire(3)
    s.elect(2)
    before = replica(s, 3).promised
    s.advance(2_000)
    assert s.said("n3 installs snapshot") == 1
    assert replica(s, 3).promised >= before == (2, 2)
    s.restart(3)
    assert replica(s, 3).promised >= before
