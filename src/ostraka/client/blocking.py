"""The client for threads: the twin of `asynchronous.AsyncClient` and of what it makes, with the same methods.

How a twin runs its original is in `threads`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final, Literal, Self, TypeVar, overload

from ostraka.client.asynchronous import AsyncClient
from ostraka.client.claims import AsyncClaim, AsyncElection, AsyncLeadership, AsyncLock, AsyncObservation
from ostraka.client.kv import PAGE, AsyncKV, AsyncScan
from ostraka.client.lease import AsyncLease, AsyncLoss
from ostraka.client.operations import BoundTxn, Key
from ostraka.client.results import TxnResult
from ostraka.client.session import AsyncSession
from ostraka.client.threads import Twin, blocking, loop_thread
from ostraka.client.watch import AsyncWatch, Bookmark, Event, create_request

Item = TypeVar("Item")


class Scan(Twin[AsyncScan]):
    """The keys of a range: iterate over it with `for`."""

    def __iter__(self) -> Self:
        return self

    __next__ = blocking(AsyncScan.__anext__)


KVTwin = TypeVar("KVTwin", bound=AsyncKV)


class KV(Twin[KVTwin]):
    """The twin of `AsyncKV`."""

    put = blocking(AsyncKV.put)
    get = blocking(AsyncKV.get)
    get_prefix = blocking(AsyncKV.get_prefix)
    range = blocking(AsyncKV.range)
    delete = blocking(AsyncKV.delete)
    commit = blocking(AsyncKV.commit)
    compact = blocking(AsyncKV.compact)

    def scan(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        revision: int = 0,
        page: int = PAGE,
        keys_only: bool = False,
        serializable: bool = False,
        timeout: float | None = None,
    ) -> Scan:
        """See `AsyncKV.scan`."""
        scan = self._twin.scan(
            key,
            end,
            prefix=prefix,
            revision=revision,
            page=page,
            keys_only=keys_only,
            serializable=serializable,
            timeout=timeout,
        )
        return Scan(scan, self._thread)

    def txn(self) -> BoundTxn[TxnResult]:
        """A transaction to be built: `client.txn().when(…).then(…).otherwise(…).commit()`."""
        return BoundTxn(send=self.commit)


class Session(KV[AsyncSession]):
    """See `AsyncSession`."""

    def __enter__(self) -> Self:
        self._thread.wait(self._twin.__aenter__())
        return self

    __exit__ = blocking(AsyncSession.__aexit__)


class Watch(Twin[AsyncWatch[Item]]):
    """See `AsyncWatch`: iterate over it with `for`, in one thread at a time."""

    def __enter__(self) -> Self:
        self._thread.wait(self._twin.__aenter__())
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        item = self._twin.pop()  # Without a change of threads: no other touches what has come, but to add to its end.
        return item if item is not None else self._thread.wait(self._twin.__anext__())

    @property
    def revision(self) -> int:
        """All events up to this revision have been returned."""
        return self._twin.revision

    @property
    def closed(self) -> bool:
        """It was ended by its owner, or with its client."""
        return self._twin.closed

    __exit__ = blocking(AsyncWatch.__aexit__)
    close = blocking(AsyncWatch.close)
    request_progress = blocking(AsyncWatch.request_progress)


class Loss(Twin[AsyncLoss]):
    """See `AsyncLoss`."""

    @property
    def reason(self) -> str:
        """Why it is lost; "" as long as it isn't."""
        return self._twin.reason

    def is_set(self) -> bool:
        """Whether it is lost: asked of the clock, so that the answer is right after a stall, too."""
        return self._twin.is_set()

    wait = blocking(AsyncLoss.wait)


class Lease(Twin[AsyncLease]):
    """See `AsyncLease`."""

    def __enter__(self) -> Self:
        self._thread.wait(self._twin.__aenter__())
        return self

    @property
    def id(self) -> int:
        """What `lease=` takes."""
        return self._twin.id

    @property
    def ttl(self) -> int:
        """Seconds."""
        return self._twin.ttl

    @property
    def lost(self) -> Loss:
        """Whether it may be relied on."""
        return Loss(self._twin.lost, self._thread)

    __exit__ = blocking(AsyncLease.__aexit__)
    revoke = blocking(AsyncLease.revoke)


AnyClaim = TypeVar("AnyClaim", bound=AsyncClaim)


