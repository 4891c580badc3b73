"""What there is for asyncio there is for threads, under the same names."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

import ostraka.client
from ostraka.client import Client, blocking, claims, kv, lease, watch
from ostraka.errors import NotExecuted

PAIRS = [
    (found, getattr(blocking, name.removeprefix("Async")))
    for module in (ostraka.client, claims, kv, lease, watch)
    for name, found in sorted(vars(module).items())
    if (name.startswith("Async") and found.__module__ == module.__name__) or name in ("AsyncClient", "AsyncSession")
]
KEPT_IN_THE_INSTANCE = {
    blocking.Watch: {"revision"},
    blocking.Lease: {"id", "ttl", "lost"},
    blocking.Claim: {"name", "key", "token", "lost"},
    blocking.Election: {"name"},
}
ONLY_WITHIN = {"prefix", "set", "pop"}
"""What the originals need of each other."""


def signature(method: Any) -> str:
    """But for what it returns, and for the twins' names."""
    return str(inspect.signature(method).replace(return_annotation="")).replace("Async", "")


@pytest.mark.parametrize(("original", "twin"), PAIRS, ids=lambda each: each.__name__)
def test_a_twin_has_the_same_methods(original: type, twin: type) -> None:
    names = {name for name in vars(original) if not name.startswith("_")} - ONLY_WITHIN
    assert names <= set(dir(twin)), f"{twin.__name__} lacks {names - set(dir(twin))}"
    for name in names:
        mine, twins = inspect.getattr_static(original, name), inspect.getattr_static(twin, name)
        if isinstance(mine, property):
            assert isinstance(twins, property), name
        else:
            assert signature(mine) == signature(twins), name
    for enter, other in (("__aenter__", "__enter__"), ("__aexit__", "__exit__"), ("__anext__", "__next__")):
        assert hasattr(original, enter) == hasattr(twin, other), other
    own = {name for name in vars(twin) if not name.startswith("_")}
    assert own <= names | KEPT_IN_THE_INSTANCE.get(twin, set()), f"{twin.__name__} has more: {own - names}"
    assert KEPT_IN_THE_INSTANCE.get(twin, set()) <= own


def test_all_twins_are_compared() -> None:
    assert len(PAIRS) >= 11, PAIRS
    assert signature(ostraka.client.AsyncClient) == signature(ostraka.client.Client)


def test_closing_in_one_thread_leaves_no_other_waiting() -> None:
    """Whoever calls while the last client is closed, or after that, gets an answer."""
    for number in range(30):
        client = Client(["127.0.0.1:1"])
        answers: list[Exception] = []

        def call(client: Client = client, answers: list[Exception] = answers) -> None:
            for _ in range(50):
                try:
                    client.put("k")
                except (NotExecuted, CancelledError) as error:
                    answers.append(error)

        callers = [threading.Thread(target=call, daemon=True) for _ in range(3)]
        for caller in callers:
            caller.start()
        time.sleep(number / 10_000)
        client.close()
        for caller in callers:
            caller.join(20)
            assert not caller.is_alive(), "it waits for ever"
        assert len(answers) == 150


def test_an_interrupted_call_is_cancelled() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client([f"127.0.0.1:{silent.getsockname()[1]}"], timeout=60) as client,
    ):
        timer = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            client.put("k")
        timer.join()
        tasks = client._thread.wait(_tasks())
        assert not [task for task in tasks if "put" in task], tasks


async def _tasks() -> list[str]:
    await asyncio.sleep(0.05)
    return [str(task.get_coro()) for task in asyncio.all_tasks()]
