"""Transactions in whole clusters come to what they do in one process, whatever happens to the nodes.

And the proof that a machine which is wrong on all nodes alike would be seen. `OSTRAKA_SEEDS` says how many; `make soak`
raises it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from ostraka.database import machine, mvcc, txn
from ostraka.simulation.misfortunes import Misfortune, Partitions
from ostraka.simulation.world import SeedFailed, World

from .test_the_world_finds_bugs import executes_a_retry_again, reads_without_asking_whether_it_leads, rewrite

SEEDS = int(os.environ.get("OSTRAKA_SEEDS", "300")) // 3
CHUNK = max(50, SEEDS // 20)
MUST_SEE = (
    "TxnDone",
    "PutDone",
    "DeleteDone",
    "RangeDone",
    "CompactDone",
    "etcdserver: key not found",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "a retry under the same number",
    "a read across a change of leader",
    "a snapshot install",
)
Patch = pytest.MonkeyPatch
Kinds = tuple[type[Misfortune], ...] | None


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_everything_comes_to_what_it_does_in_one_process(
    first: int, record_property: Callable[[str, object], None]
) -> None:
    """All that `Replay` and `Transactions` check, and enough happened that the checks mean something."""
    end = min(first + CHUNK, SEEDS)
    counts: Counter[str] = Counter()
    for seed in range(first, end):
        world = World(seed, workload="transactions")
        world.run()
        counts += world.counts
    seen = ", ".join(f"{counts[what]} × {what}" for what in MUST_SEE)
    record_property("table", f"simulated clusters {first} to {end - 1} with transactions saw {seen}")
    assert end - first < CHUNK or all(counts[what] for what in MUST_SEE), f"too little happened: {seen}; {counts}"


# ---- The checks can fail ---------------------------------------------------------------------------------------------


def compares_one_key_of_a_range(patch: Patch) -> None:
    rewrite(patch, txn, "_holds", "all(", "any(")


def takes_an_absent_value_for_an_unequal_one(patch: Patch) -> None:
    rewrite(patch, txn, "_holds", "compare.target != Target.VALUE and ", "")


def decides_on_its_way(patch: Patch) -> None:
    """Nested comparisons see what the operations before them have done."""
    rewrite(
        patch, txn, "_Execution.follow", "self.follow(next(nested))", "self.follow(_decide(self._table, operation))"
    )


def spends_a_revision_on_nothing(patch: Patch) -> None:
    rewrite(patch, machine, "Database._delete_range", "if deleted:", "if True:")


def says_more_when_there_is_no_more(patch: Patch) -> None:
    rewrite(patch, mvcc, "arranged", "< len(pairs)", "<= len(pairs)")


def reads_what_is_compacted(patch: Patch) -> None:
    rewrite(patch, mvcc, "unreadable", "wanted < compacted", "wanted < 0")


def makes_a_key_anew_with_its_old_version(patch: Patch) -> None:
    rewrite(patch, mvcc, "put", "revision, revision, 1, value", "revision, revision, 2, value")


def tells_a_change_that_did_not_happen(patch: Patch) -> None:
    rewrite(
        patch, txn, "_Execution._put", "Change(revision, command.key, old, new)", "Change(revision, b'k', old, new)"
    )


MUTANTS: dict[Callable[[Patch], None], tuple[int, Kinds]] = {
    compares_one_key_of_a_range: (20, None),
    takes_an_absent_value_for_an_unequal_one: (20, None),
    decides_on_its_way: (20, None),
    spends_a_revision_on_nothing: (10, None),
    says_more_when_there_is_no_more: (10, None),
    reads_what_is_compacted: (10, None),
    makes_a_key_anew_with_its_old_version: (5, None),
    tells_a_change_that_did_not_happen: (5, None),
    executes_a_retry_again: (20, None),
    reads_without_asking_whether_it_leads: (50, (Partitions,)),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    most, kinds = MUTANTS[mutant]
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds, workload="transactions").run()
        except SeedFailed:
            return
    raise AssertionError(f"not found in {most} seeds")
