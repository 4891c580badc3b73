"""Keep-alives: those of all clients of a member become one command at a time.

A renewal is ordered like a write, so it is acknowledged only by a quorum, and only for a lease that is alive in the
log: a leader that is none any more can't renew. What comes while a command is under way gathers for the next, so the
cost of the log is shared by all, however many they are; that several ask for the same lease costs as much as one.

To renew twice does no harm: it is what the client asks for all the time. So what is lost with a leader is asked again
on the client's behalf, for as long as the client would wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ostraka.database.commands import LeaseId, LeaseRenew, LeaseRenewed, decode_reply, encode
from ostraka.errors import OstrakaError, Overloaded
from ostraka.model.ids import MILLISECOND, Duration, Instant
from ostraka.model.requests import Request
from ostraka.node.group import Group
from ostraka.node.host import Host

Renewed = Callable[[LeaseId, int, int, OstrakaError | None], None]
"""Called once with the lease, the store's revision and the TTL, 0 if there is no such lease; or with an error."""

MOST: Final = 1000
"""Leases in one command: 3 ms of every member's time."""
MOST_WAITING: Final = 200_000
"""Keep-alives that may wait at one member; one more is refused."""
RETRY: Final[Duration] = 50 * MILLISECOND


class Renewals:
    """All keep-alives that wait at one member."""

    def __init__(self, host: Host, group: Group, bound: Duration) -> None:
        """`bound`: how long one may wait."""
        self._host: Final = host
        self._group: Final = group
        self._bound: Final = bound
        self._waiting = 0
        self._gathered: dict[LeaseId, list[tuple[Instant, Renewed]]] = {}  # Each with its deadline.
        self._under_way: dict[LeaseId, list[tuple[Instant, Renewed]]] = {}
        self._due = False  # The next command will be proposed by itself.

    def ask(self, lease: LeaseId, renewed: Renewed) -> None:
        """Renew this lease, and tell."""
        if self._waiting >= MOST_WAITING:
            error = Overloaded(f"{self._waiting} keep-alives wait here already, the most that may; try again later")
            renewed(lease, 0, 0, error)
            return
        self._waiting += 1
        self._gathered.setdefault(lease, []).append((self._host.clock.now() + self._bound, renewed))
        if not self._under_way and not self._due:
            self._due = True
            self._host.clock.call_soon(self._propose)

    def _propose(self) -> None:
        self._due = False
        gathered = self._gathered
        if len(gathered) <= MOST:
            self._under_way, self._gathered = gathered, {}
        else:
            self._under_way = {lease: gathered.pop(lease) for lease in list(gathered)[:MOST]}
        self._group.propose(Request(encode(LeaseRenew(tuple(self._under_way)))), self._answered)

    def _answered(self, reply: bytes | None, error: OstrakaError | None) -> None:
        asked, self._under_way = self._under_way, {}
        if reply is None:
            assert error is not None, "exactly one of the two is given"
            self._failed(asked, error)
            return
        done = decode_reply(reply)
        assert isinstance(done, LeaseRenewed), f"the machine answered a renewal with {done}"
        if self._gathered:
            self._propose()
        for (lease, waiting), ttl in zip(asked.items(), done.ttls, strict=True):
            self._waiting -= len(waiting)
            for _, renewed in waiting:
                renewed(lease, done.revision, ttl, None)

    def _failed(self, asked: dict[LeaseId, list[tuple[Instant, Renewed]]], error: OstrakaError) -> None:
        """Try again for those who have time left, unless it will never do."""
        now = self._host.clock.now()
        late: list[tuple[LeaseId, Renewed]] = []
        for lease, waiting in asked.items():
            for deadline, renewed in waiting:
                if deadline <= now or self._host.failed is not None:
                    late.append((lease, renewed))
                else:
                    self._gathered.setdefault(lease, []).append((deadline, renewed))
        if self._gathered:
            self._due = True
            self._host.clock.call_at(now + RETRY, self._propose)
        self._waiting -= len(late)
        for lease, renewed in late:
            renewed(lease, 0, 0, error)
