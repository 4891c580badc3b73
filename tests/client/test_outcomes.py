"""Did it happen? For each end of a call."""

from __future__ import annotations

import pytest

from ostraka import errors
from ostraka.client.outcomes import error_of, passing
from ostraka.errors import NotExecuted, NotLeader, OutcomeUnknown, Overloaded, Refused
from ostraka.transport.http2.client import Outcome
from ostraka.transport.http2.errors import Status


def answered(status: Status, message: str = "") -> Outcome:
    return Outcome(status, message, answered=True)


@pytest.mark.parametrize(
    ("outcome", "of_a_write", "of_a_read"),
    [
        (answered(Status.UNAVAILABLE, "etcdserver: no leader"), NotLeader, NotLeader),
        (answered(Status.UNAVAILABLE, "etcdserver: leader changed"), NotExecuted, NotExecuted),
        (answered(Status.UNAVAILABLE, "etcdserver: request timed out"), OutcomeUnknown, NotExecuted),
        (answered(Status.UNAVAILABLE, "etcdserver: server stopped"), OutcomeUnknown, NotExecuted),
        (answered(Status.DEADLINE_EXCEEDED, "context deadline exceeded"), OutcomeUnknown, NotExecuted),
        (answered(Status.UNKNOWN, "raft proposal dropped"), OutcomeUnknown, Refused),
        (answered(Status.UNKNOWN, "lease: not a primary lessor"), OutcomeUnknown, NotExecuted),
        (answered(Status.INTERNAL, "grpc: error unmarshalling request"), OutcomeUnknown, Refused),
        (answered(Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"), Overloaded, Overloaded),
        (answered(Status.RESOURCE_EXHAUSTED, "grpc: received message larger than max"), OutcomeUnknown, Refused),
        (answered(Status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"), errors.NoSpace, Refused),
        (answered(Status.INVALID_ARGUMENT, "etcdserver: key is not provided"), Refused, Refused),
        (answered(Status.UNIMPLEMENTED, "unknown service"), errors.NotSupported, errors.NotSupported),
        (answered(Status.PERMISSION_DENIED, "etcdserver: permission denied"), errors.PermissionDenied, Refused),
        (answered(Status.NOT_FOUND, "etcdserver: requested lease not found"), errors.LeaseNotFound, Refused),
        (Outcome(Status.UNAVAILABLE, "the connection ended"), OutcomeUnknown, NotExecuted),
        (Outcome(Status.UNAVAILABLE, "GOAWAY", refused=True), NotExecuted, NotExecuted),
        (Outcome(Status.RESOURCE_EXHAUSTED, "calls wait", refused=True), Overloaded, Overloaded),
        (Outcome(Status.RESOURCE_EXHAUSTED, "reply too large"), OutcomeUnknown, Refused),
        (Outcome(Status.DEADLINE_EXCEEDED, "", refused=True), NotExecuted, NotExecuted),
    ],
)
def test_did_it_happen(outcome: Outcome, of_a_write: type, of_a_read: type) -> None:
    assert type(error_of("n1", outcome, writes=True)) is of_a_write
    assert isinstance(error_of("n1", outcome, writes=False), of_a_read)


@pytest.mark.parametrize("outcome", [answered(status, "?") for status in Status if status])
def test_a_read_never_leaves_a_doubt(outcome: Outcome) -> None:
    assert isinstance(error_of("n1", outcome, writes=False), NotExecuted)


def test_what_may_pass_by_is_tried_again_and_what_is_wrong_is_not() -> None:
    assert passing(error_of("n1", answered(Status.UNAVAILABLE, "etcdserver: no leader"), writes=True))
    assert passing(error_of("n1", Outcome(Status.UNAVAILABLE), writes=False))
    for final in ("etcdserver: key not found", "etcdserver: mvcc: required revision has been compacted"):
        assert not passing(error_of("n1", answered(Status.INVALID_ARGUMENT, final), writes=False))
    too_many = answered(Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
    assert not passing(error_of("n1", too_many, writes=True)), "trying again at once makes it worse"


def test_the_text_names_endpoint_cause_and_detail() -> None:
    outcome = Outcome(
        Status.INVALID_ARGUMENT,
        "etcdserver: request is too large",
        trailers={"ostraka-detail": "7 of 5"},
        answered=True,
    )
    error = error_of("n1:2379", outcome, writes=True)
    assert type(error) is errors.TooLarge
    assert str(error) == "n1:2379: etcdserver: request is too large (7 of 5)"
