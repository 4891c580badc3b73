"""Leases on real processes: the death of a leader ends none that is kept alive, and keeps none that isn't."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.cli.cluster import Cluster, Node
from tests.process.conftest import Start
from tests.process.recorder import leader_of, until

LEASE = "/etcdserverpb.Lease/Lease"
KEPT, LEFT = 10, 10
TTL = 5
PATIENCE = 60.0


def ask(cluster: Cluster, path: str, request: Any) -> Any:
    """The answer of any node, whatever becomes of the others."""
    method = METHODS[path]
    give_up = time.monotonic() + PATIENCE
    while True:
        for node in cluster.nodes:
            with grpc.insecure_channel(node.endpoint) as channel:
                call = channel.unary_unary(path, method.request.SerializeToString, method.response.FromString)
                try:
                    return call(request, timeout=5)
                except grpc.RpcError as error:
                    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
        assert time.monotonic() < give_up, f"nobody answers {path}"


class Keeper:
    """Keeps leases alive, three times in a TTL, through any node that answers. It never forgets one that was lost."""

    def __init__(self, cluster: Cluster, leases: list[int]) -> None:
        self.cluster, self.leases = cluster, leases
        self.lost: set[int] = set()
        self.rounds = 0
        self.longest = 0.0  # Seconds between two rounds that all leases had.
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _requests(self) -> Iterator[Any]:
        for lease in self.leases:
            yield etcd.LeaseKeepAliveRequest(ID=lease)

    def _run(self) -> None:
        method = METHODS[f"{LEASE}KeepAlive"]
        last = time.monotonic()
        number = 0
        while not self._over.wait(0 if number else TTL / 3):
            node = self.cluster.nodes[number % len(self.cluster.nodes)]
            with grpc.insecure_channel(node.endpoint) as channel:
                keep = channel.stream_stream(method.path, method.request.SerializeToString, method.response.FromString)
                try:
                    replies = list(keep(self._requests(), timeout=TTL / 3))
                except grpc.RpcError:
                    number += 1  # Another one, at once.
                    continue
            self.lost |= {reply.ID for reply in replies if not reply.TTL}
            self.longest = max(self.longest, time.monotonic() - last)
            last = time.monotonic()
            self.rounds += 1
            if self._over.wait(TTL / 3):
                break
            number += 1


def test_the_death_of_leaders_ends_no_lease_that_is_kept_and_keeps_none_that_is_not(start: Start) -> None:
    cluster = start(3)
    for lease in range(1, KEPT + LEFT + 1):
        ask(cluster, f"{LEASE}Grant", etcd.LeaseGrantRequest(ID=lease, TTL=TTL))
        ask(cluster, "/etcdserverpb.KV/Put", etcd.PutRequest(key=b"%d" % lease, lease=lease))
    kept = list(range(1, KEPT + 1))
    with Keeper(cluster, kept) as keeper:
        for _ in range(3):
            rounds = keeper.rounds
            until(lambda: leader_of(cluster.nodes) is not None, "somebody leads", cluster)
            leader = leader_of(cluster.nodes)
            assert isinstance(leader, Node)
            leader.kill()
            until(lambda rounds=rounds: keeper.rounds > rounds, "leases are kept alive without it", cluster)
            cluster.launch(leader)
            cluster.await_ready()
        until(lambda: held(cluster) <= set(kept), "the others are gone", cluster)
    if keeper.longest < TTL:  # Else this computer was too slow to keep anything alive.
        assert not keeper.lost, f"lost {keeper.lost}; they were never left alone for longer than {keeper.longest:.1f} s"
        found = ask(cluster, "/etcdserverpb.KV/Range", etcd.RangeRequest(key=b"\0", range_end=b"\0"))
        assert {pair.lease for pair in found.kvs} == set(kept)
    until(lambda: not held(cluster), "all are gone, once nobody keeps them", cluster)


def held(cluster: Cluster) -> set[int]:
    return {each.ID for each in ask(cluster, f"{LEASE}Leases", etcd.LeaseLeasesRequest()).leases}
