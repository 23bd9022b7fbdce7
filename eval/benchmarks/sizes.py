"""Filters, deletes and searches by words and vectors at size: a million short documents with fields."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.datatypes import Mode, SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes import Index

from .synthetic import SyntheticCorpus

__all__ = ["FILTERS", "make", "measure", "sizes", "write"]

_LENGTH, _QUERY_VECTORS, _BATCH = 6, 12, 4000
_VOCABULARY, _WORDS, _QUERY_WORDS = 50_000, 12, 3
_FIELDS = ["number", "kind", "year", "score"]

FILTERS: dict[str, str] = {
    "one number, .001": "number = 7",
    "range, .01": "number >= 40 AND number < 50",
    "range, .1": "number BETWEEN 100 AND 199",
    "range, .5": "number < 500",
    "range, .99": "number < 990",
    "list of texts": "kind IN ('k3', 'k11', 'k17', 'k29')",
    "and": "kind = 'k1' AND year >= 2010",
    "or": "kind = 'k2' OR score < 0.05 OR number IN (1, 2, 3)",
    "not": "NOT (kind IN ('k0', 'k1') OR year < 2005)",
}
"""Filters on declared fields, of many selectivities and forms."""


def make(path: Path, n_documents: int, report: Callable[[str], None] = lambda _: None) -> dict[str, float]:
    """Make the index, compressed; returns seconds of processor time."""
    corpus = SyntheticCorpus(n_documents, length=_LENGTH)
    rng = np.random.default_rng(1)
    began, spent = time.process_time(), 0.0
    with Index.create(path, corpus.dim, fields=_FIELDS) as index:
        # One writer, and the codec afterwards: of many commits each would ask whether to compress.
        with index.writer() as writer:
            for first in range(0, n_documents, _BATCH):
                if first % (25 * _BATCH) == 0:
                    report(f"adding, {first:,} so far")
                last = min(first + _BATCH, n_documents)
                drawing = time.process_time()
                documents = corpus.documents(first, last)
                texts, metadata = _texts(last - first, rng), _metadata(last - first, rng)
                spent += time.process_time() - drawing
                writer.add([str(i) for i in range(first, last)], documents, texts, metadata)
        added = time.process_time()
        report("compressing")
        index.build(force=True)
    return {"add_cpu_s": added - began - spent, "build_cpu_s": time.process_time() - added}


def measure(
    path: Path, n_queries: int = 20, rounds: int = 3, report: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure searches with and without filters, by words and by both, and deleting, on copies of an index.

    Each figure is processor time of one call, the median; filters are asked anew for, as they aren't
    remembered under another spelling, and alternate with searches that have none.
    """
    facts: dict[str, Any] = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
        "sqlite": sqlite3.sqlite_version,
    }
    with Index.open(path) as index:
        facts |= {"documents": len(index), "vectors": index.n_tokens}
        queries = [SyntheticCorpus(len(index), length=_LENGTH).queries(n_queries, _QUERY_VECTORS)]
        queries = [queries[0].select(np.array([i])) for i in range(n_queries)]
        report("filters")
        facts["filters"] = _filters(index, queries, rounds)
        report("modes")
        facts["modes"] = _modes(index, queries, rounds)
    for share in (0.05, 0.2):
        facts[f"delete_{share}"] = _deletes(path, share, report)
    return facts


@click.command("sizes")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--docs", type=click.IntRange(min=1000), default=1_000_000, show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A folder for sizes.json.")
def sizes(folder: Path, *, docs: int, queries: int, rounds: int, out: Path | None) -> None:
    """Measure filters, deletes and searches by both at size.

    FOLDER is where the index of made-up short documents is made, or lies already: a gigabyte and a half for a
    million, and as much as its catalogue again for deletes.
    """

    def say(what: str) -> None:
        click.echo(what, err=True)

    made = {} if folder.exists() else make(folder, docs, say)
    facts = made | measure(folder, queries, rounds, say)
    if out is not None:
        write(facts, out)
    print_json(facts)


