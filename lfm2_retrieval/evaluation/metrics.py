"""Measures of a ranking, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InvalidInputError, MissingExtraError

__all__ = ["evaluate"]


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    ranking: Mapping[str, Sequence[str]],
    measures: Sequence[str] = ("nDCG@10",),
) -> dict[str, float]:
    """Means over all judged queries; one without results counts 0.

    Parameters
    ----------
    qrels
        Query id → document id → grade.
    ranking
        Query id → document ids, the best first. Their order alone counts: equal scores were the searcher's
        to break.
    measures
        Names as ir-measures has them.

    Returns
    -------
    dict
        Measure → mean.

    Raises
    ------
    MissingExtraError
        If ir-measures is not installed.
    InvalidInputError
        If nothing is judged, a measure is unknown or a document is ranked twice.
    """
    try:
        import ir_measures
    except ImportError:
        raise MissingExtraError("measuring the quality of a search", "eval") from None

    if not qrels:
        raise InvalidInputError("there are no judged queries to measure by")
    for query, documents in ranking.items():
        if len(set(documents)) < len(documents):
            raise InvalidInputError(f"the ranking for query {query!r} holds a document twice")
    try:
        parsed = {name: ir_measures.parse_measure(name) for name in measures}
    except (NameError, ValueError) as error:
        raise InvalidInputError(f"ir-measures does not know the measure: {error}") from None
    run = {
        query: {document: float(-rank) for rank, document in enumerate(documents)}
        for query, documents in ranking.items()
    }
    means = ir_measures.calc_aggregate(parsed.values(), qrels, run)
    return {name: float(means[measure]) for name, measure in parsed.items()}
