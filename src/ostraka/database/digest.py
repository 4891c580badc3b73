"""A digest of all replicated state, so that replicas at the same index can be compared.

Follows:  Merkle, CRYPTO '87, for the tree; Bellare and Micciancio, EUROCRYPT '97, "AdHash", for the leaves.
Words:    a leaf is a range of the hash of rows' keys: the same 256 leaves on every replica, whatever is in the table.
Departs:  a leaf is the sum of its rows' hashes: a changed row costs two hashes, not a new reading of its leaf. The sum
          is taken modulo 2^4096: to find other rows with the same one takes 2^128 steps (Wagner, CRYPTO 2002).
          The rows `c`, `k` and `v` follow from the history `h`, and are left out.
Evidence: tests/database/test_digest.py: the sum that was kept up to date is the one computed from scratch.

The history grows only at its end, so it is caught up with when a digest is asked for: a put pays nothing. Rows that
are written in place (leases, sessions, members, the state's own row), and those of the history that a compaction
removes, go through `Tracked`, which keeps what the row was before.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b, shake_256
from zlib import crc32

from ostraka.model.machine import Table

LEAVES = 256
MOST_REMEMBERED = 1 << 16
"""Rows whose former content is kept between two questions; with more, the next one starts from scratch."""

_MODULUS = 1 << 4096
_IN_PLACE = ((b"l", b"o"), (b"r", b"t"), (b"z", b"{"))


class Tracked:
    """A table for rows that are written in place. Once a digest was asked for, it keeps what they were at that time."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.get, self.scan = table.get, table.scan
        self.before: dict[bytes, bytes | None] | None = None  # None: nobody has asked lately.

    def put(self, key: bytes, value: bytes) -> None:
        self._remember(key)
        self.table.put(key, value)

    def delete(self, key: bytes) -> None:
        self._remember(key)
        self.table.delete(key)

    def _remember(self, key: bytes) -> None:
        if self.before is not None and key not in self.before:
            self.before[key] = self.table.get(key)
            if len(self.before) > MOST_REMEMBERED:
                self.before = None


class Digest:
    """The sums of the leaves, as of the last question."""

    def __init__(self, table: Tracked) -> None:
        self._table = table
        self._sums = [0] * LEAVES
        self._next = b"h"  # The history has been counted up to this row.

    def root(self) -> bytes:
        """The digest of the table as it is now: 32 bytes.

        The first time it reads the whole table, afterwards what has changed: about 10 µs a row. After a long time
        without a question it starts from scratch.
        """
        table = self._table
        if table.before is None:
            self._sums, self._next = [0] * LEAVES, b"h"
            for start, stop in _IN_PLACE:
                for key, value in table.scan(start, stop):
                    self._add(key, value)
        else:
            for key, old in table.before.items():
                if old is not None and not self._next <= key < b"i":  # A change that was not yet counted is gone, too.
                    self._add(key, old, -1)
                if (new := table.get(key)) is not None:
                    self._add(key, new)
        table.before = {}
        for key, value in table.scan(self._next, b"i"):
            self._add(key, value)
            self._next = key + b"\0"
        return merkle_root([blake2b(total.to_bytes(512, "big"), digest_size=32).digest() for total in self._sums])

    def _add(self, key: bytes, value: bytes, sign: int = 1) -> None:
        leaf = crc32(key) * LEAVES >> 32
        self._sums[leaf] = (self._sums[leaf] + sign * row_hash(key, value)) % _MODULUS


def row_hash(key: bytes, value: bytes) -> int:
    """A 4096-bit hash of a row. The length tells where the key ends."""
    return int.from_bytes(shake_256(len(key).to_bytes(4, "big") + key + value).digest(512), "big")


def merkle_root(nodes: list[bytes]) -> bytes:
    """The root above these leaves, a power of two of them."""
    while len(nodes) > 1:
        nodes = [blake2b(left + right, digest_size=32).digest() for left, right in pairs(nodes)]
    return nodes[0]


def pairs(nodes: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(nodes[::2], nodes[1::2], strict=True)


def digest_of(table: Table) -> bytes:
    """The digest of a table, computed from scratch."""
    return Digest(Tracked(table)).root()
