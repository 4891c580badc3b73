"""The gRPC services: every method by the path that a client calls it with."""

from __future__ import annotations

from typing import Any

import msgspec

from ostraka.api import schema


class Method(msgspec.Struct, frozen=True):
    """One method. `request` and `response` are message classes: see `FromString` and `SerializeToString`."""

    path: str
    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool


def _methods() -> dict[str, Method]:
    methods = {}
    for name in schema.FILES:
        file = schema.pool.FindFileByName(name)
        for service in file.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                methods[path] = Method(
                    path,
                    schema.message(method.input_type.full_name),
                    schema.message(method.output_type.full_name),
                    method.client_streaming,
                    method.server_streaming,
                )
    return methods


METHODS = _methods()
"""All methods of all services, by path: `METHODS["/etcdserverpb.KV/Put"].request` is `etcd.PutRequest`."""
