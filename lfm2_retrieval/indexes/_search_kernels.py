"""The inner loops of searching compressed segments. Each has a plain NumPy twin in `_twins`.

As in `_kernels`: one thread, the interpreter's lock released, compiled code kept on disk. What comes from a
file is checked before it addresses memory; a kernel that meets a wrong number says so and reads nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._kernels import jit
from ._lanes import LANES, add, larger, load, store

__all__ = ["add_bounds", "decode_int8", "decode_pq", "gather", "postings", "probe", "quantise", "refine"]

_LOWEST = np.full(LANES, -(2**15), np.int16)


@jit
def probe(scores: NDArray[np.float32], n_lanes: int, n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The best centroids of each query token, best first, equal ones by number.

    Parameters
    ----------
    scores
        float32 ``[n_centroids, LANES]``.
    n_lanes
        How many lanes are in use.
    n
        How many centroids to find, at most ``n_centroids``.

    Returns
    -------
    tuple
        int32 and float32 ``[n_lanes, n]``: centroids and their scores.
    """
    best = np.zeros((n_lanes, n), np.int32)
    values = np.full((n_lanes, n), -np.inf, np.float32)
    for centroid in range(scores.shape[0]):
        for lane in range(n_lanes):
            value = scores[centroid, lane]
            if value > values[lane, n - 1]:
                place = n - 1
                while place > 0 and values[lane, place - 1] < value:
                    values[lane, place] = values[lane, place - 1]
                    best[lane, place] = best[lane, place - 1]
                    place -= 1
                values[lane, place] = value
                best[lane, place] = centroid
    return best, values


@jit
def gather(  # noqa: PLR0917  (compiled code takes positions)
    probed: NDArray[np.int32],
    gains: NDArray[np.float32],
    lists: NDArray[np.int64],
    documents: NDArray[np.uint32],
    alive: NDArray[np.bool_],
    totals: NDArray[np.float32],
    stamps: NDArray[np.int32],
    touched: NDArray[np.int32],
    first_stamp: int,
    n_touched: int,
) -> int:
    """Add each query token's best probed centroid to the documents that have it.

    Parameters
    ----------
    probed
        int32 ``[n_lanes, n_probe]``: centroids, best first.
    gains
        float32 ``[n_lanes, n_probe]``: how much their scores lie above the imputed one, that of the best
        centroid that isn't probed. A document in none of the lists so gets the imputed score: nothing.
    lists
        int64 ``[n_centroids + 1]``: centroid ``c`` owns ``documents[lists[c] : lists[c + 1]]``.
    documents
        uint32: documents by centroid.
    alive
        bool ``[n_documents]``: those that may be found.
    totals, stamps, touched
        float32, int32 and int32 ``[n_documents]``: zeros at first. Updated: each document's sum, the last
        query token that reached it, and the documents reached so far, in that order.
    first_stamp, n_touched
        How many query tokens were gathered before, and how many documents they reached.

    Returns
    -------
    int
        How many documents are reached now; -1 if a list names a document that doesn't exist.
    """
    for lane in range(probed.shape[0]):
        stamp = first_stamp + lane + 1
        for i in range(probed.shape[1]):
            centroid = probed[lane, i]
            gain = gains[lane, i]
            for at in range(lists[centroid], lists[centroid + 1]):
                document = np.intp(documents[at])
                if document >= len(stamps):
                    return -1
                if stamps[document] == stamp or not alive[document]:
                    continue
                if stamps[document] == 0:
                    touched[n_touched] = document
                    n_touched += 1
                stamps[document] = stamp
                totals[document] += gain
    return n_touched


@jit
def add_bounds(values: NDArray[np.float32], n_rows: int, bounds: NDArray[np.float32]) -> None:
    """Add to ``bounds``, float32 ``[LANES]``, the largest size in each ``n_rows`` rows, lane by lane.

    Parameters
    ----------
    values
        float32 ``[n_groups * n_rows, LANES]``.
    """
    largest = np.empty(LANES, np.float32)
    for first in range(0, values.shape[0], n_rows):
        largest[:] = 0
        for row in range(first, first + n_rows):
            for lane in range(LANES):
                largest[lane] = max(largest[lane], abs(values[row, lane]))
        for lane in range(LANES):
            bounds[lane] += largest[lane]


@jit
def quantise(values: NDArray[np.float32], scale: NDArray[np.float32], table: NDArray[np.int16]) -> None:
    """Round ``values * scale``: float32 ``[n, LANES]``, float32 ``[LANES]`` → int16 ``[n, LANES]``."""
    for row in range(values.shape[0]):
        for lane in range(LANES):
            table[row, lane] = np.int16(np.rint(values[row, lane] * scale[lane]))


