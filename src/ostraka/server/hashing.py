"""Hashes of the state, to be compared between members: HashKV of the keys' history, Hash of all that is replicated.

A hash reads everything, so it does it bit by bit, over the state as it was at one moment. HashKV waits until what a
compaction forgot is removed: so what it counts depends on the two revisions alone, not on how far a member has got.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

from ostraka.api import etcd
from ostraka.api.packing import Packer
from ostraka.database.commands import Inspect, Overview, Sweep, encode
from ostraka.database.failures import COMPACTED, FUTURE_REVISION
from ostraka.database.mvcc import moment_of
from ostraka.errors import StorageError
from ostraka.model.requests import Request
from ostraka.server.calls import SERVER_STOPPED, TOO_MANY_REQUESTS, Refusal, Tally, Waiting, finish, opened, refuse
from ostraka.server.member import Member
from ostraka.storage.table import Pair, Pinned
from ostraka.transport.http2.server import Router, ServerCall

ROWS: Final = 500
"""Rows that are read in one go: about a millisecond."""

MOST: Final = 4
"""Hashes that are computed at once: each holds on to what the table was."""

_HASH: Final = "/etcdserverpb.Maintenance/Hash"
_HASH_KV: Final = "/etcdserverpb.Maintenance/HashKV"


class Hashing:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self.under_way = 0
        self._hash: Final = member.tally(_HASH)
        self._hash_kv: Final = member.tally(_HASH_KV)

    def register(self, router: Router) -> None:
        router.unary(_HASH, self.hash)
        router.unary(_HASH_KV, self.hash_kv)

    def hash(self, call: ServerCall, message: bytes) -> None:
        """Of all rows that are replicated."""
        ask = opened(self.member, self._hash, call, etcd.HashRequest, message)
        if ask is not None:
            overview: Overview | None = self.member.query(Inspect())
            if overview is None:
                refuse(call, self._hash, SERVER_STOPPED)
                return
            packed = self.member.packer.header(overview.revision)
            self.read(call, self._hash, (b"\x01", None), lambda crc: packed + _hash_field(crc))

    def hash_kv(self, call: ServerCall, message: bytes) -> None:
        """Of the history up to a revision, as far as it is not compacted."""
        ask = opened(self.member, self._hash_kv, call, etcd.HashKVRequest, message)
        if ask is not None:
            _HashKV(self, call, ask.revision).go_on()

    @property
    def tally(self) -> Tally:
        """HashKV's counts."""
        return self._hash_kv

    def read(self, call: ServerCall, tally: Tally, rows: tuple[bytes, bytes | None], pack: Any) -> None:
        """Hash the rows from the first of these keys up to the second, and answer with what `pack` makes of it."""
        if self.under_way >= MOST:
            refuse(call, tally, TOO_MANY_REQUESTS)
            return
        try:
            pinned = self.member.group.pin()
        except StorageError as failure:
            self.member.host.fail(failure)
            refuse(call, tally, SERVER_STOPPED)
            return
        self.under_way += 1
        _Reading(self, call, tally, pinned, pinned.scan(*rows), pack).go_on()


class _HashKV(Waiting):
    """It may have to wait for the end of a removal: that is taken further by commands, as a physical compaction is."""

    __slots__ = ("hashing", "revision")

    def __init__(self, hashing: Hashing, call: ServerCall, revision: int) -> None:
        super().__init__(hashing.member, hashing.tally, call)
        self.hashing = hashing
        self.revision = revision

    def replied(self, done: Any) -> None:
        if not self.call.over:
            self.member.waiting[self] = self.member.host.clock.now() + self.member.bound
            self.go_on()

    def go_on(self) -> None:
        """Look whether the state can be hashed now."""
        overview: Overview | None = self.member.query(Inspect())
        if overview is not None and overview.sweeping:
            self.member.group.propose(Request(encode(Sweep())), self.answered)
            return
        self.ended()
        refusal = SERVER_STOPPED if overview is None else self._objection(overview)
        if refusal is not None or overview is None:
            refuse(self.call, self.tally, refusal or SERVER_STOPPED)
            return
        revision, packer = self.revision or overview.revision, self.member.packer

        def pack(crc: int) -> bytes:
            return _kv_response(packer, overview, revision, crc)

        self.hashing.read(self.call, self.tally, (b"h", b"h" + moment_of(revision + 1, 0)), pack)

    def _objection(self, overview: Overview) -> Refusal | None:
        if self.revision > overview.revision:
            return FUTURE_REVISION.code, FUTURE_REVISION.message
        if self.revision < 0 or 0 < self.revision < overview.compact_revision:
            return COMPACTED.code, COMPACTED.message
        return None


class _Reading:
    """One hash under way."""

    def __init__(
        self, hashing: Hashing, call: ServerCall, tally: Tally, pinned: Pinned, rows: Iterator[Pair], pack: Any
    ) -> None:
        self.hashing: Final = hashing
        self.call: Final = call
        self.tally: Final = tally
        self.pinned: Final = pinned
        self.rows: Final = rows
        self.pack: Final = pack
        self.crc = 0

    def go_on(self) -> None:
        """Read some rows, and let others have their turn before the next ones."""
        member, crc = self.hashing.member, self.crc
        if self.call.over or member.failed is not None:
            self._end()
            refuse(self.call, self.tally, SERVER_STOPPED)
            return
        try:
            for _ in range(ROWS):
                key, row = next(self.rows)
                crc = crc32(row, crc32(key, crc))
        except StopIteration:
            self._end()
            finish(self.call, self.tally, self.pack(crc))
        except StorageError as failure:
            self._end()
            member.host.fail(failure)
            refuse(self.call, self.tally, SERVER_STOPPED)
        else:
            self.crc = crc
            member.host.clock.call_soon(self.go_on)

    def _end(self) -> None:
        self.hashing.under_way -= 1
        self.pinned.release()


def _hash_field(crc: int) -> bytes:
    return bytes(etcd.HashResponse(hash=crc).SerializeToString())


def _kv_response(packer: Packer, overview: Overview, revision: int, crc: int) -> bytes:
    response = etcd.HashKVResponse(hash=crc, compact_revision=overview.compact_revision, hash_revision=revision)
    return packer.header(overview.revision) + bytes(response.SerializeToString())
