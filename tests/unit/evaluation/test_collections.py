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
    "text",
    [
        "q1\td1\t2\nq1\td2\t0\n",
        "qid\tdocid\tRelevance\r\nq1\td1\t2\r\nq1\td2\t0",
        "\ufeffquery-id\tcorpus-id\tscore\n\nq1\td1\t2.0\nq1\td2\t0\nq1\td2\t0\n",
    ],
)
def test_judgements_have_a_heading_or_none(tmp_path, text):
    assert load_collection(write(tmp_path, **{"qrels/test.tsv": text})).qrels == {"q1": {"d1": 2, "d2": 0}}


def test_ids_may_be_whole_numbers(tmp_path):
    numbers = {
        "corpus.jsonl": '{"_id":1,"text":"x"}\n{"_id":"2","text":"y"}\n',
        "queries.jsonl": '{"_id":10,"text":"x?"}\n',
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\n10\t1\t1\n10\t2\t0\n",
    }
    collection = load_collection(write(tmp_path, **numbers))
    assert [row["id"] for row in collection.corpus()] == ["1", "2"]
    assert collection.queries == {"10": "x?"}
    assert collection.qrels == {"10": {"1": 1, "2": 0}}
    twice = write(
        tmp_path / "twice",
        **(numbers | {"queries.jsonl": '{"_id":10,"text":"a"}\n{"_id":"10","text":"b"}\n'}),
    )
    with pytest.raises(InvalidInputError, match="'10' comes twice"):
        load_collection(twice)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qrels/test.tsv", "1\t0\t1234\t1\n", r"test\.tsv:1: query id, document id"),
        ("qrels/test.tsv", "q1\td1\t0.5\n", r"test\.tsv:1: query id, document id and a whole number"),
        ("qrels/test.tsv", "q1\td1\t1\nquery-id\tcorpus-id\tscore\n", r"test\.tsv:2"),
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


def test_the_splits_that_are_there_are_named(tmp_path):
    home = write(tmp_path, packed=True)
    (home / "qrels/dev.tsv").write_text("q1\td1\t1\n")
    assert load_collection(home, "dev").qrels == {"q1": {"d1": 1}}
    with pytest.raises(InvalidInputError, match=r"no split 'train'; there are dev, test: --split"):
        load_collection(home, "train")


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
