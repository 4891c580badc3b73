"""What must always be true: Raft's own properties, as observers of replicas.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", Figure 3, §6; and the invariants
          of etcd's model in TLA+ (etcd-io/raft, tla/etcdraft.tla), whose names are given as "model".
Words:    to observe is to look at one replica after its turn. A replica in a new life is a new object. While a node is
          down its last object stands for it; the next one shows what its disk has kept.
Departs:  state machine safety is observed where an entry is decided, before it is applied. Two invariants of the
          model do not hold as they are written there; see `MoreUpToDateCorrect` and `CommittedIsDurable`.
Evidence: tests/consensus/raft/test_invariants.py breaks each of them.

Observers see only what has changed since they last looked at that replica, so they can run after each turn of a long
simulation. They must see every turn: an entry that came and was compacted between two looks is not checked.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol
from weakref import WeakKeyDictionary

from ostraka.consensus.raft.log import Log
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
        self.seen[replica] = now


class ElectionSafety:
    """At most one leader can be elected in a given term. (Raft, Figure 3; model: MoreThanOneLeaderInv)"""

    def __init__(self) -> None:
        self.leader_of: dict[Term, NodeId] = {}

    def observe(self, replica: Replica) -> None:
        if isinstance(replica.role, Leader):
            first = self.leader_of.setdefault(replica.term, replica.id)
            assert first == replica.id, f"term {replica.term}: n{first} and n{replica.id} both lead"


class LeaderIsFirst:
    """Nobody has an entry of a term that its leader doesn't have yet: only it makes them. (Model: ElectionSafetyInv)"""

    def __init__(self) -> None:
        self.leader_of: dict[Term, Replica] = {}
        self.made: dict[Term, Index] = {}  # The last entry of the term that its leader was seen with.

    def observe(self, replica: Replica) -> None:
        if isinstance(replica.role, Leader):
            self.leader_of[replica.term] = replica
        term, index = replica.log.last
        leader = self.leader_of.get(term)
        if leader is None:
            return
        if leader.log.last.epoch == term:  # Also of one that has died, or stepped down, in a turn that nobody saw.
            self.made[term] = max(self.made.get(term, 0), leader.log.last.index)
        assert index <= self.made[term] or leader.id == replica.id, (
            f"n{replica.id} has {term}.{index}, and n{leader.id} made only {term}.{self.made[term]}"
        )


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
    """Logs that hold an entry with the same index and term are identical up to it. (Figure 3; model: LogMatchingInv)

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
        start = max(known[-1].index if known else 0, log.shed.index) + 1  # Of a new life: what is in memory.
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
    """No two servers ever apply different entries at the same index. (Raft, Figure 3; model: LogInv)"""

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


class Committed:
    """All that was ever committed: by index from 1, each with the term in which it was first seen committed."""

    def __init__(self) -> None:
        self.entries: list[tuple[Position, Term]] = []

    def learn(self, replica: Replica) -> None:
        for index in range(len(self.entries) + 1, replica.commit + 1):
            position = replica.log.position_at(index)
            if position is None:
                break  # Compacted before anybody saw it: what follows can't be told apart from a gap.
            self.entries.append((position, replica.term))

    def are_in(self, log: Log, upto: Index) -> bool:
        """Does this log hold what is committed, up to this index? By Log Matching the last of it tells."""
        return upto <= log.base.index or log.position_at(upto) == self.entries[upto - 1][0]


class LeaderCompleteness:
    """An entry committed in a term is in the logs of the leaders of all higher terms.

    (Raft, Figure 3; model: LeaderCompletenessInv)
    """

    def __init__(self, committed: Committed) -> None:
        self.committed = committed
        self.checked: dict[Term, Index] = {}  # Up to where that term's leader was compared.

    def observe(self, replica: Replica) -> None:
        if not isinstance(replica.role, Leader):
            return
        log, done = replica.log, self.checked.get(replica.term, 0)
        for position, term in self.committed.entries[done:]:
            holds = position.index < log.base.index or log.position_at(position.index) == position
            assert holds or term >= replica.term, (
                f"n{replica.id} leads term {replica.term} without {position}, committed in term {term}"
            )
        self.checked[replica.term] = len(self.committed.entries)


class QuorumLog:
    """In every quorum somebody's log holds all that is committed. (Model: QuorumLogInv)

    By each replica's own configuration, for what it knows to be committed. Looked at when a replica learns of more, and
    for all of them when a new life has kept less, or a log was cut. Who refills elects nobody, and so does not count
    before it has refilled: that its log is whole then is what this shows of `refill`.
    """

    def __init__(self, committed: Committed) -> None:
        self.committed = committed
        self.seen: dict[NodeId, tuple[Replica, Index, Index, bool]] = {}  # Its commit and last then; did it refill?

    def observe(self, replica: Replica) -> None:
        before, commit, last, refilled = self.seen.get(replica.id, (replica, 0, 0, False))
        refills = replica.refill is not None
        self.seen[replica.id] = (replica, replica.commit, replica.log.last.index, refills)
        if before is not replica or replica.log.last.index < last or refilled != refills:
            for other, *_ in self.seen.values():
                self.check(other)
        elif replica.commit > commit:
            self.check(replica)

    def check(self, replica: Replica) -> None:
        commit = min(replica.commit, len(self.committed.entries))
        logs = [self.seen[node][0] for node in sorted(replica.members.everyone()) if node in self.seen]
        holding = {each.id for each in logs if self.committed.are_in(each.log, commit)}
        refilling = {each.id for each in logs if each.refill is not None}
        without = set(replica.members.everyone()) - holding - refilling
        assert not commit or not replica.quorum(without), (
            f"n{replica.id} takes {commit} as committed, and n{sorted(without)} don't hold it"
        )


class MoreUpToDateCorrect:
    """A log at least as up to date as another one holds what that other's replica knows to be committed.

    So whoever gets a vote has all that the voter knows to be committed. (Model: MoreUpToDateCorrectInv)

    The model says it of all logs, which five servers can refute: see tests/stories/raft/more_up_to_date.story. A slow
    follower knows from a leader of term 4 that an entry of term 2 is committed, and has nothing of term 4 yet; an
    entry of term 3 is then more up to date. So only such entries count as were committed in a term that the voter's
    log has reached. (Voters whose log has reached term 4 are a majority: that is what committed the entry.)
    """

    def __init__(self, committed: Committed) -> None:
        self.committed = committed
        self.replicas: dict[NodeId, Replica] = {}
        self.seen: dict[NodeId, tuple[Replica, Position, Index]] = {}

    def observe(self, replica: Replica) -> None:
        now = (replica, replica.log.last, replica.commit)
        if self.seen.get(replica.id) == now:
            return
        self.seen[replica.id] = now
        self.replicas[replica.id] = replica
        for other in self.replicas.values():
            self.compare(replica, other)
            self.compare(other, replica)

    def compare(self, candidate: Replica, voter: Replica) -> None:
        if candidate.log.last < voter.log.last:
            return
        known, upto = self.committed.entries, min(voter.commit, len(self.committed.entries))
        while upto and known[upto - 1][1] > voter.log.last.epoch:
            upto -= 1
        assert self.committed.are_in(candidate.log, upto), (
            f"n{candidate.id}'s log ends at {candidate.log.last} and n{voter.id}'s at {voter.log.last}, but only the "
            f"latter holds {known[upto - 1][0]}, which is committed"
        )


class CommittedIsDurable:
    """What a replica has handed on as committed is on its disk, and there for its next life.

    (Model: CommittedIsDurableInv, which says it of all that a leader takes as committed. But a leader may commit what
    others have saved before its own disk has: thesis §10.2.1. It must not execute it.) Where the disk was damaged,
    it is there when the replica has refilled.
    """

    def __init__(self, committed: Committed) -> None:
        self.committed = committed
        self.decided: dict[NodeId, tuple[Replica, Index]] = {}

    def observe(self, replica: Replica) -> None:
        earlier, decided = self.decided.get(replica.id, (replica, 0))
        assert replica.decided <= replica.saved, f"n{replica.id} decided {replica.decided}, saved {replica.saved}"
        if replica.refill is not None:
            return
        if earlier is not replica:
            assert self.committed.are_in(replica.log, min(decided, len(self.committed.entries))), (
                f"n{replica.id} decided {decided} in an earlier life, and begins with {replica.log.last}"
            )
        self.decided[replica.id] = (replica, max(decided, replica.decided))


class MemoryIsBounded:
    """Memory holds no more than the settings allow, but for entries that the state machine has not got. (Ours)"""

    def observe(self, replica: Replica) -> None:
        log = replica.log
        assert log.held <= replica.settings.max_held or log.shed.index >= replica.decided, (
            f"n{replica.id} holds {log.held} bytes of entries, from {log.shed.index + 1} on; decided: {replica.decided}"
        )


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
        self.committed = Committed()
        self.all: tuple[Invariant, ...] = (
            TermsAndCommitNeverGoBack(),
            ElectionSafety(),
            LeaderIsFirst(),
            LeaderAppendOnly(),
            LogMatching(),
            StateMachineSafety(),
            LeaderCompleteness(self.committed),
            QuorumLog(self.committed),
            MoreUpToDateCorrect(self.committed),
            CommittedIsDurable(self.committed),
            OneChangeAtATime(),
            MemoryIsBounded(),
        )

    def observe(self, replica: Replica) -> None:
        self.committed.learn(replica)
        for invariant in self.all:
            invariant.observe(replica)
