"""A simulated computer: processes live on it, one after the other, and its disk outlives them.

A process is a loop as asyncio's: what is ready runs in a turn, and what a turn asks for runs in a later one. Every call
that the production code makes to the clock, the disk or the network is an *effect*, and the process may die at any.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ostraka.model.ids import Dice, Duration, Instant, NodeId, roll

MICROSECOND: Final[Duration] = 1_000
MILLION: Final = 1_000_000


class Crashed(BaseException):
    """The process has just died. Raised from an effect to unwind its turn."""


class Heap(Protocol):
    """The world, as far as a computer knows it."""

    now: Instant

    @property
    def counts(self) -> Counter[str]: ...

    def at(self, when: Instant, callback: Callable[[], None]) -> None: ...
    def note(self, line: str) -> None: ...


class Alarm:
    """Implements `node.clock.Timer`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback

    def cancel(self) -> None:
        self.callback = None


class Process:
    """One life on a computer: its loop, and its clock (it implements `node.clock.Clock`)."""

    def __init__(self, computer: Computer) -> None:
        self.alive = True
        self.busy_until: Instant = 0  # A pause moves it on.
        self._computer: Final = computer
        self._world: Final = computer.world
        self._ready: deque[Callable[[], None]] = deque()
        self._turn_due = False

    def now(self) -> Instant:
        return self._computer.clock_now()

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Alarm:
        self._computer.effect("call_at")
        alarm = Alarm(callback)
        self._world.at(self._computer.instant_of(when), partial(self._ring, alarm))
        return alarm

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._computer.effect("call_soon")
        self.post(callback)

    def post(self, callback: Callable[[], None]) -> None:
        """Run this in a later turn of this life, or never if it ends before."""
        self._ready.append(callback)
        if not self._turn_due and self.alive:
            self._turn_due = True
            self._world.at(max(self._world.now, self.busy_until), self._turn)

    def _ring(self, alarm: Alarm) -> None:
        if alarm.callback is not None and self.alive:
            self.post(alarm.callback)
            alarm.callback = None

    def _turn(self) -> None:
        if not self.alive:
            return
        if self._world.now < self.busy_until:  # It was paused meanwhile.
            self._world.at(self.busy_until, self._turn)
            return
        try:
            for _ in range(len(self._ready)):
                self._ready.popleft()()
        except Crashed:
            self._computer.died()
            return
        self.busy_until = self._world.now + self._computer.turn_cost()
        self._turn_due = bool(self._ready)
        if self._turn_due:
            self._world.at(self.busy_until, self._turn)
        self._computer.turned()


class Computer:
    """Where processes of one member live, with a clock of its own."""

    def __init__(self, world: Heap, node: NodeId, dice: Dice) -> None:
        self.world: Final = world
        self.node: Final = node
        self.life = 0
        self.process: Process | None = None
        self.fuse = 0  # The process dies at this many effects from now; 0: not planned.
        self.trap = ""  # It dies soon after an effect whose name begins so.
        self.on_death: Callable[[], None] = lambda: None
        self.on_turn: Callable[[], None] = lambda: None
        self._dice: Final = dice
        self._offset: Final[Duration] = roll(dice, 1 << 50)
        self._drift = 0

    def drift(self, ppm: int) -> None:
        """Let the clock run fast or slow. To be called before the first process lives."""
        self._drift = ppm

    @property
    def ppm(self) -> int:
        """By how many parts per million the clock runs fast; negative: slow."""
        return self._drift

    def clock_now(self) -> Instant:
        now = self.world.now
        return self._offset + now + now * self._drift // MILLION

    def instant_of(self, local: Instant) -> Instant:
        """When, in the world's time, the clock will show this, or just after; not before now."""
        elapsed = local - self._offset
        if self._drift:
            elapsed = elapsed * MILLION // (MILLION + self._drift) + 1
        return max(self.world.now, elapsed)

    def turn_cost(self) -> Duration:
        return 2 * MICROSECOND + roll(self._dice, 60 * MICROSECOND)

    def boot(self) -> Process:
        """Begin a life."""
        assert self.process is None, f"n{self.node} lives already"
        self.life += 1
        self.process = Process(self)
        return self.process

    def effect(self, name: str) -> None:
        """The process is about to do this. Raises `Crashed` if it dies first, or has died."""
        if self.process is None:
            raise Crashed
        if self.trap and name.startswith(self.trap):
            self.trap, self.fuse = "", 1 + roll(self._dice, 4)
        elif self.fuse:
            self.fuse -= 1
            if not self.fuse:
                self.world.note(f"n{self.node} dies before: {name}")
                self.world.counts["a death in the midst of a turn"] += 1
                raise Crashed

    def after(self, delay: Duration, callback: Callable[[], None]) -> None:
        """Call in a turn of this life, after at least `delay`."""
        process = self.process
        assert process is not None, "only a living process asks"
        self.world.at(self.world.now + delay, partial(self._post, process, callback))

    def saw(self, what: str) -> None:
        self.world.counts[what] += 1

    def died(self) -> None:
        """The process is gone, with all that was in its memory."""
        if self.process is not None:
            self.process.alive = False
            self.process = None
            self.fuse, self.trap = 0, ""
            self.on_death()

    def turned(self) -> None:
        self.on_turn()

    @staticmethod
    def _post(process: Process, callback: Callable[[], None]) -> None:
        if process.alive:
            process.post(callback)
