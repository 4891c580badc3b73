"""The contract between an engine and its driver, one sentence at a time (model/effects.py)."""

from __future__ import annotations

import msgspec
import pytest

from ostraka.errors import (
    Corruption,
    NotExecuted,
    NotLeader,
    OstrakaError,
    OutcomeUnknown,
    Overloaded,
    Refused,
    StorageError,
)
from ostraka.model import effects, events
from ostraka.model.effects import Named, Why
from ostraka.model.ids import SECOND
from ostraka.model.requests import Members, Request, SnapshotMeta
from ostraka.node.stored import APPLIED, Descriptor
from ostraka.transport import wire
from ostraka.transport.network import Channel
from tests.node.scripted import MEMBERS, Note, Scene, Word, entry


class Answers:
    def __init__(self) -> None:
        self.got: list[tuple[bytes | None, OstrakaError | None]] = []

    def __call__(self, reply: bytes | None, error: OstrakaError | None) -> None:
        self.got.append((reply, error))


def test_a_message_waits_for_the_save_it_names() -> None:
    scene = Scene()
    scene.does(
        effects.Send((2,), Word("at once"), 0),
        effects.Save(1, (Note("vote"),)),
        effects.Send((2, 3), Word("promise"), 1),
        effects.Send((3,), Word("heartbeat"), 0),
    )
    assert scene.network.words() == [(2, "at once"), (3, "heartbeat")]
    scene.disk.finish()
    assert scene.network.words()[2:] == [(2, "promise"), (3, "promise")]
    scene.clock.run()
    assert scene.happened(events.Saved) == [events.Saved(1)]


def test_a_message_after_a_save_that_is_durable_leaves_at_once() -> None:
    scene = Scene()
    scene.does(effects.Save(1, (Note("vote"),)))
    scene.disk.finish()
    scene.does(effects.Send((2,), Word("promise"), 1))
    assert scene.network.words() == [(2, "promise")]


def test_a_message_may_wait_for_an_earlier_save_than_those_before_it() -> None:
    scene = Scene()
    scene.does(effects.Save(1, (Note("term"),)))
    scene.does(
        effects.Save(2, (Note("entries"),)),
        effects.Send((2,), Word("entries are here"), 2),
        effects.Send((3,), Word("this is my term"), 1),
    )
    scene.disk.finish()
    assert scene.network.words() == [(3, "this is my term")]
    scene.disk.finish()
    assert scene.network.words() == [(3, "this is my term"), (2, "entries are here")]


def test_one_sync_covers_many_saves_and_the_last_is_told() -> None:
    scene = Scene()
    scene.does(effects.Save(1, (Note("a"), Note("b"))), effects.Save(2, (Note("c"),)))
    assert len(scene.disk.waiting) == 1
    scene.does(effects.Save(3, (Note("d"),)), effects.Send((2,), Word("third"), 3))
    scene.disk.finish()  # The first batch; the third save gathered meanwhile, and goes next.
    scene.clock.run()
    assert scene.happened(events.Saved) == [events.Saved(2)] and scene.network.words() == []
    scene.disk.finish()
    scene.clock.run()
    assert scene.happened(events.Saved) == [events.Saved(2), events.Saved(3)]
    assert scene.network.words() == [(2, "third")]


def test_a_failed_save_ends_the_group_and_nothing_leaves() -> None:
    scene = Scene()
    answers = Answers()
    scene.group.propose(Request(b"x"), answers)
    scene.does(effects.Save(1, (Note("vote"),)), effects.Send((2,), Word("promise"), 1))
    scene.disk.finish(OSError(5, "the disk is gone"))
    scene.clock.run()
    assert scene.network.words() == []
    assert [type(event) for event in scene.engine.happened][-1] is events.SaveFailed
    assert len(scene.failures) == 1 and "the disk is gone" in str(scene.failures[0])
    [(reply, error)] = answers.got
    assert reply is None and isinstance(error, OutcomeUnknown)
    later = Answers()
    scene.group.propose(Request(b"y"), later)
    assert later.got == []
    scene.clock.run()
    assert isinstance(later.got[0][1], NotExecuted)


