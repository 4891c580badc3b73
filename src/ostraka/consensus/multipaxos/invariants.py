"""What must always be true: Paxos' own properties, as observers of replicas.

Follows:  Lamport, "Paxos Made Simple" (2001), §2.1, §2.2 (P1, P2c); van Renesse and Altinbuken, "Paxos Made Moderately
          Complex" (2015), §2.2, §2.3 (invariants A1 to A5, C1, C2, L1, L2).
Words:    to observe is to look at one replica after its turn. A replica in a new life is a new object.
Departs:  nothing.
Evidence: tests/consensus/multipaxos/test_invariants.py breaks each of them.

Observers see only what has changed since they last looked at that replica, so they can run after each turn of a long
simulation. They must see every turn.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakKeyDictionary

from ostraka.consensus.multipaxos.messages import Ballot, Slot
from ostraka.consensus.multipaxos.replica import Replica
from ostraka.model.ids import NodeId
from ostraka.model.requests import Entry


class Invariant(Protocol):
    """Raises AssertionError, naming the culprits, when what it stands for does not hold."""

    def observe(self, replica: Replica) -> None: ...


class NothingGoesBack:
    """Within a life, the promise, the chosen prefix and what is decided and applied only grow. (PMMC, A1)"""

    def __init__(self) -> None:
        self.seen: WeakKeyDictionary[Replica, tuple[Ballot, Slot, Slot, Slot]] = WeakKeyDictionary()

    def observe(self, replica: Replica) -> None:
        now = (replica.promised, replica.chosen, replica.decided, replica.applied)
        before = self.seen.get(replica, now)
        assert before[0] <= now[0] and all(a <= b for a, b in zip(before[1:], now[1:], strict=True)), (
            f"n{replica.id} went back: (promised, chosen, decided, applied) was {before} and is {now}"
        )
        assert replica.applied <= replica.decided <= replica.chosen, (
            f"n{replica.id}: not applied ≤ decided ≤ chosen: {now}"
        )
        self.seen[replica] = now


class OnePromiseOfALife:
    """What a replica promises is no lower than what it had promised in earlier lives. (PMS §2.5)"""

    def __init__(self) -> None:
        self.kept: dict[NodeId, Ballot] = {}

    def observe(self, replica: Replica) -> None:
        if not replica.promise_save:  # It is durable, and may have been sent.
            before = self.kept.setdefault(replica.id, replica.promised)
            assert before <= replica.promised, f"n{replica.id} promised {before}, and after a crash {replica.promised}"
            self.kept[replica.id] = replica.promised


class OneValueOfABallot:
    """Under one ballot at most one value is proposed in a slot. (PMMC, C1)"""

    def __init__(self) -> None:
        self.value: dict[tuple[Slot, Ballot], tuple[NodeId, Entry]] = {}

    def observe(self, replica: Replica) -> None:
        for pvalue in replica.log.after(max(replica.chosen - 1, replica.log.base)):
            slot = pvalue.value.index
            node, first = self.value.setdefault((slot, pvalue.ballot), (replica.id, pvalue.value))
            assert first is pvalue.value or first == pvalue.value, (
                f"slot {slot}, ballot {pvalue.ballot}: n{node} has {first}, n{replica.id} has {pvalue.value}"
            )


class OneValueChosen:
    """Only a single value is chosen in a slot, and whoever learns learns that one. (PMS §2.1; PMMC, L1)"""

    def __init__(self) -> None:
        self.chosen: dict[Slot, tuple[NodeId, Entry]] = {}
        self.upto: WeakKeyDictionary[Replica, Slot] = WeakKeyDictionary()

    def observe(self, replica: Replica) -> None:
        done = self.upto.get(replica, replica.log.base)
        for slot in range(max(done, replica.log.base) + 1, replica.chosen + 1):
            pvalue = replica.log.get(slot)
            assert pvalue is not None, f"n{replica.id} knows slot {slot} as chosen, and has nothing there"
            node, first = self.chosen.setdefault(slot, (replica.id, pvalue.value))
            assert first == pvalue.value, f"slot {slot}: n{node} learnt {first}, n{replica.id} {pvalue.value}"
        self.upto[replica] = max(done, replica.chosen)


class Invariants:
    """All of them at once."""

    def __init__(self) -> None:
        self.all: tuple[Invariant, ...] = (
            NothingGoesBack(),
            OnePromiseOfALife(),
            OneValueOfABallot(),
            OneValueChosen(),
        )

    def observe(self, replica: Replica) -> None:
        for invariant in self.all:
            invariant.observe(replica)
