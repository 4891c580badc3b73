"""`ostraka demo`: a cluster on this machine with a load on it; its leader is killed, and nothing is lost.

On a terminal it goes on, with a live table, until Ctrl-C; elsewhere it makes the tour once. Either way it leaves
nothing behind, except the data if it was told where to keep them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from ostraka.cli.cluster import Cluster
from ostraka.cli.tour import Tour
from ostraka.consensus.engines import ENGINES
from ostraka.errors import OstrakaError

MOST_NODES: Final = 9
TICK: Final = 0.05  # Seconds within which a signal is noticed.


class Interrupted(Exception):
    """Somebody asked for the end, by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number: Final = number


class Interruption:
    """Turns signals into an exception at places of our choice, while we sleep: so no clean-up is cut short."""

    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> Interruption:
        self.received = 0
        self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        self.received = number

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises Interrupted."""
        until = time.monotonic() + seconds
        while not self.received and (left := until - time.monotonic()) > 0:
            time.sleep(min(TICK, left))
        if self.received:
            raise Interrupted(self.received)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 all went as promised, 1 it did not, 2 wrong arguments, 128 + the signal that came too soon."""
    options = _parse(arguments)
    console = Console(highlight=False)
    live = sys.stdout.isatty() and not console.is_dumb_terminal
    try:
        with Interruption() as interruption, _directory(options.data_dir) as directory:
            cluster = Cluster(directory, options.nodes, consensus=options.consensus, sleep=interruption.sleep)
            code = _demonstrate(cluster, console, live)
        kept = f" The data stay in {options.data_dir}." if options.data_dir else " Nothing is left behind."
        console.print(f"Stopped.{kept}", markup=False, soft_wrap=True)
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Nobody reads on: end without complaint.
        return 1
    except (OstrakaError, OSError) as error:
        print(f"ostraka demo: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ostraka demo",
        description="Run a cluster on this machine, put a load on it, kill its leader, and show that nothing is lost.",
    )
    parser.add_argument("--nodes", type=_count, default=3, metavar="N", help="1 to 9; 3 if not given")
    parser.add_argument("--consensus", choices=ENGINES, default="raft", help="how they agree; raft if not given")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="keep data and logs in D, to go on with them later")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_NODES:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 1 to {MOST_NODES}")
    return int(text)


@contextlib.contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    """The directory that was asked for, or a temporary one."""
    if wanted is not None:
        yield wanted
        return
    directory = Path(tempfile.mkdtemp(prefix="ostraka-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _demonstrate(cluster: Cluster, console: Console, live: bool) -> int:
    """From the first process to the last."""
    tour = Tour(cluster, console)
    try:
        with cluster, tour:
            tour.begin()
            with tour.table() if live else contextlib.nullcontext():
                tour.make()
                if live:
                    tour.go_on()
    except Interrupted as interrupted:
        return 0 if tour.made else 128 + interrupted.number
    return 0
