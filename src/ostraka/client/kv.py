"""Keys and values: the methods that a client and a session have in common."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Self

from ostraka.api import etcd
from ostraka.client import results
from ostraka.client.operations import BoundTxn, Delete, Get, Key, Put, Txn, Value_
from ostraka.client.results import DeleteResult, KeyValue, Order, PutResult, RangeResult, SortBy, TxnResult

PUT: Final = "/etcdserverpb.KV/Put"
RANGE: Final = "/etcdserverpb.KV/Range"
DELETE: Final = "/etcdserverpb.KV/DeleteRange"
TXN: Final = "/etcdserverpb.KV/Txn"
COMPACT: Final = "/etcdserverpb.KV/Compact"
PAGE: Final = 1000  # Keys.


class AsyncKV:
    """Keys are bytes, or str, which stands for its UTF-8; so are values. `timeout`: seconds; None: the client's.

    All methods raise NotExecuted or OutcomeUnknown, or one of their kinds; those that only read raise NotExecuted only.
    """

    async def _read(self, path: str, request: Any, timeout: float | None) -> Any:
        raise NotImplementedError

    async def _write(self, path: str, request: Any, timeout: float | None) -> Any:
        raise NotImplementedError

    async def put(
        self,
        key: Key,
        value: Value_ = b"",
        *,
        lease: int = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
        timeout: float | None = None,
    ) -> PutResult:
        """Set a key. `ignore_value`, `ignore_lease`: keep what the key has, which must exist."""
        request = Put(key, value, lease, prev_kv, ignore_value, ignore_lease).message()
        return results.put_result(await self._write(PUT, request, timeout))

    async def get(
        self, key: Key, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """The key, as it was at `revision` (0: now); None if there is none.

        Linearizable, unless `serializable` asks one member only, which may be behind.
        """
        request = Get(key, revision=revision, serializable=serializable).message()
        kvs = (await self._read(RANGE, request, timeout)).kvs
        return results.key_value(kvs[0]) if kvs else None

    async def get_prefix(
        self,
        prefix: Key,
        *,
        limit: int = 0,
        revision: int = 0,
        order: Order = Order.NONE,
        sort_by: SortBy = SortBy.KEY,
        serializable: bool = False,
        keys_only: bool = False,
        timeout: float | None = None,
    ) -> RangeResult:
        """The keys that begin with `prefix`; all keys if it is empty."""
        ask = Get(
            prefix=prefix,
            limit=limit,
            revision=revision,
            order=order,
            sort_by=sort_by,
            serializable=serializable,
            keys_only=keys_only,
        )
        return results.range_result(await self._read(RANGE, ask.message(), timeout))

    async def range(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        limit: int = 0,
        revision: int = 0,
        order: Order = Order.NONE,
        sort_by: SortBy = SortBy.KEY,
        serializable: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        min_mod_revision: int = 0,
        max_mod_revision: int = 0,
        min_create_revision: int = 0,
        max_create_revision: int = 0,
        timeout: float | None = None,
    ) -> RangeResult:
        """The keys with `key` ≤ key < `end`, or with `prefix`: see `Get`."""
        ask = Get(
            key,
            end,
            prefix,
            limit,
            revision,
            order,
            sort_by,
            serializable,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        )
        return results.range_result(await self._read(RANGE, ask.message(), timeout))

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
    ) -> AsyncScan:
        """All keys of a range in their order, asked for `page` at a time, and all as they were at one revision.

        That is `revision`, or the one at which the first page is read. `timeout` is for each page. Raises Compacted
        while iterating if that revision is compacted meanwhile.
        """
        ask = Get(key, end, prefix, page, revision, keys_only=keys_only, serializable=serializable)
        return AsyncScan(self, ask.message(), timeout)

    async def delete(
        self,
        key: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        prev_kv: bool = False,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete a key, or a range: all in one revision, or none at all if there are no such keys."""
        request = Delete(key, end, prefix, prev_kv).message()
        return results.delete_result(await self._write(DELETE, request, timeout))

    def txn(self) -> BoundTxn[Coroutine[Any, Any, TxnResult]]:
        """A transaction to be built: `await client.txn().when(…).then(…).otherwise(…).commit()`."""
        return BoundTxn(send=self.commit)

    async def commit(self, txn: Txn, timeout: float | None = None) -> TxnResult:
        """Execute a transaction that was built before."""
        ask = self._read if txn.only_reads() else self._write
        return results.txn_result(await ask(TXN, txn.message(), timeout))

    async def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> int:
        """Forget how the keys were before `revision`; `physical`: wait until it is removed. The store's revision."""
        request = etcd.CompactionRequest(revision=revision, physical=physical)
        return int((await self._write(COMPACT, request, timeout)).header.revision)


class AsyncScan:
    """The keys of a range: iterate over it with `async for`."""

    def __init__(self, kv: AsyncKV, request: Any, timeout: float | None) -> None:
        self._kv: Final = kv
        self._request: Final = request
        self._timeout: Final = timeout
        self._page: list[KeyValue] = []  # In reverse.
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeyValue:
        while not self._page:
            if not self._more:
                raise StopAsyncIteration
            reply = await self._kv._read(RANGE, self._request, self._timeout)
            self._request.revision = self._request.revision or reply.header.revision
            self._page = [results.key_value(kv) for kv in reversed(reply.kvs)]
            self._more = reply.more
            if self._page:
                self._request.key = self._page[0].key + b"\0"
        return self._page.pop()
