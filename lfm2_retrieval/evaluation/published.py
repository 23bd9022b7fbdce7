"""Scores that others report, ``eval/published/*.toml``, beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from .metrics import MEASURES
from .suites import data_folder, read_toml

__all__ = ["MISS", "Beside", "Published", "differences", "load_published"]

Row = tuple[str, float, float]


MISS = 0.005
"""By how much a score may be below the published one."""


@dataclass(frozen=True)
class Published:
    """A model's scores by one measure as others report them: their source, and the TOML table with them."""

    model: str
    source: str
    scores: Mapping[str, Any]
    measure: str = "nDCG@10"


@dataclass(frozen=True)
class Beside:
    """Our scores beside a published model's: rows of label, ours, theirs."""

    title: str
    model: str
    source: str
    rows: Sequence[Row]
    measure: str = "nDCG@10"

    @property
    def misses(self) -> list[int]:
        """The rows in which ours is below theirs by more than `MISS`."""
        return [i for i, (_, ours, theirs) in enumerate(self.rows) if ours < theirs - MISS]


def load_published(names: Sequence[str]) -> list[Published]:
    """The tables in some files of ``eval/published``, or of one's own by their paths.

    A file has ``[[systems]]``, each with ``model``, ``source`` and scores by the file's ``measure``, nDCG@10
    where it names none: ``mean`` in English or ``means.LANGUAGE`` over thirteen tasks, ``LANGUAGE.TASK``, or
    ``matrix.DOCUMENTS.QUERIES``; under ``measures."R@10"`` the same by other measures.

    Raises
    ------
    InvalidInputError
        If a file can't be read, or holds something else.
    """
    found: list[Published] = []
    for name in names:
        path = data_folder("published") / name
        file = read_toml(path)
        entries = file.get("systems")
        if not isinstance(entries, list) or not entries:
            raise InvalidInputError(f"{path}: has no [[systems]]")
        for number, entry in enumerate(entries, 1):
            found += _tables(f"{path}: system {number}", entry, file.get("measure", "nDCG@10"))
    return found


def _tables(place: str, entry: Any, measure: str) -> Iterator[Published]:
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(k), str) for k in ("model", "source")):
        raise InvalidInputError(f"{place}: needs 'model' and 'source'")
    others = entry.get("measures", {})
    for name, scores in ((measure, {k: v for k, v in entry.items() if k != "measures"}), *others.items()):
        if name not in MEASURES:
            raise InvalidInputError(f"{place}: {name!r} is not measured; {', '.join(MEASURES)} are")
        if wrong := [value for value in _leaves(scores) if not _is_score(value)]:
            raise InvalidInputError(f"{place}: {wrong[0]!r} is no score between 0 and 1")
        yield Published(entry["model"], entry["source"], scores, name)


def _leaves(scores: Mapping[str, Any]) -> Iterator[Any]:
    """All values below a table."""
    for key, value in scores.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif key not in ("model", "source"):
            yield value


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def differences(content: Mapping[str, Any], published: Sequence[Published]) -> list[Beside]:
    """Ours beside each published table, where both have the cell: exact search, or our BM25 beside theirs."""
    found = []
    for one in published:
        system = "lexical" if one.model == "BM25" and _has(content, "lexical") else "exact"
        for title, rows in (
            ("across languages", _matrix(content, one, system)),
            ("by language", _means(content, one, system)),
            ("by task", _tasks(content, one, system)),
        ):
            if rows:
                found.append(Beside(title, one.model, one.source, rows, one.measure))
    return found


def _has(content: Mapping[str, Any], system: str) -> bool:
    return any(cell["system"] == system for cell in content["cells"])


def _complete(content: Mapping[str, Any], one: Published, system: str) -> Iterator[tuple[str, str, float]]:
    """Pairs of languages with all thirteen tasks, and our mean."""
    for mean in content.get("means", ()):
        whole = mean["complete"] and mean["tasks"] == 13
        if mean["system"] == system and whole and one.measure in mean["measures"]:
            yield mean["documents"], mean["queries"], mean["measures"][one.measure]


def _matrix(content: Mapping[str, Any], one: Published, system: str) -> list[Row]:
    matrix = one.scores.get("matrix", {})
    return [
        (f"{documents} ← {queries}", ours, matrix[documents][queries])
        for documents, queries, ours in _complete(content, one, system)
        if queries in matrix.get(documents, {})
    ]


def _means(content: Mapping[str, Any], one: Published, system: str) -> list[Row]:
    means = dict(one.scores.get("means", {}))
    if "en" in one.scores and "mean" in one.scores:
        means.setdefault("en", one.scores["mean"])
    if not means and "mean" in one.scores:
        means["en"] = one.scores["mean"]
    return [
        (documents, ours, means[documents])
        for documents, queries, ours in _complete(content, one, system)
        if documents == queries and documents in means
    ]


def _tasks(content: Mapping[str, Any], one: Published, system: str) -> list[Row]:
    rows = []
    for cell in content["cells"]:
        language = cell["documents"]
        scores = one.scores.get(language)
        if (
            cell["status"] == "done"
            and cell["system"] == system
            and language == cell["queries"]
            and isinstance(scores, Mapping)
            and cell["task"] in scores
        ):
            rows.append(
                (f"{cell['task']} [{language}]", cell["measures"][one.measure], float(scores[cell["task"]]))
            )
    return rows
