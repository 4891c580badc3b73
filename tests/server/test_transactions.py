"""DeleteRange, Txn and Compact over a scripted group: what goes through the log and what does not, and every reply."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.database import machine
from ostraka.errors import NotLeader, OutcomeUnknown
from ostraka.transport.http2.errors import Status

from .scripted import BOUND, CLUSTER, ME, World

PUT, RANGE, DELETE, TXN, COMPACT = (
    f"/etcdserverpb.KV/{name}" for name in ("Put", "Range", "DeleteRange", "Txn", "Compact")
)
HEADER = {"cluster_id": CLUSTER, "member_id": ME, "raft_term": 3}


def put(key: bytes, value: bytes = b"v", **more: Any) -> etcd.RequestOp:
    return etcd.RequestOp(request_put=etcd.PutRequest(key=key, value=value, **more))


def get(key: bytes, **more: Any) -> etcd.RequestOp:
    return etcd.RequestOp(request_range=etcd.RangeRequest(key=key, **more))


def delete(key: bytes, **more: Any) -> etcd.RequestOp:
    return etcd.RequestOp(request_delete_range=etcd.DeleteRangeRequest(key=key, **more))


def txn(*operations: etcd.RequestOp, **more: Any) -> etcd.RequestOp:
    return etcd.RequestOp(request_txn=etcd.TxnRequest(success=operations, **more))


def filled(*keys: bytes, **options: int) -> World:
    world = World(**options)
    for key in keys:
        world.decided(PUT, etcd.PutRequest(key=key, value=b"v"))
    return world


def test_a_deletion_tells_how_many_and_what_they_were():
    world = filled(b"a", b"b", b"c")
    reply = world.decided(DELETE, etcd.DeleteRangeRequest(key=b"a", range_end=b"c", prev_kv=True))
    assert reply == etcd.DeleteRangeResponse(
        header=etcd.ResponseHeader(revision=5, **HEADER),
        deleted=2,
        prev_kvs=[
            etcd.KeyValue(key=key, create_revision=at, mod_revision=at, version=1, value=b"v")
            for key, at in ((b"a", 2), (b"b", 3))
        ],
    )
    reply = world.decided(DELETE, etcd.DeleteRangeRequest(key=b"a"))
    assert reply == etcd.DeleteRangeResponse(header=etcd.ResponseHeader(revision=5, **HEADER))


def test_a_transaction_carries_all_of_its_parts():
    """The bytes are those of protobuf's own message: nested headers have a revision only, or, of a txn, nothing."""
    world = filled(b"a", b"b")
    inner = txn(get(b"x", keys_only=True), failure=[put(b"wrong")])
    other = txn(put(b"wrong too"), compare=[etcd.Compare(key=b"a", target="VALUE", result="LESS", value=b"a")])
    ask = etcd.TxnRequest(
        compare=[etcd.Compare(key=b"a", target="MOD", mod_revision=2), etcd.Compare(key=b"q", target="CREATE")],
        success=[get(b"b"), put(b"x", b"1", prev_kv=True), inner, other, delete(b"a", range_end=b"c", prev_kv=True)],
        failure=[put(b"wrong")],
    )
    inside = etcd.ResponseHeader(revision=4)
    was = [
        etcd.KeyValue(key=key, create_revision=at, mod_revision=at, version=1, value=b"v")
        for key, at in ((b"a", 2), (b"b", 3))
    ]
    found = etcd.RangeResponse(header=etcd.ResponseHeader(revision=3), kvs=was[1:], count=1)
    bare = etcd.KeyValue(key=b"x", create_revision=4, mod_revision=4, version=1)
    within = etcd.RangeResponse(header=inside, kvs=[bare], count=1)
    nested = etcd.TxnResponse(
        header=etcd.ResponseHeader(), succeeded=True, responses=[etcd.ResponseOp(response_range=within)]
    )
    refused = etcd.TxnResponse(header=etcd.ResponseHeader(), succeeded=False)
    deleted = etcd.DeleteRangeResponse(header=inside, deleted=2, prev_kvs=was)
    assert world.decided(TXN, ask) == etcd.TxnResponse(
        header=etcd.ResponseHeader(revision=4, **HEADER),
        succeeded=True,
        responses=[
            etcd.ResponseOp(response_range=found),
            etcd.ResponseOp(response_put=etcd.PutResponse(header=inside)),
            etcd.ResponseOp(response_txn=nested),
            etcd.ResponseOp(response_txn=refused),
            etcd.ResponseOp(response_delete_range=deleted),
        ],
    )


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ({"target": "VERSION", "version": 1}, True),
        ({"target": "CREATE", "create_revision": 2}, True),
        ({"target": "MOD", "result": "GREATER", "mod_revision": 1}, True),
        ({"target": "VALUE", "result": "NOT_EQUAL", "value": b"v"}, False),
        ({"target": "VALUE"}, False),
        ({"target": "LEASE", "lease": 0}, True),
        ({"target": "LEASE"}, True),
        ({"range_end": b"\0", "target": "CREATE", "result": "LESS", "create_revision": 3}, False),
    ],
)
def test_every_comparison_is_understood(compare, holds):
    world = filled(b"a", b"b")
    ask = etcd.TxnRequest(compare=[etcd.Compare(key=b"a", **compare)], success=[put(b"x")], failure=[put(b"x")])
    assert world.decided(TXN, ask).succeeded == holds


