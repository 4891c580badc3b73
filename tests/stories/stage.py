"""A stage for one consensus group: nodes, their disks, and the letters between them, without chance.

It is the driver of `ostraka.model.effects` at its plainest: the effects of a step are carried out in
their order, a message leaves once the save that it waits for is on disk, a crash loses what was not, and
each entry is applied as it is decided. Each node has a clock of its own, and its dice are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ostraka.consensus.multipaxos.invariants import Invariants as InvariantsOfPaxos
from ostraka.consensus.multipaxos.replica import Replica as PaxosReplica
from ostraka.consensus.raft import RAFT
from ostraka.consensus.raft.invariants import Invariants
from ostraka.consensus.raft.replica import Replica
from ostraka.model import effects as do
from ostraka.model import events as ev
from ostraka.model.engine import Consensus, Engine, Settings, Status
from ostraka.model.ids import Index, Instant, NodeId, SaveToken, Token
from ostraka.model.requests import Entry, Kind, Members, SnapshotMeta, genesis, unpack

from .words import cargo, words

State = tuple[SnapshotMeta, tuple[str, ...]]
"""A state machine's state: what it is a state of, and the names of the requests executed, in order."""


class FixedDice:
    """Dice that always fall nearly the same way: `luck` is the share of the range, from 0 to 0.9.

    A counter in the low bits keeps two long draws apart, as a node's lives must be.
    """

    def __init__(self, luck: float) -> None:
        self.luck = luck
        self.drawn = 0

    def getrandbits(self, k: int, /) -> int:
        self.drawn += 1
        return int(self.luck * (1 << k)) + (self.drawn if k >= 16 else 0)


@dataclass
class Letter:
    """A message on its way."""

    sender: NodeId
    to: NodeId
    message: ev.Message

    def __str__(self) -> str:
        return f"n{self.sender} → n{self.to} {words(self.message)}"


@dataclass
class Rule:
    """What happens to letters of this kind on this link: None is any."""

    kind: str | None
    sender: NodeId | None
    to: NodeId | None
    lose: bool = False

    def about(self, letter: Letter) -> bool:
        return (
            self.kind in (None, type(letter.message).__name__)
            and self.sender in (None, letter.sender)
            and self.to in (None, letter.to)
        )


@dataclass
class Node:
    """A replica with its clock, its disk and its state machine."""

    id: NodeId
    dice: FixedDice
    durable: State  # The state machine's state as a crash leaves it.
    state: State
    replica: Engine = None  # type: ignore[assignment]  # There is none before the node is started.
    up: bool = False
    clock: Instant = 0
    disk: list[do.Record] = field(default_factory=list)
    slow: bool = False  # Saves wait until the scene finishes them.
    saved: SaveToken = 0
    saving: list[do.Save] = field(default_factory=list)
    outbox: list[tuple[SaveToken, Letter]] = field(default_factory=list)
    inbox: list[ev.Event] = field(default_factory=list)  # What its own disk and state machine have to say.
    reads: list[tuple[Index, Token]] = field(default_factory=list)
    pending: set[Token] = field(default_factory=set)
    held: dict[SnapshotMeta, State] = field(default_factory=dict)  # The snapshots that peers can pull.
    flushes: bool = False  # What is applied is durable at once.


