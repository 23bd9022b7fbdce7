"""Searches that estimate scores from steps: the hits and bits of an exhaustive MaxSim in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import embeddings, naive_search, pairs

from lfm2_retrieval import SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.kernels import steps as kernels
from lfm2_retrieval.indexes.search import by_steps, scanned
from lfm2_retrieval.indexes.segments.fp16 import Steps

KINDS = ["unit", "largest", "subnormal", "peaks", "same", "mixed"]


def draw(kind, lengths, dim, seed=0):
    rng = np.random.default_rng([seed, dim])
    n = sum(lengths)
    vectors = rng.standard_normal((n, dim))
    if kind == "unit":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    elif kind == "largest":
        vectors = 65504 * np.sign(vectors)
    elif kind == "subnormal":
        vectors *= 2.0**-23
    elif kind == "peaks":
        vectors *= np.where(np.arange(dim) == rng.integers(0, dim, (n, 1)), 1, 1e-3)
    elif kind == "same":  # ties everywhere
        vectors = vectors[rng.integers(0, min(3, n), n)]
    else:
        vectors = np.clip(vectors * 10.0 ** rng.integers(-6, 5, (n, 1)), -65504, 65504)
        vectors[::5] = 0
    return TokenEmbeddings(
        vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    )


@pytest.fixture
def always(monkeypatch):
    """Every fp16 segment is estimated, and how many documents were then scanned is noted."""
    monkeypatch.setattr(scanned, "_FEWEST_DOCUMENTS", 0)
    monkeypatch.setattr(scanned, "_FEWEST_TOKENS", 0)
    counts = []
    score = scanned.score

    def noted(vectors, positions, *rest):
        counts.append(len(positions))
        return score(vectors, positions, *rest)

    monkeypatch.setattr(scanned, "score", noted)
    return counts


@pytest.mark.parametrize("dim", [1, 48, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_hits_are_those_of_maxsim_bit_by_bit(always, monkeypatch, kind, dim):
    monkeypatch.setattr(by_steps, "_DOCUMENTS_AT_ONCE", 50)
    rng = np.random.default_rng(dim)
    lengths = rng.integers(0, 9, 120).tolist()
    documents, queries = draw(kind, lengths, dim), draw(kind, [16, 1, 40, 0, 7], dim, seed=1)
    ids = [f"d{i}" for i in range(120)]
    named = list(zip(ids, documents, strict=True))
    with Index.create(None, dim, tier="exact") as index:
        index.add(ids[:70], documents.select(np.arange(70)))
        index.add(ids[70:], documents.select(np.arange(70, 120)))
        gone = set(ids[5::9])
        index.delete(sorted(gone))
        alive = [(id, vectors) for id, vectors in named if id not in gone]
        for k in (1, 10, 500):
            expected = [naive_search(query, alive, k) for query in queries]
            found = index.search(queries, SearchParams(k=k, threads=k % 3))
            assert [pairs(hits) for hits in found] == expected
            one = index.search(queries.select([0]), SearchParams(k=k, threads=3))
            assert pairs(one[0]) == expected[0]
    assert always


def test_few_documents_are_scanned(always):
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((300, 128))
    vectors = topics.repeat(20, axis=0) + 0.5 * rng.standard_normal((6000, 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = TokenEmbeddings(vectors.astype(np.float32), np.arange(0, 6001, 20))
    with Index.create(None, 128, tier="exact") as index:
        index.add([str(i) for i in range(300)], documents)
        (hits,) = index.search(documents.select([7]), SearchParams(k=5))
    assert hits[0].id == "7"
    assert always[0] == 5
    assert sum(always) < 30


def test_filters_leave_the_others_alone(always):
    documents = embeddings([6] * 200, dim=32)
    query = embeddings([9], dim=32, seed=1)
    with Index.create(None, 32, tier="exact", fields=["n"]) as index:
        index.add([str(i) for i in range(200)], documents, metadata=[{"n": i} for i in range(200)])
        (hits,) = index.search(query, SearchParams(k=7), where={"n": {"$gte": 150}})
    named = [(str(i), documents[i]) for i in range(150, 200)]
    assert pairs(hits) == naive_search(query[0], named, 7)
    assert max(always) <= 50


def test_what_is_wanted_in_full_is_scanned_at_once(monkeypatch):
    def estimate(*_):
        raise AssertionError("estimated")

    monkeypatch.setattr(by_steps, "estimate", estimate)
    documents, query = embeddings([60] * 100), embeddings([3], seed=1)
    with Index.create(None, 16, tier="exact") as index:
        index.add([str(i) for i in range(100)], documents)
        assert len(index.search(query, SearchParams(k=26))[0]) == 26
        with pytest.raises(AssertionError, match="estimated"):
            index.search(query, SearchParams(k=25))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    dim=st.sampled_from([1, 2, 5, 64, 128, 257]),
    n_lanes=st.sampled_from([1, 15, 16, 17, 130]),
)
def test_no_score_is_above_what_it_may_be(seed, kind, dim, n_lanes):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 30).tolist()
    documents, query = draw(kind, lengths, dim, seed), draw(kind, [n_lanes], dim, seed + 1)
    stored = documents.embeddings.astype(np.float16).astype(np.float32)
    n, width = len(stored), -(-dim // 4) * 4
    steps = Steps(np.empty((n, width), np.uint8), np.empty(n, np.float32), np.empty((30, 2), np.float32))
    wrong, long = np.empty(n), np.empty(n)
    kernels.quantise(stored, steps.vectors, steps.sizes, wrong, long)
    starts = documents.offsets[:-1]
    steps.errors[:] = 1.000001 * np.stack([np.maximum.reduceat(of, starts) for of in (wrong, long)], axis=1)
    asked = by_steps.ask(query.embeddings, query.offsets)
    (found,) = by_steps.estimate(steps, documents.offsets, np.arange(30), asked, 1)
    exact = dict(naive_search(query[0], [(i, documents[i]) for i in range(30)], 30))
    true = np.array([exact[i] for i in range(30)], np.float64)
    assert (true <= found.most[0]).all()
    assert (2.0 * found.scores[0] - found.most[0] <= true).all()


def test_candidates_are_what_reaches_the_floor():
    scores = np.array([3.0, 1.0, 2.9, 2.0], np.float32)
    most = scores + np.array([0.5, 0.1, 0.5, 1.5])
    floors = iter([-np.inf, 3.2])
    first, rest = by_steps.worth_scanning(scores, most, 1, lambda: next(floors))
    assert (first.tolist(), sorted(rest.tolist())) == ([0], [2, 3])
    (few,) = by_steps.worth_scanning(scores, most, 9, lambda: -np.inf)
    assert few.tolist() == [0, 1, 2, 3]
    assert not list(by_steps.worth_scanning(scores, most, 2, lambda: 9.0))
