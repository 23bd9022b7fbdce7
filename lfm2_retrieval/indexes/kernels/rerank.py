"""MaxSim in float64 of a few documents, as they are stored: the scores that a search returns.

Six tokens at a time become float64 and are multiplied with the query, eight of its tokens a vector. The
products of stored and query numbers are exact in float64 and are added up in the order of the dimensions, so
a score has the same bits however the document was found, on whatever processor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from ...platform.simd import (
    add,
    larger,
    load,
    multiply,
    multiply_add,
    prefetch,
    splat,
    splat_at,
    store,
    widen,
)
from .types import Ids

__all__ = ["BLOCK", "score_float32", "score_int8", "score_pq"]

BLOCK = 8
"""How many query tokens a vector holds."""
_ROWS = 6
_AHEAD = 24
"""So many tokens before their turn, vectors are called for: memory answers that late."""
_LINE_BYTES = 64


@jit
def _fold(
    rows: NDArray[np.float64],
    weights: NDArray[np.float64],
    columns: NDArray[np.float64],
    best: NDArray[np.float64],
) -> None:
    """Raise each query token's best similarity to that of some tokens.

    Parameters
    ----------
    rows, weights
        float64 ``[_ROWS, dim]`` and ``[_ROWS]``: a token is the product.
    columns
        float64 ``[n_blocks, dim, BLOCK]``.
    best
        float64 ``[n_blocks * BLOCK]``. Updated.
    """
    dim = columns.shape[1]
    for block in range(columns.shape[0]):
        sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = splat(0.0, BLOCK)
        for j in range(dim):
            column = load(columns, (block * dim + j) * BLOCK, BLOCK)
            sum0 = multiply_add(splat_at(rows, j, BLOCK), column, sum0)
            sum1 = multiply_add(splat_at(rows, dim + j, BLOCK), column, sum1)
            sum2 = multiply_add(splat_at(rows, 2 * dim + j, BLOCK), column, sum2)
            sum3 = multiply_add(splat_at(rows, 3 * dim + j, BLOCK), column, sum3)
            sum4 = multiply_add(splat_at(rows, 4 * dim + j, BLOCK), column, sum4)
            sum5 = multiply_add(splat_at(rows, 5 * dim + j, BLOCK), column, sum5)
        high = load(best, block * BLOCK, BLOCK)
        high = larger(high, multiply(sum0, splat_at(weights, 0, BLOCK)))
        high = larger(high, multiply(sum1, splat_at(weights, 1, BLOCK)))
        high = larger(high, multiply(sum2, splat_at(weights, 2, BLOCK)))
        high = larger(high, multiply(sum3, splat_at(weights, 3, BLOCK)))
        high = larger(high, multiply(sum4, splat_at(weights, 4, BLOCK)))
        high = larger(high, multiply(sum5, splat_at(weights, 5, BLOCK)))
        store(high, best, block * BLOCK)


@jit
def _sum(best: NDArray[np.float64], n_tokens: int) -> np.float32:
    score = 0.0
    for token in range(n_tokens):
        score += best[token]
    return np.float32(score)


@jit
def score_int8(  # noqa: PLR0917  (compiled code takes positions)
    vectors: NDArray[np.int8],
    scales: NDArray[np.float32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    columns: NDArray[np.float64],
    n_tokens: int,
    scores: NDArray[np.float32],
) -> None:
    """MaxSim of documents stored as int8.

    Parameters
    ----------
    vectors, scales
        As for ``decode.decode_int8``.
    starts, ends
        int64 ``[n]``: the rows of each document, at least one.
    columns
        float64 ``[n_blocks, dim, BLOCK]``: the query, filled up with zeros.
    n_tokens
        How many tokens it has.
    scores
        float32 ``[n]``: filled in.
    """
    dim = columns.shape[1]
    rows, weights = np.empty((_ROWS, dim)), np.empty(_ROWS)
    best = np.empty(columns.shape[0] * BLOCK)
    for i in range(len(starts)):
        best[:] = -np.inf
        for first in range(starts[i], ends[i], _ROWS):
            later = first + _AHEAD
            if later >= ends[i] and i + 1 < len(starts):
                later += starts[i + 1] - ends[i]
            for at in range(later * dim, (later + _ROWS) * dim, _LINE_BYTES):
                prefetch(vectors, at)
            for at in range(_ROWS):
                row = min(first + at, ends[i] - 1)
                squares = np.int32(0)
                for j in range(dim):
                    step = np.int32(vectors[row, j])
                    rows[at, j] = step
                    squares += step * step
                if len(scales):
                    weights[at] = scales[row]
                else:
                    weights[at] = 1.0 / np.sqrt(np.float64(squares)) if squares > 0 else 0.0
            _fold(rows, weights, columns, best)
        scores[i] = _sum(best, n_tokens)


@jit
def _decode_any(  # noqa: PLR0917
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    codes: NDArray[np.uint8],
    token: int,
    centroid: np.intp,
    rows: NDArray[np.float64],
    at: int,
) -> float:
    """Put a token into ``rows[at]``; returns the sum of its squares."""
    width = codebooks.shape[2]
    squares = 0.0
    for code in range(codes.shape[1]):
        codeword = np.intp(codes[token, code])
        for j in range(code * width, (code + 1) * width):
            value = np.float64(centroids[centroid, j] + codebooks[code, codeword, j - code * width])
            rows[at, j] = value
            squares += value * value
    return squares


@jit
def _decode_fours(  # noqa: PLR0917
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    codes: NDArray[np.uint8],
    token: int,
    centroid: np.intp,
    rows: NDArray[np.float64],
    at: int,
    four: NDArray[np.float64],
) -> float:
    """`_decode_any` for codewords of four numbers; ``four`` is overwritten."""
    dim = rows.shape[1]
    sums = splat(0.0, 4)
    for code in range(codes.shape[1]):
        codeword = load(codebooks, (code * 256 + np.intp(codes[token, code])) * 4, 4)
        value = widen(add(load(centroids, centroid * dim + code * 4, 4), codeword))
        store(value, rows, at * dim + code * 4)
        sums = multiply_add(value, value, sums)
    store(sums, four, 0)
    return float((four[0] + four[1]) + (four[2] + four[3]))


@jit
def score_pq(  # noqa: PLR0917
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    ids: Ids,
    codes: NDArray[np.uint8],
    normalise: bool,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    columns: NDArray[np.float64],
    n_tokens: int,
    scores: NDArray[np.float32],
) -> bool:
    """MaxSim of documents stored as centroids and codes.

    Parameters
    ----------
    centroids, codebooks, ids, codes, normalise
        As for ``decode.decode_pq``.
    starts, ends, columns, n_tokens, scores
        As for `score_int8`; ``dim`` is ``M * width`` here.

    Returns
    -------
    bool
        False if a token names a centroid that doesn't exist.
    """
    dim, width = columns.shape[1], codebooks.shape[2]
    rows, weights, four = np.empty((_ROWS, dim)), np.ones(_ROWS), np.empty(4)
    best = np.empty(columns.shape[0] * BLOCK)
    for i in range(len(starts)):
        best[:] = -np.inf
        for first in range(starts[i], ends[i], _ROWS):
            for at in range(_ROWS):
                row = min(first + at, ends[i] - 1)
                centroid = np.intp(ids[row])
                if centroid >= centroids.shape[0]:
                    return False
                if width == 4:
                    squares = _decode_fours(centroids, codebooks, codes, row, centroid, rows, at, four)
                else:
                    squares = _decode_any(centroids, codebooks, codes, row, centroid, rows, at)
                if normalise:
                    weights[at] = 1.0 / np.sqrt(squares) if squares > 0 else 0.0
            _fold(rows, weights, columns, best)
        scores[i] = _sum(best, n_tokens)
    return True


@jit
def score_float32(  # noqa: PLR0917
    vectors: NDArray[np.float32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    columns: NDArray[np.float64],
    n_tokens: int,
    scores: NDArray[np.float32],
) -> None:
    """MaxSim of documents in float32 ``[n_tokens, dim]``; the rest as for `score_int8`."""
    dim = columns.shape[1]
    rows, weights = np.empty((_ROWS, dim)), np.ones(_ROWS)
    best = np.empty(columns.shape[0] * BLOCK)
    for i in range(len(starts)):
        best[:] = -np.inf
        for first in range(starts[i], ends[i], _ROWS):
            for at in range(_ROWS):
                row = min(first + at, ends[i] - 1)
                for j in range(dim):
                    rows[at, j] = vectors[row, j]
            _fold(rows, weights, columns, best)
        scores[i] = _sum(best, n_tokens)
