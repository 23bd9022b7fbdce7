"""Threads: the pool, and that hits depend neither on threads nor on the batch."""

import os
import threading

import numpy as np
import pytest
from support import DIM, embeddings
from test_compressed import clustered, names

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes.kernels import speed_check
from lfm2_retrieval.indexes.search import rerank, scan, shortlist
from lfm2_retrieval.platform import concurrency


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Two compressed segments of one codec, and an exact one."""
    with Index.create(tmp_path_factory.mktemp("threads") / "index", DIM) as index:
        index.add(names(), clustered())
        index.build(force=True)
        index.add(names(300, 700), clustered(300, seed=1))
        index.build(force=True)
        index.add(names(20, 1000), clustered(20, seed=2))
        assert [part.compressed for part in index._snapshot().parts][-2:] == [True, False]
        yield index


@pytest.fixture
def queries():
    return TokenEmbeddings.concatenate([embeddings([3, 16, 0, 17, 32, 40, 1], seed=3), clustered(9, seed=4)])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_hits_depend_neither_on_threads_nor_on_the_batch(index, queries, monkeypatch, k, exact):
    monkeypatch.setattr(scan, "_LEAST", 1)
    monkeypatch.setattr(scan, "_LANES_PER_PASS", 50)
    monkeypatch.setattr(shortlist, "_LEAST", 1)
    monkeypatch.setattr(rerank, "_LEAST", 1)
    few = {"exact": True} if exact else {"candidates": max(40, k), "rerank": max(15, k)}
    expected = index.search(queries, SearchParams(k, threads=1, **few))
    for threads in (None, 2, 5):
        assert index.search(queries, SearchParams(k, threads=threads, **few)) == expected
        alone = [
            index.search(queries.select([i]), SearchParams(k, threads=threads, **few))[0]
            for i in range(len(queries))
        ]
        assert alone == expected


def test_several_threads_search_at_once(index, queries):
    expected = index.search(queries, SearchParams(10, threads=1))
    errors = []

    def work(threads):
        try:
            for _ in range(5):
                assert index.search(queries, SearchParams(10, threads=threads)) == expected
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3, None)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_searches_too(index, queries):
    expected = index.search(queries, SearchParams(3, threads=2))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(index.search(queries, SearchParams(3, threads=2)) != expected)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_are_counted():
    for wrong in (0, -1):
        with pytest.raises(InvalidInputError, match="threads"):
            SearchParams(threads=wrong)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_split_covers_everything_once(n, threads):
    seen = np.zeros(n, int)

    def work(first, last):
        seen[first:last] += 1

    concurrency.split(work, n, threads)
    assert (seen == 1).all()


def test_an_error_in_a_thread_is_raised():
    def fail(number):
        if number == 5:
            raise ValueError("five")
        return number

    assert concurrency.each(fail, 5, 3) == list(range(5))
    with pytest.raises(ValueError, match="five"):
        concurrency.each(fail, 9, 3)


def test_slow_kernels_are_noticed(monkeypatch, caplog):
    monkeypatch.setattr(speed_check, "_FASTER", 0)
    assert speed_check.check_speed.__wrapped__()
    assert not caplog.records
    monkeypatch.setattr(speed_check, "_FASTER", 1e9)
    assert not speed_check.check_speed.__wrapped__()
    assert "NUMBA_CPU_NAME" in caplog.text
