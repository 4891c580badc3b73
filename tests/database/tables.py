"""A table in memory."""

from __future__ import annotations

from collections.abc import Iterator


class DictTable:
    """`model.machine.Table` over a dict. `rows` may be compared and copied."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self.rows = {} if rows is None else dict(rows)
        self.get = self.rows.get

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        self.rows.pop(key, None)

    def scan(self, start: bytes, stop: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        keys = sorted(key for key in self.rows if start <= key and (stop is None or key < stop))
        for key in reversed(keys) if reverse else keys:
            yield key, self.rows[key]
