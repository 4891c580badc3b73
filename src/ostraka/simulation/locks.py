"""Workers that take turns with locks on leases, through any node, and what must never be seen of them.

A worker gets a lease, keeps it alive, claims a lock, writes to what the lock guards, and lets go, or falls silent at
any point. By true time, which no node knows, and with what it was told, a worker is *safe*: since the call of its last
acknowledged renewal less than a TTL has passed, as the fastest clock measures it. Then its lease must be there, and if
it holds a lock, nobody else may have been granted it, and no register may refuse its token.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

from ostraka.database import commands
from ostraka.errors import OstrakaError
from ostraka.model.ids import MILLISECOND, SECOND, Dice, Instant, NodeId, roll
from ostraka.model.machine import Outcome
from ostraka.model.requests import Request
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.server.claims import Claim, Claims, if_created_in
from ostraka.server.expiry import Expiry
from ostraka.server.renewals import Renewals
from ostraka.simulation.process import MILLION

if TYPE_CHECKING:
    from ostraka.simulation.world import World

PATIENCE: Final = 300 * MILLISECOND
"""A worker that hears nothing for so long asks another node."""


class Served:
    """What one life of a node serves workers with: the production services."""

    def __init__(self, host: Host, group: Group) -> None:
        election_timeout = 200 * MILLISECOND
        self.renewals: Final = Renewals(host, group, bound=SECOND)
        self.claims: Final = Claims(host, group)
        Expiry(host, group, election_timeout).start()


class Register:
    """What a lock guards. It knows nothing but tokens, and refuses one lower than the highest that it has seen."""

    def __init__(self) -> None:
        self.highest = 0

    def write(self, token: int) -> bool:
        if token < self.highest:
            return False
        self.highest = token
        return True


class Shift:
    """A worker's time with one lease."""

    def __init__(self, worker: int, lease: int, ttl: int, name: int, lazy: bool) -> None:
        self.worker: Final = worker
        self.lease: Final = lease
        self.ttl: Final = ttl
        self.name: Final = name
        self.lazy: Final = lazy  # It renews its lease in the last moment, or too late.
        self.renewed: Instant = 0  # When the last renewal was called that was acknowledged.
        self.granted = False  # The lease is known to be there.
        self.claim: Claim | None = None  # Under way,
        self.claims_at: NodeId = 0  # at this node.
        self.attempts = 0  # Claims that were made.
        self.token = 0  # Of the lock that it holds; 0: none.
        self.writes = 0  # That are still to be done.
        self.silent = False  # It asks for nothing more.

    def __str__(self) -> str:
        return f"worker {self.worker}, lease {self.lease} of {self.ttl} s"


