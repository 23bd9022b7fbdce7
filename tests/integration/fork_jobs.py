"""What a forked child is asked to do, after what its parent has done: run as a program by test_forks.

    python fork_jobs.py after PARENT METHOD DTYPE      one child does all jobs
    python fork_jobs.py beside WORK N                  N children, forked beside threads that work

Prints what a child begins, so that a job which hangs is known by name; a child that hangs is killed.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

PATIENCE = float(os.environ.get("FORK_JOBS_PATIENCE", "90"))
TEXTS = [f"rain falls on hill {i} and runs to the towns beyond " * 12 for i in range(24)]


# What the parent does first. Only the first of them knows this library.


def encodes(dtype):
    import torch

    torch.set_num_threads(2)
    from lfm2_retrieval import Encoder

    ENCODERS.append(Encoder.load("nano", dtype=dtype))
    ENCODERS[0].encode_documents(TEXTS)


def builds(dtype):
    build_and_search(dtype)


def multiplies(dtype):
    import torch

    torch.set_num_threads(2)
    big = torch.randn(1500, 1500)
    (big @ big).sum().item()
    torch.randn(1 << 21).aminmax()


def clusters(dtype):
    import faiss

    faiss.omp_set_num_threads(2)
    means = faiss.Kmeans(64, 256, niter=4, seed=1)
    means.train(np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32))


def compiles(dtype):
    import numba

    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))

    @numba.njit(parallel=True)
    def add_up(values):
        total = 0.0
        for i in numba.prange(len(values)):
            total += values[i]
        return total

    add_up(np.ones(1 << 20))
    big = np.ones((1500, 1500), np.float32)
    big @ big


def everything(dtype):
    multiplies(dtype)
    clusters(dtype)
    compiles(dtype)
    encodes(dtype)
    builds(dtype)


PARENTS = {
    function.__name__: function for function in (encodes, builds, multiplies, clusters, compiles, everything)
}
ENCODERS = []


# What the child does.


def use_the_same_encoder(dtype):
    for encoder in ENCODERS:
        encoder.encode_documents(TEXTS)
        encoder.encode_queries(["rain", "hill"])
        list(encoder.iter_documents(TEXTS, batch_size=8))


def load_a_model(dtype):
    from lfm2_retrieval import Encoder

    encoder = Encoder.load("nano", dtype=dtype)
    encoder.encode_documents(TEXTS)
    encoder.encode_documents(TEXTS[:8], pool_factor=2)


def index_and_search(dtype):
    from lfm2_retrieval import Retriever

    with tempfile.TemporaryDirectory() as folder:
        with Retriever.index(TEXTS, Path(folder, "index"), model="nano", dtype=dtype) as retriever:
            retriever.add(["snow melts"])
        with Retriever.open(Path(folder, "index"), dtype=dtype) as retriever:
            for mode in ("lexical", "dense", "hybrid"):
                assert retriever.search("rain on hill 3", k=2, mode=mode)
            assert retriever.search("snow", mode="lexical")


def build_and_search(dtype):
    from lfm2_retrieval import Index, SearchParams, TokenEmbeddings

    vectors = np.random.default_rng(1).standard_normal((4500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = TokenEmbeddings(vectors, np.arange(0, 4501, 9))
    queries = embeddings.select([3, 4])
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder, "index"), 16) as index,
    ):
        index.add([str(i) for i in range(500)], embeddings)
        exact = index.search(queries, 3)
        assert index.build(force=True)
        found = index.search(queries, SearchParams(3, threads=2))
        assert [hits[0].id for hits in exact] == ["3", "4"]
        assert len(found[0]) == len(found[1]) == 3
        assert index.search(queries, SearchParams(3, exact=True))


JOBS = (use_the_same_encoder, load_a_model, build_and_search, index_and_search)


def do_all(dtype):
    faulthandler.dump_traceback_later(0.8 * PATIENCE)
    for job in JOBS:
        print("child:", job.__name__, flush=True)
        job(dtype)
    faulthandler.cancel_dump_traceback_later()
    return "done"


def fork_and_do_all(dtype):
    child = fork(lambda: do_all(dtype))
    return "done" if wait(child) == 0 else f"the child of the child: {wait(child)}"


def fork(work):
    """A child that does some work."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(child):
    """The exit status of a child; killed, and -9, when it hangs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9


def after(parent, method, dtype):
    PARENTS[parent](dtype)
    if method == "os.fork":
        status = wait(fork(lambda: do_all(dtype)))
        assert status == 0, status
    elif method == "twice":
        status = wait(fork(lambda: fork_and_do_all(dtype)))
        assert status == 0, status
    elif method == "thread":
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(wait(fork(lambda: do_all(dtype)))))
        thread.start()
        thread.join()
        assert statuses == [0], statuses
    elif method == "Pool":
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(do_all, [dtype] * 2).get(2 * PATIENCE) == ["done"] * 2
    else:
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(do_all, [dtype] * 2, timeout=2 * PATIENCE)) == ["done"] * 2


# Beside threads.


class Shared:
    """An index and an encoder, that threads and children use."""

    def __init__(self, folder):
        from lfm2_retrieval import Encoder, Retriever

        self.encoder = Encoder.load("nano", dtype="int8")
        self.path = Path(folder, "index")
        self.retriever = Retriever.index(
            [{"id": f"d{i}", "text": text, "metadata": {"i": i}} for i, text in enumerate(TEXTS)],
            self.path,
            model=self.encoder,
        )
        self.scratch = Path(folder)
        self.numbers = iter(range(10**9))

    def lexical(self):
        assert self.retriever.search(f"rain falls on hill {next(self.numbers)} towns", mode="lexical")

    def hybrid(self):
        text = f"rain falls on hill {next(self.numbers)}"
        assert self.retriever.search(text, mode="hybrid", where={"i": {"$gte": next(self.numbers) % 5}})

    def add(self):
        from lfm2_retrieval.errors import IndexLockedError

        text = f"snow {next(self.numbers)}"
        # Threads that add without a pause may keep others waiting for longer than they do; none may hang.
        with suppress(IndexLockedError):
            self.retriever.add([{"id": f"{os.getpid()}-{threading.get_ident()}-{text}", "text": text}])

    def encode(self):
        self.encoder.encode_documents([f"{text} {next(self.numbers)}" for text in TEXTS[:2]])

    def load(self):
        from lfm2_retrieval import Encoder

        Encoder.load("nano", dtype="int8").encode_queries(["rain"])

    def open(self):
        from lfm2_retrieval import Retriever

        with Retriever.open(self.path) as retriever:
            assert "d1" in retriever.store
            retriever.store.verify()

    def build(self):
        build_and_search("int8")


def beside(work, n):
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        shared = Shared(folder)
        stop = threading.Event()

        def go_on(name):
            try:
                while not stop.is_set():
                    getattr(shared, name)()
            except BaseException:  # noqa: BLE001
                faults.append(traceback.format_exc())

        names = {"mixed": ["lexical", "add", "encode", "hybrid"]}.get(work, [work] * 3)
        threads = [threading.Thread(target=go_on, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for number in range(n):
            time.sleep(0.002 * (number % 7))
            jobs = [work] if work != "mixed" else names
            status = wait(fork(lambda: [getattr(shared, name)() for name in (*jobs, "lexical", "hybrid")]))  # noqa: B023
            if status:
                faults.append(f"child {number}: {status}")
        stop.set()
        for thread in threads:
            thread.join()
        shared.retriever.store.verify()
    assert not faults, "\n".join(faults[:5]) + f"\n{len(faults)} of {n}"


if __name__ == "__main__":
    if sys.argv[1] == "after":
        after(*sys.argv[2:])
    else:
        beside(sys.argv[2], int(sys.argv[3]))
    print("all done", flush=True)
