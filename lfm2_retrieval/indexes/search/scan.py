"""Exact MaxSim over stored vectors: for each query token the largest inner product, summed over the query.

A kernel of ours multiplies vectors as they are stored, on as many threads as are asked for; BLAS would start
its own. It does so in float32, which is a little wrong: the documents that matter (`plausible`) are scored
again in float64 (by `rerank`), which makes scores and ties the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import split

__all__ = [
    "Chunk",
    "Columns",
    "Vectors",
    "best",
    "largest_error",
    "lay_out",
    "passes",
    "plausible",
    "scan",
    "score",
]

_DOCUMENTS_PER_CHUNK = 4096
_BLOCK_TOKENS = 1 << 10
"""Decode about so many vectors at once, or one document."""
_LANES_PER_PASS = 512
"""Multiply with so many query tokens at once, or one query, so that they stay in the cache."""
_LEAST = 32
"""So many documents are worth a thread."""
_ROUNDING = 2.0**-24
"""What rounding to float32 changes, relative to the number."""
_UNDERFLOW = 2.0**-110
"""What a product loses, at most, where a processor makes zeros of the smallest numbers: they are below
2⁻¹²⁶, and no other factor is beyond 65504."""


class Vectors(Protocol):
    """What is scanned, such as a `Segment`."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 ``[n_documents + 1]``: the rows of each document."""

    @property
    def half(self) -> NDArray[np.uint16] | None:
        """The bits of float16 ``[n_tokens, dim]``, if that is what is stored."""

    @property
    def longest(self) -> float:
        """The length of the longest vector of ``half``; inf if not all of it is finite."""

    def decode(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], decoded: NDArray[np.float32]
    ) -> None:
        """Write ranges of the vectors into a float32 ``[n, dim]``; see `Segment.decode`."""


