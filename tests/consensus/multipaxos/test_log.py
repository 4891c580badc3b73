"""What an acceptor remembers: one pvalue for each slot, with holes."""

from __future__ import annotations

import pytest

from ostraka.consensus.multipaxos.log import Log

from .lone import pvalue, value


def log(*slots: int, base: int = 0) -> Log:
    made = Log(base)
    for slot in slots:
        made.put(pvalue(slot, (1, 1), b"%d" % slot))
    return made


def test_holes_stay_holes() -> None:
    made = log(5, 2)
    assert [each.value.index for each in made.after(0)] == [2, 5] and made.get(3) is None
    assert [each.value.index for each in made.after(2)] == [5] and (made.first, made.last) == (1, 5)


def test_a_later_pvalue_takes_the_place_of_an_earlier() -> None:
    made = log(1)
    before = made.size
    made.put(pvalue(1, (2, 2), b"longer"))
    assert made.after(0) == (pvalue(1, (2, 2), b"longer"),)
    assert made.size == before - value(1, b"1").size() + value(1, b"longer").size()


def test_what_is_forgotten_is_not_put_again() -> None:
    made = log(1, 2, 4)
    made.forget(2)
    assert (made.base, made.first, made.last) == (2, 3, 4) and made.after(0) == (pvalue(4, (1, 1), b"4"),)
    with pytest.raises(AssertionError, match="slot 2 is forgotten"):
        made.put(pvalue(2, (9, 9)))
    made.forget(1)
    assert made.base == 2, "never less"
    made.forget(9)
    assert (made.base, made.last, made.size) == (9, 9, 0)


def test_the_stamp_is_the_highest_of_any_slot() -> None:
    assert log().stamp() == 0 and log(7, 3).stamp() == 7
