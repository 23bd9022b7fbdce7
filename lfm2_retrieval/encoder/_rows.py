"""What lies between products, in one pass over each row, compiled by numba.

torch would take a pass for each step, through memory, and of a query's few rows each would cost more to call
than to do. Kernels work on the rows from ``first`` to ``last``, release the interpreter's lock, and give the
same bits for any division of the rows. For products of int8 a row is written as uint8 around 128 with its
scale, ``(value / scale) + 128``; rows of values that are no numbers get the scale NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..platform.compiling import jit

__all__ = ["convolve", "gate", "mix", "norm", "normalize", "quantize", "rotate"]

Floats = NDArray[np.float32]

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LANES = 16
"""Sums of squares side by side: in one alone, each addition would wait for the one before."""
_LEAST = np.float32(1e-30)
_LOG2_E = np.float32(1 / math.log(2))
_C1, _C2, _C3, _C4, _C5, _C6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))


@jit
def _round(row: Floats, out: NDArray[np.uint8], scales: Floats, i: int) -> None:
    """Write one ``row`` to row ``i`` of ``out`` and ``scales``."""
    peak = np.uint32(0)
    for j in range(len(row)):  # as integers, magnitudes have their order, and NaN is the greatest
        peak = max(peak, np.uint32(np.float32(row[j]).view(np.uint32) & _MAGNITUDE))
    scale = np.uint32(peak).view(np.float32) / np.float32(127)
    scale = max(scale, _LEAST)
    scales[i] = scale
    inverse = np.float32(1) / scale
    for j in range(len(row)):
        out[i, j] = np.uint8(np.int32(row[j] * inverse + np.float32(128.5)))


@jit
def _squares(row: Floats, sums: Floats) -> np.float32:
    """The sum of the squares of a ``row``; ``sums`` ``[_LANES]`` is memory to work in."""
    sums[:] = 0
    whole = len(row) - len(row) % _LANES
    for j in range(0, whole, _LANES):
        for lane in range(_LANES):
            sums[lane] += row[j + lane] * row[j + lane]
    for j in range(whole, len(row)):
        sums[0] += row[j] * row[j]
    return np.float32(sums.sum())


@jit
def quantize(x: Floats, out: NDArray[np.uint8], scales: Floats, first: int, last: int) -> None:
    """Rows of ``x`` ``[n, width]``."""
    for i in range(first, last):
        _round(x[i], out, scales, i)


@jit
def normalize(  # noqa: PLR0917  (compiled code takes positions)
    x: Floats, weight: Floats, eps: Floats, out: NDArray[np.uint8], scales: Floats, first: int, last: int
) -> None:
    """RMSNorm of rows of ``x`` ``[n, width]``, by ``weight`` ``[width]`` and ``eps`` ``[1]``."""
    row, sums = np.empty(x.shape[1], np.float32), np.empty(_LANES, np.float32)
    for i in range(first, last):
        _norm(x[i], weight, eps, row, sums)
        _round(row, out, scales, i)


@jit
def norm(  # noqa: PLR0917
    x: Floats, weight: Floats, eps: Floats, out: Floats, first: int, last: int
) -> None:
    """The same as float32 ``[n, width]``."""
    sums = np.empty(_LANES, np.float32)
    for i in range(first, last):
        _norm(x[i], weight, eps, out[i], sums)


@jit
def _norm(row: Floats, weight: Floats, eps: Floats, out: Floats, sums: Floats) -> None:
    inverse = np.float32(1) / np.sqrt(_squares(row, sums) / np.float32(len(row)) + eps[0])
    for j in range(len(row)):
        out[j] = row[j] * inverse * weight[j]


@jit
def rotate(  # noqa: PLR0917
    heads: Floats,
    factors: Floats,
    weights: Floats,
    cosines: Floats,
    sines: Floats,
    eps: Floats,
    first: int,
    last: int,
) -> None:
    """RMSNorm of each head of queries and keys, and rotary position embedding, in place.

    Parameters
    ----------
    heads
        ``[n, heads, width]``, to be multiplied by ``factors`` ``[n]`` before: those of queries and keys, as
        many as ``weights`` ``[normed heads, width]`` has, then those of values, which get that alone.
    cosines, sines
        ``[n, width]``.
    """
    width = heads.shape[2]
    half = width // 2
    sums = np.empty(_LANES, np.float32)
    for i in range(first, last):
        for h in range(heads.shape[1]):
            head = heads[i, h]
            for j in range(width):
                head[j] *= factors[i]
            if h < len(weights):
                inverse = np.float32(1) / np.sqrt(_squares(head, sums) / np.float32(width) + eps[0])
                for j in range(half):
                    one = head[j] * inverse * weights[h, j]
                    other = head[half + j] * inverse * weights[h, half + j]
                    head[j] = one * cosines[i, j] - other * sines[i, j]
                    head[half + j] = other * cosines[i, half + j] + one * sines[i, half + j]


@jit
def gate(  # noqa: PLR0917
    gates: Floats,
    values: Floats,
    factors: Floats,
    out: NDArray[np.uint8],
    scales: Floats,
    first: int,
    last: int,
) -> None:
    """``silu(gates) * values``, both ``[n, width]`` and to be multiplied by ``factors`` ``[n]`` before.

    The exponential is ``2**whole * 2**part``, the latter by its Taylor series of degree 6, which is exact to
    float32 for a part of at most a half.
    """
    width = gates.shape[1]
    row = np.empty(width, np.float32)
    for i in range(first, last):
        factor = factors[i]
        for j in range(width):
            x = gates[i, j] * factor
            t = min(max(-x * _LOG2_E, np.float32(-126)), np.float32(126))
            whole = np.floor(t + np.float32(0.5))
            f = t - whole
            p = np.float32(1) + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
            power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
            row[j] = x / (np.float32(1) + p * power) * (values[i, j] * factor)
        _round(row, out, scales, i)


@jit
def convolve(  # noqa: PLR0917
    projected: Floats,
    factors: Floats,
    weights: Floats,
    shifts: NDArray[np.int64],
    inside: NDArray[np.bool_],
    out: NDArray[np.uint8],
    scales: Floats,
    first: int,
    last: int,
) -> None:
    """The short convolution between its two gates.

    Parameters
    ----------
    projected
        ``[n, 3 * hidden]``: gates in, gates out and values, to be multiplied by ``factors`` ``[n]`` before.
    weights
        ``[taps, hidden]``, of the rows at ``shifts`` ``[taps]``.
    inside
        ``[taps, n]``: whether that row is of the same sequence.
    """
    row = np.empty(weights.shape[1], np.float32)
    for i in range(first, last):
        _mix(projected, factors, weights, shifts, inside, row, i)
        _round(row, out, scales, i)


@jit
def mix(  # noqa: PLR0917
    projected: Floats,
    factors: Floats,
    weights: Floats,
    shifts: NDArray[np.int64],
    inside: NDArray[np.bool_],
    out: Floats,
    first: int,
    last: int,
) -> None:
    """The same as float32 ``[n, hidden]``."""
    for i in range(first, last):
        _mix(projected, factors, weights, shifts, inside, out[i], i)


@jit
def _mix(  # noqa: PLR0917
    projected: Floats,
    factors: Floats,
    weights: Floats,
    shifts: NDArray[np.int64],
    inside: NDArray[np.bool_],
    row: Floats,
    i: int,
) -> None:
    hidden = weights.shape[1]
    row[:] = 0
    for tap in range(len(shifts)):
        if inside[tap, i]:
            k = i + shifts[tap]
            factor = factors[k] * factors[k]
            for j in range(hidden):
                row[j] += weights[tap, j] * (projected[k, j] * projected[k, 2 * hidden + j] * factor)
    factor = factors[i]
    for j in range(hidden):
        row[j] *= projected[i, hidden + j] * factor
