"""The JSON gateway on the clients' port, over a scripted group and over services that do what the test says."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from ostraka.api import etcd
from ostraka.errors import NotLeader
from ostraka.server import gateway
from ostraka.server.calls import MAX_UNREAD_IN_ALL
from ostraka.server.gateway import HELD
from ostraka.transport.http2 import ServerCall, Status
from ostraka.transport.http2.server import Route

from .scripted import CLUSTER, ME
from .test_listener import Port, a_port, in_loop

WATCH = "/etcdserverpb.Watch/Watch"


class Http:
    """A client's connection, which is kept from one request to the next."""

    def __init__(self, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.port, self.reader, self.writer = port, reader, writer

    def begin(self, path: str, body: str | bytes | None, headers: str = "", method: str = "POST") -> None:
        """Send a request; without a body it says that chunks will follow."""
        if body is None:
            headers += "transfer-encoding: chunked\r\n"
        else:
            body = body.encode() if isinstance(body, str) else body
            headers += f"content-length: {len(body)}\r\n"
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode() + (body or b""))

    def chunk(self, data: str) -> None:
        self.writer.write(f"{len(data):x}\r\n{data}\r\n".encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines if line)

    async def next_chunk(self) -> str:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2].decode()

    async def line(self) -> str:
        """The next line of a stream."""
        text = ""
        while not text.endswith("\n"):
            text += await self.next_chunk()
        return text

    async def rest(self) -> str:
        text = ""
        while part := await self.next_chunk():
            text += part
        return text

    async def answer(self) -> tuple[int, str]:
        """Status and body."""
        status, headers = await self.head()
        if "content-length" in headers:
            return status, (await self.reader.readexactly(int(headers["content-length"]))).decode()
        return status, await self.rest()

    async def post(self, path: str, body: str | bytes | dict, headers: str = "") -> tuple[int, str]:
        self.begin(path, json.dumps(body) if isinstance(body, dict) else body, headers)
        world = self.port.world
        asked = asyncio.ensure_future(self.answer())
        while not asked.done():
            world.group.decide()
            await asyncio.sleep(0)
        return await asked


async def http(port: Port) -> Http:
    return Http(port, *await port.open())


@in_loop
async def test_a_put_and_a_range():
    async with a_port() as port:
        client = await http(port)
        status, text = await client.post("/v3/kv/put", {"key": "aw==", "value": "dg==", "nonsense": 1})
        header = f'"cluster_id":"{CLUSTER}","member_id":"{ME}","revision":"2","raft_term":"3"'
        assert (status, text) == (200, f'{{"header":{{{header}}}}}')
        for path in ("/v3/kv/range", "/v3beta/kv/range", "/v3alpha/kv/range"):
            status, text = await client.post(path, {"key": "aw==", "limit": "5"})
            kv = {"key": "aw==", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "dg=="}
            assert (status, json.loads(text)["kvs"], json.loads(text)["count"]) == (200, [kv], "1")


@in_loop
async def test_plain_text_is_for_people():
    async with a_port() as port:
        client = await http(port)
        assert (await client.post("/v3/kv/put?utf8=1", {"key": "schlüssel", "value": "\udcff"}))[0] == 200
        _, text = await client.post("/v3/kv/range?utf8=1", {"key": "schlüssel"})
        assert '"key":"schlüssel"' in text and '"value":"\\udcff"' in text
        _, text = await client.post("/v3/kv/range", {"key": base64.b64encode("schlüssel".encode()).decode()})
        assert json.loads(text)["kvs"][0]["value"] == base64.b64encode(b"\xff").decode()


@in_loop
async def test_an_empty_body_is_an_empty_request():
    async with a_port() as port:
        client = await http(port)
        for body in ("", "{}", " \n"):
            assert (await client.post("/v3/cluster/member/list", body))[0] == 200
            status, text = await client.post("/v3/kv/put", body)
            said = "etcdserver: key is not provided"
            assert (status, json.loads(text)) == (400, {"error": said, "code": 3, "message": said})


