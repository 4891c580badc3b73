"""How isolated were transactions? The strongest levels that a history still allows, and what breaks the next ones.

Follows:  Adya, "Weak Consistency" (1999), chapters 3 and 4, for the phenomena; Kingsbury and Alvaro, "Elle" (2020), for
          finding them in lists that are only appended to (§4 to §6), and for lost updates.
Words:    an element names the append that wrote it, so a read of a list tells its version and all earlier ones.
          A transaction whose outcome is unknown counts as committed once anybody has read what it wrote.
Departs:  no predicates: G2 is G2-item here. An append that committed and was never read comes after what was.
Evidence: tests/checkers/test_isolation.py; test_against_brute_force.py for all small histories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ostraka.checkers.cycles import Edge, Effort, Graph, Kind, add_real_time, add_sessions
from ostraka.checkers.history import Operation, Process, Type, Value, show

MOST_STEPS: Final = 100_000_000


class Level(StrEnum):
    """From weak to strong; `BELOW` says which implies which."""

    READ_UNCOMMITTED = "read-uncommitted"
    READ_COMMITTED = "read-committed"
    READ_ATOMIC = "read-atomic"
    CAUSAL = "causal"
    CONSISTENT_VIEW = "consistent-view"
    REPEATABLE_READ = "repeatable-read"
    SNAPSHOT_ISOLATION = "snapshot-isolation"
    SERIALIZABLE = "serializable"
    STRONG_SESSION_SNAPSHOT_ISOLATION = "strong-session-snapshot-isolation"
    STRONG_SESSION_SERIALIZABLE = "strong-session-serializable"
    STRONG_SNAPSHOT_ISOLATION = "strong-snapshot-isolation"
    STRICT_SERIALIZABLE = "strict-serializable"


BELOW: Final[dict[Level, tuple[Level, ...]]] = {
    Level.READ_UNCOMMITTED: (),
    Level.READ_COMMITTED: (Level.READ_UNCOMMITTED,),
    Level.READ_ATOMIC: (Level.READ_COMMITTED,),
    Level.CAUSAL: (Level.READ_ATOMIC,),
    Level.CONSISTENT_VIEW: (Level.READ_COMMITTED,),
    Level.REPEATABLE_READ: (Level.CONSISTENT_VIEW,),
    Level.SNAPSHOT_ISOLATION: (Level.CONSISTENT_VIEW,),
    Level.SERIALIZABLE: (Level.REPEATABLE_READ, Level.SNAPSHOT_ISOLATION),
    Level.STRONG_SESSION_SNAPSHOT_ISOLATION: (Level.SNAPSHOT_ISOLATION, Level.CAUSAL),
    Level.STRONG_SESSION_SERIALIZABLE: (Level.SERIALIZABLE, Level.STRONG_SESSION_SNAPSHOT_ISOLATION),
    Level.STRONG_SNAPSHOT_ISOLATION: (Level.STRONG_SESSION_SNAPSHOT_ISOLATION,),
    Level.STRICT_SERIALIZABLE: (Level.STRONG_SESSION_SERIALIZABLE, Level.STRONG_SNAPSHOT_ISOLATION),
}
"""The levels that each one implies at once.

Read atomic and causal speak of sessions, as Biswas and Enea define them, so only the levels that do so imply them.
"""


class Anomaly(msgspec.Struct, frozen=True):
    """Something that a level forbids. `name` is the literature's; `story` tells it, one sentence for each edge."""

    name: str
    story: tuple[str, ...]
    culprits: tuple[Operation, ...]
    edges: tuple[Edge, ...] = ()  # Of a circle: which culprit comes before which, by their places in `culprits`.

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {line}" for line in self.story)])


