"""`ostraka txn`: a transaction, written as one JSON document.

The names are those of etcd's JSON, and so is the rest, but for keys and values: they are plain text, unless `--base64`
says otherwise.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ostraka.api import etcd
from ostraka.cli.ask import WRONG_USAGE, Table, ask, pair_lines, parser_of
from ostraka.cli.printing import shown

EXAMPLE = """\
example, which takes a lock if nobody has it, and else shows who does:
  ostraka txn '{
    "compare": [{"key": "lock", "target": "CREATE", "result": "EQUAL", "create_revision": 0}],
    "success": [{"request_put": {"key": "lock", "value": "me"}}],
    "failure": [{"request_range": {"key": "lock"}}]
  }'
"""
_BYTES = ("key", "range_end", "value")


def txn(arguments: Sequence[str]) -> int:
    """`ostraka txn [DOCUMENT]`"""
    parser = parser_of("txn", "Compare, then do what `success` lists, or else what `failure` does: all at once.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLE
    parser.add_argument("document", nargs="?", default="-", help="the transaction in JSON; -, or none: standard input")
    parser.add_argument("--base64", action="store_true", help="keys and values are in base64, as in etcd's JSON")
    options = parser.parse_args(arguments)
    text = sys.stdin.read() if options.document == "-" else options.document
    try:
        request = parsed(text, options.base64)
    except ValueError as error:
        print(f"ostraka txn: {error}; see ostraka txn --help for an example", file=sys.stderr)
        return WRONG_USAGE
    return ask(options, "/etcdserverpb.KV/Txn", request, _lines, _TABLE)


def parsed(text: str, in_base64: bool = False) -> Any:
    """The `etcd.TxnRequest` of a document. Raises ValueError, which says what is wrong with it."""
    from google.protobuf.json_format import ParseDict, ParseError

    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("this is nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("a transaction is a JSON object with compare, success and failure")
    try:
        return ParseDict(document if in_base64 else _encoded(document), etcd.TxnRequest())
    except (ParseError, RecursionError) as error:
        raise ValueError(f"this is no transaction: {error}") from None


def _encoded(part: Any) -> Any:
    """Keys and values in base64, as protobuf's JSON has them."""
    if isinstance(part, list):
        return [_encoded(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: base64.b64encode(os.fsencode(value)).decode()
        if name in _BYTES and isinstance(value, str)
        else _encoded(value)
        for name, value in part.items()
    }


def _lines(reply: Any) -> list[str]:
    lines = ["SUCCESS" if reply.succeeded else "FAILURE"]
    for each in reply.responses:
        match each.WhichOneof("response"):
            case "response_range":
                lines += ["", *pair_lines(each.response_range.kvs)]
            case "response_put":
                lines += ["", "OK", *pair_lines(_previous(each.response_put))]
            case "response_delete_range":
                deleted = each.response_delete_range
                lines += ["", str(deleted.deleted), *pair_lines(deleted.prev_kvs)]
            case "response_txn":
                lines += ["", *_lines(each.response_txn)]
    return lines


def _rows(reply: Any, place: str = "") -> list[Sequence[object]]:
    """One for each response; those within a transaction stand under its number."""
    rows: list[Sequence[object]] = [(place or "-", "txn", "success" if reply.succeeded else "failure")]
    for number, each in enumerate(reply.responses, 1):
        here = f"{place}.{number}" if place else str(number)
        match each.WhichOneof("response"):
            case "response_range":
                kvs = each.response_range.kvs
                rows += [(here, "range", f"{shown(kv.key)} = {shown(kv.value)}") for kv in kvs] or [(here, "range", "")]
            case "response_put":
                rows.append((here, "put", "OK"))
            case "response_delete_range":
                rows.append((here, "delete", each.response_delete_range.deleted))
            case "response_txn":
                rows += _rows(each.response_txn, here)
    return rows


_TABLE: Table = (("place", "what", "result"), _rows)


def _previous(response: Any) -> Sequence[Any]:
    return [response.prev_kv] if response.HasField("prev_kv") else []
