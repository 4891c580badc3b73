"""etcd's Cluster service: who the members are."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.database.commands import ListMembers, MemberInfo, Members
from ostraka.server.calls import SERVER_STOPPED, Tally, Waiting, finish, malformed, refuse
from ostraka.server.member import Member
from ostraka.transport.http2.server import Router, ServerCall

_LIST: Final = "/etcdserverpb.Cluster/MemberList"


class Cluster:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._tally: Final = member.tally(_LIST)

    def register(self, router: Router) -> None:
        router.unary(_LIST, self.member_list)

    def member_list(self, call: ServerCall, message: bytes) -> None:
        """All members in the order of their ids; one that has not published yet has no name and no client URLs."""
        self._tally.started += 1
        try:
            ask = etcd.MemberListRequest.FromString(message)
        except DecodeError as error:
            refuse(call, self._tally, malformed(error))
            return
        refusal = self.member.gate(call)
        if refusal is not None:
            refuse(call, self._tally, refusal)
        elif ask.linearizable:
            self.member.group.read_index(_List(self.member, self._tally, call).ready)
        else:
            _answer(self.member, self._tally, call)


class _List(Waiting):
    __slots__ = ()

    def read(self) -> None:
        _answer(self.member, self.tally, self.call)


def _answer(member: Member, tally: Tally, call: ServerCall) -> None:
    members = known_members(member)
    if members is None:
        refuse(call, tally, SERVER_STOPPED)
        return
    response = etcd.MemberListResponse(members=[_message(each) for each in members])
    finish(call, tally, member.packer.header(0) + response.SerializeToString())


def known_members(member: Member) -> list[MemberInfo] | None:
    """The configuration's members with what they have published; None if the state can't be read."""
    published: Members | None = member.query(ListMembers())
    if published is None:
        return None
    infos = {registration.member.id: registration.member for registration in published.registrations}
    active = member.group.meta.members
    return [
        infos.get(each) or MemberInfo(each, "", (member.addresses.get(each, ""),), (), each in active.learners)
        for each in active.everyone()
    ]


def _message(info: MemberInfo) -> Any:
    return etcd.Member(
        ID=info.id, name=info.name, peerURLs=info.peer_urls, clientURLs=info.client_urls, isLearner=info.learner
    )
