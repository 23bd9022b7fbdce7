"""A layer of a query's few rows in one call, compiled by numba from the kernels of its steps.

Called one by one, each step would hand the interpreter's lock over and back, for which threads that encode
at once wait longer than for the work itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..platform.compiling import jit
from ._products import multiply
from ._rows import activate, mix, norm, rotate

__all__ = ["attention", "feed_forward", "short_convolution"]

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16] | NDArray[np.int16]


@jit
def short_convolution(  # noqa: PLR0917  (compiled code takes positions)
    x: Floats,
    weight: Floats,
    eps: Floats,
    into: Halves,
    taps: Floats,
    shifts: NDArray[np.int64],
    inside: NDArray[np.bool_],
    out: Halves,
) -> None:
    """Add to ``x`` ``[n, hidden]`` what the operator of a layer makes of its norm."""
    n, hidden = x.shape
    normed, projected = np.empty((n, hidden), np.float32), np.empty((n, 3 * hidden), np.float32)
    norm(x, weight, eps, normed, 0, n)
    multiply(normed, into, projected)
    mix(projected, np.ones(n, np.float32), taps, shifts, inside, normed, 0, n)
    _add_product(normed, out, x)


@jit
def attention(  # noqa: PLR0917
    x: Floats,
    weight: Floats,
    eps: Floats,
    into: Halves,
    weights: Floats,
    cosines: Floats,
    sines: Floats,
    heads_eps: Floats,
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    keys: NDArray[np.int64],
    causal: bool,
    out: Halves,
) -> None:
    """The same of attention, grouped by query heads.

    Parameters
    ----------
    weights, cosines, sines
        See `_rows.rotate`.
    counts
        ``[2]``: heads of queries, and of keys.
    lengths, keys
        ``[n_sequences]``: rows of each sequence, and how many of the first are keys.
    """
    n, hidden = x.shape
    n_heads, n_kv, dim = counts[0], counts[1], weights.shape[1]
    normed = np.empty((n, hidden), np.float32)
    heads = np.empty((n, n_heads + 2 * n_kv, dim), np.float32)
    norm(x, weight, eps, normed, 0, n)
    multiply(normed, into, heads.reshape(n, -1))
    rotate(heads, np.ones(n, np.float32), weights, cosines, sines, heads_eps, 0, n)
    mixed = np.zeros((n, n_heads, dim), np.float32)
    scores = np.empty(n, np.float32)
    scale, group = np.float32(1 / np.sqrt(dim)), n_heads // n_kv
    start = 0
    for s in range(len(lengths)):
        for h in range(n_heads):
            k, v = n_heads + h // group, n_heads + n_kv + h // group
            for i in range(lengths[s]):
                seen = min(keys[s], i + 1) if causal else keys[s]
                _attend(heads, start, start + i, h, k, v, seen, scale, scores, mixed)
        start += lengths[s]
    _add_product(mixed.reshape(n, -1), out, x)


@jit
def _attend(  # noqa: PLR0917
    heads: Floats,
    start: int,
    row: int,
    h: int,
    k: int,
    v: int,
    seen: int,
    scale: np.float32,
    scores: Floats,
    mixed: Floats,
) -> None:
    """One row of one head, over the ``seen`` first rows of its sequence."""
    dim = heads.shape[2]
    most = np.float32(-np.inf)
    for j in range(seen):
        total = np.float32(0)
        for d in range(dim):
            total += heads[row, h, d] * heads[start + j, k, d]
        scores[j] = total * scale
        most = max(most, scores[j])
    total = np.float32(0)
    for j in range(seen):
        scores[j] = np.exp(scores[j] - most)
        total += scores[j]
    for j in range(seen):
        share = scores[j] / total
        for d in range(dim):
            mixed[row, h, d] += share * heads[start + j, v, d]


@jit
def feed_forward(  # noqa: PLR0917
    x: Floats, weight: Floats, eps: Floats, gate: Halves, up: Halves, down: Halves
) -> None:
    """Add to ``x`` what SwiGLU makes of its norm."""
    n, width = len(x), gate.shape[0] * gate.shape[2]
    normed = np.empty(x.shape, np.float32)
    gates, values = np.empty((n, width), np.float32), np.empty((n, width), np.float32)
    norm(x, weight, eps, normed, 0, n)
    multiply(normed, gate, gates)
    multiply(normed, up, values)
    activate(gates, values, 0, n)
    _add_product(gates, down, x)


@jit
def _add_product(rows: Floats, panels: Halves, x: Floats) -> None:
    added = np.empty(x.shape, np.float32)
    multiply(rows, panels, added)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += added[i, j]
