"""The client for asyncio. `blocking.Client` is its twin, with the same methods."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal, Self, overload

from ostraka.api import etcd
from ostraka.client import results
from ostraka.client.calls import Calls
from ostraka.client.claims import AsyncElection, AsyncLock
from ostraka.client.endpoints import Endpoints, split
from ostraka.client.kv import AsyncKV
from ostraka.client.lease import AsyncLease
from ostraka.client.operations import Key
from ostraka.client.results import Member, Status
from ostraka.client.session import AsyncSession
from ostraka.client.watch import AsyncWatch, Bookmark, Event, create_request
from ostraka.errors import OstrakaError

MEMBERS: Final = "/etcdserverpb.Cluster/MemberList"
STATUS: Final = "/etcdserverpb.Maintenance/Status"


class AsyncClient(AsyncKV):
    """A client of a cluster, for one event loop; of Ostraka or of etcd.

        async with AsyncClient(["127.0.0.1:2379"]) as client:
            await client.put("hello", "world")

    Any number of calls may be under way at once. A call that fails is tried on the next endpoint if it certainly did
    not happen; otherwise it raises OutcomeUnknown. Within `session()` it is tried again, and executed once.
    """

    def __init__(
        self, endpoints: Sequence[str] = ("127.0.0.1:2379",), *, timeout: float = 5.0, sync_every: float = 0.0
    ) -> None:
        """`endpoints`: `host:port` each. `timeout`: seconds that a call may take. ValueError if one of them is wrong.

        `sync_every`: seconds between two looks at which members the cluster has; 0: only when `sync()` is called.
        """
        if isinstance(endpoints, str):
            raise ValueError(f'endpoints is a list of them: ["{endpoints}"]')
        self._calls: Final = Calls(Endpoints(endpoints), timeout, self._begin)
        self._sync_every: Final = sync_every

    @property
    def endpoints(self) -> list[str]:
        """Where calls go, as `host:port`."""
        return [endpoint.name for endpoint in self._calls.endpoints.each]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up all connections: calls that are under way end, and no more can be made.

        Leases that are still held are not kept alive any more, and end when their time has passed.
        """
        await self._calls.close()

    def __del__(self) -> None:
        if hasattr(self, "_calls") and self._calls.open:
            text = "a client was not closed: use it in `with` or `async with`"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    async def _read(self, path: str, request: Any, timeout: float | None) -> Any:
        return await self._calls.unary(path, request, timeout, writes=False)

    async def _write(self, path: str, request: Any, timeout: float | None) -> Any:
        return await self._calls.unary(path, request, timeout, writes=True)

    def _begin(self) -> None:
        if self._sync_every > 0:
            self._calls.in_background(self._sync_again())

    async def call(self, path: str, request: Any, timeout: float | None = None) -> Any:
        """Call any unary method by its path, such as "/etcdserverpb.KV/Range", with messages of `ostraka.api.etcd`.

        What isn't known to be harmless counts as a write.
        """
        return await self._calls.call(path, request, timeout)

    def session(self) -> AsyncSession:
        """A session: within it writes are repeated until their outcome is known, and executed once.

            async with client.session() as session:
                await session.put("k", "v")

        Any number of requests may be under way in it. NotSupported is raised on entering where the servers have none.
        """
        return AsyncSession(self._calls)

    @overload
    def watch(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        start_revision: int = 0,
        prev_kv: bool = False,
        puts: bool = True,
        deletes: bool = True,
        bookmarks: Literal[False] = False,
    ) -> AsyncWatch[Event]: ...
    @overload
    def watch(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        start_revision: int = 0,
        prev_kv: bool = False,
        puts: bool = True,
        deletes: bool = True,
        bookmarks: Literal[True],
    ) -> AsyncWatch[Event | Bookmark]: ...
    def watch(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        start_revision: int = 0,
        prev_kv: bool = False,
        puts: bool = True,
        deletes: bool = True,
        bookmarks: bool = False,
    ) -> AsyncWatch[Any]:
        """The changes of a key or a range, from `start_revision` on (0: from now on): see `AsyncWatch`.

        `prev_kv`: with what the key was before. `puts`, `deletes`: which are returned. `bookmarks`: now and then with a
        `Bookmark`, which says how far it has come.
        """
        request = create_request(key, end, prefix, start_revision, prev_kv, puts, deletes)
        return AsyncWatch(self._calls, request, bookmarks)

    def lease(self, ttl: int) -> AsyncLease:
        """A lease of so many seconds, which is kept alive within `async with`: see `AsyncLease`."""
        return AsyncLease(self._calls, ttl)

    def lock(self, name: Key, *, ttl: int = 10, lease: AsyncLease | None = None) -> AsyncLock:
        """A lock, on a lease of its own of `ttl` seconds, or on one that is held already: see `AsyncLock`."""
        return AsyncLock(self._calls, name, ttl, lease)

    def election(self, name: Key, *, ttl: int = 10, lease: AsyncLease | None = None) -> AsyncElection:
        """An election; `ttl` and `lease` are the candidates', as for a lock: see `AsyncElection`."""
        return AsyncElection(self._calls, name, ttl, lease)

    async def members(self, timeout: float | None = None) -> tuple[Member, ...]:
        """The members of the cluster. Linearizable."""
        reply = await self._read(MEMBERS, etcd.MemberListRequest(linearizable=True), timeout)
        return tuple(map(results.member, reply.members))

    async def status(self, timeout: float | None = None) -> Status:
        """What one of the endpoints says of itself. To ask a certain one, make a client for it alone."""
        return results.status(await self._read(STATUS, etcd.StatusRequest(), timeout))

    async def sync(self, timeout: float | None = None) -> None:
        """Learn where the cluster's members are, and ask there too. Endpoints that were given are never forgotten."""
        addresses = []
        for member in await self.members(timeout):
            for url in member.client_urls:
                with contextlib.suppress(ValueError):  # One that is no address for us (unix:, https:).
                    addresses.append(split(url))
        self._calls.endpoints.replace(addresses)

    async def _sync_again(self) -> None:
        while True:
            await asyncio.sleep(self._sync_every)
            with contextlib.suppress(OstrakaError):  # It is asked again; until then the known ones do.
                await self.sync()
