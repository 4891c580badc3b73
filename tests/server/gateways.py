"""Our JSON gateway and a real etcd's, side by side."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .test_with_etcds_tools import OURS, PATIENCE, TOOLS, Process

IDS = re.compile(r'"(cluster_id|member_id|raft_term|leader|raftIndex|raftTerm|raftAppliedIndex|dbSize\w*)":"\d+"')
MEMBERS = re.compile(r'(?<="ID":")\d{15,}(?=")|127\.0\.0\.1:\d+')
GOS_WORDS = re.compile(r"json: |invalid character |unexpected |illegal base64|unknown value |bad input")
Answer = tuple[int, str, str]


class Side:
    """One server, and a connection that is kept."""

    def __init__(self, server: Process) -> None:
        self.server = server
        self.connection = http.client.HTTPConnection("127.0.0.1", server.client, timeout=PATIENCE)

    def ask(
        self, path: str, body: str | bytes | None, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """Status, kind and text, without what can't be the same."""
        status, kind, text = self.told(path, body, headers, method)
        return status, kind, masked(text)

    def told(self, path: str, body: str | bytes | None, headers: dict[str, str] | None, method: str) -> Answer:
        """Status, kind and text as they are."""
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read().decode()


def masked(text: str) -> str:
    if text.startswith('{"error"'):
        document = json.loads(text)
        document.pop("details", None)  # Ours alone.
        if GOS_WORDS.match(document["message"]):
            document["error"] = document["message"] = "no such document"
        text = re.sub(r"\(\d+ vs\. \d+\)", "(n vs. m)", json.dumps(document, separators=(",", ":")))
    return MEMBERS.sub("*", IDS.sub(r'"\1":"*"', text))


def running(directory: Path) -> Iterator[tuple[Side, Side]]:
    """Ours and theirs: every request goes to both, so that their revisions stay the same."""
    for name in ("ours", "theirs"):
        (directory / name).mkdir()
    steady = ("--heartbeat-interval", "100", "--election-timeout", "1000")  # No change of leader on a busy machine.
    ours = Process(OURS, directory / "ours", *steady)
    theirs = Process((str(TOOLS / "etcd"),), directory / "theirs", *steady)
    both = Side(ours), Side(theirs)
    while "not_decided" in theirs.get("/version"):
        time.sleep(0.02)
    yield both
    for side in both:
        side.connection.close()
        side.server.stop()


def same(sides: tuple[Side, Side], path: str, body: str | bytes | None, **others: Any) -> Answer:
    """What both answer."""
    ours, theirs = (side.ask(path, body, **others) for side in sides)
    if theirs[0] == 400 == ours[0] and GOS_WORDS.match(json.loads(theirs[2] or "{}").get("message", "")):
        theirs = (*theirs[:2], "no such document")
    if "no such document" in theirs[2] and ours[0] == theirs[0]:
        assert json.loads(ours[2])["code"] == json.loads(theirs[2])["code"]
        return theirs
    assert ours == theirs, (path, body)
    return ours


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Streamed:
    """A response that goes on, on a connection of its own, line by line."""

    def __init__(self, side: Side, path: str, body: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", side.server.client, timeout=PATIENCE)
        self.connection.request("POST", path, body)
        self.response = self.connection.getresponse()

    def line(self) -> str:
        """The next one, without ids."""
        return masked(self.response.readline().decode())

    def close(self) -> None:
        self.response.close()
        self.connection.close()
