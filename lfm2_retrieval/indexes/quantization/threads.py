"""Running a build's steps on several threads, with results that don't depend on how many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ...platform.forks import settle

__all__ = ["load_faiss", "n_threads", "on_threads"]

T = TypeVar("T")
R = TypeVar("R")


def load_faiss() -> Any:
    """FAISS, when it is needed: importing it takes a while. In a forked child it uses one thread."""
    import faiss

    library: Any = faiss

    def one_thread() -> None:
        library.omp_set_num_threads(1)
        # It asks whether Ctrl-C came, under a lock that a thread of the parent may have held.
        library.InterruptCallback.clear_instance()

    settle("faiss", one_thread)
    return library


def n_threads() -> int:
    """As many as FAISS may use: ``OMP_NUM_THREADS``, ``faiss.omp_set_num_threads``, else all processors."""
    return int(load_faiss().omp_get_max_threads())


def on_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
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
    load_faiss().omp_set_num_threads(1)  # of the calling thread only
