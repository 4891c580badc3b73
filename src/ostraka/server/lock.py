"""etcd's Lock service: a name is locked by who owns it (see `server.claims`).

A lock says in the trailer `ostraka-fencing-token` what etcd's message has no field for: the create revision of its key.
Whoever holds a lock passes it on to what the lock guards, which refuses a token lower than one it has seen.
"""

from __future__ import annotations

from typing import Any, Final

from ostraka.api.packing import Packer, varint
from ostraka.api.services import METHODS
from ostraka.database.commands import DeleteDone, DeleteRange
from ostraka.server.calls import opened, ordered
from ostraka.server.claims import Claim, Claimant, Claims
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

LOCK: Final = "/v3lockpb.Lock/Lock"
UNLOCK: Final = "/v3lockpb.Lock/Unlock"


class Lock:
    """The handlers of one member."""

    def __init__(self, member: Member, claims: Claims) -> None:
        self.member: Final = member
        self.claims: Final = claims

    def register(self, router: Router) -> None:
        router.unary(LOCK, self.lock)
        router.unary(UNLOCK, ordered(self.member, UNLOCK, METHODS[UNLOCK].request, _delete, _deleted, Status.UNKNOWN))

    def lock(self, call: ServerCall, message: bytes) -> None:
        """Answered when the lock is held."""
        tally = self.member.tally(LOCK)
        ask = opened(self.member, tally, call, METHODS[LOCK].request, message)
        if ask is not None:
            Claimant(self.member, self.claims, tally, call, _locked).claim(ask.name, ask.lease, b"")


def _locked(packer: Packer, claim: Claim) -> bytes:
    return packer.header(claim.granted_at) + b"\x12" + varint(len(claim.key)) + claim.key


def _delete(ask: Any) -> DeleteRange:
    return DeleteRange(ask.key)


def _deleted(packer: Packer, done: DeleteDone, ask: DeleteRange) -> bytes:
    return packer.header(done.revision)
