"""The command ``shards``: building by one and two workers, and searching over Ray and without it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from lfm2_retrieval.cli._output import print_json

__all__ = ["merging", "shards"]

_WORDS = (
    *("harbour", "tide", "engine", "letter", "winter", "yeast", "copper", "meadow", "signal", "ledger"),
    *("orbit", "timber", "valley", "archive", "lantern", "protocol", "garden", "bridge", "weather", "cable"),
)


def merging(n_shards: int = 64, k: int = 100, rounds: int = 200) -> float:
    """Median milliseconds of merging the best ``k`` of so many shards."""
    from lfm2_retrieval import ScoreKind
    from lfm2_retrieval.distributed.lists import merged
    from lfm2_retrieval.indexes import Found

    rng = np.random.default_rng(0)
    lists = {
        number: [
            Found(float(score), key, ScoreKind.MAXSIM)
            for key, score in enumerate(np.sort(rng.random(k, np.float32))[::-1])
        ]
        for number in range(n_shards)
    }
    return 1e3 * _median(lambda: merged(lists, n_shards, k), rounds)


def measure(n_documents: int, words: int, rounds: int, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Build and search; documents/s are of encoding alone, workers already started."""
    import ray

    from lfm2_retrieval import Retriever
    from lfm2_retrieval.distributed import ShardedRetriever, build

    dice = random.Random(0)
    rows = [{"id": str(i), "text": " ".join(dice.choices(_WORDS, k=words))} for i in range(n_documents)]
    report: dict[str, Any] = {"documents": n_documents, "words": words, "merge_64_ms": merging()}
    with TemporaryDirectory() as home:
        folder = Path(home)
        seconds: list[float] = []

        def follow(done: Any) -> None:
            if done.phase == "index":
                seconds.append(time.monotonic())

        for name, workers in (("one worker", 1), ("two workers", 2)):
            on_progress(name)
            seconds.clear()
            build(
                rows, folder / name, shards=4, model="nano", workers=workers, tier="exact", on_progress=follow
            )
            # From the first part on: before that, workers start.
            report[name] = (n_documents - 1024) / (seconds[-1] - seconds[0])
        on_progress("one index, two threads")
        begun = time.monotonic()
        with Retriever.index(rows, folder / "index", model="nano", tier="exact", threads=2):
            report["one index"] = n_documents / (time.monotonic() - begun)
        report["speedup"] = report["two workers"] / report["one worker"]
        on_progress("searching")
        with (
            ShardedRetriever.open(folder / "two workers", model="nano") as here,
            ShardedRetriever.open(folder / "two workers", address="auto", model="nano") as there,
        ):
            queries = here.encoder.encode_queries([" ".join(dice.choices(_WORDS, k=6))])
            times: dict[str, list[float]] = {"in this process": [], "on Ray": [], "of Ray, doing nothing": []}
            for i in range(rounds + 5):
                for name, one in (("in this process", here), ("on Ray", there)):  # in turns
                    start = time.perf_counter()
                    one.store.search(queries)
                    if i >= 5:
                        times[name].append(1e3 * (time.perf_counter() - start))
                start = time.perf_counter()
                ray.get([one.actors[0].ping.remote() for one in there.store.shards.replicas])
                if i >= 5:
                    times["of Ray, doing nothing"].append(1e3 * (time.perf_counter() - start))
        for name, taken in times.items():
            report[f"p50 {name} ms"] = statistics.median(taken)
    return report


def _median(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return statistics.median(taken)


@click.command()
@click.option("--documents", "n_documents", type=click.IntRange(min=2048), default=20_000, show_default=True)
@click.option("--words", type=click.IntRange(min=1), default=40, show_default=True, help="Of a document.")
@click.option("--rounds", type=click.IntRange(min=1), default=200, show_default=True, help="Of searches.")
@click.option(
    "--processors", type=click.IntRange(min=1), default=2, show_default=True, help="Of the cluster."
)
def shards(n_documents: int, words: int, rounds: int, processors: int) -> None:
    """Measure shards: a build by one worker and by two, searches over Ray and in one process, and merging.

    Starts a Ray cluster on this machine. Rates are by the clock: have nothing else run.
    """
    import ray

    ray.init(num_cpus=processors, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        print_json(measure(n_documents, words, rounds, lambda step: click.echo(f"{step} …", err=True)))
    finally:
        ray.shutdown()
