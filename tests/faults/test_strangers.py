"""Somebody else's index: odd values in its settings and rows, odd files in its folder.

Whatever they are, using it in all ways ends well or in an error of ours, soon, and in little memory.
"""

import itertools
import json
import os
import random
import selectors
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lfm2_retrieval import Retriever
from lfm2_retrieval.indexes.catalogue import rows

SECONDS = 300.0
MEGABYTES = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index with a codec, a compressed segment, another one, words, a declared field, a measurement."""
    folder = tmp_path_factory.mktemp("strangers") / "index"
    texts = [
        f"document {i} tells of comets, stars and {i} other things that shine at night" for i in range(300)
    ]
    documents = [{"_id": f"d{i}", "text": text, "n": i % 7} for i, text in enumerate(texts)]
    with Retriever.index(documents, folder, model="nano", fields=["n"]) as retriever:
        retriever.store.build(force=True)
        retriever.store.tune(0.5, sample=2)
        retriever.add([{"_id": "late", "text": "a late document", "n": 3}])
        retriever.delete(["d7"])
    return folder


class User:
    """The process of `strangers.py`."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("strangers.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._select = selectors.DefaultSelector()
        self._select.register(self._process.stdout, selectors.EVENT_READ)
        assert self._answer(300) == "ready"

    def use(self, folder):
        """Of what ended in an error: what it was, the error's name and message. Fails on others' errors."""
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        found = json.loads(self._answer(SECONDS))
        others = [error for error in found["errors"] if not error[2]]
        assert not others, others[0][3]
        assert found["grown"] < MEGABYTES
        return {kind: f"{name}: {text}" for kind, name, _, text in found["errors"]}

    def _answer(self, seconds):
        if not self._select.select(seconds):
            self.close()
            raise AssertionError(f"it hangs: no answer within {seconds} s")
        return self._process.stdout.readline().strip()

    def close(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def users():
    kept = []

    def get():
        if not kept or kept[-1]._process.poll() is not None:
            kept.append(User())
        return kept[-1]

    yield get
    for one in kept:
        one.close()


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "index")
    return tmp_path / "index"


def sample(cases, n):
    """Some of the cases, the same ones every time; all of them in a campaign."""
    cases = list(cases)
    few = random.Random(21).sample(range(len(cases)), min(n, len(cases)))
    return [
        pytest.param(*case, marks=[] if number in few else pytest.mark.campaign)
        for number, case in enumerate(cases)
    ]


def settings_of(folder):
    connection = sqlite3.connect(folder / "index.db")
    found = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM settings")}
    connection.close()
    return found


def set_raw(folder, key, value):
    """Store a setting as somebody would who wants it to be believed: with its checksum."""
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        crc32 = rows.checksum(key, value)
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (key, value, crc32))
    connection.close()


ODD = [
    *("null", "true", "false", "-1", "0", "1", "2", "4611686018427387904", "1180591620717411303424", "0.5"),
    *("1e308", "1e999", "-1e999", "NaN", '""', '"x"', '"16"', '"\\ud800"', '"\\u001b[31mx"', "[]", "[1]"),
    *('["n", 5]', "{}", '{"a": 1}', "[" * 400 + "]" * 400, '{"k": "x"}', "9" * 4000),
]
WHOLE = ("dim", "tier", "created_by", "uuid", "horizon", "seed", "lexical", "fields", "tuned", "recall")
WHOLE += ("errors", "encoder")
PARTS = {
    "tuned": ("k", "nprobe", "candidates", "rerank", "target_recall", "n_documents"),
    "recall": ("recall", "error", "k", "n_queries", "from_documents", "milliseconds", "n_documents"),
    "errors": ("codec", "measured", "mean_square_to_centroid", "mean_square_error", "worst"),
    "encoder": ("name", "revision", "fingerprint", "long_documents", "document_length", "pool_factor"),
}
PARTS["encoder"] += ("protected_tokens", "query_length", "dim")


@pytest.mark.parametrize(("key", "value"), sample(itertools.product(WHOLE, ODD), 6))
def test_odd_settings_are_errors_of_ours(folder, users, key, value):
    set_raw(folder, key, value)
    users().use(folder)


