from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.errors import InvalidInputError, MissingExtraError, ModelNotFoundError

pytest.importorskip("haystack")

from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.testing import document_store as suites
from haystack.testing import document_store_async as async_suites

from lfm2_retrieval.integrations.haystack import LFM2DocumentStore, LFM2Ranker, LFM2TextRetriever

TEXTS = [
    "the quick brown fox jumps over a lazy dog",
    "rain falls on quiet hills",
    "rivers carry boats past old towns",
    "people sell bread, cheese and wine",
    "every morning trains leave for the coast at seven",
]
pytestmark = pytest.mark.filterwarnings("ignore::lfm2_retrieval.errors.UnknownFieldWarning")


@pytest.fixture(scope="module")
def encoder(checkpoint) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture
def document_store(encoder):
    with LFM2DocumentStore(model=encoder) as store:
        yield store


@pytest.fixture
def filled(document_store):
    document_store.write_documents(
        [
            Document(id=str(n), content=text, meta={"n": n, "tags": ["a", f"t{n}"]})
            for n, text in enumerate(TEXTS)
        ]
    )
    return document_store


class _Fixture:
    @pytest.fixture
    def document_store(self, document_store):
        return document_store


class TestExtended(
    _Fixture,
    suites.DocumentStoreBaseExtendedTests,
    suites.CountDocumentsByFilterTest,
    suites.CountUniqueMetadataByFilterTest,
    suites.GetMetadataFieldsInfoTest,
    suites.GetMetadataFieldMinMaxTest,
    suites.GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store):
        documents = [Document(content="test doc")]
        assert document_store.write_documents(documents) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents(documents)


class TestAsync(
    _Fixture,
    async_suites.CountDocumentsAsyncTest,
    async_suites.CountDocumentsByFilterAsyncTest,
    async_suites.CountUniqueMetadataByFilterAsyncTest,
    async_suites.DeleteAllAsyncTest,
    async_suites.DeleteByFilterAsyncTest,
    async_suites.DeleteDocumentsAsyncTest,
    async_suites.FilterDocumentsAsyncTest,
    async_suites.GetMetadataFieldMinMaxAsyncTest,
    async_suites.GetMetadataFieldsInfoAsyncTest,
    async_suites.GetMetadataFieldUniqueValuesAsyncTest,
    async_suites.UpdateByFilterAsyncTest,
    async_suites.WriteDocumentsAsyncTest,
):
    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store):
        documents = [Document(content="test doc")]
        assert await document_store.write_documents_async(documents) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async(documents)


def test_all_of_a_document_comes_back(document_store):
    documents = [
        Document(content="rain", meta={"none": None, "nested": {"a": [{"b": 1}]}, "title": "no prefix"}),
        Document(blob=ByteStream(b"\x00\xff", meta={"page": 1}, mime_type="image/png")),
        Document(content="", sparse_embedding=SparseEmbedding([1, 5], [0.1, 0.2]), embedding=[0.1, 1e-30]),
        Document(content=None),
    ]
    assert document_store.write_documents(documents) == 4
    assert document_store.filter_documents() == documents
    assert document_store.get_metadata_fields_info().keys() == {"nested", "title"}


def test_meta_of_all_kinds(document_store):
    meta = {"moment": datetime(2024, 2, 29, 12, tzinfo=UTC), "half": np.float32(0.5), "array": np.arange(2)}
    document_store.write_documents([Document(id="x", content="rain", meta=meta)])
    [found] = document_store.filter_documents()
    assert found.meta == {"moment": "2024-02-29T12:00:00+00:00", "half": 0.5, "array": [0, 1]}
    day = datetime(2024, 1, 1, tzinfo=UTC)
    assert document_store.filter_documents({"field": "meta.moment", "operator": ">", "value": day}) == [found]


@pytest.mark.parametrize("meta", [{"a": b"bytes"}, {"a": float("inf")}, {"_haystack": 1}])
def test_what_can_not_be_stored_leaves_nothing_behind(document_store, meta):
    with pytest.raises(DocumentStoreError, match="meta"):
        document_store.write_documents([Document(content="snow"), Document(content="rain", meta=meta)])
    assert document_store.count_documents() == 0


