"""Checks that follow from what the data stands for: money, sets, counters, queues, ids.

Each takes a history in the words of Jepsen's workload of that name, and costs time in proportion to its length.

Follows:  the workloads of Jepsen and Elle (bank, set-full, counter, total-queue, unique-ids, long-fork,
          causal-reverse), described in their documentation.
Departs:  one verdict for all; each failure names the operations that show it.
Evidence: tests/checkers/test_domain.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from ostraka.checkers.history import FrozenMap, Operation, Type, Value, ends, show


class Failure(msgspec.Struct, frozen=True):
    """What went wrong, and the operations that show it."""

    what: str
    culprits: tuple[Operation, ...]

    def __str__(self) -> str:
        return self.what + "".join(f"\n  {each}" for each in self.culprits)


Check = Callable[[Sequence[Operation]], list[Failure]]


def _done(history: Sequence[Operation], f: str) -> list[Operation]:
    return [each for each in history if each.f == f and each.type is Type.OK]


def _listed(value: Value) -> tuple[Value, ...]:
    if isinstance(value, frozenset):
        return tuple(sorted(value, key=show))
    return value if isinstance(value, tuple) else ()


def bank(history: Sequence[Operation]) -> list[Failure]:
    """`read` → {account: balance}: no money is made or lost, and no balance negative. The first read counts."""
    failures = []
    total: int | None = None
    for read in _done(history, "read"):
        balances = [value for _, value in read.result] if isinstance(read.result, FrozenMap) else []
        if not balances or not all(isinstance(value, int) for value in balances):
            failures.append(Failure("this read shows no balances", (read,)))
            continue
        amount = sum(value for value in balances if isinstance(value, int))
        total = amount if total is None else total
        if amount != total:
            failures.append(Failure(f"the accounts hold {amount} in all, where {total} is right", (read,)))
        if any(isinstance(value, int) and value < 0 for value in balances):
            failures.append(Failure("a balance is negative", (read,)))
    return failures


def set_full(history: Sequence[Operation]) -> list[Failure]:
    """`add` element, `read` → all: an element that was acknowledged is in every read called after it.

    Tells elements that were lost (gone, and in no later read), stale (missing for a while), never read, and those that
    come from nowhere or twice.
    """
    failures = []
    adds = {each.argument: each for each in history if each.f == "add"}
    reads = sorted(_done(history, "read"), key=lambda each: each.called)
    contents = [Counter(_listed(read.result)) for read in reads]
    for read, found in zip(reads, contents, strict=True):
        for element in sorted(found.keys() - adds.keys(), key=show):
            failures.append(Failure(f"nobody added {show(element)}", (read,)))
        for element, times in found.items():
            if times > 1:
                failures.append(Failure(f"{show(element)} is there {times} times", (read,)))
    for element, add in adds.items():
        if add.type is Type.FAIL:
            seen = next((read for read, found in zip(reads, contents, strict=True) if element in found), None)
            if seen is not None:
                failures.append(Failure(f"{show(element)} was refused, and is there", (add, seen)))
            continue
        known = ends(add)  # When it is known to be in: acknowledged, or read.
        witness = add
        for read, found in zip(reads, contents, strict=True):
            if element in found and ends(read) < known:
                known, witness = ends(read), read
        after = [(read, element in found) for read, found in zip(reads, contents, strict=True) if read.called > known]
        missing = next((read for read, there in after if not there), None)
        if missing is not None:
            back = after[-1][1]
            ever = any(element in found for found in contents)
            kind = "stale: it was missing for a while" if back else "lost" if ever else "never read"
            failures.append(Failure(f"{show(element)} was {kind}", tuple(dict.fromkeys((add, witness, missing)))))
    return failures


def counter(history: Sequence[Operation]) -> list[Failure]:
    """`add` amount ≥ 0, `read` → value: between what was acknowledged before it and all that was begun by its end."""
    failures = []
    adds = [each for each in history if each.f == "add" and each.type is not Type.FAIL]
    for add in adds:
        if not isinstance(add.argument, int) or add.argument < 0:
            raise ValueError(f"a counter's bounds are known for amounts of 0 or more: {add}")
    moments: list[tuple[int, int, int, Operation]] = []
    for add in adds:
        moments.append((add.called, 1, 0, add))
        if add.answered is not None:
            moments.append((add.answered, 3, 0, add))
    for number, read in enumerate(_done(history, "read")):
        moments.append((read.called, 2, number, read))
        moments.append((ends(read), 2, number, read))
    least = most = 0
    bounds: dict[int, int] = {}
    for _, what, number, operation in sorted(moments, key=lambda each: each[:3]):
        amount = operation.argument if isinstance(operation.argument, int) else 0
        if what == 1:
            most += amount
        elif what == 3:
            least += amount
        elif number not in bounds:
            bounds[number] = least
        elif not isinstance(operation.result, int) or not bounds[number] <= operation.result <= most:
            why = f"{show(operation.result)} was read, where {bounds[number]} to {most} is possible"
            failures.append(Failure(why, (operation,)))
    return failures


def total_queue(history: Sequence[Operation]) -> list[Failure]:
    """`enqueue` element, `dequeue` → element: what goes in comes out, once. The queue is empty at the end."""
    failures = []
    put = {each.argument: each for each in history if each.f == "enqueue"}
    taken: dict[Value, Operation] = {}
    for operation in _done(history, "dequeue"):
        element = operation.result
        if element is None:
            continue
        if element in taken:
            failures.append(Failure(f"{show(element)} came out twice", (taken[element], operation)))
        elif element not in put or put[element].type is Type.FAIL:
            failures.append(Failure(f"{show(element)} came out and was never put in", (operation,)))
        taken[element] = operation
    open_dequeues = any(each.f == "dequeue" and each.answered is None for each in history)
    for element, operation in put.items():
        if operation.type is Type.OK and element not in taken and not open_dequeues:
            failures.append(Failure(f"{show(element)} was lost", (operation,)))
    return failures


def unique_ids(history: Sequence[Operation]) -> list[Failure]:
    """`generate` → id: none is given out twice."""
    failures = []
    given: dict[Value, Operation] = {}
    for operation in _done(history, "generate"):
        first = given.setdefault(operation.result, operation)
        if first is not operation:
            failures.append(Failure(f"{show(operation.result)} was given out twice", (first, operation)))
    return failures


def _seen(read: Operation) -> dict[Value, Value]:
    return {step[1]: step[2] for step in _listed(read.result) if isinstance(step, tuple) and step[0] == "r"}


def long_fork(history: Sequence[Operation]) -> list[Failure]:
    """Transactions that read keys which are each written once: no two of them see two writes in opposite orders."""
    failures = []
    reads = [(each, _seen(each)) for each in history if each.type is Type.OK and each.f in ("txn", "read")]
    by_keys: dict[frozenset[Value], list[tuple[Operation, dict[Value, Value]]]] = {}
    for read, seen in reads:
        if len(seen) > 1:
            by_keys.setdefault(frozenset(seen), []).append((read, seen))
    for keys, alike in by_keys.items():
        patterns: dict[frozenset[Value], Operation] = {}
        for read, seen in alike:
            patterns.setdefault(frozenset(key for key in keys if seen[key] is not None), read)
        chain = sorted(patterns, key=len)
        for smaller, larger in pairwise(chain):
            if not smaller <= larger:
                culprits = (patterns[smaller], patterns[larger])
                failures.append(Failure("one saw a write without the other, the next one the contrary", culprits))
    return failures


def causal_reverse(history: Sequence[Operation]) -> list[Failure]:
    """`write` value, `read` → all values: none is seen without one that was acknowledged before it was begun."""
    failures = []
    writes = {each.argument: each for each in history if each.f == "write" and each.type is not Type.FAIL}
    in_order = sorted(writes.values(), key=ends)
    for read in _done(history, "read"):
        seen = set(_listed(read.result))
        missing = next((each for each in in_order if each.argument not in seen and each.answered is not None), None)
        if missing is None:
            continue
        later = next(
            (writes[v] for v in sorted(seen & writes.keys(), key=show) if writes[v].called > ends(missing)), None
        )
        if later is not None:
            story = (
                f"{show(later.argument)} is seen without {show(missing.argument)}, which was there before it was begun"
            )
            failures.append(Failure(story, (missing, later, read)))
    return failures


CHECKS: Final[dict[str, Check]] = {
    "bank": bank,
    "set-full": set_full,
    "counter-bounds": counter,
    "total-queue": total_queue,
    "unique-ids": unique_ids,
    "long-fork": long_fork,
    "causal-reverse": causal_reverse,
}
"""By the names that the command line knows."""
