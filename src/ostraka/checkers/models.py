"""What an object would have done: sequential models, against which concurrent histories are judged.

A model is a state and a step. Verdicts hang on what an adapter means by a nil read, by a failed compare-and-set and by
the initial value, so a model says it: `CasRegister(initial=0, nil_reads_anything=True)` is Knossos' reading of a
register, `CasRegister(failed_cas_answers=True)` is Porcupine's of etcd's.

Follows:  Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (1990), §2.
Words:    an operation whose outcome is unknown has no result, so its step must allow whatever it may have been.
Departs:  an operation that failed is left out before the search, unless its failure is an answer.
Evidence: tests/checkers/test_linearizability.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ostraka.checkers.history import Operation, Type, Value

State = Hashable


class Impossible:
    """The one who says that an operation can't come next."""


IMPOSSIBLE: Final = Impossible()


class Model(Protocol):
    """A sequential object."""

    @property
    def initial(self) -> State: ...

    def step(self, state: State, operation: Operation) -> State | Impossible:
        """The state after this operation, or IMPOSSIBLE if the object could not have answered so. Pure."""

    def relevant(self, history: Sequence[Operation]) -> list[Operation]:
        """The operations to be explained: without those that did not happen, and those that can't matter."""

    def parts(self, history: Sequence[Operation]) -> dict[Value, list[Operation]]:
        """Histories of objects that know nothing of one another: each is judged alone (locality, §3.1)."""

    def observes(self, operation: Operation) -> bool:
        """Does it never change the state?"""

    @property
    def tells_processes(self) -> bool:
        """Does it matter who calls?"""


class BadOperation(ValueError):
    """The history has an operation that the model doesn't know."""

    def __init__(self, model: object, operation: Operation, known: str) -> None:
        super().__init__(f"{type(model).__name__} knows {known}; the history has: {operation}")


class _Whole:
    """A model whose histories can't be divided."""

    tells_processes = False

    def relevant(self, history: Sequence[Operation]) -> list[Operation]:
        """Without what did not happen, and without reads that nobody got."""
        return [
            each
            for each in history
            if each.type is not Type.FAIL and (each.answered is not None or not self.observes(each))
        ]

    def parts(self, history: Sequence[Operation]) -> dict[Value, list[Operation]]:
        return {None: list(history)}

    def observes(self, operation: Operation) -> bool:
        return operation.f == "read"


@dataclass(frozen=True)
class Register(_Whole):
    """`read` → value, `write` value."""

    initial: Value = None
    nil_reads_anything: bool = False

    def step(self, state: State, operation: Operation) -> State | Impossible:
        match operation.f:
            case "write":
                return operation.argument
            case "read":
                return state if self._allows(state, operation) else IMPOSSIBLE
        raise BadOperation(self, operation, "read and write")

    def _allows(self, state: State, read: Operation) -> bool:
        if read.type is not Type.OK or (read.result is None and self.nil_reads_anything):
            return True
        return read.result == state

    def relevant(self, history: Sequence[Operation]) -> list[Operation]:
        """Also without open writes of a value that nobody read: they may never have happened."""
        kept = super().relevant(history)
        if any(each.f not in ("read", "write") for each in kept):
            return kept
        read = {each.result for each in kept if each.f == "read"}
        return [each for each in kept if each.answered is not None or each.argument in read]


@dataclass(frozen=True)
class CasRegister(Register):
    """A register with `cas` [old new]. `failed_cas_answers`: one that failed is known to have found another value."""

    failed_cas_answers: bool = False

    def step(self, state: State, operation: Operation) -> State | Impossible:
        if operation.f != "cas":
            return super().step(state, operation)
        if not isinstance(operation.argument, tuple) or len(operation.argument) != 2:
            raise BadOperation(self, operation, "cas with [old new]")
        old, new = operation.argument
        if operation.type is Type.INFO:
            return new if state == old else state
        return (new if state == old else IMPOSSIBLE) if operation.type is Type.OK else _unless(state == old, state)

    def relevant(self, history: Sequence[Operation]) -> list[Operation]:
        if not self.failed_cas_answers:
            return super().relevant(history)
        failed = [each for each in history if each.f == "cas" and each.type is Type.FAIL]
        return sorted([*super().relevant(history), *failed], key=lambda each: each.called)

    def observes(self, operation: Operation) -> bool:
        return operation.f == "read" or operation.type is Type.FAIL


def _unless(refuted: bool, state: State) -> State | Impossible:
    return IMPOSSIBLE if refuted else state


@dataclass(frozen=True)
class Cell(CasRegister):
    """One key of a store: `get` → value, `put` value, `append` text, `delete`, and what a CasRegister knows."""

    def step(self, state: State, operation: Operation) -> State | Impossible:
        match operation.f:
            case "put":
                return operation.argument
            case "get":
                return state if self._allows(state, operation) else IMPOSSIBLE
            case "delete":
                return self.initial
            case "append":
                return f"{'' if state is None else state}{operation.argument}"
        return super().step(state, operation)

    def observes(self, operation: Operation) -> bool:
        return operation.f == "get" or super().observes(operation)


