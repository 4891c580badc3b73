"""The same JSON to our gateway and to a real etcd's comes to the same status and, but for ids, the same text.

Where etcd words in Go's terms what is wrong with a document, only the status and the code are compared.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import etcd3gw
import pytest

from .test_with_etcds_tools import OURS, PATIENCE, TOOLS, Process

pytestmark = pytest.mark.process

IDS = re.compile(r'"(cluster_id|member_id|raft_term|leader|raftIndex|raftTerm|raftAppliedIndex|dbSize\w*)":"\d+"')
MEMBERS = re.compile(r'("(?:ID|targetID)":)"\d{12,}"|127\.0\.0\.1:\d+')
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
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), masked(answer.read().decode())


def masked(text: str) -> str:
    if text.startswith('{"error"'):
        document = json.loads(text)
        document.pop("details", None)  # Ours alone.
        if GOS_WORDS.match(document["message"]):
            document["error"] = document["message"] = "no such document"
        text = re.sub(r"\(\d+ vs\. \d+\)", "(n vs. m)", json.dumps(document, separators=(",", ":")))
    return MEMBERS.sub(r"\1*", IDS.sub(r'"\1":"*"', text))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Ours and theirs: every request goes to both, so that their revisions stay the same."""
    ours = Process(OURS, tmp_path_factory.mktemp("ours"))
    theirs = Process((str(TOOLS / "etcd"),), tmp_path_factory.mktemp("theirs"))
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


K, V = coded("foo"), coded("bar")
DOCUMENTS = [
    ("kv/put", {"key": K, "value": V}),
    ("kv/put", {"key": K, "value": V, "prev_kv": True}),
    ("kv/put", {"key": K, "value": V, "lease": "12345"}),
    ("kv/put", {"key": K, "value": V, "ignoreValue": True}),
    ("kv/put", {"key": coded("<&é\x00"), "value": coded("x" * 1000)}),
    ("kv/put", {"key": K, "value": coded("x" * 1_572_864)}),
    ("kv/put", {"key": K, "value": coded("x" * 2_200_000)}),
    ("kv/put", {}),
    ("kv/range", {"key": K}),
    ("kv/range", {"key": K, "nonsense": {"a": [1]}, "limit": "7"}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "sort_order": "DESCEND", "sortTarget": "MOD"}),
    ("kv/range", {"key": "AA==", "rangeEnd": "AA==", "sort_order": 2, "sort_target": 3, "limit": 1}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True}),
    ("kv/range", {"key": K, "keys_only": True, "serializable": True}),
    ("kv/range", {"key": K, "revision": 100}),
    ("kv/range", {"key": K, "revision": -1, "limit": -1}),
    ("kv/range", {"key": None}),
    ("kv/range", {"key": 5}),
    ("kv/range", {"key": K, "limit": 1.5}),
    ("kv/range", {"key": K, "limit": 1 << 63}),
    ("kv/range", {"key": K, "limit": ""}),
    ("kv/range", {"key": K, "sort_order": "NOPE"}),
    ("kv/range", {"key": K, "serializable": "true"}),
    ("kv/range", {"key": "$%"}),
    ("kv/range", []),
    ("kv/range", None),
    ("kv/deleterange", {"key": K, "prev_kv": True}),
    ("kv/deleterange", {"key": K}),
    ("kv/txn", {"success": None}),
    ("kv/txn", {"success": [None]}),
    ("kv/txn", {"success": {}}),
    ("kv/txn", {"success": [{"request_range": {"key": K}}] * 129}),
    ("kv/txn", {"success": [{"request_put": {"key": K}}, {"request_put": {"key": K}}]}),
    ("kv/txn", {"compare": [{"key": K, "target": "VALUE", "value": V}], "failure": [{"request_put": {"key": K}}]}),
    ("kv/txn", {"compare": [{"key": K, "target": 1, "create_revision": 0}], "success": [{"requestRange": {"key": K}}]}),
    ("kv/txn", {"success": [{"request_txn": {"success": [{"request_delete_range": {"key": K, "prev_kv": True}}]}}]}),
    ("kv/compaction", {"revision": 1000}),
    ("kv/compaction", {"revision": "3", "physical": True}),
    ("kv/compaction", {"revision": 2}),
    ("kv/range", {"key": K, "revision": "2"}),
    ("cluster/member/list", {}),
    ("cluster/member/list", {"linearizable": True}),
    ("maintenance/alarm", {}),
]  # fmt: skip


