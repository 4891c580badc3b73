"""The real disk keeps the contract of the simulated ones, and a kill loses what a power cut would."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from ostraka.errors import DirectoryInUse
from ostraka.storage.disk import Done, ThreadDisk
from ostraka.storage.identity import Identity
from ostraka.storage.wal import Wal


class Loop:
    """Runs what the disk posts, when asked."""

    def __init__(self) -> None:
        self.posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.observed: list[str] = []

    def wait(self, begin: Callable[[Done], None]) -> OSError | None:
        told: list[OSError | None] = []
        begin(told.append)
        assert told == [], "done must never be called from inside"
        self.posted.get(timeout=60)()
        assert len(told) == 1
        return told[0]

    def observe(self, point: str, seconds: float) -> None:
        assert seconds >= 0
        self.observed.append(point)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def disk(tmp_path: Path, loop: Loop) -> Iterator[ThreadDisk]:
    made = ThreadDisk(tmp_path / "not" / "there", loop.posted.put, loop.observe)
    yield made
    made.close()


def test_nothing_reaches_the_kernel_before_its_sync(disk: ThreadDisk, loop: Loop) -> None:
    file = disk.create("a")
    file.append(b"one")
    assert loop.wait(lambda done: file.sync(done, "data")) is None
    file.append(b"two")
    assert os.listdir(disk.path) == ["LOCK"], "the directory was not synced"
    assert loop.wait(lambda done: disk.sync_dir(done, "name")) is None
    assert (disk.path / "a").read_bytes() == b"one", "what was not synced is not there"
    file.append(b"three")
    assert loop.wait(lambda done: file.sync(done, "data")) is None
    assert disk.read("a") == b"onetwothree"
    disk.rename("a", "b")
    assert (disk.path / "a").exists()
    disk.flush_dir("name")
    assert disk.names() == ["b"]
    disk.remove("b")
    assert (disk.path / "b").exists()
    disk.flush_dir("name")
    assert disk.names() == []
    file.close()
    assert loop.observed == ["data", "name", "data"]


def test_reading_goes_on_beside_a_sync(disk: ThreadDisk, loop: Loop) -> None:
    file = disk.create("a", 1000)
    disk.flush_dir("name")
    file.append(b"durable")
    file.flush("data")
    stalled = threading.Event()
    disk.submit(lambda: stalled.wait(60) and None, lambda error: None, "stalled")
    told: list[tuple[bytes, OSError | None]] = []
    for offset, size in ((2, 3), (5, 2000), (0, 0)):
        disk.load("a", offset, size, lambda data, error: told.append((data, error)))
    disk.load("b", 0, 1, lambda data, error: told.append((data, error)))
    assert told == []
    for _ in range(4):
        loop.posted.get(timeout=60)()
    stalled.set()
    assert [data.rstrip(b"\0") for data, _ in told] == [b"rab", b"le", b"", b""]
    assert isinstance(told[3][1], FileNotFoundError) and told[0][1] is None


def test_a_file_takes_the_place_of_another(disk: ThreadDisk) -> None:
    for content in (b"long content", b"short"):
        file = disk.create("new")
        file.append(content)
        file.flush("data")
        file.close()
        disk.rename("new", "a")
        disk.flush_dir("name")
    assert disk.read("a") == b"short"
    again = disk.create("a")
    disk.flush_dir("name")
    again.close()
    assert disk.read("a") == b""


def test_zeros_are_written_ahead_and_cut_off_again(disk: ThreadDisk) -> None:
    file = disk.create("a", size=2 << 20)
    disk.flush_dir("name")
    file.append(b"x" * 10)
    file.flush("data")
    assert disk.read("a") == b"x" * 10 + bytes(1 << 20)
    file.append(b"y" * (1 << 21))
    file.flush("data")
    assert disk.read("a") == b"x" * 10 + b"y" * (1 << 21), "not beyond the size that was named"
    file.close()
    cut = disk.open("a", 4)
    assert len(disk.read("a")) == 10 + (1 << 21), "nothing is cut before the sync"
    cut.flush("data")
    assert disk.read("a") == b"xxxx"
    cut.append(b"z")
    cut.flush("data")
    cut.close()
    assert disk.read("a") == b"xxxxz"


def test_short_writes_are_finished(disk: ThreadDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    file = disk.create("a")
    disk.flush_dir("name")
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, bytes(data)[:3], offset))
    file.append(b"0123456789")
    file.flush("data")
    monkeypatch.undo()
    assert disk.read("a") == b"0123456789"
    file.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_file_that_failed_takes_nothing_more(
    disk: ThreadDisk, loop: Loop, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "the disk says no")

    file, other = disk.create("a"), disk.create("b")
    disk.flush_dir("name")
    monkeypatch.setattr(os, call, fail)
    file.append(b"x")
    failure = loop.wait(lambda done: file.sync(done, "data"))
    assert failure is not None
    assert failure.errno == number
    monkeypatch.undo()
    file.append(b"y")
    assert loop.wait(lambda done: file.sync(done, "data")) is failure, "a failed sync is never tried again"
    with pytest.raises(OSError, match="the disk says no"):
        file.flush("data")
    other.append(b"z")
    assert loop.wait(lambda done: other.sync(done, "data")) is None


def test_a_full_disk_writes_nothing_and_says_so(disk: ThreadDisk, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    file = disk.create("a")
    disk.flush_dir("name")
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: 0)
    file.append(b"x")
    failure = loop.wait(lambda done: file.sync(done, "data"))
    assert failure is not None
    assert failure.errno == errno.ENOSPC


def test_a_directory_that_failed_takes_nothing_more(disk: ThreadDisk, loop: Loop) -> None:
    disk.remove("absent")
    failure = loop.wait(lambda done: disk.sync_dir(done, "name"))
    assert isinstance(failure, FileNotFoundError)
    assert loop.wait(lambda done: disk.sync_dir(done, "name")) is failure


def test_a_closed_loop_does_not_stop_the_thread(tmp_path: Path) -> None:
    def closed(callback: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    disk = ThreadDisk(tmp_path, closed)
    file = disk.create("a")
    file.append(b"x")
    file.sync(lambda error: None, "data")
    disk.flush_dir("name")
    assert disk.read("a") == b"x"
    disk.close()


def test_a_directory_in_use_is_refused(disk: ThreadDisk, loop: Loop) -> None:
    with pytest.raises(DirectoryInUse, match=f"{disk.path} is in use by process {os.getpid()}; stop it"):
        ThreadDisk(disk.path, loop.posted.put)


def test_a_closed_directory_can_be_opened_again(tmp_path: Path, loop: Loop) -> None:
    for _ in range(3):
        ThreadDisk(tmp_path, loop.posted.put).close()


_CHILD = """
import os, sys
from queue import SimpleQueue
from ostraka.storage.disk import ThreadDisk
from ostraka.storage.identity import Identity
from ostraka.storage.wal import Wal
loop = SimpleQueue()
disk = ThreadDisk(sys.argv[1], loop.put)
told = []
wal, replay = Wal.open(disk, Identity(1, 2, 3), lambda group: [b"hard"], 8192)
for number in range(wal.durable + 1, wal.durable + 101):
    assert wal.append(1, b"x" * 300, number) == number
    wal.sync(lambda durable, error: told.append((durable, error)))
    while not told or told[-1][0] < number:
        loop.get()()
wal.append(1, b"never acknowledged", number + 1)
file = disk.create("unsynced")
print(told[-1][0], len(replay.get(1, ())), flush=True)
os.read(0, 1)
"""


@pytest.mark.process
def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path, loop: Loop) -> None:
    for life in range(1, 3):
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            acknowledged = int(child.stdout.readline().split()[0])
            os.kill(child.pid, signal.SIGKILL)
        assert acknowledged == 100 * life
        disk = ThreadDisk(tmp_path, loop.posted.put)
        wal, replay = Wal.open(disk, Identity(1, 2, 9), lambda group: [], 8192)
        assert "unsynced" not in disk.names()
        assert wal.identity.disk == 3
        entries = [(payload, mark) for payload, mark in replay[1] if mark]
        assert entries == [(b"x" * 300, number) for number in range(1, acknowledged + 1)]
        wal.close()
        disk.close()
