"""A cluster of server processes on loopback: started with etcd's flags, watched, and stopped by their process ids.

It serves the demonstration and the tests. A cluster is a directory: the nodes' data, their logs, and a file with their
addresses, so that it can be started again where its clients and its own log expect it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ostraka.errors import OstrakaError

SERVE: Final = (sys.executable, "-P", "-m", "ostraka.cli", "serve")
ADDRESSES: Final = "addresses.json"
HOST: Final = "127.0.0.1"
READY_WITHIN: Final = 30.0  # Seconds, as are those below.
STOPS_WITHIN: Final = 5.0
LOOK_EVERY: Final = 0.05
PORT_ATTEMPTS: Final = 4
LOG_TAIL_LINES: Final = 15
_LOWEST_PORT: Final = 10_000
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ClusterFailed(OstrakaError):
    """The cluster did not come up, or a node went away; the text says what to do, and ends with that node's log."""


class PortTaken(ClusterFailed):
    """Somebody else listens on a port of ours."""


class Address(msgspec.Struct, frozen=True):
    """The ports of a node."""

    client: int
    peer: int


class Node:
    """One member: its place on disk and network, and its process while there is one."""

    def __init__(self, name: str, address: Address, directory: Path) -> None:
        self.name: Final = name
        self.address: Final = address
        self.data: Final = directory / name
        self.log: Final = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # Where the present process began to write.

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.address.client}"

    @property
    def client_url(self) -> str:
        return f"http://{self.endpoint}"

    @property
    def peer_url(self) -> str:
        return f"http://{HOST}:{self.address.peer}"

    @property
    def pid(self) -> int | None:
        """The process id, while the process runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def launch(self, command: Sequence[str]) -> None:
        """Start the process; its output is added to the log."""
        assert self.pid is None, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,  # A Ctrl-C is for us; we then stop the nodes.
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. To the data it is a power cut: see `storage.disk`."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def output(self) -> str:
        """What the present process, or the last one, has written."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def log_tail(self) -> str:
        lines = self.output().splitlines()[-LOG_TAIL_LINES:] or ["(nothing)"]
        return "\n".join([f"The end of {self.log}:", *(f"    {line}" for line in lines)])

    def healthy(self) -> bool:
        """The node answers, and knows a leader."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.fetch("/health")[0] == 200
        return False

    def fetch(self, path: str, timeout: float = 2.0) -> tuple[int, str]:
        """Status and text of a page on the clients' port. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection(HOST, self.address.client, timeout=timeout)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()


