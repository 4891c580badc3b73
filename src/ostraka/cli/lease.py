"""`ostraka lease`: grant, revoke, look at and renew what ends by itself. Ids are hexadecimal, as etcdctl has them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from ostraka.api import etcd
from ostraka.cli.ask import DONE, NOT_DONE, WRONG_USAGE, Table, ask, failed, lease_id, number, parser_of
from ostraka.cli.printing import as_dict, print_as, shown
from ostraka.client import Client
from ostraka.errors import OstrakaError

USAGE = """\
Usage: ostraka lease <command> [options]

  grant       make a lease; keys are put under it with `ostraka put --lease ID`
  revoke      end a lease, and delete its keys
  timetolive  how long it has yet, and which keys go with it
  list        all leases
  keep-alive  renew it again and again, until it is gone or you have seen enough

`ostraka lease <command> --help` says more.
"""
LONGEST_TTL = 9_000_000_000
RENEWALS = 3  # Within a lease's time.
_SERVICE = "/etcdserverpb.Lease/"


def lease(arguments: Sequence[str]) -> int:
    """`ostraka lease COMMAND`"""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return DONE if arguments else WRONG_USAGE
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(f"ostraka lease: there is no command {arguments[0]!r}; see ostraka lease --help", file=sys.stderr)
        return WRONG_USAGE
    return command(arguments[1:])


def grant(arguments: Sequence[str]) -> int:
    """`ostraka lease grant TTL`"""
    parser = parser_of("lease grant", "Make a lease that ends by itself if it is not kept alive.")
    parser.add_argument("ttl", type=number(1, LONGEST_TTL), metavar="TTL", help="seconds")
    parser.add_argument("--id", type=lease_id, default=0, help="in hexadecimal; default: one that nobody has")
    options = parser.parse_args(arguments)
    request = etcd.LeaseGrantRequest(TTL=options.ttl, ID=options.id)

    def lines(reply: Any) -> list[str]:
        return [f"lease {reply.ID:016x} granted with TTL({reply.TTL}s)"]

    return ask(options, f"{_SERVICE}LeaseGrant", request, lines, _GRANT_TABLE)


def revoke(arguments: Sequence[str]) -> int:
    """`ostraka lease revoke ID`"""
    options = _of_one("lease revoke", "End a lease, and delete its keys, all in one revision.", arguments)
    said = [f"lease {options.id:016x} revoked"]
    request = etcd.LeaseRevokeRequest(ID=options.id)
    return ask(options, f"{_SERVICE}LeaseRevoke", request, lambda reply: said, _REVOKE_TABLE)


def time_to_live(arguments: Sequence[str]) -> int:
    """`ostraka lease timetolive ID`"""
    parser = parser_of("lease timetolive", "How long a lease has yet.")
    parser.add_argument("id", type=lease_id, metavar="ID")
    parser.add_argument("--keys", action="store_true", help="which keys go with it, too")
    options = parser.parse_args(arguments)
    request = etcd.LeaseTimeToLiveRequest(ID=options.id, keys=options.keys)

    def lines(reply: Any) -> list[str]:
        if reply.TTL < 0:
            return [f"lease {options.id:016x} already expired"]
        keys = f", attached keys([{' '.join(map(shown, reply.keys))}])" if options.keys else ""
        return [f"lease {options.id:016x} granted with TTL({reply.grantedTTL}s), remaining({reply.TTL}s){keys}"]

    return ask(options, f"{_SERVICE}LeaseTimeToLive", request, lines, _LIFE_TABLE)


def list_all(arguments: Sequence[str]) -> int:
    """`ostraka lease list`"""
    options = parser_of("lease list", "List all leases.").parse_args(arguments)

    def lines(reply: Any) -> list[str]:
        return [f"found {len(reply.leases)} leases", *[f"{each.ID:016x}" for each in reply.leases]]

    return ask(options, f"{_SERVICE}LeaseLeases", etcd.LeaseLeasesRequest(), lines, _LIST_TABLE)


def keep_alive(arguments: Sequence[str]) -> int:
    """`ostraka lease keep-alive ID`"""
    parser = parser_of("lease keep-alive", "Renew a lease until it is gone, or until this is interrupted.")
    parser.add_argument("id", type=lease_id, metavar="ID")
    parser.add_argument("--once", action="store_true", help="once only")
    options = parser.parse_args(arguments)
    head, rows = _ALIVE_TABLE
    try:
        with Client(options.endpoints, timeout=options.timeout) as client:
            while True:
                reply = client.call(f"{_SERVICE}LeaseKeepAlive", etcd.LeaseKeepAliveRequest(ID=options.id))
                if not reply.TTL:
                    print(f"ostraka: lease {options.id:016x} expired or revoked", file=sys.stderr)
                    return NOT_DONE
                said = [f"lease {reply.ID:016x} keepalived with TTL({reply.TTL})"]
                print_as(options.output, said, head, rows(reply), as_dict(reply) if options.output else None)
                sys.stdout.flush()
                if options.once:
                    return DONE
                time.sleep(reply.TTL / RENEWALS)
    except OstrakaError as error:
        return failed(error)


def _of_one(name: str, text: str, arguments: Sequence[str]) -> Any:
    parser = parser_of(name, text)
    parser.add_argument("id", type=lease_id, metavar="ID")
    return parser.parse_args(arguments)


COMMANDS = {"grant": grant, "revoke": revoke, "timetolive": time_to_live, "list": list_all, "keep-alive": keep_alive}

_GRANT_TABLE: Table = (("lease", "ttl"), lambda reply: [(f"{reply.ID:016x}", reply.TTL)])
_REVOKE_TABLE: Table = (("revision",), lambda reply: [(reply.header.revision,)])
_LIFE_TABLE: Table = (
    ("lease", "ttl", "remaining", "keys"),
    lambda reply: [(f"{reply.ID:016x}", reply.grantedTTL, reply.TTL, " ".join(map(shown, reply.keys)))],
)
_LIST_TABLE: Table = (("lease",), lambda reply: [(f"{each.ID:016x}",) for each in reply.leases])
_ALIVE_TABLE: Table = (("lease", "ttl"), lambda reply: [(f"{reply.ID:016x}", reply.TTL)])
