"""Explore: every state that a small world can reach, by breadth first search over hashes, with symmetry.

Where simulation samples long runs of large worlds, this visits all runs of a small one: a violation is found if there
is one within the bounds, and by a shortest way. The number of distinct states can be compared with what TLC reports of
the same specification.

Follows:  Yu, Manolios and Lamport, "Model Checking TLA+ Specifications" (1999); Ip and Dill, "Better Verification
          Through Symmetry" (1996).
Words:    an action leads from a state to another; its label is what a trace shows of it.
Departs:  states are kept as they are, not as fingerprints: nothing is missed by a collision.
Evidence: tests/simulation/test_explore.py counts what TLC counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Final, Protocol, TypeVar

import msgspec

from ostraka.checkers.history import show

S = TypeVar("S", bound=Hashable)


class Specification(Protocol[S]):
    """What there is at first, and what may happen next."""

    def initial(self) -> Iterable[S]: ...

    def actions(self, state: S) -> Iterable[tuple[str, S]]:
        """All that may happen, each with its label. It may lead back to the same state."""


Predicate = Callable[[S], bool]


class Violation(msgspec.Struct, frozen=True):
    """A shortest way to a state in which an invariant does not hold."""

    invariant: str
    trace: tuple[str, ...]  # The labels of the actions.
    state: object

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.invariant} does not hold after {len(self.trace)} steps:\n{steps}\n  {self.state}"


class Explored(msgspec.Struct, frozen=True):
    """What was found. `complete`: all of it was seen, within the bound."""

    states: int  # Distinct ones; with symmetry, of each set of alike states one.
    generated: int  # With those that were seen before.
    depth: int  # Steps to the farthest.
    complete: bool
    violation: Violation | None = None
    deadlocks: int = 0  # States in which nothing more can happen.


def explore(
    specification: Specification[S],
    invariants: Mapping[str, Predicate[S]],
    alike: Callable[[S], S] = lambda state: state,
    most_states: int = 1_000_000,
    go_on: Callable[[], bool] = lambda: True,
) -> Explored:
    """Visit every state once, those that take the fewest steps first.

    `alike` maps a state to the one that stands for all that are like it (see `symmetric`). Ends at the first violation,
    and, incomplete, after `most_states` or when `go_on`, asked now and then, says so.
    """
    came_from: dict[S, tuple[S | None, str]] = {}
    generated = depth = deadlocks = 0

    def violated(state: S) -> Violation | None:
        name = next((name for name, holds in invariants.items() if not holds(state)), None)
        return None if name is None else Violation(name, _trace(came_from, state), state)

    border: list[S] = []
    for state in specification.initial():
        generated += 1
        state = alike(state)
        if state not in came_from:
            came_from[state] = (None, "")
            border.append(state)
            if (violation := violated(state)) is not None:
                return Explored(len(came_from), generated, 0, False, violation)
    while border:
        further: list[S] = []
        for state in border:
            if len(came_from) > most_states or not go_on():
                return Explored(len(came_from), generated, depth, False, None, deadlocks)
            stuck = True
            for label, after in specification.actions(state):
                generated += 1
                after = alike(after)
                stuck = stuck and after == state
                if after not in came_from:
                    came_from[after] = (state, label)
                    if (violation := violated(after)) is not None:
                        return Explored(len(came_from), generated, depth + 1, False, violation, deadlocks)
                    further.append(after)
            deadlocks += stuck
        border = further
        depth += bool(border)
    return Explored(len(came_from), generated, depth, True, None, deadlocks)


def _trace(came_from: dict[S, tuple[S | None, str]], state: S) -> tuple[str, ...]:
    labels = []
    before, label = came_from[state]
    while before is not None:
        labels.append(label)
        before, label = came_from[before]
    return tuple(reversed(labels))


def symmetric(names: Sequence[Hashable], renamed: Callable[[S, Mapping[Hashable, Hashable]], S]) -> Callable[[S], S]:
    """For `explore`'s `alike`: states that differ only by who is called what count as one.

    `renamed` gives the state with each of `names` replaced. Sound only where names matter to nobody: not where they are
    compared, as ballots are.
    """
    ways: Final = [dict(zip(names, way, strict=True)) for way in permutations(names)]
    return lambda state: min((renamed(state, way) for way in ways), key=show)
