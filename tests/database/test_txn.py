"""Transactions: each line that is easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ostraka.database import commands as c
from ostraka.database import failures
from ostraka.database.commands import Compare, DeleteRange, KeyValue, Put, Range, Relation, Target, Txn
from ostraka.database.machine import Database
from ostraka.database.txn import MOST_NESTED, objection, only_reads
from ostraka.model.requests import Request
from ostraka.simulation.reference import plain

from .driving import Driver, entry
from .tables import DictTable

ABSENT = "none"


@pytest.fixture
def store() -> Driver:
    """a is created in 2 and put again in 3; b, c and d are created in 4, 5 and 6."""
    store = Driver(DictTable())
    for key, value in ((b"a", b"0"), (b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")):
        store.do(Put(key, value))
    return store


def then(*operations: Any) -> Txn:
    return Txn((), operations)


def holds(store: Driver, *compares: Compare) -> bool:
    return bool(store.do(Txn(compares)).succeeded)


# ---- Revisions -------------------------------------------------------------------------------------------------------


def test_all_changes_of_a_transaction_are_one_revision_ordered_by_sub_revisions(store: Driver) -> None:
    done = store.do(then(Put(b"z", b"1"), DeleteRange(b"b", b"d"), Put(b"y", b"2")))
    assert plain(done) == (
        "txn",
        7,
        True,
        (("put", 7, None), ("delete", 7, 2, ()), ("put", 7, None)),
    )
    assert [(change.revision, change.key) for change in store.changes[5:]] == [
        (7, b"z"),
        (7, b"b"),
        (7, b"c"),
        (7, b"y"),
    ]
    assert store.do(Put(b"x")).revision == 8
    subs = [int.from_bytes(key[9:], "big") for key in sorted(store.table.rows) if key[:9] == b"h" + bytes(7) + b"\x07"]
    assert subs == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "txn",
    [
        Txn(),
        then(Range(b"a")),
        then(DeleteRange(b"nothing")),
        then(then(DeleteRange(b"nothing")), Range(b"a")),
        Txn((Compare(b"a", number=7),), (Put(b"a"),), ()),
    ],
)
def test_a_transaction_that_changes_nothing_makes_no_revision(store: Driver, txn: Txn) -> None:
    before = dict(store.table.rows)
    assert store.do(txn).revision == 6
    assert store.table.rows == before and len(store.changes) == 5


def test_the_headers_within_show_the_revision_as_it_is_at_that_operation(store: Driver) -> None:
    """A range or an idle deletion before the first change is still at the old revision."""
    done = store.do(then(Range(b"a"), DeleteRange(b"nothing"), Put(b"a"), Range(b"a"), DeleteRange(b"nothing")))
    assert [response.revision for response in done.responses] == [6, 6, 7, 7, 7]
    assert done.revision == 7


def test_a_key_may_be_put_and_deleted_in_one_revision(store: Driver) -> None:
    """In two nested transactions, in this order: etcd doesn't object, and the order counts."""
    done = store.do(then(then(Put(b"new", b"1")), then(DeleteRange(b"new", prev_kv=True))))
    assert done.responses[1].responses[0].previous == (KeyValue(b"new", 7, 7, 1, b"1"),)
    assert [(change.key, change.new is None) for change in store.changes[5:]] == [(b"new", False), (b"new", True)]
    for revision in (0, 7):
        assert store.read(key=b"new", revision=revision).kvs == ()
    store.do(Put(b"new"))
    assert store.read(key=b"new", revision=7).kvs == () and store.read(key=b"new").kvs[0].version == 1


# ---- Comparisons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "given"),
    [(Target.VERSION, 2), (Target.CREATE, 2), (Target.MOD, 3), (Target.VALUE, 1), (Target.LEASE, 0)],
)
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_every_target_with_every_result(store: Driver, target: int, given: int, offset: int) -> None:
    """`a` has version 2, created in 2, changed in 3, value "1", no lease."""
    other = given + offset
    compares = [Compare(b"a", b"", target, relation, other, b"%d" % max(other, 0)) for relation in range(4)]
    assert [holds(store, compare) for compare in compares] == [offset == 0, offset < 0, offset > 0, offset != 0]


@pytest.mark.parametrize("range_end", [b"", b"\0", b"zz"])
@pytest.mark.parametrize("target", [Target.VERSION, Target.CREATE, Target.MOD, Target.LEASE])
def test_where_there_is_no_key_numbers_are_zero(store: Driver, target: int, range_end: bytes) -> None:
    assert holds(store, Compare(b"z", range_end, target, Relation.EQUAL, 0))
    assert holds(store, Compare(b"z", range_end, target, Relation.LESS, 1))
    assert not holds(store, Compare(b"z", range_end, target, Relation.NOT_EQUAL, 0))


