"""A retriever's documents come, change and go."""

import copy
import json
import pickle

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
            retriever.delete(all=True)
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


def test_what_a_change_did_is_told(retriever, model, encoded):
    added = retriever.add(["new", Document("e", "E")])
    assert (added, added.to_dict()) == (2, {"added": 2, "changed": 0, "unchanged": 0, "skipped": 0})
    assert (f"{added:,}", str(added), repr(added)) == (
        "2",
        "2",
        "ChangeCounts(added=2, changed=0, unchanged=0, skipped=0)",
    )
    assert isinstance(added, int)
    assert json.dumps(added) == "2"
    for again in (copy.deepcopy(added), pickle.loads(pickle.dumps(added))):
        assert again.to_dict() == added.to_dict()
    some = [
        Document("e", "E", {"a": 1, "b": [2]}),
        Document("a", TEXTS[0], {"n": 0}),
        Document("b", "b"),
        "one more",
    ]
    skipped = retriever.add(some, on_conflict="skip")
    assert (skipped, skipped.added, skipped.skipped) == (1, 1, 3)
    replaced = retriever.add(iter(some), on_conflict="replace", batch_size=2)
    assert (replaced, replaced.to_dict()) == (4, {"added": 1, "changed": 2, "unchanged": 1, "skipped": 0})
    updated = retriever.update(
        [{"id": "e", "b": [2], "a": 1}, {"id": "a", "n": False}, {"id": "b", "text": "b"}, {"id": "c"}]
    )
    assert (updated, updated.changed, updated.unchanged) == (4, 1, 3)
    assert retriever.get("a").metadata == {"n": False}
    assert retriever.get("a").metadata["n"] is False
    check(retriever, model)


def test_what_is_the_same_is_not_written(retriever, encoded):
    documents = list(retriever)
    commit = retriever.store._snapshot().commit
    for how in ("replace", "skip"):
        counts = retriever.add(documents, on_conflict=how)
        assert (counts.unchanged, counts.skipped) == ((4, 0) if how == "replace" else (0, 4))
    assert retriever.update([{"id": document.id, "text": document.text} for document in documents]) == 4
    assert retriever.update(documents).unchanged == 4
    assert not retriever.refresh()
    assert (retriever.store._snapshot().commit, encoded) == (commit, [])


def test_numbers_are_never_given_twice(retriever, model):
    retriever.add([Document("5", "somebody's own")])  # four rows were there, so "5" comes soon
    assert retriever.add(["x", "y", "z"]) == 3
    assert retriever.ids()[4:] == ["5", "6", "7", "8"]
    for how in ("skip", "replace"):  # what is there takes no row
        known = list(retriever.documents({"n": {"$lt": 2}}))
        assert retriever.add([*known, f"by {how}"], on_conflict=how).added == 1
    retriever.delete(retriever.ids()[-1])
    retriever.merge()
    assert retriever.add(["after it"]) == 1
    assert retriever.ids()[4:] == ["5", "6", "7", "8", "9", "11"]
    assert retriever.add([Document("12", "own"), "a", Document("13", "own"), "b"], on_conflict="replace") == 4
    assert retriever.ids()[-4:] == ["12", "15", "13", "17"]
    assert retriever.get("13").text == "own"
    with pytest.raises(DuplicateIdError, match="twice"):
        retriever.add(iter(["x", "y", Document("18", "own")]), batch_size=1, on_conflict="replace")
    assert len(retriever.ids()) == 14
    check(retriever, model)


def test_numbers_after_other_ids_of_an_index_that_is_appended_to(model, tmp_path):
    path = tmp_path / "index"
    documents = [Document(str(number), f"text {number}") for number in range(3, 9)]
    Retriever.index(documents, path, model=model).close()
    with Retriever.index(["x", "y"], path, model=model, if_exists="append") as retriever:
        assert retriever.ids() == ["3", "4", "5", "6", "7", "8", "9", "10"]
    with Retriever.index(["x", "y"], path, model=model, if_exists="overwrite") as retriever:
        assert retriever.ids() == ["0", "1"]
        retriever.add(["z"])
        assert len(retriever) == 3


