"""A host whose engine does as the test says, and whose clock, disk and network wait for the test."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from ostraka.model.effects import Effect, Record
from ostraka.model.engine import Consensus, Settings, Status
from ostraka.model.events import Event, Message
from ostraka.model.machine import Outcome, Table
from ostraka.model.requests import Batch, Entry, Kind, Members, Request, pack, unpack
from ostraka.node.group import Group
from ostraka.node.host import Host, Upkeep
from ostraka.storage.disk import Loaded
from ostraka.storage.identity import Identity
from ostraka.storage.table import MemoryStore
from ostraka.transport import wire
from ostraka.transport.network import Channel, Receiver

MEMBERS = Members((1, 2, 3))


class Note(Record, frozen=True, tag=1):
    text: str
    index: int = 0
    entry: Entry | None = None

    def mark(self) -> int:
        return self.index


class Word(Message, frozen=True, tag=1):
    text: str


class ManualClock:
    def __init__(self) -> None:
        self.time = 0
        self.soon: list[Callable[[], None]] = []
        self.timers: list[ManualTimer] = []

    def now(self) -> int:
        return self.time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_at(self, when: int, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(when, callback)
        self.timers.append(timer)
        return timer

    def run(self) -> None:
        """All turns that are due."""
        while self.soon:
            callbacks, self.soon = self.soon, []
            for callback in callbacks:
                callback()

    def advance(self, to: int) -> None:
        while due := sorted((t for t in self.timers if t.when <= to), key=lambda t: t.when):
            self.timers.remove(due[0])
            self.time = max(self.time, due[0].when)
            if due[0].callback is not None:
                due[0].callback()
            self.run()
        self.time = max(self.time, to)


class ManualTimer:
    def __init__(self, when: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualDisk:
    """Everything is readable at once, and syncs are done when the test says so."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.waiting: list[Callable[[OSError | None], None]] = []
        self.reading: list[Callable[[], None]] = []

    def create(self, name: str, size: int = 0) -> ManualFile:
        self.files[name] = bytearray()
        return ManualFile(self, self.files[name])

    def open(self, name: str, at: int, size: int = 0) -> ManualFile:
        del self.files[name][at:]
        return ManualFile(self, self.files[name])

    def read(self, name: str, size: int = -1) -> bytes:
        content = bytes(self.files[name])
        return content if size < 0 else content[:size]

    def load(self, name: str, offset: int, size: int, done: Loaded) -> None:
        self.reading.append(lambda: done(bytes(self.files[name][offset : offset + size]), None))

    def names(self) -> list[str]:
        return sorted(self.files)

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        del self.files[name]

    def sync_dir(self, done: Callable[[OSError | None], None], point: str) -> None:
        self.waiting.append(done)

    def flush_dir(self, point: str) -> None: ...

    def close(self) -> None: ...

    def finish(self, error: OSError | None = None) -> None:
        """All syncs that were asked for are done, or have failed."""
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done(error)


class ManualFile:
    def __init__(self, disk: ManualDisk, data: bytearray) -> None:
        self.disk, self.data = disk, data

    def append(self, data: bytes) -> None:
        self.data += data

    def sync(self, done: Callable[[OSError | None], None], point: str) -> None:
        self.disk.waiting.append(done)

    def flush(self, point: str) -> None: ...

    def close(self) -> None: ...


class ManualNetwork:
    def __init__(self) -> None:
        self.sent: list[tuple[int, wire.AnyFrame, Channel]] = []
        self.members: Mapping[int, str] = {}
        self.configured = 0

    def start(self, receiver: Receiver) -> None: ...

    def connect(self, members: Mapping[int, str], configured: int = 0) -> None:
        self.members, self.configured = members, configured

    def send(self, to: int, frame: bytes, channel: Channel = Channel.CONSENSUS) -> None:
        self.sent.append((to, wire.decode_frame(frame), channel))

    def words(self) -> list[tuple[int, str]]:
        """What engines have said, and to whom."""
        import msgspec

        said = [(to, frame) for to, frame, _ in self.sent if isinstance(frame, wire.Said)]
        return [(to, msgspec.msgpack.decode(frame.message, type=Word).text) for to, frame in said]


