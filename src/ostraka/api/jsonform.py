"""etcd's messages in JSON, as its gateway reads and writes them.

Follows:  protobuf's JSON mapping, with etcd's choices: fields go by the names of the .proto texts, those with default
          values are left out, unknown ones are ignored; 64-bit integers are strings; bytes are base64.
Departs:  where `plain` is asked for, bytes are text in both directions, for people who type. Bytes that are not UTF-8
          become lone surrogates (0x80 is "\\udc80"), which come back as the same bytes.
Evidence: tests/api/test_jsonform.py; tests/server/test_gateway_against_etcd.py.

`google.protobuf.json_format` is not used: it lets through what is no base64, and can't stop in the middle of a long
reply to let others have their turn.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

DEEPEST: Final = 100
"""Messages within messages that are read: protobuf itself takes no more."""

MOST: Final = 50_000
"""Messages that one request may have within it: more would keep everybody else waiting while they are read."""

LONG: Final = 32 << 10
"""Bytes of a message, in protobuf's form, that is written in pieces."""

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1, "int32"),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1, "uint32"),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1, "int64"),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1, "uint64"),
}


class _Number(str):
    """A number of JSON that is not written as an integer: kept as it was written."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


_decoder: Final = json.JSONDecoder(parse_float=_Number, parse_constant=_no_constant)


def value_of(data: bytes) -> Any:
    """The first value of a JSON text; what follows it is ignored, as in etcd. Raises ValueError."""
    try:
        text = data.decode().lstrip(" \t\r\n")
        return _decoder.raw_decode(text)[0]
    except UnicodeDecodeError as error:
        raise ValueError(f"this is no JSON: byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        if error.pos >= len(text):
            raise ValueError("this is no JSON: it ends too early") from None
        raise ValueError(f"this is no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("this is nested too deep") from None


def read(kind: Any, value: Any, plain: bool = False) -> Any:
    """The message of class `kind` that a JSON value says. Raises ValueError, which names the field that is wrong."""
    message = kind()
    if value is not None:
        _Reader(plain).fill(message, value, kind.DESCRIPTOR.name, 1)
    return message


@cache
def _fields_of(descriptor: Any) -> dict[str, Any]:
    """A message's fields by both of their names."""
    return {name: field for field in descriptor.fields for name in (field.json_name, field.name)}


class _Reader:
    """Reads one request."""

    def __init__(self, plain: bool) -> None:
        self._plain: Final = plain
        self._left = MOST

    def fill(self, message: Any, value: Any, place: str, depth: int) -> None:
        """Put into the message what an object says; `place` is where that stands."""
        if not isinstance(value, dict):
            raise ValueError(f"{place} must be an object, not {_said(value)}")
        if depth > DEEPEST:
            raise ValueError(f"{place} is nested too deep: more than {DEEPEST} messages within one another")
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"{place}: there are over {MOST} messages in this one")
        fields = _fields_of(message.DESCRIPTOR)
        for name, part in value.items():
            field = fields.get(name)
            if field is None or part is None:
                continue
            here = f"{place}.{name}"
            oneof = field.containing_oneof
            if oneof is not None and (other := message.WhichOneof(oneof.name)) is not None:
                raise ValueError(f"{here}: {place}.{other} is given, and only one of them can be")
            if field.is_repeated:
                self._fill_list(getattr(message, field.name), field, part, here, depth)
            elif field.message_type is not None:
                within = getattr(message, field.name)
                within.SetInParent()
                self.fill(within, part, here, depth + 1)
            else:
                setattr(message, field.name, _scalar(field, part, self._plain, here))

    def _fill_list(self, target: Any, field: Any, value: Any, place: str, depth: int) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{place} must be a list, not {_said(value)}")
        for number, part in enumerate(value):
            here = f"{place}[{number}]"
            if field.message_type is None:
                target.append(_scalar(field, part, self._plain, here))
            else:
                self.fill(target.add(), {} if part is None else part, here, depth + 1)


def _scalar(field: Any, value: Any, plain: bool, place: str) -> Any:
    bounds = _RANGES.get(field.cpp_type)
    if bounds is not None:
        return _integer(value, bounds, place)
    match field.type:
        case FieldDescriptor.TYPE_BOOL if isinstance(value, bool):
            return value
        case FieldDescriptor.TYPE_STRING if type(value) is str:
            return _utf8(value, place).decode()
        case FieldDescriptor.TYPE_BYTES if type(value) is str:
            return _plain_bytes(value, place) if plain else _from_base64(value, place)
        case FieldDescriptor.TYPE_ENUM:
            return _enumerator(field.enum_type, value, place)
    raise ValueError(f"{place} must be {_WANTED[field.type]}, not {_said(value)}")


_WANTED: Final = {
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_STRING: "a string",
    FieldDescriptor.TYPE_BYTES: "a string",
}


def _integer(value: Any, bounds: tuple[int, int, str], place: str) -> int:
    """A number, or a string of one."""
    least, most, name = bounds
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{place} must be a number or a string of one, not {_said(value)}")
    number = value if isinstance(value, int) else _integral(value)
    if number is None or not least <= number <= most:
        raise ValueError(f"{place} must be an integer from {least} to {most} ({name}), not {_said(value)}")
    return number


def _integral(text: str) -> int | None:
    """The integer that this stands for, if it is one of at most 64 bits: 1e3 and 1.0 are integers, too."""
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return None
    number = Decimal(text)
    return int(number) if abs(number) < 1 << 64 and number == number.to_integral_value() else None


def _enumerator(kind: Any, value: Any, place: str) -> int:
    """A name of the enumeration, or any number: one that has no name is for the service to refuse."""
    if type(value) is str:
        if value not in kind.values_by_name:
            names = ", ".join(kind.values_by_name)
            raise ValueError(f"{place} must be one of {names}, not {_said(value)}")
        return int(kind.values_by_name[value].number)
    return _integer(value, _RANGES[FieldDescriptor.CPPTYPE_INT32], place)


