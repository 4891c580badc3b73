"""Is a history of one register linearizable?

Follows:  Gibbons and Korach, "Testing Shared Memories" (1997), for histories that write each value once; otherwise Wing
          and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's memo of configurations (2017).
Words:    a value's *zone* reaches from the first answer of an operation with it to the last call of one.
Departs:  an operation without an answer may take effect at any time after its call, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ostraka.model.ids import Instant


class Operation(msgspec.Struct, frozen=True):
    """One write or read of one register, as its client saw it."""

    client: int
    call: Instant
    answer: Instant | None  # None: the client never learnt the outcome.
    write: bool
    value: bytes | None  # What was written or read; None: nothing there.

    def __str__(self) -> str:
        end = "?" if self.answer is None else str(self.answer)
        return f"client {self.client} {'wrote' if self.write else 'read'} {self.value!r} in {self.call}…{end}"


class Violation(msgspec.Struct, frozen=True):
    """No order of the operations explains the history."""

    why: str
    culprits: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"not linearizable: {self.why}:\n  " + "\n  ".join(map(str, self.culprits))


_NEVER: Final = 1 << 200  # Later than every instant.


def check(history: Sequence[Operation], initial: bytes | None = None) -> Violation | None:
    """A violation, or None when some order of the operations, each between its call and its answer, is a register's.

    Takes n log n for a history that writes each value once, and not the initial one; otherwise it may take very long.
    """
    operations = _relevant(history)
    written = [operation.value for operation in operations if operation.write] + [initial]
    if len(set(written)) == len(written):
        return _check_zones(operations, initial)
    return _Search(operations, initial).run()


def _relevant(history: Sequence[Operation]) -> list[Operation]:
    """Without reads that nobody got, and without open writes that nobody read: these may never have happened."""
    seen = {operation.value for operation in history if not operation.write and operation.answer is not None}
    kept = [o for o in history if o.answer is not None or (o.write and o.value in seen)]
    return sorted(kept, key=lambda operation: operation.call)


class _Zone:
    """The operations with one value. They take effect together, with nothing between."""

    def __init__(self, value: bytes | None) -> None:
        self.value: Final = value
        self.first_answer = _NEVER
        self.last_call = -1
        self.operations: list[Operation] = []

    def add(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.first_answer = min(self.first_answer, _end(operation))
        self.last_call = max(self.last_call, operation.call)

    def culprits(self) -> tuple[Operation, ...]:
        """What makes it reach so far."""
        first = min(self.operations, key=_end, default=None)
        last = max(self.operations, key=lambda operation: operation.call, default=None)
        return tuple(dict.fromkeys(operation for operation in (first, last) if operation is not None))


def _check_zones(operations: list[Operation], initial: bytes | None) -> Violation | None:
    """Value a must come before b if an operation with a is answered before one with b is called: not both ways.

    (A longer circle has such a pair in it: the value in it with the last call, and the one after it.)
    """
    before_all = _Zone(initial)
    before_all.first_answer = -1
    zones: dict[bytes | None, _Zone] = {initial: before_all}
    writes = {operation.value: operation for operation in operations if operation.write}
    for operation in operations:
        write = writes.get(operation.value)
        if write is not None and _end(operation) < write.call:
            return Violation("it was read before it was written", (operation, write))
        if write is None and operation.value != initial:
            return Violation("nobody wrote it", (operation,))
        zones.setdefault(operation.value, _Zone(operation.value)).add(operation)
    # In the order of first answers it is enough to compare with the zone that reaches furthest so far: if it does not
    # clash with this one, but another does, then those two would have clashed before.
    furthest = _Zone(None)
    for zone in sorted(zones.values(), key=lambda zone: zone.first_answer):
        if furthest.first_answer < zone.last_call and zone.first_answer < furthest.last_call:
            why = f"{furthest.value!r} would have to come both before and after {zone.value!r}"
            return Violation(why, furthest.culprits() + zone.culprits())
        if zone.last_call > furthest.last_call:
            furthest = zone
    return None


def _end(operation: Operation) -> Instant:
    return _NEVER if operation.answer is None else operation.answer


class _Search:
    """Depth first over configurations (which operations are done, the register's value), each visited once."""

    def __init__(self, operations: list[Operation], initial: bytes | None) -> None:
        self._operations: Final = operations
        self._required: Final = sum(1 << i for i, o in enumerate(operations) if o.answer is not None)
        self._initial: Final = initial

    def run(self) -> Violation | None:
        seen: set[tuple[int, bytes | None]] = set()
        deepest = 0
        stack = [(0, self._initial, iter(self._next(0)))]
        while stack:
            done, value, candidates = stack[-1]
            if done & self._required == self._required:
                return None
            if done.bit_count() > deepest.bit_count():
                deepest = done
            for i in candidates:
                operation = self._operations[i]
                configuration = (done | 1 << i, operation.value)
                if (operation.write or operation.value == value) and configuration not in seen:
                    seen.add(configuration)
                    stack.append((*configuration, iter(self._next(configuration[0]))))
                    break
            else:
                stack.pop()
        why = f"after {deepest.bit_count()} operations none of these can come next"
        return Violation(why, tuple(self._operations[i] for i in self._next(deepest)))

    def _next(self, done: int) -> list[int]:
        """Each of these could come first among those not done: it was called before any of them was answered."""
        first = ((~done) & (done + 1)).bit_length() - 1  # All operations before this one are done.
        candidates: list[int] = []
        earliest = _NEVER
        for i in range(first, len(self._operations)):
            if done >> i & 1:
                continue
            if self._operations[i].call > earliest:
                break
            candidates.append(i)
            earliest = min(earliest, _end(self._operations[i]))
        candidates = [i for i in candidates if self._operations[i].call <= earliest]
        return sorted(candidates, key=lambda i: (self._operations[i].write, _end(self._operations[i])))
