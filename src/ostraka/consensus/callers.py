"""A replica's own callers: what they propose and read, each question ending exactly once, whatever the protocol.

Words:    a batch is what came in during one turn. Held batches wait for a leader that takes them in; sent ones were
          given to one, here or elsewhere. An ask is a question for a read index; the answer holds for earlier ones.
Departs:  clients ask any member, and a follower forwards for them. A forward is good for one epoch, is taken in at most
          once in it, and is never repeated, so a request is executed at most once without any session.
Evidence: tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ostraka.model.effects import Effect, Lost, Named, ReadAt, Rejected, Why
from ostraka.model.engine import Settings
from ostraka.model.ids import Duration, Index, Instant, NodeId, Token
from ostraka.model.requests import Batch, Entry, Request, pack

HELD_FOR = 2
"""Election timeouts that a batch waits for a leader to be known."""

SENT_FOR = 5
"""Election timeouts after which nobody waits any longer for a batch that was sent."""

ASKED_FOR = 5
"""Election timeouts that a read waits for an answer."""

NUMBERS_REMEMBERED = 1024


@dataclass(slots=True)
class Waiting:
    """A batch that isn't decided."""

    tokens: tuple[Token, ...]
    batch: Batch
    expires: Instant
    refused: bool = False  # By a leader that was handing over.


@dataclass(slots=True)
class Asked:
    """Reads that have no answer."""

    number: int
    tokens: tuple[Token, ...]
    expires: Instant


@dataclass(slots=True)
class Seen:
    """Which numbers of one origin's life have come, so that a doubled forward is taken in once.

    Numbers far below the highest count as seen: better lost than executed twice.
    """

    highest: int = 0
    mask: int = 0  # Bit i stands for highest - i.

    def first_time(self, number: int) -> bool:
        """Has this number not come before? It has now."""
        behind = self.highest - number
        if behind < 0:
            kept = self.mask << -behind if -behind < NUMBERS_REMEMBERED else 0
            self.mask = (kept | 1) & ((1 << NUMBERS_REMEMBERED) - 1)
            self.highest = number
            return True
        if behind >= NUMBERS_REMEMBERED or self.mask >> behind & 1:
            return False
        self.mask |= 1 << behind
        return True


def parcels(incoming: list[tuple[Token, Request]], most: int) -> Iterator[tuple[tuple[Token, ...], bytes]]:
    """The requests packed: together where that isn't too large, else in halves, and so on; a large one alone."""
    tokens = tuple([token for token, _ in incoming])
    packed = pack(tuple([request for _, request in incoming]))
    if len(packed) <= most or len(incoming) == 1:
        yield tokens, packed
    else:
        middle = len(incoming) // 2
        yield from parcels(incoming[:middle], most)
        yield from parcels(incoming[middle:], most)


