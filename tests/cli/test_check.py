"""`ostraka check`: verdicts, exit codes, pictures."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ostraka.cli.check import HOLDS, UNKNOWN, VIOLATED, check

STALE = """\
{"type": "invoke", "process": 0, "f": "write", "value": 1}
{"type": "ok", "process": 0, "f": "write", "value": 1}
{"type": "invoke", "process": 1, "f": "read"}
{"type": "ok", "process": 1, "f": "read", "value": null}
"""
SKEW = """\
{:process 0, :type :invoke, :f :txn, :value [[:r :x nil] [:append :y 1]]}
{:process 1, :type :invoke, :f :txn, :value [[:r :y nil] [:append :x 1]]}
{:process 0, :type :ok, :f :txn, :value [[:r :x []] [:append :y 1]]}
{:process 1, :type :ok, :f :txn, :value [[:r :y []] [:append :x 1]]}
"""


def at(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_stale_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = at(tmp_path, "h.jsonl", STALE)
    assert check([history, "--model", "register"]) == VIOLATED
    assert "1: read → nil" in capsys.readouterr().out
    assert check([history, "--model", "register", "--level", "sequential"]) == HOLDS
    assert check([history, "--model", "register", "--level", "causal"]) == HOLDS
    assert check([history, "--model", "cas-register"]) == VIOLATED
    assert "--level" not in capsys.readouterr().err


def test_write_skew_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, drawn = at(tmp_path, "h.edn", SKEW), tmp_path / "verdict.html"
    assert check([history, "--model", "list-append", "--html", str(drawn)]) == VIOLATED
    out = capsys.readouterr().out
    assert "holds: strong-snapshot-isolation" in out
    assert "T0 < T1, since T0 read x before T1 appended 1" in out
    html = drawn.read_text()
    assert html.count('class="edge"') == 2
    assert "http" not in html.replace("http-equiv", ""), "it needs nothing from elsewhere"
    assert check([history, "--model", "list-append", "--level", "snapshot-isolation"]) == HOLDS


def test_what_data_stands_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(
        f'{{"type": "{kind}", "process": 0, "f": "generate", "value": {value}}}\n'
        for kind, value in (("invoke", "null"), ("ok", 7), ("invoke", "null"), ("ok", 7))
    )
    assert check([at(tmp_path, "h.jsonl", text), "--model", "unique-ids"]) == VIOLATED
    assert "given out twice" in capsys.readouterr().out


def test_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(tmp_path, "my_models.py", "from ostraka.checkers.models import Register\nzero = Register(initial=0)\n")
    monkeypatch.chdir(tmp_path)
    text = STALE.replace("null", "0").replace('"write", "value": 1', '"read", "value": 0')
    assert check([at(tmp_path, "h.jsonl", text), "--model", "my_models:zero"]) == HOLDS
    assert check([at(tmp_path, "h.jsonl", text), "--model", "my_models:nothing"]) == UNKNOWN


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(STALE.encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert check(["-", "--model", "register"]) == VIOLATED


def test_what_can_not_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = at(
        tmp_path, "h.jsonl", STALE.replace("null", '"x"').replace('"write"', '"append"').replace('"read"', '"get"')
    )
    assert check([history, "--model", "kv", "--seconds", "0"]) == UNKNOWN
    assert check([str(tmp_path / "missing"), "--model", "register"]) == UNKNOWN
    assert check([at(tmp_path, "broken.jsonl", "{"), "--model", "register"]) == UNKNOWN
    assert "line 1" in capsys.readouterr().err
    assert check([at(tmp_path, "h.edn", SKEW), "--model", "list-append", "--level", "causal"]) == UNKNOWN
    assert "does not tell" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--model", "nothing"], ["--model", "queue", "--level", "serializable"], []])
def test_a_wrong_call(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        check(["h.jsonl", *words])
    assert exit_.value.code == UNKNOWN
