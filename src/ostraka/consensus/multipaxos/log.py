"""What an acceptor remembers: at most one pvalue for each slot, with holes between them.

Follows:  van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015), §2.2 (acceptors), §4.1 (state reduction:
          only the pvalue with the highest ballot of a slot matters), §4.2 (garbage collection).
Words:    the base is the last slot that is forgotten: all up to it is in the state machine's durable state.
Departs:  nothing.
Evidence: tests/consensus/multipaxos/test_log.py,
          tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ostraka.consensus.multipaxos.messages import PValue, Slot
from ostraka.model.ids import ClusterTime
from ostraka.model.requests import Entry


class Log:
    """Pvalues in memory, by slot. Those of the chosen prefix have no holes from `base` on."""

    __slots__ = ("_pvalues", "base", "last", "size")

    def __init__(self, base: Slot) -> None:
        self._pvalues: dict[Slot, PValue] = {}
        self.base = base
        self.last = base  # The highest slot that has a pvalue, or the base.
        self.size = 0  # Bytes of the requests in all values.

    @property
    def first(self) -> Slot:
        """The lowest slot that can be here."""
        return self.base + 1

    def get(self, slot: Slot) -> PValue | None:
        return self._pvalues.get(slot)

    def put(self, pvalue: PValue) -> None:
        """This is now what is accepted in its slot."""
        slot = pvalue.value.index
        assert slot > self.base, f"slot {slot} is forgotten, up to {self.base}"
        before = self._pvalues.get(slot)
        if before is not None:
            self.size -= before.value.size()
        self._pvalues[slot] = pvalue
        self.size += pvalue.value.size()
        self.last = max(self.last, slot)

    def after(self, slot: Slot) -> tuple[PValue, ...]:
        """All pvalues in higher slots, in their order."""
        return tuple([self._pvalues[each] for each in range(slot + 1, self.last + 1) if each in self._pvalues])

    def values(self, first: Slot, last: Slot) -> Iterator[Entry]:
        """The values of these slots, which all have one."""
        for slot in range(first, last + 1):
            yield self._pvalues[slot].value

    def stamp(self) -> ClusterTime:
        """The highest stamp in any value."""
        return max((pvalue.value.stamp for pvalue in self._pvalues.values()), default=0)

    def forget(self, upto: Slot) -> None:
        """Nothing up to this slot will be asked for again."""
        for slot in range(self.base + 1, min(upto, self.last) + 1):
            pvalue = self._pvalues.pop(slot, None)
            if pvalue is not None:
                self.size -= pvalue.value.size()
        self.base = max(self.base, upto)
        self.last = max(self.last, self.base)
