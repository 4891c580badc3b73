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
import contextlib
import os
import threading
from collections import deque
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
        self._orders: Final[deque[_Order]] = deque()
        self._woken = False
        thread = threading.Thread(target=self._run, args=(started,), name="ostraka-client", daemon=True)
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
        order = _Order(coroutine)
        self._orders.append(order)
        try:
            if not self._woken:  # One wake-up is enough for all that come before it is heeded.
                self._woken = True
                self.loop.call_soon_threadsafe(self._take_orders)
        except RuntimeError:  # The loop is closed.
            self._refuse_orders()
        try:
            order.done.acquire()
        except BaseException:
            self.loop.call_soon_threadsafe(order.cancel)
            raise
        if order.error is None:
            return cast(Answer, order.answer)
        try:
            raise order.error
        except StopAsyncIteration:
            raise StopIteration from None
        finally:
            order.error = None  # Else the error, its traceback and this frame would hold each other.

    def _take_orders(self) -> None:
        if self._stopping.is_set():  # What is begun from now on would not be ended.
            self._refuse_orders()
            return
        self._woken = False
        orders = self._orders
        while orders:
            orders.popleft().begin(self.loop)

    def _refuse_orders(self) -> None:
        """The loop ends: whoever comes now, or came too late for it, must not wait for ever."""
        self._woken = False
        with contextlib.suppress(IndexError):  # Two threads may do this at once.
            while True:
                self._orders.popleft().refuse()

    def _run(self, started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            stopping = asyncio.Event()
            started.set_result((runner.get_loop(), stopping))
            runner.run(_until(stopping))
        self._refuse_orders()


class _Order:
    """What a thread wants to be run, and what came of it. Half as dear as `asyncio.run_coroutine_threadsafe`."""

    __slots__ = ("answer", "coroutine", "done", "error", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.answer: Any = None
        self.error: BaseException | None = None
        self.task: asyncio.Task[Any] | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self.task = loop.create_task(self.coroutine)
        self.task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.error = concurrent.futures.CancelledError()
        else:
            self.error = task.exception()
            if self.error is None:
                self.answer = task.result()
        self.done.release()

    def refuse(self) -> None:
        self.coroutine.close()
        self.error = NotExecuted("this client is closed")
        self.done.release()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


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
