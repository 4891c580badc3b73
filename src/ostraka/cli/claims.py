"""`ostraka lock` and `ostraka elect`: own a name, and say under which fencing token.

The keys are those of etcd's own clients, so that `etcdctl lock` and `elect` exclude ours, and ours theirs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ostraka.cli.ask import DONE, NOT_DONE, failed, number, parser_of
from ostraka.cli.printing import print_as, shown
from ostraka.client import Client, Leadership, Lock
from ostraka.client.results import KeyValue
from ostraka.errors import OstrakaError

LOOK = 0.2  # Seconds between two looks at the command, and at whether the lock is lost.
FAREWELL = 10.0  # Seconds that the command has to end once the lock is lost.


class Stopped(KeyboardInterrupt):
    """We were asked to end by SIGTERM."""


def lock(arguments: Sequence[str]) -> int:
    """`ostraka lock NAME [COMMAND …]`"""
    parser = parser_of("lock", "Wait for a lock, and hold it while COMMAND runs, or until this is interrupted.")
    parser.epilog = (
        "COMMAND finds the key and the fencing token in OSTRAKA_LOCK_KEY and OSTRAKA_LOCK_TOKEN (and, as etcdctl has "
        "it, in ETCD_LOCK_KEY and ETCD_LOCK_REV), and its exit code is ours. It is ended if the lock is lost."
    )
    _add_name(parser, "the lock's name")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="with its arguments")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if command and command[0].startswith("-"):
        parser.error(f"{command[0]} stands behind NAME, where the command is: options go before it")
    if command and shutil.which(command[0]) is None:
        parser.error(f"there is no command {command[0]!r}")
    try:
        with (
            stopped_by_sigterm(),
            Client(options.endpoints, timeout=options.timeout) as client,
            client.lock(os.fsencode(options.name), ttl=options.ttl) as held,
        ):
            if command:
                return run(command, held)
            return hold(held, options.output)
    except OstrakaError as error:
        return failed(error)


def elect(arguments: Sequence[str]) -> int:
    """`ostraka elect NAME VALUE`, `ostraka elect NAME --listen`"""
    parser = parser_of("elect", "Be a candidate, and lead once elected, until this is interrupted; or see who leads.")
    _add_name(parser, "the election's name")
    parser.add_argument("value", nargs="?", help="what the candidate says of itself")
    parser.add_argument("--listen", action="store_true", help="show who leads, whenever that changes")
    options = parser.parse_args(arguments)
    if options.listen == (options.value is not None):
        parser.error("give a value to be a candidate, or --listen to see who leads")
    try:
        with stopped_by_sigterm(), Client(options.endpoints, timeout=options.timeout) as client:
            election = client.election(os.fsencode(options.name), ttl=options.ttl)
            if options.listen:
                with election.observe() as leaders:
                    for leader in leaders:
                        _tell_leader(options.output, leader)
                return DONE
            with election.campaign(os.fsencode(options.value)) as leadership:
                return hold(leadership, options.output, options.value)
    except OstrakaError as error:
        return failed(error)


def hold(claim: Lock | Leadership, output: str | None, value: str | None = None) -> int:
    """Say that it is ours, and keep it until it is lost, or we are asked to end."""
    try:
        _tell(output, claim, value)
        claim.lost.wait()
    except KeyboardInterrupt:
        return DONE
    print(f"ostraka: {shown(claim.name)} is lost: {claim.lost.reason}", file=sys.stderr)
    return NOT_DONE


def run(command: Sequence[str], held: Lock) -> int:
    """Run it while the lock is held. Returns its exit code."""
    key, token = os.fsdecode(held.key), str(held.token)
    names = {"OSTRAKA_LOCK_KEY": key, "OSTRAKA_LOCK_TOKEN": token, "ETCD_LOCK_KEY": key, "ETCD_LOCK_REV": token}
    with subprocess.Popen(command, env={**os.environ, **names}) as process:
        try:
            while (code := _ended(process)) is None:
                if held.lost.is_set():
                    print(f"ostraka: the lock is lost, so {command[0]} is ended: {held.lost.reason}", file=sys.stderr)
                    _end(process)
                    return NOT_DONE
        except Stopped:
            process.terminate()
            code = process.wait()
        except KeyboardInterrupt:  # It was interrupted, too.
            code = process.wait()
    return code if code >= 0 else 128 - code


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(LOOK)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(FAREWELL)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM lets go of what is held, as an interrupt does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _add_name(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--ttl", type=number(1, 9_000_000_000), default=10, help="seconds that it outlives us; 10")
    parser.add_argument("name", help=text)


def _tell(form: str | None, claim: Lock | Leadership, value: str | None = None) -> None:
    said = {"key": shown(claim.key), **({} if value is None else {"value": value}), "token": claim.token}
    lines = [str(text) for name, text in said.items() if name != "token"]
    print_as(form, [*lines, f"token {claim.token}"], tuple(said), [tuple(said.values())], said)
    sys.stdout.flush()


def _tell_leader(form: str | None, leader: KeyValue | None) -> None:
    if leader is None:
        print("ostraka: nobody leads", file=sys.stderr)
        return
    said = {"key": shown(leader.key), "value": shown(leader.value), "token": leader.create_revision}
    lines = [said["key"], said["value"], f"token {leader.create_revision}"]
    print_as(form, [str(line) for line in lines], tuple(said), [tuple(said.values())], said)
    sys.stdout.flush()
