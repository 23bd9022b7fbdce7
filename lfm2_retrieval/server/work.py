"""Requests' work in threads: so much at a time, so much waiting, and no longer than a client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .options import ServerOptions
from .problems import ProblemError

__all__ = ["Work"]

T = TypeVar("T")


class Work:
    """Threads for searches, and one for changes, which come one after another anyway.

    Parameters
    ----------
    options
        How many threads, how many may wait, and how long.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._reading = ThreadPoolExecutor(options.concurrency, "search")
        self._writing = ThreadPoolExecutor(1, "write")
        self._most = options.concurrency + options.waiting
        self._timeout = options.timeout
        self._begun = 0

    async def read(self, call: Callable[[], T]) -> T:
        """What a call gives that changes nothing.

        Raises
        ------
        ProblemError
            503, if too much is waiting or it takes too long; then it goes on in its thread, and counts.
        """
        if self._begun >= self._most:
            raise ProblemError(503, "too many requests are waiting; try again", {"Retry-After": "1"})
        self._begun += 1
        future = asyncio.get_running_loop().run_in_executor(self._reading, call)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._timeout)
        except TimeoutError:
            if future.done():  # the call's own
                raise
            raise ProblemError(
                503, f"this took more than {self._timeout:g} s", {"Retry-After": "5"}
            ) from None

    async def write(self, call: Callable[[], T]) -> T:
        """What a call gives that changes the index; it is seen through, also if the client leaves."""
        if self._begun >= self._most:
            raise ProblemError(503, "too many requests are waiting; try again", {"Retry-After": "5"})
        self._begun += 1
        future = asyncio.get_running_loop().run_in_executor(self._writing, call)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._begun -= 1
        if not future.cancelled():
            future.exception()  # nobody may be waiting for it any more

    def close(self) -> None:
        """See everything through that was begun."""
        self._reading.shutdown()
        self._writing.shutdown()
