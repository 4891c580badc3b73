"""Changes of members by the services: what is done, what is refused in etcd's words, and what is open in between."""

from __future__ import annotations

import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.database.commands import Found, MemberInfo, Publish, encode
from ostraka.errors import MembersChanged, NotCaughtUp, NotExecuted, NotLeader, OutcomeUnknown, Refused, Removed
from ostraka.model.requests import Members, Request
from ostraka.server.roster import Roster
from ostraka.storage.birth import Birth
from ostraka.transport.http2.errors import Status

from .scripted import BOUND, ME, OTHER, World

ADD, REMOVE, UPDATE, PROMOTE, LIST = (
    f"/etcdserverpb.Cluster/Member{name}" for name in ("Add", "Remove", "Update", "Promote", "List")
)
MOVE, STATUS = "/etcdserverpb.Maintenance/MoveLeader", "/etcdserverpb.Maintenance/Status"
RANGE, PUT = "/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put"
THIRD = 0xC3
URLS = {ME: ("http://127.0.0.1:1",), OTHER: ("http://127.0.0.1:2",), THIRD: ("http://127.0.0.1:3",)}
NEW = etcd.MemberAddRequest(peerURLs=["http://127.0.0.1:9"])
LEARNER = etcd.MemberAddRequest(peerURLs=["http://127.0.0.1:9"], isLearner=True)


def world(*voters: int, learners: tuple[int, ...] = (), unstarted: tuple[int, ...] = ()) -> World:
    """A cluster of these, all of whom have said where they are, and all but `unstarted` who they are."""
    it = World()
    group = it.group
    group.meta = group.meta.__class__(0, 0, 0, Members(voters, learners))
    group.propose(Request(encode(Found(tuple((node, URLS[node]) for node in (*voters, *learners))))), ignore)
    for node in (*voters, *learners):
        if node not in unstarted:
            info = MemberInfo(node, f"n{node:x}", URLS[node], (f"http://client:{node}",))
            group.propose(Request(encode(Publish(info, node))), ignore)
    group.decide()
    it.host.links = {*voters, *learners} - {ME}
    return it


def ignore(reply: object, error: object) -> None:
    assert error is None


def ends(it: World, path: str, request: object) -> object:
    """The reply, or status and text."""
    outcome = it.settled(path, request)
    if outcome.status:
        return outcome.status, outcome.message
    return METHODS[path].response.FromString(outcome.body)


def listed(it: World) -> list[tuple[int, str, bool]]:
    """Id, first peer URL, and whether it learns, of each member."""
    reply = it.decided(LIST, etcd.MemberListRequest(linearizable=True))
    return [(each.ID, each.peerURLs[0], each.isLearner) for each in reply.members]


def precondition(text: str) -> tuple[int, str]:
    return Status.FAILED_PRECONDITION, f"etcdserver: {text}"