class Verdict(msgspec.Struct, frozen=True):
    """What a history allows. `unknown`: levels that could not be judged within the bounds."""

    judged: tuple[Level, ...]
    anomalies: tuple[Anomaly, ...]
    broken: dict[Level, Anomaly]  # The levels that don't hold, each with what it forbids.
    unknown: tuple[Level, ...] = ()

    def holds(self, level: Level) -> bool | None:
        """None: it could not be told, or this kind of history doesn't tell."""
        if level in self.broken:
            return False
        return True if level in self.judged and level not in self.unknown else None

    def strongest(self) -> tuple[Level, ...]:
        """The levels that hold and are not implied by others that do."""
        held = [level for level in self.judged if self.holds(level)]
        return tuple(
            level for level in held if not any(level in implied(above) for above in held if above is not level)
        )

    def weakest_broken(self) -> tuple[Level, ...]:
        """The levels that don't hold though all that they imply does."""
        return tuple(level for level in Level if level in self.broken and not implied(level) & self.broken.keys())

    def __str__(self) -> str:
        lines = [f"holds: {', '.join(self.strongest()) or 'nothing'}"]
        for level in self.weakest_broken():
            lines.append(f"broken: {level}, by {self.broken[level]}")
        if self.unknown:
            lines.append(f"could not be told: {', '.join(self.unknown)}")
        return "\n".join(lines)


def implied(level: Level) -> set[Level]:
    """All levels that this one implies, without itself."""
    below: set[Level] = set()
    for each in BELOW[level]:
        below |= {each} | implied(each)
    return below


def judge(
    judged: Iterable[Level],
    forbidden: dict[Level, frozenset[str]],
    anomalies: Sequence[Anomaly],
    unknown: Iterable[Level] = (),
) -> Verdict:
    """Which levels these anomalies break: a level forbids what it names, and what those that it implies name."""
    broken = {}
    for level in judged:
        names = forbidden[level].union(*(forbidden.get(each, frozenset()) for each in implied(level)))
        found = next((anomaly for anomaly in anomalies if anomaly.name in names), None)
        if found is not None:
            broken[level] = found
    doubtful = tuple(level for level in unknown if level not in broken)
    return Verdict(tuple(judged), tuple(anomalies), broken, doubtful)


_SINGLE, _NONADJACENT, _ITEM = "G-single", "G-nonadjacent", "G2-item"
_FORBIDDEN: Final[dict[Level, frozenset[str]]] = {
    Level.READ_UNCOMMITTED: frozenset({"G0", "duplicate-elements", "unwritten-element"}),
    Level.READ_COMMITTED: frozenset({"G1a", "G1b", "G1c", "incompatible-order", "dirty-update"}),
    Level.CONSISTENT_VIEW: frozenset({_SINGLE}),
    Level.REPEATABLE_READ: frozenset({_NONADJACENT, _ITEM, "lost-update"}),
    Level.SNAPSHOT_ISOLATION: frozenset({"internal", _NONADJACENT, "lost-update"}),
    Level.SERIALIZABLE: frozenset(),
    Level.STRONG_SESSION_SNAPSHOT_ISOLATION: frozenset(
        f"{name}-process" for name in ("G0", "G1c", _SINGLE, _NONADJACENT)
    ),
    Level.STRONG_SESSION_SERIALIZABLE: frozenset({f"{_ITEM}-process"}),
    Level.STRONG_SNAPSHOT_ISOLATION: frozenset(f"{name}-realtime" for name in ("G0", "G1c", _SINGLE, _NONADJACENT)),
    Level.STRICT_SERIALIZABLE: frozenset({f"{_ITEM}-realtime"}),
}
"""What each level forbids, beside what the levels that it implies forbid. (Adya, Figure 4-1; Elle, Figure 1)"""


# Lists that are only appended to.


def check_list_append(history: Sequence[Operation], most_steps: int = MOST_STEPS) -> Verdict:
    """Judge transactions (`txn`) of [["append" key element] ["r" key list] …], where each element is appended once.

    Takes time in proportion to the history's length, and more where transactions depend on one another in circles;
    `most_steps` bounds that. Raises ValueError for other histories.
    """
    lists = _Lists(history)
    effort = Effort(most_steps)
    anomalies = [*lists.anomalies, *_circles(lists, effort)]
    return judge(_FORBIDDEN, _FORBIDDEN, anomalies, _FORBIDDEN if effort.left <= 0 else ())


