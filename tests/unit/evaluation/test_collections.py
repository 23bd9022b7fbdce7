import gzip
from pathlib import Path

import pytest

import lfm2_retrieval
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import load_collection

BUNDLED = sorted((Path(lfm2_retrieval.__file__).parent / "collections").glob("demo-*"))
FILES = {
    "corpus.jsonl": '{"_id":"d1","title":"T","text":"x"}\n{"_id":"d2","text":"y"}\n',
    "queries.jsonl": '{"_id":"q1","text":"x?"}\n{"_id":"q2","text":"unjudged"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
}


def write(folder, packed=False, **changed):
    for name, content in (FILES | changed).items():
        path = folder / (name + ".gz" if packed else name)
        path.parent.mkdir(exist_ok=True)
        data = content.encode()
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_a_collection_is_its_judged_queries(tmp_path, packed):
    collection = load_collection(write(tmp_path, packed))
    assert collection.queries == {"q1": "x?"}
    assert collection.qrels == {"q1": {"d1": 2, "d2": 0}}
    for _ in range(2):
        assert [row["id"] for row in collection.corpus()] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\n", r"test\.tsv:2: query id, document id"),
        ("qrels/test.tsv", "q1\td1\thigh\n", r"test\.tsv:1"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t2\n", r"test\.tsv:2: another grade of 'd1'"),
        ("qrels/test.tsv", "q9\td1\t1\n", "judges the query 'q9', which"),
        ("queries.jsonl", '{"_id":"q1","text":"a"}\n{"_id":"q1","text":"b"}\n', "'q1' comes twice"),
        ("queries.jsonl", '{"_id":"q1"}\n', r"queries\.jsonl:1: no 'text'"),
    ],
)
def test_errors_name_the_file(tmp_path, name, content, message):
    with pytest.raises(InvalidInputError, match=message):
        load_collection(write(tmp_path, **{name: content}))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(InvalidInputError, match=f"{Path(name).name}: no such file"):
        load_collection(tmp_path)


@pytest.mark.parametrize("folder", BUNDLED, ids=lambda folder: folder.name)
def test_the_bundled_collections_are_whole(folder):
    collection = load_collection(folder)
    ids = [row["id"] for row in collection.corpus()]
    assert len(set(ids)) == len(ids) >= 40
    assert len(collection.queries) >= 40
    for grades in collection.qrels.values():
        assert grades.keys() <= set(ids)
        assert max(grades.values()) == 2


def test_the_bundled_collections_are_parallel():
    assert len(BUNDLED) == 8
    english = load_collection(next(folder for folder in BUNDLED if folder.name == "demo-en"))
    for folder in BUNDLED:
        collection = load_collection(folder)
        assert all(english.qrels[id] == grades for id, grades in collection.qrels.items())