class Chunk(NamedTuple):
    """Some documents: int64 ``[n]`` positions, float32 ``[n_queries, n]`` approximate scores, and the length
    of their longest vector, or more.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    longest: float


class Columns(NamedTuple):
    """Queries as the kernel reads them; ``dim`` is the width of a vector."""

    columns: NDArray[np.float32]
    lanes: NDArray[np.int64]
    dim: int


def passes(lanes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The first query, and the one after the last, of each group that is worth a scan.

    lanes
        int64 ``[n_queries + 1]``: query ``i`` owns rows ``lanes[i]`` to ``lanes[i + 1]``.
    """
    first, n = 0, len(lanes) - 1
    while first < n:
        last = int(np.searchsorted(lanes, lanes[first] + _LANES_PER_PASS, "right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def scan(
    vectors: Vectors,
    wanted: NDArray[np.int64],
    queries: NDArray[np.float32],
    lanes: NDArray[np.int64],
    threads: int = 1,
) -> Iterator[Chunk]:
    """Score documents in chunks, in order.

    Parameters
    ----------
    vectors
        The documents'.
    wanted
        int64 ``[n_documents]``: the documents to score, none of them empty.
    queries
        float32 ``[n_lanes, dim]``, at least one.
    lanes
        int64 ``[n_queries + 1]``: query ``i`` owns rows ``lanes[i]`` to ``lanes[i + 1]``, at least one.
    threads
        How many threads may work on it; scores don't depend on it.

    Yields
    ------
    Chunk
        Together all that is wanted.
    """
    asked = lay_out(queries, lanes)
    for first in range(0, len(wanted), _DOCUMENTS_PER_CHUNK):
        some = wanted[first : first + _DOCUMENTS_PER_CHUNK]
        yield score(vectors, some, asked, vectors.longest, threads)


def lay_out(queries: NDArray[np.float32], lanes: NDArray[np.int64]) -> Columns:
    """The queries, given as for `scan`, as the kernel reads them."""
    from ..kernels.scan import LANES, PIECE

    n, dim = queries.shape
    padded = np.zeros((-(-n // LANES) * LANES, -(-dim // PIECE) * PIECE), np.float32)
    padded[:n, :dim] = queries
    columns = np.ascontiguousarray(padded.reshape(-1, LANES, padded.shape[1]).swapaxes(1, 2))
    return Columns(columns, lanes, dim)


def score(
    vectors: Vectors, positions: NDArray[np.int64], asked: Columns, most: float, threads: int = 1
) -> Chunk:
    """Score documents at once.

    Parameters
    ----------
    vectors, positions, threads
        As for `scan`, and int64 ``[n]``: the documents, none of them empty.
    asked
        From `lay_out`.
    most
        None of their vectors in ``half`` is longer; inf if not all of them are finite.
    """
    from ..kernels.scan import score_rows

    starts, ends = vectors.offsets[positions], vectors.offsets[positions + 1]
    scores = np.empty((len(positions), len(asked.lanes) - 1), np.float32)
    half, longest = vectors.half, [0.0 if vectors.half is None else most]
    # A damaged file can hold infinity or NaN, which only decoding makes numbers of.
    decoded = half is None or not math.isfinite(longest[0])

    def work(first: int, last: int) -> None:
        some = starts[first:last], ends[first:last]
        if half is None or decoded:
            longest.append(_score_decoded(vectors, *some, asked, scores[first:last]))
        else:
            score_rows(half, *some, asked.columns, asked.lanes, scores[first:last])

    split(work, len(positions), threads, _LEAST)
    return Chunk(positions, scores.T, max(longest[1:] if decoded else longest))


def _score_decoded(
    vectors: Vectors,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    asked: Columns,
    scores: NDArray[np.float32],
) -> float:
    """Score documents by what they are decoded to, some at a time; returns the length of the longest."""
    from ..kernels.scan import longest, score_rows

    bounds = np.concatenate([[0], np.cumsum(ends - starts)])
    first, most = 0, 0.0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _BLOCK_TOKENS, "right")) - 1)
        decoded = np.empty((int(bounds[last] - bounds[first]), asked.dim), np.float32)
        vectors.decode(starts[first:last], ends[first:last], decoded)
        rows = bounds[first : last + 1] - bounds[first]
        score_rows(decoded, rows[:-1], rows[1:], asked.columns, asked.lanes, scores[first:last])
        most = max(most, longest(decoded))
        first = last
    return most


def largest_error(
    queries: NDArray[np.float32], lanes: NDArray[np.int64], longest: float, turned: bool = False
) -> NDArray[np.float64]:
    """How far a scanned score can be from the one in float64, rounded to float32.

    A sum of ``dim`` products in float32, in whatever order, rounded once or twice each, is wrong by at most
    ``dim * 2^-24 / (1 - dim * 2^-24)`` of the sum of the products' magnitudes, which is at most the product
    of the two lengths; so is the maximum of such sums. Scores are sums over the query's tokens, in float64.
    What else is rounded are both scores at the end, the lengths, and int8 that is decoded: the 16 and the
    hundredth are more than that.

    Vectors that a codec had turned are turned back in float32. Each number is then wrong by the same bound
    times the vector's length, so a vector by the square root of ``dim`` times that; twice it is counted, for
    what turning back leaves of the length.

    Parameters
    ----------
    queries, lanes
        As for `scan`; any finite numbers below 2¹²⁶ or so.
    longest
        No vector that is scanned is longer.
    turned
        Whether decoding turned vectors back.

    Returns
    -------
    NDArray
        float64 ``[n_queries]``.
    """
    dim = queries.shape[1]
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    totals = np.add.reduceat(lengths, lanes[:-1])
    relative = 1.01 * (dim + 16) * _ROUNDING / (1 - min(dim * _ROUNDING, 0.5))
    if turned:
        relative *= 2 * (1 + math.sqrt(dim))
    errors: NDArray[np.float64] = relative * totals * longest + np.diff(lanes) * dim * _UNDERFLOW
    return errors


def best(scores: NDArray[np.float32], keys: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """The indices of the ``k`` largest scores, best first, ties by key; -inf is never among them."""
    kept = np.flatnonzero(scores > -np.inf)
    if len(kept) > k:
        kept = kept[scores[kept] >= np.partition(scores[kept], -k)[-k]]
    return kept[np.lexsort((keys[kept], -scores[kept]))[:k]]


def plausible(scores: NDArray[np.float32], k: int, error: float) -> NDArray[np.intp]:
    """The indices of ``scores`` that can be among the ``k`` largest, however many, if each is wrong by up to
    ``error``; none of -inf."""
    kept = np.flatnonzero(scores > -np.inf)
    if len(kept) > k:
        score = float(np.partition(scores[kept], -k)[-k])
        kept = kept[scores[kept] >= score - 2 * error]
    return kept
