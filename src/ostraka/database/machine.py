"""The database as a state machine: entries in, replies and changes out.

All state is in the table; an instance holds the sessions, the leases, the revision and the digest's sums of the table
that it saw last, and reads them again when it is given another one. Rows `c h v` are `mvcc`'s, `k l` are `lease`'s,
`m n` are `members`', `r s` are `sessions`', and `z` holds the state's own few numbers. Rows that begin with a zero byte
belong to the node.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from ostraka.database import compaction, failures, lease, members, mvcc, txn
from ostraka.database.commands import (
    AddMember,
    ClusterVersion,
    Command,
    Compact,
    CompactDone,
    DeleteDone,
    DeleteRange,
    Done,
    Due,
    DueLeases,
    Failure,
    Found,
    History,
    Inspect,
    LeaseExpire,
    LeaseExpired,
    LeaseGrant,
    LeaseGranted,
    LeaseId,
    LeaseLife,
    LeaseList,
    LeaseRenew,
    LeaseRenewed,
    LeaseRevoke,
    LeaseRevoked,
    LeaseTimeToLive,
    ListLeases,
    ListMembers,
    Overview,
    Past,
    Publish,
    Put,
    PutDone,
    Range,
    RegisterSession,
    Reply,
    SessionBegun,
    Sweep,
    SweepDone,
    Txn,
    UpdateMember,
    decode_command,
    encode,
)
from ostraka.database.digest import Digest, Tracked
from ostraka.database.sessions import Sessions
from ostraka.model.ids import SECOND, ClusterTime
from ostraka.model.machine import Change, Outcome, Table
from ostraka.model.requests import Entry, Kind, Request, unpack

STATE = b"z"
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError)
SWEPT_BY_ENTRY = 40
"""Changes that each entry looks at, as long as a compaction has left something to remove: 35 µs each, at most."""
SWEPT_ON_DEMAND = 200
_MALFORMED = encode(failures.MALFORMED)


class State(msgspec.Struct, array_like=True):
    """The row `z`."""

    revision: int = 1  # Of the last change: an empty store is at 1, and the first write makes it 2.
    compacted: int = -1  # What was before this is forgotten.
    cluster_version: int = 0
    sweep: bytes | None = None  # Where in the history the removal of what is superfluous goes on; None: it is done.


_state: Callable[[bytes], State] = msgspec.msgpack.Decoder(State).decode


class Database:
    """A `model.machine.Machine` with etcd's semantics."""

    def __init__(self, table: Table) -> None:
        """Over the state in this table, which may be empty. Raises `msgspec.DecodeError` if its rows are damaged."""
        self.load(table)
        self._index = self._position = 0  # Of the request that is being executed.
        self._now: ClusterTime = 0  # As its entry says.
        self._changes: list[Change] = []
        self._moved = False  # Members have come, gone, or moved in this entry.
        self._commands: dict[type[Command], Callable[[Any], Reply]] = {
            Put: self._put,
            DeleteRange: self._delete_range,
            Range: self._range,
            Publish: self._publish,
            Found: partial(self._move, members.found),
            AddMember: partial(self._move, members.add),
            UpdateMember: partial(self._move, members.update),
            RegisterSession: self._register_session,
            ClusterVersion: self._cluster_version,
            Txn: self._txn,
            Compact: self._compact,
            Sweep: self._sweep_on_demand,
            LeaseGrant: self._grant,
            LeaseRevoke: self._revoke,
            LeaseRenew: self._renew,
            LeaseExpire: self._expire,
            LeaseTimeToLive: self._time_to_live,
        }

    def load(self, table: Table) -> None:
        """Forget all that is remembered, and read it from this table."""
        self._table, self._tracked = table, Tracked(table)
        row = table.get(STATE)
        self._state = State() if row is None else _state(row)
        self._sessions, self._digest = Sessions(self._tracked), Digest(self._tracked)
        self._leases = lease.Leases(self._tracked)

    def apply(self, entry: Entry, table: Table) -> Outcome:
        """Execute the entry. What a client sent never raises: an error is a reply.

        A batch that can't be decoded has no replies, on any replica.
        """
        if table is not self._table:
            self.load(table)
        if entry.kind is Kind.MEMBERS and entry.members is not None:
            members.settle(self._tracked, entry.members)
            self._moved = True
        before = encode(self._state)
        self._index, self._position, self._changes, self._now = entry.index, 0, [], entry.stamp
        replies = []
        for batch in entry.batches:
            try:
                requests = unpack(batch.requests)
            except UNDECODABLE:
                requests = ()
            replies.append([self._answer(request) for request in requests])
        self._sessions.save()
        if self._state.sweep is not None:
            self._sweep(SWEPT_BY_ENTRY)
        if (after := encode(self._state)) != before:
            self._tracked.put(STATE, after)
        moved, self._moved = self._moved, False
        return Outcome(replies, self._changes, moved)

    def read(self, query: Any, table: Table) -> Any:
        """Answer a `Range`, a `Txn` that only reads, or one of the queries of `commands` from the applied state.

        The first two may fail with a `Failure`.
        """
        if table is not self._table:
            self.load(table)
        if type(query) is Range:  # First, and without `match`: it is the frequent one.
            return self._range(query)
        match query:
            case Txn() if txn.only_reads(query):
                return self._txn(query)
            case History():
                return self._history(query)
            case ListMembers():
                return members.known(table)
            case Inspect():
                state = self._state
                return Overview(state.revision, state.compacted, state.cluster_version, state.sweep is not None)
            case ListLeases():
                return LeaseList(self._state.revision, self._leases.in_order())
            case lease.Count():
                leases = self._leases
                return lease.Counts(len(leases), leases.granted, leases.renewed, leases.revoked)
            case DueLeases():
                return Due(*self._leases.due(query.now, query.most), len(self._leases))
            case _:
                raise TypeError(f"not a query of the database: {query!r}")

    def digest(self, table: Table) -> bytes:
        """The digest of all replicated state, 32 bytes: see `database.digest`."""
        if table is not self._table:
            self.load(table)
        return self._digest.root()

    def _answer(self, request: Request) -> bytes:
        """Execute a request, unless its session says that it was executed before."""
        self._position += 1
        if request.client == 0:
            return self._execute(request.payload)
        earlier = self._sessions.earlier_reply(request, self._index, self._position)
        if earlier is None:
            reply = self._execute(request.payload)
            self._sessions.keep_reply(request, reply)
            return reply
        return encode(earlier) if isinstance(earlier, Failure) else earlier

    def _execute(self, payload: bytes) -> bytes:
        try:
            command = decode_command(payload)
        except (*UNDECODABLE, RecursionError):
            return _MALFORMED
        return encode(self._commands[type(command)](command))

    def _put(self, command: Put) -> Reply:
        state = self._state
        revision = state.revision + 1
        done = mvcc.put(self._table, command, revision, 0)
        if isinstance(done, Failure):
            return done
        old, new = done
        state.revision = revision
        self._changes.append(Change(revision, command.key, old, new))
        return PutDone(revision, old if command.prev_kv else None)

    def _delete_range(self, command: DeleteRange) -> Reply:
        state = self._state
        revision = state.revision + 1
        deleted = mvcc.delete_range(self._table, command, revision, 0)
        if isinstance(deleted, Failure):
            return deleted
        if deleted:
            state.revision = revision
            self._changes += [Change(revision, old.key, old, None) for old in deleted]
        return DeleteDone(state.revision, len(deleted), tuple(deleted) if command.prev_kv else ())

    def _range(self, query: Range) -> Reply:
        return mvcc.read(self._table, query, self._state.revision, self._state.compacted)

    def _history(self, query: History) -> Past:
        state = self._state
        if query.first < state.compacted:
            return Past([], query.first - 1, state.compacted)
        pairs, upto = mvcc.piece_of_history(self._table, query.first, query.most, query.size)
        changes = [Change(pair.mod_revision, pair.key, None, pair if pair.version else None) for pair in pairs]
        return Past(changes, state.revision if upto is None else upto, state.compacted)

    def _txn(self, command: Txn) -> Reply:
        state = self._state
        if refused := txn.objection(command):
            return refused.failure
        done, changes = txn.execute(self._table, command, state.revision, state.compacted)
        if changes:
            state.revision += 1
            self._changes += changes
        return done

    def _compact(self, command: Compact) -> Reply:
        state = self._state
        if command.revision <= state.compacted:
            return failures.COMPACTED
        if command.revision > state.revision:
            return failures.FUTURE_REVISION
        start = compaction.start_of(state.compacted)
        state.sweep = start if state.sweep is None else min(state.sweep, start)
        state.compacted = command.revision
        return CompactDone(state.revision)

    def _sweep_on_demand(self, command: Sweep) -> Reply:
        if self._state.sweep is not None:
            self._sweep(SWEPT_ON_DEMAND)
        return SweepDone(self._state.revision, self._state.sweep is not None)

    def _sweep(self, most: int) -> None:
        state = self._state
        assert state.sweep is not None, "asked only when there is something left"
        state.sweep = compaction.sweep(self._tracked, state.sweep, state.compacted, most)

    def _grant(self, command: LeaseGrant) -> Reply:
        granted = self._leases.grant(command.id, command.ttl, self._now)
        return granted if isinstance(granted, Failure) else LeaseGranted(self._state.revision, granted.ttl)

    def _revoke(self, command: LeaseRevoke) -> Reply:
        if self._leases.get(command.id) is None:
            return failures.LEASE_NOT_FOUND
        self._end_lease(command.id)
        return LeaseRevoked(self._state.revision)

    def _expire(self, command: LeaseExpire) -> Reply:
        expired = []
        for each in command.ids:
            if self._leases.is_due(each, self._now):
                self._end_lease(each)
                expired.append(each)
        return LeaseExpired(self._state.revision, tuple(expired))

    def _end_lease(self, ended: LeaseId) -> None:
        """It goes with all its keys, in one revision, in the order of keys."""
        state = self._state
        keys = lease.attached(self._table, ended)
        state.revision += bool(keys)
        for sub, key in enumerate(keys):
            deleted = mvcc.delete_range(self._table, DeleteRange(key), state.revision, sub)
            assert not isinstance(deleted, Failure) and len(deleted) == 1, (
                f"{key!r} is attached to {ended}, and is none"
            )
            self._changes.append(Change(state.revision, key, deleted[0], None))
        self._leases.remove(ended)

    def _renew(self, command: LeaseRenew) -> Reply:
        renew, now = self._leases.renew, self._now
        return LeaseRenewed(self._state.revision, tuple([renew(each, now) for each in command.ids]))

    def _time_to_live(self, command: LeaseTimeToLive) -> Reply:
        known = self._leases.get(command.id)
        if known is None:
            return LeaseLife(self._state.revision, -1)
        keys = tuple(lease.attached(self._table, command.id)) if command.keys else ()
        remaining = max(known.deadline - self._now, 0) // SECOND
        return LeaseLife(self._state.revision, remaining, known.ttl, keys)

    def _publish(self, command: Publish) -> Reply:
        return members.publish(self._tracked, command)

    def _move(self, change: Callable[[Tracked, Any], Reply], command: Command) -> Reply:
        """Change where members are."""
        self._moved = True
        return change(self._tracked, command)

    def _register_session(self, command: RegisterSession) -> Reply:
        client = self._sessions.begin(command.nonce, self._index, self._position)
        return client if isinstance(client, Failure) else SessionBegun(client)

    def _cluster_version(self, command: ClusterVersion) -> Reply:
        self._state.cluster_version = max(self._state.cluster_version, command.version)
        return Done()
