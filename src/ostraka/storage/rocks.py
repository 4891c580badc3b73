"""What the real store needs to know of RocksDB: its options, and how files are rewritten to be smaller."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import rocksdict

from ostraka.errors import NewerFormat, Overloaded, StorageError
from ostraka.storage.damage import storage_error
from ostraka.storage.disk import Observe, Post

Flushed = Callable[[StorageError | None], None]
"""Told, later and from the loop, that a flush is done, or why it is not."""

SPARE: Final = 64 << 20
"""Bytes of disk that rewriting all files must leave for the log and the next flush."""


class Rewriting:
    """Rewrites a database's files without what was overwritten and deleted, on a thread of its own, one at a time."""

    def __init__(self, db: Any, path: Path, post: Post, observe: Observe | None) -> None:
        self._db: Final = db
        self._path: Final = path
        self._post: Final = post
        self._observe: Final = observe
        self._thread: Final = ThreadPoolExecutor(1, "ostraka-compact")
        self._waiting: list[Flushed] = []  # For the end of the present one.
        self._closing = False

    def live_size(self) -> int:
        """Bytes of files that hold what is still there, about."""
        return self._property("rocksdb.estimate-live-data-size")

    def begin(self, done: Flushed) -> None:
        """See `Store.compact`. Who comes while it is done waits for the same end."""
        if not self._waiting:
            needed, free = self._property("rocksdb.total-sst-files-size"), shutil.disk_usage(self._path).free
            if free < needed + SPARE:
                raise Overloaded(
                    f"to rewrite {needed} bytes of files takes as many and {SPARE} to spare, and the disk of "
                    f"{self._path} has {free}: make room there"
                )
            self._thread.submit(self._rewrite)
        self._waiting.append(done)

    def close(self) -> bool:
        """Cut short what is under way, which could take long. True if so: then the database can only be closed."""
        self._closing = True
        if self._waiting:
            self._db.cancel_all_background(False)
        self._thread.shutdown()
        return bool(self._waiting)

    def _rewrite(self) -> None:
        failure: StorageError | None = None
        start = perf_counter()
        try:
            self._compact()
        except StorageError as error:
            failure = error
        if not self._closing:
            try:
                self._post(partial(self._finish, failure, perf_counter() - start))
            except RuntimeError:
                return  # The loop is closed, so nobody is left who could be told.

    def _compact(self) -> None:
        try:
            self._db.compact_range(None, None)
        except Exception as error:
            raise storage_error(self._path, error) from error

    def _finish(self, failure: StorageError | None, seconds: float) -> None:
        if self._observe is not None:
            self._observe("defrag", seconds)
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(failure)

    def _property(self, name: str) -> int:
        try:
            return int(self._db.property_int_value(name) or 0)
        except Exception as error:
            raise storage_error(self._path, error) from error


def require_known_format(path: Path, key: bytes, newest: int) -> None:
    """Look before opening, since that writes."""
    try:
        db = rocksdict.Rdict(
            str(path), rocksdict.Options(raw_mode=True), access_type=rocksdict.AccessType.read_only(False)
        )
        found = db.get(key)
        db.close()
    except Exception as error:
        raise storage_error(path, error) from error
    if found is not None and int(found) > newest:
        raise NewerFormat(
            f"the table in {path} has format {int(found)}, and this version of Ostraka knows {newest}: start the "
            "newer version that wrote it; nothing was changed"
        )


def tuned(cache_size: int, memtable: int) -> Any:
    """Small: little memory, few threads, next to no log of its own. Sizes in bytes."""
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(cache_size))
    blocks.set_bloom_filter(10, False)
    blocks.set_checksum_type(rocksdict.ChecksumType.crc32c())
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_paranoid_checks(True)
    options.set_write_buffer_size(memtable)
    options.set_max_write_buffer_number(4)  # So that writes need not wait for a flush.
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_max_log_file_size(1 << 20)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options
