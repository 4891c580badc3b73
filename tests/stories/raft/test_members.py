"""Members come and go while the others work. (Raft §6; thesis §4)"""

from __future__ import annotations

from ostraka.model.requests import Members
from tests.stories.story import Story


def members(s: Story, n: int) -> Members:
    return s.status(n).members


def test_a_replaced_member_costs_nobody_anything() -> None:
    s = Story(nodes=3, spare=1)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.crash(3)
    token = s.change(1, 1, 2, 4)
    s.settle()
    write = s.propose(2, "b")
    s.settle()
    assert s.answer(token) == "done" and (s.answer(write) or "").startswith("committed")
    s.heartbeat(1)
    assert s.state(4) == "a b" and members(s, 4) == Members((1, 2, 4))
    s.crash(2)
    write = s.propose(1, "c")
    s.settle()
    assert (s.answer(write) or "").startswith("committed"), "n4 votes"


def test_a_learner_is_promoted_on_request() -> None:
    s = Story(nodes=1, spare=1)
    s.elect(1)
    assert s.answer(s.change(1, 1, "learning", 2)) is None
    s.settle()
    assert members(s, 2) == Members((1,), (2,))
    token = s.change(2, 1, 2)
    s.settle()
    assert s.answer(token) == "done"
    s.only(1)
    write = s.propose(1, "a")
    s.settle()
    assert s.answer(write) is None, "two of two are needed now"


def test_a_new_member_gets_a_snapshot_where_the_log_is_gone() -> None:
    s = Story(nodes=3, spare=1, tail=0, compact_every=1)
    s.elect(1)
    for name in "abc":
        s.propose(1, name)
        s.settle()
    s.flush(1)
    s.settle()
    token = s.change(1, 1, 2, 3, 4)
    s.advance(1000)
    assert s.answer(token) == "done" and s.state(4) == "a b c"


def test_the_bug_in_single_server_changes() -> None:
    """Ongaro, raft-dev 2015. n1 adds n5 and is cut off; n2 leads a later term and removes n1 with a new majority.

    If n2 might change members before its own first entry is committed, n1 and n5 could elect n1 again, and both
    configurations would decide. So n2 waits for its no-op, which a majority must hold, and then n1 can't win.
    """
    s = Story(nodes=4, spare=1)
    s.elect(1)
    s.only(1, 5)
    s.change(1, 1, 2, 3, 4, "learning", 5)
    s.settle()
    s.change(1, 1, 2, 3, 4, 5)
    s.settle()
    s.partition([1, 5], [2, 3, 4])
    s.elect(2, quietly=True)
    token = s.change(2, 2, 3, 4)
    assert members(s, 2) == Members((1, 2, 3, 4)), "its no-op is on n2 only"
    s.heartbeat(2, times=3)
    assert s.answer(token) == "done" and members(s, 3) == Members((2, 3, 4))
    s.partition([1, 3, 4, 5], [2])
    s.campaign(1)
    s.settle()
    assert s.role(1) != "leader", "n3 and n4 have the no-op of term 2"


def test_an_uncommitted_configuration_goes_with_its_entry() -> None:
    s = Story(nodes=3, spare=2)
    s.elect(1)
    s.only(1)
    s.change(1, 1, 2, 3, "learning", 4)
    s.settle()
    assert members(s, 1) == Members((1, 2, 3), (4,))
    s.only(2, 3)
    s.elect(2)
    s.heal()
    s.heartbeat(2, times=2)
    assert members(s, 1) == Members((1, 2, 3))


def test_a_new_leader_finishes_a_joint_configuration() -> None:
    s = Story(nodes=5)
    s.elect(1)
    s.lose("Append", to=4)
    s.lose("Append", to=5)
    token = s.change(1, 3, 4, 5)
    s.settle()
    assert members(s, 3).outgoing == (1, 2, 3, 4, 5), "C-old,new is on n1, n2, n3, and not decided"
    s.free()
    s.crash(1)
    s.elect(3)
    s.heartbeat(3, times=2)
    assert members(s, 3) == members(s, 5) == Members((3, 4, 5))
    assert s.answer(token) == "crashed"
    s.crash(2)
    write = s.propose(5, "a")
    s.settle()
    assert (s.answer(write) or "").startswith("committed")


def test_a_removed_member_does_not_disrupt() -> None:
    """Thesis §4.2.3. n3 was cut off when it was removed; it campaigns for ever, and nobody minds."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.change(1, 1, 2)
    s.settle()
    s.heal()
    s.advance(20_000)
    assert members(s, 3) == Members((1, 2, 3)) and s.role(3) == "pre-candidate"
    assert s.role(1) == "leader" and {s.term(n) for n in (1, 2, 3)} == {1}


def test_a_removed_leader_leaves_a_leader() -> None:
    s = Story(nodes=3)
    s.elect(1)
    token = s.change(1, 2, 3)
    s.settle()
    assert s.answer(token) == "done" and s.role(2) == "leader" and s.term(2) == 2
    s.advance(1100)
    assert s.role(1) == "follower"
    s.advance(10_000)
    assert s.term(2) == 2 and s.role(2) == "leader"


def test_one_that_alone_has_the_new_configuration_brings_it_about() -> None:
    """Thesis §4.2.2: n1 has removed itself and crashed. n2 can't win against its longer log; n1 must campaign."""
    s = Story(nodes=2)
    s.elect(1)
    s.lose("Append", to=2)
    s.change(1, 2)
    s.settle()
    s.restart(1)
    s.free()
    assert members(s, 1) == Members((2,)) and members(s, 2) == Members((1, 2))
    s.advance(10_000)
    assert s.role(2) == "leader" and members(s, 2) == Members((2,)), s.transcript


def test_a_voter_that_does_not_know_it_is_one_votes() -> None:
    """n4 votes by n1's log, and not by its own: without its vote n1 could not lead again."""
    s = Story(nodes=3, spare=1)
    s.elect(1)
    s.change(1, 1, 2, 3, "learning", 4)
    s.settle()
    s.heartbeat(1)
    s.lose("Append", to=4)
    s.change(1, 1, 2, 3, 4)
    s.advance(10)
    s.lose("Append", to=3)
    s.heartbeat(1)
    s.free()
    s.crash(3)
    assert members(s, 4) == Members((1, 2, 3), (4,)) and members(s, 2) == Members((1, 2, 3, 4))
    s.restart(1)
    s.advance(5_000)
    assert "leader" in (s.role(1), s.role(2)), "three of four voted"
    assert members(s, 4) == Members((1, 2, 3, 4))


def test_two_wishes_at_once_do_not_undo_each_other() -> None:
    s = Story(nodes=3, spare=2)
    s.elect(1)
    first, second = s.change(2, 1, 2, 3, 4), s.change(3, 1, 2, 3, 5)
    s.settle()
    assert sorted([s.answer(first) or "", s.answer(second) or ""]) == [
        "done",
        "rejected: a change of members is under way (n1 leads)",
    ]
