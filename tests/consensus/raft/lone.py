"""One replica alone with a test, which plays the disk and the other members."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from ostraka.consensus.raft import RAFT
from ostraka.consensus.raft.messages import Append, Appended, HardState, Logged, PreVote, Vote
from ostraka.consensus.raft.replica import Replica
from ostraka.model.effects import Effect, Record, Save, Send
from ostraka.model.engine import Settings
from ostraka.model.events import Event, Message, Propose, Receive, Saved, Wake
from ostraka.model.ids import Instant, Token
from ostraka.model.requests import Entry, Members, Request, SnapshotMeta, genesis

THREE = Members((1, 2, 3))
E = TypeVar("E", bound=Effect)
M = TypeVar("M", bound=Message)


def entries(*terms: int) -> tuple[Entry, ...]:
    """A log whose entries have these terms, from index 1."""
    return tuple(Entry(index, term, index) for index, term in enumerate(terms, 1))


def logged(term: int, *terms: int, vote: int | None = None) -> list[Record]:
    """The records of a replica in this term whose log has entries of these terms."""
    return [HardState(term, vote), *(Logged(entry) for entry in entries(*terms))]


class Lone:
    """Replica 1. Nothing is saved until `save`, nobody answers unless the test does."""

    def __init__(
        self,
        records: Sequence[Record] = (),
        applied: SnapshotMeta | None = None,
        members: Members = THREE,
        now: Instant = 0,
        **settings: int,
    ) -> None:
        self.now = now
        self.settings = Settings(**settings)
        meta = applied or genesis(members)
        replica = RAFT.restore(1, self.settings, Random(1), bytes, records, meta, now)
        assert isinstance(replica, Replica)
        self.replica = replica
        self.effects: list[Effect] = []  # Of the last step.

    def do(self, *happened: Event, later: int = 0) -> list[Effect]:
        """One step, `later` nanoseconds after the last."""
        self.now += later
        self.effects = self.replica.step(happened, self.now)
        return self.effects

    def receive(self, sender: int, *messages: Message) -> list[Effect]:
        return self.do(*(Receive(sender, message) for message in messages))

    def wake(self) -> list[Effect]:
        """Sleep until the deadline."""
        assert self.replica.deadline is not None
        self.now = max(self.now, self.replica.deadline)
        return self.do(Wake())

    def save(self) -> list[Effect]:
        """All that was to be saved is."""
        return self.do(Saved(self.replica.last_save))

    def propose(self, *tokens: Token) -> list[Effect]:
        return self.do(Propose(tuple((token, Request(b"%d" % token)) for token in tokens)))

    def all(self, kind: type[E]) -> list[E]:
        """The effects of this kind in the last step."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def sends(self, kind: type[Message]) -> list[Send]:
        """The sends of such messages in the last step."""
        return [send for send in self.all(Send) if isinstance(send.message, kind)]

    def said(self, kind: type[M]) -> M:
        """The one message of this kind in the last step."""
        (message,) = [send.message for send in self.all(Send) if isinstance(send.message, kind)]
        return message

    def records(self) -> tuple[Record, ...]:
        """What the last step saves."""
        return tuple(record for save in self.all(Save) for record in save.records)

    def lead(self) -> Lone:
        """Win an election, and get the no-op committed."""
        self.campaign()
        self.receive(2, Vote(self.replica.term, True))
        assert self.replica.role.name == "leader"
        self.save()
        self.acknowledge(2, 3)
        assert self.replica.commit == self.replica.log.last.index
        return self

    def campaign(self) -> None:
        self.wake()
        self.receive(2, PreVote(self.replica.term + 1, True))
        self.save()

    def acknowledge(self, *followers: int, round_: int = 0) -> list[Effect]:
        """These followers hold all of the log."""
        answer = Appended(self.replica.term, True, self.replica.log.last.index, round_)
        return self.do(*(Receive(follower, answer) for follower in followers))

    def follow(self, *terms: int, commit: int = 0, leader: int = 2) -> Lone:
        """Hear from a leader of the last of these terms that the log is this."""
        self.receive(
            leader,
            Append(terms[-1], entries(*terms)[0].position._replace(epoch=0, index=0), entries(*terms), commit, 0),
        )
        self.save()
        return self
