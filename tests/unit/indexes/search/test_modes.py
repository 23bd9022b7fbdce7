"""Searches by vectors, by words and by both; groups; documents found elsewhere."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import DIM, embeddings, naive_maxsim

from lfm2_retrieval import Index, ScoreKind, SearchParams
from lfm2_retrieval.datatypes import SearchOptions
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes.analysis.words import query_words

N = 300
QUERIES = ["w3q w5q", "w1q", "nowhere", "w2q w2q w9q w11q"]
asked = embeddings([4] * len(QUERIES), seed=1)
stored = embeddings([3 + i % 4 for i in range(N)], seed=2)
rng = np.random.default_rng(3)
texts = [
    " ".join(f"w{rng.zipf(1.4) % 40}q" for _ in range(rng.integers(1, 12))) if i % 10 else None
    for i in range(N)
]
metadata = [
    {"source": f"s{i % 7}", "at": {"page": i % 3}, "lang": "de" if i % 4 == 0 else "en"} if i % 11 else {}
    for i in range(N)
]
MODES = [
    {"mode": "dense"},
    {"mode": "lexical"},
    *({"mode": "hybrid", "fusion": fusion} for fusion in ("rrf", "weighted", "rerank")),
]


@pytest.fixture(scope="module", params=["exact", "balanced"])
def index(request):
    with Index.create(None, DIM, tier=request.param) as made:
        for start in range(0, N, 100):  # several segments
            chosen = np.arange(start, start + 100)
            part = slice(start, start + 100)
            made.add([f"d{i}" for i in chosen], stored.select(chosen), texts[part], metadata[part])
        yield made


def search(index, k, where=None, **options):
    return index.search(asked, SearchParams(k, **options), texts=QUERIES, where=where)


def listed(hits):
    return [(hit.id, hit.score) for hit in hits]


def number(id):
    return int(id[1:])


@pytest.mark.parametrize("options", MODES)
def test_ranks_kinds_and_order(index, options):
    kinds = {"dense": "maxsim", "lexical": "bm25", "rrf": "rrf", "weighted": "weighted", "rerank": "maxsim"}
    kind = kinds[options.get("fusion", options["mode"])]
    for hits in search(index, 12, **options):
        assert [hit.rank for hit in hits] == [*range(1, len(hits) + 1)]
        assert {hit.score_kind for hit in hits} <= {ScoreKind(kind)}
        assert hits == sorted(hits, key=lambda hit: (-hit.score, number(hit.id)))
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            expected = hit.score / 4 if kind == "maxsim" else None
            assert hit.normalized_score == (pytest.approx(expected) if expected else None)
            assert (hit.text, hit.metadata) == (texts[number(hit.id)], metadata[number(hit.id)])


def test_lexical_needs_no_vectors(index):
    alone = index.search(None, SearchParams(12, mode="lexical"), texts=QUERIES)
    assert [listed(hits) for hits in alone] == [listed(hits) for hits in search(index, 12, mode="lexical")]
    assert alone[2] == []


@pytest.mark.parametrize(
    ("weight", "rrf_k", "depth"), [(0.5, 60, 50), (0.2, 1, 30), (1.0, 60, 20), (0.0, 7, 20)]
)
def test_rrf_is_its_formula(index, weight, rrf_k, depth):
    dense, lexical = search(index, depth), search(index, depth, mode="lexical")
    fused = search(index, 10, mode="hybrid", weight=weight, rrf_k=rrf_k, depth=depth)
    for near, said, hits in zip(dense, lexical, fused, strict=True):
        scores = Counter()
        for found, share in ((near, weight), (said, 1 - weight)):
            for hit in found:
                scores[hit.id] += 2 * share / (rrf_k + hit.rank)
        best = sorted(scores.items(), key=lambda item: (-np.float32(item[1]), number(item[0])))[:10]
        best = [(id, score) for id, score in best]
        assert [hit.id for hit in hits] == [id for id, _ in best]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in best])


@pytest.mark.parametrize("weight", [0.5, 0.0, 0.9])
def test_weighted_is_its_formula(index, weight):
    dense, lexical = search(index, 30), search(index, 30, mode="lexical")
    everything = search(index, N, mode="lexical")
    fused = search(index, 10, mode="hybrid", fusion="weighted", weight=weight, depth=30)
    for query, near, said, bm25, hits in zip(asked, dense, lexical, everything, fused, strict=True):
        union = {hit.id for hit in [*near, *said]}
        maxsim = {id: naive_maxsim(query, stored[number(id)]) for id in union}
        low, high = min(maxsim.values()), max(maxsim.values())
        words = {hit.id: hit.score for hit in bm25}
        most = max([words.get(id, 0) for id in union]) or 1
        scores = {
            id: weight * (maxsim[id] - low) / (high - low) + (1 - weight) * words.get(id, 0) / most
            for id in union
        }
        expected = sorted(scores.items(), key=lambda item: (-np.float32(item[1]), number(item[0])))[:10]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-6)
        assert {hit.id for hit in hits[:5]} <= {id for id, _ in expected}


def test_rerank_scores_what_either_found(index):
    dense, lexical = search(index, 20), search(index, 20, mode="lexical")
    fused = search(index, 15, mode="hybrid", fusion="rerank", depth=20)
    for query, near, said, hits in zip(asked, dense, lexical, fused, strict=True):
        union = {hit.id: naive_maxsim(query, stored[number(hit.id)]) for hit in [*near, *said]}
        expected = sorted(union.items(), key=lambda item: (-item[1], number(item[0])))[:15]
        assert listed(hits) == expected


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("where", [{"lang": "de"}, {"at.page": {"$gte": 1}, "source": "s2"}, {"lang": "no"}])
def test_filters_hold_in_every_mode(index, options, where):
    left = {hit.id for hits in search(index, N, where, **options) for hit in hits}
    for id in left:
        record = metadata[number(id)]
        if "lang" in where:
            assert record["lang"] == where["lang"]
        else:
            assert (record["source"], record["at"]["page"] >= 1) == ("s2", True)
    assert bool(left) == (where != {"lang": "no"})
    if options == {"mode": "lexical"}:  # scores don't depend on the filter
        free = dict(listed(search(index, N, **options)[0]))
        assert all(free[id] == score for id, score in listed(search(index, N, where, **options)[0]))


def naive_groups(hits, field, size, k):
    sizes, chosen = Counter(), []
    for hit in hits:
        value = hit.metadata.get(field)
        sizes[value] += value is not None
        if value is None or sizes[value] <= size:
            chosen.append(hit.id)
    return chosen[:k]


@pytest.mark.parametrize("options", [*MODES[:2], {"mode": "hybrid", "fusion": "rerank", "depth": N}])
@pytest.mark.parametrize(("size", "k"), [(1, 5), (2, 10), (1, 40), (100, 20)])
def test_groups_are_filled_as_far_as_there_are_documents(index, options, size, k):
    free = search(index, N, **options)
    grouped = search(index, k, group_by="source", group_size=size, **options)
    for before, hits in zip(free, grouped, strict=True):
        assert [hit.id for hit in hits] == naive_groups(before, "source", size, k)
        assert [hit.rank for hit in hits] == [*range(1, len(hits) + 1)]


def test_groups_by_a_dotted_field_in_every_mode(index):
    for options in MODES:
        for hits in search(index, 20, group_by="at.page", group_size=2, **options):
            pages = Counter(hit.metadata["at"]["page"] for hit in hits if "at" in hit.metadata)
            assert not pages or max(pages.values()) <= 2


@pytest.mark.parametrize("options", MODES)
def test_min_score(index, options):
    free = search(index, 30, **options)
    limit = free[0][10].score
    for before, hits in zip(free, search(index, 30, min_score=limit, **options), strict=True):
        assert listed(hits) == [pair for pair in listed(before) if pair[1] >= limit]
    grouped = search(index, 30, min_score=limit, group_by="source", **options)
    assert all(hit.score >= limit for hits in grouped for hit in hits)


def test_rerank_of_documents_found_elsewhere(index):
    ids = [["d7", "d1", "d299", "d7"], [], ["d0"], [f"d{i}" for i in range(N)]]
    for query, some, hits in zip(asked, ids, index.rerank(asked, ids), strict=True):
        scored = [(id, naive_maxsim(query, stored[number(id)])) for id in set(some)]
        assert listed(hits) == sorted(scored, key=lambda pair: (-pair[1], number(pair[0])))
    with pytest.raises(InvalidInputError, match="nobody"):
        index.rerank(asked, [["nobody"]] * 4)
    with pytest.raises(InvalidInputError, match="4 queries"):
        index.rerank(asked, [["d1"]])
    with pytest.raises(InvalidInputError, match="list of str"):
        index.rerank(asked, ["d1"] * 4)


def test_a_document_without_vectors_is_found_by_words_alone():
    with Index.create(None, DIM, tier="exact") as index:
        index.add(["empty", "full"], embeddings([0, 2]), ["plum", "plum pear"])
        query = embeddings([2])
        for options in MODES:
            [hits] = index.search(query, SearchParams(5, **options), texts=["plum"])
            by_words = options["mode"] == "lexical" or options.get("fusion") in ("rrf", "weighted")
            assert {hit.id for hit in hits} == ({"empty", "full"} if by_words else {"full"})
        assert [hit.id for hit in index.rerank(query, [["empty", "full"]])[0]] == ["full"]


@pytest.mark.parametrize("options", MODES)
def test_an_empty_index_finds_nothing(options):
    with Index.create(None, DIM, tier="exact") as index:
        assert search(index, 5, **options) == [[]] * len(QUERIES)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_compressed_index_answers_in_every_mode(mode):
    lengths = [40] * 130
    vectors = embeddings(lengths, seed=5)
    words = [f"w{i % 13}q w{i}q" for i in range(130)]
    query = embeddings([6], seed=6)
    with Index.create(None, DIM, tier="balanced") as index:
        index.add([f"d{i}" for i in range(130)], vectors, words)
        before = index.search(query, SearchParams(10, mode=mode), texts=["w3q w99q"])
        assert index.build(force=True)
        after = index.search(query, SearchParams(10, mode=mode), texts=["w3q w99q"])
        overlap = {hit.id for hit in before[0]} & {hit.id for hit in after[0]}
        assert len(overlap) >= (7 if mode == "dense" else 9)
        everything = index.search(
            query, SearchParams(10, mode=mode, group_by="none", depth=130), texts=["w3q w99q"]
        )
        assert len(everything[0]) == len(after[0])


@pytest.mark.parametrize(
    ("queries", "params", "words", "says"),
    [
        (None, {}, None, "vectors"),
        (asked, {"mode": "lexical"}, None, "texts="),
        (asked, {"mode": "hybrid"}, None, "texts="),
        (None, {"mode": "hybrid"}, QUERIES, "vectors"),
        (asked, {"mode": "hybrid"}, QUERIES[:2], "4 queries, but 2 texts"),
        (asked, {"mode": "lexical"}, "w3q", "list of str"),
        (asked, {"mode": "lexical"}, [3] * 4, "list of str"),
        (asked, {"group_by": "a." * 500 + "b"}, None, "501 parts"),
    ],
)
def test_bad_questions(index, queries, params, words, says):
    with pytest.raises(InvalidInputError, match=says):
        index.search(queries, SearchParams(3, **params), texts=words)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "sparse"},
        {"mode": None},
        {"fusion": "max"},
        {"weight": -0.1},
        {"weight": 1.1},
        {"weight": float("nan")},
        {"weight": "1"},
        {"weight": True},
        {"min_score": "high"},
        {"min_score": float("nan")},
        {"rrf_k": 0},
        {"rrf_k": None},
        {"depth": 0},
        {"group_size": 0},
        {"group_by": 3},
    ],
)
def test_bad_parameters(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        SearchParams(**options)


def test_search_options_are_those_of_search_params():
    assert SearchOptions.__annotations__.keys() == {field.name for field in fields(SearchParams)} - {"k"}


letters = st.text(st.sampled_from("abc \"'*()^-:{}+<>;\x00ー中あ검ا😀\ud800ANDORNOT"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(letters, min_size=1, max_size=5), st.lists(letters, min_size=1, max_size=3))
def test_any_text_and_any_query(some, queries):
    with Index.create(None, DIM, tier="exact") as index:
        index.add([str(i) for i in range(len(some))], embeddings([1] * len(some)), some)
        for mode in ("lexical", "hybrid"):
            index.search(embeddings([2] * len(queries)), SearchParams(5, mode=mode), texts=queries)
        for i, text in enumerate(some):  # what has words is found by them
            hits = index.search(None, SearchParams(9, mode="lexical"), texts=[text])[0]
            assert (str(i) in {hit.id for hit in hits}) == bool(query_words(text))
        index.verify()
