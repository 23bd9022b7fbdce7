"""numba's compiler, as all kernels use it.

Kernels run on one thread and release the interpreter's lock: numba's own threads abort when two threads of a
program start them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

__all__ = ["jit"]

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_SIMD = Path(__file__).with_name("simd.py")


def jit(function: F) -> F:
    """Compile when first called, and keep the machine code beside the source or in the user's cache."""
    compiled = numba.njit(**_OPTIONS)(function)
    with suppress(OSError, RuntimeError):  # there is no folder to keep it in, or no source
        compiled._cache = _Cache(function)
    return cast(F, compiled)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba keys what it keeps by its version, the processor and the function's own file: not enough for
    kernels that call those of another file."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        self._fingerprint = _fingerprint(Path(function.__code__.co_filename).parent)

    def _index_key(self, *arguments: Any) -> tuple[Any, ...]:
        return (*super()._index_key(*arguments), self._fingerprint)


@cache
def _fingerprint(folder: Path) -> str:
    """Of all that machine code is made from and numba doesn't look at: options, the modules beside it, and
    vectors in registers."""
    parts = [repr(sorted(_OPTIONS.items())).encode()]
    parts += [source.read_bytes() for source in (*sorted(folder.glob("*.py")), _SIMD)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
