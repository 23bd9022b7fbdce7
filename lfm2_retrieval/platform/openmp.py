"""How many threads of OpenMP take part in what one thread does: one, as a rule.

torch, MKL, oneDNN and FAISS share each product among OpenMP's threads. These wait for one another by
spinning, so that beside other busy processes everybody's time goes into waiting. We have threads of our own
for that, each with one of OpenMP. The number is a value of each thread (an "internal control variable" of the
OpenMP standard, and MKL's "local" number): setting it here, and back, changes nothing for others that use
torch or a BLAS in this process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["can_limit", "limited"]

_RUNTIMES = ("libgomp", "libiomp", "libomp")
_WITH_MKL = ("libmkl_rt", "libtorch_cpu")
_MAPS = Path("/proc/self/maps")
_libraries: tuple[int, tuple[ctypes.CDLL, ...], tuple[ctypes.CDLL, ...]] = (0, (), ())


@contextmanager
def limited(threads: int = 1) -> Iterator[None]:
    """Have OpenMP use so many threads for what this thread does in a ``with`` block.

    Nothing happens where the system doesn't tell which libraries are loaded.
    """
    runtimes, mkl = _loaded()
    before = [runtime.omp_get_max_threads() for runtime in runtimes]
    local = [library.MKL_Set_Num_Threads_Local(threads) for library in mkl]  # 0 where none was set
    try:
        for runtime in runtimes:
            runtime.omp_set_num_threads(threads)
        yield
    finally:
        for runtime, n in zip(runtimes, before, strict=True):
            runtime.omp_set_num_threads(n)
        for library, n in zip(mkl, local, strict=True):
            library.MKL_Set_Num_Threads_Local(n)


def can_limit() -> bool:
    """Whether `limited` knows the runtime that is used here."""
    return bool(_loaded()[0])


def _loaded() -> tuple[tuple[ctypes.CDLL, ...], tuple[ctypes.CDLL, ...]]:
    """The OpenMP runtimes of this process, and what has MKL; looked for anew when modules were imported."""
    global _libraries  # noqa: PLW0603
    known, runtimes, mkl = _libraries
    if known == len(sys.modules):
        return runtimes, mkl
    known = len(sys.modules)
    try:
        maps = _MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return (), ()
    paths = sorted({line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/" in line})
    runtimes = tuple(one for path in paths if (one := _open(path, _RUNTIMES, "omp_set_num_threads")))
    mkl = tuple(one for path in paths if (one := _open(path, _WITH_MKL, "MKL_Set_Num_Threads_Local")))
    _libraries = known, runtimes, mkl  # at once, as other threads may look
    return runtimes, mkl


def _open(path: str, names: tuple[str, ...], function: str) -> ctypes.CDLL | None:
    """A loaded library with one of some names, if it has a function."""
    if path.rpartition("/")[2].startswith(names):
        with suppress(OSError):  # its file was replaced meanwhile
            library = ctypes.CDLL(path)  # the one that is loaded
            return library if hasattr(library, function) else None
    return None
