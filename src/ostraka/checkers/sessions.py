"""What a client may rely on short of linearizability: session guarantees, causal and sequential consistency.

For histories of registers in which each value is written to a key once. Operations are `read` and `write` of a single
register, or of one key of many with arguments and results of the form [key value] (`keyed`).

Follows:  Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994), §3, for the four guarantees;
          Bouajjani et al., "On Verifying Causal Consistency" (2017), for the bad patterns of causal consistency (CC),
          causal convergence (CCv) and causal memory (CM); Lamport, "How to Make a Multiprocessor Computer That
          Correctly Executes Multiprocess Programs" (1979), for sequential consistency.
Words:    a write is *older* than another of its key if it causally precedes it: through its session, and reads.
Departs:  Terry's guarantees speak of the order of writes at servers, which a client can't see; here it is the causal
          order, so a verdict that a guarantee holds means that the reads don't show the contrary.
Evidence: tests/checkers/test_sessions.py compares with the definitions by brute force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from ostraka.checkers.history import Operation, Process, Type, Value, show
from ostraka.checkers.models import IMPOSSIBLE, Model


class Guarantee(StrEnum):
    """PRAM is the first three together; causal consistency implies all four."""

    READ_YOUR_WRITES = "read-your-writes"
    MONOTONIC_READS = "monotonic-reads"
    MONOTONIC_WRITES = "monotonic-writes"
    WRITES_FOLLOW_READS = "writes-follow-reads"
    CAUSAL = "causal"  # CC: what each session saw can be ordered along causality.
    CAUSAL_CONVERGENCE = "causal-convergence"  # CCv: and all sessions agree on the order of concurrent writes.
    CAUSAL_MEMORY = "causal-memory"  # CM: and each session can be explained by one order that only grows.


class Breach(msgspec.Struct, frozen=True):
    """A guarantee that was not kept, and the least that shows it. `pattern`: the literature's name of it."""

    guarantee: Guarantee
    pattern: str
    story: str
    culprits: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"{self.guarantee} does not hold ({self.pattern}): {self.story}" + "".join(
            f"\n  {each}" for each in self.culprits
        )


class Verdict(msgspec.Struct, frozen=True):
    """One breach of each guarantee that does not hold."""

    breaches: tuple[Breach, ...]

    def holds(self, guarantee: Guarantee) -> bool:
        return all(breach.guarantee is not guarantee for breach in self.breaches)

    def __str__(self) -> str:
        kept = [guarantee for guarantee in Guarantee if self.holds(guarantee)]
        return "\n".join([f"holds: {', '.join(kept) or 'nothing'}", *map(str, self.breaches)])


def check_sessions(history: Sequence[Operation], keyed: bool = False) -> Verdict:
    """Which guarantees a history keeps. Takes, at worst, cubic time. Raises ValueError for other histories."""
    sessions = _Sessions(history, keyed)
    if sessions.thin_air is not None:
        return Verdict(tuple(_everywhere(sessions.thin_air)))
    breaches: list[Breach] = []
    for find in (_read_your_writes, _monotonic_reads, _monotonic_writes, _writes_follow_reads, _causal):
        breaches += filter(None, [find(sessions)])
    broken = {breach.guarantee: breach for breach in breaches}
    if (causal := broken.get(Guarantee.CAUSAL)) is not None:
        stronger = (Guarantee.CAUSAL_CONVERGENCE, Guarantee.CAUSAL_MEMORY)
        breaches += [msgspec.structs.replace(causal, guarantee=each) for each in stronger]
    else:
        breaches += filter(None, [_convergence(sessions), _memory(sessions)])
    return Verdict(tuple(breaches))


def _everywhere(breach: Breach) -> Iterator[Breach]:
    for guarantee in Guarantee:
        yield msgspec.structs.replace(breach, guarantee=guarantee)


