"""add, delete, get, list, merge."""

import json

import pytest

from lfm2_retrieval import Retriever


@pytest.fixture
def path(run, corpus, checkpoint, tmp_path):
    assert run("index", tmp_path / "index", "--input", corpus, "--model", checkpoint()).exit_code == 0
    return tmp_path / "index"


def lines(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_life_of_an_index(run, path, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text(
        '{"_id": "sea", "text": "the sea is deep", "lang": "en"}\n{"_id": "fox", "text": "foxes"}\n'
    )
    refused = run("add", path, "--input", more)
    assert (refused.exit_code, "fox" in refused.output) == (1, True)
    assert lines(run("add", path, "-i", more, "--on-conflict", "skip", "--json"))[0]["added"] == 1
    replaced = run("add", path, "--input", more, "--on-conflict", "replace").stdout
    assert replaced == f"Added 0 documents, changed 1, unchanged 1: {path} holds 5\n"
    counts = lines(run("add", path, "-i", more, "--on-conflict", "skip", "--json"))[0]
    assert [counts[name] for name in ("added", "changed", "unchanged", "skipped")] == [0, 0, 0, 2]
    listed = lines(run("list", path, "--json"))
    assert [row["_id"] for row in listed] == ["fox", "rain", "town", "cat", "sea"]
    assert listed[0] == {"_id": "fox", "text": "foxes", "metadata": {}}
    shown = run("list", path, "--limit", "2").stdout
    assert shown == 'fox\n     foxes\nrain  {"lang": "en"}\n     rain falls on quiet hills\n'
    assert [row["_id"] for row in lines(run("list", path, "--where", "lang = 'en'", "--json"))] == [
        "rain",
        "sea",
    ]
    assert lines(run("get", path, "cat", "--json"))[0]["text"] == "猫は静かに眠る。"
    missing = run("get", path, "sea", "nothing")
    assert (missing.exit_code, "the sea is deep" in missing.stdout, "nothing" in missing.stderr) == (
        1,
        True,
        True,
    )
    assert "did you mean 'lang'" in run("list", path, "--where", "lnag = 'en'").stderr
    assert run("delete", path, "nothing").exit_code == 1
    assert lines(run("delete", path, "nothing", "--missing-ok", "--json"))[0]["deleted"] == 0
    assert lines(run("delete", path, "--where", "lang = 'en'", "--json"))[0]["documents_in_index"] == 3
    assert "Deleted 2 documents" in run("delete", path, "-", input="cat\nfox\n").stdout
    assert run("list", path, "--where", '{"lang": ').exit_code == 2
    assert lines(run("list", path, "--where", '{"lang": {"$in": ["fr", "xx"]}}', "--json")) == lines(
        run("list", path, "--where", "lang IN ('fr', 'xx')", "--json")
    )
    assert run("delete", path).exit_code == run("delete", path, "a", "--where", "b = 1").exit_code == 2
    assert run("delete", path, "--all", "town").exit_code == 2
    for nothing in ("{}", "", " ", '{"$and": [{}]}'):
        refused = run("delete", path, "--where", nothing)
        assert (refused.exit_code, "--all" in refused.stderr) == (1, True)
    assert "segments" in run("merge", path).stdout
    assert lines(run("merge", path, "--json"))[0]["segments"] == 1
    with Retriever.open(path) as retriever:
        assert retriever.ids() == ["town"]
    assert "Deleted 1 documents" in run("delete", path, "--all").stdout


def test_what_is_listed_can_be_indexed_again(run, path, tmp_path):
    dump = tmp_path / "dump.jsonl"
    dump.write_text(run("list", path, "--json").stdout)
    with Retriever.open(path) as retriever:
        before = list(retriever)
        assert run("add", path, "--input", dump, "--on-conflict", "replace").exit_code == 0
        retriever.refresh()
        assert list(retriever) == before