NOT_FOUND = (Status.NOT_FOUND, "etcdserver: member not found")
BAD_URLS = (Status.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
NOT_ENOUGH = precondition("re-configuration failed due to not enough started members")
NOT_READY = precondition("can only promote a learner member which is in sync with leader")


def test_a_member_is_added_as_a_learner_and_the_configuration_is_the_last_to_know():
    it = world(ME, OTHER)
    outcomes = it.call(ADD, NEW)
    it.group.decide()  # It has been looked at.
    assert it.group.proposed and not it.group.changes, "first where it is,"
    it.group.decide()
    assert not outcomes and it.group.meta.members.learners, "then the configuration,"
    it.group.decide()  # which is looked at again.
    it.deliver()
    reply = etcd.MemberAddResponse.FromString(outcomes[0].body)
    assert list(reply.member.peerURLs) == ["http://127.0.0.1:9"] and reply.member.isLearner
    assert [each.ID for each in reply.members] == sorted([ME, OTHER, reply.member.ID])
    assert listed(it)[-1][1:] == ("http://127.0.0.1:9", True)


def test_ids_never_come_back():
    it = world(ME, OTHER)
    ids = set()
    for _ in range(5):
        added = ends(it, ADD, NEW).member.ID
        assert added not in ids
        ids.add(added)
        assert len(ends(it, REMOVE, etcd.MemberRemoveRequest(ID=added)).members) == 2
        assert ends(it, REMOVE, etcd.MemberRemoveRequest(ID=added)) == NOT_FOUND


@pytest.mark.parametrize(
    ("it", "path", "request_", "expected"),
    [
        (lambda: world(ME), ADD, etcd.MemberAddRequest(), BAD_URLS),
        (lambda: world(ME), ADD, etcd.MemberAddRequest(peerURLs=["127.0.0.1:9"]), BAD_URLS),
        (lambda: world(ME), ADD, etcd.MemberAddRequest(peerURLs=["http://a:1/path"]), BAD_URLS),
        (lambda: world(ME), UPDATE, etcd.MemberUpdateRequest(ID=ME, peerURLs=["ftp://a:1"]), BAD_URLS),
        (
            lambda: world(ME, OTHER),
            ADD,
            etcd.MemberAddRequest(peerURLs=["http://b:1", *URLS[OTHER]]),
            precondition("Peer URLs already exists"),
        ),
        (
            lambda: world(ME, OTHER),
            UPDATE,
            etcd.MemberUpdateRequest(ID=ME, peerURLs=URLS[OTHER]),
            precondition("Peer URLs already exists"),
        ),
        (
            lambda: world(ME, OTHER, learners=(THIRD,)),
            ADD,
            LEARNER,
            precondition("too many learner members in cluster"),
        ),
        (lambda: world(ME, OTHER, unstarted=(OTHER,)), ADD, NEW, NOT_ENOUGH),
        (lambda: world(ME, OTHER, unstarted=(OTHER,)), REMOVE, etcd.MemberRemoveRequest(ID=ME), NOT_ENOUGH),
        (lambda: world(ME), REMOVE, etcd.MemberRemoveRequest(ID=ME), NOT_ENOUGH),
        (lambda: world(ME), REMOVE, etcd.MemberRemoveRequest(ID=7), NOT_FOUND),
        (lambda: world(ME), UPDATE, etcd.MemberUpdateRequest(ID=7, peerURLs=["http://a:1"]), NOT_FOUND),
        (lambda: world(ME), PROMOTE, etcd.MemberPromoteRequest(ID=7), NOT_FOUND),
        (
            lambda: world(ME),
            PROMOTE,
            etcd.MemberPromoteRequest(ID=ME),
            precondition("can only promote a learner member"),
        ),
        (
            lambda: world(ME, learners=(OTHER,), unstarted=(OTHER,)),
            PROMOTE,
            etcd.MemberPromoteRequest(ID=OTHER),
            NOT_READY,
        ),
        (World, ADD, NEW, (Status.UNAVAILABLE, "etcdserver: unhealthy cluster")),
    ],
)
def test_what_is_refused_has_etcds_code_and_text_and_changes_nothing(it, path, request_, expected):
    it = it()
    before = it.group.meta.members
    assert ends(it, path, request_) == expected
    assert it.group.meta.members == before


def test_one_more_is_no_danger_as_long_as_those_started_are_a_majority():
    it = world(ME, OTHER, THIRD)
    assert ends(it, ADD, NEW).member.ID
    assert ends(it, ADD, etcd.MemberAddRequest(peerURLs=["http://127.0.0.1:8"])).member.ID
    assert ends(it, ADD, etcd.MemberAddRequest(peerURLs=["http://127.0.0.1:7"])) == NOT_ENOUGH
    learner = etcd.MemberAddRequest(peerURLs=["http://127.0.0.1:7"], isLearner=True)
    assert len(ends(it, ADD, learner).members) == 6, "a learner is no voter"


def test_a_voter_that_is_needed_is_not_removed_and_a_dead_one_is():
    it = world(ME, OTHER, THIRD)
    it.host.links = {OTHER}
    for needed in (ME, OTHER):
        assert ends(it, REMOVE, etcd.MemberRemoveRequest(ID=needed)) == (
            Status.UNAVAILABLE,
            "etcdserver: unhealthy cluster",
        )
    assert len(ends(it, REMOVE, etcd.MemberRemoveRequest(ID=THIRD)).members) == 2


def test_a_learner_is_promoted_when_the_leader_finds_it_in_sync():
    it = world(ME, learners=(OTHER,))
    outcomes = it.call(PROMOTE, etcd.MemberPromoteRequest(ID=OTHER))
    it.group.decide()
    [(target, done, base)] = it.group.changes
    assert (target, base) == (Members((ME, OTHER)), Members((ME,), (OTHER,)))
    done(NotCaughtUp("it lags"))
    it.deliver()
    assert (outcomes[0].status, outcomes[0].message) == NOT_READY
    it.group.changes.clear()
    assert [each.isLearner for each in ends(it, PROMOTE, etcd.MemberPromoteRequest(ID=OTHER)).members] == [False, False]


def test_a_member_moves():
    it = world(ME, OTHER)
    reply = ends(it, UPDATE, etcd.MemberUpdateRequest(ID=OTHER, peerURLs=["http://c:1", "http://b:1"]))
    assert list(reply.members[1].peerURLs) == ["http://b:1", "http://c:1"]


def test_two_changes_at_once_are_made_one_after_the_other():
    it = world(ME, OTHER)
    first, second = it.call(ADD, NEW), it.call(REMOVE, etcd.MemberRemoveRequest(ID=OTHER))
    same = it.call(ADD, NEW)
    for _ in range(20):
        it.group.decide()
        it.host.ring()
        it.deliver()
    assert first[0].status == second[0].status == 0
    assert (same[0].status, same[0].message) == precondition("Peer URLs already exists")
    members = it.group.meta.members
    assert members.voters == (ME,) and len(members.learners) == 1


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("?"), MembersChanged("one is under way"), NotLeader("nobody"), NotExecuted("handing over")]
)
def test_what_is_open_is_looked_at_again_until_it_is_known(error):
    """It happened although nobody said so: then it is done, and isn't done twice."""
    it = world(ME, OTHER)
    outcomes = it.call(REMOVE, etcd.MemberRemoveRequest(ID=OTHER))
    it.group.decide()
    [(target, done, _)] = it.group.changes
    it.group.changes.clear()
    if isinstance(error, OutcomeUnknown):
        it.group.configure(target)
    done(error)
    it.deliver()
    assert not outcomes
    it.host.ring()
    for _ in range(3):  # Look, change, and look again.
        it.group.decide()
    it.deliver()
    assert outcomes[0].status == 0 and it.group.meta.members == Members((ME,))


