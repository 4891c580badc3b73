"""The checker against histories with known verdicts, and against brute force."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from ostraka.checkers.history import Operation, Type
from ostraka.checkers.linearizability import check
from ostraka.checkers.models import (
    IMPOSSIBLE,
    CasRegister,
    Cell,
    Counter,
    GrowOnlySet,
    Independent,
    Model,
    MultiRegister,
    Mutex,
    Queue,
    Register,
)


def op(f: str, argument: object, result: object, call: int, answer: int | None, process: int = 1) -> Operation:
    return Operation(process, f, argument, result, call, answer, Type.INFO if answer is None else Type.OK)


def write(value: str, call: int, answer: int | None, client: int = 1) -> Operation:
    return op("write", value, None, call, answer, client)


def read(value: str | None, call: int, answer: int | None, client: int = 2) -> Operation:
    return op("read", None, value, call, answer, client)


GOOD = {
    "nothing happened": [],
    "a read before any write": [read(None, 1, 2), write("a", 3, 4)],
    "a read during a write sees the old value": [write("a", 1, 4), read(None, 2, 3)],
    "a read during a write sees the new value": [write("a", 1, 4), read("a", 2, 3)],
    "concurrent writes in either order": [write("a", 1, 4), write("b", 2, 3, 3), read("a", 5, 6)],
    "an open write that took effect late": [write("a", 1, None), read(None, 2, 3), read("a", 8, 9)],
    "an open write that never did": [write("a", 1, None), write("b", 2, 3), read("b", 4, 5), read("b", 6, 7)],
    "answer and call at the same instant count as concurrent": [write("a", 1, 3), read(None, 3, 4)],
}
BAD = {
    "a stale read": [write("a", 1, 2), write("b", 3, 4), read("a", 5, 6)],
    "a value from nowhere": [write("a", 1, 2), read("z", 3, 4)],
    "a lost write": [write("a", 1, 2), read(None, 3, 4)],
    "new, then old": [write("a", 1, 9), read("a", 2, 3), read(None, 4, 5)],
    "a read of a write that was not yet called": [read("a", 1, 2), write("a", 3, 4)],
    "an open write that comes and goes": [write("a", 1, None), write("b", 2, 3), read("a", 4, 5), read("b", 6, 7)],
}
REGISTERS = {"by zones": Register(), "by search": CasRegister()}


@pytest.mark.parametrize("model", REGISTERS.values(), ids=REGISTERS)
@pytest.mark.parametrize("name", sorted(GOOD))
def test_good(name: str, model: Model) -> None:
    verdict = check(GOOD[name], model)
    assert verdict.holds, verdict


@pytest.mark.parametrize("model", REGISTERS.values(), ids=REGISTERS)
@pytest.mark.parametrize("name", sorted(BAD))
def test_bad(name: str, model: Model) -> None:
    verdict = check(BAD[name], model)
    assert verdict.holds is False
    assert verdict.culprits, "a violation names the operations"
    assert check(verdict.culprits, model).holds is False, "which are one by themselves"


def test_what_an_adapter_means_is_part_of_the_model() -> None:
    refused = Operation(1, "cas", ("a", "b"), None, 3, 4, Type.FAIL)
    history = [op("write", "a", None, 1, 2), refused]
    assert check(history, CasRegister()).holds, "it did not happen, and says no more"
    assert check(history, CasRegister(failed_cas_answers=True)).holds is False, "it found another value than a"
    assert check([write("a", 1, 2), read(None, 3, 4)], CasRegister(nil_reads_anything=True)).holds
    assert check([read("0", 1, 2)], CasRegister(initial="0")).holds


# Brute force.


def brute_force(history: list[Operation], model: Model) -> bool:
    """Tries every order of every choice of open operations."""
    closed = [o for o in history if o.answered is not None and o.type is not Type.FAIL]
    opened = [o for o in history if o.answered is None]
    for count in range(len(opened) + 1):
        for chosen in itertools.combinations(opened, count):
            if any(explains(order, model) for order in itertools.permutations([*closed, *chosen])):
                return True
    return False


def explains(order: tuple[Operation, ...], model: Model) -> bool:
    for position, operation in enumerate(order):
        if any(later.answered is not None and later.answered < operation.called for later in order[position + 1 :]):
            return False
    state = model.initial
    for operation in order:
        state = model.step(state, operation)
        if state is IMPOSSIBLE:
            return False
    return True


Draw = Callable[[random.Random], tuple[str, object, object]]


def some_register(dice: random.Random) -> tuple[str, object, object]:
    value = dice.choice("ab")
    return ("write", value, None) if dice.getrandbits(1) else ("read", None, dice.choice(("a", "b", None)))


def some_cas(dice: random.Random) -> tuple[str, object, object]:
    if dice.getrandbits(1):
        return some_register(dice)
    pair = (dice.choice(("a", None)), dice.choice("ab"))
    return "cas", pair, pair


def some_cell(dice: random.Random) -> tuple[str, object, object]:
    f = dice.choice(("put", "get", "append", "delete", "get"))
    return f, dice.choice("ab"), dice.choice(("a", "b", "ab", "aa", None)) if f == "get" else None


def some_set(dice: random.Random) -> tuple[str, object, object]:
    told = tuple(x for x in (1, 2) if dice.getrandbits(1))
    return ("add", dice.choice((1, 2)), None) if dice.getrandbits(1) else ("read", None, told)


def some_queue(dice: random.Random) -> tuple[str, object, object]:
    return (
        ("enqueue", dice.choice((1, 2)), None) if dice.getrandbits(1) else ("dequeue", None, dice.choice((1, 2, None)))
    )


def some_counter(dice: random.Random) -> tuple[str, object, object]:
    if dice.getrandbits(1):
        return "add", 1, dice.choice((None, 2, 3))
    return "read", None, dice.choice((0, 1, 2))


def some_mutex(dice: random.Random) -> tuple[str, object, object]:
    return dice.choice(("acquire", "release")), None, None


def some_transaction(dice: random.Random) -> tuple[str, object, object]:
    asked = tuple((dice.choice("rw"), dice.choice("xy"), dice.choice((1, 2))) for _ in range(2))
    told = tuple((f, key, dice.choice((1, 2, None)) if f == "r" else value) for f, key, value in asked)
    return "txn", asked, told


KINDS: dict[str, tuple[Model, Draw]] = {
    "register": (Register(), some_register),
    "cas-register": (CasRegister(), some_cas),
    "cell": (Cell(), some_cell),
    "set": (GrowOnlySet(), some_set),
    "queue": (Queue(), some_queue),
    "counter": (Counter(), some_counter),
    "mutex": (Mutex(), some_mutex),
    "multi-register": (MultiRegister(), some_transaction),
}


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_brute_force_on_small_random_histories(kind: str) -> None:
    model, draw = KINDS[kind]
    dice = random.Random(f"linearizability of a {kind}")
    verdicts = {True: 0, False: 0}
    for _ in range(600):
        history = []
        for process in range(1 + dice.getrandbits(2) + dice.getrandbits(1)):
            call = dice.getrandbits(3)
            answer = None if dice.getrandbits(2) == 0 else call + dice.getrandbits(2)
            owner = process % 2 if model.tells_processes else process
            history.append(op(*draw(dice), call, answer, owner))
        verdict = check(history, model)
        assert verdict.holds == brute_force(history, model), "\n".join(map(str, history))
        if not verdict.holds:
            assert not brute_force(list(verdict.culprits), model), "the witness is a violation by itself"
        verdicts[bool(verdict.holds)] += 1
    assert min(verdicts.values()) > 50, f"the histories are too much alike: {verdicts}"


def test_agrees_with_brute_force_where_values_are_written_once() -> None:
    """That way through the checker is another one."""
    dice = random.Random("zones")
    verdicts = {True: 0, False: 0}
    for _ in range(1000):
        free = ["a", "b", "c", "d"]
        history = []
        for client in range(5):
            call = dice.getrandbits(3)
            answer = None if dice.getrandbits(2) == 0 else call + dice.getrandbits(2)
            value = dice.choice(["a", "b", "c", "d", None])
            if value in free and dice.getrandbits(1):
                free.remove(value)
                history.append(write(value, call, answer, client))
            else:
                history.append(read(value, call, answer, client))
        verdict = check(history)
        assert verdict.holds == brute_force(history, Register()), "\n".join(map(str, history))
        verdicts[bool(verdict.holds)] += 1
    assert min(verdicts.values()) > 50, f"the histories are too much alike: {verdicts}"


# Long histories.


def atomic_history(dice: random.Random, keys: int, clients: int, count: int, loses: int) -> list[Operation]:
    """What clients of a store of cells would see: each operation takes effect at an instant between call and answer."""
    cells: dict[int, object] = {}
    history: list[Operation] = []
    plans = []  # (instant, client, call, answer)
    for client in range(clients):
        now = dice.getrandbits(6)
        for _ in range(count // clients):
            now += 1 + dice.getrandbits(5)
            call, effect = now, now + dice.getrandbits(7)
            now = effect + dice.getrandbits(7)
            plans.append((effect, client, call, None if loses and dice.randrange(loses) == 0 else now))
    for number, (_, client, call, answer) in enumerate(sorted(plans)):
        key = dice.randrange(keys)
        f = dice.choice(("get", "put", "cas"))
        old = cells.get(key)
        value: object = None
        result: object = None
        if f == "get":
            result = old
        elif f == "put":
            value = cells[key] = dice.randrange(5)
        else:
            value = (old, number)
            cells[key] = number
        # An open operation may have taken effect or not; here all have, and the checker must find out.
        told = None if answer is None else (key, result)
        history.append(op(f, (key, value), told, call, answer, client))
    return history


def test_ten_thousand_operations_on_ten_keys_are_checked_without_a_false_alarm() -> None:
    history = atomic_history(random.Random(1), keys=10, clients=20, count=10_000, loses=0)
    assert check(history, Independent(Cell())).holds


def test_a_stale_read_is_found_among_thousands() -> None:
    history = atomic_history(random.Random(2), keys=10, clients=20, count=5_000, loses=200)
    assert check(history, Independent(Cell())).holds
    wrong = next(i for i, each in enumerate(history) if i > 4000 and each.f == "get" and each.result)
    history[wrong] = op(
        "get", (7, None), (7, "a value from nowhere"), history[wrong].called, history[wrong].answered, 0
    )
    verdict = check(history, Independent(Cell()))
    assert verdict.holds is False
    assert verdict.why.startswith("7: ")
    assert any(each.result == "a value from nowhere" for each in verdict.culprits)


def test_a_hard_part_does_not_hide_a_violation_in_another() -> None:
    """Key 1 has so many concurrent appends that its search would take for ever."""
    hard = [op("append", (1, c), None, 0, 1000, i) for i, c in enumerate("abcdefghijklmnopqrstuvwx")]
    hard.append(op("get", (1, None), (1, "xwvutsrqponmlkjihgfedcb"), 1001, 1002, 99))
    bad = [op("put", (2, "a"), None, 0, 1), op("get", (2, None), (2, None), 2, 3)]
    verdict = check(hard + bad, Independent(Cell()), most_configurations=400_000)
    assert verdict.holds is False, verdict
    verdict = check(hard, Independent(Cell()), most_steps=100_000)
    assert verdict.holds is None
    assert "of 1 was ended" in verdict.why


def test_the_search_ends_when_it_is_told_to() -> None:
    history = [op("append", c, None, 0, 1000, i) for i, c in enumerate("abcdefghijklmnopqrstuvwx")]
    history.append(op("get", None, "nothing like it", 1001, 1002, 99))
    assert check(history, Cell(), go_on=lambda: False).holds is None


def test_a_long_history_with_many_open_writes_is_checked_quickly() -> None:
    history = []
    expected = None
    for i in range(600):
        lost = i % 7 == 0
        history.append(write(f"v{i}", 10 * i, None if lost else 10 * i + 14, i % 3))
        expected = expected if lost else f"v{i}"
        history.append(read(expected, 10 * i + 15, 10 * i + 16, 4))
    assert check(history).holds
    assert check(history, CasRegister()).holds
