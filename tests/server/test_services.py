"""The services over a scripted group: replies, and every way in which a call can end badly."""

from __future__ import annotations

import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.database.commands import MemberInfo, Publish, encode
from ostraka.errors import Corruption, NotExecuted, NotLeader, OutcomeUnknown, Overloaded, StorageError
from ostraka.model.requests import Request
from ostraka.server.calls import MAX_UNREAD
from ostraka.server.services import Unbuilt
from ostraka.transport.http2.errors import Status

from .scripted import BOUND, CLUSTER, ME, OTHER, World

PUT, RANGE, DELETE, TXN, COMPACT = (
    f"/etcdserverpb.KV/{name}" for name in ("Put", "Range", "DeleteRange", "Txn", "Compact")
)
LIST, STATUS, ALARM = (
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Alarm",
)
CHECK = "/grpc.health.v1.Health/Check"
SET = etcd.PutRequest(key=b"k", value=b"v")
GET = etcd.RangeRequest(key=b"k")


def test_a_put_is_answered_when_it_is_executed_and_not_before():
    world = World()
    outcomes = world.call(PUT, SET)
    assert outcomes == [] and len(world.group.proposed) == 1
    world.group.decide()
    world.deliver()
    reply = etcd.PutResponse.FromString(outcomes[0].body)
    header = etcd.ResponseHeader(cluster_id=CLUSTER, member_id=ME, revision=2, raft_term=3)
    assert reply == etcd.PutResponse(header=header)


def test_a_put_carries_all_its_options():
    world = World()
    world.decided(PUT, SET)
    reply = world.decided(PUT, etcd.PutRequest(key=b"k", ignore_value=True, prev_kv=True))
    assert (reply.prev_kv.key, reply.prev_kv.value, reply.prev_kv.version) == (b"k", b"v", 1)
    assert world.decided(RANGE, GET).kvs[0].version == 2


def test_a_linearizable_range_waits_and_a_serializable_one_does_not():
    world = World()
    world.decided(PUT, SET)
    waiting = world.call(RANGE, GET)
    assert waiting == [] and len(world.group.reads) == 1
    [at_once] = world.call(RANGE, etcd.RangeRequest(key=b"k", serializable=True))
    world.group.decide()
    world.deliver()
    assert at_once.body == waiting[0].body
    reply = etcd.RangeResponse.FromString(at_once.body)
    assert (reply.header.revision, reply.count, reply.kvs[0].value, reply.more) == (2, 1, b"v", False)


def test_a_range_carries_all_its_options():
    world = World()
    for number in range(4):
        world.decided(PUT, etcd.PutRequest(key=b"k%d" % number, value=b"%d" % (9 - number)))
    ask = etcd.RangeRequest(key=b"k", range_end=b"l", limit=2, sort_order="ASCEND", sort_target="VALUE")
    reply = world.decided(RANGE, ask)
    assert [kv.key for kv in reply.kvs] == [b"k3", b"k2"] and reply.more and reply.count == 4
    reply = world.decided(RANGE, etcd.RangeRequest(key=b"k", range_end=b"l", keys_only=True, min_mod_revision=5))
    assert [(kv.key, kv.value) for kv in reply.kvs] == [(b"k3", b"")]
    reply = world.decided(RANGE, etcd.RangeRequest(key=b"k", range_end=b"l", count_only=True, revision=3))
    assert (reply.count, len(reply.kvs), reply.header.revision) == (2, 0, 5)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotLeader("nobody"), Status.UNAVAILABLE, "etcdserver: no leader"),
        (Overloaded("full"), Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
        (NotExecuted("leadership is being transferred"), Status.UNAVAILABLE, "etcdserver: leader changed"),
        (
            OutcomeUnknown("lost"),
            Status.UNAVAILABLE,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
    ],
)
@pytest.mark.parametrize(
    ("path", "request_"), [(PUT, SET), (RANGE, GET), (LIST, etcd.MemberListRequest(linearizable=True))]
)
def test_an_error_of_the_group_has_etcds_code_and_text(path, request_, error, code, text):
    world = World()
    outcomes = world.call(path, request_)
    world.group.refuse(error)
    world.deliver()
    assert [(outcome.status, outcome.message) for outcome in outcomes] == [(code, text)]
    assert world.member.waiting == {}


