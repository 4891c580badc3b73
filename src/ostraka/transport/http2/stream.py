"""One stream: messages put together as they come, and bytes queued until the peer has room for them.

Follows:  RFC 9113 §5.1 (states), §5.2 and §6.9 (flow control); "gRPC over HTTP2" (Length-Prefixed-Message).
Words:    *held* bytes have arrived, and wait for a consumer who has paused.
Departs:  a call whose message comes in one frame and whose reply finds room, nearly every one, has no inbox and no
          outbox: these are made when they are first needed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ostraka.transport.http2.errors import ErrorCode, Status, name_of, status_of_reset
from ostraka.transport.http2.frames import (
    DATA,
    FRAME_SIZE,
    HEAD,
    LARGEST_WINDOW,
    PREFIX,
    read_prefix,
    window_update,
)

if TYPE_CHECKING:
    from ostraka.transport.http2.connection import Connection

STREAM_WINDOW = 1 << 20
"""Bytes that a peer may send on one stream ahead of its consumer."""

STREAM_CREDIT = STREAM_WINDOW // 2
"""Bytes that are consumed before the peer is told."""

LARGEST_BACKLOG = 16 << 20
"""Bytes that may wait on one stream for the peer's window. Who sends more without looking at `unsent` is cut off."""

LONGEST_BACKLOG = 100_000
"""Messages that may wait likewise, since each costs memory beside its bytes."""

PEER_ENDED = 1
"""The peer has sent all that it will."""
ENDED = 2
"""We have: nothing more can be sent, though some of it may still be queued."""
OVER = 4
"""The stream is gone: ended on both sides, reset, or lost with its connection."""


class Inbox:
    """What has come in and is not a delivered message yet."""

    __slots__ = ("busy", "data", "debt", "expected", "held", "paused", "told", "wanted")

    def __init__(self, expected: int | None) -> None:
        self.data = bytearray()
        self.wanted = PREFIX.size  # With so many, a message may be whole.
        self.paused = False
        self.busy = False  # A message is being delivered right now.
        self.told = False  # The end has been delivered.
        self.debt = 0  # Bytes received and not given back to the peer's window.
        self.held = 0  # Bytes of them that the connection counts as held.
        self.expected = expected  # Bytes still to come, as content-length promised.


class Outbox:
    """What waits for the peer's window, and the header block that ends it all."""

    __slots__ = ("chunks", "size", "tail")

    def __init__(self) -> None:
        self.chunks: deque[memoryview] = deque()
        self.size = 0
        self.tail: bytes | None = None


