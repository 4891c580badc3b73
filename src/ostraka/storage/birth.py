"""How a member began, in a file that is written once, before its directory has an identity.

A member that starts again goes by this and by its log, whatever its flags say: those described the cluster as it was
in the beginning, and the members have changed since.
"""

from __future__ import annotations

from typing import Final

import google_crc32c
import msgspec

from ostraka.errors import Corruption, NewerFormat
from ostraka.model.ids import NodeId
from ostraka.storage.disk import Disk

FILE: Final = "birth"
FORMAT: Final = 2  # Since there is more than one engine; a member that runs Raft still writes format 1.
_NEW: Final = "birth.new"


class Birth(msgspec.Struct, frozen=True):
    """What was known then. `voters` is empty for a member that joined a cluster: it learns from the log who votes."""

    token: str
    voters: tuple[NodeId, ...]
    peer_urls: dict[NodeId, tuple[str, ...]]  # Of all members then, this one included.
    name: str
    consensus: str = "raft"  # The engine whose records the log holds.


_decode = msgspec.json.Decoder(Birth).decode


def read_birth(disk: Disk) -> Birth:
    """Of a directory that has an identity. Raises Corruption, NewerFormat, OSError."""
    data = disk.read(FILE) if FILE in disk.names() else b""
    text, _, checksum = data.rpartition(b"crc32c ")
    first, _, document = text.partition(b"\n")
    if checksum != b"%08x\n" % google_crc32c.value(text) or not first.startswith(b"ostraka birth "):
        raise Corruption(
            f"{FILE}, offset 0: missing or damaged: {data[:120]!r}; restore the file, or rebuild this member"
        )
    version = int(first.split()[2])
    if version > FORMAT:
        raise NewerFormat(
            f"{FILE} has format {version}, and this version of Ostraka knows {FORMAT}: start the newer version that "
            "wrote it; nothing was changed"
        )
    return _decode(document)


def write_birth(disk: Disk, birth: Birth) -> None:
    """Durably and all at once. Blocks. Raises OSError."""
    version = 1 if birth.consensus == "raft" else FORMAT  # Older versions would take the log for one of Raft's.
    text = b"ostraka birth %d\n%s\n" % (version, msgspec.json.encode(birth))
    file = disk.create(_NEW)
    file.append(text + b"crc32c %08x\n" % google_crc32c.value(text))
    file.flush("birth.content")
    file.close()
    disk.rename(_NEW, FILE)
    disk.flush_dir("birth.name")