@in_loop
async def test_what_we_add_to_etcds_text_comes_as_details():
    async with a_port() as port:
        client = await http(port)
        status, text = await client.post(
            "/v3/kv/put", {"key": "aw==", "value": base64.b64encode(bytes(1_572_864)).decode()}
        )
        assert status == 400 and "at most 1572864 are allowed" in json.loads(text)["details"][0]


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ("GET /v3/kv/put", 405, "Method Not Allowed\n"),
        ("DELETE /v3/kv/put", 405, "Method Not Allowed\n"),
        ("OPTIONS /v3/kv/put", 200, ""),
        ("POST /v3/kv/nothing", 404, "Not Found\n"),
        ("POST /v3/kv/put/", 404, "Not Found\n"),
        ("POST /v4/kv/put", 404, "404 page not found\n"),
    ],
)
@in_loop
async def test_methods_and_paths(request_, status, text):
    async with a_port() as port:
        found, headers, body = await port.http(request_)
        assert found == status and (text in body if text else not body)
        assert ("allow" in headers) == (" /v3/kv/put" in request_ and not request_.endswith("/"))


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ("grpc-timeout: x\r\n", 400, "invalid grpc-timeout: x"),
        ("grpc-metadata-te: x\r\n", 400, "'te' can't be a metadata key"),
        ("origin: http://evil.example\r\n", 403, "a page of http://evil.example may not call"),
        ("origin: http://x\r\n", 200, "header"),
        ("grpc-metadata-hasleader: true\r\n", 503, "etcdserver: no leader"),
    ],
)
@in_loop
async def test_headers(headers, status, text):
    async with a_port() as port:
        if "hasleader" in headers:
            port.world.group.leader = 0
        found, body = await (await http(port)).post("/v3/kv/range", {"key": "aw=="}, headers)
        assert found == status and text in body


@in_loop
async def test_a_token_and_a_deadline_reach_the_service():
    async with a_port() as port:
        calls: list[ServerCall] = []
        port.world.router.routes["/etcdserverpb.KV/Range"] = Route(lambda call, message: calls.append(call), None)
        client = await http(port)
        client.begin("/v3/kv/range", "{}", "authorization: secret\r\ngrpc-timeout: 10m\r\n")
        await port.until(lambda: calls)
        assert calls[0].metadata["token"] == "secret" and calls[0].deadline is not None
        status, text = await client.answer()
        assert (status, json.loads(text)["code"]) == (504, Status.DEADLINE_EXCEEDED)
        assert calls[0].over


@in_loop
async def test_who_hangs_up_ends_the_call():
    async with a_port() as port:
        calls: list[ServerCall] = []
        port.world.router.routes["/v3lockpb.Lock/Lock"] = Route(lambda call, message: calls.append(call), None)
        client = await http(port)
        client.begin("/v3/lock/lock", "{}")
        await port.until(lambda: calls)
        assert not calls[0].over
        client.writer.close()
        await port.until(lambda: calls[0].cancelled)
        await port.until(lambda: not port.listener.front._gateway.exchanges)


