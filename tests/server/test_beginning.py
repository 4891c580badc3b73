"""Who a process is when it begins, and when it begins again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import msgspec
import pytest

from ostraka.cli.cluster import free_ports
from ostraka.errors import ConfigurationError, Corruption, NewerFormat, Removed, Unavailable, WrongIdentity
from ostraka.server import beginning
from ostraka.server.beginning import Joined, begin, join, must_ask, note_removal
from ostraka.server.config import ServerConfig
from ostraka.server.shell import hello_of
from ostraka.storage.birth import Birth, read_birth, write_birth
from ostraka.storage.identity import Identity, write_identity
from ostraka.transport.wire import Listed
from tests.storage.memory_disk import MemoryDisk

URLS = {"n1": ("http://127.0.0.1:1",), "n2": ("http://127.0.0.1:2",)}
NEW = "http://127.0.0.1:9"


def configuration(directory: Path, name: str = "n1", url: str = URLS["n1"][0], **others: object) -> ServerConfig:
    return ServerConfig(
        name=name,
        data_dir=directory,
        initial_advertise_peer_urls=(url,),
        **{"initial_cluster": {**URLS, name: (url,)}, **others},
    )


def started(directory: Path, config: ServerConfig, joined: Joined | None = None) -> tuple[MemoryDisk, Identity, Birth]:
    """A member that began so."""
    disk = MemoryDisk()
    identity, birth = begin(config, disk, Random(1), joined)
    write_identity(disk, identity)  # As the write-ahead log does.
    return disk, identity, birth


def test_one_of_the_first_is_who_its_flags_say_and_remembers_them(tmp_path):
    config = configuration(tmp_path)
    disk, identity, birth = started(tmp_path, config)
    assert (identity.cluster, identity.member) == (config.cluster_id, config.me) and identity.disk
    assert birth.voters == tuple(sorted(config.member_ids().values()))
    assert birth.peer_urls[config.me] == URLS["n1"]
    assert begin(config, disk, Random(2), None) == (identity, birth)


def test_a_newcomer_is_who_the_members_say(tmp_path):
    config = configuration(tmp_path, "n3", NEW, existing=True)
    joined = Joined(7, (Listed(5, "n1", URLS["n1"]), Listed(6, "", (NEW,))))
    disk, identity, birth = started(tmp_path, config, joined)
    assert (identity.cluster, identity.member, birth.voters) == (7, 6, ())
    assert beginning.addresses(birth) == {5: URLS["n1"][0], 6: NEW}
    assert begin(config, disk, Random(2), None) == (identity, birth), "it need not ask again"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (Listed(6, "", ("http://127.0.0.1:8",)), "add it first, with `ostraka member add n3 --peer-urls http"),
        (Listed(6, "n3", (NEW,)), "has been started before, as n3, and .* holds no data"),
    ],
)
def test_a_newcomer_that_is_nobody_is_told_what_to_do(tmp_path, listed, said):
    disk = MemoryDisk()
    with pytest.raises(WrongIdentity, match=said):
        begin(configuration(tmp_path, "n3", NEW, existing=True), disk, Random(1), Joined(7, (listed,)))
    assert disk.names() == []


@pytest.mark.parametrize(
    "others",
    [
        {"url": "http://127.0.0.1:7"},  # It has moved,
        {"name": "renamed"},  # or has another name,
        {"initial_cluster": {"n1": URLS["n1"]}},  # or doesn't name the others,
        {"existing": True, "token": "another"},  # or does as etcd's scripts do after a member was added.
    ],
)
def test_flags_of_the_beginning_are_ignored_later(tmp_path, others):
    disk, identity, birth = started(tmp_path, configuration(tmp_path))
    assert begin(configuration(tmp_path, **others), disk, Random(2), None) == (identity, birth)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"token": "another"}, "belongs to cluster .* began with the token"),
        (
            {"name": "n2", "url": URLS["n2"][0]},
            "belongs to member .*, n1 at .*:1, and the flags are those of n2",
        ),
        ({"name": "n7", "url": NEW}, "belongs to member"),
    ],
)
def test_flags_of_somebody_else_are_refused(tmp_path, others, said):
    disk, _, _ = started(tmp_path, configuration(tmp_path))
    with pytest.raises(WrongIdentity, match=said):
        begin(configuration(tmp_path, **others), disk, Random(2), None)


def test_who_was_removed_does_not_start_again(tmp_path):
    config = configuration(tmp_path)
    disk, _, _ = started(tmp_path, config)
    note_removal(config, "member 7 (n1) was removed from the cluster")
    with pytest.raises(Removed, match=r"member 7 .* was removed from the cluster, and never comes back.*member add"):
        begin(config, disk, Random(2), None)


@pytest.mark.parametrize(("mine", "other"), [("raft", "multipaxos"), ("multipaxos", "raft")])
def test_a_directory_remembers_its_engine(tmp_path, mine, other):
    disk, _, birth = started(tmp_path, configuration(tmp_path, consensus=mine))
    assert birth.consensus == mine
    with pytest.raises(WrongIdentity, match=f"holds the log of consensus {mine}, and --consensus is {other}: give"):
        begin(configuration(tmp_path, consensus=other), disk, Random(2), None)


def test_older_versions_refuse_the_log_of_another_engine_than_rafts():
    disk = MemoryDisk()
    write_birth(disk, Birth("t", (1,), {1: ("http://a:1",)}, "a"))
    assert disk.read("birth").startswith(b"ostraka birth 1\n")
    write_birth(disk, Birth("t", (1,), {1: ("http://a:1",)}, "a", "multipaxos"))
    assert disk.read("birth").startswith(b"ostraka birth 2\n") and read_birth(disk).consensus == "multipaxos"


def test_what_is_written_of_the_beginning_is_checked():
    disk = MemoryDisk()
    birth = Birth("t", (1, 2**64 - 1), {1: ("http://a:1", "http://b:1"), 2**64 - 1: ()}, "é")
    write_birth(disk, birth)
    assert read_birth(disk) == birth
    data = disk.read("birth")
    for damaged in (data[:-3], data.replace(b"http://a", b"http://x"), b""):
        with pytest.raises(Corruption, match="birth, offset 0: missing or damaged"):
            read_birth(holding(damaged))
    newer = data.rpartition(b"crc32c ")[0].replace(b"birth 1", b"birth 9")
    with pytest.raises(NewerFormat, match="birth has format 9"):
        read_birth(holding(newer + b"crc32c %08x\n" % beginning_crc(newer)))


def holding(data: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    file = disk.create("birth")
    file.append(data)
    file.flush("birth.content")
    disk.flush_dir("birth.name")
    return disk


def beginning_crc(data: bytes) -> int:
    import google_crc32c

    return google_crc32c.value(data)


def test_only_a_newcomer_asks(tmp_path):
    config = configuration(tmp_path, existing=True)
    assert must_ask(config) and not must_ask(msgspec.structs.replace(config, existing=False))
    (tmp_path / "identity").write_text("")
    assert not must_ask(config)


def test_a_newcomer_asks_until_somebody_knows(tmp_path, monkeypatch, caplog):
    config = configuration(tmp_path, existing=True)
    answers: list[object] = [OSError("no leader"), OSError("no leader"), (hello_of(config, 7, 1, 1), Joined(7, ()))]

    async def ask(host: str, port: int, hello: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(beginning, "ask_roster", ask)
    monkeypatch.setattr(beginning, "ASK_EVERY", 0.001)
    assert asyncio.run(join(config, hello_of(config))) == Joined(7, ()) and answers == []
    assert caplog.text.count("no leader") == 1, "said once"


def test_a_newcomer_does_not_ask_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(beginning, "JOIN_WITHIN", 0.05)
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    config = configuration(tmp_path, existing=True, initial_cluster={"n1": URLS["n1"], "n2": (nobody,)})
    with pytest.raises(Unavailable, match=r"no member of the cluster could tell within .*: check --initial-cluster"):
        asyncio.run(join(config, hello_of(config)))
    alone = configuration(tmp_path, existing=True, initial_cluster={"n1": URLS["n1"]})
    with pytest.raises(ConfigurationError, match="names nobody but this member"):
        asyncio.run(join(alone, hello_of(config)))
