"""What can't be used is refused by our errors, and before anything is changed."""

from contextlib import suppress

import numpy as np
import pytest
from support import DIM, embeddings

from lfm2_retrieval.errors import (
    IndexClosedError,
    InvalidInputError,
    InvalidTypeError,
    StoredIndexError,
)
from lfm2_retrieval.indexes import Index


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        index.add(["a", "b"], embeddings([1, 1]))
        yield index


def reopened(index):
    with Index.open(index.path) as again:
        again.verify()
        return again.ids()


def test_a_closed_index_changes_nothing(index):
    index.close()
    for change in (
        lambda: index.add(["c"], embeddings([1])),
        lambda: index.update(["a"], None, ["text"]),
        lambda: index.delete(["a"]),
        lambda: index.configure(fields=["lang"]),
    ):
        with pytest.raises(IndexClosedError):
            change()
    with Index.open(index.path) as again:
        assert (again.ids(), again.get("a").text, again.settings["fields"]) == (["a", "b"], None, [])


def test_a_commit_is_no_error_whatever_comes_after_it(index, monkeypatch):
    def fail(**_):
        raise StoredIndexError("nothing works")

    monkeypatch.setattr(index._upkeep, "compress", fail)
    with pytest.warns(RuntimeWarning, match="is committed, but nothing works"):
        assert index.add(["c"], embeddings([1])) == 1
    assert index.ids() == ["a", "b", "c"]


@pytest.mark.parametrize("settings", [{5: 1}, {"\ud800": 1}, {"x": {1}}, {"x": float("nan")}])
def test_settings_that_could_not_be_read_again_lose_nothing(index, settings):
    with pytest.raises(InvalidInputError):
        Index.create(index.path, DIM, settings=settings, if_exists="overwrite", tier="exact")
    with pytest.raises(InvalidInputError):
        index.writer(replace={"dim": DIM, **settings})
    with index.writer() as writer, pytest.raises(InvalidInputError):
        writer.set(settings)
    assert reopened(index) == ["a", "b"]


def test_a_width_that_could_not_be_read_again_loses_nothing(index):
    with pytest.raises(InvalidInputError, match="at most 1048576"):
        Index.create(index.path, 1 << 21, if_exists="overwrite", tier="exact")
    with pytest.raises(InvalidInputError, match="at most 1048576"):
        index.writer(replace={"dim": 1 << 21})
    assert reopened(index) == ["a", "b"]


def replace_stubbornly(index, fields):
    """Everything by something narrower, and once more after it was refused."""
    with index.writer(replace={"dim": 8, "fields": fields}) as writer:
        with suppress(InvalidInputError):
            writer.add(["c"], embeddings([1], dim=8))
        writer.add(["c"], embeddings([1], dim=8))


@pytest.mark.parametrize("field", ["one.more", "a..b"])
def test_fields_that_cannot_be_declared_are_refused_before_anything_is_retired(index, field):
    index.configure(fields=[f"f{number}" for number in range(64)])
    with pytest.raises(InvalidInputError, match="field"):
        replace_stubbornly(index, [field])
    assert reopened(index) == ["a", "b"]


@pytest.mark.parametrize(
    "where", ["lang = ", {"lang": {"$contains": "d"}}, {}, "", " \n", {"$and": [{}, {}]}, "TRUE"]
)
def test_a_filter_that_is_refused_leaves_the_transaction(index, where):
    with index.transaction():
        index.add(["c"], embeddings([1]))
        with pytest.raises(InvalidInputError):
            index.delete(where=where)
    assert index.ids() == ["a", "b", "c"]


def test_ids_of_another_type_are_refused_and_leave_the_transaction(index):
    for ids in ([5], [None], [b"a"], "ab"):
        for look in (index.get_many, index.embeddings, index.newest_ids):
            with pytest.raises(InvalidTypeError):
                look(ids)
    with pytest.raises(InvalidTypeError):
        index.get(5)
    with pytest.raises(InvalidTypeError):
        index.rerank(embeddings([1]), [[5]])
    with index.writer() as writer:
        writer.delete(["a"])
        with pytest.raises(InvalidTypeError):
            writer.find([5])
    assert reopened(index) == ["b"]


def test_texts_may_be_an_array(index):
    index.add(["c", "d"], embeddings([1, 1]), np.array(["one", "two"]))
    assert [entry.text for entry in index.get_many(["c", "d"])] == ["one", "two"]


@pytest.mark.parametrize("metadata", [{1: "one"}, {"a": {1: 2, "1": 3}}, {"a": [{"b": ({2: 3},)}]}])
def test_keys_that_are_no_strings_are_refused_at_any_depth(index, metadata):
    with pytest.raises(InvalidTypeError, match="'c' must be str"):
        index.add(["c"], embeddings([1]), metadata=[metadata])
    assert reopened(index) == ["a", "b"]


def test_ids_to_rerank_may_be_given_once(index):
    query = embeddings([2])
    assert index.rerank(query, [iter(["b", "a"])]) == index.rerank(query, [["b", "a"]])
    assert len(index.rerank(query, [iter(["b", "a"])])[0]) == 2
