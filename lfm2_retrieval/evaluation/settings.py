"""How to evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidInputError
from ..indexes import Tier
from .systems import Compat

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Parameters
    ----------
    index
        "exact": MaxSim with every document on float16 vectors. "compressed": that and, beside it, a
        compressed index.
    tier
        Of the compressed index.
    bm25
        Whether to measure BM25, too.
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

    index: Literal["exact", "compressed"] = "exact"
    tier: Tier = Tier.BALANCED
    bm25: bool = False
    cross_lingual: bool = False
    shared_queries: bool = False
    compat: Compat | None = None
    depth: int = 100
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.depth < 100:
            raise InvalidInputError(
                f"the depth must be at least 100, for R@100 and nDCG@100, not {self.depth}"
            )
        if self.compat is Compat.MTEB and self.depth < 1000:
            object.__setattr__(self, "depth", 1000)

    @property
    def systems(self) -> tuple[str, ...]:
        """What each cell is measured with."""
        compressed = ("compressed",) if self.index == "compressed" else ()
        return ("exact", *compressed, *(("bm25",) if self.bm25 else ()))
