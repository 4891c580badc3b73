"""Transactions: comparisons, then one of two lists of operations, all of it in one revision.

What can be refused is refused before anything is written: first for the transaction itself (`objection`: also asked
where it arrives, before it is ordered), then for the way that it takes in the present state. That way is decided once,
for nested transactions too, against the state before the transaction. So nothing is ever half done.

Departs: etcd's server stops when a key is deleted by "all keys from k on", and then put with `ignore_value` in the
same transaction. Here the key is not found, before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ostraka.database import failures, lease, mvcc
from ostraka.database.commands import (
    Compare,
    DeleteDone,
    DeleteRange,
    Failure,
    KeyValue,
    Operation,
    Put,
    PutDone,
    Range,
    RangeDone,
    Relation,
    Response,
    Target,
    Txn,
    TxnDone,
)
from ostraka.database.mvcc import OPEN_END
from ostraka.model.machine import Change, Table

MOST_NESTED = 64
"""Transactions within one another. More than a client can send in protobuf, and few enough for any stack."""

_NO_KEY = KeyValue(b"", 0, 0, 0, b"")


class Objection(NamedTuple):
    """An error, and what its text leaves out, in ASCII."""

    failure: Failure
    detail: str = ""


def objection(txn: Txn, most: int = 1 << 62) -> Objection | None:
    """What is wrong with the transaction, whatever the state.

    `most`: so many operations one list may have; what a transaction leaves of them is for those within it.
    """
    if _is_too_deep(txn, MOST_NESTED):  # Asked first: still deeper, and it could not even have been decoded.
        return Objection(failures.MALFORMED)
    return _malformation(txn, most) or _overlap(txn.success, _Named()) or _overlap(txn.failure, _Named())


def only_reads(txn: Txn) -> bool:
    """Whether neither branch can change anything."""
    return all(
        only_reads(operation) if type(operation) is Txn else type(operation) is Range
        for operation in (*txn.success, *txn.failure)
    )


def execute(table: Table, txn: Txn, revision: int, compacted: int) -> tuple[TxnDone | Failure, list[Change]]:
    """Do it, on a store that is at `revision`, and tell what has changed. There must be no `objection`."""
    way = _decide(table, txn)
    refused = _refusal(table, way, revision, compacted)
    if refused is not None:
        return refused, []
    execution = _Execution(table, revision, compacted)
    return execution.follow(way), execution.changes


# ---- The transaction itself ------------------------------------------------------------------------------------------


def _is_too_deep(txn: Txn, left: int) -> bool:
    return any(
        left == 1 or _is_too_deep(operation, left - 1)
        for operation in (*txn.success, *txn.failure)
        if type(operation) is Txn
    )


def _malformation(txn: Txn, most: int) -> Objection | None:
    """The first thing that is wrong, in etcd's order."""
    size = max(len(txn.compares), len(txn.success), len(txn.failure))
    if size > most:
        detail = f"a list of {size} comparisons or operations, where at most {most} are allowed"
        return Objection(failures.TOO_MANY_OPERATIONS, detail)
    for compare in txn.compares:
        if not compare.key:
            return Objection(failures.EMPTY_KEY, "in a comparison")
        if not (0 <= compare.target <= Target.LEASE and 0 <= compare.relation <= Relation.NOT_EQUAL):
            return Objection(failures.INVALID_COMPARISON)
    for operation in (*txn.success, *txn.failure):
        refused: Failure | None = None
        match operation:
            case Txn():
                if nested := _malformation(operation, most - size):
                    return nested
            case Put():
                refused = mvcc.contradiction(operation)
            case Range():
                refused = mvcc.malformation(operation)
            case DeleteRange():
                refused = None if operation.key else failures.EMPTY_KEY
            case None:
                refused = failures.KEY_NOT_FOUND
        if refused is not None:
            return Objection(refused)
    return None


class _Named:
    """The keys that a list of operations puts and those that it deletes, with all that is nested in it."""

    def __init__(self) -> None:
        self.put: set[bytes] = set()
        self.deleted: set[bytes] = set()
        self.ranges: set[tuple[bytes, bytes]] = set()

    def deletes(self, key: bytes) -> bool:
        # Like etcd's, this check doesn't see that a range whose end is open, b"\0", has keys in it.
        return key in self.deleted or any(start <= key < end for start, end in self.ranges)


def _overlap(operations: tuple[Operation | None, ...], named: _Named) -> Objection | None:
    """A key that is put twice, or put and deleted, where both can come to pass. Collects in `named` what is named.

    Not seen, as in etcd: a deletion in a nested transaction after another nested one that puts the key.
    """
    for operation in operations:
        if type(operation) is DeleteRange:
            if operation.range_end:
                named.ranges.add((operation.key, operation.range_end))
            else:
                named.deleted.add(operation.key)
    for operation in operations:
        if type(operation) is Txn:
            success, failure = _Named(), _Named()
            if refused := _overlap(operation.success, success) or _overlap(operation.failure, failure):
                return refused
            for key in sorted(success.put | failure.put):
                if key in named.put or named.deletes(key):
                    return _duplicate(key)
            named.put |= success.put | failure.put
            named.deleted |= success.deleted | failure.deleted
            named.ranges |= success.ranges | failure.ranges
    for operation in operations:
        if type(operation) is Put:
            if operation.key in named.put or named.deletes(operation.key):
                return _duplicate(operation.key)
            named.put.add(operation.key)
    return None


