"""How many threads work on a call, whoever says it."""

import threading

import numpy as np
import pytest

from lfm2_retrieval import SearchParams
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError
from lfm2_retrieval.platform import threads
from lfm2_retrieval.platform.threads import VARIABLE, check_threads, thread_count, using, working


@pytest.fixture(autouse=True)
def _eight(monkeypatch):
    monkeypatch.setattr(threads, "cpus", lambda: 8)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_nobody_says():
    assert thread_count() == 8
    assert thread_count(alone=True) == 1
    assert thread_count(most=3) == 3
    assert thread_count(most=0) == 1


def test_who_says_it_first(monkeypatch):
    monkeypatch.setenv(VARIABLE, " 5 ")
    assert thread_count() == thread_count(alone=True) == thread_count(most=1) == 5
    with using(4):
        assert thread_count(alone=True) == 4
        assert thread_count(3) == 3
        with using(None):
            assert thread_count() == 4
        with using(2):
            assert thread_count() == 2
        assert thread_count() == 4
        other = []
        thread = threading.Thread(target=lambda: other.append(thread_count()))
        thread.start()
        thread.join()
        assert other == [5]
    assert thread_count() == 5
    monkeypatch.setenv(VARIABLE, "")
    assert thread_count() == 8


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), ("3", 3), ("64", 8), ("2,4", 2), ("", 8), ("many", 8), ("0", 8), ("-2", 8)],
)
def test_openmps_variable_is_a_limit(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_count() == expected
    assert thread_count(6) == 6
    assert thread_count(alone=True) == 1


def test_who_works_for_a_call_has_one(monkeypatch):
    monkeypatch.setenv(VARIABLE, "5")
    with working(), using(7):
        assert thread_count() == thread_count(3) == 1
        with working():
            pass
        assert thread_count() == 1
    assert thread_count() == 5


@pytest.mark.parametrize("wrong", [0, -1, 1025, 10**30])
def test_numbers_that_are_none(wrong):
    for call in (check_threads, lambda n: SearchParams(threads=n), lambda n: using(n).__enter__()):
        with pytest.raises(InvalidInputError, match="threads must be from 1 to 1024"):
            call(wrong)


@pytest.mark.parametrize("wrong", [True, False, 2.0, "2", [2]])
def test_what_is_no_number(wrong):
    with pytest.raises(InvalidTypeError, match="threads must be a whole number"):
        check_threads(wrong)


def test_numbers_of_numpy():
    assert check_threads(np.int64(3)) == 3
    assert check_threads(None) is None


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "5000", "9" * 5000])
def test_a_wrong_variable_is_named(monkeypatch, wrong):
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(InvalidInputError, match=r"\$LFM2_RETRIEVAL_THREADS must be"):
        thread_count()
