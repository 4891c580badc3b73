"""The write-ahead log keeps what it acknowledged, invents nothing, and tells a torn tail from corruption."""

from __future__ import annotations

import errno
from random import Random
from typing import get_args

import pytest

from ostraka.errors import Corruption, NewerFormat, StorageError, WrongIdentity
from ostraka.storage import segment
from ostraka.storage.identity import Identity, read_identity
from ostraka.storage.segment import BATCH_SIZE, HEADER_SIZE, RECORD_SIZE
from ostraka.storage.wal import SYNC_POINTS, Replay, Wal

from .memory_disk import Crash, Crashed, MemoryDisk

ME = Identity(cluster=0xC1, member=0xA1, disk=0xD1)
SEGMENT = 400  # Bytes: a few records, so that there are many segments.
CRASHES: tuple[Crash, ...] = get_args(Crash)
FIRST = "wal-0000000000000001"


class Host:
    """Uses the log as groups do, and remembers across crashes what it was promised."""

    def __init__(self) -> None:
        self.entries: dict[int, list[tuple[bytes, int]]] = {1: [], 2: []}
        self.hard: dict[int, list[bytes]] = {1: [], 2: []}
        self.order: list[tuple[int, bytes, int]] = []  # As appended, from the last start on.
        self.promised_entries = {1: 0, 2: 0}
        self.promised_hard = {1: 0, 2: 0}
        self.released = {1: 0, 2: 0}
        self.failure: OSError | None = None
        self.wal: Wal
        self.base = 0

    def start(self, disk: MemoryDisk) -> None:
        self.wal, replay = Wal.open(disk, ME, self._carry, SEGMENT)
        self._check(replay)
        self.base = self.wal.durable
        self.order = []

    def _check(self, replay: Replay) -> None:
        """What is replayed is what was appended, and holds all that was promised; from now on it is promised too."""
        assert set(replay) <= {1, 2}, replay
        for group in (1, 2):
            found = [(payload, mark) for payload, mark in replay.get(group, []) if mark]
            entries = self.entries[group]
            kept = entries[: len(entries) if not found else entries.index(found[-1]) + 1]
            if not found:
                kept = []
                lost = [entry for entry in entries[: self.promised_entries[group]] if entry[1] >= self.released[group]]
                assert not lost, f"group {group} lost {lost}"
            else:
                assert found == kept[len(kept) - len(found) :], f"group {group}: {found} is not a run of {entries}"
                assert found[0][1] <= max(self.released[group], entries[0][1]), f"group {group} begins with {found[0]}"
                assert len(kept) >= self.promised_entries[group], f"group {group} ends with {found[-1]}"
            self.promised_entries[group] = len(kept)
            self.entries[group] = kept
            hard = [payload for payload, mark in replay.get(group, []) if not mark]
            at = self.hard[group].index(hard[-1]) + 1 if hard else 0
            assert at >= self.promised_hard[group], f"group {group}: hard state {hard[-1:]} is too old"
            assert set(hard) <= set(self.hard[group])
            self.hard[group] = self.hard[group][:at]
            self.promised_hard[group] = at
            if not kept:  # All was released; marks go on where they were.
                self.entries[group] = []

    def _carry(self, group: int) -> list[bytes]:
        return self.hard[group][-1:]

    def put(self, group: int, size: int = 20) -> None:
        mark = max([mark for _, mark in self.entries[group]], default=self.released[group]) + 1
        payload = b"entry %d " % mark + b"x" * size
        self.entries[group].append((payload, mark))
        self.order.append((group, payload, mark))
        assert self.wal.append(group, payload, mark) == self.base + len(self.order)

    def vote(self, group: int) -> None:
        payload = b"vote %d" % (len(self.hard[group]) + 1)
        self.hard[group].append(payload)
        self.order.append((group, payload, 0))
        assert self.wal.append(group, payload) == self.base + len(self.order)

    def synced(self, durable: int, error: OSError | None) -> None:
        self.failure = error
        assert durable <= self.base + len(self.order)
        for group, payload, mark in self.order[: durable - self.base]:
            if mark:
                at = self.entries[group].index((payload, mark)) + 1
                self.promised_entries[group] = max(self.promised_entries[group], at)
            else:
                at = self.hard[group].index(payload) + 1
                self.promised_hard[group] = max(self.promised_hard[group], at)

    def release(self, group: int) -> None:
        """Give up all promised entries but the last."""
        promised = self.promised_entries[group]
        if promised > 1:
            below = self.entries[group][promised - 1][1]
            self.released[group] = below
            self.wal.release(group, below)


