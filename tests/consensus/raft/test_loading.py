"""Entries that memory no longer holds: who asks for them, and what is done with those that come."""

from __future__ import annotations

from ostraka.consensus.raft.log import ENTRY_COSTS
from ostraka.consensus.raft.messages import Append, Appended, HardState, Logged
from ostraka.consensus.raft.roles import Progress
from ostraka.model.effects import Commit, Load, TakeSnapshot
from ostraka.model.events import Applied, Loaded, SnapshotFetched, SnapshotInstalled
from ostraka.model.ids import ORIGIN, Position
from ostraka.model.requests import Entry, SnapshotMeta

from .lone import THREE, Lone, entries, logged

COMMITTED = 20


def lagging(**settings: int) -> tuple[Lone, tuple[Entry, ...]]:
    """A leader that committed entries with n2, and holds few of them; n3 has said nothing yet. And its whole log."""
    lone = Lone(**{"max_held": 4 * ENTRY_COSTS, "linger": 0, **settings}).lead()
    log = list(lone.replica.log.entries(1, 1))
    for token in range(2, COMMITTED + 1):
        lone.propose(token)
        log += lone.replica.log.entries(token, token)
        lone.save()
        lone.receive(2, Appended(1, True, token, 0))
    assert lone.replica.commit == COMMITTED
    return lone, tuple(log)


def asks_for_the_second(lone: Lone) -> Load:
    """n3 says that its log ends with the no-op."""
    lone.receive(3, Appended(1, False, COMMITTED, 0, Position(0, 2)))
    (load,) = lone.all(Load)
    return load


def to_n3(lone: Lone) -> list[Append]:
    return [send.message for send in lone.sends(Append) if 3 in send.to]  # type: ignore[misc]


def test_memory_is_bounded_however_late_the_state_becomes_durable() -> None:
    lone, _ = lagging()
    lone.do(Applied(COMMITTED, 0))
    log = lone.replica.log
    assert log.first == 1 and log.held <= 4 * ENTRY_COSTS and log.shed.index >= COMMITTED - 4
    assert log.position_at(3) == (1, 3)


def test_what_is_not_decided_stays_in_memory() -> None:
    lone = Lone(max_held=1).follow(*[1] * 30, commit=10)
    assert lone.replica.log.shed == (1, 10)


def test_what_a_follower_lacks_is_loaded_and_sent() -> None:
    lone, log = lagging()
    load = asks_for_the_second(lone)
    assert (load.first, load.last) == (2, lone.replica.log.shed.index) and not to_n3(lone)
    lone.wake()
    assert not lone.all(Load), "one at a time"
    assert [message.entries for message in to_n3(lone)] == [()], "n3 must hear that its leader lives"
    lone.do(Loaded(load.token, log[1:6]))
    assert [(message.prev, message.entries) for message in to_n3(lone)] == [((1, 1), log[1:6])]
    lone.receive(3, Appended(1, True, 6, 0))
    (load,) = lone.all(Load)
    assert load.first == 7
    lone.do(Loaded(load.token, log[6 : lone.replica.log.shed.index]))
    sent = [entry.index for message in to_n3(lone) for entry in message.entries]
    assert sent == list(range(7, COMMITTED + 1)), "and the rest follows from memory at once"


def test_more_is_loaded_than_fits_into_one_message() -> None:
    lone, log = lagging(max_append=1)
    load = asks_for_the_second(lone)
    lone.do(Loaded(load.token, log[1:6]))
    assert [message.entries for message in to_n3(lone)] == [log[1:2]]
    lone.receive(3, Appended(1, True, 2, 0))
    assert [load.first for load in lone.all(Load)] == [3]


def test_followers_that_lack_the_same_share_what_is_loaded() -> None:
    lone, log = lagging()
    lone.replica.role.progress[2] = Progress(next=2, heard=lone.now)  # type: ignore[union-attr]
    load = asks_for_the_second(lone)
    lone.do(Loaded(load.token, log[1:4]))
    assert [send.to for send in lone.sends(Append)] == [(2, 3)]


def test_what_came_too_late_is_dropped() -> None:
    lone, log = lagging()
    load = asks_for_the_second(lone)
    lone.receive(3, Appended(1, True, COMMITTED, 0))
    lone.do(Loaded(load.token, log[1:6]))
    assert not lone.effects, "n3 has it by now"
    lone, log = lagging()
    load = asks_for_the_second(lone)
    lone.receive(2, Append(2, Position(1, COMMITTED), (), 0, 0))
    lone.do(Loaded(load.token, log[1:6]))
    assert not lone.effects, "another one leads"
    lone.do(Loaded(99, log[1:6]))
    assert not lone.effects


def test_what_was_compacted_meanwhile_comes_as_a_snapshot() -> None:
    lone, _ = lagging(tail=2, compact_every=1)
    load = asks_for_the_second(lone)
    lone.do(Applied(COMMITTED, COMMITTED))
    assert lone.replica.log.first == COMMITTED - 1
    lone.do(Loaded(load.token, ()))
    lone.wake()
    assert lone.all(TakeSnapshot) and not lone.all(Load)


# After a restart.


def restarted(count: int = 30) -> Lone:
    lone = Lone(logged(1, *[1] * count), max_held=4 * ENTRY_COSTS)
    assert lone.replica.log.held <= 4 * ENTRY_COSTS and lone.replica.log.last == (1, count)
    return lone


def test_what_is_executed_again_after_a_restart_is_loaded_piece_by_piece() -> None:
    lone = restarted()
    lone.receive(2, Append(2, Position(1, 30), (), 30, 0))
    (load,) = lone.all(Load)
    assert (load.first, load.last) == (1, lone.replica.log.shed.index) and not lone.all(Commit)
    lone.do(Loaded(load.token, entries(*[1] * 30)[:10]))
    assert [entry.index for commit in lone.all(Commit) for entry in commit.entries] == list(range(1, 11))
    (load,) = lone.all(Load)
    assert load.first == 11
    lone.do(Loaded(load.token, entries(*[1] * 30)[10 : lone.replica.log.shed.index]))
    assert [entry.index for commit in lone.all(Commit) for entry in commit.entries] == list(range(11, 31))


def test_a_log_that_was_shed_can_be_cut() -> None:
    lone = restarted()
    lone.receive(2, Append(2, Position(1, 5), (Entry(6, 2, 77),), 6, 0))
    log = lone.replica.log
    (load,) = lone.all(Load)
    assert log.last == log.position_at(6) == (2, 6) and log.shed == (1, 5) and log.stamp == 77
    assert (load.first, load.last) == (1, 5)


def test_a_configuration_in_what_was_shed_counts() -> None:
    past = [HardState(1, None), *(Logged(entry) for entry in entries(*[1] * 30))]
    members = Lone([*past[:3], Logged(Entry(3, 1, 3, members=THREE)), *past[4:]], max_held=1).replica.configurations
    assert members[-1] == (3, THREE)


def test_what_is_loaded_for_a_state_that_was_replaced_is_dropped() -> None:
    lone = restarted()
    lone.receive(2, Append(2, Position(1, 30), (), 30, 0))
    (load,) = lone.all(Load)
    meta = SnapshotMeta(2, 40, 0, THREE)
    lone.replica.fetching = meta
    lone.do(SnapshotFetched(meta, True))
    lone.do(SnapshotInstalled(meta))
    lone.do(Loaded(load.token, entries(*[1] * 30)[:10]))
    assert not lone.all(Commit) and lone.replica.decided == 40
    assert lone.replica.log.base != ORIGIN
