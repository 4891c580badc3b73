"""A network that loses, delays, doubles and reorders, whose links break and whose halves part.

Implements `transport.network.Network` for each node. The sender's name is vouched for and the bytes are never altered,
as TCP under TLS promises; nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Final
from zlib import crc32

import msgspec

from ostraka.model.ids import MILLISECOND, Dice, Duration, Index, NodeId, roll
from ostraka.simulation.process import Computer, Heap, Process
from ostraka.transport import wire
from ostraka.transport.network import Channel, Receiver

Link = tuple[NodeId, NodeId]
"""A direction: from, to."""


class Weather:
    """How bad the network is now. The misfortunes set it."""

    def __init__(self) -> None:
        self.loss_permille = 0
        self.double_permille = 0
        self.delay: Duration = MILLISECOND // 10  # At least; up to twice this.
        self.spread: Duration = 0  # One frame in eight is later by up to this: so frames overtake one another.
        self.damage_permille = 0  # Of the pieces of snapshots: their source's memory, or ours, is bad.
        self.silent = False  # Links that break or mend are not always noticed.


class Wires:
    """Everything between the computers."""

    def __init__(self, world: Heap, dice: Dice) -> None:
        self.weather: Final = Weather()
        self._world: Final = world
        self._dice: Final = dice
        self.overhear: Callable[[NodeId, NodeId, bytes], None] = lambda sender, to, frame: None
        self._cut: set[Link] = set()
        self._breaks: dict[Link, int] = {}  # How often it broke: what was under way before is lost.
        self._endpoints: dict[NodeId, Endpoint] = {}
        self._disks: dict[NodeId, int] = {}  # With which each came last: what was sent to one never reaches another.

    def endpoint(self, computer: Computer, process: Process, disk: int) -> Endpoint:
        """The network as this life sees it."""
        endpoint = self._endpoints[computer.node] = Endpoint(self, computer, process, disk)
        self._disks[computer.node] = disk
        return endpoint

    def cut(self, links: list[Link]) -> None:
        """From now on nothing passes there."""
        self._cut.update(links)
        for link in links:
            self.break_link(link)

    def mend(self) -> None:
        """All links carry again."""
        mended, self._cut = sorted(self._cut), set()
        for link in mended:
            self._come_up(link)

    def break_link(self, link: Link) -> None:
        """A connection breaks: what is under way is lost."""
        self._breaks[link] = self._breaks.get(link, 0) + 1
        self._tell(link, up=False)
        if link not in self._cut:
            self._come_up(link)

    def died(self, node: NodeId) -> None:
        """Its peers notice that connections break. What is under way may reach even the next life."""
        self._endpoints.pop(node, None)
        for peer in sorted(self._endpoints):
            if self._dice.getrandbits(1):
                self._breaks[peer, node] = self._breaks.get((peer, node), 0) + 1
            self._tell((peer, node), up=False)

    def peers_of(self, node: NodeId) -> Set[NodeId]:
        """Whom the process there keeps links to."""
        endpoint = self._endpoints.get(node)
        return frozenset() if endpoint is None else endpoint.peers

    def connected(self, endpoint: Endpoint, former: Set[NodeId]) -> None:
        """A process has named its peers: links come up, and those to former ones are gone."""
        node = endpoint.node
        for peer in sorted(former - endpoint.peers):
            self._breaks[node, peer] = self._breaks.get((node, peer), 0) + 1
            self._tell((node, peer), up=False)
            self._tell((peer, node), up=False)
        for peer in sorted(self._endpoints):
            if peer != node and peer not in former:
                self._come_up((node, peer))
                self._come_up((peer, node))

    def _come_up(self, link: Link) -> None:
        """The first of the link has a connection to the other again, or learns that it was removed."""
        node, peer = (self._endpoints.get(end) for end in link)
        if node is None or peer is None or link in self._cut:
            return
        if peer.was_removed(node.node):
            if (peer.node, node.node) not in self._cut and peer.node in node.peers:
                delay = self.weather.delay + roll(self._dice, 4 * self.weather.delay)
                self._world.at(self._world.now + delay, partial(node.post, lambda receiver: receiver.expelled()))
        elif node.knows(peer) and peer.knows(node):
            reason = peer.why_not(node)
            if reason and (peer.node, node.node) not in self._cut:
                delay = self.weather.delay + roll(self._dice, 4 * self.weather.delay)
                self._world.at(self._world.now + delay, partial(node.post, lambda receiver: receiver.disowned(reason)))
            elif not reason and not node.why_not(peer):
                self._tell(link, up=True)

    def _let_in(self, one: Endpoint, other: Endpoint) -> bool:
        if not (one.knows(other) and other.knows(one)):
            return False
        return not (one.why_not(other) or other.why_not(one))

    def carry(self, link: Link, frame: bytes, channel: Channel) -> None:
        """A frame sets out."""
        weather, dice = self.weather, self._dice
        sender, receiver = (self._endpoints.get(end) for end in link)
        if sender is not None and receiver is not None and not self._let_in(sender, receiver):
            self._world.note(f"n{link[0]} to n{link[1]}: refused, {len(frame)} bytes")
            self._come_up(link)
            self._come_up((link[1], link[0]))
            return
        if link in self._cut:
            self._world.note(f"n{link[0]} to n{link[1]}: cut, {len(frame)} bytes")
            return
        if weather.loss_permille and roll(dice, 1000) < weather.loss_permille:
            self._world.note(f"n{link[0]} to n{link[1]}: lost, {len(frame)} bytes")
            self._world.counts["a frame lost"] += 1
            return
        copies = 1
        if weather.double_permille and roll(dice, 1000) < weather.double_permille:
            self._world.counts["a frame doubled"] += 1
            copies = 2
        if channel is Channel.BULK:
            frame = self._looked_at(frame)
        broken, disk = self._breaks.get(link, 0), self._disks.get(link[1])
        for _ in range(copies):
            delay = weather.delay + roll(dice, weather.delay) + (len(frame) if channel is Channel.BULK else 0)
            if weather.spread and roll(dice, 8) == 0:
                delay += roll(dice, weather.spread)
            self._world.at(self._world.now + delay, partial(self._arrive, link, frame, broken, disk))

    def _looked_at(self, frame: bytes) -> bytes:
        """A piece of a snapshot may have been damaged after its checksum was made."""
        piece = wire.decode_frame(frame)
        if not isinstance(piece, wire.Chunk):
            return frame
        self._world.counts["a piece of a snapshot"] += 1
        self._world.counts["a piece that others follow"] += not piece.last
        permille = self.weather.damage_permille
        if not piece.pairs or not permille or roll(self._dice, 1000) >= permille:
            return frame
        self._world.counts["a damaged piece"] += 1
        at = roll(self._dice, len(piece.pairs))
        pairs = piece.pairs[:at] + bytes([piece.pairs[at] ^ 1 << roll(self._dice, 8)]) + piece.pairs[at + 1 :]
        return wire.encode(msgspec.structs.replace(piece, pairs=pairs))

    def _arrive(self, link: Link, frame: bytes, broken: int, disk: int | None) -> None:
        sender, to = link
        endpoint = self._endpoints.get(to)
        if endpoint is None or link in self._cut or self._breaks.get(link, 0) != broken or disk != self._disks[to]:
            self._world.note(f"n{sender} to n{to}: lost on the way, {len(frame)} bytes")
            return
        self._world.note(f"n{sender} to n{to}: {len(frame)} bytes {crc32(frame):08x}")
        endpoint.post(lambda receiver: receiver.received(sender, frame))

    def _tell(self, link: Link, up: bool) -> None:
        """The first of the link notices, some time later; or, in silence, perhaps not at all."""
        node, peer = link
        endpoint = self._endpoints.get(node)
        if endpoint is None or (self.weather.silent and self._dice.getrandbits(1)):
            return

        def notice(receiver: Receiver) -> None:
            if up:
                receiver.link_up(peer)
            else:
                receiver.link_down(peer)

        delay = self.weather.delay + roll(self._dice, 4 * self.weather.delay) + (self.weather.delay if up else 0)
        self._world.at(self._world.now + delay, partial(endpoint.post, notice))


class Endpoint:
    """The network of one process."""

    def __init__(self, wires: Wires, computer: Computer, process: Process, disk: int) -> None:
        self.node: Final = computer.node
        self.disk: Final = disk
        self._wires: Final = wires
        self._computer: Final = computer
        self._process: Final = process
        self.peers: Set[NodeId] = frozenset()
        self.was_removed: Callable[[NodeId], bool] = lambda node: False
        self.other_disk: Callable[[NodeId, int], str] = lambda node, disk: ""
        self.met: Final[set[Endpoint]] = set()  # Those whose disks were found to be theirs.
        self._receiver: Receiver | None = None
        self._configured: Index = 0

    def start(self, receiver: Receiver) -> None:
        self._computer.effect("start")
        self._receiver = receiver

    def connect(self, members: Mapping[NodeId, str], configured: Index = 0) -> None:
        self._computer.effect("connect")
        former, self.peers = self.peers, members.keys() - {self.node}
        self._configured = configured
        self._wires.connected(self, former)

    def knows(self, other: Endpoint) -> bool:
        """Does it let the other in? Who goes by a newer configuration may be a member that this one never heard of."""
        return other.node in self.peers or (other._configured > self._configured and self.node in other.peers)

    def why_not(self, other: Endpoint) -> str:
        """Why it refuses the other's disk. Asked once for a pair of processes, when they first connect."""
        if other in self.met:
            return ""
        reason = self.other_disk(other.node, other.disk)
        if not reason:
            self.met.add(other)
        return reason

    def send(self, to: NodeId, frame: bytes, channel: Channel = Channel.CONSENSUS) -> None:
        self._computer.effect("send")
        self._wires.overhear(self.node, to, frame)
        self._wires.carry((self.node, to), frame, channel)

    def post(self, call: Callable[[Receiver], None]) -> None:
        """In a later turn of the process, if it takes part yet."""
        receiver = self._receiver
        if receiver is not None and self._process.alive:
            self._process.post(lambda: call(receiver))
