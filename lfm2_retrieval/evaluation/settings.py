"""How to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError
from .compat import Compat
from .systems import parse_systems

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Parameters
    ----------
    systems
        What to measure, by name; see `lfm2_retrieval.evaluation.systems`.
    cross_lingual
        Whether to ask each language's documents in every language.
    shared_queries
        Whether to measure a task on the queries that all its languages have. Without it a language that lacks
        some is an error.
    compat
        Whose evaluator to reproduce.
    depth
        How many documents a query gets, at least 100; 1,000 with mteb's.
    batch_size
        Documents encoded at a time.
    seed
        Of the bootstrap and of compressing.
    """

    systems: Sequence[str] = ("exact",)
    cross_lingual: bool = False
    shared_queries: bool = False
    compat: Compat | None = None
    depth: int = 100
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "systems", parse_systems(self.systems))
        if self.depth < 100:
            raise InvalidInputError(
                f"the depth must be at least 100, for R@100 and nDCG@100, not {self.depth}"
            )
        if self.compat is Compat.MTEB and self.depth < 1000:
            object.__setattr__(self, "depth", 1000)
