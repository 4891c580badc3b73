"""Who has announced itself, and with which disk. Rows: `n` and the member's id hold a `Registration`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ostraka.database import failures
from ostraka.database.commands import Done, Failure, Publish, Registration
from ostraka.database.digest import Tracked
from ostraka.model.machine import Table
from ostraka.model.requests import Members

_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Registration] = msgspec.msgpack.Decoder(Registration).decode


def row_key(member_id: int) -> bytes:
    return b"n" + member_id.to_bytes(8, "big")


def publish(table: Tracked, command: Publish) -> Done | Failure:
    """Take in what a member says of itself. Its first disk is its only one: another has forgotten its promises."""
    key = row_key(command.member.id)
    row = table.get(key)
    if row is not None and _decode(row).disk != command.disk:
        return failures.OTHER_DISK
    table.put(key, _encode(Registration(command.member, command.disk)))
    return Done()


def registrations(table: Table) -> tuple[Registration, ...]:
    """All of them, in the order of ids."""
    return tuple(_decode(row) for _, row in table.scan(b"n", b"o"))


def keep_only(table: Tracked, members: Members) -> None:
    """The configuration has changed: who is no longer in it is forgotten, with its disk."""
    stay = members.everyone()
    for registration in registrations(table):
        if registration.member.id not in stay:
            table.delete(row_key(registration.member.id))
