from __future__ import annotations

import asyncio
import importlib
import itertools
import sys
from datetime import UTC, datetime

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

pytest.importorskip("llama_index.core")

from llama_index.core import Document, get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    NodeWithScore,
    TextNode,
)
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from lfm2_retrieval.integrations.llamaindex import LFM2Reranker, LFM2Retriever, LFM2VectorStore

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
def store(encoder):
    with LFM2VectorStore(model=encoder) as store:
        yield store


@pytest.fixture
def filled(store):
    store.add([TextNode(id_=str(n), text=text, metadata={"n": n}) for n, text in enumerate(TEXTS)])
    return store


def one(key, operator, value=None):
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])


def test_nodes_and_their_relationships_come_back(store):
    document = Document(
        text=". ".join(TEXTS * 3),
        id_="book",
        metadata={"title": "Towns", "file": "a.txt", "none": None, "nested": {"a": [1, {"b": 2}]}, "id": 7},
        excluded_embed_metadata_keys=["file"],
    )
    nodes = SentenceSplitter(chunk_size=90, chunk_overlap=0).get_nodes_from_documents([document])
    nodes += [
        TextNode(text="no metadata", id_="plain"),
        IndexNode(text="a table", index_id="table-1"),
        ImageNode(text="", image_path="a.png", metadata={"page": 1}),
        Node(text_resource=MediaResource(text="of resources"), metadata={"x": "y"}),
    ]
    assert len(nodes) > 6
    assert store.add(nodes) == [node.node_id for node in nodes]
    back = store.get_nodes()
    assert [type(node) for node in back] == [type(node) for node in nodes]
    assert [node.to_dict() for node in back] == [node.to_dict() for node in nodes]
    assert back[1].relationships[NodeRelationship.PREVIOUS].node_id == nodes[0].node_id
    assert back[0].source_node.node_id == "book"
    assert store.client.get(nodes[0].node_id).text.startswith("title: Towns")
    [found] = store.query(VectorStoreQuery(query_str="rain", node_ids=["plain"])).nodes
    assert found.to_dict() == nodes[-4].to_dict()
    assert len(
        store.query(VectorStoreQuery(query_str="rain", doc_ids=["book"], similarity_top_k=99)).ids
    ) == (len(nodes) - 4)
    store.delete("book")
    assert len(store.get_nodes()) == 4


def test_metadata_of_other_libraries(store):
    metadata = {"half": np.float32(0.5), "moment": datetime(2024, 2, 29, tzinfo=UTC), "list": np.arange(2)}
    node = TextNode(text="rain", metadata=metadata)
    store.add([node])
    [found] = store.get_nodes()
    assert found.metadata == {"half": 0.5, "moment": "2024-02-29T00:00:00+00:00", "list": [0, 1]}
    assert node.metadata["list"] is metadata["list"]
    for bad in (b"bytes", object(), float("inf")):
        with pytest.raises(ValueError, match="metadata"):
            store.add([TextNode(text="snow"), TextNode(text="rain", metadata={"a": bad})])
    with pytest.raises(ValueError, match="no node"):
        store.add(["rain"])
    assert store.client.count() == 1


METADATA = [
    {},
    {"a": None, "n": None},
    {"a": "", "n": 0},
    {"a": "Rain falls", "n": 1},
    {"a": "rain Falls 100%", "n": 2.5},
    {"a": "rain", "n": -3},
    {"a": "ÄRGER_x", "n": 10**12},
    {"a": [], "n": 4},
    {"a": ["rain", "snow"], "n": 5},
    {"a": ["snow", "it's"], "n": 5},
]
LEAVES = [
    MetadataFilter(key=key, operator=operator, value=value)
    for key, operator, value in [
        ("a", "==", "rain"),
        ("a", "!=", "rain"),
        ("n", "==", 5),
        ("n", "!=", 5),
        ("n", ">", 1),
        ("n", ">=", 1),
        ("n", "<", 1),
        ("n", "<=", 2.5),
        ("n", "in", [1, 5]),
        ("n", "nin", [1, 5]),
        ("a", "in", ["rain", ""]),
        ("a", "is_empty", None),
        ("n", "is_empty", None),
        ("missing", "is_empty", None),
    ]
]


