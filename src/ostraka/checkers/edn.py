"""EDN, the notation of Jepsen's histories, as far as data goes: read into Python's own values, and written from them.

Follows:  the format's specification (edn-format), without reader macros of Clojure that are no EDN.
Words:    a keyword `:read` is a `Keyword`, which is a text without the colon; vectors and lists are lists and tuples.
Departs:  `1N` and `1.5M` are an int and a float; a ratio is read as a float.
Evidence: tests/checkers/test_edn.py.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple


class Keyword(str):
    """`:name`, without its colon. Equal to the text `name`, so that both can be looked up alike."""

    __slots__ = ()


class Symbol(str):
    """A bare name."""

    __slots__ = ()


class Tagged(NamedTuple):
    """`#tag form`."""

    tag: str
    value: Any


class EdnError(ValueError):
    """This is no EDN: at which line, and why."""


_TOKEN: Final = re.compile(
    r"""[\s,]*(?:
    (?P<comment>;[^\n]*)
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<open>\#\{|[\[({])
  | (?P<close>[\])}])
  | (?P<discard>\#_)
  | (?P<character>\\(?:newline|return|space|tab|u[0-9A-Fa-f]{4}|.))
  | (?P<atom>[^\s,;"\[\](){}\\]+)
  | (?P<end>\Z)
  | (?P<bad>.)
)""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER: Final = re.compile(r"[+-]?[0-9]")
_CLOSER: Final = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_NAMED: Final[dict[str, Any]] = {"nil": None, "true": True, "false": False}
_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "b": "\b", "f": "\f"}
_CHARACTERS: Final = {"newline": "\n", "return": "\r", "space": " ", "tab": "\t"}
MOST_NESTING: Final = 200


class _Frame:
    """A collection that is open, or a tag or `#_` that waits for its form."""

    __slots__ = ("forms", "opener")

    def __init__(self, opener: str) -> None:
        self.opener = opener
        self.forms: list[Any] = []


def read_all(text: str) -> list[Any]:
    """Every form of the text. Raises EdnError."""
    top = _Frame("")
    stack = [top]
    atoms: dict[str, Any] = {}  # The same few names come again and again.
    place = 0
    match_token = _TOKEN.match
    while True:
        found = match_token(text, place)
        assert found is not None, "the last alternative matches anything"
        place = found.end()
        kind, token = found.lastgroup, found.group(found.lastgroup or 0)
        if kind == "atom":
            if token in atoms:
                form = atoms[token]
            elif token[0] == "#":
                _push(stack, token, text, place)
                continue
            else:
                form = atoms[token] = _atom(token, text, place)
        elif kind == "close":
            frame = stack.pop()
            if _CLOSER.get(frame.opener) != token:
                raise _error(text, place, f"{token!r} closes nothing")
            form = _collection(frame, text, place)
        elif kind == "open" or kind == "discard":
            _push(stack, token, text, place)
            continue
        elif kind == "string":
            form = _string(token, text, place)
        elif kind == "character":
            form = _character(token)
        elif kind == "comment":
            continue
        elif kind == "end":
            if len(stack) > 1:
                raise _error(text, place, f"the text ends within {stack[-1].opener!r}")
            return top.forms
        else:
            raise _error(text, place, f"{token!r} is not expected")
        _give(stack, form)


def _push(stack: list[_Frame], opener: str, text: str, place: int) -> None:
    if len(stack) > MOST_NESTING:
        raise _error(text, place, f"forms are nested in more than {MOST_NESTING} others")
    stack.append(_Frame(opener))


def _give(stack: list[_Frame], form: Any) -> None:
    """Put a form where it belongs. A tag takes it along, `#_` takes it away."""
    while stack[-1].opener[:1] == "#" and stack[-1].opener != "#{":
        opener = stack.pop().opener
        if opener == "#_":
            return
        form = Tagged(opener[1:], form)
    stack[-1].forms.append(form)


def _collection(frame: _Frame, text: str, place: int) -> Any:
    match frame.opener:
        case "[":
            return frame.forms
        case "(":
            return tuple(frame.forms)
        case "{":
            if len(frame.forms) % 2:
                raise _error(text, place, "a map has a key without a value")
            return {_key(key): value for key, value in zip(frame.forms[::2], frame.forms[1::2], strict=True)}
        case _:
            return frozenset(_key(form) for form in frame.forms)


def _key(form: Any) -> Any:
    """A form that can be looked up."""
    match form:
        case list() | tuple() if not isinstance(form, Tagged):
            return tuple([_key(each) for each in form])
        case dict():
            return tuple([(key, _key(value)) for key, value in form.items()])
        case _:
            return form


def _atom(token: str, text: str, place: int) -> Any:
    if token in _NAMED:
        return _NAMED[token]
    if token[0] == ":":
        return Keyword(token[1:])
    if not _NUMBER.match(token):
        return Symbol(token)
    try:
        if "/" in token:
            above, below = token.split("/")
            return int(above) / int(below)
        digits = token.rstrip("N")
        return int(digits) if digits.lstrip("+-").isdigit() else float(token.rstrip("M"))
    except (ValueError, ZeroDivisionError):
        raise _error(text, place, f"{token!r} is no number") from None


def _string(token: str, text: str, place: int) -> str:
    if "\\" not in token:
        return token[1:-1]

    def unescape(found: re.Match[str]) -> str:
        escape = found.group(1)
        if escape[0] == "u":
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPES:
            raise _error(text, place, f"\\{escape} is no escape")
        return _ESCAPES[escape]

    return re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", unescape, token[1:-1], flags=re.DOTALL)


def _character(token: str) -> str:
    name = token[1:]
    if len(name) == 5 and name[0] == "u":
        return chr(int(name[1:], 16))
    return _CHARACTERS.get(name, name)


def _error(text: str, place: int, why: str) -> EdnError:
    return EdnError(f"line {text.count(chr(10), 0, place) + 1}: {why}")


def write(form: Any) -> str:
    """The form as EDN. Raises TypeError for what EDN can't say."""
    match form:
        case None:
            return "nil"
        case bool():
            return "true" if form else "false"
        case Keyword():
            return f":{form}"
        case Symbol():
            return str(form)
        case str():
            return _quote(form)
        case int():
            return str(form)
        case float():
            return repr(form)
        case bytes():
            return _quote(form.decode("utf-8", "backslashreplace"))
        case Tagged():
            return f"#{form.tag} {write(form.value)}"
        case dict():
            return "{" + ", ".join(f"{write(key)} {write(value)}" for key, value in form.items()) + "}"
        case list():
            return "[" + " ".join(map(write, form)) + "]"
        case tuple():
            return "(" + " ".join(map(write, form)) + ")"
        case frozenset() | set():
            return "#{" + " ".join(sorted(map(write, form))) + "}"
        case _:
            raise TypeError(f"EDN has no way to write {form!r}")


_IN_STRINGS: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def _quote(text: str) -> str:
    return '"' + text.translate(_IN_STRINGS) + '"'
