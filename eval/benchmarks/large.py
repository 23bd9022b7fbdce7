"""The command ``large``: an index of a million documents of real length, made in little memory, and searched.

Vectors are made on the fly and never lie anywhere as a whole; exact answers are kept up to date as documents
come. What is done is kept in the folder: an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import click
import numpy as np

from lfm2_retrieval import __version__
from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.datatypes import SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.platform.machine import cpu_name

from .synthetic_passages import SyntheticPassages

__all__ = ["Truth", "grow", "large", "measure"]

_BATCH = 2000
"""Documents of a commit: some 240,000 vectors, as `Retriever.index` commits."""
_QUERIES_FROM = 10_000
"""Queries are made from the first documents, so that they have an answer in an index of any size."""
_DEEPEST = 100
_THREADS = (1, 2)


class Truth:
    """The best documents of each query by exact MaxSim in float32, of those seen so far.

    Parameters
    ----------
    queries
        Of equal length.
    path
        Where it is kept.
    """

    def __init__(self, queries: TokenEmbeddings, path: Path) -> None:
        self._queries = np.ascontiguousarray(queries.embeddings.T, np.float32)
        self._n, self._path = len(queries), path
        self.done = 0
        self.scores = np.full((self._n, _DEEPEST), -np.inf, np.float32)
        self.ids = np.full((self._n, _DEEPEST), -1, np.int64)
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                self.done, self.scores, self.ids = int(file["done"]), file["scores"], file["ids"]

    def add(self, documents: TokenEmbeddings) -> None:
        """Documents that follow those seen."""
        scores, ids = [self.scores], [self.ids]
        for first in range(0, len(documents), 100):
            some = documents.select(np.arange(first, min(first + 100, len(documents))))
            similar = some.embeddings.astype(np.float32) @ self._queries
            best = np.maximum.reduceat(similar, some.offsets[:-1], axis=0)
            scores.append(best.reshape(len(some), self._n, -1).sum(axis=2).T)
            numbers = self.done + first + np.arange(len(some))
            ids.append(np.broadcast_to(numbers, (self._n, len(some))))
        every, names = np.concatenate(scores, axis=1), np.concatenate(ids, axis=1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :_DEEPEST]
        self.scores, self.ids = (np.take_along_axis(column, order, 1) for column in (every, names))
        self.done += len(documents)

    def save(self) -> None:
        """Keep it."""
        draft = self._path.with_name("draft.npz")
        np.savez(draft, done=self.done, scores=self.scores, ids=self.ids)
        draft.replace(self._path)


class _State:
    """What a run used, by what it was at, kept in a file: processor time, memory that no file backs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.facts: dict[str, Any] = {"cpu_s": {}, "wall_s": {}, "peak_bytes": {}, "peak_disk_bytes": 0}
        if path.exists():
            self.facts = json.loads(path.read_text("utf-8"))
        self._phase, self._over = "", threading.Event()

    def __enter__(self) -> Self:
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            peaks, phase = self.facts["peak_bytes"], self._phase
            if phase:
                peaks[phase] = max(peaks.get(phase, 0), anonymous_bytes())

    @contextmanager
    def at(self, phase: str) -> Iterator[None]:
        """Count what is done in a ``with`` block."""
        self._phase, cpu, wall = phase, time.process_time(), time.monotonic()
        try:
            yield
        finally:
            self._phase = ""
            for name, spent in (("cpu_s", time.process_time() - cpu), ("wall_s", time.monotonic() - wall)):
                self.facts[name][phase] = round(self.facts[name].get(phase, 0) + spent, 2)

    def save(self, folder: Path) -> None:
        """Keep it; look at the disk, too."""
        self.facts["peak_disk_bytes"] = max(self.facts["peak_disk_bytes"], sum(sizes(folder).values()))
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
        draft.replace(self._path)


