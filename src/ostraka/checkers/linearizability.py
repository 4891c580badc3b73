"""Is a history of one register linearizable?

Follows:  Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's memo of configurations,
          "Testing for Linearizability" (2017).
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
    """No order of the operations explains the history; `explained` is the longest that explains a part of it."""

    explained: tuple[Operation, ...]
    stuck: tuple[Operation, ...]  # Had to come next, and none of them could.

    def __str__(self) -> str:
        before = "\n  ".join(str(operation) for operation in self.explained[-8:])
        after = "\n  ".join(str(operation) for operation in self.stuck)
        return f"not linearizable. After\n  {before}\nnone of these can come next:\n  {after}"


_NEVER: Final = 1 << 200  # Later than every instant.


def check(history: Sequence[Operation], initial: bytes | None = None) -> Violation | None:
    """A violation, or None when some order of the operations, each between its call and its answer, is a register's.

    The values written should be unique, or nearly so: equal values make the search longer, never wrong.
    """
    return _Search(_relevant(history), initial).run()


def _relevant(history: Sequence[Operation]) -> list[Operation]:
    """Without reads that nobody got, and without open writes that nobody read: these may never have happened."""
    seen = {operation.value for operation in history if not operation.write and operation.answer is not None}
    kept = [o for o in history if o.answer is not None or (o.write and o.value in seen)]
    return sorted(kept, key=lambda operation: operation.call)


class _Search:
    """Depth first over configurations (which operations are done, the register's value), each visited once."""

    def __init__(self, operations: list[Operation], initial: bytes | None) -> None:
        self._operations: Final = operations
        self._ends: Final = [_NEVER if o.answer is None else o.answer for o in operations]
        self._required: Final = sum(1 << i for i, o in enumerate(operations) if o.answer is not None)
        self._initial: Final = initial

    def run(self) -> Violation | None:
        seen: set[tuple[int, bytes | None]] = set()
        order: list[int] = []
        longest: list[int] = []
        stack = [(0, self._initial, iter(self._next(0)))]
        while stack:
            done, value, candidates = stack[-1]
            if done & self._required == self._required:
                return None
            for i in candidates:
                operation = self._operations[i]
                if not operation.write and operation.value != value:
                    continue
                configuration = (done | 1 << i, operation.value)
                if configuration not in seen:
                    seen.add(configuration)
                    order.append(i)
                    if len(order) > len(longest):
                        longest = order[:]
                    stack.append((*configuration, iter(self._next(configuration[0]))))
                    break
            else:
                stack.pop()
                if order:
                    order.pop()
        done = sum(1 << i for i in longest)
        stuck = tuple(self._operations[i] for i in self._next(done))
        return Violation(tuple(self._operations[i] for i in longest), stuck)

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
            earliest = min(earliest, self._ends[i])
        candidates = [i for i in candidates if self._operations[i].call <= earliest]
        candidates.sort(key=lambda i: (self._operations[i].write, self._ends[i]))  # A read that fits changes nothing.
        return candidates