def test_a_commit_is_applied_and_its_own_callers_are_answered_once() -> None:
    scene = Scene()
    first, second = Answers(), Answers()
    scene.group.propose(Request(b"x"), first)
    scene.group.propose(Request(b"y"), second)
    scene.clock.run()
    [proposed] = scene.happened(events.Propose)
    assert [request.payload for _, request in proposed.requests] == [b"x", b"y"]
    tokens = tuple(token for token, _ in proposed.requests)
    scene.does(effects.Commit((entry(1, b"other", origin=2), entry(2, b"x", b"y")), (Named(2, 0, tokens),)))
    assert first.got == [(b"did x", None)] and second.got == [(b"did y", None)]
    assert scene.group.applied == 2 and scene.group.query(b"other") == b"1" and scene.group.query(b"y") == b"2"


def test_entries_come_without_gaps() -> None:
    scene = Scene()
    with pytest.raises(AssertionError, match="entry 2 committed after 0"):
        scene.does(effects.Commit((entry(2, b"x"),)))


@pytest.mark.parametrize(
    ("effect", "kind"),
    [
        (lambda tokens: effects.Rejected(tokens, Why.NO_LEADER), NotLeader),
        (lambda tokens: effects.Rejected(tokens, Why.OVERLOADED), Overloaded),
        (lambda tokens: effects.Rejected(tokens, Why.TRANSFERRING), NotExecuted),
        (effects.Lost, OutcomeUnknown),
    ],
)
def test_an_end_without_a_reply_says_whether_it_happened(effect, kind) -> None:  # type: ignore[no-untyped-def]
    scene = Scene()
    answers, reads = Answers(), []
    scene.group.propose(Request(b"x"), answers)
    scene.group.read_index(reads.append)
    scene.clock.run()
    proposed, read = scene.happened(events.Propose)[0], scene.happened(events.Read)[0]
    scene.does(effect(tuple(token for token, _ in proposed.requests) + read.tokens))
    assert [type(error) for _, error in answers.got] == [kind] and [type(error) for error in reads] == [kind]


def test_reads_of_a_turn_share_a_token_and_wait_for_their_index() -> None:
    scene = Scene()
    ready: list[OstrakaError | None] = []
    scene.group.read_index(ready.append)
    scene.group.read_index(ready.append)
    scene.clock.run()
    [read] = scene.happened(events.Read)
    assert len(read.tokens) == 1
    scene.does(effects.ReadAt(read.tokens, 2))
    scene.does(effects.Commit((entry(1, b"x"),)))
    assert ready == []
    scene.does(effects.Commit((entry(2, b"y"),)))
    assert ready == [None, None]


def test_a_wake_comes_at_the_deadline_and_not_before() -> None:
    scene = Scene()
    scene.engine.deadline = 5 * SECOND
    scene.does()
    scene.clock.advance(5 * SECOND - 1)
    assert scene.happened(events.Wake) == []
    scene.clock.advance(5 * SECOND)
    assert scene.happened(events.Wake) == [events.Wake()]


def test_a_crash_reverts_the_table_to_its_flush_and_records_come_back_in_order() -> None:
    scene = Scene(flush_every=SECOND, look_every=SECOND)
    scene.does(effects.Save(1, (Note("a", 1),)), effects.Commit((entry(1, b"x"),)))
    scene.disk.finish()
    scene.clock.advance(2 * SECOND)  # A flush.
    scene.disk.finish()
    assert scene.group.flushed == 1
    scene.does(effects.Save(2, (Note("b", 2), Note("c"))), effects.Commit((entry(2, b"y"),)))
    scene.disk.finish()
    scene.store.crash()
    again = Scene(scene.disk, scene.store)
    assert again.engine.records == [Note("a", 1), Note("b", 2), Note("c")]
    assert again.engine.applied_at_start == 1 and again.group.query(b"x") == b"1" and again.group.query(b"y") is None


def frames(scene: Scene, kind: type) -> list[wire.AnyFrame]:
    return [frame for _, frame, channel in scene.network.sent if isinstance(frame, kind) and channel == Channel.BULK]


def deliver(source: Scene, to: Scene) -> None:
    """What one host has sent on the bulk channel arrives at the other."""
    sent, source.network.sent = source.network.sent, []
    for _, frame, _ in sent:
        to.host.received(1, wire.encode(frame))
    to.clock.run()