class _Lists:
    """What the reads tell of the order of appends, and all that is wrong without a circle."""

    def __init__(self, history: Sequence[Operation]) -> None:
        self.history: Final = history
        self.anomalies: Final[list[Anomaly]] = []
        self.writer: Final[dict[tuple[Value, Value], int]] = {}  # Who appended this element to this key,
        self.last: Final[dict[tuple[int, Value], Value]] = {}  # and the last one that a transaction appended to a key.
        self.versions: Final[dict[Value, tuple[Value, ...]]] = {}  # The longest list read of each key.
        self.reads: Final[list[tuple[int, Value, tuple[Value, ...]]]] = []  # Of the state before the transaction.
        self.appended: Final[dict[Value, list[int]]] = {}  # Who appended to this key, in the history's order.
        for number, operation in enumerate(history):
            self._collect(number, operation)
        for number, operation in enumerate(history):
            if operation.type is Type.OK:
                self._look_inside(number, operation)
        observed = {
            self.writer[key, element]
            for key, _ in self.versions.items()
            for element in self.versions[key]
            if (key, element) in self.writer
        }
        self.committed: Final = {
            number
            for number, operation in enumerate(history)
            if operation.type is Type.OK or (operation.type is Type.INFO and number in observed)
        }
        self._order()
        self._lost_updates()

    def _collect(self, number: int, operation: Operation) -> None:
        mine: set[tuple[Value, Value]] = set()
        for f, key, element in micro_operations(operation):
            if f == "append":
                first = self.writer.setdefault((key, element), number)
                if first != number or (key, element) in mine:
                    raise ValueError(
                        f"{show(element)} is appended to {show(key)} twice, by {self.history[first]} and {operation}: "
                        "each element must be appended once, or nobody can tell who wrote what was read"
                    )
                mine.add((key, element))
                self.last[number, key] = element
                if (number,) != tuple(self.appended.get(key, ())[-1:]):
                    self.appended.setdefault(key, []).append(number)
            elif f != "r":
                raise ValueError(
                    f'a transaction appends ("append") and reads ("r"), and this one does {f!r}: {operation}'
                )

    def _look_inside(self, number: int, operation: Operation) -> None:
        """Its reads against its own appends; what it read of others is kept."""
        expected: dict[Value, tuple[Value, ...]] = {}  # What a read of this key must give from now on,
        own: dict[Value, tuple[Value, ...]] = {}  # or at least end with.
        for f, key, told in micro_operations(operation):
            if f == "append":
                if key in expected:
                    expected[key] += (told,)
                else:
                    own[key] = (*own.get(key, ()), told)
                continue
            value = () if told is None else told
            if not isinstance(value, tuple):
                raise ValueError(f"a read of a list gives a list, and here is {show(told)}: {operation}")
            if key in expected:
                if value != expected[key]:
                    story = f"{name(operation)} read {show(key)} as {show(value)}, not as {show(expected[key])}"
                    self._add("internal", [story], [number])
                continue
            mine = own.get(key, ())
            if mine and value[-len(mine) :] != mine:
                story = f"{name(operation)} read {show(key)} as {show(value)} after it appended {show(mine)}"
                self._add("internal", [story], [number])
                continue
            expected[key] = value
            self._keep(number, key, value[: len(value) - len(mine)])

    def _keep(self, number: int, key: Value, value: tuple[Value, ...]) -> None:
        reader = self.history[number]
        self.reads.append((number, key, value))
        known = self.versions.get(key, ())
        if len(set(value)) < len(value):
            twice = next(element for element in value if value.count(element) > 1)
            self._add(
                "duplicate-elements",
                [f"{name(reader)} read {show(twice)} twice in {show(key)}: {show(value)}"],
                [number],
            )
        if value[: len(known)] != known[: len(value)]:
            story = f"{name(reader)} read {show(key)} as {show(value)}, and somebody as {show(known)}"
            others = [n for n, k, v in self.reads if k == key and v == known][:1]
            self._add("incompatible-order", [story], [number, *others])
        elif len(value) > len(known):
            self.versions[key] = value

    def _order(self) -> None:
        """Reads of what was never committed, or not finished."""
        for number, key, value in self.reads:
            reader = self.history[number]
            for element in value:
                writer = self.writer.get((key, element))
                if writer is None:
                    story = f"{name(reader)} read {show(element)} in {show(key)}, and nobody appended it"
                    self._add("unwritten-element", [story], [number])
                elif self.history[writer].type is Type.FAIL:
                    theirs = name(self.history[writer])
                    story = f"{name(reader)} read {show(element)} in {show(key)}, which {theirs} appended and took back"
                    self._add("G1a", [story], [number, writer])
            writer = self.writer.get((key, value[-1])) if value else None
            if writer is not None and writer != number and self.last[writer, key] != value[-1]:
                story = (
                    f"{name(reader)} read {show(key)} up to {show(value[-1])}, while {name(self.history[writer])} "
                    f"went on to append {show(self.last[writer, key])}"
                )
                self._add("G1b", [story], [number, writer])
        for key in self.versions:
            aborted: tuple[int, Value] | None = None
            for element in self.versions[key]:
                writer = self.writer.get((key, element))
                if writer is None:
                    continue
                if self.history[writer].type is Type.FAIL:
                    aborted = writer, element
                elif aborted is not None:
                    first, undone = aborted
                    story = (
                        f"{name(self.history[writer])} appended {show(element)} to {show(key)} after {show(undone)}, "
                        f"which {name(self.history[first])} took back"
                    )
                    self._add("dirty-update", [story], [first, writer])
                    break

    def _lost_updates(self) -> None:
        """Two that read the same version of a key and both appended to it: one of them did not see the other."""
        seen: dict[tuple[Value, tuple[Value, ...]], int] = {}
        for number, key, value in self.reads:
            if (number, key) in self.last:
                first = seen.setdefault((key, value), number)
                if first != number:
                    both = f"{name(self.history[first])} and {name(self.history[number])}"
                    self._add(
                        "lost-update",
                        [f"{both} read {show(key)} as {show(value)}, and both appended to it"],
                        [first, number],
                    )

    def _add(self, what: str, story: list[str], numbers: list[int]) -> None:
        self.anomalies.append(Anomaly(what, tuple(story), tuple(self.history[number] for number in numbers)))

    def graph(self) -> Graph:
        """Who comes before whom, by the data."""
        graph = Graph(len(self.history))
        for key, version in self.versions.items():
            before: tuple[int, Value] | None = None
            for element in version:
                writer = self.writer.get((key, element))
                if writer is None:
                    continue
                if before is not None:
                    graph.add(before[0], writer, Kind.WW, key, before[1], element)
                before = writer, element
        place = {key: {element: i for i, element in enumerate(version)} for key, version in self.versions.items()}
        unread = {
            key: [n for n in writers if n in self.committed and self.last[n, key] not in place.get(key, {})]
            for key, writers in self.appended.items()
        }
        for key, later in unread.items():
            version = self.versions.get(key, ())
            final = self.writer.get((key, version[-1])) if version else None
            for writer in later:
                if final is not None:
                    graph.add(final, writer, Kind.WW, key, version[-1], self.last[writer, key])
        for number, key, value in self.reads:
            if value:
                writer = self.writer.get((key, value[-1]))
                if writer is not None:
                    graph.add(writer, number, Kind.WR, key, value[-1])
            version = self.versions.get(key, ())
            if value != version[: len(value)]:
                continue  # In no order that is known.
            if len(value) < len(version):
                after = self.writer.get((key, version[len(value)]))
                if after is not None:
                    graph.add(number, after, Kind.RW, key, value[-1] if value else None, version[len(value)])
            else:
                for after in unread.get(key, ()):
                    graph.add(number, after, Kind.RW, key, value[-1] if value else None, self.last[after, key])
        return graph


