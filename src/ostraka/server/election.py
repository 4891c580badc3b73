"""etcd's Election service: the leader under a name is who owns it (see `server.claims`), and its value says more.

A leader's `rev` is its fencing token; it is told in the trailer, too, as that of a lock is. Like etcd's, these services
stand on the others: what the database refuses ends with the status Unknown, and its text.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api.packing import Packer, key_value, varint
from ostraka.api.services import METHODS
from ostraka.database.commands import Command, DeleteRange, KeyValue, Put, RangeDone, Txn, TxnDone
from ostraka.errors import OstrakaError
from ostraka.model.machine import Change, Outcome
from ostraka.model.requests import Entry
from ostraka.server.calls import (
    SERVER_STOPPED,
    TOO_LARGE,
    Refusal,
    malformed,
    opened,
    ordered,
    refuse,
    when_readable,
)
from ostraka.server.claims import NOT_LEADER, Claim, Claimant, Claims, if_created_in, owner_query, prefix_of
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

CAMPAIGN, PROCLAIM, LEADER, OBSERVE, RESIGN = (
    f"/v3electionpb.Election/{name}" for name in ("Campaign", "Proclaim", "Leader", "Observe", "Resign")
)
NOBODY_LEADS: Final[Refusal] = (Status.UNKNOWN, "election: no leader")
NO_KEY: Final[Refusal] = (Status.UNKNOWN, '"leader" field must be provided')
ROOM: Final = 1 << 20
"""Bytes that wait for an observer before it is told only who leads in the end."""


class Election:
    """The handlers of one member."""

    def __init__(self, member: Member, claims: Claims) -> None:
        self.member: Final = member
        self.claims: Final = claims
        self.observed: Final[dict[bytes, dict[Observer, None]]] = {}  # By where the keys of the name are.
        member.group.observers.append(self._applied)
        member.group.on_installed.append(self._installed)
        member.on_stop.append(self._stop)

    def register(self, router: Router) -> None:
        member, unknown = self.member, Status.UNKNOWN
        router.unary(CAMPAIGN, self.campaign)
        router.unary(PROCLAIM, ordered(member, PROCLAIM, METHODS[PROCLAIM].request, _change, _proclaimed, unknown))
        router.unary(RESIGN, ordered(member, RESIGN, METHODS[RESIGN].request, _leave, _resigned, unknown))
        router.unary(LEADER, when_readable(member, LEADER, METHODS[LEADER].request, self._leader))
        router.stream(OBSERVE, self.observe)

    def campaign(self, call: ServerCall, message: bytes) -> None:
        """Answered when the caller leads."""
        tally = self.member.tally(CAMPAIGN)
        ask = opened(self.member, tally, call, METHODS[CAMPAIGN].request, message)
        if ask is None:
            return
        if len(message) > self.member.max_request_bytes:
            refuse(call, tally, TOO_LARGE)
            return

        def elected(packer: Packer, claim: Claim) -> bytes:
            response = METHODS[CAMPAIGN].response()
            leader = response.leader
            leader.name, leader.key, leader.rev, leader.lease = ask.name, claim.key, claim.token, claim.lease
            return packer.header(claim.made_at) + bytes(response.SerializeToString())

        Claimant(self.member, self.claims, tally, call, elected).claim(ask.name, ask.lease, ask.value)

    def observe(self, call: ServerCall) -> Observer:
        """A stream that tells who leads, now and from now on."""
        self.member.tally(OBSERVE).started += 1
        observer = Observer(self, call)
        refusal = self.member.gate(call)
        if refusal is not None:
            observer.end(refusal)
        else:
            self.member.require_leader(call, observer.end)
        return observer

    def owner(self, name: bytes) -> RangeDone | None:
        """Who leads under this name, as far as this member knows; None if it has failed."""
        found: RangeDone | None = self.member.query(owner_query(name))
        return found

    def _leader(self, ask: Any) -> bytes | Refusal:
        found = self.owner(ask.name)
        if found is None:
            return SERVER_STOPPED
        return leader_response(self.member.packer, found.revision, found.kvs[0]) if found.kvs else NOBODY_LEADS

    def _applied(self, entry: Entry, outcome: Outcome) -> None:
        if not self.observed:
            return
        touched: dict[Observer, None] = {}
        for change in outcome.changes:
            slash = change.key.find(b"/")
            while slash >= 0:  # A name may have slashes, too.
                for observer in self.observed.get(change.key[: slash + 1], ()):
                    observer.saw(change)
                    touched[observer] = None
                slash = change.key.find(b"/", slash + 1)
        for observer in touched:
            observer.settle()

    def _installed(self) -> None:
        for observers in list(self.observed.values()):
            for observer in list(observers):
                observer.look()

    def _stop(self) -> None:
        for observers in list(self.observed.values()):
            for observer in list(observers):
                observer.end(SERVER_STOPPED)


class Observer:
    """One client's stream: a `Receiver`. It is told of each leader, and of each value that a leader proclaims.

    One that doesn't read may miss values in between, never the last.
    """

    def __init__(self, service: Election, call: ServerCall) -> None:
        self._service: Final = service
        self._call: Final = call
        self._name: bytes | None = None
        self._leader = b""  # Its key; empty while nobody leads.
        self._told: tuple[bytes, int] = b"", 0  # The key and revision that were told last.
        self._seen = 0  # Changes up to this revision are in what was told.
        self._unsure = False  # The leader is gone, or something was passed over: look who leads.
        self._ended = False

    def on_message(self, message: bytes) -> None:
        """Which name is to be observed."""
        try:
            ask = METHODS[OBSERVE].request.FromString(message)
        except DecodeError as error:
            self.end(malformed(error))
            return
        if self._name is None:
            self._name = ask.name
            self._service.member.group.read_index(self._readable)

    def on_half_close(self) -> None:
        """It has said all that it will."""
        if self._name is None:
            self.end((Status.INTERNAL, "a name to observe is expected, and there was none"))

    def on_cancel(self) -> None:
        """The client is gone."""
        if not self._ended:
            self._service.member.tally(OBSERVE).handled[Status.CANCELLED] += 1
            self._close()

    def on_drained(self) -> None:
        """The client has read all there was."""
        self.settle()

    def end(self, refusal: Refusal) -> None:
        """Nothing more can be told."""
        if not self._ended:
            refuse(self._call, self._service.member.tally(OBSERVE), refusal)
            self._close()

    def saw(self, change: Change) -> None:
        """A key of the name has changed."""
        if self._unsure or change.revision <= self._seen:
            return
        if change.new is None:
            self._unsure = change.key == self._leader
        elif self._leader in (b"", change.key):
            self._tell(change.revision, change.new)

    def settle(self) -> None:
        """After the changes of an entry."""
        if self._unsure:
            self.look()

    def look(self) -> None:
        """Who leads now?"""
        if self._ended or self._name is None or self._call.unsent > ROOM:
            return
        found = self._service.owner(self._name)
        if found is None:
            self.end(SERVER_STOPPED)
            return
        self._unsure, self._seen, self._leader = False, found.revision, b""
        for pair in found.kvs:
            self._tell(found.revision, pair)

    def _readable(self, error: OstrakaError | None) -> None:
        if self._ended:
            return
        if error is not None:
            self.end(self._service.member.refusal(error))
            return
        assert self._name is not None, "it was asked for"
        self._service.observed.setdefault(prefix_of(self._name), {})[self] = None
        self.look()

    def _tell(self, revision: int, pair: KeyValue) -> None:
        self._leader = pair.key
        if self._call.unsent > ROOM:
            self._unsure = True
        elif (pair.key, pair.mod_revision) != self._told:
            self._told = pair.key, pair.mod_revision
            self._call.send(leader_response(self._service.member.packer, revision, pair))

    def _close(self) -> None:
        self._ended = True
        self._service.member.leave(self._call)
        if self._name is not None:
            prefix = prefix_of(self._name)
            observers = self._service.observed.get(prefix, {})
            observers.pop(self, None)
            if not observers:
                self._service.observed.pop(prefix, None)


def leader_response(packer: Packer, revision: int, pair: KeyValue) -> bytes:
    """`v3electionpb.LeaderResponse`."""
    packed = key_value(pair)
    return packer.header(revision) + b"\x12" + varint(len(packed)) + packed


def _change(ask: Any) -> Command | Refusal:
    if not ask.HasField("leader"):
        return NO_KEY
    leader = ask.leader
    return if_created_in(
        leader.key, leader.rev, Put(leader.key, ask.value, leader.lease, ignore_lease=not leader.lease)
    )


def _proclaimed(packer: Packer, done: TxnDone, ask: Txn) -> bytes | Refusal:
    return packer.header(done.revision) if done.succeeded else (Status.UNKNOWN, NOT_LEADER.message)


def _leave(ask: Any) -> Command | Refusal:
    if not ask.HasField("leader"):
        return NO_KEY
    return if_created_in(ask.leader.key, ask.leader.rev, DeleteRange(ask.leader.key))


def _resigned(packer: Packer, done: TxnDone, ask: Txn) -> bytes:
    return packer.header(done.revision)
