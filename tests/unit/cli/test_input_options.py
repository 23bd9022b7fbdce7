"""What is given to `index`, `add`, `rerank` and `search`: folders, tables, dashes."""

import json

import pytest

from lfm2_retrieval import Retriever


@pytest.fixture
def model(checkpoint):
    return checkpoint()


@pytest.fixture
def folders(tmp_path):
    """Two folders with files of one name."""
    for name in ("one", "two", "far/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "README.md").write_text(f"readme of {name}")
        (tmp_path / name / f"{name[:3]}.md").write_text(f"words of {name}")
    return tmp_path


def held(path):
    with Retriever.open(path) as retriever:
        return {document.id: document.text for document in retriever}


def ok(result):
    assert result.exit_code == 0, result.output
    return result


def test_what_is_left_out_of_a_folder_is_said(run, tmp_path, model):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.mdx").write_text("read")
    (folder / "b.pdf").write_bytes(b"%PDF")
    (folder / ".env").write_text("KEY")
    (folder / "out.txt").symlink_to("/etc/passwd")
    result = ok(run("index", tmp_path / "index", "-i", folder, "--model", model, "--json"))
    facts = json.loads(result.stdout)
    assert (facts["documents"], facts["files"], facts["left_out"]["count"]) == (1, 1, 3)
    assert facts["left_out"]["reasons"]["links out of the folder"] == {
        "count": 1,
        "extensions": {".txt": 1},
        "names": ["out.txt"],
    }
    assert "Note: 3 left out, 1 read: " in result.stderr
    assert "b.pdf" in result.stderr
    strict = run("index", tmp_path / "strict", "-i", folder, "--model", model, "--strict")
    assert (strict.exit_code, "--strict: 3 left out" in strict.stderr) == (1, True)
    assert not (tmp_path / "strict").exists()
    strict = run("add", tmp_path / "index", "-i", folder, "--strict", "--on-conflict", "skip")
    assert strict.exit_code == 1
    assert list(held(tmp_path / "index")) == ["a.mdx"]
    json_ = json.loads(
        ok(run("add", tmp_path / "index", "-i", folder, "--on-conflict", "skip", "--json")).stdout
    )
    assert json_["left_out"]["count"] == 3


def test_two_folders_have_their_names_before_ids(run, folders, model):
    path = folders / "index"
    ok(run("index", path, "-i", folders / "one", folders / "two", folders / "far/two", "--model", model))
    assert set(held(path)) == {
        *("one/README.md", "one/one.md"),
        *(f"{folders.name}/two/README.md", f"{folders.name}/two/two.md"),
        *("far/two/README.md", "far/two/far.md"),
    }


@pytest.mark.parametrize("command", ["add", "index"])
def test_another_folder_never_replaces_the_first_one_s_files(run, folders, model, command):
    path = folders / "index"
    more = ["--on-conflict", "replace"] if command == "add" else ["--if-exists", "append"]
    ok(run("index", path, "-i", folders / "one", "--model", model))
    before = held(path)
    assert set(before) == {"README.md", "one.md"}
    ok(run(command, path, "-i", folders / "two", *more))
    ok(run(command, path, "-i", folders / "far/two", *more))
    after = held(path)
    assert after == {
        **before,
        "two/README.md": "readme of two",
        "two/two.md": "words of two",
        "far/two/README.md": "readme of far/two",
        "far/two/far.md": "words of far/two",
    }


def test_a_folder_added_again_keeps_its_ids(run, folders, model, monkeypatch):
    path = folders / "index"
    monkeypatch.chdir(folders)
    ok(run("index", path, "-i", "one", "--model", model))
    ok(run("add", path, "-i", "two"))
    ids = list(held(path))
    (folders / "one/README.md").write_text("changed")
    (folders / "one/new.md").write_text("new")
    (folders / "two/new.md").write_text("new")
    for name in ("one", folders / "one", "./two/", "one"):
        ok(run("add", path, "-i", name, "--on-conflict", "replace"))
    assert set(held(path)) == {*ids, "new.md", "two/new.md"}
    assert held(path)["README.md"] == "changed"
    assert "is already in the index" in run("index", path, "-i", "one", "--if-exists", "append").stderr


def test_tables(run, tmp_path, model):
    table = tmp_path / "a.csv"
    table.write_bytes("nr;body;year;zip;note\n1;Z\u00fcrich;2001;007;x\n2;fox;1999;123;\n".encode("cp1252"))
    named = ["--text-column", "body", "--id-column", "nr", "--encoding", "cp1252", "--delimiter", ";"]
    named += ["--metadata-column", "year", "--metadata-column", "zip"]
    path = tmp_path / "index"
    result = ok(run("index", path, "-i", table, *named, "--model", model, "--json"))
    assert json.loads(result.stdout)["types"][str(table)] == {"year": "int", "zip": "str"}
    assert f"Note: {table}: year int; all else is text; zip stayed text" in result.stderr
    rows = [json.loads(line) for line in run("list", path, "--json").stdout.splitlines()]
    assert rows[0] == {"_id": "1", "text": "Z\u00fcrich", "metadata": {"year": 2001, "zip": "007"}}
    assert [row["_id"] for row in rows] == ["1", "2"]
    assert len(run("list", path, "--where", "year >= 2000", "--json").stdout.splitlines()) == 1
    ok(run("add", path, "-i", table, *named, "--types", "year=str,zip=int", "--on-conflict", "replace"))
    with Retriever.open(path) as retriever:
        assert retriever.get("1").metadata == {"year": "2001", "zip": 7}
    hits = json.loads(ok(run("rerank", "fox", "-i", table, *named, "--model", model, "--json")).stdout)[
        "hits"
    ]
    assert {hit["id"] for hit in hits} == {"1", "2"}


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ([], 1, "--text-column"),
        (["--text-column", "boby"], 1, "'boby' is expected, not ['nr', 'body']"),
        (["--text-column", "body", "--types", "year"], 2, "is not like year=int"),
        (["--text-column", "body", "--types", "year=date"], 1, "int, float, bool, str"),
        (["--text-column", "body", "--types", "year=int"], 1, "none of the columns"),
        (["--text-column", "body", "--delimiter", "ab"], 1, "one character"),
        (["--text-column", "body", "--encoding", "x"], 1, "no encoding 'x'"),
        (["--text-column", "body", "--metadata-column", "x"], 1, "--metadata-column"),
    ],
)
def test_columns_that_are_not_there(run, tmp_path, model, options, code, says):
    (tmp_path / "a.csv").write_text("nr,body\n1,fox\n")
    result = run("index", tmp_path / "index", "-i", tmp_path / "a.csv", "--model", model, *options)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "index").exists()