def test_documents_good_and_bad(sides):
    seen = Counter()
    for path, document in DOCUMENTS:
        for version in ("v3", "v3beta"):
            status, _, text = same(sides, f"/{version}/{path}", json.dumps(document))
            seen[json.loads(text)["error"] if text.startswith('{"error"') else status] += 1
    assert seen[200] > 20 and len(seen) > 10, seen


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "null", '{"key":"Zm9v"', "garbage", '{"key":"Zm9v"}{"key":"Zm9v"}', '{"key":"Zm9v"} garbage', "[[["),
        *('{"key":"Zm9v\\n"}', '{"key":"Zm9v","key":"Zm9w"}', '{"key":"Zm9v","limit":NaN}', '{"key":"\\u005am9v"}'),
    ],
)
def test_bodies(sides, body):
    same(sides, "/v3/kv/range", body)


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/v3/kv/put", "GET", {}),
        ("/v3/kv/put", "PUT", {}),
        ("/v3/kv/put", "DELETE", {}),
        ("/v3/kv/put", "OPTIONS", {}),
        ("/v3/kv/put", "POST", {"content-type": "application/json; charset=utf-8"}),
        ("/v3/kv/put", "POST", {"content-type": "text/plain"}),
        ("/v3/kv/put?x=1", "POST", {}),
        ("/v3/kv/put/", "POST", {}),
        ("/v3/kv/nothing", "POST", {}),
        ("/v3/", "POST", {}),
        ("/v2/keys", "GET", {}),
        ("/", "GET", {}),
        ("/v3/kv/range", "POST", {"grpc-timeout": "x"}),
        ("/v3/kv/range", "POST", {"grpc-timeout": "5S"}),
        ("/v3/kv/range", "POST", {"grpc-metadata-hasleader": "true"}),
        ("/version", "GET", {}),
        ("/version", "POST", {}),
        ("/health", "GET", {}),
        ("/health?serializable=true&exclude=NOSPACE", "GET", {}),
        ("/health", "POST", {}),
    ],
)
def test_paths_methods_and_headers(sides, path, method, headers):
    body = None if method == "GET" else json.dumps({"key": K})
    ours, theirs = (side.ask(path, body, headers, method) for side in sides)
    assert ours == theirs


class Stream:
    """Random requests, and what can be wrong with them."""

    def __init__(self) -> None:
        self.dice = Random(1)
        self.revision = 1

    def key(self) -> str:
        return coded(self.dice.choice(["aaa", "aab", "aabbaa", "zzz", "\0\0\0", "ab\0", *[""][: self.unlikely()]]))

    def number(self, below: int) -> int | str:
        number = self.dice.randrange(-1, below)
        return self.dice.choice([number, str(number)])

    def some(self, **fields: Any) -> dict[str, Any]:
        """Some of these, under one of their names."""
        found = {}
        for name, value in fields.items():
            if self.dice.randrange(3) == 0:
                camel = re.sub("_(.)", lambda match: match[1].upper(), name)
                found[self.dice.choice([name, camel])] = value
        return found

    def range(self) -> dict[str, Any]:
        revisions = {name: self.number(self.revision + 9) for name in ("min_mod_revision", "max_create_revision")}
        return {"key": self.key(), **self.some(
            range_end=self.key(), limit=self.number(4), revision=self.number(self.revision + 9),
            sort_order=self.dice.choice(["NONE", "ASCEND", 2, "DOWN"]), sort_target=self.dice.choice(["KEY", "MOD", 2]),
            serializable=self.dice.choice([True, False, None]), keys_only=True, count_only=True, **revisions,
        )}  # fmt: skip

    def put(self) -> dict[str, Any]:
        return {"key": self.key(), **self.some(value=self.key(), prev_kv=True, ignore_value=True, lease=self.number(2))}

    def delete(self) -> dict[str, Any]:
        return {"key": self.key(), **self.some(range_end=self.key(), prev_kv=True)}

    def txn(self, depth: int = 0) -> dict[str, Any]:
        return self.some(
            compare=[self.compare() for _ in range(self.dice.randrange(3))],
            success=[self.operation(depth) for _ in range(self.dice.randrange(3))],
            failure=[self.operation(depth) for _ in range(self.dice.randrange(3))],
        )

    def compare(self) -> dict[str, Any]:
        target = self.dice.randrange(5)
        field = ("version", "create_revision", "mod_revision", "value", "lease")[target]
        value = self.key() if field == "value" else self.number(self.revision + 1)
        named = self.dice.choice(
            [["VERSION", "CREATE", "MOD", "VALUE", "LEASE"][target], target, *["NAME"][: self.unlikely()]]
        )
        result = self.some(result=self.dice.choice(["LESS", "GREATER", 3]))
        return {"key": self.key(), "target": named, field: value, **result}

    def unlikely(self) -> bool:
        return self.dice.randrange(10) == 0

    def operation(self, depth: int) -> dict[str, Any]:
        kinds = ["range", "put", "delete_range", *(["txn"] if depth < 3 else [])]
        match self.dice.choice(kinds):
            case "range":
                return {"request_range": self.range()}
            case "put":
                return {"requestPut": self.put()}
            case "delete_range":
                return {"request_delete_range": self.delete()}
            case _:
                return {"request_txn": self.txn(depth + 1)}

    def any(self) -> tuple[str, str]:
        match self.dice.randrange(20):
            case 0:
                ask = "kv/compaction", {"revision": self.number(self.revision + 3), **self.some(physical=True)}
            case 1 | 2 | 3 | 4 | 5:
                ask = "kv/range", self.range()
            case 6 | 7 | 8 | 9 | 10:
                ask = "kv/put", self.put()
            case 11 | 12:
                ask = "kv/deleterange", self.delete()
            case _:
                ask = "kv/txn", self.txn()
        text = json.dumps(ask[1])
        return ask[0], self.damaged(text) if self.dice.randrange(6) == 0 else text

    def damaged(self, text: str) -> str:
        """Cut off, or with a sign too much; but a comparison that has lost its target is refused only by us."""
        at = self.dice.randrange(len(text) + 1)
        sign = self.dice.choice(["", "x", "{", "[", ","])
        found = text[:at] + (sign + text[at:] if sign else "")
        return found if not sign or found.count('"target":') == text.count('"target":') else text


