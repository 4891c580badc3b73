"""Elections and locks over a scripted group: one owner at a time, in the order of asking, whatever befalls others."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.database import commands as c
from ostraka.errors import NotLeader, OutcomeUnknown
from ostraka.model.ids import SECOND
from ostraka.model.requests import Request
from ostraka.server import election
from ostraka.server.claims import FENCING_TOKEN
from ostraka.transport.http2.errors import Status

from .scripted import World

CAMPAIGN, PROCLAIM, LEADER, OBSERVE, RESIGN = (
    f"/v3electionpb.Election/{name}" for name in ("Campaign", "Proclaim", "Leader", "Observe", "Resign")
)
LOCK, UNLOCK = "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock"
PUT, REVOKE = "/etcdserverpb.KV/Put", "/etcdserverpb.Lease/LeaseRevoke"


class Calls(World):
    """A world with leases 1 to 9, and calls that wait."""

    def __init__(self) -> None:
        super().__init__()
        for lease in range(1, 10):
            self.decided("/etcdserverpb.Lease/LeaseGrant", etcd.LeaseGrantRequest(ID=lease, TTL=60))

    def ask(self, path: str, **fields: Any) -> list[Any]:
        """Its outcome will be in the list, once there is one."""
        outcomes = self.call(path, METHODS[path].request(**fields))
        self.settle()
        return outcomes

    def reply(self, path: str, **fields: Any) -> Any:
        [outcome] = self.ask(path, **fields)
        assert outcome.status == 0, outcome
        return METHODS[path].response.FromString(outcome.body)

    def keys(self) -> list[bytes]:
        return [pair.key for pair in self.group.query(c.Range(b"\0", b"\0")).kvs]

    def do(self, command: c.Command) -> None:
        self.group.propose(Request(c.encode(command)), lambda reply, error: None)
        self.settle()


def ended(outcomes: list[Any]) -> tuple[int, str]:
    [outcome] = outcomes
    return outcome.status, outcome.message


def test_a_lock_goes_from_hand_to_hand_in_the_order_of_asking() -> None:
    world = Calls()
    first = world.reply(LOCK, name=b"l", lease=1)
    assert (first.key, first.header.revision) == (b"l/1", 2)
    waiting = [world.ask(LOCK, name=b"l", lease=lease) for lease in (3, 2)]
    assert waiting == [[], []]
    world.reply(UNLOCK, key=first.key)
    assert len(waiting[0]) == 1 and waiting[1] == []
    second = METHODS[LOCK].response.FromString(waiting[0][0].body)
    assert (second.key, second.header.revision) == (b"l/3", 5)
    world.decided(REVOKE, etcd.LeaseRevokeRequest(ID=3))
    world.settle()
    assert METHODS[LOCK].response.FromString(waiting[1][0].body).key == b"l/2"


def test_each_lock_tells_its_fencing_token_and_it_grows() -> None:
    world = Calls()
    outcomes = [world.ask(LOCK, name=b"l", lease=lease) for lease in (1, 2)]
    world.reply(PUT, key=b"other")
    world.reply(UNLOCK, key=b"l/1")
    tokens = [int(outcome.trailers[FENCING_TOKEN]) for [outcome] in outcomes]
    assert tokens == [2, 3]
    assert ended(world.ask(LOCK, name=b"l", lease=2))[0] == 0, "one lease is one holder, however often it asks"


def test_who_waits_is_only_told_by_the_end_of_the_key_before_its_own() -> None:
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    second, third = world.ask(LOCK, name=b"l", lease=2), world.ask(LOCK, name=b"l", lease=3)
    world.do(c.DeleteRange(b"l/2"))
    assert second == third == []
    world.reply(UNLOCK, key=b"l/1")
    assert ended(second) == (Status.UNKNOWN, "mutex: session is expired")
    assert ended(third)[0] == 0


def test_without_a_lease_it_gets_one_of_a_minute() -> None:
    world = Calls()
    key = world.reply(LOCK, name=b"l").key
    lease = int(key.removeprefix(b"l/"), 16)
    life = world.decided("/etcdserverpb.Lease/LeaseTimeToLive", etcd.LeaseTimeToLiveRequest(ID=lease, keys=True))
    assert (life.grantedTTL, list(life.keys)) == (60, [key])


@pytest.mark.parametrize("lease", [0, 2])
def test_who_gives_up_leaves_nothing_behind(lease: int) -> None:
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    outcomes: list[Any] = []
    request = METHODS[LOCK].request(name=b"l", lease=lease)
    call = world.client.unary(LOCK, request.SerializeToString(), outcomes.append, 0)
    world.deliver()
    world.settle()
    third = world.ask(LOCK, name=b"l", lease=3)
    assert len(world.keys()) == 3
    call.cancel()
    world.deliver()
    world.settle()
    assert world.keys() == [b"l/1", b"l/3"] and third == []
    assert len(world.group.query(c.ListLeases()).ids) == 9
    world.reply(UNLOCK, key=b"l/1")
    assert ended(third)[0] == 0


def test_who_gives_up_before_the_key_is_there_leaves_none_either() -> None:
    world = Calls()
    request = METHODS[LOCK].request(name=b"l", lease=1)
    call = world.client.unary(LOCK, request.SerializeToString(), lambda outcome: None, 0)
    world.deliver()
    call.cancel()
    world.deliver()
    world.settle()
    assert world.keys() == []


def test_a_call_whose_time_is_up_is_given_up() -> None:
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    outcomes: list[Any] = []
    request = METHODS[LOCK].request(name=b"l", lease=2)
    world.client.unary(LOCK, request.SerializeToString(), outcomes.append, 0, deadline=SECOND)
    world.deliver()
    world.settle()
    world.server.expire(2 * SECOND)
    world.settle()
    assert ended(outcomes)[0] == Status.DEADLINE_EXCEEDED and world.keys() == [b"l/1"]


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        (LOCK, {"name": b"l", "lease": 99}, "etcdserver: requested lease not found"),
        (UNLOCK, {}, "etcdserver: key is not provided"),
        (CAMPAIGN, {"name": b"e", "lease": 99}, "etcdserver: requested lease not found"),
        (PROCLAIM, {"value": b"v"}, '"leader" field must be provided'),
        (RESIGN, {}, '"leader" field must be provided'),
        (PROCLAIM, {"leader": {"key": b"e/1", "rev": 7, "lease": 1}}, "election: not leader"),
        (PROCLAIM, {"leader": {"name": b"e"}}, "etcdserver: key is not provided"),
        (RESIGN, {"leader": {"name": b"e"}}, "etcdserver: key is not provided"),
        (LEADER, {"name": b"e"}, "election: no leader"),
    ],
)
def test_a_wrong_request_ends_as_in_etcd(path: str, fields: dict[str, Any], text: str) -> None:
    assert ended(Calls().ask(path, **fields)) == (Status.UNKNOWN, text)


def test_what_is_too_large_is_not_proposed() -> None:
    world = Calls()
    big = bytes(world.member.max_request_bytes + 1)
    leader = {"key": b"e/1", "rev": 7, "lease": 1}
    for outcomes in (world.ask(CAMPAIGN, name=b"e", value=big), world.ask(PROCLAIM, leader=leader, value=big)):
        assert ended(outcomes) == (Status.INVALID_ARGUMENT, "etcdserver: request is too large")


@pytest.mark.parametrize("error", [NotLeader("nobody"), OutcomeUnknown("lost")])
def test_without_a_leader_a_claim_is_refused_and_another_member_may_be_asked(error: Any) -> None:
    world = Calls()
    outcomes = world.call(LOCK, METHODS[LOCK].request(name=b"l", lease=1))
    world.group.refuse(error)
    world.settle()
    assert ended(outcomes)[0] == Status.UNAVAILABLE


def test_a_member_that_lags_behind_does_not_grant_what_was_lost_meanwhile() -> None:
    """It sees the end of the key before, and asks first how recent that is."""
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    second = world.ask(LOCK, name=b"l", lease=2)
    world.group.propose(Request(c.encode(c.DeleteRange(b"l/1"))), lambda reply, error: None)
    world.group.decide()
    world.host.turn()
    assert second == [] and len(world.group.reads) == 1
    world.group.propose(Request(c.encode(c.LeaseRevoke(2))), lambda reply, error: None)
    world.settle()
    assert ended(second) == (Status.UNKNOWN, "mutex: session is expired")


def test_a_state_that_was_installed_is_looked_at() -> None:
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    second = world.ask(LOCK, name=b"l", lease=2)
    observers, world.group.observers = world.group.observers, []
    world.do(c.DeleteRange(b"l/1"))
    assert second == []
    world.group.observers = observers
    for installed in world.group.on_installed:
        installed()
    world.settle()
    assert ended(second)[0] == 0


def test_calls_that_wait_end_with_the_member() -> None:
    world = Calls()
    world.reply(LOCK, name=b"l", lease=1)
    second = world.ask(LOCK, name=b"l", lease=2)
    observer = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.settle()
    world.member.stop()
    world.deliver()
    assert ended(second) == (Status.UNAVAILABLE, "etcdserver: server stopped")
    assert observer.outcome is not None and observer.outcome.message == "etcdserver: server stopped"


def test_an_election_from_campaign_to_resignation() -> None:
    world = Calls()
    first = world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one")
    leader = first.leader
    assert (leader.name, leader.key, leader.rev, leader.lease, first.header.revision) == (b"e", b"e/1", 2, 1, 2)
    second = world.ask(CAMPAIGN, name=b"e", lease=2, value=b"two")
    assert world.reply(LEADER, name=b"e").kv.value == b"one"
    assert world.reply(PROCLAIM, leader=leader, value=b"uno").header.revision == 4
    assert world.reply(LEADER, name=b"e").kv.value == b"uno"
    assert second == []
    assert world.reply(RESIGN, leader=leader).header.revision == 5
    elected = METHODS[CAMPAIGN].response.FromString(second[0].body)
    assert (elected.leader.rev, elected.header.revision) == (3, 3) == (int(second[0].trailers[FENCING_TOKEN]), 3)
    assert ended(world.ask(PROCLAIM, leader=leader, value=b"late")) == (Status.UNKNOWN, "election: not leader")
    assert world.reply(RESIGN, leader=leader).header.revision == 5
    assert world.reply(LEADER, name=b"e").kv.value == b"two"


def test_to_campaign_again_proclaims_another_value() -> None:
    world = Calls()
    world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one")
    again = world.reply(CAMPAIGN, name=b"e", lease=1, value=b"uno")
    assert (again.leader.rev, again.header.revision) == (2, 2)
    assert (world.reply(LEADER, name=b"e").kv.value, world.reply(LEADER, name=b"e").kv.lease) == (b"uno", 1)


def test_a_leader_that_names_no_lease_keeps_its_own() -> None:
    world = Calls()
    leader = world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one").leader
    leader.lease = 0
    world.reply(PROCLAIM, leader=leader, value=b"uno")
    assert world.reply(LEADER, name=b"e").kv.lease == 1


def told(stream: Any) -> list[tuple[bytes, int]]:
    return [(each.kv.value, each.header.revision) for each in stream.heard]


def test_an_observer_is_told_of_each_leader_and_each_value() -> None:
    world = Calls()
    stream = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.settle()
    assert not stream.heard
    one = world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one").leader
    world.ask(CAMPAIGN, name=b"e", lease=2, value=b"two")
    world.reply(PUT, key=b"elsewhere")
    world.reply(PROCLAIM, leader=one, value=b"uno")
    world.reply(RESIGN, leader=one)
    world.do(c.LeaseRevoke(2))
    world.reply(CAMPAIGN, name=b"e", lease=3, value=b"three")
    assert told(stream) == [(b"one", 2), (b"uno", 5), (b"two", 6), (b"three", 8)]
    late = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.settle()
    assert told(late) == [(b"three", 8)]
    late.call.cancel()
    stream.call.cancel()
    world.deliver()
    world.do(c.DeleteRange(b"e/3"))
    assert world.member.tallies[OBSERVE].handled[Status.CANCELLED] == 2


def test_one_transaction_may_hand_leadership_on() -> None:
    world = Calls()
    world.reply(CAMPAIGN, name=b"e/x", lease=1, value=b"one")
    stream = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e/x"))
    world.settle()
    world.do(c.Txn((), (c.DeleteRange(b"e/x/1"), c.Put(b"e/x/2", b"two", 2))))
    assert told(stream) == [(b"one", 2), (b"two", 3)]


def test_an_observer_that_doesn_t_read_is_told_who_leads_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "ROOM", -1)
    world = Calls()
    stream = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.settle()
    leader = world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one").leader
    world.reply(PROCLAIM, leader=leader, value=b"uno")
    assert not stream.heard
    monkeypatch.setattr(election, "ROOM", 1 << 20)
    world.do(c.Put(b"e/9", b"any change"))
    assert told(stream) == [(b"uno", 4)]


def test_an_observer_looks_at_a_state_that_was_installed() -> None:
    world = Calls()
    stream = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.settle()
    observers, world.group.observers = world.group.observers, []
    world.reply(CAMPAIGN, name=b"e", lease=1, value=b"one")
    world.group.observers = observers
    for _ in range(2):
        for installed in world.group.on_installed:
            installed()
    world.deliver()
    assert told(stream) == [(b"one", 2)]


def test_an_observer_names_what_it_observes() -> None:
    world = Calls()
    stream = world.stream(OBSERVE)
    stream.call.half_close()
    world.deliver()
    assert stream.outcome is not None and stream.outcome.status == Status.INTERNAL
    wrong = world.stream(OBSERVE)
    wrong.call.send(b"\x0a\xff")
    world.deliver()
    assert wrong.outcome is not None and wrong.outcome.status == Status.INTERNAL
    refused = world.stream(OBSERVE, METHODS[OBSERVE].request(name=b"e"))
    world.group.refuse(NotLeader("nobody"))
    world.deliver()
    assert refused.outcome is not None and refused.outcome.message == "etcdserver: no leader"
