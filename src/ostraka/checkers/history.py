"""Histories: what clients asked of a database, and what they were told.

A history is a list of events in the order in which they happened: an *invocation*, and later its *completion*, which is
`ok` (it happened, and this is the answer), `fail` (it did not happen, and never will) or `info` (nobody knows; it may
happen at any later time, or never). An invocation without a completion counts as `info`. A process does one thing at a
time; one that was left with `info` is not used again.

On file an event is one line of JSON, in the words of Jepsen's histories:

    {"index": 0, "time": 1200, "type": "invoke", "process": 3, "f": "write", "value": 7}

`time` is in nanoseconds and for people only: what counts is the order of the lines. `index` may be left out. Jepsen's
own EDN histories say the same, and are read and written alike (`ostraka.checkers.edn`). Lists become tuples and maps
become `FrozenMap`s, so that every value can be kept in a set.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from ostraka.checkers import edn

Value = Hashable
"""Anything that can't change: None, numbers, texts, bytes, tuples, frozensets, `FrozenMap`s."""

Process = int | str


class FrozenMap(tuple[tuple[Value, Value], ...]):
    """A map as a tuple of its pairs, in the order in which they were written."""

    __slots__ = ()

    def get(self, key: Value, default: Value = None) -> Value:
        """The value of this key."""
        return next((value for mine, value in self if mine == key), default)


