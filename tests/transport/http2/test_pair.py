"""Our client against our server, through a pipe in memory."""

from __future__ import annotations

import pytest

from ostraka.transport.http2 import Status
from ostraka.transport.http2.frames import PREFIX

from .wire import Pipe

MS = 1_000_000


@pytest.mark.parametrize("chunk", [1, 7, 1 << 30])
def test_unary_calls_in_any_pieces(chunk: int) -> None:
    pipe = Pipe(chunk)
    sizes = [0, 1, 100, 16_379, 16_380, 70_000 if chunk == 1 else 1_500_000]
    for size in sizes:
        pipe.unary(content=b"x" * size)
    pipe.settle()
    assert [(o.status, len(o.body), o.answered) for o in sorted(pipe.outcomes, key=lambda o: len(o.body))] == [
        (Status.OK, size, True) for size in sizes
    ]
    assert not pipe.client.streams and not pipe.server.streams, "a stream was left behind"


def test_replies_out_of_order_reach_their_calls() -> None:
    pipe = Pipe()
    for _ in range(5):
        pipe.unary("Wait")
    pipe.settle()
    for number, call in reversed(list(enumerate(pipe.service.calls))):
        call.reply(b"%d" % number)
    pipe.settle()
    assert [o.body for o in pipe.outcomes] == [b"4", b"3", b"2", b"1", b"0"]


def test_an_error_keeps_its_code_text_and_trailers() -> None:
    pipe = Pipe()
    pipe.unary("Wait")
    pipe.settle()
    pipe.service.calls[0].fail(Status.NOT_FOUND, "no söch\nkey: 100%", [("reason", "gone")])
    pipe.settle()
    (outcome,) = pipe.outcomes
    assert (outcome.status, outcome.message) == (Status.NOT_FOUND, "no söch\nkey: 100%")
    assert outcome.trailers["reason"] == "gone"
    assert outcome.answered and not outcome.refused


def test_metadata_and_deadline_arrive() -> None:
    pipe = Pipe()
    pairs = [("token", "a"), ("token", "b"), ("x-bin", "AAE")]
    pipe.client.unary("/test.Service/Wait", b"", pipe.outcomes.append, 0, deadline=1500 * MS, metadata=pairs)
    pipe.settle()
    call = pipe.service.calls[0]
    assert call.metadata["token"] == "a,b" and call.metadata["x-bin"] == "AAE"
    assert call.deadline == 1500 * MS


@pytest.mark.parametrize("key", ["Token", "grpc-x", "te", "connection", "a b", ""])
def test_metadata_that_cannot_be_sent_is_refused_at_once(key: str) -> None:
    pipe = Pipe()
    with pytest.raises(ValueError, match="metadata key"):
        pipe.client.unary("/test.Service/Echo", b"", pipe.outcomes.append, 0, metadata=[(key, "v")])
    with pytest.raises(ValueError, match="line break"):
        pipe.client.unary("/test.Service/Echo", b"", pipe.outcomes.append, 0, metadata=[("k", "v\r\nx: y")])


def test_a_stream_carries_messages_both_ways_at_once() -> None:
    pipe = Pipe(chunk=1000)
    ours = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]
    for size in (0, 5, 20_000, 300_000):
        ours.call.send(b"u" * size)
        theirs.call.send(b"d" * size)
    ours.call.half_close()
    pipe.settle()
    assert [len(m) for m in theirs.messages] == [len(m) for m in ours.messages] == [0, 5, 20_000, 300_000]
    assert "half-close" in theirs.events
    assert ours.outcome is None
    theirs.call.send(b"last")
    theirs.call.finish(Status.OK, trailers=[("count", "5")])
    pipe.settle()
    assert ours.messages[-1] == b"last"
    assert ours.outcome is not None and ours.outcome.status == Status.OK
    assert ours.outcome.trailers["count"] == "5"


