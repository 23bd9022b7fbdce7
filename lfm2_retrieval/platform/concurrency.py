"""Threads of our own. numba's abort a program in which two threads start them at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

__all__ = ["cpus", "each", "split"]

T = TypeVar("T")


def cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split(function: Callable[[int, int], object], n: int, threads: int, least: int = 1) -> None:
    """Call ``function(start, end)`` on consecutive ranges that make up ``range(n)``, one in this thread.

    Parameters
    ----------
    function
        Releases the interpreter's lock, and starts no threads itself: the pool is not to wait for itself.
    n
        How many items there are.
    threads
        How many ranges at most.
    least
        How many items a range has at least.
    """
    threads = max(1, min(threads, n // max(least, 1)))
    if threads == 1:
        function(0, n)
        return
    bounds = [n * i // threads for i in range(threads + 1)]
    futures = [_executor().submit(function, *some) for some in pairwise(bounds[1:])]
    try:
        function(*bounds[:2])
    finally:
        for future in futures:
            future.exception()  # waits: they work on memory of the caller
    for future in futures:
        future.result()


def each(function: Callable[[int], T], n: int, threads: int) -> list[T]:
    """``[function(i) for i in range(n)]``, by several threads that each take the next one."""
    results: dict[int, T] = {}
    numbers = iter(range(n))

    def work(_start: int, _end: int) -> None:
        # `next` on an iterator of a range is atomic under the interpreter's lock.
        for number in numbers:
            results[number] = function(number)

    split(work, n, threads)
    return [results[i] for i in range(n)]


@cache
def _executor() -> ThreadPoolExecutor:
    """It starts its threads when they are needed. Should two be made at once, the last is kept."""
    return ThreadPoolExecutor(max(cpus(), 2), thread_name_prefix="lfm2-retrieval")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_executor.cache_clear)  # the parent's threads are not inherited
