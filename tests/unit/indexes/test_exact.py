import json
import os
import sqlite3

import numpy as np
import pytest
from support import DIM, embeddings, naive_search, pairs, start

from lfm2_retrieval import SearchParams, TokenEmbeddings
from lfm2_retrieval.datatypes import ScoreKind
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexClosedError,
    IndexExistsError,
    IndexFormatError,
    IndexNotFoundError,
    InvalidInputError,
    InvalidTypeError,
    NewerFormatError,
)
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.search import scanned

LENGTHS = [5, 0, 3, 40, 1, 7]
IDS = list("abcdef")


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        yield index


def test_search_is_maxsim_on_what_is_stored(index):
    documents, queries = embeddings(LENGTHS), embeddings([4, 0, 9], seed=1)
    index.add(IDS[:2], documents.select([0, 1]))
    index.add(IDS[2:], documents.select([2, 3, 4, 5]))
    results = index.search(queries, 3)
    for query, hits in zip(queries, results, strict=True):
        assert pairs(hits) == naive_search(query, list(zip(IDS, documents, strict=True)), 3)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert all(hit.score_kind is ScoreKind.MAXSIM for hit in hits)
    assert results[1] == []
    assert [len(hits) for hits in index.search(queries, SearchParams(k=99))] == [5, 0, 5]
    for i in range(3):
        assert index.search(queries.select([i]), 3)[0] == results[i]


def test_texts_and_metadata_come_back(index):
    index.add(
        ["x", "y", "z"], embeddings([2, 2, 2]), ["text", "", None], [{"n": [1, None, "é\ud800"]}, {}, {}]
    )
    x, y, z, none = index.get_many(["x", "y", "z", "no"])
    assert (x.text, x.metadata, x.n_tokens) == ("text", {"n": [1, None, "é\ud800"]}, 2)
    assert (y.text, z.text, none) == ("", None, None)
    assert {hit.id: hit.text for hit in index.search(embeddings([3]))[0]} == {"x": "text", "y": "", "z": None}
    assert index.get("x") == x
    assert ("x" in index, "no" in index, 3 in index) == (True, False, False)
    assert (len(index), index.count(), index.n_tokens, index.ids()) == (3, 3, 6, ["x", "y", "z"])


def test_any_string_is_stored_as_it_is(index, tmp_path):
    strings = ["\0", "a\0b", "\ud800", "é", "e\u0301", "𝄞", "x" * 70_000, " ", "'; DROP TABLE documents; --"]
    index.add(strings, embeddings([1] * len(strings)), strings)
    index.close()
    with Index.open(tmp_path / "index") as again:
        assert again.ids() == strings
        assert [entry.text for entry in again.get_many(strings)] == strings
        again.verify()


def test_ties_are_in_order_of_insertion_across_segments(index):
    one = embeddings([9])
    for first in range(0, 300, 100):
        ids = [f"{i:03d}" for i in range(first, first + 100)]
        index.add(ids, TokenEmbeddings.concatenate([one] * 100))
    for k in (1, 7, 150, 300):
        for width in (1, 3, 16):
            hits = index.search(embeddings([width], seed=2), k)[0]
            assert [hit.id for hit in hits] == [f"{i:03d}" for i in range(k)]


def test_ties_are_in_order_where_products_differ_by_their_place(index, monkeypatch):
    """As on some processors: half of the documents may have another last bit."""

    def uneven(*a):
        for chunk in even(*a):
            chunk.scores[:, 1::2] *= np.float32(1 + 1e-6)
            yield chunk

    even = scanned.scan
    monkeypatch.setattr(scanned, "scan", uneven)
    index.add([f"{i:03d}" for i in range(300)], TokenEmbeddings.concatenate([embeddings([9])] * 300))
    for k in (1, 7, 150):
        hits = index.search(embeddings([3], seed=2), k)[0]
        assert [hit.id for hit in hits] == [f"{i:03d}" for i in range(k)]


def test_scores_do_not_depend_on_the_batch_or_the_segments(tmp_path):
    documents, queries = embeddings([30] * 200), embeddings([1, 5, 32, 12], seed=3)
    ids = [str(i) for i in range(200)]
    with Index.create(None, DIM, tier="exact") as whole, Index.create(None, DIM, tier="exact") as pieces:
        whole.add(ids, documents)
        for i in range(0, 200, 67):
            pieces.add(ids[i : i + 67], documents.select(np.arange(i, min(i + 67, 200))))
        expected = whole.search(queries)
        assert pieces.search(queries) == expected
        assert [whole.search(queries.select([i]))[0] for i in range(4)] == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70_000.0, -65_520.0])
def test_impossible_vectors_are_refused_by_name_before_anything_is_written(index, value):
    documents = embeddings([2, 0, 3])
    documents.embeddings[3, 5] = value
    with pytest.raises(InvalidInputError, match=r"document 'c': its vector 1 holds"):
        index.add(["a", "b", "c"], documents)
    with pytest.raises(InvalidInputError, match="query 2: its vector 1 holds"):
        index.search(documents)
    assert len(index) == 0
    assert list(index.path.glob("segments/*")) == []


