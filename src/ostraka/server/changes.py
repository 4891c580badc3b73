"""Changes of members, as etcd's Cluster service offers them: one at a time, and each known to be done or not.

Each begins with a look at the members as they are, by a linearizable read. If nothing is against it, the configuration
is changed, on condition that it is still the one that was looked at: so two changes at once can't undo one another, nor
slip past each other's checks. After that, and after every answer that leaves the outcome open, it looks again: until
what was asked for is there, or nobody waits any more.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

from ostraka.database import failures
from ostraka.database.commands import AddMember, Command, Failure, UpdateMember, decode_reply, encode
from ostraka.database.members import Standing
from ostraka.errors import NotCaughtUp, OstrakaError, Refused, Removed
from ostraka.model.ids import Duration, NodeId
from ostraka.model.requests import Members, Request
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.server.calls import SERVER_STOPPED, Refusal, refusal_of
from ostraka.server.roster import View, may_promote, view_of
from ostraka.transport.http2.errors import Status

MAX_LEARNERS: Final = 1
"""As in etcd. Members that were added to vote, and are to catch up first, don't count."""

BAD_URLS: Final[Refusal] = (Status.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
MEMBER_NOT_FOUND: Final[Refusal] = (Status.NOT_FOUND, failures.MEMBER_NOT_FOUND.message)
MEMBER_EXISTS: Final[Refusal] = (Status.FAILED_PRECONDITION, failures.MEMBER_EXISTS.message)
PEER_URLS_EXIST: Final[Refusal] = (Status.FAILED_PRECONDITION, failures.PEER_URLS_EXIST.message)
NOT_ENOUGH_STARTED: Final[Refusal] = (
    Status.FAILED_PRECONDITION,
    "etcdserver: re-configuration failed due to not enough started members",
)
NOT_A_LEARNER: Final[Refusal] = (Status.FAILED_PRECONDITION, "etcdserver: can only promote a learner member")
LEARNER_NOT_READY: Final[Refusal] = (
    Status.FAILED_PRECONDITION,
    "etcdserver: can only promote a learner member which is in sync with leader",
)
TOO_MANY_LEARNERS: Final[Refusal] = (Status.FAILED_PRECONDITION, "etcdserver: too many learner members in cluster")
UNHEALTHY: Final[Refusal] = (Status.UNAVAILABLE, "etcdserver: unhealthy cluster")

Answer = Callable[[Refusal | None], None]
"""Called once at most: with None when it is done, else with why it isn't and won't be."""


class Change:
    """One change on its way."""

    def __init__(self, host: Host, group: Group, node: NodeId, answer: Answer) -> None:
        """`node`: the member that it is about."""
        self.host: Final = host
        self.group: Final = group
        self.node: Final = node
        self.over: Callable[[], bool] = lambda: False  # Nobody waits any more.
        self.retry: Duration = 0  # How long to wait before looking again. Set by `begin`.
        self._answer: Final = answer
        self._attempted = False
        self._base = Members(())

    # What each kind decides.

    def objection(self, view: View) -> Refusal | None:
        """What is against it, as the members are; None if nothing is."""
        raise NotImplementedError

    def achieved(self, view: View) -> bool:
        """Are the members as they were to be?"""
        raise NotImplementedError

    def target(self, view: View) -> Members:
        """The configuration that is wanted, where there is `view` now."""
        raise NotImplementedError

    def first(self) -> Command | None:
        """What has to be in the state before the configuration changes; None if nothing has."""
        return None

    # How it goes.

    def begin(self, retry: Duration) -> None:
        """`retry`: how long to wait before looking again, where the outcome is open."""
        self.retry = retry
        self._look()

    def _look(self) -> None:
        if not self.over():
            self.group.read_index(self._looked)

    def _looked(self, error: OstrakaError | None) -> None:
        if self.over():
            return
        if error is not None:
            self._uncertain(error)
            return
        view = view_of(self.host, self.group)
        if view is None:
            self._answer(SERVER_STOPPED)
        elif self._attempted and self.achieved(view):
            self._answer(None)
        elif (refused := self.objection(view)) is not None:
            self._answer(refused)
        elif view.configuration.outgoing:
            self._look_later()  # A joint configuration gives way to the next one by itself.
        else:
            self._attempted = True
            self._base = view.configuration
            self._prepare(view)

    def _prepare(self, view: View) -> None:
        command, target = self.first(), self.target(view)

        def prepared(reply: bytes | None, error: OstrakaError | None) -> None:
            done = None if reply is None else decode_reply(reply)
            if isinstance(done, Failure):
                self._answer((done.code, done.message))
            elif error is not None:
                self._uncertain(error)
            else:
                self.group.change_members(target, self._changed, self._base)

        if command is None:
            self.group.change_members(target, self._changed, self._base)
        else:
            self.group.propose(Request(encode(command)), prepared)

    def _changed(self, error: OstrakaError | None) -> None:
        if error is None:
            self._look()
        elif isinstance(error, NotCaughtUp):
            self._answer(LEARNER_NOT_READY)
        else:
            self._uncertain(error)

    def _uncertain(self, error: OstrakaError) -> None:
        """Look again, unless that is of no use: nothing was attempted yet, or this node has ended."""
        assert not isinstance(error, Refused), f"{self.node:x}: no configuration: {error}"
        if self.over():
            return
        failed = self.host.failed
        if failed is not None:
            self._answer(None if isinstance(failed, Removed) and self.settled_by_our_end() else SERVER_STOPPED)
        elif self._attempted:
            self._look_later()
        else:
            self._answer(refusal_of(error, failed))

    def settled_by_our_end(self) -> bool:
        """Is it done, now that this node was removed?"""
        return False

    def _look_later(self) -> None:
        self.host.clock.call_at(self.host.clock.now() + self.retry, self._look)


class Add(Change):
    """A new member. One that shall vote learns first, and is promoted by itself: see `roster`."""

    def __init__(
        self, host: Host, group: Group, node: NodeId, peer_urls: tuple[str, ...], learner: bool, answer: Answer
    ) -> None:
        super().__init__(host, group, node, answer)
        self.peer_urls: Final = peer_urls
        self.learner: Final = learner

    def objection(self, view: View) -> Refusal | None:
        if self.node in view.configuration.everyone():
            return MEMBER_EXISTS
        if any(node not in view.places for node in view.configuration.everyone()):
            return UNHEALTHY  # The cluster has only just begun: nobody knows yet where everybody is.
        if any(
            place.standing is Standing.MEMBER and set(place.peer_urls) & set(self.peer_urls)
            for place in view.places.values()
        ):
            return PEER_URLS_EXIST
        if self.learner:
            learners = [node for node in view.configuration.learners if not view.is_to_vote(node)]
            return TOO_MANY_LEARNERS if len(learners) >= MAX_LEARNERS else None
        return None if may_add_voter(view) else NOT_ENOUGH_STARTED

    def achieved(self, view: View) -> bool:
        return self.node in view.configuration.everyone()

    def first(self) -> Command:
        return AddMember(self.node, self.peer_urls, not self.learner)

    def target(self, view: View) -> Members:
        now = view.configuration
        return Members(now.voters, tuple(sorted({*now.learners, self.node})))


class Remove(Change):
    """A member less. It never comes back under its id."""

    def objection(self, view: View) -> Refusal | None:
        if self.node not in view.configuration.everyone():
            return MEMBER_NOT_FOUND
        if self.node in view.configuration.learners:
            return None
        if not may_remove_voter(view, self.node):
            return NOT_ENOUGH_STARTED
        there = self.host.links | {self.host.identity.member}
        return None if self.node not in there or leaves_a_quorum(view, there) else UNHEALTHY

    def achieved(self, view: View) -> bool:
        return self.node not in view.configuration.everyone()

    def target(self, view: View) -> Members:
        return view.without(self.node)

    def settled_by_our_end(self) -> bool:
        return self.node == self.host.identity.member


class Promote(Change):
    """A learner shall vote."""

    def objection(self, view: View) -> Refusal | None:
        if self.node not in view.configuration.everyone():
            return MEMBER_NOT_FOUND
        if self.node not in view.configuration.learners:
            return NOT_A_LEARNER
        if self.node not in view.started:
            return LEARNER_NOT_READY
        return None if may_promote(view, self.node) else NOT_ENOUGH_STARTED

    def achieved(self, view: View) -> bool:
        return self.node in view.configuration.voters

    def target(self, view: View) -> Members:
        return view.with_voter(self.node)


class Update(Change):
    """A member has moved. The configuration stays as it is."""

    def __init__(self, host: Host, group: Group, node: NodeId, peer_urls: tuple[str, ...], answer: Answer) -> None:
        super().__init__(host, group, node, answer)
        self.peer_urls: Final = peer_urls

    def objection(self, view: View) -> Refusal | None:
        return None if self.node in view.configuration.everyone() else MEMBER_NOT_FOUND

    def achieved(self, view: View) -> bool:
        place = view.places.get(self.node)
        return place is not None and place.peer_urls == self.peer_urls

    def first(self) -> Command:
        return UpdateMember(self.node, self.peer_urls)

    def target(self, view: View) -> Members:
        return view.configuration


def may_add_voter(view: View) -> bool:
    """Would those who were ever started still be a majority? One member may always be joined by a second. (etcd)"""
    voters, started = view.voters, len(set(view.voters) & view.started)
    return (len(voters), started) == (1, 1) or started >= (len(voters) + 1) // 2 + 1


def may_remove_voter(view: View, node: NodeId) -> bool:
    """Is somebody left, and a majority of them has ever been started? (etcd)"""
    left = set(view.configuration.voters) - {node}
    return bool(left) and len(left & view.started) >= len(left) // 2 + 1


def leaves_a_quorum(view: View, there: AbstractSet[NodeId]) -> bool:
    """With one of these voters less, are those that can be reached from here still a majority? (etcd)"""
    voters = view.configuration.voters
    return len(there & set(voters)) - 1 >= 1 + (len(voters) - 1) // 2
