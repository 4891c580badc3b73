"""Our reading of the .proto texts is protoc's, our numbers are etcd's, and the pool is private."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from ostraka.api import etcd, schema
from ostraka.api.services import METHODS


def test_protoc_reads_the_same_texts_the_same_way(tmp_path: Path) -> None:
    """grpcio-tools' protoc makes the same descriptors, but for the names in JSON, which it leaves out here."""
    folder = str(resources.files("ostraka.api") / "protocols")
    made = tmp_path / "set"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={made}", *schema.FILES]
    subprocess.run(command, check=True, timeout=60)
    theirs = {file.name: file for file in FileDescriptorSet.FromString(made.read_bytes()).file}
    for ours in schema.parse():
        assert ours == without_json_names(theirs[ours.name], ours), f"protoc reads {ours.name} otherwise"


def without_json_names(theirs: FileDescriptorProto, ours: FileDescriptorProto) -> FileDescriptorProto:
    """protoc writes no json_name into a descriptor set when it is not asked to; ours always have it."""
    for their, our in zip(theirs.message_type, ours.message_type, strict=True):
        for field, mine in zip(their.field, our.field, strict=True):
            field.json_name = mine.json_name
    return theirs


def test_json_names_are_those_of_protobuf() -> None:
    """What we write as json_name is what protobuf derives by itself."""
    for name, expected in {"range_end": "rangeEnd", "TTL": "TTL", "peerURLs": "peerURLs", "a__b_": "aB"}.items():
        assert schema.json_name(name) == expected


@pytest.mark.parametrize("generated", ["rpc_pb2", "kv_pb2", "auth_pb2"])
def test_numbers_and_types_are_those_that_a_client_in_the_wild_has(generated: str) -> None:
    """aetcd's generated code, made of etcd's own (older) files: all that it has of our messages, we have the same."""
    file = importlib.import_module(f"aetcd.rpc.{generated}").DESCRIPTOR
    theirs = FileDescriptorProto()
    file.CopyToProto(theirs)
    compared = 0
    for message in theirs.message_type:
        if message.name.startswith("LeaseCheckpoint"):  # Only etcd's members say these to each other.
            continue
        ours = DescriptorProto()
        schema.pool.FindMessageTypeByName(f"{theirs.package}.{message.name}").CopyToProto(ours)
        fields = {field.name: field for field in ours.field}
        for field in message.field:
            ours_as_text, theirs_as_text = describe(fields[field.name]), describe(field)
            assert ours_as_text == theirs_as_text, f"{message.name}.{field.name}"
            compared += 1
        for enum in message.enum_type:
            assert enum in ours.enum_type, f"{message.name}.{enum.name}"
    assert compared > 8


def describe(field: object) -> tuple[object, ...]:
    return tuple(getattr(field, name) for name in ("number", "type", "label", "type_name"))


def test_every_method_has_its_path_classes_and_streams() -> None:
    put = METHODS["/etcdserverpb.KV/Put"]
    assert put.request is etcd.PutRequest and put.response is etcd.PutResponse
    assert not put.client_streaming and not put.server_streaming
    streams = {path: (m.client_streaming, m.server_streaming) for path, m in METHODS.items()}
    assert {path: both for path, both in streams.items() if any(both)} == {
        "/etcdserverpb.Watch/Watch": (True, True),
        "/etcdserverpb.Lease/LeaseKeepAlive": (True, True),
        "/etcdserverpb.Maintenance/Snapshot": (False, True),
        "/v3electionpb.Election/Observe": (False, True),
        "/grpc.health.v1.Health/Watch": (False, True),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": (True, True),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": (True, True),
    }
    assert sum(path.startswith("/etcdserverpb.Auth/") for path in METHODS) == 17
    assert len(METHODS) == 5 + 1 + 5 + 5 + 8 + 17 + 5 + 2 + 2 + 2 + 1


def test_no_name_is_in_two_packages() -> None:
    """`etcd.<name>` is unambiguous."""
    names = [each.name for file in schema.parse() if file.package in schema.PACKAGES for each in file.message_type]
    assert len(names) == len(set(names))
    assert etcd.LockRequest.DESCRIPTOR.full_name == "v3lockpb.LockRequest"
    with pytest.raises(AttributeError, match="PutRequset"):
        etcd.PutRequset  # noqa: B018


@pytest.mark.parametrize(
    "order", [("aetcd.rpc.rpc_pb2", "ostraka.api.services"), ("ostraka.api.services", "aetcd.rpc.rpc_pb2")]
)
def test_a_client_library_lives_in_the_same_process(order: tuple[str, str]) -> None:
    """Both descriptor pools stand side by side, whichever comes first."""
    code = "\n".join(f"import {name}" for name in order) + (
        "\nfrom ostraka.api import etcd\nfrom aetcd.rpc import rpc_pb2\n"
        "theirs = rpc_pb2.PutRequest(key=b'k', value=b'v', lease=7)\n"
        "assert type(theirs) is not etcd.PutRequest\n"
        "assert etcd.PutRequest.FromString(theirs.SerializeToString()).lease == 7\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "text",
    ['syntax = "proto2";', "message A { bytes b = 1 }", "message A { optional bytes b = 1; }", "option x = 1;", "@"],
)
def test_what_lies_outside_the_subset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        schema.Parser("a.proto", text, {})
