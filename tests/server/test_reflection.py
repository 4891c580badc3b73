"""Reflection and the health service under gRPC's own clients, and on what they never send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ostraka.api import etcd, schema
from ostraka.api.services import METHODS
from ostraka.server.reflection import VERSIONS

from .scripted import World
from .test_listener import a_port, in_loop


async def with_grpc(talk: Callable[[grpc.Channel], None]) -> None:
    """Let gRPC's own client talk to a server in this process."""
    async with a_port() as port:

        def run() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{port.address[1]}") as channel:
                talk(channel)

        await asyncio.to_thread(run)


@in_loop
async def test_grpcs_own_client_finds_every_service_and_its_messages():
    def talk(channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = {path.split("/")[1] for path in METHODS}
        assert set(database.get_services()) == names
        pool = DescriptorPool(database)
        for path, method in METHODS.items():
            if "reflection" not in path:
                service, name = path[1:].split("/")
                found = pool.FindServiceByName(service).methods_by_name[name]
                assert found.input_type.full_name == method.request.DESCRIPTOR.full_name
        assert pool.FindEnumTypeByName("etcdserverpb.RangeRequest.SortOrder").values_by_name["DESCEND"].number == 2

    await with_grpc(talk)


@in_loop
async def test_health_is_checked_and_watched():
    def talk(channel: grpc.Channel) -> None:
        stub = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert stub.Check(health_pb2.HealthCheckRequest()).status == serving
        for service, status in (("", serving), ("nobody", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)):
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=service))
            assert next(watch).status == status
            watch.cancel()

    await with_grpc(talk)


def test_who_watches_hears_that_a_member_stops():
    world = World()
    watched = world.stream("/grpc.health.v1.Health/Watch", etcd.HealthCheckRequest())
    other = world.stream("/grpc.health.v1.Health/Watch", etcd.HealthCheckRequest(service="nobody"))
    gone = world.stream("/grpc.health.v1.Health/Watch", etcd.HealthCheckRequest())
    gone.call.cancel()
    world.deliver()
    world.member.stop()
    world.deliver()
    kinds = etcd.HealthCheckResponse
    assert [each.status for each in watched.heard] == [kinds.SERVING, kinds.NOT_SERVING] and watched.outcome.status == 0
    assert [each.status for each in other.heard] == [kinds.SERVICE_UNKNOWN] and other.outcome is None
    assert [each.status for each in gone.heard] == [kinds.SERVING]


class Questions:
    """A reflection stream over a world in memory."""

    def __init__(self, version: str) -> None:
        self.world = World()
        self.method = METHODS[f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"]
        self.responses: list = []
        self.ended = False
        self.call = self.world.client.stream(self.method.path, self, 0)

    def on_message(self, message: bytes) -> None:
        self.responses.append(self.method.response.FromString(message))

    def on_end(self, outcome) -> None:
        self.ended = True
        self.outcome = outcome

    def on_drained(self) -> None:
        pass

    def ask(self, **fields: object) -> object:
        self.call.send(self.method.request(host="h", **fields).SerializeToString())
        self.world.deliver()
        return self.responses[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_request_has_its_response(version):
    questions = Questions(version)
    for symbol in (
        "etcdserverpb.KV",
        "etcdserverpb.KV.Put",
        "etcdserverpb.RangeRequest",
        "etcdserverpb.RangeRequest.key",
    ):
        response = questions.ask(file_containing_symbol=symbol)
        files = response.file_descriptor_response.file_descriptor_proto
        assert files[0] == schema.pool.FindFileByName("rpc.proto").serialized_pb and len(files) == 3
        assert response.valid_host == "h" and response.original_request.file_containing_symbol == symbol
    assert len(questions.ask(file_by_filename="kv.proto").file_descriptor_response.file_descriptor_proto) == 1
    numbers = questions.ask(all_extension_numbers_of_type="mvccpb.KeyValue").all_extension_numbers_response
    assert numbers.base_type_name == "mvccpb.KeyValue" and not numbers.extension_number
    for fields in (
        {"file_containing_symbol": "etcdserverpb.KV.Nothing"},
        {"file_by_filename": "none.proto"},
        {"all_extension_numbers_of_type": "none"},
        {"file_containing_extension": {"containing_type": "mvccpb.KeyValue", "extension_number": 3}},
    ):
        assert questions.ask(**fields).error_response.error_code == 5
    assert questions.ask().error_response.error_code == 3
    questions.call.half_close()
    questions.world.deliver()
    assert questions.ended and questions.outcome.status == 0
    assert questions.world.member.tallies[questions.method.path].handled[0] == 1


def test_what_is_no_request_ends_the_stream():
    questions = Questions("v1")
    questions.call.send(b"\xff")
    questions.world.deliver()
    assert questions.outcome.status == 13 and "unmarshalling" in questions.outcome.message


def test_who_asks_without_reading_is_not_listened_to():
    questions = Questions("v1")
    questions.call.pause()
    for _ in range(3000):
        questions.call.send(questions.method.request(file_by_filename="rpc.proto").SerializeToString())
    questions.world.deliver()
    [served] = questions.world.server.streams.values()
    assert 0 < served.unsent < 100_000
    questions.call.resume()
    questions.world.deliver()
    assert len(questions.responses) == 3000
