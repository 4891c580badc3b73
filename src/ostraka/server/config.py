"""What a server is told when it starts, checked as a whole before anything is touched."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ostraka.errors import ConfigurationError
from ostraka.model.engine import Settings
from ostraka.model.ids import MILLISECOND, SECOND, Duration, NodeId
from ostraka.server import identity

DEFAULT_TOKEN = "etcd-cluster"  # etcd's default, so that the ids are etcd's too.
PROGRESS_EVERY: Duration = 600 * SECOND  # As in etcd.
LONGEST_ELECTION: Duration = 50_000 * MILLISECOND


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One member's configuration. URLs are `http://host:port`, times nanoseconds, sizes bytes."""

    name: str = "default"
    data_dir: Path = Path("default.ostraka")
    listen_client_urls: tuple[str, ...] = ("http://localhost:2379",)
    advertise_client_urls: tuple[str, ...] = ("http://localhost:2379",)
    listen_peer_urls: tuple[str, ...] = ("http://localhost:2380",)
    initial_advertise_peer_urls: tuple[str, ...] = ("http://localhost:2380",)
    initial_cluster: Mapping[str, tuple[str, ...]] = msgspec.field(
        default_factory=lambda: {"default": ("http://localhost:2380",)}
    )
    existing: bool = False  # The cluster already runs: never start a second one beside it.
    token: str = DEFAULT_TOKEN
    consensus: str = "raft"  # One of `consensus.engines.ENGINES`.
    settings: Settings = Settings()
    max_request_bytes: int = 1_572_864
    max_txn_ops: int = 128
    max_connections: int = 4096
    progress_every: Duration = PROGRESS_EVERY
    log_level: str = "info"

    def member_ids(self) -> dict[str, NodeId]:
        """The id of each initial member by its name."""
        return {name: identity.member_id(urls, self.token) for name, urls in self.initial_cluster.items()}

    def peer_addresses(self) -> dict[NodeId, str]:
        """The peer URL of each initial member, this one included, by its id."""
        ids = self.member_ids()
        return {ids[name]: urls[0] for name, urls in self.initial_cluster.items()}

    @property
    def me(self) -> NodeId:
        """This member's id."""
        return self.member_ids()[self.name]

    @property
    def cluster_id(self) -> int:
        return identity.cluster_id(self.member_ids().values())

    def request_bound(self) -> Duration:
        """How long a request may wait inside the server: etcd's 5 s and two election timeouts."""
        return 5_000 * MILLISECOND + 2 * self.settings.election_timeout


def check(config: ServerConfig) -> None:
    """Raise ConfigurationError, naming the cause and what to do, unless a member can start with this."""
    _check_times(config.settings)
    _check_engine(config)
    for flag, urls in (
        ("--listen-client-urls", config.listen_client_urls),
        ("--listen-peer-urls", config.listen_peer_urls),
    ):
        for url in urls:
            _check_bindable(flag, url)
    _check_cluster(config)
    for flag, number in (("max-request-bytes", config.max_request_bytes), ("max-txn-ops", config.max_txn_ops)):
        if number < 1:
            raise ConfigurationError(f"--{flag} is {number}: give a number of at least 1")


def _check_times(settings: Settings) -> None:
    heartbeat, election = settings.heartbeat // MILLISECOND, settings.election_timeout // MILLISECOND
    if heartbeat < 1:
        raise ConfigurationError(f"--heartbeat-interval is {heartbeat} ms: give at least 1")
    if election < 5 * heartbeat:
        raise ConfigurationError(
            f"--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]: "
            f"give an election timeout of at least {5 * heartbeat}"
        )
    if settings.election_timeout >= LONGEST_ELECTION:
        raise ConfigurationError(
            f"--election-timeout[{election}ms] is too long, and should be set less than "
            f"{LONGEST_ELECTION // MILLISECOND}ms"
        )
    if settings.lease > settings.election_timeout:
        raise ConfigurationError(
            f"--leader-lease is {settings.lease // MILLISECOND} ms: give at most the election timeout, {election} ms, "
            "since writes wait for it after the loss of a leader, or 0 for reads that ask a quorum"
        )


def _check_engine(config: ServerConfig) -> None:
    for flag, number in (("leader-lease", config.settings.lease), ("leader-priority", config.settings.priority)):
        if number and config.consensus != "raft":
            raise ConfigurationError(f"--{flag} works with --consensus raft only, not {config.consensus}: leave it out")


def _check_bindable(flag: str, url: str) -> None:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigurationError(
            f"{flag}: expected IP in URL for binding ({url}): a server listens on addresses of its own machine; "
            f"give localhost, an IP address, or 0.0.0.0 for all of them"
        ) from None


def _check_cluster(config: ServerConfig) -> None:
    initial = config.initial_cluster
    shown = ",".join(f"{name}={url}" for name, urls in initial.items() for url in urls)
    if config.name not in initial:
        raise ConfigurationError(
            f'couldn\'t find local name "{config.name}" in the initial cluster configuration: --initial-cluster is '
            f"{shown}; give --name one of these names, or add {config.name}=<its peer URL>"
        )
    seen: dict[str, str] = {}
    for name, urls in initial.items():
        for url in urls:
            if url in seen:
                raise ConfigurationError(
                    f"initial cluster {shown} has duplicate url {url} ({seen[url]} and {name}): "
                    "each member needs a peer URL of its own"
                )
            seen[url] = name
    mine, advertised = sorted(initial[config.name]), sorted(config.initial_advertise_peer_urls)
    if mine != advertised:
        raise ConfigurationError(
            f"--initial-cluster has {','.join(f'{config.name}={url}' for url in mine)} but "
            f"--initial-advertise-peer-urls={','.join(advertised)}: they must be the same URLs, or the other members "
            "would look for this one in the wrong place"
        )
    if 0 in config.member_ids().values():
        raise ConfigurationError(f"a member id of {shown} came out as 0: change --initial-cluster-token")


def parse_urls(flag: str, text: str) -> tuple[str, ...]:
    """The URLs of a comma-separated list, sorted as etcd sorts them. Raises ConfigurationError."""
    urls = [part.strip() for part in text.split(",") if part.strip()]
    if not urls:
        raise ConfigurationError(f"{flag} is empty: give at least one URL, such as http://localhost:2379")
    return tuple(sorted(_checked_url(flag, url) for url in urls))


def _checked_url(flag: str, url: str) -> str:
    scheme, found, rest = url.partition("://")
    if scheme in ("https", "unixs"):
        raise ConfigurationError(f"{flag}: {url}: TLS is not built yet; use http:// on a network that you trust")
    if not found or scheme != "http":
        raise ConfigurationError(f"{flag}: URL scheme must be http: {url}: give http://host:port")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{flag}: {url}: {error}") from None
    if not host or port is None:
        raise ConfigurationError(f'{flag}: URL address does not have the form "host:port": {url}')
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{flag}: URL must not contain a path: {url}")
    return f"http://{rest.rstrip('/')}"


def parse_cluster(flag: str, text: str) -> dict[str, tuple[str, ...]]:
    """`name=url,name=url,…` by name; a name may come again with another URL. Raises ConfigurationError."""
    cluster: dict[str, list[str]] = {}
    for part in text.split(","):
        name, found, url = part.strip().partition("=")
        if not found or not name:
            raise ConfigurationError(f"{flag}: {part!r} is not of the form name=http://host:port")
        cluster.setdefault(name, []).append(_checked_url(flag, url))
    return {name: tuple(sorted(urls)) for name, urls in cluster.items()}


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of a URL that `parse_urls` has passed."""
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None, url
    return parts.hostname, parts.port
