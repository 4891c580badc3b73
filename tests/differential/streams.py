"""Random requests to etcd's KV and Lease services, many of them wrong, for two servers whose revisions may differ.

A request is a tree of dicts, as protobuf's constructors take it; `Rev` stands where it names a revision, with the
number for each server. Left out is what stops etcd 3.5 (a comparison whose value is not of its target; an unknown sort
target; a key deleted by "all from k on" and then put with `ignore_value` in one transaction) and what it came to refuse
later (an unknown sort order).
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from ostraka.api import etcd

PUT, RANGE, DELETE, TXN, COMPACT = (
    f"/etcdserverpb.KV/{name}" for name in ("Put", "Range", "DeleteRange", "Txn", "Compact")
)
GRANT, REVOKE, LIFE = (f"/etcdserverpb.Lease/Lease{name}" for name in ("Grant", "Revoke", "TimeToLive"))
KINDS = {
    PUT: etcd.PutRequest,
    RANGE: etcd.RangeRequest,
    DELETE: etcd.DeleteRangeRequest,
    TXN: etcd.TxnRequest,
    COMPACT: etcd.CompactionRequest,
    GRANT: etcd.LeaseGrantRequest,
    REVOKE: etcd.LeaseRevokeRequest,
    LIFE: etcd.LeaseTimeToLiveRequest,
}
VALUES = [b"", b"1", b"2", b"\0", b"x" * 100]
NAMES = [b"", b"\0", b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"c", b"\xff", b"\xff\xff"]
MOST_OPERATIONS = 128
LARGEST = 1_572_864
FAR = 10**12


class Rev(NamedTuple):
    """A revision, as each of the servers has numbered it."""

    ours: int
    theirs: int


class Ask(NamedTuple):
    """A request. `spec` None: the bytes are no message."""

    path: str
    spec: dict[str, Any] | None

    def message(self, side: int) -> bytes:
        if self.spec is None:
            return b"\x0a\xff"
        return bytes(KINDS[self.path](**rendered(self.spec, side)).SerializeToString())


def rendered(spec: Any, side: int) -> Any:
    """With this side's revisions."""
    if isinstance(spec, Rev):
        return spec[side]
    if isinstance(spec, dict):
        return {name: rendered(value, side) for name, value in spec.items()}
    if isinstance(spec, list):
        return [rendered(value, side) for value in spec]
    return spec


