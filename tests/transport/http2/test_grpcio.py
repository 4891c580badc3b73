"""Our two sides against grpc's own, over real sockets: what is agreed on here is not only agreed with ourselves."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from ostraka.transport.http2 import ClientConnection, Outcome, ServerConnection, Status

from .wire import Log, Service

SOON = 20.0
"""Seconds after which something hangs. Nothing here waits that long if all is well."""

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Socket(asyncio.Protocol):
    """The smallest shell: feeds what arrives, writes once a turn, keeps the deadlines."""

    def __init__(self, make: Callable[[Callable[[], None]], Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self.transport: Any = None
        self.made = make

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connection = self.made(self.wake)

    def wake(self) -> None:
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.transport.write(self.connection.take())
        if self.connection.closed:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.connection.feed(data, time.monotonic_ns())
        self.look_at_the_clock()

    def look_at_the_clock(self) -> None:
        deadline = self.connection.next_deadline()
        if deadline is not None and self.timer is None:
            wait = max(deadline - time.monotonic_ns(), 0) / 1e9
            self.timer = self.loop.call_later(wait + 0.001, self.expire)

    def expire(self) -> None:
        self.timer = None
        self.connection.expire(time.monotonic_ns())
        self.look_at_the_clock()

    def pause_writing(self) -> None:
        self.transport.pause_reading()
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.transport.resume_reading()
        self.connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.connection.lost(str(error or "closed"))
        if self.timer is not None:
            self.timer.cancel()


class Loop:
    """A loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.open: list[Any] = []

    def run(self, function: Callable[[], Any]) -> Any:
        """Call on the loop, and wait for what it returns."""
        done: Future[Any] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except Exception as error:  # noqa: BLE001  It is raised again where the call was made.
                done.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        return done.result(SOON)

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SOON)

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is true on the loop."""

        async def look() -> None:
            while not reached():
                await asyncio.sleep(0.001)

        self.wait(asyncio.wait_for(look(), SOON))

    def stop(self) -> None:
        def close() -> None:
            for each in self.open:
                each.close()

        self.run(close)
        self.wait(asyncio.sleep(0.01))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SOON)
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def service() -> Service:
    """With a stream that sends back what it gets, and one that counts."""
    service = Service()

    class Echo(Log):
        def on_message(self, content: bytes) -> None:
            super().on_message(content)
            self.call.send(content)

        def on_half_close(self) -> None:
            self.call.finish(Status.OK, "", [("count", str(len(self.messages)))])

    def count(call: Any) -> Log:
        class Count(Log):
            def on_message(self, content: bytes) -> None:
                for number in range(int(content)):
                    self.call.send(b"%d" % number)
                self.call.finish()

        return Count(call)

    service.router.stream("/test.Service/EchoAll", Echo)
    service.router.stream("/test.Service/Count", count)
    return service


@pytest.fixture
def channel(loop: Loop, service: Service) -> Iterator[grpc.Channel]:
    """grpc's client, connected to our server."""
    made: list[Socket] = []

    def protocol() -> Socket:
        made.append(Socket(lambda wake: ServerConnection(service.router, wake, time.monotonic_ns())))
        return made[-1]

    server = loop.wait(loop.loop.create_server(protocol, "127.0.0.1", 0))
    loop.open.append(server)
    port = server.sockets[0].getsockname()[1]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
        yield channel
    loop.until(lambda: all(socket.connection.closed for socket in made))


def fails(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_their_unary_calls(channel: grpc.Channel) -> None:
    echo = channel.unary_unary("/test.Service/Echo")
    for size in (0, 1, 16_379, 16_380, 100_000, 2_000_000):
        assert echo(b"x" * size, timeout=SOON) == b"x" * size


def test_their_calls_on_many_threads(channel: grpc.Channel) -> None:
    echo = channel.unary_unary("/test.Service/Echo")
    with ThreadPoolExecutor(16) as pool:
        texts = [b"%d" % n for n in range(500)]
        assert list(pool.map(lambda text: echo(text, timeout=SOON), texts)) == texts


def test_their_streams(channel: grpc.Channel) -> None:
    sent = [b"a", b"", b"b" * 100_000, b"c" * 2_000_000, b"d"]
    call = channel.stream_stream("/test.Service/EchoAll")(iter(sent), timeout=SOON)
    assert list(call) == sent
    assert dict(call.trailing_metadata())["count"] == "5"
    counted = channel.unary_stream("/test.Service/Count")(b"3000", timeout=SOON)
    assert [int(each) for each in counted] == list(range(3000))


def test_their_errors_metadata_and_limits(channel: grpc.Channel, service: Service, loop: Loop) -> None:
    error = fails(lambda: channel.unary_unary("/test.Service/No")(b"", timeout=SOON))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown method No for service test.Service",
    )
    error = fails(lambda: channel.unary_unary("/test.Service/Echo")(bytes(3_000_000), timeout=SOON))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "grpc: received message larger than max (3000000 vs. 2097152)"
    future = channel.unary_unary("/test.Service/Wait").future(
        b"", timeout=SOON, metadata=[("token", "t"), ("x-bin", b"\x00\x01")]
    )
    loop.until(lambda: bool(service.calls))
    call = service.calls[0]
    assert call.metadata["token"] == "t" and call.metadata["x-bin"].rstrip("=") == "AAE"
    assert call.deadline is not None and "grpc-python" in call.metadata["user-agent"]
    loop.run(lambda: call.fail(Status.ABORTED, "nö%\n", [("why", "because"), ("y-bin", "AAE")]))
    error = fails(lambda: future.result(SOON))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "nö%\n")
    assert dict(error.trailing_metadata()) == {"why": "because", "y-bin": b"\x00\x01"}


