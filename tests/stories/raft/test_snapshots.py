"""Compaction, and snapshots that followers pull. (Raft §7)"""

from __future__ import annotations

from tests.stories.story import Story


def scene(writes: int = 12) -> Story:
    """n1 leads, n3 has missed `writes` entries, and the others have compacted them away."""
    s = Story(nodes=3, tail=2, compact_every=1)
    s.elect(1)
    for n in (1, 2, 3):
        s.flush(n)
    s.only(1, 2)
    for number in range(writes):
        s.propose(1, f"r{number}")
        s.advance(3)
    s.heartbeat(1, times=2)
    assert s.status(1).first > 2, "n1 has compacted"
    return s


def written(s: Story) -> str:
    return " ".join(entry for entry in s.state(1).split())


def test_the_log_is_compacted_behind_what_is_flushed() -> None:
    s = scene()
    for n in (1, 2):
        status = s.status(n)
        assert status.first <= status.applied - 1, f"n{n} keeps a tail for slow followers"
        assert status.first >= status.applied - 6, f"n{n} keeps {status.applied - status.first + 1} entries"


def test_what_is_not_flushed_is_kept() -> None:
    s = Story(nodes=3, tail=2, compact_every=1)
    s.elect(1)
    for number in range(12):
        s.propose(1, f"r{number}")
        s.advance(3)
    assert s.status(1).first == 1, "a crash would need it all"
    s.restart(1)
    s.elect(2)
    s.heartbeat(2)
    assert s.state(1) == s.state(2)


def test_a_follower_too_far_behind_gets_a_snapshot() -> None:
    s = scene()
    s.heal()
    s.heartbeat(1, times=3)
    assert s.said("SnapshotOffer(") >= 1
    assert s.state(3) == written(s)
    assert s.said("n3 installs") == 1
    s.propose(3, "after")
    s.settle()
    assert s.state(3) == written(s)
    assert s.state(3).endswith("after")


def test_a_node_restarts_after_a_snapshot() -> None:
    s = scene()
    s.heal()
    s.heartbeat(1, times=3)
    s.propose(1, "after")
    s.settle()
    s.heartbeat(1)
    log = s.log(3)
    s.restart(3)
    assert s.state(3).startswith("r0 r1")
    assert s.log(3)[-1:] == log[-1:]
    s.heartbeat(1, times=2)
    assert s.state(3) == written(s)
    s.elect(3)
    s.heartbeat(3)
    assert s.state(1) == s.state(3)


def test_a_node_restarts_after_it_compacted() -> None:
    s = scene()
    s.restart(1)
    s.elect(2)
    s.heal()
    s.heartbeat(2, times=3)
    assert s.state(1) == s.state(2) == s.state(3)
    assert s.state(1).split() == [f"r{number}" for number in range(12)]


def test_a_crash_before_the_snapshot_is_recorded() -> None:
    """The state machine is already the snapshot's, and the log does not know it."""
    s = scene()
    s.heal()
    s.delay_saves(3)
    s.heartbeat(1, times=3)
    s.restart(3)
    s.quick_saves(3)
    s.heartbeat(1, times=3)
    s.advance(300)
    assert s.state(3) == written(s)


def test_an_offer_that_comes_again_takes_nothing_away() -> None:
    """§7: what the log holds beyond the snapshot stays."""
    s = scene()
    s.heal()
    s.hold("SnapshotOffer")
    s.heartbeat(1, times=2)
    s.deliver("SnapshotOffer", keep=True)
    s.free()
    s.heartbeat(1, times=2)
    s.propose(1, "after")
    s.settle()
    s.heartbeat(1)
    assert s.state(3).endswith("after")
    log, installed = s.log(3), s.said("n3 installs")
    s.deliver("SnapshotOffer")
    s.settle()
    assert s.log(3) == log
    assert s.said("n3 installs") == installed
    s.restart(3)
    s.heartbeat(1)
    assert s.state(3) == written(s)


def test_a_pull_that_fails_is_tried_again() -> None:
    """The offer arrived, and then nobody who holds the state could be reached."""
    s = scene()
    s.heal()
    s.hold("SnapshotOffer")
    s.heartbeat(1, times=2)
    s.only(1, 2)
    s.free()
    s.deliver("SnapshotOffer")
    s.settle()
    assert s.said("n3 fails to pull") >= 1
    s.heal()
    s.advance(2_500)
    assert s.state(3) == written(s)


def test_a_stale_snapshot_is_ignored() -> None:
    """An offer of what the follower has long applied, from a leader of an earlier term."""
    s = scene()
    s.heal()
    s.hold("SnapshotOffer")
    s.heartbeat(1, times=2)
    s.deliver("SnapshotOffer", keep=True)
    s.free()
    s.heartbeat(1, times=2)
    s.elect(2)
    s.propose(2, "after")
    s.settle()
    s.heartbeat(2, times=2)
    assert s.state(3).endswith("after")
    s.deliver("SnapshotOffer")
    s.settle()
    assert s.state(3).endswith("after")
    assert s.status(3).leader == 2
    assert s.said("n3 installs") == 1


def test_the_leader_changes_while_a_follower_pulls() -> None:
    s = scene()
    s.heal()
    s.hold("SnapshotOffer")
    s.heartbeat(1, times=2)
    s.crash(1)
    s.free()
    s.kept.clear()
    s.elect(2)
    s.heartbeat(2, times=3)
    s.advance(500)
    assert s.state(3) == s.state(2)
    token = s.propose(3, "after")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")


def test_a_slow_follower_holds_nobody_up() -> None:
    """While n3 pulls, n1 and n2 go on."""
    s = scene()
    s.heal()
    s.lose("SnapshotOffer")
    s.heartbeat(1, times=2)
    token = s.propose(1, "meanwhile")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")
    s.free()
    s.advance(3_000)
    assert s.state(3) == written(s)