def test_a_snapshot_is_pulled_piece_by_piece_and_installed_at_once() -> None:
    source = Scene(chunk_bytes=8)
    source.does(effects.Commit(tuple(entry(index, b"x%d" % index) for index in range(1, 8))))
    source.does(effects.TakeSnapshot(7))
    [taken] = source.happened(events.SnapshotTaken)
    source.does(effects.Commit((entry(8, b"later"),)))  # The state that is held stays as it was.

    follower = Scene()
    follower.does(effects.Commit((entry(1, b"old"),)))
    follower.does(effects.FetchSnapshot(taken.meta, (1,)))
    pieces = 0
    while not follower.happened(events.SnapshotFetched):
        ask = follower.network.sent[-1][1]
        deliver(follower, source)
        pieces += len(frames(source, wire.Chunk))
        source.host.received(1, wire.encode(ask))  # A doubled question: its second answer comes late.
        deliver(source, follower)
    assert pieces > 2 and follower.happened(events.SnapshotFetched) == [events.SnapshotFetched(taken.meta, True)]
    assert follower.group.query(b"x3") is None, "nothing has changed yet"

    follower.does(effects.InstallSnapshot(taken.meta))
    assert follower.happened(events.SnapshotInstalled) == [events.SnapshotInstalled(taken.meta)]
    assert follower.group.applied == 7 == follower.group.flushed
    assert follower.group.query(b"x3") == b"3" and follower.group.query(b"old") is None
    assert follower.group.query(b"later") is None
    follower.does(effects.Commit((entry(8, b"later"),)))
    assert follower.group.query(b"later") == b"8"
    follower.store.crash()
    again = Scene(follower.disk, follower.store)
    assert again.engine.applied_at_start == 7 and again.group.query(b"x3") == b"3"


def test_a_crash_before_the_install_leaves_the_old_state() -> None:
    source = Scene()
    source.does(effects.Commit((entry(1, b"x"),)), effects.TakeSnapshot(1))
    meta = source.happened(events.SnapshotTaken)[0].meta
    follower = Scene()
    follower.does(effects.FetchSnapshot(meta, (1,)))
    deliver(follower, source)
    deliver(source, follower)
    assert follower.happened(events.SnapshotFetched) == [events.SnapshotFetched(meta, True)]
    follower.store.crash()
    again = Scene(follower.disk, follower.store)
    assert again.engine.applied_at_start == 0 and again.group.query(b"x") is None


def test_a_source_without_the_state_is_given_up_for_the_next() -> None:
    follower = Scene()
    meta = SnapshotMeta(1, 7, 70, MEMBERS)
    follower.does(effects.FetchSnapshot(meta, (1, 3)))
    ask = follower.network.sent[-1][1]
    assert isinstance(ask, wire.AskChunk)
    follower.host.received(2, wire.encode(wire.NoChunk(1, ask.pull)))  # Nobody asked this member.
    assert len(follower.network.sent) == 1
    follower.host.received(1, wire.encode(wire.NoChunk(1, ask.pull)))
    assert [to for to, _, _ in follower.network.sent] == [1, 3]
    follower.clock.advance(30 * SECOND)  # The other says nothing at all.
    assert follower.happened(events.SnapshotFetched) == [events.SnapshotFetched(meta, False)]
    assert 2 < len(follower.network.sent) < 10


def test_a_source_that_is_gone_is_given_up_sooner() -> None:
    asked = []
    for linked in (True, False):
        follower = Scene()
        follower.host.links.update({2} if linked else ())
        follower.does(effects.FetchSnapshot(SnapshotMeta(1, 7, 70, MEMBERS), (2,)))
        follower.clock.advance(30 * SECOND)
        assert len(follower.happened(events.SnapshotFetched)) == 1
        asked.append(len(follower.network.sent))
    assert asked == [5, 2]


def test_a_state_that_nobody_asks_for_is_let_go_and_taken_anew_when_asked() -> None:
    source = Scene()
    source.does(effects.Commit((entry(1, b"x"),)), effects.TakeSnapshot(1))
    old = source.happened(events.SnapshotTaken)[0].meta
    source.does(effects.Commit((entry(2, b"y"),)))
    source.clock.advance(200 * SECOND)
    source.host.received(2, wire.encode(wire.AskChunk(1, 9, old.index, old.epoch, None)))
    source.clock.run()
    assert source.network.sent[-1][1] == wire.NoChunk(1, 9)
    assert [event.meta.index for event in source.happened(events.SnapshotTaken)] == [1, 2]


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x93\x01\x01\xa1x", b"\x93\x01\x01\x90", b"\x93\x01\x09\x90"])
def test_frames_that_make_no_sense_are_counted_and_dropped(frame: bytes) -> None:
    scene = Scene()
    scene.host.received(2, frame)
    scene.clock.run()
    assert scene.happened(events.Receive) == []
    assert scene.host.metrics.frames_undecodable + scene.host.metrics.messages_discarded == 1


