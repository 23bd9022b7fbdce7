"""What compresses vectors: the nearest of some thousand centroids, and a product quantizer for what is left.

FAISS trains both from a seeded sample and encodes; `_search_kernels` decodes and scores.

How many centroids: the power of two at or below 8 √n for n vectors, at least 16 and at most 65,536 (they
are numbered in 16 bits), and never more than one for 32 vectors. Up to 32 vectors a centroid are drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

if TYPE_CHECKING:
    import faiss

__all__ = ["Codec", "Layout", "Tier", "centroids_for", "sample_size", "to_int8", "train"]

_FEWEST_CENTROIDS, _MOST_CENTROIDS = 16, 1 << 16
_VECTORS_PER_CENTROID = 32
_ROUNDS = 8
_PQ_SAMPLE = 1 << 16
UNIT_TOLERANCE = 2e-3
"""How far from 1 a length may be to count as 1: float16 rounding gives up to 5e-4."""


class Tier(StrEnum):
    """How small an index is to become; bytes are those of a 128-dimensional vector, postings not counted."""

    COMPACT = "compact"
    """34 bytes a vector; scores are estimates."""
    BALANCED = "balanced"
    """34 bytes a vector in memory and 128 on disk, which the last step of a search reads."""
    ACCURATE = "accurate"
    """66 bytes in memory and 128 on disk."""
    EXACT = "exact"
    """256 bytes; nothing is compressed and every document is scored."""

    @property
    def width(self) -> int:
        """How many dimensions share a byte of code."""
        return 2 if self is Tier.ACCURATE else 4

    @property
    def int8(self) -> bool:
        """Whether int8 vectors are kept."""
        return self in (Tier.BALANCED, Tier.ACCURATE)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a compressed segment holds, as its codec's name says it: ``pq4-int8-unit``.

    Parameters
    ----------
    width
        How many dimensions share a byte of code.
    int8
        Whether there are int8 vectors.
    unit
        Whether all vectors are of length 1, so that decoding restores that instead of reading a scale.
    """

    width: int
    int8: bool
    unit: bool

    def __str__(self) -> str:
        return f"pq{self.width}" + "-int8" * self.int8 + "-unit" * self.unit

    @classmethod
    def parse(cls, name: str) -> Layout | None:
        """The layout of that name; None if it isn't one."""
        match = re.fullmatch(r"pq([1-9])(-int8)?(-unit)?", name, re.ASCII)
        return match and cls(int(match[1]), bool(match[2]), bool(match[3]))