@pytest.mark.parametrize("reader", ["server", "client"])
def test_who_pauses_stops_the_sender_and_who_resumes_gets_everything(reader: str) -> None:
    pipe = Pipe()
    ours = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]
    source, sink = (ours, theirs) if reader == "server" else (theirs, ours)
    sink.call.pause()
    for number in range(400):
        source.call.send(number.to_bytes(2, "big") * 5_000)
        pipe.settle()
    assert sink.messages == []
    assert source.call.unsent > 2_000_000, "the window never closed"
    sink.call.resume()
    pipe.settle()
    assert [int.from_bytes(m[:2], "big") for m in sink.messages] == list(range(400))
    assert source.call.unsent == 0 and source.events.count("drained") == 1


def test_a_consumer_can_take_one_message_at_a_time() -> None:
    pipe = Pipe()
    ours = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]

    def take_one(content: bytes) -> None:
        theirs.messages.append(content)
        theirs.call.pause()

    theirs.on_message = take_one  # type: ignore[method-assign]
    for number in range(3):
        ours.call.send(b"%d" % number)
    ours.call.half_close()
    pipe.settle()
    for taken in (1, 2, 3):
        assert len(theirs.messages) == taken and theirs.events == []
        theirs.call.resume()
    assert theirs.messages == [b"0", b"1", b"2"] and theirs.events == ["half-close"]


def test_the_end_waits_for_a_paused_consumer() -> None:
    pipe = Pipe()
    ours = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]
    ours.call.pause()
    theirs.call.send(b"one")
    theirs.call.finish(Status.ABORTED, "so be it")
    pipe.settle()
    assert ours.messages == [] and ours.outcome is None
    ours.call.resume()
    assert ours.messages == [b"one"]
    assert ours.outcome is not None and ours.outcome.message == "so be it"


def test_many_streams_share_a_closed_window_fairly() -> None:
    pipe = Pipe()
    logs = [pipe.stream() for _ in range(4)]
    pipe.settle()
    pipe.server.pause_writing()
    for theirs in pipe.service.logs:
        for _ in range(20):
            theirs.call.send(b"x" * 10_000)
    pipe.settle()
    assert all(theirs.call.unsent == 20 * 10_005 for theirs in pipe.service.logs)
    assert all(not log.messages for log in logs)
    pipe.server.resume_writing()
    first = pipe.server.take()
    seen = [first.find(log.call.id.to_bytes(4, "big")) for log in logs]
    assert all(0 <= at < 300_000 for at in seen), f"one stream had all the room: {seen}"
    pipe.client.feed(first, 0)
    pipe.settle()
    assert all(len(log.messages) == 20 for log in logs)


def test_cancelling_tells_the_server_and_ends_the_call() -> None:
    pipe = Pipe()
    call, log = pipe.unary("Wait"), pipe.stream()
    pipe.settle()
    call.cancel()
    log.call.cancel()
    assert [o.status for o in pipe.outcomes] == [Status.CANCELLED] and not pipe.outcomes[0].refused
    pipe.settle()
    served = pipe.service.calls[0]
    assert served.cancelled and pipe.service.cancelled == [served.id]
    assert pipe.service.logs[0].events == ["cancel"]
    served.reply(b"too late")
    pipe.service.logs[0].call.send(b"too late")
    assert pipe.server.take() == b"", "something was sent on a stream that is over"


def test_a_deadline_passes_on_both_sides() -> None:
    pipe = Pipe()
    pipe.unary("Wait", deadline=100 * MS)
    pipe.settle()
    wake = pipe.server.next_deadline()
    assert wake is not None and 100 * MS <= wake < 120 * MS
    pipe.server.expire(wake)
    pipe.settle()
    (outcome,) = pipe.outcomes
    assert outcome.status == Status.DEADLINE_EXCEEDED and outcome.answered
    assert pipe.service.calls[0].over and pipe.service.cancelled == [1]
    assert pipe.server.next_deadline() is None


