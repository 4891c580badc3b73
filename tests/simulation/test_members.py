"""Members that come, go, vote, lead and move, under load and all misfortunes at their worst; then peace.

And the proof that what could go wrong with that would be seen. `OSTRAKA_SEEDS` says how many; `make soak` raises it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from ostraka.consensus.raft import membership
from ostraka.server import roster
from ostraka.simulation import network
from ostraka.simulation.misfortunes import (
    Changes,
    Crashes,
    CrashesInside,
    Delays,
    Handovers,
    LongAbsences,
    Losses,
    Misfortune,
    Partitions,
    Pauses,
    PowerCuts,
    Relapses,
    TornWrites,
)
from ostraka.simulation.world import SeedFailed, World

from .test_the_world_finds_bugs import rewrite

SEEDS = int(os.environ.get("OSTRAKA_SEEDS", "300")) // 15
ALL_AT_ONCE: tuple[type[Misfortune], ...] = (
    Changes,
    Handovers,
    Crashes,
    CrashesInside,
    Partitions,
    Losses,
    Delays,
    Pauses,
    PowerCuts,
    TornWrites,
)
MUST_SEE = {
    "a member more": 1.5,  # On average, in each run; of the others at least one in ten runs.
    "a member less": 1.5,
    "a learner that votes": 1,
    "a removed member that ended": 1.5,
    "a handover": 0.3,
    "a joint configuration": 0.1,
    "a leader removed": 0.1,
    "a member replaced in one go": 0.1,
}
Patch = pytest.MonkeyPatch


def test_members_come_and_go_and_nothing_acknowledged_is_lost(record_property: Callable[[str, object], None]) -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = World(seed, misfortunes=ALL_AT_ONCE if seed % 2 else (Changes, Handovers, Crashes, Relapses))
        world.run()
        counts += world.counts
    seen = ", ".join(f"{counts[what]} × {what}" for what in MUST_SEE)
    record_property("table", f"{SEEDS} simulated clusters in which members come and go saw {seen}")
    assert all(counts[what] >= SEEDS * least for what, least in MUST_SEE.items()), f"too little happened: {seen}"


def changes_two_voters_in_one_step(patch: Patch) -> None:
    patch.setattr(membership, "next_step", lambda now, target: target)


def expels_who_is_not_removed(patch: Patch) -> None:
    rewrite(
        patch, roster, "was_removed", "place.standing is Standing.REMOVED", "place.standing is not Standing.REMOVED"
    )
    patch.setattr("ostraka.simulation.member.was_removed", roster.was_removed)


def tells_nobody_that_it_was_removed(patch: Patch) -> None:
    patch.setattr("ostraka.simulation.member.was_removed", lambda host, group, node: False)


def lets_in_only_whom_it_knows(patch: Patch) -> None:
    """Who was away for long knows nobody of those who have taken over."""
    patch.setattr(network.Endpoint, "knows", lambda self, other: other.node in self.peers)


MUTANTS: dict[Callable[[Patch], None], tuple[int, tuple[type[Misfortune], ...]]] = {
    changes_two_voters_in_one_step: (40, (Changes, Handovers, Crashes)),
    expels_who_is_not_removed: (5, (Changes,)),
    tells_nobody_that_it_was_removed: (20, (Changes,)),
    lets_in_only_whom_it_knows: (60, (Changes, Crashes, LongAbsences, Partitions)),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    most, kinds = MUTANTS[mutant]
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds).run()
        except SeedFailed:
            return
    raise AssertionError(f"not found in {most} seeds")
