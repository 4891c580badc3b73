"""Whom a node keeps links to as members come, go and move, and how it ends when it is removed itself."""

from __future__ import annotations

from ostraka.errors import OstrakaError, OutcomeUnknown, Removed
from ostraka.model import effects
from ostraka.model.requests import Members

from .scripted import Scene, entry


def test_links_are_kept_to_the_members_and_to_a_leader_that_was_removed_until_it_has_handed_over() -> None:
    scene = Scene()
    everyone = dict(scene.network.members)
    assert sorted(everyone) == [1, 2, 3]
    scene.engine.members, scene.engine.configured = Members((1, 3), (4,)), 8
    scene.host.address_of = {3: "http://moved", 4: "http://four"}.get
    scene.does(effects.RoleChanged("follower", 1, 2), effects.MembersActive(scene.engine.members, 8))
    assert scene.network.members == {1: everyone[1], 2: everyone[2], 3: "http://moved", 4: "http://four"}
    assert scene.network.configured == 8
    scene.engine.everyone = (1, 2, 3, 4)
    scene.does(effects.RoleChanged("follower", 2, 3))
    assert sorted(scene.network.members) == [1, 2, 3, 4], "the removal of the second may yet be rolled back"
    scene.engine.everyone = ()
    scene.does(effects.MembersActive(scene.engine.members, 9))
    assert sorted(scene.network.members) == [1, 3, 4]


def test_a_newcomer_keeps_links_to_those_it_was_told_of_until_it_finds_itself_a_member() -> None:
    scene = Scene()
    scene.engine.members, scene.engine.configured = Members((5, 6)), 3  # What the log says as far as it is here.
    scene.host.address_of = {5: "http://five"}.get
    scene.does(effects.MembersActive(scene.engine.members, 3))
    assert sorted(scene.network.members) == [1, 2, 3, 5], "where the sixth is isn't known here yet"
    scene.engine.members = Members((1, 5))
    scene.does(effects.MembersActive(scene.engine.members, 4))
    assert sorted(scene.network.members) == [1, 5]


def test_an_entry_that_moves_a_member_is_followed_by_the_network() -> None:
    scene = Scene()
    scene.group.machine.moves = True  # type: ignore[attr-defined]
    scene.host.address_of = {1: "http://one", 2: "http://moved", 3: "http://three"}.get
    scene.does(effects.Commit((entry(1, b"x"),)))
    assert scene.network.members[2] == "http://moved"


def test_who_is_told_that_it_was_removed_ends_and_tells_its_callers() -> None:
    scene = Scene()
    ends: list[OstrakaError | None] = []
    scene.group.transfer_leadership(2, ends.append)
    scene.clock.run()
    scene.host.expelled()
    assert [type(end) for end in ends] == [OutcomeUnknown] and scene.host.stopped
    assert [type(failure) for failure in scene.failures] == [Removed]
    scene.host.expelled()
    assert len(scene.failures) == 1
