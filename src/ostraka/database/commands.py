"""What can be asked of the database, and what it answers: the words that travel and are stored.

A command is the payload of a `Request`; a reply holds nothing of one replica, so that replies can be compared.
All are msgpack arrays that begin with an integer tag: tags and the order of fields never change, and a new kind
of command is proposed only once the cluster version allows it. Golden bytes test them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from ostraka.database.members import Place

from ostraka.model.ids import ClusterTime
from ostraka.model.machine import Change

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
"""An id or a counter, up to 64 bits."""

LeaseId = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A lease's id. 0 is no lease."""


class Code(IntEnum):
    """gRPC's status codes, as far as the database answers with them."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14


class SortOrder(IntEnum):
    """Numbered as etcd's `RangeRequest.SortOrder`."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortTarget(IntEnum):
    """Numbered as etcd's `RangeRequest.SortTarget`."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class Target(IntEnum):
    """What of a key is compared. Numbered as etcd's `Compare.CompareTarget`."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Relation(IntEnum):
    """How it is compared with what is given. Numbered as etcd's `Compare.CompareResult`."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class KeyValue(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A key with its value, as etcd's `mvccpb.KeyValue`. A tombstone has only key and mod revision: version 0."""

    key: bytes
    create_revision: int
    mod_revision: int
    version: int
    value: bytes
    lease: int = 0


