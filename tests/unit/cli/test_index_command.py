import json
import os
import signal
import time
from pathlib import Path

import pytest

from lfm2_retrieval import Encoder
from lfm2_retrieval.indexes import Index


@pytest.fixture
def model(checkpoint):
    return checkpoint()


def count(path):
    with Index.open(path) as index:
        return len(index)


def test_index_then_ask(run, tmp_path, corpus, model):
    path = tmp_path / "index"
    result = run("index", path, "--input", corpus, "--model", model)
    assert result.exit_code == 0
    assert result.stdout.startswith("Indexed 4 documents (")
    assert result.stdout.endswith("holds 4\n")
    assert result.stderr == ""
    with Index.open(path) as index:
        assert index.ids() == ["fox", "rain", "town", "cat"]
        assert index.get("fox").text == "Foxes the quick brown fox jumps over a lazy dog"
        assert index.get("rain").metadata == {"lang": "en"}


def test_files_and_folders_without_input_are_split(run, tmp_path, model):
    docs = tmp_path / "docs"
    docs.mkdir()
    sections = [f"# Section {i}\n\n{'some words of it ' * 12}" for i in range(6)]
    (docs / "long.md").write_text("\n\n".join(sections))
    (docs / "t.csv").write_text("name,about\nOdra,a town where people sell bread\n")
    (docs / "bad.ipynb").write_text("{}")
    path = tmp_path / "index"
    done = run("index", path, docs, "--model", model, "--passages", "64", "--json")
    facts = json.loads(done.stdout)
    assert (facts["documents"], facts["documents_in_index"]) == (2, 2)
    assert facts["passages_in_index"] > 3
    assert facts["text_columns"] == {str(docs / "t.csv"): "about"}
    assert facts["left_out"]["reasons"]["malformed"]["names"] == ["bad.ipynb"]
    (docs / "more.md").write_text("more")
    again = run("index", path, docs / "more.md", "--if-exists", "append", "--strict")
    assert (again.exit_code, "holds 3 documents" in again.stdout) == (0, True)
    strict = run("index", tmp_path / "strict", docs, "--model", model, "--strict")
    assert (strict.exit_code, "bad.ipynb" in strict.stderr) == (1, True)
    assert "holds 3 documents" in strict.stdout
    assert json.loads(run("list", path, "--json", "--limit", "1").stdout)["_id"] == "long.md"
    assert "long.md#2" in run("get", path, "long.md#2").stdout
    assert "passages" in run("info", path).stdout
    assert run("index", path).exit_code == 2
    assert run("index", path, docs, "--passages", "none", "--overlap", "3").exit_code == 2


def test_a_large_collection_is_told_what_it_takes(run, tmp_path, model):
    (tmp_path / "many.txt").write_text("\n".join(f"the quick brown fox number {i}" for i in range(600)))
    source = ["--input", tmp_path / "many.txt", "--format", "lines"]
    arguments = [*source, "--model", model, "--memory", "100MB"]
    result = run("index", tmp_path / "index", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "on disk without the texts, less than" in result.stderr
    result = run("index", tmp_path / "other", *arguments[:-1], "a lot")
    assert result.exit_code == 1
    assert "memory must be" in result.stderr


def test_several_files_after_one_input_and_json(run, tmp_path, corpus, model):
    (tmp_path / "a.csv").write_text("text\none\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/b.md").write_text("two")
    inputs = ["--input", corpus, tmp_path / "a.csv", "--input", tmp_path / "texts"]
    result = run("index", tmp_path / "index", *inputs, "--model", model, "--json", "--batch-size", "2")
    facts = json.loads(result.stdout)
    assert (facts["documents"], facts["documents_in_index"], facts["cut"]) == (6, 6, 0)
    assert facts.keys() == {
        *(
            "path",
            "documents",
            "tokens",
            "seconds",
            "cut",
            "documents_in_index",
            "files",
            "left_out",
            "types",
        ),
        *("bytes", "formats", "encodings", "text_columns"),
    }
    with Index.open(tmp_path / "index") as index:
        assert {f"{tmp_path}/a.csv:2", "b.md"} < set(index.ids())


def test_ids_that_are_whole_numbers(run, tmp_path, model):
    (tmp_path / "a.jsonl").write_text('{"_id":7,"text":"fox"}\n{"_id":"x","text":"dog"}\n')
    result = run("index", tmp_path / "index", "--input", tmp_path / "a.jsonl", "--model", model)
    assert result.exit_code == 0, result.stderr
    with Index.open(tmp_path / "index") as index:
        assert index.ids() == ["7", "x"]


def test_stdin(run, tmp_path, model):
    arguments = ["index", tmp_path / "index", "--input", "-", "--format", "lines", "--model", model]
    assert run(*arguments, input="one\ntwo\n").exit_code == 0
    assert count(tmp_path / "index") == 2
    with Index.open(tmp_path / "index") as index:
        assert index.ids() == ["stdin:1", "stdin:2"]


def test_an_index_that_is_there(run, tmp_path, corpus, model):
    path, more = tmp_path / "index", tmp_path / "more.txt"
    more.write_text("one")
    run("index", path, "--input", corpus, "--model", model)
    result = run("index", path, "--input", more, "--model", model)
    assert result.exit_code == 1
    assert all(word in result.stderr for word in ("--if-exists", "append adds", "overwrite replaces"))
    assert run("index", path, "--input", more, "--if-exists", "append").stdout.endswith("holds 5\n")
    result = run("index", path, "--input", corpus, "--if-exists", "append")
    assert "'fox' is already in the index" in result.stderr
    result = run("index", path, "--input", more, "--model", model, "--if-exists", "overwrite")
    assert result.stdout.endswith("holds 1\n")


def test_texts_that_were_cut_are_counted_once(run, tmp_path, model):
    (tmp_path / "a.txt").write_text("word " * 2000)
    result = run("index", tmp_path / "index", "--input", tmp_path / "a.txt", "--model", model)
    assert result.stderr.startswith("Warning: 1 documents were longer than the 512 tokens")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"text":"a"}', "{"], "bad.jsonl:2: not valid JSON"),
        (
            ['{"_id":"x","text":"a"}', '{"_id":"x","text":"b"}'],
            "bad.jsonl: document 2: the id 'x' comes twice",
        ),
        (['{"_id":1.5,"text":"a"}'], "bad.jsonl:1: 'id' must be a string or a whole number"),
        (['{"_id":"x","text":1}'], "bad.jsonl:1: 'text' must be a string"),
    ],
)
def test_bad_input_leaves_nothing(run, tmp_path, model, lines, message):
    bad = tmp_path / "bad.jsonl"
    good = [json.dumps({"text": "good"})] * 5
    bad.write_text("\n".join(lines + good))
    arguments = ["--model", model, "--batch-size", "1"]
    result = run("index", tmp_path / "index", "--input", bad, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "index").exists()


