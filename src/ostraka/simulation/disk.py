"""A disk that loses what was not synced, and of that only what it likes.

Follows:  the contract of `storage.disk`, and the crash model of ALICE (Pillai et al., OSDI '14): of the appends and
          the names that were not synced any part may have reached the disk, appends sector by sector.
Words:    an *inode* is a file's bytes, whatever its name is just now.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ostraka.model.ids import MILLISECOND, Dice, Duration, roll
from ostraka.storage.disk import Done, Loaded

SECTOR: Final = 512
SYNC_TIME: Final[Duration] = MILLISECOND // 4
READ_TIME: Final[Duration] = MILLISECOND // 10


class Computer(Protocol):
    """What a disk asks of the machine that it is built into."""

    def effect(self, name: str) -> None:
        """Something is about to be done. Raises `Crashed` if it never will be."""

    def after(self, delay: Duration, callback: Callable[[], None]) -> None:
        """Call in a later turn of this life."""

    def saw(self, what: str) -> None:
        """Count for the report."""


class Faults:
    """How bad the disk is now. The misfortunes set it."""

    def __init__(self) -> None:
        self.torn = False  # A crash keeps any part of what was not synced, instead of nothing.
        self.latency: Duration = SYNC_TIME  # Of a sync, at least; up to twice this.
        self.stall_permille = 0
        self.stall: Duration = 0
        self.failing_permille = 0


Operation = Callable[[dict[str, "Inode"]], None]
"""What creating, renaming or removing a file does to the directory."""


class Inode:
    """A file's bytes: what is on the disk for good, what a reader finds, and what would be if all were synced."""

    def __init__(self, size: int) -> None:
        self.size: Final = size  # How far the disk may fill ahead with zeros.
        self.durable = b""
        self.content = b""  # After a crash it may be other than `durable`: in the cache of a kernel that lives on.
        self.base = 0  # Where `pending` begins. What the content has behind it is cut off by the next sync.
        self.pending = bytearray()

    def written(self) -> int:
        """How much there would be to read if the next sync were done now."""
        return self.base + len(self.pending)

    def settle(self, end: int) -> None:
        """What was appended up to offset `end` has reached the disk."""
        kept = end - self.base
        self.durable = self.content = self.content[: self.base] + bytes(self.pending[:kept])
        self.base = end
        del self.pending[:kept]


