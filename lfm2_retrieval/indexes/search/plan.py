"""How many documents each step of a search looks at, where the caller doesn't say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from ...datatypes import SearchParams

if TYPE_CHECKING:
    from ..commits.snapshot import Snapshot

__all__ = ["Plan", "error_growth", "plan"]

_WIDER = 8
"""So many times as many documents as the fewest are scored by codes at most, and reranked, 24 more each."""
_GROWN = 1 << 17
"""Beyond so many documents, each doubling adds a third to the default short lists."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to look at: ``k`` ≤ ``rerank`` ≤ ``candidates``, each the fewest and the most.

    Parameters
    ----------
    k, nprobe
        As in `SearchParams`.
    gathered
        How many documents of usual length are scored by centroids.
    candidates, rerank
        As in `SearchParams`: (fewest, most), the same where the caller said how many.
    """

    k: int
    nprobe: int
    gathered: int
    candidates: tuple[int, int]
    rerank: tuple[int, int]


def plan(params: SearchParams, precise: bool = True, n_documents: int = 0) -> Plan:
    """Fill in the defaults, which were measured: on 20,000 real passages, by two encoders, and on a million
    short documents.

    Parameters
    ----------
    params
        What the caller said.
    precise
        Whether better vectors than the codes are stored. Where not, longer short lists find hardly more.
    n_documents
        How many documents there are to choose from.
    """
    k = params.k
    growth = 1 + max(0.0, math.log2(max(n_documents, 1) / _GROWN)) / 3
    few = max(params.rerank or round(growth * ((2 if precise else 10) + k)), k)
    rerank = few, few if params.rerank or not precise else _WIDER * (few + 24)
    if params.candidates:
        few = max(params.candidates, few)
        return Plan(k, params.nprobe or 16, 2 * few, (few, few), (rerank[0], min(rerank[1], few)))
    few = max(round(growth * (200 + 10 * k)), few)
    wider = _WIDER if precise else 2
    gathered = round((8 if precise else 6) * math.sqrt(growth) * few)  # of many, lists tell less
    return Plan(k, params.nprobe or 16, gathered, (few, wider * few), rerank)


def error_growth(snapshot: Snapshot) -> float:
    """How many times as large as a codec's sample says errors may be: the worst segment's root mean square to
    the sample's, at least 1.

    Of the codec that encoded last: a newer one, half-way through a build, has encoded nothing.
    """
    errors = snapshot.settings.get("errors")
    if not isinstance(errors, dict):
        return 1.0
    worst = errors.get("worst")
    for trained in snapshot.codecs:
        mean = trained.codec.facts.get("mean_square_error")
        if trained.codec.id == errors.get("codec") and _is_positive(worst) and _is_positive(mean):
            return max(1.0, math.sqrt(worst / mean))
    return 1.0


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and 0 < value < math.inf
