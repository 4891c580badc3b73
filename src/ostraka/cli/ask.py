"""`ostraka put`, `get`, `del`, `compaction`, `status` and `members`: one question to a running cluster."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ostraka.api import etcd
from ostraka.cli.printing import FORMS, as_dict, print_as, shown
from ostraka.client import Client
from ostraka.client.endpoints import split
from ostraka.client.operations import prefix_end
from ostraka.errors import OstrakaError, OutcomeUnknown

DEFAULT_ENDPOINTS = "127.0.0.1:2379"
DONE, NOT_DONE, WRONG_USAGE, UNKNOWN = 0, 1, 2, 3


def put(arguments: Sequence[str]) -> int:
    """`ostraka put KEY VALUE`"""
    parser = parser_of("put", "Set a key.")
    parser.add_argument("key")
    parser.add_argument("value")
    parser.add_argument("--lease", type=lease_id, default=0, metavar="ID", help="the key goes when this lease ends")
    options = parser.parse_args(arguments)
    key, value = os.fsencode(options.key), os.fsencode(options.value)
    request = etcd.PutRequest(key=key, value=value, lease=options.lease)
    return ask(options, "/etcdserverpb.KV/Put", request, lambda reply: ["OK"], _PUT_TABLE)


def get(arguments: Sequence[str]) -> int:
    """`ostraka get KEY [END]`"""
    parser = parser_of("get", "Read a key, or the keys from KEY up to, and without, END.")
    add_range(parser)
    parser.add_argument("--limit", type=number(0), default=0, help="at most so many keys")
    parser.add_argument("--rev", type=number(0), default=0, metavar="REVISION", help="as they were at this revision")
    parser.add_argument("--serializable", action="store_true", help="ask one member only; it may be behind")
    options = parser.parse_args(arguments)
    key, end = range_of(options)
    request = etcd.RangeRequest(
        key=key, range_end=end, limit=options.limit, revision=options.rev, serializable=options.serializable
    )
    return ask(options, "/etcdserverpb.KV/Range", request, lambda reply: pair_lines(reply.kvs), _GET_TABLE)


def delete(arguments: Sequence[str]) -> int:
    """`ostraka del KEY [END]`"""
    parser = parser_of("del", "Delete a key, or the keys from KEY up to, and without, END; says how many there were.")
    add_range(parser)
    parser.add_argument("--prev-kv", action="store_true", help="show what was deleted")
    options = parser.parse_args(arguments)
    key, end = range_of(options)
    request = etcd.DeleteRangeRequest(key=key, range_end=end, prev_kv=options.prev_kv)
    return ask(
        options,
        "/etcdserverpb.KV/DeleteRange",
        request,
        lambda reply: [str(reply.deleted), *pair_lines(reply.prev_kvs)],
        _DELETE_TABLE,
    )


def compaction(arguments: Sequence[str]) -> int:
    """`ostraka compaction REVISION`"""
    parser = parser_of("compaction", "Forget how the keys were before REVISION. This can't be undone.")
    parser.add_argument("revision", type=number(0))
    parser.add_argument("--physical", action="store_true", help="wait until what was forgotten is removed")
    options = parser.parse_args(arguments)
    request = etcd.CompactionRequest(revision=options.revision, physical=options.physical)
    said = [f"compacted revision {options.revision}"]
    return ask(options, "/etcdserverpb.KV/Compact", request, lambda reply: said, _PUT_TABLE)


def members(arguments: Sequence[str]) -> int:
    """`ostraka members`"""
    options = parser_of("members", "List the members of the cluster.").parse_args(arguments)
    options.output = options.output or "table"
    request = etcd.MemberListRequest(linearizable=True)
    return ask(options, "/etcdserverpb.Cluster/MemberList", request, lambda reply: [], MEMBERS_TABLE)


def status(arguments: Sequence[str]) -> int:
    """`ostraka status`: every endpoint is asked, and those that fail are named."""
    options = parser_of("status", "Ask each endpoint how it is.").parse_args(arguments)
    replies, code = [], DONE
    for endpoint in options.endpoints:
        try:
            with Client([endpoint], timeout=options.timeout) as client:
                reply = client.call("/etcdserverpb.Maintenance/Status", etcd.StatusRequest())
        except OstrakaError as error:
            print(f"ostraka status: {error}", file=sys.stderr)
            code = NOT_DONE
        else:
            replies.append((endpoint, reply))
    form = options.output or "table"
    if replies or form != "table":
        rows = [_status_row(endpoint, reply) for endpoint, reply in replies]
        document = [{"endpoint": endpoint, "status": as_dict(reply)} for endpoint, reply in replies]
        print_as(form, [], _STATUS_HEAD, rows, document)
    return code


COMMANDS = {"put": put, "get": get, "del": delete, "compaction": compaction, "status": status, "members": members}

Table = tuple[Sequence[str], Callable[[Any], list[Sequence[object]]]]

_PUT_TABLE: Table = (("revision",), lambda reply: [(reply.header.revision,)])
_GET_TABLE: Table = (
    ("key", "value", "created", "modified", "version"),
    lambda reply: [
        (shown(kv.key), shown(kv.value), kv.create_revision, kv.mod_revision, kv.version) for kv in reply.kvs
    ],
)
_DELETE_TABLE: Table = (("deleted", "revision"), lambda reply: [(reply.deleted, reply.header.revision)])
MEMBERS_TABLE: Table = (
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


def parser_of(name: str, text: str) -> argparse.ArgumentParser:
    """The options that all commands have."""
    parser = argparse.ArgumentParser(prog=f"ostraka {name}", description=text)
    default = os.environ.get("OSTRAKA_ENDPOINTS") or DEFAULT_ENDPOINTS
    parser.add_argument(
        "--endpoints", type=_endpoints, default=default, help=f"host:port,… or OSTRAKA_ENDPOINTS; now {default}"
    )
    parser.add_argument("-o", "--output", choices=FORMS, help="how to print the answer")
    parser.add_argument("--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="the longest wait; 5")
    return parser


def number(least: int, most: int = (1 << 63) - 1) -> Callable[[str], int]:
    """What reads an integer within these bounds from the command line."""

    def read(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {least} to {most}")
        return found

    return read


def lease_id(text: str) -> int:
    """A lease's id, in hexadecimal, from the command line."""
    try:
        found = int(text, 16)
    except ValueError:
        found = 0
    if not 0 < found < 1 << 63:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the id of a lease: up to 16 hexadecimal digits, not all zero"
        )
    return found


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return found


