"""Keys with all their versions: every change has a revision, and every revision can be read until it is compacted.

Rows, by their first byte:
    c key                       the key's current `KeyValue`
    h revision, sub             the key's `KeyValue` as that change left it; version 0: the change was a deletion
    v key (escaped), revision, sub   that such a change was made; empty, or b"-" for a deletion
`revision` and `sub` (which orders the changes of one transaction) are big-endian, so a scan of `h` is the history in
its order, and a scan of `v` the keys in theirs, each with its versions. In `v` a zero byte within a key is written as
00 FF and the key ends in 00: the revision's first byte is below FF, so bytes sort as keys do, whatever the keys are.

Revisions are handed in: the caller counts them, or takes them from elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ostraka.database import failures, lease
from ostraka.database.commands import DeleteRange, Failure, KeyValue, Put, Range, RangeDone, SortOrder, SortTarget
from ostraka.model.machine import Table

OPEN_END = b"\0"
"""As `range_end`: all keys from `key` on."""

moment_of = struct.Struct(">QI").pack
"""Where in the history a change stands, from its revision and sub."""

MOMENT_SIZE = 12
_encode = msgspec.msgpack.Encoder().encode
decode_pair: Callable[[bytes], KeyValue] = msgspec.msgpack.Decoder(KeyValue).decode

_SORT_KEYS: dict[int, Callable[[KeyValue], Any]] = {
    SortTarget.KEY: lambda pair: pair.key,
    SortTarget.VERSION: lambda pair: pair.version,
    SortTarget.CREATE: lambda pair: pair.create_revision,
    SortTarget.MOD: lambda pair: pair.mod_revision,
    SortTarget.VALUE: lambda pair: pair.value,
}


def escaped(key: bytes) -> bytes:
    """The key as it stands in `v` rows: sorts as the key does, and no key's rows lie among another's."""
    return key.replace(b"\0", b"\0\xff") + b"\0"


def current(table: Table, key: bytes) -> KeyValue | None:
    """The key as it is now."""
    row = table.get(b"c" + key)
    return None if row is None else decode_pair(row)


def put(table: Table, command: Put, revision: int, sub: int) -> tuple[KeyValue | None, KeyValue] | Failure:
    """Set the key at this revision: what it was before and what it is now."""
    key, value, owner = command.key, command.value, command.lease
    if (not key or command.ignore_value or command.ignore_lease) and (refused := contradiction(command)):
        return refused
    row = table.get(b"c" + key)
    old = None if row is None else decode_pair(row)
    if owner and not lease.exists(table, owner):
        return failures.LEASE_NOT_FOUND
    if command.ignore_value or command.ignore_lease:
        if old is None:
            return failures.KEY_NOT_FOUND
        value = old.value if command.ignore_value else value
        owner = old.lease if command.ignore_lease else owner
    if old is None:
        before = 0
        new = KeyValue(key, revision, revision, 1, value, owner)
    else:
        before = old.lease
        new = KeyValue(key, old.create_revision, revision, old.version + 1, value, owner)
    if owner != before:
        lease.move(table, key, before, owner)
    row, moment = _encode(new), moment_of(revision, sub)
    table.put(b"c" + key, row)
    table.put(b"h" + moment, row)
    table.put(b"v" + escaped(key) + moment, b"")
    return old, new


def contradiction(command: Put) -> Failure | None:
    """What is wrong with the command itself."""
    if not command.key:
        return failures.EMPTY_KEY
    if command.ignore_value and command.value:
        return failures.VALUE_PROVIDED
    if command.ignore_lease and command.lease:
        return failures.LEASE_PROVIDED
    return None


def delete_range(table: Table, command: DeleteRange, revision: int, sub: int) -> list[KeyValue] | Failure:
    """Delete the keys in the range at this revision, from `sub` on: what they were, in the order of keys."""
    if not command.key:
        return failures.EMPTY_KEY
    found = [decode_pair(row) for row in current_rows(table, command.key, command.range_end)]
    for at, old in enumerate(found, sub):
        moment = moment_of(revision, at)
        table.delete(b"c" + old.key)
        lease.move(table, old.key, old.lease, 0)
        table.put(b"h" + moment, _encode(KeyValue(old.key, 0, revision, 0, b"")))
        table.put(b"v" + escaped(old.key) + moment, b"-")
    return found


def history(table: Table, first: int) -> Iterator[KeyValue]:
    """All changes from this revision on, in their order. Version 0 marks a deletion."""
    for _, row in table.scan(b"h" + moment_of(first, 0), b"i"):
        yield decode_pair(row)


def piece_of_history(table: Table, first: int, most: int, size: int) -> tuple[list[KeyValue], int | None]:
    """Changes from this revision on, in whole revisions, until there are so many or so many bytes of them.

    And the last revision that they belong to; None: there are no more.
    """
    pairs: list[KeyValue] = []
    for pair in history(table, first):
        if (len(pairs) >= most or size <= 0) and pair.mod_revision != pairs[-1].mod_revision:
            return pairs, pairs[-1].mod_revision
        size -= len(pair.key) + len(pair.value)
        pairs.append(pair)
    return pairs, None


def current_rows(table: Table, key: bytes, range_end: bytes) -> Iterator[bytes]:
    """The rows of the keys that a range names, in the order of keys."""
    if not range_end:
        if (row := table.get(b"c" + key)) is not None:
            yield row
    elif range_end == OPEN_END or range_end > key:
        for _, row in table.scan(b"c" + key, b"d" if range_end == OPEN_END else b"c" + range_end):
            yield row


def past_rows(table: Table, key: bytes, range_end: bytes, revision: int) -> Iterator[bytes]:
    """Where in the history the keys that a range names stand, as they were at this revision, in the order of keys."""
    start, last = b"v" + escaped(key), moment_of(revision, 0xFFFFFFFF)
    if not range_end:
        for row_key, deleted in table.scan(start, start + last + b"\0", reverse=True):
            if not deleted:
                yield b"h" + row_key[-MOMENT_SIZE:]
            return
    elif range_end == OPEN_END or range_end > key:
        name = found = b""
        for row_key, deleted in table.scan(start, b"w" if range_end == OPEN_END else b"v" + escaped(range_end)):
            if row_key[:-MOMENT_SIZE] != name:
                if found:
                    yield found
                name, found = row_key[:-MOMENT_SIZE], b""
            moment = row_key[-MOMENT_SIZE:]
            if moment <= last:
                found = b"" if deleted else b"h" + moment
        if found:
            yield found


def past_pair(table: Table, row_key: bytes) -> KeyValue:
    """The change that a row of `v` refers to."""
    row = table.get(row_key)
    assert row is not None, f"the version index names {row_key!r}, which is not in the history"
    return decode_pair(row)


def read(table: Table, query: Range, revision: int, compacted: int) -> RangeDone | Failure:
    """Answer a range query on a store that is at `revision`, and has forgotten what is before `compacted`.

    As etcd does it: `count` ignores limit and filters, a revision of 0 or less is the current one, and without an
    explicit order or a filter the limit cuts before the sorting.
    """
    if (not query.key or query.sort_order or query.sort_target) and (refused := malformation(query)):
        return refused
    if query.revision > 0 and (refused := unreadable(query.revision, revision, compacted)):
        return refused
    past = query.revision if 0 < query.revision < revision else 0
    if not (past or query.range_end or query.keys_only or query.count_only or is_filtered(query)):
        pair = current(table, query.key)  # What is asked most often, and all that is needed for it.
        return RangeDone(revision) if pair is None else RangeDone(revision, (pair,), False, 1)
    if past:
        rows = past_rows(table, query.key, query.range_end, past)
    else:
        rows = current_rows(table, query.key, query.range_end)
    if query.count_only:
        return RangeDone(revision, count=sum(1 for _ in rows))
    wanted = query.limit + 1 if is_cut_early(query) else None  # One more, to know if there are more.
    pairs: list[KeyValue] = []
    count = 0
    for row in rows:
        count += 1
        if wanted is None or count <= wanted:
            pairs.append(past_pair(table, row) if past else decode_pair(row))
    return arranged(query, pairs, revision, count)


def malformation(query: Range) -> Failure | None:
    """What is wrong with the query itself."""
    if not query.key:
        return failures.EMPTY_KEY
    if not 0 <= query.sort_order <= SortOrder.DESCEND or query.sort_target not in _SORT_KEYS:
        return failures.INVALID_SORT_OPTION
    return None


def unreadable(wanted: int, revision: int, compacted: int) -> Failure | None:
    """Why this revision can't be read."""
    if wanted > revision:
        return failures.FUTURE_REVISION
    return failures.COMPACTED if wanted < compacted else None


