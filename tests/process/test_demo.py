"""The demonstration as a newcomer runs it: it keeps its promise, and leaves no process and no file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from ostraka.cli.cluster import ADDRESSES, SERVE, Address, choose_addresses

DEMO = (*SERVE[:-1], "demo")
WITHIN = 40.0  # Seconds that the tour may take on a machine that does nothing else.


def processes_of(directory: Path) -> list[str]:
    """The processes whose command names this directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if any(str(directory) in word for word in words):
                found.append(" ".join(words))
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where the demonstration puts its temporary directory. Afterwards neither files nor processes may be left."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    yield directory
    assert not processes_of(directory)
    assert not list(directory.iterdir())


def begin(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """Its output and its complaints, once it has ended."""
    try:
        return demo.communicate(timeout=100)
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(30)


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """What it has printed up to the line with this text."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"no line with {text!r} in:\n{''.join(lines)}{demo.communicate()[1]}")


def test_the_tour(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    demo = begin(temporary)
    output, complaints = finish(demo)
    took = time.monotonic() - began
    assert demo.returncode == 0, output + complaints
    assert complaints == "" and "\x1b" not in output
    for text in ("etcdctl --endpoints=", "the leader of epoch", "leads epoch", "Restarted", "Nothing is left behind."):
        assert text in output, output
    assert output.count("is lost or doubled") == 2 and "follower" in output, output
    if took > WITHIN:
        with capsys.disabled():
            print(f"\nthe tour took {took:.1f} s, more than the {WITHIN:.0f} s that a machine at rest allows it")
    assert took < 2 * WITHIN


@pytest.mark.parametrize(
    ("line", "number"),
    [("Starting", signal.SIGTERM), ("callers put and get", signal.SIGINT), ("kill -9", signal.SIGHUP)],
)
def test_an_interrupted_tour(temporary: Path, line: str, number: signal.Signals) -> None:
    demo = begin(temporary)
    before = read_until(demo, line)
    demo.send_signal(number)
    demo.send_signal(number)  # Somebody is impatient.
    output, complaints = finish(demo)
    assert demo.returncode == 128 + number, before + output + complaints
    assert complaints == "" and "Nothing is left behind." in output


def test_on_a_terminal_there_is_a_live_table(temporary: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        resize(theirs, 24, 90)
        environment = {**os.environ, "TMPDIR": str(temporary), "TERM": "xterm"}
        demo = subprocess.Popen([*DEMO], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        try:
            seen = see(demo, ours, b"leader")
            resize(theirs, 6, 30)
            demo.send_signal(signal.SIGWINCH)
            seen += see(demo, ours, b"\x1b[2K")
            demo.send_signal(signal.SIGINT)
            seen += see(demo, ours, b"Nothing is left behind.")
            assert demo.wait(30) == 128 + signal.SIGINT, seen.decode()
        finally:
            if demo.poll() is None:
                demo.terminate()
                demo.wait(30)
        assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l"), "the cursor is to be seen again"
        assert b"Traceback" not in seen, seen.decode()
    finally:
        os.close(ours)
        os.close(theirs)


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def see(demo: subprocess.Popen[bytes], terminal: int, text: bytes) -> bytes:
    """What comes out of its terminal, up to this text."""
    seen = b""
    give_up = time.monotonic() + 60
    while text not in seen:
        over = demo.poll() is not None or time.monotonic() > give_up
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 1 << 16)
        else:
            assert not over, f"{text!r} did not come: {seen.decode(errors='replace')}"
    return seen


def saved_cluster(directory: Path, count: int = 1) -> list[Address]:
    """A directory such as the demonstration leaves where it is told to keep the data."""
    addresses = choose_addresses(count)
    directory.mkdir()
    (directory / ADDRESSES).write_bytes(msgspec.json.encode(addresses))
    return addresses


def test_the_data_stay_where_they_are_wanted(temporary: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    demo = begin(temporary, "--nodes", "1", "--data-dir", str(kept))
    read_until(demo, "kill -9")
    demo.send_signal(signal.SIGINT)
    output, complaints = finish(demo)
    assert demo.returncode == 130 and f"The data stay in {kept}" in output, output + complaints
    demo = begin(temporary, "--nodes", "1", "--data-dir", str(kept))
    output, complaints = finish(demo)
    assert demo.returncode == 0 and "is lost or doubled" in output, output + complaints
    assert not processes_of(kept)
    demo = begin(temporary, "--nodes", "3", "--data-dir", str(kept))
    output, complaints = finish(demo)
    assert demo.returncode == 1 and "a cluster of another size, 1" in complaints, output + complaints
    assert not processes_of(kept)


def test_a_port_that_somebody_took(temporary: Path, tmp_path: Path) -> None:
    address = saved_cluster(tmp_path / "kept")[0]
    with socket.create_server(("127.0.0.1", address.client)):
        demo = begin(temporary, "--nodes", "1", "--data-dir", str(tmp_path / "kept"))
        output, complaints = finish(demo)
    assert demo.returncode == 1 and "another process does" in complaints, output + complaints
    assert str(address.client) in complaints and "Traceback" not in complaints


def test_a_node_that_dies_at_its_start(temporary: Path, tmp_path: Path) -> None:
    saved_cluster(tmp_path / "kept", 3)
    (tmp_path / "kept" / "n2").mkdir()
    (tmp_path / "kept" / "n2" / "identity").write_bytes(b"not ours")
    demo = begin(temporary, "--data-dir", str(tmp_path / "kept"))
    output, complaints = finish(demo)
    assert demo.returncode == 1, output + complaints
    assert "n2 ended with code 1" in complaints and "identity, offset 0: damaged" in complaints, complaints
    assert not processes_of(tmp_path / "kept")


@pytest.mark.parametrize("arguments", [["--nodes", "0"], ["--nodes", "many"], ["--fast"]])
def test_wrong_arguments(temporary: Path, arguments: list[str]) -> None:
    demo = begin(temporary, *arguments)
    _, complaints = finish(demo)
    assert demo.returncode == 2 and "usage: ostraka demo" in complaints
