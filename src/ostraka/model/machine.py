"""The replicated state machine and the table that its state is kept in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from ostraka.model.requests import Entry


class Table(Protocol):
    """An ordered map from bytes to bytes. Reads see the writes made before them through the same table."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def scan(self, start: bytes, stop: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with start ≤ key < stop in the order of their bytes; `stop` None: to the end."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key's change, as a watcher sees it: `old` None is a creation, `new` None a deletion."""

    revision: int
    key: bytes
    old: Any
    new: Any


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What applying an entry came to."""

    replies: Sequence[Sequence[bytes]]  # For each batch of the entry, for each request in it, the reply.
    changes: Sequence[Change]  # In the order of their revisions.
    moved: bool = False  # Members may have come, gone, or changed their addresses.


class Machine(Protocol):
    """A deterministic state machine: the same entries give the same table and the same replies on every replica.

    All its state is in the table. An instance may keep what it can read from there again.
    """

    def apply(self, entry: Entry, table: Table) -> Outcome:
        """Execute the entry. Never raises for what a client sent: an error is a reply."""

    def read(self, query: Any, table: Table) -> Any:
        """Answer a query of the machine's own type from the applied state."""
