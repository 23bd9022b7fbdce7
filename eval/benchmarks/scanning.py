"""Searching uncompressed vectors with and without vectors in steps, in turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lfm2_retrieval import SearchParams
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.search import scanned

from .synthetic import SyntheticCorpus

__all__ = ["measure"]

_NEVER = 1 << 62


def measure(n_documents: int = 1400, n_vectors: int = 16, rounds: int = 30, seed: int = 0) -> dict[str, Any]:
    """Milliseconds of processor time and of the clock, by one thread and as installed.

    Parameters
    ----------
    n_documents
        Of clustered vectors, see `SyntheticCorpus`.
    n_vectors
        Of a query.
    rounds
        How many queries, each asked once in either way.
    seed
        Of what is drawn.

    Raises
    ------
    RuntimeError
        If the two ways find different hits.
    """
    corpus = SyntheticCorpus(n_documents, seed=seed)
    documents, queries = corpus.documents(), corpus.queries(rounds, n_vectors)
    least = scanned._FEWEST_TOKENS
    facts: dict[str, Any] = {"documents": n_documents, "vectors": len(documents.embeddings), "rounds": rounds}
    try:
        with Index.create(None, documents.dim, tier="exact") as index:
            index.add([str(i) for i in range(n_documents)], documents)
            for name, threads in (("one_thread", 1), ("as_installed", None)):
                params = SearchParams(k=10, threads=threads)
                times: dict[str, list[tuple[float, float]]] = {"float32": [], "steps": []}
                for i in range(-1, rounds):  # the first compiles
                    query = queries.select(np.array([max(i, 0)]))
                    hits = []
                    for way, few in (("float32", _NEVER), ("steps", least)):
                        scanned._FEWEST_TOKENS = few
                        hits.append(_timed(lambda: index.search(query, params), times[way]))  # noqa: B023
                    if hits[0] != hits[1]:
                        raise RuntimeError("searches with and without steps differ")
                facts[name] = _summary({way: some[1:] for way, some in times.items()})
    finally:
        scanned._FEWEST_TOKENS = least
    return facts


def _timed(work: Callable[[], Any], times: list[tuple[float, float]]) -> Any:
    start, processor = time.perf_counter(), time.process_time()
    result = work()
    times.append((time.perf_counter() - start, time.process_time() - processor))
    return result


def _summary(times: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    medians = {
        way: {
            name: round(1e3 * statistics.median(one[column] for one in some), 3)
            for column, name in enumerate(("p50_ms", "processor_ms"))
        }
        for way, some in times.items()
    }
    ratios = [after[1] / before[1] for before, after in zip(times["float32"], times["steps"], strict=True)]
    return {**medians, "processor_ratio": round(statistics.median(ratios), 3)}
