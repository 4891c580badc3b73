"""Linearizable reads without a log entry. (Raft §8; thesis §6.4)"""

from __future__ import annotations

from tests.stories.story import Story


def test_the_leader_asks_a_majority() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    token = s.read(1)
    assert s.answer(token) is None, "it may have been deposed, and not know it"
    s.settle()
    assert s.answer(token) == "sees a"


def test_a_read_alone_waits_for_no_heartbeat() -> None:
    s = Story(nodes=3)
    s.elect(1)
    tokens = [s.read(n) for n in (1, 2, 3)]
    s.settle()
    assert [s.answer(token) for token in tokens] == ["sees nothing"] * 3


def test_one_node_alone_needs_nobody() -> None:
    s = Story(nodes=1)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    token = s.read(1)
    s.settle()
    assert s.answer(token) == "sees a"


def test_a_leader_cut_off_answers_nothing() -> None:
    """§8: without the round, n1 would show a state that n2 has long gone beyond."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1)
    token = s.read(1)
    s.heartbeat(1, times=2)
    assert s.answer(token) is None
    s.only(2, 3)
    s.elect(2)
    s.propose(2, "b")
    s.settle()
    s.heal()
    s.heartbeat(2, times=2)
    s.advance(3_000)
    assert s.answer(token) == "sees b" or (s.answer(token) or "").startswith(("rejected", "lost"))


def test_a_new_leader_first_commits_an_entry_of_its_term() -> None:
    """§8: n1 has "a", and does not know that it is committed, until its no-op is."""
    s = Story(nodes=3)
    s.elect(2)
    s.hold("Appended", to=2)
    written = s.propose(2, "a")
    s.settle()
    s.only(1, 3)
    s.free()
    s.deliver("Appended")
    s.work()
    assert s.answer(written) == "committed at 2", "a client has heard so"
    s.crash(2)
    assert s.committed(1) == 1, "n1 has not"
    s.tire(3)
    s.campaign(1)
    s.settle(until=lambda: s.role(1) == "leader")
    assert s.role(1) == "leader"
    s.delay_saves(1)
    s.settle()
    token = s.read(1)
    s.heartbeat(1, times=2)
    assert s.committed(1) == 1
    assert s.answer(token) is None, "n3 confirmed the round, but the no-op is not committed"
    s.save(1)
    s.settle()
    s.heartbeat(1)
    assert s.answer(token) == "sees a"


def test_an_old_acknowledgement_confirms_no_new_read() -> None:
    """The answers to an earlier heartbeat say nothing about who leads now."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Appended", to=1)
    s.heartbeat(1)
    s.free()
    token = s.read(1)
    s.only(1)
    s.settle()
    assert s.kept
    s.deliver("Appended")
    s.settle()
    assert s.answer(token) is None
    s.heal()
    s.heartbeat(1)
    assert s.answer(token) == "sees nothing"


def test_a_read_that_comes_while_a_round_is_under_way_waits_for_the_next() -> None:
    """The round began before the read: its answers were on their way when n1 may already have been deposed."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Appended", to=1)
    first = s.read(1)
    s.settle()
    second = s.read(1)
    s.only(1)
    s.deliver("Appended")
    s.work()
    assert s.answer(first) == "sees nothing"
    assert s.answer(second) is None
    s.settle()
    assert s.answer(second) is None
    s.free()
    s.heal()
    s.heartbeat(1)
    assert s.answer(second) == "sees nothing"


def test_one_acknowledgement_delivered_often_is_one() -> None:
    s = Story(nodes=5)
    s.elect(1)
    s.hold("Appended", to=1)
    token = s.read(1)
    s.settle()
    s.hold()
    for _ in range(4):
        s.deliver("Appended", 2, keep=True)
        s.work()
    assert s.answer(token) is None, "n1 and n2 are two of five"
    s.deliver("Appended", 3)
    s.work()
    assert s.answer(token) == "sees nothing"


def test_an_acknowledgement_of_an_earlier_term_confirms_nothing() -> None:
    """n1 leads term 1, is deposed, and leads term 3: rounds of its first term count for nothing."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Appended", to=1)
    s.heartbeat(1, times=5)
    s.free()
    s.only(2, 3)
    s.elect(2)
    s.heal()
    s.heartbeat(2)
    s.elect(1)
    assert s.term(1) == 3
    s.heartbeat(1)
    token = s.read(1)
    s.only(1)
    s.settle()
    s.deliver("Appended")
    s.settle()
    assert s.answer(token) is None


