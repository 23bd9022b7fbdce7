"""A query as look-up tables of int16: how similar its tokens are to centroids and codewords."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import split
from ..kernels.shortlist import Kernels, for_lanes
from ..quantization.codec import Codec

__all__ = ["ROUGHER", "Lookup", "Tables", "aligned", "lookup"]

ROUGHER = 256
"""A score by ``Tables.rough`` counts so many units of the others."""
_LARGEST = 2**15 - 1
_MARGIN = 1.5
"""In standard deviations of what codes add to the similarity with a centroid."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Up to 32 tokens of a query.

    Parameters
    ----------
    n_tokens
        How many there are.
    kernels
        Those for tables of this width.
    by_centroid, by_code
        int16 ``[n_centroids, lanes]`` and ``[M * 256, lanes]``; lanes that are not in use are 0.
    rough
        int8 ``[n_centroids, lanes]``: `ROUGHER` times as coarse as ``by_centroid``.
    nearest, margins
        int16 ``[lanes]``, for ``kernels.refine``: 1, with which it looks at the tokens of the best centroids
        alone, and how much better than its centroid says a token seldom is.
    """

    n_tokens: int
    kernels: Kernels
    by_centroid: NDArray[np.int16]
    by_code: NDArray[np.int16]
    rough: NDArray[np.int8]
    nearest: NDArray[np.int16]
    margins: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A query in tables of one codec.

    Parameters
    ----------
    groups
        The tables.
    unit
        What an int16 is worth in all of them.
    length
        The root of the sum of the squares of the query's vectors: of a score that adds up their similarities
        with vectors of some error, the standard deviation is this times that of a component, taken as
        independent.
    """

    groups: list[Tables]
    unit: float
    length: float


class _Whole(NamedTuple):
    """Vectors in whole numbers of a unit, the longest of them 2¹⁵ - 1 long.

    Parameters
    ----------
    values
        int16 ``[n_groups, n, width]``.
    unit
        What 1 is worth; 0 if all vectors are as good as zero.
    """

    values: NDArray[np.int16]
    unit: float

    @classmethod
    def of(cls, vectors: NDArray[np.floating[Any]]) -> _Whole:
        """Those of ``[n_groups, n, width]``."""
        unit = float(_lengths(vectors).max()) / _LARGEST
        if not unit > 0:
            return cls(np.zeros(vectors.shape, np.int16), 0.0)
        return cls(np.rint(np.divide(vectors, unit, dtype=np.float64)).astype(np.int16), unit)

    def lengths(self) -> NDArray[np.float64]:
        """``[n_groups, n]``."""
        return _lengths(self.values) * self.unit


@dataclass(frozen=True, slots=True)
class _Rows:
    """A codec in whole numbers.

    Parameters
    ----------
    centroids, codewords
        int16 ``[1, n_centroids, width]`` and ``[M, 256, width]``, made even where the width was not.
    units
        Of the two.
    longest_centroid, longest_codewords
        Lengths: of all centroids, and of each codebook.
    mean_squares
        Of a codeword's components in each codebook.
    """

    centroids: NDArray[np.int16]
    codewords: NDArray[np.int16]
    units: tuple[float, float]
    longest_centroid: float
    longest_codewords: NDArray[np.float64]
    mean_squares: NDArray[np.float64]


_rows: WeakKeyDictionary[Codec, _Rows] = WeakKeyDictionary()
_scratch = threading.local()


def lookup(query: NDArray[np.float32], codec: Codec, threads: int = 1, number: int = 0) -> Lookup:
    """The tables of a query, valid until the thread asks for others of these numbers.

    Query, centroids and codewords become whole numbers first, so that any processor finds the same. One scale
    serves the whole query, the largest at which no sum of table entries can leave int16: an inner product is
    at most that of the lengths (Cauchy and Schwarz), so a token's similarity with a centroid and codewords is
    at most a sum of such products. Rounding adds up to a half for each entry; more is left for that.

    Parameters
    ----------
    query
        float32 ``[n, dim]``, n ≥ 1.
    codec
        Whose centroids and codewords.
    threads
        How many threads may work on it.
    number
        Of the first of its tables.
    """
    rows = _rows_of(codec)
    n_codes, width = codec.n_codes, codec.width
    whole = _Whole.of(codec.turn(query).reshape(len(query), 1, -1))
    pieces = _Whole(whole.values.reshape(len(query), n_codes, width), whole.unit).lengths()
    squares = np.square(pieces)
    bound = float((np.sqrt(squares.sum(1)) * rows.longest_centroid + pieces @ rows.longest_codewords).max())
    scale = (_LARGEST - 4 * (n_codes + 1)) / bound if bound > 0 else 0.0
    margins = np.minimum(1 + _MARGIN * scale * np.sqrt(squares @ rows.mean_squares), _LARGEST)
    factors = tuple(np.float32(scale * whole.unit * unit) for unit in rows.units)
    groups: list[Tables] = []
    first = 0
    while first < len(query):
        lanes = 16 if len(query) - first <= 16 else 32
        last = min(first + lanes, len(query))
        columns = np.zeros((n_codes * width, lanes), np.int16)
        columns[:, : last - first] = whole.values[first:last, 0].T
        lane_margins = np.zeros(lanes, np.int16)
        lane_margins[: last - first] = margins[first:last]
        groups.append(
            _tables(rows, columns, factors, last - first, lane_margins, number + len(groups), threads)
        )
        first = last
    return Lookup(groups, 1 / scale if scale else 0.0, math.sqrt(float(squares.sum())))


