"""Who belongs: where each member is reached, what it has announced of itself, and with which disk.

Rows: `m` and a member's id hold its `Place`, `n` and the id its `Registration`. A change of members is two steps: the
place is written first, then the configuration changes. So a configuration never names a member that can't be reached,
and the place of one that was to be added, and wasn't, is a row that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum

import msgspec

from ostraka.database import failures
from ostraka.database.commands import (
    AddMember,
    Done,
    Failure,
    Found,
    Members,
    Publish,
    Registration,
    UpdateMember,
)
from ostraka.database.digest import Tracked
from ostraka.model.machine import Table
from ostraka.model.requests import Members as Configuration


class Standing(IntEnum):
    """What a place is the place of."""

    PROMISED = 0  # One that is about to be added.
    MEMBER = 1
    REMOVED = 2  # It never comes back: who returns is another member, with an id of its own.


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Where a member is reached. `promote`: it was added to vote, and does so as soon as it has caught up."""

    peer_urls: tuple[str, ...]
    standing: Standing
    promote: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Registration] = msgspec.msgpack.Decoder(Registration).decode
_decode_place: Callable[[bytes], Place] = msgspec.msgpack.Decoder(Place).decode


def row_key(member_id: int) -> bytes:
    """Of the registration."""
    return b"n" + member_id.to_bytes(8, "big")


def place_key(member_id: int) -> bytes:
    return b"m" + member_id.to_bytes(8, "big")


def place_of(table: Table, member_id: int) -> Place | None:
    """Where this member is; None if nobody ever said so."""
    row = table.get(place_key(member_id))
    return None if row is None else _decode_place(row)


def known(table: Table) -> Members:
    """All that is known of anybody, in the order of ids."""
    places = tuple((int.from_bytes(key[1:], "big"), _decode_place(row)) for key, row in table.scan(b"m", b"n"))
    return Members(tuple(_decode(row) for _, row in table.scan(b"n", b"o")), places)


def publish(table: Tracked, command: Publish) -> Done | Failure:
    """Take in what a member says of itself. Its first disk is its only one: another has forgotten its promises."""
    place = place_of(table.table, command.member.id)
    if place is not None and place.standing is Standing.REMOVED:
        return failures.REMOVED
    key = row_key(command.member.id)
    row = table.get(key)
    if row is not None and _decode(row).disk != command.disk:
        return failures.OTHER_DISK
    table.put(key, _encode(Registration(command.member, command.disk)))
    return Done()


def found(table: Tracked, command: Found) -> Done:
    """The first members say where they all are. What is known better already stays."""
    for member_id, peer_urls in command.peers:
        place = place_of(table.table, member_id)
        if place is None or (place.standing is Standing.MEMBER and not place.peer_urls):
            _put(table, member_id, Place(peer_urls, Standing.MEMBER))
    return Done()


def add(table: Tracked, command: AddMember) -> Done | Failure:
    """Note where a member is that is about to be added. Again is as good as once."""
    place = place_of(table.table, command.id)
    if place is not None and place.standing is Standing.REMOVED:
        return failures.MEMBER_NOT_FOUND  # As etcd: an id never comes back.
    if place is not None and place.standing is Standing.MEMBER:
        return failures.MEMBER_EXISTS
    if _taken(table, command.id, command.peer_urls, (Standing.MEMBER,)):
        return failures.PEER_URLS_EXIST
    _put(table, command.id, Place(command.peer_urls, Standing.PROMISED, command.promote))
    return Done()


def update(table: Tracked, command: UpdateMember) -> Done | Failure:
    """A member has moved. Not to where another is, or is about to be."""
    place = place_of(table.table, command.id)
    if place is None or place.standing is not Standing.MEMBER:
        return failures.MEMBER_NOT_FOUND
    if _taken(table, command.id, command.peer_urls, (Standing.MEMBER, Standing.PROMISED)):
        return failures.PEER_URLS_EXIST
    _put(table, command.id, msgspec.structs.replace(place, peer_urls=command.peer_urls))
    return Done()


def settle(table: Tracked, configuration: Configuration) -> None:
    """The configuration has changed: who has come is a member, and who is gone is known as removed, for ever."""
    stay = configuration.everyone()
    for member_id in stay:
        place = place_of(table.table, member_id)
        if place is None or place.standing is not Standing.MEMBER:
            _put(table, member_id, Place(() if place is None else place.peer_urls, Standing.MEMBER, _promote(place)))
    everybody = known(table.table)
    gone = {member_id for member_id, place in everybody.places if place.standing is Standing.MEMBER}
    gone |= {registration.member.id for registration in everybody.registrations}
    for member_id in sorted(gone.difference(stay)):
        _put(table, member_id, Place((), Standing.REMOVED))
        if table.get(row_key(member_id)) is not None:
            table.delete(row_key(member_id))


def _promote(place: Place | None) -> bool:
    return place is not None and place.promote


def _taken(table: Tracked, member_id: int, peer_urls: Iterable[str], by: tuple[Standing, ...]) -> bool:
    """Does another member with one of these standings have one of these URLs?"""
    wanted = set(peer_urls)
    return any(
        other != member_id and place.standing in by and not wanted.isdisjoint(place.peer_urls)
        for other, place in known(table.table).places
    )


def _put(table: Tracked, member_id: int, place: Place) -> None:
    table.put(place_key(member_id), _encode(place))
