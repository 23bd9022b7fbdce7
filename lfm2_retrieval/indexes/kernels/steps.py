"""Vectors in steps of int8, and the inner loops of scanning them. `reference` has each in NumPy.

A vector is rounded to whole steps of its own; stored as bytes, 128 more than the steps. Products of bytes are
whole numbers, so every processor finds the same sums, by whichever instructions it has for them:

- `vpdpbusd` (AVX-512 VNNI, AVX-VNNI) adds four products to an int32. Nothing overflows.
- `vpmaddubsw` (AVX2) adds two to an int16, and such sums are added up over `PART` quads of dimensions before
  they become int32. Where they overflow they wrap, so that what counts is the sum at the end. Without the
  128, it is a product of two pieces of vectors, at most the product of their lengths: these are limited, see
  `LONGEST_STORED`. What is 128 times the query's steps is taken off at the beginning.
- Any other processor does what AVX2 does, by what instructions LLVM finds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from ...platform.simd import (
    add_pairs,
    dot_quads,
    has_dot,
    larger,
    load,
    multiply,
    multiply_add_bytes,
    prefetch,
    splat,
    splat_at,
    splat_quad_at,
    store,
    to_single,
)

__all__ = [
    "LANES",
    "LONGEST_ASKED",
    "LONGEST_STORED",
    "MOST_OF_A_PAIR",
    "PART",
    "QUAD",
    "ROUNDED",
    "quantise",
    "quantise_asked",
    "score_steps",
]

LANES = 16
"""How many query vectors are multiplied at once."""
QUAD = 4
"""So many dimensions are one load; a vector is filled up with zeros to a multiple."""
PART = 32
"""So many quads are added up as int16, the first two dimensions of each to one sum, the others to another:
these, of a part, are a *piece* of a vector."""
LONGEST_STORED, LONGEST_ASKED = 192.0, 170.0
"""How long a piece may be, in steps: the product is below 2¹⁵. Of a stored vector and of a query's."""
MOST_OF_A_PAIR = 128
"""So many steps two neighbouring dimensions of a query may have together: times 255, that is below 2¹⁵."""
ROUNDED = 0.505 * (2 * PART) ** 0.5
"""More than rounding adds to the length of a piece: half a step in each of its dimensions."""

_MOST = 127
_ROWS = 4
_AHEAD = 24
"""So many rows before its turn, a row is called for: memory answers that late."""
_LINE = 64


