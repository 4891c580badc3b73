"""Writers and readers on a cluster under attack, what they were promised, and the proof that it was kept."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ostraka.api import etcd
from ostraka.cli.cluster import Cluster, Node
from ostraka.client import Client, Status
from ostraka.errors import NotExecuted, OutcomeUnknown

PATIENCE = 1.0  # Seconds that one request may take.
WAIT = 60.0  # Seconds within which anything awaited must have come.


class Fate(Enum):
    ACKNOWLEDGED = "acknowledged"
    NOT_EXECUTED = "not executed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Put:
    key: bytes
    value: bytes
    fate: Fate
    revision: int  # 0 unless acknowledged.


@dataclass
class Pair:
    """One key on one node."""

    value: bytes
    created: int
    modified: int
    version: int


def until(condition: Callable[[], bool], what: str, cluster: Cluster | None = None) -> None:
    """Wait for a condition; fail with what was awaited, and the ends of the logs."""
    give_up = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > give_up:
            tails = [node.log_tail() for node in cluster.nodes] if cluster is not None else []
            raise AssertionError("\n".join([f"after {WAIT:.0f} s still not: {what}", *tails]))
        time.sleep(0.05)


def put(endpoints: Sequence[str], key: bytes, value: bytes, timeout: float = PATIENCE) -> int:
    """The revision that a put was given."""
    with Client(endpoints, timeout=timeout) as client:
        return client.put(key, value).revision


def fetch(endpoints: Sequence[str], timeout: float = PATIENCE, **request: Any) -> Any:
    """The reply to a RangeRequest with these fields."""
    with Client(endpoints, timeout=timeout) as client:
        return client.call("/etcdserverpb.KV/Range", etcd.RangeRequest(**request))


def status(node: Node) -> Status | None:
    """The node's own account of itself; None if it gives none."""
    try:
        with Client([node.endpoint], timeout=1.0) as client:
            return client.status()
    except (NotExecuted, OutcomeUnknown):
        return None


def leader_of(nodes: Sequence[Node]) -> Node | None:
    """The node among these which leads the latest epoch, if one says so."""
    claims = []
    for node in nodes:
        reply = status(node)
        if reply is not None and reply.leads:
            claims.append((reply.term, node))
    return max(claims, key=lambda claim: claim[0], default=(0, None))[1]


@dataclass
class Recorder:
    """Several threads that put and get, and what became of each request.

    Writers put keys that are never written again, and now and then count a key of their own up. After a count whose
    outcome is unknown they turn to another key, since that put may still happen, even after a later one.
    """

    cluster: Cluster
    writers: int = 3
    readers: int = 1
    puts: list[Put] = field(default_factory=list)
    reads: int = 0
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._revision = 0  # What any reply has shown: no later request may see less.
        self._counts: dict[bytes, int] = {}  # The same for each counted key.
        self._threads = [
            threading.Thread(target=self._guard, args=(work, number), daemon=True)
            for work, amount in ((self._write, self.writers), (self._read, self.readers))
            for number in range(amount)
        ]

    def __enter__(self) -> Recorder:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10 * PATIENCE)
            assert not thread.is_alive(), "a request took longer than its timeout by far"

    def count(self, fate: Fate) -> int:
        with self._lock:
            return sum(put.fate is fate for put in self.puts)

    def more(self, count: int = 30) -> None:
        """Wait until so many more puts and some more reads are done."""
        puts, reads = self.count(Fate.ACKNOWLEDGED) + count, self.reads + count // 10
        until(
            lambda: (self.count(Fate.ACKNOWLEDGED) >= puts and self.reads >= reads) or bool(self.errors),
            f"{count} more puts acknowledged",
            self.cluster,
        )

    def _guard(self, work: Callable[[int, list[Client]], None], number: int) -> None:
        try:
            with contextlib.ExitStack() as stack:
                endpoints = self.cluster.endpoints
                orders = [endpoints[first:] + endpoints[:first] for first in range(len(endpoints))]
                work(number, [stack.enter_context(Client(order, timeout=PATIENCE)) for order in orders])
        except AssertionError as error:
            self.errors.append(str(error))

    def _write(self, number: int, clients: list[Client]) -> None:
        sequence, generation = 0, 0
        while not self._stopping.wait(0.002):
            sequence += 1
            self._put(random.choice(clients), b"unique/%d/%d" % (number, sequence), b"%d" % sequence)
            if sequence % 3 == 0:
                key = b"counted/%d/%d" % (number, generation)
                if self._put(random.choice(clients), key, b"%d" % sequence) is Fate.UNKNOWN:
                    generation += 1

    def _put(self, client: Client, key: bytes, value: bytes) -> Fate:
        before = self._revision
        revision = 0
        try:
            revision = client.put(key, value).revision
            fate = Fate.ACKNOWLEDGED
        except NotExecuted:
            fate = Fate.NOT_EXECUTED
        except OutcomeUnknown:
            fate = Fate.UNKNOWN
        with self._lock:
            self.puts.append(Put(key, value, fate, revision))
            if fate is Fate.ACKNOWLEDGED:
                self._revision = max(self._revision, revision)
                if key.startswith(b"counted/"):
                    self._counts[key] = max(self._counts.get(key, 0), int(value))
        assert fate is not Fate.ACKNOWLEDGED or revision > before, (
            f"put {key.decode()} got revision {revision}, though {before} had been shown before it began"
        )
        return fate

    def _read(self, number: int, clients: list[Client]) -> None:
        while not self._stopping.wait(0.002):
            self._get(random.choice(clients))

    def _get(self, client: Client) -> None:
        with self._lock:
            counts, before = dict(self._counts), self._revision
        if not counts:
            return
        key = random.choice(sorted(counts))
        try:
            reply = client.call("/etcdserverpb.KV/Range", etcd.RangeRequest(key=key))
        except (NotExecuted, OutcomeUnknown):
            return
        found = int(reply.kvs[0].value) if reply.kvs else 0
        with self._lock:
            self.reads += 1
            self._counts[key] = max(self._counts[key], found)
            self._revision = max(self._revision, reply.header.revision)
        assert found >= counts[key], f"get {key.decode()} returned {found}, though {counts[key]} was known before it"
        assert reply.header.revision >= before, (
            f"get {key.decode()} saw revision {reply.header.revision}, though {before} was known before it"
        )


