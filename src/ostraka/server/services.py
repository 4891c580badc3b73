"""All services of a member, on one router. What etcd has and we have not yet says so by name."""

from __future__ import annotations

from typing import Final

from ostraka.api.services import METHODS
from ostraka.model.ids import Duration
from ostraka.server.auth import Auth
from ostraka.server.claims import Claims
from ostraka.server.cluster import Cluster
from ostraka.server.config import PROGRESS_EVERY
from ostraka.server.election import Election
from ostraka.server.hashing import Hashing
from ostraka.server.health import Health
from ostraka.server.kv import KV
from ostraka.server.lease import Lease
from ostraka.server.lock import Lock
from ostraka.server.maintenance import Maintenance
from ostraka.server.member import Member
from ostraka.server.reflection import Reflection
from ostraka.server.sessions import Sessions
from ostraka.server.watch import Watch
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall


def router_of(member: Member, progress_every: Duration = PROGRESS_EVERY) -> Router:
    """Routes every method of etcd's services to what serves it in this member.

    `progress_every`: how often watches that ask for it are told how far they have been told.
    """
    router = Router()
    claims = Claims(member.host, member.group)
    member.on_stop.append(claims.stop)
    kv = (KV(member), Lease(member), Watch(member, progress_every), Sessions(member))
    services = (*kv, Election(member, claims), Lock(member, claims), Cluster(member), Maintenance(member))
    for service in (*services, Hashing(member), Auth(member), Health(member), Reflection(member)):
        service.register(router)
    for path in METHODS:
        if path not in router.routes:
            router.stream(path, Unbuilt(member, path).refuse)
    return router


class Unbuilt:
    """Serves a method that isn't there yet: refuses it before its request has come."""

    def __init__(self, member: Member, path: str) -> None:
        self._tally: Final = member.tally(path)
        self._text: Final = f"ostraka: {path} is not built yet"

    def refuse(self, call: ServerCall) -> Unbuilt:
        self._tally.started += 1
        self._tally.handled[Status.UNIMPLEMENTED] += 1
        call.fail(Status.UNIMPLEMENTED, self._text)
        return self

    def on_message(self, message: bytes) -> None:
        """The call is over already."""

    def on_half_close(self) -> None:
        """The call is over already."""

    def on_cancel(self) -> None:
        """The call is over already."""

    def on_drained(self) -> None:
        """Nothing was queued."""
