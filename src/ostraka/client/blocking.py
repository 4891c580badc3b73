"""The client for threads: the twin of `asynchronous.AsyncClient`, with the same methods.

The clients of a process share a thread, whose event loop runs an `AsyncClient` for each; a method here hands its twin's
coroutine over and waits. So there is one logic, and one set of connections for all of an application's threads, and
leases are kept alive while the application computes. It costs two changes of thread for a call; what was weighed
against it, a second driver of the same protocol on blocking sockets, would need such a thread all the same, to renew
leases.

Under gevent's monkey patching the thread is a greenlet, and waiting lets other greenlets run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast

from ostraka.client.asynchronous import AsyncClient
from ostraka.client.calls import forked
from ostraka.client.kv import PAGE, AsyncKV, AsyncScan
from ostraka.client.operations import BoundTxn, Key
from ostraka.client.results import TxnResult
from ostraka.client.session import AsyncSession
from ostraka.errors import NotExecuted

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Original = TypeVar("Original")


def blocking(
    method: Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Answer]],
) -> Callable[Concatenate[Any, Arguments], Answer]:
    """The same method for threads: of a `Twin`, over the object that it is the twin of."""

    @wraps(method)
    def wait(self: Twin[Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return self._thread.wait(method(self._twin, *args, **kwargs))

    return cast(Callable[Concatenate[Any, Arguments], Answer], wait)


class LoopThread:
    """A thread that runs an event loop, for all clients of the process. When the last of them leaves, it ends."""

    def __init__(self) -> None:
        started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
            concurrent.futures.Future()
        )
        thread = threading.Thread(target=_run, args=(started,), name="ostraka-client", daemon=True)
        thread.start()
        self.process: Final = os.getpid()
        self.users = 0
        self._thread: Final = thread
        self.loop, self._stopping = started.result()

    def leave(self) -> None:
        """One user less."""
        global _present
        with _lock:
            self.users -= 1
            if self.users or os.getpid() != self.process:  # After a fork the thread isn't there.
                return
            _present = None
        self.loop.call_soon_threadsafe(self._stopping.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run it there, and return what it returns. Interrupted, it is cancelled."""
        if os.getpid() != self.process:
            coroutine.close()
            raise forked(self.process)
        if self._stopping.is_set():
            coroutine.close()
            raise NotExecuted("this client is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except StopAsyncIteration:
            raise StopIteration from None
        finally:
            future.cancel()


def _run(started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        stopping = asyncio.Event()
        started.set_result((runner.get_loop(), stopping))
        runner.run(_until(stopping))


async def _until(stopping: asyncio.Event) -> None:
    await stopping.wait()


_lock = threading.RLock()  # A garbage collection may close a forgotten client at any moment.
_present: LoopThread | None = None


def _loop_thread() -> LoopThread:
    global _present
    with _lock:
        if _present is None or _present.process != os.getpid():
            _present = LoopThread()
        _present.users += 1
        return _present


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # The thread that held it may not have come along.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Twin(Generic[Original]):
    """Stands for `_twin`, which lives in the thread's loop."""

    def __init__(self, twin: Original, thread: LoopThread) -> None:
        self._twin: Final = twin
        self._thread: Final = thread


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


class Client(KV[AsyncClient]):
    """A client of a cluster, for any number of threads: see `asynchronous.AsyncClient`.

    with Client(["127.0.0.1:2379"]) as client:
        client.put("hello", "world")
    """

    def __init__(
        self, endpoints: Sequence[str] = ("127.0.0.1:2379",), *, timeout: float = 5.0, sync_every: float = 0.0
    ) -> None:
        super().__init__(AsyncClient(endpoints, timeout=timeout, sync_every=sync_every), _loop_thread())
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

    call = blocking(AsyncClient.call)
    members = blocking(AsyncClient.members)
    status = blocking(AsyncClient.status)
    sync = blocking(AsyncClient.sync)
