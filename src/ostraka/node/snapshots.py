"""Snapshots between nodes: one holds a state still, the other pulls it piece by piece.

A piece is a run of pairs in the order of keys, under a CRC32C. The puller asks for the piece after the
last key that it has, so a lost, late or doubled answer costs a repetition and nothing else, and a broken
connection resumes where it broke. Whoever holds a state holds it in memory only: after a crash of either
side another state is pulled, from its beginning. One piece is under way at a time, which bounds the memory
of both sides, and the work for one piece is bounded, so that neither side's loop stalls.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

import google_crc32c
import msgspec

from ostraka.model.effects import FetchSnapshot
from ostraka.model.ids import SECOND, Duration, GroupId, Instant, NodeId
from ostraka.model.requests import SnapshotMeta
from ostraka.node.clock import Clock, Timer
from ostraka.transport import wire
from ostraka.transport.network import Channel, Network

if TYPE_CHECKING:
    from ostraka.storage.table import Pinned, Table

CHUNK_ROWS: Final = 2000  # No more pairs in one piece, however small they are: to read one takes about a microsecond.
PATIENCE: Final[Duration] = SECOND  # How long a piece may take before it is asked for again.
IDLE: Final[Duration] = 60 * SECOND  # A state that nobody has asked for in this time is let go: it costs disk space.
IN_USE: Final[Duration] = 15 * SECOND  # From one question of a puller to the next, or until it has caught up.
ATTEMPTS: Final = 5  # How often a piece is asked for before the source is given up,
ATTEMPTS_WITHOUT_LINK: Final = 2  # and how often where there is no connection to it: it may have left for ever.

_encode = msgspec.msgpack.Encoder().encode
_decode_pairs = msgspec.msgpack.Decoder(tuple[tuple[bytes, bytes], ...]).decode


class Held:
    """A state that is held still for others to pull."""

    def __init__(self, meta: SnapshotMeta, pinned: Pinned, chunk_bytes: int, now: Instant) -> None:
        self.meta: Final = meta
        self._chunk_bytes: Final = chunk_bytes
        self.used = now  # When it was last asked for.
        self._pinned: Final = pinned

    def chunk(self, ask: wire.AskChunk, now: Instant) -> wire.Chunk:
        """The piece that follows `ask.after`: so many bytes of pairs, and at least one where there are any."""
        self.used = now
        pairs: list[tuple[bytes, bytes]] = []
        size = 0
        last = True
        for key, value in self._pinned.scan(b"" if ask.after is None else ask.after + b"\x00", None):
            if size >= self._chunk_bytes or len(pairs) >= CHUNK_ROWS:
                last = False
                break
            pairs.append((key, value))
            size += len(key) + len(value)
        data = _encode(pairs)
        return wire.Chunk(ask.group, ask.pull, ask.after, data, google_crc32c.value(data), last)

    def in_use(self, now: Instant) -> bool:
        """Somebody pulls it, or has it and may still need the log that goes on from there."""
        return now < self.used + IN_USE

    def release(self) -> None:
        """Nobody can pull it any longer."""
        self._pinned.release()


class Pull:
    """The fetching of one state into a table of its own, from one source after the other."""

    def __init__(
        self,
        group: GroupId,
        wanted: FetchSnapshot,
        table: Table,
        number: int,
        clock: Clock,
        network: Network,
        ended: Callable[[SnapshotMeta], None],
        links: AbstractSet[NodeId],
    ) -> None:
        """`links`: to whom there is a connection, whenever it is looked at."""
        self.meta: Final = wanted.meta
        self.table: Final = table
        self.complete = False
        self._group: Final = group
        self._sources = list(wanted.sources)
        self._clock: Final = clock
        self._network: Final = network
        self._ended: Final = ended
        self._number: Final = number
        self._links: Final = links
        self._after: bytes | None = None
        self._attempts = 0
        self._timer: Timer | None = None

    def start(self) -> None:
        self._ask()

    def stop(self) -> None:
        """Forget about it; `ended` is not called any more."""
        self._sources.clear()
        if self._timer is not None:
            self._timer.cancel()

    def received(self, sender: NodeId, frame: wire.Chunk | wire.NoChunk) -> None:
        """An answer, if it is to the question that is open."""
        if frame.pull != self._number or not self._sources or sender != self._sources[0] or self.complete:
            return
        if isinstance(frame, wire.NoChunk):
            self._next_source()
        elif frame.after == self._after:
            if google_crc32c.value(frame.pairs) == frame.checksum:
                self._take(frame)
            else:
                self._ask_again()

    def _take(self, chunk: wire.Chunk) -> None:
        pairs = _decode_pairs(chunk.pairs)
        for key, value in pairs:
            self.table.put(key, value)
        self.table.commit()
        if pairs:
            self._after = pairs[-1][0]
        self._attempts = 0
        self.complete = chunk.last or not pairs
        if self.complete:
            self._end()
        else:
            self._ask()

    def _ask(self) -> None:
        self._attempts += 1
        ask = wire.AskChunk(self._group, self._number, self.meta.index, self.meta.epoch, self._after)
        self._network.send(self._sources[0], wire.encode(ask), Channel.BULK)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(self._clock.now() + PATIENCE, self._no_answer)

    def _no_answer(self) -> None:
        if self._sources and not self.complete:
            self._ask_again()

    def _ask_again(self) -> None:
        """There is no answer, or a damaged one: perhaps the next is better, or the next source."""
        if self._attempts < (ATTEMPTS if self._sources[0] in self._links else ATTEMPTS_WITHOUT_LINK):
            self._ask()
        else:
            self._next_source()

    def _next_source(self) -> None:
        self._sources.pop(0)
        self._attempts = 0
        if self._sources:
            self._ask()
        else:
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self.meta)