class Locks:
    """The workers, as a `workloads.Workload`."""

    def __init__(self, world: World, dice: Dice) -> None:
        self.served: Final[dict[NodeId, int]] = {}
        self._world: Final = world
        self._dice: Final = dice
        self._workers: Final = 2 + roll(dice, 4)
        self._names: Final = 1 + roll(dice, 2)
        self._registers: Final = [Register() for _ in range(self._names)]
        self._services: Final[dict[NodeId, Served]] = {}
        self._shifts: Final[dict[int, Shift]] = {}  # By lease.
        self._tokens: Final[dict[tuple[int, int], Shift]] = {}
        self._open: Final[dict[NodeId, dict[str, None]]] = defaultdict(dict)
        self._asked = 0
        self._over = False

    def serve(self, node: NodeId, host: Host, group: Group) -> None:
        """A node starts."""
        self._services[node] = Served(host, group)

    def begin(self) -> None:
        for worker in range(self._workers):
            self._later(1 + roll(self._dice, 100), partial(self._start, worker))

    @property
    def _fastest(self) -> int:
        """By how much the fastest clock of all runs fast, in parts per million."""
        return max(0, *(member.computer.ppm for member in self._world.members.values()))

    def end(self) -> None:
        """Everybody falls silent: from now on leases only end."""
        self._over = True
        for shift in self._shifts.values():
            self._fall_silent(shift)

    def under_way(self) -> list[str]:
        """What living nodes owe an answer to."""
        return [question for questions in self._open.values() for question in questions]

    def at_rest(self) -> bool:
        """No node has a lease, or a key of one."""
        for node in self._world.nodes:
            group = self._world.members[node].group
            if group is None or group.query(commands.ListLeases()).ids:
                return False
            found = group.query(commands.Range(b"lock", b"locl", count_only=True))
            assert not found.count, f"n{node} has {found.count} keys whose leases are gone"
        return True

    def died(self, node: NodeId) -> None:
        """Its answers will not come; claims have to be made again."""
        self._services.pop(node, None)
        self._open[node].clear()

    # Asking.

    def _later(self, milliseconds: int, act: partial[None]) -> None:
        self._world.at(self._world.now + milliseconds * MILLISECOND, act)

    def _pick(self) -> NodeId | None:
        """Any node, but rather one that has served nobody yet; None if no process runs there."""
        nodes = self._world.nodes
        if self._dice.getrandbits(1):
            nodes = [node for node in nodes if node not in self.served] or nodes
        node = nodes[roll(self._dice, len(nodes))]
        return node if self._world.members[node].group is not None else None

    def _question(self, node: NodeId, what: str) -> str:
        self._asked += 1
        question = f"{what} at n{node} (#{self._asked})"
        self._open[node][question] = None
        self._world.note(f"{question}: called")
        return question

    def _answered(self, node: NodeId, question: str, how: str) -> bool:
        """False if the node that was asked has died since: then this is not its answer."""
        assert question in self._open[node], f"{question}: answered twice, or after the node's death"
        del self._open[node][question]
        self._world.note(f"{question}: {how}")
        return True

    def _propose(self, node: NodeId, command: commands.Command, what: str, then: partial[None]) -> None:
        """`then` gets the reply, or the error."""
        question = self._question(node, what)

        def answered(reply: bytes | None, error: OstrakaError | None) -> None:
            result = error if reply is None else commands.decode_reply(reply)
            self._answered(node, question, type(result).__name__)
            then(result)

        def ask() -> None:
            group = self._world.members[node].group
            assert group is not None, "asked in a turn of its process"
            group.propose(Request(commands.encode(command)), answered)

        self._world.members[node].post(ask)

    # A shift.

    def _start(self, worker: int) -> None:
        if self._over:
            return
        node = self._pick()
        if node is None:
            self._later(20, partial(self._start, worker))
            return
        shift = self._new_shift(worker)
        self._shifts[shift.lease] = shift
        called = self._world.now
        grant = commands.LeaseGrant(shift.lease, shift.ttl)
        self._propose(node, grant, f"{shift}: grant", partial(self._was_granted, shift, node, called))
        self._world.at(self._world.now + PATIENCE, partial(self._look_whether_granted, shift))

    def _new_shift(self, worker: int) -> Shift:
        ttl, name, lazy = 1 + roll(self._dice, 2), roll(self._dice, self._names), roll(self._dice, 2) == 0
        return Shift(worker, len(self._shifts) + 1, ttl, name, lazy)

    def _was_granted(self, shift: Shift, node: NodeId, called: Instant, result: object) -> None:
        if isinstance(result, commands.LeaseGranted):
            self.served[node] = self.served.get(node, 0) + 1
            self._acknowledged(shift, called)
            if shift.silent:
                return
            shift.granted = True
            self._keep_alive(shift)
            self._claim(shift)

    def _look_whether_granted(self, shift: Shift) -> None:
        if not shift.granted:
            self._next_shift(shift)

    def _next_shift(self, shift: Shift) -> None:
        if not shift.silent:
            self._fall_silent(shift)
            self._later(1 + roll(self._dice, 300), partial(self._start, shift.worker))

    def _fall_silent(self, shift: Shift) -> None:
        """It goes on to believe what it believes, and asks for nothing more."""
        shift.silent = True
        claim, shift.claim = shift.claim, None
        if claim is not None:
            self._world.members[shift.claims_at].post(partial(self._give_up, shift.claims_at, claim))

    def _give_up(self, node: NodeId, claim: Claim) -> None:
        """If the process has died since, so has the claim."""
        services = self._services.get(node)
        if services is not None and claim.claims is services.claims:
            claim.cancel()

    def _acknowledged(self, shift: Shift, called: Instant) -> None:
        shift.renewed = max(shift.renewed, called)

    def _is_safe(self, shift: Shift) -> bool:
        """By true time: whatever has happened, its lease must be there."""
        life = shift.ttl * SECOND * MILLION // (MILLION + self._fastest)
        return shift.renewed > 0 and self._world.now < shift.renewed + life - MILLISECOND

    def _keep_alive(self, shift: Shift) -> None:
        if shift.silent:
            return
        wait = shift.ttl * (900 if shift.lazy else 100) + roll(self._dice, shift.ttl * (150 if shift.lazy else 200))
        self._later(wait, partial(self._keep_alive, shift))
        node = self._pick()
        if node is None:
            return
        question, called, epoch = self._question(node, f"{shift}: keep alive"), self._world.now, self._world.epoch

        def renewed(lease: int, revision: int, ttl: int, error: OstrakaError | None) -> None:
            self._answered(node, question, f"{ttl} s" if error is None else type(error).__name__)
            if error is not None:
                return
            if not ttl:
                assert not self._is_safe(shift), f"{shift} is gone, and was renewed at {shift.renewed}"
                self._world.counts["a lease lost"] += 1
                self._next_shift(shift)
                return
            assert ttl == shift.ttl, f"{shift} was renewed for {ttl} s"
            self._acknowledged(shift, called)
            self.served[node] = self.served.get(node, 0) + 1
            if epoch < self._world.epoch:
                self._world.counts["a renewal across a change of leader"] += 1

        self._world.members[node].post(lambda: self._services[node].renewals.ask(shift.lease, renewed))

    def _claim(self, shift: Shift) -> None:
        """Claim the lock at some node, and at another one if that node dies."""
        if shift.silent or shift.token:
            return
        node = self._pick()
        if node is None:
            self._later(20, partial(self._claim, shift))
            return
        self._world.note(f"{shift}: claims at n{node}")

        shift.attempts += 1
        attempt, life = shift.attempts, self._world.members[node].computer.life

        def settled(result: commands.Failure | OstrakaError | None) -> None:
            claim = shift.claim
            if shift.silent or attempt != shift.attempts or claim is None:
                return
            shift.claim = None
            if result is None:
                self._holds(shift, claim.token)
            else:
                self._world.note(f"{shift}: claim refused: {result}")
                self._later(1 + roll(self._dice, 50), partial(self._claim, shift))

        def ask() -> None:
            if not shift.silent and attempt == shift.attempts:
                shift.claims_at = node
                shift.claim = Claim(self._services[node].claims, b"lock%d" % shift.name, shift.lease, b"", settled)
                shift.claim.begin()

        self._world.members[node].post(ask)
        self._later(50, partial(self._look_after_claim, shift, attempt, node, life))

    def _look_after_claim(self, shift: Shift, attempt: int, node: NodeId, life: int) -> None:
        """A claim dies with its node's process."""
        computer = self._world.members[node].computer
        if shift.silent or shift.token or attempt != shift.attempts:
            return
        if computer.process is None or computer.life != life:
            shift.claim = None
            self._claim(shift)
        else:
            self._later(50, partial(self._look_after_claim, shift, attempt, node, life))

    def _holds(self, shift: Shift, token: int) -> None:
        """The lock was granted: nobody else has it."""
        world = self._world
        world.note(f"{shift}: holds lock {shift.name} with token {token}")
        world.counts["a lock held"] += 1
        first = self._tokens.setdefault((shift.name, token), shift)
        assert first is shift, f"{shift} and {first} were both granted token {token}"
        shift.token, shift.writes = token, 1 + roll(self._dice, 5)
        for other in self._shifts.values():
            if other is not shift and other.token and other.name == shift.name:
                both = self._is_safe(other) and self._is_safe(shift)
                assert not both, f"{shift} and {other} hold lock {shift.name}: tokens {token} and {other.token}"
        self._later(1, partial(self._write, shift))

    def _write(self, shift: Shift) -> None:
        """Use what the lock guards, now and then for too long; then let go, or fall silent."""
        accepted = self._registers[shift.name].write(shift.token)
        if accepted:
            self._world.counts["a write under a lock"] += 1
        else:
            self._world.counts["a write fenced off"] += 1
            assert not self._is_safe(shift), f"{shift} is safe, and its token {shift.token} is refused"
        shift.writes -= 1
        if accepted and shift.writes > 0:
            self._later(1 + roll(self._dice, 200), partial(self._write, shift))
        elif self._dice.getrandbits(1) or shift.silent:
            # It goes on, and believes that it holds the lock: nobody else is granted it before its lease is over.
            self._world.counts["a holder falls silent"] += 1
            self._next_shift(shift)
            self._later(roll(self._dice, 3000), partial(self._write_late, shift))
        else:
            self._release(shift)

    def _write_late(self, shift: Shift) -> None:
        if not self._registers[shift.name].write(shift.token):
            self._world.counts["a write fenced off"] += 1
            assert not self._is_safe(shift), f"{shift} is safe, and its token {shift.token} is refused"

    def _release(self, shift: Shift) -> None:
        """It holds the lock no longer, from before it asks."""
        token, shift.token = shift.token, 0
        key = b"lock%d/%x" % (shift.name, shift.lease)
        node = self._pick()
        if node is not None:
            nothing = partial(self._let_go, shift)
            self._propose(node, if_created_in(key, token, commands.DeleteRange(key)), f"{shift}: release", nothing)
        self._next_shift(shift)

    def _let_go(self, shift: Shift, result: object) -> None:
        """Whether it has worked is of no interest: the lease will end."""

    # What the judge tells.

    def applied(self, outcome: Outcome) -> None:
        """An entry was executed: the first time that any node executes it."""
        for replies in outcome.replies:
            for reply in replies:
                done = commands.decode_reply(reply)
                if isinstance(done, commands.LeaseExpired):
                    for lease in done.expired:
                        shift = self._shifts[lease]
                        self._world.counts["a lease expired"] += 1
                        self._world.note(f"{shift}: expired")
                        assert not self._is_safe(shift), f"{shift} expires, and was renewed at {shift.renewed}"

    def verdict(self) -> None:
        """All was said while it happened."""
