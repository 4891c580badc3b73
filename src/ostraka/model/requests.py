"""What is replicated: requests, batches of them, and the entries of a log.

The payload of a request is encoded once, where it arrives; the wire, the write-ahead log and
`Machine.apply` share the bytes.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from ostraka.model.ids import ORIGIN, ClusterTime, Epoch, Index, NodeId, Position


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One command of one client. Fields that are not used are empty, never absent."""

    payload: bytes
    client: int = 0  # The session's id; 0 is no session, and then nothing is ever submitted twice.
    number: int = 0  # Counts the session's requests from 1: the same number is the same request.
    acked: int = 0  # The client has seen all replies up to this number.
    principal: str = ""
    auth_revision: int = 0
    keyspace: int = 0
    range_epoch: int = 0
    signature: bytes = b""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Requests that one node took in during one turn, as they travel and are stored."""

    origin: NodeId
    life: int  # Drawn at each start of the node: an answer never reaches a later life's callers.
    number: int  # Counts the batches of that life.
    requests: bytes  # msgpack of tuple[Request, ...]: see `pack` and `unpack`.


class Members(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A configuration: who votes, who only learns, and, in a joint configuration, who voted before. (Raft §6)"""

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()

    def everyone(self) -> tuple[NodeId, ...]:
        """All members in ascending order."""
        return tuple(sorted({*self.voters, *self.learners, *self.outgoing}))


class Kind(IntEnum):
    """What an entry is for."""

    NOOP = 0  # A new leader's first entry, or the filling of a hole.
    REQUESTS = 1
    MEMBERS = 2


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One place in the log, decided as a whole."""

    index: Index
    epoch: Epoch
    stamp: ClusterTime
    kind: Kind = Kind.NOOP
    batches: tuple[Batch, ...] = ()
    members: Members | None = None

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.index)

    def size(self) -> int:
        """Bytes of the requests it carries: what flow control counts."""
        return sum(len(batch.requests) for batch in self.batches)


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a state of the machine is a state of: the last entry in it, and the configuration there. (Raft §7)"""

    epoch: Epoch
    index: Index
    stamp: ClusterTime
    members: Members
    digest: bytes = b""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.index)


def genesis(members: Members) -> SnapshotMeta:
    """The state before the first entry of a cluster that starts with these members."""
    return SnapshotMeta(ORIGIN.epoch, ORIGIN.index, 0, members)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Request, ...])


def pack(requests: tuple[Request, ...]) -> bytes:
    """The bytes of `Batch.requests`."""
    return _encoder.encode(requests)


def unpack(data: bytes) -> tuple[Request, ...]:
    """The requests of a batch. Raises `msgspec.DecodeError` for bytes that `pack` did not make."""
    return _decoder.decode(data)
