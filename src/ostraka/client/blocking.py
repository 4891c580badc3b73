"""One call at a time over one blocking socket: all that the command line and the demonstration need of a client."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any, Final, Self

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.errors import NotExecuted, OstrakaError, OutcomeUnknown, Overloaded, Refused, Unavailable
from ostraka.model.ids import SECOND
from ostraka.transport.http2.client import ClientConnection, Outcome
from ostraka.transport.http2.errors import Status

MARGIN: Final = 0.2  # Seconds that a reply may be later than the deadline that the server was given.
_READ: Final = 1 << 18


READS: Final = frozenset(
    (
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.Cluster/MemberList",
        "/etcdserverpb.Maintenance/Status",
        "/grpc.health.v1.Health/Check",
    )
)
"""Methods that change nothing: a failed one certainly did no harm."""


def call(endpoints: Sequence[str], path: str, request: Any, timeout: float = 5.0) -> Any:
    """One call on a connection of its own: see `Client.call`."""
    with Client(endpoints, timeout) as client:
        return client.call(path, request)


class Client:
    """A connection to one of several endpoints, made when it is needed; to the next one after each failure.

    For one thread. Times in seconds. Its methods raise Unavailable, Refused, NotExecuted, and those that write also
    OutcomeUnknown.
    """

    def __init__(self, endpoints: Sequence[str], timeout: float = 5.0) -> None:
        """`endpoints`: `host:port` each. `timeout`: the longest wait for an answer. ValueError for a wrong endpoint."""
        self.endpoints: Final = [*endpoints]
        self.timeout: Final = timeout
        self._addresses: Final = [split(endpoint) for endpoint in endpoints]
        self._present = 0  # Which of the endpoints is in use.
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up. A later call makes a new one."""
        if self._connection is not None:
            self._connection.sock.close()
            self._connection = None

    def put(self, key: bytes, value: bytes) -> int:
        """Set a key; returns the revision."""
        request = etcd.PutRequest(key=key, value=value)
        return int(self.call("/etcdserverpb.KV/Put", request).header.revision)

    def get(self, key: bytes) -> Any | None:
        """The `etcd.KeyValue` of the key; None if there is none. Linearizable."""
        kvs = self.call("/etcdserverpb.KV/Range", etcd.RangeRequest(key=key)).kvs
        return kvs[0] if kvs else None

    def range(self, start: bytes, stop: bytes) -> list[Any]:
        """The `etcd.KeyValue`s with start ≤ key < stop, in the order of their keys. Linearizable."""
        return list(self.call("/etcdserverpb.KV/Range", etcd.RangeRequest(key=start, range_end=stop)).kvs)

    def status(self) -> Any:
        """The `etcd.StatusResponse` of the endpoint that is in use."""
        return self.call("/etcdserverpb.Maintenance/Status", etcd.StatusRequest())

    def members(self) -> list[Any]:
        """The `etcd.Member`s of the cluster. Linearizable."""
        return list(self.call("/etcdserverpb.Cluster/MemberList", etcd.MemberListRequest(linearizable=True)).members)

    def call(self, path: str, request: Any) -> Any:
        """Call a unary method and return its reply."""
        connection = self._connected()
        outcome = connection.exchange(path, request.SerializeToString(), self.timeout)
        if outcome.status == Status.OK:
            return METHODS[path].response.FromString(outcome.body)
        error = _error(self.endpoints[self._present], outcome, path not in READS)
        if not isinstance(error, Refused):
            self._move_on()
        raise error

    def _connected(self) -> _Connection:
        if self._connection is not None:
            if self._connection.usable():
                return self._connection
            self.close()
        failures = []
        for _ in self.endpoints:
            endpoint = self.endpoints[self._present]
            try:
                sock = socket.create_connection(self._addresses[self._present], self.timeout)
            except OSError as error:
                failures.append(f"{endpoint}: {_reason(error)}")
                self._move_on()
                continue
            self._connection = _Connection(sock, endpoint)
            return self._connection
        raise Unavailable(
            f"no connection to any endpoint ({'; '.join(failures)}): is a server running there? "
            "Start one with `ostraka serve`, or give other endpoints"
        )

    def _move_on(self) -> None:
        self.close()
        self._present = (self._present + 1) % len(self.endpoints)


class _Connection:
    """One socket, and the protocol on it."""

    def __init__(self, sock: socket.socket, endpoint: str) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock: Final = sock
        self.http2: Final = ClientConnection(endpoint, lambda: None, time.monotonic_ns())

    def usable(self) -> bool:
        """False if the server has gone, or is about to. Takes in what came since the last call."""
        try:
            self.sock.setblocking(False)
            self._receive()
        except BlockingIOError:
            return not self.http2.draining
        except OSError:
            return False
        return not self.http2.closed and not self.http2.draining

    def exchange(self, path: str, message: bytes, timeout: float) -> Outcome:
        """Send a call, and pump bytes until it has an outcome."""
        outcomes: list[Outcome] = []
        now = time.monotonic_ns()
        deadline = now + int(timeout * SECOND)
        self.http2.unary(path, message, outcomes.append, now, deadline)
        late = Outcome(Status.DEADLINE_EXCEEDED, f"no answer within {timeout:g} s")
        try:
            while not outcomes:
                left = (deadline - time.monotonic_ns()) / SECOND + MARGIN
                if left <= 0:
                    return late
                self.sock.settimeout(left)
                self.sock.sendall(self.http2.take())
                self._receive()
        except TimeoutError:
            return late
        except OSError as error:
            self.http2.lost(_reason(error))
        return outcomes[0]

    def _receive(self) -> None:
        data = self.sock.recv(_READ)
        if data:
            self.http2.feed(data, time.monotonic_ns())
        else:
            self.http2.lost("the server closed it")


def split(endpoint: str) -> tuple[str, int]:
    """Host and port of `host:port` or `http://host:port`. Raises ValueError."""
    text = endpoint.removeprefix("http://").rstrip("/")
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ValueError(f"{endpoint!r} is not an endpoint: give host:port, such as 127.0.0.1:2379")
    return host.strip("[]"), int(port)


def _reason(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()


_UNKNOWN: Final = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.UNKNOWN, Status.INTERNAL)
_NOT_EXECUTED: Final = ("etcdserver: no leader", "etcdserver: leader changed")


def _error(endpoint: str, outcome: Outcome, writes: bool) -> OstrakaError:
    """The error that says whether it happened."""
    text = f"{endpoint}: {outcome.message or Status(outcome.status).name}"
    if detail := outcome.trailers.get("ostraka-detail"):
        text += f" ({detail})"
    if outcome.answered and outcome.message in _NOT_EXECUTED:
        return NotExecuted(f"{text}: a majority of the members can't be reached from there; look at `ostraka status`")
    if outcome.answered and outcome.status == Status.RESOURCE_EXHAUSTED:
        return Overloaded(f"{text}: try again later")
    if outcome.answered and outcome.status not in _UNKNOWN:
        return Refused(text)
    if outcome.refused or not writes:
        return NotExecuted(text)
    return OutcomeUnknown(f"{text}: it may have happened or not; read before you repeat it")