def script(host: Host, disk: MemoryDisk, dice: Random, turns: int = 14) -> None:
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


def live(seed: int, crash_at: int, omitted: str = "") -> tuple[Host, MemoryDisk]:
    """A life until its end, or until the given step."""
    host, disk = Host(), MemoryDisk(omitted, crash_at)
    try:
        host.start(disk)
        script(host, disk, Random(f"life {seed}"))
    except Crashed:
        assert len(disk.steps) == crash_at
    return host, disk


def steps_of(seed: int) -> int:
    return len(live(seed, 0)[1].steps)


def survive(host: Host, disk: MemoryDisk, crash: Crash, dice: Random, then: int) -> None:
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
    host, disk = Host(), MemoryDisk()
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


# One small log, whose bytes are known.


def small_log(batches: int = 3, mark: bool = True) -> tuple[MemoryDisk, Replay]:
    disk = MemoryDisk()
    wal, replay = Wal.open(disk, ME, lambda group: [])
    assert replay == {}
    for number in range(1, batches + 1):
        wal.append(7, b"entry %d" % number, number)
        wal.append(8, b"vote %d" % number)
        wal.sync(lambda durable, error: None)
        disk.run()
    if mark:
        wal.sync(lambda durable, error: None)
        disk.run()
    return disk, {
        7: [(b"entry %d" % number, number) for number in range(1, batches + 1)],
        8: [(b"vote %d" % number, 0) for number in range(1, batches + 1)],
    }


def reopen(disk: MemoryDisk) -> Replay:
    return Wal.open(disk, ME, lambda group: [])[1]


def contents(disk: MemoryDisk) -> dict[str, bytes]:
    return {name: disk.read(name) for name in disk.names()}


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_every_flipped_bit_of_what_is_durable_is_noticed(bit: int) -> None:
    disk, whole = small_log()
    data = disk.read(FIRST)
    mark = len(data) - BATCH_SIZE
    for offset in range(len(data)):
        damaged = disk.copy()
        damaged.files[FIRST].cache = data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :]
        before = contents(damaged)
        if offset < mark:
            with pytest.raises(Corruption, match=f"{FIRST}, offset "):
                reopen(damaged)
            assert contents(damaged) == before, "what is damaged must be left as it is"
        else:
            assert reopen(damaged) == whole, "the mark holds no records"


def test_damage_in_an_older_segment_is_noticed() -> None:
    disk = MemoryDisk()
    host = Host()
    host.start(disk)
    for _ in range(12):
        host.put(1, 50)
        host.wal.sync(host.synced)
        disk.run()
    old = disk.names()[1]
    assert old == FIRST and len(disk.names()) > 3
    data = disk.read(old)
    for offset in range(len(data)):
        damaged = disk.copy()
        damaged.files[old].cache = data[:offset] + bytes([data[offset] ^ 0x40]) + data[offset + 1 :]
        with pytest.raises((Corruption, NewerFormat), match=f"{FIRST}"):
            reopen(damaged)
    for length in range(len(data)):
        damaged = disk.copy()
        damaged.files[old].cache = data[:length]
        with pytest.raises(Corruption, match=f"{FIRST}"):
            reopen(damaged)


def test_a_missing_segment_is_noticed() -> None:
    disk = MemoryDisk()
    host = Host()
    host.start(disk)
    for _ in range(12):
        host.put(1, 50)
        host.wal.sync(host.synced)
        disk.run()
    names = [name for name in disk.names() if name.startswith("wal-")]
    for name in names[1:-1]:
        damaged = disk.copy()
        del damaged.files[name]
        with pytest.raises(Corruption, match=f"{name} is missing"):
            reopen(damaged)
    damaged = disk.copy()
    damaged.files = {"identity": disk.files["identity"]}
    with pytest.raises(Corruption, match="log is missing"):
        reopen(damaged)
    damaged = disk.copy()
    damaged.files[names[1]], damaged.files[names[2]] = disk.files[names[2]], disk.files[names[1]]
    with pytest.raises(Corruption, match="under another name"):
        reopen(damaged)


