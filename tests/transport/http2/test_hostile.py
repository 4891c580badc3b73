"""Any bytes, in any pieces: no exception, no growth, and the same answer however the bytes were cut."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ostraka.transport.http2 import PREFACE, ClientConnection, Outcome, ServerConnection
from ostraka.transport.http2 import frames as f
from ostraka.transport.http2.headers import literal

from .wire import GREETING, Log, Service, call, cut, data, headers, message, request

MUCH = settings(max_examples=200, derandomize=True, deadline=None, database=None)

stream_ids = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 2**31 - 1])
kinds = st.one_of(st.sampled_from(range(10)), st.integers(0, 255))
codes = st.sampled_from([0, 1, 5, 7, 8, 11, 99])

REPLY_HEAD = b"\x88" + literal(b"content-type", b"application/grpc")
requests = st.sampled_from(
    [
        request(),
        request("/test.Service/Wait", grpc_timeout="1m"),
        request("/test.Service/Stream"),
        request("/test.Service/Stream", grpc_encoding="gzip"),
        request("/no/way"),
        request(content_length="10"),
        request(pseudo_method=None),
        b"\x20" + request(),
        REPLY_HEAD,
        REPLY_HEAD + literal(b"grpc-status", b"0"),
        literal(b"grpc-status", b"7") + literal(b"grpc-message", b"%41"),
        literal(b":status", b"100"),
        literal(b":status", b"503"),
    ]
)
contents = st.one_of(
    st.binary(max_size=12).map(message),
    st.binary(max_size=12),
    st.sampled_from(
        [
            message(bytes(3000)),
            message(b"a") + message(b"b") + b"\x00",
            b"\x01\x00\x00\x00\x00",
            b"\x00\xff\xff\xff\xff",
        ]
    ),
)
good_frames = st.one_of(
    st.builds(lambda i, b, e: headers(i, b, ends=e), stream_ids, requests, st.booleans()),
    st.builds(lambda i, b, e: data(i, b, ends=e), stream_ids, contents, st.booleans()),
    st.builds(call, stream_ids, st.binary(max_size=5)),
    st.builds(f.window_update, stream_ids, st.sampled_from([0, 1, 100, 2**31 - 1])),
    st.builds(f.rst_stream, stream_ids, codes),
    st.builds(f.goaway, stream_ids, codes, st.text(max_size=3)),
    st.builds(lambda b: f.ping(b, ack=False), st.binary(min_size=8, max_size=8)),
    st.sampled_from([f.SETTINGS_ACK, GREETING, f.ping(b"draining", ack=True)]),
    st.builds(
        lambda key, value: f.settings({key: value}),
        st.integers(0, 9),
        st.sampled_from([0, 1, 2, 100, 16_384, 2**24, 2**31 - 1, 2**32 - 1]),
    ),
)
bad_frames = st.builds(
    f.frame,
    kinds,
    st.integers(0, 255),
    stream_ids,
    st.binary(max_size=20),
)
conversations = st.lists(st.one_of(good_frames, good_frames, good_frames, bad_frames), max_size=25).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A conversation with a few bytes changed, cut out or put in."""
    wire = bytearray(draw(conversations))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(wire)))
        change = draw(st.integers(0, 2))
        if change == 0:
            wire[at : at + 1] = bytes((draw(st.integers(0, 255)),))
        elif change == 1:
            del wire[at : at + draw(st.integers(1, 20))]
        else:
            wire[at:at] = draw(st.binary(max_size=10))
    return bytes(wire)


def pieces(wire: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    places = sorted({at % (len(wire) + 1) for at in cuts} | {0, len(wire)})
    return [wire[start:end] for start, end in itertools.pairwise(places)]


def serve(parts: list[bytes]) -> tuple[bytes, object]:
    """What a server says to these bytes, and what its handlers were told."""
    service = Service()
    server = ServerConnection(service.router, lambda: None, 0)
    for part in parts:
        server.feed(part, 0)
    for log in service.logs:
        log.call.send(b"down")
    for each in service.calls:
        each.reply(b"later")
    server.expire(10**12)
    told = [(log.messages, log.events) for log in service.logs], service.cancelled, len(service.calls)
    said = server.take()
    server.lost("the end")
    assert not server.streams and not server.waiting
    assert server.closed
    return said, (told, server.reason)


def consume(parts: list[bytes]) -> tuple[bytes, object]:
    """What a client with three calls says to these bytes, and what became of its calls."""
    outcomes: list[Outcome] = []
    client = ClientConnection("test", lambda: None, 0)
    for content in (b"one", b"two"):
        client.unary("/test.Service/Echo", content, outcomes.append, 0, 10**9)
    log = Log()
    log.call = client.stream("/test.Service/Stream", log, 0)
    log.call.send(bytes(100_000))
    for part in parts:
        client.feed(part, 0)
    client.expire(10**12)
    said = client.take()
    reason = client.reason
    client.lost("the end")
    assert log.outcome is not None and len(outcomes) == 2, "a call did not end"
    assert not client.streams and not client.waiting
    return said, (outcomes, log.messages, log.outcome, reason)


cuts = st.lists(st.integers(0, 5000), max_size=6)


@MUCH
@given(mutated(), cuts)
def test_a_server_answers_any_conversation_alike_in_any_pieces(wire: bytes, where: list[int]) -> None:
    wire = PREFACE + GREETING + wire
    whole = serve([wire])
    assert cut(whole[0]), "nothing was said at all"
    assert serve(pieces(wire, where)) == whole
    if len(wire) < 400:
        assert serve([wire[at : at + 1] for at in range(len(wire))]) == whole


@MUCH
@given(mutated(), cuts)
def test_a_client_takes_any_conversation_alike_in_any_pieces(wire: bytes, where: list[int]) -> None:
    wire = GREETING + wire
    whole = consume([wire])
    cut(whole[0].removeprefix(PREFACE))
    assert consume(pieces(wire, where)) == whole
    if len(wire) < 400:
        assert consume([wire[at : at + 1] for at in range(len(wire))]) == whole


@MUCH
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_at_all(wire: bytes, greeted: bool) -> None:
    serve([(PREFACE + GREETING if greeted else b"") + wire])
    consume([(GREETING if greeted else b"") + wire])


@MUCH
@given(mutated())
def test_a_server_never_sends_more_than_the_client_allowed(wire: bytes) -> None:
    """The windows as the client sees them: by what it said and what it heard, in that order."""
    server = ServerConnection(Service().router, lambda: None, 0)
    said = PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 6}) + call(1, bytes(40)) + call(3, bytes(40)) + wire
    server.feed(said, 0)
    sent: dict[int, int] = {}
    for kind, _, stream_id, payload in cut(server.take()):
        if kind == f.DATA:
            sent[stream_id] = sent.get(stream_id, 0) + len(payload)
    granted = sum(
        int.from_bytes(payload, "big") & f.LARGEST_WINDOW
        for kind, _, stream_id, payload in frames_of(wire)
        if kind == f.WINDOW_UPDATE and len(payload) == 4 and not stream_id & f.LARGEST_STREAM_ID
    )
    assert sum(sent.values()) <= 65_535 + granted


def frames_of(wire: bytes) -> list[tuple[int, int, int, bytes]]:
    """All whole frames, as far as they can be read."""
    found, at = [], 0
    while at + 9 <= len(wire):
        word, flags, stream_id = f.read_head(wire, at)
        end = at + 9 + (word >> 8)
        if end > len(wire):
            break
        found.append((word & 0xFF, flags, stream_id, wire[at + 9 : end]))
        at = end
    return found
