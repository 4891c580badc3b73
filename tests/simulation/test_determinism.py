"""The same seed is the same run: in another process, with other hashes, after other seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ostraka.model.ids import MILLISECOND
from ostraka.simulation.world import World

ROUGH = 1500 * MILLISECOND


def trace_of(seed: int, hash_seed: str) -> list[str]:
    """The trace of the run in a fresh process, its digest last."""
    command = [sys.executable, "-m", "ostraka.simulation", "--seed", str(seed), "--rough", "1500", "--trace"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_a_seed_is_one_run(seed: int) -> None:
    one, other = trace_of(seed, "1"), trace_of(seed, "2")
    for number, (line, its_line) in enumerate(zip(one, other, strict=False), 1):
        assert line == its_line, f"seed {seed}: the runs part at line {number} of {len(one)}:\n  {line}\n  {its_line}"
    assert len(one) == len(other)
    assert len(one) > 300, f"only {len(one)} lines: the run is too short to show anything"

    World(seed + 1).run(ROUGH)  # Whatever it leaves behind in this process must change nothing.
    world = World(seed)
    world.run(ROUGH)
    assert one[-1] == f"seed {seed}: {world.digest()}", "a run depends on what ran before it in the same process"


def test_other_seeds_are_other_runs() -> None:
    digests = set()
    for seed in range(4):
        world = World(seed)
        world.run(100 * MILLISECOND)
        digests.add(world.digest())
    assert len(digests) == 4
