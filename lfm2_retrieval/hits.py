"""What a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .display.html import html_table, to_json

__all__ = ["Hit", "Hits", "Match", "ScoreKind"]


class ScoreKind(StrEnum):
    """What a score is."""

    MAXSIM = "maxsim"
    """MaxSim on the vectors that the index stores."""
    ESTIMATE = "estimate"
    """An approximation of it, from compressed vectors."""
    BM25 = "bm25"
    """BM25, by words alone."""
    RRF = "rrf"
    """Reciprocal ranks of a search by vectors and of one by words, added."""
    WEIGHTED = "weighted"
    """The weighted mean of MaxSim and BM25, each brought to 0 … 1 among the candidates of the query."""


@dataclass(frozen=True, slots=True)
class Match:
    """The document vector most similar to one query vector; a document's MaxSim is the sum over these.

    Parameters
    ----------
    query_span, document_span
        The characters behind either, start and end, as indices into the texts; equal where there are none
        (BOS, prefix, expansion). A character that is split over several tokens is in the span of each.
    similarity
        Their inner product.
    pooled_spans
        Where several tokens were pooled into the document vector, the characters behind each, in order;
        ``document_span`` is then that of the token nearest to their mean.
    """

    query_span: tuple[int, int]
    document_span: tuple[int, int]
    similarity: float
    pooled_spans: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: to_json(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search. ``rank`` counts from 1; ``text`` is None where none was stored.

    ``matches`` has one entry a query vector, in their order, where the search was asked to explain.
    ``normalized_score`` is MaxSim by the number of the query's vectors: the mean of the best similarities, at
    most 1 where vectors have length 1. It is None where the score is no MaxSim.
    """

    id: str
    score: float
    rank: int
    score_kind: ScoreKind = ScoreKind.MAXSIM
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    normalized_score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; ``matches`` only where there are some."""
        names = ("rank", "id", "score", "score_kind", "normalized_score", "text", "metadata")
        values = {name: to_json(getattr(self, name)) for name in names}
        return values | ({"matches": [match.to_dict() for match in self.matches]} if self.matches else {})

    def _repr_html_(self) -> str:
        return Hits([self])._repr_html_()


class Hits(list[Hit]):
    """The hits of a query, best first: a list that notebooks show as a table."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each as JSON values, see :meth:`Hit.to_dict`."""
        return [hit.to_dict() for hit in self]

    def _repr_html_(self) -> str:
        rows = [(hit.rank, hit.score, hit.id, hit.text, hit.metadata) for hit in self]
        return html_table(("rank", "score", "id", "text", "metadata"), rows) if rows else "<p>no hits</p>"
