"""A retriever's documents come, change and go."""

import numpy as np
import pytest

from lfm2_retrieval import Document, Encoder, Retriever
from lfm2_retrieval.encoder import TruncationWarning
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexClosedError,
    InvalidInputError,
    InvalidTypeError,
    ModelMismatchError,
    TransactionError,
    UnknownIdError,
)

TEXTS = [
    "rain falls on quiet hills",
    "the quick brown fox",
    "bread, cheese and wine",
    "trains leave at seven",
]


@pytest.fixture(scope="module")
def model(checkpoint):
    return Encoder.load(checkpoint())


@pytest.fixture
def retriever(model, tmp_path):
    documents = [Document(id, text, {"n": n}) for n, (id, text) in enumerate(zip("abcd", TEXTS, strict=True))]
    with Retriever.index(documents, tmp_path / "index", model=model) as retriever:
        yield retriever


@pytest.fixture
def encoded(model, monkeypatch):
    """The texts that were encoded."""
    texts = []
    encode = Encoder.encode_documents

    def watched(self, some, **options):
        texts.extend(some)
        return encode(self, some, **options)

    monkeypatch.setattr(Encoder, "encode_documents", watched)
    return texts


def check(retriever, model):
    """What is found is what the stored texts give."""
    documents = list(retriever)
    assert [document.id for document in documents] == retriever.ids()
    [query] = model.encode_queries(["the quick fox leaves"])
    full = [document for document in documents if document.text.strip()]
    vectors = model.encode_documents([document.text for document in full], output="float16")
    scores = {
        document.id: float((query @ one.T.astype(np.float32)).max(axis=1).sum())
        for document, one in zip(full, vectors, strict=True)
    }
    hits = retriever.search("the quick fox leaves", k=99)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, rel=1e-3)
    assert {hit.id: (hit.text, hit.metadata) for hit in hits} == {
        document.id: (document.text, document.metadata) for document in full
    }


def test_add_takes_what_index_takes(retriever, model, encoded):
    assert (
        retriever.add(["a string", {"id": "m", "title": "T", "text": "x", "year": 3}, Document("e", " ")])
        == 3
    )
    assert retriever.ids() == [*"abcd", "4", "m", "e"]
    assert retriever.get("m") == Document("m", "T x", {"title": "T", "year": 3})
    assert retriever.add(iter(["another"] * 3), batch_size=2) == 3
    assert retriever.ids()[-3:] == ["7", "8", "9"]
    assert retriever.add([]) == 0
    check(retriever, model)
    for wrong in ("text", Document("z", "z"), {"text": "z"}):
        with pytest.raises(InvalidTypeError, match="single"):
            retriever.add(wrong)
    for size in (0, "3"):
        with pytest.raises(InvalidInputError, match="batch_size"):
            retriever.add(["x"], batch_size=size)
        with pytest.raises(InvalidInputError, match="batch_size"):
            retriever.update([{"id": "a", "text": "x"}], batch_size=size)
    with pytest.raises(InvalidTypeError, match="document 1 is"):  # of those given here
        retriever.add(["x", None])


def test_ids_that_are_none(retriever):
    for wrong in (None, 3):
        with pytest.raises(InvalidTypeError, match="id must be a str"):
            retriever.get(wrong)
    for wrong in ("abc", None):
        with pytest.raises(InvalidTypeError, match="list"):
            retriever.get_many(wrong)


def test_conflicts(retriever, model, encoded):
    new = [Document("b", "other"), Document("z", "new"), Document("c", TEXTS[2], {"n": 9})]
    with pytest.raises(DuplicateIdError, match="'b'"):
        retriever.add(new)
    with pytest.raises(DuplicateIdError):
        retriever.add(iter(new), batch_size=1)
    with pytest.raises(InvalidInputError, match="on_conflict"):
        retriever.add(new, on_conflict="ignore")
    assert retriever.ids() == list("abcd")
    assert encoded == []
    assert retriever.add(new, on_conflict="skip") == 1
    assert encoded == ["new"]
    assert retriever.add(iter(new), on_conflict="replace", batch_size=2) == 3
    assert encoded == ["new", "other"]  # the texts of z and c are the same
    assert retriever.ids() == list("abcdz")
    assert retriever.get_many(["b", "c", "no"]) == [
        Document("b", "other"),
        Document("c", TEXTS[2], {"n": 9}),
        None,
    ]
    check(retriever, model)


