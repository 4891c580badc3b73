"""Somebody who uses the write-ahead log as groups do, and remembers what it promised."""

from __future__ import annotations

from ostraka.storage.identity import Identity
from ostraka.storage.wal import Replay, Wal

from .memory_disk import MemoryDisk

ME = Identity(cluster=0xC1, member=0xA1, disk=0xD1)
SEGMENT = 400  # Bytes: a few records, so that there are many segments.


class LogUser:
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
