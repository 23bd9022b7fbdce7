"""What does the steps of a build: this process, or, see `actors`, workers of a cluster."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol

from .stages import Worker

__all__ = ["Done", "LocalPool", "Pool"]


class Done(NamedTuple):
    """A step that was done: what it was called, and what came of it."""

    name: object
    result: Any


class Pool(Protocol):
    """Workers that do steps, in any order and several at a time."""

    n_workers: int

    def submit(self, name: object, method: str, *args: Any) -> None:
        """Have a step done, a method of `Worker`."""

    def wait(self) -> list[Done]:
        """Wait until a step is done; raises what one raised."""

    def close(self) -> None:
        """Let go of the workers."""


class LocalPool:
    """This process, which does one step after the other when it is waited for.

    Parameters
    ----------
    worker
        What does them.
    """

    n_workers = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: deque[tuple[object, str, tuple[Any, ...]]] = deque()

    def submit(self, name: object, method: str, *args: Any) -> None:
        """See `Pool`."""
        self._waiting.append((name, method, args))

    def wait(self) -> list[Done]:
        """See `Pool`."""
        name, method, args = self._waiting.popleft()
        return [Done(name, getattr(self._worker, method)(*args))]

    def close(self) -> None:
        """See `Pool`."""
        self._waiting.clear()