State = tuple[int, dict[bytes, Pair]]
"""Revision, and all keys."""


def contents(node: Node) -> State:
    """What this node has executed. Raises NotExecuted, OutcomeUnknown."""
    reply = fetch([node.endpoint], key=b"\0", range_end=b"\0", serializable=True, timeout=10.0)
    pairs = {kv.key: Pair(kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in reply.kvs}
    return reply.header.revision, pairs


def settled(cluster: Cluster) -> dict[str, State]:
    """The state of each node, once all have come equally far."""
    states: dict[str, State] = {}

    def at_one_revision() -> bool:
        with contextlib.suppress(NotExecuted, OutcomeUnknown):
            fetch(cluster.endpoints, key=b"none")  # Linearizable, so what was acknowledged is committed and known.
            states.update({node.name: contents(node) for node in cluster.nodes})
            return len({revision for revision, _ in states.values()}) == 1
        return False

    until(at_one_revision, "all nodes are at the same revision", cluster)
    return states


def verify(recorder: Recorder) -> None:
    """Nobody writes any more, and all nodes run: whatever was promised must be found on each of them."""
    cluster = recorder.cluster
    assert not recorder.errors, recorder.errors
    states = settled(cluster)
    first = cluster.nodes[0].name
    for name, state in states.items():
        assert state == states[first], f"{name} and {first} differ: {difference(state, states[first])}"
    found_revision, pairs = states[first]
    wrong = [fault for each in recorder.puts for fault in _faults(each, pairs)]
    assert not wrong, f"{len(wrong)} promises broken: {wrong[:10]}"
    executed = sum(pair.version for pair in pairs.values())
    assert executed == found_revision - 1, f"{executed} puts made {found_revision - 1} revisions"
    for key, pair in pairs.items():
        attempts = [put for put in recorder.puts if put.key == key] if key.startswith(b"counted/") else []
        acknowledged = sum(put.fate is Fate.ACKNOWLEDGED for put in attempts)
        possible = sum(put.fate is not Fate.NOT_EXECUTED for put in attempts)
        if attempts:
            assert acknowledged <= pair.version <= possible, (
                f"{key.decode()} was executed {pair.version} times, acknowledged {acknowledged} of {possible} times"
            )
    assert recorder.count(Fate.ACKNOWLEDGED) > 50 and recorder.reads > 5, "the load did too little to prove anything"


def _faults(put: Put, pairs: dict[bytes, Pair]) -> list[str]:
    name = f"{put.key.decode()}={put.value.decode()} ({put.fate.value})"
    pair = pairs.get(put.key)
    if put.fate is Fate.ACKNOWLEDGED and (pair is None or pair.modified < put.revision):
        return [f"{name} is lost: there is {pair}"]
    if put.key.startswith(b"counted/"):
        if put.fate is Fate.NOT_EXECUTED and pair is not None and pair.value == put.value:
            return [f"{name} is there: {pair}"]
        return []
    if pair is None:
        return []
    if put.fate is Fate.NOT_EXECUTED:
        return [f"{name} is there: {pair}"]
    if (pair.value, pair.version) != (put.value, 1) or pair.created != pair.modified:
        return [f"{name} was executed more than once: {pair}"]
    if put.fate is Fate.ACKNOWLEDGED and pair.modified != put.revision:
        return [f"{name} was given revision {put.revision}, and has another: {pair}"]
    return []


def difference(one: State, other: State) -> str:
    """Some of what two states do not share."""
    keys = [key for key in sorted(one[1].keys() | other[1].keys()) if one[1].get(key) != other[1].get(key)]
    shown = [f"{key.decode()}: {one[1].get(key)} and {other[1].get(key)}" for key in keys[:5]]
    return f"revisions {one[0]} and {other[0]}, {len(keys)} keys: " + "; ".join(shown)
