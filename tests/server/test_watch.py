"""The Watch service over a scripted group: what clients ask on a stream, and what they are told, message by message."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.database.commands import Compact, DeleteRange, Put, Txn, encode
from ostraka.database.watch import Bounds
from ostraka.errors import Corruption
from ostraka.model.ids import SECOND
from ostraka.model.requests import Members, Request
from ostraka.server.calls import MAX_UNREAD_IN_ALL
from ostraka.server.metrics import Traffic, registry_of
from ostraka.server.watch import LEAST_INTERVAL, PATH
from ostraka.transport.http2.client import Outcome
from ostraka.transport.http2.errors import Status

from .scripted import CLUSTER, ME, OTHER, PATIENCE, World

ROOM = Bounds().room
EVERYTHING = {"key": b"\0", "range_end": b"\0"}


class Stream:
    """A client's side of one stream. It is the `Caller` of its call."""

    def __init__(self, world: World, **metadata: str) -> None:
        self.world = world
        self.responses: list[Any] = []
        self.outcome: Outcome | None = None
        self.call = world.client.stream(PATH, self, world.now, metadata=metadata.items())
        world.deliver()

    def on_message(self, message: bytes) -> None:
        response = etcd.WatchResponse.FromString(message)
        assert response.SerializeToString() == message, "packed as protobuf packs it"
        assert (response.header.cluster_id, response.header.member_id) == (CLUSTER, ME)
        assert response.header.raft_term == 3
        self.responses.append(response)

    def on_end(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def on_drained(self) -> None:
        """All has left."""

    def send(self, **request: Any) -> list[Any]:
        """Ask for this; what is said before anything else happens."""
        self.call.send(etcd.WatchRequest(**request).SerializeToString())
        return self.take()

    def create(self, key: bytes = b"k", **more: Any) -> Any:
        """The one response to a watch's creation."""
        [response] = self.send(create_request={"key": key, **more})
        return response

    def take(self) -> list[Any]:
        """What has come since."""
        turned(self.world)
        responses, self.responses = self.responses, []
        return responses

    def taken(self) -> list[str]:
        """The same in short."""
        return [brief(response) for response in self.take()]


def brief(response: Any) -> str:
    words = [f"{response.watch_id} at {response.header.revision}"]
    words += [name for name in ("created", "canceled", "fragment") if getattr(response, name)]
    if response.compact_revision:
        words.append(f"compacted {response.compact_revision}")
    if response.cancel_reason:
        words.append(response.cancel_reason)
    words += [event_text(event) for event in response.events]
    return " | ".join(words)


def event_text(event: Any) -> str:
    pair = event.kv
    said = f"{pair.key.decode()}={pair.value.decode()}" if event.type == 0 else f"{pair.key.decode()} gone"
    before = f" was {event.prev_kv.value.decode()}" if event.HasField("prev_kv") else ""
    return f"{said} {pair.mod_revision}{before}"


@pytest.fixture
def world() -> World:
    return World()


def do(world: World, command: Any) -> None:
    world.group.propose(Request(encode(command)), lambda reply, error: None)
    world.group.decide()


def turned(world: World) -> None:
    """Until nothing more is to be done or said."""
    world.deliver()
    while world.host.soon:
        world.host.turn()
        world.deliver()


def put(world: World, key: bytes, value: bytes = b"") -> None:
    do(world, Put(key, value))


def test_a_watch_is_created_and_then_told(world):
    stream = Stream(world)
    assert brief(stream.create(b"k")) == "0 at 1 | created"
    put(world, b"k", b"v")
    put(world, b"other", b"v")
    turned(world)
    assert stream.taken() == ["0 at 2 | k=v 2"]
    do(world, DeleteRange(b"k"))
    assert stream.taken() == ["0 at 4 | k gone 4"]


def test_an_event_is_as_etcd_packs_it(world):
    stream = Stream(world)
    stream.create(b"k", prev_kv=True)
    put(world, b"k", b"v")
    put(world, b"k", b"w")
    do(world, DeleteRange(b"k"))
    [response] = stream.take()
    kinds = etcd.Event
    first = {"key": b"k", "create_revision": 2, "mod_revision": 2, "version": 1, "value": b"v"}
    second = {**first, "mod_revision": 3, "version": 2, "value": b"w"}
    assert list(response.events) == [
        etcd.Event(type=kinds.PUT, kv=first),
        etcd.Event(type=kinds.PUT, kv=second, prev_kv=first),
        etcd.Event(type=kinds.DELETE, kv={"key": b"k", "mod_revision": 4}, prev_kv=second),
    ]


def test_many_watches_on_one_stream_each_under_its_id(world):
    stream = Stream(world)
    assert [stream.create(b"k").watch_id for _ in range(2)] == [0, 1]
    assert stream.create(b"k", watch_id=3).watch_id == 3
    assert [stream.create(b"k").watch_id for _ in range(2)] == [2, 4]
    put(world, b"k")
    assert sorted(response.watch_id for response in stream.take()) == [0, 1, 2, 3, 4]


def test_an_id_that_is_taken_is_refused(world):
    stream = Stream(world)
    stream.create(b"k", watch_id=7)
    refused = stream.create(b"l", watch_id=7)
    assert brief(refused) == "-1 at 1 | created | canceled | mvcc: duplicate watch ID provided on the WatchStream"
    stream.send(cancel_request={"watch_id": 7})
    assert stream.create(b"l", watch_id=7).watch_id == 7, "free again"


def test_what_can_not_be_watched_is_created_and_canceled(world):
    stream = Stream(world)
    assert brief(stream.create(b"b", range_end=b"a")) == "-1 at 1 | created | canceled | mvcc: watcher range is empty"
    text = "etcdserver: mvcc: required revision has been compacted"
    assert brief(stream.create(b"b", start_revision=-1)) == f"-1 at 1 | created | canceled | {text}"
    put(world, b"b")
    assert stream.take() == []


def test_a_watch_that_is_canceled_is_told_nothing_more(world):
    stream = Stream(world)
    stream.create(b"k")
    put(world, b"k")
    assert [brief(each) for each in stream.send(cancel_request={"watch_id": 0})] == ["0 at 2 | canceled"]
    put(world, b"k")
    assert stream.send(cancel_request={"watch_id": 0}) == [], "nor of its being canceled again"
    assert world.router.routes[PATH] and stream.outcome is None


def test_requests_that_say_nothing_are_passed_over(world):
    stream = Stream(world)
    assert stream.send() == []
    assert brief(stream.create(b"")) == "0 at 1 | created"


def test_the_past_comes_after_the_creation(world):
    for value in (b"1", b"2", b"3"):
        put(world, b"k", value)
    stream = Stream(world)
    created, past = stream.send(create_request={"key": b"k", "start_revision": 3, "prev_kv": True})
    assert brief(created) == "0 at 4 | created"
    assert brief(past) == "0 at 4 | k=2 3 was 1 | k=3 4 was 2"


def test_what_is_compacted_ends_the_watch(world):
    for value in (b"1", b"2", b"3"):
        put(world, b"k", value)
    do(world, Compact(3))
    stream = Stream(world)
    said = stream.send(create_request={"key": b"k", "start_revision": 2})
    assert [brief(each) for each in said] == ["0 at 4 | created", "0 at 0 | canceled | compacted 3"]
    said = stream.send(create_request={"key": b"k", "start_revision": 3, "prev_kv": True})
    assert [brief(each) for each in said] == ["1 at 4 | created", "1 at 4 | k=2 3 | k=3 4 was 2"]


def test_filters(world):
    stream = Stream(world)
    stream.create(b"k", filters=["NOPUT"])
    stream.create(b"k", filters=["NODELETE"])
    stream.create(b"k", filters=["NODELETE", "NOPUT"])
    put(world, b"k", b"v")
    assert stream.taken() == ["1 at 2 | k=v 2"]
    do(world, DeleteRange(b"k"))
    assert stream.taken() == ["0 at 3 | k gone 3"]


def test_a_transaction_is_one_response(world):
    stream = Stream(world)
    stream.create(**EVERYTHING)
    do(world, Txn(success=(Put(b"b", b"1"), Put(b"a", b"2"))))
    assert stream.taken() == ["0 at 2 | b=1 2 | a=2 2"]


def test_a_large_response_comes_in_fragments_if_that_was_asked_for():
    world = World(max_request_bytes=100)
    stream = Stream(world)
    stream.create(b"a", range_end=b"z", fragment=True)
    stream.create(b"a", range_end=b"z")
    value = bytes(world.member.largest_message // 3)
    do(world, Txn(success=tuple(Put(key, value) for key in (b"k", b"l", b"m", b"n"))))
    pieces = stream.take()
    found = [(each.watch_id, each.fragment, [event.kv.key for event in each.events]) for each in pieces]
    assert sorted(found) == [
        (0, False, [b"m", b"n"]),
        (0, True, [b"k", b"l"]),
        (1, False, [b"k", b"l", b"m", b"n"]),
    ]
    assert {each.header.revision for each in pieces} == {2}


def test_progress_is_told_on_request_for_all_watches_at_once(world):
    stream = Stream(world)
    assert [brief(each) for each in stream.send(progress_request={})] == ["-1 at 1"]
    stream.create(b"k")
    stream.create(b"l", range_end=b"m")
    put(world, b"k", b"v")
    assert [brief(each) for each in stream.send(progress_request={})] == ["0 at 2 | k=v 2", "-1 at 2"]


def test_progress_is_told_to_quiet_watches_that_want_it(world):
    stream = Stream(world)
    stream.create(b"k", progress_notify=True)
    stream.create(b"l", progress_notify=True)
    stream.create(b"m")
    put(world, b"k", b"v")
    stream.take()
    world.host.pass_time(660 * SECOND)
    assert stream.taken() == ["1 at 2"]
    world.host.pass_time(500 * SECOND)
    assert stream.taken() == []
    world.host.pass_time(160 * SECOND)
    assert sorted(stream.taken()) == ["0 at 2", "1 at 2"]
    stream.call.cancel()
    turned(world)
    world.host.pass_time(660 * SECOND)
    assert all(timer.when > world.host.time for timer in world.host.timers), "no timer outlives the stream"


def test_progress_is_not_told_to_what_has_ended(world):
    stream = Stream(world)
    stream.create(b"k", progress_notify=True)
    stream.call.pause()
    fill(world, 3 * ROOM)
    world.host.pass_time(660 * SECOND)
    world.host.pass_time(660 * SECOND)
    do(world, Compact(world.watch.watchers.revision))
    stream.call.resume()
    assert stream.taken()[-1].startswith("0 at 0 | canceled | compacted")


def test_progress_is_not_told_in_less_than_a_least_interval():
    assert World(progress_every=1).watch.progress_every == LEAST_INTERVAL


def fill(world: World, size: int) -> None:
    for _ in range(size // 10_000):
        put(world, b"k", bytes(10_000))
        turned(world)


def test_a_client_that_does_not_read_holds_up_nobody_and_misses_nothing(world):
    slow, quick = Stream(world), Stream(world)
    slow.create(b"k")
    quick.create(b"k")
    slow.call.pause()
    fill(world, 4 * ROOM)
    assert world.watch.watchers.slow == 1
    [stream] = [each for each in world.server.streams.values() if each.unsent]
    assert ROOM < stream.unsent < 2 * ROOM
    told = [event.kv.mod_revision for each in quick.take() for event in each.events]
    assert told == list(range(2, world.watch.watchers.revision + 1))
    slow.call.resume()
    assert [event.kv.mod_revision for each in slow.take() for event in each.events] == told
    assert world.watch.watchers.slow == 0


@pytest.mark.parametrize("fragment", [False, True])
def test_a_revision_that_is_larger_than_what_may_wait_is_told(world, fragment):
    world.client.largest_message = 64 << 20
    stream = Stream(world)
    stream.create(b"k", range_end=b"l", fragment=fragment)
    stream.call.pause()
    fill(world, ROOM + ROOM // 4)  # The client's window is full, and some bytes wait.
    assert 0 < sum(call.unsent for call in world.server.streams.values()) < ROOM
    keys = [b"k%d" % number for number in range(20)]
    do(world, Txn(success=tuple(Put(key, bytes(1 << 20)) for key in keys)))
    turned(world)
    put(world, b"k", b"end")
    stream.call.resume()
    responses = stream.take()
    assert [event.kv.key for each in responses for event in each.events][-21:] == [*keys, b"k"]
    assert any(each.fragment for each in responses) == fragment


def test_no_response_is_larger_than_a_revision_or_a_piece():
    world = World()
    stream = Stream(world)
    world.client.largest_message = 64 << 20
    piece = world.watch.bounds.piece
    for _ in range(6):
        put(world, b"k", bytes(piece // 2))
    stream.create(b"k")
    responses = stream.send(create_request={"key": b"k", "start_revision": 1, "prev_kv": True})
    for number in range(6):
        put(world, b"k", b"%d" % number * (piece // 2))
    responses += stream.take()
    assert {max(len(each.events) for each in responses if each.watch_id == watch) for watch in (0, 1)} <= {1, 2, 3}
    assert max(each.ByteSize() for each in responses) < 2.5 * piece
    assert [event.kv.mod_revision for each in responses if each.watch_id for event in each.events] == list(range(2, 14))


def test_when_all_together_do_not_read_each_of_them_is_told_no_more(world):
    stream = Stream(world)
    stream.create(b"k")
    stream.call.pause()
    world.member.unread.total = MAX_UNREAD_IN_ALL
    fill(world, 2 * ROOM)
    [unsent] = [each.unsent for each in world.server.streams.values()]
    assert 0 < unsent <= 20_000


def test_a_client_that_asks_and_does_not_read_is_not_listened_to(world):
    stream = Stream(world)
    stream.create(b"k")
    stream.call.pause()
    fill(world, 3 * ROOM)
    for _ in range(10):
        stream.call.send(etcd.WatchRequest(create_request={"key": b"l"}).SerializeToString())
    turned(world)
    assert world.watch.watchers.count <= 2
    stream.call.resume()
    turned(world)
    assert world.watch.watchers.count == 11


def test_the_end_of_a_stream_ends_its_watches(world):
    stream, other = Stream(world), Stream(world)
    stream.create(b"k")
    stream.create(b"l", range_end=b"m")
    other.create(b"k")
    stream.call.cancel()
    turned(world)
    assert world.watch.watchers.count == 1
    put(world, b"k", b"v")
    assert other.taken() == ["0 at 2 | k=v 2"]
    assert world.watch.tally.handled[Status.CANCELLED] == 1


def test_a_client_may_end_its_side_and_listen(world):
    stream = Stream(world)
    stream.create(b"k")
    stream.call.half_close()
    put(world, b"k", b"v")
    assert stream.taken() == ["0 at 2 | k=v 2"]


def test_what_is_no_message_ends_the_stream(world):
    stream = Stream(world)
    stream.call.send(b"\x0a\xff")
    turned(world)
    assert stream.outcome is not None and stream.outcome.status == Status.INTERNAL
    assert stream.outcome.message.startswith("grpc: error unmarshalling request")


def test_a_stream_that_wants_a_leader_ends_when_there_is_none_for_long(world):
    stream, content = Stream(world, hasleader="true"), Stream(world)
    stream.create(b"k")
    world.member.expire(10 * SECOND)
    world.group.leader = 0
    world.member.expire(10 * SECOND + PATIENCE - 1)
    assert stream.take() == [] and stream.outcome is None
    world.member.expire(10 * SECOND + PATIENCE)
    assert stream.take() == [] and stream.outcome is not None and content.outcome is None
    assert (stream.outcome.status, stream.outcome.message) == (Status.UNAVAILABLE, "etcdserver: no leader")
    late = Stream(world, hasleader="true")
    assert late.outcome is not None and late.outcome.message == "etcdserver: no leader"
    assert world.watch.watchers.count == 0 and not world.member._need_leader


def test_a_learner_refuses(world):
    world.group.members = Members((OTHER,), learners=(ME,))
    stream = Stream(world)
    assert stream.outcome is not None
    assert (stream.outcome.status, stream.outcome.message) == (14, "etcdserver: rpc not supported for learner")


def test_a_member_that_stops_ends_its_streams(world):
    stream = Stream(world)
    stream.create(b"k")
    world.member.stop()
    turned(world)
    assert stream.outcome is not None
    assert (stream.outcome.status, stream.outcome.message) == (Status.UNAVAILABLE, "etcdserver: server stopped")


def test_a_state_from_elsewhere_is_caught_up_with(world):
    stream = Stream(world)
    stream.create(b"k")
    world.group.observers.clear()
    put(world, b"k", b"v")
    for installed in world.group.on_installed:
        installed()
    assert stream.taken() == ["0 at 2 | k=v 2"]


def test_a_state_that_can_not_be_read_ends_the_member(world):
    stream = Stream(world)
    put(world, b"k")
    world.group.broken = Corruption("the table is damaged")
    stream.create(b"k", start_revision=1)
    assert stream.take() == [] and world.member.failed is world.group.broken


def test_what_is_watched_is_counted(world):
    registry = registry_of(world.member, Traffic())
    slow, quick = Stream(world), Stream(world)
    slow.create(b"k")
    for key in (b"k", b"l"):
        quick.create(key)
    slow.call.pause()
    fill(world, 3 * ROOM)
    found = [
        registry.get_sample_value(name)
        for name in (
            "etcd_debugging_mvcc_watch_stream_total",
            "etcd_debugging_mvcc_watcher_total",
            "etcd_debugging_mvcc_slow_watcher_total",
            "ostraka_watch_bytes_held",
        )
    ]
    assert found == [2, 3, 1, 0]
    assert registry.get_sample_value("ostraka_watch_events_sent_total") > 300
