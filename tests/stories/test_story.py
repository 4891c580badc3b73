"""The story finds an engine that breaks the contract: each of these lies is told by a replica that was honest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from ostraka.consensus.raft import RAFT
from ostraka.consensus.raft.messages import HardState
from ostraka.model.effects import Commit, Effect, ReadAt, Save, Send
from ostraka.model.engine import Consensus
from ostraka.model.events import Event

from .script import play
from .story import Story

Lie = Callable[[Effect], list[Effect]]


class Liar:
    """A replica whose effects are told otherwise."""

    def __init__(self, honest: Any, lie: Lie) -> None:
        self.honest = honest
        self.lie = lie

    def step(self, events: Sequence[Event], now: int) -> list[Effect]:
        return [told for effect in self.honest.step(events, now) for told in self.lie(effect)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.honest, name)


def lying(lie: Lie) -> Consensus:
    return msgspec.structs.replace(RAFT, restore=lambda *given: Liar(RAFT.restore(*given), lie))


def twice(kind: type[Effect]) -> Lie:
    return lambda effect: [effect, effect] if isinstance(effect, kind) else [effect]


def alone(effect: Effect) -> list[Effect]:
    """Says that it waits for a save that it never asked for."""
    return [msgspec.structs.replace(effect, after=effect.after + 99) if isinstance(effect, Send) else effect]


def skipping(effect: Effect) -> list[Effect]:
    if not isinstance(effect, Commit) or len(effect.entries[-1].batches) == 0:
        return [effect]
    return [Commit(())]


def reordering(effect: Effect) -> list[Effect]:
    return [msgspec.structs.replace(effect, token=1) if isinstance(effect, Save) else effect]


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (twice(Commit), "applies 1 after 1"),
        (twice(ReadAt), "twice: may be read"),
        (twice(Save), "saves out of order"),
        (alone, "waits for no save"),
        (skipping, "a Commit without entries"),
        (reordering, "saves out of order"),
    ],
)
def test_lies_are_found(lie: Lie, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        whole_life(lying(lie))
    whole_life(RAFT)


def whole_life(engine: Consensus) -> None:
    s = Story(nodes=3, engine=engine)
    s.elect(1)
    s.propose(1, "a")
    s.settle()
    s.read(1)
    s.settle()


def test_a_forgotten_vote_gives_a_term_two_leaders() -> None:
    """What happens to who doesn't save votes: n3 votes for both, and the story sees two leaders of one term."""

    def forgetting(effect: Effect) -> list[Effect]:
        if not isinstance(effect, Save):
            return [effect]
        kept = [HardState(r.term, None) if isinstance(r, HardState) else r for r in effect.records]
        return [Save(effect.token, tuple(kept))]

    s = Story(nodes=3, engine=lying(forgetting))
    s.hold("RequestVote")
    s.campaign(1)
    s.campaign(2)
    s.settle()
    s.free()
    s.hold("Append")
    s.deliver("RequestVote", 1, 3)
    s.settle()
    assert s.role(1) == "leader"
    s.restart(3)
    s.deliver("RequestVote", 2, 3)
    with pytest.raises(AssertionError, match="epoch 1: n1 and n2 both lead"):
        s.settle()


def test_a_promise_before_its_save_loses_what_was_answered() -> None:
    """What happens to who acknowledges before saving: n2 dies, and an answered write is gone."""

    def hasty(effect: Effect) -> list[Effect]:
        return [msgspec.structs.replace(effect, after=0) if isinstance(effect, Send) else effect]

    s = Story(nodes=3, engine=lying(hasty))
    s.elect(1)
    s.only(1, 2)
    s.delay_saves(2)
    token = s.propose(1, "a")
    s.settle()
    assert s.answer(token) == "committed at 2"
    s.restart(2)
    s.quick_saves(2)
    s.only(2, 3)
    with pytest.raises(AssertionError, match="index 2 was decided as"):
        s.elect(2)


def test_a_scene_is_played_the_same_each_time() -> None:
    scene = "nodes 3\n\n# One write.\nelect 1\npropose 2 a\n---\n"
    played = play(scene)
    assert played == play(played)
    assert "n2 a: committed at 2" in played
