"""Hashes and defragmentation, over a scripted group."""

from __future__ import annotations

import pytest

from ostraka.api import etcd
from ostraka.errors import Corruption, Overloaded
from ostraka.server import hashing
from ostraka.transport.http2.errors import Status

from .scripted import BOUND, World

HASH, HASH_KV, DEFRAGMENT = (f"/etcdserverpb.Maintenance/{name}" for name in ("Hash", "HashKV", "Defragment"))
PUT, COMPACT = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Compact"
STOPPED = (Status.UNAVAILABLE, "etcdserver: server stopped")


def settled(world: World, path: str, request: object) -> object:
    outcomes = world.call(path, request)
    world.settle()
    assert outcomes, f"{path}: no answer"
    return outcomes[0]


def hash_kv(world: World, revision: int = 0) -> etcd.HashKVResponse:
    outcome = settled(world, HASH_KV, etcd.HashKVRequest(revision=revision))
    assert outcome.status == 0, outcome
    return etcd.HashKVResponse.FromString(outcome.body)


def filled(world: World, rounds: int = 3) -> World:
    for number in range(rounds):
        for key in (b"a", b"b", b"c"):
            world.decided(PUT, etcd.PutRequest(key=key, value=b"%d" % number))
    world.decided("/etcdserverpb.KV/DeleteRange", etcd.DeleteRangeRequest(key=b"b"))
    return world


def test_the_same_history_has_the_same_hash_and_another_one_another():
    one, other = filled(World()), filled(World())
    first = hash_kv(one)
    assert first == hash_kv(other) and first.hash and first.hash_revision == 11 and first.compact_revision == -1
    assert hash_kv(one, 5) == hash_kv(other, 5) and hash_kv(one, 5).hash != first.hash
    other.decided(PUT, etcd.PutRequest(key=b"a", value=b"changed"))
    assert hash_kv(other, 11).hash == first.hash != hash_kv(other).hash
    assert hash_kv(other, 11).header.revision == 12


def test_it_does_not_depend_on_how_far_a_removal_has_got():
    one, other = filled(World(), rounds=200), filled(World(), rounds=200)
    before = hash_kv(one)
    one.decided(COMPACT, etcd.CompactionRequest(revision=500))
    settled(other, COMPACT, etcd.CompactionRequest(revision=500, physical=True))
    outcomes = one.call(HASH_KV, etcd.HashKVRequest())
    assert not outcomes and one.group.proposed, "there is something left to remove, and nobody does it"
    one.settle()
    found = etcd.HashKVResponse.FromString(outcomes[0].body)
    assert found == hash_kv(other) and found.compact_revision == 500 and found.hash != before.hash


@pytest.mark.parametrize(
    ("revision", "code", "text"),
    [
        (100, Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
        (4, Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
        (-1, Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
    ],
)
def test_only_revisions_that_are_there_have_one(revision, code, text):
    world = filled(World())
    world.decided(COMPACT, etcd.CompactionRequest(revision=5))
    outcome = settled(world, HASH_KV, etcd.HashKVRequest(revision=revision))
    assert (outcome.status, outcome.message) == (code, text)
    assert hash_kv(world, 5).hash_revision == 5


def test_the_hash_of_all_is_that_of_all_that_is_replicated():
    one, other = filled(World()), filled(World())
    one.group.table.put(b"\0applied", b"the node's own")

    def whole(world: World) -> etcd.HashResponse:
        return etcd.HashResponse.FromString(settled(world, HASH, b"").body)

    assert whole(one) == whole(other) and whole(one).hash and whole(one).header.revision == 11
    other.decided("/etcdserverpb.Lease/LeaseGrant", etcd.LeaseGrantRequest(TTL=5, ID=7))
    assert whole(one).hash != whole(other).hash


def test_a_long_history_is_read_in_turns(monkeypatch):
    monkeypatch.setattr(hashing, "ROWS", 4)
    world = filled(World())
    outcomes = world.call(HASH_KV, etcd.HashKVRequest())
    turns = 0
    while not outcomes:
        world.decided(PUT, etcd.PutRequest(key=b"meanwhile"))
        world.host.turn()
        world.deliver()
        turns += 1
    assert turns == 2
    monkeypatch.undo()
    assert etcd.HashKVResponse.FromString(outcomes[0].body).hash == hash_kv(world, 11).hash


def test_there_are_not_many_at_once_and_those_nobody_waits_for_end(monkeypatch):
    monkeypatch.setattr(hashing, "ROWS", 1)
    world = filled(World())
    waiting = [world.call(HASH_KV, etcd.HashKVRequest()) for _ in range(hashing.MOST)]
    assert world.refused(HASH, b"") == (Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
    world.client.lost("gone")
    world.server.lost("gone")
    while world.host.soon:
        world.host.turn()
    assert [outcomes[0].status for outcomes in waiting] == [Status.UNAVAILABLE] * hashing.MOST
    assert World.__init__(world) is None and hash_kv(filled(world)).hash


@pytest.mark.parametrize("path", [HASH, HASH_KV, DEFRAGMENT, "/etcdserverpb.Auth/AuthStatus"])
def test_a_rotten_state_ends_the_member(path, monkeypatch):
    world = filled(World())
    world.group.broken = Corruption("block 7")
    monkeypatch.setattr(world.host.store, "compact", lambda done: done(world.group.broken))
    outcome = settled(world, path, b"")
    assert (outcome.status, outcome.message) == STOPPED and world.host.failed is world.group.broken


def test_a_hash_that_waits_too_long_is_late():
    world = filled(World(), rounds=200)
    world.decided(COMPACT, etcd.CompactionRequest(revision=500))
    outcomes = world.call(HASH_KV, etcd.HashKVRequest())
    world.member.expire(2 * BOUND)
    world.deliver()
    assert outcomes[0].message == "etcdserver: request timed out"
    world.settle()
    assert not world.member.waiting


def test_defragmenting_is_answered_when_it_is_done(monkeypatch):
    world = World()
    outcomes = world.call(DEFRAGMENT, b"")
    assert not outcomes
    world.settle()
    assert outcomes[0].status == 0 and outcomes[0].body == b""

    def no_room(done: object) -> None:
        raise Overloaded("the disk is full")

    monkeypatch.setattr(world.host.store, "compact", no_room)
    assert world.refused(DEFRAGMENT, b"") == (Status.RESOURCE_EXHAUSTED, "ostraka: the disk is full")


def test_authentication_is_not_enabled():
    world = World()
    status = world.decided("/etcdserverpb.Auth/AuthStatus", b"")
    assert (status.enabled, status.authRevision, status.header.revision) == (False, 1, 1)
    ask = etcd.AuthenticateRequest(name="root", password="x")
    assert world.refused("/etcdserverpb.Auth/Authenticate", ask) == (
        Status.FAILED_PRECONDITION,
        "etcdserver: authentication is not enabled",
    )


def test_status_tells_what_is_in_use():
    world = filled(World())
    reply = world.decided("/etcdserverpb.Maintenance/Status", b"")
    assert reply.dbSize == 4096 and reply.dbSizeInUse == world.host.store.live_size() == 0
