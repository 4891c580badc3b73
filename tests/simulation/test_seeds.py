"""Whole clusters of the production code, each run from a seed: rough times, then peace.

`OSTRAKA_SEEDS` says how many; `make soak` raises it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from ostraka.consensus.engines import ENGINES
from ostraka.simulation.world import World

from .kept_seeds import KEPT

SEEDS = int(os.environ.get("OSTRAKA_SEEDS", "300"))
CHUNK = max(100, SEEDS // 40)
MUST_SEE = (
    "a conflict truncation",
    "a last copy",
    "an impostor that ended",
    "a snapshot install",
    "a torn tail cut",
    "an election under load",
    "damage mended",
    "a damaged piece",
    "a piece that others follow",
    "a read across a change of leader",
    "entries loaded from the log",
    "a member more",
    "a member less",
    "a learner that votes",
)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_acknowledged_is_lost(first: int, record_property: Callable[[str, object], None]) -> None:
    """All that `Judge`, `Promises` and `Registers` check, and enough happened that the checks mean something."""
    end = min(first + CHUNK, SEEDS)
    counts: Counter[str] = Counter()
    for seed in range(first, end):
        world = World(seed)
        world.run()
        counts += world.counts
    seen = ", ".join(f"{counts[what]} × {what}" for what in MUST_SEE)
    record_property("table", f"simulated clusters {first} to {end - 1} saw {seen}; {counts['answered']} answers")
    assert end - first < CHUNK or all(counts[what] for what in MUST_SEE), f"too little happened: {seen}; {counts}"


@pytest.mark.parametrize("seed", sorted(KEPT))
def test_kept_seeds(seed: int) -> None:
    World(seed).run()


OTHERS = [name for name in ENGINES if name != "raft"]
OTHERS_SEE = (
    "a snapshot install",
    "an election under load",
    "a read across a change of leader",
    "a value proposed again",
)


@pytest.mark.parametrize("workload", ["registers", "locks", "watches", "transactions"])
@pytest.mark.parametrize("engine", OTHERS)
def test_other_engines_lose_nothing(engine: str, workload: str) -> None:
    """The same clusters, misfortunes and workloads."""
    seeds = max(10 if workload == "watches" else 25, SEEDS // 10 if SEEDS > 300 else 0)
    counts: Counter[str] = Counter()
    for seed in range(seeds):
        world = World(seed, consensus=ENGINES[engine], workload=workload)
        world.run()
        counts += world.counts
    assert workload != "registers" or all(counts[what] for what in OTHERS_SEE), f"too little happened: {counts}"