def test_without_a_leader_nothing_is_begun():
    it = world(ME, OTHER)
    outcomes = it.call(ADD, NEW)
    it.group.refuse(NotLeader("nobody"))
    it.deliver()
    assert (outcomes[0].status, outcomes[0].message) == (Status.UNAVAILABLE, "etcdserver: no leader")


def test_a_change_whose_caller_has_waited_too_long_goes_no_further():
    it = world(ME, OTHER)
    outcomes = it.call(ADD, NEW)
    it.group.decide()
    it.member.expire(BOUND)
    it.deliver()
    assert outcomes[0].status == Status.UNAVAILABLE
    it.group.decide()  # Where it was to be is written; that harms nobody.
    it.group.decide()
    assert it.group.proposed == it.group.reads == []


@pytest.mark.parametrize(("node", "status"), [(ME, 0), (OTHER, Status.UNAVAILABLE)])
def test_who_is_removed_meanwhile_knows_it_of_itself_only(node, status):
    it = world(ME, OTHER, THIRD)
    outcomes = it.call(REMOVE, etcd.MemberRemoveRequest(ID=node))
    it.group.decide()
    [(_, done, _)] = it.group.changes
    it.host.failed = Removed("gone")
    done(OutcomeUnknown("this node ended"))
    it.deliver()
    assert outcomes[0].status == status


