"""How the log is replicated and what is committed. (Raft §5.3, §5.4)"""

from __future__ import annotations

from tests.stories.story import Story


def test_an_entry_is_committed_on_a_majority() -> None:
    s = Story(nodes=5)
    s.elect(1)
    s.only(1, 2, 3)
    token = s.propose(1, "a")
    s.settle()
    assert s.answer(token) == "committed at 2"
    assert s.state(1) == "a"
    s.heartbeat(1)
    assert [s.state(n) for n in range(1, 6)] == ["a", "a", "a", "", ""]


def test_an_entry_is_not_committed_on_a_minority() -> None:
    s = Story(nodes=5)
    s.elect(1)
    s.only(1, 2)
    token = s.propose(1, "a")
    s.heartbeat(1, times=3)
    assert s.answer(token) is None
    assert s.committed(1) == 1
    s.heal()
    s.heartbeat(1, times=2)
    assert s.answer(token) == "committed at 2", "a lost AppendEntries is tried again, for ever"
    assert s.log(5) == ["noop", "a"]


def test_doubled_and_reordered_appends_take_nothing_away() -> None:
    """§5.3: only a conflict truncates. An old AppendEntries that ends earlier conflicts with nothing."""
    s = Story(nodes=3, linger=0)
    s.elect(1)
    s.hold("Append", 1, 2)
    for name in ("a", "b", "c"):
        s.propose(1, name)
        s.advance(3)
    first, *_, last = [letter for letter in s.kept if letter.message.entries]  # type: ignore[attr-defined]
    assert first is not last, "three requests went in one message"
    s.deliver("Append", keep=True)
    s.settle()
    assert s.log(2) == ["noop", "a", "b", "c"]
    for letter in (first, last, first):
        s.post(letter)
        s.settle()
        assert s.log(2) == ["noop", "a", "b", "c"], f"after {letter}"
    s.restart(2)
    assert s.log(2) == ["noop", "a", "b", "c"]


def test_appends_in_the_wrong_order_arrive_in_the_end() -> None:
    s = Story(nodes=3, linger=0)
    s.elect(1)
    s.hold("Append", 1, 2)
    for name in ("a", "b", "c"):
        s.propose(1, name)
        s.advance(3)
    letters = list(reversed(s.kept))
    s.kept.clear()
    s.free()
    for letter in letters:
        s.post(letter)
        s.settle()
    s.heartbeat(1, times=2)
    assert s.log(2) == ["noop", "a", "b", "c"]


def test_a_conflict_is_cut_off_on_disk_too() -> None:
    """§5.3: the follower deletes the conflicting entry and all that follow it, durably."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1)
    for name in ("a", "b", "c"):
        s.propose(1, name)
        s.advance(3)
    assert s.log(1) == ["noop", "a", "b", "c"]
    s.only(2, 3)
    s.elect(2)
    token = s.propose(2, "d")
    s.settle()
    assert s.answer(token) == "committed at 3"
    s.heal()
    s.heartbeat(2, times=2)
    assert s.log(1) == ["noop", "noop", "d"]
    s.restart(1)
    assert s.log(1) == ["noop", "noop", "d"]


def test_callers_of_entries_cut_off_are_told() -> None:
    """Their requests may have been forwarded nowhere and executed never, but nobody here can know."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1)
    token = s.propose(1, "a")
    s.settle()
    s.only(2, 3)
    s.elect(2)
    s.heal()
    s.heartbeat(2, times=2)
    assert s.answer(token) == "lost"
    assert "a" not in s.log(1)


def test_cluster_time_never_goes_back() -> None:
    """Stamps rise with the leader's clock, across leaders whose clocks differ. (`Story` checks each commit.)"""
    s = Story(nodes=3)
    s.elect(1)
    s.advance(700)
    s.propose(1, "a")
    s.settle()
    s.crash(1)
    s.elect(2)
    s.advance(50)
    s.propose(2, "b")
    s.settle()
    stamps = [entry.stamp for entry in s.entries(2)]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[1] < 2_000_000_000, "time stands still while nobody leads"
