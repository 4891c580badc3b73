"""Leader leases under clocks that run apart: nobody reads what is old; with a part of the rule left out somebody does.

Leaders here never step down for want of a quorum, so that nothing but the lease's own rule stands between a leader that
was deposed and a stale read. What takes a rarer course of events is shown by stories: tests/stories/raft/test_lease.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest

from ostraka.consensus.raft import agreement, leadership, lease, messages, replica
from ostraka.consensus.raft.replica import Replica
from ostraka.model.ids import MILLISECOND
from ostraka.simulation import world as worlds
from ostraka.simulation.misfortunes import (
    APART,
    MOST_DRIFT,
    Crashes,
    Delays,
    Drift,
    Forgetting,
    Handovers,
    Misfortune,
    Partitions,
    Pauses,
)
from ostraka.simulation.raft import RaftWitness
from ostraka.simulation.world import SeedFailed, World

from .test_the_world_finds_bugs import Patch, rewrite


@pytest.fixture(autouse=True)
def only_leases_protect(monkeypatch: Patch) -> None:
    rewrite(monkeypatch, leadership, "watch_the_time", "reached(me.quorum, heard) + timeout", "me.now + timeout")


def lasting(patch: Patch, milliseconds: int) -> None:
    """Every cluster uses leases of this length."""
    patch.setattr(worlds, "draw_lease", lambda dice: milliseconds * MILLISECOND)


def first_failure(most: int, *kinds: type[Misfortune]) -> str:
    """What goes wrong in the first seed in which something does."""
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds).run()
        except SeedFailed as failure:
            return str(failure.__cause__)
    raise AssertionError(f"not found in {most} seeds")


class Apart(Misfortune):
    """Every second clock runs as fast as the members are told that it may, the others as slowly.

    A slow one comes to lead, and is cut off for so long that a fast one will have waited for its lease.
    """

    name = "clocks run apart"
    most: ClassVar[int] = MOST_DRIFT

    def begin(self, world: World) -> None:
        for node in world.nodes:
            world.members[node].computer.drift(self.most if node % 2 else -self.most)
        world.at(600 * MILLISECOND, lambda: self.let_a_slow_one_lead(world))
        world.at(900 * MILLISECOND, lambda: self.cut_it_off(world))
        world.at(1900 * MILLISECOND, world.wires.mend)

    def let_a_slow_one_lead(self, world: World) -> None:
        leader = next((node for node in world.nodes if world.leads(node)), None)
        if leader is not None:
            world.hand_over(leader, 2)

    def cut_it_off(self, world: World) -> None:
        world.wires.cut([(a, b) for a in world.nodes for b in world.nodes if a != b and 2 in (a, b)])


class FurtherApart(Apart):
    """By more than that."""

    most = 3 * MOST_DRIFT


def test_nobody_reads_what_is_old(monkeypatch: Patch) -> None:
    lasting(monkeypatch, 600)
    counts: Counter[str] = Counter()
    for seed in range(30):
        kinds = (Drift, Partitions, Pauses, Delays, Handovers, Forgetting), (Drift, Partitions), (Drift, Crashes)
        world = World(seed, misfortunes=kinds[seed % 3])
        world.run()
        counts += world.counts
    for what in ("a follower's read by a lease", "a wait for a lease to end", "a handover", "an election under load"):
        assert counts[what] > 20, f"{what}: only {counts[what]} times in {counts}"


def never_waits(patch: Patch) -> None:
    patch.setattr(lease, "wait", lambda me: me.now)


def waits_as_if_clocks_were_alike(patch: Patch) -> None:
    patch.setattr(lease, "outlasting", lambda span, drift: span)


def waits_from_its_own_start(patch: Patch) -> None:
    append = Replica.append

    def mutant(me: Replica, entries: tuple[object, ...]) -> None:
        grown = me.leases.grown
        append(me, entries)  # type: ignore[arg-type]
        me.leases.grown = grown

    patch.setattr(Replica, "append", mutant)


def never_learns_for_how_long(patch: Patch) -> None:
    rewrite(patch, agreement, "on_append", "lease.adopt(me, message.lease)", "pass")
    patch.setitem(replica.ON_MESSAGE, messages.Append, agreement.on_append)


def never_waits_once_it_was_called(patch: Patch) -> None:
    rewrite(patch, lease, "wait", "me.log.last == me.leases.given_up", "me.leases.given_up is not None")


MUTANTS: dict[Callable[[Patch], None], tuple[type[Misfortune], ...]] = {
    never_waits: (Drift, Partitions),
    waits_as_if_clocks_were_alike: (Apart,),
    waits_from_its_own_start: (Drift, Partitions),
    never_learns_for_how_long: (Drift, Partitions),
    never_waits_once_it_was_called: (Handovers, Partitions),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_part_of_the_rule_left_out_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    lasting(monkeypatch, 600)
    mutant(monkeypatch)
    assert "may read by its lease" in first_failure(60, *MUTANTS[mutant])


def test_clients_notice_that_a_leader_does_not_wait(monkeypatch: Patch) -> None:
    """Without the judge, too, who knows of leases: what was read can't be explained."""
    lasting(monkeypatch, 600)
    never_waits(monkeypatch)
    monkeypatch.setattr(RaftWitness, "_look_at_leases", lambda witness, node, replica: None)
    assert "not linearizable" in first_failure(30, Partitions)


def test_clocks_further_apart_than_is_allowed_are_found(monkeypatch: Patch) -> None:
    """The bound means something: what holds at its very edge does not beyond it."""
    lasting(monkeypatch, 600)
    assert (1_000_000 + MOST_DRIFT) / (1_000_000 - MOST_DRIFT) <= 1 + APART / 1_000_000
    for seed in range(6):
        World(seed, misfortunes=[Apart]).run()
    assert "may read by its lease" in first_failure(40, FurtherApart)
