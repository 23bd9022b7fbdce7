"""Token pooling: the vectors of a document clustered, and each cluster replaced by its mean.

Agglomerative clustering by Ward's criterion, cut at a fixed fraction of the number of vectors (Clavié,
Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via
Token Pooling", 2024), by nearest-neighbour chains (Murtagh, "A survey of recent advances in hierarchical
clustering algorithms", 1983). Time and memory are quadratic in what is clustered together, so documents of
more than 1,024 vectors are clustered by stretches of about equal length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..platform.compiling import jit

__all__ = ["Clusters"]

_TOGETHER = 1024
_NEARLY = 0.01
_FAR = 1e30  # what isn't finite counts as this far apart


@dataclass(frozen=True)
class Clusters:
    """Which vectors of a batch of texts are pooled into one.

    Parameters
    ----------
    order
        int64 ``[n_tokens]``: rows, those of a cluster side by side and ascending; clusters in the order of
        their first rows.
    starts
        int64 ``[n_clusters + 1]``: where the rows of each cluster begin in ``order``.
    offsets
        int64 ``[n_texts + 1]``: which clusters each text has.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def find(cls, embeddings: TokenEmbeddings, factor: int, protected: int) -> Clusters:
        """Cluster the vectors of each text, all but the first ``protected``, to 1 in ``factor``.

        Parameters
        ----------
        embeddings
            float32.
        factor, protected
            See :class:`.DocumentOptions`. Fractions are rounded down, to no fewer than one cluster.
        """
        vectors = embeddings.embeddings
        labels = np.arange(len(vectors))
        for start, end in zip(embeddings.offsets[:-1] + protected, embeddings.offsets[1:], strict=True):
            count = -(-max(end - start, 0) // _TOGETHER)
            bounds = start + np.arange(count + 1) * max(end - start, 0) // max(count, 1)
            for one, two in pairwise(bounds):
                labels[one:two] = one + ward_labels(vectors[one:two], max(1, (two - one) // factor))
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        offsets = np.searchsorted(labels[order][starts], embeddings.offsets)
        return cls(order, np.append(starts, len(order)), offsets.astype(np.int64))

    def pooled(self, embeddings: TokenEmbeddings, output: str, *, normalize: bool) -> TokenEmbeddings:
        """The clusters' means, of length 1 where ``normalize``; ids and spans of the nearest members."""
        means = self._means(embeddings.embeddings)
        chosen = self._nearest(embeddings.embeddings, means)
        if normalize:
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return TokenEmbeddings(
            embeddings=means.astype(output),
            offsets=self.offsets,
            token_ids=None if embeddings.token_ids is None else embeddings.token_ids[chosen],
            spans=None if embeddings.spans is None else embeddings.spans[chosen],
        )

    def members(self, vectors: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        """The rows of each cluster, first the one nearest to the mean."""
        nearest = self._nearest(vectors, self._means(vectors))
        rows = np.split(self.order, self.starts[1:-1]) if len(nearest) else []
        return [
            np.concatenate(([first], some[some != first])) for first, some in zip(nearest, rows, strict=True)
        ]

    def most_like(self, embeddings: TokenEmbeddings, stored: NDArray[np.floating]) -> list[int]:
        """The cluster that each of a text's pooled vectors is most like; of nearly equal ones its own."""
        means = self.pooled(embeddings, "float32", normalize=True).embeddings
        similar = stored.astype(np.float32) @ means.T
        best = similar.argmax(axis=1)
        if len(stored) == len(means):
            place = np.arange(len(stored))
            best = np.where(np.diagonal(similar) >= similar.max(axis=1) - _NEARLY, place, best)
        chosen: list[int] = best.tolist()
        return chosen

    def _means(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if not len(vectors):
            return vectors
        sums = np.add.reduceat(vectors[self.order], self.starts[:-1], axis=0)
        counts = np.diff(self.starts).astype(np.float32)
        means: NDArray[np.float32] = np.divide(sums, counts[:, None], dtype=np.float32)
        return means

    def _nearest(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.int64]:
        """Of each cluster the row most similar to its mean; of (nearly) equal ones, as two are, the first."""
        of = np.repeat(np.arange(len(means)), np.diff(self.starts))
        similarity = np.einsum("ij,ij->i", vectors[self.order], means[of]).round(4)
        best = np.lexsort((np.arange(len(of)), -similarity, of))
        chosen: NDArray[np.int64] = self.order[best[self.starts[:-1]]]
        return chosen


def ward_labels(vectors: NDArray[np.float32], n_clusters: int) -> NDArray[np.int64]:
    """The cluster of each vector: the number of the first vector in it.

    Parameters
    ----------
    vectors
        float32 ``[n, dim]``.
    n_clusters
        At least 1; with ``n`` or more each vector is its own.
    """
    if n_clusters >= len(vectors):
        return np.arange(len(vectors))
    squares = np.einsum("ij,ij->i", vectors, vectors)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = squares[:, None] + squares - 2 * (vectors @ vectors.T)
    np.clip(np.nan_to_num(distances, nan=_FAR), 0, _FAR, out=distances)
    merged, heights = _chain(distances)
    lowest = np.argsort(heights, kind="stable")[: len(vectors) - n_clusters]
    labels: NDArray[np.int64] = _join(merged[lowest], len(vectors))
    return labels


@jit
def _chain(distances: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All merges of Ward's clustering: a row of either cluster, ``[n - 1, 2]``, and how far apart they were.

    ``distances``, squared, ``[n, n]``, is overwritten. Merges come in the order of the chains.
    """
    n = len(distances)
    sizes = np.ones(n)
    chain = np.empty(n, np.int64)
    merged = np.empty((n - 1, 2), np.int64)
    heights = np.empty(n - 1)
    for i in range(n):
        distances[i, i] = np.inf
    length = 0
    for step in range(n - 1):
        if length == 0 or sizes[chain[length - 1]] == 0:  # the latter by rounding alone
            chain[0] = np.argmax(sizes)  # any that is left
            length = 1
        while True:
            here = chain[length - 1]
            row = distances[here]
            # Of equal neighbours the one before in the chain, or chains would not end.
            nearest = chain[length - 2] if length > 1 else -1
            best = row[nearest] if length > 1 else np.float32(np.inf)
            for i in range(n):
                if row[i] < best:
                    best, nearest = row[i], i
            if length > 1 and nearest == chain[length - 2]:
                break
            if length == n:  # by rounding alone
                length = 0
            chain[length] = nearest
            length += 1
        length -= 2
        merged[step], heights[step] = (here, nearest), best
        gone, left = sizes[here], sizes[nearest]
        for i in range(n):
            if sizes[i] > 0 and i not in (here, nearest):
                away = (gone + sizes[i]) * distances[here, i] + (left + sizes[i]) * distances[nearest, i]
                away = (away - sizes[i] * best) / (gone + left + sizes[i])
                distances[nearest, i] = distances[i, nearest] = away
            distances[here, i] = distances[i, here] = np.inf
        sizes[nearest] += gone
        sizes[here] = 0
    return merged, heights


@jit
def _join(merged: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """For ``n`` rows the first of those that merges connect each to."""
    labels = np.arange(n)
    for m in range(len(merged)):
        one, two = merged[m]
        while labels[one] != one:
            labels[one] = labels[labels[one]]
            one = labels[one]
        while labels[two] != two:
            labels[two] = labels[labels[two]]
            two = labels[two]
        labels[max(one, two)] = min(one, two)
    for i in range(n):  # roots come first, so one step is enough
        labels[i] = labels[labels[i]]
    return labels