def test_a_client_does_not_wait_for_a_silent_server() -> None:
    pipe = Pipe()
    pipe.unary("Wait", deadline=100 * MS)
    wake = pipe.client.next_deadline()
    assert wake is not None
    pipe.client.expire(wake)
    (outcome,) = pipe.outcomes
    assert outcome.status == Status.DEADLINE_EXCEEDED
    assert not outcome.refused and not outcome.answered, "it may have been executed"


def test_a_call_that_ended_in_time_is_left_alone() -> None:
    pipe = Pipe()
    pipe.unary(deadline=100 * MS)
    pipe.settle()
    pipe.server.expire(1000 * MS)
    pipe.client.expire(1000 * MS)
    assert [o.status for o in pipe.outcomes] == [Status.OK]
    assert pipe.server.take() == pipe.client.take() == b""


def test_a_graceful_shutdown_finishes_what_is_open() -> None:
    pipe = Pipe()
    pipe.unary("Wait")
    pipe.settle()
    pipe.server.shutdown()
    pipe.unary("Wait")  # It crosses the first GOAWAY, and is served.
    pipe.settle()
    assert len(pipe.service.calls) == 2 and pipe.client.draining
    pipe.unary("Wait")
    assert pipe.outcomes[-1].refused and pipe.outcomes[-1].status == Status.UNAVAILABLE
    for call in pipe.service.calls:
        call.reply(b"done")
    assert pipe.server.closed
    pipe.settle()
    assert [o.body for o in pipe.outcomes] == [b"", b"done", b"done"]
    assert pipe.client.closed


def test_a_lost_connection_ends_every_call_once() -> None:
    pipe = Pipe()
    pipe.unary("Wait")
    log = pipe.stream()
    pipe.settle()
    pipe.client.lost("reset by peer")
    pipe.server.lost("reset by peer")
    (outcome,) = pipe.outcomes
    assert outcome.status == Status.UNAVAILABLE and "reset by peer" in outcome.message
    assert not outcome.refused and not outcome.answered, "it may have been executed"
    assert log.outcome is not None and pipe.service.logs[0].events == ["cancel"]
    pipe.unary()
    assert pipe.outcomes[-1].refused
    pipe.service.calls[0].reply(b"late")
    assert pipe.server.take() == b""


def test_calls_wait_for_a_place_and_the_waiting_never_left() -> None:
    pipe = Pipe()
    calls = [pipe.unary("Wait") for _ in range(150)]
    assert len(pipe.client.streams) == 100, "before its settings a server may take a hundred"
    calls[120].cancel()
    assert pipe.outcomes[-1].status == Status.CANCELLED and pipe.outcomes[-1].refused
    pipe.unary("Wait", deadline=50 * MS)
    pipe.client.expire(200 * MS)
    assert pipe.outcomes[-1].status == Status.DEADLINE_EXCEEDED and pipe.outcomes[-1].refused
    pipe.client.lost("cut")
    assert [o.refused for o in pipe.outcomes[2:]] == [False] * 100 + [True] * 49


def test_waiting_calls_start_when_the_server_allows_more() -> None:
    pipe = Pipe()
    for _ in range(150):
        pipe.unary()
    pipe.settle()
    assert len(pipe.outcomes) == 150 and all(o.status == Status.OK for o in pipe.outcomes)


def test_a_sign_of_life() -> None:
    pipe = Pipe()
    pipe.settle()
    pongs: list[str] = []
    pipe.client.ping(lambda: pongs.append("first"))
    pipe.client.ping(lambda: pongs.append("second"))
    assert pongs == []
    pipe.settle()
    assert pongs == ["first", "second"]