def _from_base64(text: str, place: str) -> bytes:
    """Standard or URL-safe, with or without its padding."""
    text = text.translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{place} must be base64 (or add ?utf8=1 to the URL), not {_said(text)}") from None


_STANDARD: Final = {ord("-"): "+", ord("_"): "/", ord("\r"): None, ord("\n"): None}


def _plain_bytes(text: str, place: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"{place} has half of a surrogate pair in it") from None


def _utf8(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place} has half of a surrogate pair in it") from None


def _said(value: Any) -> str:
    """What somebody has written, short enough to be quoted."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)} characters)"


def write(message: Any, plain: bool = False) -> str:
    """The message as one JSON object without spaces."""
    return "".join(_object(message, plain))


def pieces(message: Any, plain: bool = False) -> Iterator[str]:
    """The same in pieces. None is much longer than its largest field, or, in JSON, than about twice `LONG`."""
    if message.ByteSize() <= LONG:
        yield write(message, plain)
        return
    sign = "{"
    for field, value in message.ListFields():
        yield f'{sign}"{field.name}":'
        sign = ","
        if field.message_type is None:
            yield _list_of(field, value, plain) if field.is_repeated else _WRITERS[field.type](field, value, plain)
        elif not field.is_repeated:
            yield from pieces(value, plain)
        else:
            yield from _in_pieces(value, plain)
    yield "}"


def _in_pieces(messages: Any, plain: bool) -> Iterator[str]:
    sign, gathered, size = "[", [], 0
    for each in messages:
        gathered.append(sign)
        sign = ","
        own = each.ByteSize()
        if own > LONG:
            yield "".join(gathered)
            yield from pieces(each, plain)
            gathered, size = [], 0
            continue
        gathered += _object(each, plain)
        size += own
        if size > LONG:
            yield "".join(gathered)
            gathered, size = [], 0
    gathered.append("]")
    yield "".join(gathered)


def _object(message: Any, plain: bool) -> list[str]:
    parts = ["{"]
    for field, value in message.ListFields():
        parts.append(f'"{field.name}":' if len(parts) == 1 else f',"{field.name}":')
        if field.message_type is None:
            parts.append(
                _list_of(field, value, plain) if field.is_repeated else _WRITERS[field.type](field, value, plain)
            )
        elif not field.is_repeated:
            parts += _object(value, plain)
        else:
            sign = "["
            for each in value:
                parts.append(sign)
                sign = ","
                parts += _object(each, plain)
            parts.append("]")
    parts.append("}")
    return parts


def _list_of(field: Any, values: Any, plain: bool) -> str:
    writer = _WRITERS[field.type]
    return f"[{','.join([writer(field, value, plain) for value in values])}]"


def _bytes(field: Any, value: bytes, plain: bool) -> str:
    if not plain:
        return f'"{base64.b64encode(value).decode("ascii")}"'
    try:
        return json.dumps(value.decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        return json.dumps(value.decode("utf-8", "surrogateescape"))


def _enum(field: Any, value: int, plain: bool) -> str:
    named = field.enum_type.values_by_number.get(value)
    return str(value) if named is None else f'"{named.name}"'


def _quoted(field: Any, value: int, plain: bool) -> str:
    return f'"{value}"'


def _bare(field: Any, value: int, plain: bool) -> str:
    return str(value)


_WRITERS: Final[dict[int, Callable[[Any, Any, bool], str]]] = {
    FieldDescriptor.TYPE_INT64: _quoted,
    FieldDescriptor.TYPE_UINT64: _quoted,
    FieldDescriptor.TYPE_INT32: _bare,
    FieldDescriptor.TYPE_UINT32: _bare,
    FieldDescriptor.TYPE_BOOL: lambda field, value, plain: "true" if value else "false",
    FieldDescriptor.TYPE_STRING: lambda field, value, plain: json.dumps(value, ensure_ascii=False),
    FieldDescriptor.TYPE_BYTES: _bytes,
    FieldDescriptor.TYPE_ENUM: _enum,
}


class Documents:
    """Whole JSON objects out of bytes in any pieces."""

    _SIGN: Final = re.compile(rb'["\\{}\[\]]')
    _SOLID: Final = re.compile(rb"[^ \t\r\n]")

    def __init__(self, largest: int) -> None:
        self._largest: Final = largest
        self._data = bytearray()
        self._at = 0  # How far it has been looked at.
        self._depth = 0
        self._quoted = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The objects that have become whole. Raises ValueError where there is something else, or too much."""
        self._data += data
        start = 0
        while True:
            if not self._depth and (solid := self._SOLID.search(self._data, self._at)) and solid[0] != b"{":
                said = bytes(self._data[solid.start() : solid.start() + 20])
                raise ValueError(f"an object must begin where the body says {said!r}")
            match = self._SIGN.search(self._data, self._at)
            if match is None:
                self._at = max(self._at, len(self._data))
                break
            self._at = match.end()
            if self._passes(match[0]) and not self._depth:
                yield bytes(self._data[start : self._at])
                start = self._at
        del self._data[:start]
        self._at -= start
        if len(self._data) > self._largest:
            raise ValueError(f"an object of over {self._largest} bytes")

    def _passes(self, sign: bytes) -> bool:
        """Take notice of a sign. True if it closes something."""
        if sign == b"\\":
            self._at += self._quoted  # Whatever follows, even if it is still to come, means itself.
        elif sign == b'"':
            self._quoted = not self._quoted
        elif not self._quoted:
            self._depth += 1 if sign in b"{[" else -1
            return sign in b"}]"
        return False