def test_update_encodes_only_what_has_another_text(retriever, model, encoded):
    segments = len(retriever.store.segments)
    assert (
        retriever.update(
            [{"id": "a", "metadata": {"x": 1}}, {"id": "b", "y": 2}, {"_id": "c", "text": TEXTS[2]}]
        )
        == 3
    )
    assert (encoded, len(retriever.store.segments)) == ([], segments)
    assert [retriever.get(id).metadata for id in "abc"] == [{"x": 1}, {"y": 2}, {"n": 2}]
    assert retriever.update([{"id": "a", "text": "new words"}, Document("d", TEXTS[3], {})]) == 2
    assert encoded == ["new words"]
    assert retriever.get("a") == Document("a", "new words", {"x": 1})
    assert retriever.get("d").metadata == {}
    assert retriever.ids() == list("abcd")
    check(retriever, model)
    for wrong, error in (
        ([{"id": "q", "text": "x"}], UnknownIdError),
        ([{"id": "a", "text": "x"}, {"id": "q"}], UnknownIdError),
        ([{"id": "a"}, {"id": "a"}], DuplicateIdError),
        ([{"text": "x"}], InvalidInputError),
        (["a"], InvalidTypeError),
        ([{"id": "a", "text": 3}], InvalidTypeError),
        ([{"id": "a", "metadata": 3}], InvalidTypeError),
        ({"id": "a"}, InvalidTypeError),
    ):
        with pytest.raises(error):
            retriever.update(wrong)
    assert retriever.get("a").text == "new words"


def test_delete_count_and_contains(retriever, model):
    assert (retriever.count(), retriever.count({"n": {"$gt": 1}}), len(retriever)) == (4, 2, 4)
    assert retriever.delete(["a"]) == retriever.delete(where={"n": 3}) == 1
    assert ("a" in retriever, "b" in retriever, retriever.ids({"n": 1})) == (False, True, ["b"])
    assert [document.id for document in retriever.documents({"n": 2})] == ["c"]
    with pytest.raises(UnknownIdError):
        retriever.delete("a")
    assert retriever.delete("a", missing_ok=True) == 0
    check(retriever, model)
    assert retriever.merge()
    check(retriever, model)
    retriever.verify()


def test_transactions(retriever, model):
    with Retriever.open(retriever.path, model=model) as reader:
        with retriever.transaction():
            retriever.delete("a")
            retriever.add([Document("a", "again"), Document("e", "e")], batch_size=1)
            retriever.update([{"id": "e", "text": "E"}])
            assert retriever.get("a").text == TEXTS[0]
            with pytest.raises(TransactionError), retriever.transaction():
                pass
            with pytest.raises(DuplicateIdError):
                retriever.add([Document("e", "twice")])
        assert (retriever.ids(), retriever.get("a").text, retriever.get("e").text) == (
            list("bcdae"),
            "again",
            "E",
        )
        check(retriever, model)
        with pytest.raises(ZeroDivisionError), retriever.transaction():  # noqa: PT012
            retriever.delete(where={})
            raise ZeroDivisionError
        with pytest.raises(IndexClosedError), retriever.transaction():  # noqa: PT012
            with pytest.raises(UnknownIdError):
                retriever.update([{"id": "b", "x": 1}, {"id": "no"}], batch_size=1)
            retriever.add(["a half of a call is never committed"])
        assert retriever.ids() == list("bcdae")
        assert reader.ids() == list("abcd")
        check(reader, model)
        reader.refresh()
        check(reader, model)


def test_another_model_is_refused_at_the_first_change_that_encodes(retriever, checkpoint):
    other = Encoder.load(checkpoint(dense_bias=True))
    with Retriever.open(retriever.path, model=other) as again:
        for change in (
            lambda: again.add(["x"]),
            lambda: again.update([{"id": "a", "text": "x"}]),
            lambda: again.search("x"),
        ):
            with pytest.raises(ModelMismatchError, match=other.fingerprint):
                change()
        assert again.update([{"id": "a", "x": 1}]) == again.delete("b") == 1
        assert again.ids() == list("acd")


def test_texts_that_are_cut_are_told(retriever):
    with pytest.warns(TruncationWarning, match="1 of 2"):
        retriever.add(["word " * 5000, "short"])