def test_a_learner_serves_its_own_state_and_nothing_else():
    it = world(OTHER, learners=(ME,))
    no = (Status.UNAVAILABLE, "etcdserver: rpc not supported for learner")
    assert it.decided(STATUS, b"").isLearner
    assert it.decided(RANGE, etcd.RangeRequest(key=b"k", serializable=True)).count == 0
    for path, request in (
        (RANGE, etcd.RangeRequest(key=b"k")),
        (PUT, etcd.PutRequest(key=b"k")),
        (LIST, etcd.MemberListRequest()),
        (ADD, NEW),
        (MOVE, etcd.MoveLeaderRequest(targetID=OTHER)),
        ("/etcdserverpb.KV/Txn", etcd.TxnRequest()),
    ):
        assert it.refused(path, request) == no, path


def test_leadership_is_moved_by_the_leader_to_a_voter():
    it = world(ME, OTHER, learners=(THIRD,))
    for target in (THIRD, 7):
        refusal = it.refused(MOVE, etcd.MoveLeaderRequest(targetID=target))
        assert refusal == precondition("bad leader transferee")
    outcomes = it.call(MOVE, etcd.MoveLeaderRequest(targetID=OTHER))
    [(to, done)] = it.group.transfers
    assert to == OTHER and not outcomes
    done(None)
    it.deliver()
    assert etcd.MoveLeaderResponse.FromString(outcomes[0].body).header.raft_term == 3
    it.group.role = "follower"
    assert it.refused(MOVE, etcd.MoveLeaderRequest(targetID=OTHER)) == precondition("not leader")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotLeader("no"), precondition("not leader")),
        (Refused("no voter"), precondition("bad leader transferee")),
    ],
)
def test_a_transfer_that_does_not_come_about_says_why(error, expected):
    it = world(ME, OTHER)
    outcomes = it.call(MOVE, etcd.MoveLeaderRequest(targetID=OTHER))
    it.group.transfers[0][1](error)
    it.deliver()
    assert (outcomes[0].status, outcomes[0].message) == expected


@pytest.mark.parametrize("error", [NotCaughtUp("behind"), OutcomeUnknown("?"), MembersChanged("one is under way")])
def test_a_transfer_is_tried_again_while_its_caller_waits(error):
    it = world(ME, OTHER)
    outcomes = it.call(MOVE, etcd.MoveLeaderRequest(targetID=OTHER))
    for _ in range(2):
        it.group.transfers.pop()[1](error)
        assert not it.group.transfers and not outcomes
        it.host.ring()
    it.member.expire(BOUND)
    it.deliver()
    too_long = (Status.UNAVAILABLE, "etcdserver: request timed out, leader transfer took too long")
    assert (outcomes[0].status, outcomes[0].message) == too_long
    it.group.transfers.pop()[1](error)
    it.host.ring()
    assert not it.group.transfers


def test_a_transfer_that_has_come_about_though_nobody_said_so():
    for leader, status in ((OTHER, 0), (THIRD, Status.UNAVAILABLE)):
        it = world(ME, OTHER, THIRD)
        outcomes = it.call(MOVE, etcd.MoveLeaderRequest(targetID=OTHER))
        it.group.transfers[0][1](OutcomeUnknown("?"))
        it.group.leader, it.group.role = leader, "follower"
        it.host.ring()
        it.deliver()
        assert outcomes[0].status == status


# The roster, which does the rest by itself.


def roster(it: World, *first: int) -> Roster:
    birth = Birth("token", first, {node: URLS[node] for node in URLS}, "n")
    me = MemberInfo(ME, "n", URLS[ME], ("http://client:1",))
    it.said: list[object] = []
    its = Roster(it.host, it.group, birth, me, BOUND)
    its.announced = it.said.append
    return its