class Claim(Twin[AnyClaim]):
    """See `AsyncClaim`."""

    @property
    def name(self) -> bytes:
        """What is claimed."""
        return self._twin.name

    @property
    def key(self) -> bytes:
        """The key that claims it."""
        return self._twin.key

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every owner before."""
        return self._twin.token

    @property
    def lost(self) -> Loss:
        """Whether it may be relied on."""
        return Loss(self._twin.lost, self._thread)


class Lock(Claim[AsyncLock]):
    """See `AsyncLock`."""

    def __enter__(self) -> Self:
        self._thread.wait(self._twin.__aenter__())
        return self

    __exit__ = blocking(AsyncLock.__aexit__)
    acquire = blocking(AsyncLock.acquire)
    release = blocking(AsyncLock.release)


class Leadership(Claim[AsyncLeadership]):
    """See `AsyncLeadership`."""

    def __enter__(self) -> Self:
        self._thread.wait(self._twin.__aenter__())
        return self

    __exit__ = blocking(AsyncLeadership.__aexit__)
    proclaim = blocking(AsyncLeadership.proclaim)
    resign = blocking(AsyncLeadership.resign)


class Observation(Twin[AsyncObservation]):
    """See `AsyncElection.observe`: iterate over it with `for`."""

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    __next__ = blocking(AsyncObservation.__anext__)
    __exit__ = blocking(AsyncObservation.__aexit__)
    close = blocking(AsyncObservation.close)


class Election(Twin[AsyncElection]):
    """See `AsyncElection`."""

    @property
    def name(self) -> bytes:
        """What its candidates claim."""
        return self._twin.name

    def campaign(self, value: Key = b"") -> Leadership:
        """Be a candidate, who says this of itself."""
        return Leadership(self._twin.campaign(value), self._thread)

    def observe(self) -> Observation:
        """Who leads, again whenever that or what the leader proclaims changes; None while nobody does."""
        return Observation(self._twin.observe(), self._thread)

    leader = blocking(AsyncElection.leader)


class Client(KV[AsyncClient]):
    """A client of a cluster, for any number of threads: see `asynchronous.AsyncClient`.

    with Client(["127.0.0.1:2379"]) as client:
        client.put("hello", "world")
    """

    def __init__(
        self, endpoints: Sequence[str] = ("127.0.0.1:2379",), *, timeout: float = 5.0, sync_every: float = 0.0
    ) -> None:
        super().__init__(AsyncClient(endpoints, timeout=timeout, sync_every=sync_every), loop_thread())
        self._leave: Final = weakref.finalize(self, self._thread.leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def endpoints(self) -> list[str]:
        """See `AsyncClient.endpoints`."""
        return self._twin.endpoints

    def close(self) -> None:
        """Give up all connections: calls that are under way end, and no more can be made."""
        if self._leave.alive:
            self._thread.wait(self._twin.close())
            self._leave()

    def session(self) -> Session:
        """A session: within it writes are repeated until their outcome is known, and executed once.

        with client.session() as session:
            session.put("k", "v")
        """
        return Session(self._twin.session(), self._thread)

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
    ) -> Watch[Event]: ...
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
    ) -> Watch[Event | Bookmark]: ...
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
    ) -> Watch[Any]:
        """The changes of a key or a range: see `AsyncClient.watch`."""
        request = create_request(key, end, prefix, start_revision, prev_kv, puts, deletes)
        return Watch(AsyncWatch[Any](self._twin._calls, request, bookmarks), self._thread)

    def lease(self, ttl: int) -> Lease:
        """A lease of so many seconds, which is kept alive within `with`: see `AsyncLease`."""
        return Lease(self._twin.lease(ttl), self._thread)

    def lock(self, name: Key, *, ttl: int = 10, lease: Lease | None = None) -> Lock:
        """A lock, on a lease of its own of `ttl` seconds, or on one that is held already: see `AsyncLock`."""
        return Lock(self._twin.lock(name, ttl=ttl, lease=None if lease is None else lease._twin), self._thread)

    def election(self, name: Key, *, ttl: int = 10, lease: Lease | None = None) -> Election:
        """An election; `ttl` and `lease` are the candidates', as for a lock: see `AsyncElection`."""
        return Election(self._twin.election(name, ttl=ttl, lease=None if lease is None else lease._twin), self._thread)

    call = blocking(AsyncClient.call)
    members = blocking(AsyncClient.members)
    status = blocking(AsyncClient.status)
    sync = blocking(AsyncClient.sync)
