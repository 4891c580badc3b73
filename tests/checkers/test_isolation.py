"""Transactions over lists: each phenomenon by an example, and agreement with brute force."""

from __future__ import annotations

import itertools
import random

import pytest

from ostraka.checkers.history import Operation, Type
from ostraka.checkers.isolation import BELOW, Level, Verdict, check_list_append

Step = tuple[str, str, object]


def txn(
    text: str, called: int, answered: int | None = -1, process: int | None = None, kind: Type = Type.OK
) -> Operation:
    """`ax1` appends 1 to x, `rx12` read x as [1 2], `rx` read it as empty."""
    steps = tuple(
        ("append", each[1], int(each[2:])) if each[0] == "a" else ("r", each[1], tuple(map(int, each[2:])))
        for each in text.split()
    )
    end = called + 1 if answered == -1 else answered
    asked = tuple((f, key, None if f == "r" else value) for f, key, value in steps)
    known = Type.INFO if end is None else kind
    return Operation(
        called if process is None else process, "txn", asked, steps if known is Type.OK else None, called, end, known
    )


def together(*texts: str) -> list[Operation]:
    """All at the same time, each by a process of its own."""
    return [txn(text, number, 1000 + number) for number, text in enumerate(texts)]


EXAMPLES: dict[str, tuple[list[Operation], str, tuple[Level, ...]]] = {
    # What happened; the phenomenon that is found; the strongest levels that hold.
    "in order": ([txn("ax1", 0), txn("rx1 ax2", 2), txn("rx12", 4)], "", (Level.STRICT_SERIALIZABLE,)),
    "empty": ([], "", (Level.STRICT_SERIALIZABLE,)),
    "dirty write": (together("ax1 ay1", "ax2 ay2", "rx12 ry21"), "G0", ()),
    "read of what was taken back": (
        [txn("ax1", 0, kind=Type.FAIL), txn("rx1", 2)],
        "G1a",
        (Level.READ_UNCOMMITTED,),
    ),
    "read of what was not finished": (together("ax1 ax2", "rx1", "rx12"), "G1b", (Level.READ_UNCOMMITTED,)),
    "circular flow": (together("ax1 ry1", "ay1 rx1"), "G1c", (Level.READ_UNCOMMITTED,)),
    "update of what was taken back": (
        [txn("ax1", 0, 100, kind=Type.FAIL), txn("ax2", 1, 101), txn("rx12", 2, 102)],
        "dirty-update",
        (Level.READ_UNCOMMITTED,),
    ),
    "two orders": (together("ax1", "ax2", "rx12", "rx21"), "incompatible-order", (Level.READ_UNCOMMITTED,)),
    "an element twice": (together("ax1", "rx11"), "duplicate-elements", ()),
    "an element from nowhere": (together("ax1", "rx7"), "unwritten-element", ()),
    "read skew": (together("ax1 ay1", "rx1 ry"), "G-single", (Level.READ_COMMITTED,)),
    "lost update": (together("rx ax1", "rx ax2", "rx12"), "lost-update", (Level.READ_COMMITTED,)),
    "write skew": (together("rx ay1", "ry ax1"), "G2-item", (Level.STRONG_SNAPSHOT_ISOLATION,)),
    "long fork": (together("ax1", "ay1", "rx1 ry", "rx ry1"), "G-nonadjacent", (Level.CONSISTENT_VIEW,)),
    "its own append unseen": (together("ax1 rx"), "internal", (Level.REPEATABLE_READ,)),
    "a stale read of one's own": (
        [txn("ax1", 0, process=1), txn("rx", 2, process=1)],
        "G-single-process",
        (Level.SERIALIZABLE,),
    ),
    "a stale read": ([txn("ax1", 0), txn("rx", 2)], "G-single-realtime", (Level.STRONG_SESSION_SERIALIZABLE,)),
    "an unknown outcome that was seen": (
        [txn("ax1", 0, None), txn("rx", 1), txn("rx1", 3)],
        "",
        (Level.STRICT_SERIALIZABLE,),
    ),
    "an unknown outcome that was never seen": ([txn("ax1", 0, None), txn("rx", 1)], "", (Level.STRICT_SERIALIZABLE,)),
    "an unread append comes after what was read": (
        [txn("ax1", 0, 1), txn("rx", 2, 9), txn("ax2", 3, 4), txn("rx1 ry", 5, 6), txn("ay1", 7, 8)],
        "",
        (Level.STRONG_SESSION_SERIALIZABLE,),
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    history, phenomenon, strongest = EXAMPLES[example]
    verdict = check_list_append(history)
    names = [anomaly.name for anomaly in verdict.anomalies]
    if phenomenon:
        assert phenomenon in names, names
    assert verdict.strongest() == strongest, str(verdict)


def test_a_circle_is_told_edge_by_edge() -> None:
    verdict = check_list_append(together("rx ay1", "ry ax1"))
    (anomaly,) = verdict.anomalies
    assert anomaly.name == "G2-item"
    assert set(anomaly.story) == {
        "T0 < T1, since T0 read x before T1 appended 1, its first element",
        "T1 < T0, since T1 read y before T0 appended 1, its first element",
    }
    assert "broken: repeatable-read, by G2-item" in str(verdict)


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (together("ax1", "ax1"), "twice"),
        (together("ax1 ax1"), "twice"),
        ([Operation(1, "read", None, 3, 0, 1)], "transactions"),
        ([Operation(1, "txn", (("w", "x", 1),), (("w", "x", 1),), 0, 1)], "appends"),
        ([Operation(1, "txn", (("r", "x", None),), (("r", "x", 3),), 0, 1)], "gives a list"),
        ([Operation(1, "txn", (("r", "x"),), (("r", "x"),), 0, 1)], "f key value"),
    ],
)
def test_other_histories_are_refused(history: list[Operation], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_list_append(history)


# Brute force: what the levels mean, by trying.


def reads_match(steps: tuple[Step, ...], state: dict[str, tuple[int, ...]]) -> bool:
    """Execute in place."""
    for f, key, value in steps:
        if f == "append":
            state[key] = (*state.get(key, ()), value)  # type: ignore[arg-type]
        elif value is not None and state.get(key, ()) != value:
            return False
    return True


def steps_of(operation: Operation) -> tuple[Step, ...]:
    return operation.result if operation.type is Type.OK else operation.argument  # type: ignore[return-value]


def serial_orders(history: list[Operation]) -> list[tuple[Operation, ...]]:
    done = [each for each in history if each.type is Type.OK]
    maybe = [each for each in history if each.type is Type.INFO]
    return [
        order
        for count in range(len(maybe) + 1)
        for chosen in itertools.combinations(maybe, count)
        for order in itertools.permutations([*done, *chosen])
    ]


def before_in(level: Level, a: Operation, b: Operation) -> bool:
    """Must a come before b, whatever they did?"""
    if a.process == b.process and a.called < b.called:
        return level not in (Level.SERIALIZABLE, Level.SNAPSHOT_ISOLATION)
    real = level in (Level.STRICT_SERIALIZABLE, Level.STRONG_SNAPSHOT_ISOLATION)
    return real and a.answered is not None and a.answered < b.called


def serializable(history: list[Operation], level: Level) -> bool:
    for order in serial_orders(history):
        if any(before_in(level, b, a) for a, b in itertools.combinations(order, 2)):
            continue
        state: dict[str, tuple[int, ...]] = {}
        if all(reads_match(steps_of(each), state) for each in order):
            return True
    return False


def snapshot_isolated(history: list[Operation], level: Level) -> bool:
    """Some order of starts and commits: each reads what was committed at its start; of two that write the same key,
    one commits before the other starts.
    """
    for order in serial_orders(history):  # Of the commits.
        for starts in itertools.product(*[range(place + 1) for place in range(len(order))]):
            # Transaction i starts after the first starts[i] commits.
            if any(
                before_in(level, a, b) and not (i < j and starts[j] > i)
                for (i, a), (j, b) in itertools.permutations(enumerate(order), 2)
            ):
                continue
            states: list[dict[str, tuple[int, ...]]] = [{}]
            for place, each in enumerate(order):
                own = dict(states[starts[place]])
                if not reads_match(steps_of(each), own):
                    break
                written = {key for f, key, _ in steps_of(each) if f == "append"}
                if any(
                    written & {key for f, key, _ in steps_of(other) if f == "append"}
                    for other in order[starts[place] : place]
                ):
                    break
                states.append({**states[-1], **{key: own[key] for key in written}})
            else:
                return True
    return False


def random_history(dice: random.Random) -> list[Operation]:
    """Up to four transactions that append and read, some of what they read being a little off."""
    count = 2 + dice.randrange(3)
    state: dict[str, tuple[int, ...]] = {"x": (), "y": ()}
    older: list[dict[str, tuple[int, ...]]] = [dict(state)]
    history = []
    element = 0
    busy: dict[int, int] = {}
    for _ in range(count):
        view = {key: dice.choice([state, dice.choice(older)])[key] for key in "xy"}
        steps: list[Step] = []
        for _ in range(1 + dice.randrange(3)):
            key = dice.choice("xy")
            if dice.getrandbits(1):
                element += 1
                view[key] = (*view[key], element)
                state[key] = (*state[key], element)
                steps.append(("append", key, element))
            else:
                steps.append(("r", key, view[key]))
        older.append(dict(state))
        call = dice.randrange(8)
        answer = None if dice.randrange(6) == 0 else call + dice.randrange(4)
        process = dice.randrange(3)
        if busy.get(process, -1) >= call:
            process = 10 + len(history)
        busy[process] = 1000 if answer is None else answer
        asked = tuple((f, key, None if f == "r" else value) for f, key, value in steps)
        kind = Type.INFO if answer is None else Type.OK
        history.append(Operation(process, "txn", asked, tuple(steps) if kind is Type.OK else None, call, answer, kind))
    return sorted(history, key=lambda each: each.called)


def all_read(history: list[Operation]) -> bool:
    """Has each append been seen? Then the order of all appends is known."""
    read = {
        (key, element)
        for each in history
        if each.type is Type.OK
        for f, key, value in steps_of(each)
        if f == "r"
        for element in value  # type: ignore[attr-defined]
    }
    return all((key, value) in read for each in history for f, key, value in steps_of(each) if f == "append")


SERIAL = [Level.SERIALIZABLE, Level.STRONG_SESSION_SERIALIZABLE, Level.STRICT_SERIALIZABLE]
SNAPSHOT = [
    Level.SNAPSHOT_ISOLATION,
    Level.STRONG_SESSION_SNAPSHOT_ISOLATION,
    Level.STRONG_SNAPSHOT_ISOLATION,
]


def test_agrees_with_brute_force() -> None:
    """No false alarm at any level; nothing missed where the order of appends can be known from the reads."""
    dice = random.Random("list-append")
    held: dict[tuple[Level, bool], int] = {}
    for _ in range(2000):
        history = random_history(dice)
        verdict: Verdict = check_list_append(history)
        shown = "\n".join(map(str, history)) + f"\n{verdict}"
        for level in SERIAL:
            truth = serializable(history, level)
            assert verdict.holds(level) == truth, f"{level}: {truth}\n{shown}"
            held[level, truth] = held.get((level, truth), 0) + 1
        for level in SNAPSHOT:
            truth = snapshot_isolated(history, level)
            assert verdict.holds(level) or not truth, f"{level}, a false alarm\n{shown}"
            if all_read(history):
                assert verdict.holds(level) == truth, f"{level}: {truth}\n{shown}"
            held[level, truth] = held.get((level, truth), 0) + 1
    assert len(held) == 12
    assert min(held.values()) > 50, held


def test_stronger_levels_break_with_what_they_imply() -> None:
    dice = random.Random("order of levels")
    for _ in range(300):
        verdict = check_list_append(random_history(dice))
        for level in verdict.judged:
            for below in BELOW[level]:
                if below in verdict.judged and verdict.holds(below) is False:
                    assert verdict.holds(level) is False


# Databases that are right by construction.


def run_serially(dice: random.Random, count: int, clients: int) -> list[Operation]:
    """A strict serializable store: each transaction takes effect at an instant between its call and its answer."""
    plans = []
    for client in range(clients):
        now = dice.randrange(50)
        for _ in range(count // clients):
            call = now + 1 + dice.randrange(20)
            effect = call + dice.randrange(50)
            now = effect + dice.randrange(50)
            plans.append((effect, client, call, now))
    state: dict[int, tuple[int, ...]] = {}
    history = []
    for number, (_, client, call, answer) in enumerate(sorted(plans)):
        steps: list[tuple[str, int, object]] = []
        for _ in range(1 + dice.randrange(4)):
            key = number // 200 * 5 + dice.randrange(5)
            if dice.getrandbits(1):
                state[key] = (*state.get(key, ()), number * 10 + len(steps))
                steps.append(("append", key, number * 10 + len(steps)))
            else:
                steps.append(("r", key, state.get(key, ())))
        asked = tuple((f, key, None if f == "r" else value) for f, key, value in steps)
        history.append(Operation(client, "txn", asked, tuple(steps), call, answer))
    return sorted(history, key=lambda each: each.called)


@pytest.mark.parametrize("seed", range(5))
def test_a_strict_serializable_store_raises_no_alarm(seed: int) -> None:
    verdict = check_list_append(run_serially(random.Random(seed), 2000, 10))
    assert verdict.strongest() == (Level.STRICT_SERIALIZABLE,), verdict


def test_one_stale_read_among_thousands_is_found() -> None:
    history = run_serially(random.Random(9), 2000, 10)
    place, steps = next(
        (i, each.result)
        for i, each in enumerate(history)
        if i > 1000 and any(f == "r" and len(value) > 3 for f, _, value in each.result)  # type: ignore[union-attr]
    )
    stale = tuple((f, key, value[:-2] if f == "r" and len(value) > 3 else value) for f, key, value in steps)  # type: ignore[union-attr]
    wrong = history[place]
    history[place] = Operation(wrong.process, "txn", wrong.argument, stale, wrong.called, wrong.answered)
    verdict = check_list_append(history)
    assert verdict.holds(Level.STRICT_SERIALIZABLE) is False
    assert any(wrong.called in {each.called for each in anomaly.culprits} for anomaly in verdict.anomalies)