@jit
def quantise(
    vectors: NDArray[np.float32],
    steps: NDArray[np.uint8],
    sizes: NDArray[np.float32],
    errors: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Round vectors to steps, as fine as the limits allow.

    Parameters
    ----------
    vectors
        ``[n, dim]``, finite.
    steps
        ``[n, width]``: filled in, 128 more than the steps; ``width`` is ``dim`` or the next multiple of
        `QUAD`.
    sizes
        ``[n]``: filled in with what a step is worth, 0 for a vector of zeros.
    errors, lengths
        ``[n]``: filled in with the distance of each vector from its steps times the size, and the length of
        the latter.
    """
    dim = vectors.shape[1]
    pieces = np.zeros((-(-dim // (QUAD * PART)), 2))
    for row in range(vectors.shape[0]):
        most = 0.0
        pieces[:] = 0
        for j in range(dim):
            number = np.float64(vectors[row, j])
            most = max(most, abs(number))
            pieces[j // (QUAD * PART), j % QUAD // 2] += number * number
        size = np.float32(max(most / _MOST, np.sqrt(pieces.max()) / (LONGEST_STORED - ROUNDED)))
        finer = 1.0 / size if size > 0 else 0.0
        wrong, squares = 0.0, 0.0
        for j in range(dim):
            number = np.float64(vectors[row, j])
            step = min(max(np.rint(number * finer), -_MOST), _MOST)
            steps[row, j] = np.uint8(np.int64(step) + 128)
            wrong += (number - step * size) ** 2
            squares += (step * size) ** 2
        steps[row, dim:] = 128
        sizes[row] = size
        errors[row], lengths[row] = np.sqrt(wrong), np.sqrt(squares)


@jit
def quantise_asked(  # noqa: PLR0917
    queries: NDArray[np.float32],
    columns: NDArray[np.int8],
    offsets: NDArray[np.int16],
    totals: NDArray[np.int32],
    factors: NDArray[np.float64],
    errors: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Round queries' vectors to steps, as fine as the limits allow.

    Parameters
    ----------
    queries
        ``[n, dim]``, finite.
    columns, offsets, totals
        Zeros, as `_score_steps` reads them: filled in.
    factors, errors, lengths
        ``[n]``: filled in with what a step of each is worth, its distance from its steps times that, and its
        own length.
    """
    dim = queries.shape[1]
    for token in range(queries.shape[0]):
        block, lane = token // LANES, token % LANES
        pair, most, squares = 0.0, 0.0, 0.0
        pieces = np.zeros((offsets.shape[1], 2))
        for j in range(dim):
            number = np.float64(queries[token, j])
            pair = abs(number) + (pair if j % 2 else 0.0)
            most = max(most, pair)
            pieces[j // (QUAD * PART), j % QUAD // 2] += number * number
            squares += number * number
        # Rounding can add a whole step to a pair, and half a step in each dimension to a piece.
        factor = max(most / (MOST_OF_A_PAIR - 1), np.sqrt(pieces.max()) / (LONGEST_ASKED - ROUNDED))
        wrong, total = 0.0, 0
        sums = np.zeros((offsets.shape[1], 2), np.int64)
        for j in range(dim):
            number = np.float64(queries[token, j])
            step = np.rint(number / factor) if factor > 0 else 0.0
            columns[block, j // QUAD, lane, j % QUAD] = np.int8(step)
            sums[j // (QUAD * PART), j % QUAD // 2] -= 128 * np.int64(step)
            wrong += (number - step * factor) ** 2
        for part in range(sums.shape[0]):
            for half in range(2):
                offsets[block, part, lane, half] = np.int16(sums[part, half])
                total += sums[part, half]
        totals[block, lane] = np.int32(total)
        factors[token], errors[token], lengths[token] = factor, np.sqrt(wrong), np.sqrt(squares)


def score_steps() -> Callable[..., None]:
    """The kernel for this processor, compiled when first called; see `_score_steps`."""
    compiled: Callable[..., None] = kernel(has_dot())
    return compiled


@cache
def kernel(dot: bool) -> Any:
    """The kernel that does or doesn't have an instruction for four products; both say the same."""
    pairs, quads = 2 * LANES, QUAD * LANES

    @jit
    def score_steps(  # noqa: PLR0917
        steps: NDArray[np.uint8],
        sizes: NDArray[np.float32],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        columns: NDArray[np.int8],
        offsets: NDArray[np.int16],
        totals: NDArray[np.int32],
        lanes: NDArray[np.int64],
        factors: NDArray[np.float64],
        scores: NDArray[np.float32],
    ) -> None:
        """MaxSim of some documents with a few queries, in steps.

        Parameters
        ----------
        steps, sizes
            uint8 ``[n_tokens, width]`` and float32 ``[n_tokens]``, by `quantise`.
        starts, ends
            int64 ``[n_documents]``: the rows of each document.
        columns
            int8 ``[n_blocks, width / QUAD, LANES, QUAD]``: the steps of all queries' tokens.
        offsets, totals
            int16 ``[n_blocks, n_parts, LANES, 2]`` and int32 ``[n_blocks, LANES]``: -128 times the sums of
            these steps, of each piece and of all; overflow wraps.
        lanes
            int64 ``[n_queries + 1]``: query ``i`` owns tokens ``lanes[i]`` to ``lanes[i + 1]``.
        factors
            float64 ``[n_tokens]``: what a step of each is worth.
        scores
            float32 ``[n_documents, n_queries]``: filled in, but for documents without tokens.
        """
        n_blocks, n_quads, n_parts = columns.shape[0], columns.shape[1], offsets.shape[1]
        width = steps.shape[1]
        best = np.empty(n_blocks * LANES, np.float32)
        for document in range(len(starts)):
            start, end = starts[document], ends[document]
            if start >= end:
                continue
            best[:] = -np.inf
            for row in range(start, end, _ROWS):
                row1, row2, row3 = min(row + 1, end - 1), min(row + 2, end - 1), min(row + 3, end - 1)
                at0, at1, at2, at3 = row * width, row1 * width, row2 * width, row3 * width
                for at in range((row + _AHEAD) * width, (row + _AHEAD + _ROWS) * width, _LINE):
                    prefetch(steps, at)
                for block in range(n_blocks):
                    if dot:
                        sum0 = sum1 = sum2 = sum3 = load(totals, block * LANES, LANES)
                        for quad in range(n_quads):
                            column, at = load(columns, (block * n_quads + quad) * quads, quads), QUAD * quad
                            sum0 = dot_quads(splat_quad_at(steps, at0 + at, LANES), column, sum0)
                            sum1 = dot_quads(splat_quad_at(steps, at1 + at, LANES), column, sum1)
                            sum2 = dot_quads(splat_quad_at(steps, at2 + at, LANES), column, sum2)
                            sum3 = dot_quads(splat_quad_at(steps, at3 + at, LANES), column, sum3)
                    else:
                        sum0 = sum1 = sum2 = sum3 = splat(np.int32(0), LANES)
                        for part in range(n_parts):
                            of0 = of1 = of2 = of3 = load(offsets, (block * n_parts + part) * pairs, pairs)
                            for quad in range(part * PART, min(part * PART + PART, n_quads)):
                                column, at = (
                                    load(columns, (block * n_quads + quad) * quads, quads),
                                    QUAD * quad,
                                )
                                of0 = multiply_add_bytes(splat_quad_at(steps, at0 + at, LANES), column, of0)
                                of1 = multiply_add_bytes(splat_quad_at(steps, at1 + at, LANES), column, of1)
                                of2 = multiply_add_bytes(splat_quad_at(steps, at2 + at, LANES), column, of2)
                                of3 = multiply_add_bytes(splat_quad_at(steps, at3 + at, LANES), column, of3)
                            sum0, sum1 = add_pairs(of0, sum0), add_pairs(of1, sum1)
                            sum2, sum3 = add_pairs(of2, sum2), add_pairs(of3, sum3)
                    high = load(best, block * LANES, LANES)
                    high = larger(multiply(to_single(sum0), splat_at(sizes, row, LANES)), high)
                    high = larger(multiply(to_single(sum1), splat_at(sizes, row1, LANES)), high)
                    high = larger(multiply(to_single(sum2), splat_at(sizes, row2, LANES)), high)
                    high = larger(multiply(to_single(sum3), splat_at(sizes, row3, LANES)), high)
                    store(high, best, block * LANES)
            for query in range(len(lanes) - 1):
                total = 0.0
                for lane in range(lanes[query], lanes[query + 1]):
                    total += best[lane] * factors[lane]
                scores[document, query] = total

    return score_steps
