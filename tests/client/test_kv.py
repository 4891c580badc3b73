"""Keys and values, with both servers, for asyncio and for threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ostraka import errors
from ostraka.api import etcd
from ostraka.client import (
    AsyncClient,
    Client,
    CreateRevision,
    Delete,
    Get,
    ModRevision,
    Order,
    Put,
    SortBy,
    Txn,
    Value,
    Version,
)
from ostraka.errors import Refused

pytestmark = pytest.mark.process


async def test_put_get_and_delete(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        assert await client.get("a") is None
        first = await client.put("a", "1")
        assert first.previous is None
        second = await client.put(b"a", b"2", prev_kv=True)
        assert second.revision == first.revision + 1
        assert second.previous is not None and second.previous.value == b"1"
        found = await client.get("a")
        assert found is not None
        assert (found.key, found.value, found.version, found.lease) == (b"a", b"2", 2, 0)
        assert (found.create_revision, found.mod_revision) == (first.revision, second.revision)
        old = await client.get("a", revision=first.revision)
        assert old is not None and old.value == b"1"
        assert (await client.put("a", ignore_value=True)).revision == second.revision + 1
        gone = await client.delete("a", prev_kv=True)
        assert gone.deleted == 1 and gone.previous[0].value == b"2"
        assert (await client.delete("a")).deleted == 0
        assert await client.get("a") is None


async def test_ranges(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        await asyncio.gather(*(client.put(f"k/{number}", str(9 - number)) for number in range(10)))
        await client.put("other", "x")
        assert [pair.key for pair in (await client.get_prefix("k/", limit=2)).kvs] == [b"k/0", b"k/1"]
        some = await client.range("k/3", "k/6", order=Order.DESCEND, keys_only=True)
        assert [(pair.key, pair.value) for pair in some.kvs] == [(b"k/5", b""), (b"k/4", b""), (b"k/3", b"")]
        by_value = await client.range(prefix="k/", sort_by=SortBy.VALUE, order=Order.ASCEND, limit=1, serializable=True)
        assert by_value.kvs[0].key == b"k/9" and by_value.more and by_value.count == 10
        assert (await client.range("k/8", b"\0", count_only=True)).count == 3
        newest = max(pair.mod_revision for pair in (await client.get_prefix("")).kvs)
        assert [pair.key for pair in (await client.range(prefix="", min_mod_revision=newest)).kvs] == [b"other"]
        assert (await client.delete(prefix="k/")).deleted == 10


async def test_a_scan_is_of_one_revision(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        for number in range(7):
            await client.put(f"k/{number}", "old")
        seen = []
        async for pair in client.scan(prefix="k/", page=3):
            seen.append((pair.key, pair.value))
            await client.put(f"k/{len(seen)}", "new")
            await client.delete("k/6")
        assert seen == [(b"k/%d" % number, b"old") for number in range(7)]
        assert [pair.key async for pair in client.scan("k/1", "k/3", page=1, keys_only=True)] == [b"k/1", b"k/2"]
        assert [pair async for pair in client.scan(prefix="none")] == []
        scan = client.scan(prefix="k/", page=1)
        await anext(scan)
        await client.put("k/0", "newer")
        await client.compact((await client.put("k/0", "newest")).revision)
        with pytest.raises(errors.Compacted):
            await anext(scan)


async def test_transactions(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        take = client.txn().when(Version("job") == 0).then(Put("job", "mine")).otherwise(Get("job"))
        taken = await take.commit()
        assert taken.succeeded and taken.responses[0].revision == taken.revision
        again = await take.commit()
        assert not again.succeeded and again.revision == taken.revision
        assert again.responses[0].kvs[0].value == b"mine"
        inner = Txn().when(CreateRevision("job") == taken.revision).then(Delete("job", prev_kv=True))
        nested = await client.commit(Txn().when(Value("job") == "mine", ModRevision("job") < 10**9).then(inner))
        assert nested.succeeded and nested.revision == taken.revision + 1
        assert nested.responses[0].succeeded
        assert nested.responses[0].responses[0].previous[0].value == b"mine"
        await client.put("a/1", "x")
        await client.put("a/2", "x")
        assert (await client.txn().when(Value(prefix="a/") == "x", Version(prefix="none/") == 0).commit()).succeeded
        assert not (await client.txn().when(Value(prefix="a/") != "x").commit()).succeeded


async def test_errors_have_names_and_say_that_nothing_happened(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        revision = (await client.put("a", "1")).revision
        for kind, text, call in (
            (Refused, "key is not provided", client.put("", "x")),
            (errors.KeyNotFound, "key not found", client.put("none", ignore_value=True)),
            (errors.LeaseNotFound, "requested lease not found", client.put("a", lease=77)),
            (errors.FutureRevision, "future revision", client.get("a", revision=revision + 1000)),
            (errors.FutureRevision, "future revision", client.compact(revision + 1000)),
            (errors.DuplicateKey, "duplicate key", client.txn().then(Put("a"), Put("a")).commit()),
            (errors.TooManyOperations, "too many operations", client.txn().then(*[Get("a")] * 9).commit()),
            (errors.TooLarge, "request is too large", client.put("a", b"x" * (1536 << 10))),
        ):
            with pytest.raises(kind, match=text) as raised:
                await call
            assert isinstance(raised.value, errors.NotExecuted) and endpoint in str(raised.value)
        await client.put("a", "2")
        assert await client.compact(revision + 1, physical=True) == revision + 1
        with pytest.raises(errors.Compacted):
            await client.get("a", revision=revision)
        for timeout in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="positive number of seconds"):
                await client.get("a", timeout=timeout)


async def test_a_thousand_calls_share_one_connection_and_big_values_come_through(endpoint: str) -> None:
    async with AsyncClient([endpoint], timeout=30) as client:
        big = bytes(range(256)) * 4096
        done = await asyncio.gather(
            *(client.put(f"k/{number}", str(number)) for number in range(1000)),
            *(client.put(f"big/{number}", big) for number in range(8)),
        )
        assert len({result.revision for result in done}) == 1008
        found = await asyncio.gather(*(client.get(f"k/{number}") for number in range(1000)))
        assert [pair and pair.value for pair in found] == [b"%d" % number for number in range(1000)]
        assert [pair.value == big for pair in (await client.get_prefix("big/")).kvs] == [True] * 8
        assert len(client._calls.endpoints.each) == 1
        await client.delete(prefix="big/")


async def test_members_status_and_any_method_by_its_path(endpoint: str) -> None:
    async with AsyncClient([endpoint]) as client:
        (member,) = await client.members()
        assert member.client_urls == (f"http://{endpoint}",) and member.name == "n1" and not member.learner
        status = await client.status()
        assert status.leads and status.member == member.id and status.version.startswith("3.")
        assert status.applied_index > 0 and status.size > 0 and status.revision > 0
        reply = await client.call("/etcdserverpb.KV/Range", etcd.RangeRequest(key=b"k", count_only=True))
        assert reply.header.member_id == member.id
        with pytest.raises(errors.NotSupported):
            await client.call("/no.such.Service/Method", etcd.StatusRequest())


def test_the_same_for_threads(endpoint: str) -> None:
    with Client([endpoint]) as client:
        revision = client.put("a", "1").revision
        assert client.get("a").value == b"1"
        assert client.get_prefix("a").kvs == client.range("a").kvs
        taken = client.txn().when(Version("b") == 0).then(Put("b", "2")).commit()
        assert taken.succeeded and client.commit(Txn().then(Get("b"))).responses[0].kvs[0].value == b"2"
        assert [pair.key for pair in client.scan(prefix="", page=1)] == [b"a", b"b"]
        assert client.delete("a").deleted == 1
        assert client.compact(revision) == revision + 2
        assert [member.name for member in client.members()] == ["n1"]
        assert client.status().leads
        client.sync()
        assert client.endpoints == [endpoint]
        with pytest.raises(errors.Compacted):
            client.get("a", revision=revision - 1)
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(lambda number: client.put(f"t/{number}", str(number)), range(400)))
        assert client.range(prefix="t/", count_only=True).count == 400


def test_clients_share_a_thread_and_the_last_one_ends_it(endpoint: str) -> None:
    before = threading.active_count()
    one, other = Client([endpoint]), Client([endpoint])
    one.put("a"), other.put("b")
    assert threading.active_count() == before + 1
    one.close()
    one.close()
    with pytest.raises(errors.NotExecuted, match="closed"):
        one.put("a")
    other.put("b")
    other.close()
    assert threading.active_count() == before
