"""Our own client's protocol over several plain connections at once: requests out, and raw answers back."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from ostraka.transport.http2.client import ClientConnection, Outcome

PATIENCE = 60.0


class Line:
    """One connection, with at most one call under way."""

    def __init__(self, host: str, port: int, selector: selectors.BaseSelector) -> None:
        self.sock = socket.create_connection((host, port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http2 = ClientConnection(f"{host}:{port}", lambda: None, time.monotonic_ns())
        self.outcome: Outcome | None = None
        selector.register(self.sock, selectors.EVENT_READ, self)

    def call(self, path: str, message: bytes) -> None:
        self.outcome = None
        self.http2.unary(path, message, self._ended, time.monotonic_ns())
        self.sock.sendall(self.http2.take())

    def receive(self) -> None:
        data = self.sock.recv(1 << 18)
        if not data:
            self.http2.lost("the server closed the connection")
        self.http2.feed(data, time.monotonic_ns())
        self.sock.sendall(self.http2.take())

    def _ended(self, outcome: Outcome) -> None:
        self.outcome = outcome


class Side:
    """One server, with as many connections as there are clients."""

    def __init__(self, name: str, endpoint: str, clients: int, selector: selectors.BaseSelector) -> None:
        host, _, port = endpoint.rpartition(":")
        self.name = name
        self.lines = [Line(host, int(port), selector) for _ in range(clients)]


def settle(lines: Sequence[Line], selector: selectors.BaseSelector) -> None:
    """Until each of these lines has its outcome."""
    while any(line.outcome is None for line in lines):
        events: list[Any] = selector.select(PATIENCE)
        assert events, f"no answer within {PATIENCE:g} s"
        for key, _ in events:
            key.data.receive()
