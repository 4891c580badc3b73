"""What the node asks of a network between the members of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

from ostraka.model.ids import Index, NodeId


class Channel(IntEnum):
    """The two connections of a pair of members, so that a snapshot never delays a heartbeat."""

    CONSENSUS = 0
    BULK = 1


class Receiver(Protocol):
    """Who is told what came in: the node."""

    def received(self, sender: NodeId, frame: bytes) -> None:
        """A frame arrived whole. The network vouches for the sender's name, and for nothing else."""

    def link_up(self, peer: NodeId) -> None:
        """Frames for this peer are carried from now on."""

    def link_down(self, peer: NodeId) -> None:
        """Frames for this peer that were sent lately may be lost."""

    def expelled(self) -> None:
        """A member says that this one was removed from the cluster, for ever."""

    def disowned(self, reason: str) -> None:
        """A member says that another disk than this one's is registered under this one's name, for ever."""


class Network(Protocol):
    """Carries frames between members: it may lose, delay, double and reorder them, and never alters them."""

    def start(self, receiver: Receiver) -> None:
        """Begin to carry; `receiver` is called from the loop, never from inside a call to the network."""

    def connect(self, members: Mapping[NodeId, str], configured: Index = 0) -> None:
        """These are the others, each with its peer URL: keep links to them, and to nobody else.

        `configured`: how far in the log that is known. One who goes by a newer configuration is let in, too: it may
        have what we lack.
        """

    def send(self, to: NodeId, frame: bytes, channel: Channel = Channel.CONSENSUS) -> None:
        """Send a frame, or drop it where there is no link or its queue is full."""