@dataclass(slots=True)
class Callers:
    """What this replica's own callers wait for. Effects go to `out`, the replica's own list."""

    me: NodeId
    life: int
    settings: Settings
    out: list[Effect]
    leader: NodeId = 0  # As the replica knows it.
    incoming: list[tuple[Token, Request]] = field(default_factory=list)  # Requests of this turn,
    held: dict[int, Waiting] = field(default_factory=dict)  # batches that wait for a leader,
    sent: dict[int, Waiting] = field(default_factory=dict)  # and batches given to one, by number.
    hold_until: Instant = 0  # The leader hands over: it takes in no batches until then.
    numbers: int = 0
    own_bytes: int = 0  # Held and sent.
    reading: list[Token] = field(default_factory=list)  # Reads of this turn,
    asked: deque[Asked] = field(default_factory=deque)  # and those that wait for an answer.
    asks: int = 0
    ask_again_at: Instant | None = None  # None: as soon as a leader is known.

    def timeouts(self, count: int) -> Duration:
        return count * self.settings.election_timeout

    # Requests.

    def submit(self, now: Instant, give: Callable[[Batch], bool]) -> None:
        """Give held batches, then this turn's, to the leader, if there is one that takes them in.

        `give` hands a batch over: to ourselves, or by one message that is never sent again; False: there is no room.
        """
        accepting = self.leader != 0 and now >= self.hold_until
        if accepting and self.held:
            held, self.held = self.held, {}
            for waiting in held.values():
                self._give(waiting, now, give)
        if not self.incoming:
            return
        incoming, self.incoming = self.incoming, []
        for tokens, packed in parcels(incoming, self.settings.max_entry):
            if self.own_bytes and self.own_bytes + len(packed) > self.settings.max_uncommitted:
                self.out.append(Rejected(tokens, Why.OVERLOADED, self.leader))
                continue
            self.own_bytes += len(packed)
            self.numbers += 1
            batch = Batch(self.me, self.life, self.numbers, packed)
            waiting = Waiting(tokens, batch, now + self.timeouts(HELD_FOR))
            if accepting:
                self._give(waiting, now, give)
            else:
                self.held[self.numbers] = waiting

    def _give(self, waiting: Waiting, now: Instant, give: Callable[[Batch], bool]) -> None:
        if give(waiting.batch):
            waiting.expires = now + self.timeouts(SENT_FOR)
            self.sent[waiting.batch.number] = waiting
        else:
            self.own_bytes -= len(waiting.batch.requests)
            self.out.append(Rejected(waiting.tokens, Why.OVERLOADED, self.leader))

    def refused(self, number: int, why: Why, now: Instant) -> bool:
        """The leader did not take it in, so it never happens; but where it hands over, the next one can be asked.

        Did anybody wait for it?
        """
        waiting = self.sent.pop(number, None)
        if waiting is None:
            return False
        if why is Why.TRANSFERRING and not waiting.refused:
            self.hold_until = now + self.settings.election_timeout
            self.numbers += 1
            batch = Batch(self.me, self.life, self.numbers, waiting.batch.requests)
            self.held[self.numbers] = Waiting(waiting.tokens, batch, now + self.timeouts(HELD_FOR), refused=True)
        else:
            self.own_bytes -= len(waiting.batch.requests)
            self.out.append(Rejected(waiting.tokens, why, self.leader))
        return True

    def named(self, entries: Iterable[Entry]) -> tuple[Named, ...]:
        """Which of the batches in these decided entries are ours."""
        found = []
        for entry in entries:
            for place, batch in enumerate(entry.batches):
                if batch.origin == self.me and batch.life == self.life:
                    waiting = self.sent.pop(batch.number, None)
                    if waiting is not None:
                        self.own_bytes -= len(batch.requests)
                        found.append(Named(entry.index, place, waiting.tokens))
        return tuple(found)

    def lose_sent(self) -> None:
        """Nobody here can tell any more what becomes of the batches given to the leader."""
        tokens = tuple([token for waiting in self.sent.values() for token in waiting.tokens])
        self.own_bytes -= sum(len(waiting.batch.requests) for waiting in self.sent.values())
        self.sent.clear()
        if tokens:
            self.out.append(Lost(tokens))

    def follow(self, leader: NodeId) -> None:
        """Another leader, or none (0): what was given to the last one is lost, and reads ask anew."""
        if self.leader:
            self.lose_sent()
        self.leader = leader
        self.ask_again_at = None
        self.hold_until = 0

    # Reads.

    def ask(self, now: Instant, ask: Callable[[int], None]) -> None:
        """Ask the leader, if there is one; ask again after a change of leader, and when no answer comes."""
        while self.asked and self.asked[0].expires <= now:
            self.out.append(Rejected(self.asked.popleft().tokens, Why.NO_LEADER, self.leader))
        fresh = bool(self.reading)
        if fresh:
            self.asks += 1
            self.asked.append(Asked(self.asks, tuple(self.reading), now + self.timeouts(ASKED_FOR)))
            self.reading = []
        if not self.asked or not self.leader:
            return
        late = self.ask_again_at is None or now >= self.ask_again_at
        if late and not fresh:
            self.asks += 1  # A number of its own: the answer is to this question, and so covers all before it.
            self.asked[-1].number = self.asks
        if late or fresh:
            self.ask_again_at = now + self.settings.election_timeout // 2
            ask(self.asks)

    def answered(self, number: int, index: Index) -> bool:
        """Reads up to this number are linearizable at this index. Was there any?"""
        tokens: list[Token] = []
        while self.asked and self.asked[0].number <= number:
            tokens += self.asked.popleft().tokens
        if tokens:
            self.out.append(ReadAt(tuple(tokens), index))
        return bool(tokens)

    # Time.

    def expire(self, now: Instant) -> None:
        """Nobody waits for ever: what found no leader did not happen, what was sent may have."""
        while self.held and (first := next(iter(self.held.values()))).expires <= now:
            del self.held[first.batch.number]
            self.own_bytes -= len(first.batch.requests)
            self.out.append(Rejected(first.tokens, Why.NO_LEADER))
        while self.sent and (first := next(iter(self.sent.values()))).expires <= now:
            del self.sent[first.batch.number]
            self.own_bytes -= len(first.batch.requests)
            self.out.append(Lost(first.tokens))

    def deadlines(self) -> list[Instant]:
        """When the first batch expires, or can be given, and when to ask again. Batches come in order of expiry."""
        due = [next(iter(waiting.values())).expires for waiting in (self.held, self.sent) if waiting]
        if self.held and self.leader:
            due.append(self.hold_until)
        if self.asked:
            due.append(self.asked[0].expires)
            if self.leader and self.ask_again_at is not None:
                due.append(self.ask_again_at)
        return due

    def finish(self) -> None:
        """The replica has stopped: nothing that waits here can happen, and what was sent, nobody knows."""
        self.lose_sent()
        tokens = [token for waiting in self.held.values() for token in waiting.tokens]
        tokens += [token for asked in self.asked for token in asked.tokens]
        tokens += [token for token, _ in self.incoming] + self.reading
        self.held, self.asked, self.incoming, self.reading = {}, deque(), [], []
        if tokens:
            self.out.append(Rejected(tuple(tokens), Why.FINISHED))
