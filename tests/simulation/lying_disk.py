"""A disk that lies about one kind of sync: it says that it is done, and does nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ostraka.simulation.disk import SimulatedDisk, SimulatedFile


def leave_out(patch: pytest.MonkeyPatch, skipped: str) -> None:
    """From now on, no simulated disk syncs at this point."""
    sync, flush = SimulatedFile.sync, SimulatedFile.flush
    sync_dir, flush_dir = SimulatedDisk.sync_dir, SimulatedDisk.flush_dir

    def lie(disk: SimulatedDisk, done: Any) -> None:
        disk._computer.after(1000, partial(done, None))

    def mutant_sync(file: SimulatedFile, done: Any, point: str) -> None:
        lie(file._disk, done) if point == skipped else sync(file, done, point)

    def mutant_sync_dir(disk: SimulatedDisk, done: Any, point: str) -> None:
        lie(disk, done) if point == skipped else sync_dir(disk, done, point)

    patch.setattr(SimulatedFile, "sync", mutant_sync)
    patch.setattr(SimulatedDisk, "sync_dir", mutant_sync_dir)
    patch.setattr(SimulatedFile, "flush", lambda file, point: None if point == skipped else flush(file, point))
    patch.setattr(SimulatedDisk, "flush_dir", lambda disk, point: None if point == skipped else flush_dir(disk, point))