def write(facts: dict[str, Any], folder: Path) -> None:
    """Keep a result as ``sizes.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sizes.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _filters(index: Index, queries: Sequence[TokenEmbeddings], rounds: int) -> dict[str, Any]:
    """Of each filter: asked for the first time, then anew for each query, and remembered."""
    for query in queries[:5]:
        index.search(query)
    facts: dict[str, Any] = {}
    for name, text in FILTERS.items():
        first, hits = _timed(partial(index.search, queries[0], 10, where=text))
        plain, fresh, remembered, exact = [], [], [], []
        for turn in range(rounds):
            for number, query in enumerate(queries):
                plain.append(_timed(partial(index.search, query))[0])
                anew = f"({text}) AND NOT number = {-1 - turn * len(queries) - number}"
                seconds, hits = _timed(partial(index.search, query, 10, where=anew))
                fresh.append(seconds)
                remembered.append(_timed(partial(index.search, query, 10, where=text))[0])
                if turn == 0 and number < 5:
                    truth = index.search(query, SearchParams(10, exact=True), where=text)[0]
                    exact.append(len({hit.id for hit in truth} & {hit.id for hit in hits[0]}) / 10)
        base = _ms(plain)
        facts[name] = {
            "documents": index.count(text),
            "unfiltered_ms": base,
            "first_ms": round(first * 1000, 2),
            "fresh_ms": _ms(fresh),
            "remembered_ms": _ms(remembered),
            "fresh_ratio": round(_ms(fresh) / base, 2),
            "remembered_ratio": round(_ms(remembered) / base, 2),
            "recall@10": round(float(np.mean(exact)), 3),
        }
    return facts


def _modes(index: Index, queries: Sequence[TokenEmbeddings], rounds: int) -> dict[str, Any]:
    """By vectors, by words and by both, in turns."""
    rng = np.random.default_rng(2)
    texts = _texts(len(queries), rng, _QUERY_WORDS)
    times: dict[str, list[float]] = {mode.value: [] for mode in Mode}
    for _ in range(rounds):
        for query, text in zip(queries, texts, strict=True):
            for mode in Mode:
                given = None if mode is Mode.LEXICAL else query
                params = SearchParams(10, mode=mode)
                times[mode.value].append(_timed(partial(index.search, given, params, texts=[text]))[0])
    medians = {name: _ms(some) for name, some in times.items()}
    return {
        **{f"{name}_ms": value for name, value in medians.items()},
        "hybrid_ratio": round(medians["hybrid"] / (medians["dense"] + medians["lexical"]), 2),
    }


def _deletes(path: Path, share: float, report: Callable[[str], None]) -> dict[str, float]:
    """Deleting a share by filter and the same documents by their ids, each on a copy."""
    facts: dict[str, float] = {}
    where = f"number < {round(1000 * share)}"
    for how in ("ids", "filter"):
        report(f"deleting {share:.0%} by {how}")
        copy = path.with_name(path.name + ".copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy, copy_function=_copy)
        try:
            with Index.open(copy) as index:
                ids = [entry.id for entry in index.documents(where)] if how == "ids" else []
                with index.writer() as writer:
                    act = partial(writer.delete, ids) if how == "ids" else partial(writer.delete, where=where)
                    began = time.perf_counter()
                    spent = _timed(act)[0] + _timed(writer.commit)[0]
                    facts[f"{how}_cpu_s"] = round(spent, 2)
                    facts[f"{how}_s"] = round(time.perf_counter() - began, 2)
                facts["left"] = len(index)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    return facts


def _copy(source: str, target: str) -> None:
    """Arrays never change, so that another name for them is enough."""
    (os.link if source.endswith(".npy") else shutil.copy2)(source, target)


def _texts(n: int, rng: np.random.Generator, length: int = _WORDS) -> list[str]:
    """Texts of made-up words, whose frequencies fall off as those of real ones."""
    drawn = np.minimum(rng.zipf(1.3, (n, length)), _VOCABULARY)
    return [" ".join(f"w{number}" for number in row) for row in drawn.tolist()]


def _metadata(n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Numbers, texts, years and fractions."""
    kinds: NDArray[np.int64] = np.minimum(rng.zipf(1.5, n) - 1, 49)
    columns = rng.integers(0, 1000, n), kinds, rng.integers(2000, 2026, n), rng.random(n).round(4)
    return [
        {"number": number, "kind": f"k{kind}", "year": year, "score": score}
        for number, kind, year, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = action()
    return time.process_time() - began, result


def _ms(seconds: Sequence[float]) -> float:
    return round(float(np.median(seconds)) * 1000, 2)