def test_only_what_may_write_goes_through_the_log():
    world = filled(b"a")
    reads = etcd.TxnRequest(success=[get(b"a"), txn(get(b"a"))], failure=[get(b"b")])
    outcomes = world.call(TXN, reads)
    assert (len(world.group.proposed), len(world.group.reads), outcomes) == (0, 1, [])
    world.group.decide()
    world.deliver()
    reply = etcd.TxnResponse.FromString(outcomes[0].body)
    assert reply.header.revision == 2 and reply.responses[1].response_txn.responses[0].response_range.count == 1
    writes = etcd.TxnRequest(success=[get(b"a")], failure=[delete(b"nothing")])
    world.call(TXN, writes)
    assert (len(world.group.proposed), len(world.group.reads)) == (1, 0)


def test_it_is_serializable_only_if_all_that_it_does_is():
    """Then it is answered at once. One that only compares promises nothing of the kind."""
    local, strict = get(b"a", serializable=True), get(b"a")
    compare = [etcd.Compare(key=b"a")]
    for success, failure, at_once in (
        ([local, local], [local], True),
        ([], [local], True),
        ([local], [strict], False),
        ([local, strict], [], False),
        ([local, txn(local)], [], False),
        ([], [], False),
    ):
        world = filled(b"a")
        outcomes = world.call(TXN, etcd.TxnRequest(compare=compare, success=success, failure=failure))
        assert len(outcomes) == at_once and len(world.group.reads) == (not at_once), (success, failure)


@pytest.mark.parametrize(
    ("path", "request_", "code", "text"),
    [
        (DELETE, etcd.DeleteRangeRequest(range_end=b"\0"), 3, "etcdserver: key is not provided"),
        (TXN, etcd.TxnRequest(success=[etcd.RequestOp()]), 3, "etcdserver: key not found"),
        (TXN, etcd.TxnRequest(success=[put(b"k"), put(b"k")]), 3, "etcdserver: duplicate key given in txn request"),
        (TXN, etcd.TxnRequest(failure=[put(b"a", lease=9)]), 0, ""),
        (TXN, etcd.TxnRequest(success=[put(b"a", lease=9)]), 5, "etcdserver: requested lease not found"),
        (TXN, etcd.TxnRequest(success=[get(b"a", revision=99)]), 11, "etcdserver: mvcc: required revision is a future"),
        (TXN, etcd.TxnRequest(compare=[etcd.Compare(key=b"a", value=b"1")]), 3, "ostraka: a comparison has an unknown"),
        (TXN, etcd.TxnRequest(compare=[etcd.Compare(key=b"a", target=7)]), 3, "ostraka: a comparison has an unknown"),
        (TXN, etcd.TxnRequest(compare=[etcd.Compare(key=b"a", result=4)]), 3, "ostraka: a comparison has an unknown"),
        (COMPACT, etcd.CompactionRequest(revision=9), 11, "etcdserver: mvcc: required revision is a future revision"),
        (COMPACT, etcd.CompactionRequest(revision=-1), 11, "etcdserver: mvcc: required revision has been compacted"),
        *[(path, b"\xff\xff\xff", 13, "grpc: error unmarshalling request: ") for path in (DELETE, TXN, COMPACT)],
    ],
)
def test_a_wrong_request_is_refused_in_etcds_words(path, request_, code, text):
    status, message = World().refused(path, request_)
    assert status == code and message.startswith(text), message


def detail(world: World, path: str, request: Any) -> tuple[str, str]:
    [outcome] = world.call(path, request)
    assert outcome.status == Status.INVALID_ARGUMENT
    return outcome.message, dict(outcome.trailers)["ostraka-detail"]


