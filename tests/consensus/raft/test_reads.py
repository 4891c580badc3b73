"""Reads: rounds of the engine's own, and answers that can't be mistaken."""

from __future__ import annotations

from ostraka.consensus.raft.messages import Append, Appended, AskRead, ReadAnswer, Vote
from ostraka.model.effects import Discarded, ReadAt, Rejected, Save, Why
from ostraka.model.events import LinkDown, Read
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Members

from .lone import Lone, entries


def following() -> Lone:
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    lone.save()
    return lone


def test_a_read_waits_for_a_round_that_begins_after_it() -> None:
    lone = Lone().lead()
    lone.do(Read((1, 2)))
    assert [send.to for send in lone.sends(Append)] == [(2, 3)] and lone.said(Append).round == 1
    lone.do(Read((3,)))
    assert not lone.sends(Append), "one round at a time"
    lone.acknowledge(2, round_=0)
    assert not lone.all(ReadAt), "an acknowledgement from before the round"
    lone.acknowledge(2, round_=1)
    assert lone.all(ReadAt) == [ReadAt((1, 2), 1)]
    assert lone.said(Append).round == 2
    lone.acknowledge(2, round_=1)
    assert not lone.all(ReadAt), "a doubled acknowledgement of the round before"
    lone.acknowledge(3, round_=2)
    assert lone.all(ReadAt) == [ReadAt((3,), 1)]


def test_a_follower_confirms_a_round_at_once_and_the_entries_that_came_with_it_once_they_are_saved() -> None:
    lone = Lone().follow(1, commit=1)
    lone.receive(2, Append(1, Position(1, 1), entries(1, 1)[1:], 1, 5))
    round_answer, answer = lone.sends(Appended)
    assert round_answer.message == Appended(1, True, 1, 5) and answer.message == Appended(1, True, 2, 5)
    assert round_answer.after < answer.after == lone.all(Save)[-1].token, "a reader waits for nobody's disk"
    lone.receive(2, Append(1, Position(1, 2), entries(1, 1, 1)[2:], 1, 5))
    assert [send.message for send in lone.sends(Appended)] == [Appended(1, True, 3, 5)], (
        "the round is confirmed already"
    )


def test_a_rejection_confirms_the_round_too() -> None:
    lone = Lone().lead()
    lone.do(Read((1,)))
    lone.receive(3, Appended(1, False, 1, 1))
    assert lone.all(ReadAt) == [ReadAt((1,), 1)]


def test_a_new_leader_reads_nothing_before_its_own_entry_is_committed() -> None:
    lone = Lone()
    lone.campaign()
    lone.receive(2, Vote(1, True))
    lone.do(Read((1,)))
    lone.acknowledge(2)
    assert not lone.all(ReadAt) and lone.replica.commit == 0
    lone.save()
    assert lone.replica.commit == 1 and lone.replica.role.round == 1  # type: ignore[union-attr]
    lone.acknowledge(2, round_=1)
    assert lone.all(ReadAt) == [ReadAt((1,), 1)]


def test_a_single_voter_confirms_itself() -> None:
    lone = Lone(members=Members((1,)))
    lone.wake()
    lone.save()
    lone.save()
    lone.do(Read((1,)))
    assert lone.all(ReadAt) == [ReadAt((1,), 1)]


def test_a_followers_reads_of_one_turn_are_one_question() -> None:
    lone = following()
    lone.do(Read((1, 2)), Read((3,)))
    ask = lone.said(AskRead)
    lone.receive(2, ReadAnswer(1, ask.life, ask.number, 7))
    assert lone.all(ReadAt) == [ReadAt((1, 2, 3), 7)]
    lone.receive(2, ReadAnswer(1, ask.life, ask.number, 7))
    assert lone.all(Discarded) and not lone.all(ReadAt)


def test_an_answer_covers_earlier_questions_but_not_later_ones_nor_other_lives() -> None:
    lone = following()
    asks = []
    for token in (1, 2, 3):
        lone.do(Read((token,)))
        asks.append(lone.said(AskRead))
    lone.receive(2, ReadAnswer(1, asks[1].life + 1, asks[1].number, 7))
    assert not lone.all(ReadAt), "an answer to an earlier life"
    lone.receive(2, ReadAnswer(1, asks[1].life, asks[1].number, 7))
    assert lone.all(ReadAt) == [ReadAt((1, 2), 7)]


def test_a_question_without_an_answer_is_asked_again_and_at_last_given_up() -> None:
    lone = following()
    lone.do(Read((1,)))
    first, asked = lone.said(AskRead), lone.now
    numbers = {first.number}
    while not lone.all(Rejected):
        lone.wake()
        lone.receive(2, Append(1, ORIGIN, (), 0, 0))
        lone.do()
        numbers |= {send.message.number for send in lone.sends(AskRead)}  # type: ignore[attr-defined]
        if lone.now >= asked + 5 * lone.settings.election_timeout:
            break
    assert lone.now == asked + 5 * lone.settings.election_timeout and not lone.replica.asked


def test_a_new_leader_is_asked_at_once() -> None:
    lone = following()
    lone.do(Read((1,)))
    before = lone.said(AskRead)
    lone.receive(3, Append(2, ORIGIN, (), 0, 0))
    (send,) = lone.sends(AskRead)
    after = lone.said(AskRead)
    assert send.to == (3,) and after.term == 2 and after.number > before.number
    lone.receive(2, ReadAnswer(2, before.life, before.number, 5))
    assert not lone.all(ReadAt)
    lone.receive(3, ReadAnswer(2, after.life, after.number, 6))
    assert lone.all(ReadAt) == [ReadAt((1,), 6)]


def test_the_leader_answers_followers_by_rounds_like_itself() -> None:
    lone = Lone().lead()
    lone.receive(2, AskRead(1, 77, 4))
    lone.receive(3, AskRead(1, 88, 9))
    lone.acknowledge(3, round_=1)
    (send,) = lone.sends(ReadAnswer)
    assert send.to == (2,) and send.message == ReadAnswer(1, 77, 4, 1)
    lone.acknowledge(3, round_=2)
    (send,) = lone.sends(ReadAnswer)
    assert send.to == (3,) and send.message == ReadAnswer(1, 88, 9, 1)


def test_reads_of_a_deposed_leader_are_asked_of_the_next() -> None:
    lone = Lone().lead()
    lone.do(Read((1,)))
    lone.receive(3, Append(2, ORIGIN, (), 0, 0))
    assert [send.to for send in lone.sends(AskRead)] == [(3,)]
    assert not lone.all(Rejected)


def test_without_a_leader_a_read_waits_and_is_then_refused() -> None:
    lone = Lone()
    lone.do(Read((1,)))
    assert not lone.effects
    while not lone.all(Rejected):
        lone.wake()
    assert lone.all(Rejected) == [Rejected((1,), Why.NO_LEADER)]
    assert lone.now <= 6 * lone.settings.election_timeout


def test_a_broken_link_loses_no_read() -> None:
    lone = following()
    lone.do(Read((1,)))
    lone.do(LinkDown(2))
    assert not lone.effects and lone.replica.asked
