"""Who the members are and where, and what is left to do about it: for each member, while it runs.

The first members say where they all are, and each member announces itself. The leader lets a member vote that was added
for that, once it has caught up. And whoever was removed ends. No asyncio and no threads: the simulator runs this very
code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ostraka.consensus.quorum import majority
from ostraka.database import failures
from ostraka.database.commands import (
    Failure,
    Found,
    ListMembers,
    MemberInfo,
    Publish,
    Registration,
    Reply,
    decode_reply,
    encode,
)
from ostraka.database.commands import Members as Known
from ostraka.database.members import Place, Standing
from ostraka.errors import OstrakaError, StorageError
from ostraka.model.ids import Duration, NodeId
from ostraka.model.machine import Outcome
from ostraka.model.requests import Entry, Members, Request
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.storage.birth import Birth


class View(msgspec.Struct, frozen=True):
    """The members as one node's applied state has them."""

    configuration: Members
    places: dict[NodeId, Place]
    registrations: dict[NodeId, Registration]

    @property
    def started(self) -> frozenset[NodeId]:
        """Who has ever announced itself. (etcd: has a name)"""
        return frozenset(self.registrations)

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """Who votes, or was added to vote and has yet to catch up: to etcd, those are voters from the beginning."""
        waiting = [node for node in self.configuration.learners if self.is_to_vote(node)]
        return tuple(sorted({*self.configuration.voters, *waiting}))

    def is_to_vote(self, node: NodeId) -> bool:
        """Was it added to vote?"""
        place = self.places.get(node)
        return place is not None and place.promote

    def with_voter(self, node: NodeId) -> Members:
        """The configuration in which this one votes."""
        learners = tuple(each for each in self.configuration.learners if each != node)
        return Members(tuple(sorted({*self.configuration.voters, node})), learners)

    def without(self, node: NodeId) -> Members:
        """The configuration that this one is not in."""
        now = self.configuration
        return Members(*(tuple(each for each in ids if each != node) for ids in (now.voters, now.learners)))


def view_of(host: Host, group: Group) -> View | None:
    """The members as they are here; None if the state can't be read, which ends this node."""
    try:
        known: Known = group.query(ListMembers())
    except StorageError as failure:
        host.fail(failure)
        return None
    registrations = {each.member.id: each for each in known.registrations}
    return View(group.meta.members, dict(known.places), registrations)


def may_promote(view: View, node: NodeId) -> bool:
    """Would those who were ever started still be a majority of the voters? (etcd: strict reconfiguration check)"""
    voters = {*view.configuration.voters, node}
    return len(voters & view.started) >= len(voters) // 2 + 1


def was_removed(host: Host, group: Group, node: NodeId) -> bool:
    """Has this one been a member, and is none any more?"""
    view = view_of(host, group)
    place = None if view is None else view.places.get(node)
    return place is not None and place.standing is Standing.REMOVED


def other_disk(host: Host, group: Group, node: NodeId, disk: int) -> str:
    """Why this disk is not the one that is registered for this member; "" if it is, or if none is.

    A member's first disk is its only one: whoever comes with another has forgotten what it promised.
    """
    view = view_of(host, group)
    known = None if view is None else view.registrations.get(node)
    if known is None or known.disk == disk:
        return ""
    return (
        f"member {node:x} comes with disk {disk:x}, and disk {known.disk:x} is registered for it, where all stands "
        "that it has promised: give it back its own data directory, or, if that is lost, remove the member and add it "
        "anew"
    )


class Roster:
    """Looks after the members of one group, from one of its nodes."""

    def __init__(self, host: Host, group: Group, birth: Birth, me: MemberInfo, period: Duration) -> None:
        """`me`: what this member announces. `period`: how often to look after the members."""
        self.host: Final = host
        self.group: Final = group
        self.announced: Callable[[Failure | None], None] = lambda refused: None  # Called once.
        self._birth: Final = birth
        self._announcement: Final = encode(Publish(me, host.identity.disk))
        self._known = False  # The cluster has taken the announcement in, or won't.
        self._period: Final = period
        self._asked = False  # Something that it wants done is under way.
        self._addresses: dict[NodeId, str] = {node: urls[0] for node, urls in birth.peer_urls.items() if urls}
        host.address_of = self._address_of
        self._be_on_probation()
        group.observers.append(self._applied)

    def _be_on_probation(self) -> None:
        """A disk that holds nothing may have come in the place of the one that is registered under this name.

        Whoever knows of that refuses it. So it votes for nobody, and acknowledges nothing, before as many members have
        let it in as make a majority with it: if a majority knows, they never do. The first members of a new cluster
        wait for no more than an election takes anyway.
        """
        status, first = self.group.status(), self._birth.voters
        blank = status.epoch == status.last == 0 and not status.refilling
        if blank and self.host.identity.member in first and len(first) > 1:
            self.host.probation = majority(first)

    def start(self) -> None:
        """Look now, and then every period."""
        if self.host.stopped:
            return
        self.host.clock.call_at(self.host.clock.now() + self._period, self.start)
        self._look()

    def _look(self) -> None:
        view = view_of(self.host, self.group)
        if view is None or self._leave_if_removed(view) or self._asked:
            return
        unplaced = [node for node in self._birth.voters if node not in view.places]
        if unplaced:
            peers = tuple((node, self._birth.peer_urls[node]) for node in self._birth.voters)
            self._propose(encode(Found(peers)), lambda reply: self._look())
        elif not self._known:
            self._propose(self._announcement, self._taken_in)
        elif self.group.role == "leader":
            self._promote(view)

    def _propose(self, command: bytes, executed: Callable[[Reply], None]) -> None:
        def answer(reply: bytes | None, error: OstrakaError | None) -> None:
            self._asked = False
            if reply is not None and not self.host.stopped:
                executed(decode_reply(reply))

        self._asked = True
        self.group.propose(Request(command), answer)

    def _taken_in(self, reply: Reply) -> None:
        self._known = True
        if reply == failures.REMOVED:
            self.host.clock.call_soon(self.host.expelled)
        else:
            self.announced(reply if isinstance(reply, Failure) else None)

    def _promote(self, view: View) -> None:
        for node in view.configuration.learners:
            if view.is_to_vote(node) and node in view.started and may_promote(view, node):
                self._asked = True
                self.group.change_members(view.with_voter(node), self._answered, view.configuration)
                return

    def _answered(self, error: OstrakaError | None) -> None:
        self._asked = False  # Whatever it came to will be seen.

    def _applied(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.moved:
            self.host.clock.call_soon(self._moved)

    def _moved(self) -> None:
        """Members have come or gone; perhaps it was this one that went."""
        view = None if self.host.stopped else view_of(self.host, self.group)
        if view is not None:
            self._leave_if_removed(view)

    def _leave_if_removed(self, view: View) -> bool:
        """This member was removed: take no further part. A leader first hands over."""
        place = view.places.get(self.host.identity.member)
        if place is None or place.standing is not Standing.REMOVED:
            return False
        if self.group.role != "leader":
            self.host.expelled()
        return True

    def _address_of(self, node: NodeId) -> str | None:
        """Where to reach this member: as the cluster has it, else as it was in the beginning."""
        view = view_of(self.host, self.group)
        place = None if view is None else view.places.get(node)
        if place is not None and place.peer_urls:
            return place.peer_urls[0]
        return self._addresses.get(node)
