"""What the kernels of `_search_kernels` compute, in plain NumPy: the tests hold them equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_int8", "decode_pq", "gather", "postings", "probe", "refine"]


def probe(scores: NDArray[np.float32], n_lanes: int, n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The twin of ``_search_kernels.probe``."""
    used = scores[:, :n_lanes].T
    best = np.argsort(-used, axis=1, kind="stable")[:, :n]
    return best.astype(np.int32), np.take_along_axis(used, best, axis=1)


def gather(
    probed: NDArray[np.int32],
    gains: NDArray[np.float32],
    lists: NDArray[np.int64],
    documents: NDArray[np.uint32],
    alive: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The totals of ``_search_kernels.gather``, and which documents were reached."""
    totals = np.zeros(len(alive), np.float32)
    reached = np.zeros(len(alive), bool)
    for centroids, values in zip(probed, gains, strict=True):
        best = np.full(len(alive), -np.inf, np.float32)
        for centroid, value in zip(centroids, values, strict=True):
            some = documents[lists[centroid] : lists[centroid + 1]]
            best[some] = np.maximum(best[some], value)
        found = alive & (best > -np.inf)
        totals[found] += best[found]
        reached |= found
    return totals, reached


def refine(  # noqa: PLR0917  (as its twin)
    by_centroid: NDArray[np.int16],
    by_code: NDArray[np.int16],
    centroids: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    unit: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The scores of ``_search_kernels.refine``, summed in int64, where nothing overflows."""
    rows = np.arange(codes.shape[1]) * 256 + codes.astype(np.int64)
    tokens = by_centroid[centroids].astype(np.int64) + by_code.astype(np.int64)[rows].sum(1)
    best = [tokens[start:end].max(0) for start, end in zip(starts, ends, strict=True)]
    return np.array([(row * unit).sum() for row in best], np.float32)


def decode_int8(
    vectors: NDArray[np.int8], scales: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The twin of ``_search_kernels.decode_int8``, for any rows."""
    chosen = vectors[rows].astype(np.float32)
    if len(scales):
        return chosen * scales[rows, None]
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def decode_pq(
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    ids: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    normalise: bool,
) -> NDArray[np.float32]:
    """The twin of ``_search_kernels.decode_pq``, for all rows."""
    residuals = codebooks[np.arange(len(codebooks)), codes].reshape(len(codes), -1)
    decoded = centroids[ids] + residuals[:, : centroids.shape[1]]
    if normalise:
        lengths = np.linalg.norm(decoded, axis=1, keepdims=True)
        np.divide(decoded, lengths, out=decoded, where=lengths > 0)
    return decoded


def postings(
    centroids: NDArray[np.uint16], offsets: NDArray[np.int64], n_centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The lists and documents of ``_search_kernels.postings``."""
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.unique(np.column_stack([centroids.astype(np.int64), owners]), axis=0).reshape(-1, 2)
    lists = np.searchsorted(pairs[:, 0], np.arange(n_centroids + 1)).astype(np.int64)
    return lists, pairs[:, 1].astype(np.uint32)
