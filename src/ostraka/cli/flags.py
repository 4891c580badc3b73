"""etcd's flags, and what each of them means here.

Three kinds: a flag that works; one that promises safety which is not built yet, so giving it is an
error; and one without meaning here, accepted with a warning so that etcd's start scripts run.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """How a flag's text is read."""

    TEXT = "string"
    NUMBER = "number"
    BOOLEAN = "true|false"


class Flag(NamedTuple):
    """One flag of `ostraka serve`, and one key of its configuration file."""

    name: str
    kind: Kind
    default: str
    help: str


def _words(text: str) -> list[str]:
    return text.split()


T, N, B = Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN

WORKING: tuple[Flag, ...] = (
    Flag("name", T, "default", "Human-readable name of this member."),
    Flag("data-dir", T, "${name}.ostraka", "Path of the data directory."),
    Flag("listen-client-urls", T, "http://localhost:2379", "Where to listen for clients, comma-separated."),
    Flag("advertise-client-urls", T, "http://localhost:2379", "Where clients reach this member."),
    Flag("listen-peer-urls", T, "http://localhost:2380", "Where to listen for the other members."),
    Flag("initial-advertise-peer-urls", T, "http://localhost:2380", "Where the others reach this member."),
    Flag("initial-cluster", T, "default=http://localhost:2380", "All members: name=peer URL, comma-separated."),
    Flag("initial-cluster-state", T, "new", "'new', or 'existing' for a member of a cluster that already runs."),
    Flag("initial-cluster-token", T, "etcd-cluster", "Keeps clusters with the same URLs apart."),
    Flag("consensus", T, "raft", "How members agree: raft or multipaxos. The same for all, from the first start on."),
    Flag("snapshot-count", N, "1000", "Entries after which the log is compacted."),
    Flag("heartbeat-interval", N, "100", "Milliseconds between a leader's heartbeats."),
    Flag("election-timeout", N, "1000", "Milliseconds without a leader before an election."),
    Flag("leader-priority", N, "0", "A voter with a higher number leads: others hand over once it has caught up."),
    Flag(
        "leader-lease",
        N,
        "0",
        "Milliseconds for which a leader serves linearizable reads alone after it proposed an entry; 0: it\n"
        "      asks a quorum. At most the election timeout. The price: the next leader's writes wait until that\n"
        "      time, and the drift, have passed since its log last grew, or since it started. The promise: clocks\n"
        "      drift apart by less than --clock-drift, and none stops (as where a virtual machine is paused).",
    ),
    Flag("clock-drift", N, "20", "Percent by which one member's clock may run faster than another's (leader-lease)."),
    Flag("max-request-bytes", N, "1572864", "The largest request of a client, in bytes."),
    Flag("max-txn-ops", N, "128", "How many operations a transaction may have."),
    Flag(
        "watch-progress-notify-interval", T, "10m", "How often quiet watches that ask for it are told their progress."
    ),
    Flag("experimental-watch-progress-notify-interval", T, "10m", "The same, under its older name."),
    Flag("log-level", T, "info", "debug, info, warn or error."),
    Flag("config-file", T, "", "Path of a YAML file with these names as keys; flags and variables win over it."),
)

# Giving one of these a value other than the neutral ones asks for safety that isn't there.
UNBUILT: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(
        _words(
            "cert-file key-file trusted-ca-file ca-file client-crl-file client-cert-allowed-hostname "
            "peer-cert-file peer-key-file peer-trusted-ca-file peer-ca-file peer-crl-file peer-cert-allowed-cn "
            "peer-cert-allowed-hostname cipher-suites tls-min-version tls-max-version client-cert-file "
            "client-key-file peer-client-cert-file peer-client-key-file"
        ),
        (T, "TLS"),
    ),
    **dict.fromkeys(_words("client-cert-auth auto-tls peer-client-cert-auth peer-auto-tls"), (B, "TLS")),
    "auth-token": (T, "authentication"),
    "quota-backend-bytes": (N, "the space quota"),
    "host-whitelist": (T, "checking the Host header"),
    "experimental-initial-corrupt-check": (B, "the corruption check"),
    "experimental-corrupt-check-time": (T, "the corruption check"),
    "experimental-compact-hash-check-enabled": (B, "the corruption check"),
    "corrupt-check-time": (T, "the corruption check"),
    "compact-hash-check-time": (T, "the corruption check"),
    "force-new-cluster": (B, "recovery after the loss of a majority"),
    "proxy": (T, "the proxy mode"),
    "discovery": (T, "bootstrap by discovery"),
    "discovery-srv": (T, "bootstrap by discovery"),
    "discovery-endpoints": (T, "bootstrap by discovery"),
    "discovery-token": (T, "bootstrap by discovery"),
}

