"""Our `.proto` texts, read at import into a descriptor pool of our own.

The default pool of `google.protobuf` allows each name once in a process: an application that also imports a client
generated from etcd's own files would fail. A private pool never clashes, and needs no generated code in this package.

The texts use the part of proto3 that etcd's messages need: package, import, message, enum, oneof, repeated, service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

FILES = (
    "kv.proto",
    "auth.proto",
    "rpc.proto",
    "election.proto",
    "lock.proto",
    "health.proto",
    "reflection_v1.proto",
    "reflection_v1alpha.proto",
    "sessions.proto",
)
"""In an order in which each comes after those it imports."""

PACKAGES = ("etcdserverpb", "mvccpb", "authpb", "v3electionpb", "v3lockpb", "grpc.health.v1", "ostraka.v1")

_TOKEN = re.compile(r'//[^\n]*|("[^"]*"|[\w.]+|[{}()=;])|\s+|(.)')
_OPTIONAL, _REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "int32", "int64", "string", "uint32", "uint64")
}


def tokens(text: str) -> Iterator[str]:
    """The words and signs of a proto text, without comments. Raises ValueError for any other character."""
    for match in _TOKEN.finditer(text):
        if match[2]:
            raise ValueError(f"unexpected {match[2]!r} at offset {match.start()} of a .proto text")
        if match[1]:
            yield match[1]


class Parser:
    """Reads one text. `known` maps the full names declared so far to whether they are enums."""

    def __init__(self, name: str, text: str, known: dict[str, bool]) -> None:
        self.file = FileDescriptorProto(name=name)
        self.known = known
        self.next = tokens(text).__next__
        self.unresolved: list[tuple[str, FieldDescriptorProto]] = []
        self.read()
        for scope, field in self.unresolved:
            field.type_name = self.resolve(scope, field.type_name)
            field.type = FieldDescriptorProto.TYPE_ENUM if known[field.type_name] else FieldDescriptorProto.TYPE_MESSAGE

    def expect(self, *wanted: str) -> None:
        for word in wanted:
            if (found := self.next()) != word:
                raise ValueError(f"{self.file.name}: {word!r} expected, {found!r} found")

    def read(self) -> None:
        while True:
            try:
                word = self.next()
            except StopIteration:
                return
            match word:
                case "syntax":
                    self.expect("=", '"proto3"', ";")
                    self.file.syntax = "proto3"
                case "package":
                    self.file.package = self.next()
                    self.expect(";")
                case "import":
                    self.file.dependency.append(self.next().strip('"'))
                    self.expect(";")
                case "message":
                    self.message(self.file.message_type.add(), f".{self.file.package}")
                case "enum":
                    self.enum(self.file.enum_type.add(), f".{self.file.package}")
                case "service":
                    self.service(self.file.service.add())
                case _:
                    raise ValueError(f"{self.file.name}: unexpected {word!r}")

    def message(self, message: DescriptorProto, scope: str) -> None:
        message.name = self.next()
        scope = f"{scope}.{message.name}"
        self.known[scope] = False
        self.expect("{")
        while (word := self.next()) != "}":
            match word:
                case "enum":
                    self.enum(message.enum_type.add(), scope)
                case "oneof":
                    message.oneof_decl.add(name=self.next())
                    self.expect("{")
                    while (kind := self.next()) != "}":
                        self.field(message, scope, kind, _OPTIONAL).oneof_index = len(message.oneof_decl) - 1
                case "repeated":
                    self.field(message, scope, self.next(), _REPEATED)
                case _:
                    self.field(message, scope, word, _OPTIONAL)

    def field(self, message: DescriptorProto, scope: str, kind: str, label: Any) -> FieldDescriptorProto:
        name = self.next()
        self.expect("=")
        field = message.field.add(name=name, number=int(self.next()), label=label, json_name=json_name(name))
        self.expect(";")
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type_name = kind
            self.unresolved.append((scope, field))
        return field

    def enum(self, enum: EnumDescriptorProto, scope: str) -> None:
        enum.name = self.next()
        self.known[f"{scope}.{enum.name}"] = True
        self.expect("{")
        while (name := self.next()) != "}":
            self.expect("=")
            enum.value.add(name=name, number=int(self.next()))
            self.expect(";")

    def service(self, service: ServiceDescriptorProto) -> None:
        service.name = self.next()
        self.expect("{")
        while (word := self.next()) != "}":
            if word != "rpc":
                raise ValueError(f"{self.file.name}: 'rpc' expected, {word!r} found")
            method = service.method.add(name=self.next())
            self.expect("(")
            if (kind := self.next()) == "stream":
                method.client_streaming, kind = True, self.next()
            method.input_type = self.resolve(f".{self.file.package}", kind)
            self.expect(")", "returns", "(")
            if (kind := self.next()) == "stream":
                method.server_streaming, kind = True, self.next()
            method.output_type = self.resolve(f".{self.file.package}", kind)
            self.expect(")", ";")

    def resolve(self, scope: str, name: str) -> str:
        """The full name of a type: searched for from the inside to the outside. A service may come before its types."""
        while scope:
            if f"{scope}.{name}" in self.known:
                return f"{scope}.{name}"
            scope = scope.rpartition(".")[0]
        return f".{name}" if "." in name else f".{self.file.package}.{name}"


def json_name(name: str) -> str:
    """What protoc makes of a field's name for JSON."""
    return re.sub("_+(.?)", lambda match: match[1].upper(), name)


def parse() -> list[FileDescriptorProto]:
    """The descriptors of all our files, in the order of `FILES`."""
    known: dict[str, bool] = {}
    folder = resources.files("ostraka.api") / "protocols"
    return [Parser(name, (folder / name).read_text(encoding="utf-8"), known).file for name in FILES]


def _filled() -> DescriptorPool:
    pool = DescriptorPool()
    for file in parse():
        pool.AddSerializedFile(file.SerializeToString())
    return pool


pool = _filled()
"""Our own: no other library sees it, and it sees none of theirs."""


@cache
def message(name: str) -> Any:
    """The class of a message by its full name. Raises KeyError if there is none."""
    return GetMessageClass(pool.FindMessageTypeByName(name))
