"""What people have in the place of strings and mappings: frames, rows of databases, objects of frameworks."""

import dataclasses
import enum
import pathlib
import sqlite3
import uuid
from collections import namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest

from lfm2_retrieval import Document, Encoder, Retriever, rerank
from lfm2_retrieval.errors import DuplicateIdError, InvalidInputError, InvalidTypeError
from lfm2_retrieval.frames import collected, column_names, iter_records
from lfm2_retrieval.json_values import is_absent, plain, whole_number
from lfm2_retrieval.records import check_columns, document_of

NAN = float("nan")


@pytest.fixture(scope="module")
def model(checkpoint):
    return Encoder.load(checkpoint())


def documents(source, **columns):
    named = check_columns(**columns)
    return [document_of(one, n, n, named) for n, one in enumerate(iter_records(source))]


ROWS = [
    {"id": 7, "text": "rain falls", "year": 2001, "score": 0.5, "when": datetime(2024, 1, 2, 3, 4, 5)},
    {"id": 8, "text": "the quick fox", "year": 2002, "score": NAN, "when": None},
]
EXPECTED = [
    Document("7", "rain falls", {"year": 2001, "score": 0.5, "when": "2024-01-02T03:04:05"}),
    Document("8", "the quick fox", {"year": 2002}),
]


class Frame:
    """What a frame of pandas can do, for where pandas is not installed."""

    def __init__(self, rows):
        self.columns = list(rows[0])
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.columns)  # as pandas does

    def itertuples(self, index, name):
        assert (index, name) == (False, None)
        return (tuple(row.values()) for row in self.rows)


def installed(library):
    return pytest.importorskip(library, reason=f"{library} is not installed")


def test_a_frame_is_its_rows_and_not_its_columns(model, tmp_path):
    assert documents(Frame(ROWS)) == EXPECTED
    with Retriever.index(Frame(ROWS), tmp_path / "index", model=model) as retriever:
        assert list(retriever) == EXPECTED
        assert retriever.ids({"when": {"$gt": "2024-01-01"}}) == ["7"]
        assert retriever.add(Frame([{"text": "more"}, {"text": "and more"}])) == 2
        assert retriever.update(Frame([{"id": 7, "year": 1999}, {"id": 8, "year": NAN}])) == 2
        assert [retriever.get(id).metadata for id in "78"] == [{"year": 1999}, {}]
        hits = retriever.rerank("fox", Frame(ROWS))
        assert {(hit.id, hit.text) for hit in hits} == {(one.id, one.text) for one in EXPECTED}


def test_pandas(model):
    pd = installed("pandas")
    frame = pd.DataFrame(ROWS)
    assert documents(frame) == EXPECTED
    assert documents(frame.set_index("id")) == EXPECTED
    assert documents([frame, "a string", *ROWS[:1]])[2:] == [Document("2", "a string"), EXPECTED[0]]
    assert documents(iter([frame[:1], frame[1:]])) == EXPECTED  # as a file read in chunks
    assert [one.text for one in documents(frame["text"])] == [one.text for one in EXPECTED]
    assert documents([row for _, row in frame.iterrows()]) == EXPECTED
    assert documents(frame.convert_dtypes()) == EXPECTED
    zoned = pd.DataFrame(
        {"text": "x", "t": pd.to_datetime(["2024-01-02 03:00"]).tz_localize("Europe/Berlin")}
    )
    assert documents(zoned)[0].metadata == {"t": "2024-01-02T02:00:00+00:00"}
    gaps = pd.DataFrame(
        {"id": [3, None], "text": ["a", "b"], "flag": pd.array([True, None], dtype="boolean")}
    )
    assert documents(gaps) == [Document("3", "a", {"flag": True}), Document("1", "b")]
    with pytest.raises(InvalidInputError, match="two columns of the frame are called 'text'"):
        documents(pd.DataFrame([["a", "b"]], columns=["text", "text"]))
    with Retriever.index(frame, model=model) as retriever:
        assert list(retriever) == EXPECTED
        assert retriever.ids("year >= 2002") == ["8"]
    with Retriever.index(frame["text"], model=model) as retriever:
        assert retriever.ids() == ["0", "1"]