class SimulatedDisk:
    """One machine's disk. It outlives the processes, each of which is a *life*; implements `storage.disk.Disk`."""

    def __init__(self, computer: Computer, dice: Dice) -> None:
        self.faults: Final = Faults()
        self._computer: Final = computer
        self._dice: Final = dice
        self._names: dict[str, Inode] = {}  # As the process sees them.
        self._durable_names: dict[str, Inode] = {}
        self._inherited: list[Operation] = []  # Those of an earlier life of which only the kernel's cache knows.
        self._pending: list[Operation] = []  # Operations on names since the last sync_dir.
        self._failure: OSError | None = None
        self._stalled: list[Callable[[], None]] | None = None  # Syncs that are not done before `resume`.

    def create(self, name: str, size: int = 0) -> SimulatedFile:
        self._computer.effect(f"create {name}")
        inode = Inode(size)
        self._change(lambda names: names.__setitem__(name, inode))
        return SimulatedFile(self, name, inode)

    def open(self, name: str, at: int, size: int = 0) -> SimulatedFile:
        self._computer.effect(f"open {name} at {at}")
        assert not self._pending, f"{name} opened while created, renamed or removed files are not synced"
        inode = self._existing(name)
        assert at <= len(inode.content), f"{name}: opened at {at}, behind its end {len(inode.content)}"
        if inode.content[at:].strip(b"\0"):
            self._computer.saw("a torn tail cut")
        inode.base = at
        inode.pending.clear()
        return SimulatedFile(self, name, inode)

    def read(self, name: str, size: int = -1) -> bytes:
        self._computer.effect(f"read {name}")
        assert not self._pending, f"{name} read while created, renamed or removed files are not synced"
        content = self._existing(name).content
        return content if size < 0 else content[:size]

    def load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        self._computer.effect(f"load {name} {offset}")
        self._computer.after(READ_TIME + roll(self._dice, READ_TIME), partial(self._load, name, offset, size, done))

    def _load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        try:
            inode = self._existing(name)
        except OSError as failure:
            done(b"", failure)
        else:
            self._computer.saw("entries loaded from the log")
            done(inode.content[offset : offset + size], None)

    def names(self) -> list[str]:
        self._computer.effect("names")
        assert not self._pending, "files listed while created, renamed or removed ones are not synced"
        return sorted(self._names)

    def rename(self, old: str, new: str) -> None:
        self._computer.effect(f"rename {old} {new}")
        self._change(partial(_rename, old, new, self._existing(old)))

    def remove(self, name: str) -> None:
        self._computer.effect(f"remove {name}")
        self._existing(name)
        self._change(partial(_remove, name))

    def sync_dir(self, done: Done, point: str) -> None:
        self._computer.effect(f"sync_dir {point}")
        upto = len(self._pending)
        self.perform(partial(self._sync_names, upto), done)

    def flush_dir(self, point: str) -> None:
        self._computer.effect(f"flush_dir {point}")
        self._sync_names(len(self._pending))
        self._computer.effect(f"flushed_dir {point}")

    def close(self) -> None:
        """The process ends in an orderly way. What was not synced is lost like at any other end."""

    # For who damages it.

    def durable_names(self, prefix: str) -> list[str]:
        """The files that survive whatever happens now, in order."""
        return sorted(name for name in self._durable_names if name.startswith(prefix))

    def durable(self, name: str) -> bytes:
        """What of a file survives."""
        return self._durable_names[name].durable

    def flip(self, name: str, at: int, bits: int) -> None:
        """Bit rot: nobody notices before the file is read."""
        inode = self._durable_names[name]
        inode.durable = _flipped(inode.durable, at, bits)
        if at < len(inode.content):
            inode.content = _flipped(inode.content, at, bits)

    def effect(self, name: str) -> None:
        self._computer.effect(name)

    def perform(self, job: Callable[[], None], done: Done) -> None:
        """Do `job` after a sync's time, unless the process dies before, and tell how it went."""
        faults = self.faults
        delay = faults.latency + roll(self._dice, faults.latency)
        if faults.stall_permille and roll(self._dice, 1000) < faults.stall_permille:
            delay += roll(self._dice, faults.stall)
            self._computer.saw("a stalled sync")
        if self._stalled is not None:
            self._stalled.append(partial(self._computer.after, delay, partial(self._finish, job, done)))
        else:
            self._computer.after(delay, partial(self._finish, job, done))

    def stall(self) -> None:
        """Finish no sync that is asked for from now on."""
        if self._stalled is None:
            self._stalled = []

    def resume(self) -> None:
        """Finish what was asked for."""
        stalled, self._stalled = self._stalled, None
        for begin in stalled or ():
            begin()

    def fail(self) -> OSError | None:
        """An error of the hardware, if the dice say so."""
        permille = self.faults.failing_permille
        if permille and roll(self._dice, 1000) < permille:
            self._computer.saw("a failed sync")
            return OSError(errno.EIO, os.strerror(errno.EIO))
        return None

    def crash(self) -> None:
        """The process died, or the power went: keep what was synced, and of the rest what chance decides.

        Of that, again by chance, only the kernel may know: then it can be read, and the next crash may take it back.
        """
        if self._stalled is not None:
            self._stalled = []  # The next life meets the same disk.
        survived = self._inherited + self._pending
        if not self.faults.torn:
            survived = []
        survived = [operation for operation in survived if self._dice.getrandbits(1)]
        self._names = dict(self._durable_names)
        for operation in survived:
            operation(self._names)
        self._pending.clear()
        self._inherited = survived
        if self._dice.getrandbits(1):
            self._durable_names = dict(self._names)
            self._inherited = []
        found = [names[name] for names in (self._durable_names, self._names) for name in sorted(names)]
        for inode in {id(inode): inode for inode in found}.values():  # Each once, in an order that is always the same.
            self._crash(inode)
        self._failure = None

    def _crash(self, inode: Inode) -> None:
        if inode.base == len(inode.content) and not inode.pending and inode.content == inode.durable:
            return
        inode.content = self._torn(inode) if self.faults.torn else inode.durable
        if self.faults.torn and len(inode.content) < inode.size and self._dice.getrandbits(1):
            ahead = min(inode.size, -(-len(inode.content) // SECTOR) * SECTOR + SECTOR * roll(self._dice, 8))
            inode.content += bytes(max(0, ahead - len(inode.content)))
        if self._dice.getrandbits(1):
            inode.durable = inode.content
        inode.base = len(inode.content)
        inode.pending.clear()

    def _torn(self, inode: Inode) -> bytes:
        """Each sector of what was not synced as it was or as it was to be; a hole in it is zeros."""
        old, new = inode.durable, inode.content[: inode.base] + bytes(inode.pending)
        style = (0, 1, 2, 2, 2, 3, 3, 3)[
            roll(self._dice, 8)
        ]  # 0: nothing arrived, 1: all, 2: a beginning, 3: any part.
        if style < 2:
            return (old, new)[style]
        image = bytearray(old)
        changed = [at for at in range(0, len(new), SECTOR) if old[at : at + SECTOR] != new[at : at + SECTOR]]
        if style == 2:
            changed = changed[: roll(self._dice, len(changed) + 1)]
        for start in changed:
            if style == 2 or self._dice.getrandbits(1):
                sector = new[start : start + SECTOR]
                image.extend(bytes(max(0, start + len(sector) - len(image))))
                image[start : start + len(sector)] = sector
        return bytes(image)

    def _existing(self, name: str) -> Inode:
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._names[name]

    def _change(self, operation: Operation) -> None:
        operation(self._names)
        self._pending.append(operation)

    def _sync_names(self, upto: int) -> None:
        self._failure = self._failure or self.fail()
        if self._failure is not None:
            raise self._failure
        for operation in self._inherited + self._pending[:upto]:
            operation(self._durable_names)
        self._inherited.clear()
        del self._pending[:upto]

    def _finish(self, job: Callable[[], None], done: Done) -> None:
        try:
            job()
        except OSError as failure:
            done(failure)
        else:
            done(None)


class SimulatedFile:
    """Implements `storage.disk.File`."""

    def __init__(self, disk: SimulatedDisk, name: str, inode: Inode) -> None:
        self._disk: Final = disk
        self._name: Final = name
        self._inode: Final = inode
        self._busy = False
        self._closed = False
        self._failure: OSError | None = None

    def append(self, data: bytes) -> None:
        self._disk.effect(f"append {self._name} {len(data)}")
        self._inode.pending += data

    def sync(self, done: Done, point: str) -> None:
        self._disk.effect(f"sync {self._name} {point}")
        assert not self._busy and not self._closed, f"{self._name}: one sync at a time, and none after close"
        self._busy = True
        self._disk.perform(partial(self._settle, self._inode.written()), partial(self._synced, done))

    def flush(self, point: str) -> None:
        self._disk.effect(f"flush {self._name} {point}")
        assert not self._busy and not self._closed, f"{self._name}: flushed while a sync is under way, or closed"
        self._settle(self._inode.written())
        self._disk.effect(f"flushed {self._name} {point}")

    def close(self) -> None:
        self._closed = True

    def _settle(self, end: int) -> None:
        self._failure = self._failure or self._disk.fail()
        if self._failure is not None:
            raise self._failure
        self._inode.settle(end)

    def _synced(self, done: Done, failure: OSError | None) -> None:
        self._busy = False
        done(failure)


def _flipped(data: bytes, at: int, bits: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def _remove(name: str, names: dict[str, Inode]) -> None:
    names.pop(name, None)


def _rename(old: str, new: str, inode: Inode, names: dict[str, Inode]) -> None:
    """The new name is for that file, even where its creation under the old one was lost."""
    names[new] = inode
    if names.get(old) is inode:
        del names[old]
