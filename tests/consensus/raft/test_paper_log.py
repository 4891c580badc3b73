"""Raft as the paper states it, rule by rule: the log, what is committed, reads and snapshots.

See `test_paper` for how to read it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ostraka.consensus.raft.messages import Append, Appended, Logged, SnapshotOffer
from ostraka.model.effects import FetchSnapshot, InstallSnapshot, ReadAt
from ostraka.model.events import Propose, Read, SnapshotFetched, SnapshotInstalled
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Kind, Request, SnapshotMeta
from tests.consensus.raft.one_replica import MEMBERS, SETTINGS, Replica, at, entry, log, only

# AppendEntries.


def test_an_append_of_an_old_term_is_refused() -> None:
    """1. Refuse if term < currentTerm; the answer carries currentTerm. (Figure 2, AppendEntries)"""
    replica = Replica((1,), term=3)
    answer = only(replica.hear(2, Append(2, Position(1, 1), log(1, 2)[1:], 2, 7)), Appended)
    assert isinstance(answer, Appended)
    assert (answer.term, answer.ok) == (3, False)
    assert (replica.terms, replica.commit) == ([1], 0)


def test_an_old_leader_renews_nobodys_patience() -> None:
    """Only an AppendEntries of the current leader does. (Figure 2, Followers)"""
    replica = Replica((1,), term=3)
    before = replica.engine.deadline
    replica.now = 500_000_000
    replica.hear(2, Append(2, Position(1, 1), (), 0, 0))
    assert replica.engine.deadline == before
    assert replica.engine.status().leader == 0


@pytest.mark.parametrize(
    ("mine", "prev"),
    [((1, 1), Position(1, 3)), ((1, 1), Position(2, 2)), ((), Position(1, 1)), ((1, 2, 2), Position(1, 3))],
)
def test_an_append_that_does_not_connect_is_refused(mine: Sequence[int], prev: Position) -> None:
    """2. Refuse if the log has no entry at prevLogIndex with prevLogTerm. (§5.3)"""
    replica = Replica(mine, term=3)
    answer = only(replica.hear(2, Append(3, prev, (entry(3, prev.index + 1),), prev.index + 1, 7)), Appended)
    assert isinstance(answer, Appended)
    assert (answer.term, answer.ok, answer.match, answer.round) == (3, False, prev.index, 7)
    assert replica.terms == list(mine), "nothing is deleted for want of a predecessor"
    assert replica.commit == 0, "nor is anything committed that was not compared"
    assert replica.engine.status().leader == 2, "though it came from the leader"


@pytest.mark.parametrize(
    ("mine", "start", "theirs", "result"),
    [
        ((1, 1), 2, (1, 1, 3), (1, 1, 3)),  # 4. Append what is new.
        ((1, 1, 2), 2, (1, 1, 3), (1, 1, 3)),  # 3. Delete what conflicts,
        ((1, 2, 2, 2), 1, (1, 3), (1, 3)),  # and all that follows it.
        ((1, 1, 1, 1), 1, (1, 1), (1, 1, 1, 1)),  # Without conflict nothing is deleted.
        ((1, 1, 1, 1), 2, (1, 1), (1, 1, 1, 1)),  # A heartbeat deletes nothing.
        ((1, 1, 2, 2), 0, (1, 1, 2, 3), (1, 1, 2, 3)),
        ((1, 1, 1), 0, (1, 1, 1, 3), (1, 1, 1, 3)),
        ((2, 2), 0, (1, 3), (1, 3)),
    ],
)
def test_entries_replace_what_conflicts(
    mine: Sequence[int], start: int, theirs: Sequence[int], result: Sequence[int]
) -> None:
    """3. and 4.: an entry that conflicts goes, with all that follow; what is not yet there is appended. (§5.3)"""
    replica = Replica(mine, term=3)
    leaders = log(*theirs)
    prev = leaders[start - 1].position if start else ORIGIN
    answer = only(replica.hear(2, Append(3, prev, leaders[start:], 0, 0)), Appended)
    assert replica.terms == list(result)
    assert answer == Appended(3, True, len(theirs), 0), "it vouches for what the message showed, and no more"
    logged = [record.entry for record in replica.records if isinstance(record, Logged)]
    assert logged == [each for each in leaders[start:] if each not in log(*mine)], "what it has is not written again"


@pytest.mark.parametrize(
    ("commit", "prev", "count", "result"),
    [
        (2, 1, 3, 2),  # The leader's commit index is the lower one,
        (9, 1, 3, 4),  # or the last entry that the message showed.
        (9, 1, 0, 1),  # A heartbeat shows its predecessor only: what comes after it may differ from the leader's.
        (9, 2, 1, 3),
        (0, 2, 1, 0),
    ],
)
def test_the_commit_index_is_the_lower_of_two(commit: int, prev: int, count: int, result: int) -> None:
    """5. commitIndex = min(leaderCommit, index of the last new entry). (Figure 2, AppendEntries; §5.3)"""
    replica = Replica((1,) * 6, term=3)
    entries = log(*(1,) * 6)
    replica.hear(2, Append(3, entries[prev - 1].position, entries[prev : prev + count], commit, 0))
    assert replica.commit == result
    assert [each.index for each in replica.committed] == list(range(1, result + 1))


def test_the_commit_index_never_goes_back() -> None:
    """commitIndex increases monotonically. (Figure 2, volatile state)"""
    replica = Replica(term=3)
    replica.hear(2, Append(3, ORIGIN, log(1, 1, 3), 3, 0))
    replica.hear(2, Append(3, ORIGIN, log(1), 1, 0))
    assert replica.commit == 3


def test_an_acknowledgement_waits_for_the_disk() -> None:
    """Entries are on stable storage before the answer leaves, whichever AppendEntries it answers. (Figure 2)"""
    replica = Replica((1,), term=3)
    replica.slow = True
    assert replica.hear(2, Append(3, Position(1, 1), log(1, 3, 3)[1:], 0, 0)) == []
    again = replica.hear(2, Append(3, Position(3, 3), (), 3, 1))
    for answer in again:
        assert isinstance(answer, Appended)
        assert not answer.ok or answer.match <= 1, "a heartbeat's answer vouches for what is saved"
    assert [each.index for each in replica.committed] == [1], "what is decided is applied once it is saved"
    replica.slow = False
    replica.step(*replica.finish_saves())
    assert (2, Appended(3, True, 3, 0)) in replica.sent
    assert [each.index for each in replica.committed] == [1, 2, 3]


def test_an_acknowledgement_of_a_cut_log_is_not_sent() -> None:
    """Saved entries that were replaced meanwhile are not vouched for to the new leader. (§5.3)"""
    replica = Replica((1,), term=2)
    replica.slow = True
    replica.hear(2, Append(2, Position(1, 1), log(1, 2, 2)[1:], 0, 0))
    replica.hear(3, Append(3, Position(1, 1), log(1, 3)[1:], 0, 0))
    replica.slow = False
    replica.step(*replica.finish_saves())
    assert replica.terms == [1, 3]
    to_new = [message for to, message in replica.sent if to == 3 and isinstance(message, Appended)]
    assert to_new == [Appended(3, True, 2, 0)]
    for to, message in replica.sent:
        assert to != 2 or not isinstance(message, Appended) or message.term <= 2 or not message.ok


# Leaders.


def test_a_new_leader_says_so_at_once_and_again() -> None:
    """Upon election, and repeatedly while idle, it sends AppendEntries to all. (Figure 2, Leaders)"""
    replica = at("leader", term=4)
    for peer in (2, 3, 4, 5):
        assert replica.appends(peer)[0].term == 4
        assert replica.appends(peer)[0].prev == Position(1, 1)
    replica.acknowledge(2, 3, 4, 5)
    before = {peer: len(replica.appends(peer)) for peer in (2, 3, 4, 5)}
    assert replica.engine.deadline is not None
    assert replica.engine.deadline <= replica.now + SETTINGS.heartbeat
    replica.wake()
    for peer in (2, 3, 4, 5):
        assert len(replica.appends(peer)) == before[peer] + 1


def test_a_new_leader_begins_with_an_empty_entry() -> None:
    """A no-op of its own term, so that it learns what is committed. (§8)"""
    replica = at("leader", (1, 2), term=4)
    assert replica.terms == [1, 2, 4]
    sent = replica.appends(2)[0].entries
    assert [(each.kind, each.position) for each in sent] == [(Kind.NOOP, Position(4, 3))]


def test_a_leader_never_deletes_its_entries() -> None:
    """Leader Append-Only. (Figure 3; §5.3)"""
    replica = at("leader", (1, 2, 2), term=4)
    replica.hear(2, Append(3, Position(1, 1), (entry(3, 2),), 2, 0))
    replica.hear(2, Appended(4, False, 3, 0, Position(0, 1)))
    assert replica.terms == [1, 2, 2, 4]


def test_a_refused_append_is_tried_further_back() -> None:
    """If AppendEntries fails because of inconsistency: decrement nextIndex and try again. (§5.3)"""
    replica = at("leader", (1, 1, 1, 2, 2), term=4)
    replica.hear(2, Appended(4, False, 5, 0, Position(0, 3)))
    again = replica.appends(2)[-1]
    assert again.prev == Position(1, 2), "the follower's log ends at 2"
    while not replica.appends(2)[-1].entries:
        replica.acknowledge(2, match=again.prev.index)
    assert [each.index for each in replica.appends(2)[-1].entries] == [3, 4, 5, 6]


def test_a_refusal_backs_over_a_whole_term() -> None:
    """The refusal names the conflicting term and its first index: one message per term, not per entry. (§5.3)"""
    replica = at("leader", (1, 1, 1, 4, 4, 4), term=6)
    replica.hear(2, Appended(6, False, 6, 0, Position(3, 2)))
    again = replica.appends(2)[-1]
    assert again.prev == Position(1, 1), "the leader has nothing of term 3, so none of it can match"


def test_a_stale_refusal_takes_nothing_back() -> None:
    """matchIndex increases monotonically: a late refusal, from before the success, is about the past. (Figure 2)"""
    replica = at("leader", (1, 1, 1), term=4)
    replica.acknowledge(2, 3, match=4)
    assert replica.commit == 4
    replica.hear(2, Appended(4, False, 3, 0, Position(0, 1)))
    for append in replica.appends(2)[-1:]:
        assert append.prev.index >= 4 or append.prev.index + len(append.entries) >= 4
    assert replica.commit == 4


def test_an_entry_is_committed_on_a_majority() -> None:
    """If a majority's matchIndex is N or more, and log[N] is of this term: commitIndex = N. (§5.3, §5.4)"""
    replica = at("leader", term=4)
    replica.acknowledge(2)
    assert replica.commit == 0
    replica.acknowledge(2)
    assert replica.commit == 0, "the same follower again"
    replica.acknowledge(3)
    assert replica.commit == 2
    assert [each.index for each in replica.committed] == [1, 2], "what comes before is committed with it"


