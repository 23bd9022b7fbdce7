"""The compiled kernels against their NumPy reference."""

import numpy as np
import pytest

from lfm2_retrieval.indexes.kernels import decode, encode, reference
from lfm2_retrieval.indexes.kernels import gather as gathering
from lfm2_retrieval.indexes.kernels import rerank as scoring
from lfm2_retrieval.indexes.kernels import shortlist as kernels
from lfm2_retrieval.indexes.quantization.codec import Codec
from lfm2_retrieval.indexes.search.lookup_tables import lookup
from lfm2_retrieval.indexes.search.rerank import columns

SEEDS = pytest.mark.parametrize("seed", range(8))
LANES = pytest.mark.parametrize("lanes", [16, 32])
IDS = pytest.mark.parametrize("ids", [np.uint16, np.uint32])


def sums_of(documents, states):
    """What `gather` added up for some documents that it reached."""
    return states[documents] & gathering._LOWER


@LANES
@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 6, 6), (3, 256, 4), (1, 100, 128), (2, 7, 2)])
def test_tabulate(lanes, shape):
    rng = np.random.default_rng(shape[1])
    rows = rng.integers(-2000, 2000, shape, np.int16)
    rows[0, 0] = 2**15 - 1
    columns = rng.integers(-2000, 2000, (shape[0], shape[2] // 2, lanes, 2), np.int16)
    factor = np.float32(30_000 / (shape[2] * 2000 * (2**15 - 1)))
    table = np.full((shape[0] * shape[1], lanes), 7, np.int16)
    kernels.for_lanes(lanes).tabulate(rows, columns, factor, 0, shape[1], table)
    np.testing.assert_array_equal(table, reference.tabulate(rows, columns, factor))
    halves = np.full_like(table, 7)
    kernels.for_lanes(lanes).tabulate(rows, columns, factor, 0, shape[1] // 2, halves)
    kernels.for_lanes(lanes).tabulate(rows, columns, factor, shape[1] // 2, shape[1], halves)
    np.testing.assert_array_equal(halves, table)


@LANES
def test_products_up_to_the_largest(lanes):
    """Of a row and columns as long as they may be, along the axes and across."""
    rows = np.zeros((1, 2, 4), np.int16)
    rows[0] = [2**15 - 1, 0, 0, 0], [2**14 - 1] * 4
    columns = np.zeros((1, 2, lanes, 2), np.int16)
    columns[0, 0, 0] = 2**15 - 1, 0
    columns[0, :, 1] = 1 - 2**14
    table = np.zeros((2, lanes), np.int16)
    kernels.for_lanes(lanes).tabulate(rows, columns, np.float32(2.0**-15), 0, 2, table)
    np.testing.assert_array_equal(table, reference.tabulate(rows, columns, np.float32(2.0**-15)))
    assert table[:, :3].tolist() == [[32766, -16382, 0], [16382, -32764, 0]]


@LANES
def test_roughen(lanes):
    table = np.random.default_rng(lanes).integers(-(2**15), 2**15, (50, lanes)).astype(np.int16)
    table[0], table[1] = 2**15 - 1, -(2**15)
    rough = np.full(table.shape, 9, np.int8)
    kernels.for_lanes(lanes).roughen(table, 0, 49, rough)
    np.testing.assert_array_equal(rough[:49], reference.roughen(table)[:49])
    assert (rough[49] == 9).all()


@LANES
@SEEDS
def test_probe(seed, lanes):
    rng = np.random.default_rng(seed)
    table = rng.integers(-20, 20, (int(rng.integers(1, 200)), lanes)).astype(np.int16)  # with ties
    table[rng.random(table.shape) < 0.1] = rng.choice([-(2**15) + 1, 2**15 - 1])
    n = int(rng.integers(1, len(table) + 1))
    for n_tokens in (1, 5, lanes):
        best, values = np.empty((n_tokens, n), np.int32), np.empty((n_tokens, n), np.int16)
        kernels.for_lanes(lanes).probe(table, best, values)
        for ours, theirs in zip((best, values), reference.probe(table, n_tokens, n), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def make_postings(rng, n_documents, n_centroids, ids=np.uint16):
    lengths = rng.integers(0, 9, n_documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    centroids = rng.integers(0, n_centroids, offsets[-1]).astype(ids)
    lists = np.zeros(n_centroids + 1, np.int64)
    return offsets, centroids, lists, encode.postings(centroids, offsets, lists)


@IDS
@SEEDS
def test_postings(seed, ids):
    offsets, centroids, lists, documents = make_postings(np.random.default_rng(seed), seed * 10, 7, ids)
    expected_lists, expected = reference.postings(centroids, offsets, 7)
    np.testing.assert_array_equal(lists, expected_lists)
    np.testing.assert_array_equal(documents, expected)


@SEEDS
def test_gather(seed):
    """Twice, so that what the first query left behind would show."""
    rng = np.random.default_rng(seed)
    _, _, lists, documents = make_postings(rng, 60, 11)
    states, touched = np.zeros(60, np.int64), np.zeros(61, np.int32)
    for before in (0, 6):
        probed = np.stack([rng.permutation(11)[:4] for _ in range(6)]).astype(np.int32)
        gains = -np.sort(-rng.integers(0, 65535, (6, 4)), axis=1).astype(np.int32)
        assert gathering.listed(probed, lists) == sum(lists[c + 1] - lists[c] for c in probed.ravel())
        n = gathering.gather(probed, gains, lists, documents, states, touched, before)
        expected, reached = reference.gather(probed, gains, lists, documents, 60)
        np.testing.assert_array_equal(np.sort(touched[:n]), np.flatnonzero(reached))
        np.testing.assert_array_equal(sums_of(touched[:n], states), expected[touched[:n]])


def test_gather_at_the_last_stamp_and_the_largest_gain():
    lists, documents = np.array([0, 2]), np.array([1, 0], np.uint16)
    states, touched = np.zeros(2, np.int64), np.zeros(3, np.int32)
    probed, before = np.zeros((4, 1), np.int32), 2**31 - 5
    n = gathering.gather(probed, probed + 65534, lists, documents, states, touched, before)
    assert touched[:n].tolist() == [1, 0]
    assert sums_of(touched[:n], states).tolist() == [4 * 65534] * 2


def test_gather_refuses_a_document_that_does_not_exist():
    lists, documents = np.array([0, 1]), np.array([9], np.uint32)
    probed = np.zeros((1, 1), np.int32)
    states, touched = np.zeros(3, np.int64), np.zeros(4, np.int32)
    assert gathering.gather(probed, probed + 1, lists, documents, states, touched, 0) == -1


@IDS
@LANES
@pytest.mark.parametrize("n_codes", [1, 5, 32])
@pytest.mark.parametrize("margin", [0, 1, 300, 32767])
def test_estimate_and_refine(n_codes, margin, lanes, ids):
    rng = np.random.default_rng(n_codes)
    by_centroid = rng.integers(-900, 900, (40, lanes)).astype(np.int16)
    by_code = rng.integers(-900, 900, (n_codes * 256, lanes)).astype(np.int16)
    margins = np.minimum(margin + np.arange(lanes), 32767).astype(np.int16)
    centroids = rng.integers(0, 40, 500).astype(ids)
    codes = rng.integers(0, 256, (500, n_codes), dtype=np.uint8)
    starts = rng.integers(0, 450, 30)
    ends = starts + rng.integers(1, 50, 30)
    compiled = kernels.for_lanes(lanes)
    rough, scores = rng.integers(-128, 128, (40, lanes), np.int8), np.ones(30, np.int32)
    assert compiled.by_centroids(rough, centroids, starts, ends, scores)
    np.testing.assert_array_equal(scores, 1 + reference.by_centroids(rough, centroids, starts, ends))
    scores = np.ones(30, np.int32)
    given = by_centroid, by_code, margins, centroids, codes, starts, ends
    assert compiled.refine(*given, scores)
    np.testing.assert_array_equal(scores, 1 + reference.refine(*given))
    assert not compiled.by_centroids(rough[:10], centroids, starts, ends, scores)
    assert not compiled.refine(by_centroid[:10], *given[1:], scores)


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
    codec = Codec(1, np.eye(dim, dtype=np.float32), centroids, codebooks, {})
    query = np.stack([signs, -signs, np.zeros(dim), signs * 1e-3]).astype(np.float32)
    tables = lookup(query, codec)
    (group,) = tables.groups
    for table in (group.by_centroid[:2], group.by_code[:2]):
        np.testing.assert_allclose(table[0, :2], -table[1, :2])
    sums = group.by_centroid[:2].astype(int) + group.by_code.reshape(len(codebooks), 256, 16)[:, :2].sum(0)
    assert np.abs(sums).max() <= 2**15 - 1
    ids, codes = np.array([0, 1], np.uint16), np.array([[0], [1]], np.uint8).repeat(len(codebooks), 1)
    scores = np.zeros(2, np.int32)
    margins = np.full(16, 2**15 - 1, np.int16)
    given = group.by_centroid, group.by_code, margins, ids, codes, np.array([0, 1]), np.array([1, 2])
    assert group.kernels.refine(*given, scores)
    np.testing.assert_array_equal(scores, sums.sum(1))
    np.testing.assert_allclose(tables.unit * sums[0, :2], [2 * dim * size, -2 * dim * size], rtol=1e-2)


@pytest.mark.parametrize("codeword", [0.0, 1e-45, 3e38])
def test_tables_of_impossible_sizes_are_finite(codeword):
    codebooks = np.full((2, 256, 4), codeword, np.float32)
    codec = Codec(1, np.eye(8, dtype=np.float32), np.zeros((16, 8), np.float16), codebooks, {})
    tables = lookup(np.full((3, 8), 65504, np.float32), codec)
    assert np.isfinite(tables.unit)
    assert np.abs(tables.groups[0].by_code.astype(int)).max() < 2**15


@SEEDS
def test_int8_decoding(seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-127, 128, (50, 12), dtype=np.int8)
    starts, ends = np.array([3, 3, 40, 7]), np.array([9, 3, 50, 8])
    rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
    for scales in (np.empty(0, np.float32), rng.random(50).astype(np.float32)):
        decoded = np.empty((len(rows), 12), np.float32)
        decode.decode_int8(steps, scales, starts, ends, decoded)
        np.testing.assert_allclose(decoded, reference.decode_int8(steps, scales, rows), rtol=1e-6)


@IDS
@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("normalise", [False, True])
def test_pq_decoding(width, normalise, ids):
    dim = 12
    rng = np.random.default_rng(width)
    centroids = rng.standard_normal((9, dim)).astype(np.float32)
    codebooks = rng.standard_normal((dim // width, 256, width)).astype(np.float32)
    ids = rng.integers(0, 9, 30).astype(ids)
    codes = rng.integers(0, 256, (30, len(codebooks)), dtype=np.uint8)
    decoded = np.empty((30, dim), np.float32)
    whole = np.array([0]), np.array([30])
    assert decode.decode_pq(centroids, codebooks, ids, codes, normalise, *whole, decoded)
    expected = reference.decode_pq(centroids, codebooks, ids, codes, normalise)
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-6)
    assert not decode.decode_pq(centroids[:4], codebooks, ids, codes, normalise, *whole, decoded)


SOME = np.array([0, 0, 5, 59]), np.array([1, 7, 59, 60])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 32, 70])
@pytest.mark.parametrize("dim", [1, 5, 12, 128])
def test_scores_of_int8_and_float32(n, dim):
    rng = np.random.default_rng(n)
    query = rng.standard_normal((n, dim)).astype(np.float32)
    steps = rng.integers(-127, 128, (60, dim), dtype=np.int8)
    steps[3] = 0
    lengths = np.linalg.norm(steps.astype(np.float64), axis=1, keepdims=True)
    unit = np.divide(steps, lengths, out=np.zeros(steps.shape), where=lengths > 0)
    scales = rng.random(60).astype(np.float32)
    layout, scores = columns(query), np.empty(4, np.float32)
    for given, stored in ((np.empty(0, np.float32), unit), (scales, steps * scales.astype(float)[:, None])):
        scoring.score_int8(steps, given, *SOME, layout.values, n, scores)
        np.testing.assert_allclose(scores, reference.score(stored, query, *SOME), rtol=2e-7, atol=1e-12)
    vectors = rng.standard_normal((60, dim)).astype(np.float32)
    scoring.score_float32(vectors, *SOME, layout.values, n, scores)
    np.testing.assert_allclose(scores, reference.score(vectors, query, *SOME), rtol=2e-7, atol=1e-12)


@IDS
@pytest.mark.parametrize("n_codes", [1, 3, 8])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("normalise", [False, True])
def test_scores_of_codes(n_codes, width, normalise, ids):
    dim = n_codes * width
    rng = np.random.default_rng(dim)
    centroids = rng.standard_normal((9, dim)).astype(np.float32)
    codebooks = rng.standard_normal((n_codes, 256, width)).astype(np.float32)
    ids = rng.integers(0, 9, 60).astype(ids)
    codes = rng.integers(0, 256, (60, len(codebooks)), dtype=np.uint8)
    query = rng.standard_normal((9, dim)).astype(np.float32)
    layout, scores = columns(query), np.empty(4, np.float32)
    given = centroids, codebooks, ids, codes, normalise, *SOME, layout.values, 9, scores
    assert scoring.score_pq(*given)
    stored = reference.decode_pq(centroids, codebooks, ids, codes, normalise=False).astype(np.float64)
    if normalise:
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, reference.score(stored, query, *SOME), rtol=2e-7)
    assert not scoring.score_pq(centroids[:4], *given[1:])


@pytest.mark.parametrize("n", [1, 16, 17, 40, 70])
def test_tables_estimate_what_decoding_gives(n):
    rng = np.random.default_rng(n)
    rotation = np.linalg.qr(rng.standard_normal((12, 10)))[0].T.astype(np.float32)  # 10 dimensions in 12
    centroids = rng.standard_normal((20, 10)).astype(np.float16)
    codec = Codec(1, rotation, centroids, rng.standard_normal((3, 256, 4)).astype(np.float32), {})
    ids = rng.integers(0, 20, 60).astype(np.uint16)
    codes = rng.integers(0, 256, (60, 3), dtype=np.uint8)
    query = rng.standard_normal((n, 10)).astype(np.float32)
    starts, ends, scores = np.array([0, 10, 59]), np.array([10, 59, 60]), np.zeros(3, np.int32)
    tables = lookup(query, codec, threads=2)
    assert sum(group.n_tokens for group in tables.groups) == n
    for group in tables.groups:
        margins = np.where(group.margins > 0, 2**15 - 1, 0).astype(np.int16)
        given = group.by_centroid, group.by_code, margins, ids, codes, starts, ends
        assert group.kernels.refine(*given, scores)
    turned = centroids.astype(np.float32) @ rotation
    np.testing.assert_allclose(codec.turned, turned, atol=1e-5)
    tokens = reference.decode_pq(turned, codec.codebooks, ids, codes, False) @ rotation.T @ query.T
    expected = [tokens[a:b].max(0).sum() for a, b in zip(starts, ends, strict=True)]
    np.testing.assert_allclose(scores * tables.unit, expected, rtol=2e-3, atol=2e-2)


@SEEDS
def test_select(seed):
    rng = np.random.default_rng(seed)
    states = rng.integers(0, 10 ** (seed + 1), 3000)  # with ties
    states |= 5 << 32
    alive = rng.random(3000) < 0.8
    all_touched = rng.permutation(3000)[:2500].astype(np.int32)
    touched = all_touched[alive[all_touched]]
    sums = sums_of(touched, states)
    for wanted in (1, 500, len(touched) - 1, len(touched), 5000):
        given = all_touched.copy(), alive, np.empty(3001, np.int64)
        chosen = gathering.select(states, *given, wanted)
        assert len(chosen) == min(wanted, len(touched))
        places = np.flatnonzero(np.isin(touched, chosen))
        np.testing.assert_array_equal(touched[places], chosen)  # in that order, each once
        left = np.delete(sums, places)
        if len(left):
            assert left.max() - sums[places].min() <= sums.max() / 2048
