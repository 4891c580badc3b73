"""Transactions over registers: each phenomenon by an example, and agreement with the definitions by brute force."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from ostraka.checkers import registers
from ostraka.checkers.history import Operation, Type
from ostraka.checkers.isolation import Level, Verdict
from ostraka.checkers.registers import check_registers

Step = tuple[str, str, object]


def txn(text: str, called: int, process: int, kind: Type = Type.OK) -> Operation:
    """`wx1` writes 1 to x, `rx1` read 1, `rx` read nil."""
    steps = tuple((each[0], each[1], int(each[2:]) if each[2:] else None) for each in text.split())
    asked = tuple((f, key, None if f == "r" else value) for f, key, value in steps)
    answered = None if kind is Type.INFO else called + 1
    return Operation(process, "txn", asked, steps if kind is Type.OK else None, called, answered, kind)


def sessions(*texts: str) -> list[Operation]:
    """Each text is a session, whose transactions are divided by `|`; the sessions overlap all the time."""
    return [
        msg(txn(text, place, process), place, 1000 + place)
        for process, session in enumerate(texts)
        for place, text in enumerate(session.split("|"), 10 * process)
    ]


def msg(operation: Operation, called: int, answered: int) -> Operation:
    return Operation(operation.process, operation.f, operation.argument, operation.result, called, answered)


EXAMPLES: dict[str, tuple[list[Operation], str, tuple[Level, ...]]] = {
    "in order": ([txn("wx1", 0, 1), txn("rx1 wx2", 2, 2), txn("rx2", 4, 1)], "", (Level.STRICT_SERIALIZABLE,)),
    "taken back": ([txn("wx1", 0, 1, Type.FAIL), txn("rx1", 2, 2)], "G1a", ()),
    "not finished": (sessions("wx1 wx2", "rx1"), "G1b", ()),
    "from nowhere": (sessions("rx1"), "unwritten-value", ()),
    "its own write unseen": (sessions("wx1 rx"), "internal", ()),
    "old after new within a transaction": (
        sessions("wx1|wx2", "rx2 rx1", "rx1 rx2"),
        "read-committed",
        (),
    ),
    "fractured read": (sessions("wx1 wy1|wx2 wy2", "rx1 ry2"), "read-atomic", (Level.READ_COMMITTED,)),
    "an effect without its cause": (
        sessions("wx1|wx2", "rx2 wy1", "ry1 rx1"),
        "causal",
        (Level.READ_ATOMIC, Level.SERIALIZABLE),
    ),
    "lost update": (sessions("rx wx1", "rx wx2"), "snapshot-isolation", (Level.CAUSAL,)),
    "long fork": (sessions("wx1", "wy1", "rx1 ry", "rx ry1"), "snapshot-isolation", (Level.CAUSAL,)),
    "write skew": (sessions("rx wy1", "ry wx1"), "serializable", (Level.STRONG_SNAPSHOT_ISOLATION,)),
    "a stale read": (
        [txn("wx1", 0, 1), txn("rx", 2, 2)],
        "strong-snapshot-isolation",
        (Level.STRONG_SESSION_SERIALIZABLE,),
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    history, phenomenon, strongest = EXAMPLES[example]
    verdict = check_registers(history)
    names = [anomaly.name for anomaly in verdict.anomalies]
    if phenomenon:
        assert phenomenon in names, names
    assert verdict.strongest() == strongest, str(verdict)


def test_a_circle_is_told_edge_by_edge() -> None:
    verdict = check_registers(sessions("wx1|wx2", "rx2 wy1", "ry1 rx1"))
    (story,) = [anomaly.story for anomaly in verdict.anomalies if anomaly.name == "causal"]
    assert "T20 saw T1, which wrote x, and read x from T0" in "\n".join(story)


def test_a_witness_leaves_out_what_has_nothing_to_do_with_it() -> None:
    history = sessions("rx wx1", "rx wx2", "wz1|rz1|wz2", "rz2")
    (anomaly,) = [each for each in check_registers(history).anomalies if each.name == "snapshot-isolation"]
    assert {each.called for each in anomaly.culprits} == {0, 10}


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (sessions("wx1", "wx1"), "once"),
        ([Operation(1, "txn", (("w", "x", None),), (("w", "x", None),), 0, 1)], "never nil"),
        ([Operation(1, "txn", (("append", "x", 1),), None, 0, None, Type.INFO)], "writes"),
    ],
)
def test_other_histories_are_refused(history: list[Operation], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_registers(history)


def test_without_a_solver_the_searched_levels_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers, "Solver", None)
    verdict = check_registers(sessions("rx wx1", "rx wx2"))
    assert verdict.holds(Level.CAUSAL) is True
    assert verdict.holds(Level.SERIALIZABLE) is None
    assert "could not be told" in str(verdict)


def test_the_search_has_a_bound() -> None:
    history = sessions("rx wx1", "rx wx2", "rx1 wx3", "wx4", "rx4 wx5")
    assert check_registers(history, most_rounds=0).holds(Level.SERIALIZABLE) is None


# Brute force: the definitions.


def steps_of(operation: Operation) -> tuple[Step, ...]:
    return operation.result if operation.type is Type.OK else operation.argument  # type: ignore[return-value]


def possible_pasts(history: list[Operation]) -> Iterator[list[Operation]]:
    done = [each for each in history if each.type is Type.OK]
    maybe = [each for each in history if each.type is Type.INFO]
    for count in range(len(maybe) + 1):
        for chosen in itertools.combinations(maybe, count):
            yield [*done, *chosen]


def reads_nil_too(operation: Operation, state: dict[str, object]) -> bool:
    """As `run`, where nil is an answer: of a transaction that was answered."""
    for f, key, value in steps_of(operation):
        if f == "w":
            state[key] = value
        elif operation.type is Type.OK and state.get(key) != value:
            return False
    return True


def before_in(level: Level, a: Operation, b: Operation) -> bool:
    if a.process == b.process and a.called < b.called:
        return level not in (Level.SERIALIZABLE, Level.SNAPSHOT_ISOLATION)
    real = level in (Level.STRICT_SERIALIZABLE, Level.STRONG_SNAPSHOT_ISOLATION)
    return real and a.answered is not None and a.answered < b.called


def serializable(history: list[Operation], level: Level) -> bool:
    for among in possible_pasts(history):
        for order in itertools.permutations(among):
            if any(before_in(level, b, a) for a, b in itertools.combinations(order, 2)):
                continue
            state: dict[str, object] = {}
            if all(reads_nil_too(each, state) for each in order):
                return True
    return False


def snapshot_isolated(history: list[Operation], level: Level) -> bool:
    for among in possible_pasts(history):
        for order in itertools.permutations(among):
            for starts in itertools.product(*[range(place + 1) for place in range(len(order))]):
                if fits_snapshots(order, starts, level):
                    return True
    return False


def fits_snapshots(order: tuple[Operation, ...], starts: tuple[int, ...], level: Level) -> bool:
    if any(
        before_in(level, a, b) and not (i < j and starts[j] > i)
        for (i, a), (j, b) in itertools.permutations(enumerate(order), 2)
    ):
        return False
    states: list[dict[str, object]] = [{}]
    for place, each in enumerate(order):
        own = dict(states[starts[place]])
        if not reads_nil_too(each, own):
            return False
        written = {key for f, key, _ in steps_of(each) if f == "w"}
        if any(written & {k for f, k, _ in steps_of(other) if f == "w"} for other in order[starts[place] : place]):
            return False
        states.append({**states[-1], **{key: own[key] for key in written}})
    return True


def by_axiom(history: list[Operation], level: Level) -> bool:
    """Is there a total order of transactions, over sessions and reads, that satisfies the axiom? Checked literally."""
    return any(
        axiom_holds(order, level) for among in possible_pasts(history) for order in itertools.permutations(among)
    )


def axiom_holds(order: tuple[Operation, ...], level: Level) -> bool:
    """Transactions by their places in the order; -1 is the one that wrote nil everywhere."""
    final = [{key: value for f, key, value in steps_of(each) if f == "w"} for each in order]
    place_of = {(key, value): i for i, writes in enumerate(final) for key, value in writes.items()}
    reads: list[list[tuple[str, int]]] = []
    for each in order:
        own: dict[str, object] = {}
        mine: list[tuple[str, int]] = []
        for f, key, value in steps_of(each):
            if f == "w":
                own[key] = value
            elif key in own and each.type is Type.OK:
                if own[key] != value:
                    return False
            elif each.type is Type.OK:
                if value is not None and (key, value) not in place_of:
                    return False
                mine.append((key, -1 if value is None else place_of[key, value]))
        reads.append(mine)
    near = {(i, j) for j, mine in enumerate(reads) for _, i in mine if i >= 0}
    near |= {
        (i, j)
        for i, a in enumerate(order)
        for j, b in enumerate(order)
        if a.process == b.process and a.called < b.called
    }
    far = set(near)
    while (more := far | {(a, d) for a, b in far for c, d in far if b == c}) != far:
        far = more
    if any(a >= b for a, b in far):
        return False
    for j, mine in enumerate(reads):
        for number, (key, source) in enumerate(mine):
            for i, writes in enumerate(final):
                if key not in writes or i in (source, j):
                    continue
                seen = {
                    Level.READ_COMMITTED: any(other == i for _, other in mine[:number]),
                    Level.READ_ATOMIC: (i, j) in near,
                    Level.CAUSAL: (i, j) in far,
                }[level]
                if seen and not i < source:
                    return False
    return True


AXIOMS = [Level.READ_COMMITTED, Level.READ_ATOMIC, Level.CAUSAL]
SERIAL = [Level.SERIALIZABLE, Level.STRONG_SESSION_SERIALIZABLE, Level.STRICT_SERIALIZABLE]
SNAPSHOT = [Level.SNAPSHOT_ISOLATION, Level.STRONG_SESSION_SNAPSHOT_ISOLATION, Level.STRONG_SNAPSHOT_ISOLATION]


def random_history(dice: random.Random) -> list[Operation]:
    """Up to four transactions of three sessions; what they read was once there, or almost."""
    values: dict[str, list[object]] = {"x": [None], "y": [None]}
    written = 0
    history = []
    busy: dict[int, int] = {}
    for _ in range(2 + dice.randrange(3)):
        steps: list[Step] = []
        for _ in range(1 + dice.randrange(3)):
            key = dice.choice("xy")
            if dice.getrandbits(1):
                written += 1
                values[key].append(written)
                steps.append(("w", key, written))
            else:
                steps.append(("r", key, dice.choice(values[key][-2:])))
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


def test_agrees_with_brute_force() -> None:
    dice = random.Random("registers")
    held: dict[tuple[Level, bool], int] = {}
    for _ in range(1500):
        history = random_history(dice)
        verdict: Verdict = check_registers(history)
        shown = "\n".join(map(str, history)) + f"\n{verdict}"
        truths = {level: by_axiom(history, level) for level in AXIOMS}
        truths |= {level: serializable(history, level) for level in SERIAL}
        truths |= {level: snapshot_isolated(history, level) for level in SNAPSHOT}
        for level, truth in truths.items():
            assert verdict.holds(level) == truth, f"{level}: {truth}\n{shown}"
            held[level, truth] = held.get((level, truth), 0) + 1
    assert len(held) == 18
    assert min(held.values()) > 50, held


# A store that is right by construction.


def run_serially(dice: random.Random, count: int, clients: int, keys: int) -> list[Operation]:
    plans = []
    for client in range(clients):
        now = dice.randrange(50)
        for _ in range(count // clients):
            call = now + 1 + dice.randrange(20)
            effect = call + dice.randrange(50)
            now = effect + dice.randrange(50)
            plans.append((effect, client, call, now))
    state: dict[int, object] = {}
    history = []
    for number, (_, client, call, answer) in enumerate(sorted(plans)):
        steps: list[tuple[str, int, object]] = []
        for _ in range(1 + dice.randrange(4)):
            key = dice.randrange(keys)
            if dice.getrandbits(1):
                state[key] = number * 10 + len(steps)
                steps.append(("w", key, state[key]))
            else:
                steps.append(("r", key, state.get(key)))
        asked = tuple((f, key, None if f == "r" else value) for f, key, value in steps)
        history.append(Operation(client, "txn", asked, tuple(steps), call, answer))
    return sorted(history, key=lambda each: each.called)


@pytest.mark.parametrize("seed", range(3))
def test_a_strict_serializable_store_raises_no_alarm(seed: int) -> None:
    verdict = check_registers(run_serially(random.Random(seed), 200, 8, 20))
    assert verdict.strongest() == (Level.STRICT_SERIALIZABLE,), verdict
