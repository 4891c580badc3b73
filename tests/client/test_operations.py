"""What is asked for becomes etcd's messages, and what makes no sense is refused before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.client import (
    CreateRevision,
    Delete,
    Get,
    LeaseOf,
    ModRevision,
    Order,
    Put,
    SortBy,
    Txn,
    Value,
    Version,
)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            Put("é", b"\xff", lease=7, prev_kv=True),
            etcd.PutRequest(key=b"\xc3\xa9", value=b"\xff", lease=7, prev_kv=True),
        ),
        (
            Put(b"k", ignore_value=True, ignore_lease=True),
            etcd.PutRequest(key=b"k", ignore_value=True, ignore_lease=True),
        ),
        (Get("k"), etcd.RangeRequest(key=b"k")),
        (Get("a", b"\0"), etcd.RangeRequest(key=b"a", range_end=b"\0")),
        (Get(prefix="a/"), etcd.RangeRequest(key=b"a/", range_end=b"a0")),
        (Get(prefix=""), etcd.RangeRequest(key=b"\0", range_end=b"\0")),
        (Get(prefix=b"\xff"), etcd.RangeRequest(key=b"\xff", range_end=b"\0")),
        (
            Get("a", "b", None, 1, 2, Order.DESCEND, SortBy.MOD_REVISION, True, True, True, 3, 4, 5, 6),
            etcd.RangeRequest(
                key=b"a",
                range_end=b"b",
                limit=1,
                revision=2,
                sort_order="DESCEND",
                sort_target="MOD",
                serializable=True,
                keys_only=True,
                count_only=True,
                min_mod_revision=3,
                max_mod_revision=4,
                min_create_revision=5,
                max_create_revision=6,
            ),
        ),
        (Delete(prefix="a", prev_kv=True), etcd.DeleteRangeRequest(key=b"a", range_end=b"b", prev_kv=True)),
        (Version("k") == 3, etcd.Compare(key=b"k", target="VERSION", result="EQUAL", version=3)),
        (CreateRevision("k") != 3, etcd.Compare(key=b"k", target="CREATE", result="NOT_EQUAL", create_revision=3)),
        (ModRevision("k") < 3, etcd.Compare(key=b"k", target="MOD", result="LESS", mod_revision=3)),
        (ModRevision("k") > 3, etcd.Compare(key=b"k", target="MOD", result="GREATER", mod_revision=3)),
        (LeaseOf("k") == 3, etcd.Compare(key=b"k", target="LEASE", lease=3)),
        (Value(prefix="k") == "é", etcd.Compare(key=b"k", range_end=b"l", target="VALUE", value="é".encode())),
    ],
)
def test_what_is_asked_for(operation: Any, message: Any) -> None:
    assert operation.message() == message


def test_a_transaction_is_built_step_by_step_and_each_step_is_a_new_one() -> None:
    empty = Txn()
    inner = empty.when(Version("b") > 0).then(Get("b"))
    whole = empty.when(Version("a") == 0).when(Value("c") == b"x").then(Put("a")).then(inner).otherwise(Delete("a"))
    assert whole.message() == etcd.TxnRequest(
        compare=[
            etcd.Compare(key=b"a", target="VERSION", version=0),
            etcd.Compare(key=b"c", target="VALUE", value=b"x"),
        ],
        success=[
            etcd.RequestOp(request_put=etcd.PutRequest(key=b"a")),
            etcd.RequestOp(
                request_txn=etcd.TxnRequest(
                    compare=[etcd.Compare(key=b"b", result="GREATER", version=0)],
                    success=[etcd.RequestOp(request_range=etcd.RangeRequest(key=b"b"))],
                )
            ),
        ],
        failure=[etcd.RequestOp(request_delete_range=etcd.DeleteRangeRequest(key=b"a"))],
    )
    assert empty == Txn()
    assert inner.only_reads() and not whole.only_reads()
    assert Txn().then(inner).only_reads() and not Txn().otherwise(Txn().then(Put("a"))).only_reads()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Get().message(),
        lambda: Get("a", prefix="b").message(),
        lambda: Get(end="b", prefix="a").message(),
        lambda: Put(7).message(),
        lambda: Value("k") == 3,
        lambda: bool(Version("k") == 0),
        lambda: Txn().when(Version("a") == 0 and Version("b") == 0),
        lambda: Txn().when(True),
        lambda: Txn().then("put").message(),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        wrong()
