"""Measures of a ranking, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError, MissingExtraError

__all__ = ["GRADES", "MEASURES", "evaluate", "evaluate_queries"]

GRADES = (-1, 1_000_000)
"""The least and the greatest grade that trec_eval can take.

It counts the documents of each grade in an array: beyond, it crashes, or calls everything 0. A lower one is
passed as the least, which counts as much, nothing; a greater one is refused.
"""

MEASURES = {
    "nDCG@10": "nDCG@10",
    "nDCG@100": "nDCG@100",
    "R@10": "R@10",
    "R@20": "R@20",
    "R@100": "R@100",
    "MRR@10": "RR@10",
    "MAP": "AP",
    "Success@1": "Success@1",
}
"""What the suites measure → its name in ir-measures. MAP goes as deep as the run."""


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    ranking: Mapping[str, Sequence[str]],
    measures: Sequence[str] = ("nDCG@10",),
) -> dict[str, float]:
    """Means over all judged queries; one without results counts 0.

    Parameters
    ----------
    qrels
        Query id → document id → grade; those of 0 and below count nothing.
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
        If nothing is judged, a grade is beyond `GRADES`, a measure is unknown or a document is ranked twice.
    """
    values = evaluate_queries(qrels, ranking, measures)
    return {name: sum(one[name] for one in values.values()) / len(values) for name in measures}


def evaluate_queries(
    qrels: Mapping[str, Mapping[str, int]],
    ranking: Mapping[str, Sequence[str]],
    measures: Sequence[str] = tuple(MEASURES),
) -> dict[str, dict[str, float]]:
    """Every judged query's measures; see `evaluate`.

    Parameters
    ----------
    measures
        Names of `MEASURES`, or as ir-measures has them.

    Returns
    -------
    dict
        Query id → measure → value, in the order of the judgements.
    """
    try:
        import ir_measures
    except ImportError:
        raise MissingExtraError("measuring the quality of a search", "eval") from None

    if not qrels:
        raise InvalidInputError("there are no judged queries to measure by")
    for query, grades in qrels.items():
        for document, grade in grades.items():
            if grade > GRADES[1]:
                raise InvalidInputError(
                    f"the grade of document {document!r} for query {query!r} is {grade}; {GRADES[1]:,} is "
                    "the greatest that can be measured"
                )
    judged = {query: {id: max(GRADES[0], grade) for id, grade in row.items()} for query, row in qrels.items()}
    for query, documents in ranking.items():
        if len(set(documents)) < len(documents):
            raise InvalidInputError(f"the ranking for query {query!r} holds a document twice")
    try:
        parsed = {name: ir_measures.parse_measure(MEASURES.get(name, name)) for name in measures}
    except (NameError, ValueError) as error:
        raise InvalidInputError(f"ir-measures does not know the measure: {error}") from None
    run = {
        query: {document: float(-rank) for rank, document in enumerate(documents)}
        for query, documents in ranking.items()
        if query in qrels
    }
    found: dict[str, dict[str, float]] = {query: dict.fromkeys(measures, 0.0) for query in qrels}
    names: dict[Any, list[str]] = {}
    for name, measure in parsed.items():
        names.setdefault(measure, []).append(name)
    for value in ir_measures.iter_calc(list(names), judged, run):
        for name in names[value.measure]:
            found[value.query_id][name] = float(value.value)
    return found
