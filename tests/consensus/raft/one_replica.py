"""One replica of five, told what the others say: the bench of the paper tests."""

from __future__ import annotations

from collections.abc import Sequence

from ostraka.consensus.raft import RAFT
from ostraka.consensus.raft.messages import (
    Append,
    Appended,
    HardState,
    Logged,
    PreVote,
    Vote,
)
from ostraka.model.effects import Commit, Effect, Record, Save, Send
from ostraka.model.engine import Settings
from ostraka.model.events import (
    Event,
    Message,
    Receive,
    Saved,
    Wake,
)
from ostraka.model.ids import Position
from ostraka.model.requests import Batch, Entry, Kind, Members, Request, genesis, pack

ME = 1
MEMBERS = Members((1, 2, 3, 4, 5))
SETTINGS = Settings(linger=0)


class Halfway:
    """Dice that always fall in the middle."""

    def getrandbits(self, k: int, /) -> int:
        return 1 << (k - 1)


def entry(term: int, index: int) -> Entry:
    """The entry of that term at that index: the same wherever it occurs."""
    batch = Batch(2, term, index, pack((Request(f"{term}.{index}".encode()),)))
    return Entry(index, term, index, Kind.REQUESTS, (batch,))


def log(*terms: int) -> tuple[Entry, ...]:
    """A log whose entries have these terms, from index 1."""
    return tuple(entry(term, index) for index, term in enumerate(terms, 1))


class Replica:
    """Replica 1 of five, with this log, in this term, and all that it has said and done so far.

    A message counts as sent once the save that it waits for is done; saves are done at once, unless `slow`.
    """

    def __init__(
        self, terms: Sequence[int] = (), term: int = 0, voted_for: int | None = None, members: Members = MEMBERS
    ) -> None:
        self.now = 0
        self.slow = False
        self.saving: list[Save] = []
        self.waiting: list[Send] = []
        self.records: list[Record] = []
        self.sent: list[tuple[int, Message]] = []
        self.committed: list[Entry] = []
        self.other: list[Effect] = []
        past: list[Record] = [HardState(term, voted_for)] if term else []
        past += [Logged(each) for each in log(*terms)]
        self.engine = RAFT.restore(ME, SETTINGS, Halfway(), bytes, past, genesis(members), self.now)

    def step(self, *happened: Event) -> None:
        queue = list(happened)
        while queue:
            for effect in self.engine.step(queue, self.now):
                if isinstance(effect, Save):
                    self.saving.append(effect)
                elif isinstance(effect, Send):
                    self.waiting.append(effect)
                elif isinstance(effect, Commit):
                    self.committed += effect.entries
                else:
                    self.other.append(effect)
            queue = [] if self.slow else self.finish_saves()
            self.post()

    def finish_saves(self) -> list[Event]:
        """Make everything durable that waits for it."""
        if not self.saving:
            return []
        saved = Saved(self.saving[-1].token)
        self.records += [record for save in self.saving for record in save.records]
        self.saving.clear()
        return [saved]

    def post(self) -> None:
        """Send what waits for nothing any more."""
        first = min((save.token for save in self.saving), default=1 << 62)
        self.sent += [(to, send.message) for send in self.waiting if send.after < first for to in send.to]
        self.waiting = [send for send in self.waiting if send.after >= first]

    def hear(self, sender: int, message: Message) -> list[Message]:
        """Receive the message. Gives what was sent back to the sender."""
        before = len(self.sent)
        self.step(Receive(sender, message))
        return [message for to, message in self.sent[before:] if to == sender]

    def wake(self) -> list[tuple[int, Message]]:
        """Let time run to the deadline. Gives what was sent."""
        before = len(self.sent)
        assert self.engine.deadline is not None
        self.now = max(self.now, self.engine.deadline)
        self.step(Wake())
        return self.sent[before:]

    def become_candidate(self) -> None:
        self.wake()
        for peer in (2, 3):
            self.hear(peer, PreVote(self.term + 1, True))
        assert self.role == "candidate"

    def become_leader(self) -> None:
        self.become_candidate()
        for peer in (2, 3):
            self.hear(peer, Vote(self.term, True))
        assert self.role == "leader"

    def acknowledge(self, *peers: int, match: int | None = None, echo: int = 0) -> None:
        """These peers say that they hold the log up to `match`, by default all of it."""
        for peer in peers:
            self.hear(peer, Appended(self.term, True, self.last.index if match is None else match, echo))

    @property
    def role(self) -> str:
        return self.engine.status().role

    @property
    def term(self) -> int:
        return self.engine.status().epoch

    @property
    def commit(self) -> int:
        return self.engine.status().commit

    @property
    def last(self) -> Position:
        last: Position = self.engine.log.last  # type: ignore[attr-defined]
        return last

    @property
    def voted_for(self) -> int | None:
        voted: int | None = self.engine.voted_for  # type: ignore[attr-defined]
        return voted

    @property
    def terms(self) -> list[int]:
        entries = self.engine.log.entries(1, self.last.index)  # type: ignore[attr-defined]
        return [each.epoch for each in entries]

    def appends(self, to: int) -> list[Append]:
        return [message for peer, message in self.sent if peer == to and isinstance(message, Append)]

    def durable(self) -> tuple[int, int | None]:
        """The term and the vote that a crash would leave."""
        states = [record for record in self.records if isinstance(record, HardState)]
        return (states[-1].term, states[-1].voted_for) if states else (0, None)


def only(messages: Sequence[Message], kind: type[Message]) -> Message:
    """The one message of this kind."""
    found = [message for message in messages if isinstance(message, kind)]
    assert len(found) == 1, f"expected one {kind.__name__}: {messages}"
    return found[0]


def at(role: str, terms: Sequence[int] = (1,), term: int = 2) -> Replica:
    """A replica in that role and term."""
    replica = Replica(terms, term - 1 if role in ("candidate", "leader") else term)
    match role:
        case "pre-candidate":
            replica.wake()
        case "candidate":
            replica.become_candidate()
        case "leader":
            replica.become_leader()
    assert (replica.role, replica.term) == (role, term)
    return replica
