"""etcd's messages in JSON, both ways: compared with protobuf's own mapping, and where it is stricter or more."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from ostraka.api import etcd, jsonform
from ostraka.api.jsonform import Documents

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
PAIRS = st.builds(
    etcd.KeyValue,
    key=st.binary(max_size=9),
    value=st.binary(max_size=9),
    lease=NUMBERS,
    mod_revision=NUMBERS,
)
HEADERS = st.builds(etcd.ResponseHeader, cluster_id=st.integers(0, (1 << 64) - 1), revision=NUMBERS)
MESSAGES = st.one_of(
    st.builds(etcd.RangeResponse, header=HEADERS, kvs=st.lists(PAIRS, max_size=3), more=st.booleans(), count=NUMBERS),
    st.builds(etcd.Member, ID=st.integers(0, 9), name=st.text(max_size=9), peerURLs=st.lists(st.text(max_size=3))),
    st.builds(
        etcd.RangeRequest, key=st.binary(max_size=9), sort_order=st.integers(0, 2), sort_target=st.integers(0, 4)
    ),
    st.builds(etcd.HashKVResponse, hash=st.integers(0, (1 << 32) - 1)),
    st.builds(
        etcd.TxnResponse,
        responses=st.lists(
            st.one_of(
                st.builds(etcd.ResponseOp, response_put=st.builds(etcd.PutResponse, prev_kv=PAIRS)),
                st.builds(etcd.ResponseOp, response_txn=st.builds(etcd.TxnResponse, succeeded=st.booleans())),
            ),
            max_size=3,
        ),
    ),
    st.builds(etcd.Compare, target=st.integers(0, 4), value=st.binary(max_size=3)),
)


@given(MESSAGES)
def test_what_is_written_is_what_protobuf_writes_and_is_read_again(message):
    text = jsonform.write(message)
    assert json.loads(text) == json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    assert jsonform.read(type(message), jsonform.value_of(text.encode())) == message


@given(MESSAGES)
def test_plain_text_is_read_again_as_the_same_bytes(message):
    text = jsonform.write(message, plain=True)
    assert jsonform.read(type(message), jsonform.value_of(text.encode()), plain=True) == message


def test_a_long_message_comes_in_pieces():
    kvs = [etcd.KeyValue(key=b"%d" % n, value=b"x" * 300, version=n) for n in range(1000)]
    kvs.insert(500, etcd.KeyValue(key=b"long", value=bytes(100_000)))
    within = etcd.ResponseOp(response_range=etcd.RangeResponse(kvs=kvs))
    for message in (etcd.RangeResponse(kvs=kvs, count=3), etcd.TxnResponse(responses=[within, within], succeeded=True)):
        parts = list(jsonform.pieces(message))
        assert "".join(parts) == jsonform.write(message)
        assert len(parts) > 10 and max(map(len, parts)) < 140_000


def range_of(**fields):
    return jsonform.read(etcd.RangeRequest, fields)


@pytest.mark.parametrize("limit", [7, "7", "7.0", "70e-1", "0.7e1"])
def test_a_number_may_be_a_string_and_is_an_integer_however_it_is_written(limit):
    assert range_of(limit=limit).limit == 7
    assert jsonform.read(etcd.RangeRequest, jsonform.value_of(b'{"limit": 7.0}')).limit == 7
    assert range_of(limit="9223372036854775807").limit == (1 << 63) - 1


def test_names_may_be_those_of_the_proto_text_or_of_json():
    assert range_of(sort_order="DESCEND", sortTarget=1, rangeEnd="YQ==") == etcd.RangeRequest(
        sort_order=2, sort_target=1, range_end=b"a"
    )
    assert range_of(sort_order=17).sort_order == 17
    assert range_of(nonsense={"a": [1]}, key=None) == etcd.RangeRequest()
    assert jsonform.read(etcd.TxnRequest, {"success": [None]}) == etcd.TxnRequest(success=[etcd.RequestOp()])
    assert jsonform.read(etcd.TxnRequest, None) == etcd.TxnRequest()


@pytest.mark.parametrize("text", ["_-8=", "/+8=", "/+8", "_-8", "_-\n8="])
def test_base64_may_be_standard_or_for_urls_and_without_padding(text):
    assert range_of(key=text).key == b"\xff\xef"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it ends too early"),
        (b'{"key": "Zm9v"', "it ends too early"),
        (b"garbage", "Expecting value at character 0"),
        (b'{"limit": NaN}', "NaN is no number of JSON"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "RangeRequest must be an object, not []"),
        (b'{"key": 5}', "RangeRequest.key must be a string, not 5"),
        (b'{"key": "$%"}', 'RangeRequest.key must be base64 (or add ?utf8=1 to the URL), not "$%"'),
        (b'{"key": "Zm9vY"}', "must be base64"),
        (b'{"limit": 1.5}', "RangeRequest.limit must be an integer from"),
        (b'{"limit": 9223372036854775808}', "must be an integer from"),
        (b'{"limit": "1e999999999"}', "must be an integer from"),
        (b'{"limit": " 1"}', "must be an integer from"),
        (b'{"limit": ""}', "must be an integer from"),
        (b'{"limit": true}', "must be a number or a string of one, not true"),
        (b'{"limit": {}}', "must be a number or a string of one"),
        (b'{"serializable": "true"}', "must be true or false"),
        (b'{"serializable": 1}', "must be true or false"),
        (b'{"sort_order": "NOPE"}', 'must be one of NONE, ASCEND, DESCEND, not "NOPE"'),
        (b'{"sort_order": 3000000000}', "(int32)"),
        (b'{"key": "' + b"$" * 90 + b'"}', "(92 characters)"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(ValueError) as error:
        jsonform.read(etcd.RangeRequest, jsonform.value_of(text))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"success": {}}, "TxnRequest.success must be a list"),
        ({"success": [{"request_put": []}]}, "TxnRequest.success[0].request_put must be an object"),
        (
            {"success": [{"request_put": {}, "requestRange": {}}]},
            "TxnRequest.success[0].request_put is given, and only one of them can be",
        ),
    ],
)
def test_what_is_wrong_within_is_named_by_its_place(value, said):
    with pytest.raises(ValueError) as error:
        jsonform.read(etcd.TxnRequest, value)
    assert said in str(error.value)


def test_transactions_within_transactions_have_an_end():
    value: dict = {}
    for _ in range(60):
        value = {"success": [{"request_txn": value}]}
    with pytest.raises(ValueError, match="nested too deep: more than 100"):
        jsonform.read(etcd.TxnRequest, value)


def test_a_request_has_no_end_of_messages_in_it():
    half = {"success": [{}] * (jsonform.MOST // 2)}
    assert len(jsonform.read(etcd.TxnRequest, half).success) == jsonform.MOST // 2
    with pytest.raises(ValueError, match=r"failure\[\d+\]: there are over 50000 messages"):
        jsonform.read(etcd.TxnRequest, {**half, "failure": half["success"]})


def test_half_a_surrogate_pair_is_no_text():
    for kind, value, plain in (
        (etcd.AuthUserAddRequest, {"name": "\ud83d"}, False),
        (etcd.PutRequest, {"key": "\ud83d"}, True),
    ):
        with pytest.raises(ValueError, match="surrogate"):
            jsonform.read(kind, value, plain)


def test_what_follows_the_first_value_is_ignored():
    assert jsonform.value_of(b' \n{"a": 1} garbage') == {"a": 1}


def pieces(text: bytes, size: int) -> list[bytes]:
    documents = Documents(1000)
    return [found for at in range(0, len(text), size) for found in documents.feed(text[at : at + size])]


@pytest.mark.parametrize("size", range(1, 12))
def test_objects_are_found_in_bytes_of_any_pieces(size):
    objects = [b'{"a": "}\\"{\\\\"}', b"{}", b'{"b": [{"c": {}}, "]"]}']
    assert pieces(b" ".join(objects) + b"\n", size) == [objects[0], *(b" " + each for each in objects[1:])]


@pytest.mark.parametrize(("text", "said"), [(b"{} x", "b'x'"), (b"1", "b'1'"), (b'{"' + b"x" * 1000, "over 1000")])
def test_what_is_no_object_is_refused(text, said):
    for size in (1, 7, 2000):
        with pytest.raises(ValueError, match=said):
            pieces(text, size)


def test_looking_for_objects_takes_time_in_proportion():
    """Were it looked at anew for each piece, this would not end."""
    documents: Callable[[bytes], object] = Documents(5_000_000).feed
    assert list(documents(b'{"a": "')) == []
    for _ in range(50_000):
        assert list(documents(b"}{}{}{}{")) == []  # type: ignore[call-overload]
