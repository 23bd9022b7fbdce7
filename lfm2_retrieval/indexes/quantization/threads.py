"""Running a build's steps on several threads, with results that don't depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ...platform.concurrency import in_turn
from ...platform.forks import settle
from ...platform.threads import thread_count

__all__ = ["faiss_threads", "load_faiss", "n_threads", "on_threads"]

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
    """How many threads build: where nobody says, no more than ``faiss.omp_set_num_threads`` allows."""
    return thread_count(most=int(load_faiss().omp_get_max_threads()))


@contextmanager
def faiss_threads(n: int) -> Iterator[None]:
    """Let FAISS use up to ``n`` threads of OpenMP for what this thread does in a ``with`` block.

    Never more than it may: in a forked child, that is one.
    """
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(n, before))  # of the calling thread only
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def on_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` on `n_threads` threads, this one among them; results in order.

    FAISS uses no threads of its own meanwhile: they would wait for each other by spinning.
    """

    def alone(item: T) -> R:
        with faiss_threads(1):
            return function(item)

    return in_turn(alone, items, n_threads())
