"""Is a history linearizable: does some order of its operations, each between its call and its answer, explain it?

Follows:  Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memo of configurations and the
          division by objects of Lowe, "Testing for linearizability" (2017); for registers whose values are written
          once, Gibbons and Korach, "Testing Shared Memories" (1997).
Words:    a *configuration* is which operations are done, and the object's state. A value's *zone* reaches from the
          first answer of an operation with it to the last call of one.
Departs:  an operation without an answer may take effect at any time after its call, or never; those are tried last.
          Parts are searched in turns, with budgets that grow: one hard part doesn't hide a violation in another.
Evidence: tests/checkers/test_linearizability.py compares with brute force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from ostraka.checkers.history import Operation, Type, Value, ends, show
from ostraka.checkers.models import IMPOSSIBLE, Model, Register

FIRST_BUDGET: Final = 50_000
"""Steps that each part gets in the first round; each further round gives twice as many."""

MOST_STEPS: Final = 50_000_000
MOST_CONFIGURATIONS: Final = 5_000_000
WITNESS_STEPS: Final = 1_000_000
"""What making a witness smaller may cost."""

YIELD_EVERY: Final = 4096


class Verdict(msgspec.Struct, frozen=True):
    """`holds` None: it could not be told within the bounds, and `why` says what was reached."""

    holds: bool | None
    why: str = ""
    culprits: tuple[Operation, ...] = ()  # A history of these alone is a violation, where the model allows to cut it.

    def __str__(self) -> str:
        if self.holds:
            return "linearizable"
        head = "not linearizable" if self.holds is False else "linearizable? Nobody can tell"
        return f"{head}: {self.why}" + "".join(f"\n  {each}" for each in self.culprits)


def check(
    history: Sequence[Operation],
    model: Model | None = None,
    most_steps: int = MOST_STEPS,
    most_configurations: int = MOST_CONFIGURATIONS,
    go_on: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Judge the history by the model, by default a `Register`.

    `go_on` is asked every few thousand steps, and may end the search; so do the bounds, which are for all parts
    together. Takes n log n for a register whose values are written once; otherwise, at worst, exponential time in the
    number of operations that are under way at once. Raises `models.BadOperation`.
    """
    model = Register() if model is None else model
    parts = model.parts(model.relevant(history))
    if type(model) is Register:
        once = _written_once(parts[None], model)
        if once is not None:
            return once
    searches = {key: _Search(part, model) for key, part in parts.items()}
    return _take_turns(searches, model, most_steps, most_configurations, go_on)


def _take_turns(
    searches: dict[Value, _Search],
    model: Model,
    most_steps: int,
    most_configurations: int,
    go_on: Callable[[], bool],
) -> Verdict:
    running = {key: (search, search.run()) for key, search in searches.items()}
    budget, left = FIRST_BUDGET, most_steps
    while running:
        for key, (search, run) in list(running.items()):
            used = 0
            for steps in run:
                used += steps
                kept = sum(len(each.seen) for each in searches.values())
                if used >= left or kept > most_configurations or not go_on():
                    which = "" if key is None else f" of {show(key)}"
                    return Verdict(None, f"the search{which} was ended at {search.progress()}")
                if used >= budget:
                    break
            else:
                del running[key]
                if not search.found:
                    return _violation(key, search, model)
                search.seen.clear()
            left -= used
        budget *= 2
    return Verdict(True)


