"""What it costs to change an index: adding, deleting, opening, searching many segments, merging."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.compaction import policy

__all__ = ["measure", "write"]

_DIM, _TOPICS, _NOISE, _LENGTH = 128, 4096, 0.6, 12
_BATCH, _SEGMENTS, _QUERIES, _REPEATS = 1000, 20, 100, 40


def measure(n_documents: int = 100_000, report: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure everything on clustered vectors, 12 a document, in a temporary folder.

    Parameters
    ----------
    n_documents
        How many there are; 10,000 at least.
    report
        Told what goes on.

    Returns
    -------
    dict
        JSON values: seconds, milliseconds (medians and the longest) and counts.
    """
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((_TOPICS, _DIM)).astype(np.float32)
    facts: dict[str, Any] = {
        "documents": n_documents,
        "vectors_per_document": _LENGTH,
        "dim": _DIM,
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
    }
    folder = Path(tempfile.mkdtemp(prefix="lfm2-living-"))
    try:
        with Index.create(folder / "index", _DIM) as index:
            facts["commits_of_1000"] = _fill(index, n_documents, topics, rng, report)
            report("compressing")
            policy.SEGMENT_TOKENS, before = n_documents * _LENGTH // _SEGMENTS, policy.SEGMENT_TOKENS
            try:
                facts["build_seconds"] = _timed(lambda: index.build(force=True))
            finally:
                policy.SEGMENT_TOKENS = before
            queries = _draw(_QUERIES, topics, rng)
            facts["search_many_segments"] = _search(index, queries)
            facts["open_ms"] = _spread([_timed(lambda: _open(index.path)) for _ in range(9)])
            report("adding one at a time")
            facts["add_one_ms"] = _spread(
                [
                    _timed(partial(index.add, [f"one-{i}"], _draw(1, topics, rng), ["text " * 40]))
                    for i in range(_REPEATS)
                ]
            )
            facts["update_metadata_ms"] = _spread(
                [_timed(partial(index.update, [f"one-{i}"], metadata=[{"i": i}])) for i in range(_REPEATS)]
            )
            report("merging")
            facts["merge_seconds"] = _timed(index.merge)
            facts["search_merged"] = _search(index, queries)
            report("deleting")
            gone = [str(i) for i in rng.permutation(n_documents)[: n_documents // 10]]
            facts["delete_a_tenth_seconds"] = _timed(lambda: index.delete(gone))
            facts["open_after_deletes_ms"] = _spread([_timed(lambda: _open(index.path)) for _ in range(9)])
            facts["merge_after_deletes_seconds"] = _timed(index.merge)
    finally:
        shutil.rmtree(folder)
    ratio = facts["search_many_segments"]["p50_ms"] / facts["search_merged"]["p50_ms"]
    return {**facts, "many_segments_to_one": round(ratio, 2)}


def write(facts: dict[str, Any], folder: Path) -> None:
    """Keep a result as ``living.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "living.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _fill(
    index: Index,
    n: int,
    topics: np.ndarray[Any, Any],
    rng: np.random.Generator,
    report: Callable[[str], None],
) -> dict[str, float]:
    seconds = 0.0
    with index.writer() as writer:
        for first in range(0, n, _BATCH):
            if first % (n // 5) == 0:
                report(f"adding, {first:,} so far")
            size = min(_BATCH, n - first)
            vectors, texts = _draw(size, topics, rng), ["text " * 40] * size
            began = time.perf_counter()
            writer.add([str(i) for i in range(first, first + size)], vectors, texts)
            writer.commit()
            seconds += time.perf_counter() - began
    return {"seconds": round(seconds, 2), "documents_per_second": round(n / seconds)}


def _draw(n: int, topics: np.ndarray[Any, Any], rng: np.random.Generator) -> TokenEmbeddings:
    vectors = topics[rng.integers(len(topics), size=n * _LENGTH)]
    vectors = vectors + _NOISE * rng.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(vectors, np.arange(0, n * _LENGTH + 1, _LENGTH))


def _search(index: Index, queries: TokenEmbeddings) -> dict[str, float]:
    one_by_one = [queries.select([i]) for i in range(len(queries))]
    for query in one_by_one[:5]:
        index.search(query)
    times = [_timed(partial(index.search, query)) for query in one_by_one]
    return {"segments": len(index.segments), "p50_ms": round(float(np.median(times)) * 1000, 2)}


def _open(path: Path) -> None:
    Index.open(path).close()


def _timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return round(time.perf_counter() - began, 5)


def _spread(seconds: list[float]) -> dict[str, float]:
    return {"p50": round(float(np.median(seconds)) * 1000, 2), "longest": round(max(seconds) * 1000, 2)}