@pytest.mark.parametrize("range_end", [b"", b"\0"])
@pytest.mark.parametrize("relation", [*Relation])
@pytest.mark.parametrize("given", [b"", b"1"])
def test_where_there_is_no_key_no_comparison_with_a_value_is_true(
    store: Driver, relation: int, given: bytes, range_end: bytes
) -> None:
    assert not holds(store, Compare(b"z", range_end, Target.VALUE, relation, 0, given))


def test_a_range_compares_if_all_its_keys_do(store: Driver) -> None:
    assert holds(store, Compare(b"b", b"\0", Target.VERSION, Relation.EQUAL, 1))
    assert not holds(store, Compare(b"a", b"\0", Target.VERSION, Relation.EQUAL, 1))
    assert holds(store, Compare(b"a", b"c", Target.VALUE, Relation.LESS, 0, b"3"))
    assert not holds(store, Compare(b"a", b"d", Target.VALUE, Relation.LESS, 0, b"3"))


def test_all_comparisons_must_be_true_and_none_is_true_enough(store: Driver) -> None:
    true, false = Compare(b"a", number=2), Compare(b"a", number=3)
    assert [holds(store), holds(store, true, true), holds(store, true, false)] == [True, True, False]


def test_the_branch_that_is_not_taken_does_nothing(store: Driver) -> None:
    done = store.do(Txn((Compare(b"a", number=3),), (Put(b"yes"),), (Put(b"no"),)))
    assert (done.succeeded, len(done.responses)) == (False, 1)
    assert store.read(key=b"yes").count == 0 and store.read(key=b"no").count == 1


def test_a_comparison_that_is_unknown_is_refused(store: Driver) -> None:
    for compare in (Compare(b"a", target=5), Compare(b"a", target=-1), Compare(b"a", relation=4)):
        assert store.do(Txn((compare,))) == failures.INVALID_COMPARISON


# ---- The order of things ---------------------------------------------------------------------------------------------


def test_ranges_see_the_earlier_operations_of_their_transaction(store: Driver) -> None:
    done = store.do(then(Put(b"n", b"1"), Range(b"n"), DeleteRange(b"a"), Range(b"a", b"c"), then(Range(b"n"))))
    assert done.responses[1].kvs == (KeyValue(b"n", 7, 7, 1, b"1"),)
    assert [pair.key for pair in done.responses[3].kvs] == [b"b"]
    assert done.responses[4].responses[0].kvs == done.responses[1].kvs


def test_a_range_at_the_revision_before_does_not_see_them(store: Driver) -> None:
    done = store.do(then(Put(b"a", b"new"), Range(b"a", revision=6), Range(b"a", revision=2), Range(b"a")))
    assert [response.kvs[0].value for response in done.responses[1:]] == [b"1", b"0", b"new"]


def test_the_way_is_decided_once_against_the_state_before(store: Driver) -> None:
    """The nested comparison is true before the transaction, and false after its first operation."""
    inner = Txn((Compare(b"a", number=2),), (Range(b"a"),), (Put(b"wrong"),))
    done = store.do(then(Put(b"a", b"new"), inner))
    assert done.responses[1].succeeded and done.responses[1].responses[0].kvs[0].version == 3
    late = Txn((Compare(b"n", number=1),), (Put(b"wrong"),), ())
    assert not store.do(then(Put(b"n"), late)).responses[1].succeeded


def test_nested_transactions_each_go_their_own_way(store: Driver) -> None:
    yes, no = (Compare(b"a", number=2),), (Compare(b"a", number=9),)
    inner = Txn(no, (), (Txn(yes, (Put(b"1"),), ()), Range(b"a"), Txn(no, (), (Put(b"2"),))))
    done = store.do(Txn(yes, (inner, Txn(yes, (Put(b"3"),), ())), ()))
    assert [store.read(key=key).count for key in (b"1", b"2", b"3")] == [1, 1, 1]
    first, second = done.responses
    assert (first.succeeded, second.succeeded) == (False, True)
    assert [type(each).__name__ for each in first.responses] == ["TxnDone", "RangeDone", "TxnDone"]
    assert store.changes[-1].revision == store.changes[-3].revision == 7


# ---- What is refused -------------------------------------------------------------------------------------------------

PUT, DELETE = Put(b"k"), DeleteRange(b"k")


