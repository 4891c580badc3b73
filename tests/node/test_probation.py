"""A host whose disk nobody knows yet: it hears nobody before enough members have let it in."""

from __future__ import annotations

from ostraka.consensus.quorum import majority
from ostraka.errors import WrongIdentity
from ostraka.model import events
from ostraka.model.requests import Members
from ostraka.transport import wire
from tests.node.scripted import Scene, Word

FIVE = Members((1, 2, 3, 4, 5))


def say(scene: Scene, sender: int) -> list[int]:
    """A frame comes from this member; from whom anything was heard so far."""
    scene.host.received(sender, wire.encode_message(1, Word("hello")))
    scene.clock.run()
    return [event.sender for event in scene.happened(events.Receive) if isinstance(event, events.Receive)]


def test_two_of_five_must_have_let_it_in() -> None:
    scene = Scene(members=FIVE)
    scene.host.probation = majority(FIVE.voters)
    assert say(scene, 2) == say(scene, 2) == []
    assert say(scene, 3) == [3], "that makes a majority with itself"
    assert say(scene, 2) == [3, 2]


def test_who_is_disowned_ends_with_the_reason() -> None:
    scene = Scene()
    scene.host.disowned("another disk is registered for it")
    assert isinstance(scene.failures[0], WrongIdentity) and "another disk" in str(scene.failures[0])
    scene.host.disowned("once more")
    assert len(scene.failures) == 1
