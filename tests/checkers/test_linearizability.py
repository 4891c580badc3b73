"""The checker against histories with known verdicts, and against brute force."""

from __future__ import annotations

import itertools
import random

import pytest

from ostraka.checkers.linearizability import Operation, check


def write(value: str, call: int, answer: int | None, client: int = 1) -> Operation:
    return Operation(client, call, answer, True, value.encode())


def read(value: str | None, call: int, answer: int | None, client: int = 2) -> Operation:
    return Operation(client, call, answer, False, None if value is None else value.encode())


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


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good(name: str) -> None:
    violation = check(GOOD[name])
    assert violation is None, violation


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad(name: str) -> None:
    violation = check(BAD[name])
    assert violation is not None
    assert violation.culprits, "a violation names the operations"


def brute_force(history: list[Operation]) -> bool:
    """Tries every order of every choice of open operations."""
    closed = [o for o in history if o.answer is not None]
    opened = [o for o in history if o.answer is None and o.write]
    for count in range(len(opened) + 1):
        for chosen in itertools.combinations(opened, count):
            if any(explains(order) for order in itertools.permutations([*closed, *chosen])):
                return True
    return False


def explains(order: tuple[Operation, ...]) -> bool:
    value = None
    for position, operation in enumerate(order):
        if any(later.answer is not None and later.answer < operation.call for later in order[position + 1 :]):
            return False
        if operation.write:
            value = operation.value
        elif operation.value != value:
            return False
    return True


def random_history(dice: random.Random, values: list[str | None]) -> list[Operation]:
    """Five operations of as many clients; each of the values is written once, or, if it is taken, read."""
    history = []
    free = list(values)
    for client in range(5):
        call = dice.getrandbits(3)
        answer = None if dice.getrandbits(2) == 0 else call + dice.getrandbits(2)
        value = dice.choice(values)
        if value in free and value is not None and dice.getrandbits(1):
            history.append(write(value, call, answer, client))
            if len(values) > 3:
                free.remove(value)
        else:
            history.append(read(value, call, answer, client))
    return history


@pytest.mark.parametrize("values", [["a", "b", None], ["a", "b", "c", "d", None]], ids=["repeated", "once"])
def test_agrees_with_brute_force_on_small_random_histories(values: list[str | None]) -> None:
    """Values that are written repeatedly go one way through the checker, values written once another."""
    dice = random.Random("linearizability")
    verdicts = {True: 0, False: 0}
    for _ in range(1000):
        history = random_history(dice, values)
        verdict = check(history) is None
        assert verdict == brute_force(history), "\n".join(str(operation) for operation in history)
        verdicts[verdict] += 1
    assert min(verdicts.values()) > 50, f"the histories are too much alike: {verdicts}"


def test_a_long_history_with_many_open_writes_is_checked_quickly() -> None:
    history = []
    expected = None
    for i in range(600):
        lost = i % 7 == 0
        history.append(write(f"v{i}", 10 * i, None if lost else 10 * i + 14, i % 3))
        expected = expected if lost else f"v{i}"
        history.append(read(expected, 10 * i + 15, 10 * i + 16, 4))
    assert check(history) is None
