"""Any commands come to what they do in the reference: replies, changes, every state that can still be read."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostraka.database import commands as c
from ostraka.database import machine, mvcc, txn
from ostraka.database.digest import digest_of
from ostraka.database.machine import Database
from ostraka.model.ids import SECOND
from ostraka.simulation import reference as plain_words
from ostraka.simulation.reference import Reference, plain

from .driving import Driver
from .streams import about_leases, commands
from .tables import DictTable

ALL = {"key": b"\0", "range_end": b"\0"}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that most compactions are still under way when the next command comes."""
    monkeypatch.setattr(machine, "SWEPT_BY_ENTRY", 1)
    monkeypatch.setattr(machine, "SWEPT_ON_DEMAND", 2)


def compare(sequence: list[Any]) -> Reference:
    """Give both the same commands."""
    reference, store = Reference(), Driver(DictTable())
    for command in sequence:
        reference.now += SECOND
        store.now = reference.now
        if isinstance(command, c.Sweep):
            assert store.do(command).revision == reference.revision
            continue
        reads = isinstance(command, c.Range) or (isinstance(command, c.Txn) and txn.only_reads(command))
        asked = plain(store.database.read(command, store.table)) if reads and None not in _lists(command) else None
        expected = reference.execute(command)
        assert asked in (None, expected), command
        assert plain(store.do(command)) == expected, command
    check_history(reference, store)
    check_leases(reference, store)
    return reference


def check_leases(reference: Reference, store: Driver) -> None:
    for database in (store.database, Database(DictTable(store.table.rows))):
        listed = database.read(c.ListLeases(), database._table).ids
        assert sorted(listed) == sorted(reference.leases)
        due = [lease for lease, (_, when) in reference.leases.items() if when <= reference.now]
        found = database.read(c.DueLeases(store.now, 99), database._table)
        assert (sorted(found.ids), found.more, found.leases) == (sorted(due), False, len(listed))
        assert list(found.ids) == list(listed)[: len(due)]
    attached = {(pair.lease, pair.key) for pair in reference.states[reference.revision].values() if pair.lease}
    rows = [key[1:] for key in store.table.rows if key.startswith(b"k")]
    assert {(int.from_bytes(row[:8], "big", signed=True), row[8:]) for row in rows} == attached


def _lists(command: Any) -> tuple[Any, ...]:
    return (*command.success, *command.failure) if isinstance(command, c.Txn) else ()


def check_history(reference: Reference, store: Driver) -> None:
    assert [(each.revision, each.key, each.old, each.new) for each in store.changes] == reference.events
    while store.do(c.Sweep()).left:
        pass
    for number in sorted(reference.states):
        everything = tuple(sorted(reference.states[number].values(), key=lambda pair: pair.key))
        if number < reference.compacted:
            assert store.read(**ALL, revision=number).message == plain_words.COMPACTED
        else:
            assert store.read(**ALL, revision=number).kvs == everything
            assert store.do(c.Range(**ALL, revision=number)).kvs == everything
    first = max(reference.compacted, 0)
    history = [(new.mod_revision, new.key) for new in mvcc.history(store.table, first)]
    assert history == [(revision, key) for revision, key, _, _ in reference.events if revision >= first]
    kept = sum(key.startswith(b"h") for key in store.table.rows)
    older = [pair for pair in reference.states.get(first, {}).values() if pair.mod_revision < first]
    assert kept == len(history) + len(older), "what compaction made superfluous is gone"
    assert kept == sum(key.startswith(b"v") for key in store.table.rows)
    assert store.database.digest(store.table) == digest_of(store.table)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, min_size=1, max_size=40))
def test_any_commands_come_to_what_they_do_in_the_reference(sequence: list[Any]) -> None:
    compare(sequence)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(about_leases, min_size=1, max_size=40))
def test_keys_go_with_their_leases_as_in_the_reference(sequence: list[Any]) -> None:
    compare(sequence)


def test_the_streams_are_what_the_tests_above_need() -> None:
    """They reach every error and every kind of answer, else those tests would show little."""
    seen: Counter[str] = Counter()

    def look(sequence: list[Any]) -> None:
        reference, events = Reference(), 0
        for command in sequence:
            reference.now += SECOND
            if isinstance(command, c.Sweep):
                continue
            answer = reference.execute(command)
            seen[answer if isinstance(answer, str) else answer[0]] += 1
            seen["expired with keys"] += answer[0] == "expired" and len(reference.events) > events
            events = len(reference.events)
            if answer[0] == "txn":
                seen["txn that changed something"] += bool(reference.done)
                seen["nested txn"] += any(each[0] == "txn" for each in answer[3])
                seen["failed comparison"] += not answer[2]

    for kinds, examples in ((commands, 300), (about_leases, 50)):
        once = settings(max_examples=examples, deadline=None, database=None, derandomize=True)
        once(given(st.lists(kinds, min_size=20, max_size=40))(look))()
    expected = [getattr(plain_words, name) for name in ("COMPACTED", "FUTURE", "NO_KEY", "NOT_FOUND", "NO_LEASE")]
    expected += [plain_words.LEASE_EXISTS, plain_words.LONG_TTL, "granted", "revoked", "renewed", "expired", "life"]
    expected += ["expired with keys"]
    expected += [plain_words.DUPLICATE, "etcdserver: value is provided", "etcdserver: lease is provided", "compact"]
    expected += ["etcdserver: invalid sort option", "put", "delete", "range", "txn"]
    expected += ["txn that changed something", "nested txn", "failed comparison"]
    assert not [each for each in expected if seen[each] < 10], seen
