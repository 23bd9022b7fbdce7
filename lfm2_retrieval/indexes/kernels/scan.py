"""The inner loops of scanning stored vectors. `reference` has each in NumPy; tests hold the two equal.

`score_rows` is what one query, or a few, need: it reads vectors as they are stored, `_ROWS` at a time, and
keeps in registers the sums of their products with `LANES` query vectors. While it multiplies one such tile,
it makes float32 of the next: either alone would leave parts of the processor idle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from ...platform.simd import as_single, larger, load, multiply_add, prefetch, splat, splat_at, store
from .types import Numbers

__all__ = ["LANES", "PIECE", "longest", "longest_of", "score_rows", "to_single"]

LANES = 16
"""How many query vectors are multiplied at once."""
_ROWS = 6
"""How many stored vectors are: with the sums of these for all lanes, 16 registers of 8 are just full."""
PIECE = 8
"""Of the dimensions, so many are read at once."""
_AHEAD = 24
"""So many rows before its turn, a row is called for: memory answers that late."""
_LINE = 32
"""So many float16 are a line of the cache."""
_TILES = 64
"""So many tiles are listed at a time, an even number: lists of all take longer to allocate than to fill."""


@jit
def to_single(half: NDArray[np.uint16], bits: NDArray[np.uint32], single: NDArray[np.float32]) -> None:
    """Convert finite float16 to float32, 8 times as fast as NumPy's cast.

    Exponent and fraction move to their places in a float32, where the exponent is then short by 112; one
    exact multiplication corrects that, subnormal numbers included.

    Parameters
    ----------
    half
        uint16 ``[n, dim]``: the float16 numbers, seen as integers.
    bits, single
        ``[n, dim]``: the result, one piece of memory seen as uint32 and as float32.
    """
    for row in range(half.shape[0]):
        for i in range(half.shape[1]):
            x = np.uint32(half[row, i])
            bits[row, i] = ((x & np.uint32(0x8000)) << np.uint32(16)) | (
                (x & np.uint32(0x7FFF)) << np.uint32(13)
            )
        for i in range(half.shape[1]):
            single[row, i] *= np.float32(2.0**112)


@jit
def longest(vectors: Numbers) -> float:
    """The length of the longest vector of ``[n, dim]``, as `score_rows` takes them; inf if a number is not
    finite, or if a length is beyond float32.
    """
    return _longest(vectors, 0, vectors.shape[0])


@jit
def longest_of(vectors: Numbers, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> float:
    """The same of some ranges of them, int64 ``[n]`` each."""
    most = 0.0
    for start, end in zip(starts, ends):  # noqa: B905  (numba knows no strict)
        most = max(most, _longest(vectors, start, end))
    return most


@jit
def _longest(vectors: Numbers, start: int, end: int) -> float:
    dim = vectors.shape[1]
    whole = dim - dim % PIECE
    squares, rest = np.empty(PIECE, np.float32), np.zeros(1, np.float32)
    most = np.float32(0)
    for row in range(start, end):
        sums = splat(np.float32(0), PIECE)
        for j in range(0, whole, PIECE):
            piece = as_single(load(vectors, row * dim + j, PIECE))
            sums = multiply_add(piece, piece, sums)
        last = splat(np.float32(0), 1)
        for j in range(whole, dim):
            number = as_single(load(vectors, row * dim + j, 1))
            last = multiply_add(number, number, last)
        store(sums, squares, 0)
        store(last, rest, 0)
        total = rest[0]
        for j in range(PIECE):
            total += squares[j]
        if not total < np.inf:  # nor is NaN
            return np.inf
        most = max(most, total)
    return float(np.sqrt(np.float64(most)))


@jit
def _list(  # noqa: PLR0917
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    cursor: NDArray[np.int64],
    n: int,
    tokens: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> int:
    """List tokens and their documents, after the ``n`` that are listed; returns how many then are.

    ``cursor`` says which document comes next, and which of its tokens; updated. Where there are no more, the
    last is said again, which raises no maximum.
    """
    document, token = cursor[0], cursor[1]
    while document < len(starts) and n < len(tokens):
        last = min(ends[document] - starts[document], token + len(tokens) - n)
        for at in range(token, last):
            tokens[n], owners[n] = starts[document] + at, document
            n += 1
        token = last
        if token >= ends[document] - starts[document]:
            document, token = document + 1, 0
    cursor[0], cursor[1] = document, token
    for at in range(max(n, 1), len(tokens)):
        tokens[at], owners[at] = tokens[at - 1], owners[at - 1]
    return n


@jit
def _widen(  # noqa: PLR0917
    vectors: Numbers,
    tokens: NDArray[np.int64],
    tile: int,
    first: int,
    rows: NDArray[np.float32],
    width: int,
) -> None:
    """Into ``rows`` the numbers of the tokens of a tile, from the ``first`` of each on."""
    dim = vectors.shape[1]
    whole = dim - dim % PIECE
    for at in range(_ROWS):
        token, row = tokens[tile * _ROWS + at] * dim, (tile % 2 * _ROWS + at) * width
        for j in range(first, whole, PIECE):
            store(as_single(load(vectors, token + j, PIECE)), rows, row + j)
        for j in range(max(first, whole), dim):
            store(as_single(load(vectors, token + j, 1)), rows, row + j)


@jit
def _multiply(  # noqa: PLR0917
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    block: int,
    vectors: Numbers,
    tokens: NDArray[np.int64],
    tile: int,
    sums: NDArray[np.float32],
) -> None:
    """Into ``sums[block]`` the products of a tile's rows with ``columns[block]``.

    The first block's takes `_widen` of the next tile along, but for what is no whole piece.
    """
    width, dim = columns.shape[1], vectors.shape[1]
    row0, later = tile % 2 * _ROWS * width, (tile + 1) % 2 * _ROWS * width
    row1, row2, row3 = row0 + width, row0 + 2 * width, row0 + 3 * width
    row4, row5 = row0 + 4 * width, row0 + 5 * width
    next = (tile + 1) * _ROWS
    at0, at1, at2 = tokens[next] * dim, tokens[next + 1] * dim, tokens[next + 2] * dim
    at3, at4, at5 = tokens[next + 3] * dim, tokens[next + 4] * dim, tokens[next + 5] * dim
    ahead = _AHEAD * dim
    sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = splat(np.float32(0), LANES)
    for first in range(0, width, PIECE):
        if block == 0 and first + PIECE <= dim:
            to = later + first
            if first % _LINE == 0:
                prefetch(vectors, at0 + first + ahead)
                prefetch(vectors, at1 + first + ahead)
                prefetch(vectors, at2 + first + ahead)
                prefetch(vectors, at3 + first + ahead)
                prefetch(vectors, at4 + first + ahead)
                prefetch(vectors, at5 + first + ahead)
            store(as_single(load(vectors, at0 + first, PIECE)), rows, to)
            store(as_single(load(vectors, at1 + first, PIECE)), rows, to + width)
            store(as_single(load(vectors, at2 + first, PIECE)), rows, to + 2 * width)
            store(as_single(load(vectors, at3 + first, PIECE)), rows, to + 3 * width)
            store(as_single(load(vectors, at4 + first, PIECE)), rows, to + 4 * width)
            store(as_single(load(vectors, at5 + first, PIECE)), rows, to + 5 * width)
        for j in range(first, first + PIECE):
            column = load(columns, (block * width + j) * LANES, LANES)
            sum0 = multiply_add(splat_at(rows, row0 + j, LANES), column, sum0)
            sum1 = multiply_add(splat_at(rows, row1 + j, LANES), column, sum1)
            sum2 = multiply_add(splat_at(rows, row2 + j, LANES), column, sum2)
            sum3 = multiply_add(splat_at(rows, row3 + j, LANES), column, sum3)
            sum4 = multiply_add(splat_at(rows, row4 + j, LANES), column, sum4)
            sum5 = multiply_add(splat_at(rows, row5 + j, LANES), column, sum5)
    to = block * _ROWS * LANES
    store(sum0, sums, to)
    store(sum1, sums, to + LANES)
    store(sum2, sums, to + 2 * LANES)
    store(sum3, sums, to + 3 * LANES)
    store(sum4, sums, to + 4 * LANES)
    store(sum5, sums, to + 5 * LANES)


@jit
def _raise(sums: NDArray[np.float32], block: int, first: int, last: int, best: NDArray[np.float32]) -> None:
    """Raise the maxima of a block of lanes to the sums of some rows."""
    high = load(best, block * LANES, LANES)
    for at in range(first, last):
        high = larger(load(sums, (block * _ROWS + at) * LANES, LANES), high)
    store(high, best, block * LANES)


@jit
def _finish(
    best: NDArray[np.float32], lanes: NDArray[np.int64], document: int, scores: NDArray[np.float32]
) -> None:
    """Write down a document's scores, and forget its maxima."""
    for query in range(len(lanes) - 1):
        total = 0.0
        for lane in range(lanes[query], lanes[query + 1]):
            total += best[lane]
        scores[document, query] = total
    best[:] = -np.inf


