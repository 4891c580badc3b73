"""What travels and what is stored: these bytes are read by other versions, so they must not change by themselves."""

from __future__ import annotations

import msgspec
import pytest

from ostraka.consensus.raft import RAFT, messages
from ostraka.model.effects import Record, Why
from ostraka.model.events import Message
from ostraka.model.ids import Position
from ostraka.model.requests import Batch, Entry, Kind, Members, SnapshotMeta

ENTRY = Entry(7, 3, 99, Kind.REQUESTS, (Batch(2, 5, 1, b"ab"),))
META = SnapshotMeta(3, 7, 99, Members((1, 2, 3)), b"d")
GOLDEN: list[tuple[Message | Record, str]] = [
    (messages.AskPreVote(4, Position(3, 7)), "9301049203 07"),
    (messages.PreVote(4, True), "930204c3"),
    (messages.RequestVote(4, Position(3, 7)), "940304920307c2"),
    (messages.Vote(4, False), "930404c2"),
    (messages.Append(4, Position(3, 6), (ENTRY,), 5, 2), "970504920306 91 9607036301 91940205 01c4026162 c0 05 02 00"),
    (messages.Appended(4, False, 7, 2, Position(3, 5), 9), "970604c2070292030509"),
    (messages.SnapshotOffer(4, META), "940704 9503076393 93010203 90 90 c40164 00"),
    (messages.Forward(4, 5, 1, b"ab"), "9508040501c4026162"),
    (messages.ForwardRefused(4, 5, 1, Why.NO_LEADER), "9509040501a96e6f206c6561646572"),
    (messages.AskRead(4, 5, 1), "940a040501"),
    (messages.ReadAnswer(4, 5, 1, 7), "950b04050107"),
    (messages.TimeoutNow(4, Position(3, 7)), "930c04920307"),
    (messages.ForwardChange(4, 5, 1, Members((1, 2)), None), "960d040501 93 920102 90 90 c0"),
    (messages.MembersChanged(4, 5, 1), "940e040501"),
    (messages.Claim(4, 2), "930f0402"),
    (messages.End(4, 5, 7), "9414040507"),
    (messages.Refilling(4), "921504"),
    (messages.HardState(4, None, 9), "950104c009c2"),
    (messages.Logged(ENTRY), "9202 9607036301 91940205 01c4026162 c0"),
    (messages.Installed(Position(3, 7)), "9203920307"),
]


@pytest.mark.parametrize(("value", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_bytes_are_what_they_were(value: Message | Record, golden: str) -> None:
    data = msgspec.msgpack.encode(value)
    assert data.hex() == golden.replace(" ", "")
    kind = RAFT.message if isinstance(value, Message) else RAFT.record
    assert msgspec.msgpack.decode(data, type=kind) == value


def test_what_was_written_before_there_were_leases_is_read_as_without() -> None:
    for old, value in (
        ("960504920306 90 05 02", messages.Append(4, Position(3, 6), (), 5, 2)),
        ("920c04", messages.TimeoutNow(4)),
        ("930104c0", messages.HardState(4, None)),
    ):
        kind = RAFT.message if isinstance(value, Message) else RAFT.record
        assert msgspec.msgpack.decode(bytes.fromhex(old), type=kind) == value


def test_every_message_and_record_has_its_bytes_above() -> None:
    here = {type(value) for value, _ in GOLDEN}
    assert here == {*RAFT.message.__args__, *RAFT.record.__args__}
