"""Exact MaxSim over float16 vectors: for each query token the largest inner product, summed over the query.

The scan widens a block of vectors to float32, multiplies it with the tokens of all queries at once (BLAS)
and reduces it, so that a batch reads the vectors once. Its sums differ in the last bits with the shape of the
batch and the maker of the BLAS; the few documents that matter are therefore scored again in float64
(`rescore`), which makes scores and ties the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["best", "reduce_block_numpy", "rescore", "scan", "widen_numpy"]

_DOCUMENTS_PER_CHUNK = 4096
_BLOCK_TOKENS = 1024
_BLOCK_SIMILARITIES = 1 << 19  # at most so many float32 per block, so that they stay in the cache


def widen_numpy(half: NDArray[np.uint16], bits: NDArray[np.uint32], single: NDArray[np.float32]) -> None:
    """The twin of ``_kernels.widen``."""
    single[...] = half.view(np.float16)


def reduce_block_numpy(  # noqa: PLR0917
    similarities: NDArray[np.float32],
    ends: NDArray[np.int64],
    document: int,
    running: NDArray[np.float32],
    lanes: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> int:
    """The twin of ``_kernels.reduce_block``."""
    start = 0
    for index in range(document, len(ends)):
        part = similarities[start : ends[index]]
        running[:] = np.maximum(running, part.max(axis=0, initial=-np.inf))
        if ends[index] > len(similarities):
            return index
        start = ends[index]
        for query in range(len(lanes) - 1):
            scores[query, index] = running[lanes[query] : lanes[query + 1]].sum(dtype=np.float64)
        running[:] = -np.inf
    return len(ends)


def scan(
    vectors: NDArray[np.float16],
    offsets: NDArray[np.int64],
    queries: NDArray[np.float32],
    lanes: NDArray[np.int64],
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Score documents in chunks, in order.

    Parameters
    ----------
    vectors
        float16 ``[n_tokens, dim]``, C-contiguous.
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
    from ._kernels import reduce_block, widen

    n_block = max(64, min(_BLOCK_TOKENS, _BLOCK_SIMILARITIES // len(queries)))
    single = np.empty((n_block, vectors.shape[1]), np.float32)
    bits = single.view(np.uint32)
    similarities = np.empty((n_block, len(queries)), np.float32)
    half = vectors.view(np.uint16)
    columns = np.ascontiguousarray(queries.T)
    running = np.empty(len(queries), np.float32)
    for first in range(0, len(offsets) - 1, _DOCUMENTS_PER_CHUNK):
        ends = offsets[first + 1 : first + 1 + _DOCUMENTS_PER_CHUNK]
        scores = np.full((len(lanes) - 1, len(ends)), -np.inf, np.float32)
        running[:] = -np.inf
        document = 0
        for start in range(int(offsets[first]), int(ends[-1]), n_block):
            n = min(n_block, int(ends[-1]) - start)
            widen(half[start : start + n], bits[:n], single[:n])
            np.matmul(single[:n], columns, out=similarities[:n])
            document = reduce_block(similarities[:n], ends - start, document, running, lanes, scores)
        yield first, scores


def rescore(
    query: NDArray[np.float32], vectors: NDArray[np.float16], offsets: NDArray[np.int64], document: int
) -> np.float32:
    """One document's MaxSim, summed in float64 and rounded once.

    Parameters
    ----------
    query
        float32 ``[n_lanes, dim]``.
    vectors, offsets, document
        As for `scan`; the document has tokens.
    """
    tokens = vectors[offsets[document] : offsets[document + 1]].astype(np.float64)
    return np.float32((tokens @ query.T.astype(np.float64)).max(axis=0).sum())


def best(scores: NDArray[np.float32], keys: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """The indices of the ``k`` largest scores, best first, ties by key; -inf is never among them."""
    kept = np.flatnonzero(scores > -np.inf)
    if len(kept) > k:
        kept = kept[scores[kept] >= np.partition(scores[kept], -k)[-k]]
    return kept[np.lexsort((keys[kept], -scores[kept]))[:k]]
