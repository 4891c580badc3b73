"""A restart after a crash at any point: what is found on disk, and the log that goes with the state."""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.messages import Append, HardState, Installed, Logged
from ostraka.consensus.raft.restore import recover, replay
from ostraka.errors import Corruption
from ostraka.model.effects import Record
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry, SnapshotMeta

from .lone import THREE, Lone, entries, logged


class Strange(Record, frozen=True, tag=99):
    """A record of no engine here."""


def state(epoch: int, index: int) -> SnapshotMeta:
    return SnapshotMeta(epoch, index, 100 * index, THREE)


def restored(records: list[Record], applied: SnapshotMeta) -> Lone:
    return Lone(records, applied)


def test_nothing_on_disk_is_a_first_start() -> None:
    replica = Lone().replica
    assert (replica.term, replica.voted_for, replica.log.last, replica.commit) == (0, None, ORIGIN, 0)


def test_an_entry_replaces_all_from_its_index_on() -> None:
    term, vote, base, found = replay([*logged(2, 1, 1, 1, vote=3), Logged(Entry(2, 2, 9)), HardState(3, None)])
    assert (term, vote, base) == (3, None, ORIGIN)
    assert [entry.position for entry in found] == [(1, 1), (2, 2)]
    assert replay([*logged(1, 1, 1), Logged(Entry(1, 2, 9))])[2:] == (ORIGIN, [Entry(1, 2, 9)])


def test_what_is_applied_counts_as_committed_and_the_rest_of_the_log_stays() -> None:
    replica = restored(logged(1, 1, 1, 1), state(1, 2)).replica
    assert (replica.commit, replica.decided, replica.applied, replica.saved) == (2, 2, 2, 3)
    assert replica.log.first == 1 and replica.log.last == (1, 3)


@pytest.mark.parametrize("applied", [3, 4, 5])
def test_with_segments_released_the_log_begins_where_its_base_is_known(applied: int) -> None:
    records: list[Record] = [HardState(2, None), *(Logged(entry) for entry in entries(1, 1, 1, 1, 2, 2)[3:])]
    replica = restored(records, state(1 if applied < 5 else 2, applied)).replica
    assert replica.log.base == ((1, 3) if applied == 3 else (1, 4))
    assert replica.log.last == (2, 6)


def test_a_gap_tells_that_what_was_before_it_is_older() -> None:
    records: list[Record] = [*logged(1, 1, 1), *(Logged(entry) for entry in entries(1, 1, 1, 1, 1, 1)[4:])]
    log = restored(records, state(1, 5)).replica.log
    assert (log.base, log.last) == ((1, 5), (1, 6))


def test_a_log_that_ends_before_the_state_is_dropped() -> None:
    """The state was installed, and the crash came before the record of it."""
    lone = restored(logged(1, 1, 1), state(4, 9))
    assert lone.replica.log.base == lone.replica.log.last == (4, 9)
    assert lone.replica.term == 4 and lone.replica.voted_for is None and lone.replica.log.stamp == 900


def test_a_log_with_another_past_is_dropped_and_the_drop_is_remembered() -> None:
    """Else entries after it would be read back as following on the old ones, and be dropped with them."""
    disk = logged(3, 1, 1, 1, 1)
    lone = restored(disk, state(2, 3))
    assert lone.replica.log.last == (2, 3)
    lone.receive(2, Append(3, Position(2, 3), (Entry(4, 3, 0),), 3, 0))
    assert lone.records()[0] == Installed(Position(2, 3))
    again = restored([*disk, *lone.records()], state(2, 3)).replica
    assert again.log.last == (3, 4)
    without = [record for record in lone.records() if not isinstance(record, Installed)]
    assert restored([*disk, *without], state(2, 3)).replica.log.last == (2, 3), "what the record is for"


def test_a_log_that_holds_the_state_keeps_what_follows() -> None:
    lone = restored(logged(2, 1, 1, 2, 2), state(1, 2))
    assert lone.replica.log.last == (2, 4)
    lone.wake()
    assert not lone.records()


def test_installed_keeps_a_log_that_goes_on_from_it() -> None:
    assert replay([*logged(1, 1, 1, 1), Installed(Position(1, 2))])[3] == list(entries(1, 1, 1))
    assert replay([*logged(1, 1, 1, 1), Installed(Position(2, 2))])[2:] == (Position(2, 2), [])
    found = replay([*logged(1, 1), Installed(Position(2, 5)), Logged(Entry(6, 2, 0))])
    assert found[2:] == (Position(2, 5), [Entry(6, 2, 0)])


def test_marks_tell_the_write_ahead_log_when_a_record_can_go() -> None:
    assert HardState(3, None).mark() == 0
    assert Logged(Entry(7, 1, 0)).mark() == 7 and Installed(Position(1, 9)).mark() == 9


def test_a_hole_between_state_and_log_is_an_error_that_says_so() -> None:
    with pytest.raises(Corruption, match="begins at index 4, but the state ends at 2"):
        recover(None, list(entries(1, 1, 1, 1, 1)[3:]), state(1, 2))
    with pytest.raises(Corruption, match="begins at index 10"):
        recover(Position(1, 9), [], state(1, 2))


def test_another_engines_records_are_refused() -> None:
    with pytest.raises(Corruption, match="Strange"):
        replay([Strange()])


def test_a_vote_of_an_older_term_than_the_state_is_none() -> None:
    """A state from a snapshot may be of a later term than the last that was saved; in that one we have no vote."""
    replica = restored([HardState(3, 2)], state(5, 9)).replica
    assert (replica.term, replica.voted_for) == (5, None)