def test_their_deadline_and_cancellation(channel: grpc.Channel, service: Service, loop: Loop) -> None:
    wait = channel.unary_unary("/test.Service/Wait")
    assert fails(lambda: wait(b"", timeout=0.05)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    loop.until(lambda: len(service.cancelled) == 1)
    future = wait.future(b"", timeout=SOON)
    loop.until(lambda: len(service.calls) == 2)
    future.cancel()
    loop.until(lambda: len(service.cancelled) == 2)
    assert channel.unary_unary("/test.Service/Echo")(b"on", timeout=SOON) == b"on"


@pytest.fixture
def ours(loop: Loop) -> Iterator[Socket]:
    """Our client, connected to grpc's server."""

    def echo(content: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        context.set_trailing_metadata([("seen", metadata.get("token", "nothing"))])
        return content

    def fail(content: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "nö%\n")
        raise AssertionError("abort raises")

    let_go = threading.Event()

    def wait(content: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(let_go.set)
        let_go.wait(SOON)
        return b""

    def echo_all(contents: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from contents

    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "EchoAll": grpc.stream_stream_rpc_method_handler(echo_all),
    }
    server = grpc.server(ThreadPoolExecutor(4), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def protocol() -> Socket:
        return Socket(lambda wake: ClientConnection(f"127.0.0.1:{port}", wake, time.monotonic_ns()))

    _, made = loop.wait(loop.loop.create_connection(protocol, "127.0.0.1", port, family=socket.AF_INET))
    yield made
    loop.run(made.connection.shutdown)
    loop.run(made.flush)
    loop.until(lambda: made.connection.closed)
    server.stop(0).wait(SOON)


def ask(loop: Loop, ours: Socket, method: str, content: bytes = b"", seconds: float = SOON, **more: Any) -> Outcome:
    """One unary call of ours."""
    outcomes: list[Outcome] = []

    def call() -> None:
        now = time.monotonic_ns()
        ours.connection.unary(
            f"/test.Service/{method}", content, outcomes.append, now, now + int(seconds * 1e9), **more
        )
        ours.look_at_the_clock()

    loop.run(call)
    loop.until(lambda: bool(outcomes))
    return outcomes[0]


def test_our_unary_calls(loop: Loop, ours: Socket) -> None:
    for size in (0, 1, 16_379, 16_380, 100_000, 5_000_000):
        outcome = ask(loop, ours, "Echo", b"x" * size, metadata=[("token", "t")])
        assert (outcome.status, len(outcome.body), outcome.trailers.get("seen")) == (Status.OK, size, "t"), (
            outcome.message
        )


def test_our_errors(loop: Loop, ours: Socket) -> None:
    outcome = ask(loop, ours, "Fail")
    assert (outcome.status, outcome.message, outcome.answered) == (Status.NOT_FOUND, "nö%\n", True)
    assert ask(loop, ours, "No").status == Status.UNIMPLEMENTED
    outcome = ask(loop, ours, "Wait", seconds=0.05)
    assert outcome.status == Status.DEADLINE_EXCEEDED
    assert ask(loop, ours, "Echo", b"on").body == b"on"


def test_our_stream(loop: Loop, ours: Socket) -> None:
    log = Log()
    sent = [b"a", b"", b"b" * 100_000, b"c" * 3_000_000, b"d"]

    def call() -> None:
        log.call = ours.connection.stream("/test.Service/EchoAll", log, time.monotonic_ns())
        for each in sent:
            log.call.send(each)
        log.call.half_close()

    loop.run(call)
    loop.until(lambda: log.outcome is not None)
    assert log.outcome is not None and log.outcome.status == Status.OK, log.outcome
    assert [len(each) for each in log.messages] == [len(each) for each in sent] and log.messages == sent


def test_our_ping(loop: Loop, ours: Socket) -> None:
    pongs: list[str] = []
    loop.run(lambda: ours.connection.ping(lambda: pongs.append("alive")))
    loop.until(lambda: bool(pongs))
