"""A query as look-up tables of int16: how similar its tokens are to centroids and codewords."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ._pool import split
from ._search_kernels import Kernels, for_lanes
from .codec import Codec

__all__ = ["Lookup", "Tables", "aligned", "lookup"]

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
    nearest, margins
        int16 ``[lanes]``, for ``kernels.refine``: 1, with which it looks at the tokens of the best centroids
        alone, and how much better than its centroid says a token seldom is.
    """

    n_tokens: int
    kernels: Kernels
    by_centroid: NDArray[np.int16]
    by_code: NDArray[np.int16]
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


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Of a codec: the length of its longest centroid, that of each codebook's longest codeword, and the mean
    square of a codeword's component in each."""

    centroid: float
    codewords: NDArray[np.float64]
    mean_squares: NDArray[np.float64]


_sizes: WeakKeyDictionary[Codec, _Sizes] = WeakKeyDictionary()
_scratch = threading.local()


def lookup(query: NDArray[np.float32], codec: Codec, threads: int = 1, number: int = 0) -> Lookup:
    """The tables of a query, valid until the thread asks for others of these numbers.

    One scale serves the whole query, the largest at which no sum of table entries can leave int16: an inner
    product is at most that of the lengths (Cauchy and Schwarz), so a token's similarity with a centroid and
    codewords is at most a sum of such products. Rounding adds up to a half for each entry; as much again and
    more is left for rounding in float32.

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
    sizes = _sizes_of(codec)
    n_codes, width = codec.n_codes, codec.width
    pieces = codec.turn(query)
    squares = np.square(pieces).reshape(len(query), n_codes, width).sum(2)
    bound = float((np.sqrt(squares.sum(1)) * sizes.centroid + np.sqrt(squares) @ sizes.codewords).max())
    scale = (_LARGEST - 4 * (n_codes + 1)) / bound if bound > 0 else 0.0
    if not scale * float(np.abs(pieces).max()) < float(np.finfo(np.float32).max):
        scale = 0.0  # centroids and codewords that are as good as zero
    margins = np.minimum(1 + _MARGIN * scale * np.sqrt(squares @ sizes.mean_squares), _LARGEST)
    groups: list[Tables] = []
    first = 0
    while first < len(query):
        lanes = 16 if len(query) - first <= 16 else 32
        last = min(first + lanes, len(query))
        columns = np.zeros((n_codes * width, lanes), np.float32)
        columns[:, : last - first] = scale * pieces[first:last].T
        lane_margins = np.zeros(lanes, np.int16)
        lane_margins[: last - first] = margins[first:last]
        groups.append(_tables(codec, columns, last - first, lane_margins, number + len(groups), threads))
        first = last
    return Lookup(groups, 1 / scale if scale else 0.0, math.sqrt(float(squares.sum(dtype=np.float64))))


def _tables(  # noqa: PLR0917
    codec: Codec,
    columns: NDArray[np.float32],
    n_tokens: int,
    margins: NDArray[np.int16],
    number: int,
    threads: int,
) -> Tables:
    lanes = columns.shape[1]
    kernels = for_lanes(lanes)
    n_centroids, n_codewords = len(codec.centroids), 256 * codec.n_codes
    table = _reused(number, (n_centroids + n_codewords) * lanes).reshape(-1, lanes)
    by_centroid, by_code = table[:n_centroids], table[n_centroids:]
    centroids = codec.turned[None]
    split(
        lambda first, last: kernels.tabulate(centroids, columns[None], first, last, by_centroid),
        n_centroids,
        threads,
    )
    of_codes = columns.reshape(codec.n_codes, codec.width, lanes)
    kernels.tabulate(codec.codebooks, of_codes, 0, 256, by_code)
    return Tables(n_tokens, kernels, by_centroid, by_code, np.minimum(margins, np.int16(1)), margins)


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


def _sizes_of(codec: Codec) -> _Sizes:
    if codec not in _sizes:
        codewords = np.square(codec.codebooks, dtype=np.float64).sum(2)
        _sizes[codec] = _Sizes(
            float(np.sqrt(np.square(codec.turned, dtype=np.float64).sum(1)).max()),
            np.sqrt(codewords.max(1)),
            codewords.mean(1) / codec.width,
        )
    return _sizes[codec]
