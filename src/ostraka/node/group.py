"""One consensus group on one node: events in, effects out, in order.

The group gathers what came in during a turn, steps the engine once with all of it, and carries out the
effects in their order: it saves before it sends, applies what is committed, and ends every question that
was asked of it with exactly one answer.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostraka.errors import Corruption, OstrakaError, OutcomeUnknown, StorageError
from ostraka.model import effects, events
from ostraka.model.effects import Effect
from ostraka.model.engine import Consensus, Engine, Status
from ostraka.model.events import Event
from ostraka.model.ids import ClusterTime, Epoch, GroupId, Index, Instant, NodeId, SaveToken, Token
from ostraka.model.machine import Machine, Outcome
from ostraka.model.requests import Entry, Kind, Members, Request, SnapshotMeta, genesis
from ostraka.node.refusals import finished, refusal
from ostraka.node.snapshots import Held, Pull
from ostraka.node.stored import APPLIED, Descriptor, decode_meta
from ostraka.transport import wire
from ostraka.transport.network import Channel

if TYPE_CHECKING:
    from ostraka.node.host import Host
    from ostraka.storage.table import Pinned, Table

Answer = Callable[[bytes | None, OstrakaError | None], None]
"""Called once with the reply, or with the error that says whether it happened."""

Ready = Callable[[OstrakaError | None], None]
"""Called once: with None when the local state may be read, or with the error."""

Carried = Callable[[OstrakaError | None], None]
"""Called once: with None when what was ordered has been done, or with the error that says whether it was."""

Observer = Callable[[Entry, Outcome], None]

COMMIT_BYTES: Final = 1 << 20
"""So many bytes are applied before the store is handed what they changed, unless the host's time comes first."""

KEPT_FOR_PULL: Final = 256 << 20
"""Bytes of entries that are kept for one who pulls a state, beyond the log's tail."""

TABLE_CACHE: Final = 32 << 20
"""Bytes of rows that are kept at hand: a put looks at the row that it replaces."""

_encode = msgspec.msgpack.Encoder().encode


