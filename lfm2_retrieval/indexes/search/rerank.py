"""The score that a search returns: MaxSim in float64 on the best vectors stored, rounded to float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import split
from ..kernels import rerank as kernels
from ..quantization.codec import Codec
from ..segments.compressed import CompressedSegment
from ..segments.fp16 import Segment

__all__ = ["Columns", "columns", "score", "turned_by"]

_BLOCK_TOKENS = 1 << 11
"""Decode about so many vectors at once, or one document."""
_LEAST = 8
"""So many documents are worth a thread."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A query as the kernels read it: ``n_tokens``, and float64 ``[n_blocks, dim, BLOCK]``."""

    n_tokens: int
    values: NDArray[np.float64]


def turned_by(segment: Segment) -> Codec | None:
    """The codec that turned a segment's vectors, if only their codes are stored."""
    if isinstance(segment, CompressedSegment) and not segment.layout.int8:
        return segment.codec
    return None


def columns(query: NDArray[np.floating[Any]]) -> Columns:
    """Lay out a query, ``[n, dim]``: for segments that a codec has turned, turned by it."""
    n, dim = query.shape
    n_blocks = -(-n // kernels.BLOCK)
    values = np.zeros((n_blocks * kernels.BLOCK, dim))
    values[:n] = query
    blocks = values.reshape(n_blocks, kernels.BLOCK, dim).transpose(0, 2, 1)
    return Columns(n, np.ascontiguousarray(blocks))


def score(
    segment: Segment, query: Columns, positions: NDArray[np.int64], threads: int = 1
) -> NDArray[np.float32]:
    """Score documents of a segment, none of them empty.

    Parameters
    ----------
    segment
        Of any kind.
    query
        From `columns`, as this segment needs it.
    positions
        int64 ``[n]``: which documents.
    threads
        How many threads may work on it.

    Returns
    -------
    NDArray
        float32 ``[n]``.
    """
    starts, ends = segment.offsets[positions], segment.offsets[positions + 1]
    scores = np.empty(len(positions), np.float32)

    def work(first: int, last: int) -> None:
        _score(segment, query, starts[first:last], ends[first:last], scores[first:last])

    split(work, len(positions), threads, _LEAST)
    return scores


def _score(
    segment: Segment,
    query: Columns,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    asked = query.values, query.n_tokens, scores
    if not isinstance(segment, CompressedSegment):
        _score_decoded(segment, query, starts, ends, scores)
    elif segment.layout.int8:
        kernels.score_int8(segment.steps, segment.scales, starts, ends, *asked)
    elif not kernels.score_pq(
        segment.codec.turned,
        segment.codec.codebooks,
        segment.centroids,
        segment.codes,
        segment.layout.unit,
        starts,
        ends,
        *asked,
    ):
        raise segment.damaged("centroids.npy")


def _score_decoded(
    segment: Segment,
    query: Columns,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """Decode documents some at a time, so that they stay in the cache, and score them."""
    bounds = np.concatenate([[0], np.cumsum(ends - starts)])
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _BLOCK_TOKENS, "right")) - 1)
        decoded = np.empty((int(bounds[last] - bounds[first]), query.values.shape[1]), np.float32)
        segment.decode(starts[first:last], ends[first:last], decoded)
        kernels.score_float32(
            decoded,
            bounds[first:last] - bounds[first],
            bounds[first + 1 : last + 1] - bounds[first],
            query.values,
            query.n_tokens,
            scores[first:last],
        )
        first = last