def test_a_follower_reads() -> None:
    """Thesis §6.4: the follower asks the leader for an index, and waits until it has applied it."""
    s = Story(nodes=3)
    s.elect(1)
    s.only(1, 2)
    s.propose(1, "a")
    s.settle()
    s.heal()
    s.hold("Append", 1, 3)
    token = s.read(3)
    s.settle()
    assert s.state(3) == ""
    assert s.answer(token) is None
    s.free()
    s.deliver("Append")
    s.heartbeat(1, times=2)
    assert s.answer(token) == "sees a"


def test_a_followers_read_through_a_deposed_leader() -> None:
    """n3 asks n1, which n2 has deposed unnoticed. n3 must not show a state older than "b"."""
    s = Story(nodes=5)
    s.elect(1)
    s.heartbeat(1)
    s.only(2, 4, 5)
    s.elect(2)
    written = s.propose(2, "b")
    s.settle()
    assert (s.answer(written) or "").startswith("committed")
    s.only(1, 3)
    token = s.read(3)
    s.settle()
    s.heartbeat(1)
    assert s.answer(token) is None
    s.heal()
    s.heartbeat(2, times=2)
    s.advance(3_000)
    answer = s.answer(token) or ""
    assert answer == "sees b" or answer.startswith(("rejected", "lost")), answer


def test_a_lost_question_ends() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.lose("AskRead")
    token = s.read(2)
    s.advance(10_000)
    assert (s.answer(token) or "").startswith(("rejected", "lost"))


def test_a_doubled_answer_ends_a_read_once() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.hold("ReadAnswer")
    token = s.read(2)
    s.settle()
    s.deliver("ReadAnswer", keep=True)
    s.settle()
    assert s.answer(token) == "sees nothing"
    later = s.read(2)
    s.deliver("ReadAnswer", keep=False)
    s.work()
    assert s.answer(later) is None, "the answer to the first read does not answer the second"
    s.free()
    s.advance(3)
    s.deliver("ReadAnswer")
    s.settle()
    assert s.answer(later) == "sees nothing"


def test_an_answer_to_an_earlier_life() -> None:
    """n2 asked, died, asks again: what the leader answered to its earlier life must not count."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("ReadAnswer")
    s.read(2)
    s.settle()
    s.restart(2)
    s.propose(1, "a")
    s.heartbeat(1)
    token = s.read(2)
    s.hold("AskRead")
    s.settle()
    s.deliver("ReadAnswer")
    s.settle()
    assert s.answer(token) is None
    s.free()
    s.deliver("AskRead")
    s.advance(5)
    s.deliver("ReadAnswer")
    s.settle()
    assert s.answer(token) == "sees a"


def test_reads_share_rounds() -> None:
    """One round under way, one being filled: a hundred reads cost a few messages, not a hundred."""
    s = Story(nodes=3)
    s.elect(1)
    before = s.said("n1 → n2 Append(")
    tokens = [s.read(n) for _ in range(34) for n in (1, 2, 3)]
    s.advance(20)
    assert {s.answer(token) for token in tokens} == {"sees nothing"}
    assert s.said("n1 → n2 Append(") - before <= 8


def test_a_read_sees_every_write_answered_before_it() -> None:
    s = Story(nodes=3)
    s.elect(1)
    written = []
    for number in range(6):
        token = s.propose(number % 3 + 1, f"r{number}")
        s.advance(3)
        assert (s.answer(token) or "").startswith("committed")
        written.append(f"r{number}")
        reads = [s.read(n) for n in (1, 2, 3)]
        s.advance(3)
        assert [s.answer(token) for token in reads] == ["sees " + " ".join(written)] * 3
        if number == 2:
            s.elect(3)
            s.heartbeat(3)
