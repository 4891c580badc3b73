"""The same calls of the Lease, Election and Lock services, to a real etcd and to a server of ours, come to the same.

What is compared is a transcript: each call's answer or its error, less what names the cluster. Ids that a server has
drawn, and keys made of them, are told apart, and named in the order of their first appearance.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ostraka.api.services import METHODS
from ostraka.cli.cluster import SERVE, Cluster

from .test_against_etcd import ETCD, FLAGS

LEASE, ELECTION, LOCK, KV = "/etcdserverpb.Lease/", "/v3electionpb.Election/", "/v3lockpb.Lock/", "/etcdserverpb.KV/"
PATIENCE = 20.0


class Session:
    """Calls to one server, and what they came to."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.transcript: list[str] = []

    def start(self, path: str, **fields: Any) -> Any:
        """A call that may take its time."""
        method = METHODS[path]
        call = self.channel.unary_unary(path, method.request.SerializeToString, method.response.FromString)
        return call.future(method.request(**fields), timeout=PATIENCE)

    def end(self, path: str, future: Any) -> Any:
        """Its reply, or None."""
        try:
            reply = future.result()
        except grpc.RpcError as error:
            self.note(f"{path}: {error.code()} {error.details()}")
            return None
        self.note(f"{path}: {reply}")
        return reply

    def ask(self, path: str, **fields: Any) -> Any:
        return self.end(path, self.start(path, **fields))

    def note(self, text: str) -> None:
        """Of a lease's keys etcd tells in any order."""
        text = re.sub(r"(cluster_id|member_id|raft_term): \d+", r"\1", text)
        text = re.sub(r"(keys: .*\n)+", lambda match: "".join(sorted(match[0].splitlines(True))), text)
        self.transcript.append(text)

    def until(self, count: int, prefix: bytes) -> None:
        """Until there are so many keys."""
        while len(self.quietly(KV + "Range", key=prefix, range_end=prefix[:-1] + b"0", limit=0).kvs) != count:
            pass

    def quietly(self, path: str, **fields: Any) -> Any:
        return self.start(path, **fields).result()


def leases(s: Session) -> None:
    for ttl, lease in ((0, 0), (-5, -3), (9_000_000_001, 4), (9_000_000_000, 5), (10, 5), (9_000_000_001, 5), (100, 7)):
        s.ask(LEASE + "LeaseGrant", TTL=ttl, ID=lease)
    for lease in (7, 99, 0):
        s.ask(LEASE + "LeaseTimeToLive", ID=lease, keys=True)
    s.ask(LEASE + "LeaseLeases")
    for lease in (99, 0):
        s.ask(LEASE + "LeaseRevoke", ID=lease)
    s.ask(KV + "Put", key=b"a", lease=7)
    s.ask(KV + "Put", key=b"b", lease=7)
    method = METHODS[LEASE + "LeaseKeepAlive"]
    keep = s.channel.stream_stream(method.path, method.request.SerializeToString, method.response.FromString)
    for reply in keep(iter([method.request(ID=lease) for lease in (7, 99, 0)]), timeout=PATIENCE):
        s.note(f"kept alive: {reply}")
    s.ask(LEASE + "LeaseTimeToLive", ID=7, keys=True)
    s.ask(LEASE + "LeaseRevoke", ID=7)
    s.ask(KV + "Range", key=b"\0", range_end=b"\0")


def elections(s: Session) -> None:
    s.ask(LEASE + "LeaseGrant", TTL=100, ID=0x77)
    s.ask(ELECTION + "Leader", name=b"e")
    s.ask(ELECTION + "Proclaim", value=b"x")
    s.ask(ELECTION + "Resign")
    s.ask(ELECTION + "Campaign", name=b"e", lease=99, value=b"v")
    leader = s.ask(ELECTION + "Campaign", name=b"e", lease=0x77, value=b"v").leader
    s.ask(ELECTION + "Campaign", name=b"e", lease=0x77, value=b"w")
    s.ask(ELECTION + "Leader", name=b"e")
    s.ask(ELECTION + "Proclaim", leader=leader, value=b"x")
    other = type(leader)(name=b"e", key=leader.key, rev=1, lease=leader.lease)
    s.ask(ELECTION + "Proclaim", leader=other, value=b"y")
    s.ask(ELECTION + "Resign", leader=other)
    second = s.start(ELECTION + "Campaign", name=b"e", value=b"second")
    s.until(2, b"e/")
    s.ask(ELECTION + "Resign", leader=leader)
    s.end("second", second)
    s.ask(ELECTION + "Proclaim", leader=leader, value=b"late")
    third = s.start(ELECTION + "Campaign", name=b"e", lease=0x77)
    s.until(2, b"e/")
    third.cancel()
    s.until(1, b"e/")
    s.ask(ELECTION + "Campaign", name=b"", value=b"without a name")
    s.ask(ELECTION + "Proclaim", leader={"name": b"x"}, value=b"v")
    s.ask(ELECTION + "Resign", leader={"name": b"x"})
    s.ask(ELECTION + "Proclaim", leader={"name": b"x", "key": b"k", "lease": 12345}, value=b"v")


