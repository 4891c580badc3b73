"""gRPC's own health service: is this process able to serve?"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.server.calls import Refusal, immediate, malformed, refuse
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

_CHECK: Final = "/grpc.health.v1.Health/Check"
_WATCH: Final = "/grpc.health.v1.Health/Watch"
_KIND: Final = etcd.HealthCheckResponse


class Health:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member

    def register(self, router: Router) -> None:
        router.unary(_CHECK, immediate(self.member, _CHECK, etcd.HealthCheckRequest, self.check))
        router.stream(_WATCH, lambda call: _Watcher(self, call))

    def check(self, ask: Any) -> bytes | Refusal:
        """Of the server as a whole, whose name is empty: as etcd, it serves unless it has failed."""
        if ask.service:
            return Status.NOT_FOUND, "unknown service"
        return bytes(_KIND(status=self.status).SerializeToString())

    @property
    def status(self) -> int:
        """Of the server as a whole."""
        return int(_KIND.SERVING if self.member.failed is None else _KIND.NOT_SERVING)


class _Watcher:
    """Who is told now. A status never changes while this process lives: if it fails, the stream ends with it."""

    def __init__(self, health: Health, call: ServerCall) -> None:
        self._health: Final = health
        self._call: Final = call
        self._tally: Final = health.member.tally(_WATCH)
        self._tally.started += 1

    def on_message(self, message: bytes) -> None:
        try:
            ask = etcd.HealthCheckRequest.FromString(message)
        except DecodeError as error:
            refuse(self._call, self._tally, malformed(error))
            return
        status = _KIND.SERVICE_UNKNOWN if ask.service else self._health.status
        self._call.send(_KIND(status=status).SerializeToString())
        self._call.pause()  # There is one request.

    def on_half_close(self) -> None:
        """The watch goes on."""

    def on_cancel(self) -> None:
        self._tally.handled[Status.CANCELLED] += 1

    def on_drained(self) -> None:
        """Nothing more is sent."""