@jit
def score_rows(  # noqa: PLR0917
    vectors: Numbers,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    columns: NDArray[np.float32],
    lanes: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """MaxSim in float32 of some documents with a few queries, products added up in the order of dimensions.

    Parameters
    ----------
    vectors
        ``[n_tokens, dim]``: float32, or the bits of float16 as uint16; all finite.
    starts, ends
        int64 ``[n_documents]``: the rows of each document.
    columns
        float32 ``[n_blocks, width, LANES]``: the tokens of all queries, filled up with zeros; ``width`` is
        ``dim``, or the next multiple of `PIECE`.
    lanes
        int64 ``[n_queries + 1]``: query ``i`` owns tokens ``lanes[i]`` to ``lanes[i + 1]``.
    scores
        float32 ``[n_documents, n_queries]``: filled in, but for documents without tokens.
    """
    n_blocks, width, dim = columns.shape[0], columns.shape[1], vectors.shape[1]
    whole = dim - dim % PIECE
    rows = np.zeros(2 * _ROWS * width, np.float32)
    sums = np.empty(n_blocks * _ROWS * LANES, np.float32)
    best = np.full(n_blocks * LANES, -np.inf, np.float32)
    tokens, owners = np.zeros((_TILES + 1) * _ROWS, np.int64), np.zeros((_TILES + 1) * _ROWS, np.int64)
    cursor = np.zeros(2, np.int64)
    n = _list(starts, ends, cursor, 0, tokens, owners)
    if n == 0:
        return
    _widen(vectors, tokens, 0, 0, rows, width)
    document = owners[0]
    while n > 0:
        for tile in range(min(_TILES, (n + _ROWS - 1) // _ROWS)):
            first = tile * _ROWS
            alone = owners[first] == document and owners[first + _ROWS - 1] == document
            for block in range(n_blocks):
                _multiply(rows, columns, block, vectors, tokens, tile, sums)
                if alone:
                    _raise(sums, block, 0, _ROWS, best)
            if whole < dim:
                _widen(vectors, tokens, tile + 1, whole, rows, width)
            if not alone:
                for at in range(_ROWS):
                    if owners[first + at] != document:
                        _finish(best, lanes, document, scores)
                        document = owners[first + at]
                    for block in range(n_blocks):
                        _raise(sums, block, at, at + 1, best)
        n -= _TILES * _ROWS
        if n > 0:  # the last tile listed is the first of the next list, and float32 already
            for at in range(_ROWS):
                tokens[at], owners[at] = tokens[_TILES * _ROWS + at], owners[_TILES * _ROWS + at]
            n = _list(starts, ends, cursor, n, tokens, owners)
    _finish(best, lanes, document, scores)
