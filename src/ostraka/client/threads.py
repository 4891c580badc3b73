"""How the twins for threads run what is written for asyncio: on the event loop of a thread that they share.

A method of a twin hands its original's coroutine over and waits. So there is one logic, and one set of connections for
all of an application's threads, and leases are kept alive while the application computes. It costs two changes of
thread for a call; what was weighed against it, a second driver of the same protocol on blocking sockets, would need
such a thread all the same, to renew leases.

Under gevent's monkey patching the thread is a greenlet, and waiting lets other greenlets run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

from ostraka.client.calls import forked
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


def loop_thread() -> LoopThread:
    """The thread of this process; whoever asks for it has to `leave` it."""
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
