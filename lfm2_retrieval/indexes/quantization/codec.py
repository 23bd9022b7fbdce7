"""What compresses vectors: the nearest of some thousand centroids, and a product quantizer for what is left.

FAISS trains both from a seeded sample and encodes; `kernels.shortlist` decodes and scores.

Vectors are turned before, by the principal axes of what centroids leave, dealt out so that every byte of code
has about as much to tell (Ge et al., Optimized Product Quantization, CVPR 2013, the parametric form): on real
token vectors that takes a fifth off the mean squared error. Inner products and lengths stay as they are, so
search turns the query once and works on turned vectors throughout.

How many centroids: the power of two at or below 8 √n for n vectors, at least 16 and at most 262,144, and
never more than one for 32 vectors. Up to 32 vectors a centroid are drawn; in little memory fewer, but not
fewer than 8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...platform.forks import busy, cached_property
from .kmeans import Clusters
from .threads import load_faiss

__all__ = ["Codec", "Errors", "Layout", "Tier", "id_dtype", "to_int8"]

F = TypeVar("F", np.float32, np.float64)

_ALONG = "mean_square_along_vectors"
"""A fact: what centroids alone get wrong of the similarity of two vectors of length 1, in the mean square."""
NARROW_CENTROIDS = 1 << 16
"""Up to so many are numbered in 16 bits, more in 32."""
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


class Errors(NamedTuple):
    """Mean squared errors: of the centroid alone, and of centroid and codewords."""

    mean_square_to_centroid: float
    mean_square_error: float


@dataclass(frozen=True, eq=False)
class Codec:
    """A trained codec.

    Parameters
    ----------
    id
        Its number in the catalogue; 0 before it has one.
    rotation
        float32 ``[dim, M * width]``, its rows orthonormal: a vector times it is the turned vector.
    centroids
        float16 ``[n_centroids, dim]``, as vectors are, not turned.
    codebooks
        float32 ``[M, 256, width]``, for what turned centroids leave of turned vectors.
    facts
        How it was trained: JSON values.
    """

    id: int
    rotation: NDArray[np.float32]
    centroids: NDArray[np.float16]
    codebooks: NDArray[np.float32]
    facts: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return int(self.rotation.shape[0])

    @property
    def n_centroids(self) -> int:
        """How many centroids there are."""
        return int(self.centroids.shape[0])

    @property
    def n_codes(self) -> int:
        """How many bytes of code a vector has."""
        return int(self.codebooks.shape[0])

    @property
    def width(self) -> int:
        """How many dimensions share a byte."""
        return int(self.codebooks.shape[2])

    @property
    def id_dtype(self) -> str:
        """How centroids are numbered on disk."""
        return id_dtype(self.n_centroids)

    @cached_property
    def deviations(self) -> Errors:
        """What errors add to the similarity with a vector of length 1: standard deviations, 0 where unknown.

        As of errors that lie in all directions alike. Those of centroids alone lie where vectors do, and add
        more, which is measured.
        """

        def fact(name: str) -> float:
            value = self.facts.get(name)
            return float(value) if isinstance(value, (int, float)) and 0 < value < math.inf else 0.0

        alone, whole = (fact(name) / self.dim for name in Errors._fields)
        return Errors(math.sqrt(max(alone, fact(_ALONG))), math.sqrt(whole))

    def encode(
        self, vectors: NDArray[np.float32], every: int = 1
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8], NDArray[np.float64]]:
        """Encode vectors.

        Parameters
        ----------
        vectors
            float32 ``[n, dim]``, C-contiguous; best some ten thousand at a time.
        every
            One vector in so many is decoded again.

        Returns
        -------
        tuple
            `id_dtype` ``[n]`` centroids, uint8 ``[n, M]`` codes, and float64 ``[n / every, 2]``: `Errors`,
            squared and not averaged, of the vectors that were decoded.
        """
        ids, rest = self.split(vectors)
        codes = self._quantizer.compute_codes(rest)
        some = rest[::every]
        lost = some - self._quantizer.decode(np.ascontiguousarray(codes[::every]))
        errors = [np.einsum("ij,ij->i", left, left, dtype=np.float64) for left in (some, lost)]
        return ids.astype(self.id_dtype), codes, np.stack(errors, axis=1)

    def prepare(self) -> None:
        """Make what `encode` needs, before several threads call it."""
        _ = self._clusters, self._quantizer

    def turn(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Turn vectors, ``[n, dim]`` → float64 ``[n, M * width]``: their inner products stay the same."""
        return turn(vectors.astype(np.float64), self.rotation.astype(np.float64))

    def turn_back(self, turned: NDArray[np.float32], vectors: NDArray[np.float32]) -> None:
        """float32 ``[n, M * width]`` → ``[n, dim]``, filled in."""
        np.matmul(turned, self.rotation.T, out=vectors)

    def split(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """float32 ``[n, dim]`` → int64 ``[n]`` centroids, and float32 ``[n, M * width]``: what they leave of
        the turned vectors.
        """
        rest = turn(vectors, self.rotation)
        ids, _ = self._clusters.assign(rest)
        rest -= self.turned[ids]
        return ids, rest

    @cached_property
    def turned(self) -> NDArray[np.float32]:
        """The turned centroids: float32 ``[n_centroids, M * width]``."""
        return turn(self.centroids.astype(np.float32), self.rotation)

    @cached_property
    def _clusters(self) -> Clusters:
        return Clusters(self.turned)

    @cached_property
    def _quantizer(self) -> Any:
        faiss = load_faiss()
        quantizer = faiss.ProductQuantizer(self.n_codes * self.width, self.n_codes, 8)
        faiss.copy_array_to_vector(self.codebooks.reshape(-1), quantizer.centroids)
        return quantizer


def id_dtype(n_centroids: int) -> str:
    """How so many centroids are numbered on disk."""
    return "<u2" if n_centroids <= NARROW_CENTROIDS else "<u4"


@busy
def turn(vectors: NDArray[F], rotation: NDArray[F]) -> NDArray[F]:
    """``vectors @ rotation``, the same bits in any batch, on any processor; float32 or float64."""
    from ..kernels.encode import turn as fill

    turned: NDArray[F] = np.zeros((len(vectors), rotation.shape[1]), rotation.dtype)
    fill(np.ascontiguousarray(vectors), np.ascontiguousarray(rotation), turned)
    return turned


@busy
def to_int8(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], bool]:
    """Vectors in steps of 1/127 of their largest component.

    Returns
    -------
    tuple
        int8 ``[n, dim]``, float32 ``[n]``: what a step is worth, and whether all vectors are of length 1.
    """
    from ..kernels.encode import to_int8 as fill

    steps, scales = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32)
    return steps, scales, fill(vectors, steps, scales, UNIT_TOLERANCE)