INNER = [(key, part, value) for key, parts in PARTS.items() for part in parts for value in ODD]


@pytest.mark.parametrize(("key", "part", "value"), sample(INNER, 6))
def test_odd_values_within_settings_are_errors_of_ours(folder, users, key, part, value):
    held = settings_of(folder)[key]
    held[part] = "HERE"
    set_raw(folder, key, json.dumps(held).replace('"HERE"', value))
    users().use(folder)


@pytest.mark.parametrize("key", ["horizon", "dim", "tier", "seed", "tuned", "lexical", "uuid"])
def test_the_error_names_the_setting_and_repair_mends_it(folder, users, key):
    set_raw(folder, key, '"\\u001b[2J"' if key != "horizon" else str(1 << 62))
    found = users().use(folder)
    assert f"the setting {key} can't be" in found["search"]
    assert "\x1b" not in found["search"]
    assert not {"repair", "overwrite"} - {"overwrite"} & set(found)


COLUMNS = {
    "segments": ("id", "name", "codec", "codec_id", "n_documents", "n_tokens", "files", "born"),
    "codecs": ("id", "name", "facts", "files", "born"),
    "documents": ("row", "key", "n_tokens", "born", "id", "text", "metadata"),
    "commits": ("id", "time"),
}
CELLS = [None, -1, 0, 1 << 62, "x", "\x1b[31m", b"\xff\xfe", "[]", '{"x": 1}', "../../../etc"]
CELLS += ['{"../../loot.npy": {"bytes": 10, "crc32": 1}}', '{"offsets.npy": {"bytes": true, "crc32": -1}}']
CELLS += ['{"n_centroids": "16", "n_codes": 1e3, "width": null}']
ROWS = [(table, column, cell) for table, columns in COLUMNS.items() for column in columns for cell in CELLS]


@pytest.mark.parametrize(("table", "column", "cell"), sample(ROWS, 10))
def test_odd_cells_are_errors_of_ours(folder, users, table, column, cell):
    """In one living row, with a checksum that is right where one can be."""
    names = COLUMNS[table]
    connection = sqlite3.connect(folder / "index.db")
    alive = "" if table == "commits" else "WHERE died IS NULL"
    row = list(connection.execute(f"SELECT {', '.join(names)} FROM {table} {alive} LIMIT 1").fetchone())
    kept = row[0]
    row[names.index(column)] = cell
    crc32 = rows.checksum(*row)
    try:
        with connection:
            connection.execute(
                f"UPDATE {table} SET {column} = ?, crc32 = ? WHERE {names[0]} = ?", (cell, crc32, kept)
            )
    except sqlite3.Error:
        pytest.skip("SQLite itself refuses it there")
    finally:
        connection.close()
    users().use(folder)


FILES = ["newest", "building", "index.db", "index.db-journal", "index.db-wal", "index.db-shm", "lock"]
FILES += ["build.lock", "readers", "readers/1-0123456789abcdef0123456789abcdef", "segments", "codecs"]
FILES += ["segments/1", "segments/00000099", "segments/00000099.tmp", "codecs/1", "index.db.new", "other"]
FILES += [f"segments/1/{name}.npy" for name in ("vectors", "offsets", "keys", "checksums", "codes", "int8")]
FILES += [f"codecs/1/{name}.npy" for name in ("rotation", "centroids", "codebooks")]
KINDS = ["pipe", "socket", "folder", "zero", "dangling", "loop", "outside"]


@pytest.mark.parametrize(("name", "kind"), sample(itertools.product(FILES, KINDS), 16))
def test_odd_files_are_never_waited_for_nor_followed(folder, users, tmp_path, name, kind):
    path = folder
    for part in name.split("/"):
        numbered = sorted((path).glob("[0-9]*")) if part == "1" else ()
        path = numbered[0] if numbered else path / part
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the names of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    else:
        target = {"zero": "/dev/zero", "dangling": tmp_path / "none", "loop": path, "outside": outside}[kind]
        path.symlink_to(target)
    users().use(folder)
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "none").exists()
