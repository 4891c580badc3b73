"""Phase 1: what must be saved before what is said, who is left in peace, and whose promise counts."""

from __future__ import annotations

from ostraka.consensus.multipaxos.messages import (
    Accept,
    Ballot,
    Canvass,
    HardState,
    Nack,
    Prepare,
    Promise,
    Support,
    Voted,
)
from ostraka.consensus.multipaxos.roles import Candidate, Follower, Leader
from ostraka.model.effects import Discarded

from .lone import Lone, pvalue, value


def test_a_promise_waits_for_its_save_and_tells_all_that_was_accepted() -> None:
    lone = Lone([Voted(pvalue(2, (1, 3), b"b")), Voted(pvalue(5, (1, 3), b"e"))])
    lone.receive(2, Prepare(Ballot(4, 2), 1))
    (send,) = lone.sends(Promise)
    assert send.after == 1 and lone.records()[-1] == HardState(Ballot(4, 2), tuple(lone.replica.schedule))
    assert send.message == Promise(Ballot(4, 2), 0, (pvalue(2, (1, 3), b"b"), pvalue(5, (1, 3), b"e")))


def test_what_the_asker_knows_as_chosen_is_left_out() -> None:
    lone = Lone([Voted(pvalue(slot, (1, 3), b"x")) for slot in (1, 2, 3)])
    lone.receive(2, Prepare(Ballot(4, 2), 3))
    assert [each.value.index for each in lone.said(Promise).accepted] == [3]


def test_how_far_all_is_chosen_is_told() -> None:
    """Trap T1."""
    lone = Lone()
    lone.receive(2, Accept(Ballot(1, 2), (value(1, b"a"), value(2, b"b")), 1, 0))
    lone.now += lone.replica.settings.election_timeout
    lone.receive(3, Prepare(Ballot(2, 3), 1))
    promise = lone.said(Promise)
    assert promise.chosen == 1 and [each.value.index for each in promise.accepted] == [2]


def test_a_lower_ballot_is_refused_with_the_promised_one() -> None:
    lone = Lone([HardState(Ballot(5, 3), ())])
    for ballot in (Ballot(4, 2), Ballot(5, 2)):  # A round is promised to one member only.
        lone.receive(2, Prepare(ballot, 1))
        assert lone.said(Nack).ballot == (5, 3) and not lone.records()
        lone.receive(2, Canvass(ballot))
        assert lone.said(Nack).ballot == (5, 3)


def test_the_same_prepare_gets_the_same_promise_again() -> None:
    lone = Lone()
    lone.receive(2, Prepare(Ballot(1, 2), 1))
    lone.receive(2, Prepare(Ballot(1, 2), 1))
    assert lone.said(Promise) == Promise(Ballot(1, 2), 0, ()) and not lone.records()
    assert lone.sends(Promise)[0].after == 1


def test_nobody_asks_under_the_ballot_of_another() -> None:
    lone = Lone()
    lone.receive(3, Prepare(Ballot(1, 2), 1))
    assert not lone.records() and not lone.sends(Promise)


def test_who_hears_a_leader_supports_nobody_else() -> None:
    """Trap T12. Unless the leader itself asked for it."""
    lone = Lone()
    lone.receive(2, Accept(Ballot(1, 2), (), 0, 0))
    for message in (Canvass(Ballot(2, 3)), Prepare(Ballot(2, 3), 1)):
        lone.receive(3, message)
        assert not lone.sends(Support) and not lone.sends(Promise) and lone.replica.promised == (1, 2)
    lone.receive(3, Prepare(Ballot(2, 3), 1, handed_over=True))
    assert lone.said(Promise).ballot == (2, 3)
    lone.now += lone.replica.settings.election_timeout
    lone.receive(2, Canvass(Ballot(3, 2)))
    assert lone.sends(Support)


def test_nobodys_promise_moves_before_enough_would_promise() -> None:
    lone = Lone()
    lone.wake()
    assert lone.said(Canvass).ballot == (1, 1) and lone.replica.promised == (0, 0)
    lone.receive(2, Support(Ballot(1, 1)))
    assert isinstance(lone.replica.role, Candidate) and lone.sends(Prepare)[0].after == 1


def test_our_own_promise_counts_once_it_is_durable() -> None:
    lone = Lone()
    lone.wake()
    lone.receive(2, Support(Ballot(1, 1)))
    lone.receive(2, Promise(Ballot(1, 1), 0, ()))
    assert isinstance(lone.replica.role, Candidate)
    lone.save()
    assert isinstance(lone.replica.role, Leader)


def test_a_promise_of_another_ballot_counts_for_nothing() -> None:
    """Trap T5."""
    lone = Lone([HardState(Ballot(1, 1), ())])
    ballot = lone.prepare()
    assert ballot == (2, 1)
    lone.receive(2, Promise(Ballot(1, 1), 0, ()))
    assert isinstance(lone.replica.role, Candidate)
    lone.receive(2, Promise(ballot, 0, ()))
    assert isinstance(lone.replica.role, Leader)


def test_a_second_promise_of_the_same_member_changes_nothing() -> None:
    """Trap T3."""
    lone = Lone()
    role = lone.lead()
    lone.receive(2, Promise(role.ballot, 9, (pvalue(7, (1, 3), b"x"),)))
    assert (role.learn_upto, role.recovered_upto, role.next) == (0, 0, 1) and lone.all(Discarded)


def test_a_late_promise_does_not_touch_what_was_proposed() -> None:
    """Trap T3."""
    lone = Lone()
    role = lone.lead()
    lone.propose(7)
    lone.receive(3, Promise(role.ballot, 0, (pvalue(1, (1, 3), b"old"),)))
    assert role.next == 2 and role.open[1].value.batches[0].origin == 1 and not role.recovered


def test_a_refused_leader_gives_up_and_comes_back_above() -> None:
    lone = Lone()
    lone.lead()
    lone.receive(3, Nack(Ballot(8, 3)))
    assert isinstance(lone.replica.role, Follower) and lone.replica.leader == 0
    lone.now += 10 * lone.replica.settings.election_timeout
    lone.wake()
    assert lone.said(Canvass).ballot == (9, 1)


def test_a_leader_without_a_quorum_gives_up() -> None:
    lone = Lone()
    lone.lead()
    for _ in range(50):
        if not isinstance(lone.replica.role, Leader):
            return
        lone.wake()
        assert lone.now <= 3 * lone.replica.settings.election_timeout
    raise AssertionError("it leads for ever")
