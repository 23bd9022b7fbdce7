from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, date, datetime

import numpy as np
import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.errors import (
    DamagedIndexError,
    IndexClosedError,
    InvalidInputError,
    MissingExtraError,
    ModelNotFoundError,
)

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from langchain_tests.integration_tests.indexer import (
    AsyncDocumentIndexTestSuite,
    DocumentIndexerTestSuite,
)

from lfm2_retrieval.integrations.langchain import LFM2DocumentIndex, LFM2Reranker, LFM2VectorStore

TEXTS = [
    "the quick brown fox jumps over a lazy dog",
    "rain falls on quiet hills",
    "rivers carry boats past old towns",
    "people sell bread, cheese and wine",
    "every morning trains leave for the coast at seven",
]
# The suites' async tests carry no mark of their own, and their plain ones want none.
asynchronous = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore:.*marked with '@pytest.mark.asyncio'"),
    pytest.mark.filterwarnings("ignore:.*subject to change"),
]


@pytest.fixture(scope="module")
def encoder(checkpoint) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture
def store(encoder):
    with LFM2VectorStore.from_texts([], model=encoder) as store:
        yield store


class TestVectorStore(VectorStoreIntegrationTests):
    pytestmark = asynchronous

    @pytest.fixture
    def vectorstore(self, store):
        return store


class TestDocumentIndex(DocumentIndexerTestSuite):
    pytestmark = asynchronous[2]

    @pytest.fixture
    def index(self, encoder):
        made = LFM2DocumentIndex.from_texts([], model=encoder)
        yield made
        made.retriever.close()


class TestAsyncDocumentIndex(AsyncDocumentIndexTestSuite):
    pytestmark = asynchronous

    @pytest.fixture
    def index(self, encoder):
        made = LFM2DocumentIndex.from_texts([], model=encoder)
        yield made
        made.retriever.close()


def test_metadata_of_all_kinds_come_back_as_json(store):
    given = {
        "none": None,
        "nested": {"a": [{"b": None}, 1]},
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "number": np.float32(0.5),
        "count": np.int64(7),
        "array": np.arange(3),
        "flag": np.bool_(True),
        "title": "not in front of the text",
    }
    [id] = store.add_documents([Document("rain falls", metadata=given)])
    [found] = store.get_by_ids([id])
    assert found.page_content == "rain falls"
    assert found.metadata == {
        "none": None,
        "nested": {"a": [{"b": None}, 1]},
        "day": "2024-02-29",
        "moment": "2024-02-29T12:00:00+00:00",
        "number": 0.5,
        "count": 7,
        "array": [0, 1, 2],
        "flag": True,
        "title": "not in front of the text",
    }
    assert store.similarity_search("rain", filter={"day": {"$gte": date(2024, 1, 1)}, "count": 7})
    assert isinstance(given["array"], np.ndarray)


def test_what_can_not_be_stored_leaves_nothing_behind(store):
    for metadata in ({"a": b"bytes"}, {"a": object()}, {"a": float("inf")}):
        with pytest.raises(InvalidInputError, match="metadata of document"):
            store.add_documents([Document("rain"), Document("snow", metadata=metadata)])
    for arguments in (
        {"texts": ["a", "b"], "ids": ["1"]},
        {"texts": ["a"], "metadatas": [{}, {}]},
        {"texts": ["a", 5]},
    ):
        with pytest.raises(ValueError, match=r"length|must be a str"):
            store.add_texts(**arguments)
    with pytest.raises(TypeError, match="add_texts"):
        store.add_documents(["rain"])
    with pytest.raises(ValueError, match="ids were given"):
        store.add_documents([Document("rain")], ids=["1", "2"])
    with pytest.raises(TypeError, match="unexpected keyword"):
        store.add_documents([Document("rain")], collection="x")
    assert store.retriever.count() == 0


def test_of_ids_that_collide_the_last_counts(store):
    assert store.add_texts(["rain", "snow"], [{"n": 1}, {"n": 2}], ids=["x", "x"]) == ["x", "x"]
    assert store.get_by_ids(["x"]) == [Document("snow", id="x", metadata={"n": 2})]
    assert store.add_texts(["a", "b"], ids=["1", None])[0] == "1"
    assert store.retriever.count() == 3


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_k_that_can_not_be_used(store, k):
    with pytest.raises(ValueError, match="k must be"):
        store.similarity_search("rain", k=k)


def test_a_huge_k_finds_all(store):
    store.add_texts(TEXTS)
    assert len(store.similarity_search("rain", k=10**12)) == 5


