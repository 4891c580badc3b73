"""What a member does with a data directory that is not as it left it: it refuses, says why, and changes nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest
import rocksdict

from ostraka.cli.cluster import Cluster, Node, free_ports
from ostraka.errors import NotExecuted, OutcomeUnknown
from tests.process.conftest import Start
from tests.process.recorder import fetch, leader_of, put, until

REFUSED = "is registered for it"
SEGMENT = "wal-0000000000000001"


def ended(node: Node) -> str:
    """What the node said before it ended; it must end by itself, and not well."""
    assert node.process is not None
    try:
        code = node.process.wait(60)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{node.name} goes on, though it should refuse.\n{node.log_tail()}") from None
    assert code > 0, f"{node.name} ended with {code}, which does not tell of a refusal.\n{node.log_tail()}"
    assert "Traceback" not in node.output(), node.log_tail()
    return node.output()


def refusal(cluster: Cluster, *flags: str) -> str:
    """What the first node says when it is started again, and refuses."""
    cluster.launch(cluster.nodes[0], flags)
    return ended(cluster.nodes[0])


def put_at_last(endpoints: list[str], key: bytes, value: bytes) -> None:
    """Put, again and again until it is acknowledged: right after an election it need not be at once."""

    def acknowledged() -> bool:
        with contextlib.suppress(NotExecuted, OutcomeUnknown):
            return put(endpoints, key, value) > 0
        return False

    until(acknowledged, "a put is acknowledged")


def one_with_data(start: Start) -> Cluster:
    """A cluster of one member, killed after some puts."""
    cluster = start(1)
    for number in range(20):
        put(cluster.endpoints, b"key%d" % number, b"value of %d" % number, timeout=10.0)
    cluster.nodes[0].kill()
    return cluster


def bytes_of(directory: Path) -> dict[str, bytes]:
    """All files by name, except the locks."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "LOCK"}


def test_the_log_of_another_engine(start: Start) -> None:
    cluster = one_with_data(start)
    said = refusal(cluster, "--consensus", "multipaxos")
    assert "holds the log of consensus raft, and --consensus is multipaxos: give --consensus raft" in said, said


def test_a_directory_of_another_cluster(start: Start) -> None:
    cluster = one_with_data(start)
    said = refusal(cluster, "--initial-cluster-token", "another")
    assert "belongs to cluster" in said and str(cluster.nodes[0].data) in said, said


def test_a_directory_of_another_member(start: Start) -> None:
    cluster = start(3)
    for node in cluster.nodes:
        node.kill()
    shutil.rmtree(cluster.nodes[0].data)
    shutil.copytree(cluster.nodes[1].data, cluster.nodes[0].data)
    said = refusal(cluster)
    assert "belongs to member" in said and str(cluster.nodes[0].data) in said, said


def test_a_directory_in_use(start: Start) -> None:
    cluster = start(1)
    node = cluster.nodes[0]
    client, peer = free_ports(2)
    elsewhere = [f"--listen-client-urls=http://127.0.0.1:{client}", f"--listen-peer-urls=http://127.0.0.1:{peer}"]
    second = subprocess.run(
        [*cluster.command, *cluster.node_flags(node), *cluster.flags, *elsewhere],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode > 0 and str(node.data) in second.stderr and "Traceback" not in second.stderr, second
    assert "another process" in second.stderr or "in use" in second.stderr, second.stderr
    assert put(cluster.endpoints, b"still", b"there", timeout=10.0) > 0


def test_a_member_that_lost_its_disk(start: Start) -> None:
    """It has forgotten what it promised, so the others don't take it back under its name, and it ends."""
    cluster = start(3)
    lost, others = cluster.nodes[0], cluster.nodes[1:]
    put(cluster.endpoints, b"a", b"b", timeout=10.0)
    lost.kill()
    kept = lost.data.with_name("kept")
    lost.data.rename(kept)
    cluster.launch(lost)
    said = ended(lost)
    assert REFUSED in said and "remove the member and add it anew" in said and "ready to serve" not in said, said
    until(lambda: leader_of(others) is not None, "the others go on", cluster)
    put_at_last([node.endpoint for node in others], b"c", b"d")
    shutil.rmtree(lost.data)
    kept.rename(lost.data)
    cluster.launch(lost)
    cluster.await_ready()
    assert fetch([lost.endpoint], key=b"c", timeout=10.0).kvs[0].value == b"d"


def newer_segment(data: Path) -> Path:
    path = data / SEGMENT
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 99)
    content[12:16] = struct.pack("<I", google_crc32c.value(bytes(content[:12])))
    path.write_bytes(content)
    return path


