"""Is a node's own count of its syncs true? Count its system calls with strace for a moment, and compare.

The rows take the counts from /metrics, because strace slows a node down by a multiple. Here, apart from any row, strace
watches one follower of each system while a few callers put.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from versus.cluster import Cluster
from versus.driver import Driver
from versus.report import Row
from versus.usage import Usage, usage_of

CALLERS = 4
ATTACHES_WITHIN = 5.0
ENDS_WITHIN = 10.0
NO_STRACE = "not verified: install strace (apt install strace) to compare the nodes' own counts with their system calls"


@dataclass(frozen=True)
class Seen:
    """The system calls that strace saw, by name."""

    fdatasync: int
    fsync: int


def verify_syncs(driver: Driver, cluster: Cluster) -> str:
    """Watch one follower under a short load, and say what it did and what it says that it did."""
    name = cluster.system.name
    strace = shutil.which("strace")
    if strace is None:
        return f"{name}: {NO_STRACE}"
    node = driver.leader_first(cluster.nodes)[0][-1]
    summary = cluster.directory / "strace"
    command = [strace, "-f", "-c", "-e", "trace=fdatasync,fsync", "-o", str(summary), "-p", str(node.process.pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        sample = None
        try:
            if attached(node.process.pid):
                before = usage_of([node])[0]
                sample = driver.measure(name, Row("syncs", "put", CALLERS), 0, cluster.nodes)
                after = usage_of([node])[0]
        finally:
            tracer.send_signal(signal.SIGINT)  # It lets go of the node and writes its table.
            complaint = ending(tracer)
    if sample is None:
        return f"{name}: not verified: strace could not attach to its own node: {complaint}"
    if sample.void or not summary.exists():
        return f"{name}: not verified: {sample.void or complaint}"
    return f"{name}: {verdict(node.name, parse_summary(summary.read_text()), before, after)}"


def ending(tracer: subprocess.Popen[str]) -> str:
    """What strace complained of. If it does not end it is killed, upon which the kernel lets go of the node."""
    try:
        _, complaint = tracer.communicate(timeout=ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        tracer.kill()
        _, complaint = tracer.communicate()
    return complaint.strip()


def attached(pid: int) -> bool:
    """Wait until all threads of the process are traced."""
    give_up = time.monotonic() + ATTACHES_WITHIN
    while time.monotonic() < give_up:
        states = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
        if states and all(re.search(r"^TracerPid:\s+[1-9]", state, re.MULTILINE) for state in states):
            return True
        time.sleep(0.05)
    return False


def parse_summary(text: str) -> Seen:
    """The calls column of `strace -c`, whose errors column may be empty."""
    lines = re.findall(r"^\s*\S+\s+\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", text, re.MULTILINE)
    calls = {name: int(count) for count, name in lines}
    return Seen(calls.get("fdatasync", 0), calls.get("fsync", 0))


def verdict(node: str, seen: Seen, before: Usage, after: Usage) -> str:
    """A node that counts more syncs than it made claims a durability that it doesn't have."""
    saw = f"under puts, strace saw {seen.fdatasync} fdatasync and {seen.fsync} fsync in follower {node}"
    if before.wal_syncs is None or after.wal_syncs is None:
        return f"not verified: {saw}, which does not report a count of its own"
    wal = after.wal_syncs - before.wal_syncs
    says = f"{wal} WAL syncs"
    if before.table_commits is not None and after.table_commits is not None:
        says += f" and {after.table_commits - before.table_commits} table commits"
    true = 0 < wal <= seen.fdatasync + seen.fsync
    return f"{'verified' if true else 'THE COUNT IS NOT TRUE'}: {saw}, which itself counted {says}"