def test_filters_and_other_options(store):
    store.add_texts(TEXTS, [{"n": n, "even": n % 2 == 0} for n in range(5)], ids=list("abcde"))
    ids = [one.id for one in store.similarity_search("rain", 5, filter={"even": True, "n": {"$gt": 0}})]
    assert sorted(ids) == ["c", "e"]
    assert ids == [one.id for one in store.similarity_search("rain", 5, where="even = TRUE AND n > 0")]
    assert [one.id for one in store.similarity_search("quiet hills", mode="lexical")] == ["b"]
    assert [one.id for one in store.as_retriever(search_kwargs={"k": 1, "filter": {"n": 3}}).invoke("x")] == [
        "d"
    ]
    for options in (
        {"filter": {"n": 1}, "where": {"n": 1}},
        {"filter": {"n": {"$between": [1, 2]}}},
        {"filter": lambda document: True},
        {"top_k": 3},
    ):
        with pytest.raises(ValueError, match=r"one of them|no operator|must be a str or a mapping|did you"):
            store.similarity_search("rain", **options)


def test_scores(store):
    store.add_texts(TEXTS, ids=list("abcde"))
    scored = store.similarity_search_with_score("rain falls", k=5)
    assert [score for _, score in scored] == [hit.score for hit in store.retriever.search("rain falls", 5)]
    relevant = store.similarity_search_with_relevance_scores("rain falls", k=5)
    assert [one.id for one, _ in relevant] == [one.id for one, _ in scored]
    assert all(0 <= score <= 1 for _, score in relevant)
    best = relevant[0][1]
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": best, "k": 5}
    )
    assert [one.id for one in retriever.invoke("rain falls")] == [relevant[0][0].id]
    assert asyncio.run(retriever.ainvoke("rain falls")) == retriever.invoke("rain falls")
    with pytest.raises(InvalidInputError, match="similarity_search_with_score"):
        store.similarity_search_with_relevance_scores("rain falls", mode="hybrid")


def test_what_is_not_there_says_what_to_take(store):
    store.add_texts(TEXTS)
    with pytest.raises(NotImplementedError, match="group_by"):
        store.as_retriever(search_type="mmr").invoke("rain")
    with pytest.raises(NotImplementedError, match="many vectors"):
        store.similarity_search_by_vector([0.0])
    with pytest.raises(TypeError, match="model= names"):
        LFM2VectorStore.from_texts(TEXTS, DeterministicFakeEmbedding(size=8))
    with pytest.raises(TypeError, match=r"LFM2VectorStore\.open"):
        LFM2VectorStore("my-index")
    with pytest.raises(ValueError, match="all=True"):
        store.delete()
    assert store.retriever.count() == 5
    assert store.embeddings is None


def test_deleting(store):
    store.add_texts(TEXTS, [{"n": n} for n in range(5)], ids=list("abcde"))
    assert store.delete(filter={"n": {"$lt": 2}})
    assert store.delete("c")
    assert store.delete(["d", "not there"])
    assert store.retriever.ids() == ["e"]
    assert store.delete(all=True)
    assert store.similarity_search("rain") == []


def test_it_is_stored_and_opened_again(encoder, tmp_path):
    path = tmp_path / "index"
    documents = [Document(text, id=str(n), metadata={"n": n}) for n, text in enumerate(TEXTS)]
    with LFM2VectorStore.from_documents(documents, path=path, model=encoder, fields=["n"]) as made:
        found = made.similarity_search("rain")
    with LFM2VectorStore.open(path, trust_model=True) as opened:
        assert opened.similarity_search("rain") == found
        again = pickle.loads(pickle.dumps(opened.retriever))
        assert LFM2VectorStore(again).similarity_search("rain") == found
        again.close()
    more = [Document("snow", id="5")]
    with LFM2VectorStore.from_documents(more, path=path, model=encoder, if_exists="append") as appended:
        assert appended.retriever.count() == 6
    with pytest.raises(IndexClosedError):
        appended.similarity_search("rain")
    with pytest.raises(ModelNotFoundError):
        LFM2VectorStore.from_texts(TEXTS, model=tmp_path / "no-model")


def test_a_damaged_index_is_named(encoder, tmp_path):
    path = tmp_path / "index"
    LFM2VectorStore.from_texts(TEXTS, path=path, model=encoder).close()
    [vectors] = path.rglob("*ectors*.npy")
    vectors.write_bytes(vectors.read_bytes()[:-10])
    with pytest.raises(DamagedIndexError, match="repair"):
        LFM2VectorStore.open(path, trust_model=True).similarity_search("rain")


