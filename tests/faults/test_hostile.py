"""Index folders made to do harm: refused, with our error, soon and in little memory; nothing is run."""

import json
import os
import resource
import shutil
import sqlite3
import struct
import time
from contextlib import suppress

import numpy as np
import pytest
from model import columns

from lfm2_retrieval.errors import RetrievalError, StoredIndexError
from lfm2_retrieval.indexes import Index

STATE = [(f"long{i}", i) for i in range(66)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index with a codec, a compressed segment and an fp16 one, with the catalogue's journal empty."""
    folder = tmp_path_factory.mktemp("hostile") / "index"
    with Index.create(folder, 16) as index:
        index.add(*columns(STATE))
        index.build(force=True)
        index.add(*columns([("a", 1), ("b", 2)]))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "index")
    return tmp_path / "index"


def execute(folder, *statements):
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def use(folder):
    """All that a reader and a writer do with an index."""
    with Index.open(folder) as index:
        index.verify()
        index.ids()
        index.search(columns(STATE)[1].select([0]), where={"version": {"$gte": 0}})
        index.add(*columns([("new", 1)]))
        index.delete(["new"])


def refused(folder, seconds=5.0):
    """Using it ends in an error of ours, soon, and without much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()  # bounded work, whatever else the machine does
    with pytest.raises(StoredIndexError):
        use(folder)
    assert time.process_time() - began < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("name", ["index.db", "segments", "codecs", "segments/1", "codecs/1", "file"])
def test_links_that_lead_out_are_refused(folder, tmp_path, name):
    path = {
        "segments/1": min((folder / "segments").iterdir()),
        "codecs/1": folder / "codecs" / "00000001",
        "file": min((folder / "segments").iterdir()) / "offsets.npy",
    }.get(name, folder / name)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(folder)


@pytest.mark.parametrize("name", ["index.db-wal", "lock", "building", "readers"])
def test_what_a_writer_makes_is_never_made_through_a_link(folder, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    target = tmp_path / "folder"
    target.mkdir()
    (target / "00000001").mkdir()
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target if name in ("building", "readers") else victim)
    try:
        use(folder)
        with Index.open(folder) as index:
            index.build(force=True)
    except (RetrievalError, OSError):
        pass
    assert victim.read_bytes() == b"precious"
    assert [one.name for one in target.iterdir()] == ["00000001"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
@pytest.mark.parametrize("name", ["index.db", "offsets.npy"])
def test_what_is_no_file_is_refused_and_never_waited_for(folder, kind, name):
    path = folder / name if name == "index.db" else min((folder / "segments").iterdir()) / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    refused(folder)


PLANTED = [
    "CREATE VIEW v AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON commits BEGIN DELETE FROM documents; END",
    "CREATE TRIGGER t AFTER INSERT ON documents BEGIN UPDATE documents SET text = NULL; END",
    "CREATE TABLE t (x)",
    "CREATE INDEX i ON documents (metadata)",
    "CREATE TABLE loot (y, x GENERATED ALWAYS AS (zeroblob(1000000000)))",
]


@pytest.mark.parametrize("statement", PLANTED)
def test_what_is_planted_in_the_catalogue_is_refused(folder, statement):
    execute(folder, statement)
    refused(folder)


@pytest.mark.parametrize("table", ["settings", "commits", "segments", "codecs", "documents"])
def test_a_view_in_the_place_of_a_table_is_never_asked(folder, table):
    """It would never end."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    execute(
        folder,
        f"ALTER TABLE {table} RENAME TO hidden",
        f"CREATE VIEW {table} AS {endless} SELECT x AS id, x AS key, x AS value, x AS crc32 FROM n",
    )
    refused(folder)


def plant_endless_pages(path, table):
    """Below a table's root, eight pages with 300 references each to the next: 300 to the 8th rows."""
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    data = path.read_bytes()
    pages = [data[start : start + 4096] for start in range(0, len(data), 4096)]

    def interior(child):
        cells = b"".join(struct.pack(">IB", child, 1) for _ in range(300))
        first = 4096 - len(cells)
        pointers = b"".join(struct.pack(">H", first + 5 * i) for i in range(300))
        head = struct.pack(">BHHHBI", 5, 0, 300, first, 0, child)
        return (head + pointers).ljust(first, b"\0") + cells

    new = len(pages) + 1
    leaf, pages[root - 1] = pages[root - 1], interior(new)
    pages += [interior(new + i + 1) for i in range(7)] + [leaf]
    head = bytearray(pages[0])
    head[28:32] = struct.pack(">I", len(pages))
    head[92:96] = head[24:28]
    pages[0] = bytes(head)
    path.write_bytes(b"".join(pages))


@pytest.mark.parametrize("table", ["commits", "segments", "codecs", "tombstones", "documents"])
def test_pages_without_end_are_given_up(folder, table):
    plant_endless_pages(folder / "index.db", table)
    refused(folder)