def test_no_entry_of_an_earlier_term_is_committed_by_counting() -> None:
    """Only entries of the leader's own term are committed by counting replicas. (§5.4.2, Figure 8)"""
    replica = at("leader", (1, 2, 2), term=4)
    replica.acknowledge(2, 3, 4, 5, match=3)
    assert replica.commit == 0
    assert replica.committed == []
    replica.acknowledge(2, 3, match=4)
    assert replica.commit == 4


def test_its_own_copy_counts_once_it_is_saved() -> None:
    """It writes its disk in parallel; its copy counts like a follower's, once durable. (Thesis §10.2.1)"""
    replica = at("leader", term=4)
    replica.acknowledge(2, 3)
    assert replica.commit == 2
    replica.slow = True
    replica.step(Propose(((7, Request(b"x")),)))
    assert replica.appends(2)[-1].entries[-1].index == 3, "it is sent before it is saved"
    replica.acknowledge(2, 3)
    assert replica.commit == 2, "two of five"
    replica.slow = False
    replica.step(*replica.finish_saves())
    assert replica.commit == 3


def test_acknowledgements_of_an_earlier_term_count_for_nothing() -> None:
    """An answer to a request of an earlier term is dropped: its index may mean another entry now. (Figure 2; §5.1)"""
    replica = at("leader", (1, 1), term=4)
    for peer in (2, 3, 4, 5):
        replica.hear(peer, Appended(3, True, 3, 0))
    assert replica.commit == 0
    assert replica.role == "leader"


