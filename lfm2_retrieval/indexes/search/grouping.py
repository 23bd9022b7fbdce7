"""Which of the documents found become hits: enough of them, good enough, and not too many of one group."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...datatypes import SearchParams
from ..filters.fields import MISSING, field_value
from .dense import Found

__all__ = ["Chosen", "Described", "Search", "choose", "choose_all", "count_matching"]

_POOL = 50
"""Among so many passages at least those that match are counted, see `SearchParams.by`."""
_GROWTH = 4
"""So many times as many documents are looked for when those found don't fill the groups."""


class Described(Protocol):
    """What has metadata to group by."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search of some queries from which hits are to be chosen.

    Parameters
    ----------
    params, limits
        How to search; and the same of each query, with a number as the least score.
    count
        How many documents may be found.
    by_document
        Whether only the best passage of each document is a hit.
    find
        Finds so many documents of each query.
    fetch, documents
        Of those found, by key: what is stored, and the numbers of the documents that passages are of.
    """

    params: SearchParams
    limits: Sequence[SearchParams]
    count: int
    by_document: bool
    find: Callable[[int], list[list[Found]]]
    fetch: Callable[[Sequence[Sequence[Found]]], Mapping[int, Described]]
    documents: Callable[[Sequence[Sequence[Found]]], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The hits of each query; and, of a search by document, how many more passages of each one's match."""

    found: list[list[Found]]
    n_matching: list[list[int]] | None = None


def choose_all(search: Search) -> Chosen:
    """Choose the hits of each query.

    Where groups pass over documents, more are looked for until every query has enough hits, or all
    documents were looked at.
    """
    params, grouped = search.params, search.params.group_by is not None
    depth, pool = params.k, max(_POOL, _GROWTH * params.k)
    if grouped or search.by_document:
        depth = min(pool if search.by_document else _GROWTH * params.k, max(search.count, params.k))
    while True:
        found = search.find(depth)
        documents = search.documents(found) if search.by_document else None
        entries = search.fetch(found) if grouped else {}
        chosen = [
            choose(some, entries, one, documents) for some, one in zip(found, search.limits, strict=True)
        ]
        wants_more = any(
            is_open and len(some) == depth for some, (_, is_open) in zip(found, chosen, strict=True)
        )
        if depth >= search.count or not wants_more:
            break
        depth = min(_GROWTH * depth, search.count)
    kept = [hits for hits, _ in chosen]
    if documents is None:
        return Chosen(kept)
    counts = [
        count_matching(some, documents, one, pool) for some, one in zip(found, search.limits, strict=True)
    ]
    return Chosen(
        kept,
        [
            [max(0, count[documents[hit.key]] - 1) for hit in hits]
            for hits, count in zip(kept, counts, strict=True)
        ],
    )


def choose(
    found: Sequence[Found],
    entries: Mapping[int, Described],
    params: SearchParams,
    documents: Mapping[int, int] | None = None,
) -> tuple[list[Found], bool]:
    """The hits among documents, best first; and whether worse documents could be hits, too.

    Parameters
    ----------
    found
        Best first.
    entries
        Those found, by key; needed where ``params`` has a field to group by.
    params
        How many, how good, and how many of a group.
    documents
        Of passages, by key, the number of their document, of which only the best passage is a hit.
    """
    chosen: list[Found] = []
    sizes: Counter[str] = Counter()
    seen: set[int] = set()
    for hit in found:
        least = -math.inf if params.min_score is None else float(params.min_score)
        if len(chosen) == params.k or hit.score < least:
            return chosen, False
        if documents is not None:
            if documents[hit.key] in seen:
                continue
            seen.add(documents[hit.key])
        if params.group_by is not None:
            group = _group(field_value(entries[hit.key].metadata, params.group_by))
            if group is not None:
                sizes[group] += 1
                if sizes[group] > params.group_size:
                    continue
        chosen.append(hit)
    return chosen, len(chosen) < params.k


def count_matching(
    found: Sequence[Found], documents: Mapping[int, int], params: SearchParams, pool: int
) -> Counter[int]:
    """How many passages of each document are among the best ``pool``, and good enough."""
    least = -math.inf if params.min_score is None else float(params.min_score)
    return Counter(documents[hit.key] for hit in found[:pool] if hit.score >= least)


def _group(value: Any) -> str | None:
    """A name for a JSON value; None for null or none, which is no group. 1 and 1.0 are the same number."""
    if value is None or value is MISSING:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)
