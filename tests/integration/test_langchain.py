from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
from typing import Any

import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.errors import DuplicateIdError, InvalidInputError, MissingExtraError

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from lfm2_retrieval.integrations.langchain import LFM2Retriever

TEXTS = [
    "the quick brown fox jumps over a lazy dog",
    "rain falls on quiet hills",
    "rivers carry boats past old towns",
    "people sell bread, cheese and wine",
    "every morning trains leave for the coast at seven",
]


@pytest.fixture(scope="module")
def encoder(checkpoint) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture(scope="module")
def library(encoder):
    with Retriever.index(TEXTS, model=encoder) as retriever:
        yield retriever


# The suite's async tests carry no mark of their own, and its plain ones want none.
@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:.*marked with '@pytest.mark.asyncio'")
class TestStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _library(self, library):
        self.library = library

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return LFM2Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retriever": self.library}

    @property
    def retriever_query_example(self) -> str:
        return "where do boats go?"


def test_documents_carry_what_the_hits_say(library):
    hits = library.search("rain", k=3)
    documents = LFM2Retriever(retriever=library, k=3).invoke("rain")
    assert [d.id for d in documents] == [hit.id for hit in hits]
    assert [d.page_content for d in documents] == [hit.text for hit in hits]
    assert [d.metadata for d in documents] == [
        {"score": hit.score, "score_kind": "maxsim", "rank": hit.rank} for hit in hits
    ]
    assert all(type(d.metadata["score_kind"]) is str for d in documents)


def test_k_of_one_call_does_not_stick(library):
    retriever = LFM2Retriever(retriever=library, k=2)
    assert len(retriever.invoke("rain", k=4)) == 4
    assert len(retriever.invoke("rain")) == 2
    assert len(asyncio.run(retriever.ainvoke("rain", k=3))) == 3


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_that_can_not_be_used(library, k):
    with pytest.raises(ValidationError):
        LFM2Retriever(retriever=library, k=k)
    with pytest.raises(InvalidInputError, match="k must be"):
        LFM2Retriever(retriever=library).invoke("rain", k=k)


def test_async_goes_through_asearch(library, monkeypatch):
    async def asearch(query, k=10):
        return library.search(f"{query} falls", k)

    def search(*_):
        raise AssertionError("search was called in the event loop's thread")

    expected = LFM2Retriever(retriever=library).invoke("rain falls", k=2)
    other = Retriever(library.store, lambda: library.encoder)
    monkeypatch.setattr(other, "asearch", asearch)
    monkeypatch.setattr(other, "search", search)
    assert asyncio.run(LFM2Retriever(retriever=other, k=2).ainvoke("rain")) == expected


def test_many_queries_at_once(library):
    retriever = LFM2Retriever(retriever=library, k=2)
    single = [retriever.invoke(text) for text in TEXTS]
    assert retriever.batch(TEXTS) == single
    assert asyncio.run(retriever.abatch(TEXTS)) == single


def test_it_composes(library):
    chain = LFM2Retriever(retriever=library, k=2) | RunnableLambda(len)
    assert chain.invoke("rain") == 2


def test_texts(encoder, tmp_path):
    made = LFM2Retriever.from_texts(
        TEXTS, [{"n": i} for i in range(5)], list("abcde"), k=5, path=tmp_path / "index", model=encoder
    )
    found = {d.id: (d.page_content, d.metadata["n"]) for d in made.invoke("rain")}
    assert found == {id: (text, n) for n, (id, text) in enumerate(zip("abcde", TEXTS, strict=True))}
    made.retriever.close()
    opened = LFM2Retriever.open(tmp_path / "index", k=1, trust_model=True)
    assert len(opened.invoke("rain")) == 1
    opened.retriever.close()


def test_documents_with_and_without_ids(encoder):
    documents = [Document("rain falls", id="x", metadata={"rank": "high"}), Document("snow falls")]
    made = LFM2Retriever.from_documents(documents, model=encoder)
    found = made.invoke("rain")
    assert {d.id for d in found} == {"x", "1"}
    assert [d.metadata["rank"] for d in found] == [1, 2]
    assert made.retriever.get("x").metadata == {"rank": "high"}
    made.retriever.close()


def test_lengths_that_differ(encoder):
    with pytest.raises(InvalidInputError, match="5 of text, 1 of id"):
        LFM2Retriever.from_texts(TEXTS, ids=["a"], model=encoder)


def test_errors_of_the_index_come_through(encoder):
    with pytest.raises(DuplicateIdError):
        LFM2Retriever.from_texts(["a", "b"], ids=["x", "x"], model=encoder)


