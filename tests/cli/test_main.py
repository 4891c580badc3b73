"""The command itself: which commands there are, what they cost to start, and how they fail."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ostraka import errors
from ostraka.cli import ask, lease, member
from ostraka.cli.__main__ import INTERRUPTED, USAGE, main
from ostraka.client.operations import prefix_end
from ostraka.transport.http2 import frames


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_command(capsys, word):
    assert main([word]) == 0
    shown = capsys.readouterr().out
    for name in ("serve", "demo", "put", "get", "del", "ls", "txn", "compaction", "status", "members"):
        assert f"\n  {name} " in shown


PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()


def test_the_page_has_the_commands_that_there_are(capsys):
    """And each of them has a help that begins as the page does."""
    commands = re.findall(r"^\| `ostraka ([^`]+)` \|", PAGE, re.MULTILINE)
    named = [re.sub(" [A-Z\\[].*", "", command) for command in commands]
    for name in named:
        with contextlib.suppress(SystemExit):
            assert main([*name.split(), "--help"]) == 0
        shown = "members" if name == "member list" else name
        assert f"ostraka {shown}" in capsys.readouterr().out
    groups = {"": USAGE, "lease ": lease.USAGE, "member ": member.USAGE}
    there = {prefix + found for prefix, text in groups.items() for found in re.findall("^  ([a-z-]+)  ", text, re.M)}
    assert there - {"lease", "member"} == set(named)


def test_the_page_has_the_exit_codes_that_there_are():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {ask.DONE, ask.NOT_DONE, ask.WRONG_USAGE, ask.UNKNOWN, INTERRUPTED}
    assert {int(code) for code in re.findall(r"(\d+) [a-z]", USAGE.split("Exit codes:")[1])} == codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Refused("wrong"), 1),
        (errors.NotExecuted("no leader"), 1),
        (errors.OutcomeUnknown("timed out"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 1),
    ],
)
def test_an_exit_code_says_whether_it_happened(monkeypatch, error, code):
    def call(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("ostraka.client.Client.call", call)
    monkeypatch.setattr("os.dup2", lambda *files: None)
    assert main(["put", "k", "v"]) == code


def test_without_a_command_it_says_how_it_is_used(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("Usage: ostraka")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ostraka 0.")


def test_an_unknown_command_is_an_error(capsys):
    assert main(["sevre"]) == 2
    assert "no command 'sevre'" in capsys.readouterr().err


def test_serve_help_names_the_flags_that_work(capsys):
    assert main(["serve", "--name", "x", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--initial-cluster 'default=http://localhost:2380'" in shown and "OSTRAKA_<FLAG>" in shown


def test_serve_with_a_wrong_flag_ends_with_2(capsys):
    assert main(["serve", "--nmae", "x"]) == 2
    assert "did you mean --name" in capsys.readouterr().err


@pytest.mark.process
def test_help_imports_no_server():
    """What is slow to import is imported by the command that needs it."""
    program = (
        "import sys; from ostraka.cli.__main__ import main; main(['--help']); main(['serve', '--help']);"
        "slow = {'asyncio', 'uvicorn', 'starlette', 'rocksdict', 'prometheus_client', 'google.protobuf', 'rich'};"
        "sys.exit(str(sorted(slow & set(sys.modules))) if slow & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nobody_there_is_named_with_what_to_do(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    for words in (["put", "k", "v"], ["get", "k"], ["members"], ["status"]):
        assert main([words[0], "--endpoints", f"127.0.0.1:{port}", *words[1:]]) == 1
        shown = capsys.readouterr().err
        assert f"127.0.0.1:{port}: connection refused" in shown and "ostraka serve" in shown


def test_a_server_that_says_nothing_is_never_asked(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
        assert main(["put", "--endpoints", endpoint, "--timeout", "0.01", "k", "v"]) == 1
        assert "no answer yet" in capsys.readouterr().err


def test_a_server_that_falls_silent_leaves_a_write_unknown_and_a_read_not_done(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        accepted = []

        def greet_each():
            for _ in range(2):
                accepted.append(sock.accept()[0])
                accepted[-1].sendall(frames.settings({}))

        threading.Thread(target=greet_each, daemon=True).start()
        endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
        assert main(["put", "--endpoints", endpoint, "--timeout", "0.3", "k", "v"]) == 3
        assert "it may have happened or not" in capsys.readouterr().err
        assert main(["get", "--endpoints", endpoint, "--timeout", "0.3", "k"]) == 1
        assert "no answer in time" in capsys.readouterr().err
        for each in accepted:
            each.close()


@pytest.mark.parametrize("endpoints", ["localhost", "localhost:x", "https://localhost:1", "localhost:99999"])
def test_a_wrong_endpoint_is_a_usage_error(capsys, endpoints):
    with pytest.raises(SystemExit) as caught:
        main(["get", "--endpoints", endpoints, "k"])
    assert caught.value.code == 2
    assert "is not an endpoint: give host:port" in capsys.readouterr().err


def test_endpoints_come_from_the_environment_too(capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    monkeypatch.setenv("OSTRAKA_ENDPOINTS", f"http://127.0.0.1:{port}")
    assert main(["get", "k"]) == 1
    assert f"127.0.0.1:{port}: connection refused" in capsys.readouterr().err


def test_where_a_prefix_ends():
    assert (prefix_end(b"a"), prefix_end(b"a\xff"), prefix_end(b"\xff"), prefix_end(b"")) == (b"b", b"b", b"\0", b"\0")
