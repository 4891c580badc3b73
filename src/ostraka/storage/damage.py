"""What is done about a store whose blocks are damaged: it is never opened again.

RocksDB finds out from its checksums, perhaps only when a block is read. Then a mark is left in its directory, and the
process ends. The next one sets the directory aside and begins an empty store, which is filled from the write-ahead log
or from the other members.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

from ostraka.errors import Corruption, StorageError

ASIDE: Final = ".damaged"
"""What the name of a directory is given at its end when it is set aside."""

_MARK: Final = "DAMAGED"


def storage_error(path: Path, error: Exception) -> Exception:
    """RocksDB's errors come as plain `Exception`, with a text that begins with their kind. Marks what is damaged."""
    if type(error) is not Exception:
        return error
    text = str(error)
    if text.startswith("Corruption"):
        with contextlib.suppress(OSError):  # What can't be noted now will be found again.
            (path / _MARK).write_text(text)
        return Corruption(f"the table in {path} is damaged: {text}")
    return StorageError(f"the table in {path} failed: {text}")


def require_none(path: Path) -> None:
    """Raise Corruption if the store is known to be damaged, or has lost the file from which RocksDB knows the others.

    Without that RocksDB would make a new one.
    """
    if (path / _MARK).exists():
        raise Corruption(f"the table in {path} is damaged: {(path / _MARK).read_text()}")
    if any(path.glob("*.sst")) and not (path / "CURRENT").exists():
        raise Corruption(f"the table in {path} is damaged: CURRENT is missing, though there is data")


def set_aside(path: Path) -> Path:
    """Let a damaged store be found under another name, in place of any set aside before. Raises OSError."""
    aside = path.with_name(path.name + ASIDE)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    return aside
