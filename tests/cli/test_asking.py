"""The commands that ask a running cluster: what they send, what they print, and how they end."""

from __future__ import annotations

import io
import json

import msgspec
import pytest

from ostraka.api import etcd
from ostraka.cli import ls
from ostraka.cli.__main__ import main
from ostraka.cli.ls import folded
from ostraka.cli.txn import parsed

from .conftest import Run


@pytest.mark.parametrize(
    ("prefix", "depth", "expected"),
    [
        (b"", 1, {b"a": 1, b"a/": 3, b"b/": 1}),
        (b"", 2, {b"a": 1, b"a/b/": 2, b"a/c": 1, b"b/c/": 1}),
        (b"", 0, {b"a": 1, b"a/b/1": 1, b"a/b/2": 1, b"a/c": 1, b"b/c/d": 1}),
        (b"a", 1, {b"a": 1, b"a/b/": 2, b"a/c": 1}),
        (b"a/", 1, {b"a/b/": 2, b"a/c": 1}),
        (b"a/", 2, {b"a/b/1": 1, b"a/b/2": 1, b"a/c": 1}),
    ],
)
def test_what_lies_too_deep_is_folded_into_one_line(prefix: bytes, depth: int, expected: dict[bytes, int]) -> None:
    keys = [key for key in (b"a", b"a/b/1", b"a/b/2", b"a/c", b"b/c/d") if key.startswith(prefix)]
    assert folded(keys, prefix, depth) == expected


def test_a_transaction_is_written_in_plain_text_or_in_etcds_json() -> None:
    plain = '{"compare": [{"key": "k", "target": "VALUE", "value": "é"}], "success": [{"request_put": {"key": "k"}}]}'
    expected = etcd.TxnRequest(
        compare=[etcd.Compare(key=b"k", target="VALUE", value="é".encode())],
        success=[etcd.RequestOp(request_put=etcd.PutRequest(key=b"k"))],
    )
    assert parsed(plain) == expected
    coded = '{"compare": [{"key": "aw==", "target": 3, "value": "w6k="}], "success": [{"requestPut": {"key": "aw=="}}]}'
    assert parsed(coded, in_base64=True) == expected


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "no JSON"),
        ("[]", "is a JSON object"),
        ('{"sucess": []}', "sucess"),
        ('{"success": [{"request_put": {"key": 1}}]}', "key"),
        ('{"compare": [{"key": "k", "target": "NAME"}]}', "NAME"),
        ("[" * 100_000, "too deep"),
        ('{"success":[{"request_txn":' * 200 + "{}" + "}]}" * 200, "no transaction"),
    ],
)
def test_what_is_wrong_with_a_document_is_named_before_anybody_is_asked(document: str, said: str, capsys) -> None:
    assert main(["txn", "--endpoints", "127.0.0.1:1", document]) == 2
    shown = capsys.readouterr().err
    assert said in shown and "ostraka txn --help" in shown


@pytest.mark.process
def test_keys_are_put_read_and_deleted(run: Run) -> None:
    for key in ("a", "b", "c"):
        assert run("put", key, f"value of {key}") == (0, "OK\n")
    assert run("get", "a", "c") == (0, "a\nvalue of a\nb\nvalue of b\n")
    at = json.loads(run("get", "a", "-o", "json")[1])["header"]["revision"]
    assert run("del", "a") == (0, "1\n")
    assert run("get", "a") == (0, "")
    assert run("get", "a", "--rev", at) == (0, "a\nvalue of a\n")
    assert run("del", "--prefix", "", "--prev-kv") == (0, "2\nb\nvalue of b\nc\nvalue of c\n")
    assert run("del", "a") == (0, "0\n")
    assert run("del", "a", "-o", "table")[1].split()[:3] == ["deleted", "revision", "0"]
    assert run("del", "") == (1, run("del", "")[1]) and "key is not provided" in run("del", "")[1]


