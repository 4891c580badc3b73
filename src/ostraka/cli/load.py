"""A sample load, and the proof that nothing it was promised is lost.

Each caller writes keys of its own, one request at a time, so it always knows what a key must hold: the last value that
was acknowledged. After a put whose outcome is unknown the key is retired, for that put may still happen, even after a
later one: then the key may hold either of two values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ostraka.client import Client
from ostraka.errors import NotExecuted, OutcomeUnknown

KEYS_EACH: Final = 250
GET_EVERY: Final = 4
PATIENCE: Final = 3.0  # Seconds that a caller waits for an answer,
PAUSE_AFTER_FAILURE: Final = 0.1  # and before it tries again.


class Known(NamedTuple):
    """What had been acknowledged of a key at some moment: the last number, and how many puts."""

    number: int = 0
    puts: int = 0


NOTHING: Final = Known()


@dataclass
class Promise:
    """What one key must hold."""

    attempted: int = 0  # The highest number that a put was begun with,
    attempts: int = 0  # and how many were begun.
    acknowledged: Known = NOTHING
    failed: set[int] = field(default_factory=set)  # Numbers that must never appear.

    def broken_by(self, pair: Any | None, before: Known) -> str | None:
        """Why `pair` can't be there, when `before` had been acknowledged before the reading began; or None."""
        found = Known(int(pair.value), pair.version) if pair is not None else NOTHING
        if found.number < before.number:
            return f"holds {found.number or 'nothing'}, but {before.number} was acknowledged"
        if found.number > self.attempted:
            return f"holds {found.number}, which nobody wrote"
        if found.number in self.failed:
            return f"holds {found.number}, of which the caller was told that it was not executed"
        if not before.puts <= found.puts <= self.attempts - len(self.failed):
            return f"was written {found.puts} times, of {self.attempts} attempts; {before.puts} were acknowledged"
        return None


class Caller(threading.Thread):
    """Puts, and every few puts gets, until told to stop."""

    def __init__(self, number: int, endpoints: Sequence[str], load: Load) -> None:
        super().__init__(name=f"caller-{number}", daemon=True)
        self.number: Final = number
        self.load: Final = load
        first = number % len(endpoints)
        self.endpoints: Final = [*endpoints[first:], *endpoints[:first]]
        self.promises: Final[dict[bytes, Promise]] = {}
        self.slots: Final = [self._new_key(slot) for slot in range(KEYS_EACH)]
        self.acknowledged = self.failed = self.unknown = self.read = self.failed_reads = 0

    def run(self) -> None:
        with Client(self.endpoints, timeout=PATIENCE) as client:
            sequence = 0
            while not self.load.stopping.wait(self.load.pause):
                sequence += 1
                key = self.slots[sequence % KEYS_EACH]
                self._put(client, key, sequence)
                if sequence % GET_EVERY == 0:
                    self._get(client, key)

    def _put(self, client: Client, key: bytes, sequence: int) -> None:
        promise = self.promises.setdefault(key, Promise())
        promise.attempted = sequence
        promise.attempts += 1
        try:
            client.put(key, b"%d" % sequence)
        except NotExecuted:
            promise.failed.add(sequence)
            self.failed += 1
            self.load.stopping.wait(PAUSE_AFTER_FAILURE)
        except OutcomeUnknown:
            self.slots[sequence % KEYS_EACH] = self._new_key(KEYS_EACH + sequence)
            self.unknown += 1
        else:
            promise.acknowledged = Known(sequence, promise.acknowledged.puts + 1)
            self.acknowledged += 1
            self.load.acknowledged_now()

    def _get(self, client: Client, key: bytes) -> None:
        promise = self.promises[key]
        try:
            pair = client.get(key)
        except (NotExecuted, OutcomeUnknown):
            self.failed_reads += 1
            return
        self.read += 1
        why = promise.broken_by(pair, promise.acknowledged)
        if why is not None:
            self.load.broken.append(f"{key.decode()} {why}")

    def _new_key(self, number: int) -> bytes:
        return self.load.prefix + b"%d/%d" % (self.number, number)


class Load:
    """Some callers at once, and what became of their requests."""

    def __init__(self, endpoints: Sequence[str], callers: int) -> None:
        self.stopping: Final = threading.Event()
        self.prefix: Final = b"demo/%d/" % time.time_ns()  # So that no earlier load wrote the same keys.
        self.pause = 0.0  # Seconds between two requests of a caller.
        self.broken: Final[list[str]] = []  # Promises that were found broken while reading.
        self.callers: Final = [Caller(number, endpoints, self) for number in range(1, callers + 1)]
        self._lock: Final = threading.Lock()
        self._last = time.monotonic()
        self._longest_gap = 0.0

    def start(self) -> None:
        for caller in self.callers:
            caller.start()

    def stop(self, within: float) -> None:
        """Let the callers finish what they wait for, but no longer than `within` seconds."""
        self.stopping.set()
        give_up = time.monotonic() + within
        for caller in self.callers:
            if caller.is_alive():
                caller.join(max(0.0, give_up - time.monotonic()))

    @property
    def acknowledged(self) -> int:
        return sum(caller.acknowledged for caller in self.callers)

    def acknowledged_now(self) -> None:
        """A write was acknowledged."""
        with self._lock:
            now = time.monotonic()
            self._longest_gap = max(self._longest_gap, now - self._last)
            self._last = now

    def longest_gap(self) -> float:
        """The longest time without an acknowledged write, in seconds, since this was asked before."""
        with self._lock:
            longest, self._longest_gap = max(self._longest_gap, time.monotonic() - self._last), 0.0
            return longest

    def summary(self) -> str:
        """What became of the requests, in words."""
        failed = sum(caller.failed for caller in self.callers)
        unknown = sum(caller.unknown for caller in self.callers)
        read = sum(caller.read for caller in self.callers)
        return (
            f"writes: {self.acknowledged:,} acknowledged, {failed:,} failed, {unknown:,} with unknown outcome; "
            f"reads: {read:,}"
        )

    def verify(self, endpoint: str) -> tuple[int, list[str]]:
        """Read all keys back from one node, linearizably, while the load may go on.

        Returns how many keys were compared, and what is wrong. Raises NotExecuted, OutcomeUnknown.
        """
        before = {
            key: promise.acknowledged
            for caller in self.callers
            for key, promise in list(caller.promises.items())
            if promise.acknowledged.puts
        }
        with Client([endpoint], timeout=3 * PATIENCE) as client:
            found = {pair.key: pair for pair in client.get_prefix(self.prefix).kvs}
        wrong = []
        for caller in self.callers:
            for key, promise in list(caller.promises.items()):
                why = promise.broken_by(found.get(key), before.get(key, NOTHING))
                if why is not None:
                    wrong.append(f"{endpoint}: {key.decode()} {why}")
        return len(before), wrong
