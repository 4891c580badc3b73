"""Multi-Paxos on the stage, and links that are cut one by one."""

from __future__ import annotations

from typing import Any

from ostraka.consensus.multipaxos import MULTIPAXOS
from ostraka.consensus.multipaxos.replica import Replica
from ostraka.consensus.multipaxos.roles import Leader
from tests.stories.story import Story


def scene(nodes: int = 3, **other: int) -> Story:
    """Each turn's requests make a value of their own."""
    return Story(nodes, engine=MULTIPAXOS, **{"linger": 0, **other})


def connect_only(s: Story, *links: tuple[int, int]) -> None:
    """Cut all links but these."""
    for one in s.nodes:
        for other in s.nodes:
            if one < other and (one, other) not in links:
                s.lose(sender=one, to=other)
                s.lose(sender=other, to=one)


def replica(s: Story, n: int) -> Replica:
    found: Any = s.nodes[n].replica
    assert isinstance(found, Replica)
    return found


def led_by(s: Story, n: int) -> Leader:
    """What the leader knows."""
    role = replica(s, n).role
    assert isinstance(role, Leader), role
    return role
