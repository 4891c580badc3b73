"""`ostraka`, on a disk that says of one kind of sync that it is done, and does nothing: see test_syncs.py."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

import msgspec

from ostraka.cli.__main__ import main
from ostraka.model.ids import MILLISECOND
from ostraka.node import host
from ostraka.server import shell
from ostraka.server.config import ServerConfig
from ostraka.storage.disk import ThreadDisk, _ThreadFile
from ostraka.storage.table import RocksStore

LEFT_OUT = "OSTRAKA_TEST_LEFT_OUT"
COMPACTS = "OSTRAKA_TEST_COMPACTS"
SEGMENT_SIZE = 16 << 10


def nothing() -> None: ...


def leave_out(skipped: str) -> None:
    """From now on nothing is synced at this point."""
    sync, flush = _ThreadFile.sync, _ThreadFile.flush
    sync_dir, flush_dir, flush_db = ThreadDisk.sync_dir, ThreadDisk.flush_dir, RocksStore._flush_db

    def lying_sync(file: Any, done: Any, point: str) -> None:
        file._disk.submit(nothing, done, point) if point == skipped else sync(file, done, point)

    def lying_sync_dir(disk: Any, done: Any, point: str) -> None:
        disk.submit(nothing, done, point) if point == skipped else sync_dir(disk, done, point)

    patched: Any = _ThreadFile
    patched.sync = lying_sync
    patched.flush = lambda file, point: None if point == skipped else flush(file, point)
    patched = ThreadDisk
    patched.sync_dir = lying_sync_dir
    patched.flush_dir = lambda disk, point: None if point == skipped else flush_dir(disk, point)
    patched = RocksStore
    patched._flush_db = lambda store: None if skipped == "table.flush" else flush_db(store)


def shrink(compacts: bool) -> None:
    """Segments that are soon full, and if wanted a log that is soon forgotten."""
    serve: Any = shell.serve
    often = {"flush_every": 50 * MILLISECOND, "look_every": 20 * MILLISECOND} if compacts else {}
    patched: Any = host
    patched.Upkeep = partial(host.Upkeep, segment_size=SEGMENT_SIZE, **often)

    def serve_small(config: ServerConfig, warnings: Any) -> Any:
        settings = config.settings
        if compacts:
            settings = msgspec.structs.replace(settings, tail=5, compact_every=5)
        return serve(msgspec.structs.replace(config, settings=settings), warnings)

    patched = shell
    patched.serve = serve_small


if __name__ == "__main__":
    leave_out(os.environ.get(LEFT_OUT, ""))
    shrink(COMPACTS in os.environ)
    sys.exit(main())
