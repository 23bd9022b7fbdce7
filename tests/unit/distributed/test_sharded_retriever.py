"""A collection in shards answers as one index of all its documents does, bit for bit."""

from __future__ import annotations

import pytest
from distributed_support import SHARDS, WORDS, documents

from lfm2_retrieval import Hit
from lfm2_retrieval.distributed import ShardedRetriever, shard_of
from lfm2_retrieval.errors import UnknownFieldWarning

QUERIES = [
    "storm at the harbour",
    "bread and butter",
    "rusty bolt of an engine",
    "ice ridge",
    "tide tide ferry",
]


def seen(hits: list[Hit]) -> list[tuple]:
    return [
        (hit.rank, hit.id, hit.score, hit.score_kind, hit.text, hit.metadata, hit.n_matching) for hit in hits
    ]


SEARCHES = [
    {},
    {"k": 40},
    {"where": "lang = 'de' AND year >= 2000"},
    {"mode": "lexical", "k": 25},
    {"mode": "lexical", "where": {"lang": "fr"}},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": "weighted", "weight": 0.3, "k": 20},
    {"mode": "hybrid", "fusion": "rerank", "depth": 60, "where": {"year": {"$lt": 2010}}},
    {"group_by": "lang", "k": 5},
    {"group_by": "year", "group_size": 2, "k": 30},
    {"mode": "hybrid", "group_by": "lang", "group_size": 3, "k": 8},
    {"min_score": 20.0, "k": 50},
    {"exact": True, "k": 320},
]


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_any_number_of_shards_finds_what_one_index_does(nano, whole, collections, options):
    expected = whole.search(QUERIES, **options)
    for n in SHARDS:
        with ShardedRetriever.open(collections[n], model=nano) as opened:
            for hits, wanted in zip(opened.search(QUERIES, **options), expected, strict=True):
                assert seen(hits) == seen(wanted)
                assert hits.missing_shards == ()


def test_one_query_explained(whole, sharded):
    for hit, wanted in zip(
        sharded.search(QUERIES[0], explain=True), whole.search(QUERIES[0], explain=True), strict=True
    ):
        assert (hit.id, hit.matches) == (wanted.id, wanted.matches)


def test_documents_are_read_as_from_one_index(whole, sharded):
    assert len(sharded) == len(whole) == sharded.n_documents == sharded.n_passages
    assert list(sharded.documents()) == list(whole.documents())
    assert sharded.ids("lang = 'de'") == whole.ids("lang = 'de'")
    assert sharded.count({"year": 1994}) == whole.count({"year": 1994})
    wanted = ["d5", "nothing", "d300"]
    assert sharded.get_many(wanted) == whole.get_many(wanted)
    assert sharded.document("d9") == whole.document("d9")
    assert sharded.store.n_tokens == whole.store.n_tokens
    after, pages = 0, []
    while after is not None:
        page, after = sharded.store.sources.page(70, after=after)
        pages += [one.id for one in page]
    assert pages == whole.ids()


def test_stored_documents_are_reranked_as_in_one_index(whole, sharded):
    ids = [f"d{i}" for i in range(0, 60, 3)]
    assert seen(sharded.rerank(QUERIES[1], ids=ids)) == seen(whole.rerank(QUERIES[1], ids=ids))
    texts = ["a storm", "some bread"]
    assert seen(sharded.rerank("bread", texts)) == seen(whole.rerank("bread", texts))


def test_documents_lie_where_their_ids_say(sharded):
    counts = [len(sharded.store.shards.ask("sources", {i: (sharded.commits[i], "ids")})[i]) for i in range(4)]
    ids = [row["id"] for row in documents()]
    assert counts == [sum(shard_of(id, 4) == i for id in ids) for i in range(4)]
    assert min(counts) > 50
    sharded.verify()


def test_a_field_that_no_document_of_any_shard_has_is_warned_of_once(nano, collections):
    with ShardedRetriever.open(collections[8], model=nano) as opened:
        with pytest.warns(UnknownFieldWarning, match="did you mean 'lang'") as caught:
            assert opened.search("bread", where={"lan": "de"}) == []
        assert len(caught) == 1


def test_words_that_most_documents_have_count_as_in_one_index(nano, whole, collections, monkeypatch):
    from lfm2_retrieval.indexes.search import word_statistics

    monkeypatch.setattr(word_statistics, "_COMMON", 30)
    queries = [" ".join(WORDS), "storm", WORDS[0] + " " + WORDS[9]]
    for index in (whole.store,):
        index._views.seen().searcher._bm25._common.clear()
    expected = whole.search(queries, mode="lexical", k=60)
    with ShardedRetriever.open(collections[4], model=nano) as opened:
        assert [seen(hits) for hits in opened.search(queries, mode="lexical", k=60)] == list(
            map(seen, expected)
        )
