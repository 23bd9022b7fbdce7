"""How much a search looks at: what the caller said, or as much as the codec's error leaves open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import embeddings

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes.compaction import policy
from lfm2_retrieval.indexes.search.plan import Plan, plan
from lfm2_retrieval.indexes.search.shortlist import Listed, _promising, shortlist

COUNTS = st.none() | st.integers(1, 50_000)


@given(st.integers(1, 10_000), COUNTS, COUNTS, COUNTS, st.booleans(), st.integers(0, 10**8))
def test_plans_are_in_order_and_keep_to_what_was_said(k, nprobe, candidates, rerank, precise, n_documents):
    limits = plan(SearchParams(k, nprobe=nprobe, candidates=candidates, rerank=rerank), precise, n_documents)
    assert limits.nprobe == (nprobe or 16)
    for fewest, most in (limits.candidates, limits.rerank):
        assert k <= fewest <= most
    assert limits.rerank[0] <= limits.candidates[0]
    assert limits.rerank[1] <= limits.candidates[1] <= 8 * limits.gathered
    if rerank:
        assert limits.rerank == (max(rerank, k),) * 2
    if candidates:
        assert limits.candidates == (max(candidates, limits.rerank[0]),) * 2


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Vectors in no clusters: nothing compresses worse, and the best documents' scores lie close together."""
    with Index.create(tmp_path_factory.mktemp("plan") / "index", 128) as index:
        vectors = embeddings([20] * 1500, dim=128, seed=1)
        index.add([str(i) for i in range(1500)], vectors)
        assert index.build(force=True)
        yield index


def recall(index, queries, params):
    """Of the exact top 10, the share that is found."""
    exact = index.search(queries, SearchParams(10, exact=True))
    found = index.search(queries, params)
    shared = [len({h.id for h in a} & {h.id for h in b}) for a, b in zip(found, exact, strict=True)]
    return np.mean(shared) / 10


def test_scores_that_are_uncertain_are_looked_at_more_closely(index):
    queries = embeddings([8] * 40, dim=128, seed=2)
    fewest = plan(SearchParams(10))
    fixed = SearchParams(10, candidates=fewest.candidates[0], rerank=fewest.rerank[0])
    of_fixed = recall(index, queries, fixed)
    assert of_fixed < 0.6
    assert recall(index, queries, SearchParams(10, candidates=1500)) > 0.9
    assert recall(index, queries, SearchParams(10)) > of_fixed + 0.2


def test_larger_errors_than_the_codec_s_make_longer_lists(index):
    query = embeddings([8], dim=128, seed=3).embeddings
    parts = list(enumerate(index._snapshot().parts))
    few, many = (len(shortlist(parts, query, plan(SearchParams(10)), wider=wider)[0]) for wider in (0.1, 1))
    assert few < many


@pytest.mark.parametrize(("noise", "share"), [(0.05, (0.09, 0.2)), (20.0, (1.0, 1.0))])
def test_a_closer_look_goes_as_far_down_as_it_may_matter(noise, share):
    """What it changes is measured: little, and the best are enough; more than scores differ, and all are."""
    rng = np.random.default_rng(0)
    before = np.float32(rng.normal(size=4000))
    after = np.float32(before + 1 + noise * rng.normal(size=4000))
    parts = np.array_split(rng.permutation(4000), 3)
    listed = Listed.of(parts)

    def look(some):
        return after[some.positions]

    limits = Plan(10, 16, 4000, (300, 4000), (12, 100))
    kept, scores = _promising(listed, before[listed.positions], look, limits, 0.1)
    shares = np.split(kept.positions, kept.bounds[1:-1])
    assert all(np.isin(some, part).all() for some, part in zip(shares, parts, strict=True))
    np.testing.assert_array_equal(scores, after[kept.positions])
    looked_at = set(kept.positions.tolist())
    assert share[0] <= len(looked_at) / 4000 <= share[1]
    assert set(np.argsort(-after)[:10].tolist()) <= looked_at


@pytest.mark.parametrize("rank", [8, 32])
def test_vectors_of_few_directions_are_found(tmp_path, rank):
    """There, the nearest token is often not one of those of the best centroid."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((rank, 128)) / np.sqrt(rank * 128)
    lengths = rng.integers(20, 150, 1000)
    total = int(lengths.sum())
    centres = unit(rng.standard_normal((600, rank)) @ few)[np.minimum(rng.zipf(1.3, total), 600) - 1]
    tokens = unit(centres + 0.7 * rng.standard_normal((total, rank)) @ few)
    topics = np.repeat(unit(rng.standard_normal((1000, 128))), lengths, 0)
    vectors = unit(tokens + 0.4 * topics)
    queries = unit(vectors[rng.integers(0, total, 480)] + 0.7 * vectors[rng.integers(0, total, 480)])
    with Index.create(tmp_path / "index", 128) as index:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        index.add([str(i) for i in range(1000)], TokenEmbeddings(vectors, offsets))
        assert index.build(force=True)
        assert recall(index, TokenEmbeddings(queries, np.arange(0, 481, 12)), SearchParams(10)) > 0.98


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_many_segments_find_what_one_does(tmp_path, monkeypatch):
    documents = embeddings([20] * 3000, dim=64, seed=4)
    queries = embeddings([8] * 30, dim=64, seed=5)
    found = []
    for name, tokens in (("many", 4000), ("one", 1 << 24)):
        monkeypatch.setattr(policy, "SEGMENT_TOKENS", tokens)
        with Index.create(tmp_path / name, 64, seed=0) as index:
            with index.writer() as writer:
                for i in range(0, 3000, 200):
                    writer.add([str(j) for j in range(i, i + 200)], documents.select(range(i, i + 200)))
                    writer.commit()
            assert index.build(force=True)
            assert len(index.segments) > 5 if name == "many" else len(index.segments) == 1
            found.append([{hit.id for hit in hits} for hits in index.search(queries, SearchParams(10))])
    assert np.mean([len(a & b) for a, b in zip(*found, strict=True)]) > 9.5
