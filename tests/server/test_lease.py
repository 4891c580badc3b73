"""The Lease service over a scripted group: etcd's answers, and every way in which a stream can end."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.database import commands as c
from ostraka.errors import NotLeader, OutcomeUnknown, StorageError
from ostraka.model.ids import MILLISECOND, SECOND
from ostraka.server import lease, renewals
from ostraka.server.renewals import RETRY
from ostraka.transport.http2.errors import Status

from .scripted import BOUND, PATIENCE, World

GRANT, REVOKE, KEEP_ALIVE, TIME_TO_LIVE, LEASES = (
    f"/etcdserverpb.Lease/Lease{name}" for name in ("Grant", "Revoke", "KeepAlive", "TimeToLive", "Leases")
)
PUT = "/etcdserverpb.KV/Put"
NO_LEADER = (Status.UNAVAILABLE, "etcdserver: no leader")


def keep(lease: int) -> Any:
    return etcd.LeaseKeepAliveRequest(ID=lease)


def granted(world: World, lease: int = 7, ttl: int = 60) -> Any:
    return world.decided(GRANT, etcd.LeaseGrantRequest(ID=lease, TTL=ttl))


def test_a_lease_from_its_grant_to_its_end() -> None:
    world = World()
    assert (granted(world).ID, granted(world, 8, -1).TTL) == (7, 2), "the least is one and a half election timeouts"
    world.decided(PUT, etcd.PutRequest(key=b"b", lease=7))
    world.decided(PUT, etcd.PutRequest(key=b"a", lease=7))
    world.host.time = SECOND // 2
    reply = world.decided(TIME_TO_LIVE, etcd.LeaseTimeToLiveRequest(ID=7, keys=True))
    assert (reply.ID, reply.TTL, reply.grantedTTL, list(reply.keys)) == (7, 59, 60, [b"a", b"b"])
    assert [each.ID for each in world.decided(LEASES, b"").leases] == [8, 7]
    assert world.decided(REVOKE, etcd.LeaseRevokeRequest(ID=7)).header.revision == 4
    assert world.refused(REVOKE, etcd.LeaseRevokeRequest(ID=7)) == (
        Status.NOT_FOUND,
        "etcdserver: requested lease not found",
    )
    reply = world.decided(TIME_TO_LIVE, etcd.LeaseTimeToLiveRequest(ID=7))
    assert (reply.ID, reply.TTL, reply.grantedTTL, reply.header.revision) == (7, -1, 0, 4)


def test_ids_are_drawn_for_who_brings_none() -> None:
    world = World()
    ids = {granted(world, 0).ID for _ in range(20)}
    assert len(ids) == 20 and all(0 < each < 1 << 63 for each in ids)


@pytest.mark.parametrize(
    ("lease", "ttl", "refusal"),
    [
        (7, 5, (Status.FAILED_PRECONDITION, "etcdserver: lease already exists")),
        (8, 9_000_000_001, (Status.OUT_OF_RANGE, "etcdserver: too large lease TTL")),
    ],
)
def test_what_is_not_granted(lease: int, ttl: int, refusal: tuple[int, str]) -> None:
    world = World()
    granted(world)
    assert world.refused(GRANT, etcd.LeaseGrantRequest(ID=lease, TTL=ttl)) == refusal


def test_keep_alives_are_answered_in_their_order_and_become_one_command() -> None:
    world = World()
    granted(world)
    granted(world, 8, 30)
    world.decided(PUT, etcd.PutRequest(key=b"k"))
    stream = world.stream(KEEP_ALIVE, keep(7), keep(9), keep(8), keep(7), keep(0))
    assert not world.group.proposed
    world.host.turn()
    [(request, _)] = world.group.proposed
    assert c.decode_command(request.payload) == c.LeaseRenew((7, 9, 8, 0))
    world.settle()
    assert sorted((each.ID, each.TTL) for each in stream.heard) == [(0, 0), (7, 60), (7, 60), (8, 30), (9, 0)]
    assert {each.header.revision for each in stream.heard} == {2}
    assert stream.outcome is None


def test_what_comes_while_a_command_is_under_way_gathers_for_the_next() -> None:
    world = World()
    granted(world)
    stream = world.stream(KEEP_ALIVE, keep(7))
    world.host.turn()
    for _ in range(3):
        stream.call.send(keep(7).SerializeToString())
        world.deliver()
        world.host.turn()
    assert len(world.group.proposed) == 1
    world.group.decide()
    assert len(world.group.proposed) == 1
    world.settle()
    assert [each.TTL for each in stream.heard] == [60] * 4


def test_one_command_renews_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "MOST", 2)
    world = World()
    stream = world.stream(KEEP_ALIVE, *map(keep, range(5)))
    world.host.turn()
    sizes = []
    while world.group.proposed:
        [(request, _)] = world.group.proposed
        sizes.append(len(c.decode_command(request.payload).ids))  # type: ignore[attr-defined]
        world.group.decide()
    world.deliver()
    assert sizes == [2, 2, 1] and len(stream.heard) == 5


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), NotLeader("nobody")])
def test_a_keep_alive_outlives_its_leader(error: Any) -> None:
    """It may have been renewed, or not: to ask again does no harm, and no client notices."""
    world = World()
    granted(world)
    stream = world.stream(KEEP_ALIVE, keep(7))
    world.host.turn()
    world.group.refuse(error)
    world.host.turn()
    assert not world.group.proposed
    world.host.time += RETRY
    stream.call.send(keep(7).SerializeToString())
    world.deliver()
    world.host.turn()
    world.settle()
    assert [each.TTL for each in stream.heard] == [60, 60] and stream.outcome is None


def test_without_a_leader_keep_alives_end_as_etcds_do() -> None:
    world = World()
    stream = world.stream(KEEP_ALIVE, keep(7))
    while stream.outcome is None:
        world.host.turn()
        world.group.refuse(NotLeader("nobody"))
        world.host.time += RETRY
        world.deliver()
    assert (stream.outcome.status, stream.outcome.message) == NO_LEADER
    assert BOUND <= world.host.time < BOUND + 3 * RETRY
    world.host.turn()
    assert not world.group.proposed


def test_a_member_that_has_failed_tries_no_more() -> None:
    world = World()
    stream = world.stream(KEEP_ALIVE, keep(7))
    world.host.turn()
    world.host.failed = StorageError("broken")
    world.group.refuse(OutcomeUnknown("the disk failed"))
    world.deliver()
    assert stream.outcome is not None and stream.outcome.status == Status.UNAVAILABLE


def test_too_many_keep_alives_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "MOST_WAITING", 3)
    world = World()
    stream, other = world.stream(KEEP_ALIVE, keep(7), keep(7), keep(8)), world.stream(KEEP_ALIVE, keep(9))
    assert other.outcome is not None
    assert (other.outcome.status, other.outcome.message) == (
        Status.RESOURCE_EXHAUSTED,
        "etcdserver: too many requests",
    )
    world.settle()
    assert len(stream.heard) == 3
    again = world.stream(KEEP_ALIVE, keep(9))
    world.settle()
    assert len(again.heard) == 1


def test_a_client_that_asks_faster_than_it_is_answered_is_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MOST_PENDING", 2)
    world = World()
    stream = world.stream(KEEP_ALIVE, *[keep(7)] * 5)
    world.host.turn()
    assert world.group.proposed and not stream.heard
    world.settle()
    assert len(stream.heard) == 5


def test_a_stream_ends_when_all_is_answered() -> None:
    world = World()
    stream = world.stream(KEEP_ALIVE, keep(7))
    stream.call.half_close()
    world.deliver()
    assert stream.outcome is None
    world.settle()
    assert len(stream.heard) == 1 and stream.outcome is not None and stream.outcome.status == Status.OK
    silent = world.stream(KEEP_ALIVE)
    silent.call.half_close()
    world.deliver()
    assert silent.outcome is not None and silent.outcome.status == Status.OK


def test_who_has_left_is_not_answered() -> None:
    world = World()
    stream = world.stream(KEEP_ALIVE, keep(7))
    stream.call.cancel()
    world.deliver()
    world.settle()
    assert not stream.heard and not world.server.closed
    assert world.member.tallies[KEEP_ALIVE].handled[Status.CANCELLED] == 1


def test_streams_end_with_the_member_and_without_a_leader_if_they_want_one() -> None:
    world = World()
    plain, wants = world.stream(KEEP_ALIVE), world.stream(KEEP_ALIVE, hasleader="true")
    world.group.leader = 0
    world.member.expire(PATIENCE)
    world.deliver()
    assert plain.outcome is None
    assert wants.outcome is not None and (wants.outcome.status, wants.outcome.message) == NO_LEADER
    refused = world.stream(KEEP_ALIVE, hasleader="true")
    assert refused.outcome is not None and (refused.outcome.status, refused.outcome.message) == NO_LEADER
    world.member.stop()
    world.deliver()
    assert plain.outcome is not None and plain.outcome.message == "etcdserver: server stopped"


def test_a_message_that_is_none_ends_the_stream() -> None:
    world = World()
    stream = world.stream(KEEP_ALIVE)
    stream.call.send(b"\x08")
    world.deliver()
    assert stream.outcome is not None and stream.outcome.status == Status.INTERNAL


def test_retries_are_not_told_apart_from_what_comes_meanwhile() -> None:
    """While a retry waits for its time, another keep-alive doesn't go before it, and isn't forgotten."""
    world = World()
    first = world.stream(KEEP_ALIVE, keep(7))
    world.host.turn()
    world.group.refuse(OutcomeUnknown("lost"))
    second = world.stream(KEEP_ALIVE, keep(8))
    world.host.turn()
    assert not world.group.proposed
    world.host.time += RETRY + MILLISECOND
    world.host.turn()
    world.settle()
    assert len(first.heard) == len(second.heard) == 1
