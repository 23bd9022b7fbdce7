"""Sets as they are measured: as another evaluator sees them, with shared queries, identified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .compat import Compat
from .datasets import Dataset
from .runs import Run

__all__ = ["adapt", "adapt_values", "digest", "overlap", "share"]


def adapt(dataset: Dataset, compat: Compat | None) -> Dataset:
    """A set as another evaluator sees it: some know no grades and drop queries without positives."""
    if compat in (None, Compat.MTEB):
        return dataset
    qrels = {
        query: positive
        for query, grades in dataset.qrels.items()
        if dataset.queries[query] and (positive := {id: 1 for id, grade in grades.items() if grade > 0})
    }
    return replace(dataset, qrels=qrels)


def adapt_values(
    values: Mapping[str, dict[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    compat: Compat | None,
    depth: int,
) -> None:
    """Change measures to another evaluator's meaning of them, in place.

    sentence-transformers, and so PyLate, divide average precision by no more documents than the depth.
    """
    if compat in (None, Compat.MTEB):
        return
    for query, row in values.items():
        relevant = sum(grade > 0 for grade in qrels[query].values())
        row["MAP"] *= relevant / min(relevant, depth)


def overlap(exact: Run, run: Run, k: int) -> float:
    """The mean share of the exact top k that a run has in its top k."""
    shares = [
        len({id for id, _ in rows[:k]} & {id for id, _ in run.get(query, ())[:k]}) / len(rows[:k])
        for query, rows in exact.items()
        if rows
    ]
    return float(np.mean(shares)) if shares else 1.0


def digest(dataset: Dataset) -> str:
    """Of all that decides a cell's numbers: texts and judgements."""
    made = hashlib.sha256()
    for part in _parts(dataset):
        made.update(json.dumps(part, sort_keys=True).encode())
    return made.hexdigest()[:32]


def _parts(dataset: Dataset) -> Iterator[Any]:
    yield from dataset.documents.items()
    yield dict(dataset.queries)
    yield {query: dict(grades) for query, grades in dataset.qrels.items()}


def share(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The sets with the judgements of the queries that all of them have.

    Raises
    ------
    InvalidInputError
        If there is no such query.
    """
    shared = set.intersection(*(set(one.qrels) for one in datasets)) if datasets else set()
    if datasets and not shared:
        raise InvalidInputError(f"{datasets[0].task}: the languages share no query")
    return [replace(one, qrels={id: one.qrels[id] for id in one.qrels if id in shared}) for one in datasets]