def expected(filters):
    holds = build_metadata_filter_fn(lambda id: METADATA[int(id)], filters)
    return [str(n) for n in range(len(METADATA)) if holds(str(n))]


@pytest.fixture(scope="module")
def variety(encoder):
    with LFM2VectorStore(model=encoder) as store:
        store.add([TextNode(id_=str(n), text=f"rain {n}", metadata=some) for n, some in enumerate(METADATA)])
        yield store


def found(store, filters):
    return [node.node_id for node in store.get_nodes(filters=filters)]


@pytest.mark.parametrize("condition", list(FilterCondition))
def test_filters_mean_what_llamaindex_says(variety, condition):
    lists = {"8", "9"}  # whose elements compare, which LlamaIndex's own function doesn't do
    for pair in itertools.chain(((leaf,) for leaf in LEAVES), itertools.pairwise(LEAVES)):
        filters = MetadataFilters(filters=list(pair), condition=condition)
        wanted = set(expected(filters)) - lists
        assert set(found(variety, filters)) - lists == wanted, filters
        query = VectorStoreQuery(query_str="rain", similarity_top_k=99, filters=filters)
        assert set(variety.query(query).ids) - lists == wanted


@pytest.mark.parametrize(
    ("operator", "value", "ids"),
    [
        ("any", ["snow", "rain"], "5 8 9"),
        ("all", ["snow", "rain"], "8"),
        ("all", ["it's"], "9"),
        ("contains", "snow", "8 9"),
        ("text_match", "rain", "4 5 8"),
        ("text_match", "Rain", "3"),
        ("text_match", "100%", "4"),
        ("text_match", "", "2 3 4 5 6 8 9"),
        ("text_match", "_x", "6"),
        ("text_match", "ain_", ""),
        ("text_match_insensitive", "RAIN", "3 4 5 8"),
        ("text_match_insensitive", "FALLS", "3 4"),
        ("text_match_insensitive", "ärger_", "6"),
        ("text_match_insensitive", "0%", "4"),
        ("is_empty", None, "0 1 2 7"),
        ("==", None, "0 1"),
        ("!=", None, "2 3 4 5 6 7 8 9"),
        (">", None, ""),
        ("in", [], ""),
        ("nin", [], "0 1 2 3 4 5 6 7 8 9"),
        ("in", ["it's"], "9"),
    ],
)
def test_operators_of_lists_and_texts(variety, operator, value, ids):
    assert found(variety, one("a", operator, value)) == ids.split()
    inside = MetadataFilters(filters=[one("a", operator, value)], condition="not")
    assert set(found(variety, inside)) == set(map(str, range(10))) - set(ids.split())
    assert asyncio.run(variety.aget_nodes(filters=one("a", operator, value))) == variety.get_nodes(
        filters=one("a", operator, value)
    )


def test_every_operator_is_mapped(variety):
    for operator in FilterOperator:
        value = ["x"] if operator.value in ("in", "nin", "any", "all") else "x"
        variety.get_nodes(filters=one("a", operator, value))


@pytest.mark.parametrize(
    ("operator", "value"),
    [("==", ["a"]), ("in", "a"), ("text_match", 5), (">", float("nan")), (">", ["a"]), ("any", None)],
)
def test_values_that_an_operator_does_not_take(variety, operator, value):
    with pytest.raises(ValueError, match="'a'"):
        variety.get_nodes(filters=one("a", operator, value))


