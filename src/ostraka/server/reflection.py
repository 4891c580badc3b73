"""gRPC's reflection: which services there are, and the descriptors of their files, for tools such as grpcurl."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from ostraka.api import schema
from ostraka.api.services import METHODS
from ostraka.server.calls import Tally, malformed, refuse
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import Router, ServerCall

VERSIONS: Final = ("v1", "v1alpha")


class Reflection:
    """The handlers of one member."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member

    def register(self, router: Router) -> None:
        for version in VERSIONS:
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            tally = self.member.tally(path)
            router.stream(path, lambda call, tally=tally: _Questions(call, tally))  # type: ignore[misc]


class _Questions:
    """One stream: each request has its response."""

    def __init__(self, call: ServerCall, tally: Tally) -> None:
        self._call: Final = call
        self._tally: Final = tally
        self._method: Final = METHODS[call.path]
        tally.started += 1

    def on_message(self, message: bytes) -> None:
        try:
            ask = self._method.request.FromString(message)
        except DecodeError as error:
            refuse(self._call, self._tally, malformed(error))
            return
        response = self._method.response(valid_host=ask.host, original_request=ask)
        _answer(response, ask)
        self._call.send(response.SerializeToString())
        if self._call.unsent:
            self._call.pause()  # Who asks without reading is not listened to.

    def on_half_close(self) -> None:
        self._tally.handled[Status.OK] += 1
        self._call.finish()

    def on_cancel(self) -> None:
        self._tally.handled[Status.CANCELLED] += 1

    def on_drained(self) -> None:
        self._call.resume()


def _answer(response: Any, ask: Any) -> None:
    kind = ask.WhichOneof("message_request")
    try:
        match kind:
            case "list_services":
                for name in sorted({path.split("/")[1] for path in METHODS}):
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _put_files(response, schema.pool.FindFileByName(ask.file_by_filename))
            case "file_containing_symbol":
                _put_files(response, _file_of(ask.file_containing_symbol))
            case "all_extension_numbers_of_type":
                name = ask.all_extension_numbers_of_type
                schema.pool.FindMessageTypeByName(name)
                response.all_extension_numbers_response.base_type_name = name  # proto3 has no extensions.
            case _:
                raise KeyError
    except KeyError:
        error = response.error_response
        error.error_code = Status.NOT_FOUND if kind else Status.INVALID_ARGUMENT
        error.error_message = f"{getattr(ask, kind)} is not known here" if kind else "the request asks for nothing"


def _file_of(symbol: str) -> Any:
    """The file that declares a service, a method, a message, a field or an enumeration. Raises KeyError."""
    try:
        return schema.pool.FindFileContainingSymbol(symbol)
    except KeyError:
        within, _, last = symbol.rpartition(".")
        found = schema.pool.FindFileContainingSymbol(within)  # A method is found by its service.
        service = found.services_by_name.get(within.rpartition(".")[2])
        if service is None or last not in service.methods_by_name:
            raise
        return found


def _put_files(response: Any, file: Any) -> None:
    """The file, and all that it imports."""
    files = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in files:
                files[imported.name] = imported
                waiting.append(imported)
    response.file_descriptor_response.file_descriptor_proto.extend(each.serialized_pb for each in files.values())
