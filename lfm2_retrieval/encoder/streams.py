"""A stream of items in batches, and stages of work on them that overlap, in order and in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["batched", "in_order", "numbered"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

_CHARACTERS = 1 << 18
_AHEAD = 2


def numbered(items: Iterable[A]) -> Iterator[tuple[int, A]]:
    """Items with their positions; an exception of ``items`` gets a note of where it came."""
    iterator = iter(items)
    position = 0
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except BaseException as error:
            error.add_note(f"raised at document {position}, counted from 0")
            raise
        yield position, item
        position += 1


def batched(
    items: Iterable[A],
    size: int,
    weight: Callable[[A], int],
    at_once: type[Exception] | tuple[type[Exception], ...] = (),
) -> Iterator[list[A]]:
    """Batches of at most ``size`` items, and, from two items on, of at most 2¹⁸ characters.

    An exception of ``items`` comes after a batch of those that it gave before.

    Parameters
    ----------
    weight
        How many characters an item has.
    at_once
        Exceptions that come without such a batch if it were the first.
    """
    batch: list[A] = []
    characters = 0
    first = True
    failure: BaseException | None = None
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except BaseException as error:
            if first and isinstance(error, at_once):
                raise
            failure = error
            break
        characters += weight(item)
        if batch and (len(batch) == size or characters > _CHARACTERS):
            yield batch
            batch, characters, first = [], weight(item), False
        batch.append(item)
    if batch:
        yield batch
    if failure is not None:
        raise failure


def in_order(
    items: Iterable[A], first: Callable[[A], B], then: Callable[[B, threading.Event], C]
) -> Generator[C, None, None]:
    """``then(first(item))`` of each item, in order, two items ahead of who asks.

    Items are drawn in the thread that asks, as an iterator may be bound to it; ``first`` and ``then`` run in
    a thread each. An exception of ``items`` comes after the results of what it gave before. Who stops
    asking, or is interrupted, sets the event that ``then`` is given and waits until it has ended.
    """
    stop = threading.Event()

    def finish(begun: Future[B]) -> C:
        return then(begun.result(), stop)

    waiting: deque[Future[C]] = deque()
    failure: BaseException | None = None
    iterator = iter(items)
    with ThreadPoolExecutor(1) as early, ThreadPoolExecutor(1) as late:
        try:
            while True:
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                except BaseException as error:  # noqa: BLE001
                    failure = error
                    break
                waiting.append(late.submit(finish, early.submit(first, item)))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()
    if failure is not None:
        raise failure