def test_an_error_of_a_limit_has_the_numbers_in_a_trailer():
    """etcd's text stays as it is, since clients compare it. Nothing has been proposed."""
    world = World(max_request_bytes=1000, max_txn_ops=3)
    four = etcd.TxnRequest(success=[get(b"k")] * 4)
    assert detail(world, TXN, four) == (
        "etcdserver: too many operations in txn request",
        "a list of 4 comparisons or operations, where at most 3 are allowed",
    )
    nested = etcd.TxnRequest(success=[txn(get(b"k"), get(b"k")), put(b"k")])
    assert "of 2 comparisons or operations, where at most 1 " in detail(world, TXN, nested)[1]
    assert "'k'" in detail(world, TXN, etcd.TxnRequest(success=[put(b"k"), delete(b"k")]))[1]
    for path, request in (
        (PUT, etcd.PutRequest(key=b"k", value=bytes(1000))),
        (DELETE, etcd.DeleteRangeRequest(key=bytes(1000))),
        (TXN, etcd.TxnRequest(success=[put(b"k", bytes(1000))])),
    ):
        text, numbers = detail(world, path, request)
        assert text == "etcdserver: request is too large" and str(len(request.SerializeToString())) in numbers
        assert "1000" in numbers
    assert not world.group.proposed
    world.decided(TXN, etcd.TxnRequest(success=[get(b"k")] * 3))


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (DELETE, etcd.DeleteRangeRequest(key=b"k")),
        (TXN, etcd.TxnRequest(success=[put(b"k")])),
        (TXN, etcd.TxnRequest(success=[get(b"k")])),
        (COMPACT, etcd.CompactionRequest()),
    ],
)
def test_an_error_of_the_group_and_a_missing_leader_are_told(path, request_):
    for error, text in (
        (NotLeader("nobody"), "etcdserver: no leader"),
        (OutcomeUnknown("lost"), "etcdserver: request timed out, possibly due to previous leader failure"),
    ):
        world = World()
        outcomes = world.call(path, request_)
        world.group.refuse(error)
        world.deliver()
        assert [(outcome.status, outcome.message) for outcome in outcomes] == [(Status.UNAVAILABLE, text)]
        assert world.member.waiting == {}
    world.group.leader = 0
    assert world.refused(path, request_, hasleader="true") == (Status.UNAVAILABLE, "etcdserver: no leader")


def test_a_compaction_tells_the_current_revision():
    world = filled(b"a", b"a", b"b")
    reply = world.decided(COMPACT, etcd.CompactionRequest(revision=3))
    assert reply == etcd.CompactionResponse(header=etcd.ResponseHeader(revision=4, **HEADER))
    refused = world.refused(RANGE, etcd.RangeRequest(key=b"a", revision=2))
    assert refused == (Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")


@pytest.fixture
def physical(monkeypatch: pytest.MonkeyPatch) -> tuple[World, list[Any]]:
    """A compaction whose caller waits until the rows are gone: several steps of it."""
    monkeypatch.setattr(machine, "SWEPT_BY_ENTRY", 2)
    monkeypatch.setattr(machine, "SWEPT_ON_DEMAND", 3)
    world = filled(*[b"k"] * 20)
    return world, world.call(COMPACT, etcd.CompactionRequest(revision=21, physical=True))


def steps(world: World, most: int) -> int:
    """Decide one step after another; how many there were."""
    taken = 0
    while world.group.proposed and taken < most:
        world.group.decide()
        world.deliver()
        taken += 1
    return taken


def test_a_physical_compaction_is_answered_when_the_rows_are_gone(physical):
    world, outcomes = physical
    assert steps(world, 3) == 3 and outcomes == []
    assert 2 <= steps(world, 99) < 9
    assert [outcome.status for outcome in outcomes] == [0]
    assert sum(1 for _ in world.group.table.scan(b"h", b"i")) == 1
    assert world.member.waiting == {}


def test_a_physical_compaction_waits_anew_for_each_step_but_for_none_too_long(physical):
    world, outcomes = physical
    for _ in range(3):
        world.host.time += BOUND - 1
        world.member.expire(world.host.time)
        steps(world, 1)
    assert outcomes == []
    world.host.time += BOUND
    world.member.expire(world.host.time)
    world.deliver()
    assert [outcome.message for outcome in outcomes] == ["etcdserver: request timed out"]
    assert steps(world, 99) == 1, "nobody waits, so nobody asks for more"


def test_nobody_goes_on_for_a_caller_who_has_left(physical):
    world, _ = physical
    steps(world, 1)
    world.server.lost("the client is gone")
    world.group.decide()
    assert world.group.proposed == [] and world.member.waiting == {}


@pytest.mark.parametrize("nested", [False, True])
def test_a_transaction_of_very_many_operations_is_refused_before_they_are_looked_at(nested, monkeypatch):
    """Two bytes each on the wire, they would keep the loop busy for longer than an election takes."""
    ask = etcd.TxnRequest(success=[etcd.RequestOp()] * 20_001, compare=[etcd.Compare()] * 20_000)
    ask = etcd.TxnRequest(failure=[get(b"k"), etcd.RequestOp(request_txn=ask)]) if nested else ask
    monkeypatch.setattr("ostraka.server.kv.txn_of", lambda ask: pytest.fail("looked at"))
    outcomes = World().call(TXN, ask)
    assert (outcomes[0].status, outcomes[0].message) == (
        Status.INVALID_ARGUMENT,
        "etcdserver: too many operations in txn request",
    )
    assert outcomes[0].trailers["ostraka-detail"] == "more than 20000 in all, with those of transactions within it"


def test_a_long_transaction_is_looked_at_if_its_operations_are_allowed():
    many = etcd.TxnRequest(success=[put(b"%06d" % number) for number in range(21_000)])
    assert World().refused(TXN, many)[1] == "etcdserver: too many operations in txn request"
    assert filled(max_txn_ops=30_000).decided(TXN, many).succeeded
