"""The machine as a whole: the same entries give the same bytes, whatever happens between them; nothing raises."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostraka.database import commands as c
from ostraka.database import failures
from ostraka.database.digest import digest_of
from ostraka.database.machine import Database
from ostraka.model.ids import SECOND, Index
from ostraka.model.requests import Batch, Entry, Kind, Members, Request, unpack

from .driving import Driver, entry
from .tables import DictTable

ALICE = c.MemberInfo(1, "alice", ("http://a:2380",), ("http://a:2379",))
BOB = c.MemberInfo(2**64 - 1, "bob", (), (), learner=True)


def random_command(dice: Random) -> c.Command:
    key, end, lease = dice.choice((b"a", b"b", b"\0")), dice.choice((b"", b"\0", b"c")), dice.randrange(1, 4)
    return dice.choice(
        (
            c.Put(key, bytes([dice.randrange(256)]), prev_kv=bool(dice.getrandbits(1))),
            c.Put(key, ignore_value=True),
            c.DeleteRange(key, end, True),
            c.Range(key, end, dice.randrange(3), dice.randrange(20)),
            c.RegisterSession(dice.getrandbits(64)),
            c.Publish(dice.choice((ALICE, BOB)), dice.randrange(2)),
            c.ClusterVersion(dice.randrange(9)),
            c.Txn(
                (c.Compare(key, end, dice.randrange(5), dice.randrange(4), 2),), (c.Put(key),), (c.DeleteRange(end),)
            ),
            c.Compact(dice.randrange(30)),
            c.Sweep(),
            c.LeaseGrant(lease, dice.randrange(1, 9)),
            c.LeaseRevoke(lease),
            c.LeaseRenew((lease, 1)),
            c.LeaseExpire((lease, 2)),
            c.LeaseTimeToLive(lease, True),
            c.Put(key, b"leased", lease),
            c.Put(key, b"leased", lease),
            c.Found(((1, ("http://a",)), (2, ("http://b",)))),
            c.AddMember(dice.randrange(4), (f"http://{dice.randrange(3)}",), bool(dice.getrandbits(1))),
            c.UpdateMember(dice.randrange(4), (f"http://{dice.randrange(3)}",)),
        )
    )


def random_entries(seed: int, count: int) -> list[Entry]:
    """Entries of all kinds, with requests of three sessions that the first of them begins."""
    dice, probe = Random(seed), Driver(DictTable())
    begin = tuple(Request(c.encode(c.RegisterSession(nonce))) for nonce in range(3))
    clients = [reply.client for reply in probe.submit(*begin)]
    entries = [entry(1, begin)]
    for index in range(2, count):
        batches = []
        for _ in range(dice.randrange(3)):
            batch = []
            for _ in range(dice.randrange(5)):
                payload = c.encode(random_command(dice)) if dice.randrange(9) else dice.randbytes(dice.randrange(9))
                client, number = dice.choice((0, *clients, 5)), dice.randrange(1, 12)
                batch.append(Request(payload, client, number, dice.randrange(number)))
            batches.append(tuple(batch))
        entries.append(entry(index, *batches, stamp=index * SECOND))
        if not dice.randrange(9):
            entries[-1] = Entry(index, 1, 0, Kind.MEMBERS, members=Members((1, 2)))
    return entries


def run(entries: Sequence[Entry], restarts: set[Index]) -> tuple[dict[bytes, bytes], list[object], bytes]:
    """Apply them; at `restarts`, another machine takes over the same table."""
    table = DictTable()
    database, seen = Database(table), []
    for each in entries:
        if each.index in restarts:
            database = Database(table)
        outcome = database.apply(each, table)
        seen.append((outcome.replies, outcome.changes))
    return table.rows, seen, database.digest(table)


@pytest.mark.parametrize("seed", range(20))
def test_restarts_between_entries_change_no_byte(seed: int) -> None:
    entries = random_entries(seed, 40)
    once = run(entries, set())
    assert run(entries, set(range(100))) == once
    assert run(entries, set(Random(seed).sample(range(40), 10))) == once


FINGERPRINT = """
import hashlib
from database.test_machine import random_entries, run
rows, seen, digest = run(random_entries(4, 60), {20, 40})
print(hashlib.sha256(repr((sorted(rows.items()), seen, digest)).encode()).hexdigest())
"""


def test_hash_seeds_change_no_byte() -> None:
    """Nothing hangs on the order of a set or on `hash`: another process with another hash seed comes to the same."""
    rows, seen, digest = run(random_entries(4, 60), {20, 40})
    expected = hashlib.sha256(repr((sorted(rows.items()), seen, digest)).encode()).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINT], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == expected, f"PYTHONHASHSEED={seed} gives another state"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=4), st.binary(max_size=20))
def test_bytes_that_are_no_command_are_refused_and_change_nothing(payloads: list[bytes], batch: bytes) -> None:
    table = DictTable()
    database = Database(table)
    requests = tuple(Request(bytes([0x92, 200]) + payload) for payload in payloads)
    outcome = database.apply(entry(1, requests), table)
    assert [c.decode_reply(reply) for reply in outcome.replies[0]] == [failures.MALFORMED] * len(payloads)
    raw = Entry(2, 1, 0, Kind.REQUESTS, (Batch(1, 1, 1, bytes([0xC1]) + batch),))
    assert database.apply(raw, table).replies == [[]]
    assert not table.rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.binary(max_size=40))
def test_any_bytes_at_all_give_a_reply(payload: bytes, batch: bytes) -> None:
    """Whatever they mean: the machine doesn't raise, and a reply can be decoded."""
    table = DictTable()
    outcome = Database(table).apply(entry(1, (Request(payload),)), table)
    assert isinstance(c.decode_reply(outcome.replies[0][0]), c.Reply)
    Database(table).apply(Entry(2, 1, 0, Kind.REQUESTS, (Batch(1, 1, 1, batch),)), table)


