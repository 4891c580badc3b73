"""Who a data directory belongs to: cluster, member and disk, in a file that is written once.

A replica that lost its disk has forgotten its promises, so a disk is known by an id of its own: put under an old
member's name, a blank disk is a stranger, and a disk copied from another member is found out at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import google_crc32c

from ostraka.errors import Corruption, NewerFormat, WrongIdentity
from ostraka.storage.disk import Disk

FILE: Final = "identity"
FORMAT: Final = 1
SYNC_POINTS: Final = ("identity.content", "identity.name")
_NEW: Final = "identity.new"


class Identity(NamedTuple):
    """Three 64-bit ids."""

    cluster: int
    member: int
    disk: int

    def require(self, found: Identity, where: str) -> None:
        """Raise WrongIdentity if `found`, which stands in `where`, is not this one."""
        for what, ours, theirs in zip(self._fields, self, found, strict=True):
            if ours != theirs:
                raise WrongIdentity(
                    f"{where} belongs to {what} {theirs:016x}, and this is {what} {ours:016x}: start with the flags "
                    f"of {what} {theirs:016x}, or with another data directory"
                )


def read_identity(disk: Disk) -> Identity | None:
    """What the directory says of itself; None if it is new. Raises Corruption, NewerFormat."""
    if FILE not in disk.names():
        return None
    data = disk.read(FILE)
    first, _, rest = data.partition(b"\n")
    text, _, checksum = data.rpartition(b"crc32c ")
    if checksum != b"%08x\n" % google_crc32c.value(text) or not first.startswith(b"ostraka identity "):
        raise Corruption(f"{FILE}, offset 0: damaged: {data[:120]!r}; restore the file, or rebuild this member")
    version = int(first.split()[2])
    if version > FORMAT:
        raise NewerFormat(
            f"{FILE} has format {version}, and this version of Ostraka knows {FORMAT}: start the newer version that "
            "wrote it; nothing was changed"
        )
    return Identity(*(int(line.split()[1], 16) for line in rest.splitlines()[:3]))


def write_identity(disk: Disk, identity: Identity) -> None:
    """Give a new directory its identity, durably and all at once. Blocks. Raises OSError."""
    lines = [f"ostraka identity {FORMAT}"]
    lines += [f"{what} {number:016x}" for what, number in zip(identity._fields, identity, strict=True)]
    text = "".join(f"{line}\n" for line in lines).encode()
    file = disk.create(_NEW)
    file.append(text + b"crc32c %08x\n" % google_crc32c.value(text))
    file.flush("identity.content")
    file.close()
    disk.rename(_NEW, FILE)
    disk.flush_dir("identity.name")
