"""One replica alone with a test, which plays the disk and the other members."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from ostraka.consensus.multipaxos import MULTIPAXOS
from ostraka.consensus.multipaxos.messages import Accepted, Ballot, Promise, PValue, Slot, Support
from ostraka.consensus.multipaxos.replica import Replica
from ostraka.consensus.multipaxos.roles import Leader
from ostraka.model.effects import Effect, Record, Save, Send
from ostraka.model.engine import Settings
from ostraka.model.events import Event, Message, Propose, Receive, Saved, Wake
from ostraka.model.ids import Instant, Token
from ostraka.model.requests import Batch, Entry, Kind, Members, Request, SnapshotMeta, genesis

THREE = Members((1, 2, 3))
E = TypeVar("E", bound=Effect)
M = TypeVar("M", bound=Message)


def value(slot: Slot, name: bytes = b"", epoch: int = 1) -> Entry:
    """A value for this slot; without a name a no-op."""
    batches = (Batch(9, 9, slot, name),) if name else ()
    return Entry(slot, epoch, slot, Kind.REQUESTS if name else Kind.NOOP, batches)


def pvalue(slot: Slot, ballot: tuple[int, int], name: bytes = b"") -> PValue:
    return PValue(Ballot(*ballot), value(slot, name, ballot[0]))


class Lone:
    """Replica 1. Nothing is saved until `save`, nobody answers unless the test does."""

    def __init__(
        self, records: Sequence[Record] = (), applied: SnapshotMeta | None = None, members: Members = THREE
    ) -> None:
        self.now: Instant = 0
        meta = applied or genesis(members)
        replica = MULTIPAXOS.restore(1, Settings(linger=0), Random(1), bytes, records, meta, 0)
        assert isinstance(replica, Replica)
        self.replica = replica
        self.effects: list[Effect] = []  # Of the last step.

    def do(self, *happened: Event) -> list[Effect]:
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

    def prepare(self) -> Ballot:
        """Make it a candidate whose own promise is saved."""
        self.wake()
        self.receive(2, Support(Ballot(self.replica.highest_round + 1, 1)))
        self.save()
        return self.replica.promised

    def lead(self, *accepted: PValue, chosen: Slot = 0) -> Leader:
        """Make it lead, by its own promise and that of n2, which has accepted these."""
        ballot = self.prepare()
        self.receive(2, Promise(ballot, chosen, accepted))
        role = self.replica.role
        assert isinstance(role, Leader), role
        return role

    def accepted(self, sender: int, first: Slot, last: Slot) -> list[Effect]:
        """That member has accepted these slots under our ballot."""
        return self.receive(sender, Accepted(self.replica.promised, first, last, 0, 0))

    def all(self, kind: type[E]) -> list[E]:
        """The effects of this kind in the last step."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def sends(self, kind: type[Message]) -> list[Send]:
        """The sends of such messages in the last step."""
        return [send for send in self.all(Send) if isinstance(send.message, kind)]

    def said(self, kind: type[M]) -> M:
        """The one message of this kind in the last step."""
        (send,) = self.sends(kind)
        assert isinstance(send.message, kind)
        return send.message

    def records(self) -> tuple[Record, ...]:
        """What the last step saves."""
        return tuple(record for save in self.all(Save) for record in save.records)