def _tables(  # noqa: PLR0917
    rows: _Rows,
    columns: NDArray[np.int16],
    factors: tuple[np.float32, ...],
    n_tokens: int,
    margins: NDArray[np.int16],
    number: int,
    threads: int,
) -> Tables:
    lanes = columns.shape[1]
    kernels = for_lanes(lanes)
    n_codes, n_centroids = len(rows.codewords), rows.centroids.shape[1]
    sizes = np.array([n_centroids, 256 * n_codes, n_centroids // 2 + 1]) * lanes
    by_centroid, by_code, half = np.split(_reused(number, int(sizes.sum())), np.cumsum(sizes[:2]))
    by_centroid, by_code = by_centroid.reshape(-1, lanes), by_code.reshape(-1, lanes)
    rough = half.view(np.int8)[: n_centroids * lanes].reshape(-1, lanes)
    whole, of_codes = _paired(columns[None]), _paired(columns.reshape(n_codes, -1, lanes))

    def tabulate(first: int, last: int) -> None:
        kernels.tabulate(rows.centroids, whole, factors[0], first, last, by_centroid)
        kernels.roughen(by_centroid, first, last, rough)

    split(tabulate, n_centroids, threads)
    kernels.tabulate(rows.codewords, of_codes, factors[1], 0, 256, by_code)
    return Tables(n_tokens, kernels, by_centroid, by_code, rough, np.minimum(margins, np.int16(1)), margins)


def _paired(columns: NDArray[np.int16]) -> NDArray[np.int16]:
    """``[n_groups, width, lanes]`` as ``kernels.tabulate`` takes columns."""
    even = _even(columns, 1)
    pairs = even.reshape(len(even), -1, 2, even.shape[2]).swapaxes(2, 3)
    return np.ascontiguousarray(pairs)


def _even(values: NDArray[np.int16], axis: int) -> NDArray[np.int16]:
    """With a zero more on an axis of odd length."""
    if values.shape[axis] % 2 == 0:
        return values
    return np.insert(values, values.shape[axis], 0, axis)


def aligned(n: int) -> NDArray[np.int16]:
    """int16 ``[n]``, not filled in, at the start of a cache line, so that no row of a table lies on two."""
    memory = np.empty(2 * n + 64, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + 2 * n].view(np.int16)


def _reused(number: int, n: int) -> NDArray[np.int16]:
    """Memory of this thread for its ``number``-th tables: fresh pages would take longer than filling them."""
    held: list[NDArray[np.int16]] = _scratch.__dict__.setdefault("tables", [])
    while len(held) <= number:
        held.append(aligned(0))
    if len(held[number]) < n:
        held[number] = aligned(n)
    return held[number][:n]


def _rows_of(codec: Codec) -> _Rows:
    if codec not in _rows:
        centroids, codewords = _Whole.of(codec.turned[None]), _Whole.of(codec.codebooks)
        lengths = codewords.lengths()
        _rows[codec] = _Rows(
            _even(centroids.values, 2),
            _even(codewords.values, 2),
            (centroids.unit, codewords.unit),
            float(centroids.lengths().max()),
            lengths.max(1),
            np.square(lengths).mean(1) / codec.width,
        )
    return _rows[codec]


def _lengths(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """``[..., width]`` → ``[...]``."""
    lengths: NDArray[np.float64] = np.sqrt(np.square(vectors, dtype=np.float64).sum(-1))
    return lengths
