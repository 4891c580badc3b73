"""How isolated were transactions that read and write registers, where each value is written to a key once?

Follows:  Biswas and Enea, "On the Complexity of Checking Transactional Consistency" (2019), for read committed, read
          atomic and causal: axioms that force an order of writers, added until nothing changes. Snapshot isolation and
          serializability are looked for by a SAT solver over the orders of writers, whose circles are forbidden as they
          are met: Huang et al., "Efficient Black-box Checking of Snapshot Isolation in Databases" (2023); Cerone and
          Gotsman, "Analysing Snapshot Isolation" (2016).
Words:    a transaction is *read* by another that read a value which it wrote last. The initial value is nil.
Departs:  here sessions count from read committed on, as those axioms have it; the levels without sessions are judged
          beside them. A transaction whose outcome is unknown counts once it was read.
Evidence: tests/checkers/test_registers.py compares with brute force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Final

from ostraka.checkers.cycles import Edge, Effort, Graph, Kind, add_real_time, add_sessions
from ostraka.checkers.history import Operation, Type, Value, ends, show
from ostraka.checkers.isolation import Anomaly, Level, Verdict, in_order, judge, micro_operations, name

try:
    from pysat.solvers import Solver
except ModuleNotFoundError:  # The extra `ostraka[sat]`.
    Solver = None

MOST_ROUNDS: Final = 20_000
"""How many circles the solver is told of, before a level counts as unknown."""

_FORBIDDEN: Final[dict[Level, frozenset[str]]] = {
    Level.READ_COMMITTED: frozenset({"unwritten-value", "G1a", "G1b", "internal", "read-committed"}),
    Level.READ_ATOMIC: frozenset({"read-atomic"}),
    Level.CAUSAL: frozenset({"causal"}),
    Level.SNAPSHOT_ISOLATION: frozenset({"snapshot-isolation"}),
    Level.SERIALIZABLE: frozenset({"serializable"}),
    Level.STRONG_SESSION_SNAPSHOT_ISOLATION: frozenset({"strong-session-snapshot-isolation"}),
    Level.STRONG_SESSION_SERIALIZABLE: frozenset({"strong-session-serializable"}),
    Level.STRONG_SNAPSHOT_ISOLATION: frozenset({"strong-snapshot-isolation"}),
    Level.STRICT_SERIALIZABLE: frozenset({"strict-serializable"}),
}
_WITHOUT_SESSIONS: Final = frozenset({Level.SNAPSHOT_ISOLATION, Level.SERIALIZABLE})
_BY_SEARCH: Final = (
    Level.SNAPSHOT_ISOLATION,
    Level.STRONG_SESSION_SNAPSHOT_ISOLATION,
    Level.STRONG_SNAPSHOT_ISOLATION,
    Level.SERIALIZABLE,
    Level.STRONG_SESSION_SERIALIZABLE,
    Level.STRICT_SERIALIZABLE,
)


def check_registers(history: Sequence[Operation], most_rounds: int = MOST_ROUNDS) -> Verdict:
    """Judge transactions (`txn`) of [["w" key value] ["r" key value] …], where each value is written to a key once.

    Read committed, read atomic and causal take polynomial time; the others take a SAT solver (`ostraka[sat]`), and are
    unknown without one or after `most_rounds` circles. Raises ValueError for other histories.
    """
    store = Registers(history)
    anomalies = list(store.anomalies)
    for level, force in ((Level.READ_COMMITTED, _read_before), (Level.READ_ATOMIC, _next_to), (Level.CAUSAL, _behind)):
        if not anomalies:
            anomalies += store.saturate(level, force)
    unknown = []
    for level in _BY_SEARCH:
        if any(str(weaker) in {each.name for each in anomalies} for weaker in _searched_below(level)):
            continue
        if store.anomalies:
            break
        found = store.search(level, most_rounds)
        if found is None:
            unknown.append(level)
        else:
            anomalies += found
    return judge(_FORBIDDEN, _FORBIDDEN, anomalies, unknown)


def _searched_below(level: Level) -> list[Level]:
    """Those of the searched levels that this one implies."""
    kinds = {
        Level.SNAPSHOT_ISOLATION: [],
        Level.STRONG_SESSION_SNAPSHOT_ISOLATION: [Level.SNAPSHOT_ISOLATION],
        Level.STRONG_SNAPSHOT_ISOLATION: [Level.SNAPSHOT_ISOLATION, Level.STRONG_SESSION_SNAPSHOT_ISOLATION],
        Level.SERIALIZABLE: [Level.SNAPSHOT_ISOLATION],
        Level.STRONG_SESSION_SERIALIZABLE: [Level.SERIALIZABLE, Level.STRONG_SESSION_SNAPSHOT_ISOLATION],
        Level.STRICT_SERIALIZABLE: [
            Level.SERIALIZABLE,
            Level.STRONG_SESSION_SERIALIZABLE,
            Level.STRONG_SNAPSHOT_ISOLATION,
        ],
    }
    return [*kinds[level], *[deeper for each in kinds[level] for deeper in _searched_below(each)]]


def has_solver() -> bool:
    """Is the extra `ostraka[sat]` installed?"""
    return Solver is not None


class Registers:
    """Who wrote what, who read it, and all that is wrong without a circle."""

    def __init__(self, history: Sequence[Operation]) -> None:
        self.history: Final = history
        self.anomalies: Final[list[Anomaly]] = []
        self.writer: Final[dict[tuple[Value, Value], int]] = {}
        self.final: Final[list[dict[Value, Value]]] = []  # What each transaction wrote last, by key.
        self.reads: Final[list[list[tuple[Value, Value]]]] = []  # What each read of others, in its order.
        for number, operation in enumerate(history):
            self._collect(number, operation)
        for number, operation in enumerate(history):
            self.reads.append(self._look_inside(number, operation) if operation.type is Type.OK else [])
        for number, reads in enumerate(self.reads):
            for key, value in reads:
                self._trace(number, key, value)
        read = {self.writer[each] for reads in self.reads for each in reads if each in self.writer}
        self.committed: Final = [
            number
            for number, each in enumerate(history)
            if each.type is Type.OK or (each.type is Type.INFO and number in read)
        ]
        self.writers: Final[dict[Value, list[int]]] = {}
        for number in self.committed:
            for key in self.final[number]:
                self.writers.setdefault(key, []).append(number)

    def _collect(self, number: int, operation: Operation) -> None:
        final: dict[Value, Value] = {}
        for f, key, value in micro_operations(operation):
            if f == "w":
                if value is None or (key, value) in self.writer:
                    raise ValueError(
                        f"{show(value)} is written to {show(key)} by {operation}: each value must be written to a key "
                        "once, and never nil, or nobody can tell who wrote what was read"
                    )
                self.writer[key, value] = number
                final[key] = value
            elif f != "r":
                raise ValueError(f'a transaction writes ("w") and reads ("r"), and this one does {f!r}: {operation}')
        self.final.append(final)

    def _look_inside(self, number: int, operation: Operation) -> list[tuple[Value, Value]]:
        """Its reads of what others wrote. A second read of a key is one too: it may differ below read atomic."""
        own: dict[Value, Value] = {}
        outside = []
        for f, key, value in micro_operations(operation):
            if f == "w":
                own[key] = value
            elif key not in own:
                outside.append((key, value))
            elif value != own[key]:
                story = f"{name(operation)} read {show(key)} as {show(value)} after it wrote {show(own[key])}"
                self._add("internal", story, number)
        return outside

    def _trace(self, number: int, key: Value, value: Value) -> None:
        """Where a value that was read came from."""
        reader = name(self.history[number])
        writer = self.writer.get((key, value))
        if value is None:
            return
        if writer is None:
            self._add("unwritten-value", f"{reader} read {show(key)} as {show(value)}, which nobody wrote", number)
        elif self.history[writer].type is Type.FAIL:
            theirs = name(self.history[writer])
            self._add(
                "G1a", f"{reader} read {show(key)} as {show(value)}, which {theirs} wrote and took back", number, writer
            )
        elif self.final[writer][key] != value:
            theirs = f"{name(self.history[writer])} went on to write {show(self.final[writer][key])}"
            self._add("G1b", f"{reader} read {show(key)} as {show(value)}, while {theirs}", number, writer)

    def _add(self, what: str, story: str, *numbers: int) -> None:
        self.anomalies.append(Anomaly(what, (story,), tuple(self.history[number] for number in numbers)))

    # Orders that are known.

    def graph(self, level: Level) -> Graph:
        """Who comes before whom, since it was read, or by the order that the level asks for."""
        graph = Graph(len(self.history))
        counts = set(self.committed).__contains__
        if level not in _WITHOUT_SESSIONS:
            add_sessions(graph, self.history, counts)
        if level in (Level.STRICT_SERIALIZABLE, Level.STRONG_SNAPSHOT_ISOLATION):
            add_real_time(graph, self.history, counts)
        for number in self.committed:
            for key, value in self.reads[number]:
                if value is not None:
                    graph.add(self.writer[key, value], number, Kind.WR, key, value)
        return graph

    # The axioms.

    def saturate(self, level: Level, force: Callable[[Registers, Graph], None]) -> list[Anomaly]:
        """The circle that this axiom forces, if it does."""
        graph = self.graph(level)
        order = Kind.WR | Kind.PROCESS
        before = [circle for part in graph.components(order) if (circle := self._any_circle(graph, order, part))]
        if not before:
            force(self, graph)
            order |= Kind.WW | Kind.RW
            before = [circle for part in graph.components(order) if (circle := self._any_circle(graph, order, part))]
        return [self._explain(str(level), min(before, key=len), graph)] if before else []

    def _any_circle(self, graph: Graph, kinds: Kind, part: list[int]) -> list[Edge] | None:
        return graph.circle(kinds, kinds, part, Effort(20 * len(part) * len(part) + 1000))

    def _explain(self, what: str, circle: list[Edge], graph: Graph) -> Anomaly:
        place = {number: i for i, number in enumerate(dict.fromkeys(edge.before for edge in circle))}
        story = []
        for edge in circle:
            before, after = self.history[edge.before], self.history[edge.after]
            story.append(
                f"{name(before)} < {name(after)}, since {self._tell(edge.kind, before, after, graph.why(edge))}"
            )
        edges = tuple(Edge(place[edge.before], place[edge.after], edge.kind) for edge in circle)
        return Anomaly(what, tuple(story), tuple(self.history[number] for number in place), edges)

    def _tell(self, kind: Kind, before: Operation, after: Operation, why: tuple[Value, ...]) -> str:
        match kind, why:
            case Kind.WR, (key, value):
                return f"{name(after)} read {show(key)} as {show(value)}, which {name(before)} wrote"
            case Kind.WW, (key, int() as reader):
                third = name(self.history[reader])
                return f"{third} saw {name(before)}, which wrote {show(key)}, and read {show(key)} from {name(after)}"
            case Kind.RW, (key,):
                return f"{name(before)} read {show(key)} as it was before anybody wrote it, and {name(after)} wrote it"
        return in_order(kind, before, after)

    # The search.

    def search(self, level: Level, most_rounds: int) -> list[Anomaly] | None:
        """What shows that the level doesn't hold; nothing if it does; None if that could not be told."""
        holds = self._possible(level, self.committed, most_rounds)
        if holds is not False:
            return [] if holds else None
        needed = list(self.committed)
        for number in reversed(self.committed):
            if not any(
                self.writer.get(each) == number for other in needed for each in self.reads[other] if other != number
            ):
                without = [other for other in needed if other != number]
                if self._possible(level, without, most_rounds) is False:
                    needed = without
        story = f"these {len(needed)} transactions fit no order of their writes that {level} allows"
        return [Anomaly(str(level), (story,), tuple(self.history[number] for number in needed))]

    def _possible(self, level: Level, among: list[int], most_rounds: int) -> bool | None:
        if Solver is None:
            return None
        inside = set(among)
        known = self.graph(level)
        steps = [
            (a, b, kind, ())
            for kind in (Kind.WR, Kind.PROCESS, Kind.REALTIME)
            for a, b in known.edges(kind, among)
            if b in inside
        ]
        literals: dict[tuple[Value, int, int], int] = {}
        readers: dict[tuple[Value, int], list[int]] = {}
        for number in among:
            for key, value in self.reads[number]:
                if value is not None:
                    readers.setdefault((key, self.writer[key, value]), []).append(number)
                else:
                    steps += [(number, each, Kind.RW, ()) for each in self.writers.get(key, ()) if each in inside]
        choices: list[tuple[int, int, Kind, tuple[int, ...]]] = []
        for key, writers in self.writers.items():
            likely = sorted((each for each in writers if each in inside), key=lambda each: ends(self.history[each]))
            for first, second in combinations(likely, 2):
                literal = literals.setdefault((key, first, second), len(literals) + 1)
                for a, b, chosen in ((first, second, literal), (second, first, -literal)):
                    choices.append((a, b, Kind.WW, (chosen,)))
                    choices += [(r, b, Kind.RW, (chosen,)) for r in readers.get((key, a), ()) if r != b]
        snapshot = level in _SNAPSHOT
        with Solver(name="glucose4") as solver:
            solver.set_phases(list(literals.values()))  # It tries first that they wrote in the order of their answers.
            for _ in range(most_rounds):
                if not solver.solve():
                    return False
                model = set(solver.get_model() or ())
                model |= {literal for literal in literals.values() if -literal not in model}
                taken = steps + [each for each in choices if each[3][0] in model]
                clauses = _circles_as_clauses(len(self.history), taken, snapshot)
                if not clauses:
                    return True
                for clause in clauses:
                    if not clause:
                        return False
                    solver.add_clause(clause)
        return None


