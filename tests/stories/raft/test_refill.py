"""A damaged log is got back from the others, before its owner votes again. (Protocol-aware recovery, FAST '18)"""

from __future__ import annotations

from ostraka.consensus.raft.messages import End, RequestVote
from ostraka.model.events import Receive
from ostraka.model.ids import Position
from tests.stories.story import Story


def lost_with_one_copy_left() -> Story:
    """n1 and n2 have committed "a", n3 has not heard of it, and n2's log is damaged."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    write = s.propose(1, "a")
    s.settle()
    assert (s.answer(write) or "").startswith("committed")
    s.damage(2)
    return s


def test_who_refills_elects_nobody() -> None:
    """n3 lacks "a", and n2 can't know that it held it: together they could lose it."""
    s = lost_with_one_copy_left()
    s.only(2, 3)
    s.tire(3)
    s.campaign(3)
    s.advance(20_000)
    assert s.role(3) != "leader" and s.role(2) == "follower", s.transcript[-20:]
    s.heal()
    s.elect(1)
    s.settle()
    assert not s.status(2).refilling and "a" in s.log(2)
    s.crash(1)
    s.elect(2)
    s.settle()
    assert s.state(3) == "a"


def test_a_campaign_that_comes_past_the_pre_votes_gets_no_vote() -> None:
    """A leader that hands over makes its heir campaign at once, and the heir may be one that lacks much."""
    s = lost_with_one_copy_left()
    s.only(2, 3)
    s.tell(2, Receive(3, RequestVote(s.term(2) + 1, Position(s.term(2), 1), handed_over=True)))
    s.settle()
    assert s.said("n2 → n3 Vote(term=2, granted=False)") == 1 and s.term(2) == 2


def test_who_refills_does_not_campaign() -> None:
    s = lost_with_one_copy_left()
    s.only(2, 3)
    s.advance(20_000)
    assert s.said("n2 → n3 AskPreVote") == 0 and s.said("n2 → n3 Refilling") > 0


def test_a_crash_does_not_end_it() -> None:
    s = lost_with_one_copy_left()
    s.only(2)
    s.advance(2_000)
    s.restart(2)
    assert s.status(2).refilling
    s.heal()
    s.heartbeat(1, times=3)
    assert not s.status(2).refilling
    s.restart(2)
    assert not s.status(2).refilling and "a" in s.log(2)


def test_the_leader_of_the_same_term_believes_that_an_acknowledgement_was_lost() -> None:
    """It counts n2's copy still, and nothing that it has committed is taken back."""
    s = lost_with_one_copy_left()
    s.propose(1, "b")
    s.settle()
    s.heartbeat(1, times=2)
    assert not s.status(2).refilling and s.state(2) == "a b" and s.role(1) == "leader"


def test_who_refills_serves_nobody() -> None:
    s = lost_with_one_copy_left()
    s.only(2)
    for token in (s.propose(2, "b"), s.read(2), s.change(2, 1, 2)):
        s.settle()
        assert "refills its log" in (s.answer(token) or "")


def test_an_end_that_was_told_to_an_earlier_life_is_worth_nothing() -> None:
    """It may lie before what that life acknowledged afterwards."""
    s = Story(nodes=3, max_append=1)
    s.elect(1)
    s.damage(2)
    s.hold("End")
    s.heartbeat(1, times=2)
    s.only(1, 2)
    s.propose(1, "a")
    s.settle()
    assert s.committed(1) == 2, "its copy counts while it refills, since it is durable"
    s.damage(2)
    s.hold("Append", to=2)
    s.heartbeat(1)
    while not s.entries(2):  # Only the no-op comes.
        s.deliver("Append", to=2)
        s.settle()
    s.deliver("End", first=True)
    s.settle()
    assert s.log(2) == ["noop"] and s.status(2).refilling
    s.free()
    s.deliver("End", last=True)
    s.heartbeat(1, times=2)
    assert not s.status(2).refilling and "a" in s.log(2)


def test_all_up_to_the_end_must_be_durable() -> None:
    s = lost_with_one_copy_left()
    s.delay_saves(2)
    s.heartbeat(1, times=2)
    s.save(2, 1)  # Its term.
    s.heartbeat(1, times=2)
    assert "a" in s.log(2) and s.status(2).refilling
    s.quick_saves(2)
    s.settle()
    assert not s.status(2).refilling


def test_a_leader_of_a_later_term_is_asked_anew() -> None:
    """What n1 told before n3 led is forgotten: n3's log is what counts now."""
    s = Story(nodes=5)
    s.elect(1)
    s.settle()
    s.damage(2)
    s.lose("Append", to=2)
    s.tell(2)
    s.elect(3)
    s.free()
    s.hold("End")
    s.heartbeat(3)
    assert {message.term for message in s.under_way("End", to=2) if isinstance(message, End)} == {s.term(3)}
    assert s.status(2).refilling
    s.free()
    s.deliver("End")
    s.settle()
    assert not s.status(2).refilling


def test_it_pulls_a_snapshot_where_the_leader_s_log_begins_too_late() -> None:
    s = Story(nodes=3, tail=0, compact_every=1)
    s.elect(1)
    for name in "abc":
        s.propose(1, name)
        s.settle()
    s.flush(1)
    s.settle()
    s.damage(2)
    s.heartbeat(1, times=3)
    assert not s.status(2).refilling and s.state(2) == "a b c"


def test_members_that_all_refill_say_so() -> None:
    """Two of three: no vote can be had, so no leader will come, however long they wait."""
    s = Story(nodes=3)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.crash(1)
    s.damage(2)
    s.damage(3)
    s.advance(30_000)
    assert s.said("n2 is stranded: n2, n3 refill") and s.said("n3 is stranded: n2, n3 refill")


def test_one_that_waits_for_members_that_are_only_down_is_not_stranded() -> None:
    s = lost_with_one_copy_left()
    s.only(2)
    s.advance(30_000)
    assert not s.said("stranded") and s.status(2).refilling