def test_bad_input_is_seen_before_the_model_is_loaded(run, tmp_path, corpus):
    result = run("index", tmp_path / "index", "--input", tmp_path / "none.txt", "--model", "no-such-model")
    assert "none.txt" in result.stderr
    result = run("index", tmp_path / "index", "--input", corpus, "--model", "no-such-model")
    assert result.exit_code == 1
    assert "nano" in result.stderr
    assert not (tmp_path / "index").exists()


def test_a_path_that_holds_something_else(run, tmp_path, corpus, model):
    for path in (tmp_path, corpus):
        result = run("index", path, "--input", corpus, "--model", model, "--if-exists", "overwrite")
        assert result.exit_code == 1
        assert "not an index" in result.stderr
    assert corpus.stat().st_size


def test_an_unknown_device(run, tmp_path, corpus, model):
    result = run("index", tmp_path / "index", "--input", corpus, "--model", model, "--device", "abacus")
    assert result.exit_code == 1
    assert "abacus" in result.stderr


def test_interrupted_before_anything_was_read(run, monkeypatch, tmp_path, model):
    def interrupted(reading, paths=None):
        if paths is None:
            raise KeyboardInterrupt
        yield from ()

    monkeypatch.setattr("lfm2_retrieval.documents.Reading.rows", interrupted)
    result = run("index", tmp_path / "index", "--input", "-", "--model", model)
    assert result.exit_code == 130
    assert "0 documents are safely indexed" in result.stderr


def processor_seconds(pid):
    """What a process has used so far; it goes on while there are texts to encode."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def test_control_c_keeps_what_was_encoded(spawn, run, tmp_path, model):
    path = tmp_path / "index"
    arguments = ["--format", "lines", "--batch-size", "4", "--model", model]
    Encoder.load(model).encode_documents(
        ["some words about rivers and boats"]
    )  # compiles what is still to be
    process = spawn("index", path, "--input", "-", *arguments)
    # stdin is read in blocks: what is longer than one shows that the reader has come that far.
    process.stdin.write(b"some words about rivers and boats\n" * 2000)
    process.stdin.flush()
    # The index is made when the first batch was read; two seconds of work later some are encoded, or all are.
    until = time.monotonic() + 120
    while not (path / "index.db").exists() and time.monotonic() < until:
        time.sleep(0.01)
    begun = used = processor_seconds(process.pid)
    idle = time.monotonic() + 2
    while used < begun + 2 and time.monotonic() < min(idle, until):
        time.sleep(0.01)
        if processor_seconds(process.pid) > used:
            used, idle = processor_seconds(process.pid), time.monotonic() + 2
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output == b""
    kept = count(path)
    assert 0 < kept <= 2000
    assert errors.decode() == f"Interrupted: {kept:,} documents are safely indexed in {path}\n"
    assert run("search", path, "rivers", "-k", "1").exit_code == 0


def test_long_documents_and_pooling(run, tmp_path, model):
    (tmp_path / "long.txt").write_text("fox " * 800)
    arguments = ["--input", tmp_path / "long.txt", "--model", model]
    cut = run("index", tmp_path / "cut", *arguments)
    assert "1 documents were longer than the 512 tokens" in cut.stderr
    whole = ["--long-documents", "window", "--document-length", "64", "--pool-factor", "2", "--json"]
    result = run("index", tmp_path / "whole", *arguments, *whole)
    facts = json.loads(result.stdout)
    assert (facts["cut"], facts["tokens"] > 400) == (0, True)
    result = run("index", tmp_path / "whole", *arguments, "--if-exists", "append", "--pool-factor", "3")
    assert result.exit_code == 1
    result = run("index", tmp_path / "other", *arguments, "--document-length", "5000")
    assert (result.exit_code, "at most 4096" in result.stderr) == (1, True)
    assert not (tmp_path / "other").exists()


def test_two_tables_of_a_folder_with_the_same_id_are_named(run, tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "docs" / name).write_text("id,text\n1,one\n")
    result = run("index", tmp_path / "index", tmp_path / "docs", "--model", "nano")
    assert result.exit_code == 1
    assert f"'1' comes twice, again in {tmp_path / 'docs' / 'b.csv'}" in result.stderr