class Stream:
    """One client's requests. It keeps to the keys that begin with `prefix`, and to leases of its own.

    `alone`: nobody else is asking at the same time, so it may do what makes an unknown number of revisions.
    """

    def __init__(self, dice: Random, prefix: bytes, alone: bool) -> None:
        self.dice, self.prefix, self.alone = dice, prefix, alone
        first = int.from_bytes(prefix, "big")
        self.leases = [first, -first, (1 << 62) + first]
        self.end = prefix[:-1] + bytes([prefix[-1] + 1])
        self.revisions: list[Rev] = []  # Those of its own changes,
        self.current: int | None = None  # and the store's, if nobody else is changing it.
        self.compacted = -1

    def chance(self, percent: int) -> bool:
        return self.dice.randrange(100) < percent

    def key(self) -> bytes:
        return self.prefix + self.dice.choice(NAMES)

    def range_end(self) -> bytes:
        ends = [b"", b"", self.end, self.key(), self.key()]
        return self.dice.choice([*ends, b"\0"] if self.alone else ends)

    def revision(self) -> Any:
        """One to be read: mostly the present, or a known one."""
        draw = self.dice.randrange(20)
        if draw < 10 or not self.revisions:
            return 0
        if draw < 17:
            return self.known()
        if draw == 17:
            return -self.dice.randrange(1, 3)
        if self.current is None:
            return FAR
        return self.current + 1 if draw == 18 else self.current

    def known(self) -> Any:
        return self.dice.choice(self.revisions[-40:]) if self.revisions else 0

    # Sound requests, more or less.

    def put(self, ignore: bool = True) -> dict[str, Any]:
        spec: dict[str, Any] = {"key": self.key(), "value": self.dice.choice(VALUES), "prev_kv": self.chance(50)}
        if ignore and self.chance(15):
            spec["ignore_lease"] = True
        elif self.chance(25):
            spec["lease"] = self.dice.choice(self.leases)
        if ignore and self.chance(10):
            spec.update(ignore_value=True, value=b"")
        return spec

    def delete(self, open_ended: bool = True) -> dict[str, Any]:
        end = self.range_end()
        end = self.end if end == b"\0" and not open_ended else end
        return {"key": self.key(), "range_end": end if self.chance(40) else b"", "prev_kv": self.chance(50)}

    def range(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"key": self.key(), "range_end": self.range_end(), "revision": self.revision()}
        if self.chance(50):
            spec["limit"] = self.dice.randrange(-1, 6)
        if self.chance(30):
            spec.update(sort_order=self.dice.randrange(3), sort_target=self.dice.randrange(5))
        for name in ("keys_only", "count_only"):
            if self.chance(8):
                spec[name] = True
        if self.chance(15):
            name = self.dice.choice(("min_mod", "max_mod", "min_create", "max_create"))
            spec[f"{name}_revision"] = self.known()
        return spec

    def compare(self) -> dict[str, Any]:
        target = self.dice.randrange(5)
        spec: dict[str, Any] = {"key": self.key(), "target": target, "result": self.dice.randrange(4)}
        if self.chance(20):
            spec["range_end"] = self.range_end()
        if self.chance(90):
            name = ("version", "create_revision", "mod_revision", "value", "lease")[target]
            small = self.dice.randrange(3)
            revision = self.known() if self.chance(80) else 0
            spec[name] = (small, revision, revision, self.dice.choice(VALUES), small)[target]
        return spec

    def txn(self, depth: int = 2, hazard: bool | None = None) -> dict[str, Any]:
        if hazard is None:
            hazard = self.chance(50)  # Either open-ended deletions or puts that keep something: etcd can't take both.
        sizes = [self.dice.choice((0, 1, 1, 2)), self.dice.randrange(4), self.dice.randrange(3)]
        return {
            "compare": [self.compare() for _ in range(sizes[0])],
            "success": [self.operation(depth, hazard) for _ in range(sizes[1])],
            "failure": [self.operation(depth, hazard) for _ in range(sizes[2])],
        }

    def operation(self, depth: int, hazard: bool) -> dict[str, Any]:
        draw = self.dice.randrange(10)
        if draw < 4:
            return {"request_put": self.put(ignore=not hazard)}
        if draw < 6:
            return {"request_delete_range": self.delete(open_ended=hazard)}
        if draw < 8 or not depth:
            return {"request_range": self.range()}
        return {"request_txn": self.txn(depth - 1, hazard)}

    def reading(self) -> Ask:
        """A request that changes nothing, whatever the state."""
        if self.chance(30):
            return self.wrong(harmless=True)
        if self.chance(70):
            return Ask(RANGE, {**self.range(), "serializable": self.chance(30)})
        branch = [{"request_range": self.range()} for _ in range(self.dice.randrange(3))]
        return Ask(TXN, {"compare": [self.compare()], "success": branch, "failure": branch[:1]})

    def any(self) -> Ask:
        draw = self.dice.randrange(100)
        if draw < 30:
            return self.wrong(harmless=False)
        if draw < 40:
            return self.about_lease()
        if draw < 60:
            return Ask(PUT, self.put())
        if draw < 68:
            return Ask(DELETE, self.delete())
        if draw < 78:
            return Ask(RANGE, self.range())
        return Ask(TXN, self.txn())

    def about_lease(self) -> Ask:
        """Each lives for longer than any test, unless it is revoked."""
        lease = self.dice.choice(self.leases)
        draw = self.dice.randrange(10)
        if draw < 4:
            return Ask(GRANT, {"ID": lease, "TTL": self.dice.choice((20_000, 9_000_000_000, 9_000_000_001))})
        if draw < 7 and self.alone:
            return Ask(REVOKE, {"ID": lease})
        return Ask(LIFE, {"ID": lease, "keys": self.chance(70)})

    # Requests that are wrong on purpose.

    def wrong(self, harmless: bool) -> Ask:
        """One that most likely is refused; `harmless`: certainly, or else it changes nothing."""
        if self.dice.randrange(250) == 0:
            size = LARGEST + 1000 if self.chance(65) else LARGEST + (1 << 20)
            return Ask(PUT, {"key": self.key(), "value": bytes(size)})
        draw = self.dice.randrange(18 if harmless else 21)
        key, other = self.key(), self.prefix + b"never"
        put = {"request_put": {"key": key}}
        match draw:
            case 0:
                return Ask(self.dice.choice((PUT, RANGE, DELETE)), {"key": b""})
            case 1:
                return Ask(PUT, {"key": key, "value": b"v", "ignore_value": True})
            case 2:
                return Ask(PUT, {"key": key, "lease": 7, "ignore_lease": True})
            case 3:
                return Ask(PUT, {"key": key, "lease": self.dice.choice((7, -1))})
            case 4:
                return Ask(PUT, {"key": other, "ignore_value": True, "lease": 7 * self.chance(30)})
            case 5:
                return Ask(PUT, {"key": other, "value": b"v", "ignore_lease": True})
            case 6:
                return Ask(RANGE, {"key": key, "revision": FAR, "range_end": self.range_end()})
            case 7:
                return Ask(RANGE, {"key": key, "revision": max(1, self.compacted - self.dice.randrange(1, 3))})
            case 8:
                return Ask(TXN, {"success": [put, put]})
            case 9:
                delete = {"key": self.prefix, "range_end": self.end}
                both = [put, {"request_txn": {"failure": [{"request_delete_range": delete}]}}]
                return Ask(TXN, {"failure": both})
            case 10:
                return Ask(TXN, {"success": [put, {}] if self.chance(50) else [{}]})
            case 11:
                return Ask(TXN, {"compare": [{"key": b""}], "failure": [put, put]})
            case 12:
                return self.too_many()
            case 13:
                return Ask(COMPACT, {"revision": FAR, "physical": self.chance(50)})
            case 14:
                return Ask(COMPACT, {"revision": self.dice.choice((-1, self.compacted, self.compacted - 1))})
            case 15:
                return Ask(self.dice.choice([*KINDS]), None)
            case 16:
                bad = {"request_put": {"key": other, "lease": 7, "ignore_value": self.chance(50)}}
                far = {"request_range": {"key": key, "revision": FAR}}
                return Ask(TXN, {"success": self.shuffled([put, bad, far])})
            case 17:
                bad = {"request_range": {"key": key, "revision": self.dice.choice((FAR, -3))}}
                return Ask(TXN, {"success": [put, {"request_txn": {"success": [bad]}}]})
            case 18:
                spec = self.put()
                return Ask(PUT, {**spec, "ignore_lease": True, "ignore_value": True, "value": b""})
            case 19:
                return Ask(TXN, {"success": [put, {"request_range": self.range()}, {"request_put": self.put()}]})
            case _:
                mixed = [self.operation(1, False), put, self.operation(0, False)]
                return Ask(TXN, {"success": self.shuffled(mixed), "failure": self.shuffled(mixed[:2])})

    def too_many(self) -> Ask:
        """Too many in one list, or too many for what the list outside has left."""
        one = {"request_range": {"key": self.key()}}
        if self.chance(30):
            return Ask(TXN, {"success": [one] * (MOST_OPERATIONS + 1)})
        if self.chance(30):
            return Ask(TXN, {"compare": [{"key": self.key()}] * (MOST_OPERATIONS + 1)})
        outside = self.dice.randrange(100, MOST_OPERATIONS)
        inner = {"request_txn": {"success": [one] * (MOST_OPERATIONS - outside + self.dice.randrange(2))}}
        return Ask(TXN, {"success": [one] * (outside - 1) + [inner]})

    def shuffled(self, items: list[Any]) -> list[Any]:
        self.dice.shuffle(items)
        return items
