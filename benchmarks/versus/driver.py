"""The load program (benchmarks/load, in Go, on etcd's own client): built here, and started for each thing it does."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from versus.cluster import Node
from versus.report import LoadResult, Row, Sample, why_void
from versus.usage import Usage, usage_of

SOURCE = Path(__file__).resolve().parent.parent / "load"
KEYS = 10_000
VALUE_BYTES = 256
ELECTS_WITHIN = 10.0

NO_GO = """\
The load program is written in Go, on etcd's own client, and no `go` was found in PATH or /usr/local/go/bin.
Install Go 1.24 or newer from https://go.dev/dl/ (unpack it into /usr/local; a distribution's package may be too old),
and run this again. Go fetches the client's source on the first build, so that needs the network once."""


class Missing(Exception):
    """Something that has to be installed; the text says what and how."""


class LoadFailed(Exception):
    """The load program gave up; the text is what it said."""


class Lead(NamedTuple):
    """Who leads, by its client URL, and in which term."""

    url: str
    term: int


class NodeStatus(msgspec.Struct, frozen=True):
    endpoint: str
    member: int
    leader: int
    version: str
    term: int


@dataclass(frozen=True)
class Driver:
    """The built load program, and how long a row takes."""

    program: Path
    seconds: float
    warmup: float

    def leader_first(self, nodes: Sequence[Node]) -> tuple[list[Node], Lead]:
        """The nodes as the load is spread over them, so that a single connection is to the leader, in any system."""
        give_up = time.monotonic() + ELECTS_WITHIN
        lead = self.lead(nodes)
        while lead is None:
            if time.monotonic() > give_up:
                raise LoadFailed(f"the nodes didn't agree on a leader within {ELECTS_WITHIN:.0f} s")
            time.sleep(0.2)
            lead = self.lead(nodes)
        url = lead.url
        return sorted(nodes, key=lambda node: node.client_url != url), lead

    def lead(self, nodes: Sequence[Node]) -> Lead | None:
        """Whom all nodes take for their leader, or None if they differ or don't all answer."""
        try:
            seen = msgspec.json.decode(self._ask(nodes, "status"), type=list[NodeStatus])
        except LoadFailed:
            return None
        found = [Lead(each.endpoint, each.term) for each in seen if {other.leader for other in seen} == {each.member}]
        return found[0] if len(found) == 1 and len({each.term for each in seen}) == 1 else None

    def fill(self, nodes: Sequence[Node]) -> None:
        """Write each key once and wait until every node has them all."""
        self._ask(nodes, "fill", f"-keys={KEYS}", f"-value={VALUE_BYTES}")

    def measure(self, system: str, row: Row, round_: int, cluster_nodes: Sequence[Node]) -> Sample:
        """Run one row. A reply that failed, or an election, makes it void."""
        nodes, lead = self.leader_first(cluster_nodes)
        before: list[Usage] = []
        after: list[Usage] = []
        command = self._command(nodes, row.do, f"-callers={row.callers}", f"-keys={KEYS}", f"-value={VALUE_BYTES}")
        command += [f"-warmup={self.warmup}s", f"-measured={self.seconds}s"]
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            try:
                for last in process.stdout:
                    if last == "measuring\n":
                        before = usage_of(nodes)
                    elif last == "measured\n":
                        after = usage_of(nodes)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            return Sample(system, row.name, round_, None, (), (), void=f"the load program failed: {last.strip()}")
        load = msgspec.json.decode(last, type=LoadResult)
        sample = Sample(system, row.name, round_, load, tuple(before), tuple(after))
        reason = why_void(row, load, sample.wal_syncs)
        if not reason and self.lead(nodes) != lead:
            reason = "the leader changed while it ran"
        return dataclasses.replace(sample, void=reason) if reason else sample

    def _ask(self, nodes: Sequence[Node], do: str, *more: str) -> str:
        done = subprocess.run(self._command(nodes, do, *more), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LoadFailed(done.stderr.strip())
        return done.stdout

    def _command(self, nodes: Sequence[Node], do: str, *more: str) -> list[str]:
        endpoints = ",".join(node.client_url for node in nodes)
        return [str(self.program), f"-do={do}", f"-endpoints={endpoints}", *more]


def build(directory: Path) -> Path:
    """Compile the load program into the directory; the compiler's own cache makes this quick after the first time."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise Missing(NO_GO)
    program = directory / "load"
    command = [go, "build", "-o", str(program), "."]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"the load program does not build with {go}; it needs Go 1.24 or newer:\n{done.stderr.strip()}")
    return program
