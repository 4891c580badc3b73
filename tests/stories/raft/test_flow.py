"""How much is under way at a time, and how soon a follower catches up. (Raft §5.3; thesis §10.2.1)"""

from __future__ import annotations

import pytest

from ostraka.consensus.raft.messages import Append
from ostraka.model.events import Message
from tests.stories.raft.pasts import past
from tests.stories.story import Story


def size(message: Message) -> int:
    """The bytes of requests that an Append carries."""
    assert isinstance(message, Append)
    return sum(entry.size() for entry in message.entries)


def test_requests_of_one_turn_share_an_entry() -> None:
    s = Story(nodes=3)
    s.elect(1)
    s.propose(1, "a", "b", "c")
    s.settle()
    assert s.log(1) == ["noop", "a b c"]
    assert s.state(1) == "a b c"


def test_requests_gather_while_a_batch_is_under_way() -> None:
    """`Settings.linger`: the first leaves at once; with it under way, the next wait a little and share an entry."""
    s = Story(nodes=3)
    s.elect(1)
    s.hold("Appended", to=1)
    for name in ("a", "b", "c"):
        s.propose(1, name)
        s.settle()
    assert s.log(1) == ["noop", "a"]
    s.advance(3)
    assert s.log(1) == ["noop", "a", "b c"]


def test_an_entry_stays_below_its_size() -> None:
    """`Settings.max_entry`: a request that is larger has an entry of its own."""
    s = Story(nodes=1, max_entry=100)
    s.elect(1)
    token = s.propose(1, "a" * 40, "b" * 40, "c" * 40, "d" * 200, "e")
    s.advance(20)
    assert (s.answer(token) or "").startswith("committed")
    assert s.state(1).split() == ["a" * 40, "b" * 40, "c" * 40, "d" * 200, "e"]
    for entry in s.entries(1):
        assert entry.size() <= 100 or "d" in s.log(1)[entry.index - 1], f"entry {entry.index}: {entry.size()} bytes"


@pytest.mark.parametrize("window", [1, 2, 4])
def test_several_appends_are_in_flight_and_no_more_than_allowed(window: int) -> None:
    """Thesis §10.2.1, pipelining: the next batch leaves before the last is answered."""
    s = Story(nodes=3, linger=0, max_in_flight=window)
    s.elect(1)
    s.hold("Append", 1, 2)
    tokens = []
    for number in range(10):
        tokens.append(s.propose(1, f"r{number}"))
        s.advance(3)
    carrying = [message for message in s.under_way("Append") if message.entries]  # type: ignore[attr-defined]
    assert len(carrying) == window
    assert all((s.answer(token) or "").startswith("committed") for token in tokens), "n3 suffices"
    s.free()
    s.deliver("Append")
    s.settle()
    s.heartbeat(1)
    assert s.log(2) == s.log(1)


def test_the_bytes_in_flight_are_bounded() -> None:
    s = Story(nodes=3, linger=0, max_in_flight_bytes=300)
    s.elect(1)
    s.hold("Append", 1, 2)
    for number in range(10):
        s.propose(1, f"{number}" * 100)
        s.advance(3)
    carrying = [size(message) for message in s.under_way("Append") if size(message)]
    assert len(carrying) > 1
    assert sum(carrying[:-1]) < 300, carrying
    s.free()
    s.deliver("Append")
    s.settle()
    s.heartbeat(1)
    assert s.log(2) == s.log(1)


def test_a_follower_behind_catches_up_in_messages_of_bounded_size() -> None:
    s = Story(nodes=3, linger=0, max_append=250)
    s.elect(1)
    s.only(1, 3)
    for number in range(10):
        s.propose(1, f"{number}" * 100)
        s.advance(3)
    s.heal()
    s.hold("Append", 1, 2)
    for _ in range(30):
        s.heartbeat(1)
        for letter in s.deliver("Append", 1, 2):
            assert size(letter.message) <= 250, f"{size(letter.message)} bytes: {letter}"
        s.settle()
    assert s.log(2) == s.log(1)


def test_a_long_divergent_log_is_backed_over_by_terms() -> None:
    """§5.3: "with this optimization, one AppendEntries RPC will be required for each term with conflicting entries"."""
    theirs = [1] + [2] * 100 + [3] * 100
    ours = [1] + [4] * 150 + [5] * 30
    s = Story(nodes=3, logs={1: past(ours, 5), 2: past(theirs, 5), 3: past(ours, 5)})
    s.elect(1)
    asked = s.said("n1 → n2 Append(")
    assert s.terms(2) == [*ours, 6], "without waiting for a heartbeat"
    assert asked <= 8, f"{asked} messages to back over two terms"


def test_a_short_log_is_found_at_once() -> None:
    """The same for a follower that lacks much: its refusal says where its log ends."""
    s = Story(nodes=3, logs={1: past([1] * 300, 1), 2: past([1], 1), 3: past([1] * 300, 1)})
    s.elect(1)
    assert s.terms(2) == [*[1] * 300, 2]
    assert s.said("n1 → n2 Append(") <= 6


def test_too_many_uncommitted_bytes_are_refused() -> None:
    """Every queue has a bound in bytes and a named answer when it is full. What is refused never happens."""
    s = Story(nodes=3, linger=0, max_uncommitted=1000)
    s.elect(1)
    s.only(1)
    tokens = []
    for number in range(10):
        tokens.append(s.propose(1, f"{number}" * 200))
        s.advance(3)
    refused = [token for token in tokens if s.answer(token) == "rejected: too many uncommitted bytes (n1 leads)"]
    assert 4 <= len(refused) <= 7, [s.answer(token) for token in tokens]
    assert refused == tokens[-len(refused) :]
    s.heal()
    s.heartbeat(1, times=2)
    accepted = [token for token in tokens if token not in refused]
    assert all((s.answer(token) or "").startswith("committed") for token in accepted)
    assert len(s.state(1).split()) == len(accepted)
    token = s.propose(1, "after")
    s.advance(3)
    assert (s.answer(token) or "").startswith("committed"), "there is room again"
