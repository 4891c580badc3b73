"""The log as a thing of its own."""

from __future__ import annotations

from random import Random

import pytest

from ostraka.consensus.raft.log import ENTRY_COSTS, MILESTONE, Log
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Batch, Entry, Kind

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


def large(index: int, epoch: int, size: int) -> Entry:
    return Entry(index, epoch, index * 10, Kind.REQUESTS, (Batch(1, 1, index, bytes(size)),))


def test_the_oldest_entries_are_shed_when_memory_holds_too_much() -> None:
    log = Log(entries=[large(index, 1, 1000) for index in range(1, 11)])
    log.release(10, most=10 * (1000 + ENTRY_COSTS))
    assert log.shed == log.base, "it holds as much as it may"
    log.release(4, most=0)
    assert log.shed == (1, 4) and log.first == 1 and log.entries(5, 10)[0].index == 5
    log.release(10, most=5000)
    assert log.held <= 5000 * 3 / 4 and log.size == 10_000
    with pytest.raises(AssertionError):
        log.entries(4, 10)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_shed_it_answers_as_one_that_holds_all(seed: int) -> None:
    dice = Random(seed)
    few, whole, most_shed = Log(), Log(), 0
    for _ in range(150):
        somewhere = dice.randint(whole.first, max(whole.first, whole.last.index))
        what = dice.randrange(6)
        if what == 0:
            few.release(somewhere, dice.randrange(4 * MILESTONE))
        elif what == 1 and whole.last.index >= somewhere:
            later = large(somewhere, whole.last.epoch + 1, 0)
            for log in (few, whole):
                log.truncate(somewhere)
                log.extend([later])
        elif what == 2 and whole.last.index >= somewhere and dice.getrandbits(1):
            for log in (few, whole):
                log.compact(somewhere)
        else:
            epoch = max(1, whole.last.epoch + (dice.getrandbits(2) == 0))
            entry = large(whole.last.index + 1, epoch, dice.randrange(MILESTONE))
            for log in (few, whole):
                log.extend([entry])
        assert (few.base, few.last, few.stamp) == (whole.base, whole.last, whole.stamp)
        assert few.base.index <= few.shed.index <= few.last.index
        assert few.entries(few.shed.index + 1, few.last.index) == whole.entries(few.shed.index + 1, few.last.index)
        most_shed = max(most_shed, few.shed.index - few.base.index)
        for index in range(whole.base.index - 1, whole.last.index + 2):
            assert few.position_at(index) == whole.position_at(index)
        for index in range(whole.first, whole.last.index + 1):
            assert few.first_of_epoch(index) == whole.first_of_epoch(index)
        for epoch in range(whole.last.epoch + 2):
            assert few.end_of_epoch(epoch, somewhere) == whole.end_of_epoch(epoch, somewhere)
        assert abs(few.size - whole.size) <= 2 * MILESTONE
        assert abs(few.end_of(4 * MILESTONE) - whole.end_of(4 * MILESTONE)) <= 12, "about"
    assert most_shed > 3
