"""What reports are made of: tables, sections, and the values in results that they and the pictures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .systems import SYSTEMS

__all__ = [
    "NAMES",
    "Content",
    "Section",
    "Table",
    "bytes_per_token",
    "languages",
    "mean_of",
    "mean_score",
    "score",
    "stayed_exact",
    "systems",
    "with_interval",
]

Content = Mapping[str, Any]
NAMES = {name: system.label for name, system in SYSTEMS.items()}


@dataclass(frozen=True)
class Table:
    """A heading row, rows, and the cells to mark: their row and column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, tables and the names of the pictures that belong here."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[str] = field(default=())


def languages(content: Content) -> tuple[list[str], list[str]]:
    """The languages of documents and of queries, in the order of the cells."""
    cells = content["cells"]
    return (
        list(dict.fromkeys(cell["documents"] for cell in cells)),
        list(dict.fromkeys(cell["queries"] for cell in cells)),
    )


def systems(content: Content) -> list[str]:
    """What was measured."""
    have = {cell["system"] for cell in content["cells"]}
    return [name for name in NAMES if name in have]


def mean_of(content: Content, documents: str, queries: str, system: str) -> Mapping[str, Any] | None:
    """The macro mean of a pair of languages, or None."""
    for mean in content.get("means", ()):
        if (mean["documents"], mean["queries"], mean["system"]) == (documents, queries, system):
            found: Mapping[str, Any] = mean
            return found
    return None


def score(value: float | None) -> str:
    """Three digits, as the published tables have; a dash for what isn't there."""
    return "–" if value is None else f"{value:.3f}"


def mean_score(mean: Mapping[str, Any] | None) -> str:
    """A macro mean's nDCG@10, with a star where it is over fewer tasks than others may be."""
    if mean is None:
        return score(None)
    return score(mean["measures"]["nDCG@10"]) + ("" if mean["complete"] else " *")


def with_interval(value: float, ends: Sequence[float]) -> str:
    """A value and the ends of its interval."""
    return f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def bytes_per_token(content: Content, language: str) -> dict[str, float]:
    """Index → bytes on disk by token, over all tasks of a language."""
    totals: dict[str, int] = {}
    tokens = 0
    for facts in _corpora(content, language):
        tokens += facts["tokens"]
        for index, one in facts["indexes"].items():
            totals[index] = totals.get(index, 0) + sum(one["bytes"].values())
    return {index: total / tokens for index, total in totals.items() if tokens}


def stayed_exact(content: Content, language: str, system: str) -> bool:
    """Whether a system's index should be compressed, and was too small for it in some task of a language."""
    index = SYSTEMS[system].index
    if index in (None, "exact"):
        return False
    corpora = _corpora(content, language)
    return any(not facts["indexes"][index]["compressed"] for facts in corpora if index in facts["indexes"])


def _corpora(content: Content, language: str) -> list[Mapping[str, Any]]:
    return [
        facts
        for name, facts in content["corpora"].items()
        if name.rpartition(".")[2] == language and "indexes" in facts
    ]
