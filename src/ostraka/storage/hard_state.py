"""A second copy of what a member may never forget, beside the write-ahead log: each group's hard state.

The log holds it too, and both must be durable before anything is said that rests upon it. So when bytes of the log are
damaged, this still tells which terms and votes were promised, and when this is damaged, the log does. It changes only
with a term or a vote, and is then written anew, whole: the file is either one whole version or damaged, never torn.

It also says of a group that refills its log (see `consensus.raft.refill`) what was damaged.
"""

from __future__ import annotations

from typing import Final

import google_crc32c
import msgspec

from ostraka.errors import Corruption, NewerFormat
from ostraka.model.ids import GroupId
from ostraka.storage.disk import Disk, Done
from ostraka.storage.identity import Identity

FILE: Final = "hard-state"
FORMAT: Final = 1
SYNC_POINTS: Final = ("hard-state.content", "hard-state.name")
_NEW: Final = "new.hard-state"
_HEAD: Final = b"ostraka hard-state "


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """Of one group."""

    records: tuple[bytes, ...] = ()  # As in the log.
    refills: bool = True  # Its engine can get a damaged log back. (Of one that can't, no records are kept.)
    refilling: str = ""  # The group refills its log, since this was damaged: file, offset and what is wrong there.


class _Content(msgspec.Struct, frozen=True, array_like=True):
    disk: int  # The id of the disk that it belongs to: a file from elsewhere promises nothing here.
    groups: dict[GroupId, Kept]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


class HardStates:
    """Those of all groups of a process, as they were when it last ran, and as they are to be kept."""

    def __init__(self, disk: Disk) -> None:
        """Reads the file, and writes nothing. Raises NewerFormat, OSError; a damaged file is told by `damage`."""
        self.groups: Final[dict[GroupId, Kept]] = {}
        self.damage = ""  # Why nothing is known, if the file is damaged or missing.
        self.dirty = False  # `groups` has what the file has not.
        self._saving = False
        self._under_way = 0  # From this number on what is durable in the log waits for the save under way;
        self._next = 0  # and from this one on for the next. 0: nothing does.
        self._disk: Final = disk
        self._owner = 0
        if FILE not in disk.names():
            self.damage = f"{FILE} is missing"
            return
        try:
            content = _read(disk.read(FILE))
        except Corruption as damage:
            self.damage = str(damage)
        else:
            self._owner = content.disk
            self.groups.update(content.groups)

    def belong(self, identity: Identity) -> None:
        """To this disk."""
        if self._owner != identity.disk:
            self.damage = self.damage or f"{FILE} is that of disk {self._owner:016x}"
            self.groups.clear()
            self._owner = identity.disk

    def keep(self, group: GroupId, kept: Kept) -> None:
        """Durable once a `save` that began afterwards is done."""
        if self.groups.get(group) != kept:
            self.groups[group] = kept
            self.dirty = True

    def waits(self, sequence: int) -> None:
        """What is now kept goes to the log under this number: from there on nothing counts before it is saved."""
        if self.dirty and not self._next:
            self._next = sequence

    def both_durable(self, upto: int) -> int:
        """The log is durable up to this number: of that, what may be relied upon."""
        return min([upto, *(first - 1 for first in (self._under_way, self._next) if first)])

    def save(self, done: Done) -> None:
        """Make durable all that is kept now, unless that is done, or under way. `done` is told later, after each save.

        What is kept meanwhile is saved next.
        """
        if self._saving or not self.dirty:
            return
        self._saving, self.dirty = True, False
        self._under_way, self._next = self._next, 0
        file = self._disk.create(_NEW)
        file.append(self._encoded())

        def written(error: OSError | None) -> None:
            file.close()
            if error is not None:
                done(error)
                return
            self._disk.rename(_NEW, FILE)
            self._disk.sync_dir(saved, "hard-state.name")

        def saved(error: OSError | None) -> None:
            if error is None:
                self._saving, self._under_way = False, 0
                self.save(done)
            done(error)

        file.sync(written, "hard-state.content")

    def flush(self) -> None:
        """`save` that blocks, for start-up. Raises OSError."""
        self.dirty = False
        file = self._disk.create(_NEW)
        file.append(self._encoded())
        file.flush("hard-state.content")
        file.close()
        self._disk.rename(_NEW, FILE)
        self._disk.flush_dir("hard-state.name")

    def _encoded(self) -> bytes:
        text = _HEAD + b"%d\n" % FORMAT + _encode(_Content(self._owner, self.groups))
        return text + b"%08x\n" % google_crc32c.value(text)


def _read(data: bytes) -> _Content:
    text, checksum = data[:-9], data[-9:]
    first, _, body = text.partition(b"\n")
    if checksum != b"%08x\n" % google_crc32c.value(text) or not first.startswith(_HEAD):
        raise Corruption(f"{FILE}, offset 0: damaged")
    version = int(first[len(_HEAD) :])
    if version > FORMAT:
        raise NewerFormat(
            f"{FILE} has format {version}, and this version of Ostraka knows {FORMAT}: start the newer version that "
            "wrote it; nothing was changed"
        )
    return _decode(body)