@pytest.mark.parametrize(
    ("policy", "written", "left"),
    [(DuplicatePolicy.SKIP, 1, "one"), (DuplicatePolicy.OVERWRITE, 3, "three")],
)
def test_ids_that_collide_in_one_call(document_store, policy, written, left):
    documents = [Document(id="x", content=text) for text in ("one", "two", "three")]
    assert document_store.write_documents(documents, policy) == written
    assert [one.content for one in document_store.filter_documents()] == [left]
    with pytest.raises(DuplicateDocumentError):
        document_store.write_documents([Document(id="y", content="a"), Document(id="y", content="b")])
    assert document_store.count_documents() == 1


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.n", "operator": "contains", "value": 1},
        {"field": "meta.tags", "operator": "==", "value": ["a", "t0"]},
        {"field": "content", "operator": "==", "value": "rain"},
        {"field": "", "operator": "==", "value": 1},
        {"field": "meta.n", "operator": ">", "value": True},
        {"operator": "XOR", "conditions": []},
        {"operator": "AND", "conditions": {"field": "meta.n", "operator": "==", "value": 1}},
        {"operator": "AND", "conditions": ["n > 1"]},
        {"meta.n": 1},
    ],
)
def test_filters_that_can_not_be_used(filled, filters):
    with pytest.raises(FilterError):
        filled.filter_documents(filters)
    with pytest.raises(FilterError):
        LFM2TextRetriever(filled).run("rain", filters)


def test_filters_without_conditions_mean_what_haystack_says(filled):
    count = filled.count_documents_by_filter
    assert [count({"operator": operator, "conditions": []}) for operator in ("AND", "OR", "NOT")] == [5, 0, 0]
    assert count({"field": "id", "operator": "in", "value": ["1", "2"]}) == 2
    for change in (filled.delete_by_filter, lambda filters: filled.update_by_filter(filters, {"a": 1})):
        with pytest.raises(ValueError, match="delete_all_documents"):
            change({})


class TestRetriever:
    def test_it_finds_what_a_search_finds(self, filled):
        hits = filled.retriever.search("rain falls", 3)
        found = LFM2TextRetriever(filled, top_k=3).run("rain falls")["documents"]
        assert [(one.id, one.content, one.score) for one in found] == [
            (hit.id, hit.text, hit.score) for hit in hits
        ]
        assert found == asyncio.run(LFM2TextRetriever(filled).run_async("rain falls", top_k=3))["documents"]

    def test_options(self, filled):
        def n_is(value):
            return {"field": "meta.n", "operator": "in", "value": value}

        words = LFM2TextRetriever(filled, n_is([1, 2]), search_options={"mode": "lexical"})
        assert [one.id for one in words.run("quiet hills boats")["documents"]] == ["1", "2"]
        assert [one.id for one in words.run("quick hills boats", n_is([0]))["documents"]] == ["0"]
        merged = LFM2TextRetriever(filled, n_is([1, 2]), filter_policy=FilterPolicy.MERGE)
        assert (
            len(merged.run("rain", {"field": "meta.tags", "operator": "==", "value": "t2"})["documents"]) == 1
        )
        assert words.run("rain", top_k=0) == {"documents": []}
        assert len(merged.run("rain", n_is([0, 1, 2, 3]), top_k=10**9)["documents"]) == 4
        for arguments in ({"top_k": 0}, {"search_options": {"k": 3}}, {"search_options": {"alpha": 3}}):
            with pytest.raises(ValueError, match=r"k must be|top_k|weight"):
                LFM2TextRetriever(filled, **arguments)
        with pytest.raises(ValueError, match="k must be"):
            words.run("rain", top_k=-1)
        with pytest.raises(TypeError, match="LFM2DocumentStore"):
            LFM2TextRetriever("my-index")

    def test_a_hundred_runs_at_once(self, filled):
        retriever = LFM2TextRetriever(filled, top_k=2)

        async def many():
            return await asyncio.gather(*(retriever.run_async(f"rain {n}") for n in range(100)))

        assert asyncio.run(many()) == [retriever.run(f"rain {n}") for n in range(100)]


