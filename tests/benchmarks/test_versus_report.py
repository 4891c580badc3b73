"""What the benchmark says of its samples: medians, ratios, and above all when a row counts for nothing."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from versus.main import parse_rows
from versus.report import (
    ETCD,
    OSTRAKA,
    ROWS,
    LoadResult,
    Results,
    Row,
    Sample,
    Spread,
    cost_table,
    peak_memory,
    speed_table,
    table,
    why_void,
)
from versus.synccheck import Seen, parse_summary, verdict
from versus.usage import Usage, cpu_us, family, file_system, memory_kib, metric

PUT = Row("put-64", "put", 64)
GET = Row("get-64", "get", 64)
LOAD = LoadResult(10_000, 5.0, 9_000, 15_000, 40_000, 90_000, 400_000, 4, "")


def used(cpu_us: int, wal: int | None = 0, commits: int | None = 0, rss_kib: int = 1024) -> Usage:
    return Usage(cpu_us, wal, commits, rss_kib, 2 * rss_kib)


def sample(system: str, operations: int, round_: int = 1, void: str = "") -> Sample:
    load = dataclasses.replace(LOAD, operations=operations)
    before = (used(1_000, 10, 1), used(1_000, 10, 1), used(1_000, 10, None))
    after = (used(601_000, 510, 6), used(201_000, 410, 5), used(401_000, 310, None))
    return Sample(system, PUT.name, round_, load, before, after, void)


def test_cpu_is_split_between_the_leader_and_the_mean_follower() -> None:
    one = sample(ETCD, 10_000)
    assert (one.cpu, one.leader_cpu, one.follower_cpu, one.client_cpu) == (120, 60, 30, 40)


def test_rates_are_medians_and_ratios_are_paired_by_round() -> None:
    etcd = [sample(ETCD, operations, round_) for round_, operations in enumerate((10_000, 12_000, 50_000), 1)]
    ours = [sample(OSTRAKA, operations, round_) for round_, operations in enumerate((30_000, 24_000, 50_000), 1)]
    results = Results(etcd + ours)
    assert results.spread(ETCD, PUT.name, lambda each: each.rate) == Spread(2_400, 2_000, 10_000)
    assert results.ratio(PUT.name) == Spread(2.5, 1.0, 3.0)


def test_one_void_round_voids_the_row_and_its_ratio() -> None:
    results = Results([sample(ETCD, 100), sample(OSTRAKA, 300), sample(OSTRAKA, 0, 2, void="put bench/1: unavailable")])
    line = speed_table(results, [PUT]).splitlines()[2]
    assert [cell.strip() for cell in line.split("|")[1:5]] == ["put-64", "20", "VOID", "VOID"]
    assert results.void_reasons() == ["put-64, ostraka, round 2: VOID: put bench/1: unavailable"]
    assert "VOID" in cost_table(results, [PUT])


def test_a_row_whose_load_program_failed_is_shown_void_without_figures() -> None:
    results = Results([Sample(ETCD, PUT.name, 1, None, (), (), void="the load program failed: connect")])
    assert "VOID" in speed_table(results, [PUT])
    assert "VOID" in cost_table(results, [PUT])
    assert peak_memory(results) == "Peak resident memory of a node: etcd 0 MiB."


def test_a_system_that_was_not_measured_is_unknown_and_not_void() -> None:
    shown = speed_table(Results([sample(ETCD, 100)]), [PUT, GET])
    assert "VOID" not in shown
    assert cost_table(Results([]), [PUT]).count("\n") == 1, "a head and a rule, and no lines"


def test_syncs_are_summed_over_rounds_and_missing_counts_are_not_taken_for_zero() -> None:
    shown = cost_table(Results([sample(OSTRAKA, 1_000), sample(OSTRAKA, 1_000, 2)]), [PUT])
    cells = [cell.strip() for cell in shown.splitlines()[2].split("|")[-4:-1]]
    assert cells == ["1000+800+600", "1,200", "10+8+–"]


@pytest.mark.parametrize(
    ("row", "syncs", "expected"),
    [
        (PUT, (9, 9, 0), ""),
        (PUT, (9, 0, 0), "only 1 of 3 nodes synced their log: its writes were not durable"),
        (PUT, (None, None, None), ""),
        (Row("mix-64", "mix", 64), (0, 0, 0), "only 0 of 3 nodes synced their log: its writes were not durable"),
        (GET, (0, 0, 0), ""),
    ],
)
def test_writes_that_no_majority_synced_are_void(row: Row, syncs: tuple[int | None, ...], expected: str) -> None:
    assert why_void(row, LOAD, syncs) == expected


def test_one_failed_reply_is_the_reason_that_a_row_is_void() -> None:
    failed = dataclasses.replace(LOAD, failure="get bench/7: unavailable")
    assert why_void(GET, failed, (0, 0, 0)) == "get bench/7: unavailable"


def test_the_rows_are_those_that_were_promised() -> None:
    assert [(row.do, row.callers) for row in ROWS] == [
        *(("put", callers) for callers in (1, 16, 64, 256)),
        *(("get", callers) for callers in (64, 256)),
        *(("serializable-get", callers) for callers in (64, 256)),
        ("mix", 64),
    ]
    assert parse_rows("mix-64,put-1") == (ROWS[0], ROWS[-1])


def test_the_load_programs_line_is_read_strictly() -> None:
    line = msgspec.json.encode(LOAD)
    assert msgspec.json.decode(line, type=LoadResult) == LOAD
    with pytest.raises(msgspec.ValidationError, match="p99_us"):
        msgspec.json.decode(line.replace(b"40000", b"null"), type=LoadResult)


def test_a_metric_is_found_by_its_whole_name() -> None:
    text = "# TYPE syncs_count counter\nsyncs_count_total 3\nsyncs_count 1.2e+06\nsyncs_count_again 4\n"
    assert metric(text, "syncs_count") == 1_200_000
    assert metric(text, "syncs") is None


STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 98.00    0.420000         280      1552           fdatasync
  2.00    0.000900         300         3         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.420900         270      1555         1 total
"""


def test_a_node_that_counts_more_syncs_than_it_made_is_caught() -> None:
    seen = parse_summary(STRACE)
    assert seen == Seen(fdatasync=1552, fsync=3)
    assert verdict("n2", seen, used(0, 100), used(0, 1600)).startswith("verified")
    assert verdict("n2", seen, used(0, 100), used(0, 1700)).startswith("THE COUNT IS NOT TRUE")
    assert verdict("n2", seen, used(0, 100), used(0, 100)).startswith("THE COUNT IS NOT TRUE")
    assert verdict("n2", seen, used(0, None), used(0, None)).startswith("not verified")


def test_a_table_lines_up() -> None:
    assert table(["row", "etcd/s"], [["put-1", "7"]]) == "| row   | etcd/s |\n|-------|-------:|\n| put-1 |      7 |"


def test_a_process_and_a_file_system_are_read_from_proc() -> None:
    own = int(Path("/proc/self").readlink().name)
    assert own in family(own)
    assert cpu_us(own) > 0
    now, peak = memory_kib(own)
    assert 0 < now <= peak
    assert file_system(Path("/proc/self")) == "proc"