@pytest.mark.parametrize("filler", [b"", b"\0", b"\xa5"])
def test_a_torn_tail_is_cut_at_each_length(filler: bytes) -> None:
    disk, _ = small_log(batches=3, mark=False)
    _, shorter = small_log(batches=2, mark=False)
    data = disk.read(FIRST)
    start = len(data) - BATCH_SIZE - 2 * RECORD_SIZE - len(b"entry 3vote 3")
    for length in range(start, len(data)):
        if filler and data[length:] == filler * (len(data) - length):
            continue
        torn = disk.copy()
        torn.files[FIRST].cache = data[:length] + filler * (len(data) - length)
        assert reopen(torn) == shorter
        assert torn.read(FIRST) == torn.files[FIRST].durable == data[:start]
        assert torn.read(FIRST) == data[:start]


def test_zeros_ahead_are_a_clean_end() -> None:
    disk, whole = small_log()
    data = disk.read(FIRST)
    disk.files[FIRST].cache += bytes(5000)
    wal, replay = Wal.open(disk, ME, lambda group: [])
    assert (replay, wal.torn, disk.read(FIRST)) == (whole, 0, data)


def test_bytes_of_another_segment_or_disk_are_not_valid() -> None:
    """Left there by a former file, a batch must not come back to life."""
    disk, whole = small_log()
    data = disk.read(FIRST)
    other = MemoryDisk()
    Wal.open(other, ME._replace(disk=0xD2), lambda group: [])
    start = len(other.read(FIRST))
    other.files[FIRST].cache += data[start:]
    assert reopen(other) == {}
    twice = disk.copy()
    twice.files[FIRST].cache = data[:-BATCH_SIZE] + data[start:-BATCH_SIZE]
    assert reopen(twice) == whole, "a batch is valid only behind the one it was written behind"


# Identity and versions.


def test_another_cluster_or_member_is_refused() -> None:
    disk, whole = small_log()
    before = contents(disk)
    for wrong in (ME._replace(cluster=0xC2), ME._replace(member=0xA2)):
        with pytest.raises(WrongIdentity, match=r"identity belongs to .* 00000000000000.1, and this is"):
            Wal.open(disk, wrong, lambda group: [])
    assert contents(disk) == before
    wal, replay = Wal.open(disk, ME._replace(disk=0xD2), lambda group: [])
    assert wal.identity == ME, "the disk keeps the id it was given at first"
    assert replay == whole


def test_a_segment_of_another_disk_is_refused() -> None:
    disk, _ = small_log()
    other = MemoryDisk()
    Wal.open(other, ME._replace(disk=0xD2), lambda group: [])
    other.files[FIRST] = disk.files[FIRST]
    with pytest.raises(WrongIdentity, match=f"{FIRST} belongs to disk 00000000000000d1"):
        Wal.open(other, ME, lambda group: [])


def test_a_log_without_its_identity_is_refused() -> None:
    disk, _ = small_log()
    del disk.files["identity"]
    before = contents(disk)
    with pytest.raises(Corruption, match="identity is missing"):
        reopen(disk)
    assert contents(disk) == before


def test_each_flipped_bit_of_the_identity_is_noticed() -> None:
    disk, _ = small_log()
    data = disk.read("identity")
    for offset in range(len(data)):
        damaged = disk.copy()
        damaged.files["identity"].cache = data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]
        with pytest.raises(Corruption, match="identity, offset 0"):
            read_identity(damaged)


def test_a_newer_log_is_refused_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(segment, "FORMAT", 2)
        disk, _ = small_log()
    before = contents(disk)
    with pytest.raises(
        NewerFormat, match=f"{FIRST} has format 2, and this version of Ostraka knows 1: start the newer"
    ):
        reopen(disk)
    assert contents(disk) == before


def test_a_newer_identity_is_refused_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("ostraka.storage.identity.FORMAT", 2)
        disk, _ = small_log()
    before = contents(disk)
    with pytest.raises(NewerFormat, match="identity has format 2, and this version of Ostraka knows 1"):
        reopen(disk)
    assert contents(disk) == before


# Failures, release, group commit.


