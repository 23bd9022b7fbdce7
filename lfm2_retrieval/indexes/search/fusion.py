"""What a search by vectors, by words or by both finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...datatypes import Fusion, Mode, ScoreKind, SearchParams
from .dense import Found
from .scan import best

__all__ = ["Lists", "best_scored", "find"]

_LEAST_DEPTH = 50

Keys = NDArray[np.int64]


class Lists(Protocol):
    """What is found by vectors and by words: in one commit of an index, or in all parts of a collection."""

    def by_vectors(self, k: int) -> list[list[Found]]:
        """The best of each query by MaxSim, equal scores in order of insertion."""

    def by_words(self, k: int) -> list[list[Found]]:
        """The best by BM25, likewise."""

    def rescored(self, keys: Sequence[Keys]) -> list[list[Found]]:
        """Some documents of each query by their MaxSim, those without vectors left out."""

    def word_scores(self, keys: Sequence[Keys]) -> list[NDArray[np.float32]]:
        """BM25 of some documents of each query."""


def find(lists: Lists, params: SearchParams) -> list[list[Found]]:
    """For each query up to ``params.k`` documents, best first, equal scores in order of insertion."""
    if params.mode is Mode.DENSE:
        return lists.by_vectors(params.k)
    if params.mode is Mode.LEXICAL:
        return lists.by_words(params.k)
    depth = max(params.depth or max(2 * params.k, _LEAST_DEPTH), params.k)
    by_vectors, by_words = lists.by_vectors(depth), lists.by_words(depth)
    if params.fusion is Fusion.RRF:
        return [_by_rank(*both, params) for both in zip(by_vectors, by_words, strict=True)]
    scored = _all_scored(lists, by_vectors, by_words)
    if params.fusion is Fusion.RERANK:
        return [one[: params.k] for one in scored]
    keys = [_keys([*one, *other]) for one, other in zip(by_vectors, by_words, strict=True)]
    return [_by_score(*some, params) for some in zip(keys, scored, lists.word_scores(keys), strict=True)]


def _all_scored(
    lists: Lists, by_vectors: Sequence[list[Found]], by_words: Sequence[list[Found]]
) -> list[list[Found]]:
    """The documents of both lists by their MaxSim, which those found by vectors have already."""
    only_words = [
        np.setdiff1d(_keys(some), _keys(others)) for some, others in zip(by_words, by_vectors, strict=True)
    ]
    return [
        sorted([*some, *others], key=lambda hit: (-hit.score, hit.key))
        for some, others in zip(by_vectors, lists.rescored(only_words), strict=True)
    ]


def _by_rank(by_vectors: list[Found], by_words: list[Found], params: SearchParams) -> list[Found]:
    """Reciprocal rank fusion; of weight .5 as published."""
    keys = _keys([*by_vectors, *by_words])
    scores = np.zeros(len(keys))
    for found, weight in ((by_vectors, params.weight), (by_words, 1 - params.weight)):
        places = np.searchsorted(keys, [hit.key for hit in found])
        scores[places] += 2 * weight / (params.rrf_k + 1 + np.arange(len(found)))
    return best_scored(keys, scores, params.k, ScoreKind.RRF)


def _by_score(
    keys: Keys, scored: list[Found], words: NDArray[np.float32], params: SearchParams
) -> list[Found]:
    """The weighted mean of MaxSim, from 0 for the lowest of the candidates to 1, and BM25, from 0 to 1."""
    similar = np.zeros(len(keys))  # documents without vectors have no MaxSim
    if scored:
        scores = np.array([hit.score for hit in scored])
        width = scores.max() - scores.min()
        places = np.searchsorted(keys, [hit.key for hit in scored])
        similar[places] = (scores - scores.min()) / width if width else 1.0
    matching = words.astype(np.float64)
    matching /= matching.max(initial=0.0) or 1.0
    mixed = params.weight * similar + (1 - params.weight) * matching
    return best_scored(keys, mixed, params.k, ScoreKind.WEIGHTED)


def best_scored(keys: Keys, scores: NDArray[np.floating], k: int, kind: ScoreKind) -> list[Found]:
    """The ``k`` best of some documents, whose scores are rounded to float32, equal ones by key."""
    rounded = scores.astype(np.float32)
    return [Found(float(rounded[i]), int(keys[i]), kind) for i in best(rounded, keys, k)]


def _keys(found: Sequence[Found]) -> Keys:
    """The keys of all, rising, each once."""
    return np.unique(np.array([hit.key for hit in found], np.int64))
