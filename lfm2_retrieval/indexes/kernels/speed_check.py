"""Whether the kernels came out as vector instructions on this machine: looked at once, in passing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache

import numpy as np

from . import reference
from .shortlist import for_lanes

__all__ = ["check_speed"]

_FASTER = 20
"""So many times as fast as NumPy, at least. With vectors it is 100 to 400 times, without them about 10."""

_logger = logging.getLogger(__name__)


@cache
def check_speed() -> bool:
    """Time the most important kernel against NumPy, and log a warning if it is slow.

    Called at the first search of a process; takes some milliseconds. Returns whether it is fast.
    """
    rng = np.random.default_rng(0)
    by_centroid = rng.integers(-99, 99, (256, 16)).astype(np.int16)
    by_code = rng.integers(-99, 99, (32 * 256, 16)).astype(np.int16)
    margins = np.full(16, 2**15 - 1, np.int16)
    centroids = rng.integers(0, 256, 256).astype(np.uint16)
    codes = rng.integers(0, 256, (256, 32), dtype=np.uint8)
    starts = np.arange(0, 256, 64)
    given = by_centroid, by_code, margins, centroids, codes, starts, starts + 64
    refine, scores = for_lanes(16).refine, np.zeros(len(starts), np.int32)
    refine(*given, scores)
    ours = min(_timed(lambda: refine(*given, scores)) for _ in range(5))
    theirs = _timed(lambda: reference.refine(*given))
    if theirs >= _FASTER * ours:
        return True
    _logger.warning(
        "searching compressed indexes is slow here: the compiled code is only %.0f times as fast as NumPy, "
        "as if it used no vector instructions. Unset NUMBA_CPU_NAME, NUMBA_CPU_FEATURES and NUMBA_OPT if "
        "they are set; otherwise upgrade numba and llvmlite, or report this with what `numba --sysinfo` says",
        theirs / ours,
    )
    return False


def _timed(work: Callable[[], object]) -> float:
    start = time.thread_time_ns()
    work()
    return max(time.thread_time_ns() - start, 1)
