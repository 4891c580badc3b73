"""What RFC 9113 says that a server must answer, rule by rule, by a client that speaks raw frames."""

from __future__ import annotations

import struct

import pytest

from ostraka.transport.http2 import PREFACE, ErrorCode, Status
from ostraka.transport.http2 import frames as f
from ostraka.transport.http2.connection import CHATTER, CONNECTION_WINDOW, MOST_ANSWERS, RESETS
from ostraka.transport.http2.headers import literal
from ostraka.transport.http2.server import MOST_STREAMS
from ostraka.transport.http2.stream import STREAM_WINDOW

from .wire import GREETING, Frame, RawClient, call, cut, data, headers, message, request

E = ErrorCode
SECOND = 1_000_000_000


def goaway_code(frames: list[Frame]) -> ErrorCode | None:
    codes = [ErrorCode(f.read_goaway(payload)[1]) for kind, _, _, payload in frames if kind == f.GOAWAY]
    return codes[0] if codes else None


def resets(frames: list[Frame]) -> list[tuple[int, ErrorCode]]:
    return [(sid, ErrorCode(f.read_word(payload))) for kind, _, sid, payload in frames if kind == f.RST_STREAM]


# Each of these, after a good start, is the end of the connection. Stream 1 is closed, 3 is open and waits.
CONNECTION_ERRORS = [
    ("a frame that is too large", struct.pack(">IBI", 16_385 << 8, 0, 3), E.FRAME_SIZE_ERROR),
    ("DATA on stream 0", data(0, b"x"), E.PROTOCOL_ERROR),
    ("DATA on an idle stream", data(9, b"x"), E.PROTOCOL_ERROR),
    ("DATA on a stream of ours", data(2, b"x"), E.PROTOCOL_ERROR),
    ("DATA on a closed stream", data(1, b"x"), E.STREAM_CLOSED),
    ("padding longer than DATA", f.frame(f.DATA, f.PADDED, 3, b"\x05abcd"), E.PROTOCOL_ERROR),
    ("padded DATA without a pad length", f.frame(f.DATA, f.PADDED, 3), E.FRAME_SIZE_ERROR),
    ("padded DATA on stream 0", f.frame(f.DATA, f.PADDED, 0, b"\x00x"), E.PROTOCOL_ERROR),
    ("padded DATA on a closed stream", f.frame(f.DATA, f.PADDED, 1, b"\x00x"), E.STREAM_CLOSED),
    ("HEADERS on stream 0", headers(0, request()), E.PROTOCOL_ERROR),
    ("HEADERS in parts on stream 0", f.frame(f.HEADERS, 0, 0, request()), E.PROTOCOL_ERROR),
    ("HEADERS on an even stream", headers(4, request()), E.PROTOCOL_ERROR),
    ("HEADERS on a closed stream", headers(1, literal(b"a", b"b"), ends=True), E.STREAM_CLOSED),
    ("padding longer than HEADERS", f.frame(f.HEADERS, f.PADDED | f.END_HEADERS, 5, b"\xff"), E.PROTOCOL_ERROR),
    ("HEADERS without its priority", f.frame(f.HEADERS, f.HAS_PRIORITY | f.END_HEADERS, 5, b"1"), E.FRAME_SIZE_ERROR),
    ("a header block that is no HPACK", headers(5, b"\xff\xff\xff\xff\xff\xff\xff"), E.COMPRESSION_ERROR),
    ("a header block cut short", headers(5, request()[:-3]), E.COMPRESSION_ERROR),
    ("an index into the table that we forbade", headers(5, b"\xbe"), E.COMPRESSION_ERROR),
    ("a table larger than we allow", headers(5, b"\x21" + request()), E.COMPRESSION_ERROR),
    ("a header list over the limit", headers(5, request() + b"\x82" * 1000), E.COMPRESSION_ERROR),
    ("PRIORITY on stream 0", f.frame(f.PRIORITY, 0, 0, bytes(5)), E.PROTOCOL_ERROR),
    ("PRIORITY of 4 bytes on an idle stream", f.frame(f.PRIORITY, 0, 9, bytes(4)), E.FRAME_SIZE_ERROR),
    ("RST_STREAM on stream 0", f.rst_stream(0, 8), E.PROTOCOL_ERROR),
    ("RST_STREAM on an idle stream", f.rst_stream(9, 8), E.PROTOCOL_ERROR),
    ("RST_STREAM of 5 bytes", f.frame(f.RST_STREAM, 0, 3, bytes(5)), E.FRAME_SIZE_ERROR),
    ("SETTINGS on a stream", f.frame(f.SETTINGS, 0, 3), E.PROTOCOL_ERROR),
    ("SETTINGS of 5 bytes", f.frame(f.SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
    ("an acknowledgement with a payload", f.frame(f.SETTINGS, f.ACK, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    ("ENABLE_PUSH 2", f.settings({f.ENABLE_PUSH: 2}), E.PROTOCOL_ERROR),
    ("INITIAL_WINDOW_SIZE 2^31", f.settings({f.INITIAL_WINDOW_SIZE: 2**31}), E.FLOW_CONTROL_ERROR),
    ("MAX_FRAME_SIZE 16383", f.settings({f.MAX_FRAME_SIZE: 16_383}), E.PROTOCOL_ERROR),
    ("MAX_FRAME_SIZE 2^24", f.settings({f.MAX_FRAME_SIZE: 2**24}), E.PROTOCOL_ERROR),
    (
        "settings that overflow an open stream's window",
        f.window_update(3, 2**31 - 1 - 65_535) + f.settings({f.INITIAL_WINDOW_SIZE: 65_536}),
        E.FLOW_CONTROL_ERROR,
    ),
    ("PUSH_PROMISE", f.frame(f.PUSH_PROMISE, f.END_HEADERS, 3, bytes(4)), E.PROTOCOL_ERROR),
    ("PING on a stream", f.frame(f.PING, 0, 3, bytes(8)), E.PROTOCOL_ERROR),
    ("PING of 7 bytes", f.frame(f.PING, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    ("GOAWAY on a stream", f.frame(f.GOAWAY, 0, 3, bytes(8)), E.PROTOCOL_ERROR),
    ("GOAWAY of 7 bytes", f.frame(f.GOAWAY, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE of 3 bytes", f.frame(f.WINDOW_UPDATE, 0, 0, bytes(3)), E.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE by 0", f.window_update(0, 0), E.PROTOCOL_ERROR),
    ("WINDOW_UPDATE over the top", f.window_update(0, 2**31 - 1), E.FLOW_CONTROL_ERROR),
    ("WINDOW_UPDATE on an idle stream", f.window_update(9, 1), E.PROTOCOL_ERROR),
    ("CONTINUATION of nothing", f.frame(f.CONTINUATION, f.END_HEADERS, 3, b""), E.PROTOCOL_ERROR),
    (
        "another frame inside a header block",
        f.frame(f.HEADERS, 0, 5, b"") + f.ping(bytes(8), ack=False),
        E.PROTOCOL_ERROR,
    ),
    ("another stream's CONTINUATION", f.frame(f.HEADERS, 0, 5) + f.frame(f.CONTINUATION, 4, 7), E.PROTOCOL_ERROR),
    ("CONTINUATION without end", f.frame(f.HEADERS, 0, 5) + f.frame(f.CONTINUATION, 0, 5) * 20, E.ENHANCE_YOUR_CALM),
    (
        "a header block without end",
        f.frame(f.HEADERS, 0, 5, bytes(16_000)) + f.frame(f.CONTINUATION, 0, 5, bytes(16_000)) * 2,
        E.ENHANCE_YOUR_CALM,
    ),
]

# Each of these ends one stream, and leaves the others alone.
STREAM_ERRORS = [
    ("WINDOW_UPDATE by 0", f.window_update(3, 0), 3, E.PROTOCOL_ERROR),
    ("WINDOW_UPDATE over the top", f.window_update(3, 2**31 - 1), 3, E.FLOW_CONTROL_ERROR),
    ("PRIORITY of 4 bytes", f.frame(f.PRIORITY, 0, 3, bytes(4)), 3, E.FRAME_SIZE_ERROR),
    ("trailers that don't end the stream", headers(3, literal(b"a", b"b")), 3, E.PROTOCOL_ERROR),
    ("trailers with a pseudo-header", headers(3, literal(b":path", b"/"), ends=True), 3, E.PROTOCOL_ERROR),
    ("an upper-case name", headers(5, request() + literal(b"Name", b"")), 5, E.PROTOCOL_ERROR),
    ("an empty name", headers(5, request() + literal(b"", b"")), 5, E.PROTOCOL_ERROR),
    ("a line break in a value", headers(5, request() + literal(b"a", b"b\r\nc: d")), 5, E.PROTOCOL_ERROR),
    ("a value that starts with a blank", headers(5, request() + literal(b"a", b" b")), 5, E.PROTOCOL_ERROR),
    ("an unknown pseudo-header", headers(5, literal(b":what", b"") + request()), 5, E.PROTOCOL_ERROR),
    ("a response's pseudo-header", headers(5, literal(b":status", b"200") + request()), 5, E.PROTOCOL_ERROR),
    ("a doubled pseudo-header", headers(5, literal(b":path", b"/") + request()), 5, E.PROTOCOL_ERROR),
    ("a late pseudo-header", headers(5, request(pseudo_path=None) + literal(b":path", b"/")), 5, E.PROTOCOL_ERROR),
    ("no :path", headers(5, request(pseudo_path=None)), 5, E.PROTOCOL_ERROR),
    ("an empty :path", headers(5, request(pseudo_path="")), 5, E.PROTOCOL_ERROR),
    ("no :method", headers(5, request(pseudo_method=None)), 5, E.PROTOCOL_ERROR),
    ("no :scheme", headers(5, request(pseudo_scheme=None)), 5, E.PROTOCOL_ERROR),
    ("connection", headers(5, request() + literal(b"connection", b"close")), 5, E.PROTOCOL_ERROR),
    ("transfer-encoding", headers(5, request() + literal(b"transfer-encoding", b"chunked")), 5, E.PROTOCOL_ERROR),
    ("te: gzip", headers(5, request(te="gzip")), 5, E.PROTOCOL_ERROR),
    (
        "two content-lengths",
        headers(5, request("/a", ("content-length", "1"), ("content-length", "2"))),
        5,
        E.PROTOCOL_ERROR,
    ),
    ("content-length: x", headers(5, request("/a", ("content-length", "x"))), 5, E.PROTOCOL_ERROR),
    ("more than content-length", call(5, b"abc", request(content_length="7")), 5, E.PROTOCOL_ERROR),
    ("less than content-length", call(5, b"abc", request(content_length="9")), 5, E.PROTOCOL_ERROR),
    ("no content at all", headers(5, request(content_length="9"), ends=True), 5, E.PROTOCOL_ERROR),
]


@pytest.fixture
def client() -> RawClient:
    client = RawClient()
    client.say(headers(3, request("/test.Service/Stream")))
    return client


@pytest.mark.parametrize(("said", "code"), [pytest.param(*case[1:], id=case[0]) for case in CONNECTION_ERRORS])
def test_a_connection_error_is_answered_with_goaway(client: RawClient, said: bytes, code: ErrorCode) -> None:
    heard = client.say(said)
    assert goaway_code(heard) == code, client.server.reason
    assert client.server.closed and code.name in client.server.reason
    assert client.service.logs[0].events == ["cancel"], "the open call was not told"
    assert client.say(call(7)) == [], "a closed connection answers"


@pytest.mark.parametrize(("said", "stream", "code"), [pytest.param(*case[1:], id=case[0]) for case in STREAM_ERRORS])
def test_a_stream_error_is_answered_with_a_reset(client: RawClient, said: bytes, stream: int, code: ErrorCode) -> None:
    heard = client.say(said)
    assert resets(heard) == [(stream, code)], client.server.reason
    assert not client.server.closed
    assert [kind for kind, *_ in client.say(call(99))] == [f.HEADERS, f.DATA, f.HEADERS], "others are not served on"
    assert client.service.logs[0].events == (["cancel"] if stream == 3 else [])


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE[:-1] + b"\x00",
        PREFACE + f.ping(bytes(8), ack=False),
        PREFACE + f.SETTINGS_ACK,
    ],
)
def test_a_client_must_greet(said: bytes) -> None:
    client = RawClient(greeted=False)
    assert goaway_code(client.say(said)) == E.PROTOCOL_ERROR
    assert client.server.closed


def test_the_server_greets_first_and_says_what_it_allows() -> None:
    client = RawClient(greeted=False)
    assert client.woken == 1, "output waits, and nobody was told"
    settings, window = client.hear()
    values = dict(f.read_settings(settings[3]))
    assert settings[0] == f.SETTINGS and values[f.HEADER_TABLE_SIZE] == 0
    assert values[f.INITIAL_WINDOW_SIZE] == STREAM_WINDOW and values[f.MAX_CONCURRENT_STREAMS] == MOST_STREAMS
    assert window[0] == f.WINDOW_UPDATE and f.read_word(window[3]) == CONNECTION_WINDOW - 65_535


def test_what_a_server_must_ignore(client: RawClient) -> None:
    heard = client.say(
        f.frame(0xFA, 0xFF, 3, b"who knows"),
        f.frame(0xFA, 0, 0),
        f.frame(f.PRIORITY, 0, 77, bytes(5)),
        f.settings({0xFFFF: 7}),
        f.rst_stream(1, E.CANCEL),
        f.window_update(1, 5),
        f.frame(f.PING, f.ACK, 0, b"not ours"),
        f.goaway(0, 0, "bye"),
    )
    assert heard == [(f.SETTINGS, f.ACK, 0, b"")]


def test_padding_priority_and_continuation_change_nothing(client: RawClient) -> None:
    block = request()
    heard = client.say(
        f.frame(f.HEADERS, f.PADDED | f.HAS_PRIORITY, 5, b"\x03" + bytes(5) + block[:10] + bytes(3)),
        f.frame(f.CONTINUATION, 0, 5, block[10:20]),
        f.frame(f.CONTINUATION, f.END_HEADERS, 5, block[20:]),
        f.frame(f.DATA, f.PADDED, 5, b"\x02" + message(b"hello")[:4] + bytes(2)),
        f.frame(f.DATA, f.PADDED | f.END_STREAM, 5, b"\x00" + message(b"hello")[4:]),
    )
    assert [(kind, payload) for kind, _, _, payload in heard][1] == (f.DATA, message(b"hello"))


def test_a_reset_stream_may_still_be_spoken_on() -> None:
    """Frames that crossed our reset are no error (RFC 9113 §5.1), and count for the connection's window."""
    client = RawClient()
    heard = client.say(headers(3, request("/test.Service/No")))
    assert resets(heard) == [(3, E.NO_ERROR)], "the client can stop sending"
    assert (
        client.say(data(3, bytes(100)), data(3, bytes(100), ends=True), headers(3, literal(b"a", b"b"), ends=True))
        == []
    )
    sent = sum(len(client.say(data(3, bytes(16_000)))) for _ in range(CONNECTION_WINDOW // 4 // 16_000 + 1))
    assert sent == 1 and not client.server.closed


def test_too_many_streams_are_refused_unseen(client: RawClient) -> None:
    block = request("/test.Service/Wait")
    heard = client.say(*(headers(5 + 2 * n, block) for n in range(MOST_STREAMS + 1)))
    assert resets(heard) == [(5 + 2 * n, E.REFUSED_STREAM) for n in (MOST_STREAMS - 1, MOST_STREAMS)]
    assert not client.server.closed


def test_a_stream_that_sends_more_than_its_window_is_reset(client: RawClient) -> None:
    client.service.logs[0].call.pause()
    pieces = STREAM_WINDOW // 16_384
    assert client.say(*[data(3, bytes(16_384))] * pieces) == []
    assert resets(client.say(data(3, b"x"))) == [(3, E.FLOW_CONTROL_ERROR)]


def test_a_connection_that_sends_more_than_its_window_is_closed() -> None:
    client = RawClient()
    streams = range(3, 3 + 2 * (CONNECTION_WINDOW // STREAM_WINDOW + 1), 2)
    client.say(*(headers(stream_id, request("/test.Service/Stream")) for stream_id in streams))
    for log in client.service.logs:
        log.call.pause()
    left = CONNECTION_WINDOW - len(message(b"hello"))  # The call that greeted used that much.
    for stream_id in streams:
        size = min(left, STREAM_WINDOW)
        assert client.say(*(data(stream_id, bytes(min(16_384, size - at))) for at in range(0, size, 16_384))) == []
        left -= size
    assert left == 0
    assert goaway_code(client.say(data(streams[-1], b"x"))) == E.FLOW_CONTROL_ERROR


def test_windows_reopen_only_when_the_consumer_has_taken_the_data(client: RawClient) -> None:
    log = client.service.logs[0]
    log.call.pause()
    whole = message(bytes(16_384 - 5))
    assert client.say(*[data(3, whole)] * 60) == []
    log.call.resume()
    heard = client.hear()
    assert [(kind, sid, f.read_word(p)) for kind, _, sid, p in heard] == [(f.WINDOW_UPDATE, 3, 60 * 16_384)]
    assert len(log.messages) == 60


def test_replies_wait_for_the_window(client: RawClient) -> None:
    client.say(f.settings({f.INITIAL_WINDOW_SIZE: 10}))
    heard = client.say(call(5, b"0123456789"))
    assert [(kind, payload[5:]) for kind, _, _, payload in heard] == [(f.HEADERS, b""), (f.DATA, b"01234")]
    assert client.service.calls[-1].unsent == 5
    heard = client.say(f.window_update(5, 2))
    assert [(kind, payload) for kind, _, _, payload in heard] == [(f.DATA, b"56")]
    heard = client.say(f.settings({f.INITIAL_WINDOW_SIZE: 12}))
    assert [(kind, payload) for kind, _, _, payload in heard] == [(f.SETTINGS, b""), (f.DATA, b"78")]
    heard = client.say(f.settings({f.INITIAL_WINDOW_SIZE: 0}), f.window_update(5, 12))
    assert [kind for kind, *_ in heard] == [f.SETTINGS], "the window is below zero, and only came up to zero"
    heard = client.say(f.window_update(5, 1))
    assert heard[0] == (f.DATA, 0, 5, b"9")
    assert heard[1][:2] == (f.HEADERS, f.END_HEADERS | f.END_STREAM)


def test_the_connections_window_bounds_all_streams_together(client: RawClient) -> None:
    big = bytes(50_000)
    client.say(f.settings({f.INITIAL_WINDOW_SIZE: 1 << 20}))
    for stream_id in (5, 7):
        pieces = [message(big)[at : at + 16_384] for at in range(0, 50_005, 16_384)]
        client.say(headers(stream_id, request()), *(data(stream_id, piece) for piece in pieces[:-1]))
        heard = client.say(data(stream_id, pieces[-1], ends=True))
    sent = sum(len(payload) for kind, _, _, payload in heard if kind == f.DATA)
    used = 10  # By the call that greeted.
    assert sent == 65_535 - used - 50_005
    heard = client.say(f.window_update(0, 1_000_000))
    assert sum(len(payload) for kind, _, _, payload in heard if kind == f.DATA) == 50_005 - sent
    assert not [s for s in client.server.streams if s != 3]


def test_large_frames_are_sent_only_to_who_takes_them(client: RawClient) -> None:
    client.say(f.window_update(0, 1 << 20), f.settings({f.INITIAL_WINDOW_SIZE: 1 << 20, f.MAX_FRAME_SIZE: 20_000}))
    call = client.service.logs[0].call
    call.send(bytes(45_000))
    assert [len(p) for kind, _, _, p in client.hear() if kind == f.DATA] == [20_000, 20_000, 5_005]


def test_a_ping_comes_back(client: RawClient) -> None:
    assert client.say(f.ping(b"12345678", ack=False)) == [(f.PING, f.ACK, 0, b"12345678")]


@pytest.mark.parametrize(
    "frame",
    [
        f.ping(bytes(8), ack=False),
        f.settings({}),
        f.frame(f.PRIORITY, 0, 9, bytes(5)),
        f.frame(0xFA, 0, 0),
        data(3, b""),
    ],
    ids=["ping", "settings", "priority", "unknown", "empty data"],
)
def test_chatter_without_work_is_a_flood(client: RawClient, frame: bytes) -> None:
    heard = [client.say(frame) for _ in range(2 * CHATTER)]
    assert goaway_code([each for frames in heard for each in frames]) == E.ENHANCE_YOUR_CALM


def test_a_ping_for_each_reply_is_no_flood(client: RawClient) -> None:
    for n in range(3 * CHATTER):
        client.say(call(5 + 2 * n), f.ping(bytes(8), ack=False))
    assert not client.server.closed, client.server.reason


def test_slow_chatter_is_no_flood(client: RawClient) -> None:
    for n in range(3 * CHATTER):
        client.now = n * SECOND // 500
        client.say(f.ping(bytes(8), ack=False))
    assert not client.server.closed, client.server.reason


def test_answers_that_nobody_reads_are_bounded() -> None:
    client = RawClient()
    for n in range(MOST_ANSWERS + 1):
        client.server.feed(call(3 + 2 * n) + f.ping(bytes(8), ack=False), 0)
    assert goaway_code(client.hear()) == E.ENHANCE_YOUR_CALM


def test_opening_streams_to_reset_them_is_a_flood() -> None:
    client = RawClient()
    block = request("/test.Service/Wait")
    for n in range(2 * RESETS):
        client.say(call(3 + 2 * n, block=block), f.rst_stream(3 + 2 * n, E.CANCEL))
    assert client.server.closed and "ENHANCE_YOUR_CALM" in client.server.reason
    assert len(client.service.cancelled) <= RESETS


def test_making_the_server_reset_streams_is_a_flood_too() -> None:
    client = RawClient()
    block = request("/test.Service/Wait")
    for n in range(2 * RESETS):
        client.say(headers(3 + 2 * n, block), f.window_update(3 + 2 * n, 0))
    assert client.server.closed and "ENHANCE_YOUR_CALM" in client.server.reason


def test_cancelling_every_third_call_is_no_flood() -> None:
    client = RawClient()
    for n in range(3 * RESETS):
        stream_id = 3 + 6 * n
        block = request("/test.Service/Wait")
        client.say(
            call(stream_id), call(stream_id + 2), call(stream_id + 4, block=block), f.rst_stream(stream_id + 4, 8)
        )
    assert not client.server.closed, client.server.reason
    assert len(client.service.cancelled) == 3 * RESETS


def test_a_small_table_at_the_client_is_respected() -> None:
    """RFC 7541 §4.2: our next block says that we empty the table, and later ones don't use it."""
    client = RawClient()
    first = client.say(f.settings({f.HEADER_TABLE_SIZE: 100}), call(3))[1]
    assert first[0] == f.HEADERS and first[3].startswith(b"\x20\x88\x00")
    again = client.say(call(5))
    assert again[0][3].startswith(b"\x88\x00") and again[2][3].startswith(b"\x00")


def test_replies_are_short_once_the_clients_table_has_the_two_fields() -> None:
    client = RawClient()
    heard = client.say(call(3, b"hi"))
    assert heard == [
        (f.HEADERS, f.END_HEADERS, 3, b"\x88\xbf"),
        (f.DATA, 0, 3, message(b"hi")),
        (f.HEADERS, f.END_HEADERS | f.END_STREAM, 3, b"\xbe"),
    ]


@pytest.mark.parametrize(
    ("block", "http"),
    [
        (request(content_type="text/html"), b"415"),
        (request(content_type="application/grpcx"), b"415"),
        (request(content_type=None), b"415"),
        (request(pseudo_method="GET"), b"405"),
        (request(grpc_timeout="1x"), b"400"),
        (request(grpc_timeout="123456789S"), b"400"),
    ],
)
def test_what_is_not_grpc_gets_an_http_status(client: RawClient, block: bytes, http: bytes) -> None:
    kind, flags, stream_id, payload = client.say(headers(5, block, ends=True))[0]
    assert (kind, flags, stream_id) == (f.HEADERS, f.END_HEADERS | f.END_STREAM, 5)
    assert payload.startswith(literal(b":status", http))


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]
)
def test_what_is_grpc(client: RawClient, content_type: str) -> None:
    assert len(client.say(call(5, block=request(content_type=content_type)))) == 3


@pytest.mark.parametrize(
    ("sent", "encoding", "status", "text"),
    [
        (b"\x01" + bytes(4), None, Status.INTERNAL, b"compressed flag set with identity"),
        (b"\x01" + bytes(4), "gzip", Status.UNIMPLEMENTED, b'Decompressor is not installed for grpc-encoding "gzip"'),
        (b"\x02" + bytes(4), None, Status.INTERNAL, b"unexpected payload format 2"),
        (
            b"\x00\x00\x20\x00\x01",
            None,
            Status.RESOURCE_EXHAUSTED,
            b"received message larger than max (2097153 vs. 2097152)",
        ),
        (message(b"a") * 2, None, Status.INTERNAL, b"exactly one message"),
        (message(b"abc")[:-1], None, Status.INTERNAL, b"ended inside a message"),
        (b"", None, Status.INTERNAL, b"exactly one message"),
    ],
)
def test_bad_messages_end_the_call(
    client: RawClient, sent: bytes, encoding: str | None, status: int, text: bytes
) -> None:
    heard = client.say(headers(5, request(grpc_encoding=encoding)), data(5, sent, ends=True))
    payload = heard[0][3]
    assert literal(b"grpc-status", b"%d" % status) in payload and text in payload, payload
    assert len(client.service.calls) == 1, "the handler was called"
    assert not client.server.closed


def test_a_message_over_the_limit_is_refused_before_it_has_come() -> None:
    client = RawClient(largest_message=100)
    heard = client.say(headers(3, request()), data(3, message(bytes(101))[:50]))
    assert b"larger than max (101 vs. 100)" in heard[0][3]
    assert resets(heard) == [(3, E.NO_ERROR)]


def test_output_is_announced_once_for_each_take() -> None:
    client = RawClient()
    before = client.woken
    client.server.feed(call(3) + call(5, block=request("/test.Service/Wait")), 0)
    assert client.woken == before + 1
    assert len(cut(client.server.take())) == 3
    client.service.calls[-1].reply(b"later")
    assert client.woken == before + 2


def test_a_client_that_asks_for_small_settings_first_is_greeted_back() -> None:
    client = RawClient(greeted=False)
    client.hear()
    heard = client.say(PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 0, f.MAX_CONCURRENT_STREAMS: 0}) + GREETING)
    assert heard == [(f.SETTINGS, f.ACK, 0, b"")] * 2
