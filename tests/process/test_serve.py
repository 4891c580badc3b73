"""`ostraka serve` from outside: its help, its refusals, its signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ostraka.cli.cluster import SERVE
from tests.process.conftest import Start
from tests.process.recorder import until


def serve(*flags: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SERVE, *flags], capture_output=True, text=True, timeout=60, cwd=cwd, check=False)


def test_help_names_the_flags(tmp_path: Path) -> None:
    done = serve("--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    for flag in ("--name", "--data-dir", "--initial-cluster", "--listen-client-urls"):
        assert flag in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data-dirr", "x"], "--data-dirr; did you mean --data-dir"),
        (["--cert-file", "x"], "--cert-file asks for TLS"),
        (["--election-timeout", "soon"], "invalid value"),
        (["--name", "me", "--initial-cluster", "you=http://localhost:2380"], '"me"'),
    ],
)
def test_wrong_flags_are_named(tmp_path: Path, flags: list[str], said: str) -> None:
    done = serve(*flags, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_without_asserts_it_does_not_serve(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", *SERVE[1:]], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.returncode == 2 and "without -O" in done.stderr, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_stops_in_order(start: Start, number: signal.Signals) -> None:
    node = start(1).nodes[0]
    ready = f"ready to serve client requests on {node.client_url}"
    until(lambda: ready in node.output(), "it says that it is ready")
    node.signal(number)
    assert node.process is not None and node.process.wait(20) == 0, node.output()
    assert "Traceback" not in node.output(), node.output()