@in_loop
async def test_requests_on_one_connection_follow_each_other():
    async with a_port() as port:
        client = await http(port)
        for number in range(40):
            assert (await client.post("/v3/kv/put?utf8=1", {"key": f"k{number}"}))[0] == 200
        status, text = await client.post("/v3/kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True})
        assert (status, json.loads(text)["count"]) == (200, "40")
        assert len(port.listener.front._gateway._idle) == 1


@in_loop
async def test_a_long_reply_comes_in_pieces():
    async with a_port() as port:
        client = await http(port)
        for number in range(4):
            await client.post("/v3/kv/put?utf8=1", {"key": f"k{number}", "value": "x" * 300_000})
        client.begin("/v3/kv/range?utf8=1", '{"key": "k", "range_end": "l"}')
        asked = asyncio.ensure_future(client.answer())
        while not asked.done():
            port.world.group.decide()
            await asyncio.sleep(0)
        status, text = await asked
        assert status == 200 and [len(kv["value"]) for kv in json.loads(text)["kvs"]] == [300_000] * 4


@in_loop
async def test_a_long_reply_is_written_no_faster_than_it_is_read():
    async with a_port() as port:
        port.world.decided("/etcdserverpb.KV/Put", etcd.PutRequest(key=b"k", value=bytes(1_000_000)))
        deep = {"request_range": {"key": "aw==", "serializable": True}}
        client = await http(port)
        client.reader._transport.pause_reading()
        client.begin("/v3/kv/txn", json.dumps({"success": [deep] * 20}))
        here = port.listener.front._gateway
        await port.until(lambda: here.unread > 20_000_000)
        for _ in range(300):
            await asyncio.sleep(0)
        assert here.unread > 20_000_000, "what nobody has read is forgotten in the count"
        [protocol] = port.listener.front._state.connections
        assert protocol.transport.get_write_buffer_size() < 4 << 20
        client.reader._transport.resume_reading()
        status, text = await client.answer()
        assert status == 200 and len(text) > 26_000_000 and here.unread == 0


@in_loop
async def test_too_large_bodies_are_refused_before_they_are_whole(monkeypatch):
    async with a_port() as port:
        client = await http(port)
        client.begin("/v3/kv/put", b"{" + b" " * 4_300_000)
        status, text = await client.answer()
        assert status == 429 and "grpc: received message larger than max" in text
        monkeypatch.setattr(gateway, "GATHERED", 10)
        status, text = await (await http(port)).post("/v3/kv/put", '{"key":"aw=="}')
        assert status == 429 and "too many requests" in text
        assert port.listener.front._gateway.gathered == 0


@in_loop
async def test_a_body_that_does_not_come_holds_no_place_for_ever(monkeypatch):
    monkeypatch.setattr(gateway, "BODY_TIME", 0.01)
    async with a_port() as port:
        for path in ("/v3/kv/put", "/v3/watch"):
            client = await http(port)
            client.begin(path, None)
            client.chunk('{"key":')
            status, text = await client.answer()
            assert status == 504 and "did not come within" in text


@in_loop
async def test_without_a_leader_the_error_is_etcds():
    async with a_port() as port:
        client = await http(port)
        client.begin("/v3/kv/put", '{"key":"aw=="}')
        await port.until(lambda: port.world.group.proposed)
        port.world.group.refuse(NotLeader("nobody"))
        status, text = await client.answer()
        assert (status, json.loads(text)) == (
            503,
            {"error": "etcdserver: no leader", "code": 14, "message": "etcdserver: no leader"},
        )


class Echo:
    """A stream that gives the test its call, and keeps what it is told."""

    def __init__(self) -> None:
        self.call: ServerCall
        self.asked: list = []
        self.half_closed = self.cancelled = False

    def open(self, call: ServerCall) -> Echo:
        self.call = call
        return self

    def on_message(self, message: bytes) -> None:
        self.asked.append(etcd.WatchRequest.FromString(message))

    def on_half_close(self) -> None:
        self.half_closed = True

    def on_cancel(self) -> None:
        self.cancelled = True

    def on_drained(self) -> None:
        pass

    def say(self, **fields: object) -> None:
        self.call.send(etcd.WatchResponse(**fields).SerializeToString())


def echo_in(port: Port) -> Echo:
    echo = Echo()
    port.world.router.routes[WATCH] = Route(None, echo.open)
    return echo


@in_loop
async def test_a_stream_takes_and_gives_objects_as_they_come():
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.begin("/v3/watch?utf8=1", None)
        client.chunk('{"create_request": {"key": "a{\\"}"}} {"cancel_')
        await port.until(lambda: len(echo.asked) == 1)
        assert echo.asked[0].create_request.key == b'a{"}'
        echo.say(created=True)
        assert (await client.head())[0] == 200
        assert await client.line() == '{"result":{"created":true}}\n'
        client.chunk('request": {"watch_id": 7}}')
        await port.until(lambda: len(echo.asked) == 2)
        assert echo.asked[1].cancel_request.watch_id == 7 and not echo.half_closed
        echo.say(watch_id=7, canceled=True)
        assert await client.line() == '{"result":{"watch_id":"7","canceled":true}}\n'
        client.chunk("")
        await port.until(lambda: echo.half_closed)
        assert not echo.cancelled  # As in etcd: a watch goes on when its requests have ended.
        echo.say(watch_id=8)
        assert await client.line() == '{"result":{"watch_id":"8"}}\n'
        echo.call.finish()
        assert await client.rest() == ""
        assert (await client.post("/v3/kv/range", {"key": "aw=="}))[0] == 200  # The connection is still good.


@in_loop
async def test_each_message_of_a_stream_is_one_chunk():
    """etcd3gw parses chunks, not lines."""
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.begin("/v3/watch", '{"create_request": {}}')
        await port.until(lambda: echo.asked)
        events = [etcd.Event(kv=etcd.KeyValue(key=b"k%d" % number, value=bytes(1000))) for number in range(200)]
        for count in (1, 200):
            echo.say(events=events[:count])
        await client.head()
        for count in (1, 200):
            assert len(json.loads(await client.next_chunk())["result"]["events"]) == count


@in_loop
async def test_a_stream_that_ends_badly_says_so():
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        for already in (0, 1):
            client.begin("/v3/watch", '{"create_request": {}}{"progress_request": {}}')
            await port.until(lambda: len(echo.asked) == 2)
            for _ in range(already):
                echo.say(created=True)
            echo.call.fail(Status.UNAVAILABLE, "etcdserver: no leader")
            status, text = await client.answer()
            assert status == (200 if already else 503)
            last = json.loads(text.splitlines()[-1])["error"]
            assert last == {
                "grpc_code": 14,
                "http_code": 503,
                "message": "etcdserver: no leader",
                "http_status": "Service Unavailable",
            }
            echo.asked.clear()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("garbage", "an object must begin where the body says b'garbage'"),
        ("", "no whole one"),
        ('{"create_request":', "no whole one"),
        ("[]", "an object must begin where"),
        ('{"create_request": 5}', "WatchRequest.create_request must be an object"),
        ('{"create_request": {}} garbage', "an object must begin where the body says b'garbage'"),
        ('{"create_request": {}}{"cancel_request": 5}', "WatchRequest.cancel_request must be an object"),
    ],
)
@in_loop
async def test_a_wrong_object_ends_a_stream(body, said):
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.begin("/v3/watch", None)
        for at in range(0, len(body), 7):
            client.chunk(body[at : at + 7])
        client.chunk("")
        status, text = await client.answer()
        assert status == 400 and said in text
        if echo.asked:
            await port.until(lambda: echo.cancelled)