def test_strange_keys_and_values_stay_what_they_are(store):
    for n, key in enumerate(['say "x"', "a.b", "; --", "über", "$price"]):
        store.add([TextNode(id_=str(n), text="rain", metadata={key: "it's ' OR TRUE"})])
        assert found(store, one(key, "==", "it's ' OR TRUE")) == [str(n)]
    with pytest.raises(ValueError, match="key"):
        store.get_nodes(filters=one("", "==", 1))


def test_queries(filled):
    def ask(**options):
        return filled.query(
            VectorStoreQuery(**{"query_str": "quiet hills", "similarity_top_k": 3, **options})
        )

    hits = filled.client.search("quiet hills", 3)
    result = ask()
    assert (result.ids, result.similarities) == ([hit.id for hit in hits], [hit.score for hit in hits])
    assert ask(mode=VectorStoreQueryMode.TEXT_SEARCH).ids == ["1"]
    hybrid = ask(mode="hybrid", alpha=0.3, hybrid_top_k=2)
    assert hybrid.similarities == [
        hit.score
        for hit in filled.client.search("quiet hills", 2, mode="hybrid", fusion="weighted", weight=0.3)
    ]
    assert ask(similarity_top_k=0).nodes == []
    assert len(ask(similarity_top_k=10**9).nodes) == 5
    for options in ({"query_str": None, "query_embedding": [0.0]}, {"mode": "mmr"}, {"similarity_top_k": -1}):
        with pytest.raises(ValueError, match=r"query_str|group_by|k must be"):
            ask(**options)
        with pytest.raises(ValueError, match=r"query_str|group_by|k must be"):
            asyncio.run(filled.aquery(VectorStoreQuery(**{"query_str": "rain", **options})))


def test_adding_and_deleting(filled):
    filled.add([TextNode(id_="x", text="one"), TextNode(id_="x", text="two")])
    assert [node.text for node in filled.get_nodes(["x", "not there"])] == ["two"]
    filled.delete_nodes(["x", "not there"])
    filled.delete_nodes(["0", "1"], one("n", ">", 0))
    assert [node.node_id for node in filled.get_nodes()] == ["0", "2", "3", "4"]
    filled.delete_nodes(filters=one("n", ">", 3))
    assert [node.node_id for node in filled.get_nodes(["0", "3"], one("n", ">", 0))] == ["3"]
    filled.delete_nodes([])
    with pytest.raises(ValueError, match="clear"):
        filled.delete_nodes()
    asyncio.run(filled.adelete_nodes(["0"]))
    assert filled.client.count() == 2
    asyncio.run(filled.aclear())
    assert filled.client.count() == 0
    assert asyncio.run(filled.async_add([TextNode(text="rain", id_="a")])) == ["a"]
    asyncio.run(filled.adelete("None"))
    assert filled.get_nodes() == []


