"""One process: its groups, and the log, store, network and clock that they share.

A log that is damaged before its tail is set aside, and each group refills its own from the other members: see
`consensus.raft.refill` and docs/decisions/0006. So it does if the state is gone that its log goes on from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from ostraka.consensus.quorum import Quorum, quorum_of
from ostraka.errors import Corruption, MissingEntries, Removed, StorageError, WrongIdentity
from ostraka.model import events
from ostraka.model.effects import Record
from ostraka.model.engine import Consensus, Engine, Settings
from ostraka.model.ids import MILLISECOND, SECOND, Dice, Duration, GroupId, Index, Instant, NodeId
from ostraka.model.machine import Machine, Table
from ostraka.model.requests import Members, SnapshotMeta
from ostraka.node.clock import Clock, Timer
from ostraka.node.group import Group
from ostraka.node.metrics import NodeMetrics
from ostraka.node.snapshots import IDLE
from ostraka.node.stored import Descriptor, members_stored
from ostraka.storage.disk import Disk
from ostraka.storage.hard_state import HardStates, Kept
from ostraka.storage.identity import Identity, read_identity
from ostraka.storage.table import Store
from ostraka.storage.wal import SEGMENT_SIZE, Replay, Wal
from ostraka.transport import wire
from ostraka.transport.network import Network

DEFAULT_GROUP: Final[GroupId] = 1
"""The group of the default keyspace: etcd's."""

ANEW: Final = "remove this member from the cluster, and add it anew with an empty data directory"

COMMIT_EVERY: Final[Duration] = 20 * MILLISECOND

_DESCRIPTORS: Final = b"d"
_encode = msgspec.msgpack.Encoder().encode
_decode_descriptor = msgspec.msgpack.Decoder(Descriptor).decode


class Upkeep(msgspec.Struct, frozen=True):
    """When what has been applied is written to files, so that less is replayed after a crash."""

    flush_bytes: int = 32 << 20  # Bytes of requests applied since the last flush.
    flush_every: Duration = 30 * SECOND
    look_every: Duration = SECOND
    segment_size: int = SEGMENT_SIZE  # Bytes of a segment of the write-ahead log.
    chunk_bytes: int = 256 << 10  # Of a state that another one pulls, in one piece.


