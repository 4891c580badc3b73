"""Leader leases: from when to when they count, who waits for them, and who need not. (LeaseGuard)"""

from __future__ import annotations

from ostraka.consensus.raft.lease import outlasting
from ostraka.consensus.raft.messages import (
    Append,
    Appended,
    AskRead,
    HardState,
    ReadAnswer,
    SnapshotOffer,
    TimeoutNow,
    Vote,
)
from ostraka.consensus.raft.roles import Leader
from ostraka.model.effects import FetchSnapshot, ReadAt, Save
from ostraka.model.events import Read, Receive, Saved, SnapshotFetched, SnapshotInstalled, TransferLeadership, Wake
from ostraka.model.ids import MILLISECOND, ORIGIN, SECOND, Position
from ostraka.model.requests import Members, SnapshotMeta

from .lone import THREE, Lone, entries

LEASE = 300 * MILLISECOND
DRIFT = 100_000
WAIT = 330 * MILLISECOND


def leading() -> Lone:
    """A leader whose no-op has just been committed, in the instant in which it was proposed."""
    return Lone(lease=LEASE, clock_drift=DRIFT).lead()


def reads(lone: Lone, later: int = 0) -> bool:
    """Is a read answered in the turn in which it comes?"""
    lone.do(Read((99,)), later=later)
    return bool(lone.all(ReadAt))


def following(lease: int = LEASE) -> Lone:
    """A follower that holds three entries of term 1 and has been told of this lease."""
    lone = Lone(clock_drift=DRIFT)
    lone.receive(2, Append(1, ORIGIN, entries(1, 1, 1), 3, 0, lease))
    lone.save()
    return lone


def elected(lone: Lone) -> Leader:
    """It wins the next election, and all others hold its no-op at once."""
    lone.campaign()
    lone.receive(3, Vote(lone.replica.term, True))
    lone.save()
    lone.acknowledge(2, 3)
    role = lone.replica.role
    assert isinstance(role, Leader)
    return role


def lead_until(lone: Lone, instant: int) -> None:
    """Its followers answer, so that it goes on leading."""
    while (deadline := lone.replica.deadline) is not None and deadline < instant:
        lone.wake()
        lone.acknowledge(2, 3)
    lone.do(Wake(), later=instant - lone.now)


def test_a_leader_reads_alone_for_as_long_as_the_lease_lasts() -> None:
    lone = leading()
    assert reads(lone) and reads(lone, later=LEASE - 1)
    lone.acknowledge(2, 3, round_=lone.replica.role.round)  # type: ignore[union-attr]
    lone = leading()
    assert not reads(lone, later=LEASE), "at its very end it is over"
    assert lone.said(Append).round == 1, "then a quorum is asked"
    lone.acknowledge(2, round_=1)
    assert lone.all(ReadAt) == [ReadAt((99,), 1)]


def test_a_leader_without_a_lease_asks() -> None:
    lone = Lone().lead()
    assert not reads(lone)


def test_the_lease_counts_from_when_the_entry_was_proposed() -> None:
    lone = leading()
    lone.do(later=LEASE)
    lone.propose(1)
    lone.do(later=LEASE - 1)
    lone.save()
    lone.acknowledge(2, 3)
    assert lone.replica.commit == 2 and reads(lone)
    assert not reads(lone, later=1)


def test_only_what_is_committed_makes_a_lease() -> None:
    lone = leading()
    lone.do(later=LEASE)
    lone.propose(1)
    lone.save()
    assert lone.replica.commit == 1 and not reads(lone)


def test_followers_are_answered_at_once() -> None:
    lone = leading()
    lone.receive(3, AskRead(1, 77, 4))
    assert lone.said(ReadAnswer) == ReadAnswer(1, 77, 4, 1)


def test_a_lease_answers_those_who_wait_for_a_round_too() -> None:
    lone = leading()
    lone.do(later=LEASE)
    assert not reads(lone), "a round is under way, and a no-op"
    lone.save()
    lone.do(Read((100,)), *(Receive(peer, Appended(1, True, 2, 0)) for peer in (2, 3)))
    assert lone.all(ReadAt) == [ReadAt((99,), 2), ReadAt((100,), 2)], (
        "the no-op is committed; nobody confirmed the round"
    )


