"""Compaction, and snapshots offered, pulled and installed."""

from __future__ import annotations

import pytest

from ostraka.consensus.raft import checkpoint
from ostraka.consensus.raft.checkpoint import compactable
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.messages import Append, Appended, Installed, SnapshotOffer
from ostraka.model.effects import Commit, Compact, FetchSnapshot, InstallSnapshot, MembersActive, TakeSnapshot
from ostraka.model.events import Applied, SnapshotFetched, SnapshotInstalled, SnapshotTaken
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Batch, Entry, Kind, Members, SnapshotMeta

from .lone import THREE, Lone, entries, logged

META = SnapshotMeta(2, 10, 1000, THREE)


def test_compaction_waits_for_flushes_and_for_enough_entries() -> None:
    lone = Lone(tail=2, compact_every=3).follow(*[1] * 10, commit=9)
    lone.do(Applied(9, 6))
    assert lone.all(Compact) == [Compact(5)] and lone.replica.log.base == (1, 4)
    lone.do(Applied(9, 8))
    assert not lone.all(Compact), "only two could go"
    lone.do(Applied(9, 9))
    assert lone.all(Compact) == [Compact(8)] and lone.replica.log.entries(8, 10) == entries(*[1] * 10)[7:]


def test_a_tail_of_large_entries_is_cut_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "TAIL_BYTES", 100)
    large = [Entry(i, 1, 0, Kind.REQUESTS, (Batch(1, 1, i, bytes(60)),)) for i in range(1, 6)]
    log = Log(entries=large)
    assert log.size == 300
    assert compactable(log, flushed=5, tail=5000) == 4
    assert compactable(log, flushed=2, tail=5000) == 2, "what isn't durable in the state stays"
    assert compactable(Log(entries=large[:2]), flushed=2, tail=5000) == 0


def offered(lone: Lone, meta: SnapshotMeta = META, term: int = 3) -> Lone:
    lone.receive(2, SnapshotOffer(term, meta))
    return lone


def test_an_offer_is_pulled_once_installed_saved_and_only_then_acknowledged() -> None:
    lone = offered(Lone(logged(3, 1, 1, 1)))
    assert lone.all(FetchSnapshot) == [FetchSnapshot(META, (2,))]
    offered(lone)
    assert not lone.all(FetchSnapshot)
    lone.do(SnapshotFetched(META, True))
    assert lone.all(InstallSnapshot) == [InstallSnapshot(META)]
    lone.do(SnapshotInstalled(META))
    assert lone.records() == (Installed(META.position),)
    (send,) = lone.sends(Appended)
    assert send.message == Appended(3, True, 10, 0) and send.after == lone.replica.last_save
    replica = lone.replica
    assert replica.log.base == replica.log.last == (2, 10) and replica.log.stamp == 1000
    assert (replica.commit, replica.decided, replica.applied, replica.saved) == (10, 10, 10, 10)


def test_nothing_is_decided_while_a_snapshot_is_being_installed() -> None:
    lone = offered(Lone(logged(3, 1, 1, 1)))
    lone.do(SnapshotFetched(META, True))
    lone.receive(2, Append(3, Position(1, 3), (), 3, 0))
    assert lone.replica.commit == 3 and not lone.all(Commit)
    lone.do(SnapshotInstalled(META))
    assert not lone.all(Commit)
    lone.receive(2, Append(3, META.position, (Entry(11, 3, 0),), 11, 0))
    lone.save()
    assert [entry.index for entry in lone.all(Commit)[0].entries] == [11]


def test_a_log_that_holds_the_snapshots_last_entry_keeps_what_follows() -> None:
    meta = SnapshotMeta(1, 3, 0, THREE)
    lone = offered(Lone(logged(3, 1, 1, 1, 2)), meta)
    lone.do(SnapshotFetched(meta, True))
    lone.do(SnapshotInstalled(meta))
    assert lone.replica.log.last == (2, 4) and Installed(meta.position) not in lone.records()


def test_saves_of_the_log_before_count_for_nothing_after_the_installation() -> None:
    lone = Lone().follow(*[1] * 12)
    lone.receive(2, Append(1, Position(1, 12), (Entry(13, 1, 0),), 0, 0))
    under_way = lone.replica.last_save
    offered(lone, term=3)
    lone.do(SnapshotFetched(META, True))
    lone.do(SnapshotInstalled(META))
    assert lone.replica.log.last == (2, 10)
    lone.receive(2, Append(3, META.position, (Entry(11, 3, 0),), 11, 0))
    assert lone.replica.saved == 10 and under_way < lone.replica.last_save
    lone.save()
    assert lone.replica.saved == 11


def test_what_the_log_has_overtaken_is_not_installed() -> None:
    meta = SnapshotMeta(1, 2, 0, THREE)
    lone = offered(Lone(), meta, term=1)
    lone.receive(2, Append(1, ORIGIN, entries(1, 1, 1), 3, 0))
    lone.do(SnapshotFetched(meta, True))
    assert not lone.all(InstallSnapshot)
    offered(lone, meta, term=1)
    assert lone.said(Appended).ok and not lone.all(FetchSnapshot)


def test_a_failed_pull_can_be_tried_again_and_stale_answers_are_ignored() -> None:
    lone = offered(Lone())
    lone.do(SnapshotFetched(SnapshotMeta(1, 5, 0, THREE), True), SnapshotInstalled(META))
    assert not lone.all(InstallSnapshot) and lone.replica.log.last == ORIGIN
    lone.do(SnapshotFetched(META, False))
    offered(lone)
    assert lone.all(FetchSnapshot)


def test_a_snapshot_brings_its_configuration() -> None:
    meta = SnapshotMeta(2, 10, 0, Members((1, 2, 3, 4)))
    lone = offered(Lone(), meta)
    lone.do(SnapshotFetched(meta, True))
    lone.do(SnapshotInstalled(meta))
    assert lone.all(MembersActive) == [MembersActive(meta.members, 10)]
    assert lone.replica.peers == {2, 3, 4}


def test_a_leader_takes_one_snapshot_and_offers_it_with_every_heartbeat() -> None:
    lone = Lone(tail=0, compact_every=1).lead()
    for token in range(1, 4):
        lone.propose(token)
        lone.save()
        lone.acknowledge(2)
    lone.do(Applied(4, 4))
    assert lone.replica.log.first == 5
    lone.receive(3, Appended(1, False, 4, 0, Position(0, 2)))
    lone.wake()
    assert lone.all(TakeSnapshot) == [TakeSnapshot(4)]
    lone.acknowledge(2)
    lone.wake()
    assert not lone.all(TakeSnapshot)
    lone.do(SnapshotTaken(SnapshotMeta(1, 4, 0, THREE)))
    assert [send.to for send in lone.sends(SnapshotOffer)] == [(3,)]
    lone.acknowledge(2)
    lone.wake()
    assert [send.to for send in lone.sends(SnapshotOffer)] == [(3,)] and not lone.all(TakeSnapshot)
    assert (3,) in [send.to for send in lone.sends(Append)], "it must hear that the leader lives"
    lone.receive(3, Appended(1, True, 4, 0))
    lone.propose(9)
    assert {peer for send in lone.sends(Append) for peer in send.to} == {2, 3}
