"""A configuration counts from the moment that it is in the log. (Raft §6)"""

from __future__ import annotations

from ostraka.consensus.raft.messages import Append, AskPreVote, HardState, Logged, RequestVote, Vote
from ostraka.model.effects import Discarded, MembersActive
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry, Kind, Members

from .lone import Lone, entries

FIVE = Members((1, 2, 3, 4, 5))


def configuration(index: int, term: int, members: Members) -> Entry:
    return Entry(index, term, 0, Kind.MEMBERS, (), members)


def test_a_configuration_counts_before_it_is_committed_and_goes_with_its_entry() -> None:
    lone = Lone()
    lone.receive(2, Append(1, ORIGIN, (*entries(1), configuration(2, 1, FIVE)), 0, 0))
    assert lone.all(MembersActive) == [MembersActive(FIVE, 2)]
    assert lone.replica.status().members == FIVE and lone.replica.commit == 0
    lone.receive(3, Append(2, Position(1, 1), (Entry(2, 2, 0),), 0, 0))
    assert lone.replica.status().members == Members((1, 2, 3))
    assert not lone.replica.quorum({1, 4, 5})


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    replica = Lone([HardState(1, None), Logged(entries(1)[0]), Logged(configuration(2, 1, FIVE))]).replica
    assert replica.status().members == FIVE and replica.peers == {2, 3, 4, 5}


def test_a_stranger_gets_a_vote_and_nothing_else() -> None:
    """The voter may not know yet that the candidate is a member."""
    lone = Lone()
    lone.receive(9, AskPreVote(1, ORIGIN), RequestVote(1, ORIGIN))
    assert lone.said(Vote).granted
    lone.receive(9, Append(1, ORIGIN, entries(1), 0, 0), Vote(7, True))
    assert lone.all(Discarded) == [Discarded(9, "not a member")] * 2
    assert lone.replica.term == 1
