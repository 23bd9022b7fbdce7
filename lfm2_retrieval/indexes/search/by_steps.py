"""Which documents can be among the best, as their vectors in steps of int8 tell: a third of float32's work.

Rounding to steps moves a vector by no more than is stored beside it. So the error of a document's estimated
score has a bound of its own, and those are scanned whose score may reach what is known of the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import split
from ..kernels import steps as kernels
from ..segments.fp16 import Steps
from .scan import largest_error

__all__ = ["Asked", "Estimates", "ask", "estimate", "worth_scanning"]

_DOCUMENTS_AT_ONCE = 4096
_LEAST = 64
"""So many documents are worth a thread."""


class Asked(NamedTuple):
    """Queries in steps, as the kernel reads them, and what that leaves out.

    Attributes
    ----------
    columns, offsets, totals, lanes, factors
        As for the kernel.
    by_error, by_length
        float64 ``[n_queries]``: a score is wrong by at most the first times the distance of the document's
        vectors from their steps, and the second times their length.
    """

    columns: NDArray[np.int8]
    offsets: NDArray[np.int16]
    totals: NDArray[np.int32]
    lanes: NDArray[np.int64]
    factors: NDArray[np.float64]
    by_error: NDArray[np.float64]
    by_length: NDArray[np.float64]


def ask(queries: NDArray[np.float32], lanes: NDArray[np.int64]) -> Asked:
    """Round queries to steps.

    Let ``d`` be a stored vector, ``q`` one of the query, ``d'`` and ``q'`` what their steps say. Then
    ``d q - d' q' = (d - d') q + d' (q - q')``, whose magnitude is at most ``|d - d'| |q| + |d'| |q - q'|``,
    and so is the error of a maximum over several ``d``. The score is the sum over the query's vectors.
    The products of steps are exact, what the kernel makes of them is rounded five times to float32 or better.

    Parameters
    ----------
    queries, lanes
        As for `scan`.
    """
    n, dim = queries.shape
    n_blocks, n_quads = -(-n // kernels.LANES), -(-dim // kernels.QUAD)
    n_parts = -(-n_quads // kernels.PART)
    columns = np.zeros((n_blocks, n_quads, kernels.LANES, kernels.QUAD), np.int8)
    offsets = np.zeros((n_blocks, n_parts, kernels.LANES, 2), np.int16)
    totals = np.zeros((n_blocks, kernels.LANES), np.int32)
    factors, errors, lengths = np.empty((3, n))
    kernels.quantise_asked(queries, columns, offsets, totals, factors, errors, lengths)
    rounded = largest_error(queries, lanes, 1.0)
    by_error, by_length = np.add.reduceat(lengths, lanes[:-1]), np.add.reduceat(errors, lanes[:-1]) + rounded
    return Asked(columns, offsets, totals, lanes, factors, by_error, by_length)


class Estimates(NamedTuple):
    """Some documents: int64 ``[n]`` positions, float32 ``[n_queries, n]`` estimates of their scores, and
    float64 ``[n_queries, n]``: what these scores are at most.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    most: NDArray[np.float64]


def estimate(
    steps: Steps, offsets: NDArray[np.int64], wanted: NDArray[np.int64], asked: Asked, threads: int
) -> Iterator[Estimates]:
    """Estimate the scores of documents.

    Parameters
    ----------
    steps, offsets
        A segment's.
    wanted
        int64 ``[n_documents]``: the documents, none of them empty.
    asked
        From `ask`.
    threads
        How many threads may work on it; estimates don't depend on it.
    """
    for at in range(0, len(wanted), _DOCUMENTS_AT_ONCE):
        yield _estimate(steps, offsets, wanted[at : at + _DOCUMENTS_AT_ONCE], asked, threads)


def _estimate(
    steps: Steps, offsets: NDArray[np.int64], positions: NDArray[np.int64], asked: Asked, threads: int
) -> Estimates:
    score = kernels.score_steps()
    *given, by_error, by_length = asked
    first, last = int(positions[0]), int(positions[-1]) + 1
    which = slice(first, last) if last - first == len(positions) else positions  # most often it is all
    starts, ends = offsets[:-1][which], offsets[1:][which]
    scores = np.empty((len(positions), len(asked.lanes) - 1), np.float32)

    def work(first: int, last: int) -> None:
        some = starts[first:last], ends[first:last]
        score(steps.vectors, steps.sizes, *some, *given, scores[first:last])

    split(work, len(positions), threads, _LEAST)
    errors = steps.errors[which].astype(np.float64) @ np.stack([by_error, by_length])
    return Estimates(positions, scores.T, (scores + errors).T)


def worth_scanning(
    scores: NDArray[np.float32], most: NDArray[np.float64], k: int, floor: Callable[[], float]
) -> Iterator[NDArray[np.intp]]:
    """Which documents can be among the best ``k``: first those that probably are, then what they leave.

    Parameters
    ----------
    scores, most
        ``[n]``: of one query, as `Estimates` has them.
    k
        How many are wanted.
    floor
        Says which score that many documents are known to reach; asked again after the first.

    Yields
    ------
    NDArray
        Indices.
    """
    possible = np.flatnonzero(most >= floor())
    if len(possible) > k:
        order = np.argpartition(-scores[possible], k - 1)
        yield possible[order[:k]]
        possible = possible[order[k:]]
        possible = possible[most[possible] >= floor()]
    if len(possible):
        yield possible
