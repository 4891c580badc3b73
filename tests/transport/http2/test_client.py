"""What a client makes of a server that may say anything."""

from __future__ import annotations

import pytest

from ostraka.transport.http2 import ErrorCode, Status
from ostraka.transport.http2 import frames as f
from ostraka.transport.http2.headers import literal
from ostraka.transport.http2.server import MOST_STREAMS

from .wire import GREETING, Log, RawServer, data, headers, message

OK = literal(b"grpc-status", b"0")
HEAD = b"\x20\x88" + literal(b"content-type", b"application/grpc")


@pytest.fixture
def server() -> RawServer:
    return RawServer()


def test_a_call_is_what_grpc_says(server: RawServer) -> None:
    server.unary(b"hello")
    head, body = server.say(f.frame(0xFA, 0, 0))
    assert head[:3] == (f.HEADERS, f.END_HEADERS, 1) and b"/test.Service/Echo" in head[3]
    assert body == (f.DATA, f.END_STREAM, 1, message(b"hello"))


def test_a_reply(server: RawServer) -> None:
    server.unary()
    server.say(
        headers(1, HEAD + literal(b"m", b"n")),
        data(1, message(b"answer")),
        headers(1, OK + literal(b"t", b"u"), ends=True),
    )
    (outcome,) = server.outcomes
    assert (outcome.status, outcome.body, outcome.answered) == (Status.OK, b"answer", True)
    assert outcome.metadata == {"m": "n"} and outcome.trailers == {"t": "u"}


def test_interim_responses_are_passed_over(server: RawServer) -> None:
    server.unary()
    server.say(
        headers(1, b"\x20" + literal(b":status", b"103")),
        headers(1, HEAD[1:]),
        data(1, message(b"a")),
        headers(1, OK, ends=True),
    )
    assert server.outcomes[0].body == b"a"


def test_trailers_only(server: RawServer) -> None:
    server.unary()
    server.say(headers(1, HEAD + literal(b"grpc-status", b"5") + literal(b"grpc-message", b"no%21"), ends=True))
    (outcome,) = server.outcomes
    assert (outcome.status, outcome.message, outcome.answered, outcome.refused) == (5, "no!", True, False)


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        ([headers(1, b"\x20" + literal(b":status", b"503"), ends=True)], Status.UNAVAILABLE, "HTTP status 503"),
        ([headers(1, b"\x20" + literal(b":status", b"404"))], Status.UNIMPLEMENTED, "HTTP status 404"),
        ([headers(1, b"\x20\x88" + literal(b"content-type", b"text/html"))], Status.UNKNOWN, "not gRPC"),
        ([headers(1, HEAD), data(1, message(b"a"), ends=True)], Status.INTERNAL, "without a grpc-status"),
        ([headers(1, HEAD, ends=True)], Status.INTERNAL, "without a grpc-status"),
        ([headers(1, HEAD), headers(1, OK, ends=True)], Status.INTERNAL, "without a reply"),
        ([headers(1, HEAD), data(1, message(b"a") * 2)], Status.INTERNAL, "two replies"),
        (
            [headers(1, HEAD), data(1, b"\x00\x00\x00\x00\x09"), headers(1, OK, ends=True)],
            Status.INTERNAL,
            "inside a message",
        ),
        ([headers(1, HEAD), data(1, b"\x00\x7f\xff\xff\xff")], Status.RESOURCE_EXHAUSTED, "larger than max"),
        ([headers(1, HEAD), data(1, b"\x01\x00\x00\x00\x00")], Status.INTERNAL, "compressed"),
        ([headers(1, HEAD), headers(1, OK)], Status.INTERNAL, "trailers without"),
        ([headers(1, b"\x20" + literal(b"x", b"y"))], Status.INTERNAL, ":status is missing"),
        ([headers(1, b"\x20" + literal(b":status", b"103"), ends=True)], Status.INTERNAL, "interim"),
        ([data(1, message(b"a"))], Status.INTERNAL, "DATA before HEADERS"),
        ([f.rst_stream(1, ErrorCode.CANCEL)], Status.CANCELLED, "CANCEL"),
        ([f.rst_stream(1, ErrorCode.ENHANCE_YOUR_CALM)], Status.RESOURCE_EXHAUSTED, "ENHANCE_YOUR_CALM"),
    ],
)
def test_what_may_have_been_executed(server: RawServer, said: list[bytes], status: Status, text: str) -> None:
    server.unary()
    server.say(*said)
    (outcome,) = server.outcomes
    assert outcome.status == status and text in outcome.message
    assert not outcome.refused and not outcome.answered, "nobody can know whether it was executed"
    assert not server.client.streams and not server.client.closed


def test_a_refused_stream_was_not_executed(server: RawServer) -> None:
    server.unary()
    server.say(f.rst_stream(1, ErrorCode.REFUSED_STREAM))
    assert server.outcomes[0].refused and server.outcomes[0].status == Status.UNAVAILABLE


