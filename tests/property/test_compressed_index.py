"""Random collections, compressed, against a naive MaxSim in float64."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.datatypes import ScoreKind
from lfm2_retrieval.indexes.compaction.policy import FEWEST_TOKENS

TIERS = ("compact", "balanced", "accurate")
SCORED = 1e-5
"""Relative to the sum of what a query's vectors can reach: scores are summed in float64 and rounded once."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@dataclass(frozen=True)
class Recipe:
    """How to make a collection just large enough to be compressed."""

    tier: str
    dim: int
    n: int
    spread: float
    topics: int
    evenness: float
    empty: float
    unit: bool
    copies: int
    seed: int

    def documents(self):
        rng = np.random.default_rng(self.seed)
        lengths = rng.multinomial(FEWEST_TOKENS, rng.dirichlet(np.full(self.n, self.evenness)))
        lengths[rng.random(self.n) < self.empty] = 0
        topics = rng.standard_normal((self.topics, self.dim))
        documents = []
        for length in [*lengths, FEWEST_TOKENS]:  # the last one makes up for those that were emptied
            vectors = topics[rng.integers(self.topics, size=length)]
            vectors = vectors + self.spread * rng.standard_normal(vectors.shape)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(norms > 0, norms, 1)
            if not self.unit:
                vectors = vectors * rng.uniform(0, 30, (length, 1))
            documents.append(vectors.astype(np.float16).astype(np.float32))
        for number in range(2, 2 + self.copies):
            documents[number] = documents[1]
        return documents


NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)

RECIPES = st.builds(
    Recipe,
    tier=st.sampled_from(TIERS),
    dim=st.sampled_from([1, 2, 3, 5, 8, 13, 16]),
    n=st.sampled_from([64, 90, 300]),
    spread=st.sampled_from([0.0, 0.05, 0.6]),
    topics=st.sampled_from([1, 7, 200]),
    evenness=st.sampled_from([0.3, 5]),
    empty=st.sampled_from([0.0, 0.1, 0.9]),
    unit=st.booleans(),
    copies=st.sampled_from([0, 1, 40]),
    seed=st.integers(0, 1 << 20),
)
FEW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=NO_SHRINKING)