def test_readers_late_in_a_lease_renew_it_by_a_noop() -> None:
    lone = leading()
    reads(lone, later=LEASE // 2 - 1)
    assert not lone.all(Save)
    reads(lone, later=1)
    assert lone.replica.log.last.index == 2 and lone.said(Append).entries[0].batches == ()
    reads(lone, later=1)
    assert lone.replica.log.last.index == 2, "one is under way"


def test_where_nobody_reads_nothing_is_appended() -> None:
    lone = leading()
    end = lone.now + 20 * LEASE
    while lone.now < end:
        lone.wake()
        lone.acknowledge(2, 3)
    assert lone.replica.log.last.index == 1


def test_one_voter_alone_needs_no_lease() -> None:
    lone = Lone(members=Members((1,)), lease=LEASE)
    lone.wake()
    lone.save()
    lone.save()
    for _ in range(5):
        assert reads(lone, later=LEASE)
    assert lone.replica.log.last.index == 1


# Who leads next.


def test_a_new_leader_commits_nothing_while_another_may_read() -> None:
    lone = following(lease=10 * SECOND)
    grown = lone.now
    role = elected(lone)
    assert role.commits_at == grown + 11 * SECOND and lone.replica.commit == 3
    lead_until(lone, role.commits_at - 1)
    lone.acknowledge(2, 3)
    assert lone.replica.commit == 3
    assert lone.replica.deadline == role.commits_at
    lone.wake()
    assert lone.replica.commit == 4


def test_a_process_that_has_just_begun_counts_from_its_beginning() -> None:
    lone = Lone([HardState(1, 2, LEASE)], clock_drift=DRIFT, now=5 * SECOND)
    role = elected(lone)
    assert role.commits_at == 5 * SECOND + WAIT


def test_a_state_that_was_pulled_counts_from_its_installation() -> None:
    meta = SnapshotMeta(1, 9, 0, THREE)
    lone = Lone(clock_drift=DRIFT)
    lone.receive(2, SnapshotOffer(1, meta, LEASE))
    assert not lone.all(FetchSnapshot), "the lease must be durable before the state"
    assert HardState(1, None, LEASE) in lone.records()
    lone.save()
    lone.receive(2, SnapshotOffer(1, meta, LEASE))
    assert lone.all(FetchSnapshot)
    lone.do(SnapshotFetched(meta, True), later=SECOND)
    lone.do(SnapshotInstalled(meta), later=SECOND)
    lone.save()
    assert elected(lone).commits_at == 2 * SECOND + WAIT


def test_the_lease_is_saved_before_the_entries_that_it_is_about() -> None:
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, entries(1), 0, 0, LEASE))
    records = lone.records()
    assert records.index(HardState(1, None, LEASE)) < len(records) - 1
    (send,) = [send for send in lone.sends(Appended) if send.message.match]  # type: ignore[attr-defined]
    assert send.after == lone.replica.last_save
    lone.save()
    lone.receive(2, Append(1, Position(1, 1), (), 0, 0, LEASE))
    assert not lone.all(Save), "it is known already"
    assert lone.replica.hard_state() == (HardState(1, None, LEASE),)


def test_a_new_leader_names_the_longest_lease_until_all_are_over() -> None:
    """A follower that gets entries of an earlier leader from us must wait for that leader's lease."""
    lone = following(lease=10 * SECOND)
    role = elected(lone)
    lone.wake()
    assert lone.said(Append).lease == 10 * SECOND
    lead_until(lone, role.commits_at)
    assert HardState(2, 1, 0) in lone.records()
    lone.save()
    lone.propose(1)
    assert lone.said(Append).lease == 0


def test_a_lease_is_outlasted_by_the_slowest_clock() -> None:
    assert outlasting(0, DRIFT) == 0
    assert outlasting(LEASE, DRIFT) == WAIT
    assert outlasting(1, 1) == 2, "rounded up"


# Handing over.


def test_a_leader_that_has_called_its_heir_asks_a_quorum_again() -> None:
    lone = leading()
    assert reads(lone)
    lone.do(TransferLeadership(7, 2))
    assert lone.said(TimeoutNow) == TimeoutNow(1, Position(1, 1))
    assert not reads(lone)
    assert lone.replica.log.last.index == 1, "and appends nothing to get a lease again"


def test_after_an_abandoned_handover_new_entries_make_a_lease() -> None:
    lone = leading()
    lone.do(TransferLeadership(7, 2))
    lone.acknowledge(2, 3)
    for _ in range(20):
        if lone.replica.handover is None:
            break
        lone.wake()
        lone.acknowledge(2, 3)
    assert lone.replica.handover is None and not reads(lone)
    lone.acknowledge(2, 3, round_=1)
    assert lone.replica.log.last.index == 2, "who read renews the lease"
    lone.do(Saved(lone.replica.last_save))
    lone.acknowledge(2, 3, round_=1)
    assert reads(lone)


def called(last: Position) -> Leader:
    """A follower with three entries that was called, and won."""
    lone = following(lease=10 * SECOND)
    lone.receive(2, TimeoutNow(1, last))
    lone.save()
    lone.receive(3, Vote(2, True))
    lone.save()
    lone.acknowledge(2, 3)
    role = lone.replica.role
    assert isinstance(role, Leader)
    return role


def test_an_heir_need_not_wait_for_a_lease_that_was_given_up() -> None:
    assert called(Position(1, 3)).commits_at == 0
    assert called(Position(1, 2)).commits_at == 11 * SECOND, "an entry came after the call"
    assert called(ORIGIN).commits_at == 11 * SECOND
