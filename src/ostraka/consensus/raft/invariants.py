"""What must always be true: Raft's own properties, as observers of replicas.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figure 3, §6.
Words:    to observe is to look at one replica after its turn. A replica in a new life is a new object.
Departs:  state machine safety is observed where an entry is decided, before it is applied.
Evidence: tests/consensus/raft/test_invariants.py breaks each of them.

Observers see only what has changed since they last looked at that replica, so they can run after each turn of a long
simulation. They must see every turn: an entry that came and was compacted between two looks is not checked.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol
from weakref import WeakKeyDictionary

from ostraka.consensus.raft.messages import Term
from ostraka.consensus.raft.replica import Replica
from ostraka.consensus.raft.roles import Leader
from ostraka.model.ids import Index, NodeId, Position
from ostraka.model.requests import Entry, Members


class Invariant(Protocol):
    """Raises AssertionError, naming the culprits, when what it stands for does not hold."""

    def observe(self, replica: Replica) -> None: ...


class TermsAndCommitNeverGoBack:
    """Within a life, the current term, the commit index and what is decided and applied only grow. (Raft §5.1, §5.3)"""

    def __init__(self) -> None:
        self.seen: WeakKeyDictionary[Replica, tuple[Term, Index, Index, Index]] = WeakKeyDictionary()

    def observe(self, replica: Replica) -> None:
        now = (replica.term, replica.commit, replica.decided, replica.applied)
        before = self.seen.get(replica, now)
        assert all(a <= b for a, b in zip(before, now, strict=True)), (
            f"n{replica.id} went back: (term, commit, decided, applied) was {before} and is {now}"
        )
        assert replica.applied <= replica.decided <= replica.commit <= replica.log.last.index, (
            f"n{replica.id}: not applied ≤ decided ≤ commit ≤ last: {now}, {replica.log.last}"
        )
        assert replica.decided <= replica.saved, f"n{replica.id} decided {replica.decided}, saved {replica.saved}"
        self.seen[replica] = now


class ElectionSafety:
    """At most one leader can be elected in a given term. (Raft, Figure 3)"""

    def __init__(self) -> None:
        self.leader_of: dict[Term, NodeId] = {}

    def observe(self, replica: Replica) -> None:
        if isinstance(replica.role, Leader):
            first = self.leader_of.setdefault(replica.term, replica.id)
            assert first == replica.id, f"term {replica.term}: n{first} and n{replica.id} both lead"


class LeaderAppendOnly:
    """A leader never overwrites or deletes entries in its log; it only appends new entries. (Raft, Figure 3)"""

    def __init__(self) -> None:
        self.last: WeakKeyDictionary[Replica, tuple[Term, Position]] = WeakKeyDictionary()

    def observe(self, replica: Replica) -> None:
        if not isinstance(replica.role, Leader):
            self.last.pop(replica, None)
            return
        term, last = self.last.get(replica, (replica.term, replica.log.last))
        if term == replica.term and last.index >= replica.log.base.index:
            assert replica.log.position_at(last.index) == last, (
                f"n{replica.id} leads term {term} and has removed {last}; its log ends at {replica.log.last}"
            )
        self.last[replica] = (replica.term, replica.log.last)


class LogMatching:
    """Logs that hold an entry with the same index and term are identical up to it. (Raft, Figure 3)

    By induction, as in the paper: equal positions have equal entries and equal predecessors.
    """

    def __init__(self) -> None:
        self.entry_at: dict[Position, tuple[NodeId, Position, Entry]] = {}
        self.looked_at: WeakKeyDictionary[Replica, list[Position]] = WeakKeyDictionary()  # Adjacent, ascending.

    def observe(self, replica: Replica) -> None:
        log = replica.log
        known = self.looked_at.setdefault(replica, [])
        if known and known[-1] == log.last:
            return
        while known and log.position_at(known[-1].index) != known[-1]:
            known.pop()
        start = max(known[-1].index, log.base.index) + 1 if known else log.first
        if known and start > known[-1].index + 1:
            known.clear()
        before = log.position_at(start - 1)
        assert before is not None
        for entry in log.entries(start, log.last.index):
            node, its_before, first = self.entry_at.setdefault(entry.position, (replica.id, before, entry))
            assert its_before == before and (first is entry or first == entry), (
                f"n{node} and n{replica.id} differ at {entry.position}: {first} after {its_before}, "
                f"{entry} after {before}"
            )
            before = entry.position
            known.append(before)


class StateMachineSafety:
    """No two servers ever apply different entries at the same index. (Raft, Figure 3)"""

    def __init__(self) -> None:
        self.decided: dict[Index, tuple[NodeId, Position]] = {}
        self.upto: WeakKeyDictionary[Replica, Index] = WeakKeyDictionary()

    def observe(self, replica: Replica) -> None:
        done = self.upto.get(replica, replica.log.base.index)
        if done >= replica.commit:
            return
        for index in range(max(done, replica.log.base.index) + 1, replica.commit + 1):
            position = replica.log.position_at(index)
            assert position is not None, f"n{replica.id} committed {index} and has {replica.log.last}"
            node, first = self.decided.setdefault(index, (replica.id, position))
            assert first == position, f"index {index}: n{node} decided {first} and n{replica.id} {position}"
        self.upto[replica] = replica.commit


class LeaderCompleteness:
    """An entry committed in a term is in the logs of the leaders of all higher terms. (Raft, Figure 3)"""

    def __init__(self) -> None:
        # By index from 1, each with the term that it was seen committed in.
        self.committed: list[tuple[Position, Term]] = []
        self.checked: dict[Term, Index] = {}  # Up to where that term's leader was compared.

    def observe(self, replica: Replica) -> None:
        log = replica.log
        for index in range(len(self.committed) + 1, replica.commit + 1):
            position = log.position_at(index)
            if position is None:
                break  # Compacted before anybody saw it: what follows can't be told apart from a gap.
            self.committed.append((position, replica.term))
        if not isinstance(replica.role, Leader):
            return
        done = self.checked.get(replica.term, 0)
        for position, term in self.committed[done:]:
            holds = position.index < log.base.index or log.position_at(position.index) == position
            assert holds or term >= replica.term, (
                f"n{replica.id} leads term {replica.term} without {position}, committed in term {term}"
            )
        self.checked[replica.term] = len(self.committed)


class OneChangeAtATime:
    """Majorities of neighbouring configurations meet, and no leader has two that are not committed. (Raft §6)"""

    def observe(self, replica: Replica) -> None:
        known = replica.configurations
        for (_, old), (index, new) in pairwise(known):
            assert not old.voters or are_neighbours(old, new), f"n{replica.id} went from {old} to {new} at {index}"
        index = known[-1][0]
        if index <= replica.commit or not isinstance(replica.role, Leader) or index < replica.role.first:
            return
        assert replica.commit >= replica.role.first, (
            f"n{replica.id} changed members at {index} before an entry of term {replica.term} was committed"
        )
        assert known[-2][0] <= replica.commit, f"n{replica.id} leads with {known[-2:]} not committed"


def are_neighbours(old: Members, new: Members) -> bool:
    """May a log have these one after the other?"""
    if old.outgoing:
        return not new.outgoing and set(new.voters) == set(old.voters)
    if new.outgoing:
        return set(new.outgoing) == set(old.voters)
    return len(set(old.voters) ^ set(new.voters)) <= 1


class Invariants:
    """All of them at once."""

    def __init__(self) -> None:
        self.all: tuple[Invariant, ...] = (
            TermsAndCommitNeverGoBack(),
            ElectionSafety(),
            LeaderAppendOnly(),
            LogMatching(),
            StateMachineSafety(),
            LeaderCompleteness(),
            OneChangeAtATime(),
        )

    def observe(self, replica: Replica) -> None:
        for invariant in self.all:
            invariant.observe(replica)
