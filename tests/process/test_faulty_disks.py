"""Real processes whose disks rot: what one has lost it gets back from the others, before it votes or serves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ostraka.cli.cluster import Cluster, Node
from ostraka.errors import NotExecuted
from tests.process.conftest import FAST, Start
from tests.process.lying_server import COMPACTS
from tests.process.recorder import Recorder, fetch, leader_of, put, settled, until, verify
from tests.process.test_data_directory import SEGMENT, ended, flip

BACK = "it votes and serves again"
SERVER = (sys.executable, "-P", str(Path(__file__).with_name("lying_server.py")), "serve")


def rot(node: Node) -> int:
    """Flip a bit in the midst of what the log holds; where."""
    path = node.data / SEGMENT
    offset = len(path.read_bytes().rstrip(b"\0")) // 2
    flip(path, offset)
    return offset


def test_a_log_that_rotted_is_got_back_under_load(start: Start) -> None:
    cluster = start(3)
    with Recorder(cluster) as load:
        load.more()
        until(lambda: leader_of(cluster.nodes) is not None, "somebody leads", cluster)
        first = leader_of(cluster.nodes)
        rotten, healthy = [node for node in cluster.nodes if node is not first]
        rotten.kill()
        load.more()
        rot(rotten)
        cluster.launch(rotten)
        until(lambda: BACK in rotten.output(), "it has its log back", cluster)
        assert f"{SEGMENT}, offset " in rotten.output() and (rotten.data / f"damaged-{SEGMENT}").exists()
        cluster.await_ready()
        healthy.kill()
        load.more()
        cluster.launch(healthy)
        cluster.await_ready()
    verify(load)


def test_it_waits_for_the_others_and_says_so(start: Start) -> None:
    cluster = start(3)
    put(cluster.endpoints, b"a", b"b", timeout=10.0)
    for node in cluster.nodes:
        node.kill()
    rotten, *others = cluster.nodes
    rot(rotten)
    cluster.launch(rotten)
    until(lambda: "neither votes nor serves" in rotten.output(), "it says what it does", cluster)
    status, page = rotten.fetch("/health?serializable=true")
    assert status == 503
    assert json.loads(page)["reason"].startswith(f"REFILLING: {SEGMENT}, offset "), page
    assert page.rstrip().endswith('waits until the others have a leader"}'), page
    with pytest.raises(NotExecuted, match="refills its log"):
        fetch([rotten.endpoint], key=b"a", serializable=True)
    for node in others:
        cluster.launch(node)
    cluster.await_ready()
    assert fetch([rotten.endpoint], key=b"a", serializable=True).kvs[0].value == b"b"


def test_what_can_not_be_got_back_ends_it(start: Start) -> None:
    """Two of three rotted: the third alone elects nobody. Or both copies of one's promises did."""
    cluster = start(3)
    put(cluster.endpoints, b"a", b"b", timeout=10.0)
    for node in cluster.nodes:
        node.kill()
    rotten = cluster.nodes[:2]
    for node in rotten:
        rot(node)
        cluster.launch(node)
    for node in rotten:
        said = ended(node)
        assert f"{SEGMENT}, offset " in said and "must be refilled, too" in said, said
    last = cluster.nodes[2]
    rot(last)
    flip(last.data / "hard-state", 30)
    cluster.launch(last)
    said = ended(last)
    assert f"{SEGMENT}, offset " in said and "hard-state, offset 0: damaged" in said and "add it anew" in said, said


@pytest.mark.parametrize("short", [False, True], ids=["from its own log", "from the others"])
def test_a_table_that_rotted_is_built_anew(short: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if short:
        monkeypatch.setenv(COMPACTS, "yes")
    with Cluster(tmp_path / "cluster", 3, command=SERVER, flags=FAST) as cluster:
        cluster.start()
        for number in range(60):
            put(cluster.endpoints, b"key%02d" % number, b"v" * 1000, timeout=10.0)
        rotten = cluster.nodes[2]
        if short:
            until(lambda: not (rotten.data / SEGMENT).exists(), "the first segment is removed", cluster)
        rotten.kill()
        for path in (rotten.data / "table").glob("*.sst"):
            flip(path, *range(0, path.stat().st_size, 50))
        cluster.launch(rotten)
        cluster.await_ready()
        assert "is damaged" in rotten.output() and (rotten.data / "table.damaged").is_dir(), rotten.log_tail()
        assert (BACK in rotten.output()) is short, rotten.log_tail()
        states = settled(cluster)
        assert len({len(pairs) for _, pairs in states.values()}) == 1 and len(states["n3"][1]) == 60
