"""The peers' network over TCP: two connections for each pair of members, one of them for bulk.

The member with the lower id dials and says `Hello`; the other answers with its own, and the first says it
once more to confirm. Either may refuse instead: with a reason, which both sides log. The member with the higher id
dials when it has waited for long: the other may not know of it yet, or may have removed it. Frames are gathered
during a turn of the loop and leave in one write. A link whose queue is full drops frames: the engines
expect a network that loses.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec

from ostraka.model.ids import Index, NodeId
from ostraka.transport import wire
from ostraka.transport.network import Channel, Receiver
from ostraka.transport.wire import Hello, Roster

MAX_QUEUED: Final = 64 << 20  # Bytes waiting to be sent on one connection; above it frames are dropped.
FIRST_RETRY: Final = 0.05  # Seconds before a lost connection is dialled again; doubled up to LAST_RETRY.
LAST_RETRY: Final = 1.0
MAX_COMPLAINTS: Final = 1000  # Different ones remembered, so that noise from outside can't fill memory or log.
MAX_STRANGERS: Final = 256  # Callers who have not said who they are; one more is sent away.
LONELY: Final = 2.0  # Seconds without a connection after which the member with the higher id dials.
PATIENCE: Final = 5.0  # Seconds in which a hello must come, and sent bytes must be acknowledged.

log = logging.getLogger("ostraka.peers")

Admit = Callable[[Hello], str]
"""Why this caller's disk is not the one that is registered under its name; "" if it is, or if none is."""

TellRoster = Callable[[Callable[[Roster | None], None]], None]
"""Calls back, once, with the members as they are now, or with None where that can't be known."""


class TcpNetwork:
    """`transport.network.Network` on an asyncio loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hello: Hello,
        sockets: Sequence[socket.socket],
        admit: Admit = lambda hello: "",
    ) -> None:
        """`sockets` listen already, so that a port in use is found before anything else is begun."""
        self.loop: Final = loop
        self.hello = hello
        self.admit = admit
        self.was_removed: Callable[[NodeId], bool] = lambda member: False  # From the cluster, for ever.
        self.tell_roster: TellRoster = lambda tell: tell(None)
        self.members: Mapping[NodeId, str] = {}
        self.receiver: Receiver | None = None
        self.sent_bytes = 0
        self.received_bytes = 0
        self.strangers = 0
        self._sockets: Final = sockets
        self._servers: list[asyncio.AbstractServer] = []
        self._links: dict[tuple[NodeId, Channel], _Connection] = {}
        self._dialers: dict[tuple[NodeId, Channel], asyncio.Task[None]] = {}
        self._unflushed: list[_Connection] = []
        self._starting: asyncio.Task[None] | None = None
        self._complaints: dict[str, str] = {}

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self._starting = self.loop.create_task(self._listen())

    def connect(self, members: Mapping[NodeId, str], configured: Index = 0) -> None:
        others = {member: url for member, url in members.items() if member != self.hello.member}
        changed = {member for member in self.members if self.members[member] != others.get(member)}
        self.hello = msgspec.structs.replace(self.hello, configured=configured)
        strangers = {link.peer for link in self._links.values() if link.peer not in others and not link.ahead}
        changed |= strangers | {peer for peer, _ in self._links if peer not in others and self.was_removed(peer)}
        self.members = others
        for key in sorted(key for key in self._dialers if key[0] in changed):
            self._dialers.pop(key).cancel()
        for key in sorted(key for key in self._links if key[0] in changed):
            self._links[key].close()
        for member in sorted(others):
            for channel in Channel:
                if (member, channel) not in self._dialers:
                    self._dialers[member, channel] = self.loop.create_task(self._dial(member, channel))

    def send(self, to: NodeId, frame: bytes, channel: Channel = Channel.CONSENSUS) -> None:
        link = self._links.get((to, channel))
        if link is not None:
            link.send(frame)

    def close(self) -> None:
        """Stop listening, dialling and carrying."""
        if self._starting is not None:
            self._starting.cancel()
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        for dialer in self._dialers.values():
            dialer.cancel()
        for link in list(self._links.values()):
            link.close()

    async def _listen(self) -> None:
        for sock in self._sockets:
            server = await self.loop.create_server(lambda: _Connection(self, self.hello.channel), sock=sock)
            self._servers.append(server)

    async def _dial(self, member: NodeId, channel: Channel) -> None:
        """Keep this connection up for as long as the peer is a member; one with a lower id is to dial us."""
        wait = FIRST_RETRY
        while True:
            while member < self.hello.member:
                await asyncio.sleep(LONELY)
                if (member, channel) not in self._links:
                    break
            try:
                connection = await self._call(member, channel)
                await connection.closed
                wait = FIRST_RETRY if connection.established else wait
            except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: the host's name is none.
                self.complain(self.members[member], f"cannot reach the member: {error or 'no answer'}")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LAST_RETRY)

    async def _call(self, member: NodeId, channel: Channel) -> _Connection:
        address = urlsplit(self.members[member])
        host, port = address.hostname, address.port
        assert host is not None and port is not None, "URLs are checked before they get here"
        async with asyncio.timeout(PATIENCE):
            make = partial(_Connection, self, channel, expected=member)
            _, connection = await self.loop.create_connection(make, host, port)
        return connection

    def complain(self, about: str, reason: str) -> None:
        """Log a reason once, until it changes; "" takes the last one back."""
        if not reason:
            self._complaints.pop(about, None)
        elif self._complaints.get(about) != reason and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints[about] = reason
            log.warning("%s: %s", about, reason)

    def established(self, link: _Connection) -> None:
        """The hellos have been exchanged. A new connection takes the place of an old one: the peer has restarted."""
        key = (link.peer, link.channel)
        old = self._links.get(key)
        if old is not None:
            self._forget(old)
            old.close()
        self._links[key] = link
        self.complain(link.name, "")
        if link.channel == Channel.CONSENSUS and self.receiver is not None:
            self.receiver.link_up(link.peer)

    def lost(self, link: _Connection) -> None:
        """The connection is gone."""
        if self._links.get((link.peer, link.channel)) is link:
            self._forget(link)

    def _forget(self, link: _Connection) -> None:
        del self._links[link.peer, link.channel]
        if link.channel == Channel.CONSENSUS and self.receiver is not None:
            self.receiver.link_down(link.peer)

    def flush_later(self, link: _Connection) -> None:
        """Write what this connection has gathered, once this turn's work is done."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed.append(link)

    def _flush(self) -> None:
        links, self._unflushed = self._unflushed, []
        for link in links:
            link.flush()


