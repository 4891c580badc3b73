"""Graphs of what must come before what, and the shortest circles in them.

Follows:  Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions"
          (1999), §3.2, §4; Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations"
          (2020), §6; Tarjan, "Depth-First Search and Linear Graph Algorithms" (1972).
Words:    Adya's write dependency is WW, his read dependency WR, his anti-dependency RW. PROCESS: one session ran them
          in this order. REALTIME: one was answered before the other was called.
Evidence: tests/checkers/test_cycles.py compares with enumeration of all circles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntFlag
from typing import Final

import msgspec

from ostraka.checkers.history import Operation, Value, ends


class Kind(IntFlag):
    """Why one comes before the other."""

    WW = 1
    WR = 2
    RW = 4
    PROCESS = 8
    REALTIME = 16


class Edge(msgspec.Struct, frozen=True):
    """`before` comes before `after`, since …"""

    before: int
    after: int
    kind: Kind


class Effort:
    """How many edges may still be looked at."""

    def __init__(self, left: int) -> None:
        self.left = left


class Graph:
    """Nodes are numbers from 0. Between two of them there may be edges of several kinds."""

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self._out: Final[list[dict[int, int]]] = [{} for _ in range(size)]
        self._why: Final[dict[tuple[int, int, int], tuple[Value, ...]]] = {}

    def add(self, before: int, after: int, kind: Kind, *why: Value) -> None:
        """An edge; a circle of one is none. `why`: what explains it to people, kept of the first of its kind."""
        if before != after:
            out = self._out[before]
            known = out.get(after, 0)
            if not known & kind:
                out[after] = known | kind
                if why:
                    self._why[before, after, int(kind)] = why

    def why(self, edge: Edge) -> tuple[Value, ...]:
        """What was said when the edge was added."""
        return self._why.get((edge.before, edge.after, int(edge.kind)), ())

    def edges(self, kinds: Kind, within: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Those with one of these kinds that begin here."""
        for before in within:
            for after, known in self._out[before].items():
                if known & kinds:
                    yield before, after

    def components(self, kinds: Kind, within: Iterable[int] | None = None) -> list[list[int]]:
        """The sets of nodes that can all reach one another over such edges, of two or more nodes. (Tarjan)"""
        nodes = range(self.size) if within is None else sorted(within)
        inside = None if within is None else set(nodes)
        number: dict[int, int] = {}
        low: dict[int, int] = {}
        path: list[int] = []
        on_path: set[int] = set()
        found: list[list[int]] = []
        for root in nodes:
            if root in number:
                continue
            number[root] = low[root] = len(number)
            path.append(root)
            on_path.add(root)
            work = [(root, iter(self._out[root].items()))]
            while work:
                node, successors = work[-1]
                for after, known in successors:
                    if not known & kinds or (inside is not None and after not in inside):
                        continue
                    if after not in number:
                        number[after] = low[after] = len(number)
                        path.append(after)
                        on_path.add(after)
                        work.append((after, iter(self._out[after].items())))
                        break
                    if after in on_path:
                        low[node] = min(low[node], number[after])
                else:
                    work.pop()
                    if work:
                        above = work[-1][0]
                        low[above] = min(low[above], low[node])
                    if low[node] == number[node]:
                        component = []
                        while (member := path.pop()) != node:
                            on_path.discard(member)
                            component.append(member)
                        on_path.discard(node)
                        if component:
                            found.append(sorted([*component, node]))
        return found

    def circle(self, first: Kind, rest: Kind, within: Iterable[int], effort: Effort) -> list[Edge] | None:
        """A shortest circle of an edge of kind `first` and then edges of the kinds in `rest`, or None.

        Two edges are enough. None is no proof once the effort has been spent.
        """
        inside = set(within)
        sources: dict[int, set[int]] = {}
        for before, after in self.edges(first, sorted(inside)):
            if after in inside:
                sources.setdefault(after, set()).add(before)
        best: list[Edge] | None = None
        for start, goals in sources.items():
            back = self._path(start, goals, rest, inside, self.size if best is None else len(best) - 2, effort)
            if back is not None:
                end = back[-1].after
                best = [Edge(end, start, self._one(end, start, first)), *back]
            if effort.left <= 0 or (best is not None and len(best) == 2):
                break
        return best

    def _path(
        self, start: int, goals: set[int], kinds: Kind, inside: set[int], most: int, effort: Effort
    ) -> list[Edge] | None:
        """A shortest way of at most so many edges to one of the goals."""
        came_from: dict[int, int] = {start: start}
        border = [start]
        length = 0
        while border and length < most and effort.left > 0:
            length += 1
            further = []
            for node in border:
                effort.left -= len(self._out[node])
                for after, known in self._out[node].items():
                    if known & kinds and after not in came_from and after in inside:
                        came_from[after] = node
                        if after in goals:
                            return self._trace(came_from, start, after, kinds)
                        further.append(after)
            border = further
        return None

    def _trace(self, came_from: dict[int, int], start: int, goal: int, kinds: Kind) -> list[Edge]:
        edges = []
        node = goal
        while node != start:
            before = came_from[node]
            edges.append(Edge(before, node, self._one(before, node, kinds)))
            node = before
        return edges[::-1]

    def _one(self, before: int, after: int, kinds: Kind) -> Kind:
        """The weightiest of the edge's kinds: what the data shows, before what the clock shows."""
        known = self._out[before][after] & kinds
        return Kind(known & -known)

    def nonadjacent(self, rest: Kind, within: Sequence[int]) -> list[Edge] | None:
        """A circle with RW edges, no two of which follow one another, and others of the kinds in `rest`; or None.

        It may come to a node twice. Each node is doubled here: as reached by another edge, and by an RW edge, from
        which no RW edge leads on; a circle of those is one that is looked for.
        """
        place = {node: i for i, node in enumerate(within)}
        size = len(place)
        doubled = Graph(2 * size)
        for node, i in place.items():
            for after, known in self._out[node].items():
                j = place.get(after)
                if j is None:
                    continue
                if known & Kind.RW:
                    doubled.add(i, size + j, Kind.RW)
                if known & rest:
                    kind = self._one(node, after, rest)
                    doubled.add(i, j, kind)
                    doubled.add(size + i, j, kind)
        for component in doubled.components(rest | Kind.RW):
            circle = doubled.circle(Kind.RW, rest | Kind.RW, component, Effort(2 * size * size))
            if circle is not None:
                nodes = list(within)
                return [Edge(nodes[each.before % size], nodes[each.after % size], each.kind) for each in circle]
        return None


# Order that needs no data.


def add_sessions(graph: Graph, operations: Sequence[Operation], counts: Callable[[int], bool]) -> None:
    """An edge from each operation to the next one of its process, for those that count."""
    last: dict[int | str, int] = {}
    for number, operation in enumerate(operations):
        if counts(number):
            if operation.process in last:
                graph.add(last[operation.process], number, Kind.PROCESS)
            last[operation.process] = number


def add_real_time(graph: Graph, operations: Sequence[Operation], counts: Callable[[int], bool]) -> None:
    """Edges from those answered before another was called, without those that follow from others."""
    moments = []
    for number, operation in enumerate(operations):
        if counts(number):
            moments.append((operation.called, 0, number))
            if operation.answered is not None:
                moments.append((ends(operation), 1, number))
    border: set[int] = set()  # Answered, and not before the call of another one that is answered.
    behind: dict[int, frozenset[int]] = {}
    for _, answer, number in sorted(moments):
        if not answer:
            behind[number] = frozenset(border)
            for before in sorted(border):
                graph.add(before, number, Kind.REALTIME)
        else:
            border -= behind[number]
            border.add(number)
