"""The tables of the state machines: one RocksDB a process, and a twin in memory that loses the same things.

A table's writes gather in it until `commit` applies them as one atomic batch. A commit survives the process only once
a `flush` that began after it is done; a crash reverts the store to *some* commit not older than the last flush, since
RocksDB also flushes by itself, and all tables to the same one: there is one column family, so one order of commits.
The write-ahead log replays the rest, so RocksDB's own log is off.

A block whose checksum is wrong is never served. See `storage.damage`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

import rocksdict

from ostraka.errors import StorageError
from ostraka.storage.damage import require_none, storage_error
from ostraka.storage.disk import Observe, Post, make_directories
from ostraka.storage.rocks import Flushed, Rewriting, require_known_format, tuned

Pair = tuple[bytes, bytes]
Batch = dict[bytes, bytes | None]
"""What is to be written; None deletes."""

FORMAT: Final = 1
_FORMAT_KEY: Final = b"\x00format"
_NOTHING_HERE: Final = b"\x00nothing is known here of this key"


class Pinned(Protocol):
    """A prefix as it was at one moment."""

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Pair]: ...

    def release(self) -> None:
        """It is not needed any longer. It holds on to disk space until then."""


class Store(Protocol):
    """All tables of a process. No prefix may begin with another one, with a zero byte, or with 0xff."""

    def table(self, prefix: bytes, cache_size: int = 0) -> Table:
        """A view of the keys that begin with `prefix`, which the table does not show.

        With a cache, of so many bytes, it must be the only table of its prefix that is written through.
        """

    def flush(self, done: Flushed) -> None:
        """Make all that was committed before durable."""

    def pin(self, prefix: bytes) -> Pinned:
        """What is committed under the prefix now."""

    def drop(self, prefix: bytes) -> None:
        """Delete what is committed under the prefix, as one commit."""

    def live_size(self) -> int:
        """Bytes of files that hold what is still there, about."""

    def compact(self, done: Flushed) -> None:
        """Rewrite the files without what was overwritten and deleted. It may take long; reads and writes go on.

        Raises Overloaded if the disk has no room for that.
        """

    def close(self) -> None:
        """What was not flushed may be lost."""


class Backing(Protocol):
    """What a table needs of its store. Keys are whole."""

    def read(self, key: bytes) -> bytes | None: ...
    def items(self, start: bytes, stop: bytes, reverse: bool) -> Iterator[Pair]: ...
    def write(self, batch: Batch) -> None: ...


class Table:
    """An ordered map from bytes to bytes under one prefix of a store. Raises Corruption, StorageError."""

    def __init__(self, backing: Backing, prefix: bytes, cache_size: int) -> None:
        """Use `Store.table`."""
        self._prefix: Final = prefix
        self._cache_size: Final = cache_size
        self._hot: Batch = {}  # What was read lately, as it is with the pending writes,
        self._hot_size = 0  # in bytes, and once that is half of what may be,
        self._warm: Batch = {}  # moved here, in place of what was there.
        self._read: Final = backing.read
        self._items: Final = backing.items
        self._write: Final = backing.write
        self._pending: Batch = {}
        self._sorted: list[bytes] = []  # The keys of `_pending`; only when there is a scan,
        self._unsorted: list[bytes] = []  # these are moved there.

    def get(self, key: bytes) -> bytes | None:
        key = self._prefix + key
        value = self._hot.get(key, _NOTHING_HERE)
        if value is _NOTHING_HERE:
            value = self._pending.get(key, _NOTHING_HERE)
            if value is _NOTHING_HERE:
                value = self._warm.get(key, _NOTHING_HERE)
                if value is _NOTHING_HERE:
                    value = self._read(key)
            if self._cache_size:
                self._remember(key, value)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        self._set(self._prefix + key, value)

    def delete(self, key: bytes) -> None:
        self._set(self._prefix + key, None)

    def _set(self, key: bytes, value: bytes | None) -> None:
        if key not in self._pending:
            self._unsorted.append(key)
        self._pending[key] = value
        if key in self._hot or key in self._warm:
            self._remember(key, value)

    def _remember(self, key: bytes, value: bytes | None) -> None:
        self._hot[key] = value
        self._hot_size += len(key) + (200 if value is None else 200 + len(value))  # Objects cost some, too.
        if 2 * self._hot_size > self._cache_size:
            self._warm, self._hot, self._hot_size = self._hot, {}, 0

    def scan(self, start: bytes, stop: bytes | None, reverse: bool = False) -> Iterator[Pair]:
        """The pairs with start ≤ key < stop in the order of their bytes; `stop` None: to the end.

        They are those of the moment of the call, whatever is written while they are looked at.
        """
        first = self._prefix + start
        last = _successor(self._prefix) if stop is None else self._prefix + stop
        rows = self._items(first, last, reverse)
        pending = self._pending_between(first, last)
        if pending:
            if reverse:
                pending.reverse()
            rows = _merge(rows, pending, reverse)
        return _without(len(self._prefix), rows)

    def commit(self) -> None:
        """Apply the pending writes, all or none."""
        if self._pending:
            self._write(self._pending)
            self._pending, self._sorted, self._unsorted = {}, [], []

    def discard(self) -> None:
        """Forget the pending writes."""
        self._pending, self._sorted, self._unsorted = {}, [], []
        self._hot, self._hot_size, self._warm = {}, 0, {}

    def _pending_between(self, first: bytes, last: bytes) -> list[tuple[bytes, bytes | None]]:
        order, added = self._sorted, self._unsorted
        if added:
            if len(added) * 32 < len(order):
                for key in added:
                    insort(order, key)
            else:
                order += added
                order.sort()
            self._unsorted = []
        pending = self._pending
        return [(key, pending[key]) for key in order[bisect_left(order, first) : bisect_left(order, last)]]


class RocksStore:
    """The real store."""

    def __init__(
        self,
        path: Path,
        post: Post,
        observe: Observe | None = None,
        cache_size: int = 64 << 20,
        memtable: int = 64 << 20,
    ) -> None:
        """Opens the database in the directory `path`, or makes it. Raises Corruption, NewerFormat, StorageError."""
        self._path: Final = path
        self._post: Final = post
        self._observe: Final = observe
        options: Any = rocksdict.WriteOptions()  # Its stub takes the property for a method.
        options.disable_wal = True
        self._options: Final = options
        make_directories(path)
        require_none(path)
        if (path / "CURRENT").exists():
            require_known_format(path, _FORMAT_KEY, FORMAT)
        try:
            self._db: Any = rocksdict.Rdict(str(path), tuned(cache_size, memtable))
        except Exception as error:
            raise self._failure(error) from error
        if self.read(_FORMAT_KEY) is None:
            self.write({_FORMAT_KEY: b"%d" % FORMAT})
            self._flush_db()
        self._thread: Final = ThreadPoolExecutor(1, "ostraka-flush")
        self._rewriting: Final = Rewriting(self._db, path, post, observe)

    def table(self, prefix: bytes, cache_size: int = 0) -> Table:
        return Table(self, prefix, cache_size)

    def flush(self, done: Flushed) -> None:
        self._thread.submit(self._flush, done)

    def pin(self, prefix: bytes) -> Pinned:
        return _RocksPinned(self._path, self._db.iter(), prefix)

    def drop(self, prefix: bytes) -> None:
        try:
            self._db.delete_range(prefix, _successor(prefix), self._options)
        except Exception as error:
            raise self._failure(error) from error

    def live_size(self) -> int:
        return self._rewriting.live_size()

    def compact(self, done: Flushed) -> None:
        self._rewriting.begin(done)

    def close(self) -> None:
        self._thread.shutdown()
        cut_short = self._rewriting.close()
        try:
            self._db.close()
        except Exception as error:
            if not cut_short:  # Else it can't flush any more; nothing depends on that.
                raise self._failure(error) from error

    def read(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise self._failure(error) from error
        return value

    def items(self, start: bytes, stop: bytes, reverse: bool) -> Iterator[Pair]:
        if reverse:
            return self._descending(self._db.items(backwards=True, from_key=stop), start, stop)
        return self._ascending(self._db.items(from_key=start), start, stop)

    def write(self, batch: Batch) -> None:
        writes = rocksdict.WriteBatch(raw_mode=True)
        put, delete = writes.put, writes.delete
        for key, value in batch.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        try:
            self._db.write(writes, self._options)
        except Exception as error:
            raise self._failure(error) from error

    def _ascending(self, items: Iterator[Pair], start: bytes, stop: bytes) -> Iterator[Pair]:
        key = start
        for pair in items:
            key = pair[0]
            if key >= stop:
                return
            yield pair
        self._require_end(key, False)

    def _descending(self, items: Iterator[Pair], start: bytes, stop: bytes) -> Iterator[Pair]:
        key = stop
        for pair in items:
            key = pair[0]
            if key < start:
                return
            if key < stop:
                yield pair
        self._require_end(key, True)

    def _require_end(self, key: bytes, reverse: bool) -> None:
        """Raise Corruption unless the database ends here: at a damaged block, rocksdict's `items` just stops too."""
        try:
            iterator = self._db.iter()
            if reverse:
                iterator.seek_for_prev(key)
            else:
                iterator.seek(key)
            if iterator.valid():
                (iterator.prev if reverse else iterator.next)()
            iterator.status()
        except Exception as error:
            raise self._failure(error) from error

    def _flush(self, done: Flushed) -> None:
        failure: StorageError | None = None
        start = perf_counter()
        try:
            self._flush_db()
        except StorageError as error:
            failure = error
        try:
            self._post(partial(self._finish, done, failure, perf_counter() - start))
        except RuntimeError:
            return  # The loop is closed, so nobody is left who could be told.

    def _finish(self, done: Flushed, failure: StorageError | None, seconds: float) -> None:
        if self._observe is not None:
            self._observe("table.flush", seconds)
        done(failure)

    def _flush_db(self) -> None:
        try:
            self._db.flush(True)
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Exception:
        return storage_error(self._path, error)


