"""Mutants: slips put into the production code, one at a time, to see whether a test or the simulator notices.

They stand in the `.toml` files here, each under the name of the slip. A file is named after the protocol whose page in
docs/protocols shows its mutants; those of other files are shown with Raft's.

    rule         what the code does right as it is, in one sentence
    source       where that rule stands
    traps        which of the known traps of the engine's implementations it is (docs/protocols/raft.md numbers Raft's)
    file         the module, below src/ostraka
    old, new     the text to replace, which must be there once, and what takes its place
    tests        all of these must fail: tests by their pytest ids, scenes by their files
    seeds        the simulator must fail too, on one of so many seeds from 0; without it, it need not
    misfortunes  under which, if not those that each seed draws
"""

from __future__ import annotations

import ast
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"
CATALOGUES = sorted(Path(__file__).parent.glob("*.toml"))


def page_of(catalogue: Path) -> Path:
    """The page that shows the mutants of this file."""
    own = ROOT / f"docs/protocols/{catalogue.stem}.md"
    return own if own.exists() else ROOT / "docs/protocols/raft.md"


@dataclass(frozen=True)
class Mutant:
    """See the module."""

    name: str
    rule: str
    source: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    traps: tuple[int, ...] = ()
    seeds: int = 0
    misfortunes: tuple[str, ...] = ()

    @property
    def engine(self) -> str:
        """Which engine the simulator runs."""
        return "multipaxos" if self.file.startswith("consensus/multipaxos/") else "raft"

    def mutated(self) -> str:
        """The module's text with the slip in it. Raises ValueError if the place is not there, or there twice."""
        text = (SOURCE / "ostraka" / self.file).read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: {self.file} has {self.old!r} {found} times: the catalogue must follow it")
        mutated = text.replace(self.old, self.new)
        ast.parse(mutated)
        return mutated

    def plant(self, place: Path) -> None:
        """Copy the production code to `place`, with the slip in it."""
        mutated = self.mutated()
        shutil.copytree(SOURCE / "ostraka", place / "ostraka")
        (place / "ostraka" / self.file).write_text(mutated, encoding="utf-8")


def load(*catalogues: Path) -> list[Mutant]:
    """All mutants of these files. Raises TypeError for a field that is missing or unknown."""
    mutants = []
    for catalogue in catalogues:
        for name, fields in tomllib.loads(catalogue.read_text(encoding="utf-8")).items():
            lists = {field: tuple(value) for field, value in fields.items() if isinstance(value, list)}
            mutants.append(Mutant(name, **{**fields, **lists}))
    return mutants