_SNAPSHOT: Final = frozenset(
    {Level.SNAPSHOT_ISOLATION, Level.STRONG_SESSION_SNAPSHOT_ISOLATION, Level.STRONG_SNAPSHOT_ISOLATION}
)


def _circles_as_clauses(
    size: int, taken: Sequence[tuple[int, int, Kind, tuple[int, ...]]], snapshot: bool
) -> list[list[int]]:
    """Some circles among these edges, each as the choices that must not be made together again."""
    graph = Graph(size)
    data = Kind.WR | Kind.PROCESS | Kind.REALTIME | Kind.WW
    certain = {(a, b) for a, b, kind, choice in taken if not choice and kind & data}
    chosen: dict[tuple[int, int, Kind], tuple[int, ...]] = {}
    for a, b, kind, choice in taken:  # Those without a choice come first: a clause is the stronger, the shorter it is.
        if (a, b, kind) not in chosen and not (choice and (a, b) in certain):
            chosen[a, b, kind] = choice
            graph.add(a, b, kind)
    clauses = []
    for part in graph.components(data | Kind.RW):
        circle = graph.nonadjacent(data, part) if snapshot else None
        if circle is None:
            kinds = data if snapshot else data | Kind.RW
            for inner in graph.components(kinds, part):
                circle = graph.circle(kinds, kinds, inner, Effort(20 * len(inner) * len(inner) + 1000))
        if circle is not None:
            clause = {-literal for edge in circle for literal in chosen[edge.before, edge.after, edge.kind]}
            clauses.append(sorted(clause))
    return clauses


