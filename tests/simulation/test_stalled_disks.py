"""A leader whose disk finishes nothing any more gives up, and the others serve without it.

They serve before it gives up, too, since a quorum of others commits what its own disk lacks (thesis §10.2.1). But
whoever asks the leader itself would wait for ever.
"""

from __future__ import annotations

import pytest

from ostraka.consensus.raft import leadership
from ostraka.model.ids import MILLISECOND, Instant
from ostraka.simulation.misfortunes import Misfortune
from ostraka.simulation.world import SeedFailed, World

PATIENCE = 1000 * MILLISECOND  # Five times the longest election timeout here; giving up takes two.


class TheLeadersDiskStalls(Misfortune):
    """Until peace returns. Both of the others must serve long before."""

    name = "the leader's disk stalls"

    def begin(self, world: World) -> None:
        world.at(500 * MILLISECOND, lambda: self.stall(world))

    def stall(self, world: World) -> None:
        self.leader = next((node for node in world.nodes if world.leads(node)), world.nodes[0])
        world.members[self.leader].disk.stall()
        world.workload.served.clear()
        world.at(world.now + PATIENCE, lambda: self.look(world, world.now))

    def look(self, world: World, since: Instant) -> None:
        served = {node: count for node, count in world.workload.served.items() if node != self.leader}
        assert not world.leads(self.leader), f"n{self.leader} still leads"
        assert len(served) == 2, f"with a stalled disk at n{self.leader} only {served} served"

    def end(self, world: World) -> None:
        world.members[self.leader].disk.resume()


def stall(seed: int) -> World:
    world = World(seed, nodes=3, misfortunes=[TheLeadersDiskStalls])
    world.run(500 * MILLISECOND + PATIENCE + 1)
    return world


def test_the_others_serve_again() -> None:
    for seed in range(4):
        assert stall(seed).counts["an election under load"] > 0


def test_one_that_holds_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "DISK_STALLED", 1000)
    with pytest.raises(SeedFailed, match="still leads"):
        stall(0)
