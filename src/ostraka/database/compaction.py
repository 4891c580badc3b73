"""Compaction: what was before a revision is forgotten at once, and its rows are removed bit by bit.

A change is superfluous if it was made before that revision, and another one up to that revision has replaced it or it
was a deletion. So of each key that lives the newest version stays, and of the revision itself every change: a watch may
begin there.

A sweep goes through the changes from the last compaction's revision to this one's, in their order, and at each removes
the one that it has replaced. So it costs what has changed since, whatever else there is. Where it goes on is part of
the replicated state, and each entry of the log takes it a bounded step further: the same one on all replicas.
"""

from __future__ import annotations

from ostraka.database.digest import Tracked
from ostraka.database.mvcc import MOMENT_SIZE, decode_pair, escaped, moment_of


def start_of(compacted: int) -> bytes:
    """Where the next sweep begins, after a compaction at this revision; -1 if there was none."""
    return moment_of(max(compacted, 0), 0)


def sweep(table: Tracked, start: bytes, revision: int, most: int) -> bytes | None:
    """Look at the changes from `start` up to `revision`, but not at more than `most`, and remove what is superfluous.

    Returns where to go on, or None if all is done.
    """
    bound = moment_of(revision, 0)
    for number, (row_key, row) in enumerate(table.scan(b"h" + start, b"h" + moment_of(revision + 1, 0))):
        moment = row_key[1:]
        if number == most:
            return moment
        change = decode_pair(row)
        versions = b"v" + escaped(change.key)
        if change.version != 1:  # A new key has replaced nothing: a deletion before it has gone by itself.
            for older, _ in table.scan(versions, versions + moment, reverse=True):
                if older[-MOMENT_SIZE:] < bound:
                    _remove(table, versions, older[-MOMENT_SIZE:])
                break
        if change.version == 0 and moment < bound:
            _remove(table, versions, moment)
    return None


def _remove(table: Tracked, versions: bytes, moment: bytes) -> None:
    table.delete(b"h" + moment)
    table.table.delete(versions + moment)
