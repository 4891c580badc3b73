"""gRPC's own health service: is this process able to serve?"""

from __future__ import annotations

from typing import Any, Final

from ostraka.api import etcd
from ostraka.server.calls import Refusal, immediate
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router

_CHECK: Final = "/grpc.health.v1.Health/Check"


class Health:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member

    def register(self, router: Router) -> None:
        router.unary(_CHECK, immediate(self.member, _CHECK, etcd.HealthCheckRequest, self.check))

    def check(self, ask: Any) -> bytes | Refusal:
        """Of the server as a whole, whose name is empty: as etcd, it serves unless it has failed."""
        if ask.service:
            return Status.NOT_FOUND, "unknown service"
        kind = etcd.HealthCheckResponse
        response = kind(status=kind.SERVING if self.member.failed is None else kind.NOT_SERVING)
        return bytes(response.SerializeToString())