def test_goaway_tells_what_was_not_executed(server: RawServer) -> None:
    for _ in range(3):
        server.unary()
    server.say(f.goaway(3, ErrorCode.NO_ERROR, "bye"))
    (outcome,) = server.outcomes
    assert outcome.refused and outcome.status == Status.UNAVAILABLE and "bye" in outcome.message
    server.unary()
    assert server.outcomes[1].refused
    server.say(headers(1, HEAD), data(1, message(b"a")), headers(1, OK, ends=True))
    assert server.outcomes[2].body == b"a" and not server.client.closed
    server.say(f.rst_stream(3, ErrorCode.CANCEL))
    assert server.client.closed and server.client.reason == "drained"


def test_after_goaway_what_waited_for_a_place_was_not_executed() -> None:
    server = RawServer(greeted=False)
    server.say(f.settings({f.MAX_CONCURRENT_STREAMS: 1}))
    for _ in range(3):
        server.unary()
    assert list(server.client.streams) == [1]
    server.say(f.goaway(1, ErrorCode.NO_ERROR, ""))
    assert [o.refused for o in server.outcomes] == [True, True]


def test_a_lower_limit_holds_new_calls_back(server: RawServer) -> None:
    server.say(f.settings({f.MAX_CONCURRENT_STREAMS: 0}))
    server.unary()
    assert not server.client.streams
    server.say(f.settings({f.MAX_CONCURRENT_STREAMS: MOST_STREAMS}))
    assert list(server.client.streams) == [1]


def test_a_request_larger_than_the_window_waits(server: RawServer) -> None:
    call = server.unary(bytes(100_000))
    server.say(f.frame(0xFA, 0, 0))
    assert call.unsent == 100_005 - 65_535
    heard = server.say(f.window_update(0, 100_000), f.window_update(1, 100_000))
    assert heard[-1] == (f.DATA, f.END_STREAM, 1, b"")
    assert sum(len(payload) for _, _, _, payload in heard) == 100_005 - 65_535


def test_an_early_answer_ends_the_request(server: RawServer) -> None:
    """RFC 9113 §8.1: the server has answered, and asks us with NO_ERROR to stop sending."""
    server.unary(bytes(100_000))
    heard = server.say(headers(1, HEAD + literal(b"grpc-status", b"8"), ends=True), f.rst_stream(1, ErrorCode.NO_ERROR))
    assert server.outcomes[0].status == 8 and server.outcomes[0].answered
    assert heard[-1][0] == f.RST_STREAM and not server.client.waiting


def test_an_early_answer_reaches_a_paused_caller(server: RawServer) -> None:
    log = Log()
    log.call = server.client.stream("/test.Service/Stream", log, 0)
    log.call.pause()
    server.say(headers(1, HEAD), data(1, message(b"m")), headers(1, OK, ends=True), f.rst_stream(1, ErrorCode.NO_ERROR))
    assert log.outcome is None
    log.call.resume()
    assert log.messages == [b"m"] and log.outcome is not None and log.outcome.status == Status.OK


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (headers(2, HEAD), ErrorCode.PROTOCOL_ERROR),
        (headers(9, HEAD), ErrorCode.PROTOCOL_ERROR),
        (data(9, b"x"), ErrorCode.PROTOCOL_ERROR),
        (f.rst_stream(9, 0), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (f.settings({f.ENABLE_PUSH: 1}), ErrorCode.PROTOCOL_ERROR),
        (headers(1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    ],
)
def test_a_server_that_breaks_the_rules_loses_the_connection(server: RawServer, said: bytes, code: ErrorCode) -> None:
    server.unary()
    heard = server.say(said)
    assert f.read_goaway(heard[-1][3])[1] == code
    (outcome,) = server.outcomes
    assert outcome.status == Status.UNAVAILABLE and code.name in outcome.message and not outcome.refused


def test_a_server_must_greet() -> None:
    server = RawServer(greeted=False)
    server.unary()
    server.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert server.client.closed and len(server.outcomes) == 1


def test_the_answer_to_a_call_given_up_is_ignored(server: RawServer) -> None:
    server.unary().cancel()
    late = [headers(1, HEAD), data(1, message(b"late")), headers(1, OK, ends=True)]
    assert f.RST_STREAM in [kind for kind, *_ in server.say(GREETING)]
    assert server.say(*late) == [] and not server.client.closed
    assert [o.status for o in server.outcomes] == [Status.CANCELLED]
    server.unary()
    server.say(headers(3, HEAD[1:]), data(3, message(b"next")), headers(3, OK, ends=True))
    assert server.outcomes[1].body == b"next"


def test_a_call_opened_from_a_callback_is_served(server: RawServer) -> None:
    first = server.client
    first.unary("/test.Service/Echo", b"", lambda _: server.unary() and None, 0)
    server.say(f.rst_stream(1, ErrorCode.REFUSED_STREAM))
    assert list(first.streams) == [3]
