"""Three nodes of one system on loopback: started with etcd's flags, watched, and stopped by their process ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

NODES = 3
READY_WITHIN = 30.0
STOPS_WITHIN = 10.0
PORT_ATTEMPTS = 3
LOG_TAIL_LINES = 25


class ClusterFailed(Exception):
    """The cluster did not come up, or one of its nodes went away; the text ends with that node's log."""


class PortTaken(ClusterFailed):
    """Someone took a port between our look at it and the node's bind."""


@dataclass(frozen=True)
class System:
    """What is measured: its name in the report, its version, and the command that etcd's flags are added to."""

    name: str
    version: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    name: str
    client_url: str
    log: Path
    process: subprocess.Popen[bytes]

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"the end of {self.name}'s log:", *(f"    {line}" for line in lines)])


class Cluster:
    """A running cluster, in a directory of its own under `root`. Leaving the context stops it and removes its data."""

    def __init__(self, system: System, root: Path) -> None:
        self.system = system
        self.directory = Path(tempfile.mkdtemp(prefix=f"{system.name}-", dir=root))
        self.nodes: list[Node] = []

    def __enter__(self) -> Cluster:
        try:
            for attempt in range(1, PORT_ATTEMPTS + 1):
                try:
                    self._start()
                    break
                except PortTaken:
                    self._stop()
                    if attempt == PORT_ATTEMPTS:
                        raise
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the nodes and remove their data. A second Ctrl-C waits until that is done, so that nothing is left."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self._stop()
            shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def check(self) -> None:
        """Raise ClusterFailed if a node's process has ended."""
        for node in self.nodes:
            code = node.process.poll()
            if code is not None:
                text = f"{self.system.name}: {node.name} ended with code {code}\n{node.log_tail()}"
                raise (PortTaken if "address already in use" in node.log_tail().lower() else ClusterFailed)(text)

    def _start(self) -> None:
        names = [f"n{number}" for number in range(1, NODES + 1)]
        ports = free_ports(2 * NODES)
        clients = [f"http://127.0.0.1:{port}" for port in ports[:NODES]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[NODES:]]
        everyone = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
        for name, client, peer in zip(names, clients, peers, strict=True):
            shutil.rmtree(self.directory / name, ignore_errors=True)
            command = [*self.system.command, *node_flags(name, self.directory / name, client, peer, everyone)]
            log = self.directory / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment(),
                    start_new_session=True,  # A Ctrl-C is for us; we then stop the nodes.
                )
            self.nodes.append(Node(name, client, log, process))
        self._await_ready()

    def _await_ready(self) -> None:
        give_up = time.monotonic() + READY_WITHIN
        for node in self.nodes:
            while not healthy(node):
                self.check()
                if time.monotonic() > give_up:
                    logs = "\n".join(each.log_tail() for each in self.nodes)
                    raise ClusterFailed(
                        f"{self.system.name}: {node.name} was not healthy within {READY_WITHIN:.0f} s\n{logs}"
                    )
                time.sleep(0.1)

    def _stop(self) -> None:
        """Ask all nodes to end, wait for them, and kill what stays: each with the session that it was started in."""
        for node in self.nodes:
            node.process.terminate()
        give_up = time.monotonic() + STOPS_WITHIN
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(timeout=max(0.0, give_up - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.process.pid, signal.SIGKILL)
            node.process.wait()
        self.nodes.clear()


def node_flags(name: str, data: Path, client: str, peer: str, everyone: str) -> Iterator[str]:
    yield from ("--name", name, "--data-dir", str(data))
    yield from ("--listen-client-urls", client, "--advertise-client-urls", client)
    yield from ("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer)
    yield from ("--initial-cluster", everyone, "--initial-cluster-state", "new")
    yield from ("--initial-cluster-token", "benchmark", "--log-level", "warn")


def environment() -> dict[str, str]:
    """Ours, without the variables that would override or contradict the flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "OSTRAKA_"))}


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now. All are held until the last is found, so they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def healthy(node: Node) -> bool:
    """`/health` answers 200 once the node knows a leader and can serve."""
    try:
        with urllib.request.urlopen(f"{node.client_url}/health", timeout=2.0) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def metrics_text(node: Node) -> str:
    with urllib.request.urlopen(f"{node.client_url}/metrics", timeout=5.0) as reply:
        return str(reply.read().decode())
