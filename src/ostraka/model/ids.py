"""The names of things: plain integers, so that they are cheap, ordered and the same on every replica."""

from __future__ import annotations

from typing import NamedTuple, Protocol

NodeId = int
"""A member of the cluster: etcd's member id, an unsigned 64-bit number. 0 is nobody."""

GroupId = int
"""A consensus group. One process takes part in many."""

Epoch = int
"""The neutral word for Raft's term, Paxos' ballot and PBFT's view."""

Index = int
"""A place in a group's log, from 1. 0 is before the first entry."""

Instant = int
"""A point on one process's monotonic clock, in nanoseconds. Never compared between processes."""

Duration = int
"""A span of time in nanoseconds."""

ClusterTime = int
"""Nanoseconds that the cluster has had a leader, as stamped into entries: never back, no wall clock."""

Token = int
"""Names a question of the layer above, so that the answer can be matched to it. Never 0."""

SaveToken = int
"""Numbers the saves of one replica in the order in which they were issued, from 1. 0 is no save."""

MILLISECOND: Duration = 1_000_000
SECOND: Duration = 1_000_000_000


class Position(NamedTuple):
    """Where a log ends, compared as the papers compare it: first by epoch, then by index. (Raft §5.4.1)"""

    epoch: Epoch
    index: Index  # type: ignore[assignment]  # A tuple's own `index` method is of no use here.


ORIGIN = Position(0, 0)
"""Before every entry."""


class Dice(Protocol):
    """The injected random source. Only this method is used, so that seeds survive Python versions."""

    def getrandbits(self, k: int, /) -> int: ...


def roll(dice: Dice, sides: int) -> int:
    """A number from 0 to sides - 1, each as likely as the others."""
    bits = sides.bit_length()
    while (number := dice.getrandbits(bits)) >= sides:
        pass
    return number
