"""A disk in memory that a crash may leave in any state which an unsynced disk can be in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Literal

from ostraka.storage.disk import Done, Loaded

Crash = Literal["power cut", "kill"]


class Crashed(Exception):
    """The process is gone."""


class Inode:
    """`cache` is what a reader sees; `durable` what was synced."""

    def __init__(self, data: bytes = b"") -> None:
        self.cache = data
        self.durable = data


class MemoryFile:
    def __init__(self, disk: MemoryDisk, name: str, inode: Inode) -> None:
        self.disk = disk
        self.name = name
        self.inode = inode
        disk.open_files += 1

    def append(self, data: bytes) -> None:
        self.disk.step(f"append {self.name}")
        self.inode.cache += data

    def sync(self, done: Done, point: str) -> None:
        self.disk.later(partial(self._sync, point), done, point)

    def flush(self, point: str) -> None:
        self.disk.now(partial(self._sync, point), point)

    def close(self) -> None:
        self.disk.open_files -= 1

    def _sync(self, point: str) -> None:
        if point != self.disk.omitted:
            self.inode.durable = self.inode.cache


class MemoryDisk:
    """Raises Crashed at step `crash_at`; `failing` syncs at the points it maps to errors; skips `omitted`."""

    def __init__(self, omitted: str = "", crash_at: int = 0) -> None:
        self.files: dict[str, Inode] = {}
        self.durable_files: dict[str, Inode] = {}
        self.metadata: list[Callable[[dict[str, Inode]], None]] = []  # Done in `files`, not yet in `durable_files`.
        self.waiting: list[Callable[[], None]] = []
        self.open_files = 0
        self.omitted = omitted
        self.crash_at = crash_at
        self.failing: dict[str, OSError] = {}
        self.steps: list[str] = []
        self.synced: list[str] = []

    # The contract.

    def create(self, name: str, size: int = 0) -> MemoryFile:
        inode = Inode()
        self._change(f"create {name}", lambda files: files.update({name: inode}))
        return MemoryFile(self, name, inode)

    def open(self, name: str, at: int, size: int = 0) -> MemoryFile:
        self.step(f"open {name}")
        inode = self.files[name]
        inode.cache = inode.cache[:at]
        return MemoryFile(self, name, inode)

    def read(self, name: str, size: int = -1) -> bytes:
        content = self.files[name].cache
        return content if size < 0 else content[:size]

    def load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        def finish() -> None:
            if name in self.files:
                done(self.files[name].cache[offset : offset + size], None)
            else:
                done(b"", FileNotFoundError(name))

        self.waiting.append(finish)

    def names(self) -> list[str]:
        return sorted(self.files)

    def rename(self, old: str, new: str) -> None:
        inode = self.files[old]

        def change(files: dict[str, Inode]) -> None:
            files.pop(old, None)
            files[new] = inode

        self._change(f"rename {old} {new}", change)

    def remove(self, name: str) -> None:
        self._change(f"remove {name}", lambda files: files.pop(name, None))

    def sync_dir(self, done: Done, point: str) -> None:
        self.later(partial(self._sync_dir, point, list(self.metadata)), done, point)

    def flush_dir(self, point: str) -> None:
        self.now(partial(self._sync_dir, point, list(self.metadata)), point)

    # What happens to it.

    def run(self) -> None:
        """Finish what is in flight, and what that begins."""
        while self.waiting:
            self.waiting.pop(0)()

    def step(self, what: str) -> None:
        """One moment at which a crash can happen."""
        self.steps.append(what)
        if len(self.steps) == self.crash_at:
            raise Crashed(what)

    def now(self, effect: Callable[[], None], point: str) -> None:
        self.step(f"before {point}")
        if point in self.failing:
            raise self.failing[point]
        effect()
        self.synced.append(point)
        self.step(f"after {point}")

    def later(self, effect: Callable[[], None], done: Done, point: str) -> None:
        def finish() -> None:
            try:
                self.now(effect, point)
            except OSError as error:
                done(error)
            else:
                done(None)

        self.waiting.append(finish)

    def after(self, crash: Crash, dice: Random) -> MemoryDisk:
        """The disk as the next process may find it."""
        found = MemoryDisk(self.omitted)
        if crash == "kill":
            found.files, found.durable_files, found.metadata = self.files, self.durable_files, list(self.metadata)
            return found
        files = dict(self.durable_files)
        for change in self.metadata:
            if dice.getrandbits(1):
                change(files)
        for name in sorted(files):
            inode = files[name]
            found.files[name] = Inode(_torn(inode.durable, inode.cache, dice))
        found.durable_files = dict(found.files)
        return found

    def copy(self) -> MemoryDisk:
        """Another disk with the same content, all of it durable."""
        other = MemoryDisk()
        other.files = {name: Inode(inode.cache) for name, inode in self.files.items()}
        other.durable_files = dict(other.files)
        return other

    def _change(self, what: str, change: Callable[[dict[str, Inode]], None]) -> None:
        self.step(what)
        change(self.files)
        self.metadata.append(change)

    def _sync_dir(self, point: str, metadata: list[Callable[[dict[str, Inode]], None]]) -> None:
        if point != self.omitted:
            for change in metadata:
                if change in self.metadata:
                    change(self.durable_files)
                    self.metadata.remove(change)


def _torn(old: bytes, new: bytes, dice: Random) -> bytes:
    """Of what was not synced: nothing, all, a beginning, or any of its sectors."""
    how = dice.getrandbits(2)
    if how == 0 or old == new:
        return old
    if how == 1:
        return new
    if how == 2:
        return new[: len(old) + dice.randrange(abs(len(new) - len(old)) + 1)]
    size = (1, 7, 64, 512)[dice.getrandbits(2)]
    end = max(len(old), len(new))
    before, after = old.ljust(end, b"\0"), new.ljust(end, b"\0")
    sectors = [(after if dice.getrandbits(1) else before)[at : at + size] for at in range(0, end, size)]
    return b"".join(sectors)
