"""Messages and records as bytes: what was once written or sent means the same for ever."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from ostraka.consensus.multipaxos import messages as m
from ostraka.model.effects import Why
from ostraka.model.requests import Members, SnapshotMeta

from .lone import THREE, pvalue, value

BALLOT = m.Ballot(5, 2)
META = SnapshotMeta(5, 7, 9, THREE)
SCHEDULE = ((0, THREE), (40, Members((1,), (2,))))

GOLDEN = {
    m.Canvass(BALLOT): "9201920502",
    m.Support(BALLOT): "9202920502",
    m.Prepare(BALLOT, 7): "940392050207c2",
    m.Accepted(BALLOT, 1, 3, 2, 4): "960692050201030204",
    m.Nack(BALLOT): "9207920502",
    m.Learn(BALLOT, 3): "930892050203",
    m.AskRead(BALLOT, 1, 2): "940d9205020102",
    m.ReadAnswer(BALLOT, 1, 2, 3): "950e920502010203",
    m.TakeOver(BALLOT): "920f920502",
    m.MembersChanged(BALLOT, 1, 2): "94119205020102",
    m.Installed(7): "920307",
}
OTHERS = [
    m.Promise(BALLOT, 3, (pvalue(4, (1, 1), b"a"),)),
    m.Accept(BALLOT, (value(1, b"a"), value(2)), 0, 1),
    m.Learned(BALLOT, (value(1, b"a"),)),
    m.SnapshotOffer(BALLOT, META, SCHEDULE),
    m.Forward(BALLOT, 1, 2, b"x"),
    m.ForwardRefused(BALLOT, 1, 2, Why.OVERLOADED),
    m.ForwardChange(BALLOT, 1, 2, THREE, None),
    m.HardState(BALLOT, SCHEDULE),
    m.Voted(pvalue(4, (1, 1), b"a")),
]


@pytest.mark.parametrize("said", [*GOLDEN, *OTHERS], ids=lambda said: type(said).__name__)
def test_what_is_decoded_is_what_was_said(said: msgspec.Struct) -> None:
    union = m.MultiPaxosRecord if isinstance(said, get_args(m.MultiPaxosRecord)) else m.MultiPaxosMessage
    data = msgspec.msgpack.encode(said)
    assert msgspec.msgpack.decode(data, type=union) == said
    if said in GOLDEN:
        assert data.hex() == GOLDEN[said], "its bytes have changed: give a new kind a new tag instead"


def test_all_are_here_and_their_tags_stay() -> None:
    assert {type(said) for said in (*GOLDEN, *OTHERS)} == {
        *get_args(m.MultiPaxosMessage),
        *get_args(m.MultiPaxosRecord),
    }
    tags = {kind.__name__: kind.__struct_config__.tag for kind in get_args(m.MultiPaxosMessage)}
    assert list(tags.values()) == list(range(1, 18))
    assert {kind.__name__: kind.__struct_config__.tag for kind in get_args(m.MultiPaxosRecord)} == {
        "HardState": 1,
        "Voted": 2,
        "Installed": 3,
    }


def test_ballots_are_ordered_by_round_then_by_node() -> None:
    assert sorted([m.Ballot(2, 1), m.Ballot(1, 9), m.Ballot(1, 2), m.NONE]) == [m.NONE, (1, 2), (1, 9), (2, 1)]


@pytest.mark.parametrize(("record", "mark"), [(m.Voted(pvalue(4, (1, 1))), 4), (m.Installed(7), 7)])
def test_records_are_released_by_their_slots(record: m.Voted | m.Installed, mark: int) -> None:
    assert record.mark() == mark
