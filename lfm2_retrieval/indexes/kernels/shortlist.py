"""The inner loops of searching compressed segments. Each has a plain NumPy reference in `reference`.

What comes from a file is checked before it addresses memory; a kernel that meets a wrong number says so and
reads nothing.

A query's tokens are the lanes of a vector: 16, or 32 where there are more. `for_lanes` has the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from ...platform.simd import (
    add,
    any_above,
    larger,
    load,
    multiply_add_pairs,
    narrow,
    nearest,
    prefetch,
    splat,
    splat_pair_at,
    store,
    subtract,
    total,
)
from .types import Ids

__all__ = ["Kernels", "for_lanes"]

_AHEAD = 6
"""So many documents before its turn, a document's centroids are called for: memory answers that late."""
_ROWS_AHEAD = 24
"""So many rows before its turn, a row of what is tabulated is called for."""
_LINE_BYTES = 64


class Kernels(NamedTuple):
    """The kernels for vectors of 16 or of 32 lanes, called ``lanes`` here."""

    tabulate: Callable[[NDArray[np.int16], NDArray[np.int16], np.float32, int, int, NDArray[np.int16]], None]
    """Inner products, rounded to int16: the table of some rows.

    rows
        int16 ``[n_groups, n, width]``, width even.
    columns
        int16 ``[n_groups, width / 2, lanes, 2]``. No row and column have a product beyond int32.
    factor
        Of the products; with it, none leaves int16.
    first, last
        Of each group's rows, those to do.
    table
        int16 ``[n_groups * n, lanes]``: filled in.
    """
    roughen: Callable[[NDArray[np.int16], int, int, NDArray[np.int8]], None]
    """Some rows of a table in int8, a 256th of what they were: half the memory, and enough for centroids.

    table
        int16 ``[n, lanes]``.
    first, last
        The rows.
    rough
        int8 ``[n, lanes]``: filled in.
    """
    probe: Callable[[NDArray[np.int16], NDArray[np.int32], NDArray[np.int16]], None]
    """The best centroids of each query token, best first, equal ones by number.

    table
        int16 ``[n_centroids, lanes]``, none of them -2¹⁵.
    best, values
        int32 and int16 ``[n_tokens, n]``, n at most ``n_centroids``: filled in with centroids and scores.
    """
    by_centroids: Callable[
        [NDArray[np.int8], Ids, NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]], bool
    ]
    """MaxSim of documents by centroids alone.

    rough
        int8 ``[n_centroids, lanes]``: the similarity of each query token with each centroid.
    centroids
        Unsigned ``[n_tokens]``.
    starts, ends
        int64 ``[n]``: the tokens of each document, at least one.
    scores
        int32 ``[n]``: added to.

    Returns False if a token names a centroid that doesn't exist.
    """
    refine: Callable[
        [
            NDArray[np.int16],
            NDArray[np.int16],
            NDArray[np.int16],
            Ids,
            NDArray[np.uint8],
            NDArray[np.int64],
            NDArray[np.int64],
            NDArray[np.int32],
        ],
        bool,
    ]
    """MaxSim of documents by centroids and codes: one row added for each byte of code.

    Tokens are left out whose centroid is, for every query token, worse than the document's best by the margin
    or more: their codes would have to make up for that.

    by_centroid
        int16 ``[n_centroids, lanes]``: the similarity of each query token with each centroid.
    centroids, starts, ends, scores
        As for ``by_centroids``.
    by_code
        int16 ``[M * 256, lanes]``: with each codeword. No sum of one row each overflows: see `tables`.
    margins
        int16 ``[lanes]``: at least 1, or 0 for lanes that are not in use.
    codes
        uint8 ``[n_tokens, M]``.
    """


@cache
def for_lanes(lanes: int) -> Kernels:
    """The kernels for 16 or 32 lanes, each compiled when first called."""
    return Kernels(_tabulate(lanes), _roughen(lanes), _probe(lanes), _by_centroids(lanes), _refine(lanes))


def _tabulate(lanes: int) -> Any:
    both = 2 * lanes

    @jit
    def tabulate(  # noqa: PLR0917  (compiled code takes positions)
        rows: NDArray[np.int16],
        columns: NDArray[np.int16],
        factor: np.float32,
        first: int,
        last: int,
        table: NDArray[np.int16],
    ) -> None:
        n, width = rows.shape[1], rows.shape[2]
        n_pairs, line = width // 2, _LINE_BYTES // rows.itemsize
        for group in range(rows.shape[0]):
            # Six rows at a time: enough sums to hide that one takes a while, and few enough for 16 registers.
            for row in range(group * n + first, group * n + last, 6):
                end = group * n + last - 1
                row1, row2, row3 = min(row + 1, end), min(row + 2, end), min(row + 3, end)
                row4, row5 = min(row + 4, end), min(row + 5, end)
                for at in range((row + _ROWS_AHEAD) * width, (row + _ROWS_AHEAD + 6) * width, line):
                    prefetch(rows, at)
                sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = splat(np.int32(0), lanes)
                for j in range(n_pairs):
                    column = load(columns, (group * n_pairs + j) * both, both)
                    at = 2 * j
                    sum0 = multiply_add_pairs(splat_pair_at(rows, row * width + at, lanes), column, sum0)
                    sum1 = multiply_add_pairs(splat_pair_at(rows, row1 * width + at, lanes), column, sum1)
                    sum2 = multiply_add_pairs(splat_pair_at(rows, row2 * width + at, lanes), column, sum2)
                    sum3 = multiply_add_pairs(splat_pair_at(rows, row3 * width + at, lanes), column, sum3)
                    sum4 = multiply_add_pairs(splat_pair_at(rows, row4 * width + at, lanes), column, sum4)
                    sum5 = multiply_add_pairs(splat_pair_at(rows, row5 * width + at, lanes), column, sum5)
                store(nearest(sum0, factor), table, row * lanes)
                store(nearest(sum1, factor), table, row1 * lanes)
                store(nearest(sum2, factor), table, row2 * lanes)
                store(nearest(sum3, factor), table, row3 * lanes)
                store(nearest(sum4, factor), table, row4 * lanes)
                store(nearest(sum5, factor), table, row5 * lanes)

    return tabulate


