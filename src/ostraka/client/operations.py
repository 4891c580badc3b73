"""What a client asks for: operations, comparisons, and transactions of them.

    Txn().when(Version("job") == 0).then(Put("job", "mine")).otherwise(Get("job"))

Keys and values are bytes; a str stands for its UTF-8. Ranges are given as `key, end` (without `end`; b"\\0" is "to the
last key"), or as `prefix=`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Self, TypeVar, final

from ostraka.api import etcd
from ostraka.client.results import Order, SortBy

Key = str | bytes
Value_ = str | bytes

Result = TypeVar("Result", covariant=True)
LAST_KEY: Final = b"\0"  # As the end of a range: all keys from its start on.


def as_bytes(text: Key) -> bytes:
    """The bytes that a str stands for. TypeError for anything else."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode()
    raise TypeError(f"a key or value is bytes or str, not {type(text).__name__}: {text!r}")


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`; b"\\0", which is "to the last key", if there is none."""
    shortened = prefix.rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1]) if shortened else LAST_KEY


def span(key: Key | None, end: Key | None, prefix: Key | None) -> tuple[bytes, bytes]:
    """Key and range_end as etcd has them. TypeError unless exactly one of `key` and `prefix` is given."""
    if (key is None) == (prefix is None) or (prefix is not None and end is not None):
        raise TypeError("give either a key, a key and an end, or a prefix")
    if prefix is not None:
        start = as_bytes(prefix)
        return start or b"\0", prefix_end(start)
    assert key is not None, "one of the two is given"
    return as_bytes(key), b"" if end is None else as_bytes(end)


@final
@dataclass(frozen=True)
class Put:
    """Set a key. `ignore_value`, `ignore_lease`: keep what the key has, which must exist."""

    key: Key
    value: Value_ = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False

    def message(self) -> Any:
        """`etcd.PutRequest`."""
        return etcd.PutRequest(
            key=as_bytes(self.key),
            value=as_bytes(self.value),
            lease=self.lease,
            prev_kv=self.prev_kv,
            ignore_value=self.ignore_value,
            ignore_lease=self.ignore_lease,
        )


@final
@dataclass(frozen=True)
class Get:
    """Read a key or a range, as it was at `revision` (0: now). The bounds of revisions filter what is returned.

    `serializable`: answered by one member from what it has, which may be behind.
    """

    key: Key | None = None
    end: Key | None = None
    prefix: Key | None = None
    limit: int = 0
    revision: int = 0
    order: Order = Order.NONE
    sort_by: SortBy = SortBy.KEY
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0

    def message(self) -> Any:
        """`etcd.RangeRequest`."""
        key, end = span(self.key, self.end, self.prefix)
        return etcd.RangeRequest(
            key=key,
            range_end=end,
            limit=self.limit,
            revision=self.revision,
            sort_order=self.order,
            sort_target=self.sort_by,
            serializable=self.serializable,
            keys_only=self.keys_only,
            count_only=self.count_only,
            min_mod_revision=self.min_mod_revision,
            max_mod_revision=self.max_mod_revision,
            min_create_revision=self.min_create_revision,
            max_create_revision=self.max_create_revision,
        )


@final
@dataclass(frozen=True)
class Delete:
    """Delete a key or a range."""

    key: Key | None = None
    end: Key | None = None
    prefix: Key | None = None
    prev_kv: bool = False

    def message(self) -> Any:
        """`etcd.DeleteRangeRequest`."""
        key, end = span(self.key, self.end, self.prefix)
        return etcd.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.prev_kv)


class Comparison:
    """One condition of a transaction: `Version("k") == 0` makes one. Over a range it must be true of every key."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    def message(self) -> Any:
        """`etcd.Compare`."""
        return self._message

    def __bool__(self) -> bool:
        raise TypeError("a comparison is evaluated by the server: give several to when(), without `and`, `or`, `not`")


class _Compared:
    """What can stand on the left of a comparison. Where there is no key, its numbers are 0."""

    __slots__ = ("_end", "_key")
    __hash__ = None  # type: ignore[assignment]
    _target: str
    _field: str

    def __init__(self, key: Key | None = None, end: Key | None = None, *, prefix: Key | None = None) -> None:
        self._key, self._end = span(key, end, prefix)

    def _given(self, operand: Any) -> Any:
        if not isinstance(operand, int) or isinstance(operand, bool):
            raise TypeError(f"{type(self).__name__} is compared with a whole number, not {operand!r}")
        return operand

    def _compare(self, result: str, operand: Any) -> Comparison:
        return Comparison(
            etcd.Compare(
                key=self._key,
                range_end=self._end,
                target=self._target,
                result=result,
                **{self._field: self._given(operand)},
            )
        )

    def __eq__(self, operand: Any) -> Comparison:  # type: ignore[override]
        return self._compare("EQUAL", operand)

    def __ne__(self, operand: Any) -> Comparison:  # type: ignore[override]
        return self._compare("NOT_EQUAL", operand)

    def __lt__(self, operand: Any) -> Comparison:
        return self._compare("LESS", operand)

    def __gt__(self, operand: Any) -> Comparison:
        return self._compare("GREATER", operand)


class Version(_Compared):
    """How often the key was put since it was created; 0: it does not exist."""

    _target, _field = "VERSION", "version"


class CreateRevision(_Compared):
    """The revision that created the key; 0: it does not exist."""

    _target, _field = "CREATE", "create_revision"


class ModRevision(_Compared):
    """The revision that put the key last; 0: it does not exist."""

    _target, _field = "MOD", "mod_revision"


class LeaseOf(_Compared):
    """The id of the lease that the key hangs on; 0: none."""

    _target, _field = "LEASE", "lease"


class Value(_Compared):
    """The key's value. No comparison with the value of a key that does not exist is true, not even `!=`."""

    _target, _field = "VALUE", "value"

    def _given(self, operand: Any) -> Any:
        return as_bytes(operand)


@dataclass(frozen=True)
class Txn:
    """If all comparisons are true, do what `then` says, else what `otherwise` says: in order, and in one revision.

    Each method returns a new one, with its arguments added.
    """

    compares: tuple[Comparison, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()

    def when(self, *comparisons: Comparison) -> Self:
        """All of these have to be true."""
        if wrong := [each for each in comparisons if not isinstance(each, Comparison)]:
            raise TypeError(f'when() takes comparisons such as Version("k") == 0, not {wrong[0]!r}')
        return replace(self, compares=self.compares + comparisons)

    def then(self, *operations: Operation) -> Self:
        """What to do if they are."""
        return replace(self, success=self.success + operations)

    def otherwise(self, *operations: Operation) -> Self:
        """What to do if they aren't."""
        return replace(self, failure=self.failure + operations)

    def message(self) -> Any:
        """`etcd.TxnRequest`."""
        return etcd.TxnRequest(
            compare=[each.message() for each in self.compares],
            success=[_request_op(each) for each in self.success],
            failure=[_request_op(each) for each in self.failure],
        )

    def only_reads(self) -> bool:
        """Whether it can change nothing."""
        return all(
            isinstance(each, Get) or (isinstance(each, Txn) and each.only_reads())
            for each in (*self.success, *self.failure)
        )


@dataclass(frozen=True)
class BoundTxn(Txn, Generic[Result]):
    """A transaction that knows whom to ask."""

    send: Callable[[Txn, float | None], Result] | None = None

    def commit(self, timeout: float | None = None) -> Result:
        """Execute it. `timeout`: seconds; None: the client's."""
        assert self.send is not None, "only a client makes these"
        return self.send(self, timeout)


Operation = Put | Get | Delete | Txn


def _request_op(operation: Operation) -> Any:
    match operation:
        case Put():
            return etcd.RequestOp(request_put=operation.message())
        case Get():
            return etcd.RequestOp(request_range=operation.message())
        case Delete():
            return etcd.RequestOp(request_delete_range=operation.message())
        case Txn():
            return etcd.RequestOp(request_txn=operation.message())
        case _:
            raise TypeError(f"a transaction is made of Put, Get, Delete and Txn, not of {operation!r}")
