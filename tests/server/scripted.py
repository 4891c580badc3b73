"""A member whose group does what the test says, and clients that talk to it through memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ostraka.api.services import METHODS
from ostraka.database.machine import Database
from ostraka.errors import MembersChanged, OstrakaError, StorageError
from ostraka.model.engine import Status
from ostraka.model.ids import SECOND
from ostraka.model.machine import Outcome
from ostraka.model.requests import Batch, Entry, Kind, Members, Request, SnapshotMeta, genesis, pack
from ostraka.node.group import Carried
from ostraka.node.metrics import NodeMetrics
from ostraka.server.config import PROGRESS_EVERY
from ostraka.server.member import Member
from ostraka.server.services import router_of
from ostraka.server.watch import Watch
from ostraka.storage.identity import Identity
from ostraka.storage.table import MemoryStore, Pinned
from ostraka.transport.http2 import Router, ServerConnection
from ostraka.transport.http2.client import ClientConnection
from ostraka.transport.http2.client import Outcome as Ending

ME, OTHER, CLUSTER = 0xA1, 0xB2, 0xC3
MEMBERS = Members((ME, OTHER))
BOUND = 7 * SECOND
PATIENCE = 3 * SECOND


class Timer:
    """`node.clock.Timer`."""

    def __init__(self, when: int, callback: Callable[[], None]) -> None:
        self.when, self.callback = when, callback

    def cancel(self) -> None:
        self.callback = lambda: None


class ScriptedHost:
    """What the services need of `node.host.Host`."""

    def __init__(self) -> None:
        self.identity = Identity(CLUSTER, ME, 0xD4)
        self.metrics = NodeMetrics()
        self.failed: StorageError | None = None
        self.clock = self
        self.dice = Random(1)
        self.time = 0
        self.store = MemoryStore(self.call_soon)
        self.soon: list[Callable[[], None]] = []
        self.timers: list[Timer] = []
        self.links: set[int] = {OTHER}
        self.stopped = False
        self.told_removed = False
        self.probation: object = None

    def now(self) -> int:
        return self.time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def turn(self) -> None:
        """Call all that is due."""
        due = [timer.callback for timer in self.timers if timer.when <= self.time]
        self.timers = [timer for timer in self.timers if timer.when > self.time]
        due, self.soon = [*self.soon, *due], []
        for callback in due:
            callback()

    def pass_time(self, duration: int) -> None:
        """Let this time go by, and call what is due."""
        self.time += duration
        self.turn()

    def fail(self, failure: StorageError) -> None:
        self.failed = failure

    def expelled(self) -> None:
        self.told_removed = True

    def ring(self) -> None:
        """All timers that are set, and what they lead to."""
        self.time = max([self.time, *(timer.when for timer in self.timers)])
        while self.soon or any(timer.when <= self.time for timer in self.timers):
            self.turn()


class ScriptedGroup:
    """`node.group.Group` over a real machine: a proposal waits until the test decides or refuses it."""

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        """`clock` stamps the entries."""
        self.clock = clock
        self.leader = ME
        self.refilling = ""
        self.epoch = 3
        self.changes: list[tuple[Members, Carried, Members | None]] = []
        self.transfers: list[tuple[int, Carried]] = []
        self.meta: SnapshotMeta = genesis(MEMBERS)
        self.store = MemoryStore(lambda callback: callback())
        self.table = self.store.table(b"g")
        self.machine = Database(self.table)
        self.proposed: list[tuple[Request, Callable[[bytes | None, OstrakaError | None], None]]] = []
        self.reads: list[Callable[[OstrakaError | None], None]] = []
        self.broken: StorageError | None = None
        self.role = "leader"
        self.observers: list[Callable[[Entry, Outcome], None]] = []
        self.on_installed: list[Callable[[], None]] = []

    @property
    def applied(self) -> int:
        return self.meta.index

    @property
    def applied_stamp(self) -> int:
        return self.meta.stamp

    def propose(self, request: Request, answer: Callable[[bytes | None, OstrakaError | None], None]) -> None:
        self.proposed.append((request, answer))

    def read_index(self, ready: Callable[[OstrakaError | None], None]) -> None:
        self.reads.append(ready)

    def query(self, query: Any) -> Any:
        if self.broken is not None:
            raise self.broken
        return self.machine.read(query, self.table)

    def pin(self) -> Pinned:
        if self.broken is not None:
            raise self.broken
        self.table.commit()
        return self.store.pin(b"g")

    def status(self) -> Status:
        applied = self.applied
        return Status(ME, self.role, self.epoch, self.leader, 1, applied, applied, applied, self.meta.members)

    def change_members(self, members: Members, done: Carried, base: Members | None = None) -> None:
        self.changes.append((members, done, base))

    def transfer_leadership(self, to: int, done: Carried) -> None:
        self.transfers.append((to, done))

    def configure(self, members: Members) -> None:
        """This configuration is decided."""
        self._apply(Entry(self.applied + 1, self.epoch, self.clock(), Kind.MEMBERS, members=members))

    def _apply(self, entry: Entry) -> Outcome:
        outcome = self.machine.apply(entry, self.table)
        self.meta = SnapshotMeta(self.epoch, entry.index, entry.stamp, entry.members or self.meta.members)
        for observer in self.observers:
            observer(entry, outcome)
        return outcome

    @property
    def members(self) -> Members:
        """The configuration."""
        return self.meta.members

    @members.setter
    def members(self, members: Members) -> None:
        self.meta = SnapshotMeta(self.meta.epoch, self.meta.index, self.meta.stamp, members)

    def decide(self) -> None:
        """Execute all that is proposed, each request in an entry of its own, and serve all reads."""
        proposed, self.proposed = self.proposed, []
        for request, answer in proposed:
            index = self.applied + 1
            batches = (Batch(ME, 1, index, pack((request,))),)
            outcome = self._apply(Entry(index, self.epoch, self.clock(), Kind.REQUESTS, batches))
            answer(outcome.replies[0][0], None)
        changes, self.changes = self.changes, []
        for members, done, base in changes:
            if base is not None and base != self.meta.members:
                done(MembersChanged("others came first"))
                continue
            self.configure(members)
            done(None)
        reads, self.reads = self.reads, []
        for ready in reads:
            ready(None)

    def refuse(self, error: OstrakaError) -> None:
        """End all that waits with this error."""
        waiting, self.proposed, self.reads = (self.proposed, self.reads), [], []
        for _, answer in waiting[0]:
            answer(None, error)
        for ready in waiting[1]:
            ready(error)


class Listening:
    """What has come on a stream, and how it ended."""

    def __init__(self, path: str) -> None:
        self.heard: list[Any] = []
        self.outcome: Ending | None = None
        self.call: Any
        self._parse = METHODS[path].response.FromString

    def on_message(self, message: bytes) -> None:
        self.heard.append(self._parse(message))

    def on_end(self, outcome: Ending) -> None:
        self.outcome = outcome

    def on_drained(self) -> None: ...


class World:
    """The member, and one client whose bytes reach it when `deliver` is called."""

    def __init__(
        self, max_request_bytes: int = 1_572_864, max_txn_ops: int = 128, progress_every: int = PROGRESS_EVERY
    ) -> None:
        self.host = ScriptedHost()
        self.group = ScriptedGroup(self.host.now)
        self.member = Member(
            self.host,
            self.group,
            {ME: "http://127.0.0.1:1", OTHER: "http://127.0.0.1:2"},
            bound=BOUND,
            patience=PATIENCE,
            max_request_bytes=max_request_bytes,
            max_txn_ops=max_txn_ops,
            size=lambda: 4096,
        )
        self.router: Router = router_of(self.member, progress_every)
        self.watch: Watch = self.router.routes["/etcdserverpb.Watch/Watch"].stream.__self__
        self.now = 0
        self.server = ServerConnection(self.router, lambda: None, 0, max_request_bytes + (512 << 10))
        self.client = ClientConnection("test", lambda: None, 0)

    def stream(self, path: str, *requests: Any, **metadata: str) -> Listening:
        """Open a stream, and send these messages on it."""
        listening = Listening(path)
        listening.call = self.client.stream(path, listening, self.now, metadata=metadata.items())
        for request in requests:
            listening.call.send(request.SerializeToString())
        self.deliver()
        return listening

    def settle(self) -> None:
        """Decide all that is proposed, and let turns pass, until there is nothing more to do."""
        while self.group.proposed or self.group.reads or self.host.soon:
            self.group.decide()
            self.host.turn()
        self.deliver()

    def call(self, path: str, request: Any, **metadata: str) -> list[Ending]:
        """Send a call; the list gets its outcome when there is one."""
        outcomes: list[Ending] = []
        data = request if isinstance(request, bytes) else request.SerializeToString()
        self.client.unary(path, data, outcomes.append, self.now, metadata=metadata.items())
        self.deliver()
        return outcomes

    def deliver(self) -> None:
        """Carry bytes both ways until there are none."""
        moved = True
        while moved:
            there = self.client.take()
            self.server.feed(there, self.now)
            back = self.server.take()
            self.client.feed(back, self.now)
            moved = bool(there or back)

    def decided(self, path: str, request: Any, **metadata: str) -> Any:
        """The reply of a call whose request is decided at once. Fails if there is none."""
        outcomes = self.call(path, request, **metadata)
        self.group.decide()
        self.deliver()
        assert outcomes and outcomes[0].status == 0, outcomes
        return METHODS[path].response.FromString(outcomes[0].body)

    def settled(self, path: str, request: Any) -> Ending:
        """How a call ends that takes several steps, each of which is decided at once. Fails if it doesn't end."""
        outcomes = self.call(path, request)
        for _ in range(20):
            if outcomes:
                return outcomes[0]
            self.group.decide()
            self.host.ring()
            self.deliver()
        raise AssertionError(f"{path}: no answer")

    def refused(self, path: str, request: Any, **metadata: str) -> tuple[int, str]:
        """Status and text of a call that ends badly. Fails if it doesn't end."""
        outcomes = self.call(path, request, **metadata)
        self.group.decide()
        self.deliver()
        assert outcomes, f"{path}: no answer"
        return outcomes[0].status, outcomes[0].message