def test_zero_large_and_subnormal_vectors_are_stored_as_given(index):
    vectors = np.zeros((4, DIM), np.float32)
    vectors[1], vectors[2, 0], vectors[3, 0] = 65_504, 6e-8, -0.0
    index.add(list("abcd"), TokenEmbeddings(vectors, np.arange(5)))
    query = np.zeros((1, DIM), np.float32)
    query[0, 0] = 65_504
    hits = index.search(TokenEmbeddings(query, np.array([0, 1])))[0]
    assert [hit.id for hit in hits] == ["b", "c", "a", "d"]
    assert hits[0].score == 65_504.0**2
    assert hits[1].score == pytest.approx(2**-24 * 65_504, rel=1e-6)


@pytest.mark.parametrize(
    ("ids", "options", "error"),
    [
        (["a"], {}, InvalidInputError),
        (["a", ""], {}, InvalidInputError),
        (["a", 3], {}, InvalidTypeError),
        ("ab", {}, InvalidTypeError),
        (["a", "a"], {}, DuplicateIdError),
        (["old", "a"], {}, DuplicateIdError),
        (["a", "b"], {"texts": ["one"]}, InvalidInputError),
        (["a", "b"], {"texts": ["one", 2]}, InvalidTypeError),
        (["a", "b"], {"metadata": [{}]}, InvalidInputError),
        (["a", "b"], {"metadata": [{}, []]}, InvalidTypeError),
        (["a", "b"], {"metadata": [{}, {1: 2}]}, InvalidTypeError),
        (["a", "b"], {"metadata": [{}, {"x": float("nan")}]}, InvalidInputError),
        (["a", "b"], {"metadata": [{}, {"x": object()}]}, InvalidInputError),
    ],
)
def test_bad_documents_are_refused_whole(index, ids, options, error):
    index.add(["old"], embeddings([1]))
    with pytest.raises(error):
        index.add(ids, embeddings([1, 1]), **options)
    assert index.ids() == ["old"]


def test_wrong_widths_and_parameters_are_refused(index):
    with pytest.raises(InvalidInputError, match=f"8 wide, the index takes {DIM}"):
        index.add(["a"], embeddings([1], dim=8))
    with pytest.raises(InvalidInputError, match="8 wide"):
        index.search(embeddings([1], dim=8))
    with pytest.raises(InvalidInputError):
        index.search(embeddings([1]), 0)
    with pytest.raises(InvalidInputError, match="dim"):
        Index.create(None, 0, tier="exact")
    with pytest.raises(InvalidInputError, match="uuid"):
        Index.create(None, settings={"uuid": 1}, tier="exact")
    with pytest.raises(InvalidInputError, match="JSON"):
        Index.create(None, settings={"encoder": object()}, tier="exact")
    with pytest.raises(InvalidInputError, match="if_exists"):
        Index.create(None, if_exists="append", tier="exact")


def test_an_empty_index_finds_nothing(index):
    assert index.search(embeddings([3, 2])) == [[], []]
    assert index.search(embeddings([])) == []
    index.add([], embeddings([]))
    index.add(["empty"], embeddings([0]))
    assert index.search(embeddings([3])) == [[]]
    assert "empty" in index
    index.verify()


def test_settings_survive(tmp_path):
    with Index.create(
        tmp_path / "i", 7, settings={"encoder": {"name": "nano", "revision": None}}, tier="exact"
    ) as index:
        settings = index.settings
    assert settings["dim"] == 7
    assert settings["encoder"] == {"name": "nano", "revision": None}
    with Index.open(tmp_path / "i") as index:
        assert index.settings == settings
        assert index.dim == 7


def test_a_temporary_index_is_removed_at_close():
    index = Index.create(None, DIM, tier="exact")
    path = index.path
    assert path.is_dir()
    index.close()
    index.close()
    assert not path.exists()
    with pytest.raises(IndexClosedError):
        index.search(embeddings([1]))


def test_size_bytes_is_what_lies_on_disk(index):
    index.add(IDS, embeddings(LENGTHS, token_ids=True))
    sizes = index.size_bytes()
    assert sizes["vectors"] == 128 + sum(LENGTHS) * DIM * 2
    files = [path for path in index.path.rglob("*") if path.suffix == ".npy" or "index.db" in path.name]
    assert sum(sizes.values()) == sum(path.stat().st_size for path in files if path.suffix != ".db-shm")


def test_files_are_plain_npy(index):
    documents = embeddings(LENGTHS, token_ids=True)
    index.add(IDS, documents)
    (folder,) = (index.path / "segments").iterdir()
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), documents.embeddings.astype(np.float16))
    np.testing.assert_array_equal(np.load(folder / "offsets.npy"), documents.offsets)
    np.testing.assert_array_equal(np.load(folder / "token_ids.npy"), documents.token_ids)


