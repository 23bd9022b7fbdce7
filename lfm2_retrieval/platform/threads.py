"""How many threads work on a call.

``threads`` means the same wherever it is given: how many threads may work on one call. Where a call names
none, what it belongs to does (an encoder, a retriever), or else the variable ``LFM2_RETRIEVAL_THREADS``.
Where nobody does, a single query is one thread's work, and everything else that of all processors that this
process may use (`cpus`), or of fewer if ``OMP_NUM_THREADS`` says so.

The threads are our own (`concurrency`). numba's abort a program in which two threads start them at once;
OpenMP's and BLAS's spin while they wait for one another, which takes processor time from everybody, and their
number is a setting of all that use them in a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ..errors import InvalidInputError, InvalidTypeError
from .processors import cpus

__all__ = ["MOST", "VARIABLE", "by_own_threads", "check_threads", "thread_count", "using", "working"]

P = ParamSpec("P")
R = TypeVar("R")

VARIABLE = "LFM2_RETRIEVAL_THREADS"
MOST = 1024
"""A call that asks for more has slipped."""

_named: ContextVar[int | None] = ContextVar("threads", default=None)
_here = threading.local()


def check_threads(threads: object, name: str = "threads") -> int | None:
    """A number of threads as a caller gives it; None for what is best.

    Raises
    ------
    InvalidTypeError, InvalidInputError
        If it is no whole number, or not one from 1 to `MOST`.
    """
    if threads is None:
        return None
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise InvalidTypeError(f"{name} must be a whole number, not {threads!r}")
    number = int(threads.__index__())
    if not 1 <= number <= MOST:
        raise InvalidInputError(f"{name} must be from 1 to {MOST}, or left out, not {number}")
    return number


def thread_count(threads: int | None = None, *, alone: bool = False, most: int = MOST) -> int:
    """How many threads may work on a call.

    Parameters
    ----------
    threads
        What it asks for.
    alone
        Whether it is a single query.
    most
        What somebody allows another library in this process, as by ``torch.set_num_threads``; it counts where
        nobody names a number.

    Raises
    ------
    InvalidInputError
        If the environment names a number that can't be used.
    """
    if getattr(_here, "working", False):
        return 1
    named = threads or _named.get() or _of_environment()
    if named is not None:
        return named
    return 1 if alone else max(1, min(cpus(), most, _openmp_limit()))


@contextmanager
def using(threads: int | None) -> Iterator[None]:
    """Let calls in the ``with`` block, in this thread, use so many threads where they name none."""
    token = _named.set(check_threads(threads) or _named.get())
    try:
        yield
    finally:
        _named.reset(token)


def by_own_threads(method: Callable[P, R]) -> Callable[P, R]:
    """Let a method, and what it calls, use as many threads as its object's ``threads`` says."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        owner: Any = args[0]
        with using(owner.threads):
            return method(*args, **kwargs)

    return called


def _of_environment() -> int | None:
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > len(str(MOST)):
        raise InvalidInputError(f"${VARIABLE} must be from 1 to {MOST}, or left out, not {text[:20]!r}")
    return check_threads(int(text), f"${VARIABLE}")


def _openmp_limit() -> int:
    """``OMP_NUM_THREADS``, which may be a list by depth; what is no number is ignored, as OpenMP does."""
    with suppress(ValueError):
        number = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
        if number > 0:
            return number
    return MOST


@contextmanager
def working() -> Iterator[None]:
    """Work for a call that has all the threads that there are to be: what is called here uses this one."""
    before = getattr(_here, "working", False)
    _here.working = True
    try:
        yield
    finally:
        _here.working = before