def test_acknowledgements_of_strangers_count_for_nothing() -> None:
    """A majority is one of the configuration's members. (§6)"""
    replica = at("leader", term=4)
    replica.acknowledge(2, 7, 8, 9)
    assert replica.commit == 0


def test_acknowledgements_beyond_the_log_are_not_believed() -> None:
    """Nobody can hold what the leader of the term has not written: such a message is verified, not asserted."""
    replica = at("leader", term=4)
    replica.acknowledge(2, 3, match=99)
    assert replica.commit <= replica.last.index
    assert all(each.index <= 2 for each in replica.committed)


def test_a_heartbeat_commits_no_more_than_is_known_to_match() -> None:
    """A follower may hold other entries beyond what was compared. (§5.3, step 5)"""
    replica = at("leader", term=4)
    replica.acknowledge(2, 3)
    assert replica.commit == 2
    replica.wake()
    heartbeat = replica.appends(5)[-1]
    assert heartbeat.commit <= heartbeat.prev.index + len(heartbeat.entries), heartbeat


def test_there_is_one_leader_in_a_term() -> None:
    """Election Safety: an AppendEntries of another leader in its own term can't be, and changes nothing. (Figure 3)"""
    replica = at("leader", term=4)
    replica.hear(2, Append(4, Position(1, 1), (entry(4, 2),), 2, 0))
    assert replica.role == "leader"
    assert replica.committed == []


