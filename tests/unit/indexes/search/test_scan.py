import numpy as np
import pytest
from support import embeddings, naive_maxsim

from lfm2_retrieval.indexes.kernels import reference
from lfm2_retrieval.indexes.kernels.scan import reduce_block, to_single
from lfm2_retrieval.indexes.search import scan


def test_widen_converts_every_finite_float16():
    half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(1, -1)
    results = []
    for convert in (to_single, reference.to_single_numpy):
        single = np.empty(half.shape, np.float32)
        convert(half.view(np.uint16), single.view(np.uint32), single)
        results.append(single.view(np.uint32))
        np.testing.assert_array_equal(single, half.astype(np.float32))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("seed", range(20))
def test_reduce_block_equals_its_twin(seed):
    rng = np.random.default_rng(seed)
    n, n_documents = int(rng.integers(1, 60)), int(rng.integers(1, 12))
    lanes = np.array([0, 3, 4, 9])
    similarities = rng.standard_normal((n, 9)).astype(np.float32)
    ends = np.sort(rng.integers(0, n + 20, n_documents))
    outcomes = []
    for reduce in (reduce_block, reference.reduce_block_numpy):
        running = np.full(9, -np.inf, np.float32)
        running[:5] = 0.5
        scores = np.zeros((3, n_documents), np.float32)
        outcomes.append((reduce(similarities, ends, 0, running, lanes, scores), running, scores))
    assert outcomes[0][0] == outcomes[1][0]
    np.testing.assert_array_equal(outcomes[0][1], outcomes[1][1])
    np.testing.assert_allclose(outcomes[0][2], outcomes[1][2], rtol=1e-6)


@pytest.mark.parametrize(
    ("documents_per_chunk", "block_tokens", "block_similarities"),
    [(4096, 1024, 1 << 19), (3, 64, 1), (1, 1024, 1 << 19)],
)
def test_scan_scores_every_document_whatever_the_blocks(
    monkeypatch, documents_per_chunk, block_tokens, block_similarities
):
    monkeypatch.setattr(scan, "_DOCUMENTS_PER_CHUNK", documents_per_chunk)
    monkeypatch.setattr(scan, "_BLOCK_TOKENS", block_tokens)
    monkeypatch.setattr(scan, "_BLOCK_SIMILARITIES", block_similarities)
    documents = embeddings([0, 3, 200, 1, 0, 0, 64, 63, 1, 500, 0], dtype=np.float16)
    queries = embeddings([2, 7, 1], seed=1)

    def decode(starts, ends, decoded):
        decoded[:] = documents.embeddings[starts[0] : ends[0]]

    chunks = list(scan.scan(decode, documents.offsets, queries.embeddings, queries.offsets))
    assert [first for first, _ in chunks] == list(range(0, 11, documents_per_chunk))
    scores = np.concatenate([chunk for _, chunk in chunks], axis=1)
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            if len(document):
                assert scores[q, d] == pytest.approx(naive_maxsim(query, document), abs=1e-5)
            else:
                assert scores[q, d] == -np.inf


def test_best_orders_by_score_then_key_and_leaves_out_the_impossible():
    scores = np.array([1, 3, -np.inf, 3, 2, 3], np.float32)
    keys = np.array([1, 9, 3, 4, 5, 6])
    assert scan.best(scores, keys, 2).tolist() == [3, 5]
    assert scan.best(scores, keys, 10).tolist() == [3, 5, 1, 4, 0]
    assert scan.best(scores[:0], keys[:0], 3).tolist() == []


def test_plausible_is_whatever_rounding_could_have_put_on_the_wrong_side():
    scores = np.array([20.0, 5.0, 19.9999, -np.inf, 19.99, 20.0001], np.float32)
    assert scan.plausible(scores, 1).tolist() == [0, 2, 5]
    assert scan.plausible(scores, 4).tolist() == [0, 2, 4, 5]
    assert scan.plausible(scores, 9).tolist() == [0, 1, 2, 4, 5]
    assert scan.plausible(scores[:0], 3).tolist() == []
