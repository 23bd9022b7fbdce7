"""What a forked process inherits: the memory of all threads, and one thread.

Three things follow, for a child that shall work from its first operation on:

- A lock that another thread held at that moment is never released in the child, SQLite's own among them,
  and memory may be half changed. So the parent forks when no thread is `busy`: those that are finish what
  they do, a search, a statement or a step of the forward pass, and others wait for the fork.
- Locks that may be held for long, as while a model is loaded, are free in the child: `Lock`.
- For OpenMP's threads, which the child lacks, the thread that forked would wait for ever: `settle` lets a
  library use one thread there.

Nothing is done in the parent but that wait.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ContextDecorator, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakSet

from ..errors import ForkedProcessError

__all__ = ["Lock", "busy", "cached_property", "settle"]

T_co = TypeVar("T_co", covariant=True)

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.0005
_OPENMP = (b"/libgomp", b"/libiomp", b"/libomp")
_WITH_OPENMP = ("torch", "faiss", "numba", "sklearn")
_FORKED_WITHOUT_EXEC = 0x40  # Linux: PF_FORKNOEXEC in the flags of /proc/self/stat


class _Busy(ContextDecorator):
    """What no thread may be in the midst of when the process forks; a context, or around a function.

    It may be entered again by the thread that is in it. Nothing in it waits for a lock of the index, for the
    network or for a thread that enters it, too. Where a thread stays in it for more than a minute, the
    process forks all the same, and the child refuses to enter.
    """

    def __init__(self) -> None:
        self._entry = threading.Lock()  # held by who forks
        self._inside: dict[int, int] = {}  # threads, and how deep they are in
        self._forking: tuple[int, int] | None = None
        self._broken = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        if me in self._inside:
            self._inside[me] += 1
            return
        if self._broken:
            raise ForkedProcessError(
                f"this process was forked while another thread had been at work for {_PATIENCE_SECONDS:g} s, "
                "and so may have copied locks that nobody will open: fork before such work, or begin "
                'processes by "spawn" or "forkserver"'
            )
        with self._entry:
            self._inside[me] = 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = threading.get_ident()
        depth = self._inside.pop(me, 1) - 1
        if depth:
            self._inside[me] = depth

    def before_fork(self) -> None:
        """Wait until no other thread is inside, and let none in."""
        me = threading.get_ident()
        mine = self._inside.pop(me, 0)  # two threads that fork don't wait for each other
        self._entry.acquire()
        self._forking = me, mine
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._inside and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def after_in_parent(self) -> None:
        """Let threads in again."""
        self._return()
        self._entry.release()

    def after_in_child(self) -> None:
        """As in the parent; other threads that were inside are none any more."""
        self._broken = self._broken or bool(self._inside)
        self._inside = {}
        self._entry = threading.Lock()
        self._return()

    def _return(self) -> None:
        (me, mine), self._forking = self._forking or (0, 0), None
        if mine:
            self._inside[me] = mine


busy = _Busy()


class Lock:
    """A lock that is free in a forked child, whoever held it."""

    def __init__(self) -> None:
        self.renew()
        _locks.add(self)

    def renew(self) -> None:
        """Free it for good."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # renewed meanwhile: in a child that was forked inside
            self._lock.release()


_locks: WeakSet[Lock] = WeakSet()


class cached_property(functools.cached_property[T_co]):  # noqa: N801
    """That of functools, which before Python 3.12 has a lock for all objects of a class."""

    def __init__(self, function: Callable[[Any], T_co]) -> None:
        super().__init__(function)
        self.lock = nullcontext()


def settle(library: str, one_thread: Callable[[], object]) -> None:
    """Before a library with OpenMP is used: in a forked child, let it use one thread there.

    Parameters
    ----------
    library
        Its name. It may have come after the fork, and share OpenMP's threads with another of the parent's.
    one_thread
        Lets it use one, in the calling thread at least. Called once in each thread of a child whose parent
        had OpenMP loaded.
    """
    me = threading.get_ident()
    if _inherited.openmp and (library, me) not in _inherited.settled:
        one_thread()
        _inherited.settled.add((library, me))


class _Inherited:
    """Whether this process was forked from one with OpenMP, and the threads that know."""

    def __init__(self, *, forked: bool) -> None:
        self.openmp = forked and _has_openmp()
        self.settled: set[tuple[str, int]] = set()


def _has_openmp() -> bool:
    try:
        with open("/proc/self/maps", "rb") as file:  # noqa: PTH123 - pathlib takes a while
            mapped = file.read()
    except OSError:
        return any(name in sys.modules for name in _WITH_OPENMP)
    return any(name in mapped for name in _OPENMP)


def _was_forked() -> bool:
    """Whether this process, which didn't know this module before, was forked and runs the same program.

    What is loaded already may then be the parent's.
    """
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - pathlib takes a while
            return bool(int(file.read().rpartition(b")")[2].split()[6]) & _FORKED_WITHOUT_EXEC)
    except (OSError, ValueError, IndexError):  # not Linux, whose OpenMP it is that doesn't survive
        return False


_inherited = _Inherited(forked=_was_forked())


def _in_child() -> None:
    global _inherited  # noqa: PLW0603
    _inherited = _Inherited(forked=True)
    for lock in list(_locks):
        lock.renew()
    busy.after_in_child()


def _before_fork() -> None:
    busy.before_fork()
    if "torch" in sys.modules:
        _wait_for_ending_threads()


def _wait_for_ending_threads(most: int = 20) -> None:
    """Let threads that Python calls ended come to their end, some milliseconds at most.

    They still give back what MKL holds for them; a child of that moment looked in MKL's list for ever.
    """
    before = _tasks()
    for _ in range(most if len(before) > 1 else 0):
        time.sleep(0.001)
        now = _tasks()
        if now == before:
            return
        before = now


def _tasks() -> frozenset[str]:
    try:
        return frozenset(one.name for one in Path("/proc/self/task").iterdir())
    except OSError:  # no Linux
        return frozenset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=busy.after_in_parent, after_in_child=_in_child)