def micro_operations(operation: Operation) -> Iterable[tuple[str, Value, Value]]:
    """The steps of a transaction, (f, key, value), as they are known. Raises ValueError if it is none."""
    steps = operation.result if operation.type is Type.OK and operation.result is not None else operation.argument
    if operation.f != "txn" or not isinstance(steps, tuple):
        raise ValueError(f"a history of transactions (txn) is expected, and here is {operation}")
    for step in steps:
        if not isinstance(step, tuple) or len(step) != 3 or not isinstance(step[0], str):
            raise ValueError(f"each step of a transaction is [f key value], not {show(step)}: {operation}")
    return steps


def name(operation: Operation) -> str:
    """How a story calls it: by the place of its call in the history."""
    return f"T{operation.called}"


# Circles.


_PHENOMENA: Final = (
    # Name, a kind that must be there once, the kinds of all other edges.
    ("G0", Kind.WW, Kind.WW),
    ("G1c", Kind.WR, Kind.WW | Kind.WR),
    (_SINGLE, Kind.RW, Kind.WW | Kind.WR),
    (_NONADJACENT, None, Kind.WW | Kind.WR),
    (_ITEM, Kind.RW, Kind.WW | Kind.WR | Kind.RW),
)
_DATA: Final = Kind.WW | Kind.WR | Kind.RW
_ORDERS: Final[tuple[tuple[str, Kind], ...]] = (
    ("", Kind(0)),
    ("-process", Kind.PROCESS),
    ("-realtime", Kind.PROCESS | Kind.REALTIME),
)


