"""The catalogue keeps up with the code, and a few mutants die. `make mutants` tries all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ostraka.simulation import misfortunes

from .__main__ import trial
from .catalogue import CATALOGUES, ROOT, Mutant, load

MUTANTS = load(*CATALOGUES)
A_FEW = (
    "votes_twice_in_a_term",
    "commits_an_old_term_by_counting",
    "one_round_for_all_reads",
    "changes_members_before_its_no_op_is_committed",
    "a_torn_tail_is_left_where_it_is",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_tried(mutant: Mutant) -> None:
    """The place that it changes is there once, and so are the tests that are to notice."""
    assert mutant.mutated() != (ROOT / "src/ostraka" / mutant.file).read_text()
    assert mutant.tests, "nothing is to notice it"
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists(), f"{file} is gone"
        assert file.endswith(".story") or f"def {name}(" in (ROOT / file).read_text(), f"{test} is gone"
    for kind in mutant.misfortunes:
        assert issubclass(getattr(misfortunes, kind), misfortunes.Misfortune)


@pytest.mark.parametrize("name", A_FEW)
def test_it_is_noticed(name: str) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    assert not trial(mutant, simulator=False).survived


def test_a_survivor_is_told() -> None:
    harmless = replace(MUTANTS[0], file="model/ids.py", old="ORIGIN = ", new="ORIGIN  = ")
    assert trial(harmless, simulator=False).survived == f"it passes {', '.join(harmless.tests)}"
    gone = replace(harmless, old="not there")
    assert "the catalogue must follow it" in trial(gone, simulator=False).survived
    forgotten = replace(harmless, tests=(f"{harmless.tests[0]}_of_long_ago",))
    assert "not run" in trial(forgotten, simulator=False).survived
