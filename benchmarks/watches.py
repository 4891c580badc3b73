"""Watches beside etcd on this machine, under etcd's own Go client: what they cost the puts, and when events arrive.

    .venv/bin/python benchmarks/watches.py [--seconds 5] [--systems etcd,ostraka] [--cases 0,1,100,10000,hot]

Three nodes of one system at a time, a fresh cluster for each case. All watches are on a few connections, spread over
the nodes. A latency is from a put's call to the arrival of its event at one watcher; every event is waited for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
from versus.cluster import Cluster
from versus.driver import Driver, build
from versus.main import find_etcd, find_ostraka, refuse_memory
from versus.usage import cpu_us, describe_machine, family


@dataclass(frozen=True)
class Case:
    """So many watchers of so many keys, to which so many callers put; each with a pause in between."""

    watchers: int
    keys: int
    callers: int
    pause: str = "0s"

    def __str__(self) -> str:
        pace = "" if self.pause == "0s" else f", {self.pause} between puts"
        return f"{self.watchers} watchers of {self.keys} keys, {self.callers} callers{pace}"


CASES = {
    "0": Case(0, 1, 64),
    "1": Case(1, 1, 64),
    "100": Case(100, 1, 64),
    "10000": Case(10_000, 10_000, 64),
    "hot": Case(10_000, 1, 1, "250ms"),
}


class Result(msgspec.Struct):
    """What the load program says."""

    puts: int
    seconds: float
    put_p50_us: int
    put_p99_us: int
    deliveries: int
    responses: int
    p50_us: int
    p99_us: int
    max_us: int
    behind_s: float
    client_cpu_us: int
    failure: str


def measure(driver: Driver, cluster: Cluster, case: Case, seconds: float) -> str:
    nodes, _ = driver.leader_first(cluster.nodes)
    command = driver._command(nodes, "watch", f"-watchers={case.watchers}", f"-keys={case.keys}", "-value=256")
    command += [f"-callers={case.callers}", f"-pause={case.pause}", f"-measured={seconds}s", "-warmup=1s"]
    used = [0, 0]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for last in process.stdout:
            if last in ("measuring\n", "measured\n"):
                used[last == "measured\n"] = sum(cpu_us(pid) for node in nodes for pid in family(node.process.pid))
    if process.returncode:
        return f"failed: {last.strip()}"
    r = msgspec.json.decode(last, type=Result)
    if r.failure:
        return f"failed: {r.failure}"
    return (
        f"{r.puts / r.seconds:,.0f} puts/s ({r.put_p50_us / 1e3:.1f} / {r.put_p99_us / 1e3:.1f} ms); "
        f"events after {r.p50_us / 1e3:.1f} / {r.p99_us / 1e3:.1f} ms, at most {r.max_us / 1e3:.0f}, "
        f"the last {r.behind_s:.2f} s late; {r.deliveries / max(1, r.responses):.1f} events a response; "
        f"{(used[1] - used[0]) / max(1, r.puts):.0f} µs CPU a put, client {r.client_cpu_us / max(1, r.puts):.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", default="etcd,ostraka")
    parser.add_argument("--cases", default="0,1,100,10000,hot")
    options = parser.parse_args()
    directory = Path("build") / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    refuse_memory(directory)
    driver = Driver(build(directory.resolve()), seconds=options.seconds, warmup=1.0)
    finders = {"etcd": find_etcd, "ostraka": find_ostraka}
    with tempfile.TemporaryDirectory(dir=directory) as root:
        print(describe_machine(Path(root)))
        for _ in range(options.rounds):
            for name in options.cases.split(","):
                for system in [finders[each]() for each in options.systems.split(",")]:
                    with Cluster(system, Path(root)) as cluster:
                        told = measure(driver, cluster, CASES[name], options.seconds)
                    print(f"{CASES[name]}: {system.name} {system.version}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
