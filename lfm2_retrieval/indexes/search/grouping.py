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

__all__ = ["choose"]


def choose(
    found: Sequence[Found], entries: Mapping[int, Entry], params: SearchParams
) -> tuple[list[Found], bool]:
    """The hits among documents, best first; and whether worse documents could be hits, too."""
    chosen: list[Found] = []
    sizes: Counter[str] = Counter()
    for hit in found:
        least = -math.inf if params.min_score is None else float(params.min_score)
        if len(chosen) == params.k or hit.score < least:
            return chosen, False
        if params.group_by is not None:
            group = _group(field_value(entries[hit.key].metadata, params.group_by))
            if group is not None:
                sizes[group] += 1
                if sizes[group] > params.group_size:
                    continue
        chosen.append(hit)
    return chosen, len(chosen) < params.k


def _group(value: Any) -> str | None:
    """A name for a JSON value; None for null or none, which is no group. 1 and 1.0 are the same number."""
    if value is None or value is MISSING:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)
