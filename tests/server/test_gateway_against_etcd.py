"""The same JSON to our gateway and to a real etcd's comes to the same status and, but for ids, the same text.

Where etcd words in Go's terms what is wrong with a document, only the status and the code are compared.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from .gateways import Side, coded, masked, running, same
from .test_with_etcds_tools import PATIENCE

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    yield from running(tmp_path_factory.mktemp("sides"))


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
    ("maintenance/defragment", {}),
    ("maintenance/transfer-leadership", {"targetID": "5"}),
    ("auth/status", {}),
    ("auth/authenticate", {"name": "root", "password": "x"}),
    ("lease/grant", {"TTL": 100, "ID": "77"}),
    ("lease/grant", {"TTL": "100", "ID": 77}),
    ("lease/grant", {"TTL": "9000000001"}),
    ("lease/grant", {"TTL": "x"}),
    ("kv/put", {"key": coded("leased"), "value": V, "lease": "77"}),
    ("kv/put", {"key": coded("leased"), "ignore_lease": True}),
    ("kv/range", {"key": coded("leased")}),
    ("lease/keepalive", {"ID": "77"}),
    ("lease/keepalive", {"ID": "78"}),
    ("lease/keepalive", {}),
    ("lease/timetolive", {"ID": 78}),
    ("kv/lease/timetolive", {"ID": "78", "keys": True}),
    ("lease/leases", {}),
    ("kv/lease/leases", {}),
    ("lease/revoke", {"ID": 78}),
    ("kv/lease/revoke", {"ID": "77"}),
    ("kv/range", {"key": coded("leased")}),
    ("lock/unlock", {"key": coded("nothing")}),
    ("election/leader", {"name": coded("nobody")}),
    ("election/proclaim", {"leader": {"name": coded("a"), "key": coded("a/1"), "lease": "77"}}),
    ("election/resign", {"leader": {"name": coded("a"), "key": coded("a/1"), "lease": "77", "rev": "3"}}),
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


DOCUMENTS_IN_ALL = int(os.environ.get("OSTRAKA_DIFFERENTIAL", "30000")) // 12


@pytest.mark.timeout(7200)
def test_random_documents(sides):
    stream, seen = Stream(), Counter()
    for _ in range(DOCUMENTS_IN_ALL):
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


def test_leases_locks_and_elections(sides):
    """With ids and times that are the same on both sides."""
    same(sides, "/v3/lease/grant", json.dumps({"TTL": 500, "ID": 2748}))
    put = {"key": coded("of a lease"), "lease": 2748}
    same(sides, "/v3/kv/put", json.dumps(put))
    for ask in ({"ID": 2748}, {"ID": 2748, "keys": True}):
        answers = [side.ask("/v3/lease/timetolive", json.dumps(ask)) for side in sides]
        ours, theirs = (re.sub(r'"TTL":"(499|500)"', "", text) for _, _, text in answers)
        assert (
            ours == theirs and '"grantedTTL":"500"' in ours and ("b2YgYSBsZWFzZQ==" in ours) == ask.get("keys", False)
        )
    lines = [side.ask("/v3/lease/keepalive", '{"ID":2748}{"ID":"5"} {"ID":2748}')[2] for side in sides]
    ours, theirs = (sorted(text.splitlines()) for text in lines)  # Ours may overtake one another.
    assert ours == theirs and [line.startswith('{"result":{"header":') for line in ours] == [True] * 3
    _, _, text = same(sides, "/v3/lock/lock", json.dumps({"name": coded("lock"), "lease": 2748}))
    assert base64.b64decode(json.loads(text)["key"]) == b"lock/abc"
    same(sides, "/v3/kv/range", json.dumps({"key": coded("lock/abc")}))
    same(sides, "/v3/lock/unlock", json.dumps({"key": coded("lock/abc")}))
    ask = {"name": coded("office"), "lease": 2748, "value": coded("me")}
    _, _, text = same(sides, "/v3/election/campaign", json.dumps(ask))
    leader = json.loads(text)["leader"]
    same(sides, "/v3/election/leader", json.dumps({"name": coded("office")}))
    same(sides, "/v3/election/proclaim", json.dumps({"leader": leader, "value": coded("still me")}))
    same(sides, "/v3/election/leader", json.dumps({"name": coded("office")}))
    same(sides, "/v3/election/resign", json.dumps({"leader": leader}))
    same(sides, "/v3/election/leader", json.dumps({"name": coded("office")}))
    same(sides, "/v3/lease/revoke", json.dumps({"ID": 2748}))
    same(sides, "/v3/kv/range", json.dumps({"key": "AA==", "range_end": "AA==", "keys_only": True}))
