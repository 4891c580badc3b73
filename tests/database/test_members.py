"""Who belongs and where they are: rows that follow the configuration, whatever order commands come in."""

from __future__ import annotations

import pytest

from ostraka.database import commands as c
from ostraka.database import failures
from ostraka.database.members import Place, Standing
from ostraka.model.requests import Entry, Kind, Members

from .driving import Driver
from .tables import DictTable

FIRST = ((1, ("http://a:2380",)), (2, ("http://b:2380",)))
NEW = ("http://c:2380",)


def store(*first: tuple[int, tuple[str, ...]]) -> Driver:
    driver = Driver(DictTable())
    driver.do(c.Found(first))
    return driver


def configure(driver: Driver, *voters: int, learners: tuple[int, ...] = ()) -> bool:
    """Decide on a configuration. Does the machine say that addresses may have changed?"""
    driver.index += 1
    entry = Entry(driver.index, 1, 0, Kind.MEMBERS, members=Members(voters, learners))
    return driver.database.apply(entry, driver.table).moved


def places(driver: Driver) -> dict[int, Place]:
    return dict(driver.database.read(c.ListMembers(), driver.table).places)


def test_the_first_members_are_where_the_first_of_them_says() -> None:
    driver = store(*FIRST)
    driver.do(c.Found(((1, NEW), (3, NEW))))
    assert places(driver) == {
        1: Place(FIRST[0][1], Standing.MEMBER),
        2: Place(FIRST[1][1], Standing.MEMBER),
        3: Place(NEW, Standing.MEMBER),
    }


def test_a_late_word_of_the_first_ones_brings_nobody_back() -> None:
    driver = store(*FIRST)
    assert configure(driver, 1)
    assert driver.do(c.Found(FIRST)) == c.Done()
    assert places(driver)[2] == Place((), Standing.REMOVED)


def test_a_change_that_comes_before_the_first_word_is_told_the_addresses_later() -> None:
    driver = Driver(DictTable())
    configure(driver, 1, 2)
    assert places(driver)[1] == Place((), Standing.MEMBER)
    driver.do(c.Found(FIRST))
    assert places(driver)[1] == Place(FIRST[0][1], Standing.MEMBER)


def test_a_member_is_promised_then_there_then_removed_for_ever() -> None:
    driver = store(*FIRST)
    for _ in range(2):
        assert driver.do(c.AddMember(3, NEW, True)) == c.Done()
    assert places(driver)[3] == Place(NEW, Standing.PROMISED, True)
    configure(driver, 1, 2, learners=(3,))
    assert places(driver)[3] == Place(NEW, Standing.MEMBER, True)
    assert driver.do(c.AddMember(3, NEW, True)) == failures.MEMBER_EXISTS
    assert driver.do(c.Publish(c.MemberInfo(3, "c", NEW, ()), 7)) == c.Done()
    configure(driver, 1, 2)
    assert places(driver)[3] == Place((), Standing.REMOVED)
    assert driver.database.read(c.ListMembers(), driver.table).registrations == ()
    assert driver.do(c.AddMember(3, NEW, True)) == failures.MEMBER_NOT_FOUND
    assert driver.do(c.Publish(c.MemberInfo(3, "c", NEW, ()), 7)) == failures.REMOVED
    assert driver.do(c.AddMember(4, NEW, False)) == c.Done(), "its address is free again"


def test_a_place_that_was_promised_survives_the_changes_of_others() -> None:
    """Its proposer may be about to change the configuration."""
    driver = store(*FIRST)
    driver.do(c.AddMember(3, NEW, False))
    configure(driver, 1)
    configure(driver, 1, learners=(3,))
    assert places(driver)[3] == Place(NEW, Standing.MEMBER)


def test_one_member_removed_that_never_said_where_it_is() -> None:
    driver = Driver(DictTable())
    driver.do(c.Publish(c.MemberInfo(5, "e", NEW, ()), 7))
    configure(driver, 1)
    assert places(driver)[5] == Place((), Standing.REMOVED)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (c.AddMember(4, FIRST[0][1], False), failures.PEER_URLS_EXIST),
        (c.AddMember(4, ("http://x:1", *FIRST[1][1]), False), failures.PEER_URLS_EXIST),
        (c.AddMember(4, NEW, False), c.Done()),
        (c.UpdateMember(1, ("http://x:1",)), c.Done()),
        (c.UpdateMember(1, FIRST[0][1]), c.Done()),
        (c.UpdateMember(1, FIRST[1][1]), failures.PEER_URLS_EXIST),
        (c.UpdateMember(1, NEW), failures.PEER_URLS_EXIST),
        (c.UpdateMember(3, ("http://x:1",)), failures.MEMBER_NOT_FOUND),
        (c.UpdateMember(9, ("http://x:1",)), failures.MEMBER_NOT_FOUND),
    ],
)
def test_no_two_are_in_one_place(command: c.Command, reply: c.Reply) -> None:
    """Two that are about to be added may want the same one: only one of them gets into the configuration."""
    driver = store(*FIRST)
    driver.do(c.AddMember(3, NEW, False))
    before = places(driver)
    assert driver.do(command) == reply
    assert isinstance(reply, c.Done) or places(driver) == before
    if isinstance(command, c.UpdateMember) and isinstance(reply, c.Done):
        assert places(driver)[1].peer_urls == command.peer_urls


def test_an_entry_says_whether_addresses_may_have_changed() -> None:
    driver = store(*FIRST)
    assert configure(driver, 1, 2)
    assert not driver.database.apply(Entry(driver.index + 1, 1, 0), driver.table).moved
