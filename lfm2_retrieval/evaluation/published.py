"""Scores that others report, ``eval/published/*.toml``, beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .suites import data_folder, read_toml

__all__ = ["Beside", "Published", "differences", "load_published"]

Row = tuple[str, float, float]


@dataclass(frozen=True)
class Published:
    """A model's scores as others report them: their source, and the TOML table with them."""

    model: str
    source: str
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """Our scores beside a published model's: rows of label, ours, theirs."""

    title: str
    model: str
    source: str
    rows: Sequence[Row]


def load_published(names: Sequence[str]) -> list[Published]:
    """The tables in some files of ``eval/published``.

    Raises
    ------
    InvalidInputError
        If a file can't be read.
    """
    files = [read_toml(data_folder("published") / name) for name in names]
    return [
        Published(system["model"], system["source"], system) for file in files for system in file["systems"]
    ]


def differences(content: Mapping[str, Any], published: Sequence[Published]) -> list[Beside]:
    """Ours beside each published table, where both have the cell: exact search, or BM25 beside BM25."""
    found = []
    for one in published:
        system = "bm25" if one.model == "BM25" and _has(content, "bm25") else "exact"
        for title, rows in (
            ("across languages", _matrix(content, one, system)),
            ("by language", _means(content, one, system)),
            ("by task", _tasks(content, one, system)),
        ):
            if rows:
                found.append(Beside(title, one.model, one.source, rows))
    return found


def _has(content: Mapping[str, Any], system: str) -> bool:
    return any(cell["system"] == system for cell in content["cells"])


def _complete(content: Mapping[str, Any], system: str) -> Iterator[tuple[str, str, float]]:
    """Pairs of languages with all thirteen tasks, and our mean."""
    for mean in content.get("means", ()):
        if mean["system"] == system and mean["complete"] and mean["tasks"] == 13:
            yield mean["documents"], mean["queries"], mean["measures"]["nDCG@10"]


def _matrix(content: Mapping[str, Any], one: Published, system: str) -> list[Row]:
    matrix = one.scores.get("matrix", {})
    return [
        (f"{documents} ← {queries}", ours, matrix[documents][queries])
        for documents, queries, ours in _complete(content, system)
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
        for documents, queries, ours in _complete(content, system)
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
                (f"{cell['task']} [{language}]", cell["measures"]["nDCG@10"], float(scores[cell["task"]]))
            )
    return rows
