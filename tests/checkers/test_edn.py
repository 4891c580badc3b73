"""EDN and JSON histories, both ways."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostraka.checkers import edn
from ostraka.checkers.edn import EdnError, Keyword, Symbol, Tagged, read_all, write
from ostraka.checkers.history import (
    Event,
    FrozenMap,
    HistoryError,
    Operation,
    Type,
    from_edn,
    from_json,
    operations,
    to_edn,
    to_json,
)

READ = {
    "": [],
    "1 -2 3N 1.5 2M 1/4": [1, -2, 3, 1.5, 2.0, 0.25],
    "nil true false": [None, True, False],
    ":a/b c-d": [Keyword("a/b"), Symbol("c-d")],
    r'"a\"b\n\u0041"': ['a"b\nA'],
    r"\a \newline": ["a", "\n"],
    "[1 [2] (3)]": [[1, [2], (3,)]],
    "{:a 1, :b {}}": [{Keyword("a"): 1, Keyword("b"): {}}],
    "#{1 2}": [frozenset({1, 2})],
    "{[1 2] 3}": [{(1, 2): 3}],
    '#inst "2026" #a.B{:c 1}': [Tagged("inst", "2026"), Tagged("a.B", {Keyword("c"): 1})],
    "1 ; one\n#_ [2 #_ 3] 4": [1, 4],
}
BROKEN = {
    "[1 2": "ends within '['",
    "(1]": "closes nothing",
    "}": "closes nothing",
    "{1}": "without a value",
    "1x": "is no number",
    '"a': "not expected",
    r'"\q"': "is no escape",
    "\n\n]": "line 3",
    "[" * 1000: "nested",
}


@pytest.mark.parametrize("text", READ)
def test_is_read(text: str) -> None:
    assert read_all(text) == READ[text]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_broken_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(EdnError, match=re.escape(BROKEN[text])):
        read_all(text)


forms = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@given(forms)
def test_what_is_written_is_read_again(form: object) -> None:
    assert read_all(write(form)) == [form]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(EdnError):
        read_all(text)


EVENTS = [
    Event(Type.INVOKE, 0, "write", 1, 10, 0),
    Event(Type.INVOKE, 1, "cas", (1, 2), 11, 1),
    Event(Type.INFO, "nemesis", "start", "partition", 12, 2),
    Event(Type.OK, 0, "write", 1, 13, 3),
    Event(Type.FAIL, 1, "cas", (1, 2), 14, 4, "no match"),
    Event(Type.INVOKE, 2, "txn", (("append", "x", 1), ("r", "y", None)), 15, 5),
    Event(Type.INVOKE, 0, "read", None, 16, 6),
    Event(Type.OK, 0, "read", FrozenMap([("a", 1)]), 17, 7),
]


def test_a_history_survives_both_notations() -> None:
    assert from_json(to_json(EVENTS)) == EVENTS
    assert from_edn(to_edn(EVENTS)) == EVENTS
    assert from_edn("[" + to_edn(EVENTS) + "]") == EVENTS, "as one vector"


def test_operations_are_paired() -> None:
    assert operations(EVENTS) == [
        Operation(0, "write", 1, 1, 0, 3, Type.OK),
        Operation(1, "cas", (1, 2), None, 1, 4, Type.FAIL),
        Operation(2, "txn", (("append", "x", 1), ("r", "y", None)), None, 5, None, Type.INFO),
        Operation(0, "read", None, FrozenMap([("a", 1)]), 6, 7, Type.OK),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{:type :ok, :process 0, :f :read}", "has not called"),
        ("{:type :invoke, :process 0, :f :read} {:type :invoke, :process 0, :f :read}", "under way"),
        ("{:type :invoke, :process 0, :f :read} {:type :ok, :process 0, :f :write}", "answers a call of"),
        ("{:type :maybe, :process 0, :f :read}", ":type"),
        ("{:type :ok}", ":process and :f"),
        ("7", "a map is expected"),
        ("{:type", "line 1"),
    ],
)
def test_what_is_no_history_is_refused(text: str, why: str) -> None:
    with pytest.raises(HistoryError, match=why):
        operations(from_edn(text))


def test_a_broken_line_of_json_is_named() -> None:
    with pytest.raises(HistoryError, match="line 2"):
        from_json(b'{"type":"invoke","process":0,"f":"read"}\n{"type":"ok"}\n')


def test_what_edn_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError, match="no way"):
        edn.write(object())