def test_huge_sizes_are_refused_before_memory_is_taken(folder):
    """Files with holes as large as they are declared, and every checksum of the catalogue right."""
    from lfm2_retrieval.indexes.catalogue.rows import checksum

    connection = sqlite3.connect(folder / "index.db")
    (row,) = connection.execute(
        "SELECT id, name, codec, codec_id, n_documents, n_tokens, files, born FROM segments "
        "WHERE codec = 'fp16' AND died IS NULL"
    ).fetchall()
    id, name, codec, codec_id, _, n_tokens, files, born = row
    count = 1 << 38
    facts = json.loads(files)
    for file, shape, dtype in (("offsets.npy", (count + 1,), "<i8"), ("keys.npy", (count,), "<i8")):
        path = folder / "segments" / name / file
        head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
        with path.open("r+b") as stream:
            stream.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + head.ljust(117) + b"\n")
            stream.truncate(128 + 8 * shape[0])
        facts[file]["bytes"] = 128 + 8 * shape[0]
    values = (id, name, codec, codec_id, count, n_tokens, json.dumps(facts), born)
    connection.execute(
        "UPDATE segments SET n_documents = ?, files = ?, crc32 = ? WHERE id = ?",
        (count, json.dumps(facts), checksum(*values), id),
    )
    connection.commit()
    connection.close()
    refused(folder)


BOMBS = ["[" * 100_000, '{"a":' * 100_000, "1e999", "9" * 5000, "NaN", '"' + "x" * 100 + '"', "{}", "null"]


@pytest.mark.parametrize("value", BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("place", ["settings", "files", "facts", "metadata", "tuned", "encoder"])
def test_json_bombs_are_errors_of_ours(folder, place, value):
    """With checksums that are right: no flipped bit, but somebody's work."""
    from lfm2_retrieval.indexes.catalogue import rows

    connection = sqlite3.connect(folder / "index.db")
    if place in ("settings", "tuned", "encoder"):
        key = {"settings": "dim"}.get(place, place)
        connection.execute(
            "INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (key, value, rows.checksum(key, value))
        )
    elif place == "metadata":
        (row, key, n_tokens, born, id, text) = connection.execute(
            "SELECT row, key, n_tokens, born, id, text FROM documents WHERE died IS NULL"
        ).fetchone()
        crc32 = rows.checksum(row, key, n_tokens, born, id, text, value)
        connection.execute("UPDATE documents SET metadata = ?, crc32 = ? WHERE row = ?", (value, crc32, row))
    else:
        table = "segments" if place == "files" else "codecs"
        names = [one[1] for one in connection.execute(f"PRAGMA table_info({table})")]
        kept = [name for name in names if name not in ("died", "crc32")]
        (row,) = connection.execute(
            f"SELECT {', '.join(kept)} FROM {table} WHERE died IS NULL LIMIT 1"
        ).fetchall()
        values = [value if name == place else one for name, one in zip(kept, row, strict=True)]
        connection.execute(
            f"UPDATE {table} SET {place} = ?, crc32 = ? WHERE id = ?",
            (value, rows.checksum(*values), row[0]),
        )
    connection.commit()
    connection.close()
    try:
        use(folder)
    except RetrievalError:
        return
    assert place in ("encoder", "tuned", "metadata")


SQL = [
    "'; DROP TABLE documents; --",
    '"; DELETE FROM commits; --',
    "a' OR '1'='1",
    "\x00",
    "%",
    "_",
    "*",
    "id\n--",
    "𝔘\u202e",
    "x" * 100_000,
    "$.a",
    "');--",
]


def test_sql_in_ids_texts_and_metadata_is_text(tmp_path):
    with Index.create(tmp_path / "index", 16) as index:
        vectors = columns([("a", 1)])[1]
        for number, text in enumerate(SQL):
            index.add([text], vectors, [text], [{text: text, "n": number}])
        assert index.ids() == SQL
        for number, text in enumerate(SQL):
            assert index.get(text).text == text
            assert index.get(text).metadata == {text: text, "n": number}
            assert index.ids(where={"n": number}) == [text]
        for text in SQL:
            index.delete([text])
        assert index.ids() == []
        index.verify()


def test_random_catalogues_never_hang_and_never_escape(folder):
    """Whole pages exchanged, zeroed and filled with noise."""
    rng = np.random.default_rng(0)
    original = (folder / "index.db").read_bytes()
    pages = [original[i : i + 4096] for i in range(0, len(original), 4096)]
    for _ in range(60):
        mixed = list(pages)
        for _ in range(int(rng.integers(1, 4))):
            at, other = rng.integers(len(pages), size=2)
            mixed[at] = [pages[other], bytes(4096), rng.bytes(4096)][rng.integers(3)]
        (folder / "index.db").write_bytes(b"".join(mixed))
        began = time.process_time()  # bounded work, whatever else the machine does
        with suppress(RetrievalError):
            use(folder)
        assert time.process_time() - began < 5
        for name in ("index.db-wal", "index.db-shm"):
            (folder / name).unlink(missing_ok=True)
