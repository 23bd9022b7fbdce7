"""The compiled kernels against their NumPy twins."""

import time
import warnings

import numpy as np
import pytest

from lfm2_retrieval.indexes import _search_kernels as kernels
from lfm2_retrieval.indexes import _twins as twins
from lfm2_retrieval.indexes._lanes import LANES
from lfm2_retrieval.indexes.codec import Codec
from lfm2_retrieval.indexes.tables import tables

SEEDS = pytest.mark.parametrize("seed", range(8))


@SEEDS
def test_probe(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-20, 20, (int(rng.integers(1, 200)), LANES)).astype(np.float32)  # with ties
    n = int(rng.integers(1, len(scores) + 1))
    for ours, theirs in zip(kernels.probe(scores, 5, n), twins.probe(scores, 5, n), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def make_postings(rng, n_documents, n_centroids):
    lengths = rng.integers(0, 9, n_documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    centroids = rng.integers(0, n_centroids, offsets[-1]).astype(np.uint16)
    lists = np.zeros(n_centroids + 1, np.int64)
    return offsets, centroids, lists, kernels.postings(centroids, offsets, lists)


@SEEDS
def test_postings(seed):
    offsets, centroids, lists, documents = make_postings(np.random.default_rng(seed), seed * 10, 7)
    expected_lists, expected = twins.postings(centroids, offsets, 7)
    np.testing.assert_array_equal(lists, expected_lists)
    np.testing.assert_array_equal(documents, expected)


@SEEDS
def test_gather(seed):
    rng = np.random.default_rng(seed)
    _, _, lists, documents = make_postings(rng, 60, 11)
    probed = np.stack([rng.permutation(11)[:4] for _ in range(6)]).astype(np.int32)
    gains = -np.sort(-rng.random((6, 4)).astype(np.float32), axis=1)
    alive = rng.random(60) < 0.7
    totals, stamps, touched = np.zeros(60, np.float32), np.zeros(60, np.int32), np.empty(60, np.int32)
    n = kernels.gather(probed[:3], gains[:3], lists, documents, alive, totals, stamps, touched, 0, 0)
    n = kernels.gather(probed[3:], gains[3:], lists, documents, alive, totals, stamps, touched, 3, n)
    expected, reached = twins.gather(probed, gains, lists, documents, alive)
    np.testing.assert_allclose(totals, expected, rtol=1e-5)
    np.testing.assert_array_equal(np.sort(touched[:n]), np.flatnonzero(reached))


def test_gather_refuses_a_document_that_does_not_exist():
    lists, documents = np.array([0, 1]), np.array([9], np.uint32)
    state = np.zeros(3, np.float32), np.zeros(3, np.int32), np.empty(3, np.int32)
    gains = np.ones((1, 1), np.float32)
    assert (
        kernels.gather(np.zeros((1, 1), np.int32), gains, lists, documents, np.ones(3, bool), *state, 0, 0)
        == -1
    )


@pytest.mark.parametrize("n_codes", [0, 1, 5, 32])
def test_refine(n_codes):
    rng = np.random.default_rng(n_codes)
    by_centroid = rng.integers(-900, 900, (40, LANES)).astype(np.int16)
    by_code = rng.integers(-900, 900, (n_codes * 256, LANES)).astype(np.int16)
    centroids = rng.integers(0, 40, 500).astype(np.uint16)
    codes = rng.integers(0, 256, (500, n_codes), dtype=np.uint8)
    starts = rng.integers(0, 450, 30)
    ends = starts + rng.integers(1, 50, 30)
    unit = rng.random(LANES).astype(np.float32)
    scores = np.ones(30, np.float32)
    assert kernels.refine(by_centroid, by_code, centroids, codes, starts, ends, unit, scores)
    expected = 1 + twins.refine(by_centroid, by_code, centroids, codes, starts, ends, unit)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-2)
    assert not kernels.refine(by_centroid[:10], by_code, centroids, codes, starts, ends, unit, scores)


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 65504.0])
@pytest.mark.parametrize("width", [2, 4])
def test_no_sum_overflows_at_the_limits(size, width):
    """Every query token is as far along a centroid and its codewords as can be."""
    rng = np.random.default_rng(0)
    dim = 64
    signs = rng.choice([-1.0, 1.0], dim).astype(np.float32)
    centroids = np.stack([signs, -signs] * 8) * np.float32(size)
    codebooks = np.repeat((signs * size).reshape(-1, 1, width), 256, axis=1).astype(np.float32)
    codebooks[:, 1::2] *= -1
    codec = Codec(1, centroids, codebooks, {})
    query = np.stack([signs, -signs, np.zeros(dim), signs * 1e-3]).astype(np.float32)
    (group,) = tables(query, codec)
    ids = np.array([0, 1], np.uint16)
    codes = np.array([[0] * len(codebooks), [1] * len(codebooks)], np.uint8)
    starts, ends, scores = np.array([0, 1]), np.array([1, 2]), np.zeros((2, 2), np.float32)
    for lanes_of, unit in enumerate((np.eye(LANES)[0], np.eye(LANES)[1])):
        one = (group.unit * unit).astype(np.float32)
        assert kernels.refine(
            group.by_centroid, group.by_code, ids, codes, starts, ends, one, scores[lanes_of]
        )
    expected = 2 * dim * size
    if size > 1e-20:  # smaller similarities round to nothing
        np.testing.assert_allclose(scores, [[expected, -expected], [-expected, expected]], rtol=2e-3)
    assert np.isfinite(scores).all()


