"""etcd's Cluster service: who the members are, and changes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import etcd
from ostraka.database.commands import MemberInfo
from ostraka.errors import ConfigurationError
from ostraka.server import identity
from ostraka.server.calls import SERVER_STOPPED, Refusal, Tally, Waiting, finish, malformed, refuse
from ostraka.server.changes import BAD_URLS, Add, Answer, Change, Promote, Remove, Update
from ostraka.server.config import parse_urls
from ostraka.server.member import Member
from ostraka.server.roster import view_of
from ostraka.transport.http2.server import Router, ServerCall

_SERVICE: Final = "/etcdserverpb.Cluster"

Make = Callable[[Any, Answer], Change]
"""The change that a request asks for. Raises ConfigurationError for URLs that are none."""


class Cluster:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self._tally: Final = member.tally(f"{_SERVICE}/MemberList")

    def register(self, router: Router) -> None:
        router.unary(self._tally.path, self.member_list)
        for name, request, response, make in (
            ("MemberAdd", etcd.MemberAddRequest, etcd.MemberAddResponse, self._add),
            ("MemberRemove", etcd.MemberRemoveRequest, etcd.MemberRemoveResponse, self._remove),
            ("MemberUpdate", etcd.MemberUpdateRequest, etcd.MemberUpdateResponse, self._update),
            ("MemberPromote", etcd.MemberPromoteRequest, etcd.MemberPromoteResponse, self._promote),
        ):
            router.unary(f"{_SERVICE}/{name}", self._changing(name, request, response, make))

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

    def _changing(self, name: str, kind: Any, response: Any, make: Make) -> Callable[[ServerCall, bytes], None]:
        """A handler for a method that changes the members."""
        member, tally = self.member, self.member.tally(f"{_SERVICE}/{name}")

        def handle(call: ServerCall, message: bytes) -> None:
            tally.started += 1
            try:
                ask = kind.FromString(message)
            except DecodeError as error:
                refuse(call, tally, malformed(error))
                return
            refusal = member.gate(call)
            if refusal is not None:
                refuse(call, tally, refusal)
                return
            waiting = _Changing(member, tally, call, response)
            try:
                change = make(ask, waiting.changed)
            except ConfigurationError as error:
                waiting.ended()
                refuse(call, tally, BAD_URLS, str(error))
                return
            waiting.change = change
            change.over = lambda: waiting not in member.waiting
            change.begin(member.bound // 50)

        return handle

    def _add(self, ask: Any, answer: Answer) -> Change:
        host = self.member.host
        urls = _urls(ask.peerURLs)
        node = identity.added_member_id(urls, host.dice.getrandbits(64))
        return Add(host, self.member.group, node, urls, ask.isLearner, answer)

    def _remove(self, ask: Any, answer: Answer) -> Change:
        return Remove(self.member.host, self.member.group, ask.ID, answer)

    def _update(self, ask: Any, answer: Answer) -> Change:
        return Update(self.member.host, self.member.group, ask.ID, _urls(ask.peerURLs), answer)

    def _promote(self, ask: Any, answer: Answer) -> Change:
        return Promote(self.member.host, self.member.group, ask.ID, answer)


def _urls(given: Any) -> tuple[str, ...]:
    """Peer URLs, sorted as etcd sorts them. Raises ConfigurationError."""
    return parse_urls("peer URLs", ",".join(given))


class _List(Waiting):
    __slots__ = ()

    def read(self) -> None:
        _answer(self.member, self.tally, self.call)


class _Changing(Waiting):
    __slots__ = ("change", "response")

    def __init__(self, member: Member, tally: Tally, call: ServerCall, response: Any) -> None:
        super().__init__(member, tally, call)
        self.response = response
        self.change: Change

    def changed(self, refusal: Refusal | None) -> None:
        """The change is done, or never will be."""
        if self.ended():
            return
        infos = known_members(self.member)
        if refusal is not None:
            refuse(self.call, self.tally, refusal)
        elif infos is None:
            refuse(self.call, self.tally, SERVER_STOPPED)
        else:
            response = self.response(members=[_message(each) for each in infos])
            if isinstance(self.change, Add):
                [added] = [each for each in response.members if self.change.node == each.ID] or [None]
                response.member.CopyFrom(added or etcd.Member(ID=self.change.node, peerURLs=self.change.peer_urls))
            finish(self.call, self.tally, self.member.packer.header(0) + response.SerializeToString())


def _answer(member: Member, tally: Tally, call: ServerCall) -> None:
    members = known_members(member)
    if members is None:
        refuse(call, tally, SERVER_STOPPED)
        return
    response = etcd.MemberListResponse(members=[_message(each) for each in members])
    finish(call, tally, member.packer.header(0) + response.SerializeToString())


def known_members(member: Member) -> list[MemberInfo] | None:
    """The configuration's members, where they are, and what they have published; None if the state can't be read."""
    view = view_of(member.host, member.group)
    if view is None:
        return None
    infos = []
    for node in view.configuration.everyone():
        place, registration = view.places.get(node), view.registrations.get(node)
        said = MemberInfo(node, "", (), ()) if registration is None else registration.member
        urls = place.peer_urls if place is not None and place.peer_urls else said.peer_urls
        if not urls and node in member.addresses:
            urls = (member.addresses[node],)
        infos.append(MemberInfo(node, said.name, urls, said.client_urls, node in view.configuration.learners))
    return infos


def _message(info: MemberInfo) -> Any:
    return etcd.Member(
        ID=info.id, name=info.name, peerURLs=info.peer_urls, clientURLs=info.client_urls, isLearner=info.learner
    )
