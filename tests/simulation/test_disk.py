"""The simulated disk: what was synced is there after a crash, and what was not may be, in any part."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from ostraka.errors import Corruption
from ostraka.simulation.disk import SECTOR, SimulatedDisk
from ostraka.simulation.process import Crashed
from ostraka.storage.identity import Identity
from ostraka.storage.wal import SYNC_POINTS, Wal

from .lying_disk import leave_out


class Bench:
    """A computer that does everything at once, or when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.seen: list[str] = []
        self.fuse = 0  # At so many effects from now the process dies.

    def effect(self, name: str) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Crashed

    def after(self, delay: int, callback: Callable[[], None]) -> None:
        assert delay > 0, "a sync takes time"
        self.waiting.append(callback)

    def saw(self, what: str) -> None:
        self.seen.append(what)

    def settle(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


def disk_with(torn: bool, seed: int = 0) -> tuple[Bench, SimulatedDisk]:
    bench = Bench()
    disk = SimulatedDisk(bench, Random(f"{seed}"))
    disk.faults.torn = torn
    return bench, disk


def test_without_misfortune_a_crash_keeps_exactly_what_was_synced() -> None:
    bench, disk = disk_with(torn=False)
    file = disk.create("a")
    disk.flush_dir("name")
    file.append(b"kept")
    told: list[OSError | None] = []
    file.sync(told.append, "point")
    assert told == [], "a sync is never done from inside the call"
    bench.settle()
    file.append(b" lost")
    disk.create("b")
    disk.crash()
    assert told == [None]
    assert disk.names() == ["a"]
    assert disk.read("a") == b"kept"


def test_a_sync_that_is_under_way_promises_nothing() -> None:
    bench, disk = disk_with(torn=False)
    file = disk.create("a")
    disk.flush_dir("name")
    file.append(b"under way")
    file.sync(lambda error: pytest.fail("told after the crash"), "point")
    bench.waiting.clear()
    disk.crash()
    assert disk.read("a") == b""


def test_what_is_appended_during_a_sync_is_not_part_of_it() -> None:
    bench, disk = disk_with(torn=False)
    file = disk.create("a")
    disk.flush_dir("name")
    file.append(b"before")
    file.sync(lambda error: None, "point")
    file.append(b", after")
    bench.settle()
    disk.crash()
    assert disk.read("a") == b"before"


def test_a_torn_crash_keeps_any_sectors_and_never_touches_what_was_synced() -> None:
    kinds = set()
    old, new = b"o" * (SECTOR + 100), b"n" * (4 * SECTOR)
    for seed in range(200):
        _, disk = disk_with(torn=True, seed=seed)
        file = disk.create("a")
        disk.flush_dir("name")
        file.append(old)
        file.flush("point")
        file.append(new)
        disk.crash()
        found = disk.read("a")
        assert found.startswith(old), f"seed {seed}: durable bytes changed"
        rest = found[len(old) :]
        first = SECTOR - len(old) % SECTOR
        sectors = [rest[:first], *(rest[at : at + SECTOR] for at in range(first, len(rest), SECTOR))]
        assert all(len(set(sector)) <= 1 for sector in sectors), f"seed {seed}: a sector is torn in itself"
        kinds.add("".join("0" if sector.strip(b"\0") == b"" else "n" for sector in sectors).rstrip("0"))
    assert {"", "nnnnn", "n", "nn"} <= kinds, f"some outcomes never come: {sorted(kinds)}"
    assert any("0n" in kind for kind in kinds), f"there is never a hole: {sorted(kinds)}"


def test_names_that_were_not_synced_may_or_may_not_be_there() -> None:
    outcomes = set()
    for seed in range(100):
        _, disk = disk_with(torn=True, seed=seed)
        disk.create("old").flush("point")
        disk.flush_dir("name")
        disk.create("new").flush("point")
        disk.rename("old", "renamed")
        disk.crash()
        outcomes.add(tuple(disk.names()))
    assert outcomes == {("old",), ("renamed",), ("new", "old"), ("new", "renamed")}


def test_a_file_opened_in_its_midst_is_cut_by_the_next_sync_and_not_before() -> None:
    bench, disk = disk_with(torn=False)
    file = disk.create("a")
    disk.flush_dir("name")
    file.append(b"head and torn tail")
    file.flush("point")
    file.close()
    disk.open("a", 4)
    disk.crash()
    assert disk.read("a") == b"head and torn tail"
    disk.open("a", 4).flush("point")
    disk.crash()
    assert disk.read("a") == b"head"
    assert "a torn tail cut" in bench.seen


def test_after_a_failed_sync_the_file_fails_for_ever() -> None:
    bench, disk = disk_with(torn=False)
    file = disk.create("a")
    disk.flush_dir("name")
    disk.faults.failing_permille = 1000
    told: list[OSError | None] = []
    file.append(b"x")
    file.sync(told.append, "point")
    bench.settle()
    disk.faults.failing_permille = 0
    file.sync(told.append, "point")
    bench.settle()
    assert [type(error) for error in told] == [OSError, OSError]
    disk.crash()
    assert disk.read("a") == b""


class Lost(Exception):
    """The log has not kept what it acknowledged, or what an earlier life had read from it."""


def live(disk: SimulatedDisk, bench: Bench, dice: Random, known: int) -> tuple[int, int]:
    """One life of a log: how far it went is known from then on. Also the bytes of a torn tail that it cut."""
    wal, replay = Wal.open(disk, Identity(1, 2, 3), lambda group: [b"state"], 600)
    marks = [mark for _, mark in replay.get(1, []) if mark]
    written = marks[-1] if marks else 0
    if written < known or marks != list(range(written - len(marks) + 1, written + 1)):
        raise Lost(f"{known} was acknowledged, and {marks} is there")
    known = written

    def told(upto: int, sequence: int, error: OSError | None) -> None:
        nonlocal known
        assert error is None
        known = max(known, upto)

    try:
        bench.fuse = dice.randrange(1, 80)
        while True:
            written += 1
            wal.append(1, bytes([written % 251]) * dice.randrange(1500), written)
            if dice.getrandbits(1):
                wal.sync(lambda sequence, error, upto=written: told(upto, sequence, error))
            if bench.waiting and dice.getrandbits(1):
                bench.waiting.pop(0)()
            if written > 8 and dice.getrandbits(2) == 0:
                wal.release(1, min(known, written - 8))
    except Crashed:
        return known, wal.torn


def lives(seed: int, count: int = 8) -> int:
    """Several lives on one disk; how many torn tails were cut."""
    dice = Random(f"wal {seed}")
    bench, disk = disk_with(torn=True, seed=seed)
    known = torn = 0
    for _ in range(count):
        bench.fuse = dice.randrange(1, 40) if dice.getrandbits(2) == 0 else 0  # Some die while they start.
        try:
            known, cut = live(disk, bench, dice, known)
            torn += cut > 0
        except Crashed:
            pass
        bench.waiting.clear()
        disk.crash()
    return torn


def test_the_write_ahead_log_finds_all_that_it_acknowledged_after_any_crash() -> None:
    """The real log on the simulated disk, through many small segments, with the power cut at any effect."""
    torn = sum(lives(seed) for seed in range(100))
    assert torn > 20, f"only {torn} torn tails were cut"


@pytest.mark.parametrize("point", SYNC_POINTS)
def test_a_sync_that_the_log_leaves_out_is_found(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At `point` the disk only says that it has synced."""
    leave_out(monkeypatch, point)
    for seed in range(200):
        try:
            lives(seed)
        except (Lost, Corruption):
            return
    pytest.fail(f"nobody notices that {point} is never synced")
