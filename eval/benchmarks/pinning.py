"""The command ``threads``: as installed beside pinned to one thread, on idle and on busy processors.

Two workers have the same work in turns: one in the environment as it is, without any variable that names a
number of threads, one with these set to 1. A third process, where it is asked for, keeps a processor busy.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lfm2_retrieval import SearchParams
from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.indexes import Index

from .synthetic import SyntheticCorpus

if TYPE_CHECKING:
    from lfm2_retrieval import Encoder

__all__ = ["WORK", "measure", "threads"]

_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("RAYON_NUM_THREADS", "LFM2_RETRIEVAL_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"),
)
_WAYS: dict[str, Mapping[str, str]] = {
    "installed": {},
    "pinned": {name: "1" for name in _VARIABLES if name.endswith("_THREADS") and not name.startswith("LFM2")},
}
WORK = ("search exact", "search balanced", "encode queries", "encode documents")
_DIM = 128


class _Worker:
    """A process with both indexes and the encoder, which does what it is told."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if name not in _VARIABLES} | environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eval.benchmarks.pinning", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=own,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, **asked: Any) -> Any:
        """What became of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended early; its error stands above")
        return json.loads(line)


@contextmanager
def _busy(wanted: bool) -> Iterator[None]:
    """Keep a processor busy, if that is wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(  # noqa: PLR0917
    n_exact: int,
    n_balanced: int,
    rounds: int,
    seconds: float,
    works: Sequence[str] = WORK,
    on_progress: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Milliseconds of the clock and of the processor in both ways, and what sixteen threads reach.

    Parameters
    ----------
    n_exact, n_balanced
        How many documents the indexes have, of clustered vectors (`SyntheticCorpus`).
    rounds
        How often each way has its turn, with ten queries or thirty-two documents.
    seconds
        How long one thread, and sixteen, search in each of five turns.
    works
        What is measured in both ways.
    """
    report: dict[str, Any] = {"processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        kinds = list(dict.fromkeys(one.split()[1] for one in works if one.startswith("search")))
        sizes = {"exact": n_exact, "balanced": n_balanced}
        report["vectors"] = {kind: _make(home, kind, sizes[kind], on_progress) for kind in kinds}
        workers = {name: stack.enter_context(_Worker(home, also)) for name, also in _WAYS.items()}
        for work, busy in product(works, (False, True)):
            times: dict[str, list[list[float]]] = {name: [] for name in workers}
            with _busy(busy):
                for turn, (name, worker) in product(range(-1, rounds), workers.items()):
                    some = worker.do(work=work, turn=turn)
                    times[name] += some if turn >= 0 else []  # the first compiles
            label = f"{work}, {'beside a busy core' if busy else 'idle'}"
            report[label] = _compared(times)
            on_progress(f"{label}: {report[label]}")
        for kind in kinds:
            report[f"sixteen threads, {kind}"] = _together(workers["installed"], kind, seconds)
    return report


def _make(home: Path, tier: str, n: int, on_progress: Callable[[str], None]) -> int:
    """Write an index of that tier, and queries; returns how many vectors it has."""
    on_progress(f"making an index of {n:,} documents, {tier}")
    corpus = SyntheticCorpus(n, _DIM)
    np.save(home / f"{tier}.npy", corpus.queries(256, 16).embeddings)
    with Index.create(home / tier, _DIM, tier=tier) as index:
        for first in range(0, n, 5000):
            last = min(n, first + 5000)
            index.add([str(i) for i in range(first, last)], corpus.documents(first, last))
        return index.n_tokens


def _compared(times: Mapping[str, list[list[float]]]) -> dict[str, float]:
    medians = {
        name: [statistics.median(column) for column in zip(*some, strict=True)]
        for name, some in times.items()
    }
    clock, processor = (medians["installed"][i] / medians["pinned"][i] for i in (0, 1))
    return {
        "installed_ms": round(medians["installed"][0], 3),
        "pinned_ms": round(medians["pinned"][0], 3),
        "clock_ratio": round(clock, 3),
        "processor_ratio": round(processor, 3),
    }


def _together(worker: _Worker, kind: str, seconds: float) -> dict[str, float]:
    """One thread and sixteen, in turns."""
    alone: list[float] = []
    many: list[float] = []
    waited: list[float] = []
    for turn in range(6):
        one = worker.do(work=f"search {kind}", threads=1, seconds=seconds)
        all_ = worker.do(work=f"search {kind}", threads=16, seconds=seconds)
        if turn:  # the first starts threads
            alone.append(len(one) / seconds)
            many.append(len(all_) / seconds)
            waited += all_
    p50, p99 = np.quantile(waited, [0.5, 0.99]).tolist()
    return {
        "one_thread_per_second": round(statistics.median(alone), 1),
        "sixteen_per_second": round(statistics.median(many), 1),
        "throughput_ratio": round(statistics.median(many) / statistics.median(alone), 2),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "p99_to_p50": round(p99 / p50, 2),
    }


def _work(home: Path) -> None:
    """Do what comes in by lines, in a process of its own."""
    indexes = {path.stem: Index.open(home / path.stem) for path in home.glob("*.npy")}
    queries = {
        kind: [
            TokenEmbeddings(some, np.array([0, len(some)]))
            for some in np.load(home / f"{kind}.npy").reshape(256, 16, _DIM)
        ]
        for kind in indexes
    }
    params, numbers = SearchParams(k=10), count()

    def jobs(work: str, turn: int) -> Iterator[Callable[[], Any]]:
        what, kind = work.split()
        if what == "search":
            for query in islice(queries[kind], 10 * (turn + 1), 10 * (turn + 1) + 10):
                yield lambda query=query: indexes[kind].search(query, params)  # type: ignore[misc]
        elif kind == "queries":
            for i in islice(numbers, 10):  # a query that was asked before is not encoded again
                yield lambda i=i: _encoder().encode_queries([f"question {i}, about tides"])  # type: ignore[misc]
        else:
            texts = [f"{i} " + "words about harbours and tides " * (5 + i % 20) for i in range(32)]
            yield lambda: _encoder().encode_documents(texts)

    for line in sys.stdin:
        asked = json.loads(line)
        if "threads" in asked:
            kind = asked["work"].split()[1]
            done: Any = _search_for(asked, indexes[kind], queries[kind], params)
        else:
            done = [_timed(job) for job in jobs(asked["work"], asked["turn"] % 20)]
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


@cache
def _encoder() -> Encoder:
    from lfm2_retrieval import Encoder

    return Encoder.load("nano")


def _timed(job: Callable[[], Any]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    job()
    return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor)


def _search_for(
    asked: Mapping[str, Any], index: Index, queries: Sequence[TokenEmbeddings], params: SearchParams
) -> list[float]:
    """Milliseconds of each search that some threads finish in so many seconds."""
    end = time.perf_counter() + asked["seconds"]
    done: list[float] = []

    def one(number: int) -> None:
        while (begun := time.perf_counter()) < end:
            index.search(queries[number % 256], params)
            done.append(1e3 * (time.perf_counter() - begun))
            number += asked["threads"]

    some = [threading.Thread(target=one, args=(i,)) for i in range(asked["threads"])]
    for thread in some:
        thread.start()
    for thread in some:
        thread.join()
    return done


@click.command("threads")
@click.option("--exact", type=click.IntRange(min=50), default=1400, show_default=True, help="Documents.")
@click.option("--balanced", type=click.IntRange(min=50), default=8000, show_default=True, help="Documents.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=12, show_default=True, help="Turns of each way."
)
@click.option("--seconds", type=click.FloatRange(min=0.05), default=2.0, show_default=True, help="Of a turn.")
def threads(exact: int, balanced: int, rounds: int, seconds: float) -> None:
    """Measure searches and encoding as installed and pinned to one thread, and of sixteen threads.

    Two processes in turns, on idle processors and beside a busy one; made-up vectors, and the bundled model.
    """
    print_json(measure(exact, balanced, rounds, seconds, on_progress=lambda what: click.echo(what, err=True)))


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
