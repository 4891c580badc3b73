"""A host whose log is damaged: what it does before it takes part again, and when it must not."""

from __future__ import annotations

import pytest

from ostraka.errors import Corruption, MissingEntries, Refilling
from ostraka.model import effects, events
from ostraka.model.requests import Entry, Kind, Members, Request
from ostraka.storage.hard_state import FILE, HardStates
from ostraka.storage.table import MemoryStore
from tests.node.scripted import ManualDisk, Note, Scene, Word

SEGMENT = "wal-0000000000000001"


def settled(scene: Scene) -> None:
    """All syncs are done, and those that follow from them."""
    while scene.disk.waiting:
        scene.disk.finish()
        scene.clock.run()


def with_a_past() -> Scene:
    """One whose log holds two entries and a vote."""
    scene = Scene()
    scene.engine.hard = Note("vote")
    scene.does(effects.Save(1, (Note("vote"), Note("one", 1))))
    settled(scene)
    scene.does(effects.Save(2, (Note("two", 2),)))
    settled(scene)
    return scene


def damaged(disk: ManualDisk, name: str = SEGMENT, at: int = 100) -> ManualDisk:
    disk.files[name][at] ^= 1
    return disk


def test_what_rests_on_a_vote_waits_for_both_copies() -> None:
    scene = Scene()
    scene.engine.hard = Note("vote")
    scene.does(effects.Save(1, (Note("vote"),)), effects.Send((2,), Word("yes"), 1))
    assert len(scene.disk.waiting) == 2, "both are written at once"
    log, copy = scene.disk.waiting
    scene.disk.waiting = []
    log(None)
    scene.clock.run()
    assert scene.network.words() == [] and not scene.happened(events.Saved)
    copy(None)
    settled(scene)
    assert scene.network.words() == [(2, "yes")] and scene.happened(events.Saved) == [events.Saved(1)]
    assert HardStates(scene.disk).groups[1].records


def test_what_rests_on_entries_alone_does_not() -> None:
    scene = with_a_past()
    scene.does(effects.Save(3, (Note("three", 3),)), effects.Send((2,), Word("held"), 3))
    scene.disk.waiting.pop(0)(None)
    scene.clock.run()
    assert scene.network.words() == [(2, "held")]


def test_a_copy_that_can_not_be_written_ends_the_host() -> None:
    scene = Scene()
    scene.engine.hard = Note("vote")
    scene.does(effects.Save(1, (Note("vote"),)))
    scene.disk.waiting.pop()(OSError(5, "broken"))
    assert "second copy of the hard state" in str(scene.failures[0])


def test_a_damaged_log_is_set_aside_and_only_the_hard_state_is_left() -> None:
    scene = Scene(damaged(with_a_past().disk))
    assert scene.engine.refilling and scene.engine.records == [Note("vote")]
    assert scene.group.refilling.startswith(f"{SEGMENT}, offset ") and f"damaged-{SEGMENT}" in scene.disk.files
    assert "neither votes nor serves" in scene.said[0]


def test_it_goes_on_after_a_crash_until_the_engine_is_done() -> None:
    disk = damaged(with_a_past().disk)
    scene = Scene(Scene(disk).disk)
    assert scene.engine.refilling and SEGMENT in scene.group.refilling
    scene.engine.still_refilling = False
    scene.engine.hard = Note("whole")
    scene.does(effects.Save(1, (Note("whole"),)), effects.Save(2, (Note("three", 3),)))
    settled(scene)
    scene.does(effects.Refilled(3))
    assert not scene.group.refilling
    again = Scene(disk)
    assert not again.engine.refilling and Note("three", 3) in again.engine.records


def test_it_serves_nobody() -> None:
    scene = Scene(damaged(with_a_past().disk))
    told: list[object] = []
    scene.group.propose(Request(b"x"), lambda reply, error: told.append(error))
    scene.clock.run()
    scene.does(effects.Rejected((1,), effects.Why.REFILLING))
    assert isinstance(told[0], Refilling) and "ask another member" in str(told[0])


def test_without_the_second_copy_it_does_not_come_back() -> None:
    disk = damaged(damaged(with_a_past().disk), FILE, 10)
    before = {name: bytes(data) for name, data in disk.files.items()}
    with pytest.raises(Corruption, match=f"{SEGMENT}, offset .*{FILE}, offset 0: damaged.*add it anew"):
        Scene(disk)
    del disk.files[FILE]
    with pytest.raises(Corruption, match=f"{SEGMENT}, offset .*{FILE} is missing.*add it anew"):
        Scene(disk)
    assert {**disk.files, FILE: before[FILE]} == before, "what is damaged is left as it is"


def test_a_damaged_second_copy_is_written_anew_from_the_log() -> None:
    disk = damaged(with_a_past().disk, FILE, 10)
    scene = Scene(disk)
    assert not scene.engine.refilling and not HardStates(disk).damage


def test_where_the_others_are_no_quorum_nothing_is_touched() -> None:
    disk = damaged(Scene(members=Members((1, 2))).disk)
    before = {name: bytes(data) for name, data in disk.files.items()}
    with pytest.raises(Corruption, match=f"{SEGMENT}, offset .*from a backup"):
        Scene(disk, members=Members((1, 2)))
    assert disk.files == before


def test_the_configuration_in_the_state_counts_rather_than_the_flags() -> None:
    scene = with_a_past()
    scene.does(effects.Commit((Entry(1, 1, 10, Kind.MEMBERS, (), Members((1,))),)))
    scene.host.flush(lambda: None)
    scene.clock.run()
    with pytest.raises(Corruption, match=f"{SEGMENT}, offset .*from a backup"):
        Scene(damaged(scene.disk), scene.store)


def test_a_state_that_is_gone_is_refilled_where_the_log_does_not_reach_back(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = with_a_past().disk
    restore = Scene._restore

    def choosy(self, *given):  # type: ignore[no-untyped-def]
        if not given[-1]:
            raise MissingEntries("the log begins at index 5, but the state ends at 0")
        return restore(self, *given)

    monkeypatch.setattr(Scene, "_restore", choosy)
    with pytest.raises(Corruption, match=r"begins at index 5.*from a backup"):
        Scene(disk, MemoryStore(lambda callback: None), members=Members((1,)))
    scene = Scene(disk, MemoryStore(lambda callback: None))
    assert scene.engine.refilling and "begins at index 5" in scene.group.refilling


def test_members_that_must_all_be_refilled_end_with_the_cause() -> None:
    scene = Scene(damaged(with_a_past().disk))
    scene.does(effects.Stranded((1, 2)))
    assert f"{SEGMENT}, offset " in str(scene.failures[0]) and "2 must be refilled, too" in str(scene.failures[0])


def test_an_engine_that_can_not_refill_is_not_asked_to() -> None:
    disk = damaged(Scene(refills=False).disk)
    before = {name: bytes(data) for name, data in disk.files.items()}
    with pytest.raises(Corruption, match=f"{SEGMENT}, offset .*add it anew"):
        Scene(disk, refills=False)
    assert disk.files == before