def test_open_tells_what_is_there_apart_and_creates_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    (tmp_path / "foreign").mkdir()
    with sqlite3.connect(tmp_path / "foreign" / "index.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    before = sorted(tmp_path.rglob("*"))
    for name, error in [
        ("missing", IndexNotFoundError),
        ("empty", IndexNotFoundError),
        ("file", IndexFormatError),
        ("other", IndexFormatError),
        ("foreign", IndexFormatError),
    ]:
        with pytest.raises(error, match=name):
            Index.open(tmp_path / name)
    for name in ("file", "other", "foreign"):
        for choice in ("error", "overwrite"):
            with pytest.raises(IndexExistsError, match="not an index"):
                Index.create(tmp_path / name, DIM, if_exists=choice, tier="exact")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_newer_format_says_to_upgrade(index):
    index.close()
    connection = sqlite3.connect(index.path / "index.db")
    connection.execute("PRAGMA user_version = 1000")
    connection.close()
    with pytest.raises(NewerFormatError, match="upgrade"):
        Index.open(index.path)
    with pytest.raises(NewerFormatError):
        Index.create(index.path, DIM, if_exists="overwrite", tier="exact")


def test_create_refuses_an_index_and_names_the_choices(index):
    with pytest.raises(IndexExistsError, match=r"overwrite.*add\(\).*another folder"):
        Index.create(index.path, DIM, tier="exact")


def test_overwrite_replaces_documents_settings_and_files(index):
    index.add(IDS, embeddings(LENGTHS), texts=["old"] * 6)
    with Index.create(index.path, 8, if_exists="overwrite", settings={"encoder": "new"}, tier="exact") as new:
        assert (len(new), new.dim, new.settings["encoder"]) == (0, 8, "new")
        new.add(["a"], embeddings([3], dim=8))
        assert new.ids() == ["a"]
        new.verify()
        assert (index.ids(), index.dim) == (IDS, DIM)
        index.refresh()
        assert (index.ids(), index.dim) == (["a"], 8)
        new.add(["b"], embeddings([3], dim=8))
        assert len(list((index.path / "segments").iterdir())) == 2


def test_replace_keeps_the_old_until_the_first_commit(index):
    index.add(IDS, embeddings(LENGTHS))
    with pytest.raises(RuntimeError), index.writer(replace={"dim": 8}) as writer:  # noqa: PT012
        writer.add(["new"], embeddings([1], dim=8))
        raise RuntimeError
    assert (index.ids(), index.dim) == (IDS, DIM)
    with index.writer(replace={"dim": 8}) as writer:
        writer.add(["a"], embeddings([1], dim=8))
        assert index.ids() == IDS
    assert (index.ids(), index.dim) == (["a"], 8)
    index.verify()


def test_a_folder_that_only_a_killed_create_left_is_usable(tmp_path):
    (tmp_path / "lock").write_text("123\n")
    (tmp_path / "index.db.new").write_bytes(b"half")
    with pytest.raises(IndexNotFoundError):
        Index.open(tmp_path)
    with Index.create(tmp_path, DIM, tier="exact") as index:
        index.add(["a"], embeddings([1]))
    assert not (tmp_path / "index.db.new").exists()


READ = """
import os, sys
import numpy as np
from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.indexes import Index

query = TokenEmbeddings(np.ones((1, 16), np.float32), np.array([0, 1]))
with Index.create(None, 16) as index:  # loads all modules while they can be read
    index.add(["x"], query)
    index.search(query)
if os.getuid() == 0:
    os.setuid(65534)
with Index.open(sys.argv[1]) as index:
    index.verify()
    print([hit.id for hit in index.search(query)[0]])
"""


def test_a_folder_that_can_only_be_read_opens(index):
    index.add(["a"], embeddings([2]))
    index.close()
    folders = [index.path, index.path / "segments", *(index.path / "segments").iterdir()]
    files = [path for path in index.path.rglob("*") if path.is_file()]
    above = [path for path in index.path.parents if path.stat().st_uid == os.getuid() and len(path.parts) > 2]
    modes = {path: path.stat().st_mode for path in [*folders, *files, *above]}
    try:
        for path in above:
            path.chmod(0o755)
        for path in folders:
            path.chmod(0o555)
        for path in files:
            path.chmod(0o444)
        before = sorted(index.path.rglob("*"))
        assert start(READ, index.path).communicate()[0] == "['a']\n"
        assert sorted(index.path.rglob("*")) == before
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_importing_the_package_loads_no_numba():
    code = "import sys, lfm2_retrieval.indexes; print(sorted({'numba', 'torch', 'faiss'} & set(sys.modules)))"
    assert start(code).communicate()[0] == "[]\n"


def test_metadata_is_json_that_sqlite_can_query(index):
    index.add(["a", "b"], embeddings([1, 1]), metadata=[{"year": 1990}, {"year": 2001}])
    with index._views.catalogue.reading() as connection:
        rows = connection.execute(
            "SELECT id FROM documents WHERE json_extract(metadata, '$.year') > 2000"
        ).fetchall()
    assert rows == [(b"b",)]
    assert json.loads(json.dumps(index.get("a").metadata)) == {"year": 1990}