class _Sessions:
    """The operations by number, with what precedes each, and who wrote what each read."""

    def __init__(self, history: Sequence[Operation], keyed: bool) -> None:
        self.operations: Final = [each for each in history if each.type is not Type.FAIL]
        self.keys: Final[list[Value]] = []
        self.values: Final[list[Value]] = []
        self.by_process: Final[dict[Process, list[int]]] = {}
        self.writer: Final[dict[tuple[Value, Value], int]] = {}
        self.writes: Final[dict[Value, list[int]]] = {}  # By key.
        self.source: Final[dict[int, int]] = {}  # Of each read of a written value, the write.
        self.thin_air: Breach | None = None
        for number, operation in enumerate(self.operations):
            self._collect(number, operation, keyed)
        for number in self.reads():
            value = self.values[number]
            if value is None:
                continue
            writer = self.writer.get((self.keys[number], value))
            if writer is None:
                story = f"nobody wrote {show(value)}"
                self.thin_air = Breach(Guarantee.CAUSAL, "ThinAirRead", story, (self.operations[number],))
                return
            self.source[number] = writer
        self.past: Final = self._pasts()

    def _collect(self, number: int, operation: Operation, keyed: bool) -> None:
        if operation.f not in ("read", "write"):
            raise ValueError(f"sessions are judged by reads and writes, and here is {operation}")
        told = operation.argument if operation.f == "write" else operation.result
        if keyed and operation.type is Type.INFO and operation.f == "read":
            told = operation.argument
        key, value = None, told
        if keyed:
            if not isinstance(told, tuple) or len(told) != 2:
                raise ValueError(f"values of the form [key value] are expected, and here is {operation}")
            key, value = told
        self.keys.append(key)
        self.values.append(value)
        self.by_process.setdefault(operation.process, []).append(number)
        if operation.f == "write":
            if value is None or (key, value) in self.writer:
                raise ValueError(f"each value must be written once, and never nil: {operation}")
            self.writer[key, value] = number
            self.writes.setdefault(key, []).append(number)

    def is_write(self, number: int) -> bool:
        return self.operations[number].f == "write"

    def reads(self) -> list[int]:
        """Those that were answered."""
        return [n for n, each in enumerate(self.operations) if each.f == "read" and each.type is Type.OK]

    def _pasts(self) -> list[int]:
        """All that causally precedes each operation, as bits: its session, what was read, and so on. With circles, all
        in a circle precede one another."""
        size = len(self.operations)
        before: list[list[int]] = [[] for _ in range(size)]
        for session in self.by_process.values():
            for earlier, later in pairwise(session):
                before[later].append(earlier)
        for reader, writer in self.source.items():
            before[reader].append(writer)
        past = [0] * size
        changed = True
        while changed:
            changed = False
            for number in range(size):
                mine = past[number]
                for each in before[number]:
                    mine |= past[each] | 1 << each
                if mine != past[number]:
                    past[number] = mine
                    changed = True
        return past

    def precedes(self, a: int, b: int) -> bool:
        return bool(self.past[b] >> a & 1)

    def misses(self, read: int, write: int) -> bool:
        """Does the read show a state without this write of its key: nothing at all, or something older?"""
        if self.keys[read] != self.keys[write]:
            return False
        source = self.source.get(read)
        return source is None or (source != write and self.precedes(source, write))

    def breach(self, guarantee: Guarantee, pattern: str, story: str, *numbers: int) -> Breach:
        culprits = tuple(self.operations[number] for number in dict.fromkeys(numbers))
        return Breach(guarantee, pattern, story, culprits)

    def in_sessions(self) -> Iterator[tuple[list[int], int, int]]:
        """Each answered read, with its session and its place there."""
        for session in self.by_process.values():
            for place, number in enumerate(session):
                operation = self.operations[number]
                if operation.f == "read" and operation.type is Type.OK:
                    yield session, place, number


# Terry's guarantees.


def _read_your_writes(sessions: _Sessions) -> Breach | None:
    """A session's reads show its own earlier writes, or newer ones."""
    for session, place, read in sessions.in_sessions():
        for write in reversed(session[:place]):
            if sessions.is_write(write) and sessions.misses(read, write):
                story = f"the read does not show {show(sessions.values[write])}, which its own session had written"
                source = [sessions.source[read]] if read in sessions.source else []
                return sessions.breach(Guarantee.READ_YOUR_WRITES, "own write missed", story, write, read, *source)
    return None


