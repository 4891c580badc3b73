"""The write-ahead log keeps what it acknowledged and invents nothing, wherever it crashes."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest

from ostraka.errors import Corruption
from ostraka.storage.wal import SYNC_POINTS

from .log_user import LogUser
from .memory_disk import Crash, Crashed, MemoryDisk

CRASHES: tuple[Crash, ...] = get_args(Crash)


def script(host: LogUser, disk: MemoryDisk, dice: Random, turns: int = 14) -> None:
    """A life of some turns: records of two groups, syncs that gather, segments that come and go."""
    for turn in range(turns):
        for _ in range(dice.getrandbits(2)):
            host.put(1 + dice.getrandbits(1), size=dice.getrandbits(7))
        if dice.getrandbits(1):
            host.vote(1 + dice.getrandbits(1))
        host.wal.sync(host.synced)
        if turn % 3:
            disk.run()
        if turn % 5 == 4:
            host.release(1)
            host.release(2)
    disk.run()


def live(seed: int, crash_at: int, omitted: str = "") -> tuple[LogUser, MemoryDisk]:
    """A life until its end, or until the given step."""
    host, disk = LogUser(), MemoryDisk(omitted, crash_at)
    try:
        host.start(disk)
        script(host, disk, Random(f"life {seed}"))
    except Crashed:
        assert len(disk.steps) == crash_at
    return host, disk


def steps_of(seed: int) -> int:
    return len(live(seed, 0)[1].steps)


def survive(host: LogUser, disk: MemoryDisk, crash: Crash, dice: Random, then: int) -> None:
    """After the crash, start; crash again at step `then` of that, by a power cut; start again, and go on."""
    disk = disk.after(crash, dice)
    disk.crash_at = then
    try:
        host.start(disk)
        script(host, disk, dice, turns=3)
    except Crashed:
        pass
    disk = disk.after("power cut", dice)
    host.start(disk)
    host.put(1)
    host.wal.sync(host.synced)
    disk.run()
    host.start(disk.after("power cut", dice))


@pytest.mark.parametrize("seed", range(4))
def test_what_was_acknowledged_survives_a_crash_at_any_step(seed: int) -> None:
    for crash_at in range(1, steps_of(seed) + 1):
        for crash in CRASHES:
            for then in range(0, 12, 2):
                host, disk = live(seed, crash_at)
                survive(host, disk, crash, Random(f"{seed} {crash_at} {crash} {then}"), then)


@pytest.mark.parametrize("seed", range(150))
def test_what_was_acknowledged_survives_crashes_without_end(seed: int) -> None:
    dice = Random(f"lives {seed}")
    host, disk = LogUser(), MemoryDisk()
    for _ in range(12):
        disk.crash_at = dice.randrange(1, 40)
        try:
            host.start(disk)
            script(host, disk, dice, turns=6)
        except Crashed:
            pass
        disk = disk.after(CRASHES[dice.getrandbits(1)], dice)
    host.start(disk)


@pytest.mark.parametrize("point", SYNC_POINTS)
def test_no_sync_is_superfluous(point: str) -> None:
    """Leave out one: in at least one schedule of crashes something is lost, or refused."""

    def holds(seed: int, crash_at: int, crash: Crash, omitted: str) -> bool:
        host, disk = live(seed, crash_at, omitted)
        try:
            survive(host, disk, crash, Random(f"{seed} {crash_at} {crash}"), crash_at % 12)
        except (AssertionError, Corruption):
            return False
        return True

    for seed in range(20):
        for crash_at in range(1, steps_of(seed) + 1):
            for crash in CRASHES:
                if not holds(seed, crash_at, crash, omitted=point):
                    assert holds(seed, crash_at, crash, omitted=""), "the schedule itself is at fault"
                    return
    raise AssertionError(f"nothing shows that {point} is needed")


def test_the_lives_see_every_sync_point_and_torn_tails() -> None:
    seen: set[str] = set()
    torn = 0
    for seed in range(100):
        dice = Random(f"tails {seed}")
        host, disk = live(seed, dice.randrange(20, 60))
        seen.update(disk.synced)
        disk = disk.after("power cut", dice)
        host.start(disk)
        seen.update(disk.synced)
        torn += host.wal.torn > 0
    assert seen == set(SYNC_POINTS)
    assert torn > 3
