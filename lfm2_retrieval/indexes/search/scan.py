"""Exact MaxSim over stored vectors: for each query token the largest inner product, summed over the query.

The scan decodes a block of vectors to float32, multiplies it with the tokens of all queries at once (BLAS)
and reduces it, so that a batch reads the vectors once. Its sums differ in the last bits with the shape of the
batch, the maker of the BLAS and, with some, where in a block a vector stands; the documents that matter
(`plausible`) are therefore scored again in float64 (by `rerank`), which makes scores and ties the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decode", "best", "plausible", "scan"]

Decode = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], None]

_DOCUMENTS_PER_CHUNK = 4096
_BLOCK_TOKENS = 1024
_ROUNDING = 1e-4
"""Relative to the k-th score, or to 1: more than the scan can be wrong by."""
_BLOCK_SIMILARITIES = 1 << 19  # at most so many float32 per block, so that they stay in the cache


def scan(
    decode: Decode, offsets: NDArray[np.int64], queries: NDArray[np.float32], lanes: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Score documents in chunks, in order.

    Parameters
    ----------
    decode
        Writes ranges of the documents' vectors into a float32 ``[n, dim]``; see `Segment.decode`.
    offsets
        int64 ``[n_documents + 1]``.
    queries
        float32 ``[n_lanes, dim]``, at least one.
    lanes
        int64 ``[n_queries + 1]``: query ``i`` owns rows ``lanes[i]`` to ``lanes[i + 1]``, at least one.

    Yields
    ------
    tuple
        The chunk's first document and float32 ``[n_queries, n]``: approximate scores, -inf where a document
        has no tokens.
    """
    from ..kernels.scan import reduce_block

    n_block = max(64, min(_BLOCK_TOKENS, _BLOCK_SIMILARITIES // len(queries)))
    single = np.empty((n_block, queries.shape[1]), np.float32)
    similarities = np.empty((n_block, len(queries)), np.float32)
    columns = np.ascontiguousarray(queries.T)
    running = np.empty(len(queries), np.float32)
    for first in range(0, len(offsets) - 1, _DOCUMENTS_PER_CHUNK):
        ends = offsets[first + 1 : first + 1 + _DOCUMENTS_PER_CHUNK]
        scores = np.full((len(lanes) - 1, len(ends)), -np.inf, np.float32)
        running[:] = -np.inf
        document = 0
        for start in range(int(offsets[first]), int(ends[-1]), n_block):
            n = min(n_block, int(ends[-1]) - start)
            decode(np.array([start]), np.array([start + n]), single[:n])
            np.matmul(single[:n], columns, out=similarities[:n])
            document = reduce_block(similarities[:n], ends - start, document, running, lanes, scores)
        yield first, scores


def best(scores: NDArray[np.float32], keys: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """The indices of the ``k`` largest scores, best first, ties by key; -inf is never among them."""
    kept = np.flatnonzero(scores > -np.inf)
    if len(kept) > k:
        kept = kept[scores[kept] >= np.partition(scores[kept], -k)[-k]]
    return kept[np.lexsort((keys[kept], -scores[kept]))[:k]]


def plausible(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """The indices of scanned ``scores`` that can be among the ``k`` largest, however many; none of -inf."""
    kept = np.flatnonzero(scores > -np.inf)
    if len(kept) > k:
        score = float(np.partition(scores[kept], -k)[-k])
        kept = kept[scores[kept] >= score - _ROUNDING * max(1.0, abs(score))]
    return kept
