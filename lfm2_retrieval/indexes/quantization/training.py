"""Training a codec from a seeded sample of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from .codec import (
    _ALONG,
    Codec,
    Errors,
)
from .kmeans import Clusters, cluster, k_means
from .threads import on_threads

__all__ = ["MOST_CENTROIDS", "centroids_for", "sample_size", "train"]

_FEWEST_CENTROIDS, MOST_CENTROIDS = 16, 1 << 18
_VECTORS_PER_CENTROID = 32


_FEWEST_PER_CENTROID = 8
"""With a smaller sample, there are fewer centroids."""
_PQ_SAMPLE, _PQ_ROUNDS = 1 << 16, 12


_MEASURED = 4
"""The errors are measured on one vector in so many that trained the codewords."""
_FLAT = 1e-6
"""A variance below so much of the largest is none."""


_LARGEST = float(np.finfo(np.float16).max)


def centroids_for(n_tokens: int) -> int:
    """How many centroids that many vectors get."""
    wanted = min(8 * math.sqrt(n_tokens), n_tokens / _VECTORS_PER_CENTROID, MOST_CENTROIDS)
    return max(_FEWEST_CENTROIDS, 1 << int(math.log2(max(wanted, 1))))


def sample_size(n_tokens: int, expected: int, most: int) -> int:
    """How many of ``n_tokens`` vectors are drawn to train for ``expected`` ones, ``most`` at most."""
    wanted = max(_PQ_SAMPLE, _VECTORS_PER_CENTROID * centroids_for(max(n_tokens, expected)))
    return min(n_tokens, wanted, most)


def train(
    sample: NDArray[np.float32],
    n_tokens: int,
    width: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """Train a codec.

    Parameters
    ----------
    sample
        float32 ``[n, dim]``, n ≥ 256, drawn at random.
    n_tokens
        How many vectors there are in all, or are expected.
    width
        How many dimensions share a byte of code.
    seed
        Same seed and sample, same codec.
    progress
        Called with what is done of what there is to do.

    Raises
    ------
    InvalidInputError
        If there are too few vectors.
    """
    if len(sample) < 256:
        raise InvalidInputError(f"a codec needs at least 256 vectors to be trained, not {len(sample)}")
    wanted = min(centroids_for(n_tokens), 1 << (len(sample) // _FEWEST_PER_CENTROID).bit_length() - 1)
    found = cluster(sample, wanted, seed, progress)
    centroids = np.clip(found, -_LARGEST, _LARGEST).astype(np.float16)
    rng = np.random.default_rng(seed)
    some = sample[np.sort(rng.choice(len(sample), min(len(sample), _PQ_SAMPLE), replace=False))]
    few = some[::_MEASURED].copy()
    rotation = _rotation(few - found[Clusters(found).assign(few)[0]], width)
    nothing = np.zeros((rotation.shape[1] // width, 256, width), np.float32)
    codec = Codec(0, rotation, centroids, nothing, {})
    books = _codebooks(codec.split(some)[1], width, seed)
    facts = {
        "n_centroids": len(centroids),
        "n_codes": len(books),
        "width": width,
        "seed": seed,
        "n_tokens": n_tokens,
        "n_sampled": len(sample),
    }
    codec = Codec(0, rotation, centroids, np.stack(books), facts)
    errors = Errors(*(round(float(value), 6) for value in codec.encode(few)[2].mean(axis=0)))
    return replace(codec, facts={**facts, **errors._asdict(), _ALONG: _along(codec, few)})


def _along(codec: Codec, vectors: NDArray[np.float32]) -> float:
    """What the errors of centroids add to the similarities of vectors of length 1: the mean square."""
    turned, rest = codec.turn(vectors), codec.split(vectors)[1].astype(np.float64)
    length = float(np.square(turned).sum(axis=1).mean())
    both = np.vdot(turned.T @ turned / len(turned), rest.T @ rest / len(rest))
    return float(f"{both / length:.6g}") if length > 0 else 0.0


def _rotation(rest: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The rotation for what centroids leave, float32 ``[n, dim]``.

    Principal axes are dealt out, those of the largest variance first, each to the byte with room whose
    variances have the smallest product yet: with as many bits for all, the error is least where products are
    equal.
    """
    wide = rest.astype(np.float64)
    variances, axes = np.linalg.eigh(wide.T @ wide / len(wide))
    least = max(float(variances[-1]), float(np.finfo(np.float32).tiny)) * _FLAT
    gains = np.log(np.maximum(variances, least) / least)
    dim = len(axes)
    n_codes = -(-dim // width)
    rotation = np.zeros((dim, n_codes * width), np.float32)
    filled, products = np.zeros(n_codes, np.int64), np.zeros(n_codes)
    for axis in reversed(range(dim)):
        code = int(np.argmin(np.where(filled < width, products, np.inf)))
        rotation[:, code * width + filled[code]] = axes[:, axis]
        filled[code] += 1
        products[code] += gains[axis]
    return rotation


def _codebooks(rest: NDArray[np.float32], width: int, seed: int) -> list[NDArray[np.float32]]:
    """256 codewords for each ``width`` dimensions of what centroids leave."""

    def find(at: int) -> NDArray[np.float32]:
        return k_means(rest[:, at : at + width], 256, _PQ_ROUNDS, seed)

    return list(on_threads(find, range(0, rest.shape[1], width)))