class _RocksPinned:
    """One iterator, since that stays with the moment at which it was made. (rocksdict's snapshots do not.)"""

    def __init__(self, path: Path, iterator: Any, prefix: bytes) -> None:
        self._path: Final = path
        self._iterator: Any = iterator
        self._prefix: Final = prefix
        self._scans = 0
        self._placed_by = 0  # The scan that moved the iterator last.

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Pair]:
        self._scans += 1
        last = _successor(self._prefix) if stop is None else self._prefix + stop
        return self._rows(self._scans, self._iterator, self._prefix + start, last)

    def release(self) -> None:
        self._iterator = None

    def _rows(self, scan: int, iterator: Any, start: bytes, stop: bytes) -> Iterator[Pair]:
        length = len(self._prefix)
        try:
            self._placed_by = scan
            iterator.seek(start)
            while iterator.valid() and (key := iterator.key()) < stop:
                yield key[length:], iterator.value()
                if self._placed_by != scan:
                    self._placed_by = scan
                    iterator.seek(key)
                iterator.next()
            iterator.status()  # Raises if it stopped at a damaged block, not at the end.
        except Exception as error:
            raise storage_error(self._path, error) from error


class MemoryStore:
    """The twin. `crash` leaves it as it was at the last flush that was done.

    `post` decides how long a flush takes. Reads and writes may go on meanwhile.
    """

    def __init__(self, post: Post) -> None:
        self._post: Final = post
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._undo: list[Batch] = [{}]  # To go back over each flush in flight, and then to the last one done.
        self._begun = 0  # The number of the last flush begun,
        self._ended = 0  # done,
        self._lost = 0  # and lost in a crash.

    def table(self, prefix: bytes, cache_size: int = 0) -> Table:
        return Table(self, prefix, cache_size)

    def flush(self, done: Flushed) -> None:
        self._undo.append({})
        self._begun += 1
        self._post(partial(self._flushed, done, self._begun))

    def pin(self, prefix: bytes) -> Pinned:
        return _MemoryPinned(prefix, list(self.items(prefix, _successor(prefix), False)))

    def drop(self, prefix: bytes) -> None:
        self.write({key: None for key, _ in self.items(prefix, _successor(prefix), False)})

    def live_size(self) -> int:
        return sum(len(key) + len(value) for key, value in self._values.items())

    def compact(self, done: Flushed) -> None:
        self._post(partial(done, None))

    def close(self) -> None:
        self.crash()

    def crash(self) -> None:
        """Forget what was not flushed, and the flushes in flight."""
        self._ended = self._lost = self._begun
        undo, self._undo = self._undo, [{}]
        for before in reversed(undo):
            self._apply(before)

    def read(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def items(self, start: bytes, stop: bytes, reverse: bool) -> Iterator[Pair]:
        values, keys = self._values, self._keys
        found = [(key, values[key]) for key in keys[bisect_left(keys, start) : bisect_left(keys, stop)]]
        return reversed(found) if reverse else iter(found)

    def write(self, batch: Batch) -> None:
        undo = self._undo[-1]
        for key in batch:
            if key not in undo:
                undo[key] = self._values.get(key)
        self._apply(batch)

    def _apply(self, batch: Batch) -> None:
        values, keys = self._values, self._keys
        for key, value in batch.items():
            if value is not None:
                if key not in values:
                    insort(keys, key)
                values[key] = value
            elif key in values:
                del values[key]
                del keys[bisect_left(keys, key)]

    def _flushed(self, done: Flushed, number: int) -> None:
        if number > self._ended:
            del self._undo[: number - self._ended]
            self._ended = number
        if number > self._lost:
            done(None)


class _MemoryPinned:
    def __init__(self, prefix: bytes, rows: list[Pair]) -> None:
        self._prefix: Final = prefix
        self._rows = rows

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Pair]:
        rows, prefix = self._rows, self._prefix
        first = bisect_left(rows, (prefix + start,))
        last = len(rows) if stop is None else bisect_left(rows, (prefix + stop,))
        return _without(len(prefix), iter(rows[first:last]))

    def release(self) -> None:
        self._rows = []


def _merge(rows: Iterator[Pair], pending: list[tuple[bytes, bytes | None]], reverse: bool) -> Iterator[Pair]:
    """Both in order; for a key in both, what is pending counts."""
    at, size = 0, len(pending)
    for row in rows:
        key = row[0]
        while at < size and (pending[at][0] > key if reverse else pending[at][0] < key):
            name, value = pending[at]
            if value is not None:
                yield name, value
            at += 1
        if at < size and pending[at][0] == key:
            continue  # Comes with the next row, or at the end.
        yield row
    for name, value in pending[at:]:
        if value is not None:
            yield name, value


def _without(length: int, rows: Iterator[Pair]) -> Iterator[Pair]:
    for key, value in rows:
        yield key[length:], value


def _successor(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`."""
    assert prefix and prefix[0] < 0xFF, f"prefix {prefix!r}: must not be empty, nor begin with 0xff"
    shortened = prefix.rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1])
