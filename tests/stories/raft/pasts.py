"""Logs that nodes bring with them into a scene."""

from __future__ import annotations

from ostraka.consensus.raft.messages import HardState, Logged
from ostraka.model.effects import Record
from ostraka.model.requests import Batch, Entry, Kind, Request, pack


def past(terms: list[int], term: int) -> list[Record]:
    """What the disk of a node holds whose log has entries of these terms, and which has seen `term`."""
    logged = []
    for index, epoch in enumerate(terms, 1):
        batch = Batch(1, epoch, index, pack((Request(f"{epoch}.{index}".encode()),)))
        logged.append(Logged(Entry(index, epoch, index, Kind.REQUESTS, (batch,))))
    return [HardState(term, None), *logged]
