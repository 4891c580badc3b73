"""What a node counts about itself. Plain numbers: the server renders them under etcd's names."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

BOUNDS: Final = tuple(0.0001 * 2**step for step in range(17))
"""Upper bounds of a histogram's buckets, in seconds: from 0.1 ms to 6.6 s."""


class Histogram:
    """How often a duration fell into which bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass
class NodeMetrics:
    """Counters since the start of the process; durations in seconds."""

    proposals_committed: int = 0
    proposals_applied: int = 0
    proposals_failed: int = 0
    leader_changes: int = 0
    messages_discarded: int = 0
    frames_undecodable: int = 0
    snapshots_taken: int = 0
    snapshots_installed: int = 0
    flushes: int = 0
    syncs: dict[str, Histogram] = field(default_factory=dict)  # By sync point.

    def observe_sync(self, point: str, seconds: float) -> None:
        """To be called after each sync of the disk."""
        histogram = self.syncs.get(point)
        if histogram is None:
            histogram = self.syncs[point] = Histogram()
        histogram.observe(seconds)
