"""What the client's methods return."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key as it was at some revision. Of a deleted one only `key` and `mod_revision` are told: its version is 0."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int  # How often it was put since it was created.
    lease: int = 0


class PutResult(msgspec.Struct, frozen=True):
    """`previous`: what the key was before, if `prev_kv` asked for it and there was any."""

    revision: int
    previous: KeyValue | None = None


class RangeResult(msgspec.Struct, frozen=True):
    """`revision`: the store's present one, whichever was read. `count`: all keys in the range, also beyond `limit`."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False  # `limit` cut some off.
    count: int = 0


class DeleteResult(msgspec.Struct, frozen=True):
    """`revision`: the store's after it. `previous`: what was deleted, if `prev_kv` asked for it."""

    revision: int
    deleted: int
    previous: tuple[KeyValue, ...] = ()


class TxnResult(msgspec.Struct, frozen=True):
    """`succeeded`: all comparisons were true. `responses`: one for each operation of the branch that was taken."""

    revision: int
    succeeded: bool
    responses: tuple[Response, ...] = ()


Response = PutResult | RangeResult | DeleteResult | TxnResult


class Member(msgspec.Struct, frozen=True):
    """A member of the cluster. It has no name and no client URLs before it first started."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False


class Status(msgspec.Struct, frozen=True):
    """What one member says of itself. `leader`: the id of the member that leads, as far as it knows; else 0."""

    member: int
    leader: int
    term: int
    index: int  # The last of its log that is committed,
    applied_index: int  # and the last that it has executed.
    revision: int
    version: str
    size: int  # Bytes of its database.
    learner: bool = False
    errors: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """This member leads, as far as it knows."""
        return self.member == self.leader


class Order(IntEnum):
    """In which order a range is returned. Numbered as etcd's."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortBy(IntEnum):
    """By what it is sorted. Numbered as etcd's."""

    KEY = 0
    VERSION = 1
    CREATE_REVISION = 2
    MOD_REVISION = 3
    VALUE = 4


# From etcd's messages.


def key_value(message: Any) -> KeyValue:
    """From `etcd.KeyValue`."""
    return KeyValue(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def put_result(reply: Any) -> PutResult:
    """From `etcd.PutResponse`."""
    return PutResult(reply.header.revision, key_value(reply.prev_kv) if reply.HasField("prev_kv") else None)


def range_result(reply: Any) -> RangeResult:
    """From `etcd.RangeResponse`."""
    return RangeResult(reply.header.revision, tuple(map(key_value, reply.kvs)), reply.more, reply.count)


def delete_result(reply: Any) -> DeleteResult:
    """From `etcd.DeleteRangeResponse`."""
    return DeleteResult(reply.header.revision, reply.deleted, tuple(map(key_value, reply.prev_kvs)))


def txn_result(reply: Any) -> TxnResult:
    """From `etcd.TxnResponse`. Nested ones carry no revision of their own: they get the outer one's."""
    return _txn_result(reply, reply.header.revision)


def _txn_result(reply: Any, revision: int) -> TxnResult:
    responses: list[Response] = []
    for each in reply.responses:
        match each.WhichOneof("response"):
            case "response_range":
                responses.append(range_result(each.response_range))
            case "response_put":
                responses.append(put_result(each.response_put))
            case "response_delete_range":
                responses.append(delete_result(each.response_delete_range))
            case "response_txn":
                responses.append(_txn_result(each.response_txn, revision))
    return TxnResult(revision, reply.succeeded, tuple(responses))


def member(message: Any) -> Member:
    """From `etcd.Member`."""
    return Member(message.ID, message.name, tuple(message.peerURLs), tuple(message.clientURLs), bool(message.isLearner))


def status(reply: Any) -> Status:
    """From `etcd.StatusResponse`."""
    return Status(
        reply.header.member_id,
        reply.leader,
        reply.raftTerm,
        reply.raftIndex,
        reply.raftAppliedIndex,
        reply.header.revision,
        reply.version,
        reply.dbSize,
        bool(reply.isLearner),
        tuple(reply.errors),
    )
