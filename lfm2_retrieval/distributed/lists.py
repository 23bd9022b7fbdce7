"""What all shards of a collection find together: their lists merged, as one index would have them.

A document is known by one number: its key in its shard, which says its place in the order of insertion, times
the number of shards, plus that of its own. So equal scores come as in one index.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datatypes import Hit, Mode, ScoreKind, SearchParams, TokenEmbeddings
from ..indexes import Asked, Chosen, Found, Listed, Where, WordStatistics
from ..platform.forks import cached_property
from .routing import shard_of

if TYPE_CHECKING:
    from .index import ShardedIndex

__all__ = ["ShardedLists", "merged"]


def merged(lists: Mapping[int, Sequence[Found]], n_shards: int, k: int) -> list[Found]:
    """The best ``k`` of several shards' lists, each best first; equal scores in order of insertion.

    Parameters
    ----------
    lists
        By number of the shard, with keys of the shard.
    n_shards
        How many shards the collection has.
    k
        How many.
    """

    def numbered(number: int, found: Sequence[Found]) -> Iterator[tuple[float, int, Found]]:
        return ((-one.score, one.key * n_shards + number, one) for one in found)

    best = heapq.merge(*(numbered(number, found) for number, found in lists.items()))
    return [one._replace(key=key) for _, key, one in islice(best, k)]


class ShardedLists:
    """What all shards have for some queries; see `Lists`.

    Parameters
    ----------
    index
        The shards, held at one commit of each.
    queries, texts, params, where
        What is asked.
    with_hits
        Whether all that is listed at first is likely to be a hit.
    """

    def __init__(
        self,
        index: ShardedIndex,
        queries: TokenEmbeddings | None,
        texts: Sequence[str] | None,
        params: SearchParams,
        where: Where | None,
        *,
        with_hits: bool = False,
    ) -> None:
        self._index = index
        self._n = index.n_shards
        self._queries, self._texts, self._params, self._where = queries, texts, params, where
        self._with_hits = with_hits and params.mode is not Mode.HYBRID
        self._listed: tuple[int, dict[int, Listed]] = 0, {}
        self._hits: dict[int, Hit] = {}

    def deep(self, depth: int) -> SearchParams:
        """The search for so many documents."""
        return replace(self._params, k=depth)

    def by_vectors(self, k: int) -> list[list[Found]]:
        """See `Lists`."""
        return self._merged(k, "by_vectors")

    def by_words(self, k: int) -> list[list[Found]]:
        """See `Lists`."""
        return self._merged(k, "by_words")

    def _merged(self, k: int, kind: str) -> list[list[Found]]:
        answers = {number: getattr(one, kind) for number, one in self._list(k).items()}
        return [
            merged({number: lists[i] for number, lists in answers.items()}, self._n, k)
            for i in range(self._n_queries)
        ]

    def _list(self, k: int) -> dict[int, Listed]:
        """What each shard has, asked once for a depth."""
        if self._listed[0] != k:
            asked = self._asked(k)
            answers: dict[int, Listed] = self._index.ask_all("find", asked)
            for number, one in answers.items():
                self._keep(number, one.hits)
            self._listed = k, answers
        return self._listed[1]

    def _asked(self, k: int) -> Asked:
        params = replace(self._params, k=k, group_by=None, min_score=None, threads=None)
        words = None if self._params.mode is Mode.DENSE else self._words
        return Asked(self._queries, self._texts, params, self._where, words, self._with_hits)

    @cached_property
    def _words(self) -> WordStatistics:
        """The statistics of the whole collection."""
        known = self._statistics(())
        if missing := known.uncounted():
            known = self._statistics(frozenset(missing))
        return known

    def _statistics(self, counted: Iterable[Any]) -> WordStatistics:
        first, *others = self._index.ask_all("statistics", self._texts, counted).values()
        for other in others:
            first = first.plus(other)
        found: WordStatistics = first
        return found

    def rescored(self, keys: Sequence[NDArray[np.int64]]) -> list[list[Found]]:
        """See `Lists`."""
        answers = self._index.ask("rescored", self._by_shard(keys))
        return [
            merged({number: lists[i] for number, lists in answers.items()}, self._n, max(len(some), 1))
            for i, some in enumerate(keys)
        ]

    def word_scores(self, keys: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """See `Lists`."""
        scores = [np.zeros(len(some), np.float32) for some in keys]
        for number, answer in self._index.ask("word_scores", self._by_shard(keys)).items():
            for mine, some, found in zip(scores, keys, answer, strict=True):
                mine[some % self._n == number] = found
        return scores

    def _by_shard(self, keys: Sequence[NDArray[np.int64]]) -> dict[int, tuple[Any, ...]]:
        """The arguments for each shard that has some of the documents."""
        asked = self._asked(self._params.k)
        numbers = np.unique(np.concatenate([some % self._n for some in keys] or [np.zeros(0, np.int64)]))
        return {
            number: (asked, [some[some % self._n == number] // self._n for some in keys])
            for number in numbers.tolist()
        }

    def hits(self, found: Sequence[Sequence[Found]]) -> dict[int, Hit]:
        """What is stored of documents that were found."""
        wanted = {one.key for some in found for one in some} - self._hits.keys()
        asked: dict[int, list[int]] = {}
        for key in sorted(wanted):
            asked.setdefault(key % self._n, []).append(key // self._n)
        answers = self._index.ask("hits", {number: (keys,) for number, keys in asked.items()})
        for number, hits in answers.items():
            self._keep(number, hits)
        return self._hits

    def _keep(self, number: int, hits: Mapping[int, Hit]) -> None:
        for key, hit in hits.items():
            if shard_of(hit.document_id, self._n) != number:
                raise self._index.misrouted(hit.document_id, number)
            self._hits[key * self._n + number] = hit

    def documents(self, found: Sequence[Sequence[Found]]) -> dict[int, int]:
        """Of passages that were found the numbers of their documents."""
        asked: dict[int, list[int]] = {}
        for key in sorted({one.key for some in found for one in some}):
            asked.setdefault(key % self._n, []).append(key // self._n)
        answers = self._index.ask("documents_of", {number: (keys,) for number, keys in asked.items()})
        return {
            key * self._n + number: document * self._n + number
            for number, documents in answers.items()
            for key, document in documents.items()
        }

    def scored(self, chosen: Chosen, lengths: Sequence[int]) -> list[list[Hit]]:
        """The hits chosen; ``lengths``: how many vectors each query has."""
        stored = self.hits(chosen.found)
        hits = [
            [_scored(stored[one.key], one, rank, length) for rank, one in enumerate(some, 1)]
            for some, length in zip(chosen.found, lengths, strict=True)
        ]
        if chosen.n_matching is None:
            return hits
        return [
            [replace(hit, n_matching=n) for hit, n in zip(some, numbers, strict=True)]
            for some, numbers in zip(hits, chosen.n_matching, strict=True)
        ]

    def ranked(
        self, answers: Mapping[int, Sequence[tuple[list[Found], dict[int, Hit]]]], lengths: Sequence[int]
    ) -> list[list[Hit]]:
        """The hits of shards that ranked documents under some ids."""
        for number, ranked in answers.items():
            for _, hits in ranked:
                self._keep(number, hits)
        found = [
            merged({number: ranked[i][0] for number, ranked in answers.items()}, self._n, 1 << 62)
            for i in range(len(lengths))
        ]
        return self.scored(Chosen(found), lengths)

    @property
    def _n_queries(self) -> int:
        return len(self._texts or ()) if self._queries is None else len(self._queries)


def _scored(hit: Hit, found: Found, rank: int, length: int) -> Hit:
    maxsim = found.kind in (ScoreKind.MAXSIM, ScoreKind.ESTIMATE)
    return replace(
        hit,
        score=found.score,
        rank=rank,
        score_kind=found.kind,
        normalized_score=found.score / length if maxsim else None,
    )
