"""A node of a cluster of its own, and our commands asking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ostraka.cli.__main__ import main
from ostraka.cli.cluster import SERVE, Cluster

FAST = ("--heartbeat-interval", "60", "--election-timeout", "400", "--log-level", "warn", "--max-txn-ops", "5")
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Cluster(tmp_path_factory.mktemp("one"), 1, command=SERVE, flags=FAST) as cluster:
        cluster.start()
        yield cluster.nodes[0].endpoint


@pytest.fixture
def run(node: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command's exit code and what it printed; then the keys are gone again."""

    def command(*words: str) -> tuple[int, str]:
        at = 2 if words[0] == "lease" else 1
        code = main([*words[:at], "--endpoints", node, *words[at:]])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    assert command("del", "--prefix", "")[0] == 0
    return command
