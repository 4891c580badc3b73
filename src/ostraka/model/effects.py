"""What a replica wants done: plain data, whose docstrings are the contract for the driver.

A driver carries out the effects of one `step` in their order.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ostraka.model.events import Message
from ostraka.model.ids import Epoch, Index, NodeId, SaveToken, Token
from ostraka.model.requests import Entry, Members, SnapshotMeta


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a replica must not forget. Each engine declares its own, with integer tags."""

    def mark(self) -> Index:
        """The log index that this record is about, 0 for one that isn't about an index.

        The write-ahead log keeps a record until its mark is compacted away. A record with mark 0 is
        the engine's hard state, kept until it is written again (see `Engine.hard_state`).
        """
        return 0


class Effect(msgspec.Struct, frozen=True, gc=False):
    """Something that the driver must do."""


class Save(Effect, frozen=True, gc=False):
    """Make these records durable, in the order in which saves are issued.

    A `Send` names the save that it waits for: a promise never leaves before it is on disk. A driver
    may join many saves into one fsync, across groups, and answers `Saved(token)` for all up to that
    token. After `SaveFailed` the replica is finished.
    """

    token: SaveToken
    records: tuple[Record, ...]


class Load(Effect, frozen=True, gc=False):
    """Read the entries from `first` to `last` back from the write-ahead log, and answer `Loaded`.

    About `size` bytes of them are enough, and at least one entry, unless they were given up by a `Compact`. They are
    durable: what can't be read ends the replica.
    """

    token: Token
    first: Index
    last: Index
    size: int


class Send(Effect, frozen=True, gc=False):
    """Send the message to these members once save `after` is durable; 0: at once.

    The network may lose, delay, double and reorder; the engine expects nothing else. A driver that
    drops a message says nothing.
    """

    to: tuple[NodeId, ...]
    message: Message
    after: SaveToken


class Named(msgspec.Struct, frozen=True, gc=False):
    """Whose requests a committed batch holds: those of this replica's own callers, one token for each request."""

    index: Index
    batch: int  # Which of the entry's batches, from 0.
    tokens: tuple[Token, ...]


class Commit(Effect, frozen=True, gc=False):
    """These entries are decided: apply them in this order, and answer the callers that `named` names.

    Entries come without gaps, each once for each life of the replica, from the one after `applied`.
    """

    entries: tuple[Entry, ...]
    named: tuple[Named, ...] = ()


class ReadAt(Effect, frozen=True, gc=False):
    """These reads are linearizable once `index` is applied here."""

    tokens: tuple[Token, ...]
    index: Index


class OrderRead(Effect, frozen=True, gc=False):
    """These reads must be proposed like commands: this engine has no other way."""

    tokens: tuple[Token, ...]


class Done(Effect, frozen=True, gc=False):
    """What these tokens asked for has been done."""

    tokens: tuple[Token, ...]


class Why(StrEnum):
    """Why something did not happen."""

    NO_LEADER = "no leader"
    OVERLOADED = "too many uncommitted bytes"
    TRANSFERRING = "leadership is being transferred"
    NOT_LEADER = "this member does not lead"
    CHANGING = "a change of members is under way"
    CHANGED = "the members are others than this change begins with"
    NO_CONFIGURATION = "a configuration has at least one voter, names each member once, and is never asked for as joint"
    NOT_A_VOTER = "that member does not vote"
    NOT_A_MEMBER = "this member does not belong to the cluster"
    BEHIND = "that member does not catch up in time"
    UNSUPPORTED = "not supported"
    FINISHED = "the replica has stopped: its disk failed"
    REFILLING = "this member refills its log from the others, since its disk was damaged: ask another member"


class Rejected(Effect, frozen=True, gc=False):
    """What these tokens asked for did not happen, and never will. `leader`: who probably leads, 0 for nobody known."""

    tokens: tuple[Token, ...]
    why: Why
    leader: NodeId = 0


class Lost(Effect, frozen=True, gc=False):
    """What these tokens asked for may have happened, or may yet."""

    tokens: tuple[Token, ...]


class TakeSnapshot(Effect, frozen=True, gc=False):
    """Hold the applied state for peers to pull, and answer `SnapshotTaken`.

    The state held is that of `index`, or, unless `exactly`, of any later applied index.
    """

    index: Index
    exactly: bool = False


class FetchSnapshot(Effect, frozen=True, gc=False):
    """Pull this state from one of these members, chunk by chunk, and answer `SnapshotFetched`."""

    meta: SnapshotMeta
    sources: tuple[NodeId, ...]


class InstallSnapshot(Effect, frozen=True, gc=False):
    """Replace the state machine's state by the one fetched, durably, and answer `SnapshotInstalled`."""

    meta: SnapshotMeta


class Compact(Effect, frozen=True, gc=False):
    """Records about indexes below this one will never be asked for again."""

    below: Index


class MembersActive(Effect, frozen=True, gc=False):
    """This is the configuration now. Links are kept to all of `Status.everyone`, which may have changed, too."""

    members: Members
    index: Index


class Verify(Effect, frozen=True, gc=False):
    """Check these signatures, each a (signer, bytes, signature), and answer `Verified`."""

    token: Token
    claims: tuple[tuple[NodeId, bytes, bytes], ...]


class Evidence(Effect, frozen=True, gc=False):
    """Proof that this member broke the protocol; keep it."""

    culprit: NodeId
    proof: bytes


class RoleChanged(Effect, frozen=True, gc=False):
    """Who leads, as far as this replica knows. `leader` 0: nobody."""

    role: str
    epoch: Epoch
    leader: NodeId


class Refilled(Effect, frozen=True, gc=False):
    """All that this replica may ever have acknowledged is durable here again, up to `index`: it takes full part."""

    index: Index


class Stranded(Effect, frozen=True, gc=False):
    """This replica refills, and so do these: the others are no quorum, so no leader will come. A person must decide."""

    refilling: tuple[NodeId, ...]


class Discarded(Effect, frozen=True, gc=False):
    """A message was not acted upon. For metrics and for the reader of a trace."""

    sender: NodeId
    reason: str