def test_a_command_with_a_field_too_many_is_of_another_version() -> None:
    """Its nested content is not even looked at, however deep it goes."""
    payload = b"\x98" + c.encode(c.Put(b"k", b"v"))[1:] + b"\x91" * 100_000
    table = DictTable()
    outcome = Database(table).apply(entry(1, (Request(payload),)), table)
    assert c.decode_reply(outcome.replies[0][0]) == failures.MALFORMED


GOLDEN = [
    (c.Put(b"k", b"v", 3, True, False, True), "9701c4016bc4017603c3c2c3"),
    (c.Range(b"k", b"\0", 1, 2, 1, 4, True, False, 5, 6, 7, 8), "9d02c4016bc4010001020104c3c205060708"),
    (c.Publish(ALICE, 9), "93039501a5616c69636591ad687474703a2f2f613a3233383091ad687474703a2f2f613a32333739c209"),
    (c.RegisterSession(2**64 - 1), "9204cfffffffffffffffff"),
    (c.ClusterVersion(1), "920501"),
    (c.DeleteRange(b"k", b"l", True), "9406c4016bc4016cc3"),
    (c.Failure(14, "e", True), "94000ea165c3"),
    (c.PutDone(2, c.KeyValue(b"k", 1, 2, 3, b"v", 4)), "93010296c4016b010203c4017604"),
    (c.RangeDone(2, (c.KeyValue(b"k", 1, 2, 3, b"v"),), True, 5), "9502029196c4016b010203c4017600c305"),
    (c.Done(), "9103"),
    (c.SessionBegun(7), "920407"),
    (c.DeleteDone(2, 1, ()), "9405020190"),
    (
        c.Txn((c.Compare(b"k", b"l", 1, 2, 3, b"v"),), (c.Put(b"k"), None), (c.Txn(),)),
        "94079196c4016bc4016c010203c40176929701c4016bc40000c2c2c2c0919407909090",
    ),
    (c.Compact(7), "920807"),
    (c.Sweep(), "9109"),
    (
        c.TxnDone(2, True, (c.PutDone(2), c.RangeDone(2), c.DeleteDone(2, 1), c.TxnDone(2, False))),
        "940602c394930102c095020290c2009405020190940602c290",
    ),
    (c.Found(((1, ("u",)),)), "921091920191a175"),
    (c.AddMember(1, ("u",), True), "94110191a175c3"),
    (c.UpdateMember(1, ("u",)), "93120191a175"),
    (c.CompactDone(7), "920707"),
    (c.SweepDone(7, True), "930807c3"),
    (c.LeaseGrant(-2, 9), "930afe09"),
    (c.LeaseRevoke(2), "920b02"),
    (c.LeaseRenew((2**63 - 1, 1)), "920c92cf7fffffffffffffff01"),
    (c.LeaseExpire((1,)), "920d9101"),
    (c.LeaseTimeToLive(1, True), "930e01c3"),
    (c.LeaseGranted(7, 9), "930a0709"),
    (c.LeaseRevoked(7), "920b07"),
    (c.LeaseRenewed(7, (9, 0)), "930c07920900"),
    (c.LeaseExpired(7, (1,)), "930d079101"),
    (c.LeaseLife(7, 8, 9, (b"k",)), "950e07080991c4016b"),
]