def _tune(sock: socket.socket) -> None:
    """Send at once, and find out within PATIENCE that the other end is gone. Raises OSError for one who hung up.

    A link for bulk can be silent for days. Whoever dialled it would then never learn that the other end has given it
    up, and that one can't dial: so the kernel asks whether anybody is there.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * PATIENCE))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(PATIENCE))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)


class _Connection(asyncio.Protocol):
    """One TCP connection, either end."""

    def __init__(self, network: TcpNetwork, channel: int, expected: NodeId = 0) -> None:
        self.network: Final = network
        self.channel = Channel(channel)
        self.peer: NodeId = expected  # 0 at the accepting end, until the hello has come.
        self.dials: Final = expected != 0
        self.established = False
        self.closed: Final[asyncio.Future[None]] = network.loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._queue: list[bytes] = []
        self._queued = 0
        self._patience: asyncio.TimerHandle | None = None
        self.name = "a peer"
        self._counted = False  # Among the strangers.
        self._greeted = False  # At the accepting end: the caller's first hello was good.
        self._its_configured: Index = 0

    @property
    def ahead(self) -> bool:
        """Does the peer go by a newer configuration than we do? Then it may be a member that we don't know of yet."""
        return self._its_configured > self.network.hello.configured

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        caller = transport.get_extra_info("peername")  # None of one who has hung up already.
        self.name = self.network.members.get(self.peer) or f"a caller from {caller[0] if caller else 'nowhere'}"
        try:
            _tune(transport.get_extra_info("socket"))
        except OSError as error:
            self.network.complain(self.name, f"the connection is lost: {error.strerror}")
            self.close()
            return
        if not self.dials:
            if self.network.strangers >= MAX_STRANGERS:
                self.network.complain("the listener", f"a caller is sent away: {MAX_STRANGERS} have said nothing yet")
                self.close()
                return
            self._counted = True
            self.network.strangers += 1
        self._patience = self.network.loop.call_later(PATIENCE, self.close)
        if self.dials:
            self._say_hello("")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._is_known()
        if not self.closed.done():
            self.closed.set_result(None)
        self.network.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, frame: bytes) -> None:
        assert self._transport is not None, "frames go only over an established link"
        if self._queued + self._transport.get_write_buffer_size() + len(frame) > MAX_QUEUED:
            self.network.complain(
                self.name, f"{MAX_QUEUED >> 20} MiB wait to be sent, so frames are dropped: it is slow"
            )
            return
        if not self._queue:
            self.network.flush_later(self)
        self._queue.append(len(frame).to_bytes(wire.LENGTH_BYTES, "big"))
        self._queue.append(frame)
        self._queued += len(frame)

    def flush(self) -> None:
        data = b"".join(self._queue)
        self._queue.clear()
        self._queued = 0
        if self._transport is not None and not self._transport.is_closing():
            self.network.sent_bytes += len(data)
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.network.received_bytes += len(data)
        received = self._received
        received += data
        start = 0
        while len(received) - start >= wire.LENGTH_BYTES:
            begin = start + wire.LENGTH_BYTES
            end = begin + int.from_bytes(received[start:begin], "big")
            if end - begin > wire.MAX_FRAME or (not self.established and end - begin > 4096):
                self._refuse("a frame is longer than any can be: this is not an Ostraka peer")
                return
            if len(received) < end:
                break
            frame = bytes(memoryview(received)[begin:end])
            start = end
            if not self._take(frame):
                return
        del received[:start]

    def _take(self, frame: bytes) -> bool:
        """False if the connection is to be heard no more."""
        if not self.established:
            return self._meet(frame)
        if self.network.receiver is not None:
            self.network.receiver.received(self.peer, frame)
        return True

    def _meet(self, frame: bytes) -> bool:
        """The first frames: the other side's hello, and at the accepting end its confirmation."""
        try:
            hello = wire.decode_hello(frame)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return self._refuse("this is not an Ostraka peer port")
        if hello.channel == wire.NEWCOMER and not self.dials:
            return self._meet_newcomer(hello)
        if hello.member in self.network.members:
            self.name = self.network.members[hello.member]
        if hello.refusal:
            self._refused(hello)
            return False
        self._its_configured = hello.configured
        reason = wire.judge(hello, self.network.hello)
        if not reason and self.network.was_removed(hello.member):
            return self._refuse(f"member {hello.member:x} was removed from the cluster", removed=True)
        reason = reason or self._stranger(hello)
        if reason:
            return self._refuse(reason)
        if reason := self.network.admit(hello):
            return self._refuse(reason, disowned=True)
        self.peer = hello.member
        self.channel = Channel(hello.channel)
        if self.dials or not self._greeted:
            self._greeted = True
            self._say_hello("")
            if not self.dials:
                return True  # Until the caller confirms: it may have to refuse us.
        if self._patience is not None:
            self._patience.cancel()
        self._is_known()
        self.established = True
        self.network.established(self)
        return True

    def _is_known(self) -> None:
        """It has said who it is, or it is gone."""
        if self._counted:
            self._counted = False
            self.network.strangers -= 1

    def _stranger(self, hello: Hello) -> str:
        if hello.channel not in tuple(Channel):
            return f"there is no channel {hello.channel}"
        if hello.member not in self.network.members and not self.ahead:
            return f"{hello.member:x} is not a member of this cluster"
        if self.dials and hello.member != self.peer:
            return f"member {self.peer:x} was called, and {hello.member:x} answered: compare the peer URLs"
        return ""

    def _meet_newcomer(self, hello: Hello) -> bool:
        """It asks who the members are, and is told by itself: a member it becomes on another connection."""
        mine = self.network.hello
        reason = wire.judge(msgspec.structs.replace(hello, cluster=mine.cluster), mine)
        if reason:
            return self._refuse(reason)
        self.network.tell_roster(self._tell)
        return False

    def _tell(self, roster: Roster | None) -> None:
        if roster is None:
            self._say_hello("who the members are can't be told just now: there is no leader")
        else:
            self._say_hello("")
            self._write(wire.encode(roster))
        self.close()

    def _refused(self, hello: Hello) -> None:
        """The other side won't have us."""
        self.network.complain(self.name, f"the member refuses the connection: {hello.refusal}")
        self.close()
        mine = self.network.hello
        ours = hello.magic == wire.MAGIC and hello.cluster == mine.cluster and hello.consensus == mine.consensus
        receiver = self.network.receiver
        if receiver is None or not ours:
            return
        if hello.removed:
            receiver.expelled()
        elif hello.disowned:
            receiver.disowned(hello.refusal)

    def _refuse(self, reason: str, removed: bool = False, disowned: bool = False) -> bool:
        self.network.complain(self.name, f"connection refused: {reason}")
        self._say_hello(reason, removed, disowned)
        self.close()
        return False

    def _say_hello(self, refusal: str, removed: bool = False, disowned: bool = False) -> None:
        hello = msgspec.structs.replace(
            self.network.hello, channel=int(self.channel), refusal=refusal, removed=removed, disowned=disowned
        )
        self._write(wire.encode(hello))

    def _write(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(frame).to_bytes(wire.LENGTH_BYTES, "big") + frame)
