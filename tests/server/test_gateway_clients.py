"""What clients of etcd's JSON gateway do, with ours and a real etcd's: watches, Patroni's calls, etcd3gw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import etcd3gw
import pytest

from .gateways import Side, Streamed, coded, masked, running, same

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    yield from running(tmp_path_factory.mktemp("sides"))


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
        found = self.whole_cluster()
        ends = {"key": coded(self.PREFIX), "range_end": coded(self.PREFIX[:-1] + "0")}
        create = {**ends, "start_revision": found["header"]["revision"], "filters": []}
        watch = Streamed(self.side, "/v3/watch", json.dumps({"create_request": create}))
        self.told.append(watch.line())
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
        self.watched(watch)
        return self.told

    def watched(self, watch: Streamed) -> None:
        """All that it was told, event by event: how many come in one message is a matter of time."""
        kept = coded(self.PREFIX + "members/two")
        while True:
            text = watch.response.readline().decode()
            for number, lease in enumerate(self.leases):
                text = text.replace(lease, f"lease {number}")
            for event in json.loads(text)["result"].get("events", []):
                self.told.append(json.dumps(event))
                if event.get("type") == "DELETE" and event["kv"]["key"] == kept:
                    watch.close()
                    return


def test_patronis_calls_are_answered_as_etcd_does(sides):
    ours, theirs = (Patroni(side).life() for side in sides)
    assert ours == theirs
    assert "authentication is not enabled" in " ".join(ours) and "lease not found" in " ".join(ours)


WATCHED = [
    [{"create_request": {"key": coded("seen"), "prev_kv": True}}],
    [{"create_request": {"key": coded("seen"), "filters": ["NODELETE"], "watch_id": "7"}}],
    [{"create_request": {"key": coded("seen"), "filters": [0]}}, {"progress_request": {}}],
    [{"create_request": {"key": coded("see"), "range_end": coded("sef"), "progress_notify": True, "fragment": True}}],
    [{"create_request": {"key": coded("seen")}}, {"create_request": {"key": coded("seen"), "watch_id": 3}}],
    [{"create_request": {"key": coded("seen")}}, {"cancel_request": {"watch_id": "0"}}],
    [{"create_request": {"key": coded("seen"), "range_end": coded("a")}}],
]


@pytest.mark.parametrize("asks", WATCHED, ids=str)
def test_watches(sides, asks):
    """Each has its first answers, and then what happens to the key."""
    body = "".join(json.dumps(ask) for ask in asks)
    streams = [Streamed(side, "/v3/watch", body) for side in sides]
    try:
        told = [[stream.line() for _ in asks] for stream in streams]
        for change in ("put", "put", "deleterange"):
            same(sides, f"/v3/kv/{change}", json.dumps({"key": coded("seen"), "value": coded(change)}))
        if len(asks) == 1 and "canceled" not in told[0][0]:
            hidden = {"NODELETE": 2, 0: 1}.get((asks[0]["create_request"].get("filters") or [None])[0], 3)
            told = [
                [*lines, *[stream.line() for _ in range(hidden)]] for lines, stream in zip(told, streams, strict=True)
            ]
        assert told[0] == told[1]
        assert [stream.response.status for stream in streams] == [200, 200]
    finally:
        for stream in streams:
            stream.close()


def test_a_watch_of_what_was_compacted(sides):
    for _ in range(3):
        _, _, text = same(sides, "/v3/kv/put", json.dumps({"key": coded("old"), "value": coded("x")}))
    revision = int(re.search(r'"revision":"(\d+)"', text)[1])
    same(sides, "/v3/kv/compaction", json.dumps({"revision": revision - 1}))
    for start in (revision - 2, revision - 1):
        ask = json.dumps({"create_request": {"key": coded("old"), "start_revision": start}})
        streams = [Streamed(side, "/v3/watch", ask) for side in sides]
        told = [[stream.line(), stream.line()] for stream in streams]
        assert told[0] == told[1] and ("compact_revision" in told[0][1]) == (start == revision - 2)
        for stream in streams:
            stream.close()


def test_who_observes_an_election(sides):
    same(sides, "/v3/lease/grant", json.dumps({"TTL": 500, "ID": 99}))
    ask = {"name": coded("seat"), "lease": 99, "value": coded("me")}
    _, _, text = same(sides, "/v3/election/campaign", json.dumps(ask))
    streams = [Streamed(side, "/v3/election/observe", json.dumps({"name": coded("seat")})) for side in sides]
    ours, theirs = (stream.line() for stream in streams)
    assert ours == theirs and '"value":"bWU="' in ours
    ask = {"leader": json.loads(text)["leader"], "value": coded("still me")}
    same(sides, "/v3/election/proclaim", json.dumps(ask))
    ours, theirs = (stream.line() for stream in streams)
    assert ours == theirs and coded("still me") in ours
    for stream in streams:
        stream.close()
    same(sides, "/v3/lease/revoke", json.dumps({"ID": 99}))


def test_etcd3gw_watches(sides):
    def session(side: Side) -> list[Any]:
        client = etcd3gw.Etcd3Client(port=side.server.client)
        events, cancel = client.watch_prefix("gw/watched/")
        client.put("gw/watched/a", "1")
        client.put("gw/watched/b", "2" * 50_000)
        client.delete("gw/watched/a")
        told = [next(events) for _ in range(3)]
        cancel()
        return [(event.get("type"), event["kv"]["key"], event["kv"].get("value")) for event in told]

    ours, theirs = (session(side) for side in sides)
    assert ours == theirs and ours[2][:2] == ("DELETE", b"gw/watched/a")


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
