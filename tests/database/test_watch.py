"""Watchers over a real database, one promise at a time and then all at random; judged by `checkers.watch`."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from ostraka.checkers.watch import Request, Response, check
from ostraka.database import commands as c
from ostraka.database import topics
from ostraka.database.topics import EmptyRangeError, Index, Interval, interval_of
from ostraka.model import requests

from .watching import Recorded, Recorder, Watched, told

EVERYTHING = Request(b"", b"\0")


def put(key: bytes, value: bytes = b"") -> c.Put:
    return c.Put(key, value)


@pytest.mark.parametrize(
    ("key", "range_end", "interval"),
    [
        (b"a", b"", (b"a", b"a\0")),
        (b"", b"", (b"\0", b"\0\0")),
        (b"", b"\0", (b"\0", None)),
        (b"a", b"\0", (b"a", None)),
        (b"a", b"b", (b"a", b"b")),
        (b"", b"b", (b"\0", b"b")),
        (b"a", b"a\0", (b"a", b"a\0")),
    ],
)
def test_a_range_is_normalised(key, range_end, interval):
    assert interval_of(key, range_end) == interval


@pytest.mark.parametrize(("key", "range_end"), [(b"b", b"a"), (b"a", b"a"), (b"\0\0", b"\0\0")])
def test_an_empty_range_is_refused(key, range_end):
    with pytest.raises(EmptyRangeError):
        interval_of(key, range_end)


def test_the_index_finds_what_a_look_at_each_would_find(monkeypatch):
    monkeypatch.setattr(topics, "BLOCK", 4)
    dice = Random(1)
    index, intervals = Index(), set()

    def some_key() -> bytes:
        return bytes(dice.choices(b"\0ab\xff", k=dice.randrange(4)))

    for _ in range(1500):
        start = some_key()
        interval = Interval(start, dice.choice((None, start + b"\0", start + b"b", some_key())))
        if interval.stop is not None and interval.stop <= start:
            continue
        if interval in intervals and dice.randrange(2):
            index.remove(index.topic(interval))
            intervals.remove(interval)
        else:
            index.topic(interval)
            intervals.add(interval)
        key = some_key()
        found = Counter(topic.interval for topic in index.of(key))
        assert found == Counter(each for each in intervals if each[0] <= key and (each[1] is None or key < each[1]))
    assert len(intervals) > 60


def test_what_happens_after_the_creation_is_told_and_nothing_before():
    db = Watched()
    db.do(put(b"a"))
    watcher = db.watch(EVERYTHING)
    db.do(put(b"b"))
    db.do(c.DeleteRange(b"a", b"\0"))
    db.settle()
    assert [(event.revision, event.key, event.pair is None) for event in told(watcher)] == [
        (3, b"b", False),
        (4, b"a", True),
        (4, b"b", True),
    ]


def test_a_revision_in_the_future_is_waited_for():
    db = Watched()
    watcher = db.watch(Request(b"a", start=4))
    for _ in range(4):
        db.do(put(b"a"))
        db.settle()
    assert [event.revision for event in told(watcher)] == [4, 5]


def test_the_past_is_told_from_the_history_in_pieces_of_whole_revisions():
    db = Watched(rows=2)
    for number in range(4):
        db.do(c.Txn(success=tuple(put(b"%d" % key, b"%d" % number) for key in range(3))))
    watcher = db.watch(Request(b"0", b"2", start=2, prev_kv=True))
    db.settle()
    assert [[event.revision for event in each.events] for each in watcher.record.responses[1:]] == [
        [revision, revision] for revision in (2, 3, 4, 5)
    ]
    assert check(watcher.record, db.history, complete_to=5) is None
    db.do(put(b"0"))
    db.settle()
    assert told(watcher)[-1].revision == 6, "and then the present"


def test_the_compacted_revision_itself_can_be_watched_and_what_is_before_can_not():
    db = Watched()
    db.do(put(b"a"))
    db.do(put(b"a"))
    db.do(c.DeleteRange(b"a"))
    db.do(put(b"a"))
    db.do(c.Compact(4))
    db.do(c.Sweep())
    at, before = db.watch(Request(b"a", start=4)), db.watch(Request(b"a", start=3))
    db.settle()
    assert [(event.revision, event.pair is None) for event in told(at)] == [(4, True), (5, False)]
    assert before.record.responses[1:] == [Response(0, canceled=True, compact_revision=4)]
    assert before.gone and db.watchers.count == 1


def test_what_many_are_told_alike_is_one_batch():
    db = Watched()
    sink = Recorder()
    for _ in range(100):
        db.watch(Request(b"a"), sink)
    db.do(put(b"a"))
    db.settle()
    assert len(sink.batches) == 100 and len(set(map(id, sink.batches))) == 1
    old = [db.watch(Request(b"a", start=2), sink) for _ in range(10)]
    db.settle()
    assert all(told(watcher) for watcher in old) and len(set(map(id, sink.batches))) == 2


def test_what_happens_during_a_round_comes_as_one_response_in_the_next():
    db = Watched()
    sink = Recorder()
    watchers = [db.watch(Request(b"a"), sink) for _ in range(10)]
    db.do(put(b"a"))
    assert db.turn(5)
    db.do(put(b"a"))
    db.do(put(b"a"))
    db.settle()
    for watcher in watchers:
        assert [len(response.events) for response in watcher.record.responses[1:]] == [1, 2]


def test_a_full_sink_delays_nobody_else_and_misses_nothing():
    db = Watched()
    slow, quick = Recorder(room=1), Recorder()
    watchers = [db.watch(Request(b"a"), sink) for sink in (slow, quick)]
    for number in range(20):
        db.do(put(b"a", b"%d" % number))
        db.settle()
    assert (len(told(watchers[0])), len(told(watchers[1])), db.watchers.slow) == (1, 20, 1)
    slow.room = 3
    db.watchers.resume(slow)
    db.settle()
    assert (len(told(watchers[0])), db.watchers.slow) == (16, 1), "three pieces of the history"
    slow.room = 100
    db.watchers.resume(slow)
    db.settle()
    assert db.watchers.slow == 0
    for watcher in watchers:
        assert check(watcher.record, db.history, complete_to=21) is None


def test_too_much_that_waits_is_told_from_the_history():
    db = Watched(held=2000)
    watchers = [db.watch(Request(b"a")), db.watch(EVERYTHING)]
    for number in range(20):
        db.do(put(b"a", b"%d" % number))
        assert db.watchers.held <= 2000 + 1000
    assert db.watchers.slow
    db.settle()
    assert db.watchers.slow == db.watchers.held == 0
    for watcher in watchers:
        assert check(watcher.record, db.history, complete_to=21) is None


def test_too_much_in_one_entry_is_told_from_the_history():
    db = Watched(held=1000)
    watchers = [db.watch(Request(b"a")), db.watch(Request(b"a", start=6)), db.watch(EVERYTHING)]
    db.submit(*(requests.Request(c.encode(put(b"a", b"%d" % number))) for number in range(9)))
    db.settle()
    for watcher in watchers:
        assert check(watcher.record, db.history, complete_to=10) is None


def test_a_state_from_elsewhere_is_caught_up_with():
    db = Watched()
    sink = Recorder()
    watchers = [db.watch(Request(b"a", prev_kv=True), sink), db.watch(Request(b"b", start=9)), db.watch(EVERYTHING)]
    db.do(put(b"a"))
    db.turn(1)
    db.asleep = True
    for key in (b"a", b"b", b"a", b"b", b"b", b"b", b"b", b"b"):
        db.do(put(key))
    db.wake()
    db.do(put(b"a"))
    db.settle()
    for watcher in watchers:
        assert check(watcher.record, db.history, complete_to=db.revision) is None
    assert told(watchers[1])


def test_a_state_from_elsewhere_may_have_forgotten_what_a_watch_needs():
    db = Watched()
    watcher, late = db.watch(Request(b"a")), db.watch(Request(b"a", start=5))
    db.asleep = True
    for _ in range(4):
        db.do(put(b"a"))
    db.do(c.Compact(4))
    db.wake()
    db.settle()
    assert watcher.record.responses[1:] == [Response(0, canceled=True, compact_revision=4)]
    assert [event.revision for event in told(late)] == [5]


def test_a_quiet_watch_is_not_ended_by_a_compaction_when_a_state_comes_from_elsewhere():
    """It has been told all up to the present, though its last event is long ago."""
    db = Watched()
    watcher = db.watch(Request(b"quiet"))
    for _ in range(6):
        db.do(put(b"a"))
        db.settle()
    db.do(c.Compact(6))
    db.asleep = True
    db.do(put(b"quiet"))
    db.wake()
    db.settle()
    assert [event.revision for event in told(watcher)] == [8]


def progress(db: Watched, *watchers: Recorded) -> list[int]:
    answers: list[int] = []
    db.watchers.ask("a", watchers, watchers[0].sink, answers.append)
    return answers


def test_progress_is_told_when_all_have_been_told_so_far():
    db = Watched()
    slow = Recorder(room=0)
    watchers = [db.watch(Request(b"a"), slow), db.watch(Request(b"b"))]
    answers = progress(db, *watchers)
    db.do(put(b"a"))
    db.settle()
    assert answers == [], "the sink is full"
    slow.room = 9
    db.watchers.resume(slow)
    db.settle()
    assert answers == [2]
    answers = progress(db, *watchers)
    db.do(put(b"b"))
    db.turn(1)
    db.settle()
    assert answers == [3], "what happened meanwhile is told first"


def test_progress_is_not_told_before_the_start():
    db = Watched()
    answers = progress(db, db.watch(Request(b"a", start=3)))
    db.do(put(b"b"))
    db.settle()
    assert answers == []
    db.do(put(b"b"))
    db.settle()
    assert answers == [3]


def test_progress_is_told_though_there_is_always_more_to_tell():
    db = Watched()
    watchers = [db.watch(Request(b"a")) for _ in range(30)]
    answers = progress(db, *watchers)
    for _ in range(40):
        db.do(put(b"a"))
        db.turn(7)
    assert answers, "each turn is too short for all"


class Storm:
    """Everything at random, with the clients' records."""

    def __init__(self, seed: int, held: int) -> None:
        self.dice = Random(seed)
        self.db = Watched(self.dice.choice((1, 3, 20)), held, self.dice.choice((100, 1 << 20)))
        self.sinks = [Recorder(self.dice.choice((0, 2, 1 << 30))) for _ in range(3)]
        self.watchers: list[Recorded] = []
        self.live: list[Recorded] = []
        self.on: dict[Recorder, list[Recorded]] = {sink: [] for sink in self.sinks}
        self.compacted = -1
        self.keys = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xff"]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        self.db.wake()
        for sink in self.sinks:
            sink.room = 1 << 30
            self.db.watchers.resume(sink)
        self.db.settle()
        for watcher in self.watchers:
            complete_to = self.db.revision if watcher in self.live else None
            violation = check(watcher.record, self.db.history, complete_to=complete_to, compacted=self.compacted)
            assert violation is None, violation
        assert self.db.watchers.held == 0

    def step(self) -> None:
        dice, db = self.dice, self.db
        draw = dice.randrange(100)
        key, other = dice.choice(self.keys[1:]), dice.choice(self.keys)
        if draw < 25:
            puts = [put(dice.choice(self.keys[1:]), b"%d" % number) for number in range(dice.choice((1, 1, 8)))]
            db.submit(*(requests.Request(c.encode(each)) for each in puts))
        elif draw < 32:
            db.do(c.DeleteRange(key, other))
        elif draw < 40:
            keys = dice.sample(self.keys[1:], 3)
            db.do(c.Txn(success=(put(keys[0]), put(keys[1]), c.DeleteRange(keys[2]))))
        elif draw < 43:
            revision = dice.randrange(max(1, self.compacted), db.revision + 1)
            if isinstance(db.do(c.Compact(revision)), c.CompactDone):
                self.compacted = revision
        elif draw < 60:
            self.begin(dice.choice(self.keys), other)
        elif draw < 68 and self.live:
            watcher = self.live.pop(dice.randrange(len(self.live)))
            self.on[watcher.sink].remove(watcher)
            db.watchers.remove(watcher)
        elif draw < 74:
            sink = dice.choice(self.sinks)
            sink.room = dice.choice((1, 3, 1 << 30))
            db.watchers.resume(sink)
        elif draw < 77 and not db.asleep:
            db.asleep = True
        elif draw < 80 and db.asleep:
            db.wake()
        elif draw < 86 and self.live:
            self.ask()
        elif not db.asleep:
            db.turn(dice.choice((1, 5, 50)))

    def begin(self, key: bytes, range_end: bytes) -> None:
        dice, db = self.dice, self.db
        start = dice.choice((0, 0, dice.randrange(1, db.revision + 5), db.watchers.revision + 1))
        request = Request(key, range_end, start, dice.randrange(4) > 0, dice.randrange(4) > 0, dice.randrange(2) > 0)
        try:
            watcher = db.watch(request, dice.choice(self.sinks))
        except EmptyRangeError:
            return
        watcher.record.name = f"watch {len(self.watchers)}"
        self.watchers.append(watcher)
        self.live.append(watcher)
        self.on[watcher.sink].append(watcher)

    def ask(self) -> None:
        sink = self.dice.choice(self.sinks)
        for watcher in [watcher for watcher in self.on[sink] if watcher.gone]:
            self.on[sink].remove(watcher)
            self.live.remove(watcher)
        least = self.db.watchers.revision

        def answer(revision: int) -> None:
            assert revision >= least
            for watcher in self.on[sink]:
                if not watcher.gone:
                    watcher.record.responses.append(Response(revision))

        self.db.watchers.ask(sink, self.on[sink], sink, answer)


@pytest.mark.parametrize("held", [300, 3000, 64 << 20])
@pytest.mark.parametrize("seed", range(40))
def test_at_random(seed, held):
    Storm(seed, held).run(400)
