"""The explorer counts the states that TLC counts, and finds the shortest way to a violation."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ostraka.simulation.explore import explore, symmetric

MANAGERS = ("r1", "r2", "r3")


class Commitment:
    """What transaction commit means: Gray and Lamport, "Consensus on Transaction Commit" (2006), §2."""

    def initial(self) -> Iterable[tuple[str, ...]]:
        yield ("working",) * len(MANAGERS)

    def actions(self, state: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        can_commit = all(each in ("prepared", "committed") for each in state)
        for n, each in enumerate(state):
            if each == "working":
                yield f"{MANAGERS[n]} prepares", (*state[:n], "prepared", *state[n + 1 :])
            if each == "prepared" and can_commit:
                yield f"{MANAGERS[n]} commits", (*state[:n], "committed", *state[n + 1 :])
            if each in ("working", "prepared") and "committed" not in state:
                yield f"{MANAGERS[n]} aborts", (*state[:n], "aborted", *state[n + 1 :])


class Phase(NamedTuple):
    managers: tuple[str, ...]
    coordinator: str
    prepared: frozenset[str]  # Of whom the coordinator knows it.
    sent: frozenset[str]


class TwoPhase:
    """Two-phase commit: the same paper, §3. Messages are a set that only grows."""

    def __init__(self, hasty: bool = False) -> None:
        self.hasty = hasty  # The coordinator decides before it has heard of all.

    def initial(self) -> Iterable[Phase]:
        yield Phase(("working",) * len(MANAGERS), "init", frozenset(), frozenset())

    def actions(self, state: Phase) -> Iterator[tuple[str, Phase]]:
        if state.coordinator == "init":
            if len(state.prepared) == len(MANAGERS) - self.hasty:
                yield "commit", state._replace(coordinator="committed", sent=state.sent | {"commit"})
            yield "abort", state._replace(coordinator="aborted", sent=state.sent | {"abort"})
        for n, name in enumerate(MANAGERS):
            others = state.managers[:n], state.managers[n + 1 :]
            if state.coordinator == "init" and name in state.sent:
                yield f"hear that {name} is prepared", state._replace(prepared=state.prepared | {name})
            if state.managers[n] == "working":
                prepared = (*others[0], "prepared", *others[1])
                yield f"{name} prepares", state._replace(managers=prepared, sent=state.sent | {name})
                yield f"{name} aborts", state._replace(managers=(*others[0], "aborted", *others[1]))
            if "commit" in state.sent:
                yield f"{name} commits", state._replace(managers=(*others[0], "committed", *others[1]))
            if "abort" in state.sent:
                yield f"{name} is told to abort", state._replace(managers=(*others[0], "aborted", *others[1]))


def agree(state: tuple[str, ...]) -> bool:
    return not {"committed", "aborted"} <= set(state)


def test_transaction_commit_has_34_states() -> None:
    found = explore(Commitment(), {"all decide alike": agree})
    assert (found.states, found.complete, found.violation) == (34, True, None)


def test_two_phase_commit_has_288_states() -> None:
    found = explore(TwoPhase(), {"all decide alike": lambda state: agree(state.managers)})
    assert (found.states, found.complete, found.violation) == (288, True, None)


def renamed(state: Phase, names: Mapping[Hashable, Hashable]) -> Phase:
    place = {names[name]: n for n, name in enumerate(MANAGERS)}
    return Phase(
        tuple(state.managers[place[name]] for name in MANAGERS),
        state.coordinator,
        frozenset(str(names[name]) for name in state.prepared),
        frozenset(str(names.get(each, each)) for each in state.sent),
    )


def test_symmetry_leaves_one_of_each_kind() -> None:
    """TLC's symmetry sets do the same; every state is still represented, so violations are found, too."""
    alike = symmetric(MANAGERS, renamed)
    found = explore(TwoPhase(), {"all decide alike": lambda state: agree(state.managers)}, alike)
    assert found.complete and found.violation is None
    everything: list[Phase] = []
    explore(TwoPhase(), {"collect": lambda state: everything.append(state) is None})
    assert found.states == len({alike(state) for state in everything}) == 80
    hasty = explore(TwoPhase(hasty=True), {"all decide alike": lambda state: agree(state.managers)}, alike)
    assert hasty.violation is not None


def test_a_violation_comes_with_a_shortest_way() -> None:
    found = explore(TwoPhase(hasty=True), {"all decide alike": lambda state: agree(state.managers)})
    assert found.violation is not None
    assert len(found.violation.trace) == 7
    assert str(found.violation).startswith("all decide alike does not hold after 7 steps:\n  1. ")


def test_a_bound_is_said() -> None:
    found = explore(TwoPhase(), {}, most_states=100)
    assert not found.complete
    assert explore(TwoPhase(), {}, go_on=lambda: False).states == 1


def test_states_without_a_way_on_are_counted() -> None:
    found = explore(Commitment(), {})
    assert found.deadlocks == 2, "all have committed, or all have aborted"