@dataclass(frozen=True)
class Independent:
    """Many objects of one model, each under its key: arguments and results are [key value]."""

    model: Model

    @property
    def initial(self) -> State:
        return self.model.initial

    @property
    def tells_processes(self) -> bool:
        return self.model.tells_processes

    def step(self, state: State, operation: Operation) -> State | Impossible:
        return self.model.step(state, operation)

    def relevant(self, history: Sequence[Operation]) -> list[Operation]:
        return list(history)  # Each part is looked at by itself.

    def parts(self, history: Sequence[Operation]) -> dict[Value, list[Operation]]:
        found: dict[Value, list[Operation]] = {}
        for each in history:
            if not isinstance(each.argument, tuple) or len(each.argument) != 2:
                raise BadOperation(self, each, "values of the form [key value]")
            key, argument = each.argument
            result = each.result[1] if isinstance(each.result, tuple) and len(each.result) == 2 else each.result
            found.setdefault(key, []).append(msgspec.structs.replace(each, argument=argument, result=result))
        return {key: self.model.relevant(part) for key, part in found.items()}

    def observes(self, operation: Operation) -> bool:
        return self.model.observes(operation)


@dataclass(frozen=True)
class GrowOnlySet(_Whole):
    """`add` element, `read` → all elements."""

    initial: frozenset[Value] = frozenset()

    def step(self, state: State, operation: Operation) -> State | Impossible:
        assert isinstance(state, frozenset)
        match operation.f:
            case "add":
                return state | {operation.argument}
            case "read":
                return state if operation.type is not Type.OK or _as_set(operation.result) == state else IMPOSSIBLE
        raise BadOperation(self, operation, "add and read")


def _as_set(value: Value) -> frozenset[Value]:
    return frozenset(value) if isinstance(value, tuple | frozenset) else frozenset()


@dataclass(frozen=True)
class Queue(_Whole):
    """`enqueue` element, `dequeue` → the oldest element, or nil if there is none."""

    initial: tuple[Value, ...] = ()

    def step(self, state: State, operation: Operation) -> State | Impossible:
        assert isinstance(state, tuple)
        match operation.f:
            case "enqueue":
                return (*state, operation.argument)
            case "dequeue" if operation.type is not Type.OK:
                return state[1:]
            case "dequeue" if operation.result is None:
                return state if not state else IMPOSSIBLE
            case "dequeue":
                return state[1:] if state and state[0] == operation.result else IMPOSSIBLE
        raise BadOperation(self, operation, "enqueue and dequeue")

    def observes(self, operation: Operation) -> bool:
        return False


@dataclass(frozen=True)
class Counter(_Whole):
    """`add` amount (→ nothing, or the new value), `read` → value."""

    initial: int = 0

    def step(self, state: State, operation: Operation) -> State | Impossible:
        assert isinstance(state, int)
        match operation.f:
            case "add" if isinstance(operation.argument, int):
                value = state + operation.argument
                told = operation.result if operation.result != operation.argument else None
                return value if operation.type is not Type.OK or told in (None, value) else IMPOSSIBLE
            case "read":
                return state if operation.type is not Type.OK or operation.result == state else IMPOSSIBLE
        raise BadOperation(self, operation, "add and read, with whole numbers")


@dataclass(frozen=True)
class Mutex(_Whole):
    """`acquire` and `release`, each by the process that calls."""

    tells_processes = True
    initial: Value = None  # Who holds it.

    def step(self, state: State, operation: Operation) -> State | Impossible:
        match operation.f:
            case "acquire":
                return operation.process if state is None else IMPOSSIBLE
            case "release":
                return None if state == operation.process else IMPOSSIBLE
        raise BadOperation(self, operation, "acquire and release")

    def observes(self, operation: Operation) -> bool:
        return False


@dataclass(frozen=True)
class MultiRegister(_Whole):
    """`txn` of [["r" key value] ["w" key value] …], each as a whole at one instant. Absent keys read as nil."""

    initial: frozenset[tuple[Value, Value]] = frozenset()

    def step(self, state: State, operation: Operation) -> State | Impossible:
        assert isinstance(state, frozenset)
        registers = dict(state)
        told = operation.result if operation.type is Type.OK else operation.argument
        if operation.f != "txn" or not isinstance(told, tuple):
            raise BadOperation(self, operation, 'txn of [["r" key value] ["w" key value] …]')
        for what, key, value in told:
            if what == "w":
                registers[key] = value
            elif operation.type is Type.OK and registers.get(key) != value:
                return IMPOSSIBLE
        return frozenset(registers.items())

    def observes(self, operation: Operation) -> bool:
        argument = operation.argument
        return isinstance(argument, tuple) and all(each[0] == "r" for each in argument if isinstance(each, tuple))


MODELS: Final[dict[str, Model]] = {
    "register": Register(),
    "cas-register": CasRegister(),
    "kv": Independent(Cell()),
    "set": GrowOnlySet(),
    "queue": Queue(),
    "counter": Counter(),
    "mutex": Mutex(),
    "multi-register": MultiRegister(),
}
"""By the names that the command line knows."""
