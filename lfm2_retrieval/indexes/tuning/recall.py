"""How much of the exact result a search finds, and in what time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datatypes import Hit, SearchParams, TokenEmbeddings
from ..commits.snapshot import Snapshot

__all__ = ["Recall", "Trials", "draw_queries", "in_words", "share_found"]

Search = Callable[[TokenEmbeddings, SearchParams], list[list[Hit]]]

_QUERY_TOKENS = 12
"""How many vectors a pseudo-query has: a short question's."""
_OF_ANOTHER = 0.7
"""How much of another vector is mixed in."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A measurement.

    Parameters
    ----------
    recall
        Share of the exact best ``k`` documents that the search found, averaged over queries. Exact is MaxSim
        on the best vectors stored: what compression itself loses is not counted.
    error
        Standard error of that average: how far it may be off because there are not more queries.
    k, n_queries
        Of what.
    from_documents
        Whether the queries were drawn from stored documents; such queries are easier than real ones.
    milliseconds
        Median time of a search for one query.
    nprobe, candidates, rerank
        How it searched; None: by default, or not at all, where nothing is compressed and every document is
        scored.
    n_documents, n_tokens
        How large the index was.
    """

    recall: float
    error: float
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


def in_words(nprobe: int | None, candidates: int | None, rerank: int | None) -> str:
    """The numbers of a search as people read them."""
    named = {"nprobe": nprobe, "candidates": candidates, "rerank": rerank}
    said = [f"{name} {number}" for name, number in named.items() if number is not None]
    return ", ".join(said) or "no fixed numbers"


class Trials:
    """Searches with several settings for the same queries, in turns.

    For each query all settings take their turn before the next query, each time beginning with another, and a
    reference is always among them. Times are corrected by what the reference took in the same turn, compared
    with what it takes as a rule: settings that were tried at different times, by a machine that was busy now
    and then, can still be compared.

    Parameters
    ----------
    search
        What is measured.
    queries
        One search each; none of them empty.
    exact
        Their exact hits.
    reference
        The setting that is always among them.
    """

    def __init__(
        self,
        search: Search,
        queries: TokenEmbeddings,
        exact: Sequence[Sequence[Hit]],
        reference: SearchParams,
    ) -> None:
        self._search = search
        self._queries = [queries.select([i]) for i in range(len(queries))]
        self._exact = exact
        self.reference = reference
        self._paces: list[list[float]] = [[] for _ in self._queries]
        self._shares: dict[SearchParams, dict[int, float]] = {}
        self._times: dict[SearchParams, dict[int, list[tuple[int, float]]]] = {}

    def __len__(self) -> int:
        return len(self._queries)

    @property
    def tried(self) -> list[SearchParams]:
        """All settings that were asked for, in that order."""
        return list(self._shares)

    def run(self, settings: Sequence[SearchParams], n_queries: int, rounds: int = 1) -> None:
        """Search with each of some settings for the first queries, until each was asked ``rounds`` times."""
        for params in (self.reference, *settings):
            self._shares.setdefault(params, {})
            self._times.setdefault(params, {})
        for turn in range(rounds):
            for number in range(min(n_queries, len(self))):
                waiting = [one for one in settings if len(self._times[one].get(number, ())) <= turn]
                if waiting:
                    self._take_turns(number, list(dict.fromkeys([self.reference, *waiting])))

    def _take_turns(self, number: int, settings: list[SearchParams]) -> None:
        turn = len(self._paces[number])
        first = (number + turn) % len(settings)
        for params in settings[first:] + settings[:first]:
            start = time.perf_counter()
            (hits,) = self._search(self._queries[number], params)
            elapsed = 1000 * (time.perf_counter() - start)
            self._times[params].setdefault(number, []).append((turn, elapsed))
            self._shares[params][number] = share_found(hits, self._exact[number])
            if params == self.reference:
                self._paces[number].append(elapsed)

    def n_queries(self, params: SearchParams) -> int:
        """How many queries a setting was asked."""
        return len(self._shares[params])

    def recall(self, params: SearchParams, n_queries: int | None = None) -> float:
        """The mean share of a setting, of all queries asked or of the first."""
        return float(np.mean([self._shares[params][i] for i in self._first(params, n_queries)]))

    def error(self, params: SearchParams) -> float:
        """The standard error of `recall`; 0 of a single query."""
        shares = list(self._shares[params].values())
        return float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else 0.0

    def milliseconds(self, params: SearchParams, n_queries: int | None = None) -> float:
        """The median over queries of the median over rounds, corrected."""
        medians = []
        for i in self._first(params, n_queries):
            usual = float(np.median(self._paces[i]))
            times = [elapsed * usual / self._paces[i][turn] for turn, elapsed in self._times[params][i]]
            medians.append(np.median(times))
        return float(np.median(medians))

    def _first(self, params: SearchParams, n_queries: int | None) -> list[int]:
        return [i for i in self._shares[params] if n_queries is None or i < n_queries]


def share_found(found: Sequence[Hit], exact: Sequence[Hit]) -> float:
    """The share of the exact hits that were found; those that tie with the last of them are as good.

    1 where there are no exact hits.
    """
    if not exact:
        return 1.0
    wanted, worst = {hit.id for hit in exact}, exact[-1].score
    good = sum(hit.id in wanted or hit.score >= worst for hit in found)
    return min(good, len(exact)) / len(exact)


def draw_queries(snapshot: Snapshot, n: int, rng: np.random.Generator) -> TokenEmbeddings:
    """Pseudo-queries: a passage's vectors in a row, each mixed with another one.

    Vectors as stored would be too easy, as the document they are from holds them all, and so would be vectors
    with random noise, which leads nowhere. A random stored vector leads to other documents. With .7 of it to
    1 of the document's, twelve vectors a query, queries were as near to their best document and found as much
    of the exact result, at six settings from cheap to dear, as real questions to the same 5,000 passages.

    Parameters
    ----------
    snapshot
        With a document that has vectors.
    n
        How many, at most one for each document that has vectors.
    rng
        Where documents, places and the other vectors come from.

    Returns
    -------
    TokenEmbeddings
        float32; twelve vectors each, or as many as the document has; in random order of documents.
    """
    found = [np.flatnonzero(part.found) for part in snapshot.parts]
    bounds = np.concatenate([[0], np.cumsum([len(some) for some in found])])
    drawn = rng.choice(bounds[-1], min(n, int(bounds[-1])), replace=False)

    def passage(document: int, length: int) -> NDArray[np.float32]:
        """Up to so many vectors in a row of the document of that number among those found."""
        number = int(np.searchsorted(bounds, document, "right")) - 1
        segment = snapshot.parts[number].segment
        position = int(found[number][document - bounds[number]])
        start, end = segment.offsets[position : position + 2].tolist()
        length = min(length, end - start)
        start += int(rng.integers(end - start - length + 1))
        vectors = np.empty((length, snapshot.dim), np.float32)
        segment.decode(np.array([start]), np.array([start + length]), vectors)
        return vectors

    queries = []
    for document in drawn:
        own = passage(int(document), _QUERY_TOKENS)
        foreign = np.concatenate([passage(int(i), 1) for i in rng.integers(bounds[-1], size=len(own))])
        lengths = np.linalg.norm(own, axis=1, keepdims=True)
        mixed = _unit(own) + _OF_ANOTHER * _unit(foreign)
        queries.append((_unit(mixed) * lengths).astype(np.float32))
    offsets = np.concatenate([[0], np.cumsum([len(query) for query in queries])]).astype(np.int64)
    return TokenEmbeddings(np.concatenate([np.empty((0, snapshot.dim), np.float32), *queries]), offsets)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