TITLED = {"id": "t", "title": "Old title", "text": "the body", "year": 3}


@pytest.mark.parametrize(
    ("change", "text", "metadata"),
    [
        ({"title": "New"}, "New the body", {"title": "New", "year": 3}),
        ({"text": "other words"}, "Old title other words", {"title": "Old title", "year": 3}),
        ({"title": "New", "text": "other"}, "New other", {"title": "New", "year": 3}),
        ({"title": ""}, "the body", {"title": "", "year": 3}),
        ({"title": None, "year": 4}, "Old title the body", {"title": "Old title", "year": 4}),
        ({"text": ""}, "Old title", {"title": "Old title", "year": 3}),
        ({"year": 4}, "Old title the body", {"title": "Old title", "year": 4}),
        ({"metadata": {"x": 1}}, "Old title the body", {"title": "Old title", "x": 1}),
        ({"metadata": {"title": "New"}}, "New the body", {"title": "New"}),
        ({"text": "other", "year": 4}, "Old title other", {"title": "Old title", "year": 4}),
        ({"text": "Old title other"}, "Old title other", {"title": "Old title", "year": 3}),
        ({"text": "Old title other", "metadata": {"title": "New"}}, "New other", {"title": "New"}),
        ({"text": "New other", "metadata": {"title": "New"}}, "New other", {"title": "New"}),
        ({"title": "Old"}, "Old the body", {"title": "Old", "year": 3}),
        (
            {"title": "Old title, longer"},
            "Old title, longer the body",
            {"title": "Old title, longer", "year": 3},
        ),
    ],
)
def test_a_title_stays_in_front_whatever_changes(retriever, model, change, text, metadata):
    retriever.add([TITLED])
    before = retriever.get("t")
    assert retriever.update([before]).unchanged == 1
    assert retriever.update([{"id": "t", "text": "the body"}]).unchanged == 1
    line = {"id": before.id, "text": before.text, "metadata": before.metadata}  # as it is exported
    assert retriever.update([line]).unchanged == 1
    assert retriever.update([{"id": "t", **change}]).changed == 1
    assert retriever.get("t") == Document("t", text, metadata)
    check(retriever, model)


def test_titles_that_do_not_stand_in_front_are_metadata(retriever, model):
    retriever.add([Document("p", "the capital", {"title": "Paris", "x": 1}), {"id": "q", "text": "none"}])
    retriever.update([{"id": "p", "title": "Lutetia"}, {"id": "q", "title": "Now"}])
    assert retriever.get("p") == Document("p", "the capital", {"title": "Lutetia", "x": 1})
    assert retriever.get("q") == Document("q", "Now none", {"title": "Now"})
    retriever.update([{"id": "p", "text": "new"}, {"id": "q", "text": "new"}])
    assert [retriever.get(id).text for id in "pq"] == ["new", "Now new"]
    retriever.add([{"id": "r", "title": "Paris", "text": "Paris is large"}])
    for text in ("Paris is old", "Paris Paris is old"):
        retriever.update([{"id": "r", "text": text}])
        assert retriever.get("r").text == "Paris Paris is old"
    retriever.update([{"id": "r", "title": "Paris, France"}])
    assert retriever.get("r").text == "Paris, France Paris is old"
    check(retriever, model)


def test_a_title_changes_in_a_transaction(retriever, model, encoded):
    with retriever.transaction():
        retriever.add([TITLED])
        retriever.update([{"id": "t", "title": "New"}])
        assert retriever.update([{"id": "t", "text": "words"}]).changed == 1
    assert retriever.get("t") == Document("t", "New words", {"title": "New", "year": 3})
    check(retriever, model)