def pack(documents, dim):
    lengths = [len(document) for document in documents]
    return TokenEmbeddings(
        np.concatenate([np.empty((0, dim), np.float32), *documents]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def stored(index):
    """id → float64 vectors as the index has them, in order of insertion; empty documents left out."""
    found = {}
    ids = {}
    with index._views.catalogue.reading() as connection:
        for key, id in connection.execute("SELECT key, id FROM documents WHERE died IS NULL"):
            ids[key] = id.decode()
    for part in index._snapshot().parts:
        for position, key in enumerate(part.keys.tolist()):
            start, end = part.segment.offsets[position : position + 2].tolist()
            vectors = np.empty((end - start, index.dim), np.float32)
            part.segment.decode(np.array([start]), np.array([end]), vectors)
            if len(vectors) and key:
                found[key] = (ids[key], vectors.astype(np.float64), part.segment.score_kind)
    return {id: (vectors, kind) for _, (id, vectors, kind) in sorted(found.items())}


def scores_of(query, documents):
    """float32 of the float64 MaxSim of every document."""
    rows = query.astype(np.float64)
    return {id: float(np.float32((rows @ vectors.T).max(1).sum())) for id, (vectors, _) in documents.items()}


def tolerance(query, documents):
    longest = max(np.linalg.norm(vectors, axis=1).max() for vectors, _ in documents.values())
    return SCORED * (1e-3 + float(np.linalg.norm(query.astype(np.float64), axis=1).sum()) * longest)


def check_hits(hits, query, documents, k, order):
    """What holds of every search."""
    truth, close = scores_of(query, documents), tolerance(query, documents)
    assert len(hits) == len({hit.id for hit in hits}) <= k
    assert {hit.id for hit in hits} <= truth.keys()
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    for hit in hits:
        assert hit.score_kind is documents[hit.id][1]
        assert hit.score == pytest.approx(truth[hit.id], abs=close)
    sorting = [(-hit.score, order[hit.id]) for hit in hits]
    assert sorting == sorted(sorting)
    return truth, close


def check_exact(hits, query, documents, k, order):
    """The best of all, up to ties within rounding."""
    truth, close = check_hits(hits, query, documents, k, order)
    assert len(hits) == min(k, len(truth))
    best = sorted(truth.values(), reverse=True)[:k]
    assert [hit.score for hit in hits] == pytest.approx(best, abs=close)


def check(index, queries, k, order):
    documents = stored(index)
    n = len(order)
    exact = index.search(queries, SearchParams(k, exact=True))
    default = index.search(queries, k)
    narrow = index.search(queries, SearchParams(k, nprobe=1, candidates=k, rerank=k))
    all_of_it = index.search(queries, SearchParams(k, nprobe=1 << 16, candidates=n, rerank=n))
    beyond = index.search(queries, 2 * n)
    for number, query in enumerate(queries):
        if not len(query):
            assert [some[number] for some in (exact, default, narrow, beyond)] == [[]] * 4
            continue
        check_exact(exact[number], query, documents, k, order)
        check_exact(beyond[number], query, documents, 2 * n, order)
        assert all_of_it[number] == exact[number]
        for hits in (default[number], narrow[number]):
            check_hits(hits, query, documents, k, order)
        assert [hit.id for hit in default[number]]
    return [exact, default, narrow, beyond]


@settings(FEW, max_examples=10)
@given(recipe=RECIPES, k=st.integers(1, 20), counts=st.lists(st.sampled_from([0, 1, 5, 16, 33]), max_size=3))
def test_a_compressed_index_tells_the_truth_about_what_it_stores(recipe, k, counts):
    rng, dim, documents = np.random.default_rng(recipe.seed + 1), recipe.dim, recipe.documents()
    queries = pack([rng.standard_normal((count, dim)).astype(np.float32) for count in [3, *counts]], dim)
    names = [f"d{number}" for number in range(len(documents))]
    order = {name: number for number, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        with Index.create(path, dim, tier=recipe.tier, seed=recipe.seed) as index:
            with index.writer() as writer:
                writer.add(names, pack(documents, dim))
            check_against_given(index, documents, queries, k)
            assert index.build(force=True)
            assert {part.compressed for part in index._snapshot().parts} == {True}
            before = check(index, queries, k, order)
            assert set(stored(index)) == {
                name for name, one in zip(names, documents, strict=True) if len(one)
            }
        with Index.open(path) as index:
            assert check(index, queries, k, order) == before
            more = [documents[1], rng.standard_normal((4, dim)).astype(np.float32), documents[0][:0]]
            late = ["late0", "late1", "late2"]
            index.add(late, pack(more, dim))
            order |= {name: len(order) + number for number, name in enumerate(late)}
            check(index, queries, k, order)
            assert "late2" not in stored(index)
            index.verify()
            assert index.build(force=True)
            check(index, queries, k, order)
            index.verify()


def check_against_given(index, documents, queries, k):
    """Before it is compressed: MaxSim on what was given, which float16 holds."""
    given_documents = {
        f"d{number}": (document.astype(np.float64), ScoreKind.MAXSIM)
        for number, document in enumerate(documents)
        if len(document)
    }
    order = {f"d{number}": number for number in range(len(documents))}
    for query, hits in zip(queries, index.search(queries, k), strict=True):
        if len(query):
            check_exact(hits, query, given_documents, k, order)


@settings(FEW, max_examples=5)
@given(recipe=RECIPES)
def test_what_is_stored_is_near_what_was_given(recipe):
    dim, documents = recipe.dim, recipe.documents()
    with Index.create(None, dim, tier=recipe.tier, seed=recipe.seed) as index:
        with index.writer() as writer:
            writer.add([f"d{number}" for number in range(len(documents))], pack(documents, dim))
        assert index.build(force=True)
        for id, (vectors, kind) in stored(index).items():
            given_vectors = documents[int(id[1:])].astype(np.float64)
            errors = np.abs(vectors - given_vectors).max(axis=1)
            lengths = np.linalg.norm(given_vectors, axis=1)
            assert kind is (ScoreKind.ESTIMATE if recipe.tier == "compact" else ScoreKind.MAXSIM)
            if recipe.tier != "compact":
                assert np.all(errors <= lengths * 0.01 + 1e-3)  # int8: half a step, and the length restored


@settings(FEW, max_examples=3)
@given(recipe=RECIPES)
def test_the_same_seed_and_vectors_give_the_same_bytes(recipe):
    dim, documents = recipe.dim, recipe.documents()
    contents = []
    folder = Path(tempfile.mkdtemp())
    try:
        for number in range(2):
            path = folder / str(number)
            with Index.create(path, dim, tier=recipe.tier, seed=recipe.seed) as index:
                with index.writer() as writer:
                    writer.add([f"d{i}" for i in range(len(documents))], pack(documents, dim))
                assert index.build(force=True)
            files = sorted(file for file in path.rglob("*.npy"))
            contents.append([(str(file.relative_to(path)), file.read_bytes()) for file in files])
    finally:
        shutil.rmtree(folder)
    assert contents[0] == contents[1]
    assert contents[0]
