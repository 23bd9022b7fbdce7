"""What a search by vectors, by words or by both finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...datatypes import Fusion, Mode, ScoreKind, SearchParams, TokenEmbeddings
from ..commits.snapshot import Snapshot
from .bm25 import Scored
from .dense import Found, rescore
from .scan import best

__all__ = ["Dense", "find"]

_LEAST_DEPTH = 50

Dense = Callable[[TokenEmbeddings, SearchParams], list[list[Found]]]
"""A search by vectors."""


def find(
    snapshot: Snapshot,
    queries: TokenEmbeddings | None,
    words: Sequence[Scored] | None,
    params: SearchParams,
    dense: Dense,
) -> list[list[Found]]:
    """For each query up to ``params.k`` documents, best first, equal scores in order of insertion.

    Parameters
    ----------
    snapshot
        What may be found.
    queries
        Their vectors; None only in a search by words.
    words
        The scores of their words, in these documents alone; None only in a search by vectors.
    params, dense
        How to search.
    """
    if params.mode is Mode.DENSE or words is None:
        assert queries is not None
        return dense(queries, params)
    if params.mode is Mode.LEXICAL or queries is None:
        return [_best(one.keys, one.scores, params.k, ScoreKind.BM25) for one in words]
    depth = max(params.depth or max(2 * params.k, _LEAST_DEPTH), params.k)
    by_vectors = dense(queries, replace(params, k=depth))
    by_words = [_best(one.keys, one.scores, depth, ScoreKind.BM25) for one in words]
    if params.fusion is Fusion.RRF:
        return [_by_rank(*both, params) for both in zip(by_vectors, by_words, strict=True)]
    scored = _all_scored(snapshot, queries, by_vectors, by_words)
    if params.fusion is Fusion.RERANK:
        return [one[: params.k] for one in scored]
    keys = [_keys([*one, *other]) for one, other in zip(by_vectors, by_words, strict=True)]
    return [_by_score(*some, params) for some in zip(keys, scored, words, strict=True)]


def _all_scored(
    snapshot: Snapshot,
    queries: TokenEmbeddings,
    by_vectors: Sequence[list[Found]],
    by_words: Sequence[list[Found]],
) -> list[list[Found]]:
    """The documents of both lists by their MaxSim, which those found by vectors have already."""
    only_words = [
        np.setdiff1d(_keys(some), _keys(others)) for some, others in zip(by_words, by_vectors, strict=True)
    ]
    rescored = rescore(snapshot, queries, only_words)
    return [
        sorted([*some, *others], key=lambda hit: (-hit.score, hit.key))
        for some, others in zip(by_vectors, rescored, strict=True)
    ]


def _by_rank(by_vectors: list[Found], by_words: list[Found], params: SearchParams) -> list[Found]:
    """Reciprocal rank fusion; of weight .5 as published."""
    keys = _keys([*by_vectors, *by_words])
    scores = np.zeros(len(keys))
    for found, weight in ((by_vectors, params.weight), (by_words, 1 - params.weight)):
        places = np.searchsorted(keys, [hit.key for hit in found])
        scores[places] += 2 * weight / (params.rrf_k + 1 + np.arange(len(found)))
    return _best(keys, scores, params.k, ScoreKind.RRF)


def _by_score(
    keys: NDArray[np.int64], scored: list[Found], words: Scored, params: SearchParams
) -> list[Found]:
    """The weighted mean of MaxSim, from 0 for the lowest of the candidates to 1, and BM25, from 0 to 1."""
    similar = np.zeros(len(keys))  # documents without vectors have no MaxSim
    if scored:
        scores = np.array([hit.score for hit in scored])
        width = scores.max() - scores.min()
        places = np.searchsorted(keys, [hit.key for hit in scored])
        similar[places] = (scores - scores.min()) / width if width else 1.0
    matching = words.of(keys).astype(np.float64)
    matching /= matching.max(initial=0.0) or 1.0
    mixed = params.weight * similar + (1 - params.weight) * matching
    return _best(keys, mixed, params.k, ScoreKind.WEIGHTED)


def _best(keys: NDArray[np.int64], scores: NDArray[np.floating], k: int, kind: ScoreKind) -> list[Found]:
    rounded = scores.astype(np.float32)
    return [Found(float(rounded[i]), int(keys[i]), kind) for i in best(rounded, keys, k)]


def _keys(found: Sequence[Found]) -> NDArray[np.int64]:
    """The keys of all, rising, each once."""
    return np.unique(np.array([hit.key for hit in found], np.int64))
