"""Reads by a lease that is kept in the log. (LeaseGuard; the words are in consensus/raft/lease.py)

An election on this stage lets only the clocks of those who lose their patience go on. So a lease of five seconds is
still valid by the clock of a leader that was deposed after one.
"""

from __future__ import annotations

from ostraka.model.engine import Settings
from ostraka.model.ids import SECOND
from tests.stories.story import Story

LEASE = 5 * SECOND


def scene() -> Story:
    """n1 leads, "a" is committed everywhere, and n1 may read by it for five seconds."""
    s = Story(nodes=3, lease=LEASE)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.heartbeat(1)
    return s


def answered(s: Story, token: int) -> bool:
    return s.answer(token) is not None


def test_a_leader_that_hears_nobody_reads_by_its_lease() -> None:
    s = scene()
    s.only(1)
    assert s.answer(s.read(1)) == "sees a"
    s.nodes[1].clock += LEASE
    assert s.answer(s.read(1)) is None, "it is over"


def test_a_follower_needs_one_question_and_no_quorum() -> None:
    s = scene()
    s.only(1, 3)
    s.lose("Appended")
    token = s.read(3)
    s.settle()
    assert s.answer(token) == "sees a"


def test_a_leader_that_stood_still_looks_at_its_clock_first() -> None:
    """After SIGSTOP its process goes on as if nothing had happened. Its clock did not stop."""
    s = scene()
    s.only(2, 3)
    s.nodes[1].clock += LEASE
    assert not answered(s, s.read(1))


def test_while_one_may_read_the_next_commits_nothing() -> None:
    s = scene()
    s.only(2, 3)
    s.elect(2)
    write = s.propose(2, "b")
    s.settle()
    s.heartbeat(2)
    assert "b" in s.log(3), "it is replicated,"
    assert not answered(s, write), "and not committed,"
    assert s.answer(s.read(1)) == "sees a", "so this is not old"
    s.heartbeat(2, times=60)
    assert answered(s, write), "six seconds after its log last grew"
    s.nodes[1].clock += LEASE
    assert not answered(s, s.read(1)), "by then n1's lease was over"


def test_an_heir_need_not_wait() -> None:
    s = scene()
    s.transfer(1, to=2)
    s.settle()
    write = s.propose(2, "b")
    s.settle()
    assert s.answer(write) == "committed at 4"
    assert s.answer(s.read(2)) == "sees a b", "and has a lease of its own"


def test_a_leader_that_has_called_its_heir_reads_nothing_old() -> None:
    """n2 leads and writes, and n1 has not heard of it. It has given its lease up."""
    s = scene()
    s.lose(sender=2, to=1)
    s.transfer(1, to=2)
    s.settle()
    assert (s.role(1), s.role(2)) == ("leader", "leader")
    write = s.propose(2, "b")
    s.settle()
    assert s.answer(write) == "committed at 4"
    read = s.read(1)
    s.settle()
    assert not answered(s, read)
    s.free()
    s.heartbeat(2, times=2)
    s.advance(600)
    assert s.answer(read) == "sees a b"


def test_an_heir_that_is_called_late_waits() -> None:
    """The handover was given up, n1 went on, and has a lease again: by an entry that the call does not know."""
    s = scene()
    s.hold("TimeoutNow")
    s.transfer(1, to=2)
    s.settle()
    s.advance(1100)
    s.propose(1, "b")
    s.settle()
    s.free()
    s.lose(sender=2, to=1)
    s.deliver("TimeoutNow")
    s.settle()
    assert (s.role(1), s.role(2)) == ("leader", "leader")
    write = s.propose(2, "c")
    s.settle()
    assert not answered(s, write)
    assert s.answer(s.read(1)) == "sees a b"


def test_who_comes_back_remembers_that_somebody_may_read() -> None:
    s = scene()
    s.only(2, 3)
    s.restart(2)
    s.restart(3)
    s.elect(2)
    write = s.propose(2, "b")
    s.settle()
    assert not answered(s, write)
    assert s.answer(s.read(1)) == "sees a"


def test_members_that_use_no_leases_wait_for_one_that_does() -> None:
    """As while the members of a cluster are restarted one after the other, to use leases or to use them no more."""
    s = Story(nodes=3, lease=LEASE)
    s.settings = Settings()
    s.restart(2)
    s.restart(3)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.heartbeat(1)
    s.only(2, 3)
    s.elect(2)
    write = s.propose(2, "b")
    s.settle()
    assert not answered(s, write)
    assert s.answer(s.read(1)) == "sees a"
    s.heartbeat(2, times=60)
    assert answered(s, write)
    s.heal()
    s.heartbeat(2)
    s.elect(3)
    write = s.propose(3, "c")
    s.settle()
    assert answered(s, write), "n2 has waited, and used no lease: n3 has nobody to wait for"


def test_who_gets_an_entry_from_a_later_leader_waits_for_the_lease_of_the_first() -> None:
    """n1 uses leases, n2 and n3 do not. n2 alone heard of "a" from n1, leads for a moment, and passes it on to n3."""
    s = Story(nodes=5, lease=LEASE)
    s.settings = Settings()
    for n in (2, 3, 4, 5):
        s.restart(n)
    s.elect(1)
    s.only(1, 2, 3)
    s.propose(1, "a")
    s.settle()
    s.heartbeat(1)
    s.only(2, 4, 5)
    s.elect(2)
    assert "a" in s.log(4)
    s.only(4, 5, 3)
    s.elect(4)
    write = s.propose(4, "b")
    s.settle()
    assert not answered(s, write)
    assert s.answer(s.read(1)) == "sees a"
