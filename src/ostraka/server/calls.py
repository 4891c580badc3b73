"""A call under way: what every service does alike while it waits for the group, and when it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from ostraka.api.packing import Packer
from ostraka.database.commands import Command, Failure, decode_reply, encode
from ostraka.errors import NotLeader, OstrakaError, OutcomeUnknown, Overloaded, Refilling
from ostraka.model.effects import Why
from ostraka.model.requests import Request
from ostraka.transport.http2.connection import Connection
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import ServerCall

if TYPE_CHECKING:
    from ostraka.server.member import Member

OVERHEAD: Final = 512 << 10  # Bytes of a message beyond the largest request, as in etcd.
SMALL: Final = 4 << 10  # Bytes of a reply that is counted only if it has to wait.
LARGE: Final = 64 << 10  # Bytes of a reply that is looked at before it joins what waits for a slow reader.
MAX_UNREAD: Final = 64 << 20  # Bytes of large replies that one connection may leave unread,
MAX_UNREAD_IN_ALL: Final = 256 << 20  # and of replies that all of them together may.

Refusal = tuple[int, str]
"""How a call ends that can't be served: gRPC's status and etcd's exact text, which clients compare."""

NO_LEADER: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: no leader")
LEADER_CHANGED: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: leader changed")
SERVER_STOPPED: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: server stopped")
TIMED_OUT: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: request timed out")
LEADER_FAILED: Final[Refusal] = (
    Status.UNAVAILABLE,
    "etcdserver: request timed out, possibly due to previous leader failure",
)
CONNECTION_LOST: Final[Refusal] = (
    Status.UNAVAILABLE,
    "etcdserver: request timed out, possibly due to connection lost",
)
REFILLING: Final[Refusal] = (Status.UNAVAILABLE, f"ostraka: {Why.REFILLING.value}")
TOO_MANY_REQUESTS: Final[Refusal] = (Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
NOT_FOR_LEARNERS: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: rpc not supported for learner")
TOO_LARGE: Final[Refusal] = (Status.INVALID_ARGUMENT, "etcdserver: request is too large")

Pack = Callable[[Packer, Any, Any], bytes | Refusal]
"""Makes the message of what a command came to, and of the command."""


NO_IDS: Final[Refusal] = (
    Status.INVALID_ARGUMENT,
    "ostraka: the metadata ostraka-client, ostraka-request and ostraka-acked must be whole numbers below 2^63, "
    "the first two of them above 0; nothing was done",
)
NO_SESSION: Final[Refusal] = (
    Status.UNIMPLEMENTED,
    "ostraka: only the methods of the KV service are executed within sessions; nothing was done",
)
_LARGEST_ID: Final = (1 << 63) - 1


def request(call: ServerCall, payload: bytes) -> Request | None:
    """The request that a call makes, under the number that it has in a session, if the caller says so.

    None if the caller says it in a way that can't be understood: such a request must not be executed.
    """
    metadata = call.head.metadata
    if not metadata or "ostraka-client" not in metadata:
        return Request(payload)
    ids = [metadata.get(name, "") for name in ("ostraka-client", "ostraka-request", "ostraka-acked")]
    if not all(each.isascii() and each.isdigit() and len(each) < 20 for each in ids):
        return None
    client, number, acked = map(int, ids)
    if not (0 < client <= _LARGEST_ID and 0 < number <= _LARGEST_ID and acked <= _LARGEST_ID):
        return None
    return Request(payload, client, number, acked)


class Unread:
    """Bytes of replies that clients leave unread, on all connections: counted now and then, added to in between."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Tally:
    """How often a method was called, and how its calls ended, by gRPC status."""

    __slots__ = ("handled", "path", "started", "unread")

    def __init__(self, path: str, unread: Unread) -> None:
        self.path = path
        self.unread = unread
        self.started = 0
        self.handled = [0] * (max(Status) + 1)


def finish(call: ServerCall, tally: Tally, message: bytes, executed: bool = False) -> None:
    """End the call well. `executed`: something was changed, so that a reply which can't be sent leaves a doubt."""
    size, unread = len(message), tally.unread
    if (unread.total or size > LARGE) and not _has_room(call, unread, size):
        if not executed:
            refuse(call, tally, TOO_MANY_REQUESTS)
            return
        if size > SMALL:
            refuse(call, tally, TIMED_OUT, f"it was executed, but there is no room for a reply of {size} bytes")
            return
    tally.handled[0] += 1
    call.reply(message)
    if size > SMALL or call.outbox is not None:
        unread.total += size


def refuse(call: ServerCall, tally: Tally, refusal: Refusal, detail: str = "") -> None:
    """End the call with this. `detail`: ASCII, what etcd's text leaves out, in a trailer of our own."""
    tally.handled[refusal[0]] += 1
    call.fail(*refusal, [("ostraka-detail", detail)] if detail else ())


def answer(call: ServerCall, tally: Tally, result: bytes | Refusal) -> None:
    """End the call with a message, or with why there is none."""
    if isinstance(result, bytes):
        finish(call, tally, result)
    else:
        refuse(call, tally, result)


def malformed(error: DecodeError) -> Refusal:
    """How a call ends whose request is no message, as grpc-go words it."""
    return Status.INTERNAL, f"grpc: error unmarshalling request: {error}"


def _has_room(call: ServerCall, all_unread: Unread, size: int) -> bool:
    """Readers that are slow make replies pile up: above a bound they get no more of them."""
    if all_unread.total and all_unread.total + size > MAX_UNREAD_IN_ALL:
        return False
    unread = unread_on(call.connection) if size > LARGE else 0
    return not unread or unread + size <= MAX_UNREAD


def unread_on(connection: Connection[ServerCall]) -> int:
    """Bytes of replies that wait for this reader."""
    return sum(map(len, connection.out)) + sum([stream.unsent for stream in connection.streams.values()])


class Waiting:
    """A call that waits for the group. Its subclass knows what to do with the answer."""

    __slots__ = ("call", "leader", "member", "tally")

    def __init__(self, member: Member, tally: Tally, call: ServerCall) -> None:
        self.member = member
        self.tally = tally
        self.call = call
        self.leader = member.group.leader
        member.waiting[self] = call.connection.now + member.bound

    def ended(self) -> bool:
        """The answer has come: wait no more. True if the caller was told before that it would not come."""
        return self.member.waiting.pop(self, None) is None

    def answered(self, reply: bytes | None, error: OstrakaError | None) -> None:
        """The group's answer to a proposal: the machine's reply, or an error."""
        if self.ended():
            return
        if reply is None:
            assert error is not None, "exactly one of the two is given"
            refuse(self.call, self.tally, self.member.refusal(error))
        else:
            self.replied(decode_reply(reply))

    def replied(self, done: Any) -> None:
        """The machine has answered what was proposed. For those that propose."""
        raise AssertionError(f"{type(self).__name__} proposes nothing")

    def ready(self, error: OstrakaError | None) -> None:
        """The local state may be read now, or it can't be told whether it may."""
        if self.ended():
            return
        if error is not None:
            refuse(self.call, self.tally, self.member.refusal(error))
        else:
            self.read()

    def read(self) -> None:
        """The local state may be read. For those that ask for a read index."""
        raise AssertionError(f"{type(self).__name__} reads nothing")

    def lateness(self) -> Refusal:
        """What a caller is told who has waited for too long: the cause as far as it is known."""
        leader = self.member.group.leader
        if not leader:
            return CONNECTION_LOST
        return TIMED_OUT if leader == self.leader else LEADER_FAILED


def refusal_of(error: OstrakaError, failed: OstrakaError | None) -> Refusal:
    """What etcd would say where we have met `error`. `failed`: why this member serves nothing more, if so."""
    match error:
        case NotLeader():
            return NO_LEADER
        case Refilling():
            return REFILLING
        case Overloaded():
            return TOO_MANY_REQUESTS
        case OutcomeUnknown():
            return LEADER_FAILED
        case _:
            return LEADER_CHANGED if failed is None else SERVER_STOPPED


def immediate(
    member: Member, path: str, kind: Any, found: Callable[[Any], bytes | Refusal], learner: bool = False
) -> Callable[[ServerCall, bytes], None]:
    """A handler for a method that needs nothing but what this member knows: `found` gets the parsed request.

    `learner`: one that doesn't vote serves it, too.
    """
    tally = member.tally(path)

    def handle(call: ServerCall, message: bytes) -> None:
        ask = opened(member, tally, call, kind, message, learner)
        if ask is not None:
            answer(call, tally, found(ask))

    return handle


def ordered(
    member: Member,
    path: str,
    kind: Any,
    command_of: Callable[[Any], Command | Refusal],
    pack: Pack,
    refused_as: Status | None = None,
) -> Callable[[ServerCall, bytes], None]:
    """A handler for a method that comes to one command in the log.

    `command_of` gets the parsed request. `refused_as`: what a refusal by the database ends with, if not with its own
    status.
    """
    tally = member.tally(path)

    def handle(call: ServerCall, message: bytes) -> None:
        ask = opened(member, tally, call, kind, message)
        if ask is None:
            return
        command = TOO_LARGE if len(message) > member.max_request_bytes else command_of(ask)
        if not isinstance(command, Command):
            refuse(call, tally, command)
            return
        if "ostraka-client" in call.head.metadata:
            refuse(call, tally, NO_SESSION)
            return
        ordering = _Ordered(member, tally, call, command, pack, refused_as)
        member.group.propose(Request(encode(command)), ordering.answered)

    return handle


def when_readable(
    member: Member, path: str, kind: Any, found: Callable[[Any], bytes | Refusal]
) -> Callable[[ServerCall, bytes], None]:
    """A handler for a method that reads, linearizably: `found` gets the parsed request when it may."""
    tally = member.tally(path)

    def handle(call: ServerCall, message: bytes) -> None:
        ask = opened(member, tally, call, kind, message)
        if ask is not None:
            member.group.read_index(_Reading(member, tally, call, ask, found).ready)

    return handle


def opened(member: Member, tally: Tally, call: ServerCall, kind: Any, message: bytes, learner: bool = False) -> Any:
    """The request of a call that has come, or None: it has been refused. `learner`: not by one that doesn't vote."""
    tally.started += 1
    try:
        ask = kind.FromString(message)
    except DecodeError as error:
        refuse(call, tally, malformed(error))
        return None
    refusal = member.gate(call, learner)
    if refusal is not None:
        refuse(call, tally, refusal)
        return None
    return ask


class _Ordered(Waiting):
    __slots__ = ("command", "pack", "refused_as")

    def __init__(
        self,
        member: Member,
        tally: Tally,
        call: ServerCall,
        command: Command,
        pack: Pack,
        refused_as: Status | None,
    ) -> None:
        super().__init__(member, tally, call)
        self.command = command
        self.pack = pack
        self.refused_as = refused_as

    def replied(self, done: Any) -> None:
        if isinstance(done, Failure):
            status = done.code if self.refused_as is None else self.refused_as
            refuse(self.call, self.tally, (status, done.message))
        else:
            packed = self.pack(self.member.packer, done, self.command)
            if isinstance(packed, bytes):
                finish(self.call, self.tally, packed, True)
            else:
                refuse(self.call, self.tally, packed)


class _Reading(Waiting):
    __slots__ = ("ask", "found")

    def __init__(
        self, member: Member, tally: Tally, call: ServerCall, ask: Any, found: Callable[[Any], bytes | Refusal]
    ) -> None:
        super().__init__(member, tally, call)
        self.ask = ask
        self.found = found

    def read(self) -> None:
        answer(self.call, self.tally, self.found(self.ask))
