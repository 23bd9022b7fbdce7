"""What is pickled and copied, as to send it to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lfm2_retrieval import (
    Document,
    Encoder,
    Hit,
    Index,
    Match,
    Retriever,
    ScoreKind,
    SearchParams,
    TokenEmbeddings,
    errors,
)

TEXTS = ["rain falls on hills", "a fox runs", "towns beyond the river"]
WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy] + [
    lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))  # type: ignore[misc]
    for protocol in (2, pickle.HIGHEST_PROTOCOL)
]
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    path = tmp_path_factory.mktemp("pickles") / "index"
    with Retriever.index(TEXTS, path, model="nano", dtype="int8", document_length=64) as retriever:
        yield retriever


def search(retriever: Retriever) -> list[str]:
    return [hit.id for hit in retriever.search("what does the fox do?", k=2)]


@ways
def test_a_retriever(way: Callable[[Any], Any], retriever: Retriever) -> None:
    other = way(retriever)
    assert type(other) is Retriever
    assert other.store is not retriever.store
    assert other.path == retriever.path
    assert other.encoder.identity == retriever.encoder.identity
    assert other.encoder.dtype == retriever.encoder.dtype
    assert other.encoder.options == retriever.encoder.options
    assert search(other) == search(retriever)
    other.close()
    assert search(retriever)
    with pytest.raises(errors.IndexClosedError):
        way(other)


@ways
def test_a_retriever_that_was_opened(way: Callable[[Any], Any], retriever: Retriever) -> None:
    with Retriever.open(retriever.path, dtype="int8", auto_refresh=True) as opened, way(opened) as other:
        retriever.add([{"id": "new", "text": "snow"}])
        assert other.store.get("new") is not None
        retriever.delete(["new"])
        assert other.store.get("new") is None
        assert search(other) == search(retriever)


def test_a_copy_shares_the_model(retriever: Retriever) -> None:
    expected = retriever.encoder
    for way in (copy.copy, copy.deepcopy):
        with way(retriever) as other:
            assert other.encoder is expected
        encoder = way(expected)
        assert encoder is not expected
        assert encoder._engine is expected._engine
    assert copy.deepcopy([retriever.store] * 2)[0].ids() == retriever.store.ids()


@ways
def test_an_encoder(way: Callable[[Any], Any]) -> None:
    encoder = Encoder.load("nano", dtype="int8", kernels="plain", query_cache=3, pool_factor=2)
    other = way(encoder)
    assert other.identity == encoder.identity
    assert (other.name, other.folder, other.dtype) == (encoder.name, encoder.folder, encoder.dtype)
    assert other.options == encoder.options
    assert other.loader.keywords == encoder.loader.keywords
    expected, found = encoder.encode_documents(TEXTS), other.encode_documents(TEXTS)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=0.02)


@ways
@pytest.mark.parametrize("auto_refresh", [False, True])
def test_an_index(way: Callable[[Any], Any], auto_refresh: bool, tmp_path: Path) -> None:
    Index.create(tmp_path / "index", 4).close()
    index = Index.open(tmp_path / "index", auto_refresh=auto_refresh)
    index.add(["a"], TokenEmbeddings(np.ones((1, 4), np.float32), np.array([0, 1])))
    other = way(index)
    assert type(other) is Index
    assert other.ids() == ["a"]
    index.add(["b"], TokenEmbeddings(np.ones((1, 4), np.float32), np.array([0, 1])))
    assert other.ids() == ["a", "b"][: 1 + auto_refresh]
    index.close()
    assert other.ids()
    with pytest.raises(errors.IndexClosedError):
        way(index)
    other.close()


@ways
def test_what_cannot_be_had_says_why(way: Callable[[Any], Any], tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", 4, tier="exact")
    with index.transaction(), pytest.raises(errors.TransactionError, match="inside a transaction"):
        way(index)
    with index.writer() as writer, pytest.raises(errors.TransactionError, match="belongs to the process"):
        way(writer)
    assert way(index).ids() == []
    with Index.create(None, 4, tier="exact") as temporary, pytest.raises(TypeError, match="path="):
        way(temporary)
    with (
        Retriever.index(["rain"], model="nano") as retriever,
        pytest.raises(errors.InvalidTypeError, match="path="),
    ):
        way(retriever)


def _find(retriever: Retriever) -> list[Hit]:
    return retriever.search("fox", k=2, mode="hybrid")


def test_another_process_searches(retriever: Retriever) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        hits = pool.submit(_find, retriever).result(timeout=300)
    assert [hit.id for hit in hits] == [hit.id for hit in _find(retriever)]


def _fail(number: int) -> None:
    raise ALL[number]


MESSAGE = "this, and what to do"
ALL = [
    errors.MissingExtraError("SQL", "sql") if name == "MissingExtraError" else getattr(errors, name)(MESSAGE)
    for name in errors.__all__
    if isinstance(getattr(errors, name), type)
]


@ways
@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_errors_keep_their_message(way: Callable[[Any], Any], error: Exception) -> None:
    error.add_note("raised at document 3")
    other = way(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert other.__notes__ == error.__notes__


def test_errors_come_from_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for number, error in enumerate(ALL):
            with pytest.raises(type(error)) as caught:
                pool.submit(_fail, number).result(timeout=300)
            assert str(caught.value) == str(error)


VALUES = [
    Document("a", "text", {"year": 2020, "tags": ["x"]}),
    Match((0, 1), (2, 3), 0.5, ((1, 2),)),
    Hit("a", 1.5, 1, ScoreKind.RRF, "text", {"a": {"b": None}}, (Match((0, 1), (2, 3), 0.5),), 0.75),
    SearchParams(3, mode="hybrid", fusion="rerank", group_by="a.b", min_score=0.5),
    replace(SearchParams(), threads=2),
]


@ways
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(way: Callable[[Any], Any], value: object) -> None:
    other = way(value)
    assert other == value
    assert repr(other) == repr(value)


@ways
def test_embeddings(way: Callable[[Any], Any]) -> None:
    given = TokenEmbeddings(
        np.arange(8, dtype=np.float16).reshape(4, 2), np.array([0, 1, 4]), np.arange(4), np.ones((4, 2), int)
    )
    other = way(given)
    for name in ("embeddings", "offsets", "token_ids", "spans"):
        np.testing.assert_array_equal(getattr(other, name), getattr(given, name))
        assert getattr(other, name).dtype == getattr(given, name).dtype


@ways
def test_hits_of_a_search(way: Callable[[Any], Any], retriever: Retriever) -> None:
    hits = retriever.search("fox", k=2, explain=True)
    other = way(hits)
    assert type(other) is type(hits)
    assert other == hits


@ways
def test_a_langchain_retriever(way: Callable[[Any], Any], retriever: Retriever) -> None:
    pytest.importorskip("langchain_core")
    from lfm2_retrieval.integrations.langchain import LFM2Retriever

    ours = LFM2Retriever(retriever=retriever, k=2, search_kwargs={"mode": "hybrid"})
    other = way(ours)
    assert [found.id for found in other.invoke("fox")] == [found.id for found in ours.invoke("fox")]
    if way is not copy.copy:  # which is shallow, as pydantic's is
        other.retriever.close()
    assert ours.invoke("fox")
