"""Who is there: a node comes when a configuration names it, and goes when it learns that it was removed.

What the cluster decides is what counts, not what somebody asked for: whoever asked may never learn what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ostraka.database.commands import AddMember, encode
from ostraka.errors import OstrakaError
from ostraka.model.ids import MILLISECOND, SECOND, Dice, Duration, NodeId, roll
from ostraka.model.requests import Members, Request
from ostraka.server.calls import Refusal
from ostraka.server.changes import Add, Change, Promote, Remove, Update
from ostraka.simulation.member import peer_url

if TYPE_CHECKING:
    from ostraka.simulation.world import World

FEWEST: Final = 2
MOST: Final = 6
NEVER_STARTED: Final = 8  # One in so many newcomers is not started before there is peace.
PATIENCE: Final[Duration] = 2 * SECOND  # Of whoever asks for a change.


class Census:
    """The members, as the cluster has decided on them, and those who don't know yet that they are none any more."""

    def __init__(self, world: World, first: Members, dice: Dice) -> None:
        self.members = first
        self.removed: Final[set[NodeId]] = set()
        self._world: Final = world
        self._dice: Final = dice
        self._asked = 0  # Ids given out: they are never given again.

    # What the judge tells.

    def decided(self, members: Members) -> None:
        """This configuration is the cluster's: the first time that any node executes it."""
        world, before = self._world, self.members
        self.members = members
        world.note(f"members: {members.voters}, learning {members.learners}, outgoing {members.outgoing}")
        if members.outgoing:
            world.counts["a joint configuration"] += 1
        if set(members.voters) & set(before.learners):
            world.counts["a learner that votes"] += 1
        for node in sorted(set(members.everyone()) - set(before.everyone())):
            world.counts["a member more"] += 1
            world.arrive(node)
            soon = 1 + roll(self._dice, 100 * MILLISECOND)
            if world.at_peace or roll(self._dice, NEVER_STARTED):
                world.at(world.now + soon, partial(world.boot, node))
        for node in sorted(set(before.everyone()) - set(members.everyone())):
            world.counts["a member less"] += 1
            world.counts["a leader removed"] += world.leads(node)
            self.removed.add(node)

    def left(self, node: NodeId) -> None:
        """A node has learnt that it was removed, and ended."""
        assert node in self.removed, f"n{node} left, and nobody removed it"
        self._world.counts["a removed member that ended"] += 1
        self._world.depart(node)

    def stranded(self) -> list[NodeId]:
        """Removed nodes that nobody is left to tell, since whom they know is gone, too: an operator stops them."""
        world = self._world
        there = set(self.members.everyone())
        return [node for node in sorted(self.removed & set(world.nodes)) if not there & set(world.wires.peers_of(node))]

    # What misfortunes do.

    def strike(self) -> None:
        """Ask some node for some change."""
        world, dice = self._world, self._dice
        asked = world.nodes[roll(dice, len(world.nodes))]
        node = self._member(asked)
        size = len(self.members.everyone())
        what = roll(dice, 8)
        if size >= MOST or (size > FEWEST and what < 3):
            self._ask(asked, lambda host, group, answer: Remove(host, group, node, answer))
        elif what < 5:
            new, learner = self._new_id(), dice.getrandbits(2) == 0
            its = (peer_url(new),)
            self._ask(asked, lambda host, group, answer: Add(host, group, new, its, learner, answer))
        elif what == 5:
            self._replace(asked, node)
        elif what == 6:
            self._ask(asked, lambda host, group, answer: Promote(host, group, node, answer))
        else:
            urls = (peer_url(node), f"{peer_url(node)}{dice.getrandbits(3)}")
            self._ask(asked, lambda host, group, answer: Update(host, group, node, urls, answer))

    def _member(self, asked: NodeId) -> NodeId:
        """Any; often one that leads, or that is asked itself."""
        everyone = self.members.everyone()
        leaders = [node for node in everyone if self._world.members[node].computer and self._world.leads(node)]
        match roll(self._dice, 4):
            case 0 if leaders:
                return leaders[0]
            case 1 if asked in everyone:
                return asked
            case _:
                return everyone[roll(self._dice, len(everyone))]

    def _new_id(self) -> NodeId:
        """Lower or higher than those there are: who dials whom hangs on that."""
        self._asked += 1
        return 100 * self._asked + roll(self._dice, 100) if self._dice.getrandbits(1) else 10 + self._asked

    def _ask(self, asked: NodeId, make: Callable[..., Change]) -> None:
        """By the very code that serves etcd's clients."""
        world, member = self._world, self._world.members[asked]

        def begin() -> None:
            host, group = member.host, member.group
            assert host is not None and group is not None, "asked in a turn of its process"
            gives_up = world.now + PATIENCE
            change = make(host, group, partial(self._answered, asked))
            change.over = lambda: world.now > gives_up or member.host is not host
            change.begin(20 * MILLISECOND)

        if member.group is not None:
            member.post(begin)

    def _answered(self, asked: NodeId, refusal: Refusal | None) -> None:
        self._world.note(f"n{asked}: {'the change is made' if refusal is None else refusal[1]}")
        self._world.counts["a change made" if refusal is None else "a change refused"] += 1

    def _replace(self, asked: NodeId, old: NodeId) -> None:
        """In one go, as only the engine offers it: the new one learns first, and then both configurations decide."""
        member, new = self._world.members[asked], self._new_id()
        now = self.members
        voters = tuple(sorted({*now.voters, new} - {old}))
        target = Members(voters, tuple(node for node in now.learners if node != old))

        def placed(reply: bytes | None, error: OstrakaError | None) -> None:
            if error is None and member.group is not None:
                member.group.change_members(target, self._replaced, now)

        def begin() -> None:
            assert member.group is not None, "asked in a turn of its process"
            member.group.propose(Request(encode(AddMember(new, (peer_url(new),), True))), placed)

        if member.group is not None and now.voters and not now.outgoing:
            member.post(begin)

    def _replaced(self, error: OstrakaError | None) -> None:
        self._world.counts["a member replaced in one go" if error is None else "a replacement given up"] += 1
