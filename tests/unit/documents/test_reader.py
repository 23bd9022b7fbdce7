"""Files and folders as documents: ids, places, front matter, what is left out, the report, reading ahead."""

import gc
import json
import os
import threading
import time
from pathlib import Path

import pytest

from lfm2_retrieval import documents
from lfm2_retrieval.documents import reading, text_files
from lfm2_retrieval.errors import InvalidInputError


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(*paths, **options):
    reader = documents.read(paths, **options)
    return {document.id: document for document in reader}, reader.report


def at(document, text):
    start = document.text.index(text)
    return document.place(start, start + len(text))


def test_markdown_has_front_matter_headings_and_lines(tmp_path):
    text = (
        "---\ntitle: The sea\ndate: 2026-11-02\ntags: [a, b]\n---\n# Tides\n\nThe Moon.\n\n## Waves\nWind.\n"
    )
    put(tmp_path, "guide.md", text)
    found, _ = read(tmp_path)
    guide = found["guide.md"]
    assert guide.text == text[text.index("# Tides") :]
    assert guide.metadata == {
        **{"title": "The sea", "date": "2026-11-02", "tags": ["a", "b"]},
        "path": str(tmp_path / "guide.md"),
    }
    assert (guide.format, guide.source) == ("markdown", str(tmp_path / "guide.md"))
    assert at(guide, "The Moon.").lines == (8, 8)
    assert guide.structure.path(guide.text.index("Wind")) == ("Tides", "Waves")


@pytest.mark.parametrize(
    "matter",
    [
        "a: [",
        "- a\n- b",
        "a: &x [1]\nb: *x",
        "just text",
        "a: !!python/object/apply:os.system [ls]",
        "? [a]\n: b",
    ],
)
def test_front_matter_that_is_none_stays_text(tmp_path, matter):
    put(tmp_path, "a.md", f"---\n{matter}\n---\ntext\n")
    [document] = documents.read(tmp_path)
    assert document.text == f"---\n{matter}\n---\ntext\n"
    assert document.metadata == {"path": str(tmp_path / "a.md")}


def test_notebooks(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "The Moon."]},
        {"cell_type": "code", "source": "# no heading\nprint('```')", "outputs": [{"text": "output"}]},
        {"cell_type": "code", "source": ""},
        {"cell_type": "markdown", "source": "## Waves"},
    ]
    put(tmp_path, "a.ipynb", json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}}))
    put(tmp_path, "b.ipynb", "{}")
    found, report = read(tmp_path)
    notebook = found["a.ipynb"]
    assert [heading.title for heading in notebook.structure.headings] == ["Tides", "Waves"]
    assert "````python\n# no heading" in notebook.text
    assert "output" not in notebook.text
    place = at(notebook, "print")
    assert (place.cells, place.lines) == ((2, 2), (2, 2))
    assert at(notebook, "Waves").cells == (4, 4)
    assert notebook.place().cells == (1, 4)
    assert report.to_dict()["left_out"]["reasons"]["malformed"]["names"] == ["b.ipynb"]


def test_rows_know_their_lines_and_the_report_their_columns(tmp_path):
    put(tmp_path, "a.csv", 'nr,title,plot,year\n1,One,"a tale of\nthe wide sea",1999\n2,,b c d e f,2000\n')
    put(tmp_path, "b.jsonl", '{"id": "x", "body": "words", "n": 1}\n\n{"id": "y", "body": "more"}\n')
    put(tmp_path, "c.csv", "a,b\n1,2\n")
    found, report = read(tmp_path, id=None)
    first = found["a.csv:2"]
    assert first.text == "One a tale of\nthe wide sea"
    assert first.metadata == {"nr": 1, "year": 1999, "title": "One"}
    assert first.place(4).lines == (2, 2)
    assert found["y"].place().lines == (3, 3)
    assert {name.rpartition("/")[2]: column for name, column in report.text_columns.items()} == {
        "a.csv": "plot",
        "b.jsonl": "body",
    }
    assert report.formats == {"csv": 2, "jsonl": 2}
    assert report.to_dict()["left_out"]["reasons"]["without a text column"]["names"] == ["c.csv"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.jsonl", '{"text": "good"}\n{"text": "bad"\n', "2: not valid JSON"),
        ("a.jsonl", '{"text": "good"}\n{"text": null}\n', "2: 'text' is null"),
        ("a.csv", "text,year\ngood,1\nbad\n", "3: "),
        ("a.tsv", "text\tyear\ngood\t1\n\xff\t1\n", ""),
    ],
)
def test_a_table_that_breaks_later_is_left_out_whole_and_the_rest_read(tmp_path, name, text, why):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    put(tmp_path, "b.md", "sound")
    found, report = read(tmp_path, encoding=None if why else "utf-8")
    assert set(found) == {"b.md"}
    [reason] = report.to_dict()["left_out"]["reasons"].values()
    assert reason["names"][0].startswith(f"{name} (")
    assert why in reason["names"][0]
    with pytest.raises(InvalidInputError):
        list(documents.read(tmp_path / name, encoding=None if why else "utf-8"))


