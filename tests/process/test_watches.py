"""Watches on real processes that are killed: whoever goes on elsewhere is told everything, once and in order."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.checkers.watch import Event, Pair, Request, Response, Watch, check
from ostraka.cli.cluster import Cluster, Node
from tests.process.conftest import Start
from tests.process.recorder import Fate, Recorder, put, settled, until, verify
from tests.process.test_misfortunes import cut_the_power, kill_a_follower, kill_the_leader

WATCH = "/etcdserverpb.Watch/Watch"
EVERYTHING = Request(b"", b"\0", 1, prev_kv=True)
REQUESTS = (
    EVERYTHING,
    Request(b"counted/", b"counted0", 1, prev_kv=True),
    Request(b"unique/0/", b"unique/2", 1),
    Request(b"", b"\0", 1, puts=False),  # Told nothing but progress.
)


def pair_of(pair: Any) -> Pair:
    return Pair(pair.key, pair.value, pair.create_revision, pair.mod_revision, pair.version, pair.lease)


def event_of(event: Any) -> Event:
    put = event.type == 0
    previous = pair_of(event.prev_kv) if event.HasField("prev_kv") else None
    return Event(event.kv.mod_revision, event.kv.key, pair_of(event.kv) if put else None, previous)


def response_of(found: Any) -> Response:
    events = tuple(map(event_of, found.events))
    return Response(
        found.header.revision, events, found.created, found.canceled, found.compact_revision, found.fragment
    )


def creation(request: Request) -> Any:
    kinds = etcd.WatchCreateRequest
    create = kinds(
        key=request.key,
        range_end=request.range_end,
        start_revision=request.start,
        filters=[] if request.puts else [kinds.NOPUT],
        prev_kv=request.prev_kv,
        progress_notify=True,
    )
    return etcd.WatchRequest(create_request=create)


class Watcher:
    """Watches one thing through any node, in a thread of its own, and goes on elsewhere when its stream breaks."""

    def __init__(self, nodes: Sequence[Node], request: Request) -> None:
        self.request = request
        self.records: list[Watch] = []
        self.reached = request.start - 1  # It has been told all up to here.
        self.breaks = 0
        self._nodes = nodes
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._asked.put(None)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def ask_for_progress(self) -> None:
        self._asked.put(etcd.WatchRequest(progress_request=etcd.WatchProgressRequest()))

    def _run(self) -> None:
        while not self._over.is_set():
            node = random.choice(self._nodes)
            try:
                with grpc.insecure_channel(node.endpoint) as channel:
                    self._listen(channel, node)
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error
                self.breaks += 1
                time.sleep(0.05)

    def _listen(self, channel: grpc.Channel, node: Node) -> None:
        method = METHODS[WATCH]
        asked = self._asked = queue.SimpleQueue()
        asked.put(creation(self._continued()))
        self.records.append(Watch(self._continued(), [], f"{len(self.records)} at {node.name}"))
        call = channel.stream_stream(WATCH, method.request.SerializeToString, method.response.FromString)
        for found in call(iter(asked.get, None), metadata=[("hasleader", "true")]):
            response = response_of(found)
            if response.created and not self.records[-1].responses:
                self.records[-1].responses.append(response)
                continue
            self.records[-1].responses.append(response)
            self.reached = max(self.reached, response.revision)
            if self._over.is_set():
                return

    def _continued(self) -> Request:
        request = self.request
        return Request(
            request.key, request.range_end, self.reached + 1, request.puts, request.deletions, request.prev_kv
        )


def history(node: Node, revision: int) -> list[Event]:
    """All that has happened, as this node tells it."""
    watcher = Watcher([node], EVERYTHING)
    until(lambda: watcher.reached >= revision, f"{node.name} has told all")
    watcher.ask_for_progress()
    watcher.stop()
    return [event for watch in watcher.records for each in watch.responses for event in each.events]


def watching(cluster: Cluster) -> Iterator[Watcher]:
    for request in REQUESTS:
        yield Watcher(cluster.nodes, request)


def test_watchers_miss_nothing_though_nodes_are_killed(start: Start) -> None:
    cluster = start(3)
    watchers = list(watching(cluster))
    with Recorder(cluster) as load:
        for misfortune in (kill_the_leader, kill_a_follower, cut_the_power):
            load.more()
            misfortune(cluster, load)
            cluster.await_ready()
        load.more()
    verify(load)
    revision = settled(cluster)[cluster.nodes[0].name][0]

    def all_told() -> bool:
        for watcher in watchers:
            watcher.ask_for_progress()
        return all(watcher.reached >= revision for watcher in watchers)

    until(all_told, "all watchers have been told all", cluster)
    for watcher in watchers:
        watcher.ask_for_progress()
        watcher.stop()
    truth = history(cluster.nodes[0], revision)
    assert all(history(node, revision) == truth for node in cluster.nodes[1:])
    for each in load.puts:
        if each.fate is Fate.ACKNOWLEDGED:
            [event] = [event for event in truth if event.revision == each.revision]
            assert event.pair is not None and (event.key, event.pair.value) == (each.key, each.value)
    assert truth[-1].revision == revision == len(truth) + 1
    for watcher in watchers:
        for record in watcher.records:
            violation = check(record, truth) if record.responses else None
            assert violation is None, violation
        told = [event.revision for each in watcher.records for found in each.responses for event in found.events]
        assert told == [event.revision for event in truth if watcher.request.wants(event)]
    assert sum(watcher.breaks for watcher in watchers) >= len(watchers), "too little happened"


class Listening:
    """One stream to one node, heard in a thread of its own until it ends."""

    def __init__(self, channel: grpc.Channel, *metadata: tuple[str, str]) -> None:
        self.heard: list[Any] = []
        self.error: Any = None
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked.put(creation(Request(b"k")))
        method = METHODS[WATCH]
        call = channel.stream_stream(WATCH, method.request.SerializeToString, method.response.FromString)
        self._call = call(iter(self._asked.get, None), metadata=metadata)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            for found in self._call:
                self.heard.append(found)
        except grpc.RpcError as error:
            self.error = error
        self._asked.put(None)

    def stop(self) -> None:
        self._call.cancel()


def test_only_a_stream_that_wants_a_leader_ends_when_there_is_none(start: Start) -> None:
    cluster = start(3)
    node, *others = cluster.nodes
    with grpc.insecure_channel(node.endpoint) as channel:
        wants, content = Listening(channel, ("hasleader", "true")), Listening(channel)
        until(lambda: wants.heard and content.heard, "both are told that they are created", cluster)
        for other in others:
            other.kill()
        until(lambda: wants.error is not None, "the stream ends", cluster)
        assert (wants.error.code(), wants.error.details()) == (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")
        late = Listening(channel, ("hasleader", "true"))
        until(lambda: late.error is not None, "another one is refused", cluster)
        assert late.error.details() == "etcdserver: no leader"
        for other in others:
            cluster.launch(other)
        cluster.await_ready()
        put([other.endpoint for other in others], b"k", b"v")
        until(lambda: len(content.heard) > 1, "the other one goes on", cluster)
        content.stop()
