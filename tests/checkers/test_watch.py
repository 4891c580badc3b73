"""The checker of watches against responses with known verdicts."""

from __future__ import annotations

import pytest

from ostraka.checkers.watch import Event, Pair, Request, Response, Watch, check


def pair(key: bytes, value: bytes, create: int, mod: int, version: int) -> Pair:
    return Pair(key, value, create, mod, version)


A2, B3, A4 = pair(b"a", b"1", 2, 2, 1), pair(b"b", b"2", 3, 3, 1), pair(b"a", b"3", 2, 4, 2)
C4 = pair(b"c", b"4", 4, 4, 1)
B6 = pair(b"b", b"5", 6, 6, 1)
PUT2, PUT3 = Event(2, b"a", A2), Event(3, b"b", B3)
PUT4, PUT4C = Event(4, b"a", A4, A2), Event(4, b"c", C4)
DELETE5 = Event(5, b"b", None, B3)
PUT6 = Event(6, b"b", B6)
HISTORY = [PUT2, PUT3, PUT4, PUT4C, DELETE5, PUT6]

CREATED = Response(1, created=True)
ALL = Request(b"", b"\0", 1, prev_kv=True)


def said(*events: Event, revision: int = 0, fragment: bool = False) -> Response:
    return Response(revision or events[-1].revision, events, fragment=fragment)


def bare(event: Event) -> Event:
    return Event(event.revision, event.key, event.pair)


def without_previous(*events: Event, revision: int = 0) -> Response:
    return said(*map(bare, events), revision=revision)


GOOD = {
    "all, one revision at a time": (ALL, [said(PUT2), said(PUT3), said(PUT4, PUT4C), said(DELETE5), said(PUT6)]),
    "all at once": (ALL, [said(*HISTORY, revision=9)]),
    "nothing yet": (ALL, []),
    "a beginning": (ALL, [said(PUT2, PUT3)]),
    "progress": (ALL, [said(PUT2, PUT3), Response(3), said(PUT4, PUT4C), Response(4)]),
    "from the middle": (Request(b"b", b"d", 4), [without_previous(PUT4C, DELETE5), without_previous(PUT6)]),
    "only puts": (Request(b"b", b"", 1, deletions=False), [without_previous(PUT3), without_previous(PUT6)]),
    "only deletions": (Request(b"b", b"", 1, puts=False), [without_previous(DELETE5), Response(6)]),
    "from now on": (Request(b"", b"\0"), [without_previous(PUT2, PUT3)]),
    "fragments": (
        Request(b"", b"\0", 3, prev_kv=True, fragment=True),
        [said(PUT3, PUT4, fragment=True), said(PUT4C, DELETE5)],
    ),
    "ended by compaction": (ALL, [Response(0, canceled=True, compact_revision=4)]),
}
BAD = {
    "ordered": [
        (ALL, [said(PUT2), Response(2, canceled=True), said(PUT3)]),
    ],
    "unique": [
        (ALL, [said(PUT2, PUT2, PUT3)]),
        (ALL, [said(PUT2), said(PUT3), said(PUT3, PUT4, PUT4C)]),
    ],
    "reliable": [
        (ALL, [said(PUT2, PUT4, PUT4C)]),
        (ALL, [said(PUT2, PUT3), said(Event(4, b"x", pair(b"x", b"", 4, 4, 1)))]),
        (ALL, [said(PUT2, PUT3, PUT4, PUT4C), Response(0, canceled=True, compact_revision=4)]),
        (ALL, [Response(0, canceled=True, compact_revision=7)]),
    ],
    "atomic": [
        (ALL, [said(PUT2, PUT3, PUT4), said(PUT4C)]),
        (ALL, [said(PUT2, PUT3, PUT4), said(DELETE5)]),
        (ALL, [said(PUT2, fragment=True), said(PUT3)]),
        (ALL, [said(PUT2, PUT3, PUT4)]),
    ],
    "resumable": [
        (Request(b"", b"\0", 2, prev_kv=True), [said(PUT3)]),
        (ALL, [said(PUT3, PUT2)]),
        (Request(b"", b"\0", 3), [without_previous(PUT2)]),
    ],
    "bookmarkable": [
        (ALL, [said(PUT2), Response(3), said(PUT3)]),
        (ALL, [said(PUT2, PUT3), Response(2)]),
        (Request(b"", b"\0", 9), [Response(6)]),
        (ALL, [said(PUT2, PUT3, revision=2)]),
    ],
    "filtered": [
        (Request(b"a", b"", 1), [without_previous(PUT2), without_previous(PUT3)]),
        (Request(b"b", b"", 1, deletions=False), [without_previous(PUT3, DELETE5)]),
    ],
    "faithful": [
        (ALL, [said(Event(2, b"a", pair(b"a", b"9", 2, 2, 1)))]),
        (ALL, [said(Event(2, b"a", pair(b"a", b"1", 1, 2, 2)))]),
        (ALL, [said(PUT2, PUT3, bare(PUT4), PUT4C)]),
        (Request(b"", b"\0", 1), [said(PUT2, PUT3, PUT4, PUT4C)]),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    request, responses = GOOD[name]
    assert check(Watch(request, [CREATED, *responses]), HISTORY, compacted=4) is None


@pytest.mark.parametrize(("guarantee", "case"), [(name, case) for name, cases in BAD.items() for case in cases])
def test_bad(guarantee, case):
    request, responses = case
    violation = check(Watch(request, [CREATED, *responses]), HISTORY, compacted=4 if guarantee == "reliable" else -1)
    assert violation is not None and violation.guarantee == guarantee, violation


def test_what_was_before_may_be_unknown_only_where_it_was_compacted():
    watch = Watch(Request(b"a", b"", 4, prev_kv=True), [CREATED, said(bare(PUT4))])
    assert check(watch, HISTORY, compacted=4) is None
    assert check(watch, HISTORY, compacted=3) is not None


def test_a_watch_that_was_listened_to_is_complete():
    watch = Watch(ALL, [CREATED, said(PUT2, PUT3)])
    assert check(watch, HISTORY, complete_to=3) is None
    violation = check(watch, HISTORY, complete_to=4)
    assert violation is not None and violation.guarantee == "reliable"
    assert check(Watch(ALL, []), HISTORY, complete_to=4) is not None
    assert check(Watch(ALL, [said(PUT2)]), HISTORY) is not None, "never created"
