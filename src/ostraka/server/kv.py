"""etcd's KV service: Put and Range. The hot path of the server.

A put is parsed, encoded once as a command, and proposed; its reply is packed by hand. A linearizable range first
learns by ReadIndex that the local state is recent enough; a serializable one reads at once.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.database.commands import Failure, Put, PutDone, Range, RangeDone, decode_reply, encode
from ostraka.database.failures import EMPTY_KEY
from ostraka.errors import OstrakaError
from ostraka.model.requests import Request
from ostraka.server.calls import SERVER_STOPPED, TOO_LARGE, Refusal, Tally, Waiting, finish, malformed, refuse
from ostraka.server.member import Member
from ostraka.transport.http2.server import Router, ServerCall

_NO_KEY: Final[Refusal] = (EMPTY_KEY.code, EMPTY_KEY.message)


class KV:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._put: Final = member.tally("/etcdserverpb.KV/Put")
        self._range: Final = member.tally("/etcdserverpb.KV/Range")
        self._largest: Final = member.max_request_bytes
        self._propose: Final = member.group.propose
        self._put_request: Final = etcd.PutRequest.FromString
        self._range_request: Final = etcd.RangeRequest.FromString

    def register(self, router: Router) -> None:
        router.unary(self._put.path, self.put)
        router.unary(self._range.path, self.range)

    def put(self, call: ServerCall, message: bytes) -> None:
        """Set a key."""
        self._put.started += 1
        try:
            ask = self._put_request(message)
        except DecodeError as error:
            refuse(call, self._put, malformed(error))
            return
        if not ask.key or len(message) > self._largest or "hasleader" in call.head.metadata:
            refusal = self._put_refusal(call, ask, message)
            if refusal is not None:
                refuse(call, self._put, refusal)
                return
        command = Put(ask.key, ask.value, ask.lease, ask.prev_kv, ask.ignore_value, ask.ignore_lease)
        self._propose(Request(encode(command)), _Put(self.member, self._put, call).answered)

    def _put_refusal(self, call: ServerCall, ask: Any, message: bytes) -> Refusal | None:
        if not ask.key:
            return _NO_KEY
        return TOO_LARGE if len(message) > self._largest else self.member.gate(call)

    def range(self, call: ServerCall, message: bytes) -> None:
        """Read one key or many."""
        self._range.started += 1
        try:
            ask = self._range_request(message)
        except DecodeError as error:
            refuse(call, self._range, malformed(error))
            return
        refusal = self.member.gate(call) if ask.key else _NO_KEY
        if refusal is not None:
            refuse(call, self._range, refusal)
        elif ask.serializable:
            _read(self.member, self._range, call, _query(ask))
        else:
            self.member.group.read_index(_Range(self.member, self._range, call, _query(ask)).ready)


def _query(ask: Any) -> Range:
    return Range(
        ask.key,
        ask.range_end,
        ask.limit,
        ask.revision,
        ask.sort_order,
        ask.sort_target,
        ask.keys_only,
        ask.count_only,
        ask.min_mod_revision,
        ask.max_mod_revision,
        ask.min_create_revision,
        ask.max_create_revision,
    )


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

    def answered(self, reply: bytes | None, error: OstrakaError | None) -> None:
        """The group's answer: the machine's reply, or an error."""
        if self.ended():
            return
        if reply is None:
            assert error is not None, "exactly one of the two is given"
            refuse(self.call, self.tally, self.member.refusal(error))
            return
        done = decode_reply(reply)
        if type(done) is PutDone:
            finish(self.call, self.tally, self.member.packer.put_response(done.revision, done.previous))
        else:
            assert isinstance(done, Failure), f"the machine answered a put with {done}"
            refuse(self.call, self.tally, (done.code, done.message))


class _Range(Waiting):
    __slots__ = ("query",)

    def __init__(self, member: Member, tally: Tally, call: ServerCall, query: Range) -> None:
        super().__init__(member, tally, call)
        self.query = query

    def ready(self, error: OstrakaError | None) -> None:
        """The local state may be read now, or it can't be told whether it may."""
        if self.ended():
            return
        if error is not None:
            refuse(self.call, self.tally, self.member.refusal(error))
        else:
            _read(self.member, self.tally, self.call, self.query)
