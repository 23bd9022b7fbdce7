"""What is left of damaged indexes of passages; and that damage to them is found, and named."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from support import DIM, embeddings

from lfm2_retrieval import Index, SearchParams
from lfm2_retrieval.errors import DamagedIndexError, InvalidInputError, RetrievalError
from lfm2_retrieval.indexes import StoredDocument
from lfm2_retrieval.indexes.catalogue.rows import checksum
from lfm2_retrieval.indexes.recovery import repair

SETTING = {"tokens": None, "overlap": 0, "headings": True}
N = 40


@dataclass(frozen=True)
class Part:
    number: int
    start: int
    end: int
    headings: tuple[str, ...] = ("Top",)
    context: tuple[str, ...] = ("Top",)
    place: dict = field(default_factory=dict)


def document(number):
    text = "".join(f"naïve 猫 word{number}x{n} \udc80. " for n in range(N))
    return StoredDocument(f"d{number}", text, {"n": number}, {"digest": "abc"}, {"kind": "text"})


def parts(text):
    ends = [at + 2 for at in range(len(text)) if text.startswith(". ", at)]
    return [Part(n + 1, start, end) for n, (start, end) in enumerate(zip([0, *ends], ends, strict=False))]


@pytest.fixture
def path(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="exact", passages=SETTING) as index:

        def fill(writer):
            for number in range(4):
                opened = writer.put_document(document(number))
                writer.add_passages(opened, parts(document(number).text), embeddings([3] * N, seed=number))

        index.change(fill)
        index.change(lambda writer: writer.put_document(document(0), kept_of(writer, "d0")))
        index.delete("d3")
    with closing(sqlite3.connect(tmp_path / "index" / "index.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return tmp_path / "index"


def kept_of(writer, id):
    return {entry.id: entry.passage for entry in writer.find_documents([id])[id].passages}


def change(path, *statements):
    with closing(sqlite3.connect(path / "index.db")) as connection:
        for statement, values in statements:
            connection.execute(statement, values)
        connection.commit()


def contents(index):
    return [(one.id, one.text, dict(one.metadata)) for one in index.sources.documents()], [
        (entry.id, entry.text, entry.passage.start, entry.passage.end) for entry in index.documents()
    ]


def test_a_flipped_byte_in_a_text_loses_that_document_alone(path):
    with Index.open(path) as index:
        before = contents(index)
    data = bytearray((path / "index.db").read_bytes())
    at = data.find(b"word1x20 ")
    assert at > 0
    while at >= 0:  # wherever it stands, as a freed page may hold it, too
        data[at] ^= 1
        at = data.find(b"word1x20 ", at)
    (path / "index.db").write_bytes(data)
    with Index.open(path) as index, pytest.raises(DamagedIndexError, match="d1"):
        index.verify()
    found = repair(path)
    assert found.lost
    assert all(id.startswith("d1") for id in found.lost)
    with Index.open(path) as index:
        index.verify()
        documents, passages = contents(index)
        assert documents == [one for one in before[0] if one[0] != "d1"]
        assert passages == [one for one in before[1] if not one[0].startswith("d1#")]
        hits = index.search(None, SearchParams(3, mode="lexical"), texts=["word2x7"])[0]
        assert hits[0].document_id == "d2"


def test_a_lost_passage_leaves_its_document_without_a_digest(path):
    change(path, ("UPDATE passages SET stop = stop + 1 WHERE number = 7 AND source = 2", ()))
    with Index.open(path) as index, pytest.raises(DamagedIndexError):
        index.verify()
    assert repair(path).lost == ("d1#7",)
    with Index.open(path) as index:
        index.verify()
        assert index.sources.get("d1").text == document(1).text
        assert index.sources.get("d1").facts == {}
        assert index.sources.get("d2").facts == {"digest": "abc"}
        assert index.get("d1#7") is None
        assert index.get("d1#8").text


def test_a_catalogue_whose_first_page_is_gone_is_read_page_by_page(path):
    with Index.open(path) as index:
        before = contents(index)
    data = bytearray((path / "index.db").read_bytes())
    data[100:200] = bytes(100)
    (path / "index.db").write_bytes(data)
    repair(path)
    with Index.open(path) as index:
        index.verify()
        assert contents(index) == before
        assert index.settings["passages"] == SETTING


def test_lost_vectors_are_encoded_from_headings_and_text(path):
    [segment] = list((path / "segments").iterdir())[:1]
    data = bytearray((segment / "vectors.npy").read_bytes())
    data[130] ^= 64
    (segment / "vectors.npy").write_bytes(data)
    asked = []

    def encode(texts, settings):
        asked.extend(texts)
        return embeddings([3] * len(texts), seed=9)

    found = repair(path, encode=encode)
    assert len(asked) == len(found.encoded) == 1
    assert asked[0].startswith("Top\nnaïve 猫 word")
    with Index.open(path) as index:
        index.verify()


def test_a_backup_and_a_merge_keep_documents_and_passages(path, tmp_path):
    with Index.open(path) as index:
        before = contents(index)
        index.backup(tmp_path / "backup")
        index.merge()
        index.verify()
        assert contents(index) == before
        with index._views.catalogue.reading() as connection:
            for table, count in (("sources", 3), ("passages", 3 * N), ("documents", 3 * N)):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)
    with Index.open(tmp_path / "backup") as copy:
        copy.verify()
        assert contents(copy) == before
    shutil.rmtree(tmp_path / "backup")


def row_of(connection, number):
    columns = "row, source, number, start, stop, start_byte, stop_byte, text_crc32, facts"
    return connection.execute(f"SELECT {columns} FROM passages WHERE number = ?", (number,)).fetchone()


HOSTILE = {
    "a span beyond the text": {"start": 10**6, "stop": 10**6 + 30},
    "bytes beyond the text": {"start_byte": 10**9, "stop_byte": 10**9 + 30},
    "a negative span": {"start": -5},
    "an endless span": {"stop": 1 << 40, "stop_byte": 1 << 40},
    "half a character": {"start_byte": 3},
    "words for numbers": {"start": "x"},
    "facts that are none": {"facts": "[1]"},
    "headings that are none": {"facts": json.dumps({"headings": 7})},
    "no JSON": {"facts": "{"},
    "deep JSON": {"facts": "[" * 100_000},
    "a place that is none": {"facts": json.dumps({"place": []})},
    "context that is none": {"facts": json.dumps({"context": {"a": 1}})},
    "no such document": {"source": 77},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_rows_that_somebody_made_with_right_checksums_are_damage(path, what):
    with closing(sqlite3.connect(path / "index.db")) as connection:
        row = dict(zip(NAMES, row_of(connection, 5), strict=True)) | HOSTILE[what]
        values = [row[name] for name in NAMES]
        sets = ", ".join(f"{name} = ?" for name in NAMES)
        connection.execute(
            f"UPDATE passages SET {sets}, crc32 = ? WHERE row = ?", (*values, checksum(*values), values[0])
        )
        connection.commit()
    with Index.open(path) as index:
        with pytest.raises(DamagedIndexError):
            index.verify()
        with pytest.raises(DamagedIndexError):
            list(index.documents())
        try:
            index.search(embeddings([4]), SearchParams(200))
        except DamagedIndexError:
            pass
        else:
            pytest.fail("damage was not found")
    repair(path)
    with Index.open(path) as index:
        index.verify()


NAMES = ("row", "source", "number", "start", "stop", "start_byte", "stop_byte", "text_crc32", "facts")


def test_passages_that_are_longer_than_their_document_are_not_all_read(path):
    with closing(sqlite3.connect(path / "index.db")) as connection:
        for number in range(1, N + 1):
            row = dict(zip(NAMES, row_of(connection, number), strict=True))
            row |= {"start": 0, "start_byte": 0}
            values = [row[name] for name in NAMES]
            connection.execute(
                "UPDATE passages SET start = 0, start_byte = 0, crc32 = ? WHERE row = ?",
                (checksum(*values), row["row"]),
            )
        connection.commit()
    with Index.open(path) as index, pytest.raises(DamagedIndexError, match="longer than it is"):
        index.verify()


def test_what_cant_be_a_setting_is_damage(path):
    value = json.dumps({"overlap": -1, "headings": 3})
    change(
        path,
        (
            "UPDATE settings SET value = ?, crc32 = ? WHERE key = 'passages'",
            (value, checksum("passages", value)),
        ),
    )
    with pytest.raises(DamagedIndexError, match="setting passages"):
        Index.open(path)
    repair(path)
    with Index.open(path) as index:
        index.verify()
        assert index.settings["passages"] == SETTING


def test_passages_that_are_none_are_refused(tmp_path):
    with Index.create(tmp_path / "index", DIM, passages=SETTING) as index, index.writer() as writer:
        opened = writer.put_document(StoredDocument("d", "short"))
        for part in (Part(1, 0, 99), Part(1, 3, 2), Part(1, -1, 2)):
            with pytest.raises(InvalidInputError):
                writer.add_passages(opened, [part], embeddings([2]))
        with pytest.raises(InvalidInputError):
            writer.put_document(StoredDocument("", "x"))
        writer.add_passages(opened, [Part(1, 0, 5)], embeddings([2]))
    with pytest.raises(RetrievalError):
        Index.create(tmp_path / "other", DIM, passages={"tokens": -1})