class TestRanker:
    def test_documents_are_put_in_order(self, encoder):
        documents = [Document(content=text) for text in TEXTS] + [Document(content=None)]
        hits = Retriever.index(TEXTS, model=encoder).search("rain falls", 5)
        found = LFM2Ranker(encoder).run("rain falls", documents)["documents"]
        assert [TEXTS.index(one.content) for one in found] == [int(hit.id) for hit in hits]
        assert all(one.score is None for one in documents)
        assert [one.score for one in found] == pytest.approx([hit.score for hit in hits], abs=0.01)
        assert (
            asyncio.run(LFM2Ranker(encoder, 2).run_async("rain falls", documents))["documents"] == found[:2]
        )
        assert LFM2Ranker(encoder).run("rain", [])["documents"] == []
        with pytest.raises(InvalidInputError):
            LFM2Ranker(encoder, 0)

    def test_a_missing_model_is_named_at_warm_up(self, tmp_path):
        with pytest.raises(ModelNotFoundError):
            LFM2Ranker(tmp_path / "no-model").warm_up()


def test_a_pipeline_is_saved_and_run_in_another_process(encoder, tmp_path):
    path = tmp_path / "index"
    store = LFM2DocumentStore(path, model=encoder, fields=["n"], trust_model=True)
    writing = Pipeline()
    writing.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    documents = [Document(content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]
    assert writing.run({"writer": {"documents": documents}}) == {"writer": {"documents_written": 5}}
    writing.close()

    asking = Pipeline()
    filters = {"field": "meta.n", "operator": ">", "value": 0}
    asking.add_component("retriever", LFM2TextRetriever(store, filters, 3, search_options={"mode": "hybrid"}))
    asking.add_component("ranker", LFM2Ranker(encoder, top_k=2))
    asking.connect("retriever.documents", "ranker.documents")
    asking.warm_up()
    data = {"retriever": {"query": "rain falls"}, "ranker": {"query": "rain falls"}}
    found = asking.run(data)["ranker"]["documents"]
    assert asyncio.run(asking.run_async(data))["ranker"]["documents"] == found
    (tmp_path / "pipeline.yaml").write_text(asking.dumps())
    asking.close()

    code = f"""
from haystack import Pipeline
pipeline = Pipeline.loads(open("pipeline.yaml").read(), allowed_modules=["lfm2_retrieval.*"])
found = pipeline.run({data!r})["ranker"]["documents"]
print([(one.id, one.score, one.meta) for one in found])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([(one.id, one.score, one.meta) for one in found])


def test_nothing_is_opened_before_it_is_needed_and_all_is_closed(encoder, tmp_path):
    store = LFM2DocumentStore(tmp_path / "index", model=encoder, trust_model=True)
    assert not (tmp_path / "index").exists()
    store.warm_up()
    assert (tmp_path / "index").is_dir()
    opened = store.retriever
    with store:
        store.write_documents([Document(content="rain")])
    with pytest.raises(ValueError, match="closed"):
        opened.count()
    assert store.count_documents() == 1  # opened again
    store.close()
    with Retriever.open(tmp_path / "index", trust_model=True) as retriever:
        given = LFM2DocumentStore(retriever=retriever)
        assert given.count_documents() == 1
        given.close()
        assert retriever.count() == 1
        with pytest.raises(DocumentStoreError, match="path"):
            given.to_dict()
    with pytest.raises(DocumentStoreError, match="closed"):
        given.count_documents()
    with pytest.raises(DocumentStoreError, match="closed"):
        given.filter_documents()
    with pytest.raises(ValueError, match="one of them"):
        LFM2DocumentStore("my-index", retriever=retriever)


def test_damage_and_missing_models_are_the_framework_s_errors(encoder, tmp_path):
    with pytest.raises(DocumentStoreError, match="no-model"):
        LFM2DocumentStore(tmp_path / "index", model=tmp_path / "no-model").warm_up()
    assert not (tmp_path / "index").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file.txt").write_text("not an index")
    with pytest.raises(DocumentStoreError, match="other"):
        LFM2DocumentStore(tmp_path / "other", model=encoder).count_documents()
    with LFM2DocumentStore(tmp_path / "index", model=encoder) as store:
        store.write_documents([Document(content=text) for text in TEXTS])
    [vectors] = (tmp_path / "index").rglob("*ectors*.npy")
    vectors.write_bytes(vectors.read_bytes()[:-10])
    damaged = LFM2TextRetriever(LFM2DocumentStore(tmp_path / "index", trust_model=True))
    with pytest.raises(DocumentStoreError, match="repair"):
        damaged.run("rain")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "haystack", None)
    for name in [name for name in sys.modules if name.startswith("lfm2_retrieval.integrations.haystack")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[haystack\]"):
        importlib.import_module("lfm2_retrieval.integrations.haystack.ranker")
