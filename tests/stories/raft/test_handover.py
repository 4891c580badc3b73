"""Leadership transfer: no request is lost by it, and no read is stale. (Thesis §3.10)"""

from __future__ import annotations

from ostraka.model.engine import Settings
from tests.stories.story import Story


def test_the_heir_leads_without_an_election_timeout() -> None:
    s = Story(nodes=3)
    s.elect(1)
    token = s.transfer(1, to=3)
    s.settle()
    assert s.answer(token) == "done"
    assert (s.role(3), s.role(1), s.term(3)) == ("leader", "follower", 2)


def test_requests_that_come_meanwhile_are_committed_by_the_heir() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("TimeoutNow")
    s.transfer(1, to=3)
    tokens = [s.propose(1, "a"), s.propose(2, "b"), s.propose(3, "c")]
    s.settle()
    assert "a" not in s.log(1), "it has stopped accepting requests"
    s.free()
    s.deliver("TimeoutNow")
    s.settle()
    s.heartbeat(3)
    assert all((s.answer(token) or "").startswith("committed") for token in tokens), s.transcript
    assert s.role(3) == "leader"


def test_a_heir_that_is_gone_is_given_up() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    token = s.transfer(1, to=3)
    write = s.propose(1, "a")
    s.advance(900)
    assert s.answer(token) is None and s.answer(write) is None
    s.advance(200)
    assert s.answer(token) == "lost", "the call may yet arrive"
    assert (s.answer(write) or "").startswith("committed") and s.role(1) == "leader"


def test_a_heir_that_lags_is_never_told() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.lose("Append", to=3)
    s.propose(1, "a")
    s.settle()
    token = s.transfer(1, to=3)
    s.advance(1100)
    assert s.answer(token) == "rejected: that member does not catch up in time (n1 leads)"
    assert s.said("TimeoutNow") == 0 and s.role(1) == "leader"


def test_a_call_that_comes_late_costs_an_election_and_nothing_else() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("TimeoutNow")
    s.transfer(1, to=3)
    s.advance(1100)
    s.free()
    token = s.propose(1, "a")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")
    s.deliver("TimeoutNow")
    s.settle()
    assert s.role(3) == "leader" and s.state(3) == "a"


def test_a_deposed_leader_reads_nothing_old() -> None:
    """The heir leads and writes, and n1 has not heard of it. Its read round finds no quorum."""
    s = Story(nodes=3)
    s.elect(1)
    s.lose(sender=3, to=1)
    s.transfer(1, to=3)
    s.settle()
    assert s.role(3) == "leader" and s.role(1) == "leader"
    write = s.propose(3, "new")
    s.settle()
    assert s.answer(write) == "committed at 3"
    read = s.read(1)
    s.settle()
    assert s.answer(read) is None
    s.free()
    s.heartbeat(3, times=2)
    s.advance(600)
    assert s.answer(read) == "sees new"


def test_a_crash_of_the_heir_leaves_a_leader() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("TimeoutNow")
    s.transfer(1, to=3)
    s.settle()
    s.restart(3)
    s.free()
    s.deliver("TimeoutNow")
    s.advance(5000)
    token = s.propose(2, "a")
    s.settle()
    assert (s.answer(token) or "").startswith("committed"), s.transcript


def test_who_comes_first_gets_the_leadership() -> None:
    """n3 alone has a priority. It joins when n1 leads already, catches up, and leads."""
    s = Story(nodes=3)
    s.settings = Settings(priority=1)
    s.restart(3)
    s.only(1, 2)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.heal()
    s.advance(300)
    assert s.role(3) == "leader" and s.state(3) == "a"
    token = s.propose(1, "b")
    s.settle()
    assert (s.answer(token) or "").startswith("committed")
    s.crash(3)
    s.advance(3000)
    assert "leader" in {s.role(1), s.role(2)}, "the others need it for nothing"
