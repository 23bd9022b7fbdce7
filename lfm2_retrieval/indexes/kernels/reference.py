"""What the kernels of searching and scoring compute, in plain NumPy: the tests hold them equal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import Ids

__all__ = [
    "by_centroids",
    "decode_int8",
    "decode_pq",
    "gather",
    "longest",
    "postings",
    "probe",
    "refine",
    "roughen",
    "score",
    "score_rows",
    "score_steps",
    "tabulate",
    "to_single_numpy",
]


def tabulate(rows: NDArray[np.int16], columns: NDArray[np.int16], factor: np.float32) -> NDArray[np.int16]:
    """The table of ``Kernels.tabulate``, of all rows."""
    lanes = columns.shape[2]
    unpaired = columns.swapaxes(2, 3).reshape(len(columns), -1, lanes)
    products = rows.astype(np.int64) @ unpaired.astype(np.int64)
    table: NDArray[np.int16] = np.rint(products.astype(np.float32) * factor).astype(np.int16)
    return table.reshape(-1, lanes)


def roughen(table: NDArray[np.int16]) -> NDArray[np.int8]:
    """What ``Kernels.roughen`` makes of all rows."""
    return (np.minimum(table.astype(np.int32) + 128, 2**15 - 1) >> 8).astype(np.int8)


def probe(table: NDArray[np.int16], n_tokens: int, n: int) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """The reference for ``Kernels.probe``."""
    used = table[:, :n_tokens].T
    best = np.argsort(-used.astype(np.int32), axis=1, kind="stable")[:, :n]
    return best.astype(np.int32), np.take_along_axis(used, best, axis=1)


def gather(
    probed: NDArray[np.int32],
    gains: NDArray[np.int32],
    lists: NDArray[np.int64],
    documents: Ids,
    n_documents: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The sums of `gather.gather`, and which documents were reached."""
    sums, reached = np.zeros(n_documents, np.int64), np.zeros(n_documents, bool)
    for centroids, values in zip(probed, gains, strict=True):
        best = np.full(n_documents, -1, np.int32)
        for centroid, value in zip(centroids, values, strict=True):
            some = documents[lists[centroid] : lists[centroid + 1]]
            best[some] = np.maximum(best[some], value)
        sums[best >= 0] += best[best >= 0]
        reached |= best >= 0
    return sums, reached


def by_centroids(
    rough: NDArray[np.int8], centroids: Ids, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What ``Kernels.by_centroids`` adds to the scores."""
    tokens = rough[centroids].astype(np.int64)
    return np.array([tokens[start:end].max(0).sum() for start, end in zip(starts, ends, strict=True)])


def refine(  # noqa: PLR0917  (as its kernel)
    by_centroid: NDArray[np.int16],
    by_code: NDArray[np.int16],
    margins: NDArray[np.int16],
    centroids: Ids,
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int64]:
    """What ``Kernels.refine`` adds to the scores, in int64, where nothing overflows."""
    rows = np.arange(codes.shape[1]) * 256 + codes.astype(np.int64)
    near = by_centroid[centroids].astype(np.int64)
    tokens = near + by_code.astype(np.int64)[rows].sum(1)
    scores = []
    for start, end in zip(starts, ends, strict=True):
        bar = np.maximum(near[start:end].max(0) - margins, -(2**15))
        kept = (near[start:end] > bar).any(1)
        scores.append(tokens[start:end][kept].max(0).sum())
    return np.array(scores)


def score(
    vectors: NDArray[np.floating[Any]],
    query: NDArray[np.floating[Any]],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.float32]:
    """The scores of all kernels of `rerank`, given the vectors ``[n_tokens, dim]`` as stored."""
    similarities = vectors.astype(np.float64) @ query.astype(np.float64).T
    best = [similarities[start:end].max(0).sum() for start, end in zip(starts, ends, strict=True)]
    return np.array(best, np.float32)


def decode_int8(
    vectors: NDArray[np.int8], scales: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The reference for ``decode.decode_int8``, for any rows."""
    chosen = vectors[rows].astype(np.float32)
    if len(scales):
        chosen *= scales[rows, None]
    else:
        chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    return chosen


def decode_pq(
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    ids: Ids,
    codes: NDArray[np.uint8],
    normalise: bool,
) -> NDArray[np.float32]:
    """The reference for ``decode.decode_pq``, for all rows."""
    residuals = codebooks[np.arange(len(codebooks)), codes].reshape(len(codes), -1)
    decoded = centroids[ids] + residuals
    if normalise:
        lengths = np.linalg.norm(decoded, axis=1, keepdims=True)
        np.divide(decoded, lengths, out=decoded, where=lengths > 0)
    return decoded


def postings(
    centroids: Ids, offsets: NDArray[np.int64], n_centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The lists and documents of ``_build_kernels.postings``."""
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.unique(np.column_stack([centroids.astype(np.int64), owners]), axis=0).reshape(-1, 2)
    lists = np.searchsorted(pairs[:, 0], np.arange(n_centroids + 1)).astype(np.int64)
    return lists, pairs[:, 1].astype(np.uint32)


def to_single_numpy(half: NDArray[np.uint16], bits: NDArray[np.uint32], single: NDArray[np.float32]) -> None:
    """The reference for ``scan.to_single``."""
    single[...] = half.view(np.float16)


def longest(vectors: NDArray[np.floating[Any]]) -> float:
    """The reference for ``scan.longest``, given the numbers."""
    length = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0))
    return length if np.isfinite(length) else np.inf


def score_rows(
    vectors: NDArray[np.floating[Any]],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    queries: NDArray[np.float32],
    lanes: NDArray[np.int64],
) -> NDArray[np.float32]:
    """The scores of ``scan.score_rows`` in float64, given the numbers; no document is empty."""
    return np.column_stack(
        [score(vectors, queries[some], starts, ends) for some in map(slice, lanes, lanes[1:])]
    )


def score_steps(  # noqa: PLR0917
    steps: NDArray[np.uint8],
    sizes: NDArray[np.float32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    queries: NDArray[np.int64],
    lanes: NDArray[np.int64],
    factors: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The scores of ``steps.score_steps``, given the queries' steps ``[n, width]``; no document is empty."""
    products = (steps.astype(np.int64) - 128) @ queries.astype(np.int64).T
    similarities = products.astype(np.float32) * sizes[:, None]
    best = [similarities[start:end].max(0) for start, end in zip(starts, ends, strict=True)]
    rows = (np.stack(best).astype(np.float64) * factors).tolist()
    sums = [[float(sum(row[first:last])) for first, last in pairwise(lanes.tolist())] for row in rows]
    return np.array(sums, np.float32)
