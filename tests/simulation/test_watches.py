"""Watchers in whole clusters: told everything once, in order, by whole revisions, whatever happens to the nodes.

And the proof that each broken promise would be seen. `OSTRAKA_SEEDS` says how many; `make soak` raises it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ostraka.database import commands, machine, mvcc
from ostraka.database import watch as watching
from ostraka.database.topics import Topic
from ostraka.database.watch import Batch, Watcher, Watchers
from ostraka.server.watch import Watch, WatchStream
from ostraka.simulation.misfortunes import Crashes, Misfortune, Partitions
from ostraka.simulation.world import SeedFailed, World

SEEDS = int(os.environ.get("OSTRAKA_SEEDS", "300")) // 10
MUST_SEE = (
    "a stream that broke",
    "a stream ended: etcdserver: no leader",
    "a full stream",
    "a watched state replaced",
    "a watch ended by compaction",
    "progress told",
)
Patch = pytest.MonkeyPatch
Kinds = tuple[type[Misfortune], ...] | None


def test_watchers_are_told_everything(record_property: Callable[[str, object], None]) -> None:
    """All that `checkers.watch` knows, and enough happened that it means something."""
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = World(seed, workload="watches")
        world.run()
        counts += world.counts
    seen = ", ".join(f"{counts[what]} × {what}" for what in MUST_SEE)
    judged = f"{counts['a watch judged']} watches, {counts['an event told']} events"
    record_property("table", f"{SEEDS} simulated clusters with watchers ({judged}) saw {seen}")
    assert all(counts[what] for what in MUST_SEE), f"{seen}; {counts}"


# ---- The checks can fail ---------------------------------------------------------------------------------------------


def forgets_what_a_full_stream_did_not_take(patch: Patch) -> None:
    park = Watchers._park

    def mutant(watchers: Watchers, watcher: Watcher) -> None:
        watcher.next = watchers.revision + 1
        park(watchers, watcher)

    patch.setattr(Watchers, "_park", mutant)


def joins_before_it_has_caught_up(patch: Patch) -> None:
    def place(watchers: Watchers, watcher: Watcher) -> None:
        if watcher.next > watchers.revision - 2:
            watchers._join(watcher)
        else:
            watchers._fall_behind(watcher)

    patch.setattr(Watchers, "_place", place)


def tells_a_batch_from_its_beginning(patch: Patch) -> None:
    patch.setattr(Batch, "since", lambda batch, revision: batch)


def tells_the_last_revision_again_after_a_change_of_place(patch: Patch) -> None:
    place = Watchers._place

    def mutant(watchers: Watchers, watcher: Watcher) -> None:
        watcher.next = max(watcher.start, watcher.next - 1)
        place(watchers, watcher)

    patch.setattr(Watchers, "_place", mutant)


def cuts_the_history_within_a_revision(patch: Patch) -> None:
    def piece(table: Any, first: int, most: int, size: int) -> tuple[list[commands.KeyValue], int | None]:
        pairs = []
        for pair in mvcc.history(table, first):
            pairs.append(pair)
            if len(pairs) >= most:
                return pairs, pair.mod_revision
        return pairs, None

    patch.setattr(machine.mvcc, "piece_of_history", piece)


def announces_progress_too_early(patch: Patch) -> None:
    patch.setattr(watching, "_is_at", lambda watcher, level: True)


def does_not_notice_another_state(patch: Patch) -> None:
    patch.setattr(Watchers, "jumped", lambda watchers, revision: setattr(watchers, "revision", revision))


def does_not_notice_a_compaction(patch: Patch) -> None:
    history = machine.Database._history

    def mutant(database: Any, query: commands.History) -> commands.Past:
        compacted, database._state.compacted = database._state.compacted, -1
        try:
            return history(database, query)
        finally:
            database._state.compacted = compacted

    patch.setattr(machine.Database, "_history", mutant)


def goes_on_behind_what_it_has_not_been_told(patch: Patch) -> None:
    first_untold = Topic.first_untold

    def mutant(topic: Topic, watcher: Watcher) -> int | None:
        found = first_untold(topic, watcher)
        return found + 1 if found is not None else None

    patch.setattr(Topic, "first_untold", mutant)


def tells_what_is_there_now_as_what_was_before(patch: Patch) -> None:
    def previous(service: Watch, key: bytes, revision: int) -> commands.KeyValue | None:
        found = service.member.query(commands.Range(key))
        return found.kvs[0] if found.kvs else None

    patch.setattr(Watch, "previous", previous)


def drops_what_does_not_fit(patch: Patch) -> None:
    deliver = WatchStream.deliver

    def mutant(stream: WatchStream, watcher: Watcher, batch: Batch) -> int:
        return 0 if stream._call.unsent > 50 else deliver(stream, watcher, batch)

    patch.setattr(WatchStream, "deliver", mutant)


MUTANTS: dict[Callable[[Patch], None], tuple[int, Kinds]] = {
    forgets_what_a_full_stream_did_not_take: (10, ()),
    joins_before_it_has_caught_up: (5, ()),
    tells_a_batch_from_its_beginning: (10, ()),
    tells_the_last_revision_again_after_a_change_of_place: (10, ()),
    cuts_the_history_within_a_revision: (10, ()),
    announces_progress_too_early: (10, ()),
    does_not_notice_another_state: (40, (Partitions, Crashes)),
    does_not_notice_a_compaction: (10, ()),
    goes_on_behind_what_it_has_not_been_told: (10, ()),
    tells_what_is_there_now_as_what_was_before: (10, ()),
    drops_what_does_not_fit: (10, ()),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    most, kinds = MUTANTS[mutant]
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds, workload="watches").run()
        except SeedFailed:
            return
    raise AssertionError(f"not found in {most} seeds")
