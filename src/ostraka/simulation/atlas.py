"""Which damage to disks is fair: the recoverability atlas.

Follows:  the fault model of protocol-aware recovery (Alagappan et al., FAST '18) and TigerBeetle's simulator: a cluster
          can only be asked to survive damage that leaves each acknowledged entry with somebody who can elect a leader.
Words:    a member is *damaged* from the moment that its disk is until it has begun a life that found nothing, or has
          got back from the others what it lost. Damage is *latent* while nobody has looked.

Never more than a minority is damaged at once, and never both copies of one member's hard state. Nobody is where members
come and go: a minority today may be all that is left to vote tomorrow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from ostraka.errors import Corruption
from ostraka.model.ids import Dice, NodeId, roll
from ostraka.node.group import Group
from ostraka.simulation.disk import SimulatedDisk
from ostraka.storage import hard_state
from ostraka.storage.segment import HEADER_SIZE, read_segment


class Damage(StrEnum):
    """What of a disk."""

    LOG = "log"
    COPY = "second copy of the hard state"
    TABLE = "table"


class Atlas:
    """Who is damaged, and who may yet be."""

    def __init__(self, nodes: int) -> None:
        """`nodes` 0: no damage is fair."""
        self.damaged: Final[dict[NodeId, Damage]] = {}
        self._most: Final = (nodes - 1) // 2
        self._looked: Final[set[NodeId]] = set()  # Whose present life began after the last damage.

    @property
    def is_closed(self) -> bool:
        """Is no damage fair?"""
        return self._most < 0

    def allows(self, node: NodeId, damage: Damage) -> bool:
        """Would everything acknowledged survive it?"""
        known = self.damaged.get(node)
        if known is not None:
            return known is damage and damage is not Damage.COPY
        return len(self.damaged) < self._most

    def struck(self, node: NodeId, damage: Damage) -> None:
        self.damaged[node] = damage
        self._looked.discard(node)

    def began(self, node: NodeId) -> None:
        """A life has read its whole disk, and mended what it could."""
        self._looked.add(node)

    def turned(self, node: NodeId, group: Group) -> bool:
        """Has it got back just now what it lost, if it had to?"""
        if node not in self.damaged or node not in self._looked or group.refilling:
            return False
        del self.damaged[node]
        return True


def rot_log(disk: SimulatedDisk, dice: Dice) -> str:
    """Flip a bit of the write-ahead log before its last batch; where, or "" if there is no such place.

    Damage to the last batch can't be told from a torn write: the log promises nothing for it.
    """
    names = disk.durable_names("wal-")
    if not names or not disk.durable_names(hard_state.FILE):
        return ""  # It has not begun to take part.
    name = names[roll(dice, len(names))]
    content = disk.durable(name)
    end = len(content)
    if name == names[-1]:
        try:
            batches = read_segment(name, content).batches
            end = batches[-1][0].offset if batches else HEADER_SIZE
        except Corruption:
            return ""  # It is damaged there already.
    if not end:
        return ""
    at = roll(dice, end)
    disk.flip(name, at, 1 << roll(dice, 8))
    return f"{name}, offset {at}"


def rot_copy(disk: SimulatedDisk, dice: Dice) -> str:
    """Flip a bit of the second copy of the hard state; where, or "" if there is none."""
    if hard_state.FILE not in disk.durable_names(hard_state.FILE):
        return ""
    at = roll(dice, len(disk.durable(hard_state.FILE)))
    disk.flip(hard_state.FILE, at, 1 << roll(dice, 8))
    return f"{hard_state.FILE}, offset {at}"
