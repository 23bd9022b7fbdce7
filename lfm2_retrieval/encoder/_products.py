"""Products with weights of 16 bits, in float32, compiled by numba.

Few rows, as a query has, are multiplied as fast as memory gives the weights, so that half of the bytes is
half of the time. Weights lie in panels of ``LANES`` outputs: ``[n_out / LANES, n_in, LANES]``. A row gets
the same bits whatever rows are beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..platform.compiling import jit
from ..platform.simd import as_single, load, multiply_add, splat, splat_at, store
from .packed import LANES

__all__ = ["multiply"]

_ROWS = 6
"""Rows multiplied at once: with their sums for all lanes, 16 registers of 8 are nearly full."""
_DEPTH = 512
"""Inputs summed up at once: so much of a panel stays in the first cache, and of `_BLOCK` rows in the next."""
_BLOCK = 32 * _ROWS

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16] | NDArray[np.int16]


@jit
def multiply(x: Floats, panels: Halves, out: Floats) -> None:
    """``x @ weight.T``.

    Parameters
    ----------
    x
        C-contiguous, ``[n, n_in]``.
    panels
        The weight ``[n_out, n_in]`` in panels; float16 as the uint16 of its bits, bfloat16 as their int16.
    out
        ``[n, n_out]``, the result; C-contiguous.
    """
    n, depth = x.shape
    for top in range(0, n, _BLOCK):
        bottom = min(top + _BLOCK, n)
        for first in range(0, depth, _DEPTH):
            last = min(first + _DEPTH, depth)
            for panel in range(panels.shape[0]):
                row = top
                while bottom - row > _ROWS // 2:
                    _six(x, panels, out, row, bottom - 1, panel, first, last)
                    row += _ROWS
                if row < bottom:
                    _three(x, panels, out, row, bottom - 1, panel, first, last)


@jit
def _begin(out: Floats, at: int, first: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """What sums go on from."""
    return splat(np.float32(0), LANES) if first == 0 else load(out, at, LANES)


@jit
def _six(  # noqa: PLR0917  (compiled code takes positions)
    x: Floats, panels: Halves, out: Floats, row: int, most: int, panel: int, first: int, last: int
) -> None:
    """Six rows by a panel, from input ``first`` to ``last``; rows beyond ``most`` are that one again."""
    depth, width = x.shape[1], out.shape[1]
    r0, r1, r2 = row, min(row + 1, most), min(row + 2, most)
    r3, r4, r5 = min(row + 3, most), min(row + 4, most), min(row + 5, most)
    column = panel * LANES
    s0 = _begin(out, r0 * width + column, first)
    s1 = _begin(out, r1 * width + column, first)
    s2 = _begin(out, r2 * width + column, first)
    s3 = _begin(out, r3 * width + column, first)
    s4 = _begin(out, r4 * width + column, first)
    s5 = _begin(out, r5 * width + column, first)
    at = panel * depth * LANES
    for j in range(first, last):
        weights = as_single(load(panels, at + j * LANES, LANES))
        s0 = multiply_add(splat_at(x, r0 * depth + j, LANES), weights, s0)
        s1 = multiply_add(splat_at(x, r1 * depth + j, LANES), weights, s1)
        s2 = multiply_add(splat_at(x, r2 * depth + j, LANES), weights, s2)
        s3 = multiply_add(splat_at(x, r3 * depth + j, LANES), weights, s3)
        s4 = multiply_add(splat_at(x, r4 * depth + j, LANES), weights, s4)
        s5 = multiply_add(splat_at(x, r5 * depth + j, LANES), weights, s5)
    store(s0, out, r0 * width + column)
    store(s1, out, r1 * width + column)
    store(s2, out, r2 * width + column)
    store(s3, out, r3 * width + column)
    store(s4, out, r4 * width + column)
    store(s5, out, r5 * width + column)


@jit
def _three(  # noqa: PLR0917
    x: Floats, panels: Halves, out: Floats, row: int, most: int, panel: int, first: int, last: int
) -> None:
    """Three rows by a panel, as `_six`."""
    depth, width = x.shape[1], out.shape[1]
    r0, r1, r2 = row, min(row + 1, most), min(row + 2, most)
    column = panel * LANES
    s0 = _begin(out, r0 * width + column, first)
    s1 = _begin(out, r1 * width + column, first)
    s2 = _begin(out, r2 * width + column, first)
    at = panel * depth * LANES
    for j in range(first, last):
        weights = as_single(load(panels, at + j * LANES, LANES))
        s0 = multiply_add(splat_at(x, r0 * depth + j, LANES), weights, s0)
        s1 = multiply_add(splat_at(x, r1 * depth + j, LANES), weights, s1)
        s2 = multiply_add(splat_at(x, r2 * depth + j, LANES), weights, s2)
    store(s0, out, r0 * width + column)
    store(s1, out, r1 * width + column)
    store(s2, out, r2 * width + column)
