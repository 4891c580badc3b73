"""etcd's Maintenance service, but for its hashes: Status, Defragment, MoveLeader, and which alarms there are."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.database.commands import Inspect, Overview
from ostraka.errors import NotLeader, OstrakaError, Overloaded, Refused, StorageError
from ostraka.model.ids import NodeId
from ostraka.server.calls import SERVER_STOPPED, Refusal, Tally, Waiting, finish, immediate, malformed, opened, refuse
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
            _Moving(member, tally, call, target).begin()

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
    """Leadership is on its way to another member. An attempt lasts an election timeout; the caller may wait longer."""

    __slots__ = ("target",)

    def __init__(self, member: Member, tally: Tally, call: ServerCall, target: NodeId) -> None:
        super().__init__(member, tally, call)
        self.target = target

    def begin(self) -> None:
        """Hand over, unless it was done before, or nobody waits any more."""
        group = self.member.group
        if self not in self.member.waiting:
            return
        if group.leader == self.target:
            self._end(None)
        elif group.role == "leader":
            group.transfer_leadership(self.target, self._moved)
        else:
            self._end(_TOO_LONG)

    def _moved(self, error: OstrakaError | None) -> None:
        """It has arrived, or the attempt is over."""
        if error is None or self.member.group.leader == self.target:
            self._end(None)
        elif isinstance(error, NotLeader | Refused):
            self._end(_NOT_LEADER if isinstance(error, NotLeader) else _BAD_TRANSFEREE)
        else:
            clock = self.member.host.clock
            clock.call_at(clock.now() + self.member.bound // 50, self.begin)

    def _end(self, refusal: Refusal | None) -> None:
        if self.ended():
            return
        if refusal is None:
            finish(self.call, self.tally, self.member.packer.header(0))
        else:
            refuse(self.call, self.tally, refusal)

    def lateness(self) -> Refusal:
        return _TOO_LONG
