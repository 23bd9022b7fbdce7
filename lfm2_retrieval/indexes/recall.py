"""How much of the exact result a search finds, and what it costs to find more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..datatypes import Hit, SearchParams, TokenEmbeddings
from .snapshot import Snapshot

__all__ = ["Recall", "draw_queries", "overlap", "settings_to_try", "timed"]

_QUERY_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Recall:
    """A measurement.

    Parameters
    ----------
    recall
        Share of the exact best ``k`` documents that the search found, averaged over queries.
    k, n_queries
        Of what.
    from_documents
        Whether the queries were drawn from stored documents; such queries are easier than real ones.
    milliseconds
        Median time of a search.
    nprobe, candidates, rerank
        How it searched; None: by default.
    n_documents, n_tokens
        How large the index was.
    """

    recall: float
    k: int
    n_queries: int
    from_documents: bool
    milliseconds: float
    nprobe: int | None
    candidates: int | None
    rerank: int | None
    n_documents: int
    n_tokens: int

    def to_json(self) -> dict[str, Any]:
        """As the settings of an index keep it."""
        return asdict(self)


def draw_queries(snapshot: Snapshot, n: int, rng: np.random.Generator) -> TokenEmbeddings:
    """Pseudo-queries: up to sixteen vectors in a row of each of ``n`` documents, as stored."""
    sizes = np.concatenate([[0], np.cumsum([np.count_nonzero(part.found) for part in snapshot.parts])])
    drawn = np.sort(rng.choice(sizes[-1], min(n, int(sizes[-1])), replace=False))
    pieces, lengths = [np.empty((0, snapshot.dim), np.float32)], []
    for document in drawn:
        number = int(np.searchsorted(sizes, document, "right")) - 1
        part = snapshot.parts[number]
        position = np.flatnonzero(part.found)[document - sizes[number]]
        start, end = part.segment.offsets[position : position + 2]
        length = min(int(end - start), _QUERY_TOKENS)
        start += rng.integers(end - start - length + 1)
        pieces.append(np.empty((length, snapshot.dim), np.float32))
        part.segment.decode(np.array([start]), np.array([start + length]), pieces[-1])
        lengths.append(length)
    return TokenEmbeddings(np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def overlap(found: Sequence[Sequence[Hit]], exact: Sequence[Sequence[str]]) -> float:
    """The mean share of each query's exact hits that were found; queries without exact hits don't count."""
    shares = [
        len({hit.id for hit in some} & set(best)) / len(best)
        for some, best in zip(found, exact, strict=True)
        if best
    ]
    return float(np.mean(shares)) if shares else 1.0


def settings_to_try(k: int) -> list[SearchParams]:
    """A grid, from cheap to dear as a rule; what each costs is measured."""
    return [
        SearchParams(k, nprobe=nprobe, candidates=max(candidates, 2 * k), rerank=rerank)
        for candidates, rerank in ((64, k + 10), (128, 2 * k + 10), (256, 3 * k + 20), (1024, 8 * k + 40))
        for nprobe in (4, 8, 16, 32, 64)
    ]


def timed(
    search: Callable[[TokenEmbeddings, SearchParams], list[list[Hit]]],
    queries: TokenEmbeddings,
    params: SearchParams,
) -> tuple[list[list[Hit]], float]:
    """The hits of each query, searched one at a time, and the median in milliseconds."""
    hits, times = [], []
    for i in range(len(queries)):
        query = queries.select([i])
        start = time.perf_counter()
        hits += search(query, params)
        times.append(1000 * (time.perf_counter() - start))
    return hits, float(np.median(times)) if times else 0.0
