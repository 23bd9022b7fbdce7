"""What a search by vectors, by words or by both finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..datatypes import Fusion, Mode, ScoreKind, SearchParams, TokenEmbeddings
from . import maxsim
from .bm25 import Scored
from .search import Found, rescore
from .snapshot import Snapshot

__all__ = ["find"]

_LEAST_DEPTH = 50

Dense = Callable[[SearchParams], list[list[Found]]]
"""A search by vectors with other parameters."""


def find(
    snapshot: Snapshot,
    queries: TokenEmbeddings | None,
    spoken: Sequence[Scored] | None,
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
    spoken
        Their words' scores; None only in a search by vectors.
    params, dense
        How to search.
    """
    if params.mode is Mode.DENSE or spoken is None:
        return dense(params)
    alive = snapshot.places.keys
    spoken = [one.among(alive) for one in spoken]
    if params.mode is Mode.LEXICAL or queries is None:
        return [_best(one.keys, one.scores, params.k, ScoreKind.BM25) for one in spoken]
    depth = max(params.depth or max(2 * params.k, _LEAST_DEPTH), params.k)
    listed = dense(replace(params, k=depth))
    said = [_best(one.keys, one.scores, depth, ScoreKind.BM25) for one in spoken]
    if params.fusion is Fusion.RRF:
        return [_by_rank(*both, params) for both in zip(listed, said, strict=True)]
    both = [_keys([*one, *other]) for one, other in zip(listed, said, strict=True)]
    scored = rescore(snapshot, queries, both)
    if params.fusion is Fusion.RERANK:
        return [one[: params.k] for one in scored]
    return [_by_score(*some, params) for some in zip(both, scored, spoken, strict=True)]


def _by_rank(listed: list[Found], said: list[Found], params: SearchParams) -> list[Found]:
    """Reciprocal rank fusion; of weight .5 as published."""
    keys = _keys([*listed, *said])
    scores = np.zeros(len(keys))
    for found, weight in ((listed, params.weight), (said, 1 - params.weight)):
        places = np.searchsorted(keys, [hit.key for hit in found])
        scores[places] += 2 * weight / (params.rrf_k + 1 + np.arange(len(found)))
    return _best(keys, scores, params.k, ScoreKind.RRF)


def _by_score(
    keys: NDArray[np.int64], scored: list[Found], spoken: Scored, params: SearchParams
) -> list[Found]:
    """The weighted mean of MaxSim, from 0 for the lowest of the candidates to 1, and BM25, from 0 to 1."""
    near = np.zeros(len(keys))
    if scored:
        scores = np.array([hit.score for hit in scored])
        width = scores.max() - scores.min()
        places = np.searchsorted(keys, [hit.key for hit in scored])
        near[places] = (scores - scores.min()) / width if width else 1.0
    said = spoken.of(keys).astype(np.float64)
    said /= said.max(initial=0.0) or 1.0
    return _best(keys, params.weight * near + (1 - params.weight) * said, params.k, ScoreKind.WEIGHTED)


def _best(keys: NDArray[np.int64], scores: NDArray[np.floating], k: int, kind: ScoreKind) -> list[Found]:
    rounded = scores.astype(np.float32)
    return [Found(float(rounded[i]), int(keys[i]), kind) for i in maxsim.best(rounded, keys, k)]


def _keys(found: Sequence[Found]) -> NDArray[np.int64]:
    """The keys of all, rising, each once."""
    return np.unique(np.array([hit.key for hit in found], np.int64))
