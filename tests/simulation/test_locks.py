"""Locks on clients' leases in whole clusters: one holder at a time, no lease ended early or kept for ever.

And the proof that each of these would be seen. `OSTRAKA_SEEDS` says how many; `make soak` raises it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ostraka.consensus.raft import agreement
from ostraka.database import commands, lease, machine
from ostraka.model.ids import MILLISECOND, SECOND
from ostraka.server.claims import Claim
from ostraka.server.expiry import Expiry
from ostraka.server.renewals import Renewals
from ostraka.simulation.locks import Locks, Shift
from ostraka.simulation.misfortunes import (
    Crashes,
    Misfortune,
    Partitions,
    Pauses,
    PowerCuts,
    Recurring,
    SlowDisks,
)
from ostraka.simulation.world import WORKLOADS, SeedFailed, World

SEEDS = int(os.environ.get("OSTRAKA_SEEDS", "300")) // 4
ROUGH = 4 * SECOND
MUST_SEE = (
    "a lease expired",
    "a lease lost",
    "a lock held",
    "a write fenced off",
    "a holder falls silent",
    "a renewal across a change of leader",
)
Patch = pytest.MonkeyPatch
Kinds = tuple[type[Misfortune], ...] | None


def test_locks_have_one_holder_and_leases_last(record_property: Callable[[str, object], None]) -> None:
    """All that `Locks` checks while it happens, and enough happened that the checks mean something."""
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = World(seed, workload="locks")
        world.run(ROUGH)
        counts += world.counts
    seen = ", ".join(f"{counts[what]} × {what}" for what in MUST_SEE)
    record_property("table", f"{SEEDS} simulated clusters with leases saw {seen}")
    assert all(counts[what] for what in MUST_SEE), seen


# ---- A lease whose owner says nothing more, while leaders come and go ------------------------------------------------


class LeaderDeaths(Recurring):
    name = "whoever leads is killed, once it has led for a while"
    every = 1500 * MILLISECOND  # At strength 1; it strikes with 3.

    def strike(self, world: World) -> None:
        for node in world.nodes:
            if world.leads(node):
                world.counts["a leader killed"] += 1
                world.crash(node)


class Silent(Locks):
    """One lease of two seconds, of which nobody is heard again."""

    def begin(self) -> None:
        self.granted_at = self._world.now  # As far as is known, if the answer is lost with a leader.
        self._start(0)

    def _was_granted(self, shift: Shift, node: int, called: int, result: object) -> None:
        if isinstance(result, commands.LeaseGranted):
            shift.granted = True
            self.granted_at = self._world.now

    def _new_shift(self, worker: int) -> Shift:
        return Shift(worker, 1, 2, 0, False)


def outlived(seed: int) -> int:
    """By how much the silent lease outlives its TTL, and how many leaders died meanwhile: nanoseconds a death."""
    world = World(seed, nodes=3, misfortunes=[LeaderDeaths], workload="silent")
    for misfortune in world.misfortunes:
        misfortune.begin(world)
    for node in world.nodes:
        world.at(0, partial(world.members[node].boot))
    world.at(SECOND, world.workload.begin)
    end = 30 * SECOND
    while not world.counts["a lease expired"]:
        assert world.now < end, "after thirty seconds it is there still"
        world._process_until(world.now + 10 * MILLISECOND)
    workload: Any = world.workload
    life = world.now - workload.granted_at
    return max(life - 2 * SECOND, 0) // max(1, world.counts["a leader killed"])


@pytest.fixture
def silent(monkeypatch: Patch) -> None:
    monkeypatch.setitem(WORKLOADS, "silent", Silent)


@pytest.mark.parametrize("seed", range(10))
def test_no_change_of_leader_renews_a_lease(silent: None, seed: int) -> None:
    """Each costs it the time without a leader, and at most 200 ms, in which time is written down, at this setting."""
    assert outlived(seed) < 600 * MILLISECOND


# ---- The checks can fail ---------------------------------------------------------------------------------------------


def expires_what_was_renewed(patch: Patch) -> None:
    patch.setattr(lease.Leases, "is_due", lambda leases, each, now: leases.get(each) is not None)


def renews_without_asking_anybody(patch: Patch) -> None:
    def ask(renewals: Any, each: int, renewed: Any) -> None:
        known = renewals._group.machine._leases.get(each)
        renewed(each, 1, known.ttl if known is not None else 0, None)

    patch.setattr(Renewals, "ask", ask)


def acknowledges_what_was_lost(patch: Patch) -> None:
    def failed(renewals: Any, asked: Any, error: Any) -> None:
        for each, waiting in asked.items():
            known = renewals._group.machine._leases.get(each)
            for _, renewed in waiting:
                renewed(each, 1, known.ttl if known is not None else 0, None)

    patch.setattr(Renewals, "_failed", failed)


def stamps_its_own_clock(patch: Patch) -> None:
    patch.setattr(agreement, "stamp", lambda me, role: me.now)


def forgets_renewals_at_a_restart(patch: Patch) -> None:
    def renew(leases: Any, each: int, now: int) -> int:
        known = leases.get(each)
        if known is None:
            return 0
        known.deadline = now + known.ttl * SECOND
        return int(known.ttl)

    patch.setattr(lease.Leases, "renew", renew)


def leaves_the_keys_of_what_has_ended(patch: Patch) -> None:
    patch.setattr(machine.Database, "_end_lease", lambda database, each: database._leases.remove(each))


def grants_to_all_who_claim(patch: Patch) -> None:
    patch.setattr(Claim, "_predecessor", lambda claim: commands.RangeDone(1))


def never_ends_a_lease(patch: Patch) -> None:
    patch.setattr(Expiry, "_propose", lambda expiry, now: None)


MUTANTS: dict[Callable[[Patch], None], tuple[int, Kinds]] = {
    expires_what_was_renewed: (80, (SlowDisks,)),
    renews_without_asking_anybody: (40, (Partitions, Pauses)),
    acknowledges_what_was_lost: (60, (Partitions, Crashes)),
    stamps_its_own_clock: (20, (Crashes,)),
    forgets_renewals_at_a_restart: (40, (Crashes, PowerCuts)),
    leaves_the_keys_of_what_has_ended: (10, None),
    grants_to_all_who_claim: (10, None),
    never_ends_a_lease: (3, None),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    most, kinds = MUTANTS[mutant]
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds, workload="locks").run(ROUGH)
        except SeedFailed:
            return
    raise AssertionError(f"not found in {most} seeds")


def test_a_leader_that_does_not_write_down_the_time_is_found(silent: None, monkeypatch: Patch) -> None:
    """Then a lease lives for ever, if only leaders die often enough."""
    init = Expiry.__init__

    def mutant(expiry: Any, host: Any, group: Any, election_timeout: int) -> None:
        init(expiry, host, group, election_timeout)
        expiry._silence = 10_000 * SECOND

    monkeypatch.setattr(Expiry, "__init__", mutant)
    with pytest.raises(AssertionError, match="after thirty seconds it is there still"):
        outlived(1)
