"""Single-decree Paxos: how several acceptors choose one value. Small enough to hold in the head, and to explore.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.
Words:    the paper's: proposers prepare and accept, acceptors promise and accept; a ballot is a proposal number.
Departs:  messages are a set that only grows, as in Lamport's TLA+ specification: whatever was sent may arrive at any
          time, any number of times, or never. So an acceptor is a function of what arrives.
Evidence: tests/consensus/test_synod.py explores every run of three acceptors and a few ballots.

`consensus.multipaxos` is what becomes of it when there are many values, disks, clocks, and members that come and go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ostraka.consensus.quorum import Quorum

Acceptor = str
Value = str
Ballot = int
"""Each ballot belongs to one proposer, who proposes at most one value under it. -1 is below all."""


class Vote(NamedTuple):
    """An acceptor accepted this value under this ballot."""

    ballot: Ballot
    value: Value | None


NO_VOTE = Vote(-1, None)


class Prepare(NamedTuple):
    """Phase 1a: "a request for a promise never again to accept a proposal numbered less than `ballot`"."""

    ballot: Ballot


class Promise(NamedTuple):
    """Phase 1b, with the vote under the highest ballot that the acceptor has cast."""

    acceptor: Acceptor
    ballot: Ballot
    vote: Vote


class Accept(NamedTuple):
    """Phase 2a."""

    ballot: Ballot
    value: Value


class Accepted(NamedTuple):
    """Phase 2b: what learners count."""

    acceptor: Acceptor
    ballot: Ballot
    value: Value


class Memory(NamedTuple):
    """What an acceptor must never forget. (§2.5)"""

    promised: Ballot = -1
    vote: Vote = NO_VOTE


# Acceptors: P1a, "an acceptor can accept a proposal numbered n iff it has not responded to a prepare request … > n".


def on_prepare(me: Acceptor, memory: Memory, ask: Prepare) -> tuple[Memory, Promise] | None:
    """Promise, and tell what was accepted, unless a higher or the same ballot was promised. (§2.2, phase 1b)"""
    if ask.ballot <= memory.promised:
        return None
    return memory._replace(promised=ask.ballot), Promise(me, ask.ballot, memory.vote)


def on_accept(me: Acceptor, memory: Memory, ask: Accept) -> tuple[Memory, Accepted] | None:
    """Accept, unless a higher ballot was promised. (§2.2, phase 2b)"""
    if ask.ballot < memory.promised:
        return None
    return Memory(ask.ballot, Vote(ask.ballot, ask.value)), Accepted(me, ask.ballot, ask.value)


# Proposers: P2c, "either no acceptor in S has accepted … or v is the value of the highest-numbered proposal …".


def value_to_propose(promises: Iterable[Promise], quorum: Quorum, wished: Value) -> Value | None:
    """What may be proposed under the ballot of these promises: None before a quorum has promised. (§2.2, phase 2a)"""
    told = list(promises)
    if not quorum({promise.acceptor for promise in told}):  # type: ignore[misc]  # A quorum of names, not of node ids.
        return None
    highest = max((promise.vote for promise in told), key=lambda vote: vote.ballot)
    return wished if highest.value is None else highest.value


# Learners.


def chosen(accepted: Iterable[Accepted], quorum: Quorum) -> set[Value]:
    """The values that a quorum has accepted under one ballot: never more than one. (§2.3)"""
    by_ballot: dict[tuple[Ballot, Value], set[Acceptor]] = {}
    for each in accepted:
        by_ballot.setdefault((each.ballot, each.value), set()).add(each.acceptor)
    return {value for (_, value), acceptors in by_ballot.items() if quorum(acceptors)}  # type: ignore[arg-type]
