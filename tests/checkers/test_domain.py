"""Each check by an example of what it finds, and stores that are right by construction."""

from __future__ import annotations

import random

import pytest

from ostraka.checkers.domain import CHECKS
from ostraka.checkers.history import FrozenMap, Operation, Type


def op(f: str, value: object, call: int, answer: int | None = -1, kind: Type = Type.OK) -> Operation:
    """An operation whose argument or result is `value`, whichever it has."""
    end = call + 1 if answer == -1 else answer
    known = Type.INFO if end is None else kind
    asks = f in ("add", "enqueue", "write", "transfer")
    return Operation(
        call, f, value if asks else None, None if asks or known is not Type.OK else value, call, end, known
    )


def accounts(**balances: int) -> FrozenMap:
    return FrozenMap(balances.items())


def reads(**values: object) -> tuple[tuple[str, str, object], ...]:
    return tuple(("r", key, value) for key, value in values.items())


GOOD: dict[str, list[list[Operation]]] = {
    "bank": [[op("read", accounts(a=5, b=5), 0), op("read", accounts(a=0, b=10), 2)]],
    "set-full": [
        [op("add", 1, 0), op("add", 2, 2, None), op("read", (1,), 4), op("read", (1, 2), 6)],
        [op("add", 1, 0, 9), op("read", (), 1, 2), op("read", (1,), 3, 4)],
        [op("add", 1, 0, kind=Type.FAIL), op("read", (), 2)],
    ],
    "counter-bounds": [
        [op("add", 2, 0), op("read", 2, 2), op("add", 3, 4, None), op("read", 2, 6), op("read", 5, 8)],
        [op("add", 1, 0, 5), op("read", 1, 1, 2), op("read", 0, 3, 4)],
    ],
    "total-queue": [
        [op("enqueue", 1, 0), op("enqueue", 2, 2, None), op("dequeue", 1, 4), op("dequeue", None, 6)],
        [op("enqueue", 1, 0), op("dequeue", None, 2, None)],
    ],
    "unique-ids": [[op("generate", 1, 0), op("generate", 2, 2)]],
    "long-fork": [[op("read", reads(x=1, y=None), 0), op("read", reads(x=1, y=1), 2), op("read", reads(x=1), 4)]],
    "causal-reverse": [[op("write", 1, 0), op("write", 2, 2), op("read", (1,), 4), op("read", (1, 2), 6)]],
}
BAD: dict[str, list[tuple[list[Operation], str]]] = {
    "bank": [
        ([op("read", accounts(a=5, b=5), 0), op("read", accounts(a=5, b=6), 2)], "11 in all"),
        ([op("read", accounts(a=5, b=5), 0), op("read", accounts(a=-1, b=11), 2)], "negative"),
        ([op("read", None, 0)], "no balances"),
    ],
    "set-full": [
        ([op("add", 1, 0), op("read", (1,), 2), op("read", (), 4)], "lost"),
        ([op("add", 1, 0), op("read", (), 2), op("read", (1,), 4)], "stale"),
        ([op("add", 1, 0), op("read", (), 2)], "never read"),
        ([op("add", 1, 0, None), op("read", (1,), 2), op("read", (), 4)], "lost"),
        ([op("add", 1, 0, kind=Type.FAIL), op("read", (1,), 2)], "refused"),
        ([op("read", (7,), 2)], "nobody added 7"),
        ([op("add", 1, 0), op("read", (1, 1), 2)], "2 times"),
    ],
    "counter-bounds": [
        ([op("add", 2, 0), op("read", 1, 2)], "2 to 2"),
        ([op("read", 1, 0), op("add", 1, 2)], "0 to 0"),
        ([op("add", 1, 0, 5), op("read", 2, 1, 2)], "0 to 1"),
    ],
    "total-queue": [
        ([op("enqueue", 1, 0)], "lost"),
        ([op("enqueue", 1, 0), op("dequeue", 1, 2), op("dequeue", 1, 4)], "twice"),
        ([op("dequeue", 1, 2)], "never put in"),
        ([op("enqueue", 1, 0, kind=Type.FAIL), op("dequeue", 1, 2)], "never put in"),
    ],
    "unique-ids": [([op("generate", 1, 0), op("generate", 1, 2)], "given out twice")],
    "long-fork": [([op("read", reads(x=1, y=None), 0), op("read", reads(x=None, y=1), 2)], "without the other")],
    "causal-reverse": [([op("write", 1, 0), op("write", 2, 2), op("read", (2,), 4)], "2 is seen without 1")],
}


def test_every_check_has_examples() -> None:
    assert GOOD.keys() == BAD.keys() == CHECKS.keys()


@pytest.mark.parametrize(("name", "history"), [(name, each) for name, all_ in GOOD.items() for each in all_])
def test_good(name: str, history: list[Operation]) -> None:
    assert CHECKS[name](history) == []


@pytest.mark.parametrize(("name", "history", "why"), [(name, *each) for name, all_ in BAD.items() for each in all_])
def test_bad(name: str, history: list[Operation], why: str) -> None:
    (failure,) = CHECKS[name](history)
    assert why in failure.what
    assert failure.culprits


def test_a_counter_that_counts_down_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        CHECKS["counter-bounds"]([op("add", -1, 0)])


def test_stores_that_are_right_raise_no_alarm() -> None:
    """Operations take effect at an instant between call and answer; some answers never come."""
    dice = random.Random("domain")
    for _ in range(50):
        elements: list[int] = []
        total = 0
        moments = sorted((dice.randrange(1000), number) for number in range(60))
        set_history, counter_history = [], []
        for effect, number in moments:
            call = effect - dice.randrange(50)
            answer = None if dice.randrange(8) == 0 else effect + dice.randrange(50)
            if dice.getrandbits(1):
                elements.append(number)
                total += number
                set_history.append(op("add", number, call, answer))
                counter_history.append(op("add", number, call, answer))
            else:
                set_history.append(op("read", tuple(elements), call, answer))
                counter_history.append(op("read", total, call, answer))
        assert CHECKS["set-full"](set_history) == []
        assert CHECKS["counter-bounds"](counter_history) == []
