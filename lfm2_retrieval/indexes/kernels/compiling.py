"""numba's compiler, as all kernels use it. `reference` has each kernel in NumPy; tests hold the two equal.

They run on one thread and release the interpreter's lock: numba's own threads abort when two threads of a
program start them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numpy.typing import NDArray

__all__ = ["Ids", "jit"]

Ids = NDArray[np.unsignedinteger[Any]]
"""Numbers of centroids or documents: uint16 or uint32."""

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS = {"nogil": True, "error_model": "numpy"}


def _fingerprint() -> str:
    """Of all that machine code is made from and numba doesn't look at: options and the other modules."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    parts = [repr(sorted(_OPTIONS.items())).encode(), *(source.read_bytes() for source in sources)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba keys what it keeps by its version, the processor and the function's own file: not enough for
    kernels that call those of another file."""

    _fingerprint = _fingerprint()

    def _index_key(self, *arguments: Any) -> tuple[Any, ...]:
        return (*super()._index_key(*arguments), self._fingerprint)


def jit(function: F) -> F:
    """Compile when first called, and keep the machine code beside the source or in the user's cache."""
    compiled = numba.njit(**_OPTIONS)(function)
    with suppress(OSError, RuntimeError):  # there is no folder to keep it in, or no source
        compiled._cache = _Cache(function)
    return cast(F, compiled)