def test_without_langchain_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "langchain_core":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "lfm2_retrieval.integrations.langchain")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[langchain\]"):
        importlib.import_module("lfm2_retrieval.integrations.langchain")


def test_options_are_those_of_the_retriever_or_of_one_call(encoder):
    records = [{"id": str(i), "text": text, "even": i % 2 == 0} for i, text in enumerate(TEXTS)]
    with Retriever.index(records, model=encoder) as library:
        words = LFM2Retriever(retriever=library, search_kwargs={"mode": "lexical", "where": {"even": True}})
        assert {document.id for document in words.invoke("quick hills boats")} == {"0", "2"}
        [found] = words.invoke("quick hills boats", where={"even": False})
        assert (found.id, found.metadata["score_kind"]) == ("1", "bm25")
        assert len(asyncio.run(words.ainvoke("hills", mode="hybrid", k=2))) == 2
        hybrid = LFM2Retriever.from_texts(TEXTS, model=encoder, search_kwargs={"mode": "hybrid"})
        assert hybrid.invoke("quick fox")[0].metadata["score_kind"] == "rrf"
        hybrid.retriever.close()


@pytest.fixture
def stored(encoder, tmp_path):
    Retriever.index(TEXTS, tmp_path / "index", model=encoder).close()
    return tmp_path / "index"


def test_k_is_heard_wherever_it_is_said(stored):
    """As other retrievers take it: in ``search_kwargs``, on the object, in one call, in a configuration."""
    made = [
        LFM2Retriever.open(stored, trust_model=True, search_kwargs={"k": 3}),
        LFM2Retriever.open(stored, trust_model=True, k=3),
        LFM2Retriever.open(stored, trust_model=True, k=3, search_kwargs={"k": 3}),
        LFM2Retriever(retriever=Retriever.open(stored, trust_model=True), search_kwargs={"k": 3}),
    ]
    for one in made:
        assert one.k == 3
        assert len(one.invoke("rain")) == 3
    retriever = made[0]
    assert len(retriever.with_config(configurable={"k": 2}).invoke("rain")) == 2
    assert len(asyncio.run(retriever.with_config(configurable={"k": 2}).ainvoke("rain"))) == 2
    assert len(retriever.invoke("rain", {"configurable": {"k": 2, "thread_id": "of the graph"}})) == 2
    assert len(retriever.invoke("rain", {"configurable": {"search_kwargs": {"k": 2}}})) == 2
    assert len(retriever.invoke("rain", search_kwargs={"k": 4})) == 4
    assert len(retriever.invoke("rain")) == 3
    field = ConfigurableField(id="k")
    assert len(retriever.configurable_fields(k=field).with_config(configurable={"k": 1}).invoke("rain")) == 1
    retriever.k = 2
    assert len(retriever.invoke("rain")) == 2
    retriever.search_kwargs["k"] = 4
    assert len(retriever.invoke("rain")) == 4
    assert len((retriever | RunnableLambda(list)).invoke("rain", {"configurable": {"k": 1}})) == 1
    for one in made:
        one.retriever.close()


def test_what_a_search_does_not_know_is_refused(library, stored):
    for call in (
        lambda: LFM2Retriever.open(stored, trust_model=True, search_kwargs={"top_k": 3}),
        lambda: LFM2Retriever.open(stored, trust_model=True, top_k=3),
        lambda: LFM2Retriever.open(stored, trust_model=True, search_type="similarity"),
        lambda: LFM2Retriever.open(stored, trust_model=True, k=3, search_kwargs={"k": 4}),
        lambda: LFM2Retriever(retriever=library, top_k=3),
        lambda: LFM2Retriever(retriever=library, search_kwargs={"top_k": 3}),
        lambda: LFM2Retriever(retriever=library).invoke("rain", top_k=3),
        lambda: LFM2Retriever(retriever=library).invoke("rain", search_kwargs={"filter": {"a": 1}}),
        lambda: LFM2Retriever(retriever=library).with_config(configurable={"top_k": 3}).invoke("rain"),
        lambda: asyncio.run(LFM2Retriever(retriever=library).ainvoke("rain", limit=3)),
    ):
        with pytest.raises(ValueError, match=r"did you mean|got an unexpected|not permitted|give one of"):
            call()


def test_nothing_is_indexed_for_options_that_are_refused(encoder, tmp_path):
    for kwargs in ({"top_k": 3}, {"mode": "words"}, {"k": 3, "weight": 2}):
        with pytest.raises(InvalidInputError):
            LFM2Retriever.from_texts(TEXTS, path=tmp_path / "index", model=encoder, search_kwargs=kwargs)
    assert not (tmp_path / "index").exists()
