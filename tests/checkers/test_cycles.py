"""Circles against the enumeration of all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ostraka.checkers.cycles import Edge, Effort, Graph, Kind, add_real_time, add_sessions
from ostraka.checkers.history import Operation


def all_circles(graph: Graph, kinds: Kind) -> Iterator[list[Edge]]:
    """Every circle that comes to each node once, begun at its least node; once for each choice of its edges' kinds."""

    def grow(path: list[Edge], start: int, node: int) -> Iterator[list[Edge]]:
        for _, after in graph.edges(kinds, [node]):
            for kind in Kind:
                if kind & kinds and (node, after) in set(graph.edges(kind, [node])):
                    edge = Edge(node, after, kind)
                    if after == start:
                        yield [*path, edge]
                    elif after > start and all(after != each.before for each in path) and after != node:
                        yield from grow([*path, edge], start, after)

    for start in range(graph.size):
        yield from grow([], start, start)


def random_graph(dice: random.Random, size: int, edges: int) -> Graph:
    graph = Graph(size)
    for _ in range(edges):
        graph.add(dice.randrange(size), dice.randrange(size), dice.choice([Kind.WW, Kind.WR, Kind.RW]))
    return graph


def is_circle(circle: list[Edge], graph: Graph) -> bool:
    joined = all(a.after == b.before for a, b in zip(circle, [*circle[1:], circle[0]], strict=True))
    return joined and all((e.before, e.after) in set(graph.edges(e.kind, [e.before])) for e in circle)


DATA = Kind.WW | Kind.WR | Kind.RW
CASES = [(Kind.WW, Kind.WW), (Kind.WR, Kind.WW | Kind.WR), (Kind.RW, Kind.WW | Kind.WR), (Kind.RW, DATA)]


@pytest.mark.parametrize(("first", "rest"), CASES, ids=["G0", "G1c", "G-single", "G2"])
def test_the_circle_found_is_one_of_the_shortest(first: Kind, rest: Kind) -> None:
    dice = random.Random(f"{first}{rest}")
    found = 0
    for _ in range(400):
        graph = random_graph(dice, 5, 3 + dice.randrange(12))
        wanted = [
            circle
            for circle in all_circles(graph, first | rest)
            if any(
                each.kind & first and all(other.kind & rest for other in circle if other is not each) for each in circle
            )
        ]
        lengths = {len(circle) for circle in wanted}
        circles = [graph.circle(first, rest, part, Effort(10**6)) for part in graph.components(first | rest)]
        best = min((circle for circle in circles if circle is not None), key=len, default=None)
        if not wanted:
            assert best is None
            continue
        found += 1
        assert best is not None
        assert is_circle(best, graph)
        assert len(best) == min(lengths)
        assert best[0].kind & first and all(each.kind & rest for each in best[1:])
    assert 20 < found < 390


def composed_is_cyclic(graph: Graph, rest: Kind) -> bool:
    """Cerone and Gotsman: (rest ; RW?) has a circle."""
    steps = {(a, b) for a in range(graph.size) for a, b in graph.edges(rest, [a])}
    steps |= {(a, c) for a, b in steps for b2, c in graph.edges(Kind.RW, [b]) if b == b2}
    reach = set(steps)
    while True:
        more = reach | {(a, d) for a, b in reach for c, d in steps if b == c}
        if more == reach:
            return any(a == b for a, b in reach)
        reach = more


def test_nonadjacent_circles_are_those_that_snapshot_isolation_forbids() -> None:
    dice = random.Random("nonadjacent")
    rest = Kind.WW | Kind.WR
    seen = {True: 0, False: 0}
    for _ in range(400):
        graph = random_graph(dice, 5, 3 + dice.randrange(7))
        circles = [graph.nonadjacent(rest, part) for part in graph.components(DATA)]
        circle = next((each for each in circles if each is not None), None)
        dependencies = any(graph.components(rest))
        assert (circle is not None or dependencies) == composed_is_cyclic(graph, rest)
        if circle is not None:
            assert is_circle(circle, graph)
            kinds = [each.kind for each in circle]
            assert Kind.RW in kinds
            assert not any(a is b is Kind.RW for a, b in zip(kinds, [*kinds[1:], kinds[0]], strict=True))
        seen[circle is not None] += 1
    assert min(seen.values()) > 50, seen


def test_components_are_those_of_mutual_reachability() -> None:
    dice = random.Random("components")
    for _ in range(200):
        graph = random_graph(dice, 7, dice.randrange(14))
        reach = {(a, b) for a, b in graph.edges(DATA, range(7))}
        while (more := reach | {(a, d) for a, b in reach for c, d in reach if b == c}) != reach:
            reach = more
        for component in graph.components(DATA):
            assert all((a, b) in reach for a in component for b in component)
        inside = {node for component in graph.components(DATA) for node in component}
        assert inside == {a for a, b in reach if a == b}


def test_real_time_needs_only_the_edges_that_do_not_follow() -> None:
    dice = random.Random("real time")
    for _ in range(100):
        history = []
        for number in range(8):
            call = dice.randrange(20)
            answer = None if dice.getrandbits(2) == 0 else call + dice.randrange(8)
            history.append(Operation(number, "txn", (), None, call, answer))
        graph = Graph(8)
        add_real_time(graph, history, lambda _: True)
        reach = set(graph.edges(Kind.REALTIME, range(8)))
        while (more := reach | {(a, d) for a, b in reach for c, d in reach if b == c}) != reach:
            reach = more
        before = {
            (a, b)
            for a, x in enumerate(history)
            for b, y in enumerate(history)
            if x.answered is not None and x.answered < y.called
        }
        assert reach == before


def test_sessions_are_chains() -> None:
    history = [Operation(process, "txn", (), None, i, i) for i, process in enumerate([1, 2, 1, 1, 2])]
    graph = Graph(5)
    add_sessions(graph, history, lambda number: number != 2)
    assert sorted(graph.edges(Kind.PROCESS, range(5))) == [(0, 3), (1, 4)]


def test_effort_ends_a_search() -> None:
    graph = Graph(1000)
    for node in range(999):
        graph.add(node, node + 1, Kind.WW)
    graph.add(999, 0, Kind.RW)
    effort = Effort(10)
    assert graph.circle(Kind.RW, Kind.WW, range(1000), effort) is None
    assert effort.left <= 0
