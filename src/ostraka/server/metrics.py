"""/metrics: what the node and the services have counted, under the names that etcd's dashboards and alerts know.

Nothing is kept here: each scrape reads the plain counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ostraka.api.services import METHODS
from ostraka.database.commands import Inspect, Overview
from ostraka.database.lease import Count, Counts
from ostraka.model.machine import Outcome
from ostraka.model.requests import Entry
from ostraka.node.metrics import BOUNDS, Histogram
from ostraka.server.member import Member
from ostraka.server.version import CLUSTER_VERSION, SERVER_VERSION
from ostraka.transport.http2.errors import Status

FSYNC: Final = "wal."  # Sync points of the write-ahead log begin so,
COMMIT: Final = "table."  # and those of the table so.


class Traffic:
    """What the listener and the peers' network have moved. Bytes."""

    def __init__(self, peer_bytes: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        """`peer_bytes`: sent and received so far."""
        self.peer_bytes: Final = peer_bytes
        self.sent = 0
        self.received = 0
        self.connections = 0
        self.lateness: Final = Histogram()  # How late the loop came to its regular look at deadlines.


class Changes:
    """Keys that were set and deleted here since the start of the process: an observer of the group."""

    def __init__(self) -> None:
        self.puts = 0
        self.deletes = 0

    def __call__(self, entry: Entry, outcome: Outcome) -> None:
        changes = outcome.changes
        if changes:
            deletes = sum([change.new is None for change in changes])
            self.deletes += deletes
            self.puts += len(changes) - deletes


def registry_of(member: Member, traffic: Traffic) -> CollectorRegistry:
    """What a scrape of this member shows. From now on its changes are counted."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(NodeCollector(member, traffic))
    return registry


class NodeCollector(Collector):
    """Reads one member's counters."""

    def __init__(self, member: Member, traffic: Traffic) -> None:
        self.member: Final = member
        self.traffic: Final = traffic
        self.changes: Final = Changes()
        member.group.observers.append(self.changes)

    def describe(self) -> list[Metric]:
        """Nothing: names need not be known before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._server()
        yield from self._state()
        yield from self._keys()
        yield from self._leases()
        yield from self._watches()
        yield from self._disk()
        yield from self._network()
        yield from self._calls()

    def _server(self) -> Iterator[Metric]:
        group, counts = self.member.group, self.member.host.metrics
        leads = group.leader == self.member.id
        yield _gauge("etcd_server_has_leader", "1 if a leader is known.", int(group.leader != 0))
        yield _gauge("etcd_server_is_leader", "1 if this member leads.", int(leads))
        yield _gauge("etcd_server_is_learner", "1 if this member only learns.", int(self._learns()))
        yield _counter("etcd_server_leader_changes_seen", "Changes of the leader seen.", counts.leader_changes)
        yield _counter(
            "etcd_server_proposals_committed", "The last entry known to be committed.", group.status().commit
        )
        yield _counter("etcd_server_proposals_applied", "The last entry executed here.", group.applied)
        yield _gauge("etcd_server_proposals_pending", "Calls that wait for the group.", len(self.member.waiting))
        yield _counter("etcd_server_proposals_failed", "Requests that could not be ordered.", counts.proposals_failed)
        yield _counter("ostraka_requests_executed", "Requests executed here.", counts.proposals_applied)
        yield _counter("ostraka_messages_discarded", "Peers' messages not acted upon.", counts.messages_discarded)
        yield _counter("ostraka_frames_undecodable", "Peers' frames that made no sense.", counts.frames_undecodable)
        yield _counter("ostraka_snapshots_taken", "Snapshots held for peers.", counts.snapshots_taken)
        yield _counter("ostraka_snapshots_installed", "Snapshots installed here.", counts.snapshots_installed)
        yield _counter("ostraka_flushes", "Flushes of the table.", counts.flushes)
        yield _gauge("ostraka_term", "The engine's epoch.", self.member.term)
        for name, label, value in (
            ("etcd_server_version", "server_version", SERVER_VERSION),
            ("etcd_cluster_version", "cluster_version", CLUSTER_VERSION.rpartition(".")[0]),
            ("etcd_server_id", "server_id", f"{self.member.id:x}"),
        ):
            labelled = GaugeMetricFamily(name, "1, labelled.", labels=[label])
            labelled.add_metric([value], 1)
            yield labelled

    def _learns(self) -> bool:
        return self.member.id in self.member.group.meta.members.learners

    def _state(self) -> Iterator[Metric]:
        size = self.member.size()
        yield _gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the table's files.", size)
        in_use = min(size, self.member.host.store.live_size())
        yield _gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of files that hold what is there.", in_use)
        yield _gauge("etcd_server_quota_backend_bytes", "The space quota; 0: none.", 0)
        overview: Overview | None = None if self.member.failed else self.member.query(Inspect())
        if overview is not None:
            yield _gauge("etcd_debugging_mvcc_current_revision", "The current revision.", overview.revision)
            yield _gauge("etcd_debugging_mvcc_compact_revision", "The last compaction.", overview.compact_revision)

    def _keys(self) -> Iterator[Metric]:
        changes = self.changes
        ranges, transactions = (
            self.member.tally(f"/etcdserverpb.KV/{name}").handled[Status.OK] for name in ("Range", "Txn")
        )
        yield _counter("etcd_mvcc_put", "Keys set here.", changes.puts)
        yield _counter("etcd_mvcc_delete", "Keys deleted here.", changes.deletes)
        yield _counter("etcd_mvcc_range", "Ranges answered.", ranges)
        yield _counter("etcd_debugging_mvcc_range", "Ranges answered.", ranges)
        yield _counter("etcd_mvcc_txn", "Transactions answered.", transactions)
        yield _counter("etcd_debugging_mvcc_events", "Changes of keys.", changes.puts + changes.deletes)

    def _leases(self) -> Iterator[Metric]:
        counts: Counts | None = None if self.member.failed else self.member.query(Count())
        if counts is not None:
            yield _gauge("ostraka_leases", "Leases that there are.", counts.leases)
            yield _counter("etcd_debugging_lease_granted", "Leases granted.", counts.granted)
            yield _counter("etcd_debugging_lease_renewed", "Renewals of leases.", counts.renewed)
            yield _counter("etcd_debugging_lease_revoked", "Leases revoked, or at their end.", counts.revoked)

    def _watches(self) -> Iterator[Metric]:
        watch = self.member.watch
        if watch is None:
            return
        watchers = watch.watchers
        yield _gauge("etcd_debugging_mvcc_watch_stream_total", "Streams that watch.", len(watch.streams))
        yield _gauge("etcd_debugging_mvcc_watcher_total", "Watches.", watchers.count)
        yield _gauge("etcd_debugging_mvcc_slow_watcher_total", "Watches told from the history.", watchers.slow)
        yield _gauge("ostraka_watch_bytes_held", "Bytes of changes that wait to be told.", watchers.held)
        yield _counter("ostraka_watch_events_sent", "Events sent to watches.", watch.events)

    def _disk(self) -> Iterator[Metric]:
        syncs = self.member.host.metrics.syncs
        for name, prefix, text in (
            ("etcd_disk_wal_fsync_duration_seconds", FSYNC, "Syncs of the write-ahead log."),
            ("etcd_disk_backend_commit_duration_seconds", COMMIT, "Flushes of the table."),
            ("etcd_disk_backend_defrag_duration_seconds", "defrag", "Defragmentations of the table."),
        ):
            yield _histogram(name, text, [syncs[point] for point in sorted(syncs) if point.startswith(prefix)])

    def _network(self) -> Iterator[Metric]:
        sent, received = self.traffic.peer_bytes()
        yield _counter("etcd_network_peer_sent_bytes", "Bytes sent to peers.", sent)
        yield _counter("etcd_network_peer_received_bytes", "Bytes received from peers.", received)
        yield _counter("etcd_network_client_grpc_sent_bytes", "Bytes sent to gRPC clients.", self.traffic.sent)
        yield _counter("etcd_network_client_grpc_received_bytes", "Bytes from gRPC clients.", self.traffic.received)
        yield _gauge("ostraka_client_connections", "Clients' open connections.", self.traffic.connections)
        yield _histogram("ostraka_loop_lateness_seconds", "How late timers ring: stalls.", [self.traffic.lateness])

    def _calls(self) -> Iterator[Metric]:
        labels = ["grpc_type", "grpc_service", "grpc_method"]
        started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=labels)
        handled = CounterMetricFamily("grpc_server_handled", "Calls ended.", labels=[*labels, "grpc_code"])
        requests = CounterMetricFamily(
            "etcd_server_client_requests", "Calls begun.", labels=["type", "client_api_version"]
        )
        count = {"unary": 0, "stream": 0}
        for path, tally in self.member.tallies.items():
            if not tally.started:
                continue
            _, service, method = path.split("/")
            kind = grpc_type(path)
            count["unary" if kind == "unary" else "stream"] += tally.started
            started.add_metric([kind, service, method], tally.started)
            for status, number in enumerate(tally.handled):
                if number:
                    handled.add_metric([kind, service, method, code_name(status)], number)
        for kind in sorted(count):
            requests.add_metric([kind, "unknown"], count[kind])
        yield from (started, handled, requests)


def grpc_type(path: str) -> str:
    """What kind of method it is, in the words of gRPC's metrics."""
    method = METHODS[path]
    match method.client_streaming, method.server_streaming:
        case False, False:
            return "unary"
        case False, True:
            return "server_stream"
        case _:
            return "bidi_stream"


def code_name(status: int) -> str:
    """A status as grpc-go names it: `DeadlineExceeded`."""
    match status:
        case Status.OK:
            return "OK"
        case Status.CANCELLED:
            return "Canceled"
        case _:
            return Status(status).name.title().replace("_", "")


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, parts: list[Histogram]) -> Metric:
    buckets: list[tuple[str, float]] = []
    below = 0
    for number, bound in enumerate((*BOUNDS, float("inf"))):
        below += sum(part.counts[number] for part in parts)
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:.4f}", below))
    family = HistogramMetricFamily(name, text)
    family.add_metric([], buckets, sum_value=sum(part.total for part in parts))
    return family
