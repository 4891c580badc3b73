"""Every run of a small synod: one value is chosen, whatever is lost, late, doubled or forgotten by proposers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from ostraka.consensus import synod
from ostraka.consensus.quorum import Quorum
from ostraka.consensus.synod import Accept, Accepted, Memory, Prepare, Promise, chosen, on_accept, on_prepare
from ostraka.simulation.explore import Explored, explore

Message = Prepare | Promise | Accept | Accepted


class State(NamedTuple):
    memories: tuple[Memory, ...]  # Of each acceptor.
    sent: frozenset[Message]


class Synod:
    """Three acceptors; the proposer of ballot b wishes for its own value, and may die at any time."""

    def __init__(self, acceptors: int, ballots: int, quorum: Quorum, forgetful: bool = False) -> None:
        self.acceptors = [f"a{n}" for n in range(acceptors)]
        self.ballots = ballots
        self.quorum = quorum
        self.forgetful = forgetful

    def initial(self) -> Iterable[State]:
        yield State(tuple(Memory() for _ in self.acceptors), frozenset())

    def actions(self, state: State) -> Iterator[tuple[str, State]]:
        sent = state.sent
        for ballot in range(self.ballots):
            yield f"prepare {ballot}", State(state.memories, sent | {Prepare(ballot)})
            promises = [m for m in sent if isinstance(m, Promise) and m.ballot == ballot]
            value = synod.value_to_propose(promises, self.quorum, f"v{ballot}")
            if value is not None and not any(isinstance(m, Accept) and m.ballot == ballot for m in sent):
                yield f"propose {value} under {ballot}", State(state.memories, sent | {Accept(ballot, value)})
        for n, name in enumerate(self.acceptors):
            for message in sorted(sent, key=repr):
                done: tuple[Memory, Message] | None = None
                if isinstance(message, Prepare):
                    done = on_prepare(name, state.memories[n], message)
                elif isinstance(message, Accept):
                    done = on_accept(name, state.memories[n], message)
                if done is not None:
                    memories = (*state.memories[:n], done[0], *state.memories[n + 1 :])
                    yield f"{name} answers {message}", State(memories, sent | {done[1]})
            if self.forgetful and state.memories[n] != Memory():
                yield f"{name} forgets", State((*state.memories[:n], Memory(), *state.memories[n + 1 :]), sent)

    def consistent(self, state: State) -> bool:
        """At most one value is chosen. (Paxos Made Simple §2.1)"""
        return len(chosen((m for m in state.sent if isinstance(m, Accepted)), self.quorum)) <= 1


def of_size(count: int) -> Quorum:
    return lambda names: len(names) >= count


def run(world: Synod, most: int = 300_000) -> Explored:
    return explore(world, {"only one value is chosen": world.consistent}, most_states=most)


def test_every_run_of_two_ballots_chooses_one_value_at_most() -> None:
    found = run(Synod(3, 2, of_size(2)))
    assert found.complete and found.violation is None, found.violation
    assert found.states == 1777


def test_a_quorum_that_does_not_meet_the_others_chooses_two() -> None:
    violation = run(Synod(3, 2, of_size(1))).violation
    assert violation is not None
    assert len(violation.trace) == 8, "two prepares, promises, proposals and acceptances: the shortest way"


def test_an_acceptor_that_forgets_lets_two_be_chosen() -> None:
    violation = run(Synod(3, 2, of_size(2), forgetful=True)).violation
    assert violation is not None
    assert any("forgets" in label for label in violation.trace)


@pytest.mark.parametrize("broken", ["lowest", "own"])
def test_the_rule_of_the_highest_vote_is_needed(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P2c: of the values that were accepted, the one under the highest ballot; and not simply one's own."""

    def value_to_propose(promises: Iterable[Promise], quorum: Quorum, wished: str) -> str | None:
        told = list(promises)
        if not quorum({promise.acceptor for promise in told}):  # type: ignore[misc]
            return None
        votes = [promise.vote for promise in told if promise.vote.value is not None]
        if broken == "own" or not votes:
            return wished
        return min(votes, key=lambda vote: vote.ballot).value

    monkeypatch.setattr(synod, "value_to_propose", value_to_propose)
    violation = run(
        Synod(3, 2 if broken == "own" else 3, of_size(2)), most=2_000_000 if broken == "lowest" else 300_000
    ).violation
    assert violation is not None
