"""The bytes of the write-ahead log: segments of batches of records.

    segment  = header batch batch ... zeros       the first batch holds what was carried in, with sequence number 0
    header   = magic version crc | cluster member disk number first previous_end previous_chain | crc
    batch    = magic count length first durable chain | crc | record ...
    record   = crc | group length mark sequence | payload

Every CRC32C continues an earlier one: a batch header's that of the segment header, a record's that of what precedes
it in its batch; and `chain` in a batch header is the last record's before. So bytes are valid only in their place:
not in another segment, disk or cluster, not after another batch, and not if they were left there by former contents.
A batch header can still be recognised alone, since it is what tells a damaged batch from the torn last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

import google_crc32c

from ostraka.errors import Corruption, NewerFormat
from ostraka.storage.identity import Identity

FORMAT: Final = 1
_MAGIC: Final = b"OSTRAWAL"
_BATCH_MAGIC: Final = 0x48435442  # "BTCH"
_BATCH_MAGIC_BYTES: Final = b"BTCH"
_PRELUDE: Final = Struct("<8sI")  # Magic, version, and its CRC: the same in every version.
_PLACE: Final = Struct("<QQQQQQI")
_BATCH: Final = Struct("<IIQQQI")
_RECORD: Final = Struct("<IIQQ")
_CRC: Final = Struct("<I")
HEADER_SIZE: Final = _PRELUDE.size + 4 + _PLACE.size + 4
BATCH_SIZE: Final = _BATCH.size + 4
RECORD_SIZE: Final = 4 + _RECORD.size

_extend: Final = google_crc32c.extend

Record = tuple[int, bytes, int]
"""Group, payload, mark."""


class Header(NamedTuple):
    """Where a segment belongs."""

    identity: Identity
    number: int
    first: int  # Sequence number of its first record, not counting those carried in.
    previous_end: int  # Where the segment before ended, and the checksum of its last record.
    previous_chain: int


class Place(NamedTuple):
    """Where a batch is, and what must be known to read it there."""

    segment: int
    offset: int
    seed: int  # The segment's, as in Contents.
    chain: int  # The checksum before it.
    first: int  # Sequence number of its first record.


class Contents(NamedTuple):
    """What was read from a segment."""

    header: Header
    seed: int  # The header's checksum, from which its batches' continue.
    records: list[Record]
    end: int  # Offset behind the last batch.
    chain: int  # The last checksum.
    next: int  # The next sequence number.
    torn: int  # Bytes after it that are neither zero nor whole.
    batches: list[tuple[Place, int, list[Record]]]  # With the offset behind each; but for the carried one.


def encode_header(header: Header) -> tuple[bytes, int]:
    """The bytes, and the checksum from which the batches' continue."""
    prelude = _PRELUDE.pack(_MAGIC, FORMAT)
    data = prelude + _CRC.pack(google_crc32c.value(prelude)) + _PLACE.pack(*header.identity, *header[1:])
    seed = google_crc32c.value(data)
    return data + _CRC.pack(seed), seed


def encode_batch(
    seed: int, chain: int, first: int, durable: int, records: Sequence[Record], carried: bool = False
) -> tuple[bytes, int]:
    """The bytes of a batch behind the checksum `chain`, and the checksum at its end."""
    length = sum([len(payload) for _, payload, _ in records]) + RECORD_SIZE * len(records)
    fields = _BATCH.pack(_BATCH_MAGIC, len(records), length, first, durable, chain)
    chain = _extend(seed, fields)
    parts = [fields, _CRC.pack(chain)]
    add, pack, pack_crc, extend = parts.append, _RECORD.pack, _CRC.pack, _extend
    sequence, step = (0, 0) if carried else (first, 1)
    for group, payload, mark in records:
        body = pack(group, len(payload), mark, sequence) + payload
        chain = extend(chain, body)
        add(pack_crc(chain))
        add(body)
        sequence += step
    return b"".join(parts), chain


def read_segment(name: str, data: bytes) -> Contents:
    """All batches up to the end or to a torn one. Raises Corruption, NewerFormat."""
    header, seed = _decode_header(name, data)
    records: list[Record] = []
    batches: list[tuple[Place, int, list[Record]]] = []
    offset, chain, following = HEADER_SIZE, seed, header.first
    carried = True
    while (batch := _decode_batch(data, offset, seed, chain, following, carried)) is not None:
        place = Place(header.number, offset, seed, chain, following)
        found, offset, chain = batch
        records += found
        if not carried:
            following += len(found)
            batches.append((place, offset, found))
        carried = False
    if carried:
        raise Corruption(f"{name}, offset {offset}, sequence {following}: what was carried into it is damaged")
    later = _batch_header_after(data, offset, seed, following)
    if later is not None:
        at, durable = later
        raise Corruption(
            f"{name}, offset {offset}, sequence {following}: damaged, though a whole batch follows at offset {at}, "
            f"written when all up to sequence {durable} was durable"
        )
    torn = len(data) - offset - data.count(0, offset)
    return Contents(header, seed, records, offset, chain, following, torn, batches)