def _endpoints(text: str) -> list[str]:
    endpoints = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return ["{}:{}".format(*split(endpoint)) for endpoint in endpoints]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_range(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key")
    parser.add_argument("end", nargs="?", default="")
    parser.add_argument("--prefix", action="store_true", help="all keys that begin with KEY")


def range_of(options: argparse.Namespace) -> tuple[bytes, bytes]:
    key, end = os.fsencode(options.key), os.fsencode(options.end)
    return (key or b"\0", prefix_end(key)) if options.prefix else (key, end)


def ask(options: argparse.Namespace, path: str, request: Any, plain: Callable[[Any], list[str]], table: Table) -> int:
    """Call, and print the reply in the form that was asked for. Returns the exit code."""
    try:
        with Client(options.endpoints, timeout=options.timeout) as client:
            reply = client.call(path, request)
    except OstrakaError as error:
        return failed(error)
    head, rows = table
    print_as(options.output, plain(reply), head, rows(reply), as_dict(reply) if options.output else None)
    return DONE


def failed(error: OstrakaError) -> int:
    """Say so. Returns the exit code."""
    print(f"ostraka: {error}", file=sys.stderr)
    return UNKNOWN if isinstance(error, OutcomeUnknown) else NOT_DONE


def pair_lines(kvs: Sequence[Any]) -> list[str]:
    """Key and value of each, on lines of their own."""
    return [shown(part) for kv in kvs for part in (kv.key, kv.value)]
