"""What happens to a replica: the one input of an engine.

A driver gathers all that came in during a turn and gives it to `Engine.step` in one call.
"""

from __future__ import annotations

import msgspec

from ostraka.model.ids import Index, NodeId, SaveToken, Token
from ostraka.model.requests import Entry, Members, Request, SnapshotMeta


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What replicas say to one another. Each engine declares its own, with integer tags: names never travel."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to this replica."""


class Receive(Event, frozen=True, gc=False):
    """A message arrived. It may be late, doubled or out of order; for PBFT it may be a lie."""

    sender: NodeId
    message: Message


class Wake(Event, frozen=True, gc=False):
    """The deadline that the engine asked for has come."""


class Propose(Event, frozen=True, gc=False):
    """Order these requests. Each token ends exactly once: in a `Commit` that names it, `Rejected` or `Lost`."""

    requests: tuple[tuple[Token, Request], ...]


class Read(Event, frozen=True, gc=False):
    """Which index must be applied before a read that starts now is linearizable?

    Each token ends exactly once: in `ReadAt`, `OrderRead`, `Rejected` or `Lost`.
    """

    tokens: tuple[Token, ...]


class ChangeMembers(Event, frozen=True, gc=False):
    """Make this the configuration. The token ends in `Done`, `Rejected` or `Lost`.

    New voters catch up as learners first. With `base` it is refused unless the change begins there.
    """

    token: Token
    members: Members
    base: Members | None = None


class TransferLeadership(Event, frozen=True, gc=False):
    """Hand leadership to this member. The token ends in `Done`, `Rejected` or `Lost`."""

    token: Token
    to: NodeId


class ForgetLeader(Event, frozen=True, gc=False):
    """The leader is known to be gone: vote for others from now on, before its silence has lasted long enough."""


class Saved(Event, frozen=True, gc=False):
    """All saves up to this one are durable."""

    token: SaveToken


class SaveFailed(Event, frozen=True, gc=False):
    """A save did not become durable. A failed fsync is never retried: the replica is finished."""

    reason: str


class Loaded(Event, frozen=True, gc=False):
    """The answer to `Load`: the first of the entries asked for, or none if they were compacted away."""

    token: Token
    entries: tuple[Entry, ...]


class Applied(Event, frozen=True, gc=False):
    """The state machine has executed all entries up to `index`, and is durable up to `flushed`."""

    index: Index
    flushed: Index
    digest: bytes = b""


class SnapshotTaken(Event, frozen=True, gc=False):
    """The answer to `TakeSnapshot`: this state is held, and peers can pull it."""

    meta: SnapshotMeta


class SnapshotFetched(Event, frozen=True, gc=False):
    """The answer to `FetchSnapshot`: all of it is here, verified, or it could not be had."""

    meta: SnapshotMeta
    ok: bool


class SnapshotInstalled(Event, frozen=True, gc=False):
    """The answer to `InstallSnapshot`: the state machine durably is this state."""

    meta: SnapshotMeta


class Verified(Event, frozen=True, gc=False):
    """The answer to `Verify`: which of the signatures hold."""

    token: Token
    oks: tuple[bool, ...]


class LinkUp(Event, frozen=True, gc=False):
    """A connection to this peer stands."""

    peer: NodeId


class LinkDown(Event, frozen=True, gc=False):
    """The connection to this peer broke: what was sent lately may be lost."""

    peer: NodeId