def newer_identity(data: Path) -> Path:
    path = data / "identity"
    text = path.read_bytes().rpartition(b"crc32c ")[0].replace(b"identity 1", b"identity 99")
    path.write_bytes(text + b"crc32c %08x\n" % google_crc32c.value(text))
    return path


def newer_table(data: Path) -> Path:
    path = data / "table"
    table = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    from ostraka.storage.table import _FORMAT_KEY

    assert table.get(_FORMAT_KEY) is not None
    table[_FORMAT_KEY] = b"99"
    table.close()
    return path


def newer_hard_state(data: Path) -> Path:
    path = data / "hard-state"
    text = path.read_bytes()[:-9].replace(b"hard-state 1", b"hard-state 99")
    path.write_bytes(text + b"%08x\n" % google_crc32c.value(text))
    return path


@pytest.mark.parametrize("make_newer", [newer_segment, newer_identity, newer_hard_state, newer_table])
def test_a_directory_of_a_newer_version(start: Start, make_newer: Callable[[Path], Path]) -> None:
    cluster = one_with_data(start)
    data = cluster.nodes[0].data
    path = make_newer(data)
    before = bytes_of(data)
    said = refusal(cluster)
    assert f"{path.name} has format 99" in said or f"{path} has format 99" in said, said
    assert bytes_of(data) == before, "it was to be left untouched"


def flip(path: Path, *offsets: int) -> None:
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 0x10
    path.write_bytes(content)


def test_a_damaged_log(start: Start) -> None:
    cluster = one_with_data(start)
    path = cluster.nodes[0].data / SEGMENT
    offset = path.read_bytes().index(b"value of 7")
    flip(path, offset)
    before = path.read_bytes()
    said = refusal(cluster)
    assert f"{SEGMENT}, offset " in said, said
    named = int(said.split(f"{SEGMENT}, offset ")[1].split(",")[0].split(":")[0])
    assert 0 < offset - named < 500, f"the damage is at {offset}, and it names {named}"
    assert path.read_bytes() == before, "damage is evidence, and not to be cut"


def test_a_damaged_table(start: Start) -> None:
    """It may refuse to start, or find out when it reads; in no case does it serve what is not right."""
    cluster = start(1)
    node = cluster.nodes[0]
    values = {b"key%02d" % number: os.urandom(1_000_000) for number in range(36)}
    for key, value in values.items():
        put(cluster.endpoints, key, value, timeout=20.0)
    table = node.data / "table"
    until(lambda: "\nostraka_flushes_total 0" not in node.fetch("/metrics")[1], "the table is flushed", cluster)
    node.kill()
    largest = max(table.glob("*.sst"), key=lambda path: path.stat().st_size)
    flip(largest, *range(500_000, largest.stat().st_size, 500_000))
    cluster.launch(node)
    right, wrong = 0, []
    until(lambda: node.pid is None or node.healthy(), "it ended, or serves", cluster)
    for key, value in values.items():
        try:
            reply = fetch(cluster.endpoints, key=key, serializable=True, timeout=5.0)
        except (NotExecuted, OutcomeUnknown):
            break
        right += 1
        wrong += [key for pair in reply.kvs if pair.value != value]
    assert not wrong, f"served what is not right: {wrong}"
    assert right < len(values), "it read all there is, and noticed nothing"
    said = ended(node)
    assert "damaged" in said and "table" in said, said


def test_a_log_that_was_cut_while_it_was_written(start: Start) -> None:
    """Half of the last batch is what a power cut leaves: it was acknowledged to nobody, and is cut."""
    cluster = start(1)
    node = cluster.nodes[0]
    put(cluster.endpoints, b"first", b"1", timeout=10.0)
    put(cluster.endpoints, b"last", b"unmistakable", timeout=10.0)
    node.signal(signal.SIGKILL)
    node.kill()
    path = node.data / SEGMENT
    content = path.read_bytes()
    middle = content.index(b"unmistakable") + 4
    path.write_bytes(content[:middle] + bytes(len(content) - middle))
    cluster.launch(node)
    cluster.await_ready()
    assert fetch(cluster.endpoints, key=b"first", timeout=10.0).kvs[0].value == b"1"
    assert put(cluster.endpoints, b"next", b"3", timeout=10.0) > 0
