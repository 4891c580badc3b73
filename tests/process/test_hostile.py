"""Callers who mean no good, at both ports of a real process: it is there afterwards, and serves."""

from __future__ import annotations

import socket
import struct

import pytest

from ostraka.cli.cluster import HOST, Cluster

AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: `close` resets the connection.
TIMES = 300


def hang_up(port: int, said: bytes) -> None:
    """Connect, say something, and be gone before anybody can look."""
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        caller.connect((HOST, port))
        caller.sendall(said)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"\0\0\0\5hello",
    ],
    ids=["a scan", "http/1.1", "http/2", "noise"],
)
def test_callers_who_hang_up_at_once(three: Cluster, said: bytes) -> None:
    node = three.nodes[0]
    for port in (node.address.client, node.address.peer):
        for _ in range(TIMES):
            hang_up(port, said)
        three.await_ready()  # Raises, with the log, if a node has ended.
    assert "Traceback" not in node.output(), node.log_tail()