class Group:
    """The driver of one engine. Made by `Host.open_group`."""

    def __init__(
        self,
        host: Host,
        group_id: GroupId,
        consensus: Consensus,
        machine: Callable[[Table], Machine],
        descriptor: Descriptor,
    ) -> None:
        self.id: Final = group_id
        self.engine: Engine  # Set by `begin`.
        self.table: Table = host.store.table(descriptor.prefix(group_id), TABLE_CACHE)
        self.machine: Machine = machine(self.table)
        self.meta: SnapshotMeta  # What the applied state is a state of. Set by `begin`.
        self.flushed: Index = 0
        self.role = "follower"
        self.epoch: Epoch = 0
        self.leader: NodeId = 0
        self.refilling = ""  # What of this group was damaged, until its log is whole again: nobody is served here.
        self.observers: list[Observer] = []
        self.on_installed: list[Callable[[], None]] = []  # Another state has taken the place of ours, further on.
        self.members_moved: Callable[[], None] = lambda: None  # There is another configuration, or other addresses.
        self.unflushed_bytes = self._since_held = 0  # Of entries applied: since a flush began, and since `_held`.
        self._uncommitted = 0  # Entries and bytes applied since the store was last handed what they changed.
        self._host: Final = host
        self._make_machine: Final = machine
        self._descriptor = descriptor
        self._decode: Final = msgspec.msgpack.Decoder(consensus.message).decode
        self._decode_record: Final = msgspec.msgpack.Decoder(consensus.record).decode
        self._events: list[Event] = []
        self._proposals: list[tuple[Token, Request]] = []
        self._token: Token = 0
        self._answers: dict[Token, Answer] = {}
        self._orders: dict[Token, Carried] = {}
        self._arriving_reads: list[Ready] = []
        self._reads: dict[Token, list[Ready]] = {}
        self._reads_at: list[tuple[Index, Token]] = []  # A heap: reads that wait for an index to be applied.
        self._saved: SaveToken = 0
        self._unsaved: deque[tuple[int, SaveToken]] = deque()  # (sequence number in the log, save)
        self._unsent: deque[tuple[SaveToken, tuple[NodeId, ...], bytes]] = deque()  # Messages that wait for a save.
        self._held: Held | None = None
        self._pull: Pull | None = None
        self._carry_out: Final[dict[type[Effect], Callable[[Any], None]]] = {
            effects.Save: self._save,
            effects.Send: self._send,
            effects.Load: self._load,
            effects.Commit: self._commit,
            effects.ReadAt: self._read_at,
            effects.Done: self._done,
            effects.Rejected: self._reject,
            effects.Lost: self._lose,
            effects.TakeSnapshot: self._take_snapshot,
            effects.FetchSnapshot: self._fetch_snapshot,
            effects.InstallSnapshot: self._install_snapshot,
            effects.Compact: self._compact,
            effects.MembersActive: self._activate_members,
            effects.RoleChanged: self._change_role,
            effects.Discarded: self._discarded,
            effects.Refilled: self._refilled,
            effects.Stranded: self._strand,
        }

    def begin(self, restore: Callable[[SnapshotMeta], Engine], members: Members) -> None:
        """Find out what the durable state is a state of, and make the engine from there."""
        applied = self.table.get(APPLIED)
        self.meta = genesis(members) if applied is None else decode_meta(applied)
        self.flushed = self.meta.index
        self._host.store.drop(self._descriptor.next().prefix(self.id))  # A snapshot that was not installed in time.
        if self._descriptor.generation:  # What it took the place of, if we died before that was gone.
            self._host.store.drop(self._descriptor.before().prefix(self.id))
        self.engine = restore(self.meta)
        status = self.engine.status()
        self.epoch = status.epoch
        self.refilling = "the log was damaged" if status.refilling else ""

    # What the server asks.

    def propose(self, request: Request, answer: Answer) -> None:
        """Order and execute a request; `answer` gets the machine's reply, or an error that says if it happened."""
        failed = self._host.failed
        if failed is not None:
            self._host.clock.call_soon(lambda: answer(None, finished(failed)))
            return
        self._token += 1
        self._answers[self._token] = answer
        self._proposals.append((self._token, request))
        self._host.schedule(self)

    def read_index(self, ready: Ready) -> None:
        """When `ready` is called with None, local reads are linearizable with respect to this call. (Raft §8)

        The engine gets the question in a turn that begins later, with the clock read at its beginning: so a leader
        lease that is valid then was valid after this call. However long this process stands still afterwards, the
        read shows at least what was committed then, and takes effect between question and answer.
        """
        failed = self._host.failed
        if failed is not None:
            self._host.clock.call_soon(lambda: ready(finished(failed)))
            return
        self._arriving_reads.append(ready)
        self._host.schedule(self)

    def change_members(self, members: Members, done: Carried, base: Members | None = None) -> None:
        """Make this the configuration, unless another one than `base` comes first; None: than `status` shows now."""
        base = base or self.engine.status().members
        self._order(lambda token: events.ChangeMembers(token, members, base), done)

    def transfer_leadership(self, to: NodeId, done: Carried) -> None:
        """Let this member lead. Only a leader can hand over."""
        self._order(lambda token: events.TransferLeadership(token, to), done)

    def _order(self, event: Callable[[Token], Event], done: Carried) -> None:
        failed = self._host.failed
        if failed is not None:
            self._host.clock.call_soon(lambda: done(finished(failed)))
            return
        self._token += 1
        self._orders[self._token] = done
        self.happened(event(self._token))

    def query(self, query: Any) -> Any:
        """Ask the applied state of this node, at once: serializable, and perhaps stale."""
        return self.machine.read(query, self.table)

    def pin(self) -> Pinned:
        """The applied state as it is now, for one who looks at it for some time, and releases it."""
        self.commit_table()
        return self._host.store.pin(self._descriptor.prefix(self.id))

    def status(self) -> Status:
        return self.engine.status()

    @property
    def applied(self) -> Index:
        """The last entry that has been executed here."""
        return self.meta.index

    @property
    def applied_stamp(self) -> ClusterTime:
        return self.meta.stamp

    # What the host tells.

    def happened(self, event: Event) -> None:
        """Give this to the engine in the next turn."""
        self._events.append(event)
        self._host.schedule(self)

    def received(self, sender: NodeId, message: msgspec.Raw) -> None:
        """Raises `msgspec.DecodeError` for bytes that are no message of this group's engine."""
        self.happened(events.Receive(sender, self._decode(message)))

    def step(self, now: Instant) -> None:
        """One turn: all that came in goes to the engine at once, and its effects are carried out in order."""
        arrived, self._events = self._events, []
        if self._proposals:
            arrived.append(events.Propose(tuple(self._proposals)))
            self._proposals.clear()
        if self._arriving_reads:
            # All reads of a turn share one token: what makes one of them linearizable makes them all so.
            self._token += 1
            self._reads[self._token] = self._arriving_reads
            self._arriving_reads = []
            arrived.append(events.Read((self._token,)))
        deadline = self.engine.deadline
        if deadline is not None and deadline <= now:
            arrived.append(events.Wake())
        for effect in self.engine.step(arrived, now):
            self._carry_out[type(effect)](effect)

    def durable(self, sequence: int) -> None:
        """The write-ahead log is durable up to this sequence number."""
        saved = self._saved
        while self._unsaved and self._unsaved[0][0] <= sequence:
            saved = self._unsaved.popleft()[1]
        if saved == self._saved:
            return
        self._saved = saved
        while self._unsent and self._unsent[0][0] <= saved:
            _, to, frame = self._unsent.popleft()
            for member in to:
                self._host.network.send(member, frame)
        self.happened(events.Saved(saved))

    def commit_table(self) -> None:
        """Hand what was applied to the store, with the position that it is a state of, as one atomic batch."""
        if self._uncommitted:
            self._uncommitted = 0
            self.table.put(APPLIED, _encode(self.meta))
            self.table.commit()

    def was_flushed(self, index: Index) -> None:
        """The table survives a crash as it was at this index."""
        self.flushed = max(self.flushed, index)
        self.happened(events.Applied(self.applied, self._forgettable()))

    def _forgettable(self) -> Index:
        """Up to where the engine may forget its log: what is flushed, except what goes on from a state being pulled.

        Or a pull that takes longer than the log's tail lasts would end with a state that nothing goes on from, and
        would be begun anew, for ever.
        """
        held = self._held
        if held is None or self._since_held > KEPT_FOR_PULL or not held.in_use(self._host.clock.now()):
            return self.flushed
        return min(self.flushed, held.meta.index)

    def end(self, failure: StorageError) -> None:
        """The disk failed, or the member was removed: the engine ends, and whoever waits is told."""
        self._unsent.clear()
        self._events = [events.SaveFailed(str(failure))]
        self.step(self._host.clock.now())
        unknown = OutcomeUnknown(f"this node ended before the outcome was known: {failure}")
        answers, self._answers = self._answers, {}
        for token in sorted(answers):
            answers[token](None, unknown)
        orders, self._orders = self._orders, {}
        for token in sorted(orders):
            orders[token](unknown)
        for token in sorted(self._reads):
            self._ready(token, finished(failure))

    def let_go(self, unused_since: Instant | None = None) -> None:
        """Hold no state for others any more, or only one that was asked for after this instant."""
        held = self._held
        if held is not None and (unused_since is None or held.used <= unused_since):
            held.release()
            self._held = None

    def pulled(self, sender: NodeId, frame: wire.AskChunk | wire.Chunk | wire.NoChunk) -> None:
        """A frame about a snapshot."""
        match frame:
            case wire.AskChunk():
                held = self._held
                if held is not None and held.meta.position == (frame.epoch, frame.index):
                    answer: wire.Frame = held.chunk(frame, self._host.clock.now())
                else:
                    answer = wire.NoChunk(self.id, frame.pull)
                    if held is None:
                        self._hold()  # It was let go; the engine has a newer one to offer now.
                self._host.network.send(sender, wire.encode(answer), Channel.BULK)
            case wire.Chunk() | wire.NoChunk():
                if self._pull is not None:
                    self._pull.received(sender, frame)

    # What the engine wants done.

    def _save(self, effect: effects.Save) -> None:
        append = self._host.wal.append
        sequence = hard = 0
        for record in effect.records:
            mark = record.mark()
            sequence = append(self.id, _encode(record), mark)
            if not mark and not hard:
                hard = sequence
        if hard:
            self._host.hard_state_changed(self, hard)
        self._unsaved.append((sequence, effect.token))
        self._host.unsynced = True

    def _send(self, effect: effects.Send) -> None:
        frame = wire.encode_message(self.id, effect.message)
        if effect.after > self._saved:
            place = len(self._unsent)
            while place and self._unsent[place - 1][0] > effect.after:
                place -= 1  # It waits for an earlier save than others do.
            self._unsent.insert(place, (effect.after, effect.to, frame))
            return
        for member in effect.to:
            self._host.network.send(member, frame)

    def _load(self, effect: effects.Load) -> None:
        def loaded(payloads: list[bytes]) -> None:
            entries = tuple([self._decode_record(payload).entry for payload in payloads])
            self.happened(events.Loaded(effect.token, entries))

        self._host.load(self.id, effect.first, effect.last, effect.size, loaded)

    def _commit(self, effect: effects.Commit) -> None:
        replies = {}
        for entry in effect.entries:
            assert entry.index == self.meta.index + 1, f"entry {entry.index} committed after {self.meta.index}"
            members = self.meta.members
            if entry.kind == Kind.MEMBERS and entry.members is not None:
                members = entry.members
            outcome = self.machine.apply(entry, self.table)
            replies[entry.index] = outcome.replies
            self.meta = SnapshotMeta(entry.epoch, entry.index, entry.stamp, members)
            self.unflushed_bytes += entry.size()
            self._since_held += entry.size()
            self._host.metrics.proposals_applied += sum(map(len, outcome.replies))
            for observer in self.observers:
                observer(entry, outcome)
            self._uncommitted += 1 + entry.size()
            if outcome.moved:
                self.members_moved()
        if self._uncommitted > COMMIT_BYTES:
            self.commit_table()
        else:
            self._host.commit_later(self)
        for named in effect.named:
            for token, reply in zip(named.tokens, replies[named.index][named.batch], strict=True):
                self._answers.pop(token)(reply, None)
            self._host.metrics.proposals_committed += len(named.tokens)
        self._serve_reads()
        self._events.append(
            events.Applied(self.applied, self._forgettable())
        )  # Waits for the next turn, whenever that is.

    def _read_at(self, effect: effects.ReadAt) -> None:
        for token in effect.tokens:
            heapq.heappush(self._reads_at, (effect.index, token))
        self._serve_reads()

    def _serve_reads(self) -> None:
        while self._reads_at and self._reads_at[0][0] <= self.applied:
            self._ready(heapq.heappop(self._reads_at)[1], None)

    def _ready(self, token: Token, error: OstrakaError | None) -> None:
        for ready in self._reads.pop(token):
            ready(error)

    def _done(self, effect: effects.Done) -> None:
        for token in effect.tokens:
            self._orders.pop(token)(None)

    def _reject(self, effect: effects.Rejected) -> None:
        self._refuse(effect.tokens, refusal(effect.why))

    def _lose(self, effect: effects.Lost) -> None:
        self._refuse(effect.tokens, OutcomeUnknown("the leader changed before the outcome was known"))

    def _refuse(self, tokens: tuple[Token, ...], error: OstrakaError) -> None:
        for token in tokens:
            if token in self._reads:
                self._ready(token, error)
            elif token in self._orders:
                self._orders.pop(token)(error)
            else:
                self._host.metrics.proposals_failed += 1
                self._answers.pop(token)(None, error)

    def _take_snapshot(self, effect: effects.TakeSnapshot) -> None:
        assert effect.index <= self.applied, f"a snapshot of {effect.index} was asked for at {self.applied}"
        assert not effect.exactly or effect.index == self.applied, "an exact snapshot is asked for in time"
        self.let_go()
        self._hold()

    def _hold(self) -> None:
        self._held = Held(self.meta, self.pin(), self._host.upkeep.chunk_bytes, self._host.clock.now())
        self._since_held = 0
        self._host.metrics.snapshots_taken += 1
        self.happened(events.SnapshotTaken(self.meta))

    def _fetch_snapshot(self, effect: effects.FetchSnapshot) -> None:
        if self._pull is not None:
            self._pull.stop()
        prefix = self._descriptor.next().prefix(self.id)
        self._host.store.drop(prefix)
        table = self._host.store.table(prefix, TABLE_CACHE)
        host = self._host
        number = host.dice.getrandbits(63)
        self._pull = Pull(self.id, effect, table, number, host.clock, host.network, self._fetched, host.links)
        self._pull.start()

    def _fetched(self, meta: SnapshotMeta) -> None:
        """The pull has ended: it succeeded if the new table says that it is the state that was asked for."""
        assert self._pull is not None
        applied = self._pull.table.get(APPLIED)
        ok = self._pull.complete and applied is not None and decode_meta(applied).position == meta.position
        self.happened(events.SnapshotFetched(meta, ok))

    def _install_snapshot(self, effect: effects.InstallSnapshot) -> None:
        pull = self._pull
        assert pull is not None and pull.complete and pull.meta.position == effect.meta.position, (
            "fetched before installed"
        )
        self._host.describe(self.id, self._descriptor.next())
        self._host.flush(lambda: self._installed(pull))

    def _installed(self, pull: Pull) -> None:
        """The descriptor is durable: from here on the new table is the state, whatever happens."""
        assert pull.meta.index > self.applied, "an engine installs only what is ahead of it"
        self._host.store.drop(self._descriptor.prefix(self.id))
        self._descriptor = self._descriptor.next()
        self._pull = None
        self._uncommitted = 0
        self.table = pull.table
        self.machine = self._make_machine(self.table)
        applied = self.table.get(APPLIED)
        assert applied is not None, "checked when it was fetched"
        self.meta = decode_meta(applied)
        self.flushed = self.meta.index
        self._host.metrics.snapshots_installed += 1
        for installed in self.on_installed:
            installed()
        self._serve_reads()
        self.members_moved()
        self.happened(events.SnapshotInstalled(self.meta))

    def _compact(self, effect: effects.Compact) -> None:
        self._host.wal.release(self.id, effect.below)

    def _activate_members(self, effect: effects.MembersActive) -> None:
        self.members_moved()

    def _change_role(self, effect: effects.RoleChanged) -> None:
        if effect.leader and effect.leader != self.leader:
            self._host.metrics.leader_changes += 1
        moved = effect.leader != self.leader
        self.role, self.epoch, self.leader = effect.role, effect.epoch, effect.leader
        if moved:
            self.members_moved()

    def _refilled(self, effect: effects.Refilled) -> None:
        self.refilling = ""
        self._host.say("this member has its log back: it votes and serves again")

    def _strand(self, effect: effects.Stranded) -> None:
        others = ", ".join(f"{member:x}" for member in effect.refilling if member != self._host.identity.member)
        raise Corruption(
            f"{self.refilling}; and the other members are no quorum that this one could be refilled from, since "
            f"{others} must be refilled, too: what was acknowledged may be lost; restore the cluster from a backup"
        )

    def _discarded(self, effect: effects.Discarded) -> None:
        self._host.metrics.messages_discarded += 1