@SEEDS
def test_int8_decoding(seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-127, 128, (50, 12), dtype=np.int8)
    starts, ends = np.array([3, 3, 40, 7]), np.array([9, 3, 50, 8])
    rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
    for scales in (np.empty(0, np.float32), rng.random(50).astype(np.float32)):
        decoded = np.empty((len(rows), 12), np.float32)
        kernels.decode_int8(steps, scales, starts, ends, decoded)
        np.testing.assert_allclose(decoded, twins.decode_int8(steps, scales, rows), rtol=1e-6)


@pytest.mark.parametrize("dim", [5, 12])
@pytest.mark.parametrize("normalise", [False, True])
def test_pq_decoding(dim, normalise):
    rng = np.random.default_rng(dim)
    centroids = rng.standard_normal((9, dim)).astype(np.float32)
    codebooks = rng.standard_normal((-(-dim // 4), 256, 4)).astype(np.float32)
    ids = rng.integers(0, 9, 30).astype(np.uint16)
    codes = rng.integers(0, 256, (30, len(codebooks)), dtype=np.uint8)
    decoded = np.empty((30, dim), np.float32)
    whole = np.array([0]), np.array([30])
    assert kernels.decode_pq(centroids, codebooks, ids, codes, normalise, *whole, decoded)
    expected = twins.decode_pq(centroids, codebooks, ids, codes, normalise)
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-6)
    assert not kernels.decode_pq(centroids[:4], codebooks, ids, codes, normalise, *whole, decoded)


@pytest.mark.parametrize("n", [1, 16, 17, 40])
def test_tables_estimate_what_decoding_gives(n):
    rng = np.random.default_rng(n)
    codec = Codec(
        1,
        rng.standard_normal((20, 10)).astype(np.float32),
        rng.standard_normal((3, 256, 4)).astype(np.float32),
        {},
    )
    ids = rng.integers(0, 20, 60).astype(np.uint16)
    codes = rng.integers(0, 256, (60, 3), dtype=np.uint8)
    query = rng.standard_normal((n, 10)).astype(np.float32)
    starts, ends, scores = np.array([0, 10, 59]), np.array([10, 59, 60]), np.zeros(3, np.float32)
    for group in tables(query, codec):
        assert kernels.refine(group.by_centroid, group.by_code, ids, codes, starts, ends, group.unit, scores)
    tokens = twins.decode_pq(codec.centroids, codec.codebooks, ids, codes, False) @ query.T
    expected = [tokens[a:b].max(0).sum() for a, b in zip(starts, ends, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-2)


def test_the_vector_kernel_beats_numpy_by_far():
    """Warns, and doesn't fail, because other programs may slow it: a kernel without vector instructions
    would be 10 times as slow."""
    rng = np.random.default_rng(0)
    by_centroid = rng.integers(-99, 99, (1024, LANES)).astype(np.int16)
    by_code = rng.integers(-99, 99, (32 * 256, LANES)).astype(np.int16)
    centroids = rng.integers(0, 1024, 4096).astype(np.uint16)
    codes = rng.integers(0, 256, (4096, 32), dtype=np.uint8)
    starts, ends = np.arange(0, 4096, 128), np.arange(128, 4097, 128)
    arguments = by_centroid, by_code, centroids, codes, starts, ends, np.ones(LANES, np.float32)
    scores = np.zeros(32, np.float32)
    ours, theirs = [], []
    for _ in range(4):
        start = time.thread_time()
        kernels.refine(*arguments, scores)
        ours.append(time.thread_time() - start)
        start = time.thread_time()
        twins.refine(*arguments)
        theirs.append(time.thread_time() - start)
    if min(theirs) < 20 * min(ours):
        warnings.warn(f"refine is only {min(theirs) / min(ours):.0f} times as fast as NumPy", stacklevel=1)