def test_unknown_methods_are_named_as_grpc_go_names_them() -> None:
    pipe = Pipe()
    for path in ("/test.Service/No", "/no.Service/Echo", "/Echo"):
        pipe.client.unary(path, b"", pipe.outcomes.append, 0)
    pipe.settle()
    assert [(o.status, o.message) for o in pipe.outcomes] == [
        (Status.UNIMPLEMENTED, "unknown method No for service test.Service"),
        (Status.UNIMPLEMENTED, "unknown service no.Service"),
        (Status.UNIMPLEMENTED, 'malformed method name: "/Echo"'),
    ]


def test_a_sender_who_never_looks_at_unsent_is_cut_off() -> None:
    pipe = Pipe()
    log = pipe.stream()
    pipe.settle()
    log.call.pause()
    theirs = pipe.service.logs[0]
    for _ in range(30):
        theirs.call.send(b"x" * 1_000_000)
        pipe.settle()
    assert theirs.events[-1] == "cancel" and theirs.call.cancelled and theirs.call.unsent == 0
    log.call.resume()
    assert log.outcome is not None and log.outcome.status == Status.RESOURCE_EXHAUSTED


def test_messages_in_the_making_are_bounded_for_a_connection() -> None:
    pipe = Pipe()
    pipe.server.largest_gathered = 3_250_000
    logs = [pipe.stream() for _ in range(3)]
    pipe.settle()
    for log in logs:
        log.call.write(PREFIX.pack(0, 2_000_000) + bytes(1_100_000))
        pipe.settle()
    assert [log.outcome and log.outcome.status for log in logs] == [None, None, Status.RESOURCE_EXHAUSTED]
    assert pipe.server.gathered == 2 * 1_100_005
    for log in logs[:2]:
        log.call.write(bytes(900_000))
        pipe.settle()
    assert [len(log.messages) for log in pipe.service.logs] == [1, 1, 0] and pipe.server.gathered == 0


@pytest.mark.parametrize("paused", [False, True])
def test_what_comes_after_the_answer_is_dropped(paused: bool) -> None:
    """The answer waits for the client's window; the client goes on sending meanwhile, and nobody listens."""
    pipe = Pipe()
    log = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]
    pipe.server.pause_writing()
    theirs.call.send(b"answer")
    theirs.call.finish()
    if paused:
        theirs.call.pause()
    for _ in range(50):
        log.call.send(bytes(100_000))
        pipe.settle()
    assert theirs.messages == [] and theirs.events == [] and pipe.server.gathered == 0
    log.call.half_close()
    pipe.server.resume_writing()
    pipe.settle()
    assert log.outcome is not None and log.outcome.status == Status.OK and log.messages == [b"answer"]
    assert theirs.events == []


def test_pausing_and_resuming_keeps_the_books_straight() -> None:
    pipe = Pipe()
    log = pipe.stream()
    pipe.settle()
    theirs = pipe.service.logs[0]
    for number in range(60):
        (theirs.call.pause if number % 3 else theirs.call.resume)()
        log.call.send(bytes(number * 1_000))
        pipe.settle()
    theirs.call.resume()
    pipe.settle()
    assert [len(m) for m in theirs.messages] == [n * 1_000 for n in range(60)]
    assert pipe.server.gathered == 0 and pipe.server._held == 0


def test_long_deadlines_of_short_calls_are_swept_out() -> None:
    pipe = Pipe()
    pipe.unary("Wait", deadline=3600_000 * MS)
    for number in range(5_000):
        pipe.unary(deadline=3600_000 * MS + number * 20 * MS)
        pipe.settle()
    for side in (pipe.server, pipe.client):
        assert sum(map(len, side.deadlines._calls.values())) <= 1_024
        assert side.next_deadline() is not None, "the one open call was swept out too"
    pipe.server.expire(4000_000 * MS)
    pipe.settle()
    assert pipe.outcomes[-1].status == Status.DEADLINE_EXCEEDED


def test_a_server_can_ask_for_a_sign_of_life_too() -> None:
    pipe = Pipe()
    pongs: list[str] = []
    pipe.server.ping(lambda: pongs.append("alive"))
    pipe.settle()
    assert pongs == ["alive"]
