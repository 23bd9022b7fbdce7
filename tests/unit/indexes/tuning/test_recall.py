"""Recall, measured and tuned."""

from types import SimpleNamespace

import numpy as np
import pytest
from support import DIM, embeddings

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.datatypes import Hit
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes.search.tuned import as_tuned
from lfm2_retrieval.indexes.tuning.recall import Recall, Trials, draw_queries, share_found
from lfm2_retrieval.indexes.tuning.tune import Tuning, find_fastest, pareto

N = 1500


def corpus(n=N, seed=0):
    """Documents of vectors around a few hundred directions; the fourth is empty."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 16, n)
    lengths[min(3, n - 1)] = 0
    topics = np.random.default_rng(99).standard_normal((300, DIM))
    owners = np.repeat(np.arange(n), lengths)
    vectors = topics[rng.integers(0, 300, (n, 4))[owners, rng.integers(0, 4, len(owners))]]
    vectors = vectors + 0.8 * rng.standard_normal(vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Index.create(tmp_path_factory.mktemp("recall") / "index", DIM) as made:
        made.add([str(i) for i in range(N)], corpus())
        assert made.build(force=True)
        yield made


@pytest.fixture
def exact(tmp_path):
    with Index.create(tmp_path / "exact", DIM, tier="exact") as made:
        made.add([str(i) for i in range(30)], corpus(30))
        yield made


def test_measuring_stores_what_it_found(index):
    result = index.measure_recall(k=5, sample=20)
    assert index.settings["recall"] == result.to_json()
    assert 0.8 <= result.recall <= 1
    assert (result.from_documents, result.n_queries, result.k) == (True, 20, 5)
    assert (result.n_documents, result.n_tokens) == (N, index.n_tokens)
    assert result.milliseconds > 0
    assert (result.nprobe, result.candidates, result.rerank) == (None, None, None)
    cheap = index.measure_recall(
        corpus(40, seed=1), SearchParams(5, nprobe=1, candidates=5, rerank=5), store=False
    )
    assert cheap.recall < 0.9
    assert 0 < cheap.error < 0.1
    assert not cheap.from_documents
    assert index.settings["recall"] == result.to_json()


def test_recall_is_the_share_of_the_exact_hits(index):
    queries, params = corpus(20, seed=4), SearchParams(10, nprobe=2, candidates=20, rerank=12)
    shares = [
        len({hit.id for hit in found} & {hit.id for hit in best}) / 10
        for found, best in zip(
            index.search(queries, params), index.search(queries, SearchParams(10, exact=True)), strict=True
        )
        if best
    ]
    measured = index.measure_recall(queries, params, store=False)
    assert measured.recall == pytest.approx(np.mean(shares))
    assert measured.error == pytest.approx(np.std(shares, ddof=1) / np.sqrt(len(shares)))


def test_tuning_chooses_what_reaches_the_target(index):
    steps = []
    queries = corpus(30, seed=4)
    tuning = index.tune(0.9, k=5, queries=queries, on_progress=steps.append)
    assert tuning.reached
    assert tuning.best.recall >= 0.9
    assert tuning.best in tuning.front
    assert set(tuning.front) <= set(tuning.finalists) <= set(tuning.tried)
    assert {one.n_queries for one in tuning.finalists} == {29}
    times = [one.milliseconds for one in tuning.tried]
    assert times == sorted(times)
    assert steps[0] == "finding the exact hits"
    tuned = index.settings["tuned"]
    assert [tuned[name] for name in ("nprobe", "candidates", "rerank")] == [
        tuning.best.nprobe,
        tuning.best.candidates,
        tuning.best.rerank,
    ]
    assert (tuned["target_recall"], tuned["k"], tuned["n_documents"]) == (0.9, 5, N)
    assert index.settings["recall"] == tuning.best.to_json()
    again = index.measure_recall(queries, 5, store=False)
    assert (again.recall, again.nprobe, again.rerank) == (
        tuning.best.recall,
        tuning.best.nprobe,
        tuning.best.rerank,
    )


def test_tuned_numbers_are_the_default(index):
    with index.writer() as writer:
        writer.set({"tuned": {"nprobe": 4, "candidates": 30, "rerank": None, "k": 5}})
    tuned, path = index.settings["tuned"], index.path
    assert as_tuned(SearchParams(5), tuned, path) == SearchParams(5, nprobe=4, candidates=30)
    assert as_tuned(SearchParams(50), tuned, path) == SearchParams(50, nprobe=4, candidates=300)
    assert as_tuned(SearchParams(5, nprobe=3, rerank=9), tuned, path) == SearchParams(
        5, nprobe=3, candidates=30, rerank=9
    )
    assert as_tuned(SearchParams(5, exact=True), tuned, path) == SearchParams(5, exact=True)


def test_tuning_again_starts_from_the_library_s_defaults(index):
    first = index.tune(0.5, k=5, sample=10)
    second = index.tune(0.5, k=5, sample=10)
    for tuning in (first, second):
        assert (None, None, None) in {(one.nprobe, one.candidates, one.rerank) for one in tuning.tried}


def test_nothing_compressed_is_nothing_to_tune(exact):
    tuning = exact.tune(1, k=100)
    assert (tuning.tried, tuning.finalists, tuning.front) == ((), (), ())
    assert tuning.reached
    assert (tuning.best.recall, tuning.best.nprobe) == (1, None)
    assert "tuned" not in exact.settings
    assert exact.settings["recall"] == tuning.best.to_json()


@pytest.mark.parametrize("target", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_targets_that_cannot_be(index, target):
    with pytest.raises(InvalidInputError, match="target_recall"):
        index.tune(target)


def test_nothing_to_measure(tmp_path, index):
    with Index.create(tmp_path / "empty", DIM) as empty:
        for measure in (empty.measure_recall, empty.tune):
            with pytest.raises(InvalidInputError, match="empty"):
                measure()
    for wrong in (
        lambda: index.measure_recall(embeddings([0])),
        lambda: index.measure_recall(sample=0),
        lambda: index.tune(k=0),
        lambda: index.measure_recall(embeddings([2], dim=DIM + 1)),
    ):
        with pytest.raises(InvalidInputError):
            wrong()


def test_documents_that_all_are_empty_are_nothing_to_measure(tmp_path):
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(["a"], embeddings([0]))
        with pytest.raises(InvalidInputError, match="empty"):
            index.tune()


def test_drawn_queries_are_like_what_is_stored(index):
    snapshot = index._snapshot()
    first, second = (draw_queries(snapshot, 40, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.embeddings, second.embeddings)
    assert first.embeddings.dtype == np.float32
    assert len(first) == 40
    assert set(first.lengths.tolist()) <= set(range(1, 13))
    assert np.linalg.norm(first.embeddings, axis=1) == pytest.approx(1, abs=0.02)
    assert len(draw_queries(snapshot, 2 * N, np.random.default_rng(0))) == N - 1
    nearest = [hits[0].score / len(query) for hits, query in zip(index.search(first), first, strict=True)]
    assert 0.6 < np.mean(nearest) < 0.97


def test_ties_with_the_last_count():
    hits = [Hit(str(i), score, i + 1) for i, score in enumerate([3.0, 2.0, 2.0, 1.0])]
    assert share_found([hits[0], hits[2]], hits[:2]) == 1
    assert share_found([hits[0], hits[3]], hits[:2]) == 0.5
    assert share_found([], hits[:2]) == 0
    assert share_found([], []) == 1


def test_no_point_of_a_front_is_beaten():
    points = [(3, 0.9), (1, 0.5), (2, 0.9), (2, 0.7), (4, 1.0), (5, 1.0), (1, 0.4)]
    assert pareto(points) == [1, 2, 4]
    assert pareto([]) == []


class _Simulated:
    """A search whose recall and time follow from its settings; the machine slows down all the time."""

    now = 0.0

    def __init__(self, n):
        self.exact = [[Hit(str(i), 1.0 - i / 100, i + 1) for i in range(20)]] * n
        self.queries = embeddings([1] * n)
        self.calls = 0
        self.settings = set()

    def recall(self, params):
        return 1 - 0.8 / params.nprobe - 0.15 * (100 / params.candidates) - 0.1 * (20 / params.rerank)

    def cost(self, params):
        return params.nprobe + params.candidates / 20 + params.rerank / 4

    def __call__(self, queries, params):
        self.calls += 1
        self.settings.add(params)
        _Simulated.now += 1e-6 * self.cost(params) * (1 + self.calls / 500)
        return [self.exact[0][: round(20 * max(0.0, self.recall(params)))]]


@pytest.fixture
def simulated(monkeypatch):
    """Makes searches of a simulated machine, by whose clock they are timed."""
    clock = SimpleNamespace(perf_counter=lambda: _Simulated.now)
    monkeypatch.setattr("lfm2_retrieval.indexes.tuning.recall.time", clock)
    return _Simulated


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9])
def test_the_fastest_is_found_by_trying_few(simulated, target):
    search = simulated(40)
    reference = SearchParams(20, nprobe=8, candidates=300, rerank=40)
    trials = Trials(search, search.queries, search.exact, reference)
    best = find_fastest(trials, target)
    assert trials.recall(best) >= target
    from lfm2_retrieval.indexes.tuning.tune import _places

    grid = [one for one in _places(20) if round(20 * search.recall(one)) / 20 >= target]
    assert search.cost(best) <= 1.3 * min(search.cost(one) for one in grid)
    assert len(search.settings) < 0.4 * len(_places(20))
    assert trials.n_queries(best) == 40


def test_a_target_out_of_reach_gives_the_best(simulated):
    search = simulated(10)
    trials = Trials(
        search, search.queries, search.exact, SearchParams(20, nprobe=8, candidates=300, rerank=40)
    )
    best = find_fastest(trials, 1.0)
    assert trials.recall(best) == max(trials.recall(one) for one in trials.tried)


def test_times_are_corrected_for_a_machine_that_slows_down(simulated):
    search = simulated(30)
    reference, cheap, dear = (SearchParams(20, nprobe=n, candidates=400, rerank=20) for n in (400, 300, 500))
    trials = Trials(search, search.queries, search.exact, reference)
    trials.run([dear], 30)
    trials.run([reference], 30, 20)
    trials.run([cheap], 30)
    assert trials.milliseconds(cheap) < trials.milliseconds(reference) < trials.milliseconds(dear)


def test_a_result_is_a_value():
    one = Recall(0.5, 0.1, 10, 5, True, 1.0, 8, 100, 20, 7, 70)
    assert Tuning(one, 0.4).reached
    assert not Tuning(one, 0.6).reached
    assert one.to_json()["recall"] == 0.5
