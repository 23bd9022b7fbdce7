"""What lies between products of int8, in one pass over each row, compiled by numba.

torch would take a pass for each step, through memory. Kernels work on the rows from ``first`` to ``last``,
release the interpreter's lock, and give the same bits for any division of the rows. A row is written as uint8
around 128 with its scale, ``(value / scale) + 128``; rows of values that are no numbers get the scale NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["convolve", "gate", "quantize"]

F = TypeVar("F", bound=Callable[..., object])
Floats = NDArray[np.float32]

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LEAST = np.float32(1e-30)
_LOG2_E = np.float32(1 / math.log(2))
_C1, _C2, _C3, _C4, _C5, _C6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))


def _jit(function: F) -> F:
    """Compile when first called, keeping the machine code where there is a folder for it."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no place to keep it
        return cast(F, numba.njit(**options)(function))


@_jit
def _round(  # noqa: PLR0917  (compiled code takes positions)
    row: Floats,
    bits: NDArray[np.uint32],
    out: NDArray[np.uint8],
    scales: Floats,
    scale_bits: NDArray[np.uint32],
    i: int,
) -> None:
    """Write one ``row``, whose memory ``bits`` shows as integers, to row ``i`` of ``out`` and ``scales``."""
    peak = np.uint32(0)
    for j in range(len(row)):  # integers have the order of magnitudes, and NaN is the greatest
        peak = max(peak, bits[j] & _MAGNITUDE)
    scale_bits[i] = peak
    scale = scales[i] / np.float32(127)
    scale = max(scale, _LEAST)
    scales[i] = scale
    inverse = np.float32(1) / scale
    for j in range(len(row)):
        out[i, j] = np.uint8(np.int32(row[j] * inverse + np.float32(128.5)))


@_jit
def quantize(  # noqa: PLR0917
    x: Floats,
    bits: NDArray[np.uint32],
    out: NDArray[np.uint8],
    scales: Floats,
    scale_bits: NDArray[np.uint32],
    first: int,
    last: int,
) -> None:
    """Rows of ``x`` ``[n, width]``."""
    for i in range(first, last):
        _round(x[i], bits[i], out, scales, scale_bits, i)


@_jit
def gate(  # noqa: PLR0917
    gates: Floats,
    values: Floats,
    factors: Floats,
    out: NDArray[np.uint8],
    scales: Floats,
    scale_bits: NDArray[np.uint32],
    first: int,
    last: int,
) -> None:
    """``silu(gates) * values``, both ``[n, width]`` and to be multiplied by ``factors`` ``[n]`` before.

    The exponential is ``2**whole * 2**part``, the latter by its Taylor series of degree 6, which is exact to
    float32 for a part of at most a half.
    """
    width = gates.shape[1]
    row = np.empty(width, np.float32)
    bits = row.view(np.uint32)
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
        _round(row, bits, out, scales, scale_bits, i)


@_jit
def convolve(  # noqa: PLR0917
    projected: Floats,
    factors: Floats,
    weights: Floats,
    shifts: NDArray[np.int64],
    inside: NDArray[np.bool_],
    out: NDArray[np.uint8],
    scales: Floats,
    scale_bits: NDArray[np.uint32],
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
    hidden = weights.shape[1]
    row = np.empty(hidden, np.float32)
    bits = row.view(np.uint32)
    for i in range(first, last):
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
        _round(row, bits, out, scales, scale_bits, i)
