"""`ostraka put`, `get`, `status` and `members`: one question to a running cluster."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ostraka.api import etcd
from ostraka.client.blocking import Client, split
from ostraka.errors import OstrakaError, OutcomeUnknown

DEFAULT_ENDPOINTS = "127.0.0.1:2379"
DONE, NOT_DONE, UNKNOWN = 0, 1, 3


def put(arguments: Sequence[str]) -> int:
    """`ostraka put KEY VALUE`"""
    parser = _parser("put", "Set a key.")
    parser.add_argument("key")
    parser.add_argument("value")
    options = parser.parse_args(arguments)
    request = etcd.PutRequest(key=os.fsencode(options.key), value=os.fsencode(options.value))
    return _ask(options, "/etcdserverpb.KV/Put", request, lambda reply: ["OK"], _PUT_TABLE)


def get(arguments: Sequence[str]) -> int:
    """`ostraka get KEY [END]`"""
    parser = _parser("get", "Read a key, or the keys from KEY up to, and without, END.")
    parser.add_argument("key")
    parser.add_argument("end", nargs="?", default="")
    parser.add_argument("--prefix", action="store_true", help="all keys that begin with KEY")
    parser.add_argument("--limit", type=int, default=0, help="at most so many keys")
    parser.add_argument("--serializable", action="store_true", help="ask one member only; it may be behind")
    options = parser.parse_args(arguments)
    key, end = os.fsencode(options.key), os.fsencode(options.end)
    if options.prefix:
        key, end = key or b"\0", prefix_end(key)
    request = etcd.RangeRequest(key=key, range_end=end, limit=options.limit, serializable=options.serializable)
    return _ask(options, "/etcdserverpb.KV/Range", request, _plain_pairs, _GET_TABLE)


def members(arguments: Sequence[str]) -> int:
    """`ostraka members`"""
    options = _parser("members", "List the members of the cluster.").parse_args(arguments)
    options.output = options.output or "table"
    request = etcd.MemberListRequest(linearizable=True)
    return _ask(options, "/etcdserverpb.Cluster/MemberList", request, lambda reply: [], _MEMBERS_TABLE)


def status(arguments: Sequence[str]) -> int:
    """`ostraka status`: every endpoint is asked, and those that fail are named."""
    options = _parser("status", "Ask each endpoint how it is.").parse_args(arguments)
    replies, code = [], DONE
    for endpoint in options.endpoints:
        try:
            with Client([endpoint], options.timeout) as client:
                reply = client.status()
        except OstrakaError as error:
            print(f"ostraka status: {error}", file=sys.stderr)
            code = NOT_DONE
        else:
            replies.append((endpoint, reply))
    if options.output == "json":
        print(json.dumps([{"endpoint": endpoint, "status": _as_dict(reply)} for endpoint, reply in replies]))
    elif replies:
        _print_table(_STATUS_HEAD, [_status_row(endpoint, reply) for endpoint, reply in replies])
    return code


COMMANDS = {"put": put, "get": get, "status": status, "members": members}

Table = tuple[Sequence[str], Callable[[Any], list[Sequence[object]]]]

_PUT_TABLE: Table = (("revision",), lambda reply: [(reply.header.revision,)])
_GET_TABLE: Table = (
    ("key", "value", "created", "modified", "version"),
    lambda reply: [
        (_shown(kv.key), _shown(kv.value), kv.create_revision, kv.mod_revision, kv.version) for kv in reply.kvs
    ],
)
_MEMBERS_TABLE: Table = (
    ("id", "name", "peer URLs", "client URLs", "learner"),
    lambda reply: [
        (f"{each.ID:x}", each.name, ",".join(each.peerURLs), ",".join(each.clientURLs), each.isLearner)
        for each in reply.members
    ],
)
_STATUS_HEAD = ("endpoint", "id", "version", "size", "leads", "term", "index", "applied", "errors")


def _status_row(endpoint: str, reply: Any) -> Sequence[object]:
    me = reply.header.member_id
    numbers = (reply.raftTerm, reply.raftIndex, reply.raftAppliedIndex)
    return endpoint, f"{me:x}", reply.version, reply.dbSize, reply.leader == me, *numbers, ", ".join(reply.errors)


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ostraka {name}", description=text)
    default = os.environ.get("OSTRAKA_ENDPOINTS") or DEFAULT_ENDPOINTS
    parser.add_argument(
        "--endpoints", type=_endpoints, default=default, help=f"host:port,… or OSTRAKA_ENDPOINTS; now {default}"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), help="how to print the answer")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="the longest wait; 5")
    return parser


def _endpoints(text: str) -> list[str]:
    endpoints = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return ["{}:{}".format(*split(endpoint)) for endpoint in endpoints]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _ask(options: argparse.Namespace, path: str, request: Any, plain: Callable[[Any], list[str]], table: Table) -> int:
    """Call, and print the reply in the form that was asked for."""
    try:
        with Client(options.endpoints, options.timeout) as client:
            reply = client.call(path, request)
    except OstrakaError as error:
        print(f"ostraka: {error}", file=sys.stderr)
        return UNKNOWN if isinstance(error, OutcomeUnknown) else NOT_DONE
    if options.output == "json":
        print(json.dumps(_as_dict(reply)))
    elif options.output == "table":
        head, rows = table
        _print_table(head, rows(reply))
    else:
        for line in plain(reply):
            print(line)
    return DONE


def _plain_pairs(reply: Any) -> list[str]:
    return [_shown(part) for kv in reply.kvs for part in (kv.key, kv.value)]


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _as_dict(reply: Any) -> Any:
    """As etcd's JSON gateway shows it: bytes in base64, 64-bit numbers as text."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(reply, preserving_proto_field_name=True)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    texts = [tuple(head), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`; b"\\0", which is "to the end", if there is none."""
    shortened = prefix.rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1]) if shortened else b"\0"
