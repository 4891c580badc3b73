"""Watchers of a few keys, through any node, while others write: what each was told is judged in the end.

A watcher opens a stream to a node, with the production service behind it, and has some watches there, from the past,
the present or the future. It reads as slowly as it likes. When its stream breaks, or just so, it goes on elsewhere,
each watch from behind the last revision that it was told.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from ostraka.api import etcd
from ostraka.checkers.watch import Event, Pair, Request, Response, Watch, check
from ostraka.database import commands
from ostraka.database.watch import Bounds
from ostraka.errors import OstrakaError
from ostraka.model import requests
from ostraka.model.ids import MILLISECOND, SECOND, Dice, NodeId, roll
from ostraka.model.machine import Outcome
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.server import watch as production
from ostraka.server.member import Member
from ostraka.transport.http2.server import ServerCall

if TYPE_CHECKING:
    from ostraka.simulation.world import World

KEYS: Final = (b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xff")
LOOK_EVERY: Final = 20 * MILLISECOND
NO_LEADER_FOR: Final = 300 * MILLISECOND


class Call:
    """A client's stream, as the service sees it (a `ServerCall`); and what it has said, for the client to read."""

    def __init__(self, counts: Counter[str], node: NodeId, life: int, wants_leader: bool) -> None:
        self.head = SimpleNamespace(metadata={"hasleader": "true"} if wants_leader else {})
        self.node: Final = node
        self.life: Final = life  # Of the node's computer.
        self.said: Final[deque[bytes]] = deque()
        self.unsent = 0
        self.over = False
        self.receiver: production.WatchStream | None = None
        self.asked: Final[list[Any]] = []  # What the service has not listened to yet.
        self.watches: Final[dict[int, Watch]] = {}
        self.requests: Final[deque[Request]] = deque()  # Of the watches that are to be created.
        self._counts: Final = counts
        self._paused = False

    def send(self, message: bytes) -> None:
        if not self.over:
            self.said.append(message)
            self.unsent += len(message)

    def send_all(self, messages: list[bytes]) -> None:
        for message in messages:
            self.send(message)

    def fail(self, code: int, message: str, trailers: Any = ()) -> None:
        self.over = True
        self._counts[f"a stream ended: {message}"] += 1

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.listen()

    def listen(self) -> None:
        """The service hears what it was asked, in a turn of its process."""
        while self.asked and not self._paused and not self.over:
            assert self.receiver is not None, "it was opened"
            self.receiver.on_message(self.asked.pop(0).SerializeToString())

    def drained(self) -> None:
        """The client has read all there was."""
        if not self.over and self.receiver is not None and not self.unsent:
            self.receiver.on_drained()

    def hang_up(self) -> None:
        """The client is gone."""
        if not self.over:
            self.over = True
            if self.receiver is not None:
                self.receiver.on_cancel()


class Watcher:
    """A client with one stream at a time."""

    def __init__(self, number: int, lazy: bool) -> None:
        self.number: Final = number
        self.lazy: Final = lazy  # It reads seldom.
        self.call: Call | None = None
        self.wishes: list[Request] = []  # What to watch when there is a stream.

    def __str__(self) -> str:
        return f"watcher {self.number}"


