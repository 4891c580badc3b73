"""Sessions: within one, a request is executed once, however often and wherever it is submitted.

Follows:  Ongaro, "Consensus: Bridging Theory and Practice", §6.3 "Implementing linearizable semantics".
Words:    a session's requests are numbered from 1; `acked` says that the client has seen all replies up to it.
Departs:  requests of a session may come in any order, as several can be under way on different nodes. So what has been
          executed is not "all up to the highest" but "those whose reply is kept, and all up to the floor"; the floor
          rises with `acked`, and with replies that are dropped for their number or size.
Evidence: tests/database/test_sessions.py.

Rows: `s` and the session's id hold a `Session`; `r`, the id and a number hold a reply. Who goes when there are too many
sessions is decided by the log alone: the one whose last request was applied longest ago.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from ostraka.database import failures
from ostraka.database.commands import Failure
from ostraka.database.digest import Tracked
from ostraka.model.ids import Index
from ostraka.model.requests import Request

MOST_SESSIONS = 10_000
MOST_REPLIES = 256  # In one session, above its floor.
MOST_REPLY_BYTES = 1 << 20  # In one session; the last reply is kept whatever its size.

_encode = msgspec.msgpack.Encoder().encode


class Session(msgspec.Struct, array_like=True):
    """What is remembered of one client. These limits and rows are replicated state: the same on every replica."""

    used: tuple[Index, int]  # The entry of its last request, and which of the entry's requests that was.
    floor: int = 0  # Requests up to this number are settled: their replies are gone.
    size: int = 0  # Bytes of the replies that are kept.
    replies: dict[int, int] = {}  # The number of each request whose reply is kept, in the order of execution: its size.


_decode: Callable[[bytes], Session] = msgspec.msgpack.Decoder(Session).decode


def row_key(client: int) -> bytes:
    return b"s" + client.to_bytes(8, "big")


def reply_key(client: int, number: int) -> bytes:
    return b"r" + client.to_bytes(8, "big") + number.to_bytes(8, "big")


class Sessions:
    """All sessions, in memory as in the table, the least recently used first."""

    def __init__(self, table: Tracked, most: int = MOST_SESSIONS) -> None:
        self._table, self._most = table, most
        rows = [(int.from_bytes(key[1:], "big"), _decode(row)) for key, row in table.scan(b"s", b"t")]
        self._by_client = dict(sorted(rows, key=lambda row: row[1].used))
        self._touched: dict[int, None] = {}

    def begin(self, nonce: int, index: Index, position: int) -> int | Failure:
        """A new session, begun by this request of this entry. One too many: the least recently used one goes."""
        origin = _encode((nonce, index, position))
        client = int.from_bytes(blake2b(origin, digest_size=8).digest(), "big") >> 1
        if client == 0 or client in self._by_client:
            return failures.SESSION_TAKEN
        while len(self._by_client) >= self._most:
            self._end(next(iter(self._by_client)))
        self._by_client[client] = Session((index, position))
        self._touched[client] = None
        return client

    def earlier_reply(self, request: Request, index: Index, position: int) -> bytes | Failure | None:
        """The reply to this request if it was executed before, why it must not be executed, or None: execute it now.

        Counts as a use of the session, and drops the replies that the client has seen.
        """
        client, number = request.client, request.number
        session = self._by_client.get(client)
        if session is None:
            return failures.SESSION_UNKNOWN
        session.used = (index, position)
        self._by_client[client] = self._by_client.pop(client)
        self._touched[client] = None
        if session.floor < request.acked < number:
            for seen in [n for n in session.replies if n <= request.acked]:
                self._drop(client, session, seen)
            session.floor = request.acked
        if number in session.replies:
            return self._table.get(reply_key(client, number))
        if number < 1:
            return failures.UNNUMBERED
        return failures.REPLY_GONE if number <= session.floor else None

    def keep_reply(self, request: Request, reply: bytes) -> None:
        """The request was executed. Old replies go if there are too many, and with them the right to ask for them."""
        client, number = request.client, request.number
        session = self._by_client.get(client)
        if session is None:
            return  # The request itself began a session, and this one had to go.
        while session.replies and (
            len(session.replies) >= MOST_REPLIES or session.size + len(reply) > MOST_REPLY_BYTES
        ):
            lowest = min(session.replies)
            self._drop(client, session, lowest)
            session.floor = max(session.floor, lowest)
        session.replies[number] = len(reply)
        session.size += len(reply)
        self._table.put(reply_key(client, number), reply)

    def save(self) -> None:
        """Write what the requests since the last call have changed: once an entry, not once a request."""
        for client in self._touched:
            if (session := self._by_client.get(client)) is not None:
                self._table.put(row_key(client), _encode(session))
        self._touched.clear()

    def _drop(self, client: int, session: Session, number: int) -> None:
        session.size -= session.replies.pop(number)
        self._table.delete(reply_key(client, number))

    def _end(self, client: int) -> None:
        session = self._by_client.pop(client)
        for number in list(session.replies):
            self._drop(client, session, number)
        self._table.delete(row_key(client))