def test_the_first_members_say_where_they_are_until_it_is_known():
    it = World()
    roster(it, ME, OTHER).start()
    [(_, answer)] = it.group.proposed
    it.host.ring()
    assert len(it.group.proposed) == 1, "not twice at once"
    it.group.proposed.clear()
    answer(None, OutcomeUnknown("?"))
    it.host.ring()
    it.group.decide()
    assert listed(it) == [(ME, *URLS[ME], False), (OTHER, *URLS[OTHER], False)]
    assert it.host.address_of(OTHER) == URLS[OTHER][0]


def test_each_member_announces_itself_until_it_is_taken_in():
    it = world(ME, OTHER, unstarted=(ME,))
    roster(it, ME, OTHER).start()
    [(_, answer)] = it.group.proposed
    it.group.proposed.clear()
    answer(None, NotLeader("nobody"))
    assert it.said == []
    it.host.ring()
    it.group.decide()
    assert it.said == [None] and listed(it)[0][0] == ME
    it.host.ring()
    assert it.group.proposed == []


def test_who_is_not_taken_in_is_told_why():
    it = world(ME, OTHER)
    its = roster(it, ME, OTHER)
    it.group.propose(Request(encode(Publish(MemberInfo(ME, "other", (), ()), 1))), lambda reply, error: None)
    its.start()
    it.group.decide()
    assert [refused.message[:40] for refused in it.said] == ["ostraka: another disk is registered for "]


def test_who_was_removed_before_it_announced_itself_leaves():
    it = world(ME, OTHER, unstarted=(ME,))
    its = roster(it, ME, OTHER)
    its.start()
    it.group.configure(Members((OTHER,)))
    it.group.role = "follower"
    it.group.decide()
    it.host.turn()
    assert it.host.told_removed and it.said == []


def test_who_was_added_to_vote_does_so_once_the_leader_finds_it_ready():
    it = world(ME, OTHER)
    added = ends(it, ADD, NEW).member.ID
    its = roster(it, ME, OTHER)
    its.start()
    assert it.group.changes == [], "it has not been started"
    it.group.propose(Request(encode(Publish(MemberInfo(added, "new", (), ()), 5))), ignore)
    it.group.decide()
    it.group.role = "follower"
    it.host.ring()
    assert it.group.changes == [], "that is the leader's to do"
    it.group.role = "leader"
    it.host.ring()
    [(_, done, _)] = it.group.changes
    it.group.changes.clear()
    done(NotCaughtUp("it lags"))
    it.host.ring()
    it.group.decide()
    assert it.group.meta.members == Members(tuple(sorted((ME, OTHER, added))))
    it.host.ring()
    assert it.group.changes == []


def test_a_learner_waits_for_a_command():
    it = world(ME, OTHER)
    added = ends(it, ADD, LEARNER).member.ID
    it.group.propose(Request(encode(Publish(MemberInfo(added, "new", (), ()), 5))), ignore)
    it.group.decide()
    roster(it, ME, OTHER).start()
    assert it.group.changes == []


def test_who_was_removed_leaves_but_a_leader_first_hands_over():
    it = world(ME, OTHER)
    roster(it, ME, OTHER).start()
    it.group.configure(Members((OTHER,)))
    it.host.turn()
    assert not it.host.told_removed
    it.group.role = "follower"
    it.host.ring()
    assert it.host.told_removed


def test_a_newcomer_in_the_midst_of_old_entries_is_not_removed():
    it = World()
    roster(it).start()
    it.group.configure(Members((OTHER,)))
    it.host.ring()
    assert not it.host.told_removed


def test_a_member_is_looked_for_where_the_cluster_has_it():
    it = world(ME, OTHER)
    roster(it, ME, OTHER)
    assert it.host.address_of(THIRD) == URLS[THIRD][0], "as it was told in the beginning"
    ends(it, UPDATE, etcd.MemberUpdateRequest(ID=OTHER, peerURLs=["http://moved:1"]))
    assert it.host.address_of(OTHER) == "http://moved:1" and it.host.address_of(7) is None