# Reads.


def rounds(replica: Replica, peer: int) -> int:
    return replica.appends(peer)[-1].round


def answered(replica: Replica) -> list[tuple[int, ...]]:
    return [effect.tokens for effect in replica.other if isinstance(effect, ReadAt)]


def test_a_read_waits_for_a_round_that_began_after_it() -> None:
    """Before answering, the leader exchanges heartbeats with a majority. (§8; thesis §6.4)"""
    replica = at("leader", term=4)
    replica.acknowledge(2, 3)
    old = rounds(replica, 2)
    replica.step(Read((7,)))
    replica.acknowledge(2, 3, 4, 5, echo=old)
    assert answered(replica) == [], "acknowledgements of an earlier round"
    new = rounds(replica, 2)
    assert new > old
    replica.acknowledge(2, echo=new)
    replica.acknowledge(2, echo=new)
    assert answered(replica) == [], "one follower of four"
    replica.acknowledge(3, echo=new)
    assert answered(replica) == [(7,)]


def test_a_refusal_confirms_the_round_too() -> None:
    """A follower whose log doesn't match still says that it knows no later term. (Thesis §6.4)"""
    replica = at("leader", term=4)
    replica.acknowledge(2, 3)
    replica.step(Read((7,)))
    new = rounds(replica, 2)
    replica.acknowledge(2, echo=new)
    replica.hear(5, Appended(4, False, 2, new, Position(0, 1)))
    assert answered(replica) == [(7,)]


def test_no_read_before_the_first_commit_of_the_term() -> None:
    """A leader doesn't know which entries are committed until one of its own term is. (§8)"""
    replica = at("leader", (1, 1), term=4)
    replica.step(Read((7,)))
    replica.wake()
    replica.acknowledge(2, 3, 4, 5, match=2, echo=rounds(replica, 2))
    assert answered(replica) == []
    replica.acknowledge(2, 3)
    replica.wake()
    replica.acknowledge(2, 3, echo=rounds(replica, 2))
    assert answered(replica) == [(7,)]
    index = next(effect.index for effect in replica.other if isinstance(effect, ReadAt))
    assert index >= 3, "what was committed before its term is in its log up to its no-op"


