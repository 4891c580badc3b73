"""The examples in the README and in the guide to the client run, with both servers, as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = ("README.md", "docs/client.md")
EXAMPLES = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall((ROOT / page).read_text()), 1)
]
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")

pytestmark = pytest.mark.process


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, endpoint: str, is_etcd: bool) -> None:
    assert "127.0.0.1:" in example, "it talks to a server"
    program = ADDRESS.sub(endpoint, example)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if is_etcd and ".session()" in example:
        assert "NotSupported" in done.stderr, done.stderr
        return
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "did not happen" not in done.stdout and "may have happened" not in done.stdout, done.stdout
