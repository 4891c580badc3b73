"""The log: the entries after a base that a snapshot or the applied state stands for.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.3, §7.
Words:    a position is the paper's (term, index) of an entry; the base is its lastIncludedTerm and lastIncludedIndex.
Departs:  nothing.
Evidence: tests/consensus/raft/test_log.py, invariants.LogMatching.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostraka.model.ids import ORIGIN, ClusterTime, Index, Position
from ostraka.model.requests import Entry


class Log:
    """Entries in memory, without gaps, from `first` to `last`.

    base.index + 1 == first; last is the base while there are no entries; epochs never fall along the log.
    """

    __slots__ = ("_entries", "base", "base_stamp", "last", "size")

    def __init__(self, base: Position = ORIGIN, base_stamp: ClusterTime = 0, entries: Sequence[Entry] = ()) -> None:
        self.base = base
        self.base_stamp = base_stamp
        self._entries: list[Entry] = []
        self.last = base
        self.size = 0  # Bytes of the requests in all entries.
        self.extend(entries)

    @property
    def first(self) -> Index:
        """The lowest index whose entry is here (when there is any)."""
        return self.base.index + 1

    @property
    def stamp(self) -> ClusterTime:
        """The stamp of the last entry."""
        return self._entries[-1].stamp if self._entries else self.base_stamp

    def entries(self, first: Index, last: Index) -> tuple[Entry, ...]:
        """The entries from `first` to `last`; both must be in the log, or `last` just below `first`."""
        base = self.base.index
        assert base < first <= last + 1 <= self.last.index + 1, f"{first}..{last} of {self.first}..{self.last.index}"
        return tuple(self._entries[first - base - 1 : last - base])

    def position_at(self, index: Index) -> Position | None:
        """The position of the entry at this index; None before the base and after the end."""
        offset = index - self.base.index
        if offset <= 0:
            return self.base if offset == 0 else None
        if offset > len(self._entries):
            return None
        return Position(self._entries[offset - 1].epoch, index)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end."""
        for entry in entries:
            assert entry.index == self.last.index + 1 and entry.epoch >= self.last.epoch, (
                f"{entry.position} after {self.last}"
            )
            self._entries.append(entry)
            self.last = Position(entry.epoch, entry.index)
            self.size += entry.size()

    def truncate(self, first: Index) -> None:
        """Remove the entry at `first` and all after it."""
        assert self.base.index < first <= self.last.index
        keep = first - self.base.index - 1
        self.size -= sum(entry.size() for entry in self._entries[keep:])
        del self._entries[keep:]
        self.last = self._entries[-1].position if self._entries else self.base

    def compact(self, upto: Index) -> None:
        """Forget the entries up to this index; the last of them becomes the base."""
        assert self.base.index < upto <= self.last.index
        count = upto - self.base.index
        self.base = self._entries[count - 1].position
        self.base_stamp = self._entries[count - 1].stamp
        self.size -= sum(entry.size() for entry in self._entries[:count])
        del self._entries[:count]

    def sizes(self) -> list[int]:
        """Bytes of requests of each entry, in order."""
        return [entry.size() for entry in self._entries]

    def first_of_epoch(self, index: Index) -> Index:
        """Of the entries with the same epoch as the one at `index`, the first that is here. (§5.3, p. 8)"""
        offset = index - self.base.index
        epoch = self._entries[offset - 1].epoch
        while offset > 1 and self._entries[offset - 2].epoch == epoch:
            offset -= 1
        return self.base.index + offset

    def end_of_epoch(self, epoch: int, below: Index) -> Index | None:
        """The last index below `below` whose entry has this epoch, None if there is none."""
        offset = min(below - 1, self.last.index) - self.base.index
        while offset >= 1 and self._entries[offset - 1].epoch > epoch:
            offset -= 1
        if offset >= 1 and self._entries[offset - 1].epoch == epoch:
            return self.base.index + offset
        return None
