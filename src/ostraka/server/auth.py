"""etcd's Auth service, as far as it can be answered without authentication: it is not enabled."""

from __future__ import annotations

from typing import Any, Final

from ostraka.api import etcd
from ostraka.database.commands import Inspect, Overview
from ostraka.server.calls import SERVER_STOPPED, Refusal, immediate
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router

_STATUS: Final = "/etcdserverpb.Auth/AuthStatus"
_AUTHENTICATE: Final = "/etcdserverpb.Auth/Authenticate"
_NOT_ENABLED: Final = (Status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
_FIRST_REVISION: Final = 1
"""Of the store of users, while nobody has ever changed it."""


class Auth:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member

    def register(self, router: Router) -> None:
        router.unary(_STATUS, immediate(self.member, _STATUS, etcd.AuthStatusRequest, self.status))
        router.unary(
            _AUTHENTICATE,
            immediate(self.member, _AUTHENTICATE, etcd.AuthenticateRequest, lambda ask: _NOT_ENABLED),
        )

    def status(self, ask: Any) -> bytes | Refusal:
        """Whether it is enabled."""
        overview: Overview | None = self.member.query(Inspect())
        if overview is None:
            return SERVER_STOPPED
        response = etcd.AuthStatusResponse(authRevision=_FIRST_REVISION)
        return self.member.packer.header(overview.revision) + bytes(response.SerializeToString())
