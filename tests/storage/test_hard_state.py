"""The second copy of the hard state: it is one whole version, or known to be damaged."""

from __future__ import annotations

from random import Random

import google_crc32c
import pytest

from ostraka.errors import NewerFormat
from ostraka.storage.hard_state import FILE, SYNC_POINTS, HardStates, Kept
from ostraka.storage.identity import Identity

from .memory_disk import Crashed, Inode, MemoryDisk

ME = Identity(1, 2, 3)
FIRST = {1: Kept((b"term 1",)), 2: Kept((b"term 9", b"vote"), True, "wal-1, offset 7: damaged")}


def kept(disk: MemoryDisk, groups: dict[int, Kept] = FIRST) -> MemoryDisk:
    states = HardStates(disk)
    states.belong(ME)
    for group, each in groups.items():
        states.keep(group, each)
    states.flush()
    return disk


def test_what_was_kept_is_there() -> None:
    disk = kept(MemoryDisk())
    states = HardStates(disk)
    states.belong(ME)
    assert (states.groups, states.damage, states.dirty) == (FIRST, "", False)
    states.keep(1, Kept((b"term 2",)))
    assert states.dirty
    told: list[OSError | None] = []
    states.save(told.append)
    disk.run()
    assert told == [None] and HardStates(disk).groups == {**FIRST, 1: Kept((b"term 2",))}


def test_nothing_is_known_where_there_is_no_file() -> None:
    states = HardStates(MemoryDisk())
    states.belong(ME)
    assert states.damage == f"{FILE} is missing" and not states.groups


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    disk = kept(MemoryDisk())
    data = disk.read(FILE)
    for offset in range(len(data)):
        disk.files[FILE] = Inode(data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :])
        states = HardStates(disk)
        assert "damaged" in states.damage and not states.groups, offset


def test_that_of_another_disk_says_nothing() -> None:
    states = HardStates(kept(MemoryDisk()))
    states.belong(ME._replace(disk=4))
    assert "that of disk" in states.damage and not states.groups


def test_a_newer_format_is_refused() -> None:
    disk = kept(MemoryDisk())
    text = disk.read(FILE)[:-9].replace(b"hard-state 1", b"hard-state 2")
    disk.files[FILE] = Inode(text + b"%08x\n" % google_crc32c.value(text))
    with pytest.raises(NewerFormat, match="has format 2"):
        HardStates(disk)


@pytest.mark.parametrize("omitted", ["", *SYNC_POINTS])
def test_a_crash_leaves_the_old_version_or_the_new_one(omitted: str) -> None:
    """Both while it is written and when it has been; without one of the syncs, not so."""
    second = {1: Kept((b"term 2" * 200,)), 2: FIRST[2]}
    broken = False
    for seed in range(60):
        disk = kept(MemoryDisk())
        disk.omitted = omitted
        disk.crash_at = len(disk.steps) + Random(seed).randrange(1, 12)
        done: list[OSError | None] = []
        try:
            states = HardStates(disk)
            states.belong(ME)
            states.keep(1, second[1])
            states.save(done.append)
            disk.run()
        except Crashed:
            pass
        found = HardStates(disk.after("power cut", Random(seed)))
        if found.damage or (found.groups != second and (done or found.groups != FIRST)):
            broken = True
    assert broken == bool(omitted)


def test_a_failed_sync_is_told() -> None:
    for point in SYNC_POINTS:
        disk = kept(MemoryDisk())
        disk.failing[point] = OSError(5, "broken")
        states = HardStates(disk)
        states.belong(ME)
        states.keep(1, Kept((b"term 2",)))
        states.waits(7)
        told: list[OSError | None] = []
        states.save(told.append)
        disk.run()
        assert told == [disk.failing[point]] and states.both_durable(9) == 6


def test_what_waits_counts_once_it_is_saved() -> None:
    """Also what comes while a save is under way: that waits for the next."""
    disk = kept(MemoryDisk())
    states = HardStates(disk)
    states.belong(ME)
    told: list[OSError | None] = []
    assert states.both_durable(9) == 9
    states.keep(1, Kept((b"term 2",)))
    states.waits(5)
    states.save(told.append)
    states.keep(1, Kept((b"term 3",)))
    states.waits(7)
    states.save(told.append)
    assert (states.both_durable(9), states.both_durable(3), len(disk.waiting)) == (4, 3, 1)
    while not told:
        disk.waiting.pop(0)()
    assert states.both_durable(9) == 6 and HardStates(disk).groups[1].records == (b"term 2",)
    disk.run()
    assert states.both_durable(9) == 9 and HardStates(disk).groups[1].records == (b"term 3",)
    assert told == [None, None]
