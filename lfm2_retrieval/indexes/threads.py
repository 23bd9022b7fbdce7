"""Running a build's steps on several threads, with results that don't depend on how many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order", "n_threads"]

T = TypeVar("T")
R = TypeVar("R")


def n_threads() -> int:
    """As many as FAISS may use: ``OMP_NUM_THREADS``, ``faiss.omp_set_num_threads``, else all processors."""
    import faiss

    return int(faiss.omp_get_max_threads())


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` on `n_threads` threads, results in order; one item more than threads is under way at most.

    Within such a thread FAISS uses no threads of its own: they would wait for each other by spinning.
    """
    workers = n_threads()
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, "lfm2-build", _single) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _single() -> None:
    import faiss

    faiss.omp_set_num_threads(1)  # of the calling thread only