def _roughen(lanes: int) -> Any:
    @jit
    def roughen(table: NDArray[np.int16], first: int, last: int, rough: NDArray[np.int8]) -> None:
        for row in range(first, last):
            store(narrow(load(table, row * lanes, lanes)), rough, row * lanes)

    return roughen


def _probe(lanes: int) -> Any:
    @jit
    def probe(table: NDArray[np.int16], best: NDArray[np.int32], values: NDArray[np.int16]) -> None:
        n_tokens, n = best.shape
        best[:] = 0
        values[:] = -(2**15)
        lowest = np.full(lanes, 2**15 - 1, np.int16)
        lowest[:n_tokens] = -(2**15)
        bar = load(lowest, 0, lanes)
        for centroid in range(table.shape[0]):
            if not any_above(load(table, centroid * lanes, lanes), bar):
                continue
            for lane in range(n_tokens):
                value = table[centroid, lane]
                if value > lowest[lane]:
                    place = n - 1
                    while place > 0 and values[lane, place - 1] < value:
                        values[lane, place] = values[lane, place - 1]
                        best[lane, place] = best[lane, place - 1]
                        place -= 1
                    values[lane, place] = value
                    best[lane, place] = centroid
                    lowest[lane] = values[lane, n - 1]
            bar = load(lowest, 0, lanes)

    return probe


def _by_centroids(lanes: int) -> Any:
    @jit
    def by_centroids(
        rough: NDArray[np.int8],
        centroids: Ids,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        scores: NDArray[np.int32],
    ) -> bool:
        line = _LINE_BYTES // centroids.itemsize
        for i in range(len(starts)):
            if i + _AHEAD < len(starts):
                for token in range(starts[i + _AHEAD], ends[i + _AHEAD], line):
                    prefetch(centroids, token)
            best = splat(np.int8(-(2**7)), lanes)
            for token in range(starts[i], ends[i]):
                centroid = np.intp(centroids[token])
                if centroid >= rough.shape[0]:
                    return False
                best = larger(best, load(rough, centroid * lanes, lanes))
            scores[i] += total(best)
        return True

    return by_centroids


def _refine(lanes: int) -> Any:
    @jit
    def refine(  # noqa: PLR0917  (compiled code takes positions)
        by_centroid: NDArray[np.int16],
        by_code: NDArray[np.int16],
        margins: NDArray[np.int16],
        centroids: Ids,
        codes: NDArray[np.uint8],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        scores: NDArray[np.int32],
    ) -> bool:
        n_codes = codes.shape[1]
        line = _LINE_BYTES // centroids.itemsize
        margin = load(margins, 0, lanes)
        longest = 0
        for i in range(len(starts)):
            longest = max(longest, ends[i] - starts[i])
        # A document's tokens are chosen while the codes of those of the one before are on their way.
        chosen = np.empty((2, longest), np.int64)
        n_before = 0
        for i in range(len(starts) + 1):
            mine, before = chosen[i % 2], chosen[(i + 1) % 2]
            n_mine = 0
            if i + _AHEAD < len(starts):
                for token in range(starts[i + _AHEAD], ends[i + _AHEAD], line):
                    prefetch(centroids, token)
            if i < len(starts):
                best = splat(np.int16(-(2**15)), lanes)
                for token in range(starts[i], ends[i]):
                    centroid = np.intp(centroids[token])
                    if centroid >= by_centroid.shape[0]:
                        return False
                    best = larger(best, load(by_centroid, centroid * lanes, lanes))
                bar = subtract(best, margin)
                for token in range(starts[i], ends[i]):
                    mine[n_mine] = token
                    n_mine += any_above(load(by_centroid, np.intp(centroids[token]) * lanes, lanes), bar)
                for at in range(n_mine):
                    prefetch(codes, mine[at] * n_codes)
            if i > 0:
                best = splat(np.int16(-(2**15)), lanes)
                for at in range(n_before):
                    token = before[at]
                    row = load(by_centroid, np.intp(centroids[token]) * lanes, lanes)
                    for code in range(n_codes):
                        row = add(
                            row, load(by_code, (code * 256 + np.intp(codes[token, code])) * lanes, lanes)
                        )
                    best = larger(best, row)
                scores[i - 1] += total(best)
            n_before = n_mine
        return True

    return refine
