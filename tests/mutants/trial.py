r"""One mutant's trial, in a process of its own that imports the mutated code: which tests fail, and which seed.

    PYTHONPATH=where/it/was/planted python -m tests.mutants.trial \
        '{"engine": "raft", "tests": [...], "seeds": 40, "misfortunes": []}'

The last line of its output is the verdict, as JSON.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

import ostraka
from ostraka.consensus.engines import ENGINES
from ostraka.simulation import misfortunes
from ostraka.simulation.world import SeedFailed, World


class Watch:
    """Notes which tests were run and which of them failed."""

    def __init__(self) -> None:
        self.run: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("[")[0]
        if name.split("::")[0].endswith(".story"):
            name = name.split("::")[0]
        self.run.add(name)
        if report.failed:
            self.failed.add(name)


def failing(tests: list[str]) -> list[str]:
    """Those of the tests that fail. Raises LookupError if one of them is not there."""
    if not tests:
        return []  # To pytest it would mean all.
    watch = Watch()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", "20"]
    with redirect_stdout(StringIO()) as said:
        pytest.main([*options, *tests], plugins=[watch])
    missing = [test for test in tests if test not in watch.run]
    if missing:
        raise LookupError(f"not run: {missing}\n{said.getvalue()[-2000:]}")
    return [test for test in tests if test in watch.failed]


def first_failing_seed(engine: str, seeds: int, kinds: list[str]) -> int | None:
    """The first seed that fails, None if none of them does."""
    wanted = [getattr(misfortunes, kind) for kind in kinds] or None
    for seed in range(seeds):
        try:
            World(seed, consensus=ENGINES[engine], misfortunes=wanted).run()
        except SeedFailed:
            return seed
    return None


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    failed = failing(asked["tests"])
    sys.stdout.write(json.dumps({"failed": failed}) + "\n")  # Said now, should the simulator never end.
    sys.stdout.flush()
    seed = first_failing_seed(asked["engine"], asked["seeds"], asked["misfortunes"])
    sys.stdout.write(json.dumps({"failed": failed, "seed": seed, "code": ostraka.__file__}) + "\n")


if __name__ == "__main__":
    main()
