"""etcd's Maintenance service: Status, and Alarm as far as it asks which alarms there are."""

from __future__ import annotations

from typing import Any, Final

from ostraka.api import etcd
from ostraka.database.commands import Inspect, Overview
from ostraka.server.calls import SERVER_STOPPED, Refusal, immediate
from ostraka.server.member import Member
from ostraka.server.version import SERVER_VERSION
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router

_STATUS: Final = "/etcdserverpb.Maintenance/Status"
_ALARM: Final = "/etcdserverpb.Maintenance/Alarm"
_NO_ALARMS: Final = (Status.UNIMPLEMENTED, f"ostraka: {_ALARM}: raising and disarming alarms is not built yet")


class Maintenance:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member

    def register(self, router: Router) -> None:
        router.unary(_STATUS, immediate(self.member, _STATUS, etcd.StatusRequest, self.status))
        router.unary(_ALARM, immediate(self.member, _ALARM, etcd.AlarmRequest, self.alarm))

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
            dbSizeInUse=size,
            leader=status.leader,
            raftIndex=status.commit,
            raftTerm=status.epoch,
            raftAppliedIndex=member.group.applied,
            errors=() if status.leader else ("etcdserver: no leader",),
            isLearner=member.id in status.members.learners,
        )
        return member.packer.header(overview.revision) + bytes(response.SerializeToString())

    def alarm(self, ask: Any) -> bytes | Refusal:
        """There are no alarms: nothing here raises any yet."""
        if ask.action != etcd.AlarmRequest.GET:
            return _NO_ALARMS
        overview: Overview | None = self.member.query(Inspect())
        return SERVER_STOPPED if overview is None else self.member.packer.header(overview.revision)
