"""Clients who use all of etcd's KV: puts, deletions, transactions, compactions, and reads at any revision.

That every answer is right is `replay`'s to say. Here it is seen that who was answered was executed once, who was not at
most once, who was refused never, and that nobody is shown an older state than anybody had been told of before he asked:
as all that writes has one order, and each read a revision in it, this is strict serializability.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ostraka.database import commands
from ostraka.errors import NotExecuted, OstrakaError, OutcomeUnknown
from ostraka.model.ids import Dice, Duration, Instant, roll
from ostraka.model.machine import Outcome
from ostraka.model.requests import Request
from ostraka.simulation.workloads import Attempt, Client, Registers, Wish

if TYPE_CHECKING:
    from ostraka.simulation.world import World

KEYS: Final = (b"k", b"k\0", b"ka", b"kb", b"l", b"m")
RANGE_ENDS: Final = (b"", b"kz", b"l\0", b"\0")


class Demand(Wish):
    """A wish for something to be executed, or for a state to be read."""

    def __init__(self, client: Client, command: commands.Command, write: bool, told: int, now: Instant) -> None:
        super().__init__(client, 0, write, None, now)
        self.command: Final = command
        self.told: Final = told  # The highest revision that anybody had been told when it was called.
        self.stale = False  # Any state will do.

    def __str__(self) -> str:
        return f"client {self.client.number}: {type(self.command).__name__} {self.number}"


class Transactions(Registers):
    """Its clients ask, give up and retry as those of registers do, for something else."""

    def __init__(self, world: World, dice: Dice, clients: int, pause: Duration) -> None:
        super().__init__(world, dice, clients, len(KEYS), 1, pause)
        self._told = 1
        self._numbers = 0  # Of requests without a session: the machine ignores them, and the judge knows them again.
        self._never: Final[list[tuple[int, int]]] = []  # Those that were refused.

    # What is asked.

    def _new_wish(self, client: Client) -> Wish:
        now, dice = self._world.now, self._dice
        if client.patient and not client.session:
            return Wish(client, None, True, None, now)
        write = roll(dice, 3) > 0
        wish = Demand(client, self._command() if write else self._reading(), write, self._told, now)
        wish.epoch = self._world.epoch
        wish.stale = not write and roll(dice, 4) == 0
        if write and client.session:
            client.requests += 1
            wish.number = client.requests
        elif write:
            self._numbers += 1
            wish.number = self._numbers
        return wish

    def _command(self) -> commands.Command:
        draw = roll(self._dice, 20)
        if draw < 6:
            return self._put()
        if draw < 8:
            return commands.DeleteRange(self._key(), self._end(), roll(self._dice, 2) == 0)
        if draw < 9:
            return commands.Compact(max(0, self._told - roll(self._dice, 12)))
        return self._range() if draw < 10 else self._txn(2)

    def _reading(self) -> commands.Command:
        if roll(self._dice, 3):
            return self._range()
        success = tuple(self._range() for _ in range(roll(self._dice, 3)))
        return commands.Txn((self._compare(),), success, (self._range(),))

    def _key(self) -> bytes:
        return KEYS[roll(self._dice, len(KEYS))]

    def _end(self) -> bytes:
        return RANGE_ENDS[roll(self._dice, len(RANGE_ENDS))] if roll(self._dice, 2) else b""

    def _put(self) -> commands.Put:
        keeps = roll(self._dice, 12) == 0  # The value that is there, if there is one.
        value = b"" if keeps else b"%d" % roll(self._dice, 100)
        return commands.Put(self._key(), value, 0, roll(self._dice, 2) == 0, keeps, roll(self._dice, 12) == 0)

    def _range(self) -> commands.Range:
        dice = self._dice
        revision = max(0, self._told + 2 - roll(dice, 20)) if roll(dice, 3) == 0 else 0
        order, target = (roll(dice, 3), roll(dice, 4)) if roll(dice, 4) == 0 else (0, 0)
        return commands.Range(self._key(), self._end(), roll(dice, 4), revision, order, target)

    def _compare(self) -> commands.Compare:
        dice = self._dice
        target, relation = roll(dice, 4), roll(dice, 4)
        number = (roll(dice, 4), max(0, self._told - roll(dice, 8)))[target in (1, 2)]
        return commands.Compare(self._key(), self._end(), target, relation, number, b"%d" % roll(dice, 100))

    def _txn(self, depth: int) -> commands.Txn:
        dice = self._dice
        compares = tuple(self._compare() for _ in range(roll(dice, 3)))
        return commands.Txn(
            compares, self._operations(1 + roll(dice, 3), depth), self._operations(roll(dice, 3), depth)
        )

    def _operations(self, most: int, depth: int) -> tuple[commands.Operation, ...]:
        return tuple(self._operation(depth) for _ in range(most))

    def _operation(self, depth: int) -> commands.Operation:
        draw = roll(self._dice, 10)
        if draw < 4:
            return self._put()
        if draw < 6:
            return commands.DeleteRange(self._key(), self._end())
        return self._range() if draw < 8 or not depth else self._txn(depth - 1)

    # Asking, and what is told.

    def _ask(self, attempt: Attempt) -> None:
        wish, group = attempt.wish, self._world.members[attempt.node].group
        if not isinstance(wish, Demand):
            super()._ask(attempt)
            return
        assert group is not None, "asked in a turn of its process"
        if wish.write:
            acked = wish.number - 1 if wish.client.session else 0
            request = Request(commands.encode(wish.command), wish.client.session, wish.number, acked)
            group.propose(request, partial(self._executed, attempt))
        elif wish.stale:
            group.query(wish.command)  # Whose answer the judge hears.
            self._answer(attempt, None)
        else:
            group.read_index(partial(self._may_read, attempt))

    def _executed(self, attempt: Attempt, reply: bytes | None, error: OstrakaError | None) -> None:
        wish = attempt.wish
        if not isinstance(wish, Demand):
            super()._executed(attempt, reply, error)
            return
        assert (reply is None) != (error is None), f"{attempt}: {reply!r} and {error!r}, where exactly one is due"
        name = (wish.client.session, wish.number)
        if reply is not None:
            done: Any = commands.decode_reply(reply)
            if isinstance(done, commands.Failure) and done.unknown and wish.answered is not None:
                error = OutcomeUnknown(done.message)  # This attempt came late: another one was answered long ago.
            else:
                executed = self._world.judge.replay.executed.get(name)
                assert executed == reply, f"{attempt}: answered {reply!r}, but executed to {executed!r}"
                self._served(attempt, wish, done)
        elif isinstance(error, NotExecuted) and not wish.client.session:
            self._never.append(name)
        self._answer(attempt, error)

    def _served(self, attempt: Attempt, wish: Demand, done: Any) -> None:
        counts = self._world.counts
        counts[done.message if isinstance(done, commands.Failure) else type(done).__name__] += 1
        if not isinstance(done, commands.Failure):
            assert done.revision >= wish.told, f"{attempt}: at revision {done.revision}, after {wish.told} was told"
            self._told = max(self._told, done.revision)
        self.served[attempt.node] = self.served.get(attempt.node, 0) + 1

    def _may_read(self, attempt: Attempt, error: OstrakaError | None) -> None:
        wish, group = attempt.wish, self._world.members[attempt.node].group
        assert isinstance(wish, Demand) and group is not None, "a read, answered in a turn of its process"
        if error is None:
            revision = self._world.judge.replay.revision_at(group.applied)
            assert revision >= wish.told, f"{attempt}: reads revision {revision}, after {wish.told} was told"
            group.query(wish.command)  # Whose answer the judge hears.
            self._told = max(self._told, revision)
            if wish.epoch < self._world.epoch:
                self._world.counts["a read across a change of leader"] += 1
        self._answer(attempt, error)

    def _go_on(self, attempt: Attempt) -> None:
        wish = attempt.wish
        again = wish.client.session and isinstance(wish, Demand) and wish.write and wish.answered is None
        self._later(wish.client, wish if again else None)

    # What the judge tells, and what it asks.

    def applied(self, outcome: Outcome) -> None:
        """The judge has compared it."""

    def verdict(self) -> None:
        executed = self._world.judge.replay.executed
        for name in self._never:
            assert name not in executed, f"request {name} was refused, and executed all the same"