def test_a_hundred_calls_at_once(store):
    async def all_at_once():
        added = await asyncio.gather(
            *(store.aadd_texts([f"{text} {n}"], ids=[f"{n}"]) for n in range(20) for text in TEXTS)
        )
        found = await asyncio.gather(*(store.asimilarity_search(f"rain {n}", k=3) for n in range(100)))
        return added, found

    added, found = asyncio.run(all_at_once())
    assert len(added) == 100
    assert store.retriever.count() == 20
    assert found == [store.similarity_search(f"rain {n}", k=3) for n in range(100)]


def test_what_is_cancelled_is_there_as_a_whole_or_not_at_all(store):
    async def cancelled():
        task = asyncio.create_task(store.aadd_texts(TEXTS * 20))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())  # its executor is waited for at the end
    assert store.retriever.count() in (0, 100)
    store.retriever.verify()


def test_the_event_loop_goes_on_while_documents_are_added(store, monkeypatch):
    async def beside():
        loop_waits = asyncio.Event()
        loop = asyncio.get_running_loop()
        add = store.retriever.add

        def waiting(*arguments, **options):
            asyncio.run_coroutine_threadsafe(set_it(), loop).result(60)  # hangs if the loop is blocked
            return add(*arguments, **options)

        async def set_it():
            loop_waits.set()

        monkeypatch.setattr(store.retriever, "add", waiting)
        await store.aadd_texts(TEXTS)
        return loop_waits.is_set()

    assert asyncio.run(beside())


def test_langchains_indexing_keeps_a_store_in_step(store):
    manager = InMemoryRecordManager("rivers")
    manager.create_schema()
    first = [Document(text, metadata={"source": f"{n}.txt"}) for n, text in enumerate(TEXTS)]
    options = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    assert index(first, manager, store, **options)["num_added"] == 5
    assert index(first, manager, store, **options)["num_skipped"] == 5
    changed = [Document("snow falls", metadata={"source": "1.txt"}), *first[2:]]
    done = index(changed, manager, store, **options)
    assert (done["num_added"], done["num_deleted"], done["num_skipped"]) == (1, 2, 3)
    assert sorted(one.metadata["source"] for one in store.similarity_search("snow", k=9)) == [
        f"{n}.txt" for n in range(1, 5)
    ]


class TestReranker:
    def test_documents_are_put_in_order(self, encoder):
        documents = [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
        reranker = LFM2Reranker(model=encoder, top_n=3)
        found = reranker.compress_documents(documents, "rain falls on hills")
        with Retriever.index(TEXTS, model=encoder) as retriever:
            hits = retriever.rerank("rain falls on hills", TEXTS, k=3)
            assert LFM2Reranker(retriever=retriever, top_n=3).compress_documents(
                documents, "rain falls on hills"
            ) == (found)
        assert [one.metadata["n"] for one in found] == [int(hit.id) for hit in hits]
        assert [one.metadata["relevance_score"] for one in found] == [hit.normalized_score for hit in hits]
        assert "relevance_score" not in documents[1].metadata
        assert asyncio.run(reranker.acompress_documents(documents, "rain falls on hills")) == found
        assert LFM2Reranker(model=encoder).compress_documents([], "rain") == []
        assert len(LFM2Reranker(model=encoder).compress_documents([*documents, Document(" ")], "rain")) == 5

    def test_the_model_is_loaded_once_and_when_it_is_needed(self, checkpoint, monkeypatch):
        loaded = []
        load = Encoder.load
        monkeypatch.setattr(Encoder, "load", lambda *a, **b: loaded.append(a) or load(*a, **b))
        reranker = LFM2Reranker(model=str(checkpoint()))
        assert not loaded

        async def many():
            return await asyncio.gather(
                *(reranker.acompress_documents([Document("rain")], "rain") for _ in range(100))
            )

        assert len(asyncio.run(many())) == 100
        assert len(loaded) == 1

    def test_what_can_not_be_used(self, encoder, tmp_path):
        for options in ({}, {"model": encoder, "top_n": 0}, {"model": encoder, "k": 3}):
            with pytest.raises(ValueError, match=r"model=|top_n|not permitted"):
                LFM2Reranker(**options)
        missing = LFM2Reranker(model=tmp_path / "no-model")
        with pytest.raises(ModelNotFoundError):
            missing.compress_documents([Document("rain")], "rain")


def test_a_missing_extra_is_named(monkeypatch):
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for name in [name for name in sys.modules if name.startswith("lfm2_retrieval.integrations.langchain")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[langchain\]"):
        importlib.import_module("lfm2_retrieval.integrations.langchain.vectorstore")
