"""The log: the entries after a base that a snapshot or the applied state stands for.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.3, §7.
Words:    a position is the paper's (term, index) of an entry; the base is its lastIncludedTerm and lastIncludedIndex.
          Entries that are shed are no longer in memory, but still in the write-ahead log.
Departs:  memory holds the newest entries only, up to a bound in bytes. The term of every entry stays known, since terms
          never fall along a log: they are kept as runs, each with the index at which its term begins.
Evidence: tests/consensus/raft/test_log.py, tests/consensus/raft/test_loading.py, invariants.LogMatching.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from ostraka.model.ids import ORIGIN, ClusterTime, Epoch, Index, Position
from ostraka.model.requests import Entry

ENTRY_COSTS = 300
"""Bytes of memory that an entry takes beside its requests."""

MILESTONE = 1 << 20
"""Of entries that were shed it is only known at every so many bytes how large they were."""

_first = itemgetter(0)


class Log:
    """Entries without gaps, from `first` to `last`; those after `shed` are in memory.

    base.index + 1 == first; base ≤ shed ≤ last; last is the base while there are no entries; epochs never fall along
    the log.
    """

    __slots__ = (
        "_begin",
        "_end",
        "_entries",
        "_middle",
        "_milestones",
        "_runs",
        "_shed_stamp",
        "base",
        "last",
        "shed",
        "stamp",
    )

    def __init__(self, base: Position = ORIGIN, base_stamp: ClusterTime = 0, entries: Sequence[Entry] = ()) -> None:
        self.base = base
        self.shed = base  # Entries up to here must be loaded.
        self.last = base
        self.stamp = base_stamp  # Of the last entry, or, after a truncation into what was shed, a later one.
        self._shed_stamp = base_stamp
        self._entries: list[Entry] = []
        self._runs: list[tuple[Index, Epoch]] = []  # Where each term begins, from the base on.
        # Bytes of requests since this object was made, up to the base (about), to what was shed, and to the end.
        self._begin = self._middle = self._end = 0
        self._milestones: list[tuple[Index, int]] = []  # Between base and shed: so many bytes up to this index.
        self.extend(entries)

    @property
    def first(self) -> Index:
        """The lowest index whose entry is here (when there is any)."""
        return self.base.index + 1

    @property
    def size(self) -> int:
        """Bytes of the requests in all entries; where entries were shed, give or take a milestone."""
        return self._end - self._begin

    @property
    def held(self) -> int:
        """Bytes of memory that entries take."""
        return self._end - self._middle + ENTRY_COSTS * len(self._entries)

    def entries(self, first: Index, last: Index) -> tuple[Entry, ...]:
        """The entries from `first` to `last`; both must be in memory, or `last` just below `first`."""
        shed = self.shed.index
        assert shed < first <= last + 1 <= self.last.index + 1, f"{first}..{last} of {shed + 1}..{self.last.index}"
        return tuple(self._entries[first - shed - 1 : last - shed])

    def position_at(self, index: Index) -> Position | None:
        """The position of the entry at this index; None before the base and after the end."""
        offset = index - self.shed.index
        if 0 < offset <= len(self._entries):
            return Position(self._entries[offset - 1].epoch, index)
        if index == self.base.index:
            return self.base
        if not self.base.index < index <= self.shed.index:
            return None
        return Position(self._runs[self._run_at(index)][1], index)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end."""
        for entry in entries:
            assert entry.index == self.last.index + 1 and entry.epoch >= self.last.epoch, (
                f"{entry.position} after {self.last}"
            )
            if not self._runs or entry.epoch != self.last.epoch:
                self._runs.append((entry.index, entry.epoch))
            self._entries.append(entry)
            self.last = entry.position
            self.stamp = entry.stamp
            self._end += entry.size()

    def truncate(self, first: Index) -> None:
        """Remove the entry at `first` and all after it. Another one must take its place at once."""
        assert self.base.index < first <= self.last.index
        last = self.position_at(first - 1)
        assert last is not None
        if last.index >= self.shed.index:
            keep = last.index - self.shed.index
            self._end -= sum(entry.size() for entry in self._entries[keep:])
            del self._entries[keep:]
            self.stamp = self._entries[-1].stamp if self._entries else self._shed_stamp
        else:
            self._entries.clear()
            while self._milestones and self._milestones[-1][0] > last.index:
                self._milestones.pop()
            self._middle = self._end = self._milestones[-1][1] if self._milestones else self._begin
            self.shed = last
        while self._runs and self._runs[-1][0] >= first:
            self._runs.pop()
        self.last = last

    def compact(self, upto: Index) -> None:
        """Forget the entries up to this index; the last of them becomes the base."""
        assert self.base.index < upto <= self.last.index
        self.release(upto, most=0)
        base = self.position_at(upto)
        assert base is not None
        passed = bisect_right(self._milestones, upto, key=_first)
        if upto == self.shed.index:
            self._begin = self._middle
        elif passed:
            self._begin = self._milestones[passed - 1][1]
        del self._milestones[:passed]
        del self._runs[: self._run_at(upto + 1)]
        if upto == self.last.index:
            self._runs.clear()
        self.base = base

    def release(self, upto: Index, most: int) -> None:
        """Shed entries up to this index, the oldest first, if memory holds more than `most` bytes of them."""
        if self.held <= most:
            return
        wanted, count, size = self.held - most * 3 // 4, 0, 0  # Some more than must be, so that it needn't be soon.
        milestone = self._milestones[-1][1] if self._milestones else self._begin
        for entry in self._entries[: max(0, upto - self.shed.index)]:
            if size + ENTRY_COSTS * count >= wanted:
                break
            count += 1
            size += entry.size()
            if self._middle + size >= milestone + MILESTONE:
                milestone = self._middle + size
                self._milestones.append((entry.index, milestone))
        if count:
            self.shed, self._shed_stamp = self._entries[count - 1].position, self._entries[count - 1].stamp
            del self._entries[:count]
            self._middle += size

    def end_of(self, size: int) -> Index:
        """The last entry that must go so that those after it have at most about `size` bytes."""
        gone = self._end - size
        if gone <= self._begin:
            return self.base.index
        if gone <= self._middle:
            place = bisect_left(self._milestones, gone, key=itemgetter(1))
            return self._milestones[place][0] if place < len(self._milestones) else self.shed.index
        index, upto = self.shed.index, self._middle
        for entry in self._entries:
            if upto >= gone:
                break
            index, upto = entry.index, upto + entry.size()
        return index

    def first_of_epoch(self, index: Index) -> Index:
        """Of the entries with the same epoch as the one at `index`, the first that is here. (§5.3, p. 8)"""
        return max(self._runs[self._run_at(index)][0], self.first)

    def end_of_epoch(self, epoch: Epoch, below: Index) -> Index | None:
        """The last index below `below` whose entry has this epoch, None if there is none."""
        last = min(below - 1, self.last.index)
        if last < self.first:
            return None
        run = self._run_at(last)
        while run >= 0 and self._runs[run][1] > epoch:
            last = self._runs[run][0] - 1
            run -= 1
        return last if run >= 0 and self._runs[run][1] == epoch and last >= self.first else None

    def _run_at(self, index: Index) -> int:
        """Which run this index is in."""
        return bisect_right(self._runs, index, key=_first) - 1
