"""The log as a thing of its own."""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.log import Log
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry

from .lone import entries

LOG = entries(1, 1, 2, 4, 4, 4)


def test_positions_are_known_from_the_base_to_the_end() -> None:
    log = Log(entries=LOG)
    log.compact(2)
    assert [log.position_at(i) for i in (1, 2, 3, 6, 7)] == [None, (1, 2), (2, 3), (4, 6), None]
    assert (log.first, log.base, log.last) == (3, (1, 2), (4, 6))
    assert Log().position_at(0) == ORIGIN and Log().last == ORIGIN


def test_entries_are_removed_at_both_ends() -> None:
    log = Log(entries=LOG)
    log.truncate(5)
    log.compact(3)
    assert log.entries(4, 4) == LOG[3:4] and log.entries(4, 3) == ()
    log.truncate(4)
    assert log.last == log.base == Position(2, 3) and log.stamp == 3 and log.size == 0


def test_gaps_and_falling_epochs_are_refused() -> None:
    log = Log(entries=LOG)
    for wrong in (Entry(8, 4, 0), Entry(6, 4, 0), Entry(7, 3, 0)):
        with pytest.raises(AssertionError):
            log.extend([wrong])
    with pytest.raises(AssertionError):
        log.entries(0, 2)
    with pytest.raises(AssertionError):
        log.entries(5, 7)


def test_epochs_have_a_beginning_and_an_end() -> None:
    log = Log(entries=LOG)
    assert [log.first_of_epoch(i) for i in range(1, 7)] == [1, 1, 3, 4, 4, 4]
    assert log.end_of_epoch(4, below=6) == 5 and log.end_of_epoch(1, below=6) == 2
    assert log.end_of_epoch(3, below=6) is None and log.end_of_epoch(4, below=4) is None
    log.compact(4)
    assert log.first_of_epoch(6) == 5 and log.end_of_epoch(2, below=6) is None