def read_batches(name: str, data: bytes, place: Place) -> list[Record]:
    """The records of the whole batches that `data` is made of, which begin at this place. Raises Corruption."""
    records: list[Record] = []
    offset, chain, following = 0, place.chain, place.first
    while offset < len(data):
        batch = _decode_batch(data, offset, place.seed, chain, following, False)
        if batch is None:
            raise Corruption(
                f"{name}, offset {place.offset + offset}, sequence {following}: damaged since it was written"
            )
        found, offset, chain = batch
        records += found
        following += len(found)
    return records


def _decode_header(name: str, data: bytes) -> tuple[Header, int]:
    if len(data) < HEADER_SIZE or _crc_at(data, _PRELUDE.size) != google_crc32c.value(data[: _PRELUDE.size]):
        raise Corruption(f"{name}, offset 0: the header is damaged")
    magic, _ = _PRELUDE.unpack_from(data)
    if magic != _MAGIC:
        raise Corruption(f"{name}, offset 0: not a segment of a write-ahead log")
    require_known(name, data)
    seed = google_crc32c.value(data[: HEADER_SIZE - 4])
    if _crc_at(data, HEADER_SIZE - 4) != seed:
        raise Corruption(f"{name}, offset {_PRELUDE.size + 4}: the header is damaged")
    cluster, member, disk, *place = _PLACE.unpack_from(data, _PRELUDE.size + 4)
    return Header(Identity(cluster, member, disk), *place), seed


def require_known(name: str, head: bytes) -> None:
    """Raise NewerFormat if this is, undamaged, the head of a segment of a newer format."""
    if len(head) < _PRELUDE.size + 4 or _crc_at(head, _PRELUDE.size) != google_crc32c.value(head[: _PRELUDE.size]):
        return
    magic, version = _PRELUDE.unpack_from(head)
    if magic == _MAGIC and version > FORMAT:
        raise NewerFormat(
            f"{name} has format {version}, and this version of Ostraka knows {FORMAT}: start the newer version that "
            "wrote it; nothing was changed"
        )


def _decode_batch(
    data: bytes, start: int, seed: int, chain: int, first: int, carried: bool
) -> tuple[list[Record], int, int] | None:
    """The records, where the batch ends, and its last checksum; None if it is not whole and valid."""
    offset = start + BATCH_SIZE
    if offset > len(data):
        return None
    magic, count, length, its_first, _, before = _BATCH.unpack_from(data, start)
    current = _extend(seed, data[start : offset - 4])
    if (magic, its_first, before, _crc_at(data, offset - 4)) != (_BATCH_MAGIC, first, chain, current):
        return None
    end = offset + length
    if end > len(data):
        return None
    records = []
    sequence, step = (0, 0) if carried else (first, 1)
    for _ in range(count):
        body = offset + 4
        if body + _RECORD.size > end:
            return None
        group, size, mark, its_sequence = _RECORD.unpack_from(data, body)
        behind = body + _RECORD.size + size
        if behind > end or its_sequence != sequence:
            return None
        current = _extend(current, data[body:behind])
        if _crc_at(data, offset) != current:
            return None
        records.append((group, data[body + _RECORD.size : behind], mark))
        offset = behind
        sequence += step
    return (records, end, current) if offset == end else None


def _batch_header_after(data: bytes, offset: int, seed: int, following: int) -> tuple[int, int] | None:
    """Offset and durable mark of a valid batch header behind a place where none was readable."""
    at = data.find(_BATCH_MAGIC_BYTES, offset + 1)
    while at >= 0:
        if at + BATCH_SIZE > len(data):
            return None
        if _crc_at(data, at + _BATCH.size) == _extend(seed, data[at : at + _BATCH.size]):
            _, _, _, first, durable, _ = _BATCH.unpack_from(data, at)
            if first >= following:
                return at, durable
        at = data.find(_BATCH_MAGIC_BYTES, at + 1)
    return None


def _crc_at(data: bytes, offset: int) -> int:
    return int(_CRC.unpack_from(data, offset)[0])