@pytest.mark.parametrize(
    ("operations", "refused"),
    [
        ((PUT, PUT), True),
        ((PUT, DELETE), True),
        ((DELETE, PUT), True),
        ((PUT, DeleteRange(b"a", b"l")), True),
        ((PUT, DeleteRange(b"k", b"l")), True),
        ((PUT, DeleteRange(b"a", b"k")), False),
        ((PUT, DeleteRange(b"k\0", b"l")), False),
        ((DELETE, DELETE, DeleteRange(b"a", b"z")), False),
        ((PUT, Range(b"k")), False),
        ((PUT, then(PUT)), True),
        ((then(PUT), PUT), True),
        ((then(then(PUT)), DELETE), True),
        ((then(DELETE), PUT), True),
        ((then(DeleteRange(b"a", b"l")), PUT), True),
        ((Txn((), (PUT,), (PUT,)),), False),
        ((Txn((), (PUT,), (DELETE,)),), False),
        ((then(PUT), then(PUT)), True),
        ((Txn((), (PUT,), ()), Txn((), (), (PUT,))), True),
        ((then(DELETE), then(PUT)), True),
        ((then(PUT), then(DELETE)), False),
        ((then(DELETE), then(DELETE)), False),
        ((PUT, DeleteRange(b"a", b"\0")), False),
    ],
)
def test_which_keys_may_be_named_twice(store: Driver, operations: tuple[Any, ...], refused: bool) -> None:
    """In both branches alike, whichever is taken. The last line is etcd's: an open end hides what is deleted."""
    for txn in (Txn((), operations), Txn((), (), operations), then(Txn((), (), operations))):
        before = dict(store.table.rows)
        answer = store.do(txn)
        assert (answer == failures.DUPLICATE_KEY) == refused, answer
        if refused:
            assert store.table.rows == before
            found = objection(txn)
            assert found is not None and "b'k'" in found.detail


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (None, failures.KEY_NOT_FOUND),
        (Put(b""), failures.EMPTY_KEY),
        (Range(b""), failures.EMPTY_KEY),
        (DeleteRange(b"", b"\0"), failures.EMPTY_KEY),
        (Txn((Compare(b""),)), failures.EMPTY_KEY),
        (Put(b"a", b"v", ignore_value=True), failures.VALUE_PROVIDED),
        (Put(b"a", lease=1, ignore_lease=True), failures.LEASE_PROVIDED),
        (Range(b"a", sort_order=3), failures.INVALID_SORT_OPTION),
        (Put(b"a", lease=1), failures.LEASE_NOT_FOUND),
        (Put(b"none", ignore_value=True), failures.KEY_NOT_FOUND),
        (Put(b"none", ignore_lease=True), failures.KEY_NOT_FOUND),
        (Range(b"a", revision=7), failures.FUTURE_REVISION),
        (Range(b"a", revision=3), failures.COMPACTED),
        (Range(b"a", revision=-1), failures.COMPACTED),
    ],
)
def test_nothing_is_half_done(store: Driver, operation: Any, expected: c.Failure) -> None:
    """An operation that fails, behind one that would succeed: neither happens, at any depth."""
    store.do(c.Compact(4))
    while store.do(c.Sweep()).left:
        pass
    before = dict(store.table.rows)
    for txn in (then(Put(b"x"), DeleteRange(b"b"), operation), then(Put(b"x"), then(Put(b"y"), operation))):
        assert store.do(txn) == expected
        assert store.table.rows == before and len(store.changes) == 5


@pytest.mark.parametrize("operation", [Put(b"a", lease=1), Put(b"none", ignore_value=True), Range(b"a", revision=99)])
def test_what_depends_on_the_state_counts_only_on_the_way_that_is_taken(store: Driver, operation: Any) -> None:
    assert store.do(Txn((), (Put(b"x"),), (operation,))).revision == 7
    assert store.do(Txn((), (), (Put(b""),))) == failures.EMPTY_KEY, "but what is wrong in any state always does"


def test_a_key_that_an_open_ended_deletion_takes_away_is_not_there_to_keep_its_value(store: Driver) -> None:
    """Here etcd's server stops."""
    before = dict(store.table.rows)
    for keep in (Put(b"b", ignore_value=True), Put(b"b", b"v", ignore_lease=True)):
        assert store.do(then(Put(b"x"), DeleteRange(b"a\0", b"\0"), keep)) == failures.KEY_NOT_FOUND
        assert store.do(then(DeleteRange(b"b", b"\0"), keep)) == failures.KEY_NOT_FOUND
        assert store.table.rows == before
        assert store.do(then(DeleteRange(b"c", b"\0"), Put(b"b", ignore_value=True))).revision > 6
        store.table.rows.clear()
        store.table.rows.update(before)
        store.database.load(store.table)


