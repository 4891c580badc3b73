"""Locks and elections: who has the oldest key under a name owns it, for as long as its lease lives.

Follows:  etcd's Go client (`clientv3/concurrency`), so that its users and ours exclude each other: the key is
          `<name>/<lease in hex>`, the owner is the one with the lowest create revision, and each waits for the key
          just before its own, so that a release wakes one waiter and not all.
Words:    a *claim* is such a key. Its *token* is its create revision: tokens only grow from owner to owner, so a
          resource that refuses a lower token than it has seen is safe from an owner who does not know yet that he is
          none any more (a fencing token: Kleppmann, "How to do distributed locking").
Departs:  an owner is told that the claim is lost: when its lease is, or when somebody else deletes the key.
Evidence: tests/client/test_claims.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, Self

from ostraka.client import results
from ostraka.client.calls import Calls
from ostraka.client.kv import RANGE, TXN
from ostraka.client.lease import FAREWELL, AsyncLease, AsyncLoss
from ostraka.client.operations import CreateRevision, Delete, Get, Key, Put, Txn, as_bytes
from ostraka.client.outcomes import passing
from ostraka.client.results import KeyValue, Order, RangeResult, SortBy, TxnResult
from ostraka.client.watch import AsyncWatch, Event, create_request
from ostraka.errors import EventsLost, Lost, NotExecuted, OstrakaError

PAUSE: Final = 0.1
"""Seconds between two attempts to learn how a claim stands."""


class AsyncClaim:
    """A claim to a name: its place in the queue, and what it owns once its turn has come."""

    def __init__(self, calls: Calls, name: Key, ttl: int, lease: AsyncLease | None, value: Key = b"") -> None:
        self.name: Final = as_bytes(name)
        self.key = b""
        self.token = 0
        """The fencing token: larger than that of every owner before."""
        self.lost = AsyncLoss()
        self._calls: Final = calls
        self._ttl: Final = ttl
        self._given: Final = lease
        self._lease: AsyncLease | None = None
        self._value = as_bytes(value)
        self._guard: asyncio.Task[None] | None = None

    @property
    def prefix(self) -> bytes:
        """What the keys of all claims to the name begin with."""
        return self.name + b"/"

    async def _acquire(self, timeout: float | None) -> None:
        if self._lease is not None:
            raise NotExecuted(f"this claim to {self.name!r} is made already: release it first, or make another one")
        self._lease = self._given or AsyncLease(self._calls, self._ttl)
        try:
            async with asyncio.timeout(timeout):
                if self._given is None:
                    await self._lease.__aenter__()
                self.lost = AsyncLoss(self._lease.lost)
                await self._enqueue()
                revision = await self._await_turn()
                self._guard = self._calls.in_background(self._watch_over(revision))
        except BaseException:  # Cancelled, too: whoever gives up must not be waited for by the others.
            await self._give_up()
            raise

    async def _enqueue(self) -> None:
        assert self._lease is not None, "the caller has seen to it"
        self.key = self.prefix + b"%x" % self._lease.id
        put = Put(self.key, self._value, self._lease.id)
        # Doing it twice does no harm: the key is ours alone, since the lease is.
        done = await self._commit(Txn().when(CreateRevision(self.key) == 0).then(put).otherwise(Get(self.key)))
        if done.succeeded:
            self.token = done.revision
            return
        (found,) = _range(done, 0).kvs
        self.token = found.create_revision
        if found.value != self._value:
            await self._proclaim(self._value)

    async def _await_turn(self) -> int:
        """Until no claim is older than ours; the revision at which that was so."""
        older = Get(
            prefix=self.prefix,
            limit=1,
            order=Order.DESCEND,
            sort_by=SortBy.CREATE_REVISION,
            max_create_revision=self.token - 1,
        )
        while True:
            done = await self._commit(Txn().then(older, Get(self.key)))
            ahead, ours = _range(done, 0).kvs, _range(done, 1).kvs
            if not ours or ours[0].create_revision != self.token:
                raise Lost(f"the claim to {self.name!r} was deleted by somebody else")
            if self.lost.is_set():
                raise Lost(f"the claim to {self.name!r} was lost while it waited: {self.lost.reason}")
            if not ahead:
                return done.revision
            await self._first(self._deletion(ahead[0].key, done.revision + 1), self.lost.wait())

    async def _deletion(self, key: bytes, revision: int) -> None:
        """Until the key is deleted at or after this revision, or there may have been such an event."""
        request = create_request(key, None, None, revision, False, False, True)
        async with AsyncWatch[Event](self._calls, request, False) as watch:
            with contextlib.suppress(EventsLost, StopAsyncIteration):
                await anext(watch)

    async def _first(self, *waits: Coroutine[Any, Any, object]) -> None:
        """Until one of these comes to its end."""
        tasks = [asyncio.ensure_future(each) for each in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _watch_over(self, revision: int) -> None:
        """Tell the owner when the claim is lost: its key deleted, or its lease gone."""
        while not self.lost.is_set():
            try:
                await self._first(self._deletion(self.key, revision + 1), self.lost.wait())
                done = await self._commit(Txn().then(Get(self.key)))
            except OstrakaError:
                await asyncio.sleep(PAUSE)  # The lease is watched over elsewhere, and ends it in time.
                continue
            found = _range(done, 0).kvs
            if not found or found[0].create_revision != self.token:
                self.lost.set("its key was deleted by somebody else")
            revision = done.revision
        self.lost.set(self.lost.reason)

    async def _give_up(self) -> None:
        """Delete the key: with its lease, if that is ours. If that fails, the lease's end does it."""
        lease, self._lease = self._lease, None
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait([self._guard])
            self._guard = None
        self.lost.set("it was given up by its owner")
        with contextlib.suppress(OstrakaError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if self._given is not None and self.token:
                    ours = CreateRevision(self.key) == self.token
                    await self._commit(Txn().when(ours).then(Delete(self.key)))
                elif self._given is None and lease is not None:
                    await lease.revoke(FAREWELL)
        self.token = 0

    async def _proclaim(self, value: bytes) -> None:
        assert self._lease is not None, "the caller has seen to it"
        put = Put(self.key, value, self._lease.id)
        done = await self._commit(Txn().when(CreateRevision(self.key) == self.token).then(put))
        if not done.succeeded:
            self.lost.set("its key was deleted by somebody else")
            raise Lost(f"the claim to {self.name!r} is lost")
        self._value = value

    async def _commit(self, txn: Txn) -> TxnResult:
        """Execute what does no harm when it is executed twice: again and again, as long as the lease lives."""
        while True:
            try:
                return results.txn_result(await self._calls.unary(TXN, txn.message(), repeatable=True))
            except OstrakaError as error:
                if not passing(error) or self.lost.is_set() or self._calls.endpoints.closed:
                    raise
            await asyncio.sleep(PAUSE)


class AsyncLock(AsyncClaim):
    """A lock: held by at most one at a time, as far as time allows; `token` is for what time does not allow.

    async with client.lock("reports") as lock:
        await store(report, lock.token)       # Which refuses lower tokens than it has seen.
        if lock.lost.is_set(): ...            # Its lease could not be renewed: somebody else may hold it by now.
    """

    async def acquire(self, timeout: float | None = None) -> None:
        """Wait until it is ours, for as long as it takes, or raise TimeoutError after so many seconds.

        Raises Lost if the lease is lost while it waits, and NotExecuted, OutcomeUnknown: then it isn't ours.
        """
        await self._acquire(timeout)

    async def release(self) -> None:
        """Let the next one have it."""
        await self._give_up()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.release()


class AsyncLeadership(AsyncClaim):
    """A candidate, and once it is elected the leader, until it leaves the context."""

    async def __aenter__(self) -> Self:
        """Wait until it leads, for as long as it takes."""
        await self._acquire(None)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._give_up()

    async def proclaim(self, value: Key) -> None:
        """Change what the leader says of itself. Raises Lost if it leads no more."""
        if self._lease is None or self.lost.is_set():
            raise Lost(f"the leadership of {self.name!r} is lost: {self.lost.reason}")
        await self._proclaim(as_bytes(value))

    async def resign(self) -> None:
        """Let the next one lead."""
        await self._give_up()


class AsyncElection:
    """An election of one leader under a name.

    async with client.election("scheduler").campaign("host-1") as leadership:
        while not leadership.lost.is_set(): ...
    """

    def __init__(self, calls: Calls, name: Key, ttl: int, lease: AsyncLease | None) -> None:
        self.name: Final = as_bytes(name)
        self._calls: Final = calls
        self._ttl: Final = ttl
        self._lease: Final = lease

    def campaign(self, value: Key = b"") -> AsyncLeadership:
        """Be a candidate, who says this of itself."""
        return AsyncLeadership(self._calls, self.name, self._ttl, self._lease, value)

    async def leader(self, timeout: float | None = None) -> KeyValue | None:
        """What the leader has proclaimed; the fencing token is the pair's create revision. None: nobody leads."""
        ask = Get(prefix=self.name + b"/", limit=1, order=Order.ASCEND, sort_by=SortBy.CREATE_REVISION)
        kvs = (await self._calls.unary(RANGE, ask.message(), timeout, writes=False)).kvs
        return results.key_value(kvs[0]) if kvs else None

    def observe(self) -> AsyncObservation:
        """Who leads, again whenever that or what the leader proclaims changes; None while nobody does.

        Changes in quick succession may be told as one.
        """
        return AsyncObservation(self)


class AsyncObservation:
    """Iterate over it with `async for`."""

    def __init__(self, election: AsyncElection) -> None:
        self._election: Final = election
        request = create_request(None, None, election.name + b"/", 0, False, True, True)
        self._watch: Final = AsyncWatch[Event](election._calls, request, False)
        self._seen: KeyValue | None = None
        self._begun = self._told = False
        self._stale = True  # Who leads must be asked.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it."""
        await self._watch.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeyValue | None:
        while True:
            if not self._begun:
                await self._watch.__aenter__()  # From here on no change is missed.
                self._begun = True
            if not self._stale:
                with contextlib.suppress(EventsLost):  # Who leads is asked anew, whatever happened meanwhile.
                    await anext(self._watch)
                self._stale = True
            try:
                leader = await self._election.leader()
            except OstrakaError as error:
                if not self._told or not passing(error) or self._watch.closed:
                    raise
                await asyncio.sleep(PAUSE)
                continue
            self._stale = False
            if not self._told or leader != self._seen:
                self._told, self._seen = True, leader
                return leader


def _range(done: TxnResult, place: int) -> RangeResult:
    response = done.responses[place]
    assert isinstance(response, RangeResult), "the server answers each operation with its own kind"
    return response
