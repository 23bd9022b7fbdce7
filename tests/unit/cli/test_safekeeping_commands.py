"""The commands `backup`, `export`, `repair` and `verify`."""

import json
import os
import shutil

import numpy as np
import pytest

from lfm2_retrieval import Retriever
from lfm2_retrieval.indexes import Index


@pytest.fixture
def index(made, tmp_path):
    shutil.copytree(made, tmp_path / "index")
    return tmp_path / "index"


def test_backup(run, index, tmp_path):
    result = run("backup", index, tmp_path / "copy")
    assert result.exit_code == 0
    assert "4 documents" in result.output
    with Index.open(tmp_path / "copy") as copy:
        assert copy.ids() == ["fox", "rain", "town", "cat"]
    again = run("backup", index, tmp_path / "copy")
    assert again.exit_code == 1
    assert "already" in again.output


def test_export_and_index_again(run, index, tmp_path, checkpoint):
    result = run("export", index, "-o", tmp_path / "out.jsonl", "--embeddings", tmp_path / "out.npy")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with Retriever.open(index) as retriever:
        for row in rows:
            document = retriever.get(row["id"])
            assert (document.text, dict(document.metadata)) == (row["text"], row["metadata"])
        stored = retriever.store.embeddings([row["id"] for row in rows])
    vectors = np.load(tmp_path / "out.npy")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, stored.embeddings)
    assert np.array_equal(np.load(tmp_path / "out.offsets.npy"), stored.offsets)
    assert [json.loads(line) for line in run("export", index).stdout.splitlines()] == rows
    assert (
        run("index", tmp_path / "again", "--input", tmp_path / "out.jsonl", "--model", checkpoint()).exit_code
        == 0
    )
    with Index.open(tmp_path / "again") as again:
        assert [(entry.id, entry.text) for entry in again.documents()] == [
            (row["id"], row["text"]) for row in rows
        ]


def test_export_to_parquet(run, index, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert (
        run("export", index, "-o", tmp_path / "out.jsonl", "--embeddings", tmp_path / "o.parquet").exit_code
        == 0
    )
    table = parquet.read_table(tmp_path / "o.parquet")
    assert table["id"].to_pylist() == ["fox", "rain", "town", "cat"]
    with Index.open(index) as opened:
        stored = opened.embeddings(["fox", "rain", "town", "cat"])
    for number, rows in enumerate(table["embeddings"].to_pylist()):
        assert np.array_equal(np.array(rows, np.float32), stored[number])


def test_export_refuses_what_it_cannot_write(run, index, tmp_path):
    assert run("export", index, "--embeddings", tmp_path / "out.txt").exit_code == 1
    result = run("export", index, "-o", tmp_path / "missing" / "out.jsonl")
    assert result.exit_code == 1
    assert "can't be written" in result.output


def test_export_never_writes_into_the_index(run, index, tmp_path):
    (tmp_path / "link").symlink_to(index)
    for name in (index / "index.db", index / "new.jsonl", tmp_path / "link" / "index.db"):
        result = run("export", index, "-o", name)
        assert result.exit_code == 1
        assert "lies in the index" in result.stderr
    assert run("export", index, "--embeddings", index / "v.npy").exit_code == 1
    assert run("verify", index).exit_code == 0


def test_export_to_what_is_no_file(run, index, tmp_path, monkeypatch):
    """A dash is the standard output; a device, or a pipe, isn't replaced by a file."""
    monkeypatch.chdir(tmp_path)
    assert run("export", index, "-o", "-").stdout == run("export", index).stdout != ""
    assert not (tmp_path / "-").exists()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run("export", index, "-o", pipe).exit_code == 0
    assert os.read(reader, 1 << 16).decode() == run("export", index).stdout
    assert pipe.is_fifo()
    os.close(reader)


def damage(index):
    path = min(index.glob("segments/*/vectors.npy"))
    data = bytearray(path.read_bytes())
    data[200] ^= 1  # of the first document
    path.write_bytes(data)


def test_repair(run, index, tmp_path, checkpoint):
    assert "Nothing is damaged" in run("repair", index).output
    assert "4 documents" in run("verify", index).output
    damage(index)
    result = run("verify", index)
    assert result.exit_code == 1
    assert "vectors.npy" in result.output
    result = run("repair", index, "--dry-run")
    assert result.exit_code == 0
    assert "vectors.npy" in result.output
    assert "'fox'" in result.output
    assert not (tmp_path / "index.damaged").exists()
    with Retriever.open(index) as retriever:
        before = [hit.id for hit in retriever.search("a lazy dog")]
    result = run("repair", index, "--model", checkpoint(), "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["kept"], report["encoded"], report["lost"]) == (3, ["fox"], [])
    assert report["original"] == str(tmp_path / "index.damaged")
    with Retriever.open(index) as retriever:
        retriever.store.verify()
        assert [hit.id for hit in retriever.search("a lazy dog")] == before


def test_repair_refuses_another_model(run, index, tmp_path, checkpoint):
    damage(index)
    result = run("repair", index, "--model", checkpoint(ffn=96))
    assert result.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir() if "index" in path.name) == ["index"]
