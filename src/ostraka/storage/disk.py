"""The files of one data directory, under a contract that a simulated disk can keep as well.

What is appended stays in user memory until a sync hands it to the one thread that writes it, and so does the
creation, renaming or removal of a file until the directory is synced. Nothing reaches the kernel before somebody
asked for its durability: `kill -9` of the process loses what a power cut would lose, and tests may use the one
for the other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

from ostraka.errors import DirectoryInUse

Done = Callable[[OSError | None], None]
"""Told, later and from the loop, that something became durable, or why it did not."""

Loaded = Callable[[bytes, OSError | None], None]
"""Told, later and from the loop, what was read, or why it could not be."""

Post = Callable[[Callable[[], None]], object]
"""Runs a callback in the loop; may be called from any thread (`loop.call_soon_threadsafe`)."""

Observe = Callable[[str, float], None]
"""Told in the loop, after each sync: the sync point and the seconds it took."""


class File(Protocol):
    """A file that only grows."""

    def append(self, data: bytes) -> None:
        """Add to the end, in order; volatile until synced."""

    def sync(self, done: Done, point: str) -> None:
        """Make all that was appended before durable; one at a time. After a failure every later one fails too.

        `point` names the sync, for metrics and for tests that leave one out. `done` is never called from inside.
        """

    def flush(self, point: str) -> None:
        """`sync` that blocks, for start-up. Raises OSError."""

    def close(self) -> None:
        """What was not synced is lost."""


class Disk(Protocol):
    """One flat directory. A file survives a power cut once it *and* the directory were synced after its creation."""

    def create(self, name: str, size: int = 0) -> File:
        """A new, empty file, in place of any of that name.

        `size` is where it will probably end: up to there zeros may be written ahead, since overwriting syncs faster
        than growing. A reader then sees zeros behind the end.
        """

    def open(self, name: str, at: int, size: int = 0) -> File:
        """Append from offset `at` on; what follows is cut off by the next sync, even if nothing was appended."""

    def read(self, name: str, size: int = -1) -> bytes:
        """The whole file, or its first `size` bytes. Raises OSError.

        As `open` and `names` for start-up: all metadata must be synced.
        """

    def load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        """Read so many bytes from there on, less at the file's end, beside whatever is being synced.

        What was appended must have been synced. `done` is never called from inside.
        """

    def names(self) -> list[str]:
        """The files there are, sorted."""

    def rename(self, old: str, new: str) -> None:
        """Replaces `new`."""

    def remove(self, name: str) -> None: ...

    def sync_dir(self, done: Done, point: str) -> None:
        """Make the creations, renamings and removals before durable; their errors are told here."""

    def flush_dir(self, point: str) -> None:
        """`sync_dir` that blocks, for start-up. Raises OSError."""


LOCK: Final = "LOCK"
_AHEAD: Final = 1 << 20  # Zeros are written this far ahead: one sync in many takes a millisecond longer.
_ZEROS: Final = bytes(_AHEAD)


class ThreadDisk:
    """The real disk. One thread does all writing, in the order in which it was asked for, and another reads."""

    def __init__(self, path: str | os.PathLike[str], post: Post, observe: Observe | None = None) -> None:
        """Makes the directory `path` if it is missing, and locks it. Raises DirectoryInUse, OSError."""
        self.path: Final = Path(path).absolute()
        make_directories(self.path)
        self._lock: Final = _lock(self.path)
        self.directory: Final = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self._post: Final = post
        self._observe: Final = observe
        self._metadata: list[Callable[[], None]] = []  # Gathered here until the directory is synced.
        self._failure: OSError | None = None  # Of the directory. Belongs to the thread, as do the three below.
        self._jobs: Final[SimpleQueue[Callable[[], None] | None]] = SimpleQueue()
        self._reads: Final[SimpleQueue[Callable[[], None] | None]] = SimpleQueue()
        self._threads: Final = [
            threading.Thread(target=_work, args=(jobs,), name=name, daemon=True)
            for jobs, name in ((self._jobs, "ostraka-disk"), (self._reads, "ostraka-disk-reads"))
        ]
        for thread in self._threads:
            thread.start()

    def create(self, name: str, size: int = 0) -> File:
        file = _ThreadFile(self, name, 0, size)
        self._metadata.append(file.create)
        return file

    def open(self, name: str, at: int, size: int = 0) -> File:
        self._settled()
        file = _ThreadFile(self, name, at, size)
        file.reopen()
        return file

    def read(self, name: str, size: int = -1) -> bytes:
        self._settled()
        with (self.path / name).open("rb") as file:
            return file.read(size)

    def load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        self._reads.put(partial(self._load, name, offset, size, done))

    def names(self) -> list[str]:
        self._settled()
        return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file() and entry.name != LOCK)

    def rename(self, old: str, new: str) -> None:
        directory = self.directory
        self._metadata.append(partial(os.rename, old, new, src_dir_fd=directory, dst_dir_fd=directory))

    def remove(self, name: str) -> None:
        self._metadata.append(partial(os.unlink, name, dir_fd=self.directory))

    def sync_dir(self, done: Done, point: str) -> None:
        metadata, self._metadata = self._metadata, []
        self.submit(partial(self._sync_metadata, metadata), done, point)

    def flush_dir(self, point: str) -> None:
        metadata, self._metadata = self._metadata, []
        self.run(partial(self._sync_metadata, metadata))

    def close(self) -> None:
        """Waits for what was handed to the thread, and unlocks the directory. The rest is lost."""
        for jobs in (self._jobs, self._reads):
            jobs.put(None)
        for thread in self._threads:
            thread.join()
        os.close(self.directory)
        os.close(self._lock)

    def submit(self, job: Callable[[], None], done: Done, point: str) -> None:
        """Run `job` on the thread, then `done` in the loop."""
        self._jobs.put(partial(self._work_on, job, done, point))

    def run_later(self, job: Callable[[], None]) -> None:
        """Run `job`, which can't fail, on the thread after all that was asked for before."""
        self._jobs.put(job)

    def run(self, job: Callable[[], None]) -> None:
        """Run `job` on the thread, and wait for it. Raises its OSError."""
        outcome: Future[None] = Future()
        self._jobs.put(partial(_fulfil, outcome, job))
        outcome.result()

    def _settled(self) -> None:
        assert not self._metadata, f"{self.path}: read while created, renamed or removed files are not synced"

    def _work_on(self, job: Callable[[], None], done: Done, point: str) -> None:
        failure: OSError | None = None
        start = time.perf_counter()
        try:
            job()
        except OSError as error:
            failure = error
        seconds = time.perf_counter() - start
        try:
            self._post(partial(self._finish, done, failure, point, seconds))
        except RuntimeError:
            return  # The loop is closed, so nobody is left who could be told.

    def _load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        data, failure = b"", None
        try:
            data = _read_at(self.path / name, offset, size)
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # The loop is closed, so nobody is left who could be told.
            self._post(partial(done, data, failure))

    def _finish(self, done: Done, failure: OSError | None, point: str, seconds: float) -> None:
        if self._observe is not None:
            self._observe(point, seconds)
        done(failure)

    def _sync_metadata(self, metadata: list[Callable[[], None]]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            for operation in metadata:
                operation()
            _fsync_directory(self.directory)
        except OSError as error:
            self._failure = error
            raise


class _ThreadFile:
    """A file of a ThreadDisk: its first four fields belong to the loop, the others to the thread."""

    def __init__(self, disk: ThreadDisk, name: str, at: int, size: int) -> None:
        self._disk: Final = disk
        self._gathered: list[bytes] = []
        self._busy = False
        self._closed = False
        self._name: Final = name
        self._descriptor = -1
        self._held = bytearray()  # Synced before the file's creation was, and kept here until then.
        self._last = False  # Nothing more will come.
        self._cut = False  # What follows the end has still to be cut off.
        self._end = at
        self._zeroed = at
        self._size: Final = size
        self._failure: OSError | None = None

    def append(self, data: bytes) -> None:
        self._gathered.append(data)

    def sync(self, done: Done, point: str) -> None:
        write = self._handed_over()
        self._busy = True
        self._disk.submit(write, partial(self._synced, done), point)

    def flush(self, point: str) -> None:
        self._disk.run(self._handed_over())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._disk.run_later(self._close)

    def reopen(self) -> None:
        """Open the existing file. Called before the thread knows of it."""
        self._descriptor = os.open(self._disk.path / self._name, os.O_RDWR | os.O_CLOEXEC)
        self._cut = True

    def _handed_over(self) -> Callable[[], None]:
        assert not self._busy and not self._closed, f"{self._name}: one sync at a time, and none after close"
        data = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered.clear()
        return partial(self._write, data)

    def _synced(self, done: Done, failure: OSError | None) -> None:
        self._busy = False
        done(failure)

    def create(self) -> None:
        """The creation itself, on the thread, when the directory is synced."""
        directory = self._disk.directory
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._name, flags, 0o600, dir_fd=directory)
        held, self._held = bytes(self._held), bytearray()
        if held:
            self._write(held)
        if self._last:
            self._close()

    def _write(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        if self._descriptor < 0:
            self._held += data
            return
        try:
            if self._cut:
                os.ftruncate(self._descriptor, self._end)
                self._cut = False
            _write_all(self._descriptor, data, self._end)
            self._end += len(data)
            if self._zeroed < self._end:
                self._zeroed = max(self._end, min(self._size, self._end + _AHEAD))
                _write_all(self._descriptor, _ZEROS[: self._zeroed - self._end], self._end)
            _fsync(self._descriptor)
        except OSError as error:
            self._failure = error  # What the kernel holds now is unknown, so nothing may build upon it.
            raise

    def _close(self) -> None:
        self._last = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _read_at(path: Path, offset: int, size: int) -> bytes:
    """What is there, at most `size` bytes. Raises OSError."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    written = os.pwrite(descriptor, data, offset) if data else 0
    while written < len(data):
        more = os.pwrite(descriptor, memoryview(data)[written:], offset + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def _fsync(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # There fsync stops at the drive's cache.
    else:
        os.fdatasync(descriptor)


def _fsync_directory(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)  # To fdatasync, a new entry need not be data.


def _fulfil(outcome: Future[None], job: Callable[[], None]) -> None:
    try:
        job()
    except OSError as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)


def make_directories(path: Path) -> None:
    """Make `path` and what is missing above it, each durably: a directory that vanishes takes the data along."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _fsync_directory(parent)
    finally:
        os.close(parent)


def _lock(path: Path) -> int:
    """Hold the directory against other processes; the kernel lets go when we die."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder else "another process"
        raise DirectoryInUse(f"{path} is in use by {who}; stop it, or choose another data directory") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor
