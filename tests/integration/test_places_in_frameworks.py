"""Where passages lie arrives in every framework's documents, whatever metadata users have."""

from __future__ import annotations

import asyncio

import pytest

from lfm2_retrieval import Document, Encoder, Retriever
from lfm2_retrieval.documents import Passages, read
from lfm2_retrieval.hits import Hit, Place
from lfm2_retrieval.integrations.places import PLACE, place_values
from lfm2_retrieval.retriever.tools import IndexTools

GUIDE = """# Harbour

## Arriving

Call the office on channel twelve before you pass the outer light, and wait there for two green lights.

## Fees

A boat of up to ten metres pays eighteen euros a night, and a longer one twenty-seven. Water is included.
"""
QUERY = "what does a boat pay a night"


@pytest.fixture(scope="module")
def encoder(checkpoint) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture(scope="module")
def retriever(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "guide.md").write_text(GUIDE)
    (folder / "tides.txt").write_text("The sea rises twice a day.\n")
    found = [*read(folder), Document("plain", "A plain text.", {"source": "mine", "page": 9, "lfm2": "x"})]
    with Retriever.index(found, model=encoder, passages=Passages(tokens=40)) as retriever:
        yield retriever


@pytest.fixture(scope="module")
def hits(retriever):
    """All passages, the best first, by id."""
    return {hit.id: hit for hit in retriever.search(QUERY, 20)}


def is_where(place, hit):
    assert place["document_id"] == hit.document_id
    assert (place["passage"], tuple(place["span"])) == (hit.number, hit.span)
    if hit.source is not None:
        assert place["source"] == hit.source
        assert tuple(place["lines"]) == hit.lines
        assert place["place"].startswith("line")
    assert tuple(place.get("headings", ())) == hit.headings


def test_there_are_several_passages(hits):
    assert len(hits) > 3
    assert any(hit.headings[-1:] == ("Fees",) or "Fees" in hit.text for hit in hits.values())


def test_names_and_values():
    assert place_values(Document("a", "b")) == {}
    assert place_values(Hit("a", 1.0, 1)) == {}
    hit = Hit(
        "a#2", 1.0, 1, document_id="a", number=2, span=(3, 9), place=Place(pages=(2, 3)), source="/a.pdf"
    )
    assert place_values(hit) == {
        "document_id": "a",
        "passage": 2,
        "span": [3, 9],
        "source": "/a.pdf",
        "place": "pp. 2–3",
        "page": 2,
        "pages": [2, 3],
    }


def test_langchain(retriever, hits):
    pytest.importorskip("langchain_core")
    from lfm2_retrieval.integrations.langchain import (
        LFM2DocumentIndex,
        LFM2Reranker,
        LFM2Retriever,
        LFM2VectorStore,
    )

    store = LFM2VectorStore(retriever)
    both = LFM2Retriever(retriever=retriever, k=20)
    found = [
        *store.similarity_search(QUERY, 20),
        *(one for one, _ in store.similarity_search_with_score(QUERY, 20)),
        *both.invoke(QUERY),
        *asyncio.run(both.ainvoke(QUERY)),
    ]
    assert len(found) == 4 * len(hits)
    for one in found:
        is_where(one.metadata[PLACE], hits[one.id])
        assert one.page_content == hits[one.id].text
        if one.id.startswith("plain"):
            assert (one.metadata["source"], one.metadata["page"]) == ("mine", 9)
    by = LFM2Retriever(retriever=retriever, k=9, search_kwargs={"by": "document"}).invoke(QUERY)
    assert sorted(one.metadata[PLACE]["document_id"] for one in by) == ["guide.md", "plain", "tides.txt"]
    assert {
        one.metadata[PLACE]["document_id"] for one in store.similarity_search(QUERY, 9, by="document")
    } == {
        "guide.md",
        "plain",
        "tides.txt",
    }
    for ask in (store.similarity_search, store.similarity_search_with_score, both.invoke):
        with pytest.raises(TypeError, match="one by one"):
            ask([QUERY])
    with pytest.raises(TypeError, match="LangChain's Documents"):
        LFM2Reranker(retriever=retriever).compress_documents(["rain"], QUERY)
    [whole] = store.get_by_ids(["guide.md"])
    assert whole.page_content.startswith("# Harbour")
    assert whole.metadata[PLACE]["source"].endswith("guide.md")
    with LFM2VectorStore.from_documents(found, model=retriever.encoder) as again:
        assert all(PLACE not in one.metadata for one in again.similarity_search(QUERY, 20))
    index = LFM2DocumentIndex.from_documents(found[:1], model=retriever.encoder)
    assert PLACE not in index.get([found[0].id])[0].metadata
    index.retriever.close()


def test_llamaindex(retriever, hits, encoder):
    pytest.importorskip("llama_index.core")
    from llama_index.core import Document as LlamaDocument
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import MetadataMode, NodeRelationship

    from lfm2_retrieval.integrations.llamaindex import LFM2Retriever, LFM2VectorStore

    nodes = LFM2Retriever(retriever, 20).retrieve(QUERY)
    assert len(nodes) == len(hits)
    for one in nodes:
        node, hit = one.node, hits[one.node_id]
        is_where(node.metadata[PLACE], hit)
        assert (node.start_char_idx, node.end_char_idx) == hit.span
        assert node.source_node.node_id == node.ref_doc_id == hit.document_id
        assert "document_id" not in node.get_content(MetadataMode.LLM)
        assert "document_id" not in node.get_content(MetadataMode.EMBED)
    by = LFM2Retriever(retriever, 9, by="document").retrieve(QUERY)
    assert sorted(one.node.ref_doc_id for one in by) == ["guide.md", "plain", "tides.txt"]

    options = {"passages": {"tokens": 40}}
    with LFM2VectorStore(model=encoder, options=options) as store:
        document = LlamaDocument(text=GUIDE, id_="guide", metadata={"author": "Ada"})
        parts = SentenceSplitter(chunk_size=64, chunk_overlap=0)([LlamaDocument(text=GUIDE * 3, id_="book")])
        store.add([document, *parts])
        found = store.as_retriever(50).retrieve(QUERY)
        assert len({one.node_id for one in found}) == len(found) > len(parts)
        for one in found:
            place = one.node.metadata[PLACE]
            whole = store.get_nodes([place["document_id"]])[0]
            start, end = place["span"]
            assert whole.text[start:end] == one.node.text
            assert one.node.ref_doc_id == ("guide" if place["document_id"] == "guide" else "book")
        of_book = [one.node for one in found if one.node.ref_doc_id == "book"]
        assert {one.relationships[NodeRelationship.PARENT].node_id for one in of_book} <= {
            one.node_id for one in parts
        }
        assert store.get_nodes([found[0].node_id])[0].text == found[0].node.text
        store.delete("book")
        assert store.client.count() == 1
        store.delete("guide")
        assert store.client.count() == 0


def test_haystack(retriever, hits, encoder):
    pytest.importorskip("haystack")
    from haystack import Document as HaystackDocument
    from haystack.document_stores.errors import DocumentStoreError

    from lfm2_retrieval.integrations.haystack import LFM2DocumentStore, LFM2TextRetriever

    store = LFM2DocumentStore(retriever=retriever)
    found = LFM2TextRetriever(store, top_k=20).run(QUERY)["documents"]
    assert len(found) == len(hits)
    for one in found:
        is_where(one.meta[PLACE], hits[one.id])
    by = LFM2TextRetriever(store, top_k=9, search_options={"by": "document"}).run(QUERY)["documents"]
    assert sorted(one.meta[PLACE]["document_id"] for one in by) == ["guide.md", "plain", "tides.txt"]
    made = LFM2DocumentStore(model=encoder, passages=Passages(tokens=40))
    assert LFM2DocumentStore.from_dict(made.to_dict()).to_dict() == made.to_dict()
    assert made.to_dict()["init_parameters"]["passages"] == {"tokens": 40, "overlap": 0, "headings": True}
    with pytest.raises(ValueError, match="mean tokens"):
        LFM2DocumentStore(passages={"token": 40})
    with pytest.raises(DocumentStoreError, match="one by one"):
        LFM2TextRetriever(store).run([QUERY])
    with made:
        made.write_documents([HaystackDocument(content=GUIDE, id="guide"), *found[:1]])
        for one in LFM2TextRetriever(made, top_k=20).run(QUERY)["documents"]:
            assert one.meta[PLACE]["document_id"] in ("guide", found[0].id)
        assert PLACE not in made.filter_documents()[1].meta


def test_tools_and_mcp(retriever, hits):
    found = IndexTools(retriever).search(QUERY, 20).values["results"]
    for one in found:
        hit = hits[one.get("passage_id", one["id"])]
        assert (one["id"], tuple(one["span"]), one["passage"]) == (hit.document_id, hit.span, hit.number)
        assert one.get("lines") == (None if hit.lines is None else list(hit.lines))
    text = retriever.as_tool(k=20)(QUERY)
    for hit in hits.values():
        assert f"id={hit.document_id} span={hit.span[0]}-{hit.span[1]}" in text
        assert hit.source is None or f"({hit.source}, {hit.place}" in text
    assert retriever.as_tool(k=20, by="document")(QUERY).count("id=") == 3
    pytest.importorskip("mcp.server.mcpserver")
    from mcp.client import Client

    from lfm2_retrieval.integrations.mcp import make_server

    async def ask():
        async with Client(make_server(retriever)) as client:
            return await client.call_tool("search", {"query": QUERY, "k": 20, "by": "document"})

    answer = asyncio.run(ask()).structured_content["results"]
    assert sorted(one["id"] for one in answer) == ["guide.md", "plain", "tides.txt"]
    assert "lines" in next(one for one in answer if one["id"] == "guide.md")
