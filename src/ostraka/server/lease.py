"""etcd's Lease service.

Departs: a keep-alive and a question for the time that is left are ordered like writes, and so answered by every member
alike: see `database.lease` and `server.renewals`.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.api.packing import Packer, varint
from ostraka.database.commands import (
    Command,
    LeaseGrant,
    LeaseGranted,
    LeaseId,
    LeaseLife,
    LeaseList,
    LeaseRevoke,
    LeaseRevoked,
    LeaseTimeToLive,
    ListLeases,
)
from ostraka.errors import OstrakaError
from ostraka.model.ids import SECOND, Dice
from ostraka.server.calls import SERVER_STOPPED, Refusal, malformed, ordered, refuse, when_readable
from ostraka.server.member import Member
from ostraka.server.renewals import Renewals
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

PATH: Final = "/etcdserverpb.Lease/"
MOST_PENDING: Final = 1000
"""Keep-alives of one stream that may wait for their answers before no more are read from it."""
ROOM: Final = 64 << 10
"""Bytes of answers that may wait for a client before no more of its keep-alives are read."""


class Lease:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self.keep_alives: Final = member.tally(f"{PATH}LeaseKeepAlive")
        self.renewals: Final = Renewals(member.host, member.group, member.bound)
        self.streams: Final[dict[KeepAlives, None]] = {}
        # etcd's: one and a half election timeouts, in whole seconds; a member's patience is three.
        self._least_ttl: Final = -(-member.patience // (2 * SECOND))
        member.on_stop.append(self._stop)

    def register(self, router: Router) -> None:
        member = self.member
        router.unary(
            f"{PATH}LeaseGrant",
            ordered(member, f"{PATH}LeaseGrant", etcd.LeaseGrantRequest, self._grant, _granted),
        )
        router.unary(
            f"{PATH}LeaseRevoke",
            ordered(member, f"{PATH}LeaseRevoke", etcd.LeaseRevokeRequest, _revoke, _revoked),
        )
        router.unary(
            f"{PATH}LeaseTimeToLive",
            ordered(member, f"{PATH}LeaseTimeToLive", etcd.LeaseTimeToLiveRequest, _ask_life, _life),
        )
        router.unary(
            f"{PATH}LeaseLeases",
            when_readable(member, f"{PATH}LeaseLeases", etcd.LeaseLeasesRequest, self._leases),
        )
        router.stream(f"{PATH}LeaseKeepAlive", self.keep_alive)

    def keep_alive(self, call: ServerCall) -> KeepAlives:
        """A stream of keep-alives begins."""
        self.keep_alives.started += 1
        stream = KeepAlives(self, call)
        refusal = self.member.gate(call)
        if refusal is not None:
            stream.end(refusal)
        else:
            self.streams[stream] = None
            self.member.require_leader(call, stream.end)
        return stream

    def _grant(self, ask: Any) -> Command:
        return LeaseGrant(ask.ID or new_id(self.member.host.dice), max(ask.TTL, self._least_ttl))

    def _leases(self, ask: Any) -> bytes | Refusal:
        found: LeaseList | None = self.member.query(ListLeases())
        if found is None:
            return SERVER_STOPPED
        response = etcd.LeaseLeasesResponse(leases=[etcd.LeaseStatus(ID=each) for each in found.ids])
        return self.member.packer.header(found.revision) + bytes(response.SerializeToString())

    def _stop(self) -> None:
        for stream in list(self.streams):
            stream.end(SERVER_STOPPED)


class KeepAlives:
    """One client's stream: a `Receiver`. An answer names its lease, and may overtake that for another one."""

    def __init__(self, service: Lease, call: ServerCall) -> None:
        self._service: Final = service
        self._member: Final = service.member
        self._call: Final = call
        self._pending = 0
        self._half_closed = False
        self._ended = False

    def on_message(self, message: bytes) -> None:
        """Keep a lease alive."""
        try:
            ask = etcd.LeaseKeepAliveRequest.FromString(message)
        except DecodeError as error:
            self.end(malformed(error))
            return
        self._pending += 1
        self._service.renewals.ask(ask.ID, self._renewed)
        if self._is_full():
            self._call.pause()

    def on_half_close(self) -> None:
        """The client asks for no more. What it has asked for is still answered."""
        self._half_closed = True
        self._finish_if_done()

    def on_cancel(self) -> None:
        """The client is gone."""
        if not self._ended:
            self._service.keep_alives.handled[Status.CANCELLED] += 1
            self._close()

    def on_drained(self) -> None:
        """The client has read all there was."""
        self._go_on()

    def end(self, refusal: Refusal) -> None:
        """No more can be kept alive on this stream."""
        if not self._ended:
            refuse(self._call, self._service.keep_alives, refusal)
            self._close()

    def _renewed(self, lease: LeaseId, revision: int, ttl: int, error: OstrakaError | None) -> None:
        self._pending -= 1
        if self._ended:
            return
        if error is not None:
            self.end(self._member.refusal(error))
            return
        packed = b"\x10" + varint(lease) if lease else b""
        self._call.send(self._member.packer.header(revision) + packed + (b"\x18" + varint(ttl) if ttl else b""))
        self._go_on()

    def _go_on(self) -> None:
        if not self._is_full():
            self._call.resume()
        self._finish_if_done()

    def _is_full(self) -> bool:
        return self._pending >= MOST_PENDING or self._call.unsent > ROOM

    def _finish_if_done(self) -> None:
        if self._half_closed and not self._pending and not self._ended:
            self._service.keep_alives.handled[Status.OK] += 1
            self._call.finish()
            self._close()

    def _close(self) -> None:
        self._ended = True
        self._service.streams.pop(self, None)
        self._member.leave(self._call)


def new_id(dice: Dice) -> LeaseId:
    """An id that nobody has: positive, and one of so many that it is never the same as another one's."""
    while not (drawn := dice.getrandbits(63)):
        pass
    return drawn


def _granted(packer: Packer, done: LeaseGranted, ask: LeaseGrant) -> bytes:
    response = etcd.LeaseGrantResponse(ID=ask.id, TTL=done.ttl)
    return packer.header(done.revision) + bytes(response.SerializeToString())


def _revoke(ask: Any) -> Command:
    return LeaseRevoke(ask.ID)


def _revoked(packer: Packer, done: LeaseRevoked, ask: LeaseRevoke) -> bytes:
    return packer.header(done.revision)


def _ask_life(ask: Any) -> Command:
    return LeaseTimeToLive(ask.ID, ask.keys)


def _life(packer: Packer, done: LeaseLife, ask: LeaseTimeToLive) -> bytes:
    response = etcd.LeaseTimeToLiveResponse(ID=ask.id, TTL=done.remaining, grantedTTL=done.granted, keys=done.keys)
    return packer.header(done.revision) + bytes(response.SerializeToString())