class Type(StrEnum):
    """What an event says of its operation."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """An invocation or a completion."""

    type: Type
    process: Process
    f: str
    value: Any = None
    time: int | None = None
    index: int | None = None
    error: Any = None


class Operation(msgspec.Struct, frozen=True):
    """An invocation with its completion. Instants are places in the history, or times: only their order counts.

    Where a call and an answer have the same instant, they count as concurrent.
    """

    process: Process
    f: str
    argument: Value  # What it was invoked with.
    result: Value  # What came back; None unless `type` is ok.
    called: int
    answered: int | None  # None: the outcome is unknown.
    type: Type = Type.OK

    def __str__(self) -> str:
        end = "?" if self.answered is None else str(self.answered)
        asked = "" if self.argument is None else f" {show(self.argument)}"
        told = {Type.FAIL: " → refused", Type.INFO: " → unknown"}.get(self.type, "")
        if self.type is Type.OK and (self.result not in (None, self.argument) or self.argument is None):
            told = f" → {show(self.result)}"
        return f"{self.process}: {self.f}{asked}{told}  [{self.called}…{end}]"


class HistoryError(ValueError):
    """This is no history: which line, and what is wrong with it."""


_NEVER: Final = 1 << 200


def ends(operation: Operation) -> int:
    """When it was answered; later than everything if it never was."""
    return _NEVER if operation.answered is None else operation.answered


def show(value: Value) -> str:
    """A value as people write it."""
    match value:
        case None:
            return "nil"
        case bytes():
            return repr(value)[1:]
        case FrozenMap():
            return "{" + ", ".join(f"{show(key)}: {show(each)}" for key, each in value) + "}"
        case tuple():
            return "[" + " ".join(map(show, value)) + "]"
        case frozenset():
            return "#{" + " ".join(sorted(map(show, value))) + "}"
        case _:
            return str(value)


def freeze(value: Any) -> Value:
    """The same value, with tuples, frozensets and `FrozenMap`s in place of what can change."""
    match value:
        case list():
            return tuple([freeze(each) for each in value])
        case FrozenMap():
            return value
        case tuple():
            return tuple([freeze(each) for each in value])
        case dict():
            return FrozenMap((freeze(key), freeze(each)) for key, each in value.items())
        case set() | frozenset():
            return frozenset(freeze(each) for each in value)
        case _:
            return value  # type: ignore[no-any-return]


def operations(events: Iterable[Event]) -> list[Operation]:
    """Pair invocations with completions, in the order of the invocations. Raises HistoryError.

    A completion's value replaces the invocation's where it has one.
    """
    open_calls: dict[Process, tuple[int, Event]] = {}
    done: list[Operation] = []
    for place, event in enumerate(events):
        if event.type is Type.INVOKE:
            if event.process in open_calls:
                raise HistoryError(f"event {place}: process {event.process} calls while its last call is under way")
            open_calls[event.process] = (place, event)
            continue
        called, invocation = open_calls.pop(event.process, (0, None))
        if invocation is None:
            if event.type is Type.INFO:
                continue  # Something that happened beside the operations, as Jepsen's nemesis notes it.
            raise HistoryError(f"event {place}: process {event.process} is answered, and has not called")
        if invocation.f != event.f:
            raise HistoryError(f"event {place}: {event.f!r} answers a call of {invocation.f!r}")
        done.append(_operation(invocation, called, event, place))
    done += [_operation(invocation, called, None, None) for called, invocation in open_calls.values()]
    return sorted(done, key=lambda operation: operation.called)


def _operation(invocation: Event, called: int, event: Event | None, place: int | None) -> Operation:
    kind = Type.INFO if event is None else event.type
    result = event.value if event is not None and kind is Type.OK else None
    answered = place if kind in (Type.OK, Type.FAIL) else None
    return Operation(invocation.process, invocation.f, invocation.value, result, called, answered, kind)


# JSON Lines and EDN.

_encode: Final = msgspec.json.Encoder(enc_hook=sorted).encode
_decoder: Final = msgspec.json.Decoder(Event)


def to_json(events: Iterable[Event]) -> bytes:
    """One line for each event."""
    return b"".join(_encode(_thawed(event)) + b"\n" for event in events)


def _thawed(event: Event) -> Event:
    return msgspec.structs.replace(event, value=_thaw(event.value), error=_thaw(event.error))


def _thaw(value: Any) -> Any:
    match value:
        case FrozenMap():
            return {key if isinstance(key, str) else show(key): _thaw(each) for key, each in value}
        case tuple() | list():
            return [_thaw(each) for each in value]
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case _:
            return value


def from_json(data: bytes) -> list[Event]:
    """The events of these lines; empty ones are passed over. Raises HistoryError."""
    events = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            event = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise HistoryError(f"line {number}: {error}") from error
        events.append(msgspec.structs.replace(event, value=freeze(event.value), error=freeze(event.error)))
    return events


_KNOWN: Final = ("index", "time", "type", "process", "f", "value", "error")


def from_edn(text: str) -> list[Event]:
    """The events of a Jepsen history: one vector of maps, or one map after another. Raises HistoryError."""
    try:
        forms = edn.read_all(text)
    except edn.EdnError as error:
        raise HistoryError(str(error)) from error
    if len(forms) == 1 and isinstance(forms[0], list):
        forms = forms[0]
    return [_from_map(number, form) for number, form in enumerate(forms)]


def _from_map(number: int, form: Any) -> Event:
    if isinstance(form, edn.Tagged):
        form = form.value
    if not isinstance(form, Mapping):
        raise HistoryError(f"form {number}: a map is expected, not {edn.write(form)[:60]}")
    fields = {str(key): value for key, value in form.items()}
    try:
        kind = Type(str(fields.get("type")))
    except ValueError:
        raise HistoryError(f"form {number}: :type is {edn.write(fields.get('type'))}, not one of {[*Type]}") from None
    process, f = fields.get("process"), fields.get("f")
    if not isinstance(process, int | str) or not isinstance(f, str):
        raise HistoryError(f"form {number}: :process and :f are needed, and there is {edn.write(form)[:60]}")
    time, index = fields.get("time"), fields.get("index")
    return Event(
        kind,
        process if isinstance(process, int) else str(process),
        str(f),
        freeze(_plain(fields.get("value"))),
        time if isinstance(time, int) else None,
        index if isinstance(index, int) else None,
        freeze(_plain(fields.get("error"))),
    )


def _plain(value: Any) -> Any:
    """Keywords and symbols as texts: the models compare them as such."""
    match value:
        case edn.Keyword() | edn.Symbol():
            return str(value)
        case edn.Tagged():
            return _plain(value.value)
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {_hashable(_plain(key)): _plain(each) for key, each in value.items()}
        case frozenset():
            return frozenset(_hashable(_plain(each)) for each in value)
        case _:
            return value


def _hashable(value: Any) -> Any:
    return freeze(value)


def to_edn(events: Iterable[Event]) -> str:
    """As Jepsen writes it: one map a line, `type` and `f` as keywords."""
    lines = []
    for place, event in enumerate(events):
        form: dict[Any, Any] = {edn.Keyword("index"): place if event.index is None else event.index}
        for name in _KNOWN[1:]:
            value = getattr(event, name)
            if value is None and name in ("time", "error"):
                continue
            if name in ("type", "f") or (name == "process" and isinstance(value, str)):
                value = edn.Keyword(str(value))
            form[edn.Keyword(name)] = _mapped(value)
        lines.append(edn.write(form) + "\n")
    return "".join(lines)


def _mapped(value: Any) -> Any:
    match value:
        case FrozenMap():
            return {_mapped(key): _mapped(each) for key, each in value}
        case tuple():
            return [_mapped(each) for each in value]
        case _:
            return value
