"""A request of a session is executed once; what is no longer known is never executed again."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.database import failures, sessions
from ostraka.database.commands import DeleteRange, Failure, Put, PutDone, Range, RegisterSession, SessionBegun, encode
from ostraka.database.digest import Tracked
from ostraka.database.machine import Database
from ostraka.database.sessions import Sessions, reply_key, row_key
from ostraka.model.requests import Request

from .driving import Driver
from .tables import DictTable


@pytest.fixture
def store() -> Driver:
    return Driver(DictTable())


def asking(client: int, number: int, acked: int = 0, value: bytes = b"v") -> Request:
    return Request(encode(Put(b"k", value)), client, number, acked)


def test_the_same_request_gets_the_same_reply_and_is_executed_once(store: Driver) -> None:
    client = store.session()
    first = store.submit(asking(client, 1))
    assert first == [PutDone(2)]
    store.do(Put(b"k", b"between"))
    assert store.submit(asking(client, 1), asking(client, 1)) == first * 2
    assert store.read(key=b"k").kvs[0].value == b"between"
    assert len(store.changes) == 2


def test_a_failure_is_a_reply_like_any_other(store: Driver) -> None:
    client = store.session()
    refused = Request(encode(Put(b"k", ignore_value=True)), client, 1)
    assert store.submit(refused) == [failures.KEY_NOT_FOUND]
    store.do(Put(b"k", b"v"))
    assert store.submit(refused) == [failures.KEY_NOT_FOUND], "it would succeed now, but it was executed before"


def test_requests_come_in_any_order(store: Driver) -> None:
    client = store.session()
    assert store.submit(asking(client, 3)) == [PutDone(2)]
    assert store.submit(asking(client, 1)) == [PutDone(3)]
    assert store.submit(asking(client, 2)) == [PutDone(4)]
    assert store.submit(asking(client, 1), asking(client, 3)) == [PutDone(3), PutDone(2)]


def test_replies_that_the_client_has_seen_are_dropped_and_their_requests_never_executed_again(store: Driver) -> None:
    client = store.session()
    store.submit(asking(client, 1), asking(client, 2))
    assert reply_key(client, 1) in store.table.rows
    store.submit(asking(client, 3, acked=1))
    assert reply_key(client, 1) not in store.table.rows and reply_key(client, 2) in store.table.rows
    late = store.submit(asking(client, 1))[0]
    assert isinstance(late, Failure) and late.unknown
    assert store.submit(asking(client, 2)) == [PutDone(3)]
    assert len(store.changes) == 3


def test_an_unknown_session_executes_nothing(store: Driver) -> None:
    for client in (1, -1, 2**64 - 1):
        reply = store.submit(asking(client, 1))[0]
        assert isinstance(reply, Failure) and reply.unknown and "session" in reply.message
    assert not store.changes


@pytest.mark.parametrize("number", [0, -1])
def test_an_unnumbered_request_of_a_session_is_refused(store: Driver, number: int) -> None:
    assert store.submit(asking(store.session(), number)) == [failures.UNNUMBERED]
    assert not store.changes


def test_the_number_of_kept_replies_is_bounded(store: Driver) -> None:
    """The lowest goes; what can't be told any more is not executed again, even if it never was."""
    client = store.session()
    for number in range(2, sessions.MOST_REPLIES + 3):
        store.submit(asking(client, number))
    assert sum(key.startswith(b"r") for key in store.table.rows) == sessions.MOST_REPLIES
    for lost in (1, 2):
        reply = store.submit(asking(client, lost))[0]
        assert isinstance(reply, Failure) and reply.unknown
    assert store.submit(asking(client, 3)) == [PutDone(3)]


def test_the_bytes_of_kept_replies_are_bounded_but_the_last_is_kept(store: Driver) -> None:
    client = store.session()
    store.do(Put(b"big", b"x" * (sessions.MOST_REPLY_BYTES + 1)))
    small, big = asking(client, 1), Request(encode(Range(b"big")), client, 2)
    store.submit(small)
    answer = store.submit(big)
    assert reply_key(client, 1) not in store.table.rows
    assert store.submit(big) == answer
    store.submit(asking(client, 3))
    assert reply_key(client, 2) not in store.table.rows


def test_the_least_recently_used_session_goes_first_and_a_reload_changes_nothing() -> None:
    """Use within one entry counts in the order of its requests, and that order is in the table."""
    table = Tracked(DictTable())
    kept = Sessions(table, most=3)
    clients: list[Any] = [kept.begin(nonce, 1, nonce) for nonce in range(1, 4)]
    kept.earlier_reply(asking(clients[1], 1), 2, 1)
    kept.keep_reply(asking(clients[1], 1), b"reply")
    kept.earlier_reply(asking(clients[0], 1), 2, 2)
    kept.save()
    for again in (kept, Sessions(table, most=3)):
        assert list(again._by_client) == [clients[2], clients[1], clients[0]]
    kept = Sessions(table, most=3)
    kept.begin(4, 3, 1)
    kept.begin(5, 3, 2)
    kept.save()
    assert kept.earlier_reply(asking(clients[2], 1), 4, 1) is failures.SESSION_UNKNOWN
    assert kept.earlier_reply(asking(clients[1], 1), 4, 2) is failures.SESSION_UNKNOWN
    assert kept.earlier_reply(asking(clients[0], 1), 4, 3) is None
    assert table.get(reply_key(clients[1], 1)) is None, "replies go with their session"


def test_ids_hang_on_nonce_entry_and_place(store: Driver) -> None:
    register = Request(encode(RegisterSession(7)))
    replies = store.submit(register, register) + store.submit(register) + [store.do(RegisterSession(8))]
    ids = {reply.client for reply in replies if isinstance(reply, SessionBegun)}
    assert len(ids) == 4 and all(0 < client < 2**63 for client in ids)


def test_a_session_survives_another_machine_over_the_same_table(store: Driver) -> None:
    client = store.session()
    first = store.submit(asking(client, 1), Request(encode(DeleteRange(b"k")), client, 2))
    store.database = Database(store.table)
    assert store.submit(asking(client, 1), Request(encode(DeleteRange(b"k")), client, 2)) == first
    assert len(store.changes) == 2


def test_a_session_is_written_once_an_entry_and_only_if_it_was_used(
    store: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, idle = store.session(1), store.session(2)
    written: list[bytes] = []
    monkeypatch.setattr(store.table, "put", lambda key, value: written.append(key))
    store.submit(asking(used, 1), asking(used, 2))
    assert written.count(row_key(used)) == 1 and row_key(idle) not in written
