"""The pages in docs/protocols: what they list is there, every rule is shown by something, and nothing is forgotten.

A page has tables with the columns *Ours* and *Shown by*, whose cells name things as `[label].name`: a function, a
class, a method or a constant of a module, a test, or a scene (`[x.story]`). The labels are links, defined at the
page's end. A cell may instead be `n/a: ` and a reason.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutants.catalogue import CATALOGUES, load, page_of

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs/protocols").glob("*.md"))
PROTOCOLS = [ROOT / "src/ostraka/consensus" / page.stem for page in PAGES]
DEFINITION = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)
NAMED = re.compile(r"\[([\w.]+)\](?!\()(?:\.(\w+(?:\.\w+)*))?")


class Row(NamedTuple):
    """A row of a table: its line, and its cells by column."""

    line: int
    cells: dict[str, str]


def rows(text: str) -> list[Row]:
    """The rows of all tables that say what is shown by what."""
    found, columns = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif set(line) - set("|- :") and {"Ours", "Shown by"} <= set(columns):
            found.append(Row(number, dict(zip(columns, cells, strict=True))))
    return found


@cache
def defined(path: Path) -> frozenset[str]:
    """The names of what a module defines, methods and fields under their class."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return frozenset(names)


def wrong(page: Path, text: str) -> list[str]:
    """What is wrong with a page's rules, in sentences."""
    links = {label: (page.parent / target).resolve() for label, target in DEFINITION.findall(text)}
    complaints = [f"[{label}] leads nowhere" for label, target in links.items() if not target.exists()]
    unused = set(links) - {label for label, _ in NAMED.findall(DEFINITION.sub("", text))}
    complaints += [f"[{label}] is defined and never used" for label in sorted(unused)]
    for line, cells in rows(text):
        for column in ("Ours", "Shown by"):
            cell = cells[column]
            named = NAMED.findall(cell)
            if not named and not re.match(r"n/a: \w.{9}", cell):
                complaints.append(f"line {line}: nothing under {column!r}; if nothing can be, say `n/a: ` and why")
            for label, name in named:
                target = links.get(label)
                if target is None or not target.exists():
                    complaints.append(f"line {line}: [{label}] is not defined at the end of the page")
                elif target.suffix == ".py" and (not name or name not in defined(target)):
                    complaints.append(
                        f"line {line}: {target.relative_to(ROOT)} has no {name or 'thing without a name'}"
                    )
                elif column == "Shown by" and "test" in target.name and not name.startswith("test_"):
                    complaints.append(f"line {line}: {name} is no test")
    return complaints


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_rule_is_where_the_page_says_and_shown_by_something(page: Path) -> None:
    text = page.read_text()
    assert len(rows(text)) > 20, "the page has no tables of rules"
    complaints = wrong(page, text)
    assert not complaints, f"{page.relative_to(ROOT)}:\n  " + "\n  ".join(complaints)


def test_a_page_that_is_wrong_is_noticed() -> None:
    text = """
| Where | Rule | Ours | Shown by |
|---|---|---|---|
| §1 | fine | [quorum].majority | [test_quorum].test_any_two_majorities_share_a_member |
| §2 | not ours | n/a: there is a reason for it | [gone.story] |
| §3 | no test | [quorum].minority | |
| §4 | no test either | [quorum].both | [test_quorum].parametrize, n/a |
| §5 | nor here | n/a | [quorum] |

[quorum]: ../../src/ostraka/consensus/quorum.py
[test_quorum]: ../../tests/consensus/test_quorum.py
[gone.story]: ../../tests/stories/raft/gone.story
[unused]: ../../README.md
"""
    complaints = wrong(ROOT / "docs/protocols/raft.md", text)
    assert complaints == [
        "[gone.story] leads nowhere",
        "[unused] is defined and never used",
        "line 5: [gone.story] is not defined at the end of the page",
        "line 6: src/ostraka/consensus/quorum.py has no minority",
        "line 6: nothing under 'Shown by'; if nothing can be, say `n/a: ` and why",
        "line 7: tests/consensus/test_quorum.py has no parametrize",
        "line 8: nothing under 'Ours'; if nothing can be, say `n/a: ` and why",
        "line 8: src/ostraka/consensus/quorum.py has no thing without a name",
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_each_scene_shows_some_rule(protocol: Path) -> None:
    text = (ROOT / f"docs/protocols/{protocol.name}.md").read_text()
    scenes = {scene.name for scene in (ROOT / "tests/stories" / protocol.name).glob("*.story")}
    unnamed = scenes - {label for row in rows(text) for label, _ in NAMED.findall(row.cells["Shown by"])}
    assert not unnamed, f"no rule names these scenes: {sorted(unnamed)}"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_its_modules_read_beside_the_paper(protocol: Path) -> None:
    """Each says what it follows, in which words, where it departs, and what shows it; and the architecture names it."""
    architecture = (ROOT / "docs/architecture.md").read_text()
    complaints = []
    for module in sorted(protocol.glob("*.py")):
        said = ast.get_docstring(ast.parse(module.read_text())) or ""
        if f"consensus/{protocol.name}/{module.name}" not in architecture:
            complaints.append(f"docs/architecture.md does not name {module.name}")
        if module.stem == "__init__":
            continue
        heads = re.findall(r"^(\w+): +\S", said, re.MULTILINE)
        if heads[:4] != ["Follows", "Words", "Departs", "Evidence"]:
            complaints.append(f"{module.name} begins with {heads}, not with Follows, Words, Departs, Evidence")
        evidence = re.search(r"^Evidence: (.*?)(\n\n|\Z)", said, re.MULTILINE | re.DOTALL)
        for path in re.findall(r"tests/[\w/.*]+\w", evidence[1] if evidence else ""):
            if not list(ROOT.glob(path)):
                complaints.append(f"{module.name} names {path} as evidence, which isn't there")
    assert not complaints, f"{protocol.name}:\n  " + "\n  ".join(complaints)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_mutants_on_a_page_are_those_in_its_catalogues(page: Path) -> None:
    text = page.read_text()
    _, _, table = text.partition("<!-- mutants:")
    shown = re.findall(r"^\| `(\w+)` \|", table.partition("<!-- mutants end -->")[0], re.MULTILINE)
    mutants = load(*(catalogue for catalogue in CATALOGUES if page_of(catalogue) == page))
    assert shown == [mutant.name for mutant in mutants], "`make mutants WRITE=1 NAMES=...` brings the table up to date"
    known = {int(row.cells["No."]) for row in rows(text) if "No." in row.cells}
    assert {trap for mutant in mutants for trap in mutant.traps} <= known, "a mutant names a trap that isn't listed"


def test_all_of_rafts_traps_are_listed() -> None:
    text = (ROOT / "docs/protocols/raft.md").read_text()
    assert [int(row.cells["No."]) for row in rows(text) if "No." in row.cells] == list(range(1, 30))
