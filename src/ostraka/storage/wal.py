"""One write-ahead log for a process, shared by its groups.

A record is durable when the sync that covers it is done; while one sync is in flight the next batch gathers (group
commit). One batch is in flight at a time, so only the last one of the last segment can be torn by a crash: it was
never acknowledged, and is cut. Anything else that is damaged was durable, and is reported as Corruption;
who knows from elsewhere what it promised may then `renew` the log.

A group gives its entries their log index as `mark`, and its other records (hard state) no mark. A segment is deleted,
the oldest first, when each group has released the marks in it; what has no mark is lost with it, so each new segment
starts with what `carry` says must stay known of each group. A record that cuts off a suffix of a group's log need not
be carried: it outlives the entries that it cuts, which stand before it.

Entries can be read back by their marks. A record takes the place of all those of its group before it whose marks are
not smaller. Where to look is kept in memory, for every 64 KiB or so of a group's records.

A sync of nothing, when all is durable, writes down that all is durable: from then on damage to the last batch can no
longer pass for a torn write. Ask for it when the log has been quiet for a while, and before a shutdown.
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from ostraka.errors import Corruption, StorageError
from ostraka.storage import identity as identities
from ostraka.storage.disk import Disk, File
from ostraka.storage.identity import Identity, read_identity, write_identity
from ostraka.storage.segment import (
    BATCH_SIZE,
    HEADER_SIZE,
    Contents,
    Header,
    Place,
    Record,
    encode_batch,
    encode_header,
    read_batches,
    read_segment,
    require_known,
)

SYNC_POINTS: Final = (
    "wal.batch",  # Records, before they are acknowledged.
    "wal.segment",  # The head of a new segment, before it gets its name.
    "wal.name",  # That name, before records go there.
    "wal.recovery",  # What is replayed, and the cut of a torn tail, before anybody acts upon it.
    "wal.recovery.name",  # The names found at a start: whoever was killed may have left them unsynced.
    "wal.removal",  # The end of one segment, before that of the next: or there might be a hole.
    *identities.SYNC_POINTS,
)
SEGMENT_SIZE: Final = 64 << 20

Replay = dict[int, list[tuple[bytes, int]]]
"""For each group the payloads and marks that it appended, in order."""

Synced = Callable[[int, OSError | None], None]
"""Told the sequence number up to which all is durable, and the error if it is not all that was asked for."""

Loaded = Callable[[list[bytes], StorageError | None], None]
"""Told the payloads that were read back, or why they could not be."""

_NEW: Final = "wal.new"
_ASIDE: Final = "damaged-"
"""What the names of segments begin with that were set aside."""
_STRIDE: Final = 64 << 10  # Bytes between the places that are kept of a group's records.


class Spot:
    """A group's records of one segment from a batch on, with marks from `mark` up to that of the next spot."""

    __slots__ = ("end", "mark", "place")

    def __init__(self, mark: int, place: Place) -> None:
        self.mark = mark  # The lowest of that batch.
        self.place = place
        self.end = place.offset  # Offset behind the last batch with records of the group.


def segment_name(number: int) -> str:
    return f"wal-{number:016d}"


