"""Requests of this replica's callers, and of others': each batch is taken in at most once, each token ends once."""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.messages import Append, Forward, ForwardRefused
from ostraka.consensus.raft.roles import NUMBERS_REMEMBERED, Seen
from ostraka.model.effects import Commit, Discarded, Lost, Named, Rejected, Save, Send, Why
from ostraka.model.events import LinkDown, Propose, Read, SaveFailed
from ostraka.model.ids import ORIGIN
from ostraka.model.requests import Batch, Entry, Kind, Request, pack, unpack

from .lone import Lone


def following(max_entry: int = 1 << 20) -> Lone:
    lone = Lone(max_entry=max_entry)
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    lone.save()
    return lone


def test_a_follower_forwards_a_turn_in_one_message() -> None:
    lone = following()
    lone.do(Propose(((1, Request(b"a")),)), Propose(((2, Request(b"b")), (3, Request(b"c")))))
    (send,) = lone.sends(Forward)
    assert send.to == (2,) and send.after == 0
    assert [request.payload for request in unpack(lone.said(Forward).requests)] == [b"a", b"b", b"c"]


def test_its_tokens_are_named_when_the_batch_commits_here() -> None:
    lone = following()
    lone.propose(1, 2)
    forward = lone.said(Forward)
    batches = (Batch(3, 9, 1, b""), Batch(1, forward.life, forward.number, forward.requests))
    lone.receive(2, Append(1, ORIGIN, (Entry(1, 1, 0, Kind.REQUESTS, batches),), 1, 0))
    lone.save()
    assert lone.all(Commit)[0].named == (Named(1, 1, (1, 2)),)


def test_a_batch_of_an_earlier_life_names_nobody() -> None:
    lone = following()
    lone.propose(1)
    forward = lone.said(Forward)
    batch = Batch(1, forward.life + 1, forward.number, forward.requests)
    lone.receive(2, Append(1, ORIGIN, (Entry(1, 1, 0, Kind.REQUESTS, (batch,)),), 1, 0))
    lone.save()
    assert lone.all(Commit)[0].named == ()


@pytest.mark.parametrize("what", ["another leader", "a higher term", "a broken link", "time"])
def test_what_was_forwarded_is_lost_with_the_leader_and_named_no_more(what: str) -> None:
    lone = following()
    lone.propose(1)
    forward = lone.said(Forward)
    if what == "another leader" or what == "a higher term":
        lone.receive(3, Append(2, ORIGIN, (), 0, 0))
    elif what == "a broken link":
        lone.do(LinkDown(2))
    else:
        for _ in range(5):
            assert not lone.all(Lost)
            lone.receive(2, Append(lone.replica.term, ORIGIN, (), 0, 0))
            lone.do(later=lone.settings.election_timeout)
    assert lone.all(Lost) == [Lost((1,))] and lone.replica.own_bytes == 0
    batch = Batch(1, forward.life, forward.number, forward.requests)
    term = lone.replica.term
    lone.receive(lone.replica.leader or 2, Append(term, ORIGIN, (Entry(1, 1, 0, Kind.REQUESTS, (batch,)),), 1, 0))
    lone.save()
    assert lone.all(Commit)[0].named == ()


def test_without_a_leader_requests_wait_and_are_then_refused() -> None:
    lone = Lone()
    lone.propose(1)
    assert not lone.effects
    while not lone.all(Rejected):
        lone.wake()
    assert lone.all(Rejected) == [Rejected((1,), Why.NO_LEADER)]
    assert lone.now == 2 * lone.settings.election_timeout


def test_held_requests_go_to_the_first_leader_known() -> None:
    lone = Lone()
    lone.propose(1)
    lone.propose(2)
    lone.receive(2, Append(1, ORIGIN, (), 0, 0))
    assert [send.message.number for send in lone.sends(Forward)] == [1, 2]  # type: ignore[attr-defined]


def test_a_deposed_leader_loses_its_callers() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.receive(3, Append(2, ORIGIN, (), 0, 0))
    assert lone.all(Lost) == [Lost((1,))]