def test_a_log_segment_goes_when_it_is_released_and_the_hard_state_is_carried() -> None:
    scene = Scene(segment_size=300)
    for number in range(1, 30):
        scene.does(effects.Save(number, (Note("n" * 40, number),)))
        while scene.disk.waiting:
            scene.disk.finish()
    before = [name for name in scene.disk.names() if name.startswith("wal-")]
    scene.does(effects.Compact(25))
    while scene.disk.waiting:
        scene.disk.finish()
    after = [name for name in scene.disk.names() if name.startswith("wal-")]
    assert len(after) < len(before) > 3
    again = Scene(scene.disk, scene.store)
    notes = [record for record in again.engine.records if isinstance(record, Note)]
    assert notes[0] == Note("carried") and [note.index for note in notes if note.index][-5:] == [25, 26, 27, 28, 29]


def stored() -> Scene:
    """A scene in which three entries are durable, and two of them were asked for."""
    scene = Scene()
    scene.does(effects.Save(1, tuple(Note("entry", index, entry(index, b"%d" % index)) for index in (1, 2, 3))))
    scene.disk.finish()
    scene.does(effects.Load(9, 2, 3, 1 << 20))
    assert not scene.happened(events.Loaded)
    return scene


def test_entries_are_read_back_from_the_log() -> None:
    scene = stored()
    scene.disk.reading.pop()()
    scene.clock.run()
    assert scene.happened(events.Loaded) == [events.Loaded(9, (entry(2, b"2"), entry(3, b"3")))]


def test_entries_that_rot_end_the_node_and_are_never_served() -> None:
    scene = stored()
    data = scene.disk.files["wal-0000000000000001"]
    data[data.index(b"entry")] ^= 1
    scene.disk.reading.pop()()
    scene.clock.run()
    (failure,) = scene.failures
    assert isinstance(failure, Corruption) and "wal-0000000000000001, offset " in str(failure)
    assert not scene.happened(events.Loaded) and scene.happened(events.SaveFailed)


def test_entries_that_come_after_the_end_are_nobodys() -> None:
    scene = stored()
    scene.host.stop()
    scene.disk.reading.pop()()
    scene.clock.run()
    assert not scene.happened(events.Loaded) and not scene.failures


def test_the_table_says_what_it_is_a_state_of() -> None:
    scene = Scene()
    scene.does(effects.Commit((entry(1, b"x"), entry(2, b"y", epoch=4))))
    scene.clock.advance(SECOND)
    stored = scene.group.table.get(APPLIED)
    assert stored is not None and msgspec.msgpack.decode(stored, type=SnapshotMeta) == SnapshotMeta(4, 2, 20, MEMBERS)


def test_a_state_that_was_replaced_is_dropped_even_if_we_die_before_that() -> None:
    """The new state is durable with the descriptor; the removal of the old one only with the next flush."""
    source = Scene()
    source.does(effects.Commit((entry(1, b"x"),)), effects.TakeSnapshot(1))
    meta = source.happened(events.SnapshotTaken)[0].meta
    follower = Scene()
    follower.does(effects.FetchSnapshot(meta, (1,)))
    deliver(follower, source)
    deliver(source, follower)
    old = Descriptor(0).prefix(1)
    table = follower.store.table(old)
    table.put(b"left", b"behind")
    table.commit()
    follower.does(effects.InstallSnapshot(meta))
    assert list(follower.store.table(old).scan(b"", None)) == []
    follower.store.crash()
    assert list(follower.store.table(old).scan(b"", None)) != [], "the removal was not flushed"
    again = Scene(follower.disk, follower.store)
    assert again.group.query(b"x") == b"1"
    assert list(follower.store.table(old).scan(b"", None)) == []