def _circles(lists: _Lists, effort: Effort) -> list[Anomaly]:
    graph = lists.graph()
    add_sessions(graph, lists.history, lists.committed.__contains__)
    add_real_time(graph, lists.history, lists.committed.__contains__)
    return find_circles(graph, lists.history, _tell, effort)


def find_circles(graph: Graph, history: Sequence[Operation], tell: Callable[..., str], effort: Effort) -> list[Anomaly]:
    """One circle, a short one, of each phenomenon that the graph shows."""
    found: list[Anomaly] = []
    names: set[str] = set()
    everything = [node for component in graph.components(_DATA | Kind.PROCESS | Kind.REALTIME) for node in component]
    for suffix, order in _ORDERS if everything else ():
        for what, first, rest in _PHENOMENA:
            if what in names or f"{what}-process" in names or (what == _NONADJACENT and _SINGLE + suffix in names):
                continue  # What is forbidden together with it has been found.
            circle = _shortest(graph, everything, first, rest | order, effort)
            if circle is not None:
                names.add(what + suffix)
                found.append(_explain(what + suffix, circle, graph, history, tell))
    return found


def _shortest(graph: Graph, inside: list[int], first: Kind | None, rest: Kind, effort: Effort) -> list[Edge] | None:
    best: list[Edge] | None = None
    for component in graph.components(rest | (first or Kind.RW), inside):
        circle = graph.nonadjacent(rest, component) if first is None else graph.circle(first, rest, component, effort)
        if circle is not None and (best is None or len(circle) < len(best)):
            best = circle
            if len(best) == 2:
                break
    return best


def _explain(
    what: str, circle: list[Edge], graph: Graph, history: Sequence[Operation], tell: Callable[..., str]
) -> Anomaly:
    numbers = [edge.before for edge in circle]
    place = {number: i for i, number in enumerate(dict.fromkeys(numbers))}
    story = [
        f"{name(history[edge.before])} < {name(history[edge.after])}, since "
        + tell(edge.kind, history[edge.before], history[edge.after], *graph.why(edge))
        for edge in circle
    ]
    edges = tuple(Edge(place[edge.before], place[edge.after], edge.kind) for edge in circle)
    return Anomaly(what, tuple(story), tuple(history[number] for number in place), edges)


def _tell(kind: Kind, before: Operation, after: Operation, *why: Value) -> str:
    match kind, why:
        case Kind.WW, (key, old, new):
            return f"{name(after)} appended {show(new)} to {show(key)} after {name(before)} appended {show(old)}"
        case Kind.WR, (key, element):
            return f"{name(after)} read {show(element)} in {show(key)}, which {name(before)} appended"
        case Kind.RW, (key, None, new):
            return f"{name(before)} read {show(key)} before {name(after)} appended {show(new)}, its first element"
        case Kind.RW, (key, old, new):
            return f"{name(before)} read {show(key)} up to {show(old)}, before {name(after)} appended {show(new)}"
    return in_order(kind, before, after)


def in_order(kind: Kind, before: Operation, after: Operation) -> str:
    """The sentence for an edge that needs no data."""
    process: Process = before.process
    if kind is Kind.PROCESS:
        return f"process {process} ran {name(before)} first"
    return f"{name(before)} was answered before {name(after)} was called"
