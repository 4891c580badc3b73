"""One serving process: it makes the real clock, disk, store and network, and puts node and services on them.

A crash at any moment is as good as an orderly stop: stopping only spares clients and peers some waiting.
The collector of cyclic garbage is told to leave alone what exists at the start, and to look rarely at the rest: the
hot path makes no cycles. The interpreter's switch interval is shortened, or a finished fsync would wait for up to
5 ms until its thread may say so.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ostraka.consensus.engines import ENGINES
from ostraka.database.commands import Failure, MemberInfo
from ostraka.database.machine import Database
from ostraka.errors import ConfigurationError, Corruption, OstrakaError, Removed, StorageError, WrongIdentity
from ostraka.model.ids import MILLISECOND, Instant, NodeId
from ostraka.model.requests import Members as Configuration
from ostraka.node.group import Group
from ostraka.node.host import DEFAULT_GROUP, Host
from ostraka.node.metrics import NodeMetrics
from ostraka.server import beginning
from ostraka.server.cluster import known_members
from ostraka.server.config import ServerConfig, endpoint
from ostraka.server.expiry import Expiry
from ostraka.server.http import HttpFront, Pages
from ostraka.server.listener import Listener, bind
from ostraka.server.member import Member
from ostraka.server.metrics import Traffic, registry_of
from ostraka.server.roster import Roster, other_disk, was_removed
from ostraka.server.services import router_of
from ostraka.storage.damage import set_aside
from ostraka.storage.disk import Disk, ThreadDisk
from ostraka.storage.hard_state import HardStates
from ostraka.storage.identity import Identity
from ostraka.storage.table import RocksStore, Store
from ostraka.storage.wal import require_known_format
from ostraka.transport import wire
from ostraka.transport.network import Network
from ostraka.transport.tcp import TcpNetwork

SWITCH_INTERVAL: Final = 0.0005  # Seconds.
TABLE: Final = "table"  # Where in the data directory the state is.
MOST_FILES: Final = 10_240  # Open files. No more than macOS gives.
RESERVED: Final = 640  # Open files that clients' connections leave to the table (512 at most), the log and the peers.

log = logging.getLogger("ostraka.server")
_CONNECTIONS: Final = frozenset({"protocol", "transport", "task", "future", "socket"})
"""What a loop names if something went wrong with one connection, or with accepting one: not with the node."""

ready_log = logging.getLogger("ostraka.ready")  # Its line is shown at every log level: scripts wait for it.


class LoopClock:
    """`node.clock.Clock` on an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        # A leader lease must not outlast the sleep of a machine, so this clock goes on in it (on Linux).
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        self.now: Callable[[], Instant] = (
            time.monotonic_ns if boottime is None else partial(time.clock_gettime_ns, boottime)
        )
        self.call_soon: Callable[[Callable[[], None]], Any] = loop.call_soon

    def call_at(self, when: Instant, callback: Callable[[], None]) -> asyncio.TimerHandle:
        # Loops count in milliseconds: rounded down, a timer would ring before its time.
        milliseconds = -(-(when - self.now()) // MILLISECOND)
        return self._loop.call_later(max(milliseconds, 0) / 1000, callback)


class Server:
    """A member of a cluster, from its sockets to its disk."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: ServerConfig, joined: beginning.Joined | None = None
    ) -> None:
        """Opens everything, and takes part in nothing yet. `joined`: what a newcomer was told of its cluster.

        Raises OstrakaError, OSError.
        """
        self.loop: Final = loop
        self.config: Final = config
        self.outcome: Final[asyncio.Future[str]] = loop.create_future()  # Why to stop; "" is in order.
        self._closers: Final[list[Callable[[], object]]] = []
        self._metrics: Final = NodeMetrics()
        self._dice: Final = random.SystemRandom()
        self._clients: list[socket.socket] = []
        self._joined: Final = joined
        self._addresses: Mapping[NodeId, str] = {}
        self.disk: ThreadDisk
        self.host: Host
        self.group: Group
        self.member: Member
        self.listener: Listener
        try:
            self._open()
        except (OstrakaError, OSError):
            self.close()
            raise

    def _open(self) -> None:
        config, loop = self.config, self.loop
        self._clients = self._listen("--listen-client-urls", config.listen_client_urls)
        peers = self._listen("--listen-peer-urls", config.listen_peer_urls)
        disk = self.disk = self._open_disk()
        self._closers.append(disk.close)
        identity, birth = beginning.begin(config, disk, self._dice, self._joined)
        self._addresses = beginning.addresses(birth)
        require_known_format(disk)  # All formats are known before anything is written, and to open the table writes.
        HardStates(disk)
        store = self._open_table()
        self._closers.append(store.close)
        network = TcpNetwork(loop, hello_of(config, *identity), peers, self._admit)
        network.tell_roster = self._tell_roster
        self._closers.append(network.close)
        self.host = self._make_host(identity, disk, store, network)
        voters = Configuration(birth.voters)
        self.group = self.host.open_group(DEFAULT_GROUP, ENGINES[config.consensus], Database, voters, config.settings)
        urls = config.initial_cluster[config.name]
        me = MemberInfo(identity.member, config.name, urls, config.advertise_client_urls)
        self.roster = Roster(self.host, self.group, birth, me, config.settings.election_timeout // 2)
        self.roster.announced = self._announced
        network.was_removed = partial(was_removed, self.host, self.group)
        if network.was_removed(identity.member):
            raise self._removed()
        self._make_services(Traffic(lambda: (network.sent_bytes, network.received_bytes)))

    def _open_disk(self) -> ThreadDisk:
        directory = self.config.data_dir
        try:
            refuse_foreign(directory)
            return ThreadDisk(directory, self.loop.call_soon_threadsafe, self._metrics.observe_sync)
        except OSError as error:
            raise ConfigurationError(
                f"--data-dir: {directory} can't be used: {error.strerror}; give a directory that this user may make, "
                "or write to"
            ) from error

    def _open_table(self) -> RocksStore:
        """A damaged one makes room for a new one, where the log or the other members can fill that."""
        path = self.config.data_dir / TABLE
        make = partial(RocksStore, path, self.loop.call_soon_threadsafe, self._metrics.observe_sync)
        try:
            return make()
        except Corruption as damage:
            if len(self._addresses) < 3:
                raise Corruption(
                    f"{damage}; there is no quorum without this member from which it could be rebuilt: restore the "
                    "data directory from a backup"
                ) from damage
            log.warning(
                "%s: it is kept as %s, and a new one is filled from the log or the others", damage, set_aside(path)
            )
            return make()

    def _make_host(self, identity: Identity, disk: Disk, store: Store, network: Network) -> Host:
        host = Host(
            identity=identity,
            clock=LoopClock(self.loop),
            disk=disk,
            store=store,
            network=network,
            dice=random.Random(self._dice.getrandbits(64)),
            addresses=self._addresses,
            metrics=self._metrics,
            say=partial(log.warning, "%s"),
        )
        self._closers.append(host.stop)
        host.on_failure = self._failed
        return host

    def _make_services(self, traffic: Traffic) -> None:
        config = self.config
        self.member = Member(
            self.host,
            self.group,
            self._addresses,
            bound=config.request_bound(),
            patience=3 * config.settings.election_timeout,
            max_request_bytes=config.max_request_bytes,
            max_txn_ops=config.max_txn_ops,
            size=lambda: directory_size(config.data_dir / TABLE),
        )
        router = router_of(self.member, config.progress_every)
        front = HttpFront(Pages(self.member, registry_of(self.member, traffic), router), self.loop)
        most = min(config.max_connections, connections_allowed(raise_file_limit()))
        self.listener = Listener(self.loop, self.member, router, front, traffic, most)

    def _listen(self, flag: str, urls: Sequence[str]) -> list[socket.socket]:
        sockets = []
        for url in urls:
            try:
                sock = bind(*endpoint(url))
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                reason = "address already in use by another process" if in_use else error.strerror
                raise ConfigurationError(f"{flag}: can't listen on {url}: {reason}; choose another address") from error
            self._closers.append(sock.close)
            sockets.append(sock)
        return sockets

    def _failed(self, failure: StorageError) -> None:
        match failure:
            case Removed():
                self.stop(str(self._removed()))
            case WrongIdentity():
                self.stop(f"the other members refuse this one: {failure}")
            case _:
                self.stop(f"the disk failed: {failure}")

    def _removed(self) -> Removed:
        """This member has no part in the cluster any more, and its directory says so from now on."""
        reason = f"member {self.host.identity.member:x} ({self.config.name}) was removed from the cluster"
        beginning.note_removal(self.config, reason)
        return Removed(f"{reason}: it takes no further part, and its data directory, {self.config.data_dir}, can go")

    def _tell_roster(self, tell: Callable[[wire.Roster | None], None]) -> None:
        """To a newcomer: the members as they are now, who may be more than this one has heard of."""

        def ready(error: OstrakaError | None) -> None:
            infos = known_members(self.member) if error is None else None
            listed = infos and tuple(wire.Listed(each.id, each.name, each.peer_urls) for each in infos)
            tell(wire.Roster(listed) if listed else None)

        self.group.read_index(ready)

    def _admit(self, hello: wire.Hello) -> str:
        return other_disk(self.host, self.group, hello.member, hello.disk)

    async def run(self) -> str:
        """Serve until `stop`; returns why it ended, "" for in order."""
        self.host.start()
        Expiry(self.host, self.group, self.config.settings.election_timeout).start()
        await self.listener.start(self._clients)
        self.roster.start()
        reason = await self.outcome
        await self.listener.stop()
        return reason

    def stop(self, reason: str = "") -> None:
        """End `run`. `reason` is empty for an orderly end."""
        if not self.outcome.done():
            self.outcome.set_result(reason)

    def close(self) -> None:
        """Let go of everything, in the reverse order of its opening."""
        while self._closers:
            try:
                self._closers.pop()()
            except StorageError as failure:  # Nothing depends on it: a crash would do as well.
                log.warning("while closing: %s", failure)

    def _announced(self, refused: Failure | None) -> None:
        """The cluster knows this member's name, client URLs and disk; or it won't have them."""
        if refused is not None:
            self.stop(f"the cluster refuses this member: {refused.message}")
            return
        me, name = self.host.identity.member, self.config.name
        for url in self.config.listen_client_urls:
            ready_log.info("ready to serve client requests on %s (member %x, %s)", url, me, name)

    def unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught. In the node's own turn it means that we are wrong, so the process ends."""
        error = context.get("exception")
        log.error("%s", context.get("message"), exc_info=error)
        if error is not None and not context.keys() & _CONNECTIONS:
            self.stop(f"a fault of this program: {type(error).__name__}: {error}; please report it with the log")

    def thread_died(self, fault: threading.ExceptHookArgs) -> None:
        """A thread met what nobody foresaw. Without the disk's thread nothing becomes durable, so the process ends."""
        log.error("thread %s", fault.thread and fault.thread.name, exc_info=fault.exc_value)
        reason = f"a fault of this program: {fault.exc_type.__name__}: {fault.exc_value}; please report it with the log"
        self.loop.call_soon_threadsafe(self.stop, reason)


def hello_of(config: ServerConfig, cluster: int = 0, member: NodeId = 0, disk: int = 0) -> wire.Hello:
    """How this process presents itself to the others; without ids, as a newcomer."""
    return wire.Hello(wire.MAGIC, wire.OLDEST_VERSION, wire.VERSION, cluster, member, disk, config.consensus, channel=0)


def refuse_foreign(data_dir: Path) -> None:
    """Never write beside the data of a real etcd. Raises WrongIdentity."""
    if (data_dir / "member" / "snap").is_dir():
        raise WrongIdentity(
            f"{data_dir} holds the data of an etcd, which this server can't read: give another --data-dir"
        )


def directory_size(path: Path) -> int:
    """Bytes of the files in it."""
    size = 0
    for entry in os.scandir(path):
        try:
            size += entry.stat().st_size
        except FileNotFoundError:
            continue  # The table has just thrown it away.
    return size


def raise_file_limit() -> int:
    """Let this process have as many open files as it may be given; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def connections_allowed(files: int) -> int:
    """How many clients' connections leave enough of so many open files: a log or table without one is a dead member."""
    return files - min(RESERVED, files // 2)


def tune_collector() -> None:
    """See the module's docstring."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def serve(config: ServerConfig, warnings: Iterable[str]) -> int:
    """Run a member until it is told to stop. The exit code: 0 for an orderly end, 1 otherwise."""
    if not __debug__:
        sys.stderr.write("ostraka serve: python -O removes checks that keep data safe: run it without -O\n")
        return 2
    _log_to_stderr(config.log_level)
    for warning in warnings:
        log.warning("%s", warning)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config))


async def _serve(config: ServerConfig) -> int:
    loop = asyncio.get_running_loop()
    try:
        joined = await beginning.join(config, hello_of(config)) if beginning.must_ask(config) else None
        server = Server(loop, config, joined)
    except (OstrakaError, OSError) as error:
        log.critical("can't start: %s%s", error, full_disk_advice(str(error), config.data_dir))
        return 1
    loop.set_exception_handler(server.unexpected)
    threading.excepthook = server.thread_died
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    log.info(
        "member %x of cluster %x: %s, data in %s",
        server.member.id,
        server.member.cluster_id,
        "joining" if joined else f"{len(server.group.status().members.everyone())} members",
        config.data_dir,
    )
    tune_collector()
    try:
        reason = await server.run()
        if reason:  # Said before all is closed, since a broken disk may never let go.
            log.critical("%s%s", reason, full_disk_advice(reason, config.data_dir))
    finally:
        server.close()
    if reason:
        return 1
    log.info("stopped")
    return 0


def full_disk_advice(reason: str, data_dir: Path) -> str:
    """What to do about a full disk, to be added to the reason of an end; "" if it isn't that."""
    if os.strerror(errno.ENOSPC) not in reason:
        return ""
    return f"; the disk of {data_dir} is full: make room there, and start this member again, nothing is lost"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _log_to_stderr(level: str) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # It says what any caller sends it.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level.upper(), force=True)
    ready_log.setLevel(logging.INFO)
