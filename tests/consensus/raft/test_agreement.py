"""Replication and the commit rule, decision by decision."""

from __future__ import annotations

import pytest

from ostraka.consensus.quorum import majority
from ostraka.consensus.raft.agreement import back_up, committable, conflict_at
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Append, Appended, Forward, HardState, Logged
from ostraka.model.effects import Commit, Discarded, Save, Send
from ostraka.model.events import LinkDown, Propose, Receive, Saved
from ostraka.model.ids import MILLISECOND, ORIGIN, Position
from ostraka.model.requests import Entry, Request, pack

from .lone import Lone, entries, logged


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({1: 4, 2: 1, 3: 1}, 1),  # Only the leader has more.
        ({1: 4, 2: 2, 3: 0}, 1),  # Index 2 is on a majority, but of an older term. (Figure 8)
        ({1: 4, 2: 3, 3: 0}, 3),  # Index 3 is of this term, and takes 2 along.
        ({1: 2, 2: 4, 3: 4}, 4),  # The leader's own copy isn't needed.
    ],
)
def test_only_an_entry_of_this_term_is_committed_by_counting(match: dict[int, int], expected: int) -> None:
    log = Log(entries=entries(1, 2, 4, 4))
    assert committable(majority([1, 2, 3]), match, log, term=4, commit=1) == expected


def test_a_conflict_names_the_term_found_and_where_it_begins() -> None:
    log = Log(entries=entries(1, 1, 2, 2, 2))
    assert conflict_at(log, 9, commit=0) == Position(0, 6)
    assert conflict_at(log, 5, commit=0) == Position(2, 3)
    assert conflict_at(log, 5, commit=3) == Position(2, 4), "what is committed can't conflict"


def test_a_leader_backs_up_over_a_whole_term_at_once() -> None:
    log = Log(entries=entries(1, 1, 1, 4, 4, 5, 5, 6, 6, 6))
    assert back_up(log, 10, Position(0, 5)) == 5, "the follower's log is too short"
    assert back_up(log, 10, Position(2, 4)) == 4, "a term that the leader never had: before all of it"
    assert back_up(log, 10, Position(4, 4)) == 6, "a term that it has: after its own last of it"
    assert back_up(log, 4, Position(1, 1)) == 4
    assert back_up(log, 3, Position(0, 9)) == 3, "always further back than what was rejected"


def test_the_leader_counts_its_own_copy_once_it_is_saved() -> None:
    lone = Lone().lead()
    lone.propose(7)
    (send,) = lone.all(Send)
    assert send.to == (2, 3) and send.after == 0, "it leaves while our own disk writes"
    lone.acknowledge(2)
    assert lone.replica.commit == 1
    lone.save()
    assert lone.replica.commit == 2
    (commit,) = lone.all(Commit)
    assert [named.tokens for named in commit.named] == [(7,)]


def test_what_others_decided_without_our_disk_is_handed_on_once_it_is_saved_here() -> None:
    lone = Lone().lead()
    lone.propose(7)
    lone.acknowledge(2, 3)
    assert lone.replica.commit == 2 and not lone.all(Commit)
    lone.save()
    assert lone.all(Commit)[0].entries[0].index == 2


def test_a_batch_leaves_at_once_and_the_next_gathers_until_it_commits() -> None:
    lone = Lone().lead()
    lone.propose(1)
    assert len(lone.said(Append).entries) == 1
    lone.propose(2)
    lone.propose(3)
    assert not lone.all(Send) and lone.replica.deadline == lone.now + lone.settings.linger
    lone.save()
    lone.acknowledge(2)
    (entry,) = lone.sends(Append)[0].message.entries  # type: ignore[attr-defined]
    assert len(entry.batches) == 2


def test_gathering_ends_by_time_and_by_size() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.propose(2)
    lone.wake()
    assert len(lone.said(Append).entries) == 1, "the linger has passed"
    assert lone.replica.log.last.index == 3
    lone.do(Propose(((3, Request(bytes(70_000))),)))
    assert lone.replica.log.last.index == 4


