"""`ostraka check`: judge a recorded history, of any database."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from ostraka.checkers import domain, isolation, linearizability, registers, sessions
from ostraka.checkers.history import HistoryError, Operation, from_edn, from_json, operations
from ostraka.checkers.isolation import Level
from ostraka.checkers.models import MODELS, Independent, Model
from ostraka.checkers.picture import Section, page
from ostraka.checkers.sessions import Guarantee

HOLDS, VIOLATED, UNKNOWN = 0, 1, 2
LINEARIZABLE, SEQUENTIAL = "linearizable", "sequential"

Judgement = tuple[bool | None, str, list[Section]]
"""Does it hold; what to say; what to draw."""

_TRANSACTIONS: Final[dict[str, Callable[[Sequence[Operation]], isolation.Verdict]]] = {
    "list-append": isolation.check_list_append,
    "rw-register": registers.check_registers,
}
_EPILOG: Final = f"""\
Models of objects: {", ".join(MODELS)} (levels: {LINEARIZABLE}, {SEQUENTIAL}; for registers also
  {", ".join(Guarantee)}), or your own as module:name.
Models of transactions: {", ".join(_TRANSACTIONS)} (levels: {", ".join(Level)}).
What data stands for: {", ".join(domain.CHECKS)}.
Exit codes: 0 it holds, 1 it is violated, 2 it could not be told, or the history or the call is wrong."""


def check(arguments: Sequence[str]) -> int:
    """`ostraka check HISTORY --model MODEL`"""
    options = _parse(arguments)
    try:
        history = _read(options.history)
        holds, text, sections = _judge(history, options)
    except (HistoryError, ValueError) as error:
        print(f"ostraka check: {options.history}: {error}", file=sys.stderr)
        return UNKNOWN
    except OSError as error:
        print(f"ostraka check: {error}", file=sys.stderr)
        return UNKNOWN
    print(text)
    if options.html:
        title = f"{options.history}: {options.model}, {options.level}"
        Path(options.html).write_text(page(title, holds, text, sections), encoding="utf-8")
    return UNKNOWN if holds is None else HOLDS if holds else VIOLATED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ostraka check",
        description="Judge a history of operations: one JSON event a line, or Jepsen's EDN (by the name's end, .edn).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("history", help="a file; - is the standard input, as JSON lines")
    parser.add_argument("--model", required=True, help="what the operations are of")
    parser.add_argument("--level", help="what must hold; by default the strongest level of the model")
    parser.add_argument(
        "--independent", action="store_true", help="arguments and results are [key value], and each key is an object"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="the longest search; 60")
    parser.add_argument("--html", metavar="FILE", help="write the verdict as a page, with a picture of what was found")
    options = parser.parse_args(arguments)
    if options.model not in (*MODELS, *_TRANSACTIONS, *domain.CHECKS) and ":" not in options.model:
        parser.error(f"there is no model {options.model!r}; see --help")
    allowed = _levels(options.model)
    options.level = options.level or allowed[0]
    if options.level not in allowed:
        parser.error(f"{options.model} is judged as {', '.join(allowed)}, not as {options.level!r}")
    return options


def _levels(model: str) -> list[str]:
    """What a model can be judged by, the default first."""
    if model in _TRANSACTIONS:
        return [Level.STRICT_SERIALIZABLE, *[level for level in Level if level is not Level.STRICT_SERIALIZABLE]]
    if model in domain.CHECKS:
        return [model]
    return [LINEARIZABLE, SEQUENTIAL, *(Guarantee if model == "register" else ())]


def _read(path: str) -> list[Operation]:
    if path == "-":
        return operations(from_json(sys.stdin.buffer.read()))
    data = Path(path).read_bytes()
    try:
        return operations(from_edn(data.decode()) if path.endswith(".edn") else from_json(data))
    except UnicodeDecodeError as error:
        raise HistoryError(f"this is no text: {error}") from error


def _judge(history: Sequence[Operation], options: argparse.Namespace) -> Judgement:
    if options.model in _TRANSACTIONS:
        return _judge_transactions(_TRANSACTIONS[options.model](history), Level(options.level))
    if options.model in domain.CHECKS:
        failures = domain.CHECKS[options.model](history)
        text = "\n".join([f"{options.model}: {'holds' if not failures else 'violated'}", *map(str, failures)])
        return not failures, text, [Section(each.what, str(each), each.culprits) for each in failures[:20]]
    if options.level in list(Guarantee):
        verdict = sessions.check_sessions(history, keyed=options.independent)
        found = [Section(f"{each.guarantee}: {each.pattern}", each.story, each.culprits) for each in verdict.breaches]
        return verdict.holds(Guarantee(options.level)), str(verdict), found
    return _judge_object(history, _model(options), options)


def _model(options: argparse.Namespace) -> Model:
    if options.model in MODELS:
        model = MODELS[options.model]
    else:
        module, _, attribute = options.model.partition(":")
        sys.path.insert(0, "")
        try:
            model = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"the model {options.model} can't be had: {error}") from error
    return Independent(model) if options.independent else model


def _judge_transactions(verdict: isolation.Verdict, level: Level) -> Judgement:
    holds = verdict.holds(level)
    text = str(verdict)
    if holds is None and level not in verdict.judged:
        text += f"\nthis kind of history does not tell whether it is {level}"
    elif holds is None and not registers.has_solver():
        text += "\nthe search needs a SAT solver: pip install 'ostraka[sat]'"
    found = [Section(each.name, "\n".join(each.story), each.culprits, each.edges) for each in verdict.anomalies[:20]]
    return holds, text, found


def _judge_object(history: Sequence[Operation], model: Model, options: argparse.Namespace) -> Judgement:
    patience = _Patience(options.seconds)
    if options.level == SEQUENTIAL:
        sequential = sessions.check_sequential(history, model, go_on=patience)
        word = {True: "sequentially consistent", False: "not sequentially consistent", None: "nobody can tell"}
        return sequential.holds, f"{word[sequential.holds]}: {sequential.why}".removesuffix(": "), []
    verdict = linearizability.check(history, model, go_on=patience)
    sections = [Section("a history that no order explains", verdict.why, verdict.culprits)] if verdict.culprits else []
    return verdict.holds, str(verdict), sections


class _Patience:
    """Says whether to go on, and on a terminal how long it has been."""

    def __init__(self, seconds: float) -> None:
        self._begun: Final = time.monotonic()
        self._seconds: Final = seconds
        self._told = 0.0

    def __call__(self) -> bool:
        spent = time.monotonic() - self._begun
        if sys.stderr.isatty() and spent - self._told >= 1:
            self._told = spent
            print(f"\rsearching for {spent:.0f} of {self._seconds:.0f} s", end="", file=sys.stderr, flush=True)
        return spent < self._seconds
