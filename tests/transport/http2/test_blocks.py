"""The cache of header blocks says what the library says, for every block."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from ostraka.transport.http2 import blocks
from ostraka.transport.http2.blocks import BlockCache, BlockReader
from ostraka.transport.http2.client import ClientConnection
from ostraka.transport.http2.errors import ConnectionFault
from ostraka.transport.http2.headers import RequestHead, indexed_literal, literal, read_request

from .wire import request

HUFFMAN_NAME = bytes.fromhex("899acac8b24d494f6a7f")
PLAIN_NAME = b"\x0cgrpc-timeout"


def encode(fields: list[tuple[str, str]], *, huffman: bool = True) -> bytes:
    """As grpc-go writes once its table has size 0."""
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes = []
    return b"".join(encoder.encode([field], huffman=huffman) for field in fields)


def timed(timeout: str, *more: tuple[str, str], huffman: bool = True) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m"), ("content-type", "application/grpc")]
    return encode([*fields, ("grpc-timeout", timeout), *more], huffman=huffman)


def reader() -> BlockReader:
    made = BlockReader()
    made.confirm()
    made.read(b"\x20" + request(), BlockCache(read_request))
    return made


def plainly(block: bytes) -> object:
    """What the block says without any cache."""
    return told(lambda: reader().read(block, BlockCache(read_request)))


def told(read: Callable[[], tuple[RequestHead, int | None]]) -> object:
    try:
        head, timeout = read()
    except ConnectionFault as fault:
        return fault.code
    return head.path, dict(head.metadata), head.encoding, head.content_length, head.trouble, timeout


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The blocks that the library had to decode."""
    seen: list[bytes] = []
    decode = blocks.Decoder.decode

    def count(self: blocks.Decoder, data: bytes, raw: bool = False) -> object:
        seen.append(data)
        return decode(self, data, raw)

    monkeypatch.setattr(blocks.Decoder, "decode", count)
    return seen


def test_a_known_block_is_not_decoded_again(counted: list[bytes]) -> None:
    cache = BlockCache(read_request)
    one, other = reader(), reader()
    counted.clear()
    block = timed("5S", ("token", "t"))[: -len(encode([("grpc-timeout", "5S"), ("token", "t")]))]
    first = one.read(block, cache)
    assert other.read(block, cache) is first
    assert counted == [block]


@pytest.mark.parametrize("huffman", [True, False])
def test_a_timeout_that_varies_is_not_decoded_again(counted: list[bytes], huffman: bool) -> None:
    cache, one = BlockCache(read_request), reader()
    counted.clear()
    for text, ns in [("5S", 5_000_000_000), ("4999876u", 4_999_876_000), ("1H", 3_600_000_000_000), ("00000000n", 0)]:
        head, timeout = one.read(timed(text, ("token", "t"), huffman=huffman), cache)
        assert timeout == ns and head.metadata == {"token": "t"}
    assert len(counted) == 1


@pytest.mark.parametrize("text", ["", "5", "S", "123456789S", "1x", "-1S", "1.5S", "٣S"])
def test_a_timeout_that_is_none_is_found_out_behind_the_cache(text: str) -> None:
    cache, one = BlockCache(read_request), reader()
    one.read(timed("5S"), cache)
    head, timeout = one.read(timed(text), cache)
    assert timeout is None and head.trouble is not None and head.trouble[0] == 400


def test_nothing_is_cached_while_a_table_may_matter(counted: list[bytes]) -> None:
    cache, one = BlockCache(read_request), BlockReader()
    block = request("/s/m")
    for _ in range(2):
        one.read(block, cache)
    assert len(counted) == 2, "found in the cache before our settings were confirmed"
    with_table = literal(b":method", b"POST") + literal(b":scheme", b"http") + indexed_literal(b":path", b"/first")
    assert one.read(with_table, cache)[0].path == "/first"
    by_index = literal(b":method", b"POST") + literal(b":scheme", b"http") + b"\xbe"
    assert one.read(by_index, cache)[0].path == "/first"
    one.confirm()
    with pytest.raises(ConnectionFault, match="COMPRESSION_ERROR"):
        one.read(by_index, cache)