class Stream:
    """What a call is on the wire, on either side."""

    __slots__ = ("connection", "id", "inbox", "outbox", "state", "window")

    def __init__(self, connection: Connection[Any], stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.state = 0
        self.window = 0  # What WINDOW_UPDATE gave on top of the initial window, less what was sent.
        self.inbox: Inbox | None = None
        self.outbox: Outbox | None = None

    # What the two sides do differently.

    @property
    def over(self) -> bool:
        """Nobody wants to hear more of it."""
        raise NotImplementedError

    def message_arrived(self, message: bytes) -> None:
        """A message is whole."""
        raise NotImplementedError

    def input_ended(self) -> None:
        """The peer has ended its side, and all its messages have been delivered."""
        raise NotImplementedError

    def drained(self) -> None:
        """All that was queued is on its way."""
        raise NotImplementedError

    def send_tail(self, tail: bytes) -> None:
        """End our side: everything before has left."""
        raise NotImplementedError

    def refuse_input(self, status: Status, message: str) -> None:
        """What the peer sent is not acceptable: end the call with this status."""
        raise NotImplementedError

    def aborted(self, status: Status, reason: str, refused: bool) -> None:
        """The stream was reset, by whom ever, or went with its connection; it is not among the open ones any more.

        `refused` says that the peer vouches for not having looked at it.
        """
        raise NotImplementedError

    def was_reset(self, code: int) -> None:
        """The peer ended the stream abruptly."""
        self.connection.forget(self)
        reason = f"the peer reset the stream: {name_of(code)}"
        self.aborted(status_of_reset(code), reason, code == ErrorCode.REFUSED_STREAM)

    # Receiving.

    def pause(self) -> None:
        """Deliver no more messages until `resume`; the peer's window shrinks meanwhile, at most to nothing."""
        self.open_inbox().paused = True

    def resume(self) -> None:
        """Deliver again, first what was held: within this call."""
        inbox = self.inbox
        if inbox is None or not inbox.paused or self.state & OVER:
            return
        inbox.paused = False
        self.connection.release(inbox.held)
        inbox.held = 0
        if not inbox.busy:
            self._deliver(inbox)

    def open_inbox(self) -> Inbox:
        """The inbox, made now if there is none."""
        if self.inbox is None:
            self.inbox = Inbox(None)
        return self.inbox

    def data_arrived(self, chunk: bytes, flow: int, ends: bool) -> None:
        """A DATA frame that may be anything: part of a message, many, one with padding, one after a pause."""
        inbox = self.open_inbox()
        connection = self.connection
        inbox.debt += flow
        if inbox.debt > STREAM_WINDOW:
            connection.reset(self.id, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window had room for")
            return
        if inbox.expected is not None:
            inbox.expected -= len(chunk)
            if inbox.expected < 0 or (ends and inbox.expected):
                connection.reset(self.id, ErrorCode.PROTOCOL_ERROR, "not as much data as content-length promised")
                return
        if ends:
            self.state |= PEER_ENDED
        inbox.data += chunk
        connection.gathered += len(chunk)
        if inbox.paused and not self.over:
            inbox.held += flow
            connection.hold(flow)
        else:
            self._deliver(inbox)
            if connection.gathered > connection.largest_gathered and not self.over:
                text = f"messages in the making take over {connection.largest_gathered} bytes on this connection"
                self.refuse_input(Status.RESOURCE_EXHAUSTED, text)

    def _deliver(self, inbox: Inbox) -> None:
        """Hand over what is whole, tell the end, and give the room back to the peer."""
        if len(inbox.data) >= inbox.wanted or self.over:
            inbox.busy = True
            self._deliver_messages(inbox)
            inbox.busy = False
        if self.state & OVER:
            return
        if self.state & PEER_ENDED:
            if not inbox.paused and not inbox.told and not self.over:
                inbox.told = True
                if inbox.data:
                    self.refuse_input(Status.INTERNAL, "the stream ended inside a message")
                else:
                    self.input_ended()
            return
        # A message in the making counts as consumed: it is bounded, and would else wait for its own window.
        credit = inbox.debt - len(inbox.data) if inbox.paused else inbox.debt
        if credit >= STREAM_CREDIT:
            inbox.debt -= credit
            self.connection.emit(window_update(self.id, credit))

    def _deliver_messages(self, inbox: Inbox) -> None:
        data = inbox.data
        size, at = len(data), 0
        inbox.wanted = PREFIX.size
        while not inbox.paused and not self.over and size - at >= PREFIX.size:
            compressed, length = read_prefix(data, at)
            if compressed or length > self.connection.largest_message:
                self._refuse_message(compressed, length)
                break
            end = at + PREFIX.size + length
            if end > size:
                inbox.wanted = PREFIX.size + length
                break
            with memoryview(data) as view:
                message = view[at + PREFIX.size : end].tobytes()
            at = end
            self.message_arrived(message)
        if not self.state & OVER:
            if self.over:
                at = size  # Nobody wants the rest.
            self.connection.gathered -= at
            del data[:at]

    def _refuse_message(self, compressed: int, length: int) -> None:
        if compressed > 1:
            self.refuse_input(Status.INTERNAL, f"grpc: received unexpected payload format {compressed}")
        elif not compressed:
            limit = self.connection.largest_message
            text = f"grpc: received message larger than max ({length} vs. {limit})"
            self.refuse_input(Status.RESOURCE_EXHAUSTED, text)
        elif self.encoding() == "identity":
            self.refuse_input(Status.INTERNAL, "grpc: compressed flag set with identity or empty encoding")
        else:
            text = f'grpc: Decompressor is not installed for grpc-encoding "{self.encoding()}"'
            self.refuse_input(Status.UNIMPLEMENTED, text)

    def encoding(self) -> str:
        """The `grpc-encoding` that the peer named."""
        raise NotImplementedError

    # Sending.

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer's window, or for a transport that is full."""
        return self.outbox.size if self.outbox is not None else 0

    def write(self, payload: bytes) -> None:
        """Send flow-controlled bytes, now or when there is room for them."""
        size = len(payload)
        connection = self.connection
        outbox = self.outbox
        if outbox is None:
            if (
                size <= FRAME_SIZE
                and size <= connection.send_window
                and size <= connection.peer_stream_window + self.window
            ):
                connection.send_window -= size
                connection.work += 1
                self.window -= size
                connection.emit(HEAD.pack(size << 8 | DATA, 0, self.id) + payload)
                return
            self.outbox = outbox = Outbox()
        elif outbox.size + size > LARGEST_BACKLOG or len(outbox.chunks) >= LONGEST_BACKLOG:
            reason = f"{outbox.size} bytes in {len(outbox.chunks)} messages wait for the peer to read"
            connection.abandon(self, ErrorCode.ENHANCE_YOUR_CALM)
            self.aborted(Status.RESOURCE_EXHAUSTED, reason, False)
            return
        outbox.chunks.append(memoryview(payload))
        outbox.size += size
        if len(outbox.chunks) == 1:
            self.drain(LARGEST_WINDOW)

    def write_tail(self, tail: bytes) -> None:
        """End our side once everything before has left. Of `tail`, the subclass knows the meaning."""
        self.state |= ENDED
        if self.outbox is None or not self.outbox.chunks:
            self.send_tail(tail)
        else:
            self.outbox.tail = tail

    def drain(self, quantum: int) -> None:
        """Send at most `quantum` bytes of what waits."""
        outbox = self.outbox
        if outbox is None:
            return
        connection = self.connection
        allowed = min(connection.send_window, connection.peer_stream_window + self.window, quantum)
        room = allowed
        while outbox.chunks and room > 0:
            chunk = outbox.chunks[0]
            part = min(len(chunk), room, connection.peer_frame_size)
            connection.emit(HEAD.pack(part << 8 | DATA, 0, self.id))
            connection.emit(chunk[:part])
            room -= part
            if part == len(chunk):
                outbox.chunks.popleft()
            else:
                outbox.chunks[0] = chunk[part:]
        sent = max(allowed - room, 0)
        connection.work += 1
        connection.send_window -= sent
        self.window -= sent
        outbox.size -= sent
        connection.waiting.pop(self.id, None)
        if outbox.chunks:
            # With an open window of its own it waits for the connection's; else it hears of its own.
            if connection.peer_stream_window + self.window > 0:
                connection.waiting[self.id] = self
            return
        self.outbox = None
        if outbox.tail is not None:
            self.send_tail(outbox.tail)
        elif sent:
            self.drained()