def _monotonic_reads(sessions: _Sessions) -> Breach | None:
    """A session's reads never show an older state than its earlier reads did."""
    for session, place, read in sessions.in_sessions():
        for earlier in reversed(session[:place]):
            write = sessions.source.get(earlier)
            if write is not None and sessions.misses(read, write):
                story = f"the session had read {show(sessions.values[write])}, and then reads an older state"
                return sessions.breach(Guarantee.MONOTONIC_READS, "went back", story, write, earlier, read)
    return None


def _monotonic_writes(sessions: _Sessions) -> Breach | None:
    """Whoever sees a session's write sees its earlier writes, too."""
    return _without_its_cause(
        sessions,
        Guarantee.MONOTONIC_WRITES,
        lambda session, place: [(each, each) for each in session[:place] if sessions.is_write(each)],
        "was written by the same session before",
    )


def _writes_follow_reads(sessions: _Sessions) -> Breach | None:
    """Whoever sees a write sees what its session had read before."""
    return _without_its_cause(
        sessions,
        Guarantee.WRITES_FOLLOW_READS,
        lambda session, place: [(each, sessions.source[each]) for each in session[:place] if each in sessions.source],
        "its session had read before",
    )


def _without_its_cause(
    sessions: _Sessions,
    guarantee: Guarantee,
    causes: Callable[[list[int], int], list[tuple[int, int]]],
    how: str,
) -> Breach | None:
    """A session that saw a write, and then does not show one of its causes (the operation there, the write)."""
    place_of = {number: place for session in sessions.by_process.values() for place, number in enumerate(session)}
    session_of = {number: session for session in sessions.by_process.values() for number in session}
    for session, place, read in sessions.in_sessions():
        for earlier in session[:place]:
            effect = sessions.source.get(earlier)
            if effect is None:
                continue
            for operation, cause in causes(session_of[effect], place_of[effect]):
                if sessions.misses(read, cause):
                    story = (
                        f"a session that has read {show(sessions.values[effect])} does not show "
                        f"{show(sessions.values[cause])}, which {how}"
                    )
                    return sessions.breach(guarantee, "cause missed", story, cause, operation, effect, earlier, read)
    return None


# Causality.


def _causal(sessions: _Sessions) -> Breach | None:
    """The bad patterns of CC."""
    for number in range(len(sessions.operations)):
        if sessions.precedes(number, number):
            circle = [each for each in range(len(sessions.operations)) if _mutual(sessions, each, number)]
            return sessions.breach(Guarantee.CAUSAL, "CyclicCO", "each of these causes the next", *circle)
    for read in sessions.reads():
        source = sessions.source.get(read)
        for write in sessions.writes.get(sessions.keys[read], ()):
            if not sessions.precedes(write, read) or write == source:
                continue
            value = show(sessions.values[write])
            if source is None:
                story = f"the read shows nothing, and {value} is among its causes"
                return sessions.breach(Guarantee.CAUSAL, "WriteCOInitRead", story, write, read)
            if sessions.precedes(source, write):
                story = f"the read shows {show(sessions.values[source])}, and the newer {value} is among its causes"
                return sessions.breach(Guarantee.CAUSAL, "WriteCORead", story, source, write, read)
    return None


def _mutual(sessions: _Sessions, a: int, b: int) -> bool:
    return sessions.precedes(a, b) and sessions.precedes(b, a)


def _convergence(sessions: _Sessions) -> Breach | None:
    """CyclicCF: writes that had to come before those that were read although they were known, in a circle."""
    order = list(sessions.past)
    conflicts = []
    for read, source in sessions.source.items():
        for write in sessions.writes[sessions.keys[read]]:
            if write != source and sessions.precedes(write, read):
                conflicts.append((write, source, read))
    circle = _close(order, [(write, source) for write, source, _ in conflicts])
    if circle is None:
        return None
    reads = [read for write, source, read in conflicts if order[write] >> circle & 1 and order[circle] >> write & 1]
    story = "sessions that knew all of these writes don't agree which is the newest"
    writes = [n for write, source, read in conflicts if read in reads for n in (write, source)]
    return sessions.breach(Guarantee.CAUSAL_CONVERGENCE, "CyclicCF", story, *writes, *reads)