@in_loop
async def test_who_reads_slowly_is_waited_for_by_the_service():
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.reader._transport.pause_reading()
        client.begin("/v3/watch", '{"create_request": {}}')
        await port.until(lambda: echo.asked)
        sent = 0
        while not echo.call.unsent and sent < 60_000_000:
            echo.say(cancel_reason="x" * 100_000)
            sent += 100_000
            for _ in range(20):
                await asyncio.sleep(0)
        assert echo.call.unsent, "what a slow reader leaves piles up here without end"
        here = port.listener.front._gateway
        assert HELD < here.unread < HELD + (4 << 20)
        port.world.member.unread.total = 1
        await port.until(lambda: port.world.member.unread.total > HELD)  # Slow readers count among all others.
        port.world.member.unread.total = MAX_UNREAD_IN_ALL
        client.reader._transport.resume_reading()
        await client.head()
        while sent:
            sent -= len(json.loads(await client.line())["result"]["cancel_reason"])
        assert here.unread == 0


@in_loop
async def test_who_sends_without_reading_is_waited_for():
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.begin("/v3/watch", None)
        client.chunk('{"create_request": {}}')
        await port.until(lambda: echo.asked)
        echo.call.pause()
        line = '{"create_request": {"key": "' + "a" * 1_000_000 + '"}}'
        for _ in range(10):
            client.chunk(line)
        exchange = next(iter(port.listener.front._gateway.exchanges))
        await port.until(lambda: exchange._call.unsent)
        for _ in range(100):
            await asyncio.sleep(0)
        assert exchange._call.unsent < 2_000_000
        echo.call.resume()
        await port.until(lambda: len(echo.asked) == 11)


@in_loop
async def test_stopping_ends_streams():
    async with a_port() as port:
        echo, client = echo_in(port), await http(port)
        client.begin("/v3/watch", '{"create_request": {}}')
        await port.until(lambda: echo.asked)
        echo.say(created=True)
        await client.head()
        await port.listener.stop()
        text = await client.rest()
        assert "the server is stopping" in text and echo.cancelled
