"""How a transcript says things: one way for every engine's messages and records.

A position is written `term.index`: `2.5` is index 5 of term 2. An entry is its position and what it
carries: `2.5 "a"`, `2.4 noop`. A message is its name and its fields.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ostraka.consensus.multipaxos.messages import Ballot
from ostraka.model.ids import Position
from ostraka.model.requests import Batch, Entry, Kind, Members, SnapshotMeta, unpack


def names(requests: bytes) -> list[str]:
    """The requests of a batch, as the scene named them."""
    return [request.payload.decode() for request in unpack(requests)]


def cargo(entry: Entry) -> str:
    """What the entry carries: `noop`, `members 1 2 3`, or the names of its requests."""
    if entry.kind == Kind.REQUESTS:
        return " ".join(name for batch in entry.batches for name in names(batch.requests))
    if entry.members is not None:
        return words(entry.members)
    return "noop"


def said_fields(value: msgspec.Struct) -> list[str]:
    """The fields worth saying: not a life, which is a long random number, nor what is as it is by default."""
    return [
        f"{field.name}={words(getattr(value, field.name))}"
        for field in msgspec.structs.fields(value)
        if field.name != "life" and getattr(value, field.name) != field.default
    ]


def words(value: Any) -> str:
    """The value as a person would like to read it."""
    match value:
        case Position():
            return f"{value.epoch}.{value.index}"
        case Ballot():
            return f"{value.round}.{value.node}"
        case Entry():
            said = cargo(value)
            return f"{words(value.position)} " + (f'"{said}"' if value.kind == Kind.REQUESTS else said)
        case Batch():
            return '"' + " ".join(names(value.requests)) + '"'
        case Members():
            parts = [("members", value.voters), ("learning", value.learners), ("instead of", value.outgoing)]
            return " ".join(f"{part} {' '.join(map(str, ids))}" for part, ids in parts if ids or part == "members")
        case SnapshotMeta():
            return f"snapshot {words(value.position)}"
        case tuple() | list():
            return "[" + ", ".join(map(words, value)) + "]"
        case msgspec.Struct():
            return f"{type(value).__name__}({', '.join(said_fields(value))})"
        case bytes():
            return '"' + " ".join(names(value)) + '"'
        case _:
            return str(value)