class Host:
    """Drives all groups of one process. Everything here runs in one thread, and nothing blocks after `start`."""

    def __init__(
        self,
        *,
        identity: Identity,
        clock: Clock,
        disk: Disk,
        store: Store,
        network: Network,
        dice: Dice,
        addresses: Mapping[NodeId, str],
        metrics: NodeMetrics | None = None,
        upkeep: Upkeep | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Opens the log, and gives a new directory the identity. `addresses`: the peer URLs known from the beginning.

        `say` is told what whoever runs this member must know. Raises Corruption where the other members can't help,
        NewerFormat, WrongIdentity, OSError.
        """
        self.clock: Final = clock
        self.store: Final = store
        self.network: Final = network
        self.dice: Final = dice
        self.groups: Final[dict[GroupId, Group]] = {}
        self.metrics: Final = metrics or NodeMetrics()
        self.failed: StorageError | None = None
        self.on_failure: Callable[[StorageError], None] = lambda failure: None
        self.address_of: Callable[[NodeId], str | None] = addresses.get  # A member's peer URL, as far as it is known.
        self.links: Final[set[NodeId]] = set()  # The peers to whom there is a connection.
        self.probation: Quorum | None = None  # Until such members let this one in it hears nobody: see `Roster`.
        self.unsynced = False  # The log has records that no sync was asked for.
        self.upkeep: Final = upkeep or Upkeep()
        self.say: Final = say
        self._first_addresses: Final = addresses
        self._descriptors: Final = store.table(_DESCRIPTORS)
        self._hard_states: Final = HardStates(disk)
        self._durable = 0  # The log is, up to this sequence number.
        self._refills: Final[dict[GroupId, bool]] = {}  # Can the group's engine get a damaged log back?
        self.wal, self._replay = self._open_log(disk, identity)
        self.identity: Final = self.wal.identity
        self._hard_states.belong(self.identity)
        self._let_in_by = {self.identity.member}
        self._scheduled: dict[GroupId, Group] = {}
        self._connected: dict[NodeId, str] = {}
        self._turn_is_due = False
        self._started = self._stopped = False
        self._alarm: Timer | None = None
        self._alarm_at: Instant | None = None
        self._to_commit: dict[GroupId, Group] = {}
        self._flushing = False
        self._flushed_at: Instant = 0
        self._restless = False  # Records became durable since the log was last told to mark them so.

    def open_group(
        self,
        group_id: GroupId,
        consensus: Consensus,
        machine: Callable[[Table], Machine],
        members: Members,
        settings: Settings,
    ) -> Group:
        """A group as it was when the process last ran; `members` count only where it never did.

        `machine` makes the state machine over the group's table; it is called again when a snapshot is installed.
        Raises Corruption for records that are not this engine's.
        """
        decode = msgspec.msgpack.Decoder(consensus.record).decode
        records: list[Record] = [decode(payload) for payload, _ in self._replay.pop(group_id, [])]
        kept = self._hard_states.groups.get(group_id, Kept())
        damage = kept.refilling
        if damage:
            records += [decode(payload) for payload in kept.records]

        def restore(applied: SnapshotMeta) -> Engine:
            now, member, refilling = self.clock.now(), self.identity.member, damage != ""
            return consensus.restore(member, settings, self.dice, _unsigned, records, applied, now, refilling)

        group = Group(self, group_id, consensus, machine, self._descriptor(group_id))
        group.members_moved = self._connect
        self.groups[group_id] = group
        try:
            group.begin(restore, members)
        except MissingEntries as missing:
            if not consensus.refills:
                raise
            self._require_help(group_id, self.identity.member, missing)
            damage = str(missing)
            group.begin(restore, members)
        group.refilling = damage or group.refilling
        self._refills[group_id] = consensus.refills
        if any(self._refills.values()):
            for each in self.groups.values():
                self._keep(each, each.refilling)
        if self._hard_states.dirty:
            self._hard_states.flush()
        if group.refilling:
            self.say(
                f"{group.refilling}: this member gets its log back from the others, and until it has it neither votes "
                "nor serves"
            )
        return group

    def start(self) -> None:
        """Begin to take part. All groups have been opened."""
        self._flushed_at = self.clock.now()
        self.network.start(self)
        self._started = True
        self._connect()
        for group in self.groups.values():
            self.schedule(group)
        self.clock.call_at(self._flushed_at + self.upkeep.look_every, self._keep_up)

    @property
    def stopped(self) -> bool:
        """It takes no part any more."""
        return self._stopped

    def _connect(self) -> None:
        """Keep links to the members of all groups, and to nobody else.

        One who is in no configuration, since its log isn't here yet, goes by what it was told of in the beginning. A
        leader that is removed leads until it has handed over.
        """
        if not self._started or self._stopped:
            return
        wanted: set[NodeId] = set()
        configured = 0
        for group in self.groups.values():
            status = group.status()
            wanted.update(status.everyone)
            configured = max(configured, status.configured)
        known = {} if self.identity.member in wanted else dict(self._first_addresses)
        wanted.update(group.leader for group in self.groups.values() if group.leader)
        for node in sorted(wanted):
            url = self.address_of(node) or self._connected.get(node)
            if url is not None:
                known[node] = url
        self._connected = known
        self.network.connect(known, configured)

    def stop(self) -> None:
        """Take no further part. What is durable stays; a crash would do as well."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        for group in self.groups.values():
            group.let_go()
        self.wal.close()

    # Turns.

    def schedule(self, group: Group) -> None:
        """Step this group at the end of the present turn."""
        self._scheduled[group.id] = group
        if not self._turn_is_due:
            self._turn_is_due = True
            self.clock.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._stopped:
            return
        now = self.clock.now()
        scheduled, self._scheduled = self._scheduled, {}
        try:
            for group in scheduled.values():
                group.step(now)
            if self.unsynced:
                self.unsynced = False
                self.wal.sync(self._synced)
            self._hard_states.save(self._copied)
        except StorageError as failure:
            self.fail(failure)
            return
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Ask to be woken at the earliest deadline, unless an earlier call is asked for already."""
        deadlines = [group.engine.deadline for group in self.groups.values()]
        earliest = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if earliest is None or (self._alarm_at is not None and self._alarm_at <= earliest):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = earliest
        self._alarm = self.clock.call_at(earliest, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        if self._stopped:
            return
        now = self.clock.now()
        for group in self.groups.values():
            deadline = group.engine.deadline
            if deadline is not None and deadline <= now:
                self.schedule(group)
        self._set_alarm()

    # The write-ahead log and the store.

    def _open_log(self, disk: Disk, identity: Identity) -> tuple[Wal, Replay]:
        """As it is, or a new one if it is damaged and everything needed to refill it is there."""
        size = self.upkeep.segment_size
        try:
            return Wal.open(disk, identity, self._carry, size)
        except Corruption as damage:
            found = read_identity(disk)
            if found is None:
                raise
            copy = self._hard_states
            copy.belong(found)
            if copy.damage:
                raise Corruption(
                    f"{damage}; and {copy.damage}, so this member can't know what it has promised: {ANEW}"
                ) from damage
            for group_id, kept in copy.groups.items():
                if not kept.refills:
                    raise Corruption(f"{damage}; {ANEW}") from damage
                self._require_help(group_id, found.member, damage)
            again = all(kept.refilling for kept in copy.groups.values())
            for group_id, kept in copy.groups.items():
                copy.keep(group_id, msgspec.structs.replace(kept, refilling=kept.refilling or str(damage)))
            copy.flush()
            return Wal.renew(disk, self._carry, size, again), {}

    def _require_help(self, group_id: GroupId, me: NodeId, damage: Corruption) -> None:
        """Raise Corruption unless the other members are a quorum, who can elect a leader to refill this one from."""
        members = members_stored(self.store, group_id, self._descriptor(group_id)) or Members(
            tuple(self._first_addresses)
        )
        if not quorum_of(members)({*members.voters, *members.outgoing} - {me}):
            raise Corruption(
                f"{damage}; without this member there is no quorum that it could be refilled from: restore its data "
                "directory from a backup"
            ) from damage

    def _descriptor(self, group_id: GroupId) -> Descriptor:
        saved = self._descriptors.get(group_id.to_bytes(8, "big"))
        return Descriptor() if saved is None else _decode_descriptor(saved)

    def _carry(self, group_id: GroupId) -> list[bytes]:
        return [_encode(record) for record in self.groups[group_id].engine.hard_state()]

    def _synced(self, sequence: int, error: OSError | None) -> None:
        if self._stopped:
            return
        if error is not None:
            self.fail(StorageError(f"the write-ahead log could not be synced: {error}"))
            return
        self._restless = True
        self._durable = sequence
        self._tell_durable()

    def _tell_durable(self) -> None:
        """Of a term or a vote both copies must be."""
        upto = self._hard_states.both_durable(self._durable)
        for group in self.groups.values():
            group.durable(upto)

    def hard_state_changed(self, group: Group, sequence: int) -> None:
        """It goes to the log under this sequence number."""
        if not self._refills[group.id]:
            return
        refilling = group.refilling if group.engine.status().refilling else ""
        self._keep(group, refilling)
        self._hard_states.waits(sequence)

    def _keep(self, group: Group, refilling: str) -> None:
        refills = self._refills[group.id]
        self._hard_states.keep(group.id, Kept(tuple(self._carry(group.id)) if refills else (), refills, refilling))

    def _copied(self, error: OSError | None) -> None:
        if self._stopped:
            return
        if error is not None:
            self.fail(StorageError(f"the second copy of the hard state could not be written: {error}"))
            return
        self._tell_durable()

    def load(
        self, group_id: GroupId, first: Index, last: Index, size: int, done: Callable[[list[bytes]], None]
    ) -> None:
        """Read a group's entries back from the log: see `Wal.load`.

        What was durable and can't be read any more ends the node. When it starts again it will find what is wrong.
        """

        def loaded(payloads: list[bytes], error: StorageError | None) -> None:
            if error is not None and not self._stopped:
                self.fail(error)
            elif not self._stopped:
                done(payloads)

        self.wal.load(group_id, first, last, size, loaded)

    def describe(self, group_id: GroupId, descriptor: Descriptor) -> None:
        """This generation is the group's state from now on; durable with the next flush."""
        self._descriptors.put(group_id.to_bytes(8, "big"), _encode(descriptor))
        self._descriptors.commit()

    def commit_later(self, group: Group) -> None:
        """Let some more be applied before the store is handed it: fewer and larger batches cost less."""
        if not self._to_commit:
            self.clock.call_at(self.clock.now() + COMMIT_EVERY, self._commit_tables)
        self._to_commit[group.id] = group

    def _commit_tables(self) -> None:
        groups, self._to_commit = self._to_commit, {}
        if self._stopped:
            return
        try:
            for group in groups.values():
                group.commit_table()
        except StorageError as failure:
            self.fail(failure)

    def flush(self, done: Callable[[], None]) -> None:
        """Make all tables durable as they are now; `done` is called unless that fails. Raises StorageError."""
        for group in self.groups.values():
            group.commit_table()
        applied = {group_id: group.applied for group_id, group in self.groups.items()}
        tables = {group_id: group.table for group_id, group in self.groups.items()}
        for group in self.groups.values():
            group.unflushed_bytes = 0
        self._flushed_at = self.clock.now()

        def flushed(error: Exception | None) -> None:
            if self._stopped:
                return
            if error is not None:
                self.fail(StorageError(f"the table could not be flushed: {error}"))
                return
            self.metrics.flushes += 1
            for group_id, group in self.groups.items():
                if group.table is tables[group_id]:  # Else a snapshot has taken its place meanwhile.
                    group.was_flushed(applied[group_id])
            done()

        self.store.flush(flushed)

    def _keep_up(self) -> None:
        """Now and then: flush what has been applied, and let the log note that all is durable once it is quiet."""
        if self._stopped:
            return
        now = self.clock.now()
        self.clock.call_at(now + self.upkeep.look_every, self._keep_up)
        for group in self.groups.values():
            group.let_go(unused_since=now - IDLE)
        if self._restless:
            self._restless = False
            try:
                self.wal.sync(self._marked)
            except StorageError as failure:
                self.fail(failure)
                return
        unflushed = sum(group.unflushed_bytes for group in self.groups.values())
        behind = any(group.flushed < group.applied for group in self.groups.values())
        late = now - self._flushed_at >= self.upkeep.flush_every
        if behind and not self._flushing and (late or unflushed >= self.upkeep.flush_bytes):
            self._flushing = True
            try:
                self.flush(self._kept_up)
            except StorageError as failure:
                self.fail(failure)

    def _kept_up(self) -> None:
        self._flushing = False

    def _marked(self, sequence: int, error: OSError | None) -> None:
        restless = self._restless
        self._synced(sequence, error)
        self._restless = restless

    def fail(self, failure: StorageError) -> None:
        """The disk can't be trusted any longer, or nobody wants it: every group ends, and so should the process."""
        if self.failed is not None:
            return
        self.failed = failure
        self._stopped = True
        for group in self.groups.values():
            group.end(failure)
        self.on_failure(failure)

    # What the network tells.

    def received(self, sender: NodeId, frame: bytes) -> None:
        if self._stopped or (self.probation is not None and self._on_probation(sender, self.probation)):
            return
        try:
            said = wire.decode_frame(frame)
            group = self.groups.get(said.group)
            if group is None:
                self.metrics.messages_discarded += 1
            elif isinstance(said, wire.Said):
                group.received(sender, said.message)
            else:
                group.pulled(sender, said)
        except msgspec.DecodeError:
            self.metrics.frames_undecodable += 1
        except StorageError as failure:  # Met while a piece of a snapshot was read or written.
            self.fail(failure)

    def _on_probation(self, sender: NodeId, proven: Quorum) -> bool:
        """Who lets this disk speak? A frame that comes is from one that has found nothing against it."""
        self._let_in_by.add(sender)
        if not proven(self._let_in_by):
            return True
        self.probation = None
        return False

    def link_up(self, peer: NodeId) -> None:
        self.links.add(peer)
        self._tell_all(partial(events.LinkUp, peer))

    def link_down(self, peer: NodeId) -> None:
        self.links.discard(peer)
        self._tell_all(partial(events.LinkDown, peer))

    def expelled(self) -> None:
        if not self._stopped:
            self.fail(Removed(f"member {self.identity.member:x} was removed from the cluster"))

    def disowned(self, reason: str) -> None:
        if not self._stopped:
            self.fail(WrongIdentity(reason))

    def _tell_all(self, make: Callable[[], events.Event]) -> None:
        if not self._stopped:
            for group in self.groups.values():
                group.happened(make())


def _unsigned(data: bytes) -> bytes:
    """Raft and Paxos sign nothing: their members trust one another."""
    return b""