def _duplicate(key: bytes) -> Objection:
    return Objection(failures.DUPLICATE_KEY, f"key {key[:64]!r}{'...' if len(key) > 64 else ''}")


# ---- Its way through the present state -------------------------------------------------------------------------------


class _Way(NamedTuple):
    """Which branch is taken, and, for each transaction in it, in their order, which branch is taken there."""

    succeeded: bool
    operations: tuple[Operation | None, ...]
    nested: tuple[_Way, ...]


def _decide(table: Table, txn: Txn) -> _Way:
    succeeded = all(_holds(table, compare) for compare in txn.compares)
    operations = txn.success if succeeded else txn.failure
    return _Way(succeeded, operations, tuple(_decide(table, each) for each in operations if type(each) is Txn))


def _holds(table: Table, compare: Compare) -> bool:
    pairs = [mvcc.decode_pair(row) for row in mvcc.current_rows(table, compare.key, compare.range_end)]
    if not pairs:
        return compare.target != Target.VALUE and _compares(compare, _NO_KEY)
    return all(_compares(compare, pair) for pair in pairs)


def _compares(compare: Compare, pair: KeyValue) -> bool:
    if compare.target == Target.VALUE:
        less, equal = pair.value < compare.value, pair.value == compare.value
    else:
        number = (pair.version, pair.create_revision, pair.mod_revision, 0, pair.lease)[compare.target]
        less, equal = number < compare.number, number == compare.number
    match compare.relation:
        case Relation.EQUAL:
            return equal
        case Relation.NOT_EQUAL:
            return not equal
        case Relation.LESS:
            return less
        case _:
            return not less and not equal


def _leaves(way: _Way) -> Iterator[Put | Range | DeleteRange]:
    """All operations on the way, in their order."""
    nested = iter(way.nested)
    for operation in way.operations:
        if type(operation) is Txn:
            yield from _leaves(next(nested))
        else:
            assert isinstance(operation, Put | Range | DeleteRange), "an empty operation was objected to"
            yield operation


def _refusal(table: Table, way: _Way, revision: int, compacted: int) -> Failure | None:
    """Why the way can't be taken. What is wrong with a put counts before what is wrong with a range, as in etcd 3.5."""
    unreadable: Failure | None = None
    gone: bytes | None = None  # All keys from here on were deleted by an operation before.
    for operation in _leaves(way):
        if type(operation) is Put:
            if operation.ignore_value or operation.ignore_lease:
                key = operation.key
                if (gone is not None and key >= gone) or mvcc.current(table, key) is None:
                    return failures.KEY_NOT_FOUND
            if operation.lease and not lease.exists(table, operation.lease):
                return failures.LEASE_NOT_FOUND
        elif type(operation) is Range:
            if operation.revision and unreadable is None:
                unreadable = mvcc.unreadable(operation.revision, revision, compacted)
        elif isinstance(operation, DeleteRange) and operation.range_end == OPEN_END:
            gone = operation.key if gone is None else min(gone, operation.key)
    return unreadable


class _Execution:
    """Follows a way to its end: nothing on it can fail any more."""

    def __init__(self, table: Table, revision: int, compacted: int) -> None:
        self.changes: list[Change] = []
        self._table, self._before, self._compacted = table, revision, compacted

    def follow(self, way: _Way) -> TxnDone:
        """What came of each operation. They see what those before them have done."""
        nested = iter(way.nested)
        responses: list[Response] = []
        for operation in way.operations:
            match operation:
                case Put():
                    responses.append(self._put(operation))
                case DeleteRange():
                    responses.append(self._delete(operation))
                case Range():
                    found = mvcc.read(self._table, operation, self._revision, self._compacted)
                    assert isinstance(found, RangeDone), f"checked before: {found}"
                    responses.append(found)
                case _:
                    responses.append(self.follow(next(nested)))
        return TxnDone(self._revision, way.succeeded, tuple(responses))

    @property
    def _revision(self) -> int:
        return self._before + bool(self.changes)

    def _put(self, command: Put) -> PutDone:
        revision = self._before + 1
        done = mvcc.put(self._table, command, revision, len(self.changes))
        assert not isinstance(done, Failure), f"checked before: {done}"
        old, new = done
        self.changes.append(Change(revision, command.key, old, new))
        return PutDone(revision, old if command.prev_kv else None)

    def _delete(self, command: DeleteRange) -> DeleteDone:
        revision = self._before + 1
        deleted = mvcc.delete_range(self._table, command, revision, len(self.changes))
        assert not isinstance(deleted, Failure), f"checked before: {deleted}"
        self.changes += [Change(revision, old.key, old, None) for old in deleted]
        return DeleteDone(self._revision, len(deleted), tuple(deleted) if command.prev_kv else ())