class _Search:
    """Depth first, as Wing and Gong: choose an operation that may come next, go on; go back where none can.

    Calls and answers stand in one list, in the order of time, from which what is done is lifted. An operation may come
    next if its call stands before the first answer in the list. Those that are never answered come last.
    """

    def __init__(self, part: Sequence[Operation], model: Model) -> None:
        closed = sorted((each for each in part if each.answered is not None), key=lambda each: each.called)
        opened = sorted((each for each in part if each.answered is None), key=lambda each: each.called)
        self.operations: Final = [*closed, *opened]
        self.seen: Final[set[tuple[int, Value]]] = set()
        self.found = False
        self.stuck_at = -1  # The latest answer before which nothing could come next,
        self.deepest = 0  # and the most operations that were done then, as bits,
        self.state = model.initial  # and the state after them.
        self._model: Final = model
        self._closed: Final = len(closed)

    def progress(self) -> str:
        return f"{self.deepest.bit_count()} of {len(self.operations)} operations, {len(self.seen)} configurations"

    def run(self) -> Iterator[int]:
        """Search; yields how many steps were taken, now and then. `found` says how it ended."""
        operations, closed, seen, step = self.operations, self._closed, self.seen, self._model.step
        calls, answers = [each.called for each in operations], [ends(each) for each in operations]
        head, following, preceding = self._list()
        twins = self._twins()
        state, done, limit = self._model.initial, 0, -1
        stack: list[tuple[int, Value, int]] = []
        entry = following[head]
        steps = 0
        while following[head] != head:
            steps += 1
            if steps == YIELD_EVERY:
                yield steps
                steps = 0
            if entry < head and not entry & 1:
                candidate = entry >> 1
                entry = following[entry]
            else:
                # Past the calls that stand before the first answer: now those without an answer.
                if entry < head:
                    limit, candidate = answers[entry >> 1], closed
                else:
                    candidate = entry - head
                while candidate < len(operations) and (done >> candidate & 1 or ~done & twins[candidate]):
                    candidate += 1
                entry = head + candidate + 1
                if candidate == len(operations) or calls[candidate] > limit:
                    if limit > self.stuck_at:
                        self.stuck_at, self.deepest, self.state = limit, done, state
                    if not stack:
                        yield steps
                        return
                    candidate, state, limit = stack.pop()
                    done ^= 1 << candidate
                    if candidate < closed:
                        for back in (2 * candidate + 1, 2 * candidate):
                            following[preceding[back]] = preceding[following[back]] = back
                        entry = following[2 * candidate]
                    else:
                        entry = head + candidate + 1
                    continue
            after = step(state, operations[candidate])
            if after is IMPOSSIBLE or (candidate >= closed and after == state):
                continue
            configuration = (done | 1 << candidate, after)
            if configuration in seen:
                continue
            seen.add(configuration)
            stack.append((candidate, state, limit))
            done, state = configuration
            if candidate < closed:
                for gone in (2 * candidate, 2 * candidate + 1):
                    following[preceding[gone]] = following[gone]
                    preceding[following[gone]] = preceding[gone]
            entry = following[head]
        self.found = True
        yield steps

    def _list(self) -> tuple[int, list[int], list[int]]:
        """The list as its head and two arrays: entry 2i is the call of operation i, 2i + 1 its answer."""
        head = 2 * self._closed
        entries = [(each.called, 0, 2 * i) for i, each in enumerate(self.operations[: self._closed])]
        entries += [(ends(each), 1, 2 * i + 1) for i, each in enumerate(self.operations[: self._closed])]
        order = [head, *[entry for _, _, entry in sorted(entries)], head]
        following, preceding = [head] * (head + 1), [head] * (head + 1)
        for before, after in pairwise(order):
            following[before], preceding[after] = after, before
        return head, following, preceding

    def _twins(self) -> list[int]:
        """For each operation without an answer one bit: of the operation like it that comes first, 0 if there is none.

        Of several that can't be told apart it is enough to try them in one order.
        """
        twins: list[int] = []
        last: dict[tuple[str, Value, Value], int] = {}
        for i, each in enumerate(self.operations):
            alike = (each.f, each.argument, each.process if self._model.tells_processes else None)
            twins.append(last.get(alike, 0))
            if i >= self._closed:
                last[alike] = 1 << i
        return twins


# What a violation is made of.


