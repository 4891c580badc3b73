"""Who sees to it that leases end: the member that leads proposes it, and the log decides.

Nothing here has to be right for a lease to be safe. What is proposed too early, by a leader that is none any more, or
after a renewal, is void where it is applied, by the entry's own time. Here is only seen to it that what is due goes:
soon, in small pieces between which others write, and whoever leads.

Cluster time is known from entries. So that it comes on even if a cluster with leases has nothing else to write, and its
leader changes again and again, an entry is written whenever there was none for a while: with each change of leader the
leases' lives grow by no more than that while, and the time without a leader.
"""

from __future__ import annotations

from typing import Final

from ostraka.database.commands import Due, DueLeases, LeaseExpire, encode
from ostraka.errors import OstrakaError, StorageError
from ostraka.model.ids import MILLISECOND, ClusterTime, Duration, Index, Instant
from ostraka.model.requests import Request
from ostraka.node.group import Group
from ostraka.node.host import Host

MOST: Final = 50
"""Leases in one entry, each a revision that deletes its keys."""
PAUSE: Final[Duration] = 10 * MILLISECOND
"""Between one such entry and the next."""


class Expiry:
    """Of one group's leases, at one member."""

    def __init__(self, host: Host, group: Group, election_timeout: Duration) -> None:
        """Looks at the leases four times in an election timeout, and writes at least once in one."""
        self._host: Final = host
        self._group: Final = group
        self._every: Final[Duration] = election_timeout // 4
        self._silence: Final = election_timeout
        self._index: Index = -1  # The last entry known to be applied,
        self._stamp: ClusterTime = 0  # its time,
        self._since: Instant = 0  # and when it was first seen: cluster time has come on at least as far since.
        self._under_way = False

    def start(self) -> None:
        """Begin to look. It ends with the host."""
        self._look()

    def _look(self) -> None:
        host, group = self._host, self._group
        if host.failed is not None:
            return
        now = host.clock.now()
        host.clock.call_at(now + self._every, self._look)
        if group.role == "leader" and not self._under_way:
            self._propose(now)

    def _propose(self, now: Instant) -> None:
        group = self._group
        if group.applied != self._index:
            self._index, self._stamp, self._since = group.applied, group.applied_stamp, now
        try:
            due: Due = group.query(DueLeases(self._stamp + now - self._since, MOST))
        except StorageError as failure:
            self._host.fail(failure)
            return
        if due.ids or (due.leases and now - self._since >= self._silence):
            self._under_way = True
            group.propose(Request(encode(LeaseExpire(due.ids))), self._answered)
        elif due.more:
            self._go_on()

    def _answered(self, reply: bytes | None, error: OstrakaError | None) -> None:
        """If it didn't happen, or it isn't known, the next look finds them again."""
        self._under_way = False
        if reply is not None:
            self._go_on()

    def _go_on(self) -> None:
        clock = self._host.clock
        clock.call_at(clock.now() + PAUSE, self._look_again)

    def _look_again(self) -> None:
        if self._host.failed is None and self._group.role == "leader" and not self._under_way:
            self._propose(self._host.clock.now())