class Wal:
    """See the module. After a failed sync it is dead: what the disk holds is unknown, and it takes nothing more."""

    def __init__(self, disk: Disk, identity: Identity, carry: Callable[[int], Sequence[bytes]], segment_size: int):
        """Use `open`."""
        self.identity: Final = identity
        self.durable = 0  # All up to this sequence number will survive.
        self.torn = 0  # Bytes of a torn batch that were cut at the start.
        self._disk: Final = disk
        self._carry: Final = carry
        self._segment_size: Final = segment_size
        self._segments: deque[tuple[int, dict[int, int]]] = deque()  # Number, highest mark of each group.
        self._released: dict[int, int] = {}  # Of each group known.
        self._pending: list[Record] = []
        self._last = 0  # The last sequence number given out.
        self._waiting: list[Synced] = []
        self._told: list[Synced] = []  # Those whose sync is in flight.
        self._busy = False
        self._removing = False
        self._marked = 0  # The durable mark in the last batch header.
        self._failure: OSError | None = None
        self._file: File
        self._number = self._end = self._seed = self._chain = 0  # The current segment.
        self._synced_end = 0  # Offset behind the last batch in it that is durable.
        self._spots: dict[int, list[Spot]] = {}  # Of each group, in the order of their marks and of their places.
        self._last_mark: dict[int, int] = {}

    @classmethod
    def open(
        cls, disk: Disk, wanted: Identity, carry: Callable[[int], Sequence[bytes]], segment_size: int = SEGMENT_SIZE
    ) -> tuple[Wal, Replay]:
        """The log of the directory, and what is in it. Blocks.

        A new directory is given the identity `wanted`; of another, cluster and member must be those of `wanted`, and
        its disk id is kept (`wal.identity`). `carry(group)` returns the records that a new segment must start with:
        the group's hard state, not older than what it appended last. Raises Corruption, NewerFormat, WrongIdentity,
        OSError.
        """
        identity = read_identity(disk)
        if identity is None:
            return cls._begin(disk, wanted, carry, segment_size), {}
        wanted._replace(disk=identity.disk).require(identity, identities.FILE)
        contents = _read_segments(disk, identity)
        wal = cls(disk, identity, carry, segment_size)
        return wal, wal._recover(contents)

    @classmethod
    def renew(
        cls, disk: Disk, carry: Callable[[int], Sequence[bytes]], segment_size: int = SEGMENT_SIZE, again: bool = False
    ) -> Wal:
        """A log without records in place of one that is damaged, which is set aside under other names. Blocks.

        One damaged log is kept for whoever wants to look at it: an earlier one goes, unless this was begun before and
        is done `again`. After a crash `open` finds a run of the old log without gaps, or damage. Raises OSError.
        """
        identity = read_identity(disk)
        assert identity is not None, "a directory without an identity has no log that could be damaged"
        if not again:
            for name in [name for name in disk.names() if name.startswith(_ASIDE)]:
                disk.remove(name)
            disk.flush_dir("wal.aside")
        for name in _segment_names(disk):
            disk.rename(name, _ASIDE + name)
        return cls._create(disk, identity, carry, segment_size)

    def append(self, group: int, payload: bytes, mark: int = 0) -> int:
        """Add a record to the next batch; returns its sequence number. Raises StorageError when the log is dead."""
        if self._failure is not None:
            self._refuse()
        self._pending.append((group, payload, mark))
        self._last += 1
        return self._last

    def sync(self, done: Synced) -> None:
        """Make durable all that was appended. `done` is called later, once. Raises StorageError when dead."""
        if self._failure is not None:
            self._refuse()
        self._waiting.append(done)
        if not self._busy:
            self._start()

    def load(self, group: int, first: int, last: int, size: int, done: Loaded) -> None:
        """Read back the group's records with the marks from `first` to `last`, which must be durable.

        `done` is called with the first of their payloads, about `size` bytes and at least one; with none if they were
        released meanwhile; or with Corruption, or another StorageError, if what was durable can't be read.
        """
        spots = self._spots.get(group, [])
        begin = bisect_right(spots, first, key=lambda spot: spot.mark) - 1
        if begin < 0:
            done([], None)
            return
        place, behind = spots[begin].place, begin + 1
        while (
            behind < len(spots)
            and spots[behind].place.segment == place.segment
            and spots[behind].place.offset < place.offset + size
        ):
            behind += 1
        end = spots[behind - 1].end
        if place.segment == self._number:
            end = min(end, self._synced_end)
        if behind < len(spots):
            last = min(last, spots[behind].mark - 1)
        found = partial(self._loaded, _Wanted(group, first, last, size, place, done))
        self._disk.load(segment_name(place.segment), place.offset, end - place.offset, found)

    def release(self, group: int, below: int) -> None:
        """The group will not need its entries with marks smaller than `below` again."""
        if below > self._released.get(group, 0):
            self._released[group] = below
            self._remove_oldest()

    def close(self) -> None:
        """What was not synced is lost."""
        self._file.close()

    # A sync: perhaps a new segment, then the batch.

    def _start(self) -> None:
        self._busy = True
        self._told, self._waiting = self._waiting, self._told
        if self._end >= self._segment_size:
            self._begin_segment()
        else:
            self._write_batch()

    def _write_batch(self) -> None:
        pending, self._pending = self._pending, []
        if pending or self._marked < self.durable:
            place = Place(self._number, self._end, self._seed, self._chain, self.durable + 1)
            data, self._chain = encode_batch(self._seed, self._chain, self.durable + 1, self.durable, pending)
            self._marked = self.durable
            self._end += len(data)
            self._file.append(data)
            self._note(self._segments[-1][1], place, self._end, pending)
        self._file.sync(partial(self._batch_written, self.durable + len(pending)), "wal.batch")

    def _batch_written(self, last: int, error: OSError | None) -> None:
        if error is not None:
            self._die(error)
            return
        self.durable = last
        self._synced_end = self._end
        told, self._told = self._told, []
        self._busy = False
        if self._waiting:
            self._start()
        for done in told:
            done(last, None)

    def _begin_segment(self) -> None:
        carried = [(group, payload, 0) for group in sorted(self._released) for payload in self._carry(group)]
        head, seed, chain = self._head(carried)
        file = self._disk.create(_NEW, self._segment_size)
        file.append(head)
        file.sync(partial(self._segment_written, file, seed, chain, len(head)), "wal.segment")

    def _segment_written(self, file: File, seed: int, chain: int, end: int, error: OSError | None) -> None:
        if error is not None:
            self._die(error)
            return
        self._disk.rename(_NEW, segment_name(self._number + 1))
        self._disk.sync_dir(partial(self._segment_named, file, seed, chain, end), "wal.name")

    def _segment_named(self, file: File, seed: int, chain: int, end: int, error: OSError | None) -> None:
        if error is not None:
            self._die(error)
            return
        self._file.close()
        self._adopt(file, self._number + 1, seed, chain, end)
        self._write_batch()
        self._remove_oldest()

    def _head(self, carried: Sequence[Record]) -> tuple[bytes, int, int]:
        """The header of the next segment with what is carried into it, its checksum and the last one."""
        place = Header(self.identity, self._number + 1, self.durable + 1, self._end, self._chain)
        header, seed = encode_header(place)
        batch, chain = encode_batch(seed, seed, self.durable + 1, self.durable, carried, carried=True)
        return header + batch, seed, chain

    def _adopt(self, file: File, number: int, seed: int, chain: int, end: int) -> None:
        self._segments.append((number, {}))
        self._file, self._number, self._seed, self._chain, self._end = file, number, seed, chain, end
        self._marked, self._synced_end = self.durable, end

    def _remove_oldest(self) -> None:
        if self._removing or self._failure is not None or len(self._segments) < 2:
            return
        number, marks = self._segments[0]
        if all(mark < self._released[group] for group, mark in marks.items()):
            self._segments.popleft()
            for spots in self._spots.values():
                while spots and spots[0].place.segment == number:
                    del spots[0]
            self._removing = True
            self._disk.remove(segment_name(number))
            self._disk.sync_dir(self._removed, "wal.removal")

    def _removed(self, error: OSError | None) -> None:
        self._removing = False
        if error is not None:
            self._die(error)
        else:
            self._remove_oldest()

    def _die(self, error: OSError) -> None:
        if self._failure is None:
            self._failure = error
        told = self._told + self._waiting
        self._told, self._waiting, self._pending = [], [], []
        for done in told:
            done(self.durable, error)

    def _refuse(self) -> None:
        raise StorageError(
            f"the write-ahead log failed ({self._failure}), so what the disk holds is unknown: mend the disk, then "
            "restart this member"
        ) from self._failure

    # Reading back.

    def _note(self, marks: dict[int, int], place: Place, end: int, records: Sequence[Record]) -> None:
        """A batch is there: note the highest mark of each group in `marks`, and where its records can be found."""
        lowest: dict[int, int] = {}
        last: dict[int, int] = {}
        for group, _, mark in records:
            if mark > marks.get(group, 0):
                marks[group] = mark
            if group not in self._released:
                self._released[group] = 0
            if mark:
                last[group] = mark
                if mark < lowest.get(group, mark + 1):
                    lowest[group] = mark
        for group, mark in lowest.items():
            spots = self._spots.setdefault(group, [])
            replaces = mark <= self._last_mark.get(group, 0)
            while spots and spots[-1].mark >= mark:
                spots.pop()
            if (
                replaces
                or not spots
                or spots[-1].place.segment != place.segment
                or place.offset >= spots[-1].place.offset + _STRIDE
            ):
                spots.append(Spot(mark, place))
            spots[-1].end = end
            self._last_mark[group] = last[group]

    def _loaded(self, wanted: _Wanted, data: bytes, failure: OSError | None) -> None:
        segment, offset = wanted.place.segment, wanted.place.offset
        if self._segments[0][0] > segment:
            wanted.done([], None)  # It was removed meanwhile.
            return
        name = segment_name(segment)
        if failure is not None:
            wanted.done([], StorageError(f"{name}, offset {offset}: what is durable there can't be read: {failure}"))
            return
        try:
            wanted.done(_payloads(wanted, read_batches(name, data, wanted.place)), None)
        except Corruption as corruption:
            wanted.done([], corruption)

    # The start.

    @classmethod
    def _begin(cls, disk: Disk, identity: Identity, carry: Callable[[int], Sequence[bytes]], segment_size: int) -> Wal:
        """A new directory. The log comes first: where there is an identity and no log, the log was lost."""
        for name in _segment_names(disk):
            if disk.read(name)[HEADER_SIZE + BATCH_SIZE :].strip(b"\0"):
                raise Corruption(f"{identities.FILE} is missing, though {name} holds records: restore that file")
        wal = cls._create(disk, identity, carry, segment_size)
        write_identity(disk, identity)
        return wal

    @classmethod
    def _create(cls, disk: Disk, identity: Identity, carry: Callable[[int], Sequence[bytes]], segment_size: int) -> Wal:
        """Without records."""
        wal = cls(disk, identity, carry, segment_size)
        head, seed, chain = wal._head(())
        file = disk.create(_NEW, segment_size)
        file.append(head)
        file.flush("wal.segment")
        disk.rename(_NEW, segment_name(1))
        disk.flush_dir("wal.name")
        wal._adopt(file, 1, seed, chain, len(head))
        return wal

    def _recover(self, segments: Sequence[Contents]) -> Replay:
        replay: Replay = {}
        for contents in segments:
            marks: dict[int, int] = {}
            self._segments.append((contents.header.number, marks))
            for place, end, records in contents.batches:
                self._note(marks, place, end, records)
            for group, payload, mark in contents.records:
                self._released.setdefault(group, 0)
                replay.setdefault(group, []).append((payload, mark))
        last = segments[-1]
        self._number, self._seed, self._chain = last.header.number, last.seed, last.chain
        self.torn, self._end = last.torn, last.end
        self._synced_end = self._end
        self._last = self.durable = last.next - 1
        self._file = self._disk.open(segment_name(self._number), self._end, self._segment_size)
        self._file.flush("wal.recovery")
        self._disk.flush_dir("wal.recovery.name")
        return replay


