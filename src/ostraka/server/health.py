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
        self.watchers: Final[dict[_Watcher, None]] = {}
        member.on_stop.append(self._stop)

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

    def _stop(self) -> None:
        for watcher in list(self.watchers):
            watcher.stop()


class _Watcher:
    """Who is told now, and when this member is about to stop: a status changes no more than that while it lives."""

    def __init__(self, health: Health, call: ServerCall) -> None:
        self._health: Final = health
        self._call: Final = call
        self._tally: Final = health.member.tally(_WATCH)
        self._tally.started += 1

    def on_message(self, message: bytes) -> None:
        """What is to be watched."""
        try:
            ask = etcd.HealthCheckRequest.FromString(message)
        except DecodeError as error:
            refuse(self._call, self._tally, malformed(error))
            return
        self._say(_KIND.SERVICE_UNKNOWN if ask.service else self._health.status)
        if not ask.service:
            self._health.watchers[self] = None
        self._call.pause()  # There is one request.

    def on_half_close(self) -> None:
        """The watch goes on."""

    def on_cancel(self) -> None:
        """The client is gone."""
        self._tally.handled[Status.CANCELLED] += 1
        self._health.watchers.pop(self, None)

    def on_drained(self) -> None:
        """Nothing waits."""

    def stop(self) -> None:
        """This member serves no more."""
        self._say(_KIND.NOT_SERVING)
        self._tally.handled[Status.OK] += 1
        self._call.finish()
        del self._health.watchers[self]

    def _say(self, status: int) -> None:
        self._call.send(_KIND(status=status).SerializeToString())
