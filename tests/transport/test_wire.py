"""The bytes between members. A change here is a change of the wire's version."""

from __future__ import annotations

import msgspec
import pytest

from ostraka.model.events import Message
from ostraka.transport import wire
from ostraka.transport.wire import AskChunk, Chunk, Hello, NoChunk

HELLO = Hello("ostraka", 1, 1, 0xC1, 2, 0xD2, "raft", 0)


class Ping(Message, frozen=True, tag=7):
    term: int


@pytest.mark.parametrize(
    ("data", "golden"),
    [
        (wire.encode(HELLO), "9ca76f737472616b610101ccc102ccd2a4726166" + "7400a000c2c2"),
        (wire.encode_message(1, Ping(5)), "930101920705"),
        (wire.encode(AskChunk(1, 3, 40, 2, None)), "96020103" + "2802c0"),
        (wire.encode(AskChunk(1, 3, 40, 2, b"k")), "96020103" + "2802c4016b"),
        (wire.encode(Chunk(1, 3, None, b"\x90", 9, True)), "97030103c0c4019009c3"),
        (wire.encode(NoChunk(1, 3)), "93040103"),
        (wire.encode(wire.Roster((wire.Listed(3, "n", ("u",)),))), "9205919303a16e91a175"),
    ],
)
def test_golden_bytes(data: bytes, golden: str) -> None:
    assert data.hex() == golden


@pytest.mark.parametrize("frame", [AskChunk(1, 3, 40, 2, b"k"), Chunk(1, 3, None, b"\x90", 9, True), NoChunk(1, 3)])
def test_frames_come_back(frame: wire.AnyFrame) -> None:
    assert wire.decode_frame(wire.encode(frame)) == frame


def test_a_message_comes_back_through_its_engine_s_union() -> None:
    said = wire.decode_frame(wire.encode_message(9, Ping(5)))
    assert isinstance(said, wire.Said) and said.group == 9
    assert msgspec.msgpack.Decoder(Ping).decode(said.message) == Ping(5)


@pytest.mark.parametrize("data", [b"", b"\x90", b"\xc1", b"\x93\x63\x01\x90", b"\x96\x02\x01\x03\x28"])
def test_bytes_that_are_no_frame_are_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode_frame(data)


def test_a_hello_of_earlier_days_is_understood() -> None:
    assert wire.decode_hello(bytes.fromhex("99a76f737472616b610101ccc102ccd2a47261667400a0")) == HELLO


def test_a_hello_is_judged() -> None:
    mine = msgspec.structs.replace(HELLO, member=1)
    replace = msgspec.structs.replace
    assert wire.judge(HELLO, mine) == ""
    assert wire.judge(replace(HELLO, newest=9), mine) == "", "a newer member speaks our version too"
    assert "not an Ostraka peer" in wire.judge(replace(HELLO, magic="etcd"), mine)
    assert "no common version" in wire.judge(replace(HELLO, oldest=5, newest=9), mine)
    assert "--initial-cluster-token" in wire.judge(replace(HELLO, cluster=5), mine)
    assert "--consensus" in wire.judge(replace(HELLO, consensus="pbft"), mine)
    assert "same peer URL" in wire.judge(replace(HELLO, member=1), mine)
