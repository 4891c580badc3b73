"""Plays the `.story` files: each is a test. `pytest tests/stories --rewrite` writes what they say now into them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .script import play


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the output of the stories into their files")


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.Collector | None:
    if file_path.suffix == ".story":
        scene: pytest.Collector = Scene.from_parent(parent, path=file_path)
        return scene
    return None


class Differs(AssertionError):
    """The scene no longer goes as it is written down."""


class Scene(pytest.File):
    """A file with one scene."""

    def collect(self) -> Iterator[pytest.Item]:
        yield Play.from_parent(self, name=self.path.stem)


class Play(pytest.Item):
    """Plays the scene and compares."""

    def runtest(self) -> None:
        written = self.path.read_text(encoding="utf-8")
        played = play(written)
        if self.config.getoption("--rewrite", False):
            self.path.write_text(played, encoding="utf-8")
        elif played != written:
            raise Differs("\n".join(difflib.unified_diff(written.split("\n"), played.split("\n"), "written", "played")))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, Differs):
            return f"{self.path.name} does not go as written (--rewrite, then read the difference):\n{excinfo.value}"
        return str(super().repr_failure(excinfo))