def test_a_forward_is_taken_in_once_and_only_in_its_term() -> None:
    lone = Lone().lead()
    lone.receive(2, Forward(1, 5, 1, pack((Request(b"x"),))))
    assert lone.replica.log.last.index == 2
    lone.receive(2, Forward(1, 5, 1, pack((Request(b"x"),))), Forward(0, 5, 2, pack((Request(b"y"),))))
    assert [effect.reason for effect in lone.all(Discarded)] == [
        "forwarded twice",
        "forwarded to the leader of another term",
    ]
    assert not lone.replica.role.gathered and not lone.sends(ForwardRefused)  # type: ignore[union-attr]


def test_a_deposed_leader_refuses_only_what_it_never_took_in() -> None:
    lone = Lone().lead()
    lone.receive(2, Forward(1, 5, 1, b""))
    lone.receive(3, Append(2, ORIGIN, (), 0, 0))
    lone.receive(2, Forward(1, 5, 1, b""))
    assert not lone.sends(ForwardRefused), "it may be in the log"
    lone.receive(2, Forward(1, 5, 2, b""))
    assert lone.said(ForwardRefused) == ForwardRefused(2, 5, 2, Why.NO_LEADER)


def test_a_refusal_rejects_even_when_it_brings_a_new_term() -> None:
    lone = following()
    lone.propose(1)
    forward = lone.said(Forward)
    lone.receive(2, ForwardRefused(4, forward.life, forward.number, Why.NO_LEADER))
    assert lone.all(Rejected) == [Rejected((1,), Why.NO_LEADER, 2)] and not lone.all(Lost)
    assert lone.replica.term == 4


def test_too_many_undecided_bytes_are_refused_here_and_to_others() -> None:
    lone = Lone(max_uncommitted=200).lead()
    lone.do(Propose(((1, Request(bytes(150))),)))
    lone.do(Propose(((2, Request(bytes(150))),)))
    assert lone.all(Rejected) == [Rejected((2,), Why.OVERLOADED, 1)]
    lone.receive(2, Forward(1, 5, 1, bytes(150)))
    assert lone.said(ForwardRefused).why == Why.OVERLOADED
    lone.save()
    lone.acknowledge(2)
    lone.receive(2, Forward(1, 5, 1, bytes(150)))
    assert lone.all(Discarded), "a refusal is for ever"
    lone.do(Propose(((3, Request(bytes(150))),)))
    assert not lone.all(Rejected)


def test_more_than_an_entry_holds_is_packed_apart() -> None:
    lone = following(max_entry=100)
    lone.do(Propose(tuple((token, Request(bytes(30))) for token in range(1, 9))))
    forwards = [send.message for send in lone.sends(Forward)]
    assert [len(unpack(f.requests)) for f in forwards] == [2, 2, 2, 2]  # type: ignore[attr-defined]
    lone.do(Propose(((9, Request(bytes(500))),)))
    assert len(lone.sends(Forward)) == 1, "a large one goes alone"


def test_a_failed_disk_ends_the_replica_and_every_token() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.do(Read((2,)))
    lone.do(SaveFailed("no space"), Read((3,)), Propose(((4, Request(b"")),)))
    assert lone.all(Lost) == [Lost((1,))]
    assert sorted(t for effect in lone.all(Rejected) for t in effect.tokens) == [2, 3, 4]
    assert {effect.why for effect in lone.all(Rejected)} == {Why.FINISHED}
    lone.receive(3, Append(9, ORIGIN, (), 0, 0))
    assert not lone.effects and lone.replica.deadline is None
    assert not lone.all(Send) and not lone.all(Save)


def test_numbers_are_seen_once_in_any_order() -> None:
    seen = Seen()
    assert [seen.first_time(n) for n in (3, 1, 3, 2, 1, 2, 5, 4)] == [True, True, False, True, False, False, True, True]
    far = 5 + 10 * NUMBERS_REMEMBERED
    assert seen.first_time(far) and not seen.first_time(far) and seen.first_time(far - 1)
    assert not seen.first_time(6), "too far back to tell: better lost than executed twice"
    assert seen.mask.bit_length() <= NUMBERS_REMEMBERED