# Which writers an axiom puts before the one that was read: all that wrote the key, and that the reader …


def _force(store: Registers, graph: Graph, number: int, key: Value, value: Value, seen: Any) -> None:
    """For a read of a key: whoever was seen and wrote the key came before the one whose value was read."""
    for other in store.writers.get(key, ()):
        if other == number or not seen(other):
            continue
        if value is None:
            graph.add(number, other, Kind.RW, key)
        elif (source := store.writer[key, value]) != other:
            graph.add(other, source, Kind.WW, key, number)


def _read_before(store: Registers, graph: Graph) -> None:
    """… has read from, before this read, in the same transaction. (Read committed)"""
    for number in store.committed:
        seen: set[int] = set()
        for key, value in store.reads[number]:
            _force(store, graph, number, key, value, seen.__contains__)
            if value is not None:
                seen.add(store.writer[key, value])


def _next_to(store: Registers, graph: Graph) -> None:
    """… has read from, or follows in its session. (Read atomic)"""
    before: dict[int, set[int]] = {}
    sessions: dict[int | str, list[int]] = {}
    for number in store.committed:
        process = store.history[number].process
        before[number] = set(sessions.get(process, ()))
        sessions.setdefault(process, []).append(number)
        before[number] |= {store.writer[each] for each in store.reads[number] if each[1] is not None}
    for number in store.committed:
        for key, value in store.reads[number]:
            _force(store, graph, number, key, value, before[number].__contains__)


def _behind(store: Registers, graph: Graph) -> None:
    """… is behind by any number of such steps. (Causal)"""
    order = Kind.WR | Kind.PROCESS
    past = _pasts(graph, order, store.committed)
    for number in store.committed:
        mine = past[number]
        for key, value in store.reads[number]:
            _force(store, graph, number, key, value, lambda other, mine=mine: mine >> other & 1)


def _pasts(graph: Graph, kinds: Kind, nodes: Sequence[int]) -> dict[int, int]:
    """All that comes before each node, as bits. There are no circles of these kinds."""
    after: dict[int, list[int]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(nodes, 0)
    for a, b in graph.edges(kinds, nodes):
        after[a].append(b)
        waiting[b] += 1
    ready = [node for node in nodes if not waiting[node]]
    past = dict.fromkeys(nodes, 0)
    while ready:
        node = ready.pop()
        mine = past[node] | 1 << node
        for each in after[node]:
            past[each] |= mine
            waiting[each] -= 1
            if not waiting[each]:
                ready.append(each)
    return past