@pytest.mark.parametrize(("said", "expected"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_bytes_of_commands_and_replies_never_change(said: c.Command | c.Reply, expected: str) -> None:
    """They are in logs and tables, and between nodes of different versions."""
    assert c.encode(said).hex() == expected
    decode = c.decode_command if isinstance(said, c.Command) else c.decode_reply
    assert decode(bytes.fromhex(expected)) == said


def test_a_member_keeps_its_disk() -> None:
    store = Driver(DictTable())
    assert store.do(c.Publish(BOB, 7)) == c.Done()
    assert store.do(c.Publish(ALICE, 5)) == c.Done()
    moved = c.MemberInfo(1, "alice", ("http://c:2380",), ())
    assert store.do(c.Publish(moved, 5)) == c.Done()
    assert store.do(c.Publish(ALICE, 6)) == failures.OTHER_DISK
    listed = store.database.read(c.ListMembers(), store.table)
    assert listed.registrations == (c.Registration(moved, 5), c.Registration(BOB, 7))
    assert store.database.read(c.Inspect(), store.table).revision == 1, "members are no keys"


def test_a_member_that_has_left_is_forgotten_once_it_is_in_no_configuration() -> None:
    store = Driver(DictTable())
    for member in (ALICE, BOB):
        store.do(c.Publish(member, 1))
    leaving = Members((1,), outgoing=(1, BOB.id))
    for members, left in ((leaving, [1, BOB.id]), (Members((1,)), [1])):
        store.index += 1
        store.database.apply(Entry(store.index, 1, 0, Kind.MEMBERS, members=members), store.table)
        listed = store.database.read(c.ListMembers(), store.table).registrations
        assert [registration.member.id for registration in listed] == left


def test_the_cluster_version_never_goes_back() -> None:
    store = Driver(DictTable())
    for version in (3, 2):
        assert store.do(c.ClusterVersion(version)) == c.Done()
    assert store.database.read(c.Inspect(), store.table) == c.Overview(1, -1, 3)


def test_another_table_is_another_state() -> None:
    """After a snapshot the machine is given a new table, and reads what it keeps in memory from there."""
    store, other = Driver(DictTable()), Driver(DictTable())
    client = other.session()
    other.submit(Request(c.encode(c.Put(b"k", b"v")), client, 1))
    store.do(c.Put(b"a", b""))
    store.do(c.Put(b"a", b""))
    store.table = DictTable(other.table.rows)
    assert store.read(key=b"k").revision == 2
    assert store.submit(Request(c.encode(c.Put(b"k", b"v")), client, 1)) == [c.PutDone(2)]
    assert store.database.digest(store.table) == digest_of(DictTable(store.table.rows))


def test_no_operations_change_nothing() -> None:
    table = DictTable()
    outcome = Database(table).apply(Entry(1, 1, 0), table)
    assert (list(outcome.replies), list(outcome.changes), table.rows) == ([], [], {})


def test_a_query_of_another_machine_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="not a query"):
        Driver(DictTable()).database.read("k", DictTable())


def test_random_entries_are_what_the_tests_above_need() -> None:
    """They do hold executed, repeated, refused and malformed requests, else those tests would show nothing."""
    kinds = set()
    for seed in range(20):
        entries = random_entries(seed, 40)
        _, seen, _ = run(entries, set())
        for replies, _ in seen:  # type: ignore[misc]
            kinds |= {(type(r).__name__, getattr(r, "message", "")) for b in replies for r in map(c.decode_reply, b)}
        assert any(unpack(batch.requests) for each in entries for batch in each.batches)
    expected = [failures.REPLY_GONE, failures.SESSION_UNKNOWN, failures.MALFORMED, failures.OTHER_DISK]
    assert {("Failure", failure.message) for failure in expected} <= kinds
    assert {name for name, _ in kinds} >= {"PutDone", "DeleteDone", "RangeDone", "SessionBegun", "Done"}
    assert {name for name, _ in kinds} >= {"LeaseGranted", "LeaseRevoked", "LeaseRenewed", "LeaseExpired", "LeaseLife"}
