"""What can be measured, by name: an index searched by vectors, by words or by both, and a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError

__all__ = ["SYSTEMS", "System", "parse_systems"]


@dataclass(frozen=True)
class System:
    """What is measured under a name.

    Parameters
    ----------
    label
        In reports.
    index
        What it searches: ``"exact"``, a tier, or ``"hybrid"``, which is the default tier with texts and
        words; None for an index without vectors.
    options
        Of its searches; see `lfm2_retrieval.datatypes.SearchParams`.
    """

    label: str
    index: str | None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_tier(self) -> bool:
        """Whether it searches by vectors alone, in an index that is compressed once it is large."""
        return self.index is not None and not self.options


SYSTEMS: Mapping[str, System] = {
    "exact": System("exact", "exact", {"exact": True}),
    "accurate": System("accurate", "accurate"),
    "balanced": System("balanced", "balanced"),
    "compact": System("compact", "compact"),
    "hybrid": System("hybrid", "hybrid", {"mode": "hybrid"}),
    "hybrid-weighted": System("hybrid, weighted", "hybrid", {"mode": "hybrid", "fusion": "weighted"}),
    "hybrid-rerank": System("hybrid, reranked", "hybrid", {"mode": "hybrid", "fusion": "rerank"}),
    "lexical": System("by words (BM25)", None, {"mode": "lexical"}),
    "bm25s": System("bm25s", None),
}
"""In the order in which they are measured and reported."""


def parse_systems(names: Iterable[str]) -> tuple[str, ...]:
    """The systems asked for, each once, in the order of `SYSTEMS`.

    Raises
    ------
    InvalidInputError
        If there is none, or one that nobody knows.
    """
    asked = set(names)
    if unknown := sorted(asked - set(SYSTEMS)):
        raise InvalidInputError(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    if not asked:
        raise InvalidInputError(f"name at least one system of {', '.join(SYSTEMS)}")
    return tuple(name for name in SYSTEMS if name in asked)
