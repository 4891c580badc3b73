"""One contract for the table in RocksDB and its twin in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostraka.errors import Corruption, NewerFormat, Overloaded, StorageError
from ostraka.storage import table as module
from ostraka.storage.table import MemoryStore, RocksStore, Store, Table

P = b"group-1/"
Loop = SimpleQueue[Callable[[], None]]


@pytest.fixture(params=["rocksdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    loop: Loop = SimpleQueue()
    made: Store = RocksStore(tmp_path / "table", loop.put) if request.param == "rocksdb" else MemoryStore(loop.put)
    made.loop = loop  # type: ignore[attr-defined]
    yield made
    made.close()


def flush(store: Store) -> None:
    outcome: list[StorageError | None] = []
    store.flush(outcome.append)
    assert outcome == [], "done must never be called from inside"
    store.loop.get(timeout=60)()  # type: ignore[attr-defined]
    assert outcome == [None]


def filled(store: Store, prefix: bytes = P) -> Table:
    table = store.table(prefix)
    for number in range(10):
        table.put(b"k%d" % number, b"v%d" % number)
    table.commit()
    return table


def keys(rows: Iterator[tuple[bytes, bytes]]) -> list[bytes]:
    return [key for key, _ in rows]


@pytest.mark.parametrize("length", [0, 1, 511, 512, 100_000])
def test_keys_of_any_length(store: Store, length: int) -> None:
    table, key = store.table(P), b"k" * length
    table.put(key, b"value")
    assert table.get(key) == b"value", "a pending write is read"
    table.commit()
    flush(store)
    assert store.table(P).get(key) == b"value"
    assert list(table.scan(b"", None)) == [(key, b"value")]
    table.delete(key)
    table.commit()
    assert table.get(key) is None
    assert list(table.scan(b"", None)) == []


ACTS = st.tuples(
    st.sampled_from(["get", "get", "put", "put", "delete", "commit", "discard"]),
    st.integers(0, 9),
    st.binary(max_size=9),
)


@settings(max_examples=200, deadline=None)
@given(acts=st.lists(ACTS, max_size=60), cache_size=st.sampled_from([0, 1, 900, 1 << 20]))
def test_a_cache_shows_what_would_be_read_without_it(acts: list[tuple[str, int, bytes]], cache_size: int) -> None:
    table = MemoryStore(lambda callback: None).table(P, cache_size)
    committed: dict[bytes, bytes] = {}
    now: dict[bytes, bytes] = {}
    for act, number, value in acts:
        key = b"k%d" % number
        match act:
            case "put":
                table.put(key, value)
                now[key] = value
            case "delete":
                table.delete(key)
                now.pop(key, None)
            case "commit":
                table.commit()
                committed = dict(now)
            case "discard":
                table.discard()
                now = dict(committed)
            case _:
                assert table.get(key) == now.get(key)
    assert {key: table.get(key) for key in now} == now == dict(table.scan(b"", None))


def test_a_cache_is_bounded(store: Store) -> None:
    table = store.table(P, cache_size=100_000)
    for number in range(1000):
        table.put(b"%d" % number, b"x" * 1000)
        table.get(b"%d" % number)
    table.commit()
    kept = len(table._hot) + len(table._warm)
    assert 40 < kept < 100 and table.get(b"0") == b"x" * 1000


def test_an_empty_value_is_not_a_missing_one(store: Store) -> None:
    table = store.table(P)
    table.put(b"k", b"")
    assert table.get(b"k") == b""
    table.commit()
    assert table.get(b"k") == b""
    assert table.get(b"other") is None
    assert list(table.scan(b"", None)) == [(b"k", b"")]


def test_scans_see_pending_writes_both_ways(store: Store) -> None:
    table = filled(store)
    table.delete(b"k3")
    table.put(b"k4", b"new")
    table.put(b"k35", b"between")
    table.delete(b"absent")
    expected = [(b"k2", b"v2"), (b"k35", b"between"), (b"k4", b"new"), (b"k5", b"v5")]
    for _ in ("pending", "committed"):
        assert list(table.scan(b"k2", b"k6")) == expected
        assert list(table.scan(b"k2", b"k6", reverse=True)) == expected[::-1]
        assert keys(table.scan(b"k9", None)) == [b"k9"]
        assert keys(table.scan(b"", None, reverse=True))[0] == b"k9"
        assert keys(table.scan(b"k6", b"k6")) == []
        assert keys(table.scan(b"k6", b"k2")) == []
        table.commit()


def test_a_scan_is_of_the_moment_of_its_call(store: Store) -> None:
    table = filled(store)
    table.put(b"k1", b"pending")
    rows, backwards = table.scan(b"", None), table.scan(b"", None, reverse=True)
    table.put(b"k1", b"later")
    table.delete(b"k2")
    table.commit()
    expected = [(b"k%d" % n, b"pending" if n == 1 else b"v%d" % n) for n in range(10)]
    assert list(rows) == expected
    assert list(backwards) == expected[::-1]


def test_tables_do_not_see_each_other(store: Store) -> None:
    one, other = filled(store), store.table(b"group-2/")
    assert list(other.scan(b"", None)) == []
    assert list(other.scan(b"", None, reverse=True)) == []
    other.put(b"k1", b"mine")
    other.commit()
    assert one.get(b"k1") == b"v1"
    assert len(list(one.scan(b"", None))) == 10
    assert keys(store.table(b"a").scan(b"", None, reverse=True)) == []


def test_a_prefix_that_ends_in_ff_has_an_end(store: Store) -> None:
    table = filled(store, b"a\xff\xff")
    filled(store, b"b")
    assert len(list(table.scan(b"", None))) == 10
    table.put(b"\xff\xff", b"last")
    assert keys(table.scan(b"k9", None)) == [b"k9", b"\xff\xff"]


def test_discard_forgets_what_is_pending(store: Store) -> None:
    table = filled(store)
    table.put(b"k1", b"new")
    table.delete(b"k2")
    table.discard()
    assert table.get(b"k1") == b"v1"
    table.commit()
    assert len(list(table.scan(b"", None))) == 10


def test_a_pin_does_not_change(store: Store) -> None:
    table = filled(store)
    pin = store.pin(P)
    table.put(b"k0", b"new")
    table.delete(b"k1")
    table.commit()
    store.drop(P)
    flush(store)
    for _ in range(2):
        assert list(pin.scan(b"", None)) == [(b"k%d" % n, b"v%d" % n) for n in range(10)]
    assert keys(pin.scan(b"k3", b"k5")) == [b"k3", b"k4"]
    one, other = pin.scan(b"k3", b"k6"), pin.scan(b"k7", None)
    taken = [key for pairs in zip(one, other, strict=True) for key, _ in pairs]
    assert taken == [b"k3", b"k7", b"k4", b"k8", b"k5", b"k9"]
    pin.release()
    assert list(table.scan(b"", None)) == []


def test_drop_deletes_one_prefix(store: Store) -> None:
    filled(store, b"old")
    kept = filled(store, b"olc")
    also = filled(store, b"ole")
    store.drop(b"old")
    assert list(store.table(b"old").scan(b"", None)) == []
    assert store.table(b"old").get(b"k1") is None
    assert len(list(kept.scan(b"", None))) == len(list(also.scan(b"", None))) == 10
    again = store.table(b"old")
    again.put(b"k1", b"born again")
    again.commit()
    assert list(again.scan(b"", None)) == [(b"k1", b"born again")]


_KEYS = st.sampled_from([b"", b"a", b"a\x00", b"ab", b"b", b"\x00", b"\xff", b"\xff\xff"])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "commit", "discard", "flush", "scan"]), _KEYS, _KEYS), max_size=40
)


def compact(store: Store) -> StorageError | None:
    outcome: list[StorageError | None] = []
    store.compact(outcome.append)
    store.compact(outcome.append)  # Who comes meanwhile waits for the same end.
    while len(outcome) < 2:
        store.loop.get(timeout=60)()  # type: ignore[attr-defined]
    assert outcome[0] == outcome[1]
    return outcome[0]


def test_compacting_gives_back_the_room_of_what_was_overwritten(store: Store) -> None:
    table = store.table(P)
    for value in (b"a", b"b", b"c"):
        for number in range(200):
            table.put(b"k%d" % number, os.urandom(1000) + value)
        table.commit()
        flush(store)
    assert compact(store) is None
    assert 200_000 < store.live_size() < 300_000
    assert [row[-1:] for _, row in table.scan(b"", None)] == [b"c"] * 200
    if isinstance(store, RocksStore):
        files = sum(path.stat().st_size for path in store._path.glob("*.sst"))
        assert 200_000 < files < 300_000


def test_a_disk_without_room_to_rewrite_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path / "table", lambda callback: None)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(Overloaded, match="has 1000: make room there"):
        store.compact(lambda failure: None)
    store.close()


def test_closing_does_not_wait_for_a_long_rewriting(tmp_path: Path) -> None:
    """It is cut short, and nobody is told that it has failed."""
    loop: Loop = SimpleQueue()
    store = RocksStore(tmp_path / "table", loop.put)
    table = store.table(P)
    for number in range(20_000):
        table.put(b"k%d" % number, os.urandom(1000))
    table.commit()
    store.compact(lambda failure: pytest.fail("told"))
    store.close()
    assert loop.empty()
    again = RocksStore(tmp_path / "table", loop.put)
    again.close()


@given(steps=_STEPS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_it_is_a_sorted_map(store: Store, steps: list[tuple[str, bytes, bytes]]) -> None:
    store.drop(P)
    table = store.table(P)
    committed: dict[bytes, bytes] = {}
    model: dict[bytes, bytes] = {}
    for step, key, value in steps:
        match step:
            case "put":
                table.put(key, value)
                model[key] = value
            case "delete":
                table.delete(key)
                model.pop(key, None)
            case "commit":
                table.commit()
                committed = dict(model)
            case "discard":
                table.discard()
                model = dict(committed)
            case "flush":
                flush(store)
        expected = sorted((k, v) for k, v in model.items() if key <= k < value)
        assert list(table.scan(key, value)) == expected
        assert list(table.scan(key, value, reverse=True)) == expected[::-1]
        assert list(table.scan(b"", None)) == sorted(model.items())
        assert table.get(key) == model.get(key)


def test_the_twin_goes_back_to_its_last_flush() -> None:
    loop: Loop = SimpleQueue()
    store = MemoryStore(loop.put)
    table = filled(store)
    flushed: list[object] = []
    store.flush(flushed.append)
    table.put(b"k1", b"after the flush began")
    table.commit()
    loop.get()()
    assert flushed == [None]
    store.flush(flushed.append)  # This one is in flight at the crash.
    for value in (b"second", b"third"):
        table.delete(b"k2")
        table.put(b"k3", value)
        table.put(b"new", value)
        table.commit()
    store.crash()
    loop.get()()
    assert flushed == [None], "a flush from before the crash is not done after it"
    assert list(store.table(P).scan(b"", None)) == [(b"k%d" % n, b"v%d" % n) for n in range(10)]


def test_the_twin_knows_what_a_later_flush_covers() -> None:
    callbacks: list[Callable[[], None]] = []
    store = MemoryStore(callbacks.append)
    done: list[object] = []
    table = filled(store)
    store.flush(done.append)
    table.put(b"k1", b"second")
    table.commit()
    store.flush(done.append)
    table.put(b"k1", b"third")
    table.commit()
    callbacks[1]()
    store.crash()
    assert table.get(b"k1") == b"second"
    callbacks[0]()
    assert done == [None], "the crash ended the first flush"


_CHILD = """
import os, sys
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from ostraka.storage.table import RocksStore
loop = SimpleQueue()
store = RocksStore(Path(sys.argv[1]), loop.put, memtable=int(sys.argv[2]))
one, two = store.table(b"one"), store.table(b"two")
for number in range(int(sys.argv[3])):
    for table in (one, two):
        table.put(b"count", b"%d" % number)
        table.put(b"%06d" % number, os.urandom(1000))
        table.commit()
    if number == 20:
        store.flush(lambda error: print("flushed", error, flush=True))
        loop.get()()