def test_it_is_stored_and_opened_again(encoder, tmp_path):
    path = tmp_path / "index"
    store = LFM2VectorStore(path=path, model=encoder, options={"fields": ["n"]})
    assert not path.exists()
    assert (store.stores_text, store.is_embedding_query) == (True, False)
    documents = [Document(text=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    assert len(store.add(SentenceSplitter()(documents))) == 5
    expected = store.query(VectorStoreQuery(query_str="rain"))
    opened = store.client
    store.close()
    with pytest.raises(IndexClosedError):
        opened.count()
    again = LFM2VectorStore.from_dict(LFM2VectorStore(path=str(path), trust_model=True).to_dict())
    assert again.query(VectorStoreQuery(query_str="rain")) == expected
    again.close()
    with pytest.raises(ModelNotFoundError):
        _ = LFM2VectorStore(path=tmp_path / "other", model=tmp_path / "no-model").client
    for options in ({"path": path, "retriever": opened}, {"url": "x"}):
        with pytest.raises(ValueError, match=r"one of them|not permitted"):
            LFM2VectorStore(**options)
    [vectors] = path.rglob("*ectors*.npy")
    vectors.write_bytes(vectors.read_bytes()[:-10])
    with pytest.raises(DamagedIndexError, match="repair"):
        LFM2VectorStore(path=path, trust_model=True).query(VectorStoreQuery(query_str="rain"))


def test_an_index_that_something_else_made(encoder):
    documents = [{"id": str(n), "text": text, "n": n} for n, text in enumerate(TEXTS)]
    with Retriever.index(documents, model=encoder) as library:
        store = LFM2VectorStore(retriever=library)
        [node] = store.get_nodes(["1"])
        assert (node.node_id, node.text, node.metadata) == ("1", TEXTS[1], {"n": 1})
        assert store.query(VectorStoreQuery(query_str="rain", node_ids=["2"])).ids == ["2"]
        store.close()
        assert library.count() == 5


def test_llamaindexs_own_index_and_query_engine(store):
    index = store.as_index()
    index.insert_nodes([TextNode(text=text, id_=str(n)) for n, text in enumerate(TEXTS)])
    index.insert(Document(text="snow falls", id_="snow"))
    index.delete_ref_doc("snow")
    wanted = [hit.id for hit in store.client.search("rain falls", 2)]
    assert [one.node_id for one in index.as_retriever(similarity_top_k=2).retrieve("rain falls")] == wanted
    engine = RetrieverQueryEngine(
        store.as_retriever(2),
        get_response_synthesizer(llm=MockLLM()),
        [LFM2Reranker(retriever=store.client, top_n=1)],
    )
    response = engine.query("rain falls")
    assert len(response.source_nodes) == 1
    assert response.source_nodes[0].node_id in wanted


class TestRetriever:
    def test_it_finds_what_a_search_finds(self, filled):
        retriever = filled.as_retriever(2, one("n", ">", 0), mode="hybrid")
        hits = filled.client.search("quiet hills", 2, where={"n": {"$gt": 0}}, mode="hybrid")
        nodes = retriever.retrieve("quiet hills")
        assert [(node.node_id, node.score) for node in nodes] == [(hit.id, hit.score) for hit in hits]
        assert asyncio.run(retriever.aretrieve("quiet hills")) == nodes
        assert LFM2Retriever(filled.client, 2).retrieve("rain") == filled.as_retriever(2).retrieve("rain")
        for options in ({"similarity_top_k": 0}, {"top_k": 3}, {"mode": "words"}):
            with pytest.raises(ValueError, match=r"k must be|unexpected|mode"):
                LFM2Retriever(filled, **options)

    def test_a_hundred_queries_at_once(self, filled):
        retriever = filled.as_retriever(2)

        async def many():
            return await asyncio.gather(*(retriever.aretrieve(f"rain {n}") for n in range(100)))

        assert asyncio.run(many()) == [retriever.retrieve(f"rain {n}") for n in range(100)]


class TestReranker:
    def test_nodes_are_put_in_order(self, encoder):
        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n))) for n, text in enumerate(TEXTS)]
        hits = Retriever.index(TEXTS, model=encoder).rerank("rain falls", TEXTS, k=3)
        reranker = LFM2Reranker(model=encoder, top_n=3)
        ordered = reranker.postprocess_nodes(nodes, query_str="rain falls")
        assert [(one.node_id, one.score) for one in ordered] == [(hit.id, hit.score) for hit in hits]
        assert asyncio.run(reranker.apostprocess_nodes(nodes, query_str="rain falls")) == ordered
        assert nodes[0].score is None
        with pytest.raises(InvalidInputError, match="query_str"):
            reranker.postprocess_nodes(nodes)
        with pytest.raises(ValueError, match="top_n"):
            LFM2Reranker(model=encoder, top_n=0)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    for name in [name for name in sys.modules if name.startswith("lfm2_retrieval.integrations.llamaindex")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[llamaindex\]"):
        importlib.import_module("lfm2_retrieval.integrations.llamaindex.retriever")
