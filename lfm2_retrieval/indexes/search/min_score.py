"""From which score on a collection answers a question: learnt from questions, for ``min_score="auto"``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...datatypes import Fusion, Mode, SearchParams, TokenEmbeddings
from ...errors import DamagedIndexError, InvalidInputError, remedy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MinScore", "learn_min_score", "thresholds"]


@dataclass(frozen=True, slots=True)
class MinScore:
    """The least ``normalized_score`` of a hit that answers a question, and how that was found.

    Parameters
    ----------
    value
        Hits below it are left out.
    kept, n_queries
        The share of the questions that had a hit left, and how many these were.
    from_documents
        Whether the questions were made from stored documents; these are easier than real ones.
    nonsense_kept, n_nonsense
        The same of queries of the collection's own words, drawn at random, which nothing answers.
    n_documents
        How large the index was.
    """

    value: float
    kept: float
    n_queries: int
    from_documents: bool
    nonsense_kept: float
    n_nonsense: int
    n_documents: int

    def to_json(self) -> dict[str, Any]:
        """As the settings of an index keep it."""
        return asdict(self)


def learn_min_score(
    answered: Sequence[float],
    nonsense: Sequence[float],
    *,
    keep: float,
    from_documents: bool,
    n_documents: int,
) -> MinScore:
    """The threshold that keeps this share of questions.

    Parameters
    ----------
    answered, nonsense
        The best normalized score of each question, and of each query that nothing answers.
    keep
        The share of the questions that shall have a hit. The threshold lies half way between the lowest score
        that is kept and the highest that isn't.
    """
    scores = np.sort(np.asarray(answered, np.float64))
    lost = int((1 - keep) * len(scores) + 1e-9)
    value = float(scores[lost])
    if lost:
        value = (value + float(scores[lost - 1])) / 2
    value = math.floor(value * 1e4) / 1e4
    return MinScore(
        value=value,
        kept=float((scores >= value).mean()),
        n_queries=len(scores),
        from_documents=from_documents,
        nonsense_kept=float((np.asarray(nonsense) >= value).mean()) if len(nonsense) else 0.0,
        n_nonsense=len(nonsense),
        n_documents=n_documents,
    )


def thresholds(
    params: SearchParams, queries: TokenEmbeddings | None, settings: Mapping[str, Any], path: Path, n: int
) -> list[SearchParams]:
    """The parameters for each of ``n`` queries, with ``min_score="auto"`` as a score.

    Raises
    ------
    InvalidInputError
        If the index has no threshold, or scores are no MaxSim.
    DamagedIndexError
        If it is none.
    """
    if params.min_score != "auto":
        return [params] * n
    if queries is None or (params.mode is not Mode.DENSE and params.fusion is not Fusion.RERANK):
        dense = remedy("mode='dense', or fusion='rerank'", "--mode dense, or --fusion rerank")
        raise InvalidInputError(f"min_score 'auto' is a threshold of MaxSim: it needs {dense}")
    learnt = settings.get("min_score")
    if learnt is None:
        tune = remedy("Retriever.tune()", f"lfm2-retrieve tune {path}")
        raise InvalidInputError(f"{path} has no threshold for min_score 'auto': {tune} learns one")
    value = learnt.get("value") if isinstance(learnt, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DamagedIndexError(f"{path}: the setting min_score is damaged; tune the index again")
    return [replace(params, min_score=float(value) * length) for length in queries.lengths.tolist()]