two.put(b"uncommitted", b"")
print("written", flush=True)
os.read(0, 1)
"""


def _killed(path: Path, memtable: int, commits: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), str(memtable), str(commits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline(), child.stdout.readline()]
        os.kill(child.pid, signal.SIGKILL)
        assert lines == ["flushed None\n", "written\n"]


@pytest.mark.process
def test_a_killed_process_goes_back_to_its_last_flush(tmp_path: Path) -> None:
    _killed(tmp_path, 64 << 20, 50)
    store = RocksStore(tmp_path, lambda callback: None)
    for prefix in (b"one", b"two"):
        assert store.table(prefix).get(b"count") == b"20"
        assert len(list(store.table(prefix).scan(b"", None))) == 22
    store.close()


@pytest.mark.process
def test_a_killed_process_keeps_whole_commits_in_order_when_rocksdb_flushes_by_itself(tmp_path: Path) -> None:
    _killed(tmp_path, 256 << 10, 2000)  # Each commit holds 1 KB, so there are some fifteen flushes.
    store = RocksStore(tmp_path, lambda callback: None)
    one, two = store.table(b"one"), store.table(b"two")
    first, second = int(one.get(b"count") or b"-1"), int(two.get(b"count") or b"-1")
    assert first > 20, "RocksDB did not flush by itself, so this test shows nothing"
    assert first in (second, second + 1), "a later commit survived, and an earlier one of another table did not"
    assert len(keys(one.scan(b"", None))) == first + 2
    assert len(keys(two.scan(b"", None))) == second + 2
    assert two.get(b"uncommitted") is None
    store.close()


def _tables(path: Path) -> list[Path]:
    return sorted(path.glob("*.sst"))


def test_damaged_blocks_are_refused(tmp_path: Path) -> None:
    loop: Loop = SimpleQueue()
    store = RocksStore(tmp_path, loop.put)
    store.loop = loop  # type: ignore[attr-defined]
    table = store.table(P)
    for number in range(2000):
        table.put(b"%06d" % number, os.urandom(100))
    table.commit()
    flush(store)
    store.close()
    largest = max(_tables(tmp_path), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    for offset in range(20_000, 150_000, 1000):  # Not the first block, which opening reads, nor the index at the end.
        data[offset] ^= 0x10
    largest.write_bytes(data)
    damaged = RocksStore(tmp_path, loop.put)
    with pytest.raises(Corruption, match=largest.name):
        damaged.table(P).get(b"000500")
    with pytest.raises(Corruption, match=largest.name):
        list(damaged.table(P).scan(b"", None))
    with pytest.raises(Corruption, match=largest.name):
        list(damaged.table(P).scan(b"", b"001000", reverse=True))
    pin = damaged.pin(P)
    with pytest.raises(Corruption, match=largest.name):
        list(pin.scan(b"", None))
    pin.release()
    damaged.close()


def test_a_newer_format_is_refused_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(module, "FORMAT", 2)
        RocksStore(tmp_path, lambda callback: None).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith("LOG")}
    with pytest.raises(NewerFormat, match="format 2, and this version of Ostraka knows 1"):
        RocksStore(tmp_path, lambda callback: None)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith("LOG")}


def test_two_processes_can_not_open_it(tmp_path: Path) -> None:
    store = RocksStore(tmp_path, lambda callback: None)
    with pytest.raises(StorageError, match="LOCK"):
        RocksStore(tmp_path, lambda callback: None)
    store.close()