@dataclass(frozen=True, eq=False)
class Codec:
    """A trained codec.

    Parameters
    ----------
    id
        Its number in the catalogue; 0 before it has one.
    centroids
        float32 ``[n_centroids, dim]``, of values that float16 has.
    codebooks
        float32 ``[M, 256, width]`` for residuals, padded with zeros to ``M * width`` dimensions.
    facts
        How it was trained: JSON values.
    """

    id: int
    centroids: NDArray[np.float32]
    codebooks: NDArray[np.float32]
    facts: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.centroids.shape[1]

    @property
    def n_codes(self) -> int:
        """How many bytes of code a vector has."""
        return self.codebooks.shape[0]

    @property
    def width(self) -> int:
        """How many dimensions share a byte."""
        return self.codebooks.shape[2]

    def encode(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """float32 ``[n, dim]`` → uint16 ``[n]`` centroids and uint8 ``[n, M]`` codes."""
        _, nearest = self._centroid_index.search(vectors, 1)
        ids = nearest[:, 0].astype(np.uint16)
        return ids, self._quantizer.compute_codes(_residuals(vectors, self.centroids, ids, self.width))

    @cached_property
    def _centroid_index(self) -> faiss.IndexFlatL2:
        import faiss

        index = faiss.IndexFlatL2(self.dim)
        index.add(self.centroids)
        return index

    @cached_property
    def _quantizer(self) -> faiss.ProductQuantizer:
        import faiss

        quantizer = faiss.ProductQuantizer(self.n_codes * self.width, self.n_codes, 8)
        faiss.copy_array_to_vector(self.codebooks.reshape(-1), quantizer.centroids)
        return quantizer


def centroids_for(n_tokens: int) -> int:
    """How many centroids that many vectors get."""
    wanted = min(8 * math.sqrt(n_tokens), n_tokens / _VECTORS_PER_CENTROID, _MOST_CENTROIDS)
    return max(_FEWEST_CENTROIDS, 1 << int(math.log2(max(wanted, 1))))


def sample_size(n_tokens: int) -> int:
    """How many of that many vectors are drawn to train."""
    return min(n_tokens, max(_PQ_SAMPLE, _VECTORS_PER_CENTROID * centroids_for(n_tokens)))


def train(sample: NDArray[np.float32], n_tokens: int, width: int, seed: int) -> Codec:
    """Train a codec.

    Parameters
    ----------
    sample
        float32 ``[n, dim]``, n ≥ 256, drawn at random.
    n_tokens
        How many vectors there are in all.
    width
        How many dimensions share a byte of code.
    seed
        Same seed, sample and number of threads, same codec.

    Raises
    ------
    InvalidInputError
        If there are too few vectors.
    """
    import faiss

    if len(sample) < 256:
        raise InvalidInputError(f"a codec needs at least 256 vectors to be trained, not {len(sample)}")
    dim = sample.shape[1]
    n_centroids = min(centroids_for(n_tokens), len(sample) // 2)
    rng = np.random.default_rng(seed)
    drawn = sample
    if len(sample) > _VECTORS_PER_CENTROID * n_centroids:
        drawn = sample[rng.choice(len(sample), _VECTORS_PER_CENTROID * n_centroids, replace=False)]
    centroids = _cluster(drawn, n_centroids, seed).astype(np.float16).astype(np.float32)
    index = faiss.IndexFlatL2(dim)
    index.add(centroids)
    rest = sample[rng.choice(len(sample), min(len(sample), _PQ_SAMPLE), replace=False)]
    squares, nearest = index.search(rest, 1)
    residuals = _residuals(rest, centroids, nearest[:, 0], width)
    quantizer = faiss.ProductQuantizer(residuals.shape[1], residuals.shape[1] // width, 8)
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1  # it warns below that; a small collection is no mistake
    quantizer.train(residuals)
    codebooks = faiss.vector_to_array(quantizer.centroids).reshape(quantizer.M, 256, width)
    error = np.square(residuals - quantizer.decode(quantizer.compute_codes(residuals))).sum(1)
    facts = {
        "n_centroids": n_centroids,
        "n_codes": int(quantizer.M),
        "width": width,
        "seed": seed,
        "n_tokens": n_tokens,
        "n_sampled": len(sample),
        "mean_square_to_centroid": round(float(squares.mean()), 6),
        "mean_square_error": round(float(error.mean()), 6),
    }
    return Codec(0, centroids, codebooks, facts)


def to_int8(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], bool]:
    """Vectors in steps of 1/127 of their largest component.

    Returns
    -------
    tuple
        int8 ``[n, dim]``, float32 ``[n]``: what a step is worth, and whether all vectors are of length 1.
    """
    scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    steps = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return steps, scales, bool(np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE))


def _cluster(sample: NDArray[np.float32], n_centroids: int, seed: int) -> NDArray[np.float32]:
    """k-means; FAISS's faster kind where this version has it and the vectors are wide enough for it."""
    import faiss

    if hasattr(faiss, "SuperKmeans") and n_centroids >= 1024 and sample.shape[1] >= 64:
        means = faiss.SuperKmeans(sample.shape[1], n_centroids, niter=_ROUNDS, seed=seed)
    else:
        means = faiss.Kmeans(
            sample.shape[1],
            n_centroids,
            niter=_ROUNDS,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=len(sample),
        )
    means.train(sample)
    return np.asarray(means.centroids, np.float32).reshape(n_centroids, -1)


def _residuals(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], ids: NDArray[Any], width: int
) -> NDArray[np.float32]:
    """What is left after the centroid, padded with zeros to a multiple of ``width``."""
    n, dim = vectors.shape
    residuals = np.zeros((n, -(-dim // width) * width), np.float32)
    np.subtract(vectors, centroids[ids], out=residuals[:, :dim])
    return residuals