# A value by which such a flag says that the safety isn't asked for; "" is one for each of them.
NEUTRAL: dict[str, tuple[str, ...]] = {
    "quota-backend-bytes": ("0",),
    "host-whitelist": ("*",),
    "proxy": ("off",),
    "experimental-corrupt-check-time": ("0s", "0"),
    "corrupt-check-time": ("0s", "0"),
}

_BOOLEANS_WITHOUT_MEANING = _words(
    "initial-election-tick-advance strict-reconfig-check pre-vote enable-v2 socket-reuse-port socket-reuse-address "
    "enable-pprof enable-log-rotation unsafe-no-fsync debug experimental-enable-distributed-tracing "
    "enable-distributed-tracing experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist "
    "experimental-peer-skip-client-san-verification experimental-txn-mode-write-with-shared-buffer "
    "experimental-memory-mlock experimental-stop-grpc-service-on-defrag memory-mlock "
    "experimental-max-learners-check v2-compat"
)
_TEXTS_WITHOUT_MEANING = _words(
    "wal-dir max-snapshots max-wals backend-bbolt-freelist-type backend-batch-interval backend-batch-limit "
    "max-concurrent-streams grpc-keepalive-min-time grpc-keepalive-interval grpc-keepalive-timeout "
    "discovery-fallback discovery-proxy discovery-srv-name discovery-dial-timeout discovery-request-timeout "
    "discovery-keepalive-time discovery-keepalive-timeout auto-compaction-retention auto-compaction-mode "
    "v2-deprecation self-signed-cert-validity cors bcrypt-cost auth-token-ttl metrics listen-metrics-urls "
    "listen-client-http-urls logger log-outputs log-format log-package-levels log-rotation-config-json "
    "experimental-distributed-tracing-address experimental-distributed-tracing-service-name "
    "experimental-distributed-tracing-instance-id experimental-distributed-tracing-sampling-rate "
    "distributed-tracing-address distributed-tracing-service-name distributed-tracing-instance-id "
    "distributed-tracing-sampling-rate proxy-failure-wait proxy-refresh-interval proxy-dial-timeout "
    "proxy-write-timeout proxy-read-timeout experimental-enable-v2v3 experimental-compaction-batch-limit "
    "experimental-compaction-sleep-interval "
    "experimental-warning-apply-duration experimental-warning-unary-request-duration "
    "experimental-downgrade-check-time experimental-max-learners experimental-compact-hash-check-time "
    "experimental-bootstrap-defrag-threshold-megabytes experimental-snapshot-catchup-entries "
    "bootstrap-defrag-threshold-megabytes compaction-batch-limit compaction-sleep-interval downgrade-check-time "
    "max-learners snapshot-catchup-entries warning-apply-duration warning-unary-request-duration "
    "feature-gates"
)

WITHOUT_MEANING: dict[str, Kind] = {
    **dict.fromkeys(_BOOLEANS_WITHOUT_MEANING, B),
    **dict.fromkeys(_TEXTS_WITHOUT_MEANING, T),
}

# What a warning adds where the general sentence would mislead.
NOTES: dict[str, str] = {
    "unsafe-no-fsync": "this server always syncs",
    "wal-dir": "the log stays in --data-dir",
    "auto-compaction-retention": "nothing is compacted by time yet",
    "auto-compaction-mode": "nothing is compacted by time yet",
    "listen-metrics-urls": "/metrics and /health are served at --listen-client-urls",
    "pre-vote": "it is always on",
    "strict-reconfig-check": "it is always on",
    "log-outputs": "the log goes to the standard error output",
}

KINDS: dict[str, Kind] = {
    **{flag.name: flag.kind for flag in WORKING},
    **{name: kind for name, (kind, _) in UNBUILT.items()},
    **WITHOUT_MEANING,
}


def usage() -> str:
    """The text of `ostraka serve --help`."""
    lines = [
        "Usage: ostraka serve [flags]",
        "",
        "Run one member of a cluster. The flags are etcd's, and a few of our own.",
        "",
    ]
    for flag in WORKING:
        lines += [f"  --{flag.name} '{flag.default}'", f"      {flag.help}"]
    lines += [
        "",
        "A flag wins over the variable OSTRAKA_<FLAG>, that over ETCD_<FLAG>, that over the file of --config-file.",
        "Flags for TLS, authentication and the quota are errors until those are built; etcd's other flags are",
        "accepted with a warning.",
    ]
    return "\n".join(lines)