class ScriptedEngine:
    """Remembers what happened to it, and wants done what the test has put into `script`, one list a step."""

    def __init__(self) -> None:
        self.happened: list[Event] = []
        self.script: list[list[Effect]] = []
        self.deadline: int | None = None
        self.records: Sequence[Record] = ()
        self.applied_at_start = 0
        self.members, self.configured = MEMBERS, 0
        self.everyone: tuple[int, ...] = ()  # If others may come to count, too.
        self.hard = Note("carried")
        self.refilling = False  # As it was made.
        self.still_refilling = False

    def step(self, events: Sequence[Event], now: int) -> list[Effect]:
        self.happened += events
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
        return self.script.pop(0) if self.script else []

    def status(self) -> Status:
        everyone = self.everyone or self.members.everyone()
        return Status(1, "leader", 1, 1, 1, 0, 0, 0, self.members, everyone, self.configured, self.still_refilling)

    def hard_state(self) -> tuple[Record, ...]:
        return (self.hard,)


class Echo:
    """Replies with the payload, and keeps a count in its table."""

    def __init__(self, table: Table) -> None:
        self.made_over = table
        self.moves = False

    def apply(self, entry: Entry, table: Table) -> Outcome:
        replies = []
        for batch in entry.batches:
            requests = unpack(batch.requests)
            for request in requests:
                table.put(b"k" + request.payload, b"%d" % entry.index)
            replies.append([b"did " + request.payload for request in requests])
        return Outcome(replies, (), self.moves)

    def read(self, query: bytes, table: Table) -> bytes | None:
        return table.get(b"k" + query)


class Scene:
    """One host with one scripted group. `disk` and `store` may be those of an earlier scene: a restart."""

    def __init__(
        self,
        disk: ManualDisk | None = None,
        store: MemoryStore | None = None,
        members: Members = MEMBERS,
        refills: bool = True,
        **upkeep: int,
    ) -> None:
        self.clock = ManualClock()
        self.disk = disk or ManualDisk()
        self.store = store or MemoryStore(self.clock.call_soon)
        self.network = ManualNetwork()
        self.engine = ScriptedEngine()
        self.refills = refills
        self.failures: list[Exception] = []
        self.said: list[str] = []
        self.host = Host(
            identity=Identity(7, 1, 100),
            clock=self.clock,
            disk=self.disk,
            store=self.store,
            network=self.network,
            dice=random.Random(1),
            addresses={member: f"http://{member}" for member in members.voters},
            upkeep=Upkeep(**upkeep),
            say=self.said.append,
        )
        self.host.on_failure = self.failures.append
        consensus = Consensus("scripted", Word, Note, self._restore, self.refills)
        self.group: Group = self.host.open_group(1, consensus, Echo, members, Settings())
        self.host.start()
        self.clock.run()

    def _restore(self, me, settings, dice, sign, records, applied, now, refilling):  # type: ignore[no-untyped-def]
        self.engine.records = records
        self.engine.applied_at_start = applied.index
        self.engine.refilling = self.engine.still_refilling = refilling
        return self.engine

    def does(self, *effects: Effect) -> None:
        """The engine wants this done in its next step, which is now."""
        self.engine.script.append(list(effects))
        self.host.schedule(self.group)
        self.clock.run()

    def happened(self, kind: type) -> list[Event]:
        return [event for event in self.engine.happened if isinstance(event, kind)]


def entry(index: int, *payloads: bytes, epoch: int = 1, origin: int = 1, life: int = 5) -> Entry:
    batch = Batch(origin, life, index, pack(tuple(Request(payload) for payload in payloads)))
    return Entry(index, epoch, index * 10, Kind.REQUESTS, (batch,))