def test_an_entry_holds_as_many_batches_as_fit() -> None:
    lone = Lone(max_entry=100).lead()
    lone.propose(1)
    for number in range(1, 6):
        lone.receive(2, Forward(1, 5, number, bytes(40)))
    lone.receive(2, Forward(1, 5, 6, bytes(400)))
    lone.save()
    lone.acknowledge(3)
    sizes = [[len(b.requests) for b in e.batches] for e in lone.replica.log.entries(3, lone.replica.log.last.index)]
    assert sizes == [[40, 40], [40, 40], [40], [400]]


def test_followers_with_waiting_callers_hear_of_a_commit_at_once() -> None:
    lone = Lone().lead()
    lone.acknowledge(3)
    lone.receive(3, Forward(1, 5, 1, pack((Request(b"x"),))))
    lone.save()
    lone.acknowledge(2)
    (send,) = lone.sends(Append)
    assert send.to == (3,) and send.message == Append(1, Position(1, 2), (), 2, 0)


def test_cluster_time_goes_on_from_the_last_stamp_and_never_back() -> None:
    lone = Lone([*logged(1), Logged(Entry(1, 1, 500))], now=10**15)
    lone.lead()
    took_over = lone.replica.log.entries(2, 2)[0].stamp
    assert took_over == 500
    lone.do(later=30 * MILLISECOND)
    lone.propose(1)
    assert lone.replica.log.stamp >= 500 + 30 * MILLISECOND


def test_a_follower_commits_only_what_the_message_verified() -> None:
    lone = Lone(logged(1, 1, 1, 1))
    lone.receive(2, Append(2, Position(1, 1), (), 3, 0))
    assert lone.replica.commit == 1, "indexes 2 and 3 may differ from the leader's"


def test_a_late_append_removes_nothing() -> None:
    lone = Lone().follow(1, 1, 1)
    lone.receive(2, Append(1, ORIGIN, entries(1), 0, 0))
    assert lone.replica.log.last == Position(1, 3) and not lone.records()


def test_an_acknowledgement_of_entries_waits_for_their_save() -> None:
    lone = Lone().follow(1)
    lone.receive(2, Append(1, Position(1, 1), entries(1, 1)[1:], 0, 0))
    (send,) = lone.sends(Appended)
    assert send.message == Appended(1, True, 2, 0) and send.after == lone.replica.last_save > 1


def test_only_what_conflicts_is_removed() -> None:
    lone = Lone(logged(2, 1, 1, 2, 2))
    lone.receive(2, Append(3, Position(1, 1), entries(1, 1, 3)[1:], 0, 0))
    assert lone.replica.log.entries(1, 3) == entries(1, 1, 3)
    assert [record.entry.index for record in lone.records() if isinstance(record, Logged)] == [3]
    assert lone.sends(Appended)[0].after == 1 and lone.said(Appended).match == 3


def test_a_save_from_before_a_truncation_makes_nothing_after_it_durable() -> None:
    """The entry of term 1 comes back at index 2; the first save of it no longer counts, for another was between."""
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, entries(1, 1), 0, 0))
    first = lone.all(Save)[0].token
    lone.receive(3, Append(2, Position(1, 1), (Entry(2, 2, 9),), 0, 0))
    lone.receive(2, Append(3, Position(1, 1), (Entry(2, 1, 2),), 2, 0))
    lone.do(Saved(first))
    assert lone.replica.saved == 1 and lone.replica.decided == 1
    lone.save()
    assert lone.replica.saved == 2 and lone.replica.decided == 2


def test_a_heartbeat_is_answered_at_once_and_vouches_only_for_what_is_saved() -> None:
    lone = Lone()
    lone.follow(1)
    lone.receive(2, Append(1, Position(1, 1), entries(1, 1)[1:], 0, 0))
    lone.receive(2, Append(1, Position(1, 2), (), 0, 4))
    (send,) = lone.sends(Appended)
    assert send.after == 0 and send.message == Appended(1, True, 1, 4)


