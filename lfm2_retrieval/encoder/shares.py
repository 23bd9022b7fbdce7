"""One step of the forward pass by several threads: rows of a product, heads of attention.

That is for a text longer than a step, and for a step that is all of a call. The pieces depend on shapes
alone, so that a vector has the same bits whatever the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ..platform.concurrency import in_turn
from ..platform.openmp import limited

__all__ = ["by_rows", "n_sharing", "one_thread", "shared", "sharing"]

T = TypeVar("T")

_WORK = 1 << 29
"""Multiplications of a piece at least: some milliseconds, beside which waking a thread costs nothing."""
_FEWEST, _MOST = 128, 8192
"""Rows of a piece: a weight is to be read for many, and what comes out of them to need little memory."""
_here = threading.local()


def one_thread() -> AbstractContextManager[None]:
    """Have torch use one thread for what this thread does in a ``with`` block."""
    torch.get_num_threads()  # a new thread sets OpenMP's number when it first asks
    return limited(1)


@contextmanager
def sharing(threads: int) -> Iterator[None]:
    """Let so many threads, this one among them, work on the step that this one takes in a ``with`` block."""
    _here.threads = threads
    try:
        yield
    finally:
        del _here.threads


def n_sharing() -> int:
    """How many threads work on this step."""
    threads: int = getattr(_here, "threads", 1)
    return threads


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor, weights: int) -> Tensor:
    """``function(x)``, which computes each row of ``x`` ``[n, width]`` by itself, in pieces.

    Parameters
    ----------
    weights
        How many a row is multiplied by.
    """
    rows = max(_FEWEST, min(_MOST, _WORK // weights)) if hasattr(_here, "threads") else _MOST
    return function(x) if x.shape[0] <= rows else torch.cat(shared(function, torch.split(x, rows)))


def shared(function: Callable[[T], Tensor], pieces: Sequence[T]) -> list[Tensor]:
    """The function of each piece, by all threads that work on this step."""
    threads = min(len(pieces), n_sharing())
    if threads <= 1:
        return list(map(function, pieces))

    def alone(piece: T) -> Tensor:
        with torch.inference_mode(), one_thread():
            return function(piece)

    return list(in_turn(alone, pieces, threads))
