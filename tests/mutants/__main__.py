"""`make mutants`: does every slip in the catalogue make its tests fail? Prints a table; exits with 1 if one survives.

python -m tests.mutants                      all of them
python -m tests.mutants votes_twice_in_a_term half_is_a_majority
python -m tests.mutants --write              all of them, and the table into docs/protocols/raft.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .catalogue import CATALOGUES, ROOT, Mutant, load, page_of

UNASKED = 20
"""So many seeds are tried where the catalogue does not say that the simulator finds it: for the table only."""

PATIENCE = 240
"""Seconds for one mutant. One that never ends is found, if its tests have failed before."""

BEGIN, END = (
    "<!-- mutants: `make mutants WRITE=1` writes these lines, NAMES=... only some of them -->",
    "<!-- mutants end -->",
)


@dataclass
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    failed: list[str]  # Of its tests.
    seconds: float
    seed: int | None = None  # The first that failed,
    tried: int = 0  # of so many.
    trouble: str = ""  # Why it could not be tried.

    @property
    def survived(self) -> str:
        """How it survived, empty if it did not."""
        if self.trouble:
            return self.trouble
        alive = [test for test in self.mutant.tests if test not in self.failed]
        if alive:
            return "it passes " + ", ".join(alive)
        if self.mutant.seeds and self.tried and self.seed is None:
            return f"the simulator finds nothing in {self.tried} seeds"
        return ""

    @property
    def simulator(self) -> str:
        if self.seed is not None:
            return f"seed {self.seed}"
        return f"not in {self.tried} seeds"


def trial(mutant: Mutant, simulator: bool = True) -> Verdict:
    """Plant it, and run its tests and the simulator over it."""
    began = time.monotonic()
    seeds = (mutant.seeds or UNASKED) if simulator else 0
    asked = json.dumps(
        {"engine": mutant.engine, "tests": mutant.tests, "seeds": seeds, "misfortunes": mutant.misfortunes}
    )
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        try:
            mutant.plant(Path(place))
        except (ValueError, SyntaxError, OSError) as error:
            return Verdict(mutant, [], 0, trouble=str(error))
        command = [sys.executable, "-m", "tests.mutants.trial", asked]
        environment = {**os.environ, "PYTHONPATH": place}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            said, wrong = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            said, wrong = process.communicate()
    seconds = time.monotonic() - began
    lines = [line for line in said.splitlines() if line.startswith('{"failed"')]
    if not lines:
        return Verdict(mutant, [], seconds, trouble=f"its trial failed: {(wrong or said)[-1500:]}")
    verdict = json.loads(lines[-1])
    if "code" in verdict and not verdict["code"].startswith(place):
        return Verdict(mutant, [], seconds, trouble=f"{verdict['code']} was tried, not the mutated code")
    return Verdict(mutant, verdict["failed"], seconds, verdict.get("seed"), seeds)


def short(test: str) -> str:
    """How the table names a test: without its folders."""
    return test.rsplit("/", 1)[-1]


def row(verdict: Verdict) -> str:
    mutant = verdict.mutant
    tests = "<br>".join(f"`{short(test)}`" for test in verdict.failed)
    traps = ", ".join(map(str, mutant.traps))
    return f"| `{mutant.name}` | {mutant.rule} ({mutant.source}) | {traps} | {tests} | {verdict.simulator} |"


def write(page: Path, listed: list[Mutant], verdicts: list[Verdict]) -> None:
    """Put the verdicts into the page's table. Mutants that were not tried keep their rows; those not listed go."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    rows = {name[1]: line for line in old.splitlines() if (name := re.match(r"\| `(\w+)` \|", line))}
    rows |= {verdict.mutant.name: row(verdict) for verdict in verdicts}
    table = [rows[mutant.name] for mutant in listed if mutant.name in rows]
    found = sum("| seed " in line for line in table)
    head = f"{len(table)} mutants. The tests named find every one of them; the simulator finds {found} by itself."
    columns = "| Mutant | The rule that it breaks | Trap | Found by | Simulator |\n|---|---|---|---|---|"
    text = "\n".join([BEGIN, "", head, "", columns, *table, "", END])
    page.write_text(f"{before}{text}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Try mutants of the code.")
    parser.add_argument("names", nargs="*", help="which mutants; all if none is named")
    parser.add_argument("--write", action="store_true", help="write their rows into the pages in docs/protocols")
    parser.add_argument("--tests", action="store_true", help="run their tests only, not the simulator")
    options = parser.parse_args()
    if options.write and options.tests:
        parser.error("--write needs the simulator's verdict, too")
    mutants = load(*CATALOGUES)
    unknown = set(options.names) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in mutants if mutant.name in options.names or not options.names]
    os.nice(10)
    began = time.monotonic()
    verdicts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for verdict in pool.map(partial(trial, simulator=not options.tests), chosen):
            verdicts.append(verdict)
            fate = f"SURVIVES: {verdict.survived}" if verdict.survived else ", ".join(map(short, verdict.failed))
            print(f"{verdict.mutant.name:55} {verdict.seconds:5.1f} s  {verdict.simulator:17} {fate}", flush=True)
    survivors = [verdict.mutant.name for verdict in verdicts if verdict.survived]
    seconds = time.monotonic() - began
    print(f"{len(verdicts)} mutants in {seconds:.0f} s, {len(survivors)} survive {' '.join(survivors)}")
    if options.write and not survivors:
        for page in {page_of(catalogue) for catalogue in CATALOGUES}:
            write(page, load(*(each for each in CATALOGUES if page_of(each) == page)), verdicts)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
