"""The interface that every consensus protocol has here, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ostraka.model.effects import Effect, Record
from ostraka.model.events import Event
from ostraka.model.ids import MILLISECOND, Dice, Duration, Epoch, Index, Instant, NodeId
from ostraka.model.requests import Members, SnapshotMeta


class Settings(msgspec.Struct, frozen=True):
    """The numbers that an engine is run with. Times in nanoseconds, sizes in bytes."""

    heartbeat: Duration = 100 * MILLISECOND  # How often a leader without traffic says that it lives.
    election_timeout: Duration = 1000 * MILLISECOND  # The least; each wait is drawn from once to twice this.
    linger: Duration = 2 * MILLISECOND  # With a batch under way, requests gather for this long before the next leaves.
    max_entry: int = 1 << 20  # An entry takes in requests up to this size (a larger request has one of its own).
    max_append: int = 4 << 20  # One message carries entries up to this size.
    phase2_quorum: int = 0  # Multi-Paxos: so many acceptances make a value chosen; 0: a majority. The same everywhere.
    max_in_flight: int = 64  # Messages with entries to one follower that it hasn't answered.
    max_in_flight_bytes: int = 16 << 20
    max_uncommitted: int = 64 << 20  # Above this, requests are refused as Overloaded.
    priority: int = 0  # A voter leads rather than those of lower priority, once it has all that is committed.
    lease: Duration = 0  # For so long after it proposed an entry a leader may read by it alone; 0: it asks a quorum.
    clock_drift: int = 200_000  # No member's clock runs faster than another's by more than so many millionths.
    max_held: int = 32 << 20  # Memory for entries; what goes beyond is read back from the write-ahead log.
    tail: int = 5000  # Entries kept behind the applied index for slow followers.
    compact_every: int = 1000  # Compaction waits until this many entries can go.


class Status(msgspec.Struct, frozen=True):
    """What a replica can tell of itself."""

    id: NodeId
    role: str
    epoch: Epoch
    leader: NodeId  # 0: nobody known.
    first: Index  # The first entry still in the log.
    last: Index
    commit: Index
    applied: Index
    members: Members
    everyone: tuple[NodeId, ...] = ()  # All members of this configuration, and of those that it may yet give way to.
    configured: Index = 0  # How far in the log it is settled who the members are: the last configuration committed.
    refilling: bool = False  # It has lost its log, and would have to begin anew after a crash.


class Engine(Protocol):
    """One replica of one consensus group: a deterministic state machine without I/O.

    The same events at the same instants, with the same dice, give the same effects.
    """

    @property
    def deadline(self) -> Instant | None:
        """Wake it then, if nothing happens before."""

    def step(self, events: Sequence[Event], now: Instant) -> list[Effect]:
        """Take in all that happened in this turn. `now` never goes back."""

    def status(self) -> Status: ...

    def hard_state(self) -> tuple[Record, ...]:
        """What a new segment of the write-ahead log must begin with, so that older ones can go.

        `restore` from these records and all later ones is the same as from all records, as far as
        indexes go that have not been compacted away.
        """


Sign = Callable[[bytes], bytes]
"""A deterministic signature over bytes with this node's key."""


class Restore(Protocol):
    """Makes a replica: the same at the first start and after a crash."""

    def __call__(
        self,
        me: NodeId,
        settings: Settings,
        dice: Dice,
        sign: Sign,
        records: Sequence[Record],
        applied: SnapshotMeta,
        now: Instant,
        refilling: bool = False,
    ) -> Engine:
        """`records`: all that was saved and survived, in order. `applied`: what the durable state is a state of.

        `refilling`: the log was damaged. Then `records` are some run of what was saved, or nothing of it, and last
        of all the hard state. The replica helps to decide nothing but what it holds now, until `Refilled`. Raises
        MissingEntries where the log does not go on from the state, unless it refills; Corruption for other records.
        """


class Consensus(msgspec.Struct, frozen=True):
    """A protocol as the node sees it: how to make a replica, and how its messages and records are decoded."""

    name: str
    message: Any  # The union of its messages, for `msgspec.msgpack.Decoder`.
    record: Any  # The union of its records.
    restore: Restore
    refills: bool = False  # Its replicas can get back a log that was damaged: see `Restore`.
