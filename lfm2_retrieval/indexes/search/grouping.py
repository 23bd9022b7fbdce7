"""Which of the documents found become hits: enough of them, good enough, and not too many of one group."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...datatypes import SearchParams
from ..catalogue.rows import Entry
from ..filters.fields import MISSING, field_value
from .dense import Found

__all__ = ["choose", "count_matching"]


def choose(
    found: Sequence[Found],
    entries: Mapping[int, Entry],
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
