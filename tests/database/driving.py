"""Entries out of commands."""

from __future__ import annotations

from typing import Any

from ostraka.database import commands as c
from ostraka.database.machine import Database
from ostraka.model.ids import ClusterTime
from ostraka.model.machine import Table
from ostraka.model.requests import Batch, Entry, Kind, Request, pack


def entry(index: int, *batches: tuple[Request, ...], stamp: ClusterTime = 0) -> Entry:
    """An entry of requests."""
    return Entry(
        index, 1, stamp, Kind.REQUESTS, tuple(Batch(1, 1, number, pack(batch)) for number, batch in enumerate(batches))
    )


class Driver:
    """A database that is given one command an entry. Its time is `now`."""

    def __init__(self, table: Table) -> None:
        self.table, self.database, self.index = table, Database(table), 0
        self.now: ClusterTime = 0
        self.changes: list[Any] = []

    def submit(self, *requests: Request) -> list[Any]:
        """The replies to these requests, in one entry."""
        self.index += 1
        outcome = self.database.apply(entry(self.index, requests, stamp=self.now), self.table)
        self.changes += outcome.changes
        return [c.decode_reply(reply) for reply in outcome.replies[0]]

    def do(self, command: c.Command) -> Any:
        """The reply to this command."""
        return self.submit(Request(c.encode(command)))[0]

    def read(self, **query: Any) -> Any:
        """The answer to a range query."""
        return self.database.read(c.Range(**query), self.table)

    def session(self, nonce: int = 1) -> int:
        """Begin a session."""
        return int(self.do(c.RegisterSession(nonce)).client)