def is_filtered(query: Range) -> bool:
    return bool(
        query.min_mod_revision or query.max_mod_revision or query.min_create_revision or query.max_create_revision
    )


def is_cut_early(query: Range) -> bool:
    """Whether the limit counts the keys in their own order, whatever they are sorted by afterwards."""
    return query.limit > 0 and query.sort_order == SortOrder.NONE and not is_filtered(query)


def passes(query: Range, pair: KeyValue) -> bool:
    """Whether the revisions lie within the bounds; 0 is no bound."""
    mod, create = pair.mod_revision, pair.create_revision
    return (
        (not query.min_mod_revision or mod >= query.min_mod_revision)
        and (not query.max_mod_revision or mod <= query.max_mod_revision)
        and (not query.min_create_revision or create >= query.min_create_revision)
        and (not query.max_create_revision or create <= query.max_create_revision)
    )


def arranged(query: Range, pairs: list[KeyValue], revision: int, count: int) -> RangeDone:
    """Filter, sort and cut what was found."""
    if is_filtered(query):
        pairs = [pair for pair in pairs if passes(query, pair)]
    if query.sort_order != SortOrder.NONE or query.sort_target != SortTarget.KEY:
        pairs.sort(key=_SORT_KEYS[query.sort_target], reverse=query.sort_order == SortOrder.DESCEND)
    more = 0 < query.limit < len(pairs)
    if more:
        del pairs[query.limit :]
    if query.keys_only:
        pairs = [msgspec.structs.replace(pair, value=b"") for pair in pairs]
    return RangeDone(revision, tuple(pairs), more, count)
