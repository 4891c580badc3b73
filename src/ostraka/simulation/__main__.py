"""Run seeds: `python -m ostraka.simulation --seed 7 --trace`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

from ostraka.consensus.engines import ENGINES
from ostraka.model.ids import MILLISECOND
from ostraka.simulation.world import WORKLOADS, SeedFailed, World


def main() -> int:
    """Returns 1 if a seed failed: its report goes to standard error, what it saw to standard output."""
    parser = argparse.ArgumentParser(prog="python -m ostraka.simulation", description="Run simulated clusters.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds")
    parser.add_argument("--rough", type=int, default=2000, help="virtual milliseconds of misfortunes")
    parser.add_argument("--workload", choices=WORKLOADS, default="registers", help="what the clusters are used for")
    parser.add_argument("--consensus", choices=ENGINES, default="raft", help="the engine that their members run")
    parser.add_argument("--trace", action="store_true", help="print each event")
    options = parser.parse_args()
    failed = 0
    events = 0
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for seed in range(options.seed, options.seed + options.count):
        world = World(seed, consensus=ENGINES[options.consensus], workload=options.workload, traced=options.trace)
        try:
            world.run(options.rough * MILLISECOND)
        except SeedFailed as failure:
            failed += 1
            sys.stderr.write(f"{failure}\n")
            if options.count == 1:
                traceback.print_exception(failure.__cause__)
        digest = world.digest()
        for line in world.lines:
            sys.stdout.write(line + "\n")
        if options.count == 1 or options.trace:
            sys.stdout.write(f"seed {seed}: {digest}\n")
        counts += world.counts
        events += world.events
    seconds = time.perf_counter() - start
    for what in sorted(counts):
        sys.stderr.write(f"{counts[what]:9}  {what}\n")
    sys.stderr.write(f"{options.count} seeds, {failed} failed, {events} events in {seconds:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
