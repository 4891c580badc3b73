"""Our Sessions service: a client that numbers its requests can repeat one, and it is executed once.

The session itself is replicated state: `database.sessions`. What a call says of its session is read in `calls.request`.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.api.packing import varint
from ostraka.database.commands import Failure, RegisterSession, Reply, SessionBegun, encode
from ostraka.model.requests import Request
from ostraka.server.calls import Waiting, finish, malformed, refuse
from ostraka.server.member import Member
from ostraka.transport.http2.server import Router, ServerCall

_REGISTER: Final = "/ostraka.v1.Sessions/Register"


class Sessions:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._tally: Final = member.tally(_REGISTER)

    def register(self, router: Router) -> None:
        router.unary(_REGISTER, self.begin)

    def begin(self, call: ServerCall, message: bytes) -> None:
        """Begin a session. Who repeats this begins another one, which does no harm."""
        self._tally.started += 1
        try:
            ask = etcd.RegisterRequest.FromString(message)
        except DecodeError as error:
            refuse(call, self._tally, malformed(error))
            return
        refusal = self.member.gate(call)
        if refusal is not None:
            refuse(call, self._tally, refusal)
            return
        command = RegisterSession(ask.nonce)
        self.member.group.propose(Request(encode(command)), _Register(self.member, self._tally, call).answered)


class _Register(Waiting):
    __slots__ = ()

    def replied(self, done: Reply) -> None:
        if isinstance(done, SessionBegun):
            finish(self.call, self.tally, self.member.packer.header(0) + b"\x10" + varint(done.client))
        else:
            assert isinstance(done, Failure), f"the machine answered a registration with {done}"
            refuse(self.call, self.tally, (done.code, done.message))
