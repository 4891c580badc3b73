"""What waits for the disk, and what does not. (Raft, Figure 2, persistent state; thesis §10.2.1)"""

from __future__ import annotations

from tests.stories.story import Story


def test_a_follower_acknowledges_what_is_saved() -> None:
    """Figure 2: "updated on stable storage before responding to RPCs"."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.delay_saves(2)
    token = s.propose(1, "a")
    s.settle()
    assert s.answer(token) is None
    s.heartbeat(1, times=2)
    assert s.answer(token) is None, "nor may the answer to a heartbeat vouch for what is not saved"
    s.save(2)
    s.settle()
    s.heartbeat(1, times=2)
    assert s.answer(token) == "committed at 2"


def test_a_follower_that_dies_unsaved_never_had_it() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.delay_saves(2)
    token = s.propose(1, "a")
    s.settle()
    s.restart(2)
    assert s.log(2) == ["noop"]
    s.quick_saves(2)
    assert s.answer(token) is None
    s.heartbeat(1, times=3)
    assert s.answer(token) == "committed at 2"
    assert s.log(2) == ["noop", "a"]


def test_the_leader_counts_its_own_copy_once_it_is_saved() -> None:
    """Thesis §10.2.1: it writes while its followers do, and its copy counts like theirs."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.delay_saves(1)
    token = s.propose(1, "a")
    s.settle()
    assert "a" in s.log(2), "it was sent before it was saved"
    s.heartbeat(1)
    assert s.committed(1) == 1
    s.save(1)
    s.settle()
    assert s.answer(token) == "committed at 2"


def test_two_followers_commit_what_the_leader_has_not_saved() -> None:
    """Thesis §10.2.1: "the leader may even commit an entry before it has been written to its own disk".

    Its own state machine still waits for its disk: a crash must not leave it ahead of its log.
    """
    s = Story(nodes=3)
    s.elect(1)
    s.delay_saves(1)
    token = s.propose(1, "a")
    s.heartbeat(1, times=2)
    assert [s.state(n) for n in (2, 3)] == ["a", "a"]
    assert s.state(1) == ""
    assert s.answer(token) is None
    s.save(1)
    s.settle()
    assert s.state(1) == "a"
    assert s.answer(token) == "committed at 2"


def test_one_node_alone_commits_what_it_has_saved() -> None:
    """A group of one is a majority once its disk says so, like any other."""
    s = Story(nodes=1)
    s.elect(1)
    s.delay_saves(1)
    token = s.propose(1, "a")
    s.settle()
    assert s.committed(1) == 1
    assert s.answer(token) is None
    s.restart(1)
    s.quick_saves(1)
    s.elect(1)
    assert "a" not in s.log(1)
    token = s.propose(1, "b")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")


def test_a_failed_save_ends_the_replica() -> None:
    """A failed fsync is never retried: the node does nothing more, and others lead."""
    s = Story(nodes=3)
    s.elect(1)
    s.delay_saves(1)
    token = s.propose(1, "a")
    s.fail_disk(1)
    assert s.answer(token) == "lost"
    later = s.propose(1, "b")
    assert (s.answer(later) or "").startswith("rejected: the replica has stopped")
    asked = s.read(1)
    assert (s.answer(asked) or "").startswith("rejected: the replica has stopped")
    s.settle()
    before = s.said("n1 → ")
    s.advance(5_000)
    assert s.said("n1 → ") == before, "a finished replica is silent"
    assert s.role(1) != "leader"
    assert s.role(2) == "leader"
    assert s.status(2).leader == 2


def test_a_failed_save_ends_a_follower() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.delay_saves(2)
    s.propose(1, "a")
    s.settle()
    s.fail_disk(2)
    before = s.said("n2 → ")
    s.advance(1_000)
    assert s.said("n2 → ") == before
    assert s.role(1) == "leader"
    token = s.propose(1, "b")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")


def test_a_leader_whose_disk_stalls_steps_down() -> None:
    """A leader that can't write holds the others up for nothing: the group must find a better one."""
    s = Story(nodes=3)
    s.elect(1)
    s.delay_saves(1)
    token = s.propose(1, "a")
    s.settle()
    s.advance(4_000)
    assert s.role(1) != "leader", "its save has been under way for four seconds"
    assert "leader" in {s.role(2), s.role(3)}
    s.save(1)
    s.quick_saves(1)
    s.advance(500)
    assert s.answer(token) in ("committed at 2", "lost")


def test_everything_survives_a_power_cut_of_all() -> None:
    s = Story(nodes=3)
    s.elect(1)
    token = s.propose(1, "a", "b")
    s.settle()
    assert s.answer(token) == "committed at 2"
    for n in (1, 2, 3):
        s.crash(n)
    for n in (1, 2, 3):
        s.start(n)
    s.elect(3)
    s.heartbeat(3)
    assert [s.state(n) for n in (1, 2, 3)] == ["a b", "a b", "a b"]
    assert s.term(3) == 2
