"""Who is enough: quorums as predicates over sets of ids.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §5.2, §5.3, and §6 (joint).
Words:    a quorum is a set of members that decides; any two quorums of one predicate share a member.
Departs:  counting is never by number of answers, always by who answered, so a doubled answer counts once.
Evidence: tests/consensus/test_quorum.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from operator import itemgetter

from ostraka.model.ids import NodeId
from ostraka.model.requests import Members

Quorum = Callable[[AbstractSet[NodeId]], bool]
"""Do these ids hold a quorum?"""

_value = itemgetter(1)


def majority(voters: Iterable[NodeId]) -> Quorum:
    """More than half of the voters. Of nobody there is no majority."""
    electorate = frozenset(voters)
    enough = len(electorate) // 2 + 1
    return lambda ids: len(electorate & ids) >= enough


def at_least(count: int, voters: Iterable[NodeId]) -> Quorum:
    """So many of the voters. Of nobody there is never enough."""
    electorate = frozenset(voters)
    return lambda ids: bool(electorate) and len(electorate & ids) >= count


def phases(voters: Iterable[NodeId], phase2: int = 0) -> tuple[Quorum, Quorum]:
    """The quorums of Paxos' two phases: any of phase 1 meets any of phase 2. (Howard et al., "Flexible Paxos", 2016)

    `phase2`: how many acceptances make a value chosen; 0: a majority. Phase 1 needs all but one less, and at least a
    majority. Raises ValueError for more than a majority of these voters: it would cost more and give nothing.
    """
    electorate = frozenset(voters)
    most = len(electorate) // 2 + 1
    if phase2 == 0 or not electorate:
        return majority(electorate), majority(electorate)
    if not 0 < phase2 <= most:
        raise ValueError(f"a phase 2 quorum of {phase2} among {len(electorate)} voters: from 1 to {most} makes sense")
    return at_least(max(most, len(electorate) - phase2 + 1), electorate), at_least(phase2, electorate)


def both(first: Quorum, second: Quorum) -> Quorum:
    """Separate quorums of the old and the new configuration. (Raft §6, joint consensus)"""
    return lambda ids: first(ids) and second(ids)


def quorum_of(members: Members) -> Quorum:
    """The predicate by which this configuration decides."""
    incoming = majority(members.voters)
    return both(incoming, majority(members.outgoing)) if members.outgoing else incoming


def reached(quorum: Quorum, values: Mapping[NodeId, int]) -> int:
    """The highest value that a quorum has reached, 0 if none has.

    Of match indexes it is what may be committed (Raft, Figure 2: "a majority of matchIndex[i] ≥ N"),
    of read rounds the last one confirmed, of instants the time since which a quorum was heard from.
    """
    ids: set[NodeId] = set()
    for node, value in sorted(values.items(), key=_value, reverse=True):
        ids.add(node)
        if quorum(ids):
            return value
    return 0
