"""OpenMP's number of threads, for what one thread begins.

torch shares each product among OpenMP's threads. These wait for one another by spinning, so that a short
text costs many times the processor time that one thread takes for it, and on a busy processor more of
everybody's time, too. The number of threads is a value of each thread (an "internal control variable" of the
OpenMP standard): setting it here changes nothing for others that use torch or a BLAS in this process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["one_thread"]

_NAMES = ("libgomp", "libiomp", "libomp")
_runtimes: list[ctypes.CDLL] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """Have OpenMP use one thread for what this thread does in a ``with`` block.

    Nothing happens where the system doesn't tell which libraries are loaded.
    """
    runtimes = _loaded()
    before = [runtime.omp_get_max_threads() for runtime in runtimes]
    try:
        for runtime in runtimes:
            runtime.omp_set_num_threads(1)
        yield
    finally:
        for runtime, n in zip(runtimes, before, strict=True):
            runtime.omp_set_num_threads(n)


def _loaded() -> list[ctypes.CDLL]:
    """The OpenMP runtimes of this process, looked for until there is one."""
    if not _runtimes:
        try:
            maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        paths = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/" in line}
        found = []
        for path in paths:
            if Path(path).name.startswith(_NAMES):
                with suppress(OSError):  # its file was replaced meanwhile
                    found.append(ctypes.CDLL(path))  # the one that is loaded
        _runtimes[:] = found  # at once, as other threads may look
    return _runtimes