@pytest.mark.parametrize("point", ["wal.batch", "wal.segment", "wal.name"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_after_a_failed_sync_the_log_is_dead(point: str, number: int) -> None:
    host, disk = Host(), MemoryDisk()
    host.start(disk)
    while len(disk.read(FIRST)) < SEGMENT:
        host.put(1)
        host.wal.sync(host.synced)
        disk.run()
    promised = dict(host.promised_entries)
    disk.failing[point] = OSError(number, "the disk says no")
    told: list[tuple[int, OSError | None]] = []
    host.put(1)
    host.wal.sync(lambda durable, error: told.append((durable, error)))
    host.put(2)
    host.wal.sync(lambda durable, error: told.append((durable, error)))
    disk.run()
    assert [error.errno if error else 0 for _, error in told] == [number, number]
    assert told[0][0] == promised[1]
    disk.failing.clear()
    with pytest.raises(StorageError, match="the disk says no"):
        host.wal.append(1, b"more")
    with pytest.raises(StorageError, match="the disk says no"):
        host.wal.sync(host.synced)
    host.start(disk.after("power cut", Random(1)))
    assert host.promised_entries[1] >= promised[1]


def test_a_failed_removal_ends_it_too() -> None:
    host, disk = Host(), MemoryDisk()
    host.start(disk)
    disk.failing["wal.removal"] = OSError(errno.EIO, "the disk says no")
    for _ in range(12):
        host.put(1, 60)
        host.wal.sync(host.synced)
        disk.run()
    host.release(1)
    disk.run()
    with pytest.raises(StorageError, match="the disk says no"):
        host.wal.append(1, b"more")


def test_one_sync_covers_all_that_gathers_meanwhile() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk, ME, lambda group: [])
    told: list[int] = []
    before = len(disk.synced)
    for number in range(1, 6):
        assert wal.append(1, b"x", number) == number
        wal.sync(lambda durable, error: told.append(durable))
        assert told == [], "never from inside"
    disk.run()
    assert told == [1, 5, 5, 5, 5]
    assert disk.synced[before:] == ["wal.batch", "wal.batch"]
    wal.sync(lambda durable, error: told.append(durable))
    disk.run()
    assert told[5:] == [5], "a sync of nothing is answered as well"


def test_segments_go_when_every_group_has_released_them() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk, ME, lambda group: [b"vote of %d" % group], SEGMENT)

    def fill(group: int, marks: range) -> None:
        for mark in marks:
            wal.append(group, b"x" * 100, mark)
            wal.sync(lambda durable, error: None)
            disk.run()

    def segments() -> list[int]:
        return [int(name[4:]) for name in disk.names() if name.startswith("wal-")]

    wal.append(2, b"vote of 2")
    fill(2, range(1, 2))
    fill(1, range(1, 8))
    assert segments() == [1, 2, 3, 4]
    wal.release(1, 100)
    disk.run()
    assert segments() == [1, 2, 3, 4], "group 2 needs an entry in the first"
    wal.release(2, 1)
    disk.run()
    assert segments() == [1, 2, 3, 4]
    wal.release(2, 2)
    disk.run()
    assert segments() == [4], "the current one stays"
    assert [point for point in disk.synced if point == "wal.removal"] == ["wal.removal"] * 3, "one at a time"
    replay = reopen(disk.after("power cut", Random(1)))
    assert replay[2] == [(b"vote of 2", 0)], "carried forward, though the group was silent since"


def test_the_bytes_of_a_log() -> None:
    """A change of the format must be meant: then FORMAT changes too."""
    disk, _ = small_log(batches=1, mark=False)
    assert disk.read(FIRST).hex() == "".join(GOLDEN_LOG).replace(" ", ""), disk.read(FIRST).hex(" ", 8)
    assert disk.read("identity") == (
        b"ostraka identity 1\ncluster 00000000000000c1\nmember 00000000000000a1\ndisk 00000000000000d1\n"
        b"crc32c 1f1ad1a0\n"
    )
    assert len(disk.read(FIRST)) == HEADER_SIZE + 2 * BATCH_SIZE + 2 * RECORD_SIZE + len(b"entry 1vote 1")


GOLDEN_LOG = (
    "4f5354524157414c 01000000 c1a60899",  # The magic, the version and their checksum,
    "c100000000000000 a100000000000000 d100000000000000",  # cluster, member, disk,
    "0100000000000000 0100000000000000",  # segment number, first sequence number,
    "0000000000000000 00000000 4e63f175",  # end and checksum of the segment before; checksum.
    "42544348 00000000 0000000000000000",  # A batch of nothing: nothing was carried in.
    "0100000000000000 0000000000000000 4e63f175 775f8074",  # First, durable; checksum before; checksum.
    "42544348 02000000 4500000000000000",  # A batch of two records, 69 bytes long.
    "0100000000000000 0000000000000000 775f8074 15af6045",
    "c95d1cee 07000000 07000000 0100000000000000 0100000000000000",  # Checksum, group, length, mark, sequence.
    "656e7472792031",  # "entry 1"
    "5c9840f7 08000000 06000000 0000000000000000 0200000000000000",
    "766f74652031",  # "vote 1"
)
