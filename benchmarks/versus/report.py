"""From samples to the report: medians over rounds, ratios, what is void, and the Markdown tables. Nothing here runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from versus.usage import Usage

ETCD = "etcd"
OSTRAKA = "ostraka"
UNKNOWN = "–"


@dataclass(frozen=True)
class Row:
    """A load: what its callers do (the load program's -do), and how many of them there are."""

    name: str
    do: str
    callers: int

    @property
    def writes(self) -> bool:
        return self.do in ("put", "mix")


ROWS = (
    *(Row(f"put-{callers}", "put", callers) for callers in (1, 16, 64, 256)),
    *(Row(f"get-{callers}", "get", callers) for callers in (64, 256)),
    *(Row(f"serializable-get-{callers}", "serializable-get", callers) for callers in (64, 256)),
    Row("mix-64", "mix", 64),
)


@dataclass(frozen=True)
class LoadResult:
    """What the load program reports of a row."""

    operations: int
    seconds: float
    p50_us: int
    p90_us: int
    p99_us: int
    max_us: int
    client_cpu_us: int
    connections: int
    failure: str


@dataclass(frozen=True)
class Sample:
    """One row of one system in one round, the leader's use first. A void sample says why, and counts for nothing."""

    system: str
    row: str
    round: int
    load: LoadResult | None
    before: tuple[Usage, ...]
    after: tuple[Usage, ...]
    void: str = ""

    @property
    def rate(self) -> float:
        assert self.load is not None
        return self.load.operations / self.load.seconds

    def per_operation(self, total: float) -> float:
        assert self.load is not None
        return total / self.load.operations

    @property
    def node_cpu_us(self) -> tuple[int, ...]:
        return tuple(after.cpu_us - before.cpu_us for before, after in zip(self.before, self.after, strict=True))

    @property
    def cpu(self) -> float:
        """CPU of all nodes together, in microseconds an operation."""
        return self.per_operation(sum(self.node_cpu_us))

    @property
    def leader_cpu(self) -> float:
        return self.per_operation(self.node_cpu_us[0])

    @property
    def follower_cpu(self) -> float:
        """The mean of the followers."""
        return self.per_operation(statistics.fmean(self.node_cpu_us[1:]))

    @property
    def client_cpu(self) -> float:
        assert self.load is not None
        return self.per_operation(self.load.client_cpu_us)

    @property
    def rss_mib(self) -> float:
        """Resident memory of all nodes together at the row's end."""
        return sum(usage.rss_kib for usage in self.after) / 1024

    @property
    def wal_syncs(self) -> tuple[int | None, ...]:
        return tuple(grown(b.wal_syncs, a.wal_syncs) for b, a in zip(self.before, self.after, strict=True))

    @property
    def table_commits(self) -> tuple[int | None, ...]:
        return tuple(grown(b.table_commits, a.table_commits) for b, a in zip(self.before, self.after, strict=True))


def grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def why_void(row: Row, load: LoadResult, wal_syncs: Sequence[int | None]) -> str:
    """The reason that the row doesn't count, or nothing.

    A write is answered once a majority holds it on disk; so with fewer nodes that synced, the row measured something
    else. Nodes that don't count their syncs can't be judged so; the report shows that it doesn't know.
    """
    if load.failure:
        return load.failure
    synced = sum(count is None or count > 0 for count in wal_syncs)
    majority = len(wal_syncs) // 2 + 1
    if row.writes and synced < majority:
        return f"only {synced} of {len(wal_syncs)} nodes synced their log: its writes were not durable"
    return ""


@dataclass(frozen=True)
class Spread:
    """Median and extremes over the rounds."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])

    def show(self, digits: int) -> str:
        text = f"{self.middle:,.{digits}f}"
        if self.low == self.high:
            return text
        return f"{text} ({self.low:,.{digits}f}..{self.high:,.{digits}f})"


class Results:
    """All samples, asked by row and system."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def of(self, system: str, row: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.system == system and sample.row == row]

    def spread(self, system: str, row: str, value: Callable[[Sample], float]) -> Spread | None:
        """None if nothing was measured, or if any round of the row is void."""
        samples = self.of(system, row)
        if not samples or any(sample.void for sample in samples):
            return None
        return Spread.of(value(sample) for sample in samples)

    def ratio(self, row: str) -> Spread | None:
        """Ostraka's rate over etcd's: of the medians, and the extremes of the rounds' own ratios."""
        ours, theirs = (self.spread(system, row, rate) for system in (OSTRAKA, ETCD))
        if ours is None or theirs is None:
            return None
        rates = {(sample.system, sample.round): sample.rate for sample in self.samples if sample.row == row}
        rounds = {round_ for system, round_ in rates if system == OSTRAKA and (ETCD, round_) in rates}
        if not rounds:
            return None
        of_rounds = Spread.of(rates[OSTRAKA, round_] / rates[ETCD, round_] for round_ in rounds)
        return Spread(ours.middle / theirs.middle, of_rounds.low, of_rounds.high)

    def cell(self, system: str, row: str, value: Callable[[Sample], float], digits: int) -> str:
        found = self.spread(system, row, value)
        if found is not None:
            return found.show(digits)
        return "VOID" if self.of(system, row) else UNKNOWN

    def median(self, system: str, row: str, value: Callable[[Sample], float], digits: int) -> str:
        found = self.spread(system, row, value)
        return UNKNOWN if found is None else f"{found.middle:,.{digits}f}"

    def void_reasons(self) -> list[str]:
        return [f"{s.row}, {s.system}, round {s.round}: VOID: {s.void}" for s in self.samples if s.void]


def rate(sample: Sample) -> float:
    return sample.rate


def milliseconds(percentile: str) -> Callable[[Sample], float]:
    return lambda sample: float(getattr(sample.load, percentile)) / 1000


def speed_table(results: Results, rows: Sequence[Row]) -> str:
    """Throughput, ratio and latency."""
    heads = ["row", "etcd/s", "ostraka/s", "ratio", "p50 ms, etcd", "ostraka", "p99 ms, etcd", "ostraka"]
    lines = []
    for row in rows:
        ratio = results.ratio(row.name)
        void = any(sample.void for sample in results.samples if sample.row == row.name)
        lines.append(
            [
                row.name,
                results.cell(ETCD, row.name, rate, 0),
                results.cell(OSTRAKA, row.name, rate, 0),
                ratio.show(2) if ratio else "VOID" if void else UNKNOWN,
                results.median(ETCD, row.name, milliseconds("p50_us"), 1),
                results.median(OSTRAKA, row.name, milliseconds("p50_us"), 1),
                results.cell(ETCD, row.name, milliseconds("p99_us"), 1),
                results.cell(OSTRAKA, row.name, milliseconds("p99_us"), 1),
            ]
        )
    return table(heads, lines)


def cost_table(results: Results, rows: Sequence[Row]) -> str:
    """What an operation cost: CPU, memory and syncs. A line for each system, for these are read down, not across."""
    heads = ["row", "system", "CPU µs/op, 3 nodes", "leader", "follower", "client", "RSS MiB, 3 nodes"]
    heads += ["WAL syncs", "a 1000 ops", "table commits"]
    lines = []
    for row in rows:
        for system in (ETCD, OSTRAKA):
            if not results.of(system, row.name):
                continue
            lines.append(
                [
                    row.name,
                    system,
                    results.cell(system, row.name, lambda sample: sample.cpu, 0),
                    results.median(system, row.name, lambda sample: sample.leader_cpu, 0),
                    results.median(system, row.name, lambda sample: sample.follower_cpu, 0),
                    results.median(system, row.name, lambda sample: sample.client_cpu, 0),
                    results.median(system, row.name, lambda sample: sample.rss_mib, 0),
                    *sync_cells(results.of(system, row.name)),
                ]
            )
    return table(heads, lines)


def peak_memory(results: Results) -> str:
    """The most that any one node ever had resident."""
    peaks: dict[str, int] = {}
    for sample in results.samples:
        peaks[sample.system] = max([peaks.get(sample.system, 0), *(usage.peak_rss_kib for usage in sample.after)])
    shown = ", ".join(f"{system} {kib / 1024:,.0f} MiB" for system, kib in peaks.items())
    return f"Peak resident memory of a node: {shown}." if shown else ""


def sync_cells(samples: Sequence[Sample]) -> tuple[str, str, str]:
    """Over all rounds: each node's WAL syncs (leader first), their sum for 1000 operations, and the table's commits."""
    if any(sample.void for sample in samples):
        return UNKNOWN, UNKNOWN, UNKNOWN
    wal = [total(column) for column in zip(*(sample.wal_syncs for sample in samples), strict=True)]
    commits = [total(column) for column in zip(*(sample.table_commits for sample in samples), strict=True)]
    operations = sum(sample.load.operations for sample in samples if sample.load)
    all_wal = total(wal)
    return (
        "+".join(UNKNOWN if count is None else str(count) for count in wal),
        UNKNOWN if all_wal is None else f"{1000 * all_wal / operations:,.0f}",
        "+".join(UNKNOWN if count is None else str(count) for count in commits),
    )


def total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, so that it reads well unrendered too; all but names to the right."""
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    left = [head in ("row", "system") for head in heads]

    def show(cells: Sequence[str]) -> str:
        parts = (c.ljust(w) if at else c.rjust(w) for c, w, at in zip(cells, widths, left, strict=True))
        return f"| {' | '.join(parts)} |"

    rule = "|".join("-" * (w + 2) if at else "-" * (w + 1) + ":" for w, at in zip(widths, left, strict=True))
    return "\n".join([show(heads), f"|{rule}|", *(show(line) for line in lines)])
