"""A little cluster in memory, driven from a seed: what every engine must survive, without the node around it.

It carries out effects as `ostraka.model.effects` asks, on disks that forget what was not saved, over a
network that loses, delays, doubles and reorders. It keeps the book of tokens: each ends exactly once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from ostraka.consensus.multipaxos import invariants as of_multipaxos
from ostraka.consensus.raft import invariants as of_raft
from ostraka.model import effects, events
from ostraka.model.effects import Effect, Record
from ostraka.model.engine import Consensus, Settings
from ostraka.model.ids import MILLISECOND, Dice, Index, Instant, NodeId, Token
from ostraka.model.requests import Entry, Members, Request, SnapshotMeta, genesis, unpack

INVARIANTS: dict[str, Any] = {"raft": of_raft.Invariants, "multipaxos": of_multipaxos.Invariants}

State = tuple[SnapshotMeta, tuple[bytes, ...]]
"""An applied state: what it is a state of, and all payloads executed, in order."""


@dataclass
class Misfortunes:
    """How often things go wrong."""

    loss: float = 0.0
    doubling: float = 0.0
    slowest: int = 2  # Milliseconds that a message takes at most.
    slowest_save: int = 0
    flush: float = 0.3  # How often an applied state becomes durable.


@dataclass
class Member:
    """A node: its disk, which survives, and its process, which doesn't."""

    id: NodeId
    state: State
    disk: list[Record] = field(default_factory=list)
    durable: State | None = None
    engine: Any = None
    now_saved: int = 0
    saving: list[effects.Save] = field(default_factory=list)
    sends: list[effects.Send] = field(default_factory=list)  # Waiting for a save.
    inbox: list[events.Event] = field(default_factory=list)
    turn_at: Instant | None = None
    held: dict[SnapshotMeta, State] = field(default_factory=dict)
    fetched: State | None = None
    life: int = 0
    clock: Instant = 0  # How far the clock of this life is from the world's.
    reads: list[tuple[Index, Token, int]] = field(default_factory=list)


