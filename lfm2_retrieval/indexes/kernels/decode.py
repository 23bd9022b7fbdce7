"""The inner loops that decode stored vectors; `reference` has them in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...platform.compiling import jit
from .types import Ids

__all__ = ["decode_int8", "decode_pq"]


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
                squares = np.int32(0)
                for j in range(vectors.shape[1]):
                    squares += np.int32(vectors[row, j]) * np.int32(vectors[row, j])
                scale = np.float32(1.0 / np.sqrt(np.float64(squares))) if squares > 0 else np.float32(0)
            for j in range(vectors.shape[1]):
                decoded[to, j] = np.float32(vectors[row, j]) * scale
            to += 1


@jit
def decode_pq(  # noqa: PLR0917
    centroids: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    ids: Ids,
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
        float32 ``[n_centroids, M * width]`` and ``[M, 256, width]``.
    ids, codes
        Unsigned ``[n_tokens]`` and uint8 ``[n_tokens, M]``.
    normalise
        Whether to bring each vector to length 1.
    starts, ends
        As for `decode_int8`.
    decoded
        float32 ``[n_rows, M * width]``: filled in.

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
            for code in range(codes.shape[1]):
                codeword = np.intp(codes[row, code])
                for j in range(code * width, (code + 1) * width):
                    value = centroids[centroid, j] + codebooks[code, codeword, j - code * width]
                    decoded[to, j] = value
                    squares += value * value
            if normalise and squares > 0:
                scale = np.float32(1) / np.sqrt(squares)
                for j in range(dim):
                    decoded[to, j] *= scale
            to += 1
    return True
