"""The digest that is kept up to date is the one computed from scratch, and sees every row that counts."""

from __future__ import annotations

import pytest

from ostraka.database import commands as c
from ostraka.database import digest, members
from ostraka.database.digest import digest_of
from ostraka.database.machine import Database
from ostraka.model.requests import Request

from .driving import Driver
from .tables import DictTable
from .test_machine import ALICE, BOB, random_entries


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("seed", range(5))
def test_kept_up_to_date_it_is_the_one_from_scratch(seed: int, every: int) -> None:
    table = DictTable()
    database = Database(table)
    for entry in random_entries(seed, 40):
        database.apply(entry, table)
        if entry.index % every == 0:
            assert database.digest(table) == digest_of(table), f"after entry {entry.index}"


def test_asked_again_it_reads_only_what_has_changed() -> None:
    """Shown by a row that is damaged behind its back: only a digest from scratch looks at it again."""
    store = Driver(DictTable())
    store.do(c.Publish(ALICE, 1))
    before = store.database.digest(store.table)
    store.table.put(members.row_key(ALICE.id), b"damaged")
    assert store.database.digest(store.table) == before != digest_of(store.table)


def test_it_starts_from_scratch_when_too_much_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "MOST_REMEMBERED", 3)
    store = Driver(DictTable())
    client = store.session()
    first = store.database.digest(store.table)
    for number in range(1, 9):
        store.submit(Request(c.encode(c.Put(b"k", b"v")), client, number, number - 1))
    assert first != store.database.digest(store.table) == digest_of(store.table)


def test_one_changed_byte_in_any_row_that_counts_changes_it() -> None:
    store = Driver(DictTable())
    client = store.session()
    store.submit(Request(c.encode(c.Put(b"k", b"v")), client, 1))
    for member in (ALICE, BOB):
        store.do(c.Publish(member, 1))
    store.do(c.LeaseGrant(7, 60))
    store.do(c.Put(b"leased", b"v", 7))
    store.do(c.AddMember(3, ("http://c",), True))
    whole = digest_of(store.table)
    rows = store.table.rows
    counted = [key for key in rows if key[:1] not in b"ckv"]
    assert {key[:1] for key in counted} == {b"h", b"l", b"m", b"n", b"r", b"s", b"z"}
    for key in counted:
        damaged = DictTable(rows)
        damaged.rows[key] = bytes([rows[key][0] ^ 1]) + rows[key][1:]
        assert digest_of(damaged) != whole, f"row {key!r}"
        del damaged.rows[key]
        assert digest_of(damaged) != whole, f"row {key!r}"


def test_rows_of_the_node_do_not_count() -> None:
    table = DictTable()
    nothing = digest_of(table)
    table.put(b"\0applied", b"7")
    assert digest_of(table) == nothing and len(nothing) == 32


def test_where_a_key_ends_counts() -> None:
    assert digest_of(DictTable({b"nab": b"c"})) != digest_of(DictTable({b"na": b"bc"}))