def test_polars(model):
    pl = installed("polars")
    frame = pl.DataFrame({"id": [7, 8], "text": ["a", "b"], "d": [date(2024, 1, 2), None], "l": [[1, 2], []]})
    expected = [Document("7", "a", {"d": "2024-01-02", "l": [1, 2]}), Document("8", "b", {"l": []})]
    assert documents(frame) == documents(frame.lazy()) == documents(iter(frame.iter_slices(1))) == expected
    assert [one.text for one in documents(frame["text"])] == ["a", "b"]
    for source in (frame, frame.lazy()):
        with Retriever.index(source, model=model) as retriever:
            assert list(retriever) == expected


def test_arrow(model, tmp_path):
    pa = installed("pyarrow")
    import pyarrow.dataset
    import pyarrow.parquet as pq

    table = pa.table({"id": [7, 8], "text": ["a", "b"], "n": pa.array([None, 3], pa.int32())})
    expected = [Document("7", "a"), Document("8", "b", {"n": 3})]
    pq.write_table(table, tmp_path / "t.parquet")
    for source in (
        table,
        table.to_batches()[0],
        table.to_batches(),
        table.to_reader(),
        table.to_pylist(),
        pq.ParquetFile(tmp_path / "t.parquet"),
        pyarrow.dataset.dataset(tmp_path / "t.parquet"),
    ):
        assert documents(source) == expected
    assert [one.text for one in documents(table["text"])] == ["a", "b"]
    with Retriever.index(table, model=model) as retriever:
        assert list(retriever) == expected


def test_hugging_face_data_sets(model):
    data = installed("datasets").Dataset.from_dict({"text": ["a", "b"], "n": [1, 2]})
    expected = [Document("0", "a", {"n": 1}), Document("1", "b", {"n": 2})]
    for source in (data, data.to_iterable_dataset(), data.with_format("numpy")):
        assert documents(source) == expected
    assert [one.text for one in documents(data["text"])] == ["a", "b"]
    with Retriever.index(data, model=model, metadata=[]) as retriever:
        assert list(retriever) == [Document("0", "a"), Document("1", "b")]
    with pytest.raises(InvalidTypeError, match=r"choose one of \['train'"):
        Retriever.index({"train": data}, model=model)


def test_rows_of_databases(model):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t(key INTEGER, body TEXT, day DATE)")
    database.executemany("INSERT INTO t VALUES(?, ?, ?)", [(1, "one", "2024-01-02"), (2, "two", None)])
    expected = [Document("1", "one", {"day": "2024-01-02"}), Document("2", "two")]
    named = {"text": "body", "id": "key"}
    query = "SELECT * FROM t"
    assert documents(database.execute(query), **named) == expected
    with Retriever.index(database.execute(query), model=model, **named) as retriever:
        assert list(retriever) == expected
    with pytest.raises(InvalidTypeError, match=r"document 0 is a tuple; name its columns.*the cursor itself"):
        documents(database.execute(query).fetchall())
    with pytest.raises(InvalidInputError, match=r"two columns.*AS"):
        documents(database.execute("SELECT body, body FROM t"))
    database.row_factory = sqlite3.Row
    assert documents(database.execute(query), **named) == expected
    assert documents(database.execute(query).fetchall(), **named) == expected
    with pytest.raises(InvalidTypeError, match="single"):
        Retriever.index(database.execute(query).fetchone(), model=model)


def test_documents_of_frameworks():
    chain = SimpleNamespace(page_content="a", metadata={"page": np.int64(3)}, id=None)
    index = SimpleNamespace(node_id="n", metadata={"x": 1}, get_content=lambda: "b", text="b")
    found = SimpleNamespace(node=index, score=0.3)
    stack = SimpleNamespace(content="c", meta={"y": 2}, id="h", embedding=[0.1], score=None)
    assert documents([chain, index, found, stack]) == [
        Document("0", "a", {"page": 3}),
        Document("n", "b", {"x": 1}),
        Document("n", "b", {"x": 1}),
        Document("h", "c", {"y": 2}),
    ]
    with pytest.raises(InvalidTypeError, match="text of document 'h' is missing"):
        documents([SimpleNamespace(content=None, meta={}, id="h")])


def test_langchain_documents_as_they_are(model):
    langchain = installed("langchain_core.documents").Document
    source = [langchain(page_content="a", metadata={"page": 3}), langchain(page_content="b", id="z")]
    assert documents(source) == [Document("0", "a", {"page": 3}), Document("z", "b")]
    with pytest.raises(InvalidTypeError, match="single"):
        Retriever.index(source[0], model=model)


