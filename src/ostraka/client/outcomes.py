"""What the end of a call means to its caller: did it happen, and may it be tried again?

Follows:  etcd's `rpctypes` for the texts; its servers, for which of them can come after the execution. gRPC's codes
          alone don't tell: UNAVAILABLE is etcd's answer both to a request that nobody could order and to one whose
          reply it no longer waits for.
Evidence: tests/client/test_outcomes.py.
"""

from __future__ import annotations

from typing import Final

from ostraka import errors
from ostraka.errors import NotExecuted, NotLeader, OstrakaError, OutcomeUnknown, Overloaded, Refused, Unavailable
from ostraka.transport.http2.client import Outcome
from ostraka.transport.http2.errors import Status

_BY_TEXT: Final[dict[str, type[OstrakaError]]] = {
    # Before it was ordered: a member refuses what nobody could order, or what it could not read itself.
    "etcdserver: no leader": NotLeader,
    "etcdserver: leader changed": NotExecuted,
    "etcdserver: unhealthy cluster": NotExecuted,
    "etcdserver: not leader": NotLeader,
    "etcdserver: rpc not supported for learner": NotLeader,
    "etcdserver: mvcc: required revision has been compacted": errors.Compacted,
    "etcdserver: mvcc: required revision is a future revision": errors.FutureRevision,
    "etcdserver: key not found": errors.KeyNotFound,
    "etcdserver: duplicate key given in txn request": errors.DuplicateKey,
    "etcdserver: too many operations in txn request": errors.TooManyOperations,
    "etcdserver: request is too large": errors.TooLarge,
    "etcdserver: requested lease not found": errors.LeaseNotFound,
    "etcdserver: lease already exists": errors.LeaseExists,
    # etcd executes the write that reaches the quota, and answers it like those that come after.
    "etcdserver: mvcc: database space exceeded": errors.NoSpace,
    "ostraka: no such session, or it was evicted: the request may have been executed before; begin a new session": (
        errors.SessionExpired
    ),
    "ostraka: the reply to this request is no longer kept: it may have been executed before": errors.SessionExpired,
}

_NOT_PRIMARY: Final = ("lease: not a primary lessor", "etcdserver: not a primary lessor")
"""What etcd says, without a code of its own, when it has lost its leadership in the middle of a renewal."""

_REFUSALS: Final[dict[int, type[Refused]]] = {
    Status.INVALID_ARGUMENT: Refused,
    Status.NOT_FOUND: Refused,
    Status.ALREADY_EXISTS: Refused,
    Status.FAILED_PRECONDITION: Refused,
    Status.OUT_OF_RANGE: Refused,
    Status.DATA_LOSS: Refused,  # "corrupt cluster": refused because of its alarm.
    Status.PERMISSION_DENIED: errors.PermissionDenied,
    Status.UNAUTHENTICATED: errors.Unauthenticated,
    Status.UNIMPLEMENTED: errors.NotSupported,
}
"""Statuses that a server answers with before it executes anything."""

_PASSING: Final = (NotExecuted, NotLeader, Unavailable, OutcomeUnknown)


def passing(error: OstrakaError) -> bool:
    """Whether another endpoint, or the same one a little later, may do better."""
    return type(error) in _PASSING


def error_of(endpoint: str, outcome: Outcome, writes: bool) -> OstrakaError:
    """The error that a call ended with. `writes`: executing it changes something, so that it matters whether it was."""
    message = outcome.message
    text = f"{endpoint}: {message or Status(outcome.status).name}"
    if detail := outcome.trailers.get("ostraka-detail"):
        text += f" ({detail})"
    if not outcome.answered:
        return _unanswered(text, outcome, writes)
    kind = _BY_TEXT.get(message)
    if kind is NotLeader or kind is NotExecuted:
        return kind(f"{text}: a majority of the members can't be reached from there; look at `ostraka status`")
    if kind is None:
        if outcome.status == Status.RESOURCE_EXHAUSTED and message == "etcdserver: too many requests":
            return Overloaded(f"{text}: try again later")
        kind = _REFUSALS.get(outcome.status)
    if kind is not None and (writes or not issubclass(kind, OutcomeUnknown)):
        return kind(text)
    if not writes:
        return (NotExecuted if _may_pass(outcome) else Refused)(text)
    return OutcomeUnknown(f"{text}: it may have happened or not; read before you repeat it")


def refusal_of(endpoint: str, reason: str) -> OstrakaError:
    """Why a server has ended a watch, from its words alone."""
    kind = _BY_TEXT.get(reason) or (errors.PermissionDenied if "permission denied" in reason else Refused)
    return kind(f"{endpoint}: {reason}")


def _unanswered(text: str, outcome: Outcome, writes: bool) -> OstrakaError:
    """The server's word is missing: only what never reached it certainly did not happen."""
    if outcome.status == Status.DEADLINE_EXCEEDED:
        text = f"{text}: no answer in time"
    if outcome.refused:
        full = outcome.status == Status.RESOURCE_EXHAUSTED  # Too many calls wait for a place on the connection.
        return Overloaded(text) if full else NotExecuted(text)
    if not writes:
        return (NotExecuted if _may_pass(outcome) else Refused)(text)
    return OutcomeUnknown(f"{text}: it may have happened or not; read before you repeat it")


def _may_pass(outcome: Outcome) -> bool:
    return (
        outcome.status in (Status.UNAVAILABLE, Status.CANCELLED, Status.DEADLINE_EXCEEDED, Status.ABORTED)
        or outcome.message in _NOT_PRIMARY
    )
