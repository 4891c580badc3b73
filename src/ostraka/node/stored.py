"""Where a group's state is kept in the store, and what that is a state of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostraka.model.ids import GroupId
from ostraka.model.requests import Members, SnapshotMeta

if TYPE_CHECKING:
    from ostraka.storage.table import Store

APPLIED: Final = b"\x00applied"
"""Where a group's table says what it is a state of. Keys that begin with a zero byte belong to the node."""

decode_meta = msgspec.msgpack.Decoder(SnapshotMeta).decode
"""What stands there."""


class Descriptor(msgspec.Struct, frozen=True, array_like=True):
    """Which generation of a group's state is the current one. Installing a snapshot makes a new one."""

    generation: int = 0

    def prefix(self, group: GroupId) -> bytes:
        """Where in the store this generation is kept."""
        return b"g" + group.to_bytes(8, "big") + self.generation.to_bytes(4, "big")

    def next(self) -> Descriptor:
        return Descriptor(self.generation + 1)

    def before(self) -> Descriptor:
        return Descriptor(self.generation - 1)


def members_stored(store: Store, group: GroupId, descriptor: Descriptor) -> Members | None:
    """The configuration in the group's durable state, None if there is no state."""
    applied = store.table(descriptor.prefix(group)).get(APPLIED)
    return None if applied is None else decode_meta(applied).members