def test_a_bad_file_beside_the_standard_input_shows_before_any_work(run, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{")
    result = run(
        "index", tmp_path / "index", "-i", "-", tmp_path / "bad.jsonl", "--model", "none", input="{}"
    )
    assert "bad.jsonl:1: not valid JSON" in result.stderr


@pytest.mark.parametrize("query", ["-foo", "-5 degrees", "--verbose flag", "-kids", "-k is what", "-"])
def test_a_query_that_begins_with_a_dash(run, made, corpus, checkpoint, query):
    as_option = json.loads(ok(run("search", made, "-q", query, "--json")).stdout)
    assert as_option["query"] == query
    if query != "-":
        assert json.loads(ok(run("search", made, "--json", "--", query)).stdout) == as_option
        refused = run("search", made, query)
        assert refused.exit_code == 2
        assert "behind --" in refused.stderr
        assert "-q" in refused.stderr
        refused = run("rerank", query, "-i", corpus)
        assert (refused.exit_code, "behind --" in refused.stderr) == (2, True)
    reranked = ok(run("rerank", "-q", query, "-i", corpus, "--model", checkpoint(), "--json"))
    assert json.loads(reranked.stdout)["query"] == query
    again = ok(run("rerank", "-i", corpus, "--model", checkpoint(), "--json", "--", query))
    assert again.stdout == reranked.stdout


def test_queries_of_both_kinds_and_none(run, made, corpus):
    lines = run("search", made, "fox", "-q", "-rain", "-q", "cat", "--json").stdout.splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["fox", "-rain", "cat"]
    none = run("search", made)
    assert (none.exit_code, "give a QUERY" in none.stderr) == (2, True)
    for wrong in ([], ["a", "-q", "b"]):
        assert run("rerank", *wrong, "-i", corpus).exit_code == 2


def test_ids_that_begin_with_a_dash(run, tmp_path, model):
    path, source = tmp_path / "index", tmp_path / "a.jsonl"
    source.write_text('{"_id": "-x", "text": "fox"}\n{"_id": "b", "text": "dog"}\n')
    ok(run("index", path, "-i", source, "--model", model))
    for command in ("get", "delete"):
        refused = run(command, path, "-x")
        assert (refused.exit_code, "behind --" in refused.stderr) == (2, True)
    assert "fox" in ok(run("get", path, "--", "-x")).stdout
    assert "Deleted 1" in ok(run("delete", path, "--", "-x")).stdout