def _close(order: list[int], edges: Sequence[tuple[int, int]]) -> int | None:
    """Add edges to a transitive order of bits, in place; somebody who then precedes itself, or None."""
    for a, b in edges:
        if order[b] >> a & 1:
            continue
        more = order[a] | 1 << a
        for number in range(len(order)):
            if number == b or order[number] >> b & 1:
                order[number] |= more
    return next((number for number, mine in enumerate(order) if mine >> number & 1), None)


def _memory(sessions: _Sessions) -> Breach | None:
    """WriteHBInitRead and CyclicHB, for the last operation of each session: what holds there holds before."""
    for session in sessions.by_process.values():
        last = session[-1]
        seen = sessions.past[last] | 1 << last
        order = [mine & seen if seen >> number & 1 else 0 for number, mine in enumerate(sessions.past)]
        mine = [read for read in session if read in sessions.source]
        changed = True
        while changed:
            changed = False
            for read in mine:
                source = sessions.source[read]
                for write in sessions.writes[sessions.keys[read]]:
                    if write != source and order[read] >> write & 1 and not order[source] >> write & 1:
                        changed = True
                        circle = _close(order, [(write, source)])
                        if circle is not None:
                            story = "the session's reads can't be explained by one order of what it knew"
                            return sessions.breach(Guarantee.CAUSAL_MEMORY, "CyclicHB", story, write, source, *mine)
        for read in session:
            if sessions.operations[read].f == "read" and sessions.operations[read].type is Type.OK:
                for write in sessions.writes.get(sessions.keys[read], ()):
                    if read not in sessions.source and order[read] >> write & 1:
                        story = f"the read shows nothing, and {show(sessions.values[write])} had to come before it"
                        return sessions.breach(Guarantee.CAUSAL_MEMORY, "WriteHBInitRead", story, write, read)
    return None


# Sequential consistency.


class Sequential(msgspec.Struct, frozen=True):
    """`holds` None: it could not be told within the bound."""

    holds: bool | None
    why: str = ""


def check_sequential(
    history: Sequence[Operation],
    model: Model,
    most_configurations: int = 2_000_000,
    go_on: Callable[[], bool] = lambda: True,
) -> Sequential:
    """Does one order of all operations, in which each process' own stay as they were, explain the history?

    Unlike linearizability it can't be judged key by key. Takes, at worst, time in proportion to the product of the
    processes' numbers of operations.
    """
    parts = list(model.parts(model.relevant(history)).values())
    if len(parts) > 1:
        raise ValueError("several objects are several histories only for linearizability: use one model of all of them")
    sessions: dict[Process, list[Operation]] = {}
    for operation in sorted(parts[0] if parts else (), key=lambda each: each.called):
        sessions.setdefault(operation.process, []).append(operation)
    chains = list(sessions.values())
    start = tuple([0] * len(chains))
    seen = {(start, model.initial)}
    stack = [(start, model.initial)]
    deepest = start
    while stack:
        if len(seen) > most_configurations or not go_on():
            return Sequential(None, f"the search was ended after {len(seen)} configurations")
        places, state = stack.pop()
        if sum(places) > sum(deepest):
            deepest = places
        if all(place == len(chain) for chain, place in zip(chains, places, strict=True)):
            return Sequential(True)
        for number, chain in enumerate(chains):
            place = places[number]
            if place == len(chain):
                continue
            afters = {model.step(state, chain[place])}
            if chain[place].answered is None:
                afters.add(state)  # It may never have happened.
            further = (*places[:number], place + 1, *places[number + 1 :])
            for after in sorted(afters - {IMPOSSIBLE}, key=show):
                if (further, after) not in seen:
                    seen.add((further, after))
                    stack.append((further, after))
    waiting = [str(chain[place]) for chain, place in zip(chains, deepest, strict=True) if place < len(chain)]
    return Sequential(False, "no order goes on after some point; at best these wait:\n  " + "\n  ".join(waiting))