def anonymous_bytes() -> int:
    """The memory of this process that no file backs: the system can't take it back. 0 where it isn't told."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files of an index, by name; those of all segments together."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[path.name] = found.get(path.name, 0) + path.stat().st_size
        except FileNotFoundError:
            pass  # a segment that just gave way to another
    return found


def grow(
    folder: Path,
    corpus: SyntheticPassages,
    queries: TokenEmbeddings,
    *,
    tier: str = "balanced",
    memory: str = "2GB",
    until: int | None = None,
    seconds: float | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Add documents to an index until it has all, compressing as they come.

    Parameters
    ----------
    folder
        Where the index lies, or is to lie, and what is known of the run.
    corpus
        The documents.
    queries
        Whose exact answers to keep.
    tier, memory
        As for `Index`.
    until
        Stop at so many documents.
    seconds
        Stop after so long, at the next batch.
    report
        Told how far it is.

    Returns
    -------
    dict
        What all runs together used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, began = folder / "index", time.monotonic()
    truth, most = Truth(queries, folder / "truth.npz"), min(until or corpus.n_documents, corpus.n_documents)
    expected = corpus.n_documents * (corpus.shortest + corpus.longest) // 2
    opened = Index.open(path) if path.exists() else Index.create(path, corpus.dim, tier=tier, lexical=False)
    with opened as index, _State(folder / "state.json") as state:
        while (first := len(index)) < most and (seconds is None or time.monotonic() - began < seconds):
            last = min(first + _BATCH, most)
            with state.at("making vectors"):
                documents = corpus.documents(first, last)
            with state.at("adding"), index.writer() as writer:
                writer.add([str(number) for number in range(first, last)], documents)
            index.refresh()
            with state.at("compressing"):
                index.build(expected_tokens=expected, memory=memory)
            _catch_up(truth, corpus, last, documents, state)
            state.save(folder)
            report(f"{last:,} of {most:,} documents, {time.monotonic() - began:,.0f} s, {state.facts}")
        with state.at("compressing"):
            index.build(force=True, expected_tokens=expected, memory=memory)
        _catch_up(truth, corpus, len(index), None, state)
        state.save(folder)
        return state.facts


def _catch_up(
    truth: Truth, corpus: SyntheticPassages, to: int, newest: TokenEmbeddings | None, state: _State
) -> None:
    """Answers that know of all documents up to one."""
    with state.at("exact answers"):
        while truth.done < to:
            last = min(truth.done + _BATCH, to)
            fits = newest is not None and last == to and truth.done == to - len(newest)
            truth.add(newest if newest is not None and fits else corpus.documents(truth.done, last))
        truth.save()


def measure(folder: Path, queries: TokenEmbeddings, rounds: int = 3) -> dict[str, Any]:
    """Time and recall of searches with default settings, in turns; processor time, and that of the clock.

    Parameters
    ----------
    folder, queries
        As for `grow`.
    rounds
        How often each query is asked each way.
    """
    truth = Truth(queries, folder / "truth.npz")
    began = time.process_time()
    with Index.open(folder / "index") as index:
        opening, first = time.process_time() - began, time.process_time()
        each = [queries.select([i]) for i in range(len(queries))]
        index.search(each[0])
        first = time.process_time() - first
        ways = [SearchParams(k, threads=threads) for k in (10, _DEEPEST) for threads in _THREADS]
        spent: dict[SearchParams, list[tuple[float, float]]] = {way: [] for way in ways}
        found: dict[int, list[float]] = {10: [], _DEEPEST: []}
        for turn in range(rounds + 1):
            for number, query in enumerate(each):
                for way in ways:
                    start = time.process_time(), time.perf_counter()
                    hits = index.search(query, way)[0]
                    if turn:  # in the first, what is read comes into memory
                        spent[way].append((time.process_time() - start[0], time.perf_counter() - start[1]))
                    elif way.threads == 1:
                        best = set(truth.ids[number, : way.k].tolist()) - {-1}
                        found[way.k].append(len(best & {int(hit.id) for hit in hits}) / max(len(best), 1))
        facts: dict[str, Any] = {"documents": len(index), "vectors": index.n_tokens}
    bytes_of = sizes(folder / "index")
    facts |= {
        "opening_cpu_ms": round(1e3 * opening, 1),
        "first_search_cpu_ms": round(1e3 * first, 1),
        "peak_bytes_searching": anonymous_bytes(),
        "bytes": sum(bytes_of.values()),
        "bytes_per_vector": round(sum(bytes_of.values()) / facts["vectors"], 1),
        "bytes_of_files": dict(sorted(bytes_of.items(), key=lambda item: -item[1])[:6]),
    }
    for k, recalls in found.items():
        facts[f"recall@{k}"] = round(float(np.mean(recalls)), 4)
    for way, times in spent.items():
        cpu, wall = np.median(np.array(times), axis=0) * 1e3
        facts[f"k={way.k}, threads={way.threads}"] = {
            "p50_cpu_ms": round(float(cpu), 2),
            "p50_ms": round(float(wall), 2),
        }
    return facts


@click.command("large")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--docs", type=click.IntRange(min=100), default=1_000_000, show_default=True)
@click.option("--until", type=click.IntRange(min=100), help="Stop at so many of these documents.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Add no more documents after so long.")
@click.option("--tier", default="balanced", show_default=True, type=click.Choice(["balanced", "compact"]))
@click.option("--memory", default="2GB", show_default=True, help="What compressing may use.")
@click.option("--queries", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for large.json.")
def large(
    folder: Path,
    *,
    docs: int,
    until: int | None,
    minutes: float | None,
    tier: str,
    memory: str,
    queries: int,
    rounds: int,
    out: Path | None,
) -> None:
    """Measure an index of a million documents of 100 to 140 vectors: building, memory, time, recall.

    FOLDER is where it is made, 20 kB a document. A run that was interrupted goes on there, and one that
    finds all documents only searches. With --until or --minutes the index is a part of one of --docs
    documents, with the codec made for these.
    """
    corpus = SyntheticPassages(docs)
    asked = corpus.queries(queries, among=_QUERIES_FROM)
    load = os.getloadavg()
    used = grow(
        folder,
        corpus,
        asked,
        tier=tier,
        memory=memory,
        until=until,
        seconds=None if minutes is None else 60 * minutes,
        report=lambda step: click.echo(step, err=True),
    )
    facts = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "library": __version__,
        "machine": {"cpu": cpu_name(), "cpus": os.cpu_count(), "load_at_start": [round(x, 2) for x in load]},
        "tier": tier,
        "memory": memory,
        "planned_documents": docs,
        "building": used,
    }
    facts |= measure(folder, asked, rounds)
    facts["machine"]["load_at_end"] = [round(x, 2) for x in os.getloadavg()]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "large.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print_json(facts)
