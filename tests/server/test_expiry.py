"""Who leads proposes that leases end: those that are due, in small pieces, and none that isn't."""

from __future__ import annotations

import pytest

from ostraka.database import commands as c
from ostraka.errors import Corruption, OutcomeUnknown
from ostraka.model.ids import SECOND
from ostraka.model.requests import Request
from ostraka.server import expiry
from ostraka.server.expiry import PAUSE, Expiry

from .scripted import World

SILENCE = 1 * SECOND


class Scene:
    """A leader with these leases, whose time goes on in small steps."""

    def __init__(self, *ttls: int) -> None:
        self.world = World()
        self.host, self.group = self.world.host, self.world.group
        for lease, ttl in enumerate(ttls, 1):
            self.propose(c.LeaseGrant(lease, ttl))
        self.group.decide()
        self.expiry = Expiry(self.host, self.group, SILENCE)
        self.expiry.start()

    def propose(self, command: c.Command) -> None:
        self.group.propose(Request(c.encode(command)), lambda reply, error: None)

    def wait(self, until: int) -> list[c.Command]:
        """What is proposed by then; nothing of it is decided."""
        before = len(self.group.proposed)
        while self.host.time < until:
            self.host.time = min(self.host.time + PAUSE, until)
            self.host.turn()
        return [c.decode_command(request.payload) for request, _ in self.group.proposed[before:]]

    def leases(self) -> tuple[int, ...]:
        return tuple(self.group.query(c.ListLeases()).ids)


def test_a_lease_ends_when_it_is_due_and_not_before() -> None:
    scene = Scene(2)
    for second in range(1, 20):
        proposed = scene.wait(second * SECOND // 10)
        assert not [each for each in proposed if each != c.LeaseExpire()]
        scene.group.decide()
        assert scene.leases() == (1,)
    scene.wait(2 * SECOND + SILENCE // 4 + PAUSE)
    scene.group.decide()
    assert scene.leases() == ()


def test_a_renewed_one_stays() -> None:
    scene = Scene(2)
    for second in range(1, 10):
        scene.wait(second * SECOND)
        scene.group.decide()
        scene.propose(c.LeaseRenew((1,)))
        scene.group.decide()
    assert scene.leases() == (1,)


def test_many_go_in_small_pieces_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MOST", 4)
    scene = Scene(*[2] * 10)
    scene.wait(19 * SECOND // 10)
    scene.group.decide()
    scene.wait(5 * SECOND)
    sizes = []
    while scene.leases():
        [(request, _)] = scene.group.proposed
        sizes.append(len(c.decode_command(request.payload).ids))  # type: ignore[attr-defined]
        scene.group.decide()
        assert not scene.group.proposed
        scene.wait(scene.host.time + PAUSE)
    assert sizes == [4, 4, 2]


def test_only_who_leads_proposes() -> None:
    scene = Scene(2)
    scene.group.role = "follower"
    assert scene.wait(5 * SECOND) == []
    scene.group.role = "leader"
    assert scene.wait(5 * SECOND + SILENCE // 4) == [c.LeaseExpire((1,))]


def test_what_was_lost_is_proposed_again() -> None:
    scene = Scene(2)
    scene.wait(5 * SECOND)
    scene.group.refuse(OutcomeUnknown("lost"))
    assert scene.wait(6 * SECOND) == [c.LeaseExpire((1,))]


def test_time_is_written_down_while_there_are_leases_and_nothing_else_is_written() -> None:
    scene = Scene(3600)
    written = []
    for tenth in range(1, 51):
        written += scene.wait(tenth * SECOND // 10)
        scene.group.decide()
    assert 3 <= len(written) <= 5 and set(written) == {c.LeaseExpire()}
    assert Scene().wait(60 * SECOND) == [], "without leases nobody needs to know the time"


def test_while_others_write_no_more_is_written() -> None:
    scene = Scene(3600)
    for tenth in range(1, 51):
        assert scene.wait(tenth * SECOND // 10) == []
        scene.propose(c.Put(b"k"))
        scene.group.decide()


def test_a_rotten_state_ends_the_member() -> None:
    scene = Scene(2)
    scene.group.broken = Corruption("block 7")
    scene.wait(1 * SECOND)
    assert scene.host.failed is scene.group.broken
    assert scene.wait(9 * SECOND) == [] and not scene.host.timers
