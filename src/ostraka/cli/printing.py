"""How the command line shows answers: as plain lines, as a table, as JSON, or as YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

FORMS = ("table", "json", "yaml")
"""What `-o` takes."""

Rows = Sequence[Sequence[object]]


def print_as(form: str | None, lines: Sequence[str], head: Sequence[str], rows: Rows, document: Any) -> None:
    """Print one of: the lines (no form), the rows under their head, or the document."""
    match form:
        case "table":
            print_table(head, rows)
        case "json":
            print(json.dumps(document))
        case "yaml":
            from msgspec import yaml

            print(yaml.encode(document).decode(), end="")
        case _:
            for line in lines:
                print(line)


def print_table(head: Sequence[str], rows: Rows) -> None:
    """Columns as wide as they must be."""
    texts = [tuple(head), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def shown(data: bytes) -> str:
    """A key or value as text."""
    return data.decode("utf-8", "backslashreplace")


def as_dict(reply: Any) -> Any:
    """As etcd's JSON gateway shows it: bytes in base64, 64-bit numbers as text."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(reply, preserving_proto_field_name=True)
