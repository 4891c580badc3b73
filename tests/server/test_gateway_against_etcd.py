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


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Ours and theirs: every request goes to both, so that their revisions stay the same."""
    steady = ("--heartbeat-interval", "100", "--election-timeout", "1000")  # No change of leader on a busy machine.
    ours = Process(OURS, tmp_path_factory.mktemp("ours"), *steady)
    theirs = Process((str(TOOLS / "etcd"),), tmp_path_factory.mktemp("theirs"), *steady)
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


class Patroni:
    """The calls of Patroni's etcd3 client, in its order and form, for two nodes of which the first becomes leader."""

    PREFIX = "/service/batman/"

    def __init__(self, side: Side) -> None:
        self.side = side
        self.told: list[str] = []
        self.leases: list[str] = []

    def call(self, path: str, **fields: Any) -> dict[str, Any]:
        status, kind, text = self.side.told(f"/v3{path}", json.dumps(fields), {"user-agent": "Patroni/4.0"}, "POST")
        shown = text
        for number, lease in enumerate(self.leases):
            shown = shown.replace(lease, f"lease {number}")
        self.told.append(f"{path}: {status} {kind} {masked(shown)}")
        return json.loads(text)

    def grant(self) -> None:
        _, _, text = self.side.told("/v3/lease/grant", json.dumps({"TTL": 30}), {}, "POST")
        self.leases.append(json.loads(text)["ID"])
        self.told.append(masked(text))

    def put(self, name: str, value: str, lease: int | None = None, **compare: str) -> bool:
        fields = {"key": coded(self.PREFIX + name), "value": coded(value)}
        if lease is not None:
            fields["lease"] = self.leases[lease]
        if not compare:
            return "header" in self.call("/kv/put", **fields)
        [target] = compare
        condition = {"target": target.split("_")[0].upper(), **compare, "key": fields["key"]}
        return self.call("/kv/txn", compare=[condition], success=[{"request_put": fields}]).get("succeeded", False)

    def whole_cluster(self, serializable: bool = True) -> dict[str, Any]:
        end = coded(self.PREFIX[:-1] + "0")
        return self.call("/kv/range", key=coded(self.PREFIX), range_end=end, serializable=serializable)

    def renew_leadership(self, node: int, name: str) -> bool:
        key = coded(self.PREFIX + "leader")
        put = {"request_put": {"key": key, "value": coded(name), "lease": self.leases[node]}}
        ours = {"key": key, "target": "VALUE", "value": coded(name)}
        nobodys = {"key": key, "target": "CREATE", "create_revision": "0"}
        anew = {"request_txn": {"compare": [nobodys], "success": [put]}}
        reply = self.call("/kv/txn", compare=[ours], success=[put], failure=[anew])
        within = reply.get("responses", [{}])[0].get("response_txn", {})
        return reply.get("succeeded", False) or within.get("succeeded", False)

    def delete(self, name: str, **condition: str) -> bool:
        key = coded(self.PREFIX + name)
        if not condition:
            return "header" in self.call("/kv/deleterange", key=key)
        delete = {"request_delete_range": {"key": key}}
        return self.call("/kv/txn", compare=[{"key": key, **condition}], success=[delete]).get("succeeded", False)

    def life(self) -> list[str]:
        """From the first contact to the end of the cluster."""
        status, _, text = self.side.ask("/version", None, method="GET")
        assert status == 200 and all(part.isdigit() for part in json.loads(text)["etcdserver"].split("."))
        members = self.call("/cluster/member/list")["members"]
        assert [url for member in members for url in member["clientURLs"]]
        self.call("/auth/authenticate", name="patroni", password="secret")
        self.whole_cluster()
        self.grant()
        self.grant()
        assert self.put("initialize", "", create_revision="0") and not self.put("initialize", "", create_revision="0")
        assert self.put("leader", "one", 0, create_revision="0") and not self.put(
            "leader", "two", 1, create_revision="0"
        )
        assert self.put("initialize", "7303") and self.put("config", '{"ttl":30}')
        assert self.put("members/one", '{"state":"running"}', 0) and self.put("members/two", '{"state":"running"}', 1)
        assert self.renew_leadership(0, "one") and not self.renew_leadership(1, "two")
        config = next(kv for kv in self.whole_cluster()["kvs"] if kv["key"] == coded(self.PREFIX + "config"))
        assert self.put("config", '{"ttl":20}', mod_revision=config["mod_revision"])
        assert not self.put("config", '{"ttl":10}', mod_revision=config["mod_revision"])
        assert self.put("status", '{"optime":5}') and self.put("history", "[]") and self.put("sync", "{}")
        assert self.call("/lease/keepalive", ID=self.leases[0])["result"]["TTL"] == "30"
        assert not self.delete("leader", target="VALUE", value=coded("two"))
        assert self.delete("leader", target="VALUE", value=coded("one")) and self.renew_leadership(1, "two")
        self.call("/lease/revoke", ID=self.leases[0])
        assert "TTL" not in self.call("/lease/keepalive", ID=self.leases[0])["result"]
        assert not self.put("members/one", "{}", 0)
        self.whole_cluster(serializable=False)
        assert self.delete("initialize") and self.delete("nothing")
        self.call("/kv/deleterange", key=coded(self.PREFIX), range_end=coded(self.PREFIX[:-1] + "0"))
        self.call("/lease/revoke", ID=self.leases[1])
        return self.told


def test_patronis_calls_are_answered_as_etcd_does(sides):
    ours, theirs = (Patroni(side).life() for side in sides)
    assert ours == theirs
    assert "authentication is not enabled" in " ".join(ours) and "lease not found" in " ".join(ours)


def test_etcd3gws_leases_and_locks(sides):
    def session(side: Side) -> list[Any]:
        client = etcd3gw.Etcd3Client(port=side.server.client)
        lease = client.lease(ttl=100)
        told: list[Any] = [client.put("gw/leased", "1", lease), lease.keys(), lease.ttl() in (99, 100), lease.refresh()]
        told += [lease.revoke(), client.get("gw/leased"), lease.ttl()]
        first, second = client.lock("gw lock", ttl=100), client.lock("gw lock", ttl=100)
        told += [first.acquire(), second.acquire(), first.is_acquired(), second.is_acquired(), first.refresh()]
        told += [first.release(), second.acquire(), second.release(), first.is_acquired()]
        return told

    ours, theirs = (session(side) for side in sides)
    assert ours == theirs and ours[0] is True


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
