"""How one host pulls the state of another: piece by piece, whatever breaks meanwhile."""

from __future__ import annotations

import msgspec

from ostraka.model import effects, events
from ostraka.model.ids import SECOND
from ostraka.model.requests import SnapshotMeta
from ostraka.node.snapshots import CHUNK_ROWS, Held
from ostraka.storage.table import MemoryStore
from ostraka.transport import wire
from tests.node.scripted import MEMBERS, Scene, entry

META = SnapshotMeta(1, 5, 50, MEMBERS)


def holding(**upkeep: int) -> Scene:
    """A host that holds the state of five entries for others, in small pieces."""
    source = Scene(**{"chunk_bytes": 8, **upkeep})
    source.does(effects.Commit(tuple(entry(index, b"x%d" % index) for index in range(1, 6))), effects.TakeSnapshot(5))
    source.network.sent.clear()
    return source


def pulling(*sources: int) -> Scene:
    follower = Scene()
    follower.does(effects.FetchSnapshot(META, sources or (1,)))
    return follower


def question(follower: Scene) -> wire.AskChunk:
    """What it asked last."""
    ask = follower.network.sent[-1][1]
    assert isinstance(ask, wire.AskChunk)
    return ask


def answer(source: Scene, follower: Scene) -> wire.Chunk | wire.NoChunk:
    """To that question."""
    source.host.received(2, wire.encode(question(follower)))
    source.clock.run()
    frame = source.network.sent[-1][1]
    assert isinstance(frame, wire.Chunk | wire.NoChunk)
    return frame


def hear(follower: Scene, frame: wire.Chunk | wire.NoChunk, sender: int = 1) -> None:
    follower.host.received(sender, wire.encode(frame))
    follower.clock.run()


def damaged(frame: wire.Chunk | wire.NoChunk) -> wire.Chunk:
    assert isinstance(frame, wire.Chunk)
    return msgspec.structs.replace(frame, pairs=frame.pairs[:-1] + bytes([frame.pairs[-1] ^ 1]))


def fetched(follower: Scene) -> list[bool]:
    """How its pulls have ended."""
    return [
        event.ok for event in follower.happened(events.SnapshotFetched) if isinstance(event, events.SnapshotFetched)
    ]


def pull(source: Scene, follower: Scene) -> int:
    """Until it has ended; how many pieces came."""
    pieces = 0
    while not fetched(follower):
        hear(follower, answer(source, follower))
        pieces += 1
    return pieces


def test_a_damaged_piece_is_not_taken() -> None:
    """It is asked for again at once, and after some of them elsewhere."""
    source, follower = holding(), pulling(1, 3)
    hear(follower, answer(source, follower))
    known = question(follower).after
    assert known is not None
    for attempt in range(2):
        hear(follower, damaged(answer(source, follower)))
        assert question(follower).after == known and len(follower.network.sent) == attempt + 3
    assert follower.network.sent[-1][0] == 3, "the first has no link, so two attempts are enough"
    hear(follower, answer(source, follower), sender=3)
    assert question(follower).after != known, "and from there it goes on where it was"


def test_a_broken_transfer_goes_on_where_it_broke() -> None:
    source, follower = holding(), pulling()
    follower.host.links.add(1)
    whole = pull(holding(), pulling())
    hear(follower, answer(source, follower))
    hear(follower, answer(source, follower))
    known = question(follower).after
    follower.host.link_down(1)
    answer(source, follower)  # It is lost.
    follower.host.link_up(1)
    follower.clock.advance(follower.clock.time + SECOND)
    assert question(follower).after == known and known is not None
    assert 2 + pull(source, follower) == whole and fetched(follower) == [True]


def test_a_source_that_was_started_again_does_not_have_it_any_more() -> None:
    """What is held is held in memory. The engine then hears of another state, and pulls that from its beginning."""
    source, follower = holding(), pulling()
    hear(follower, answer(source, follower))
    again = Scene(source.disk, source.store, chunk_bytes=8)
    hear(follower, answer(again, follower))
    assert fetched(follower) == [False]
    again.does(effects.Commit((entry(6, b"x6"),)))
    again.does(effects.TakeSnapshot(6))
    meta = SnapshotMeta(1, 6, 60, MEMBERS)
    follower.does(effects.FetchSnapshot(meta, (1,)))
    assert question(follower).after is None
    while len(fetched(follower)) < 2:
        hear(follower, answer(again, follower))
    assert fetched(follower) == [False, True]
    follower.does(effects.InstallSnapshot(meta))
    assert follower.group.applied == 6 and follower.group.query(b"x6") == b"6"


def test_a_puller_that_was_started_again_begins_anew() -> None:
    """Nothing of what came before is left, or rows could stay that the new state doesn't have."""
    source, follower = holding(), pulling()
    hear(follower, answer(source, follower))
    hear(follower, answer(source, follower))
    follower.host.flush(lambda: None)
    follower.clock.run()
    follower.store.crash()
    again = Scene(follower.disk, follower.store)
    prefix = again.group._descriptor.next().prefix(1)
    assert list(follower.store.table(prefix).scan(b"", None)) == []
    again.does(effects.FetchSnapshot(META, (1,)))
    pull(source, again)
    assert fetched(again) == [True]


def test_a_piece_is_bounded_in_bytes_and_in_rows() -> None:
    store = MemoryStore(lambda callback: None)
    table = store.table(b"p")
    for number in range(2 * CHUNK_ROWS + 1):
        table.put(b"%06d" % number, b"v")
    table.commit()
    held = Held(META, store.pin(b"p"), 1 << 30, 0)
    after, sizes = None, []
    while True:
        piece = held.chunk(wire.AskChunk(1, 1, 5, 1, after), 0)
        pairs = msgspec.msgpack.decode(piece.pairs, type=tuple[tuple[bytes, bytes], ...])
        sizes.append(len(pairs))
        after = pairs[-1][0]
        if piece.last:
            break
    assert sizes == [CHUNK_ROWS, CHUNK_ROWS, 1]