class Cluster:
    """The nodes of one cluster. Leaving the context stops the processes; the directory stays."""

    def __init__(
        self,
        directory: Path,
        size: int,
        *,
        consensus: str = "raft",
        command: Sequence[str] = SERVE,
        flags: Sequence[str] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`command`: what etcd's flags are added to. `sleep` is called while waiting; what it raises ends the wait.

        Raises ClusterFailed if `directory` holds a cluster of another size.
        """
        self.directory: Final = directory
        self.consensus: Final = consensus
        self.command: Final = tuple(command)
        self.flags: Final = tuple(flags)
        self.sleep: Final = sleep
        directory.mkdir(parents=True, exist_ok=True)
        addresses = self._saved_addresses()
        self.fresh: Final = addresses is None  # Nobody depends upon these ports yet.
        if addresses is not None and len(addresses) != size:
            raise ClusterFailed(
                f"{directory} holds a cluster of another size, {len(addresses)}, and {size} is asked for: "
                f"ask for {len(addresses)}, or give another directory"
            )
        self.nodes: list[Node] = []
        self._place(addresses or choose_addresses(size))
        if self.fresh and (strangers := [str(node.data) for node in self.nodes if node.data.exists()]):
            raise ClusterFailed(f"{strangers[0]} is there, but {ADDRESSES} is not: give another directory")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoints(self) -> list[str]:
        return [node.endpoint for node in self.nodes]

    def start(self) -> None:
        """Start all nodes and wait until each serves. Raises ClusterFailed, PortTaken."""
        self._save_addresses()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                for node in self.nodes:
                    self.launch(node)
                self.await_ready()
                break
            except PortTaken:
                self.stop()
                if not self.fresh or attempt == PORT_ATTEMPTS:
                    raise
                for node in self.nodes:  # Nothing was ever acknowledged there.
                    shutil.rmtree(node.data, ignore_errors=True)
                    node.log.unlink()
                self._place(choose_addresses(len(self.nodes)))
                self._save_addresses()

    def launch(self, node: Node, flags: Sequence[str] = ()) -> None:
        """Start one node, without waiting for it; `flags` come after all others, and so win."""
        node.launch([*self.command, *self.node_flags(node), *self.flags, *flags])

    def await_ready(self, within: float = READY_WITHIN) -> None:
        """Wait until all nodes serve. Raises ClusterFailed, or PortTaken if that is why one ended."""
        give_up = time.monotonic() + within
        while waiting := [node for node in self.nodes if not node.healthy()]:
            self.check()
            if time.monotonic() > give_up:
                names = ", ".join(node.name for node in waiting)
                tails = "\n".join(node.log_tail() for node in waiting)
                raise ClusterFailed(f"{names} did not get ready within {within:.0f} s.\n{tails}")
            self.sleep(LOOK_EVERY)

    def check(self) -> None:
        """Raise ClusterFailed if a node has ended."""
        for node in self.nodes:
            if node.process is None or node.process.poll() is None:
                continue
            tail = node.log_tail()
            if "address already in use" in tail.lower():
                raise PortTaken(
                    f"{node.name} can't listen on {node.endpoint} or {HOST}:{node.address.peer}: another process does. "
                    f"Stop that one (perhaps another cluster on this directory), or give another directory.\n{tail}"
                )
            raise ClusterFailed(f"{node.name} ended with code {node.process.returncode}.\n{tail}")

    def stop(self) -> None:
        """Ask all processes to end, wait for them, and kill those that stay."""
        for node in self.nodes:
            node.signal(signal.SIGTERM)
            node.signal(signal.SIGCONT)
        give_up = time.monotonic() + STOPS_WITHIN
        for node in self.nodes:
            if node.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.process.wait(timeout=max(0.0, give_up - time.monotonic()))
            node.kill()

    def node_flags(self, node: Node) -> list[str]:
        everyone = ",".join(f"{each.name}={each.peer_url}" for each in self.nodes)
        return [
            *("--name", node.name, "--data-dir", str(node.data)),
            *("--listen-client-urls", node.client_url, "--advertise-client-urls", node.client_url),
            *("--listen-peer-urls", node.peer_url, "--initial-advertise-peer-urls", node.peer_url),
            *("--initial-cluster", everyone, "--initial-cluster-token", "loopback"),
            *(("--consensus", self.consensus) if self.consensus != "raft" else ()),
        ]

    def _place(self, addresses: Sequence[Address]) -> None:
        self.nodes[:] = [
            Node(f"n{number}", address, self.directory) for number, address in enumerate(addresses, start=1)
        ]

    def _saved_addresses(self) -> list[Address] | None:
        path = self.directory / ADDRESSES
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[Address])
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ClusterFailed(f"{path} can't be read ({error}): restore it, or give another directory") from error

    def _save_addresses(self) -> None:
        path = self.directory / ADDRESSES
        written = path.with_suffix(".new")
        written.write_bytes(msgspec.json.encode([node.address for node in self.nodes]))
        written.replace(path)


def choose_addresses(count: int) -> list[Address]:
    """Ports for this many nodes, on which nobody listens now."""
    ports = free_ports(2 * count)
    return [Address(client, peer) for client, peer in zip(ports[:count], ports[count:], strict=True)]


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens now.

    They lie below those that the kernel gives to outgoing connections. On one of those, a peer that dials a dead node
    might reach itself, and the node could not listen there again.
    """
    with contextlib.suppress(OSError):
        above = int(_EPHEMERAL.read_text().split()[0])
        if above >= _LOWEST_PORT + 100 * count:
            return _free_below(above, count)
    return _free_anywhere(count)


def _free_below(above: int, count: int) -> list[int]:
    found: set[int] = set()
    dice = random.Random()
    while len(found) < count:
        port = dice.randrange(_LOWEST_PORT, above)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found.add(port)
    return sorted(found)


def _free_anywhere(count: int) -> list[int]:
    with contextlib.ExitStack() as held:  # All are held until the last is found, so they differ.
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def environment() -> dict[str, str]:
    """Ours, without the variables that would override the flags. Those that tests pass to a server stay."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ETCD_", "OSTRAKA_")) or name.startswith("OSTRAKA_TEST_")
    }