def test_gitignore_and_patterns(tmp_path):
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    put(repository, ".gitignore", "*.log\nbuild/\n/docs/draft.md\n[\n")
    put(repository, "docs/.gitignore", "!kept.log\nown.md\n")
    for name in (
        "a.md",
        "a.log",
        "build/b.md",
        "docs/draft.md",
        "docs/kept.log",
        "docs/own.md",
        "docs/sub/own.md",
    ):
        put(repository, name, "x")
    put(repository, "own.md", "x")
    put(repository, "docs/é.md", "x")
    found, report = read(repository)
    assert sorted(found) == ["a.md", "docs/kept.log", "docs/é.md", "own.md"]
    assert report.missed == 0
    assert sorted(read(repository / "docs")[0]) == ["kept.log", "é.md"]  # the rules above count
    assert len(read(repository, gitignore=False)[0]) == 9
    assert sorted(read(repository, include=["*.log"])[0]) == ["docs/kept.log"]
    found, report = read(repository, exclude=["docs/", "own.md"])
    assert sorted(found) == ["a.md"]
    assert report.to_dict()["left_out"]["reasons"]["excluded"]["count"] == 2
    assert sorted(read(repository, include="*.log")[0]) == ["docs/kept.log"]


def test_names_that_are_not_utf8(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("text")
    [document] = documents.read(tmp_path)
    assert document.id == "caf\\xe9.md"
    json.dumps(document.to_dict()).encode()
    assert Path(document.source).exists()
    json.dumps(documents.read(tmp_path).report.to_dict()).encode()


def test_encodings_are_counted_and_doubt_is_told(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"):
        put(tmp_path, f"{encoding}.txt", "Größe: überall, täglich".encode(encoding))
    put(tmp_path, "short.txt", "Луна".encode("cp1251"))
    put(tmp_path, "damaged.txt", "Größe über\xff".encode()[:-1] + b"\xff")
    found, report = read(tmp_path)
    assert {document.text for document in found.values()} == {"Größe: überall, täglich"}
    assert len(found) == 5
    assert report.encodings == dict.fromkeys(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"), 1)
    names = report.to_dict()["left_out"]["reasons"]["in another encoding"]["names"]
    assert names == ["damaged.txt", "short.txt"]


def test_what_is_large_or_sparse_costs_nothing(tmp_path):
    with (tmp_path / "huge.log").open("wb") as file:
        file.truncate(2 << 30)
    put(tmp_path, "a.md", "a")
    begun = time.process_time()
    found, report = read(tmp_path)
    assert list(found) == ["a.md"]
    assert "1 too long" in report.summary()
    assert time.process_time() - begun < 5


def test_files_that_vanish_or_change(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt", "c.txt"):
        put(tmp_path, name, "text")
    opened = []

    def open_changing(path, file=None):
        opened.append(path)
        if path.endswith("a.txt"):
            with Path(path).open("a") as other:
                other.write("x" * len(opened))
        return original(path, file)

    original = text_files.open_unpacked
    monkeypatch.setattr(text_files, "open_unpacked", open_changing)
    listed = reading.find_files

    def vanish(*arguments):
        for found in listed(*arguments):
            if found[1] == "b.txt":
                Path(found[0]).unlink()
            yield found

    monkeypatch.setattr(reading, "find_files", vanish)
    found, report = read(tmp_path)
    assert list(found) == ["c.txt"]
    reasons = report.to_dict()["left_out"]["reasons"]
    assert {reason: group["names"] for reason, group in reasons.items()} == {
        "changed while it was read": ["a.txt"],
        "vanished": ["b.txt"],
    }


def test_unreadable_folders(tmp_path, monkeypatch):
    put(tmp_path, "a.txt", "a")
    put(tmp_path, "closed/b.txt", "b")
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    found, report = read(tmp_path)
    assert list(found) == ["a.txt"]
    assert "1 unreadable" in report.summary()


def test_strict(tmp_path):
    put(tmp_path, "a.txt", "a")
    put(tmp_path, "b.txt", b"\0")
    reader = documents.read(tmp_path, strict=True)
    assert next(reader).id == "a.txt"
    with pytest.raises(InvalidInputError, match="--strict: 1 left out"):
        next(reader)
    assert list(reader) == []


def test_reading_ahead_is_bounded_and_ends_with_its_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("lfm2_retrieval.documents.reader._AHEAD_CHARACTERS", 1000)
    lines = "".join(json.dumps({"id": str(i), "text": "x" * 100}) + "\n" for i in range(100))
    put(tmp_path, "a.jsonl", lines)
    before = threading.active_count()
    reader = documents.read(tmp_path)
    assert next(reader).id == "0"
    time.sleep(0.5)
    assert reader.report.documents <= 14
    del reader
    gc.collect()
    for _ in range(50):
        if threading.active_count() == before:
            break
        time.sleep(0.1)
    assert threading.active_count() == before
    with documents.read(tmp_path) as reader:
        next(reader)
    assert list(reader) == []
    assert [document.id for document in documents.read(tmp_path)] == [str(i) for i in range(100)]


def test_a_forked_child_is_told(tmp_path):
    for i in range(3):
        put(tmp_path, f"{i}.txt", "x")
    reader = documents.read(tmp_path)
    next(reader)
    if (child := os.fork()) == 0:
        try:
            next(reader)
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_index_takes_them(tmp_path):
    from lfm2_retrieval import Retriever

    put(tmp_path, "a.md", "# Tides\n\nThe Moon pulls the sea up.")
    put(tmp_path, "b.md", "# Waves\n\nWind makes waves.")
    with Retriever.index(documents.read(tmp_path), model="nano") as retriever:
        assert retriever.search("what makes waves?", k=1)[0].document_id == "b.md"
