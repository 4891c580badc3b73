"""Requests that are sent again under their number, over a scripted group."""

from __future__ import annotations

import pytest

from ostraka.api import etcd
from ostraka.errors import NotLeader
from ostraka.server.calls import MAX_UNREAD_IN_ALL
from ostraka.transport.http2.errors import Status

from .scripted import World

REGISTER = "/ostraka.v1.Sessions/Register"
PUT, RANGE, DELETE, TXN, COMPACT = (
    f"/etcdserverpb.KV/{name}" for name in ("Put", "Range", "DeleteRange", "Txn", "Compact")
)
SET = etcd.PutRequest(key=b"k", value=b"v", prev_kv=True)
WRITES = [
    (PUT, SET),
    (DELETE, etcd.DeleteRangeRequest(key=b"k", prev_kv=True)),
    (TXN, etcd.TxnRequest(success=[etcd.RequestOp(request_put=SET)])),
    (COMPACT, etcd.CompactionRequest(revision=2)),
]


def begun(world: World, nonce: int = 1) -> int:
    return world.decided(REGISTER, etcd.RegisterRequest(nonce=nonce)).client


def ids(client: object, number: object = 1, acked: object = 0) -> dict[str, str]:
    return {"ostraka-client": str(client), "ostraka-request": str(number), "ostraka-acked": str(acked)}


@pytest.mark.parametrize(("path", "request_"), WRITES, ids=[path for path, _ in WRITES])
def test_what_is_sent_again_is_executed_once_and_answered_alike(path: str, request_) -> None:
    world = World()
    world.decided(PUT, SET)
    client = begun(world)
    first = world.decided(path, request_, **ids(client))
    assert world.decided(path, request_, **ids(client)) == first
    later = world.decided(PUT, SET, **ids(client, 2, 1))
    assert later.header.revision == first.header.revision + 1


def test_a_reply_that_was_seen_is_no_longer_kept_and_nothing_is_executed() -> None:
    world = World()
    client = begun(world)
    world.decided(PUT, SET, **ids(client, 1))
    world.decided(PUT, SET, **ids(client, 2, 1))
    status, text = world.refused(PUT, SET, **ids(client, 1))
    assert status == Status.UNAVAILABLE and "may have been executed" in text
    assert world.decided(RANGE, etcd.RangeRequest(key=b"k")).kvs[0].version == 2


@pytest.mark.parametrize(("path", "request_"), WRITES, ids=[path for path, _ in WRITES])
def test_under_an_unknown_session_nothing_is_executed(path: str, request_) -> None:
    world = World()
    status, text = world.refused(path, request_, **ids(7))
    assert status == Status.UNAVAILABLE and "no such session" in text
    assert world.decided(RANGE, etcd.RangeRequest(key=b"k")).header.revision == 1


@pytest.mark.parametrize(("path", "request_"), WRITES, ids=[path for path, _ in WRITES])
@pytest.mark.parametrize(
    "wrong",
    [
        ids("x"),
        ids(0),
        ids(-1),
        ids(1, "1_0"),
        ids(1, 0),
        ids(1, 1, "²"),
        ids(1 << 63),
        ids(1, 1, 1 << 64),
        {"ostraka-client": "1"},
        {"ostraka-client": "1", "ostraka-request": "1"},
    ],
)
def test_ids_that_make_no_sense_are_refused_before_anything_happens(path: str, request_, wrong: dict[str, str]) -> None:
    world = World()
    status, text = world.refused(path, request_, **wrong)
    assert status == Status.INVALID_ARGUMENT and "whole numbers" in text
    assert not world.group.proposed


def test_leases_are_not_granted_within_a_session() -> None:
    world = World()
    client = begun(world)
    status, text = world.refused("/etcdserverpb.Lease/LeaseGrant", etcd.LeaseGrantRequest(TTL=30), **ids(client))
    assert status == Status.UNIMPLEMENTED and "within sessions" in text


def test_sessions_differ_and_need_a_leader() -> None:
    world = World()
    assert len({begun(world), begun(world), begun(world, 2)}) == 3
    outcomes = world.call(REGISTER, etcd.RegisterRequest(nonce=3))
    world.group.refuse(NotLeader("nobody leads"))
    world.deliver()
    assert outcomes[0].message == "etcdserver: no leader"
    world.group.leader = 0
    assert world.refused(REGISTER, etcd.RegisterRequest(nonce=3), hasleader="true")[1] == "etcdserver: no leader"
    assert world.refused(REGISTER, b"\xff")[0] == Status.INTERNAL


def test_who_is_told_that_there_are_too_many_requests_may_believe_that_nothing_happened() -> None:
    """Slow readers may leave no room for the reply to what was executed: then it can't be said like that."""
    world = World()
    world.decided(PUT, etcd.PutRequest(key=b"k", value=bytes(100 << 10)))
    world.member.unread.total = MAX_UNREAD_IN_ALL
    assert world.decided(PUT, etcd.PutRequest(key=b"small", value=b"v")).header.revision == 3
    assert world.refused(PUT, SET) == (Status.UNAVAILABLE, "etcdserver: request timed out")
    world.member.unread.total = 0
    assert world.decided(RANGE, etcd.RangeRequest(key=b"k")).kvs[0].value == b"v"
    world.member.unread.total = MAX_UNREAD_IN_ALL
    assert world.refused(RANGE, etcd.RangeRequest(key=b"k"))[1] == "etcdserver: too many requests"