class Watches:
    """Writers and watchers, as a `workloads.Workload`."""

    def __init__(self, world: World, dice: Dice) -> None:
        self.served: Final[dict[NodeId, int]] = {}
        self.records: Final[list[Watch]] = []
        self.history: Final[list[Event]] = []
        self._world: Final = world
        self._dice: Final = dice
        self._writers: Final = 1 + roll(dice, 3)
        self._pause: Final = (3, 20)[roll(dice, 2)]  # Milliseconds between a writer's wishes.
        self._watchers: Final = [Watcher(number, roll(dice, 3) == 0) for number in range(2 + roll(dice, 4))]
        self._bounds: Final = Bounds(
            turn=(1, 10, 256)[roll(dice, 3)],
            rows=(1, 5, 500)[roll(dice, 3)],
            room=(100, 1000, 1 << 20)[roll(dice, 3)],
            piece=(200, 256 << 10)[roll(dice, 2)],
            held=(500, 64 << 20)[roll(dice, 2)],
        )
        self._services: Final[dict[NodeId, production.Watch]] = {}
        self._open: Final[dict[NodeId, dict[str, None]]] = defaultdict(dict)
        self._asked = 0
        self._compacted = -1
        self._writes = True
        self._over = False

    # What the world tells.

    def serve(self, node: NodeId, host: Host, group: Group) -> None:
        member = Member(
            host, group, {}, bound=SECOND, patience=NO_LEADER_FOR, max_request_bytes=0, max_txn_ops=128, size=lambda: 0
        )
        self._services[node] = production.Watch(member, production.LEAST_INTERVAL, self._bounds)

        def installed() -> None:
            self._world.counts["a watched state replaced"] += bool(self._services[node].watchers.count)

        group.on_installed.append(installed)

        def look() -> None:
            member.expire(host.clock.now())
            host.clock.call_at(host.clock.now() + LOOK_EVERY, look)

        look()

    def begin(self) -> None:
        for _ in range(self._writers):
            self._later(1 + roll(self._dice, 2 * self._pause), self._write)
        for watcher in self._watchers:
            self._later(roll(self._dice, 50), partial(self._connect, watcher))

    def end(self) -> None:
        self._writes = False

    def under_way(self) -> list[str]:
        return [question for questions in self._open.values() for question in questions]

    def at_rest(self) -> bool:
        """Everybody has been told everything. From then on nobody goes on elsewhere."""
        self._over = all(self._is_told(watcher) for watcher in self._watchers)
        return self._over

    def died(self, node: NodeId) -> None:
        self._services.pop(node, None)
        self._open[node].clear()
        for watcher in self._watchers:
            call = watcher.call
            if call is not None and call.node == node and not call.over:
                for _ in range(roll(self._dice, len(call.said) + 1)):  # The rest was still on the way.
                    self._hear(watcher, call, call.said.popleft())
                call.said.clear()
                call.over = True

    def applied(self, outcome: Outcome) -> None:
        for change in outcome.changes:
            self.history.append(Event(change.revision, change.key, _pair(change.new), _pair(change.old)))

    def verdict(self) -> None:
        for record in self.records:
            violation = check(record, self.history, compacted=self._compacted)
            assert violation is None, violation
            self._world.counts["a watch judged"] += 1
            events = sum(len(response.events) for response in record.responses)
            self._world.counts["an event told"] += events

    # Writing.

    def _later(self, milliseconds: int, act: Any) -> None:
        self._world.at(self._world.now + milliseconds * MILLISECOND + 1, act)

    def _pick(self) -> NodeId | None:
        node = self._world.nodes[roll(self._dice, len(self._world.nodes))]
        return node if self._world.members[node].group is not None else None

    def _key(self) -> bytes:
        return b"w" + KEYS[roll(self._dice, len(KEYS))]

    def _write(self) -> None:
        if not self._writes:
            return
        self._later(1 + roll(self._dice, 2 * self._pause), self._write)
        node = self._pick()
        if node is None:
            return
        command = self._command()
        self._asked += 1
        question = f"{type(command).__name__} at n{node} (#{self._asked})"
        self._open[node][question] = None

        def answered(reply: bytes | None, error: OstrakaError | None) -> None:
            assert question in self._open[node], f"{question}: answered twice, or after the node's death"
            del self._open[node][question]
            if reply is not None:
                self.served[node] = self.served.get(node, 0) + 1

        def ask() -> None:
            group = self._world.members[node].group
            assert group is not None, "asked in a turn of its process"
            group.propose(requests.Request(commands.encode(command)), answered)

        self._world.members[node].post(ask)

    def _command(self) -> commands.Command:
        draw, value = roll(self._dice, 20), b"%d" % self._asked
        if draw < 10:
            return commands.Put(self._key(), value)
        if draw < 13:
            return commands.DeleteRange(self._key(), (b"", b"x", self._key())[roll(self._dice, 3)])
        if draw < 14 and self.history:
            last = self.history[-1].revision
            revision = max(1, last - roll(self._dice, 10))
            self._compacted = max(self._compacted, revision)
            return commands.Compact(revision)
        keys = sorted({self._key() for _ in range(3)})
        return commands.Txn(success=tuple(commands.Put(key, value) for key in keys))

    # Watching.

    def _connect(self, watcher: Watcher) -> None:
        """Open a stream at some node, with some watches, and with those that are to go on."""
        if self._over:
            return
        node = self._pick()
        if node is None:
            self._later(20, partial(self._connect, watcher))
            return
        member = self._world.members[node]
        call = watcher.call = Call(self._world.counts, node, member.computer.life, roll(self._dice, 4) == 0)
        for request in watcher.wishes or [self._request() for _ in range(1 + roll(self._dice, 3))]:
            self._create(call, request)
        watcher.wishes = []
        self._world.note(f"{watcher}: connects to n{node}")

        def open_() -> None:
            call.receiver = self._services[node].open(cast(ServerCall, call))
            call.listen()

        member.post(open_)
        self._read_later(watcher, call)

    def _request(self) -> Request:
        last = self.history[-1].revision if self.history else 1
        kind = roll(self._dice, 4)
        start = (0, 0, 1 + roll(self._dice, last), last + roll(self._dice, 6))[kind]
        end = (b"", b"x", self._key(), b"\0")[roll(self._dice, 4)]
        key = self._key()
        if end not in (b"", b"\0") and end <= key:
            end = b"x"
        bits = self._dice.getrandbits(4)
        return Request(key, end, start, bits & 3 != 0, bits & 3 != 1, bits & 4 != 0, bits & 8 != 0)

    def _create(self, call: Call, request: Request) -> None:
        kinds = etcd.WatchCreateRequest
        filters = [kinds.NOPUT] * (not request.puts) + [kinds.NODELETE] * (not request.deletions)
        call.requests.append(request)
        create = kinds(
            key=request.key,
            range_end=request.range_end,
            start_revision=request.start,
            filters=filters,
            prev_kv=request.prev_kv,
            fragment=request.fragment,
            progress_notify=roll(self._dice, 2) == 0,
        )
        call.asked.append(etcd.WatchRequest(create_request=create))

    def _read_later(self, watcher: Watcher, call: Call) -> None:
        wait = roll(self._dice, 200) if watcher.lazy and self._writes else roll(self._dice, 10)
        self._later(wait, partial(self._read, watcher, call))

    def _read(self, watcher: Watcher, call: Call) -> None:
        """Read some of what has come, ask for something, or hang up; go on elsewhere if the stream is over."""
        count = len(call.said) if roll(self._dice, 2) else roll(self._dice, len(call.said) + 1)
        for _ in range(count):
            message = call.said.popleft()
            call.unsent -= len(message)
            self._hear(watcher, call, message)
        if call.over and not call.said:
            self._world.counts["a stream that broke"] += 1
            self._go_on(watcher, call)
            return
        member = self._world.members[call.node]
        if call.receiver is not None and call.receiver.full:
            self._world.counts["a full stream"] += 1
        if not call.over and self._writes:
            draw = roll(self._dice, 60)
            if draw == 0:
                member.post(call.hang_up)
                call.said.clear()
                self._go_on(watcher, call)
                return
            if draw < 4:
                call.asked.append(etcd.WatchRequest(progress_request=etcd.WatchProgressRequest()))
            elif draw == 4:
                self._create(call, self._request())
            elif draw == 5 and call.watches:
                number = sorted(call.watches)[roll(self._dice, len(call.watches))]
                call.asked.append(etcd.WatchRequest(cancel_request={"watch_id": number}))
        if not call.over:
            member.post(call.listen)
            if count and not call.unsent:
                member.post(call.drained)
        self._read_later(watcher, call)

    def _go_on(self, watcher: Watcher, call: Call) -> None:
        """Each watch from behind the last revision that it was told; those that are unknown of anew."""
        for watch in call.watches.values():
            if not watch.responses[-1].canceled:
                watcher.wishes.append(_continued(watch))
            elif watch.responses[-1].compact_revision:
                self._world.counts["a watch ended by compaction"] += 1
        watcher.wishes += call.requests
        watcher.call = None
        self._later(roll(self._dice, 50), partial(self._connect, watcher))

    def _hear(self, watcher: Watcher, call: Call, message: bytes) -> None:
        found = etcd.WatchResponse.FromString(message)
        if found.created:
            watch = Watch(call.requests.popleft(), [], f"{watcher} at n{call.node}, watch {found.watch_id}")
            call.watches[found.watch_id] = watch
            self.records.append(watch)
        numbers = list(call.watches) if found.watch_id == production.ALL else [found.watch_id]
        if not (found.events or found.created or found.canceled):
            self._world.counts["progress told"] += 1
        response = Response(
            found.header.revision,
            tuple(map(_event, found.events)),
            found.created,
            found.canceled,
            found.compact_revision,
            found.fragment,
        )
        for number in numbers:
            responses = call.watches[number].responses
            if not responses or not responses[-1].canceled or not (found.canceled or number != found.watch_id):
                responses.append(response)  # What is canceled by a compaction may be canceled again, as in etcd.

    def _is_told(self, watcher: Watcher) -> bool:
        call = watcher.call
        if call is None or call.over or call.asked or call.requests or call.said:
            return False
        if self._world.members[call.node].computer.life != call.life:
            return False
        revision = self.history[-1].revision if self.history else 1
        return all(
            check(watch, self.history, complete_to=revision, compacted=self._compacted) is None
            for watch in call.watches.values()
        )


def _continued(watch: Watch) -> Request:
    reached = watch.request.start - 1 if watch.request.start else watch.responses[0].revision
    for response in watch.responses[1:]:
        if response.events:
            reached = response.events[-1].revision
        elif not response.canceled:
            reached = max(reached, response.revision)
    request = watch.request
    return Request(
        request.key,
        request.range_end,
        reached + 1,
        request.puts,
        request.deletions,
        request.prev_kv,
        request.fragment,
    )


def _pair(pair: Any) -> Pair | None:
    if pair is None:
        return None
    return Pair(pair.key, pair.value, pair.create_revision, pair.mod_revision, pair.version, pair.lease)


def _event(event: Any) -> Event:
    put = event.type == 0
    return Event(
        event.kv.mod_revision,
        event.kv.key,
        _pair(event.kv) if put else None,
        _pair(event.prev_kv) if event.HasField("prev_kv") else None,
    )
