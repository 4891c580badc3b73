"""The style as a test: sizes, names, and what must not be left lying about."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("src", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))
LINES_OF_A_FILE = 500
LINES_OF_A_FUNCTION = 60
BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)($|_)", re.IGNORECASE)
BANNED_CLASSES = re.compile(r"(Utils?|Helpers?|Manager|Common|Misc)$")
UNEXPLAINED = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b(?!\((?:#\d+|[^)]{10,})\):)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_tidy(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    wrong = []
    if text.count("\n") > LINES_OF_A_FILE:
        wrong.append(
            f"{text.count(chr(10))} lines; a file has at most {LINES_OF_A_FILE}: split it where it has two subjects"
        )
    for part in (*path.relative_to(ROOT).parts[:-1], path.stem):
        if BANNED_NAMES.search(part):
            wrong.append(f"the name {part!r} says nothing about what is in it")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_OF_A_FUNCTION:
                wrong.append(f"line {node.lineno}: {node.name} has {lines} lines; at most {LINES_OF_A_FUNCTION}")
        if isinstance(node, ast.ClassDef) and BANNED_CLASSES.search(node.name):
            wrong.append(f"line {node.lineno}: the name {node.name} says nothing about what it does")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"line {node.lineno}: a bare except hides what nobody thought of")
    for number, line in enumerate(text.splitlines(), 1):
        if UNEXPLAINED.search(line):
            wrong.append(f"line {number}: {line.strip()}: write the reason in brackets, or do it")
    assert not wrong, f"{named(path)}:\n  " + "\n  ".join(wrong)


def test_every_package_says_what_it_is_for() -> None:
    silent = [
        named(path) for path in FILES if "src" in path.parts and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, f"modules without a docstring: {silent}"


def test_the_rules_can_fail() -> None:
    assert BANNED_NAMES.search("string_utils") and BANNED_CLASSES.search("ConnectionManager")
    assert UNEXPLAINED.search("# TO" + "DO: later") and not UNEXPLAINED.search("# TO" + "DO(needs wire version 2): x")
