"""The inner loops that gather documents from lists of centroids, and choose among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from ...platform.simd import (
    prefetch,
)
from .types import Ids

__all__ = ["gather", "listed", "select"]

_LATER = 32
"""So many entries of a list before its turn, a document's state is called for."""
_BUCKETS = 4096


_HALF = 32
_LOWER = (1 << _HALF) - 1
"""The half of a document's state in `gather` that is its sum."""


@jit
def listed(probed: NDArray[np.int32], lists: NDArray[np.int64]) -> int:
    """How many entries the lists of some centroids have; arguments as for `gather`."""
    n = 0
    for centroid in probed.flat:
        n += lists[centroid + 1] - lists[centroid]
    return n


@jit
def gather(  # noqa: PLR0917
    probed: NDArray[np.int32],
    gains: NDArray[np.int32],
    lists: NDArray[np.int64],
    documents: Ids,
    states: NDArray[np.int64],
    touched: NDArray[np.int32],
    before: int,
) -> int:
    """Add up each query token's best probed centroid in the documents that have it.

    Parameters
    ----------
    probed
        int32 ``[n_tokens, n_probe]``: centroids, best first.
    gains
        int32 ``[n_tokens, n_probe]``: how much their scores lie above the imputed one, that of the best
        centroid that isn't probed. A document in none of the lists so gets the imputed score: nothing.
    lists
        int64 ``[n_centroids + 1]``: centroid ``c`` owns ``documents[lists[c] : lists[c + 1]]``.
    documents
        Unsigned: documents by centroid.
    states
        int64 ``[n_documents]``: of each the last query token that reached it (as a stamp; those up to
        ``before`` are of other queries), and in the lower half its sum.
    touched
        int32, longer than ``n_documents``: filled in with the documents reached.
    before
        Query tokens are stamped from ``before + 1`` on.

    Returns
    -------
    int
        How many documents are reached; -1 if a list names a document that doesn't exist.
    """
    n_touched = 0
    for token in range(probed.shape[0]):
        stamp = before + token + 1
        for i in range(probed.shape[1]):
            centroid = probed[token, i]
            gain = np.int64(gains[token, i])
            for at in range(lists[centroid], lists[centroid + 1]):
                document = np.intp(documents[at])
                if document >= len(states):
                    return -1
                later = min(at + _LATER, len(documents) - 1)
                prefetch(states, np.intp(documents[later]))
                # Without a branch, for no processor could guess it.
                state = states[document]
                last = state >> _HALF
                is_new = last <= before
                touched[n_touched] = document
                n_touched += is_new
                sum_before = 0 if is_new else state & _LOWER
                states[document] = stamp << _HALF | sum_before + (0 if last == stamp else gain)
    return n_touched


@jit
def select(
    states: NDArray[np.int64],
    touched: NDArray[np.int32],
    alive: NDArray[np.bool_],
    sums: NDArray[np.int64],
    wanted: int,
) -> NDArray[np.int64]:
    """The documents with the largest sums, to a 4096th of the largest; of those that are as good, the first.

    Parameters
    ----------
    states
        As `gather` leaves them.
    touched
        int32 ``[n]``: those to choose from; overwritten.
    alive
        bool ``[n_documents]``: those that may be found.
    sums
        int64, longer than ``n``: overwritten.
    wanted
        How many to choose.

    Returns
    -------
    NDArray
        int64, at most ``wanted``, in the order of ``touched``.
    """
    n, largest = 0, np.int64(0)
    for document in touched:
        if alive[document]:
            touched[n] = document
            sums[n] = states[document] & _LOWER
            largest = max(largest, sums[n])
            n += 1
    chosen = np.empty(min(n, wanted), np.int64)
    if n <= wanted:
        chosen[:] = touched[:n]
        return chosen
    shift = 0
    while largest >> shift >= _BUCKETS:
        shift += 1
    counts = np.zeros(_BUCKETS, np.int64)
    for at in range(n):
        counts[sums[at] >> shift] += 1
    bucket, above = _BUCKETS - 1, 0
    while above + counts[bucket] < wanted:
        above += counts[bucket]
        bucket -= 1
    n_chosen, left = 0, wanted - above
    for at in range(n):
        mine = sums[at] >> shift
        if mine > bucket or (mine == bucket and left > 0):
            left -= mine == bucket
            chosen[n_chosen] = touched[at]
            n_chosen += 1
    return chosen