@pytest.mark.parametrize("name", [HUFFMAN_NAME, PLAIN_NAME])
def test_the_name_inside_of_a_value_fools_nobody(name: bytes) -> None:
    """A value whose bytes look like the field: the template's cut would be in the wrong place."""
    cache, one = BlockCache(read_request), reader()
    for inner in (b"\x025S", b"\x826S", b"\x029S"):
        block = request("/s/m") + literal(b"x", b"a" + name + inner)
        for tail in (b"", literal(b"grpc-timeout", b"3S"), literal(b"grpc-timeout", b"4S")):
            assert told(lambda: one.read(block + tail, cache)) == plainly(block + tail)  # noqa: B023


def test_two_timeouts_are_not_made_a_template() -> None:
    cache, one = BlockCache(read_request), reader()
    for first, second in [("1S", "2S"), ("3S", "4S"), ("5S", "4S")]:
        block = timed(first, ("grpc-timeout", second))
        assert told(lambda: one.read(block, cache)) == plainly(block)  # noqa: B023


names = st.sampled_from(["a", "token", "grpc-timeout", "x-bin", "grpc-encoding", "user-agent"])
values = st.one_of(
    st.sampled_from(["1S", "5000m", "99999999u", "0n", "x", ""]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=6),
    st.sampled_from([HUFFMAN_NAME + b"\x021S", PLAIN_NAME + b"\x021S", PLAIN_NAME, HUFFMAN_NAME]).map(
        lambda raw: raw.decode("latin-1")
    ),
)


@st.composite
def made_blocks(draw: st.DrawFn) -> bytes:
    block = request("/s/m")
    for name, value in draw(st.lists(st.tuples(names, values), max_size=4)):
        raw = value.encode("latin-1")
        form = draw(st.integers(0, 3))
        if form == 0:
            block += literal(name.encode(), raw)
        elif form == 1:
            block += indexed_literal(name.encode(), raw)
        elif form == 2 and raw.isascii():
            block += encode([(name, value)])
        else:
            block += b"\x10" + literal(name.encode(), raw)[1:]
    cut = draw(st.integers(0, 12))
    return block[: len(block) - cut] if cut < 3 else block


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.lists(made_blocks(), min_size=2, max_size=8))
def test_cache_and_library_agree(several: list[bytes]) -> None:
    cache = BlockCache(read_request)
    for block in several + several:
        assert told(lambda: reader().read(block, cache)) == plainly(block)  # noqa: B023


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_head_or_a_compression_error(block: bytes) -> None:
    cache = BlockCache(read_request)
    first = told(lambda: reader().read(block, cache))
    assert first == told(lambda: reader().read(block, cache)) == plainly(block)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CACHED_BLOCKS", 10)
    cache, one = BlockCache(read_request), reader()
    for n in range(35):
        one.read(request(f"/s/{n}"), cache)
        one.read(timed("1S", ("n", str(n))), cache)
    one.read(request("/s/" + "x" * 3000), cache)
    assert len(cache._whole) <= 10 and len(cache._templates) <= 10
    assert cache.find(request("/s/" + "x" * 3000)) is None, "a huge block takes a place"


def by_the_library(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in Decoder().decode(block, raw=True)]


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(made_blocks())
def test_a_plain_block_says_what_the_library_says(block: bytes) -> None:
    plain = blocks.plain_fields(block)
    assert plain is None or plain == by_the_library(block)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=40).map(lambda data: data.translate(bytes([*range(16)] * 16))))
def test_whatever_is_read_as_plain_is_what_the_library_reads(block: bytes) -> None:
    plain = blocks.plain_fields(block)
    assert plain is None or plain == by_the_library(block)


def test_our_own_clients_blocks_are_read_without_the_library(counted: list[bytes]) -> None:
    cache, one = BlockCache(read_request), reader()
    client = ClientConnection("127.0.0.1:2379", lambda: None, 0)
    counted.clear()
    for number in range(3):
        block = client._block("/s/m", [("ostraka-request", str(number))]) + literal(b"grpc-timeout", b"5S")
        head, timeout = one.read(block, cache)
        assert (head.path, head.metadata["ostraka-request"], timeout) == ("/s/m", str(number), 5_000_000_000)
    assert counted == []
    for length in (126, 127, 128):
        block = client._block("/s/m", [("a", "x" * length)])
        assert one.read(block, cache)[0].metadata["a"] == "x" * length
    assert len(counted) == 2, "a length of 127 takes two bytes"
