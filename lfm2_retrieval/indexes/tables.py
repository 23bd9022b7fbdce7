"""A query as look-up tables of int16: how similar its tokens are to centroids and codewords."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _search_kernels as kernels
from ._lanes import LANES
from .codec import Codec

__all__ = ["Tables", "scales_for", "tables"]

_LARGEST = 2**15 - 1


@dataclass(frozen=True, slots=True)
class Tables:
    """Up to `LANES` tokens of a query.

    Parameters
    ----------
    n_lanes
        How many tokens there are.
    similarities
        float32 ``[n_centroids, LANES]``, 0 for lanes that are not in use.
    by_centroid, by_code
        The same and the codewords' ``[M * 256, LANES]`` as int16.
    unit
        float32 ``[LANES]``: what 1 is worth in each lane.
    """

    n_lanes: int
    similarities: NDArray[np.float32]
    by_centroid: NDArray[np.int16]
    by_code: NDArray[np.int16]
    unit: NDArray[np.float32]


def scales_for(
    similarities: NDArray[np.float32], codewords: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest scale at which no sum of table entries can leave int16, lane by lane, and its inverse.

    A sum has one entry of the centroids and one of each codebook, so its size is at most the sum of their
    largest sizes, and rounding adds at most a half for each; as much again is left for rounding in float32.

    Parameters
    ----------
    similarities, codewords
        float32 ``[n_centroids, LANES]`` and ``[M * 256, LANES]``.
    """
    bounds = np.zeros(LANES, np.float32)
    kernels.add_bounds(similarities, len(similarities), bounds)
    kernels.add_bounds(codewords, 256, bounds)
    used = bounds > np.finfo(np.float32).tiny * _LARGEST
    scale = np.divide(_LARGEST - len(codewords) // 256 - 1, bounds, out=np.zeros_like(bounds), where=used)
    unit = np.divide(1, scale, out=np.zeros_like(bounds), where=used)
    return scale, unit


def tables(query: NDArray[np.float32], codec: Codec) -> Iterator[Tables]:
    """A query, float32 ``[n, dim]``, sixteen tokens at a time."""
    width = codec.n_codes * codec.width
    for first in range(0, len(query), LANES):
        some = query[first : first + LANES]
        columns = np.zeros((width, LANES), np.float32)
        columns[: codec.dim, : len(some)] = some.T
        similarities = codec.centroids @ columns[: codec.dim]
        codewords = np.matmul(codec.codebooks, columns.reshape(codec.n_codes, codec.width, LANES))
        codewords = codewords.reshape(-1, LANES)
        scale, unit = scales_for(similarities, codewords)
        by_centroid = np.empty(similarities.shape, np.int16)
        by_code = np.empty(codewords.shape, np.int16)
        kernels.quantise(similarities, scale, by_centroid)
        kernels.quantise(codewords, scale, by_code)
        yield Tables(len(some), similarities, by_centroid, by_code, unit)