@pytest.mark.parametrize("frame", [wire.AskChunk(1, 3, 1, 1, None), "chunk"])
def test_a_table_that_fails_under_a_snapshot_ends_the_node(frame: wire.AskChunk | str) -> None:
    """And is not taken for a fault of the connection on which the frame came, again and again."""
    source = Scene()
    source.does(effects.Commit((entry(1, b"x"),)), effects.TakeSnapshot(1))
    meta = source.happened(events.SnapshotTaken)[0].meta

    def broken(*_: object) -> None:
        raise StorageError("IO error: No space left on device")

    if isinstance(frame, wire.AskChunk):
        scene = source
        assert source.group._held is not None
        source.group._held._pinned.scan = broken  # type: ignore[method-assign]
        data = wire.encode(wire.AskChunk(1, 3, meta.index, meta.epoch, None))
    else:
        scene = follower = Scene()
        follower.does(effects.FetchSnapshot(meta, (1,)))
        deliver(follower, source)
        assert follower.group._pull is not None
        follower.group._pull.table._write = broken  # type: ignore[misc]
        data = wire.encode(frames(source, wire.Chunk)[0])
    scene.host.received(1, data)
    assert scene.failures == [scene.host.failed] and scene.host.failed is not None


def test_the_log_that_goes_on_from_a_state_is_kept_while_somebody_pulls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a pull that takes longer than the log's tail lasts would have to begin anew, for ever."""
    monkeypatch.setattr("ostraka.node.group.KEPT_FOR_PULL", 200)
    scene = Scene(flush_every=SECOND, look_every=SECOND)

    def forgettable() -> int:
        return max(event.flushed for event in scene.happened(events.Applied))

    def goes_on_for(seconds: int, index: int) -> None:
        scene.clock.advance(scene.clock.time + seconds * SECOND)
        scene.does(effects.Commit((entry(index, b"x"),)))
        scene.does()

    scene.does(effects.Commit((entry(1, b"x"),)), effects.TakeSnapshot(1))
    meta = scene.happened(events.SnapshotTaken)[0].meta
    for index in range(2, 6):
        scene.host.received(2, wire.encode(wire.AskChunk(1, 9, meta.index, meta.epoch, None)))
        goes_on_for(10, index)
    assert scene.group.flushed > 1 == forgettable()
    goes_on_for(20, 6)  # It has asked for nothing in this time.
    goes_on_for(2, 7)
    assert forgettable() > 5

    scene.does(effects.TakeSnapshot(7))
    before = forgettable()
    goes_on_for(2, 8)
    assert forgettable() == max(before, 7)
    scene.does(effects.Commit((entry(9, b"x" * 300),)))  # More than is kept for anybody.
    goes_on_for(2, 10)
    assert forgettable() >= 9


def test_an_order_ends_once_as_the_engine_says() -> None:
    scene = Scene()
    ends: list[OstrakaError | None] = []
    for _ in range(4):
        scene.group.transfer_leadership(2, ends.append)
    scene.group.change_members(Members((1, 2)), ends.append)
    scene.clock.run()
    orders = scene.happened(events.TransferLeadership)
    assert [order.to for order in orders] == [2] * 4
    [change] = scene.happened(events.ChangeMembers)
    assert (change.members, change.base) == (Members((1, 2)), scene.engine.status().members)
    scene.does(
        effects.Done((orders[0].token,)),
        effects.Rejected((orders[1].token,), Why.NOT_LEADER, 3),
        effects.Rejected((orders[2].token,), Why.NO_CONFIGURATION),
        effects.Lost((orders[3].token,)),
        effects.Done((change.token,)),
    )
    assert [type(end) for end in ends] == [type(None), NotLeader, Refused, OutcomeUnknown, type(None)]


def test_a_failed_disk_ends_every_order() -> None:
    scene = Scene()
    ends: list[OstrakaError | None] = []
    scene.does(effects.Save(1, (Note("vote"),)))
    scene.group.transfer_leadership(2, ends.append)
    scene.clock.run()
    scene.disk.finish(OSError(5, "the disk is gone"))
    scene.clock.run()
    scene.group.transfer_leadership(3, ends.append)
    scene.clock.run()
    assert [type(end) for end in ends] == [OutcomeUnknown, NotExecuted]


def test_the_engine_hears_what_is_flushed_once_it_is() -> None:
    """It forgets its log up to there; a crash would need what is applied and not flushed. (Raft §7)"""
    scene = Scene(flush_every=20 * SECOND, look_every=SECOND)
    scene.does(effects.Commit((entry(1, b"x"), entry(2, b"y"))))
    scene.does()
    assert scene.happened(events.Applied) == [events.Applied(2, 0)]
    scene.host.flush(lambda: None)
    scene.does(effects.Commit((entry(3, b"z"),)))
    scene.does()
    assert scene.happened(events.Applied)[-1] == events.Applied(3, 2)
