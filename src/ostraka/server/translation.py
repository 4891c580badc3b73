"""etcd's messages into the database's commands, and what those came to into etcd's messages: the less frequent ones.

Nothing is checked here, so that the database checks it in etcd's order. What can't be said in a command becomes
something that the database refuses: an operation that says nothing is None, and a comparison whose value is of another
kind than its target has no target that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ostraka.api.packing import Packer
from ostraka.database.commands import (
    Compare,
    DeleteDone,
    DeleteRange,
    Operation,
    Put,
    PutDone,
    Range,
    RangeDone,
    Response,
    Target,
    Txn,
    TxnDone,
)

_OF_TARGET: Final = {
    Target.VERSION: "version",
    Target.CREATE: "create_revision",
    Target.MOD: "mod_revision",
    Target.VALUE: "value",
    Target.LEASE: "lease",
}
_NO_TARGET: Final = -1


def range_of(ask: Any) -> Range:
    """`etcdserverpb.RangeRequest`, but for `serializable`."""
    return Range(
        ask.key,
        ask.range_end,
        ask.limit,
        ask.revision,
        ask.sort_order,
        ask.sort_target,
        ask.keys_only,
        ask.count_only,
        ask.min_mod_revision,
        ask.max_mod_revision,
        ask.min_create_revision,
        ask.max_create_revision,
    )


def put_of(ask: Any) -> Put:
    """`etcdserverpb.PutRequest`."""
    return Put(ask.key, ask.value, ask.lease, ask.prev_kv, ask.ignore_value, ask.ignore_lease)


def delete_of(ask: Any) -> DeleteRange:
    """`etcdserverpb.DeleteRangeRequest`."""
    return DeleteRange(ask.key, ask.range_end, ask.prev_kv)


def txn_of(ask: Any) -> Txn:
    """`etcdserverpb.TxnRequest`."""
    return Txn(
        tuple(map(_compare_of, ask.compare)),
        tuple(map(_operation_of, ask.success)),
        tuple(map(_operation_of, ask.failure)),
    )


def operations_in(ask: Any, most: int) -> int:
    """How many comparisons and operations there are in a `TxnRequest`; if more than `most`, just one more than that."""
    number, waiting = 0, [ask]
    while waiting:
        each = waiting.pop()
        number += len(each.compare) + len(each.success) + len(each.failure)
        if number > most:
            return most + 1
        for operations in (each.success, each.failure):
            waiting += [operation.request_txn for operation in operations if operation.HasField("request_txn")]
    return number


def is_serializable(ask: Any) -> bool:
    """Whether a `TxnRequest` may be answered from what one member has: all that it does are serializable ranges.

    One that only compares is not: unlike etcd, we don't take a promise from an empty list.
    """
    operations = (*ask.success, *ask.failure)
    return bool(operations) and all(each.request_range.serializable for each in operations)


def _compare_of(ask: Any) -> Compare:
    target, given = ask.target, ask.WhichOneof("target_union")
    if given is None:
        return Compare(ask.key, ask.range_end, target, ask.result)
    if _OF_TARGET.get(target) != given:
        return Compare(ask.key, ask.range_end, _NO_TARGET)
    if target == Target.VALUE:
        return Compare(ask.key, ask.range_end, target, ask.result, 0, ask.value)
    return Compare(ask.key, ask.range_end, target, ask.result, getattr(ask, given))


def _operation_of(ask: Any) -> Operation | None:
    name = ask.WhichOneof("request")
    return None if name is None else _OPERATIONS[name](getattr(ask, name))


_OPERATIONS: Final[dict[str, Callable[[Any], Operation]]] = {
    "request_range": range_of,
    "request_put": put_of,
    "request_delete_range": delete_of,
    "request_txn": txn_of,
}


def delete_response(packer: Packer, done: DeleteDone) -> bytes:
    """`etcdserverpb.DeleteRangeResponse`."""
    return packer.delete_response(done.revision, done.deleted, done.previous)


def txn_response(packer: Packer, done: TxnDone) -> bytes:
    """`etcdserverpb.TxnResponse`."""
    return packer.txn_response(done.revision, done.succeeded, map(_response_op, done.responses))


_WITHIN: Final = Packer(0, 0, 0)
"""The headers within a transaction tell the revision and nothing else; those of nested transactions nothing at all."""


def _response_op(done: Response) -> tuple[bytes, bytes]:
    """The tag of `etcdserverpb.ResponseOp`'s field, and what is in it."""
    match done:
        case RangeDone():
            return b"\x0a", _WITHIN.range_response(done.revision, done.kvs, done.more, done.count)
        case PutDone():
            return b"\x12", _WITHIN.put_response(done.revision, done.previous)
        case DeleteDone():
            return b"\x1a", delete_response(_WITHIN, done)
        case TxnDone():
            return b"\x22", _WITHIN.txn_response(0, done.succeeded, map(_response_op, done.responses))