@jit
def refine(  # noqa: PLR0917
    by_centroid: NDArray[np.int16],
    by_code: NDArray[np.int16],
    centroids: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    unit: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> bool:
    """MaxSim of documents by look-up tables: one row added for the centroid and one for each byte of code.

    Parameters
    ----------
    by_centroid
        int16 ``[n_centroids, LANES]``: the similarity of each query token with each centroid.
    by_code
        int16 ``[M * 256, LANES]``: with each codeword. No sum of one row each overflows: see `tables`.
    centroids, codes
        uint16 ``[n_tokens]`` and uint8 ``[n_tokens, M]``; with M = 0 the centroids alone are scored.
    starts, ends
        int64 ``[n]``: the tokens of each document, at least one.
    unit
        float32 ``[LANES]``: what an int16 of each lane is worth; 0 for lanes that are not in use.
    scores
        float32 ``[n]``: added to.

    Returns
    -------
    bool
        False if a token names a centroid that doesn't exist.
    """
    best_of_lane = _LOWEST.copy()
    lowest = load(best_of_lane, 0)
    n_codes = codes.shape[1]
    for i in range(len(starts)):
        best = lowest
        for token in range(starts[i], ends[i]):
            centroid = np.intp(centroids[token])
            if centroid >= by_centroid.shape[0]:
                return False
            total = load(by_centroid, centroid * LANES)
            for code in range(n_codes):
                total = add(total, load(by_code, (code * 256 + np.intp(codes[token, code])) * LANES))
            best = larger(best, total)
        store(best, best_of_lane, 0)
        score = np.float32(0)
        for lane in range(LANES):
            score += np.float32(best_of_lane[lane]) * unit[lane]
        scores[i] += score
    return True


@jit
def decode_int8(
    vectors: NDArray[np.int8],
    scales: NDArray[np.float32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    decoded: NDArray[np.float32],
) -> None:
    """Rows of int8 vectors as float32, laid end to end.

    Parameters
    ----------
    vectors
        int8 ``[n_tokens, dim]``.
    scales
        float32 ``[n_tokens]``: what a step is worth; of length 0 where all vectors are of length 1, to
        which they are then brought.
    starts, ends
        int64 ``[n]``: ranges of rows.
    decoded
        float32 ``[n_rows, dim]``: filled in.
    """
    to = 0
    for i in range(len(starts)):
        for row in range(starts[i], ends[i]):
            if len(scales):
                scale = scales[row]
            else:
                squares = 0
                for j in range(vectors.shape[1]):
                    squares += np.int32(vectors[row, j]) * np.int32(vectors[row, j])
                scale = np.float32(1.0 / np.sqrt(max(squares, 1)))
            for j in range(vectors.shape[1]):
                decoded[to, j] = np.float32(vectors[row, j]) * scale
            to += 1


@jit
def decode_pq(  # noqa: PLR0917
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    ids: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    normalise: bool,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    decoded: NDArray[np.float32],
) -> bool:
    """Rows of centroid + codewords as float32, laid end to end.

    Parameters
    ----------
    centroids, codebooks
        float32 ``[n_centroids, dim]`` and ``[M, 256, width]``; the last codeword may reach beyond ``dim``.
    ids, codes
        uint16 ``[n_tokens]`` and uint8 ``[n_tokens, M]``.
    normalise
        Whether to bring each vector to length 1.
    starts, ends, decoded
        As for `decode_int8`.

    Returns
    -------
    bool
        False if a token names a centroid that doesn't exist.
    """
    dim, width = centroids.shape[1], codebooks.shape[2]
    to = 0
    for i in range(len(starts)):
        for row in range(starts[i], ends[i]):
            centroid = np.intp(ids[row])
            if centroid >= centroids.shape[0]:
                return False
            squares = np.float32(0)
            for j in range(dim):
                at = j // width
                value = centroids[centroid, j] + codebooks[at, codes[row, at], j - at * width]
                decoded[to, j] = value
                squares += value * value
            if normalise and squares > 0:
                scale = np.float32(1) / np.sqrt(squares)
                for j in range(dim):
                    decoded[to, j] *= scale
            to += 1
    return True


@jit
def postings(
    centroids: NDArray[np.uint16], offsets: NDArray[np.int64], lists: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Each centroid's documents, every document once, in order.

    Parameters
    ----------
    centroids
        uint16 ``[n_tokens]``.
    offsets
        int64 ``[n_documents + 1]``.
    lists
        int64 ``[n_centroids + 1]``: zeros; filled in with where each centroid's documents begin.
    """
    n_centroids = len(lists) - 1
    last = np.full(n_centroids, -1, np.int64)
    for document in range(len(offsets) - 1):
        for token in range(offsets[document], offsets[document + 1]):
            if last[centroids[token]] != document:
                last[centroids[token]] = document
                lists[centroids[token] + 1] += 1
    for centroid in range(n_centroids):
        lists[centroid + 1] += lists[centroid]
    documents = np.empty(lists[n_centroids], np.uint32)
    free = lists[:n_centroids].copy()
    last[:] = -1
    for document in range(len(offsets) - 1):
        for token in range(offsets[document], offsets[document + 1]):
            centroid = centroids[token]
            if last[centroid] != document:
                last[centroid] = document
                documents[free[centroid]] = document
                free[centroid] += 1
    return documents