@pytest.mark.process
def test_the_forms_of_an_answer_say_the_same(run: Run) -> None:
    run("put", "k", "v")
    as_json = json.loads(run("get", "k", "-o", "json")[1])
    assert msgspec.yaml.decode(run("get", "k", "-o", "yaml")[1]) == as_json
    assert as_json["kvs"][0]["key"] == "aw==" and as_json["count"] == "1"
    assert run("get", "k", "-o", "table")[1].splitlines()[1].split()[:2] == ["k", "v"]
    for command in ("status", "members"):
        assert msgspec.yaml.decode(run(command, "-o", "yaml")[1])


@pytest.mark.process
def test_a_transaction_from_an_argument_and_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps(
        {
            "compare": [{"key": "lock", "target": "CREATE", "create_revision": 0}],
            "success": [{"request_put": {"key": "lock", "value": "me", "prev_kv": True}}],
            "failure": [
                {"request_range": {"key": "lock"}},
                {"request_delete_range": {"key": "none"}},
                {"request_txn": {"failure": [], "success": [{"request_put": {"key": "seen", "value": "1"}}]}},
            ],
        }
    )
    assert run("txn", document) == (0, "SUCCESS\n\nOK\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(document))
    assert run("txn") == (0, "FAILURE\n\nlock\nme\n\n0\n\nSUCCESS\n\nOK\n")
    rows = [line.split() for line in run("txn", document, "-o", "table")[1].splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["-", "txn"],
        ["1", "range"],
        ["2", "delete"],
        ["3", "txn"],
        ["3.1", "put"],
    ]
    assert "succeeded" not in json.loads(run("txn", document, "-o", "json")[1])
    code, said = run("txn", json.dumps({"success": [{"request_range": {"key": "k"}}] * 6}))
    assert code == 1 and "too many operations in txn request (a list of 6 " in said and "at most 5 are" in said
    code, said = run("txn", json.dumps({"success": [{"request_put": {"key": "k"}}] * 2}))
    assert code == 1 and "duplicate key given in txn request (key b'k')" in said


@pytest.mark.process
def test_compaction_forgets_the_past(run: Run) -> None:
    for value in ("1", "2", "3"):
        run("put", "k", value)
    now = int(json.loads(run("get", "k", "-o", "json")[1])["header"]["revision"])
    assert run("compaction", "--physical", str(now - 1)) == (0, f"compacted revision {now - 1}\n")
    assert run("get", "k", "--rev", str(now - 1)) == (0, "k\n2\n")
    for words in (("get", "k", "--rev", str(now - 2)), ("compaction", str(now - 1))):
        code, said = run(*words)
        assert code == 1 and "required revision has been compacted" in said
    code, said = run("compaction", str(now + 1))
    assert code == 1 and "future revision" in said
    assert run("compaction", str(now), "-o", "table") == (0, f"revision\n{now}\n")


@pytest.mark.process
def test_keys_are_listed_page_by_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ls, "PAGE", 2)
    for key in ("top", "dir/a", "dir/b", "dir/sub/c", "dir/sub/d"):
        run("put", key, "")
    assert run("ls") == (0, "dir/\ntop\n")
    assert run("ls", "dir", "--depth", "1") == (0, "dir/a\ndir/b\ndir/sub/\n")
    assert run("ls", "--depth", "0")[1].splitlines() == ["dir/a", "dir/b", "dir/sub/c", "dir/sub/d", "top"]
    assert json.loads(run("ls", "-o", "json")[1]) == [{"name": "dir/", "keys": 4}, {"name": "top", "keys": 1}]
    assert run("ls", "none") == (0, "")


def test_without_a_server_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["ls"], ["del", "k"], ["txn", "{}"], ["compaction", "1"]):
        assert main([words[0], "--endpoints", "127.0.0.1:1", *words[1:]]) == 1
        assert "is a server running there?" in capsys.readouterr().err
