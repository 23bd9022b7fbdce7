"""Threads of our own, which work on a call together with the one that makes it.

How many do is told by `threads`. The caller never waits for work that nobody has begun, but does it itself: a
busy pool, or one that can't start threads, makes a call slower and no more.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice, pairwise
from typing import Generic, TypeVar

from .forks import Lock
from .processors import cpus
from .threads import working

__all__ = ["each", "in_turn", "split", "turns"]

T = TypeVar("T")
R = TypeVar("R")

_LONGEST_WAIT = 1.0
"""Seconds for a turn."""


class _Task(Generic[T]):
    """Work that is done once, by whichever thread claims it first."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._owner: dict[None, int] = {}
        self._future: Future[T] = Future()

    def offered(self) -> _Task[T]:
        """The same, that threads of the pool may take."""
        # Where the system allows no more threads, or this process ends, the caller does it all.
        with suppress(RuntimeError):
            _executor().submit(self._take)
        return self

    def claim(self) -> bool:
        """Whether it is this thread's."""
        me = threading.get_ident()
        return self._owner.setdefault(None, me) == me  # at once: an interrupt can't come between

    def run(self) -> None:
        """Do it, after a `claim`."""
        try:
            with working():
                self._future.set_result(self._function())
        except BaseException as error:
            self._future.set_exception(error)
            if not isinstance(error, Exception):  # Ctrl-C, in the thread that calls
                raise

    @property
    def is_done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._future.done()

    def result(self) -> T:
        """Its result, for which it is done here if nobody has begun it."""
        if self.claim() and not self.is_done:
            self.run()
        return self._future.result()

    def give_up(self) -> None:
        """Wait until no other thread works on it, or ever will."""
        if not self.claim():
            self._future.exception()

    def _take(self) -> None:
        if self.claim() and not self.is_done:
            self.run()


def split(function: Callable[[int, int], object], n: int, threads: int, least: int = 1) -> None:
    """Call ``function(start, end)`` on consecutive ranges that make up ``range(n)``, one in this thread.

    Parameters
    ----------
    function
        Releases the interpreter's lock.
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
    tasks = [_Task(partial(function, *some)).offered() for some in pairwise(bounds[1:])]
    try:
        function(*bounds[:2])
        for task in tasks:
            task.result()
    finally:
        for task in tasks:  # they work on memory of the caller
            task.give_up()


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


def in_turn(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """``map(function, items)`` by several threads, this one among them; results in order.

    Items are drawn in this thread, and at most one more than threads is under way.
    """
    if threads == 1:
        yield from map(function, items)
        return
    drawn = iter(items)
    waiting: deque[_Task[R]] = deque()
    try:
        while True:
            for item in islice(drawn, threads + 1 - len(waiting)):
                waiting.append(_Task(partial(function, item)).offered())
            if not waiting:
                return
            # While others work on the first, this thread takes the next one that nobody has.
            for task in waiting:
                if waiting[0].is_done:
                    break
                if not task.is_done and task.claim():
                    task.run()
            result = waiting[0].result()
            waiting.popleft()
            yield result
    finally:
        for task in waiting:
            task.give_up()


@cache
def _executor() -> ThreadPoolExecutor:
    """It starts its threads when they are needed. Should two be made at once, the last is kept."""
    return ThreadPoolExecutor(max(cpus(), 2), thread_name_prefix="lfm2-retrieval")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_executor.cache_clear)  # the parent's threads are not inherited


class Turns(Lock):
    """As many at once as there are processors, the others in the order in which they came.

    More threads at once would only take the interpreter's lock and the caches from one another: sixteen that
    searched at once did less together than one alone. Nobody waits for more than a second, so that what
    takes long holds nobody up.
    """

    def renew(self) -> None:
        """Forget who works and who waits."""
        super().renew()
        self._working = 0
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Do something in one's turn."""
        mine = self._take()
        try:
            yield
        finally:
            if mine:
                self._give()

    def _take(self) -> bool:
        """Wait for a turn; False for who goes on without one."""
        with self:
            if self._working < cpus() and not self._waiting:
                self._working += 1
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            if turn.acquire(timeout=_LONGEST_WAIT):
                return True
        except BaseException:  # Ctrl-C
            if not self._withdraw(turn):
                self._give()
            raise
        return not self._withdraw(turn)

    def _withdraw(self, turn: threading.Lock) -> bool:
        """Wait no longer; False if the turn came meanwhile."""
        with self:
            waits = turn in self._waiting
            if waits:
                self._waiting.remove(turn)
            return waits

    def _give(self) -> None:
        """Hand one's turn to who has waited longest."""
        with self:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._working = max(0, self._working - 1)  # of a forked child nobody works


turns = Turns()
"""Of all searches in this process."""
