"""The bytes of the write-ahead log: what is damaged is told from what is torn, and what is wrong is left alone."""

from __future__ import annotations

import errno
from random import Random

import google_crc32c
import pytest

from ostraka.errors import Corruption, NewerFormat, StorageError, WrongIdentity
from ostraka.storage import segment
from ostraka.storage.identity import read_identity
from ostraka.storage.segment import BATCH_SIZE, HEADER_SIZE, RECORD_SIZE
from ostraka.storage.wal import Replay, Wal, require_known_format

from .log_user import ME, SEGMENT, LogUser
from .memory_disk import Crashed, MemoryDisk

FIRST = "wal-0000000000000001"


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
    host = LogUser()
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
    host = LogUser()
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


def test_a_batch_of_another_past_is_not_valid() -> None:
    """The same place, the same sequence numbers; but what came before it was something else."""
    disk, whole = small_log(batches=2, mark=False)
    other = MemoryDisk()
    wal, _ = Wal.open(other, ME, lambda group: [])
    for number in range(1, 3):
        wal.append(7, b"other %d" % number, number)
        wal.append(8, b"vote %d" % number)
        wal.sync(lambda durable, error: None)
        other.run()
    data, theirs = disk.read(FIRST), other.read(FIRST)
    assert len(data) == len(theirs)
    last = BATCH_SIZE + 2 * RECORD_SIZE + len(b"entry 2vote 2")
    disk.files[FIRST].cache = data[:-last] + theirs[-last:]
    assert reopen(disk) == {group: records[:1] for group, records in whole.items()}


def test_a_damaged_mark_is_noticed_once_a_batch_follows() -> None:
    disk, _ = small_log()
    mark = len(disk.read(FIRST)) - BATCH_SIZE
    wal, _ = Wal.open(disk, ME, lambda group: [])
    wal.append(7, b"entry 4", 4)
    wal.sync(lambda durable, error: None)
    disk.run()
    data = bytearray(disk.read(FIRST))
    data[mark] ^= 1
    disk.files[FIRST].cache = bytes(data)
    with pytest.raises(Corruption, match=f"{FIRST}, offset {mark}, sequence 7"):
        reopen(disk)


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
    host, disk = LogUser(), MemoryDisk()
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
    host, disk = LogUser(), MemoryDisk()
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
    assert disk.open_files == 1, "the current segment"
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


def test_a_damaged_log_is_set_aside_for_a_new_one() -> None:
    disk, _ = small_log()
    data = disk.read(FIRST)
    for round_ in range(2):
        disk.files[FIRST].cache = damaged = data[:200] + bytes([data[200] ^ 1]) + data[201:]
        with pytest.raises(Corruption):
            reopen(disk)
        Wal.renew(disk, lambda group: []).close()
        assert reopen(disk) == {}
        assert disk.read("damaged-" + FIRST) == damaged, f"round {round_}"
        assert [name for name in disk.names() if name.startswith("damaged-")] == ["damaged-" + FIRST]


def test_whatever_a_crash_leaves_of_a_renewal_is_a_run_of_the_old_log_or_refused() -> None:
    """An end of the old log looks like one whose first segments were released."""
    disk = MemoryDisk()
    host = LogUser()
    host.start(disk)
    for _ in range(12):
        host.put(1, 50)
        host.wal.sync(host.synced)
        disk.run()
    whole = reopen(disk.copy())[1]
    runs = refused = 0
    for seed in range(200):
        other = disk.copy()
        other.crash_at = seed % 25
        try:
            Wal.renew(other, lambda group: [], again=True)
        except Crashed:
            other = other.after("power cut" if seed % 2 else "kill", Random(seed))
        other.crash_at = 0
        try:
            found = reopen(other).get(1, [])
        except Corruption:
            refused += 1
        else:
            assert any(found == whole[at : at + len(found)] for at in range(len(whole) + 1)), f"seed {seed}"
            runs += 1
    assert runs and refused


def test_a_segment_that_the_disk_can_not_read_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, _ = small_log()
    read = disk.read

    def failing(name: str, size: int = -1) -> bytes:
        if name == FIRST:
            raise OSError(errno.EIO, "Input/output error")
        return read(name, size)

    monkeypatch.setattr(disk, "read", failing)
    with pytest.raises(Corruption, match=f"{FIRST}, offset 0: can't be read"):
        reopen(disk)


def test_a_newer_format_is_known_before_anything_is_opened() -> None:
    disk, _ = small_log()
    require_known_format(disk)
    data = disk.read(FIRST)
    disk.files[FIRST].cache = b"damaged" + data[7:]
    require_known_format(disk)
    head = data[:8] + (99).to_bytes(4, "little")
    disk.files[FIRST].cache = head + google_crc32c.value(head).to_bytes(4, "little") + data[16:]
    with pytest.raises(NewerFormat, match="has format 99"):
        require_known_format(disk)