class MemberInfo(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What a member announces about itself."""

    id: Unsigned
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False


class Registration(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A member and the disk that is its own: peers refuse another disk under its name."""

    member: MemberInfo
    disk: Unsigned


# ---- Commands -------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Something to be done, in the order of the log."""


class Put(Command, frozen=True, tag=1):
    """Set a key. `ignore_value`, `ignore_lease`: keep what the key has, which must exist.

    Errors: no key; a value or lease given that is to be ignored; `ignore_*` of a key that doesn't exist; no such lease.
    """

    key: bytes
    value: bytes = b""
    lease: LeaseId = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Range(Command, frozen=True, tag=2):
    """Read the keys in [key, range_end): one key if `range_end` is empty, all keys from `key` on if it is b"\\0".

    A query for `Database.read`; proposed as a command, it is a read in the order of the log (`OrderRead`).
    """

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    sort_order: int = SortOrder.NONE
    sort_target: int = SortTarget.KEY
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class Publish(Command, frozen=True, tag=3):
    """A member announces its attributes, and registers its disk. Error: another disk is registered for it."""

    member: MemberInfo
    disk: Unsigned


class RegisterSession(Command, frozen=True, tag=4):
    """Begin a session, within which a request is executed once however often it is submitted.

    `nonce`: drawn by the proposer, so that a cluster restored from a backup gives out other ids than before.
    """

    nonce: Unsigned


class ClusterVersion(Command, frozen=True, tag=5):
    """From here on, commands of this version may be proposed. It never goes back: a lower one changes nothing."""

    version: Unsigned


class DeleteRange(Command, frozen=True, tag=6):
    """Delete the keys in a range, named as in `Range`: all in one revision, or none at all if there are none."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class Compare(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What a transaction asks of every key in a range, named as in `Range`.

    Compared with `value` if the target is VALUE, with `number` otherwise. Where there is no key, version, revisions and
    lease are 0, and no comparison with a value is true.
    """

    key: bytes
    range_end: bytes = b""
    target: int = Target.VERSION
    relation: int = Relation.EQUAL
    number: int = 0
    value: bytes = b""


class Txn(Command, frozen=True, tag=7):
    """If all comparisons are true do what `success` lists, in this order, else what `failure` does: in one revision.

    None is an operation that says nothing; etcd refuses it, and so do we.
    """

    compares: tuple[Compare, ...] = ()
    success: tuple[Operation | None, ...] = ()
    failure: tuple[Operation | None, ...] = ()


Operation = Put | Range | DeleteRange | Txn
"""What a transaction may hold."""


class Compact(Command, frozen=True, tag=8):
    """Forget what was before this revision: reads below it are refused at once, and their rows go bit by bit."""

    revision: int


class Sweep(Command, frozen=True, tag=9):
    """Remove some more of what compaction made superfluous: for those who wait until it is gone."""


class LeaseGrant(Command, frozen=True, tag=10):
    """A new lease, `ttl` seconds long. Errors: no id; there is such a lease; the TTL is too large."""

    id: LeaseId
    ttl: int


class LeaseRevoke(Command, frozen=True, tag=11):
    """End a lease, and delete all its keys in one revision. Error: no such lease."""

    id: LeaseId


class LeaseRenew(Command, frozen=True, tag=12):
    """Let these leases live for a whole TTL from here on: what all keep-alives of a while come to."""

    ids: tuple[LeaseId, ...]


class LeaseExpire(Command, frozen=True, tag=13):
    """Revoke those of these leases whose deadline is not after the entry's cluster time, each in a revision of its own.

    Without any it does nothing but write down, by being an entry, how far cluster time has come.
    """

    ids: tuple[LeaseId, ...] = ()


class LeaseTimeToLive(Command, frozen=True, tag=14):
    """How long will this lease live? Ordered like what writes, since only an entry knows the time."""

    id: LeaseId
    keys: bool = False


class Found(Command, frozen=True, tag=16):
    """The members that a cluster begins with, and their peer URLs. Each of them says so, and the first is heard."""

    peers: tuple[tuple[Unsigned, tuple[str, ...]], ...]


class AddMember(Command, frozen=True, tag=17):
    """This member is about to be added: it is reached there. `promote`: it shall vote once it has caught up.

    Errors: the id is a member's, or was one's; a member has one of these URLs.
    """

    id: Unsigned
    peer_urls: tuple[str, ...]
    promote: bool


class UpdateMember(Command, frozen=True, tag=18):
    """This member is reached there from now on. Errors: no such member; another member has one of these URLs."""

    id: Unsigned
    peer_urls: tuple[str, ...]


# ---- Queries that are never replicated ------------------------------------------------------------------------------


class ListMembers(msgspec.Struct, frozen=True, gc=False):
    """Who has published, and who is where, in the order of ids. Answer: `Members`."""


class History(msgspec.Struct, frozen=True, gc=False):
    """What changed from this revision on, up to about so many changes and bytes of them. Answer: `Past`."""

    first: int
    most: int
    size: int


class Inspect(msgspec.Struct, frozen=True, gc=False):
    """How far the database has come. Answer: `Overview`."""


class ListLeases(msgspec.Struct, frozen=True, gc=False):
    """All leases, the one with the earliest deadline first. Answer: `LeaseList`."""


class DueLeases(msgspec.Struct, frozen=True, gc=False):
    """At most so many leases whose deadline is not after `now`. Answer: `Due`."""

    now: ClusterTime
    most: int


# ---- Replies --------------------------------------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What a command came to."""


class Failure(Reply, frozen=True, tag=0):
    """An error: gRPC's code and etcd's exact message, which clients compare.

    `unknown`: the request may have been executed before (`errors.OutcomeUnknown`). Otherwise it was not, and
    never will be.
    """

    code: int
    message: str
    unknown: bool = False


class PutDone(Reply, frozen=True, tag=1):
    """`previous`: what the key was before, if it was asked for and there was any."""

    revision: int
    previous: KeyValue | None = None


class RangeDone(Reply, frozen=True, tag=2):
    """`revision` is the store's current one, whatever revision was read. `count` ignores limit and filters."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    count: int = 0


class Done(Reply, frozen=True, tag=3):
    """It is done; there is nothing more to say."""


class SessionBegun(Reply, frozen=True, tag=4):
    """The new session's id: `Request.client` of its requests."""

    client: int


class DeleteDone(Reply, frozen=True, tag=5):
    """`previous`: what was deleted, in the order of keys, if it was asked for."""

    revision: int
    deleted: int
    previous: tuple[KeyValue, ...] = ()


class TxnDone(Reply, frozen=True, tag=6):
    """`responses`: one for each operation of the branch that was taken. `revision`: the store's after the last."""

    revision: int
    succeeded: bool
    responses: tuple[Response, ...] = ()


Response = PutDone | RangeDone | DeleteDone | TxnDone
"""What an operation of a transaction came to."""


class CompactDone(Reply, frozen=True, tag=7):
    """`revision` is the store's current one."""

    revision: int


class SweepDone(Reply, frozen=True, tag=8):
    """`left`: there is more to remove."""

    revision: int
    left: bool


class LeaseGranted(Reply, frozen=True, tag=10):
    """`ttl`: what was granted, in seconds. `revision` is the store's current one, as in all that follow."""

    revision: int
    ttl: int


class LeaseRevoked(Reply, frozen=True, tag=11):
    """The revision is that of the keys' deletion, if there were any."""

    revision: int


class LeaseRenewed(Reply, frozen=True, tag=12):
    """`ttls`: for each lease how many seconds it has got, 0 where there is no such lease."""

    revision: int
    ttls: tuple[int, ...]


class LeaseExpired(Reply, frozen=True, tag=13):
    """`expired`: which of them were due, and are gone."""

    revision: int
    expired: tuple[LeaseId, ...]


class LeaseLife(Reply, frozen=True, tag=14):
    """`remaining`: whole seconds until the deadline, -1 if there is no such lease. `keys`: if they were asked for."""

    revision: int
    remaining: int
    granted: int = 0
    keys: tuple[bytes, ...] = ()


class Members(msgspec.Struct, frozen=True, gc=False):
    """The answer to `ListMembers`."""

    registrations: tuple[Registration, ...]
    places: tuple[tuple[int, Place], ...] = ()  # By id: of members, and of those that are to be or were.


class Past(msgspec.Struct, frozen=True, gc=False):
    """The answer to `History`. What keys were before their changes is not looked up: `old` is None in all of them."""

    changes: list[Change]  # In their order; none if what was asked for is forgotten in part.
    upto: int  # These are all changes up to this revision.
    compacted: int  # What was before this is forgotten; -1: nothing.


class Overview(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Inspect`. `compact_revision`: reads below it are refused; -1 before the first compaction."""

    revision: int
    compact_revision: int
    cluster_version: int
    sweeping: bool = False  # What a compaction forgot is not all removed yet.


class LeaseList(msgspec.Struct, frozen=True, gc=False):
    """The answer to `ListLeases`."""

    revision: int
    ids: tuple[LeaseId, ...]


class Due(msgspec.Struct, frozen=True, gc=False):
    """The answer to `DueLeases`. `more`: there may be others. `leases`: how many there are, due or not."""

    ids: tuple[LeaseId, ...]
    more: bool
    leases: int


_encoder = msgspec.msgpack.Encoder()
_OfKeys = Put | Range | DeleteRange | Txn | Compact | Sweep
_OfLeases = LeaseGrant | LeaseRevoke | LeaseRenew | LeaseExpire | LeaseTimeToLive
_OfMembers = Publish | Found | AddMember | UpdateMember
_command: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(
    _OfKeys | _OfLeases | _OfMembers | RegisterSession | ClusterVersion
)
_reply: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(
    Failure
    | PutDone
    | RangeDone
    | Done
    | SessionBegun
    | DeleteDone
    | TxnDone
    | CompactDone
    | SweepDone
    | LeaseGranted
    | LeaseRevoked
    | LeaseRenewed
    | LeaseExpired
    | LeaseLife
)

encode = _encoder.encode
"""The bytes of a command or reply."""


def decode_command(payload: bytes) -> Command:
    """Raises `msgspec.DecodeError` or `UnicodeDecodeError` for bytes that are no command, and `RecursionError` for
    transactions within transactions far beyond what `txn` allows: how far depends on the caller's own depth.
    """
    return _command.decode(payload)


def decode_reply(data: bytes) -> Reply:
    """The reply that `encode` made the bytes of."""
    return _reply.decode(data)
