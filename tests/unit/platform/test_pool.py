"""Threads of our own: results in order, errors through, and no waiting for what nobody does."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lfm2_retrieval.platform import concurrency
from lfm2_retrieval.platform.threads import thread_count


@pytest.fixture(params=["a pool", "a pool that is busy", "no threads to be had"])
def _pool(request, monkeypatch):
    """Whatever becomes of the pool."""
    if request.param == "no threads to be had":

        def refuse(_self, *_args, **_kwargs):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
        yield
    elif request.param == "a pool that is busy":
        done = threading.Event()
        for _ in range(64):
            concurrency._executor().submit(done.wait)
        try:
            yield
        finally:
            done.set()
    else:
        yield


@pytest.mark.usefixtures("_pool")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_everything_is_done_once_and_in_order(n, threads):
    seen = np.zeros(n, int)

    def count(first, last):
        seen[first:last] += 1

    concurrency.split(count, n, threads)
    assert (seen == 1).all()
    assert concurrency.each(lambda i: i * i, n, threads) == [i * i for i in range(n)]
    assert list(concurrency.in_turn(lambda i: i * i, range(n), threads)) == [i * i for i in range(n)]


@pytest.mark.usefixtures("_pool")
@pytest.mark.parametrize("threads", [1, 3])
def test_errors_come_in_the_place_of_their_result(threads):
    def fail(number):
        if number >= 5:
            raise ValueError(f"{number}")
        return number

    work = concurrency.in_turn(fail, range(20), threads)
    assert [next(work) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(work)
    with pytest.raises(ValueError, match="5"):
        concurrency.each(fail, 6, threads)


def test_what_items_raise_comes_through_and_stops_the_work():
    def items():
        yield from range(3)
        raise KeyError("items")

    done = []
    with pytest.raises(KeyError, match="items"):
        list(concurrency.in_turn(done.append, items(), 2))
    assert set(done) <= {0, 1, 2}


def test_few_items_are_drawn_ahead_and_none_after_the_end():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    work = concurrency.in_turn(lambda i: i, items(), 3)
    assert next(work) == 0
    assert len(drawn) <= 5
    work.close()
    assert len(drawn) <= 5


def test_an_interrupt_is_raised_at_once_when_nobody_works_any_more():
    working, me = set(), threading.get_ident()

    def work(i):
        if threading.get_ident() == me:
            raise KeyboardInterrupt
        working.add(i)
        try:
            return i
        finally:
            working.discard(i)

    with pytest.raises(KeyboardInterrupt):
        list(concurrency.in_turn(work, range(1000), 2))
    assert not working


def test_one_thread_works_on_what_is_called_within():
    assert set(concurrency.in_turn(lambda _: thread_count(5), range(10), 3)) == {1}
    assert thread_count(5) == 5

    def nested(i):
        return sum(concurrency.in_turn(lambda j: i * j, range(10), 4))

    assert list(concurrency.in_turn(nested, range(50), 4)) == [45 * i for i in range(50)]


def test_many_callers_share_the_pool():
    expected = [i * i for i in range(30)]
    results = {}

    def call(number):
        results[number] = [list(concurrency.in_turn(lambda i: i * i, range(30), 4)) for _ in range(10)]

    callers = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(results[number] == [expected] * 10 for number in range(16))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_threads_of_its_own():
    assert list(concurrency.in_turn(abs, range(9), 3)) == list(range(9))
    child = os.fork()
    if not child:
        right = list(concurrency.in_turn(abs, range(9), 3)) == list(range(9))
        os._exit(0 if right else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
