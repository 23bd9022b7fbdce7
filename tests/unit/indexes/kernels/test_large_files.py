"""Kernels beyond two gigabytes: what lies at the end of a large file scores as at its beginning."""

import numpy as np
import pytest

from lfm2_retrieval.indexes.kernels import decode, rerank
from lfm2_retrieval.indexes.kernels.shortlist import for_lanes
from lfm2_retrieval.indexes.search.rerank import columns

DIM, LENGTH, N_CODES = 128, 7, 32
N = (1 << 31) // DIM + 100
"""Vectors: more bytes than an int32 counts."""


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """int8 ``[N, DIM]``, a file of holes but for two equal documents: the first one and the last."""
    path = tmp_path_factory.mktemp("large") / "int8"
    try:
        vectors = np.memmap(path, np.int8, "w+", shape=(N, DIM))
    except OSError:
        pytest.skip("the disk takes no file of 2 GB")
    if path.stat().st_blocks * 512 > 1 << 28:
        pytest.skip("the disk keeps no holes")
    rows = np.random.default_rng(0).integers(-127, 128, (LENGTH, DIM))
    vectors[:LENGTH] = vectors[-LENGTH:] = rows
    return vectors.view(np.ndarray)


def test_vectors_beyond_two_gigabytes(vectors):
    starts, scores = np.array([0, N - LENGTH]), np.empty(2, np.float32)
    query = columns(np.random.default_rng(1).standard_normal((5, DIM)))
    rerank.score_int8(vectors, np.empty(0, np.float32), starts, starts + LENGTH, query.values, 5, scores)
    assert scores[0] == scores[1] != 0
    decoded = np.empty((2 * LENGTH, DIM), np.float32)
    decode.decode_int8(vectors, np.empty(0, np.float32), starts, starts + LENGTH, decoded)
    assert np.array_equal(decoded[:LENGTH], decoded[LENGTH:])
    assert decoded.any()


def test_codes_beyond_two_gigabytes(vectors, tmp_path):
    codes = vectors.view(np.uint8).reshape(-1, N_CODES)
    length = LENGTH * DIM // N_CODES
    starts, rng = np.array([0, len(codes) - length]), np.random.default_rng(2)
    centroids = np.memmap(tmp_path / "centroids", np.uint16, "w+", shape=len(codes))
    centroids[:length] = centroids[-length:] = rng.integers(0, 50, length)
    by_centroid, by_code = (rng.integers(-500, 500, (n, 16)).astype(np.int16) for n in (50, 256 * N_CODES))
    where = centroids.view(np.ndarray), codes, starts, starts + length
    found = np.zeros(2, np.int32)
    margins = np.full(16, 300, np.int16)
    assert for_lanes(16).refine(by_centroid, by_code, margins, *where, found)
    assert found[0] == found[1] != 0
    rough, found = (by_centroid // 256).astype(np.int8), np.zeros(2, np.int32)
    assert for_lanes(16).by_centroids(rough, where[0], *where[2:], found)
    assert found[0] == found[1] != 0
