"""Reading entries back from the log: the newest of each mark, verified, or an error that names the place."""

from __future__ import annotations

from random import Random

import pytest

from ostraka.errors import Corruption, StorageError
from ostraka.storage import wal as wals
from ostraka.storage.wal import Wal

from .log_user import ME
from .memory_disk import MemoryDisk

Read = tuple[list[bytes], StorageError | None]


class Logs:
    """Two groups whose logs are cut off now and then, and what they should find."""

    def __init__(self, segment_size: int = 3000) -> None:
        self.disk = MemoryDisk()
        self.segment_size = segment_size
        self.entries: dict[int, list[bytes]] = {1: [], 2: []}  # From mark 1 on.
        self.durable = {1: 0, 2: 0}
        self.released = {1: 1, 2: 1}
        self.open()

    def open(self) -> None:
        self.wal, _ = Wal.open(self.disk, ME, lambda group: [b"hard"], self.segment_size)

    def append(self, group: int, payload: bytes) -> None:
        self.entries[group].append(payload)
        self.wal.append(group, payload, len(self.entries[group]))

    def cut(self, group: int, first: int) -> None:
        """What comes next has this mark."""
        del self.entries[group][first - 1 :]
        self.durable[group] = min(self.durable[group], first - 1)

    def sync(self) -> None:
        self.wal.sync(lambda sequence, error: None)
        self.disk.run()
        self.durable = {group: len(entries) for group, entries in self.entries.items()}

    def load(self, group: int, first: int, last: int, size: int = 1 << 20) -> Read:
        told: list[Read] = []
        self.wal.load(group, first, last, size, lambda payloads, error: told.append((payloads, error)))
        self.disk.run()
        assert len(told) == 1
        return told[0]

    def check(self, group: int, first: int, last: int, size: int) -> int:
        payloads, error = self.load(group, first, last, size)
        assert error is None, error
        wanted = self.entries[group][first - 1 : last]
        assert payloads == wanted[: len(payloads)] and payloads, f"{first}..{last}: {payloads} of {wanted}"
        assert sum(map(len, payloads[:-1])) < size
        return len(payloads)


def test_what_was_appended_is_read_back() -> None:
    logs = Logs()
    for number in range(50):
        logs.append(1, b"one %d" % number)
        logs.append(2, b"two %d" % number)
        logs.wal.append(1, b"hard state")
        if number % 7 == 0:
            logs.sync()
    logs.sync()
    at = 1
    while at <= 50:
        at += logs.check(1, at, 50, 1 << 20)
    assert logs.load(2, 17, 17) == ([b"two 16"], None)


def test_about_as_much_as_was_asked_for() -> None:
    logs = Logs(1 << 20)
    for _ in range(20):
        logs.append(1, bytes(100))
    logs.sync()
    assert [len(logs.load(1, 5, 20, size)[0]) for size in (1, 100, 101, 1000)] == [1, 1, 2, 10]


def test_the_last_of_those_with_one_mark_counts() -> None:
    """As when a new leader cuts a log off: within a batch, in a later one, and in a later segment."""
    logs = Logs()
    for number in range(40):
        logs.append(1, b"old %d" % number)
        if number % 10 == 9:
            logs.sync()
    logs.cut(1, 26)
    logs.append(1, b"new 25")
    logs.sync()
    logs.append(1, b"new 26")
    logs.append(1, b"new 27")
    logs.cut(1, 27)
    logs.append(1, b"newest 26")
    logs.sync()
    assert logs.load(1, 24, 25) == ([b"old 23", b"old 24"], None)
    assert logs.load(1, 26, 27)[0][0] == b"new 25"
    assert logs.load(1, 27, 27) == ([b"newest 26"], None)


def test_a_batch_in_flight_is_not_read() -> None:
    logs = Logs()
    logs.append(1, b"durable")
    logs.sync()
    logs.append(1, b"in flight")
    logs.wal.sync(lambda sequence, error: None)
    inode = logs.disk.files[wals.segment_name(1)]
    inode.cache = inode.cache[:-3]  # The disk is in the midst of it.
    logs.disk.waiting.clear()
    assert logs.load(1, 1, 1) == ([b"durable"], None)


def test_what_was_released_is_gone() -> None:
    logs = Logs(300)
    for number in range(40):
        logs.append(1, b"entry %d" % number)
        logs.sync()
    told: list[Read] = []
    logs.wal.load(1, 1, 40, 100, lambda payloads, error: told.append((payloads, error)))
    logs.wal.release(1, 35)
    logs.disk.run()
    logs.sync()
    assert told == [([], None)], "released while it was being read"
    assert logs.load(1, 1, 40) == ([], None)
    assert logs.check(1, 35, 40, 1)
    assert len(logs.wal._spots[1]) < 10


@pytest.mark.parametrize("damage", ["rotten", "short", "unreadable"])
def test_damage_is_named_and_nothing_is_served(damage: str) -> None:
    logs = Logs(1 << 20)
    for number in range(5):
        logs.append(1, b"entry %d" % number)
        logs.sync()
    name = wals.segment_name(1)
    inode = logs.disk.files[name]
    at = inode.cache.index(b"entry 2")
    if damage == "rotten":
        inode.cache = inode.cache[:at] + b"E" + inode.cache[at + 1 :]
    elif damage == "short":
        inode.cache = inode.cache[:at]
    else:
        del logs.disk.files[name]
    payloads, error = logs.load(1, 4, 5)
    assert payloads == [] and error is not None and f"{name}, offset " in str(error)
    assert isinstance(error, Corruption) == (damage != "unreadable")


@pytest.mark.parametrize("stride", [1, 200, 64 << 10])
def test_any_course_of_appending_cutting_releasing_and_restarting(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wals, "_STRIDE", stride)
    read = 0
    for seed in range(60):
        dice = Random(seed)
        logs = Logs(dice.choice((400, 3000, 1 << 20)))
        for step in range(80):
            group = 1 + dice.getrandbits(1)
            length, durable, released = len(logs.entries[group]), logs.durable[group], logs.released[group]
            what = dice.randrange(12)
            if what < 6:
                logs.append(group, b"%d.%d.%d " % (seed, step, length + 1) + bytes(dice.randrange(150)))
            elif what < 8:
                logs.sync()
            elif what == 8 and length > released:
                first = dice.randint(released + 1, length)
                logs.cut(group, first)
                logs.append(group, b"%d.%d.%d again" % (seed, step, first))
            elif what == 9 and durable > released:
                logs.released[group] = dice.randint(released, durable)
                logs.wal.release(group, logs.released[group])
            elif what == 10:
                logs.sync()
                logs.wal.close()
                logs.open()
            elif durable >= released:
                first = dice.randint(released, durable)
                read += logs.check(group, first, dice.randint(first, durable), dice.choice((1, 300, 1 << 20)))
    assert read > 500
