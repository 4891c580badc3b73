"""Session guarantees and causal consistency: the literature's examples, and the definitions by brute force."""

from __future__ import annotations

import itertools
import random

import pytest

from ostraka.checkers.history import Operation, Type
from ostraka.checkers.linearizability import check
from ostraka.checkers.models import Independent, MultiRegister, Register
from ostraka.checkers.sessions import Guarantee, check_sequential, check_sessions

ALL = set(Guarantee)
RYW, MR, MW, WFR = list(Guarantee)[:4]
CC, CCV, CM = list(Guarantee)[4:]


def sessions(*texts: str) -> list[Operation]:
    """Each text is a session: `wx1` writes 1 to x, `rx1` reads 1, `rx` reads nil. They overlap all the time."""
    history = []
    for process, text in enumerate(texts):
        for place, word in enumerate(text.split(), 100 * process):
            value = (word[1], int(word[2:]) if word[2:] else None)
            if word[0] == "w":
                history.append(Operation(process, "write", value, None, place, 10_000 + place))
            else:
                history.append(Operation(process, "read", (word[1], None), value, place, 10_000 + place))
    return history


EXAMPLES: dict[str, tuple[tuple[str, ...], set[Guarantee]]] = {
    # The sessions, and what does not hold.
    "nothing": ((), set()),
    "in order": (("wx1 rx1 wx2 rx2",), set()),
    "own write missed": (("wx1 rx",), {RYW, CC, CCV, CM}),
    "reads go back": (("wx1", "rx1 rx"), {MR, CC, CCV, CM}),
    "writes out of order": (("wx1 wy1", "ry1 rx"), {MW, CC, CCV, CM}),
    "effect without cause": (("wx1", "rx1 wy1", "ry1 rx"), {WFR, CC, CCV, CM}),
    "no agreement on concurrent writes": (("wx1", "wx2", "rx1 rx2", "rx2 rx1"), {CCV}),
    "POPL'17 (c): causal memory, not convergence": (("wx1 rx2", "wx2 rx1"), {CCV}),
    "POPL'17 (b): convergence, not causal memory": (("wz1 wx1 wy1", "wx2 rz ry1 rx2"), {CM}),
    "a value from nowhere": (("rx1",), ALL),
    "a circle of causes": (("rx1 wy1", "ry1 wx1"), {CC, CCV, CM}),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    texts, broken = EXAMPLES[example]
    verdict = check_sessions(sessions(*texts), keyed=True)
    assert {breach.guarantee for breach in verdict.breaches} == broken, str(verdict)


def test_a_witness_is_small() -> None:
    verdict = check_sessions(sessions("wz7 rz7 wx1 wy1 rz7", "rz7 ry1 rz7 rx wz8"), keyed=True)
    (breach,) = [each for each in verdict.breaches if each.guarantee is MW]
    assert len(breach.culprits) == 4
    assert "a session that has read 1 does not show 1" in str(breach)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (Operation(1, "cas", (1, 2), None, 0, 1), "reads and writes"),
        (Operation(1, "write", None, None, 0, 1), "never nil"),
    ],
)
def test_other_histories_are_refused(operation: Operation, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_sessions([operation])
    with pytest.raises(ValueError, match="key value"):
        check_sessions([Operation(1, "write", 3, None, 0, 1)], keyed=True)


# Brute force: the definitions of POPL'17, tried literally.


class Brute:
    def __init__(self, history: list[Operation]) -> None:
        self.size = len(history)
        self.history = history
        self.key = [each.argument[0] for each in history]  # type: ignore[index]
        self.value = [(each.argument if each.f == "write" else each.result)[1] for each in history]  # type: ignore[index]
        self.po = {
            (a, b)
            for a, b in itertools.permutations(range(self.size), 2)
            if history[a].process == history[b].process and history[a].called < history[b].called
        }
        writer = {(self.key[n], self.value[n]): n for n in range(self.size) if history[n].f == "write"}
        self.sound = all(self.value[n] is None or (self.key[n], self.value[n]) in writer for n in range(self.size))
        self.co = set(self.po)
        self.co |= {
            (writer[self.key[n], self.value[n]], n)
            for n in range(self.size)
            if history[n].f == "read" and (self.key[n], self.value[n]) in writer
        }
        while (more := self.co | {(a, d) for a, b in self.co for c, d in self.co if b == c}) != self.co:
            self.co = more
        self.sound &= all(a != b for a, b in self.co)

    def past(self, number: int) -> list[int]:
        return [n for n in range(self.size) if n == number or (n, number) in self.co]

    def explains(self, order: tuple[int, ...], judged: set[int]) -> bool:
        state: dict[object, object] = {}
        for number in order:
            if self.history[number].f == "write":
                state[self.key[number]] = self.value[number]
            elif number in judged and state.get(self.key[number]) != self.value[number]:
                return False
        return True

    def extensions(self, among: list[int]) -> list[tuple[int, ...]]:
        return [
            order
            for order in itertools.permutations(among)
            if not any((b, a) in self.co for a, b in itertools.combinations(order, 2))
        ]

    def causal(self) -> bool:
        return self.sound and all(
            any(self.explains(order, {n}) for order in self.extensions(self.past(n))) for n in range(self.size)
        )

    def memory(self) -> bool:
        return self.sound and all(
            any(
                self.explains(order, {n} | {a for a in range(self.size) if (a, n) in self.po})
                for order in self.extensions(self.past(n))
            )
            for n in range(self.size)
        )

    def convergence(self) -> bool:
        return self.sound and any(
            all(
                self.explains(tuple(each for each in order if each in set(self.past(n))), {n}) for n in range(self.size)
            )
            for order in self.extensions(list(range(self.size)))
        )

    def sequential(self) -> bool:
        everything = set(range(self.size))
        return any(
            self.explains(order, everything)
            for order in itertools.permutations(range(self.size))
            if not any((b, a) in self.po for a, b in itertools.combinations(order, 2))
        )


def random_sessions(dice: random.Random) -> list[Operation]:
    texts = ["", "", ""]
    values = {"x": [""], "y": [""]}
    written = 0
    for _ in range(3 + dice.randrange(4)):
        key = dice.choice("xxy")
        process = dice.randrange(3)
        if dice.getrandbits(1):
            written += 1
            values[key].append(str(written))
            texts[process] += f"w{key}{written} "
        else:
            texts[process] += f"r{key}{dice.choice(values[key])} "
    return sessions(*texts)


def as_transactions(history: list[Operation]) -> list[Operation]:
    """The same with one model for all keys."""
    return [
        Operation(
            each.process,
            "txn",
            (("w" if each.f == "write" else "r", *each.argument),),  # type: ignore[misc]
            (("w", *each.argument) if each.f == "write" else ("r", *each.result),),  # type: ignore[misc]
            each.called,
            each.answered,
        )
        for each in history
    ]


def test_agrees_with_the_definitions() -> None:
    dice = random.Random("sessions")
    held: dict[tuple[str, bool], int] = {}
    for _ in range(1200):
        history = random_sessions(dice)
        verdict = check_sessions(history, keyed=True)
        brute = Brute(history)
        shown = "\n".join(map(str, history)) + f"\n{verdict}"
        sequential = check_sequential(as_transactions(history), MultiRegister()).holds
        for name, mine, truth in (
            ("CC", verdict.holds(CC), brute.causal()),
            ("CCv", verdict.holds(CCV), brute.convergence()),
            ("CM", verdict.holds(CM), brute.memory()),
            ("sequential", sequential, brute.sequential()),
        ):
            assert mine == truth, f"{name}: {truth}\n{shown}"
            held[name, truth] = held.get((name, truth), 0) + 1
        if verdict.holds(CC):
            assert all(verdict.holds(each) for each in (RYW, MR, MW, WFR)), shown
        if sequential:
            assert verdict.holds(CCV) and verdict.holds(CM), shown
    assert len(held) == 8
    assert min(held.values()) > 50, held


def test_sequential_is_not_linearizable_and_not_judged_by_key() -> None:
    stale = [Operation(1, "write", 1, None, 0, 1), Operation(2, "read", None, None, 2, 3)]
    assert check_sequential(stale, Register()).holds
    assert check(stale).holds is False
    by_key = sessions("wx1 ry", "wy1 rx")
    with pytest.raises(ValueError, match="several objects"):
        check_sequential(by_key, Independent(Register()))
    verdict = check_sequential(as_transactions(by_key), MultiRegister())
    assert verdict.holds is False, "each key alone is fine, and no one order gives both reads"
    assert "these wait" in verdict.why


def test_an_open_operation_may_or_may_not_have_happened() -> None:
    write = Operation(1, "write", 1, None, 0, None, Type.INFO)
    for value in (1, None):
        assert check_sequential([write, Operation(2, "read", None, value, 1, 2)], Register()).holds


def test_the_search_has_a_bound() -> None:
    history = as_transactions(sessions("wx1 wx2 wx3 wx4", "wx5 wx6 wx7 wx8", "rx1 rx5 rx4"))
    assert check_sequential(history, MultiRegister(), most_configurations=5).holds is None
