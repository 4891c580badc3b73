"""What header fields mean, and what we write."""

from __future__ import annotations

import pytest
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from ostraka.transport.http2 import Status, decode_binary, encode_binary
from ostraka.transport.http2.errors import name_of, status_of_http, status_of_reset
from ostraka.transport.http2.headers import (
    literal,
    read_response,
    read_timeout,
    read_trailers,
    write_message,
    write_timeout,
)

FAST = settings(max_examples=200, derandomize=True, deadline=None, database=None)


@FAST
@given(st.integers(0, 10**21))
def test_a_timeout_is_written_rounded_up_and_at_most_a_hundred_thousandth_too_long(ns: int) -> None:
    written = write_timeout(ns)
    assert len(written) <= 9
    read = read_timeout(written)
    longest = 99_999_999 * 3_600_000_000_000
    assert read is not None
    if ns > longest:
        assert read == longest
    else:
        assert 0 <= read - ns <= ns // 99_999


@pytest.mark.parametrize(
    ("text", "ns"),
    [(b"1H", 3600 * 10**9), (b"2M", 120 * 10**9), (b"3S", 3 * 10**9), (b"4m", 4 * 10**6), (b"5u", 5000), (b"6n", 6)],
)
def test_the_units_of_a_timeout(text: bytes, ns: int) -> None:
    assert read_timeout(text) == ns


def test_a_timeout_that_has_passed_is_written_as_none_left() -> None:
    assert write_timeout(-5) == b"0n"


@FAST
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_a_message_survives_percent_encoding(text: str) -> None:
    written = write_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in written)
    head, _ = (
        read_trailers([(b"grpc-status", b"5"), (b"grpc-message", written)])
        if written == written.strip()
        else (None, None)
    )
    assert head is None or head.message == text


def test_a_broken_percent_encoding_is_shown_as_it_is() -> None:
    """ "gRPC over HTTP2": a decoder must not fail on invalid values."""
    head, _ = read_trailers([(b"grpc-status", b"5"), (b"grpc-message", b"100% %zz %C3")])
    assert head.message.startswith("100% %zz ")


@FAST
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_literals_are_what_the_library_reads(name: bytes, value: bytes) -> None:
    assert [tuple(field) for field in Decoder().decode(literal(name, value), raw=True)] == [(name, value)]


@FAST
@given(st.binary(max_size=50))
def test_binary_metadata_survives(value: bytes) -> None:
    assert decode_binary(encode_binary(value)) == value


def test_binary_metadata_that_is_no_base64_is_an_error() -> None:
    with pytest.raises(ValueError, match="not base64"):
        decode_binary("a*b")


@pytest.mark.parametrize("value", [b"", b"20", b"2000", b"abc"])
def test_a_response_needs_a_status(value: bytes) -> None:
    assert "status" in read_response([(b":status", value)])[0].malformed


@pytest.mark.parametrize("value", [b"x", b"-1", b"12345"])
def test_a_grpc_status_that_is_no_number_is_unknown(value: bytes) -> None:
    assert read_trailers([(b"grpc-status", value)])[0].status == Status.UNKNOWN


def test_codes_of_the_wire_become_statuses() -> None:
    assert status_of_reset(8) == Status.CANCELLED and status_of_reset(7) == Status.UNAVAILABLE
    assert status_of_reset(999) == Status.INTERNAL and name_of(999) == "error code 0x3e7"
    assert status_of_http(503) == Status.UNAVAILABLE and status_of_http(418) == Status.UNKNOWN