@pytest.mark.parametrize(
    ("path", "request_", "code", "text"),
    [
        (PUT, etcd.PutRequest(value=b"v"), Status.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        (RANGE, etcd.RangeRequest(), Status.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        (PUT, etcd.PutRequest(key=b"k", ignore_value=True), Status.INVALID_ARGUMENT, "etcdserver: key not found"),
        (
            PUT,
            etcd.PutRequest(key=b"k", value=b"v", ignore_value=True),
            Status.INVALID_ARGUMENT,
            "etcdserver: value is provided",
        ),
        (PUT, etcd.PutRequest(key=b"k", lease=9), Status.NOT_FOUND, "etcdserver: requested lease not found"),
        (
            RANGE,
            etcd.RangeRequest(key=b"k", revision=99),
            Status.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (PUT, b"\xff\xff\xff", Status.INTERNAL, "grpc: error unmarshalling request: "),
        (RANGE, b"\xff\xff\xff", Status.INTERNAL, "grpc: error unmarshalling request: "),
        (LIST, b"\xff\xff\xff", Status.INTERNAL, "grpc: error unmarshalling request: "),
        (STATUS, b"\xff\xff\xff", Status.INTERNAL, "grpc: error unmarshalling request: "),
        (ALARM, etcd.AlarmRequest(action="ACTIVATE"), Status.UNIMPLEMENTED, f"ostraka: {ALARM}: raising"),
        (CHECK, etcd.HealthCheckRequest(service="x"), Status.NOT_FOUND, "unknown service"),
    ],
)
def test_a_wrong_request_is_refused_by_name(path, request_, code, text):
    status, message = World().refused(path, request_)
    assert status == code and message.startswith(text), message


def test_a_request_that_is_too_large_is_refused_before_it_is_proposed():
    world = World(max_request_bytes=1000)
    refusal = world.refused(PUT, etcd.PutRequest(key=b"k", value=bytes(1001)))
    assert refusal == (Status.INVALID_ARGUMENT, "etcdserver: request is too large")
    assert world.group.applied == 0
    world.decided(PUT, etcd.PutRequest(key=b"k", value=bytes(900)))


@pytest.mark.parametrize(("path", "request_"), [(PUT, SET), (RANGE, GET), (LIST, b""), (STATUS, b"")])
def test_a_caller_who_requires_a_leader_is_told_at_once_that_there_is_none(path, request_):
    world = World()
    world.group.leader = 0
    refusal = world.refused(path, request_, hasleader="true")
    assert refusal == (Status.UNAVAILABLE, "etcdserver: no leader")
    assert world.group.applied == 0


@pytest.mark.parametrize(
    ("leader", "text"),
    [
        (ME, "etcdserver: request timed out"),
        (OTHER, "etcdserver: request timed out, possibly due to previous leader failure"),
        (0, "etcdserver: request timed out, possibly due to connection lost"),
    ],
)
def test_nobody_waits_for_ever(leader, text):
    world = World()
    first = world.call(PUT, SET)
    world.now = BOUND // 2
    second = world.call(RANGE, GET)
    world.group.leader = leader
    world.member.expire(BOUND - 1)
    world.deliver()
    assert first == [] and second == []
    world.member.expire(BOUND)
    world.deliver()
    assert [(outcome.status, outcome.message) for outcome in first] == [(Status.UNAVAILABLE, text)]
    assert second == [] and len(world.member.waiting) == 1
    world.group.decide()  # An answer that comes after that is nobody's any more.
    world.deliver()
    assert len(first) == 1 and second[0].status == Status.OK


def test_an_answer_to_a_caller_who_has_left_goes_nowhere():
    world = World()
    outcomes = []
    call = world.client.unary(PUT, SET.SerializeToString(), outcomes.append, 0)
    world.deliver()
    call.cancel()
    world.deliver()
    world.group.decide()
    world.deliver()
    assert [outcome.status for outcome in outcomes] == [Status.CANCELLED]
    assert world.member.waiting == {} and not world.server.closed


def test_members_are_listed_before_and_after_they_have_published():
    world = World()
    reply = world.decided(LIST, etcd.MemberListRequest(linearizable=True))
    assert [(each.ID, each.name, list(each.peerURLs), list(each.clientURLs)) for each in reply.members] == [
        (ME, "", ["http://127.0.0.1:1"], []),
        (OTHER, "", ["http://127.0.0.1:2"], []),
    ]
    info = MemberInfo(OTHER, "two", ("http://127.0.0.1:2",), ("http://127.0.0.1:3",))
    world.group.propose(Request(encode(Publish(info, 7))), lambda reply, error: None)
    world.group.decide()
    [_, other] = world.decided(LIST, etcd.MemberListRequest()).members
    assert (other.ID, other.name, list(other.clientURLs)) == (OTHER, "two", ["http://127.0.0.1:3"])


def test_status_needs_no_leader():
    world = World()
    world.decided(PUT, SET)
    reply = world.decided(STATUS, b"")
    assert (reply.version, reply.dbSize, reply.leader, reply.raftTerm) == ("3.5.1", 4096, ME, 3)
    assert (reply.raftIndex, reply.raftAppliedIndex, reply.header.revision, list(reply.errors)) == (1, 1, 2, [])
    world.group.leader = 0
    assert list(world.decided(STATUS, b"").errors) == ["etcdserver: no leader"]


def test_the_term_in_the_header_follows_the_engine():
    world = World()
    assert world.decided(PUT, SET).header.raft_term == 3
    world.group.epoch = 9
    assert world.decided(PUT, SET).header.raft_term == 9
    world.group.epoch = 0  # As after a restart, until the engine has taken its first turn.
    assert world.decided(PUT, SET).header.raft_term == 3


def test_there_are_no_alarms():
    assert list(World().decided(ALARM, b"").alarms) == []


def test_health_is_told_until_the_disk_fails():
    world = World()
    assert world.decided(CHECK, b"").status == etcd.HealthCheckResponse.SERVING
    world.host.failed = StorageError("gone")
    assert world.decided(CHECK, b"").status == etcd.HealthCheckResponse.NOT_SERVING
    outcomes = world.call(PUT, SET)
    world.group.refuse(NotExecuted("this node has stopped"))
    world.deliver()
    assert outcomes[0].message == "etcdserver: server stopped"


@pytest.mark.parametrize(("path", "request_"), [(RANGE, etcd.RangeRequest(key=b"k", serializable=True)), (STATUS, b"")])
def test_a_rotten_state_is_not_served_and_ends_the_member(path, request_):
    world = World()
    world.group.broken = Corruption("block 7")
    assert world.refused(path, request_) == (Status.UNAVAILABLE, "etcdserver: server stopped")
    assert world.host.failed is world.group.broken


def test_what_is_not_built_yet_says_so_by_name():
    world = World()
    assert set(world.router.routes) == set(METHODS)
    for path, route in world.router.routes.items():
        if isinstance(getattr(route.stream, "__self__", None), Unbuilt):
            assert world.refused(path, b"") == (Status.UNIMPLEMENTED, f"ostraka: {path} is not built yet")


def test_calls_are_counted_by_method_and_outcome():
    world = World()
    world.decided(PUT, SET)
    world.decided(PUT, SET)
    world.refused(PUT, etcd.PutRequest())
    tally = world.member.tallies[PUT]
    assert (tally.started, tally.handled[Status.OK], tally.handled[Status.INVALID_ARGUMENT]) == (3, 2, 1)


def test_large_replies_that_nobody_reads_are_bounded():
    world = World()
    world.decided(PUT, etcd.PutRequest(key=b"k", value=bytes(1 << 20)))
    outcomes = []
    for _ in range(90):
        request = etcd.RangeRequest(key=b"k", serializable=True)
        world.client.unary(RANGE, request.SerializeToString(), outcomes.append, 0)
    world.server.feed(world.client.take(), 0)
    held = sum(map(len, world.server.out)) + sum(stream.unsent for stream in world.server.streams.values())
    assert MAX_UNREAD - (2 << 20) < held <= MAX_UNREAD + (1 << 20)
    world.deliver()
    refused = [outcome.message for outcome in outcomes if outcome.status]
    assert len(outcomes) == 90 and 20 < len(refused) < 40 and set(refused) == {"etcdserver: too many requests"}