def test_llama_index_nodes_as_they_are():
    schema = installed("llama_index.core.schema")
    node = schema.TextNode(text="a", metadata={"x": 1}, id_="n")
    source = [node, schema.Document(text="b", id_="d"), schema.NodeWithScore(node=node, score=1.0)]
    assert [one.id for one in documents(source)] == ["n", "d", "n"]
    assert documents(source)[0] == Document("n", "a", {"x": 1})


def test_rows_that_are_objects():
    @dataclasses.dataclass
    class Row:
        id: object
        text: str
        year: int

    pair = namedtuple("pair", "id text")
    pydantic = SimpleNamespace(model_dump=lambda: {"text": "p", "n": 1})
    hit = Retriever  # a class is none
    assert documents([Row(5, "a", 3), pair("x", "b"), pydantic]) == [
        Document("5", "a", {"year": 3}),
        Document("x", "b"),
        Document("2", "p", {"n": 1}),
    ]
    for wrong in (hit, object(), 3, ["text"], None):
        with pytest.raises(InvalidTypeError, match=r"document 0 is a .*; "):
            documents([wrong])


def test_hits_can_be_documents(model):
    with Retriever.index(["a fox", "some rain"], model=model) as retriever:
        hits = retriever.search("fox")
        assert {hit.id for hit in retriever.rerank("rain", hits)} == {"0", "1"}


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), (-3, -3), (np.int8(7), 7), (np.uint64(2**63), 2**63), (5.0, 5), (Decimal("6"), 6)]
    + [(one, None) for one in (True, np.True_, 5.5, NAN, float("inf"), "5", None, 2.0**60)],
)
def test_whole_numbers(value, number):
    assert whole_number(value) == number


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Name(enum.StrEnum):
    A = "a"


PLAIN = [
    (np.float32(0.5), 0.5),
    (np.int64(3), 3),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(["a", None], object), ["a", None]),
    (date(2024, 1, 2), "2024-01-02"),
    (datetime(2024, 1, 2, 3, 4, 5, 600), "2024-01-02T03:04:05.000600"),
    (datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2024-01-02T01:00:00+00:00"),
    (time(3, 4), "03:04:00"),
    (timedelta(minutes=1), 60.0),
    (np.datetime64("2024-01-02"), "2024-01-02"),
    (np.datetime64("2024-01-02T03:04:05.600000000"), "2024-01-02T03:04:05.600000"),
    (np.datetime64("2024-01-02T03:04:05.000000000"), "2024-01-02T03:04:05"),
    (np.timedelta64(1500, "ms"), 1.5),
    (Decimal("1.50"), 1.5),
    (Decimal("12"), 12),
    (Decimal("0.12345678901234567890"), "0.12345678901234567890"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (Colour.RED, "red"),
    (Colour.TWO, 2),
    (Name.A, "a"),
    ({3, 1, 2}, [1, 2, 3]),
    ((1, (2, NAN)), [1, [2, None]]),
    ({"a": NAN, "b": {"c": None, "d": np.datetime64("NaT"), "e": np.float64("nan")}}, {"b": {}}),
    ({"a": [{"b": np.int16(1)}]}, {"a": [{"b": 1}]}),
]


@pytest.mark.parametrize(("value", "expected"), PLAIN)
def test_values_become_json(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_times_compare_as_their_strings_do():
    moments = [datetime(2024, 1, 2, tzinfo=UTC) + timedelta(microseconds=n * 250_000) for n in range(9)]
    shifted = [one.astimezone(timezone(timedelta(hours=n))) for n, one in enumerate(moments)]
    assert sorted(map(plain, shifted)) == [plain(one) for one in shifted]


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), float("inf"), Decimal("inf"), 3j, object(), len])
def test_values_that_json_has_not(value):
    with pytest.raises(InvalidInputError):
        plain(value)
    with pytest.raises(InvalidInputError, match="metadata of document '0' is not JSON"):
        documents([{"text": "x", "y": value}])


def test_what_is_absent():
    assert all(map(is_absent, (None, NAN, np.float32("nan"), np.datetime64("NaT"), Decimal("nan"))))
    assert not any(map(is_absent, (0, "", False, [], "nan", np.float32(0), np.array([NAN]))))
    assert Document("a", "b", {"c": None}) == documents([Document("a", "b", {"c": None, "d": NAN})])[0]