def _violation(key: Value, search: _Search, model: Model) -> Verdict:
    """The history up to the answer that nothing explains, without the observers that it doesn't need."""
    at, left = search.stuck_at, WITNESS_STEPS
    begun = [each for each in search.operations if each.called <= at]
    culprits = list(search.operations)
    for smaller in ([_cut(each, at) for each in begun], begun):
        holds, used = _within(smaller, model, left)
        left -= used
        if holds is False:
            culprits = smaller
            break
    for each in sorted(culprits, key=lambda each: each.called):
        if left > 0 and model.observes(each) and each.answered is not None:
            without = [other for other in culprits if other is not each]
            holds, used = _within(without, model, left)
            left -= used
            if holds is False:
                culprits = without
    where = "" if key is None else f"{show(key)}: "
    done = search.deepest.bit_count()
    why = f"{where}{done} operations can be put in order, which leaves {show(search.state)}, and none can come next"
    return Verdict(False, why, tuple(sorted(culprits, key=lambda each: each.called)))


def _within(part: Sequence[Operation], model: Model, most: int) -> tuple[bool | None, int]:
    search = _Search(part, model)
    used = 0
    for steps in search.run():
        used += steps
        if used > most:
            return None, used
    return search.found, used


def _cut(operation: Operation, at: int) -> Operation:
    """As it was known at this instant."""
    if operation.answered is None or operation.answered <= at:
        return operation
    return msgspec.structs.replace(operation, answered=None, result=None, type=Type.INFO)


# Registers whose values are written once.


class _Zone:
    """The operations with one value. They take effect together, with nothing between."""

    def __init__(self, value: Value) -> None:
        self.value: Final = value
        self.first_answer = ends(_UNANSWERED)
        self.last_call = -1
        self.operations: list[Operation] = []

    def add(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.first_answer = min(self.first_answer, ends(operation))
        self.last_call = max(self.last_call, operation.called)

    def culprits(self) -> tuple[Operation, ...]:
        """What makes it reach so far."""
        first = min(self.operations, key=ends, default=None)
        last = max(self.operations, key=lambda operation: operation.called, default=None)
        return tuple(dict.fromkeys(operation for operation in (first, last) if operation is not None))


_UNANSWERED: Final = Operation(0, "write", None, None, 0, None)


def _written_once(history: Sequence[Operation], model: Register) -> Verdict | None:
    """The verdict of Gibbons and Korach; None where their way can't be gone.

    Value a must come before b if an operation with a is answered before one with b is called: not both ways.
    (A longer circle has such a pair in it: the value in it with the last call, and the one after it.)
    """
    writes = {each.argument: each for each in history if each.f == "write"}
    count = sum(each.f == "write" for each in history)
    if len(writes) < count or model.initial in writes or model.nil_reads_anything:
        return None
    if any(each.f not in ("read", "write") for each in history):
        return None
    before_all = _Zone(model.initial)
    before_all.first_answer = -1
    zones: dict[Value, _Zone] = {model.initial: before_all}
    for operation in history:
        value = operation.argument if operation.f == "write" else operation.result
        write = writes.get(value)
        if write is not None and ends(operation) < write.called:
            return Verdict(False, "it was read before it was written", (operation, write))
        if write is None and value != model.initial:
            return Verdict(False, "nobody wrote it", (operation,))
        zones.setdefault(value, _Zone(value)).add(operation)
    # In the order of first answers it is enough to compare with the zone that reaches furthest so far: if it does not
    # clash with this one, but another does, then those two would have clashed before.
    furthest = _Zone(None)
    for zone in sorted(zones.values(), key=lambda zone: zone.first_answer):
        if furthest.first_answer < zone.last_call and zone.first_answer < furthest.last_call:
            why = f"{show(furthest.value)} would have to come both before and after {show(zone.value)}"
            return Verdict(False, why, furthest.culprits() + zone.culprits())
        if zone.last_call > furthest.last_call:
            furthest = zone
    return Verdict(True)
