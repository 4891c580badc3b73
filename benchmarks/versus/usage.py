"""What a node has used up to now: CPU, memory and syncs; and what the machine below it is like."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from versus.cluster import Node, metrics_text

# The file systems that forget everything at power-off, so that a sync of them costs nothing.
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")

WAL_SYNCS = "etcd_disk_wal_fsync_duration_seconds_count"
TABLE_COMMITS = "etcd_disk_backend_commit_duration_seconds_count"


@dataclass(frozen=True)
class Usage:
    """One node's totals since it started. The counts are None where the node doesn't report them."""

    cpu_us: int
    wal_syncs: int | None
    table_commits: int | None
    rss_kib: int
    peak_rss_kib: int


def usage_of(nodes: Sequence[Node]) -> list[Usage]:
    """The CPU of all nodes is read first, for reading the metrics costs them some."""
    cpu = [sum(cpu_us(pid) for pid in family(node.process.pid)) for node in nodes]
    return [Usage(used, *counts_of(node), *memory_of(node)) for node, used in zip(nodes, cpu, strict=True)]


def counts_of(node: Node) -> tuple[int | None, int | None]:
    """How often the node has synced its log, and how often it has committed its table."""
    try:
        text = metrics_text(node)
    except (urllib.error.URLError, OSError):
        return None, None
    return metric(text, WAL_SYNCS), metric(text, TABLE_COMMITS)


def memory_of(node: Node) -> tuple[int, int]:
    """Resident memory of the node's processes, now and at their peaks, in KiB."""
    sizes = [memory_kib(pid) for pid in family(node.process.pid)]
    return sum(now for now, _ in sizes), sum(peak for _, peak in sizes)


def metric(text: str, name: str) -> int | None:
    """The value of a counter without labels in Prometheus' text format."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return None if found is None else int(float(found[1]))


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    members = [pid]
    for parent in members:  # It grows while we walk it.
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            members += [int(child) for child in task.read_text().split()]
    return members


def cpu_us(pid: int) -> int:
    """User and system time of all threads, in microseconds, to the kernel's tick (mostly 10 ms)."""
    # The name in brackets may hold spaces; what follows it is numbers. utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def memory_kib(pid: int) -> tuple[int, int]:
    """Resident memory of one process now and at its peak, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    now = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    return (int(now[1]) if now else 0, int(peak[1]) if peak else 0)


@dataclass(frozen=True)
class Machine:
    cores: int
    processor: str
    kernel: str
    file_system: str
    sync_us: float
    load: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), Linux {self.kernel}, {self.file_system}; a 4 KiB append with"
            f" fdatasync takes {self.sync_us:.0f} µs (median of 200); load average before the start {self.load:.2f}"
        )


def describe_machine(directory: Path) -> Machine:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=found[1].strip() if found else platform.machine(),
        kernel=platform.release(),
        file_system=file_system(directory),
        sync_us=sync_latency_us(directory),
        load=os.getloadavg()[0],
    )


def file_system(directory: Path) -> str:
    """The type of the file system that holds the directory: that of the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    # A blank in a mount point is written as \040; later mounts cover earlier ones, so of equals the last counts.
    points = [(Path(fields[1].replace("\\040", " ")), fields[2]) for fields in mounts]
    above = [(len(point.parts), order, kind) for order, (point, kind) in enumerate(points) if holds(point, directory)]
    return max(above)[2]


def holds(mount: Path, directory: Path) -> bool:
    return directory.resolve().is_relative_to(mount)


def sync_latency_us(directory: Path, count: int = 200) -> float:
    """The median time of an append of 4 KiB that is synced, in microseconds."""
    path = directory / "sync-latency"
    took = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        for _ in range(count):
            begin = time.perf_counter()
            os.write(file, bytes(4096))
            os.fdatasync(file)
            took.append((time.perf_counter() - begin) * 1e6)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(took)