def test_of_two_errors_a_puts_comes_before_a_ranges(store: Driver) -> None:
    assert store.do(then(Range(b"a", revision=99), Put(b"n", ignore_value=True))) == failures.KEY_NOT_FOUND
    assert store.do(then(Range(b"a", revision=99), Range(b"a", revision=-5))) == failures.FUTURE_REVISION


def test_the_number_of_operations_is_bounded_and_what_is_left_is_for_those_within() -> None:
    three = then(*[Range(b"%d" % number) for number in range(3)])
    assert objection(three, 3) is None
    refused = objection(three, 2)
    assert refused is not None and refused.failure == failures.TOO_MANY_OPERATIONS
    assert "3" in refused.detail and "2" in refused.detail
    for listed in (Txn((Compare(b"a"),) * 3), Txn((), (), three.success)):
        assert objection(listed, 3) is None and objection(listed, 2) is not None
    nested = then(three)
    assert objection(nested, 4) is None
    assert objection(nested, 3) == (failures.TOO_MANY_OPERATIONS, refused.detail), "one is used up outside"
    assert objection(then(Txn(), *three.success), 4) is None
    assert objection(then(then(Range(b"a")), three), 4) is not None


def test_an_operation_s_error_counts_if_it_stands_before_a_list_that_is_too_long() -> None:
    """etcd looks at one after the other; overlaps come last of all."""
    long = then(*[Range(b"k")] * 3)
    first = objection(then(Put(b""), long), 4)
    assert first is not None and first.failure == failures.EMPTY_KEY
    second = objection(then(long, Put(b"")), 4)
    assert second is not None and second.failure == failures.TOO_MANY_OPERATIONS
    third = objection(Txn((), (PUT, PUT), (None,)))
    assert third is not None and third.failure == failures.KEY_NOT_FOUND


@pytest.mark.parametrize("levels", [MOST_NESTED, MOST_NESTED + 1, 300, 5_000])
def test_transactions_are_nested_so_deep_and_no_deeper(store: Driver, levels: int) -> None:
    """Far too deep, and they could not even be decoded: how far depends on the stack, the answer does not."""
    payload = c.encode(then(Put(b"deep")))
    for _ in range(levels - 1):
        payload = b"\x94\x07\x90\x91" + payload + b"\x90"
    reply = store.submit(Request(payload))[0]
    if levels <= MOST_NESTED:
        assert reply.revision == 7
    else:
        assert reply == failures.MALFORMED and len(store.changes) == 5


# ---- Reading, and once only ------------------------------------------------------------------------------------------


def test_a_transaction_that_only_reads_is_a_query(store: Driver) -> None:
    asked = Txn((Compare(b"a", number=2),), (Range(b"a"), then(Range(b"a", b"\0", count_only=True))), (Put(b"x"),))
    assert not only_reads(asked)
    with pytest.raises(TypeError, match="not a query"):
        store.database.read(asked, store.table)
    asked = Txn(asked.compares, asked.success)
    assert only_reads(asked)
    assert store.database.read(asked, store.table) == store.do(asked)
    assert store.database.read(then(Range(b"a", revision=9)), store.table) == failures.FUTURE_REVISION
    assert store.database.read(then(Range(b"")), store.table) == failures.EMPTY_KEY


def test_within_a_session_it_is_done_once(store: Driver) -> None:
    client = store.session()
    asked = Request(c.encode(Txn((Compare(b"n", number=0),), (Put(b"n"),), (DeleteRange(b"n"),))), client, 1)
    first = store.submit(asked)
    assert store.submit(asked, asked) == first * 2
    assert store.read(key=b"n").count == 1
    store.database = Database(store.table)
    assert store.submit(asked) == first


def test_transactions_of_one_entry_see_those_before_them(store: Driver) -> None:
    """A counter's increments, all in one batch: every one of them finds the last one's value."""

    def increment(value: int) -> Request:
        old, new = b"%d" % value, b"%d" % (value + 1)
        return Request(c.encode(Txn((Compare(b"a", target=Target.VALUE, value=old),), (Put(b"a", new),), ())))

    outcome = store.database.apply(entry(9, tuple(increment(number) for number in (1, 2, 2, 3))), store.table)
    replies: list[Any] = [c.decode_reply(reply) for reply in outcome.replies[0]]
    assert [(reply.succeeded, reply.revision) for reply in replies] == [(True, 7), (True, 8), (False, 8), (True, 9)]