class Cluster:
    """Members 1 to `nodes` of one group, spare nodes that belong to nobody yet, and the world around them."""

    def __init__(
        self,
        consensus: Consensus,
        seed: int,
        nodes: int = 3,
        hasty: Callable[[Cluster], Settings] | None = None,
        spare: int = 0,
    ) -> None:
        self.consensus = consensus
        self.random = Random(seed)
        self.settings = hasty(self) if hasty else Settings(tail=3, compact_every=2)
        self.misfortunes = Misfortunes()
        self.now: Instant = 0
        self.queue: list[tuple[Instant, int, Callable[[], None]]] = []
        self.order = 0
        self.encode = msgspec.msgpack.Encoder().encode
        self.message = msgspec.msgpack.Decoder(consensus.message).decode
        self.record = msgspec.msgpack.Decoder(consensus.record).decode
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.seen: set[str] = set()
        self.chosen: list[Entry] = []
        self.executed: list[bytes] = []
        self.tokens = 0
        self.open: dict[Token, tuple[NodeId, int]] = {}
        self.ended: dict[Token, str] = {}
        self.acknowledged: set[bytes] = set()
        self.payload: dict[Token, bytes] = {}
        self.floor: dict[Token, int] = {}  # Of a read: how much was acknowledged when it was asked.
        self.invariants = INVARIANTS[consensus.name]()
        self.wished: dict[Token, Members] = {}
        start: State = (genesis(Members(tuple(range(1, nodes + 1)))), ())
        stranger: State = (genesis(Members(())), ())
        self.members = {n: Member(n, start, durable=start) for n in range(1, nodes + 1)}
        for n in range(nodes + 1, nodes + spare + 1):
            self.members[n] = Member(n, stranger, durable=stranger)
        self.were = [start[0].members]  # All configurations that were chosen.
        for n in self.members:
            self.start(n)

    # Processes and disks.

    def start(self, n: NodeId) -> None:
        member = self.members[n]
        assert member.engine is None and member.durable is not None
        member.state = member.durable
        member.life += 1
        member.now_saved = 0
        member.clock = self.random.randint(0, 10**12)
        records = [self.record(self.encode(record)) for record in member.disk]
        dice: Dice = Random(self.random.getrandbits(64))
        member.engine = self.consensus.restore(
            n, self.settings, dice, bytes, records, member.state[0], self.now + member.clock
        )
        self.turn(member)

    def crash(self, n: NodeId) -> None:
        """Saves under way may become durable in part, in their order."""
        member = self.members[n]
        if member.engine is None:
            return
        records = [record for save in member.saving for record in save.records]
        member.disk += records[: self.random.randint(0, len(records))]
        member.engine = None
        for waiting in (member.saving, member.sends, member.inbox, member.held, member.reads):
            waiting.clear()
        member.fetched = member.turn_at = None
        for token in [token for token, owner in self.open.items() if owner == (n, member.life)]:
            del self.open[token]
            self.ended[token] = "crashed"

    def later(self, delay: Instant, act: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (self.now + delay, self.order, act))

    def turn(self, member: Member) -> None:
        """One step with all that came in."""
        happened, member.inbox = member.inbox, []
        member.turn_at = None
        engine = member.engine
        for effect in engine.step(happened, self.now + member.clock):
            self.carry_out(member, effect)
        self.invariants.observe(engine)
        self.wake_later(member)

    def wake_later(self, member: Member) -> None:
        engine, life = member.engine, member.life
        deadline = engine.deadline
        if not member.inbox and deadline is None:
            return
        when = self.now if member.inbox else max(self.now, deadline - member.clock)
        if member.turn_at is not None and member.turn_at <= when:
            return
        member.turn_at = when

        def act() -> None:
            if member.engine is engine and member.life == life and member.turn_at == when:
                member.inbox = member.inbox or [events.Wake()]
                self.turn(member)

        self.later(when - self.now, act)

    def happens(self, member: Member, life: int, event: events.Event) -> None:
        if member.engine is not None and member.life == life:
            member.inbox.append(event)
            self.wake_later(member)

    # Effects.

    def carry_out(self, member: Member, effect: Effect) -> None:
        match effect:
            case effects.Save():
                member.saving.append(effect)
                life = member.life
                slowest = self.misfortunes.slowest_save * MILLISECOND
                delay = self.random.randint(0, slowest) if slowest else 0
                self.later(delay, lambda: self.saved(member, life, effect.token))
            case effects.Send():
                assert member.id not in effect.to and len(effect.to) > 0
                if effect.after <= member.now_saved:
                    self.transmit(member, effect)
                else:
                    member.sends.append(effect)
            case effects.Load():
                self.load(member, effect)
            case effects.Commit():
                self.apply(member, effect)
            case effects.ReadAt():
                member.reads += [(effect.index, token, member.life) for token in effect.tokens]
                self.answer_reads(member)
            case effects.Rejected() | effects.Lost():
                for token in effect.tokens:
                    self.end(token, type(effect).__name__)
            case effects.Done():
                for token in effect.tokens:
                    self.done(token)
            case effects.TakeSnapshot():
                assert member.state[0].index >= effect.index
                member.held[member.state[0]] = member.state
                self.happens(member, member.life, events.SnapshotTaken(member.state[0]))
            case effects.FetchSnapshot():
                self.fetch(member, effect)
            case effects.InstallSnapshot():
                self.install(member, effect)
            case effects.Compact():
                self.compact(member, effect.below)
            case effects.RoleChanged() | effects.Discarded() | effects.MembersActive():
                self.seen.add(effect.reason if isinstance(effect, effects.Discarded) else type(effect).__name__)
            case _:
                raise AssertionError(f"{effect} is not expected")

    def saved(self, member: Member, life: int, token: int) -> None:
        if member.engine is None or member.life != life or token <= member.now_saved:
            return
        while member.saving and member.saving[0].token <= token:
            member.disk += member.saving.pop(0).records
        member.now_saved = token
        due, member.sends = member.sends, []
        for send in due:
            if send.after <= token:
                self.transmit(member, send)
            else:
                member.sends.append(send)
        self.happens(member, life, events.Saved(token))

    def transmit(self, member: Member, send: effects.Send) -> None:
        data = self.encode(send.message)
        for to in send.to:
            for _ in range(2 if self.random.random() < self.misfortunes.doubling else 1):
                if self.random.random() >= self.misfortunes.loss:
                    delay = self.random.randint(0, self.misfortunes.slowest * MILLISECOND)
                    self.later(delay, lambda to=to: self.arrive(member.id, to, data))  # type: ignore[misc]

    def arrive(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        if (sender, to) not in self.cut:
            member = self.members[to]
            self.happens(member, member.life, events.Receive(sender, self.message(data)))

    def apply(self, member: Member, commit: effects.Commit) -> None:
        meta, executed = member.state
        named = {(name.index, name.batch): name.tokens for name in commit.named}
        for entry in commit.entries:
            assert entry.index == meta.index + 1, f"n{member.id} gets entry {entry.index} after {meta.index}"
            assert entry.stamp >= meta.stamp, f"cluster time went back at {entry.position}"
            if entry.index > len(self.chosen):
                self.chosen.append(entry)
                if entry.members is not None:
                    self.were.append(entry.members)
                for batch in entry.batches:
                    self.executed += [request.payload for request in unpack(batch.requests)]
            assert entry == self.chosen[entry.index - 1], (
                f"n{member.id} has {entry}, not {self.chosen[entry.index - 1]}"
            )
            for place, batch in enumerate(entry.batches):
                requests = unpack(batch.requests)
                executed += tuple(request.payload for request in requests)
                tokens = named.pop((entry.index, place), ())
                assert not tokens or len(tokens) == len(requests)
                for token, request in zip(tokens, requests, strict=False):
                    assert self.payload[token] == request.payload
                    self.acknowledged.add(request.payload)
                    self.end(token, "Commit")
            meta = SnapshotMeta(entry.epoch, entry.index, entry.stamp, entry.members or meta.members)
        assert not named, f"named but not in the commit: {named}"
        member.state = (meta, executed)
        if self.random.random() < self.misfortunes.flush:
            member.durable = member.state
        assert member.durable is not None
        self.happens(member, member.life, events.Applied(meta.index, member.durable[0].index))
        self.answer_reads(member)

    def answer_reads(self, member: Member) -> None:
        """A read must see all that was acknowledged to anybody before it was asked."""
        waiting, member.reads = member.reads, []
        for index, token, life in waiting:
            if member.state[0].index >= index:
                assert len(member.state[1]) >= self.floor[token], (
                    f"read {token} at n{member.id} misses what was acknowledged before: "
                    f"{len(member.state[1])} of {self.floor[token]}"
                )
                self.end(token, "ReadAt")
            else:
                member.reads.append((index, token, life))

    def load(self, member: Member, effect: effects.Load) -> None:
        """Read back what is on the disk by then: nothing, if it was compacted away."""
        life = member.life

        def act() -> None:
            stored = {record.mark(): record.entry for record in member.disk if hasattr(record, "entry")}
            found: list[Entry] = []
            while (index := effect.first + len(found)) <= effect.last and index in stored:
                found.append(stored[index])
                if sum(entry.size() for entry in found) >= effect.size:
                    break
            self.seen.add("entries loaded")
            self.happens(member, life, events.Loaded(effect.token, tuple(found)))

        self.later(self.random.randint(0, 10) * MILLISECOND, act)

    def fetch(self, member: Member, fetch: effects.FetchSnapshot) -> None:
        life, meta = member.life, fetch.meta

        def act() -> None:
            state = self.members[fetch.sources[0]].held.get(meta)
            if state is not None and (fetch.sources[0], member.id) in self.cut:
                state = None
            if member.life == life and member.engine is not None:
                member.fetched = state
                self.happens(member, life, events.SnapshotFetched(meta, state is not None))

        self.later(self.random.randint(0, 30) * MILLISECOND, act)

    def install(self, member: Member, effect: effects.InstallSnapshot) -> None:
        life, state = member.life, member.fetched
        assert state is not None and state[0] == effect.meta

        def act() -> None:
            if member.life == life and member.engine is not None:
                member.state = member.durable = state
                self.seen.add("a snapshot installed")
                self.happens(member, life, events.SnapshotInstalled(effect.meta))
                self.answer_reads(member)

        self.later(self.random.randint(0, 10) * MILLISECOND, act)

    def compact(self, member: Member, below: Index) -> None:
        """Delete whole segments: here, all records up to the last below, and write the hard state anew."""
        if self.random.random() < 0.5:
            keep = next((i for i, record in enumerate(member.disk) if record.mark() >= below), len(member.disk))
            if keep:
                self.seen.add("a segment released")
                member.disk = [*member.engine.hard_state(), *member.disk[keep:]]

    # The callers.

    def end(self, token: Token, how: str) -> None:
        assert token in self.open, f"token {token} ended as {self.ended.get(token)}, and again as {how}"
        del self.open[token]
        self.ended[token] = how
        self.seen.add(how)

    def propose(self, n: NodeId, count: int = 1) -> list[Token]:
        member = self.members[n]
        if member.engine is None:
            return []
        asked = []
        for _ in range(count):
            token = self.token(member)
            self.payload[token] = b"%d" % token
            asked.append((token, Request(self.payload[token])))
        self.happens(member, member.life, events.Propose(tuple(asked)))
        return [token for token, _ in asked]

    def read(self, n: NodeId) -> Token | None:
        member = self.members[n]
        if member.engine is None:
            return None
        token = self.token(member)
        places = [place for place, payload in enumerate(self.executed, 1) if payload in self.acknowledged]
        self.floor[token] = places[-1] if places else 0
        self.happens(member, member.life, events.Read((token,)))
        return token

    def transfer(self, n: NodeId, to: NodeId) -> Token | None:
        member = self.members[n]
        if member.engine is None:
            return None
        token = self.token(member)
        self.happens(member, member.life, events.TransferLeadership(token, to))
        return token

    def change(self, n: NodeId, members: Members) -> Token | None:
        member = self.members[n]
        if member.engine is None:
            return None
        token = self.token(member)
        self.wished[token] = members
        base = member.engine.status().members if self.random.random() < 0.5 else None
        self.happens(member, member.life, events.ChangeMembers(token, members, base))
        return token

    def token(self, member: Member) -> Token:
        self.tokens += 1
        self.open[self.tokens] = (member.id, member.life)
        return self.tokens

    def done(self, token: Token) -> None:
        self.end(token, "Done")

    def run(self, milliseconds: int) -> None:
        until = self.now + milliseconds * MILLISECOND
        while self.queue and self.queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self.queue)
            act()
        self.now = until

    def leader(self) -> NodeId | None:
        """Who leads the highest term."""
        leaders = [m for m in self.members.values() if m.engine is not None and m.engine.status().role == "leader"]
        return max(leaders, key=lambda m: m.engine.status().epoch).id if leaders else None

    def heal(self) -> None:
        """Everything works from now on."""
        self.misfortunes = Misfortunes()
        self.cut.clear()
        for n, member in self.members.items():
            if member.engine is None:
                self.start(n)

    def check_end(self) -> None:
        """All agree, nothing acknowledged is lost, everything happened at most once, every token has ended."""
        gone = [member for member in self.members.values() if member.id not in self.were[-1].everyone()]
        for token in [token for member in gone for _, token, _ in member.reads]:
            self.end(token, "waits for entries that a removed member never gets")
        assert not self.open, f"these tokens never ended: {sorted(self.open)}"
        assert len(set(self.executed)) == len(self.executed), "a request was executed twice"
        missing = self.acknowledged - set(self.executed)
        assert not missing, f"acknowledged and lost: {sorted(missing)}"
        refused = {self.payload[t] for t, how in self.ended.items() if how == "Rejected" and t in self.payload}
        assert not refused & set(self.executed), f"rejected, yet executed: {sorted(refused & set(self.executed))}"
        done = {members for token, members in self.wished.items() if self.ended[token] == "Done"}
        assert done <= set(self.were), f"done, yet never the configuration: {done - set(self.were)}"
        for n in self.were[-1].everyone():
            assert self.members[n].state[1] == tuple(self.executed), f"n{n} has another state"