class Stage:
    """Nodes 1 to `nodes`, then `spare` ones that are members of nothing yet; `logs` gives some of them a past.

    `other` are settings by name.

    It checks after each step what every engine owes: one leader for an epoch, one entry for an index,
    no batch executed twice, no token ended twice, no message before its save; and of the engine all its invariants.
    """

    def __init__(
        self,
        nodes: int = 3,
        engine: Consensus = RAFT,
        logs: dict[NodeId, Sequence[do.Record]] | None = None,
        settings: Settings | None = None,
        spare: int = 0,
        **other: int,
    ) -> None:
        self.engine = engine
        self.settings = settings or Settings(**other)
        self.transcript: list[str] = []
        self.hidden: set[str] = set()
        self.wire: list[Letter] = []
        self.kept: list[Letter] = []  # Held back by a rule.
        self.rules: list[Rule] = []
        self.sides: list[set[NodeId]] = [set(range(1, nodes + spare + 1))]
        self.names: dict[Token, str] = {}
        self.answers: dict[Token, str] = {}
        self.decided: dict[Index, Entry] = {}
        self.executed: dict[tuple[int, int, int], Index] = {}
        self.leader_of: dict[int, NodeId] = {}
        self.invariants: Any = InvariantsOfPaxos() if engine.name == "multipaxos" else Invariants()
        start = (genesis(Members(tuple(range(1, nodes + 1)))), ())
        self.nodes = {n: Node(n, FixedDice(n / 10), start, start) for n in range(1, nodes + 1)}
        for n in range(nodes + 1, nodes + spare + 1):  # They belong to nobody yet.
            self.nodes[n] = Node(n, FixedDice(n / 10), (genesis(Members(())), ()), (genesis(Members(())), ()))
        for n, node in self.nodes.items():
            node.disk = list((logs or {}).get(n, ()))
            self.start(n)
        self.settle()

    def start(self, n: NodeId, refilling: bool = False) -> None:
        """Start the node from what its disk holds; `refilling`, if its log was damaged."""
        node = self.nodes[n]
        node.up, node.saved, node.state = True, 0, node.durable
        node.replica = self.engine.restore(
            n, self.settings, node.dice, bytes, tuple(node.disk), node.durable[0], node.clock, refilling
        )
        self._look(node)

    def crash(self, n: NodeId) -> None:
        """Lose all that was not saved, and everybody who waited for an answer."""
        node = self.nodes[n]
        self._note("", f"n{n} crashes")
        node.up = False
        for token in sorted({*node.pending, *(token for _, token in node.reads)}):
            self.answers[token] = "crashed"
        for waiting in (node.saving, node.outbox, node.inbox, node.reads, node.pending, node.held):
            waiting.clear()

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Let everything that is under way arrive, and whatever follows from it, in a fixed order."""
        for _ in range(10_000):
            if until() or not (self.work() or self._carry()):
                return
        raise AssertionError("the scene never settles:\n" + "\n".join(self.transcript[-20:]))

    def post(self, letter: Letter) -> None:
        """Hand this letter over now."""
        if not self.nodes[letter.to].up:
            self._note("losses", f"{letter} is lost")
            return
        self._note(type(letter.message).__name__, str(letter))
        self._tell(self.nodes[letter.to], ev.Receive(letter.sender, letter.message))

    def _note(self, kind: str, line: str) -> None:
        if kind not in self.hidden:
            self.transcript.append(line)

    def _token(self, n: NodeId, name: str) -> Token:
        token = len(self.names) + 1
        self.names[token] = name
        self.nodes[n].pending.add(token)
        return token

    def _side(self, n: NodeId) -> set[NodeId]:
        return next((side for side in self.sides if n in side), {n})

    def _tell(self, node: Node, *happened: ev.Event) -> None:
        assert node.up, f"n{node.id} is down"
        before = node.replica.status()
        done = node.replica.step(happened, node.clock)
        self._look(node, before)
        for effect in done:
            self._do(node, effect)

    def _look(self, node: Node, before: Status | None = None) -> None:
        """Note what changed, and check what must hold."""
        now = node.replica.status()
        if before is not None and (before.role, before.epoch) != (now.role, now.epoch):
            was = f"{before.role} → " if before.role != now.role else ""
            self._note("roles", f"n{node.id} {was}{now.role}, term {now.epoch}")
        if now.role == "leader":
            first = self.leader_of.setdefault(now.epoch, node.id)
            assert first == node.id, f"epoch {now.epoch}: n{first} and n{node.id} both lead"
        if isinstance(node.replica, Replica | PaxosReplica):
            self.invariants.observe(node.replica)
        assert now.commit <= now.last, f"n{node.id} takes {now.commit} as committed, and has {now.last}"
        if before is not None:
            assert now.commit >= before.commit, f"n{node.id}'s commit went back from {before.commit} to {now.commit}"
            assert now.epoch >= before.epoch, f"n{node.id}'s epoch went back from {before.epoch} to {now.epoch}"

    def _do(self, node: Node, effect: do.Effect) -> None:
        match effect:
            case do.Save():
                assert effect.token > max([node.saved, *(save.token for save in node.saving)]), "saves out of order"
                node.saving.append(effect)
            case do.Send():
                for to in effect.to:
                    assert to != node.id, f"n{to} writes to itself: {words(effect.message)}"
                    self._send(node, effect.after, Letter(node.id, to, self._travelled(effect.message)))
            case do.Commit():
                self._apply(node, effect)
            case do.ReadAt():
                self._forget(node, effect.tokens, "may be read")
                node.reads += [(effect.index, token) for token in effect.tokens]
                self._answer_reads(node)
            case do.Rejected():
                hint = f" (n{effect.leader} leads)" if effect.leader else ""
                self._end(node, effect.tokens, f"rejected: {effect.why}{hint}")
            case do.Lost():
                self._end(node, effect.tokens, "lost")
            case do.Done():
                self._end(node, effect.tokens, "done")
            case do.Compact():
                node.disk = [record for record in node.disk if not 0 < record.mark() < effect.below]
                self._note("compactions", f"n{node.id} compacts below {effect.below}")
            case do.Discarded():
                self._note("discards", f"n{node.id} discards, from n{effect.sender}: {effect.reason}")
            case do.RoleChanged() | do.MembersActive():
                pass
            case do.Refilled():
                self._note("refills", f"n{node.id} has all up to {effect.index} again")
            case do.Stranded():
                self._note("refills", f"n{node.id} is stranded: {', '.join(f'n{n}' for n in effect.refilling)} refill")
            case _:
                self._do_snapshot(node, effect)

    def _do_snapshot(self, node: Node, effect: do.Effect) -> None:
        match effect:
            case do.Load():
                stored = {record.entry.index: record.entry for record in node.disk if hasattr(record, "entry")}
                found: list[Entry] = []
                size = 0
                for index in range(effect.first, effect.last + 1):
                    size += stored[index].size()
                    if found and size > effect.size:
                        break
                    found.append(stored[index])
                node.inbox.append(ev.Loaded(effect.token, tuple(found)))
                self._note("loads", f"n{node.id} loads {found[0].index} to {found[-1].index} from its disk")
            case do.TakeSnapshot():
                node.held[node.state[0]] = node.state
                node.inbox.append(ev.SnapshotTaken(node.state[0]))
                self._note("snapshots", f"n{node.id} holds {words(node.state[0])}")
            case do.FetchSnapshot():
                sources = [self.nodes[n] for n in effect.sources if n in self._side(node.id) and self.nodes[n].up]
                states = [source.held[effect.meta] for source in sources if effect.meta in source.held]
                if states:
                    node.held[effect.meta] = states[0]
                node.inbox.append(ev.SnapshotFetched(effect.meta, bool(states)))
                self._note("snapshots", f"n{node.id} {'pulls' if states else 'fails to pull'} {words(effect.meta)}")
            case do.InstallSnapshot():
                node.state = node.durable = node.held[effect.meta]
                node.inbox.append(ev.SnapshotInstalled(effect.meta))
                self._note("snapshots", f"n{node.id} installs {words(effect.meta)}")
            case _:
                raise AssertionError(f"the story knows no such effect: {effect}")

    def _send(self, node: Node, after: SaveToken, letter: Letter) -> None:
        assert after <= max([node.saved, *(save.token for save in node.saving)]), f"{letter} waits for no save"
        if after <= node.saved:
            self.wire.append(letter)
        else:
            node.outbox.append((after, letter))

    def _travelled(self, message: ev.Message) -> ev.Message:
        """What the peer decodes, which must be what was sent."""
        received = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=self.engine.message)
        assert received == message, f"{message} arrives as {received}"
        return received  # type: ignore[no-any-return]

    def _finish(self, node: Node, saves: int | None = None) -> None:
        finished, node.saving = node.saving[:saves], node.saving[len(node.saving[:saves]) :]
        for save in finished:
            node.disk += save.records
            for record in save.records:
                self._note("saves", f"n{node.id} saved {words(record)}")
        if finished:
            node.saved = finished[-1].token
            node.inbox.append(ev.Saved(node.saved))
            self.wire += [letter for after, letter in node.outbox if after <= node.saved]
            node.outbox = [(after, letter) for after, letter in node.outbox if after > node.saved]

    def work(self) -> bool:
        """Finish what goes on inside the nodes. Tells whether something did."""
        for node in self.nodes.values():
            if node.up and node.saving and not node.slow:
                self._finish(node)
            if node.up and node.inbox:
                happened, node.inbox = node.inbox, []
                self._tell(node, *happened)
                return True
        return False

    def _carry(self) -> bool:
        """Carry the oldest letter on its way. Tells whether there was one."""
        if not self.wire:
            return False
        letter = self.wire.pop(0)
        rule = next((rule for rule in reversed(self.rules) if rule.about(letter)), None)
        cut = letter.to not in self._side(letter.sender) or not self.nodes[letter.to].up
        if rule is not None and not rule.lose and not cut:
            self.kept.append(letter)
        elif cut or rule is not None:
            kind = type(letter.message).__name__
            self._note(kind if kind in self.hidden else "losses", f"{letter} is lost")
        else:
            self.post(letter)
        return True

    def _apply(self, node: Node, commit: do.Commit) -> None:
        assert commit.entries, "a Commit without entries"
        for entry in commit.entries:
            meta, state = node.state
            assert entry.index == meta.index + 1, f"n{node.id} applies {entry.index} after {meta.index}"
            same = self.decided.setdefault(entry.index, entry)
            assert same == entry, f"index {entry.index} was decided as {words(same)}, and n{node.id} has {words(entry)}"
            assert entry.stamp >= meta.stamp, f"cluster time goes back at {entry.index}"
            for batch in entry.batches:
                first = self.executed.setdefault((batch.origin, batch.life, batch.number), entry.index)
                assert first == entry.index, f"{words(batch)} is decided twice: at {first} and at {entry.index}"
            now = SnapshotMeta(entry.epoch, entry.index, entry.stamp, entry.members or meta.members)
            executed = tuple(cargo(entry).split()) if entry.kind == Kind.REQUESTS else ()
            node.state = (now, state + executed)
            self._note("commits", f"n{node.id} commits {words(entry)}")
        for named in commit.named:
            entry = next(entry for entry in commit.entries if entry.index == named.index)
            batch = entry.batches[named.batch]
            asked = [self.names[token] for token in named.tokens]
            assert asked == [request.payload.decode() for request in unpack(batch.requests)], f"{named} is not {batch}"
            assert batch.origin == node.id, f"n{node.id} answers for n{batch.origin}"
            self._end(node, named.tokens, f"committed at {named.index}")
        if node.flushes:
            node.durable = node.state
        node.inbox.append(ev.Applied(node.state[0].index, node.durable[0].index))
        self._answer_reads(node)

    def _answer_reads(self, node: Node) -> None:
        for _, token in [read for read in node.reads if read[0] <= node.state[0].index]:
            self._answer(node, token, "sees " + (" ".join(node.state[1]) or "nothing"))
        node.reads = [read for read in node.reads if read[0] > node.state[0].index]

    def _end(self, node: Node, tokens: Sequence[Token], how: str) -> None:
        self._forget(node, tokens, how)
        for token in tokens:
            self._answer(node, token, how)

    def _forget(self, node: Node, tokens: Sequence[Token], how: str) -> None:
        for token in tokens:
            assert token in node.pending, f"n{node.id} ends {self.names.get(token)} twice: {how}"
            node.pending.remove(token)

    def _answer(self, node: Node, token: Token, how: str) -> None:
        self.answers[token] = how
        self._note("answers", f"n{node.id} {self.names[token]}: {how}")
