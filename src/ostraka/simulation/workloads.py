"""Clients and what they ask for, with a record of what they were told.

A put's value is unique, so that from what was executed and from what is read it can be told which put it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ostraka.checkers.history import Operation, Type
from ostraka.checkers.linearizability import check
from ostraka.database import commands
from ostraka.errors import NotExecuted, OstrakaError, OutcomeUnknown
from ostraka.model.ids import MILLISECOND, Dice, Duration, Epoch, Instant, NodeId, roll
from ostraka.model.machine import Outcome
from ostraka.model.requests import Request
from ostraka.node.group import Group
from ostraka.node.host import Host

if TYPE_CHECKING:
    from ostraka.simulation.world import World

PATIENCE: Final = (50, 200, 700)
"""After one of these milliseconds a client gives up on an answer, the same for all clients of a run."""


class Client:
    """Wants one thing at a time. One with a session asks again, wherever it can, until it knows the outcome."""

    def __init__(self, number: int, patient: bool) -> None:
        self.number: Final = number
        self.patient: Final = patient  # It begins a session.
        self.session = 0
        self.requests = 0  # Of the session.


class Wish:
    """What a client wants: to put a value, to get one (no value yet), or to begin a session (no key)."""

    def __init__(self, client: Client, key: int | None, write: bool, value: bytes | None, now: Instant) -> None:
        self.client: Final = client
        self.key: Final = key
        self.write: Final = write
        self.value = value
        self.called: Final = now
        self.number = 0  # Of the request in the session.
        self.epoch: Epoch = 0  # The highest that had a leader when it was called.
        self.answered: Instant | None = None  # When it was first known to be done.
        self.refused = False  # It is known that it will never be done.

    def __str__(self) -> str:
        if self.key is None:
            return f"client {self.client.number}: begin"
        value = "" if self.value is None else self.value.split()[0].decode()
        return f"client {self.client.number}: {'put' if self.write else 'get'} k{self.key} {value}"


class Attempt:
    """One call for a wish, to one node."""

    def __init__(self, wish: Wish, node: NodeId) -> None:
        self.wish: Final = wish
        self.node: Final = node
        self.answered = False
        self.left = False  # The client goes on without an answer,
        self.abandoned = False  # or there won't be one: the node died.

    def __str__(self) -> str:
        return f"{self.wish} at n{self.node}"


class Workload(Protocol):
    """What the world asks of those who use a cluster."""

    @property
    def served(self) -> dict[NodeId, int]:
        """What was acknowledged by each node. Cleared by who looks."""

    def serve(self, node: NodeId, host: Host, group: Group) -> None:
        """A process starts there: add what it serves beside its group."""

    def begin(self) -> None: ...
    def end(self) -> None:
        """Ask for nothing more."""

    def under_way(self) -> Sequence[object]:
        """What living nodes owe an answer to."""

    def at_rest(self) -> bool:
        """Nothing is left that will happen by itself."""

    def died(self, node: NodeId) -> None:
        """It will not answer any more."""

    def applied(self, outcome: Outcome) -> None:
        """An entry was executed: the first time that any node executes it."""

    def verdict(self) -> None:
        """Fail if what was answered is not as it should be."""


class Registers:
    """Clients that put and get a few keys through any node."""

    def __init__(self, world: World, dice: Dice, clients: int, keys: int, size: int, pause: Duration) -> None:
        self.wishes: Final[list[Wish]] = []
        self.executed: Final[dict[bytes, int]] = {}  # The revision of each value that was put.
        self.served: Final[dict[NodeId, int]] = {}  # Puts answered with success by each node. Cleared by who looks.
        self._world: Final = world
        self._dice: Final = dice
        self._clients: Final = [Client(number, dice.getrandbits(1) == 1) for number in range(1, clients + 1)]
        self._keys: Final = keys
        self._size: Final = size  # Of a value, in bytes, at most.
        self._pause: Final = pause
        self._open: Final[dict[NodeId, list[Attempt]]] = defaultdict(list)
        self._refused: Final[set[bytes]] = set()
        self._patience: Final[Duration] = PATIENCE[roll(dice, 3)] * MILLISECOND
        self._over = False

    def serve(self, node: NodeId, host: Host, group: Group) -> None:
        """Clients of a register need nothing but the group."""

    def at_rest(self) -> bool:
        """Nothing happens that nobody asked for."""
        return True

    def begin(self) -> None:
        for client in self._clients:
            self._later(client)

    def end(self) -> None:
        """The clients call no more."""
        self._over = True

    def under_way(self) -> list[Attempt]:
        """Calls that living nodes owe an answer."""
        return [attempt for attempts in self._open.values() for attempt in attempts]

    # What a client does.

    def _later(self, client: Client, again: Wish | None = None) -> None:
        delay = 1 + roll(self._dice, 2 * self._pause)
        self._world.at(self._world.now + delay, partial(self._act, client, again))

    def _act(self, client: Client, again: Wish | None) -> None:
        if self._over:
            return
        nodes = self._world.nodes
        node = nodes[client.number % len(nodes) if self._dice.getrandbits(1) else roll(self._dice, len(nodes))]
        if self._world.members[node].group is None:
            self._later(client, again)
            return
        attempt = Attempt(again or self._new_wish(client), node)
        if again is not None:
            self._world.counts["a retry under the same number"] += 1
        self._open[node].append(attempt)
        self._world.note(f"{attempt}: called")
        self._world.members[node].post(partial(self._ask, attempt))
        self._world.at(self._world.now + self._patience, partial(self._give_up, attempt))

    def _new_wish(self, client: Client) -> Wish:
        now = self._world.now
        if client.patient and not client.session:
            return Wish(client, None, True, None, now)
        write = self._dice.getrandbits(1) == 1
        value = (b"%d.%d " % (client.number, len(self.wishes))).ljust(roll(self._dice, self._size)) if write else None
        wish = Wish(client, roll(self._dice, self._keys), write, value, now)
        wish.epoch = self._world.epoch
        if write and client.session:
            client.requests += 1
            wish.number = client.requests
        self.wishes.append(wish)
        return wish

    def _ask(self, attempt: Attempt) -> None:
        wish, group = attempt.wish, self._world.members[attempt.node].group
        assert group is not None, "asked in a turn of its process"
        if wish.key is None:
            command: commands.Command = commands.RegisterSession(self._dice.getrandbits(32))
        elif wish.write:
            assert wish.value is not None, "a put has a value"
            command = commands.Put(b"k%d" % wish.key, wish.value)
        else:
            group.read_index(partial(self._may_read, attempt))
            return
        session = wish.client.session if wish.number else 0
        request = Request(commands.encode(command), session, wish.number, max(wish.number - 1, 0))
        group.propose(request, partial(self._executed, attempt))

    # What it is told.

    def _executed(self, attempt: Attempt, reply: bytes | None, error: OstrakaError | None) -> None:
        assert (reply is None) != (error is None), f"{attempt}: {reply!r} and {error!r}, where exactly one is due"
        wish = attempt.wish
        if reply is not None:
            done = commands.decode_reply(reply)
            if isinstance(done, commands.SessionBegun):
                wish.client.session = wish.client.session or done.client
            elif isinstance(done, commands.Failure) and done.unknown and wish.answered is not None:
                error = OutcomeUnknown(done.message)  # This attempt came late: another one was answered long ago.
            else:
                assert isinstance(done, commands.PutDone) and wish.value is not None, f"{attempt}: answered {done}"
                revision = self.executed.get(wish.value)
                assert revision is not None, f"{attempt}: acknowledged before it was executed"
                assert revision == done.revision, f"{attempt}: revision {done.revision}, executed in {revision}"
                self.served[attempt.node] = self.served.get(attempt.node, 0) + 1
        elif isinstance(error, NotExecuted) and wish.value is not None and not wish.number:
            revision = self.executed.get(wish.value)
            assert revision is None, f"{attempt}: {error!r}, but it was executed in {revision}"
            self._refused.add(wish.value)
        self._answer(attempt, error)

    def _may_read(self, attempt: Attempt, error: OstrakaError | None) -> None:
        wish, group = attempt.wish, self._world.members[attempt.node].group
        if error is None:
            assert group is not None and wish.key is not None, "a read, answered in a turn of its process"
            found = group.query(commands.Range(b"k%d" % wish.key))
            assert isinstance(found, commands.RangeDone), f"{attempt}: answered {found}"
            if found.kvs:
                wish.value = found.kvs[0].value
                revision = self.executed.get(wish.value)
                assert revision == found.kvs[0].mod_revision, f"{attempt}: {found.kvs[0]}, executed in {revision}"
            if wish.epoch < self._world.epoch:
                self._world.counts["a read across a change of leader"] += 1
        self._answer(attempt, error)

    def _answer(self, attempt: Attempt, error: OstrakaError | None) -> None:
        assert not attempt.answered, f"{attempt}: answered a second time, with {error!r}"
        assert not attempt.abandoned, f"{attempt}: answered after the node's death"
        attempt.answered = True
        self._open[attempt.node].remove(attempt)
        self._world.note(f"{attempt}: {'done' if error is None else type(error).__name__}")
        self._world.counts["answered" if error is None else f"answered {type(error).__name__}"] += 1
        if error is None and attempt.wish.answered is None:
            attempt.wish.answered = self._world.now
        attempt.wish.refused |= isinstance(error, NotExecuted) and not attempt.wish.number
        if not attempt.left:
            self._go_on(attempt)

    def _give_up(self, attempt: Attempt) -> None:
        if not attempt.answered and not attempt.abandoned:
            attempt.left = True
            self._world.note(f"{attempt}: given up")
            self._world.counts["given up"] += 1
            self._go_on(attempt)

    def died(self, node: NodeId) -> None:
        """The node will not answer any more."""
        attempts = self._open[node][:]
        self._open[node].clear()
        for attempt in attempts:
            attempt.abandoned = True
            if not attempt.left:
                self._go_on(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        wish = attempt.wish
        self._later(wish.client, wish if wish.number and wish.answered is None else None)

    # What the judge tells, and what it asks.

    def applied(self, outcome: Outcome) -> None:
        """An entry was executed: the first time that any node executes it."""
        for change in outcome.changes:
            value, revision = change.new.value, change.revision
            before = self.executed.get(value)
            assert before is None, f"{value!r} was executed in revision {before}, and again in {revision}"
            assert value not in self._refused, f"{value!r} was refused, and then executed in revision {revision}"
            self.executed[value] = revision

    def verdict(self) -> None:
        """What was answered is what registers would have answered, key by key."""
        for key in range(self._keys):
            history = [_operation(wish) for wish in self.wishes if wish.key == key and not wish.refused]
            verdict = check(history)
            assert verdict.holds, f"k{key}: {verdict}"


def _operation(wish: Wish) -> Operation:
    value = None if wish.value is None else wish.value.split()[0]
    known = Type.INFO if wish.answered is None else Type.OK
    if wish.write:
        return Operation(wish.client.number, "write", value, None, wish.called, wish.answered, known)
    return Operation(wish.client.number, "read", None, value, wish.called, wish.answered, known)
