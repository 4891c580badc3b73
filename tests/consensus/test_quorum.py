"""Quorums are predicates over who, not over how many."""

from __future__ import annotations

from itertools import combinations

import pytest

from ostraka.consensus.quorum import both, majority, quorum_of, reached
from ostraka.model.requests import Members


@pytest.mark.parametrize("size", range(1, 8))
def test_any_two_majorities_share_a_member(size: int) -> None:
    voters = range(1, size + 1)
    subsets = [set(chosen) for count in range(size + 1) for chosen in combinations(voters, count)]
    quorum = majority(voters)
    enough = [ids for ids in subsets if quorum(ids)]
    assert all(a & b for a in enough for b in enough)
    assert all(quorum(ids) or quorum(set(voters) - ids) or 2 * len(ids) == size for ids in subsets)


def test_strangers_do_not_count_and_nobody_has_no_majority() -> None:
    assert not majority([1, 2, 3])({1, 4, 5})
    assert not majority([])({1, 2, 3})


def test_a_joint_configuration_needs_a_majority_of_each() -> None:
    quorum = quorum_of(Members(voters=(3, 4, 5), outgoing=(1, 2, 3)))
    assert quorum({2, 3, 4})
    assert not quorum({3, 4, 5}) and not quorum({1, 2, 3})
    assert not quorum_of(Members((1, 2, 3), learners=(4, 5)))({1, 4, 5}), "learners have no vote"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({1: 5}, 5),
        ({1: 5, 2: 0}, 0),
        ({1: 5, 2: 4, 3: 3}, 4),
        ({1: 5, 2: 5, 3: 0}, 5),
        ({1: 9, 2: 4, 3: 3, 4: 2}, 3),
        ({1: 9, 2: 8, 3: 3, 4: 2, 5: 1}, 3),
    ],
)
def test_reached_is_what_a_majority_has(values: dict[int, int], expected: int) -> None:
    assert reached(majority(values), values) == expected


def test_reached_in_a_joint_configuration_is_the_lesser() -> None:
    quorum = both(majority([1, 2, 3]), majority([3, 4, 5]))
    assert reached(quorum, {1: 9, 2: 8, 3: 7, 4: 2, 5: 1}) == 2
    assert reached(quorum, {}) == 0
