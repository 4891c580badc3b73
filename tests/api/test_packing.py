"""Hand-packed replies are what protobuf makes of the same values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostraka.api import etcd
from ostraka.api.packing import Packer, varint
from ostraka.database.commands import KeyValue

signed = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [0, 1, 127, 128, 16383, 16384, 2**28 - 1, 2**28, 2**42, 2**63 - 1]
)
unsigned = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 127, 128, 2**56, 2**64 - 1])
positive = st.integers(1, 2**63 - 1) | st.integers(1, 300)
pairs = st.builds(
    KeyValue, st.binary(min_size=1, max_size=300), positive, positive, positive, st.binary(max_size=300), signed
)
packers = st.builds(Packer, unsigned, unsigned, unsigned)


def header(packer: Packer, revision: int) -> object:
    return etcd.ResponseHeader(
        cluster_id=packer.cluster_id, member_id=packer.member_id, revision=revision, raft_term=packer.term
    )


def message(pair: KeyValue) -> object:
    return etcd.KeyValue(**{name: getattr(pair, name) for name in pair.__struct_fields__})


@given(signed | unsigned)
def test_a_varint_is_protobufs(number: int) -> None:
    field = etcd.StatusResponse(leader=number & (2**64 - 1)).SerializeToString()
    assert varint(number) == (field[1:] or b"\0")


@given(packers, signed, st.none() | pairs)
def test_put_response(packer: Packer, revision: int, previous: KeyValue | None) -> None:
    expected = etcd.PutResponse(header=header(packer, revision), prev_kv=previous and message(previous))
    packed = packer.put_response(revision, previous)
    assert etcd.PutResponse.FromString(packed) == expected
    assert packed == expected.SerializeToString(), "fields in another order than protobuf's"


@given(packers, signed, st.lists(pairs, max_size=4), st.booleans(), signed)
def test_range_response(packer: Packer, revision: int, kvs: list[KeyValue], more: bool, count: int) -> None:
    expected = etcd.RangeResponse(
        header=header(packer, revision), kvs=[message(pair) for pair in kvs], more=more, count=count
    )
    packed = packer.range_response(revision, kvs, more, count)
    assert etcd.RangeResponse.FromString(packed) == expected
    assert packed == expected.SerializeToString(), "fields in another order than protobuf's"


@given(packers, signed)
def test_a_header_alone_is_a_reply(packer: Packer, revision: int) -> None:
    assert etcd.LeaseRevokeResponse.FromString(packer.header(revision)).header == header(packer, revision)