def test_columns_are_mapped(model):
    rows = [{"key": 1, "body": "a", "text": "other", "x": 1, "y": 2, "metadata": {"z": 3}}]
    assert documents(rows, text="body", id="key")[0].metadata == {"text": "other", "x": 1, "y": 2, "z": 3}
    assert documents(rows, text="body", id="key", metadata=["y", "z"])[0] == Document(
        "1", "a", {"y": 2, "z": 3}
    )
    with Retriever.index(rows, model=model, text="body", id="key", metadata=["x"]) as retriever:
        assert retriever.add([{"b": "c", "k": 2}], text="b", id="k") == 1
        assert retriever.update([{"b": "d", "k": 2, "n": 1, "m": 2}], text="b", id="k", metadata=["n"]) == 1
        assert list(retriever) == [Document("1", "a", {"x": 1}), Document("2", "d", {"n": 1})]
        assert [hit.id for hit in retriever.rerank("a", rows, text="body", id="key")] == ["1"]
    for wrong in ({"text": 3}, {"id": ["a"]}, {"metadata": "year"}, {"metadata": [3]}):
        with pytest.raises(InvalidTypeError, match="="):
            Retriever.index(rows, model=model, **wrong)


def test_missing_columns_are_named_with_the_keyword(model):
    for source in (Frame([{"key": 1, "body": "a"}]), [{"key": 1, "body": "a"}]):
        for call in (Retriever.index, lambda rows, **more: rerank("fox", rows, **more)):
            with pytest.raises(InvalidInputError, match=r"no .*'text'; it has 'body', 'key': text= names"):
                call(source, model=model)
            with pytest.raises(InvalidInputError, match=r"'nr'; it has .*: id= names the column"):
                call(source, model=model, text="body", id="nr")
    with pytest.raises(InvalidInputError, match=r"no column 'yaer'; it has .*: metadata= names"):
        Retriever.index(Frame([{"text": "a", "year": 1}]), model=model, metadata=["yaer"])
    assert column_names(Frame(ROWS)) == list(ROWS[0])
    assert column_names([1]) is column_names("text") is column_names({"a": 1}) is None


def test_all_that_is_wrong_is_said_at_once(model, tmp_path):
    bad = [
        {"text": "fine"},
        {"body": "a"},
        {"text": "x", "id": 5.5},
        *({"body": "b"} for _ in range(10)),
        {"text": "y", "at": b"bytes"},
        {"text": None, "id": "n"},
        {"text": "z", "id": "n2"},
        {"text": "z", "id": "n2"},
        3,
    ]
    for source in (bad, Frame([{"text": None, "id": "x"}, {"text": 3, "id": "y"}])):
        with pytest.raises(InvalidInputError, match=r"^\d+ documents can't be used: ") as caught:
            Retriever.index(source, tmp_path / "index", model=model)
    with pytest.raises(InvalidInputError) as caught:
        Retriever.index(bad, tmp_path / "index", model=model)
    assert str(caught.value).startswith("16 documents can't be used: document 1 has no 'text'; it has 'body'")
    for part in (
        "(so has 3, 4, 5, 6, 7 and 5 more)",
        "id of document 2",
        "document '13' is not JSON",
        "document 'n' is missing",
        "'n2' comes twice",
        "; 1 more",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "index").exists()
    with pytest.raises(InvalidTypeError, match=r"2 documents can't be used: document 1 is a NoneType.*2"):
        Retriever.index(iter(["a", None, None, "b"]), model=model)
    with pytest.raises(DuplicateIdError, match="2 documents"):
        Retriever.index([Document(id, id) for id in "aabb"], model=model)
    with Retriever.index(["a"], tmp_path / "index", model=model) as retriever:
        with pytest.raises(InvalidInputError, match=r"2 documents can't be used.*document 1"):
            retriever.update([{"id": "0", "text": 3}, {"text": "x"}])
        with pytest.raises(InvalidInputError, match=r"2 documents can't be used"):
            retriever.rerank("x", ["a", 3, {"body": "x"}])
        assert len(retriever) == 1


def test_a_lazy_frame_is_collected_once():
    class Lazy:
        calls = 0

        def collect_schema(self):
            return {}

        def collect(self):
            self.calls += 1
            return Frame(ROWS)

    lazy = Lazy()
    assert documents(collected(lazy)) == EXPECTED
    assert lazy.calls == 1


def test_an_iterator_that_raises_behind_a_bad_document(model):
    def stream():
        yield {"body": "a"}
        raise OSError("gone")

    with pytest.raises(InvalidInputError, match="no 'text'"):
        Retriever.index(stream(), model=model)
