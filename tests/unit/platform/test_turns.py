"""As many at once as there are processors, in the order they came."""

from __future__ import annotations

import os
import threading

import pytest

from lfm2_retrieval.platform import concurrency
from lfm2_retrieval.platform.concurrency import Turns


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(concurrency, "cpus", lambda: 2)
    return Turns()


def test_no_more_than_processors_at_once_and_none_is_passed_over(two):
    inside, most, order = 0, 0, []
    guard, begin = threading.Lock(), threading.Barrier(8)

    def work(number):
        nonlocal inside, most
        begin.wait()
        for _ in range(50):
            with two.taken():
                with guard:
                    inside += 1
                    most = max(most, inside)
                    order.append(number)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2
    assert sorted(order) == sorted(list(range(8)) * 50)
    assert (two._working, len(two._waiting)) == (0, 0)


def test_who_waits_too_long_goes_on_without_a_turn(two, monkeypatch):
    monkeypatch.setattr(concurrency, "_LONGEST_WAIT", 0.01)
    with two.taken(), two.taken():
        done = threading.Thread(target=lambda: two.taken().__enter__())
        done.start()
        done.join(10)
        assert not done.is_alive()
        assert (two._working, len(two._waiting)) == (2, 0)
    assert two._working == 0


def test_turns_are_free_after_an_error_and_in_a_forked_child(two):
    with pytest.raises(KeyError), two.taken():
        raise KeyError
    with two.taken(), two.taken():
        child = os.fork()
        if child == 0:
            with two.taken(), two.taken():
                os._exit(0 if two._working == 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert two._working == 0