def test_random_documents(sides):
    stream, seen = Stream(), Counter()
    for _ in range(2500):
        path, text = stream.any()
        status, _, answer = same(sides, f"/v3/{path}", text)
        seen[json.loads(answer)["error"] if status != 200 else path] += 1
        if revision := re.search(r'"revision":"(\d+)"', answer):
            stream.revision = int(revision[1])
    wrong = sum(number for text, number in seen.items() if "/" not in text)
    assert wrong > 800 and stream.revision > 200 and min(seen.values()) >= 3, seen
    assert len(seen) >= 13, seen


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl(sides):
    def curl(side: Side, path: str, document: str) -> str:
        command = ["curl", "--silent", "--show-error", side.server.url + path, "-d", document]
        return masked(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout)

    big = json.dumps({"key": K, "value": coded("x" * 1_200_000)})  # It asks first, by `Expect: 100-continue`.
    for path, document in (("put", json.dumps({"key": K, "value": V})), ("range", json.dumps({"key": K}))):
        ours, theirs = (curl(side, f"/v3/kv/{path}", document) for side in sides)
        assert ours == theirs and "header" in ours
    file = sides[0].server.log.parent / "big"
    file.write_text(big)
    ours, theirs = (curl(side, "/v3/kv/put", f"@{file}") for side in sides)
    assert ours == theirs and "revision" in ours
    assert "header" in curl(sides[0], "/v3/kv/put?utf8=1", '{"key": "hello", "value": "world"}')
    assert '"value":"world"' in curl(sides[0], "/v3/kv/range?utf8=1", '{"key": "hello"}')
    sides[1].ask("/v3/kv/put", json.dumps({"key": coded("hello"), "value": coded("world")}))


def test_etcd3gw_does_the_same_with_both(sides):
    def session(side: Side) -> list[Any]:
        client = etcd3gw.Etcd3Client(port=side.server.client)
        told: list[Any] = [client.put("gw/a", "1"), client.create("gw/b", "2"), client.create("gw/b", "3")]
        told += [client.get("gw/a"), client.get_prefix("gw/", sort_order="descend"), client.replace("gw/a", "1", "9")]
        told += [client.replace("gw/a", "1", "8"), client.delete("gw/b"), client.delete("gw/b"), client.get("gw/a")]
        told += [client.members()[0]["name"], client.status()["version"], client.delete_prefix("gw/")]
        lock = {"key": coded("gw/l"), "target": "CREATE", "create_revision": 0, "result": "EQUAL"}
        put = {"request_put": {"key": coded("gw/l"), "value": coded("me")}}
        for _ in range(2):
            reply = client.transaction(
                {"compare": [lock], "success": [put], "failure": [{"request_range": {"key": coded("gw/l")}}]}
            )
            reply.pop("header")
            told.append(reply)
        return told

    ours, theirs = (session(side) for side in sides)
    assert re.sub(r"'(\w+_revision)': '\d+'", "", str(ours)) == re.sub(r"'(\w+_revision)': '\d+'", "", str(theirs))
