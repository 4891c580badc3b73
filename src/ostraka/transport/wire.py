"""What members of a cluster say to one another: frames, and the handshake before them.

A connection carries frames, each a length (four bytes, big-endian) and that many bytes of msgpack. The
first frame in each direction is a `Hello`, which every version can read; what follows is in the highest
version that both speak. Integer tags and array positions are the format: fields are only ever added at
an end. `tests/transport/test_wire.py` holds the bytes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ostraka.model.events import Message
from ostraka.model.ids import GroupId, Index, NodeId

OLDEST_VERSION: Final = 1
VERSION: Final = 1
MAGIC: Final = "ostraka"
MAX_FRAME: Final = 128 << 20  # Bytes. Larger than the largest entry; what claims to be longer is not a frame.
LENGTH_BYTES: Final = 4


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who calls, with what disk, and what it can speak."""

    magic: str
    oldest: int  # Versions of this format that the caller speaks: from `oldest` to `newest`.
    newest: int
    cluster: int
    member: NodeId
    disk: int
    consensus: str  # The engine's name: members with different engines can't form a group.
    channel: int
    refusal: str = ""  # Set where the other side's hello was not accepted: the reason, for its log.
    configured: Index = 0  # How far in the log that is known by which the caller knows who the members are.
    removed: bool = False  # With a refusal: the other side was removed from the cluster, for ever.
    disowned: bool = False  # With a refusal: another disk is registered under the other side's name, for ever.


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A unit of what one member says to another."""


class Said(Frame, frozen=True, gc=False, tag=1):
    """A message of a group's engine. The engine's own union decodes it."""

    group: GroupId
    message: msgspec.Raw


class AskChunk(Frame, frozen=True, gc=False, tag=2):
    """Give me the next piece of this state: the pairs whose keys come after `after`; None: from the beginning."""

    group: GroupId
    pull: int  # The asker's number for this pull, to match the answer.
    index: Index
    epoch: int
    after: bytes | None


class Chunk(Frame, frozen=True, gc=False, tag=3):
    """A piece of a state, in the order of keys."""

    group: GroupId
    pull: int
    after: bytes | None  # As it was asked.
    pairs: bytes  # msgpack of tuple[tuple[bytes, bytes], ...].
    checksum: int  # CRC32C of `pairs`.
    last: bool


class NoChunk(Frame, frozen=True, gc=False, tag=4):
    """That state is not held here (any longer)."""

    group: GroupId
    pull: int


NEWCOMER: Final = 0xFF
"""The `Hello.channel` of one who doesn't know yet who it is, and asks for the `Roster`; its ids count for nothing."""


class Listed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A member as a newcomer needs to know it."""

    member: NodeId
    name: str  # Empty for one that has not been started yet.
    peer_urls: tuple[str, ...]


class Roster(Frame, frozen=True, gc=False, tag=5):
    """The answer to a newcomer: all members, as of the moment when it asked or later."""

    members: tuple[Listed, ...]


AnyFrame = Said | AskChunk | Chunk | NoChunk

_encode = msgspec.msgpack.Encoder().encode
decode_frame = msgspec.msgpack.Decoder(AnyFrame).decode
"""The frame in these bytes. Raises `msgspec.DecodeError`."""
decode_roster = msgspec.msgpack.Decoder(Roster).decode
"""The roster in these bytes. Raises `msgspec.DecodeError`."""
decode_hello = msgspec.msgpack.Decoder(Hello).decode
"""The hello in these bytes. Raises `msgspec.DecodeError`."""


def encode(frame: Frame | Hello) -> bytes:
    """The bytes of a frame, without its length."""
    return _encode(frame)


def encode_message(group: GroupId, message: Message) -> bytes:
    """The bytes of `Said`, encoded once for all who will receive it."""
    return _encode(Said(group, msgspec.Raw(_encode(message))))


def judge(hello: Hello, mine: Hello) -> str:
    """Why this hello can't be accepted: a sentence for the other side's log, or "" if it can."""
    if hello.magic != MAGIC:
        return "this is not an Ostraka peer port"
    if hello.newest < mine.oldest or hello.oldest > mine.newest:
        return (
            f"no common version of the peer protocol: {hello.oldest} to {hello.newest} there, "
            f"{mine.oldest} to {mine.newest} here; upgrade one version at a time"
        )
    if hello.cluster != mine.cluster:
        return (
            f"cluster {hello.cluster:x} there, {mine.cluster:x} here: compare --initial-cluster and "
            "--initial-cluster-token, or remove a data directory that is left from another cluster"
        )
    if hello.consensus != mine.consensus:
        return f"consensus {hello.consensus} there, {mine.consensus} here: give all members the same --consensus"
    if hello.member == mine.member:
        return f"member {hello.member:x} called itself: two members have the same peer URL"
    return ""
