"""`ostraka member` and `ostraka move-leader`: who belongs to the cluster, and who leads it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ostraka.api import etcd
from ostraka.cli.ask import MEMBERS_TABLE, WRONG_USAGE, Table, ask, members, parser_of
from ostraka.client.blocking import Client
from ostraka.errors import OstrakaError

USAGE = """\
Usage: ostraka member <command> [options]

  add        a member more; then start it with --initial-cluster-state existing
  remove     a member less, for ever
  update     a member has moved: it has other peer URLs
  promote    let a learner vote that has caught up
  list       who they are

`ostraka member <command> --help` says more.
"""


def member(arguments: Sequence[str]) -> int:
    """`ostraka member COMMAND`"""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else WRONG_USAGE
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(f"ostraka member: there is no command {arguments[0]!r}; see ostraka member --help", file=sys.stderr)
        return WRONG_USAGE
    return command(arguments[1:])


def add(arguments: Sequence[str]) -> int:
    """`ostraka member add NAME --peer-urls URL,…`"""
    parser = parser_of("member add", "Add a member. It learns until it has caught up; then it votes, by itself.")
    parser.add_argument("name", help="what it will be started with as --name")
    _add_urls(parser)
    parser.add_argument("--learner", action="store_true", help="it only learns, until it is promoted")
    options = parser.parse_args(arguments)
    request = etcd.MemberAddRequest(peerURLs=options.peer_urls, isLearner=options.learner)

    def lines(reply: Any) -> list[str]:
        everyone = [f"{each.name or options.name}={url}" for each in reply.members for url in each.peerURLs]
        return [
            f"member {reply.member.ID:x} is added; start it on an empty data directory with",
            f"  --name {options.name} --initial-advertise-peer-urls {','.join(options.peer_urls)} \\",
            f"  --initial-cluster {','.join(everyone)} --initial-cluster-state existing",
        ]

    return ask(options, "/etcdserverpb.Cluster/MemberAdd", request, lines, MEMBERS_TABLE)


def remove(arguments: Sequence[str]) -> int:
    """`ostraka member remove MEMBER`"""
    return _about(
        arguments,
        "remove",
        "Remove a member, for ever: on its data directory it doesn't start again. A leader first hands over.",
        lambda node, options: etcd.MemberRemoveRequest(ID=node),
        "member {:x} is removed",
    )


def update(arguments: Sequence[str]) -> int:
    """`ostraka member update MEMBER --peer-urls URL,…`"""
    return _about(
        arguments,
        "update",
        "Tell the others where a member is reached from now on.",
        lambda node, options: etcd.MemberUpdateRequest(ID=node, peerURLs=options.peer_urls),
        "member {:x} is updated",
        _add_urls,
    )


def promote(arguments: Sequence[str]) -> int:
    """`ostraka member promote MEMBER`"""
    return _about(
        arguments,
        "promote",
        "Let a learner vote. It must have caught up.",
        lambda node, options: etcd.MemberPromoteRequest(ID=node),
        "member {:x} votes",
    )


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "add": add,
    "remove": remove,
    "update": update,
    "promote": promote,
    "list": members,
}


def move_leader(arguments: Sequence[str]) -> int:
    """`ostraka move-leader MEMBER`: the endpoints are asked who leads, and the leader is told."""
    parser = parser_of("move-leader", "Let another member lead, without an election timeout in between.")
    parser.add_argument("member", help="its id, as `ostraka members` shows it, or its name")
    options = parser.parse_args(arguments)
    try:
        node = find(options.endpoints, options.timeout, options.member)
        leader = leading(options.endpoints, options.timeout)
    except (OstrakaError, ValueError) as error:
        print(f"ostraka move-leader: {error}", file=sys.stderr)
        return 1
    options.endpoints = [leader]
    request = etcd.MoveLeaderRequest(targetID=node)
    said = [f"member {node:x} leads"]
    return ask(options, "/etcdserverpb.Maintenance/MoveLeader", request, lambda reply: said, _LED_TABLE)


def leading(endpoints: Sequence[str], timeout: float) -> str:
    """The endpoint that leads. Raises ValueError where none of them does."""
    for endpoint in endpoints:
        try:
            with Client([endpoint], timeout=timeout) as client:
                if client.status().leads:
                    return endpoint
        except OstrakaError:
            continue
    raise ValueError(f"none of {', '.join(endpoints)} leads: name the endpoints of all members")


def find(endpoints: Sequence[str], timeout: float, wanted: str) -> int:
    """The id of the member with this id or name. Raises ValueError, OstrakaError."""
    with Client(endpoints, timeout=timeout) as client:
        found = client.members()
    named = [each.id for each in found if each.name == wanted]
    if len(named) > 1:
        ids = ", ".join(f"{node:x}" for node in named)
        raise ValueError(f"{len(named)} members are called {wanted} ({ids}): give an id")
    if named:
        return named[0]
    try:
        node = int(wanted, 16)
    except ValueError:
        listed = ", ".join(f"{each.id:x} {each.name}".strip() for each in found)
        raise ValueError(f"there is no member {wanted!r}: there are {listed}") from None
    if not 0 <= node < 1 << 64:
        raise ValueError(f"{wanted} is no member's id: those have at most 16 digits")
    return node


def _about(
    arguments: Sequence[str],
    name: str,
    text: str,
    request: Callable[[int, argparse.Namespace], Any],
    said: str,
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """A command about one member that there is."""
    parser = parser_of(f"member {name}", text)
    parser.add_argument("member", help="its id, as `ostraka members` shows it, or its name")
    more(parser)
    options = parser.parse_args(arguments)
    try:
        node = find(options.endpoints, options.timeout, options.member)
    except (OstrakaError, ValueError) as error:
        print(f"ostraka member {name}: {error}", file=sys.stderr)
        return 1
    path = f"/etcdserverpb.Cluster/Member{name.capitalize()}"
    return ask(options, path, request(node, options), lambda reply: [said.format(node)], MEMBERS_TABLE)


def _add_urls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peer-urls",
        required=True,
        type=lambda text: [part.strip() for part in text.split(",") if part.strip()],
        metavar="URL,…",
        help="where the other members reach it: http://host:port",
    )


_LED_TABLE: Table = (("term",), lambda reply: [(reply.header.raft_term,)])