class _Wanted(NamedTuple):
    group: int
    first: int
    last: int
    size: int
    place: Place  # Where reading begins.
    done: Loaded


def _payloads(wanted: _Wanted, records: Sequence[Record]) -> list[bytes]:
    """Those that are wanted. A later record takes the place of those whose marks are not smaller. Raises Corruption."""
    found: list[tuple[int, bytes]] = []
    for group, payload, mark in records:
        if group == wanted.group and mark:
            while found and found[-1][0] >= mark:
                found.pop()
            found.append((mark, payload))
    payloads: list[bytes] = []
    size = 0
    for mark, payload in found:
        if wanted.first <= mark <= wanted.last and size < wanted.size:
            if mark != wanted.first + len(payloads):
                break
            payloads.append(payload)
            size += len(payload)
    if not payloads:
        raise Corruption(
            f"{segment_name(wanted.place.segment)}, offset {wanted.place.offset}: "
            f"there is no record {wanted.first} of group {wanted.group}"
        )
    return payloads


def _segment_names(disk: Disk) -> list[str]:
    return [name for name in disk.names() if name.startswith("wal-")]


def _read_segments(disk: Disk, identity: Identity) -> list[Contents]:
    """All segments, each shown to follow the one before. Raises Corruption, NewerFormat, WrongIdentity, OSError."""
    names = _segment_names(disk)
    if not names:
        raise Corruption(f"{segment_name(1)}: the write-ahead log is missing, though {identities.FILE} is there")
    found: list[Contents] = []
    for name in names:
        contents = read_segment(name, _read(disk, name))
        header = contents.header
        identity.require(header.identity, name)
        if name != segment_name(header.number):
            raise Corruption(f"{name}, offset 0: this is segment {header.number} under another name")
        if found:
            _check_succession(found[-1], header)
        found.append(contents)
    return found


def _read(disk: Disk, name: str) -> bytes:
    """A disk that knows itself that it can't read is one that is damaged there. Raises Corruption, OSError."""
    try:
        return disk.read(name)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Corruption(f"{name}, offset 0: can't be read: {error.strerror}") from error


def require_known_format(disk: Disk) -> None:
    """Raise NewerFormat if a newer version wrote here; nothing else is looked at. For before anything is opened."""
    for name in _segment_names(disk):
        require_known(name, disk.read(name, HEADER_SIZE))


def _check_succession(before: Contents, header: Header) -> None:
    number = before.header.number + 1
    if header.number != number:
        raise Corruption(f"{segment_name(number)} is missing, though {segment_name(header.number)} is there")
    if (before.end, before.chain, before.next) != (header.previous_end, header.previous_chain, header.first):
        raise Corruption(
            f"{segment_name(number - 1)}, offset {before.end}, sequence {before.next}: damaged, since it once reached "
            f"offset {header.previous_end}, before sequence {header.first}"
        )