def test_a_read_sees_what_was_committed_when_it_came() -> None:
    """readIndex is the commit index at the time the read arrived, or later. (Thesis §6.4)"""
    replica = at("leader", term=4)
    replica.step(Propose(((6, Request(b"x")),)))
    replica.acknowledge(2, 3)
    assert replica.commit == 3
    replica.step(Read((7,)))
    replica.acknowledge(2, 3, echo=rounds(replica, 2))
    assert [effect.index for effect in replica.other if isinstance(effect, ReadAt)] == [3]


# Snapshots.


def pulled(replica: Replica, meta: SnapshotMeta) -> None:
    """The driver fetches and installs the snapshot, if the replica asks for it."""
    if FetchSnapshot in {type(effect) for effect in replica.other}:
        replica.step(SnapshotFetched(meta, True))
    if InstallSnapshot in {type(effect) for effect in replica.other}:
        replica.step(SnapshotInstalled(meta))


def test_a_snapshot_replaces_a_log_that_it_goes_beyond() -> None:
    """The follower discards its whole log; the snapshot supersedes it. (§7, Figure 13)"""
    replica = Replica((1, 1, 2), term=3)
    meta = SnapshotMeta(3, 9, 9, MEMBERS)
    replica.hear(2, SnapshotOffer(3, meta))
    pulled(replica, meta)
    assert replica.last == Position(3, 9)
    assert (replica.commit, replica.engine.status().first) == (9, 10)
    assert [message for to, message in replica.sent if to == 2][-1] == Appended(3, True, 9, 0)
    answer = only(replica.hear(2, Append(3, Position(3, 9), (entry(3, 10),), 10, 0)), Appended)
    assert answer == Appended(3, True, 10, 0)
    assert [each.index for each in replica.committed] == [10]


def test_a_log_that_conflicts_with_the_snapshot_goes() -> None:
    """Its entry at the snapshot's index is of another term, so what follows it is of no use either. (§7)"""
    replica = Replica((1, 1, 1, 1), term=3)
    meta = SnapshotMeta(2, 2, 2, MEMBERS)
    replica.hear(2, SnapshotOffer(3, meta))
    pulled(replica, meta)
    assert replica.last == Position(2, 2)


def test_what_follows_the_snapshot_stays() -> None:
    """If the log has the snapshot's last entry, the entries after it are retained. (§7, Figure 13, step 6)"""
    replica = Replica((1, 1, 2, 2), term=3)
    meta = SnapshotMeta(1, 2, 2, MEMBERS)
    replica.hear(2, SnapshotOffer(3, meta))
    pulled(replica, meta)
    assert replica.last == Position(2, 4)
    assert replica.commit >= 2
    answer = only(replica.hear(2, Append(3, Position(2, 4), (), 4, 0)), Appended)
    assert answer == Appended(3, True, 4, 0)


def test_a_snapshot_of_an_old_term_is_refused() -> None:
    """1. Reply immediately if term < currentTerm. (Figure 13)"""
    replica = Replica((1,), term=3)
    answers = replica.hear(2, SnapshotOffer(2, SnapshotMeta(2, 9, 9, MEMBERS)))
    assert FetchSnapshot not in {type(effect) for effect in replica.other}
    assert all(answer.term == 3 for answer in answers), answers  # type: ignore[attr-defined]
    assert replica.last == Position(1, 1)


def test_a_snapshot_of_what_is_committed_is_not_pulled() -> None:
    """It would take the state machine back. The leader learns how far the follower is. (§7)"""
    replica = Replica(term=3)
    replica.hear(2, Append(3, ORIGIN, log(1, 1, 1), 3, 0))
    answers = replica.hear(2, SnapshotOffer(3, SnapshotMeta(1, 2, 2, MEMBERS)))
    assert FetchSnapshot not in {type(effect) for effect in replica.other}
    assert replica.terms == [1, 1, 1]
    assert all(isinstance(answer, Appended) and answer.ok and answer.match <= 3 for answer in answers)