def test_a_stale_leader_learns_the_term() -> None:
    lone = Lone(logged(5))
    lone.receive(2, Append(3, ORIGIN, (), 0, 0))
    assert lone.said(Appended) == Appended(5, False, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        Append(1, ORIGIN, entries(1, 1)[1:], 0, 0),  # A gap.
        Append(1, ORIGIN, entries(2), 0, 0),  # Of a term to come.
        Append(1, Position(1, 1), entries(1, 0)[1:], 0, 0),  # A falling term.
    ],
)
def test_entries_that_no_leader_would_send_are_discarded(wrong: Append) -> None:
    lone = Lone()
    lone.receive(2, wrong)
    assert lone.all(Discarded) and not lone.all(Send)


def test_answers_of_other_terms_and_stale_rejections_change_nothing() -> None:
    lone = Lone([HardState(3, None)]).lead()
    progress = lone.replica.role.progress[2]  # type: ignore[union-attr]
    term = lone.replica.term
    lone.propose(1)
    lone.receive(2, Appended(term - 1, True, 2, 0))
    before = (progress.match, progress.next, progress.probing)
    assert progress.match == 1, "what was acknowledged to another leader may have been cut off since"
    for answer in (
        Appended(term, False, progress.match, 0, Position(0, 1)),
        Appended(term, True, 0, 0),
        Appended(term, True, 99, 0),
        Appended(term, True, 1, 99),
    ):
        lone.receive(2, answer)
        assert (progress.match, progress.next, progress.probing) == before, answer


def test_a_member_that_lost_what_it_acknowledged_is_asked_with_heartbeats_only() -> None:
    lone = Lone().lead()
    lone.propose(1)
    lone.save()
    lone.acknowledge(2)
    lone.do(LinkDown(2))
    lone.receive(2, Appended(1, False, 2, 0, Position(0, 1)))
    lone.propose(2)
    assert [send.to for send in lone.sends(Append)] == [(3,)]
    assert lone.replica.role.progress[2].match == 2  # type: ignore[union-attr]


def test_pipelining_stops_at_the_window_and_goes_on_with_answers() -> None:
    lone = Lone(max_in_flight=2, linger=0).lead()
    lone.acknowledge(2, 3)
    for token in range(1, 6):
        lone.propose(token)
    assert lone.replica.log.last.index == 6
    progress = lone.replica.role.progress[2]  # type: ignore[union-attr]
    assert progress.next == 4 and len(progress.in_flight) == 2
    lone.receive(2, Appended(1, True, 2, 0))
    (send,) = lone.sends(Append)
    assert send.to == (2,) and [e.index for e in lone.said(Append).entries] == [4, 5, 6]


def test_a_lost_append_is_found_by_the_next_heartbeat() -> None:
    lone = Lone().lead()
    lone.acknowledge(2, 3)
    lone.propose(1)  # Lost on the way to 3.
    lone.save()
    lone.acknowledge(2)
    lone.wake()
    assert {send.message.prev.index for send in lone.sends(Append)} == {2}  # type: ignore[attr-defined]
    lone.receive(3, Appended(1, False, 2, 0, Position(0, 2)))
    (send,) = lone.sends(Append)
    assert send.to == (3,) and [e.index for e in lone.said(Append).entries] == [2]


def test_a_broken_link_makes_the_leader_probe() -> None:
    lone = Lone().lead()
    lone.acknowledge(2, 3)
    lone.propose(1)
    lone.do(LinkDown(3))
    assert [send.to for send in lone.sends(Append)] == [(3,)], "from what 3 is known to have"
    lone.do(Receive(3, Appended(1, True, 2, 0)))
    assert not lone.replica.role.progress[3].probing  # type: ignore[union-attr]
