"""The inner loops of compressing: one thread, the interpreter's lock released."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from .types import Ids

__all__ = ["add_up", "int8_scales", "postings", "to_int8", "turn"]


@jit
def turn(vectors: Any, rotation: Any, turned: Any) -> None:
    """Add ``vectors @ rotation`` to what is there, dimension by dimension: no bit of it depends on how many
    vectors there are.

    Parameters
    ----------
    vectors, rotation
        ``[n, dim]`` and ``[dim, width]``, C-contiguous, float32 or float64 as all three.
    turned
        ``[n, width]``.
    """
    for row in range(vectors.shape[0]):
        for i in range(vectors.shape[1]):
            value = vectors[row, i]
            for j in range(rotation.shape[1]):
                turned[row, j] += value * rotation[i, j]


@jit
def to_int8(
    vectors: NDArray[np.float32],
    steps: NDArray[np.int8],
    scales: NDArray[np.float32],
    tolerance: float,
) -> bool:
    """Round vectors to steps of 1/127 of their largest component.

    Parameters
    ----------
    vectors
        float32 ``[n, dim]``, finite.
    steps, scales
        int8 ``[n, dim]`` and float32 ``[n]``, what a step is worth: filled in.
    tolerance
        How far from 1 a length may be to count as 1.

    Returns
    -------
    bool
        Whether all vectors are of length 1.
    """
    unit = True
    for row in range(vectors.shape[0]):
        largest = np.float32(0)
        squares = np.float32(0)
        for i in range(vectors.shape[1]):
            value = vectors[row, i]
            largest = max(largest, abs(value))
            squares += value * value
        unit &= abs(np.sqrt(squares) - 1) <= tolerance
        scale = largest / np.float32(127)
        scales[row] = scale
        # The largest may come out as 127.00001, which rint takes back.
        inverse = np.float32(1) / scale if scale > np.float32(1e-37) else np.float32(0)
        for i in range(vectors.shape[1]):
            steps[row, i] = np.int8(np.rint(vectors[row, i] * inverse))
    return unit


@jit
def int8_scales(steps: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
    """What a step is worth in vectors of length 1: int8 ``[n, dim]`` → float32 ``[n]``, filled in."""
    for row in range(steps.shape[0]):
        squares = np.int32(0)
        for i in range(steps.shape[1]):
            squares += np.int32(steps[row, i]) * np.int32(steps[row, i])
        scales[row] = np.float32(1) / np.sqrt(np.float32(squares if squares > 0 else 1))


@jit
def add_up(
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    totals: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """Add vectors, float32 ``[n, dim]``, to the totals of their centroids, float32 ``[n_centroids, dim]``."""
    for row in range(vectors.shape[0]):
        id = ids[row]
        counts[id] += 1
        for i in range(vectors.shape[1]):
            totals[id, i] += vectors[row, i]


@jit
def postings(centroids: Ids, offsets: NDArray[np.int64], lists: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Each centroid's documents, every document once, in order.

    Parameters
    ----------
    centroids
        Unsigned ``[n_tokens]``.
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