def observing(s: Session) -> None:
    s.ask(LEASE + "LeaseGrant", TTL=100, ID=0x79)
    method = METHODS[ELECTION + "Observe"]
    observe = s.channel.unary_stream(method.path, method.request.SerializeToString, method.response.FromString)
    first = s.quietly(ELECTION + "Campaign", name=b"o", lease=0x79, value=b"0").leader
    stream = observe(method.request(name=b"o"), timeout=PATIENCE)
    heard: list[str] = []
    told = threading.Semaphore(0)

    def listen() -> None:
        try:
            for reply in stream:
                heard.append(f"observed: {reply}")
                told.release()
        except grpc.RpcError as error:
            heard.append(f"observed: {error.code()}")

    listener = threading.Thread(target=listen)
    listener.start()
    assert told.acquire(timeout=PATIENCE)
    s.quietly(ELECTION + "Proclaim", leader=first, value=b"1")
    assert told.acquire(timeout=PATIENCE)
    s.quietly(ELECTION + "Resign", leader=first)
    s.quietly(ELECTION + "Campaign", name=b"o", lease=0x79, value=b"2")
    assert told.acquire(timeout=PATIENCE)
    stream.cancel()
    listener.join()
    for line in heard:
        s.note(line)


def locks(s: Session) -> None:
    for lease in (0x7A, 0x7B, -2):
        s.ask(LEASE + "LeaseGrant", TTL=100, ID=lease)
    s.ask(LOCK + "Lock", name=b"l", lease=99)
    first = s.ask(LOCK + "Lock", name=b"l", lease=0x7A)
    s.ask(LOCK + "Lock", name=b"l", lease=0x7A)
    second = s.start(LOCK + "Lock", name=b"l", lease=0x7B)
    s.until(2, b"l/")
    third = s.start(LOCK + "Lock", name=b"l")
    s.until(3, b"l/")
    s.ask(LEASE + "LeaseRevoke", ID=0x7B)
    s.ask(LOCK + "Unlock", key=first.key)
    s.end("second", second)
    key = s.end("third", third).key
    s.ask(LEASE + "LeaseTimeToLive", ID=int(key.partition(b"/")[2], 16), keys=True)
    s.ask(LOCK + "Unlock", key=key)
    s.ask(LOCK + "Unlock", key=b"")
    s.ask(LOCK + "Unlock", key=b"nobody's")
    s.ask(LOCK + "Lock", name=b"negative", lease=-2)


@pytest.fixture
def channels(tmp_path: Path) -> Iterator[list[grpc.Channel]]:
    """To an etcd and to a server of ours."""
    with (
        Cluster(tmp_path / "ours", 1, command=SERVE, flags=FLAGS) as ours,
        Cluster(tmp_path / "etcd", 1, command=(str(ETCD),), flags=FLAGS) as theirs,
    ):
        ours.start()
        theirs.start()
        pair = [grpc.insecure_channel(each.nodes[0].endpoint) for each in (ours, theirs)]
        try:
            yield pair
        finally:
            for channel in pair:
                channel.close()


def named(transcript: list[str]) -> list[str]:
    """With names for the numbers that a server has drawn: as decimal numbers, or in keys."""
    names: dict[int, str] = {}

    def name(match: re.Match[str]) -> str:
        return names.setdefault(int(match[0]), f"id {len(names) + 1}")

    text = "\0".join(transcript)
    text = re.sub(r"(?<=/)[0-9a-f]{12,16}(?=\")", lambda match: str(int(match[0], 16)), text)
    return re.sub(r"\b\d{13,19}\b", name, text).split("\0")


@pytest.mark.process
@pytest.mark.parametrize("script", [leases, elections, observing, locks])
def test_a_session_comes_to_what_it_does_in_etcd(channels: list[grpc.Channel], script: Any) -> None:
    transcripts = []
    for channel in channels:
        session = Session(channel)
        script(session)
        transcripts.append(named(session.transcript))
    ours, theirs = transcripts
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, f"call {number}"
    assert len(ours) > 2
