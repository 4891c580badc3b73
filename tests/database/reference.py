"""The database as a few dicts and lists, written to be obviously right: all states are kept whole."""

from __future__ import annotations

from typing import Any

from ostraka.database.commands import DeleteRange, KeyValue, Put, Range

State = dict[bytes, KeyValue]


class Reference:
    """`states[r]` is the whole store at revision r. Answers are plain tuples; an error is its text."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {1: {}}
        self.events: list[tuple[int, bytes, KeyValue | None, KeyValue | None]] = []

    @property
    def revision(self) -> int:
        return max(self.states)

    def execute(self, command: Any) -> Any:
        match command:
            case Put():
                return self.put(command)
            case DeleteRange():
                return self.delete_range(command)
            case Range():
                return self.range(command)

    def put(self, ask: Put) -> Any:
        if ask.key == b"":
            return "etcdserver: key is not provided"
        if ask.ignore_value and ask.value != b"":
            return "etcdserver: value is provided"
        if ask.ignore_lease and ask.lease != 0:
            return "etcdserver: lease is provided"
        if ask.lease != 0:
            return "etcdserver: requested lease not found"
        now = self.states[self.revision]
        old = now.get(ask.key)
        if (ask.ignore_value or ask.ignore_lease) and old is None:
            return "etcdserver: key not found"
        revision = self.revision + 1
        created, version = (revision, 0) if old is None else (old.create_revision, old.version)
        value = old.value if ask.ignore_value and old is not None else ask.value
        new = KeyValue(ask.key, created, revision, version + 1, value, 0)
        self.states[revision] = {**now, ask.key: new}
        self.events.append((revision, ask.key, old, new))
        return ("put", revision, old if ask.prev_kv else None)

    def delete_range(self, ask: DeleteRange) -> Any:
        if ask.key == b"":
            return "etcdserver: key is not provided"
        now = self.states[self.revision]
        gone = [now[key] for key in sorted(now) if within(key, ask.key, ask.range_end)]
        if gone:
            revision = self.revision + 1
            self.states[revision] = {key: pair for key, pair in now.items() if pair not in gone}
            self.events += [(revision, pair.key, pair, None) for pair in gone]
        return ("delete", self.revision, len(gone), tuple(gone) if ask.prev_kv else ())

    def range(self, ask: Range) -> Any:
        if ask.key == b"":
            return "etcdserver: key is not provided"
        if ask.sort_order not in (0, 1, 2) or ask.sort_target not in (0, 1, 2, 3, 4):
            return "etcdserver: invalid sort option"
        if ask.revision > self.revision:
            return "etcdserver: mvcc: required revision is a future revision"
        state = self.states[ask.revision if ask.revision > 0 else self.revision]
        found = [state[key] for key in sorted(state) if within(key, ask.key, ask.range_end)]
        count = len(found)
        if ask.count_only:
            return ("range", self.revision, (), False, count)
        bounds = (ask.min_mod_revision, ask.max_mod_revision, ask.min_create_revision, ask.max_create_revision)
        if ask.sort_order == 0 and not any(bounds) and ask.limit > 0:
            found = found[: ask.limit + 1]  # etcd cuts here already, and sorts what is left.
        if ask.min_mod_revision:
            found = [pair for pair in found if pair.mod_revision >= ask.min_mod_revision]
        if ask.max_mod_revision:
            found = [pair for pair in found if pair.mod_revision <= ask.max_mod_revision]
        if ask.min_create_revision:
            found = [pair for pair in found if pair.create_revision >= ask.min_create_revision]
        if ask.max_create_revision:
            found = [pair for pair in found if pair.create_revision <= ask.max_create_revision]
        names = ("key", "version", "create_revision", "mod_revision", "value")
        if ask.sort_order != 0 or ask.sort_target != 0:
            found.sort(key=lambda pair: getattr(pair, names[ask.sort_target]), reverse=ask.sort_order == 2)
        more = ask.limit > 0 and len(found) > ask.limit
        if more:
            found = found[: ask.limit]
        if ask.keys_only:
            found = [KeyValue(p.key, p.create_revision, p.mod_revision, p.version, b"", p.lease) for p in found]
        return ("range", self.revision, tuple(found), more, count)


def within(key: bytes, start: bytes, range_end: bytes) -> bool:
    if range_end == b"":
        return key == start
    if range_end == b"\0":
        return key >= start
    return start <= key < range_end
