"""The reference as a judge: what was decided is executed a second time, in one process, and must come to the same.

Every reply, every change and every read that the nodes of a simulated cluster give is compared with `reference`. (The
idea is that of etcd's robustness tests: a model in one process, and a real cluster that must behave like it.) All nodes
alike may be wrong, as the machine is deterministic: only somebody else can see that.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ostraka.database import commands, failures, txn
from ostraka.model.ids import Index
from ostraka.model.machine import Change, Outcome
from ostraka.model.requests import Entry, Request, unpack
from ostraka.simulation.reference import Reference, plain

_MODELLED: Final = (
    commands.Put,
    commands.Range,
    commands.DeleteRange,
    commands.Txn,
    commands.Compact,
    commands.LeaseGrant,
    commands.LeaseRevoke,
    commands.LeaseRenew,
    commands.LeaseExpire,
    commands.LeaseTimeToLive,
)
"""The rest is about members and versions, and changes no key."""


class Session:
    """What a client has been answered, as long as it may ask again."""

    def __init__(self) -> None:
        self.floor = 0
        self.replies: dict[int, bytes] = {}


class _Seen(NamedTuple):
    revision: int
    compacted: int


class Replay:
    """One history for all nodes: entry by entry, as the first node executed it."""

    def __init__(self) -> None:
        self.executed: Final[dict[tuple[int, int], bytes]] = {}  # By client and number: the reply.
        self._reference: Final = Reference()
        self._sessions: Final[dict[int, Session]] = {}
        self._after: Final = [_Seen(1, -1)]  # Each entry.

    def entry(self, entry: Entry, outcome: Outcome) -> None:
        """The next entry was decided, and came to this."""
        reference = self._reference
        reference.now = entry.stamp
        before = len(reference.events)
        for batch, replies in zip(entry.batches, outcome.replies, strict=True):
            for request, reply in zip(unpack(batch.requests), replies, strict=True):
                self._request(request, reply)
        changes = [_told(change) for change in outcome.changes]
        expected = reference.events[before:]
        assert changes == expected, f"entry {entry.index} changed {changes}, where the reference changes {expected}"
        self._after.append(_Seen(reference.revision, reference.compacted))

    def revision_at(self, index: Index) -> int:
        """The store's revision after this entry."""
        return self._after[index].revision

    def read(self, index: Index, query: Any, answer: Any) -> None:
        """A node that has executed this many entries was asked for this, and answered."""
        if not isinstance(query, commands.Range | commands.Txn):
            return
        assert isinstance(query, commands.Range) or txn.only_reads(query), f"a query that would write: {query}"
        expected = self._reference.as_of(*self._after[index]).execute(query)
        found = plain(answer)
        assert found == expected, f"after entry {index}, {query} was answered {found}, by the reference {expected}"

    def _request(self, request: Request, reply: bytes) -> None:
        """Within a session executed once, however often it was decided. Without: never decided twice."""
        client, number = request.client, request.number
        if client == 0:
            assert not number or (0, number) not in self.executed, f"request {number} without a session came twice"
            self._execute(request, reply)
            return
        session = self._sessions.get(client)
        if session is None:
            assert reply == commands.encode(failures.SESSION_UNKNOWN), f"session {client} is unknown: {reply!r}"
            return
        if session.floor < request.acked < number:
            session.floor = request.acked
        if number <= session.floor:
            assert reply == commands.encode(failures.REPLY_GONE), f"{client}/{number} was acknowledged: {reply!r}"
        elif number in session.replies:
            first = session.replies[number]
            assert reply == first, f"{client}/{number} was answered {first!r}, and then {reply!r}"
        else:
            session.replies[number] = reply
            self._execute(request, reply)

    def _execute(self, request: Request, reply: bytes) -> None:
        command, told = commands.decode_command(request.payload), commands.decode_reply(reply)
        if request.number:
            self.executed[request.client, request.number] = reply
        if isinstance(command, _MODELLED):
            expected, found = self._reference.execute(command), plain(told)
            assert found == expected, f"{command} came to {found}, in the reference to {expected}"
        elif isinstance(told, commands.SessionBegun):
            assert told.client > 0 and told.client not in self._sessions, f"session {told.client} was begun before"
            self._sessions[told.client] = Session()
        elif isinstance(told, commands.SweepDone):
            assert told.revision == self._reference.revision, f"{told}, at revision {self._reference.revision}"


def _told(change: Change) -> tuple[int, bytes, Any, Any]:
    return (change.revision, change.key, change.old, change.new)
