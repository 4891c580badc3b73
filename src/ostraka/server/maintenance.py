"""etcd's Maintenance service, but for its hashes: Status, Defragment, MoveLeader, and which alarms there are."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.database.commands import Inspect, Overview
from ostraka.errors import NotLeader, OstrakaError, Overloaded, Refused, StorageError
from ostraka.server.calls import SERVER_STOPPED, Refusal, Waiting, finish, immediate, malformed, opened, refuse
from ostraka.server.member import Member
from ostraka.server.version import SERVER_VERSION
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

_STATUS: Final = "/etcdserverpb.Maintenance/Status"
_ALARM: Final = "/etcdserverpb.Maintenance/Alarm"
_DEFRAGMENT: Final = "/etcdserverpb.Maintenance/Defragment"
_MOVE_LEADER: Final = "/etcdserverpb.Maintenance/MoveLeader"
_NOT_LEADER: Final = (Status.FAILED_PRECONDITION, "etcdserver: not leader")
_BAD_TRANSFEREE: Final = (Status.FAILED_PRECONDITION, "etcdserver: bad leader transferee")
_TOO_LONG: Final = (Status.UNAVAILABLE, "etcdserver: request timed out, leader transfer took too long")
_NO_ALARMS: Final = (Status.UNIMPLEMENTED, f"ostraka: {_ALARM}: raising and disarming alarms is not built yet")


class Maintenance:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._move_leader: Final = member.tally(_MOVE_LEADER)

    def register(self, router: Router) -> None:
        router.unary(_STATUS, immediate(self.member, _STATUS, etcd.StatusRequest, self.status, learner=True))
        router.unary(_MOVE_LEADER, self.move_leader)
        router.unary(_ALARM, immediate(self.member, _ALARM, etcd.AlarmRequest, self.alarm))
        router.unary(_DEFRAGMENT, self.defragment)

    def status(self, ask: Any) -> bytes | Refusal:
        """What this member knows of itself, leader or not."""
        member = self.member
        overview: Overview | None = member.query(Inspect())
        if overview is None:
            return SERVER_STOPPED
        status = member.group.status()
        size = member.size()
        response = etcd.StatusResponse(
            version=SERVER_VERSION,
            dbSize=size,
            dbSizeInUse=min(size, member.host.store.live_size()),
            leader=status.leader,
            raftIndex=status.commit,
            raftTerm=status.epoch,
            raftAppliedIndex=member.group.applied,
            errors=() if status.leader else ("etcdserver: no leader",),
            isLearner=member.id in status.members.learners,
        )
        return member.packer.header(overview.revision) + bytes(response.SerializeToString())

    def move_leader(self, call: ServerCall, message: bytes) -> None:
        """Let another voter lead. Only the leader is asked."""
        member, tally = self.member, self._move_leader
        tally.started += 1
        try:
            target = etcd.MoveLeaderRequest.FromString(message).targetID
        except DecodeError as error:
            refuse(call, tally, malformed(error))
            return
        refusal = member.gate(call)
        if refusal is None and member.group.role != "leader":
            refusal = _NOT_LEADER
        if refusal is None and target not in member.group.meta.members.voters:
            refusal = _BAD_TRANSFEREE
        if refusal is not None:
            refuse(call, tally, refusal)
        else:
            member.group.transfer_leadership(target, _Moving(member, tally, call).moved)

    def alarm(self, ask: Any) -> bytes | Refusal:
        """There are no alarms: nothing here raises any yet."""
        if ask.action != etcd.AlarmRequest.GET:
            return _NO_ALARMS
        overview: Overview | None = self.member.query(Inspect())
        return SERVER_STOPPED if overview is None else self.member.packer.header(overview.revision)

    def defragment(self, call: ServerCall, message: bytes) -> None:
        """Give the room of what was overwritten and deleted back to the disk, however long it takes.

        Unlike in etcd, the member serves meanwhile.
        """
        tally = self.member.tally(_DEFRAGMENT)
        if opened(self.member, tally, call, etcd.DefragmentRequest, message) is None:
            return

        def done(failure: StorageError | None) -> None:
            if failure is None:
                finish(call, tally, b"")
            else:
                self.member.host.fail(failure)
                refuse(call, tally, SERVER_STOPPED)

        try:
            self.member.host.store.compact(done)
        except Overloaded as refused:
            refuse(call, tally, (Status.RESOURCE_EXHAUSTED, f"ostraka: {refused}"))


class _Moving(Waiting):
    """Leadership is on its way to another member."""

    __slots__ = ()

    def moved(self, error: OstrakaError | None) -> None:
        """It has arrived, or the attempt is over."""
        if self.ended():
            return
        match error:
            case None:
                finish(self.call, self.tally, self.member.packer.header(0))
            case NotLeader():
                refuse(self.call, self.tally, _NOT_LEADER)
            case Refused():
                refuse(self.call, self.tally, _BAD_TRANSFEREE)
            case _:
                refuse(self.call, self.tally, _TOO_LONG, str(error))
