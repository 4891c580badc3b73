"""etcd's KV service. Put and Range are the hot path of the server.

What writes is parsed, encoded once as a command, and proposed; its reply is packed by hand. A linearizable range first
learns by ReadIndex that the local state is recent enough; a serializable one reads at once. A transaction that can
change nothing is read alike, and leaves no trace in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.api.packing import Packer
from ostraka.database.commands import (
    Command,
    Compact,
    CompactDone,
    Failure,
    Put,
    PutDone,
    Range,
    RangeDone,
    Sweep,
    SweepDone,
    Txn,
    encode,
)
from ostraka.database.failures import EMPTY_KEY, TOO_MANY_OPERATIONS
from ostraka.database.txn import objection, only_reads
from ostraka.model.requests import Request
from ostraka.server.calls import (
    NO_IDS,
    SERVER_STOPPED,
    TOO_LARGE,
    Refusal,
    Tally,
    Waiting,
    finish,
    malformed,
    opened,
    refuse,
    request,
)
from ostraka.server.member import Member
from ostraka.server.translation import (
    delete_of,
    delete_response,
    is_serializable,
    operations_in,
    range_of,
    txn_of,
    txn_response,
)
from ostraka.transport.http2.server import Router, ServerCall

LONG_TXN: Final = 64 << 10
"""Bytes of a transaction whose operations are counted before they are looked at one by one,"""
MOST_OPERATIONS: Final = 20_000
"""and so many may there be, or as many as in one that `--max-txn-ops` allows: they take a microsecond each."""

_NO_KEY: Final[Refusal] = (EMPTY_KEY.code, EMPTY_KEY.message)

Pack = Callable[[Packer, Any], bytes]
"""Makes the message of what a command came to."""


class KV:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._put: Final = member.tally("/etcdserverpb.KV/Put")
        self._range: Final = member.tally("/etcdserverpb.KV/Range")
        self._delete: Final = member.tally("/etcdserverpb.KV/DeleteRange")
        self._txn: Final = member.tally("/etcdserverpb.KV/Txn")
        self._compact: Final = member.tally("/etcdserverpb.KV/Compact")
        self._largest: Final = member.max_request_bytes
        self._most_operations: Final = max(MOST_OPERATIONS, 3 * member.max_txn_ops)
        self._propose: Final = member.group.propose
        self._put_request: Final = etcd.PutRequest.FromString
        self._range_request: Final = etcd.RangeRequest.FromString

    def register(self, router: Router) -> None:
        router.unary(self._put.path, self.put)
        router.unary(self._range.path, self.range)
        router.unary(self._delete.path, self.delete_range)
        router.unary(self._txn.path, self.txn)
        router.unary(self._compact.path, self.compact)

    def put(self, call: ServerCall, message: bytes) -> None:
        """Set a key."""
        self._put.started += 1
        try:
            ask = self._put_request(message)
        except DecodeError as error:
            refuse(call, self._put, malformed(error))
            return
        if not ask.key or len(message) > self._largest or call.head.metadata or self.member.learns:
            refusal = self._put_refusal(call, ask, message)
            if refusal is not None:
                refuse(call, self._put, refusal, self._detail(refusal, message))
                return
        command = Put(ask.key, ask.value, ask.lease, ask.prev_kv, ask.ignore_value, ask.ignore_lease)
        asked = request(call, encode(command))
        if asked is None:
            refuse(call, self._put, NO_IDS)
        else:
            self._propose(asked, _Put(self.member, self._put, call).answered)

    def _put_refusal(self, call: ServerCall, ask: Any, message: bytes) -> Refusal | None:
        refusal = self.member.gate(call)
        if refusal is not None or (ask.key and len(message) <= self._largest):
            return refusal
        return TOO_LARGE if ask.key else _NO_KEY

    def range(self, call: ServerCall, message: bytes) -> None:
        """Read one key or many."""
        self._range.started += 1
        try:
            ask = self._range_request(message)
        except DecodeError as error:
            refuse(call, self._range, malformed(error))
            return
        refusal = self.member.gate(call, ask.serializable) or (None if ask.key else _NO_KEY)
        if refusal is not None:
            refuse(call, self._range, refusal)
        elif ask.serializable:
            _read(self.member, self._range, call, range_of(ask))
        else:
            self.member.group.read_index(_Range(self.member, self._range, call, range_of(ask)).ready)

    def delete_range(self, call: ServerCall, message: bytes) -> None:
        """Delete one key or many."""
        ask = opened(self.member, self._delete, call, etcd.DeleteRangeRequest, message)
        if ask is None:
            return
        if not ask.key:
            refuse(call, self._delete, _NO_KEY)
        else:
            self._order(call, self._delete, delete_of(ask), message, delete_response)

    def txn(self, call: ServerCall, message: bytes) -> None:
        """Compare, then do one thing or the other."""
        tally = self._txn
        ask = opened(self.member, tally, call, etcd.TxnRequest, message)
        if ask is None:
            return
        most = self._most_operations
        if len(message) > LONG_TXN and operations_in(ask, most) > most:
            detail = f"more than {most} in all, with those of transactions within it"
            refuse(call, tally, (TOO_MANY_OPERATIONS.code, TOO_MANY_OPERATIONS.message), detail)
            return
        command = txn_of(ask)
        refused = objection(command, self.member.max_txn_ops)
        if refused is not None:
            refuse(call, tally, (refused.failure.code, refused.failure.message), refused.detail)
        elif not only_reads(command):
            self._order(call, tally, command, message, txn_response)
        elif is_serializable(ask):
            _query(self.member, tally, call, command, txn_response)
        else:
            self.member.group.read_index(_Query(self.member, tally, call, command, txn_response).ready)

    def compact(self, call: ServerCall, message: bytes) -> None:
        """Forget what was before a revision."""
        ask = opened(self.member, self._compact, call, etcd.CompactionRequest, message)
        if ask is not None:
            asked = request(call, encode(Compact(ask.revision)))
            if asked is None:
                refuse(call, self._compact, NO_IDS)
            else:
                self._propose(asked, _Compact(self.member, self._compact, call, ask.physical).answered)

    def _order(self, call: ServerCall, tally: Tally, command: Command, message: bytes, pack: Pack) -> None:
        """Have it executed in the order of the log, unless it is too large."""
        if len(message) > self._largest:
            refuse(call, tally, TOO_LARGE, self._detail(TOO_LARGE, message))
            return
        asked = request(call, encode(command))
        if asked is None:
            refuse(call, tally, NO_IDS)
        else:
            self._propose(asked, _Write(self.member, tally, call, pack).answered)

    def _detail(self, refusal: Refusal, message: bytes) -> str:
        if refusal is not TOO_LARGE:
            return ""
        return f"a request of {len(message)} bytes, where at most {self._largest} are allowed"


def _read(member: Member, tally: Tally, call: ServerCall, query: Range) -> None:
    """Answer from the applied state."""
    found = member.query(query)
    if type(found) is RangeDone:
        finish(call, tally, member.packer.range_response(found.revision, found.kvs, found.more, found.count))
    elif type(found) is Failure:
        refuse(call, tally, (found.code, found.message))
    else:
        refuse(call, tally, SERVER_STOPPED)


class _Put(Waiting):
    __slots__ = ()

    def replied(self, done: Any) -> None:
        if type(done) is PutDone:
            finish(self.call, self.tally, self.member.packer.put_response(done.revision, done.previous), True)
        else:
            assert isinstance(done, Failure), f"the machine answered a put with {done}"
            refuse(self.call, self.tally, (done.code, done.message))


class _Range(Waiting):
    __slots__ = ("query",)

    def __init__(self, member: Member, tally: Tally, call: ServerCall, query: Range) -> None:
        super().__init__(member, tally, call)
        self.query = query

    def read(self) -> None:
        _read(self.member, self.tally, self.call, self.query)


def _query(member: Member, tally: Tally, call: ServerCall, command: Txn, pack: Pack) -> None:
    """Answer from the applied state what is less frequent than a range."""
    found = member.query(command)
    if found is None:
        refuse(call, tally, SERVER_STOPPED)
    elif type(found) is Failure:
        refuse(call, tally, (found.code, found.message))
    else:
        finish(call, tally, pack(member.packer, found))


class _Query(Waiting):
    __slots__ = ("command", "pack")

    def __init__(self, member: Member, tally: Tally, call: ServerCall, command: Txn, pack: Pack) -> None:
        super().__init__(member, tally, call)
        self.command = command
        self.pack = pack

    def read(self) -> None:
        _query(self.member, self.tally, self.call, self.command, self.pack)


class _Write(Waiting):
    __slots__ = ("pack",)

    def __init__(self, member: Member, tally: Tally, call: ServerCall, pack: Pack) -> None:
        super().__init__(member, tally, call)
        self.pack = pack

    def replied(self, done: Any) -> None:
        if isinstance(done, Failure):
            refuse(self.call, self.tally, (done.code, done.message))
        else:
            self.done(done)

    def done(self, done: Any) -> None:
        """It has been executed."""
        finish(self.call, self.tally, self.pack(self.member.packer, done), True)


class _Compact(_Write):
    """If the caller wants to wait until the rows are gone, their removal is asked for again and again."""

    __slots__ = ("physical",)

    def __init__(self, member: Member, tally: Tally, call: ServerCall, physical: bool) -> None:
        super().__init__(member, tally, call, _header)
        self.physical = physical

    def done(self, done: CompactDone | SweepDone) -> None:
        """A step has been executed."""
        if self.call.over:
            return
        if self.physical and (isinstance(done, CompactDone) or done.left):
            self.member.waiting[self] = self.member.host.clock.now() + self.member.bound
            self.member.group.propose(Request(encode(Sweep())), self.answered)
        else:
            super().done(done)


def _header(packer: Packer, done: CompactDone | SweepDone) -> bytes:
    return packer.header(done.revision)
