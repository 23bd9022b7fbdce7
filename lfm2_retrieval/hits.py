"""What a search finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .display.html import html_table, to_json
from .errors import IndexClosedError, InvalidInputError

__all__ = ["Hit", "Hits", "Match", "Place", "ScoreKind", "Surroundings", "encode_front"]


def encode_front(headings: Sequence[str]) -> str:
    """What is encoded in front of a passage below these headings."""
    return " › ".join(headings) + "\n" if headings else ""


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
class Place:
    """Where something stands in its file, as a person would look for it.

    Parameters
    ----------
    pages, lines, cells
        The first and the last one: of a PDF or a presentation, of a text, of a notebook.
    sheet
        Of a workbook; the first, if there are several.
    range
        With ``sheet``: the rows and columns, such as ``A2:D9``.
    """

    pages: tuple[int, int] | None = None
    lines: tuple[int, int] | None = None
    cells: tuple[int, int] | None = None
    sheet: str | None = None
    range: str | None = None

    @property
    def page(self) -> int | None:
        """The first page."""
        return self.pages[0] if self.pages else None

    def __str__(self) -> str:
        parts = []
        if self.sheet is not None:
            parts.append(f"{self.sheet}!{self.range}" if self.range else self.sheet)
        for name, many, span in (
            ("p.", "pp.", self.pages),
            ("cell", "cells", self.cells),
            ("line", "lines", self.lines),
        ):
            if span is not None:
                parts.append(f"{name} {span[0]}" if span[0] == span[1] else f"{many} {span[0]}–{span[1]}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without what is unknown."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values
            if value is not None
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Place:
        """What :meth:`to_dict` gave; whatever can't be is left out."""
        spans: dict[str, Any] = {}
        for name in ("pages", "lines", "cells"):
            span = values.get(name)
            if isinstance(span, list) and len(span) == 2 and all(type(number) is int for number in span):
                spans[name] = (span[0], span[1])
        names = {name: values[name] for name in ("sheet", "range") if isinstance(values.get(name), str)}
        return cls(**spans, **names)


class Surroundings:
    """What gives a hit the text around it; a copy that went to another process can't.

    Parameters
    ----------
    read
        Gives the text of so many passages before and after.
    """

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[int, int], str] | None = None) -> None:
        self._read = read

    def text(self, before: int, after: int) -> str | None:
        """The text, if it can be read here."""
        return None if self._read is None else self._read(before, after)

    def __reduce__(self) -> tuple[Any, ...]:
        return Surroundings, ()

    def __copy__(self) -> Surroundings:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Surroundings:
        return self


_ALONE = Surroundings()


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search. ``rank`` counts from 1; ``text`` is None where none was stored.

    ``matches`` has one entry a query vector, in their order, where the search was asked to explain.
    ``normalized_score`` is MaxSim by the number of the query's vectors: the mean of the best similarities, at
    most 1 where vectors have length 1. It is None where the score is no MaxSim.

    In an index of passages a hit is a passage, and ``text`` the passage's. ``document_id`` says of which
    document it is, ``number`` which one of it, ``span`` which characters of its text, ``headings`` what
    stands above it, ``place`` where it lies in its file and ``source`` which file that is. In other indexes
    ``document_id`` is ``id``, and of the others none is known. A search ``by="document"`` says how many more
    passages of the document match, see :meth:`Retriever.search`: ``n_matching``.
    """

    id: str
    score: float
    rank: int
    score_kind: ScoreKind = ScoreKind.MAXSIM
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    normalized_score: float | None = None
    document_id: str = field(default="", repr=False)
    number: int | None = field(default=None, repr=False)
    span: tuple[int, int] | None = field(default=None, repr=False)
    headings: tuple[str, ...] = field(default=(), repr=False)
    place: Place | None = field(default=None, repr=False)
    source: str | None = field(default=None, repr=False)
    n_matching: int | None = field(default=None, repr=False)
    in_front: tuple[str, ...] = field(default=(), repr=False)
    """The headings that were encoded in front of the text."""
    surroundings: Surroundings = field(default=_ALONE, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.document_id:
            object.__setattr__(self, "document_id", self.id)

    @property
    def page(self) -> int | None:
        """The page that the passage begins on."""
        return None if self.place is None else self.place.page

    @property
    def lines(self) -> tuple[int, int] | None:
        """Its first and its last line in the file."""
        return None if self.place is None else self.place.lines

    def context(self, before: int = 1, after: int = 1) -> str:
        """The text from so many passages before this one to so many after it, as it was when it was found.

        Without passages it is the text itself.

        Raises
        ------
        InvalidInputError
            If a number is negative.
        IndexClosedError
            If the index is closed, or this hit came from another process.
        StoredIndexError
            If the document was changed or deleted since, and what it was is gone.
        """
        for name, value in (("before", before), ("after", after)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidInputError(f"{name} must be a whole number from 0 on, not {value!r}")
        if self.span is None or self.text is None:
            return self.text or ""
        text = self.surroundings.text(before, after)
        if text is None:
            raise IndexClosedError(
                "a hit that came from another process knows no index: retriever.document(hit.document_id) "
                "has the whole text, and hit.span says where the hit lies in it"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what only passages have only of those, and ``matches`` where there are some."""
        names = ("rank", "id", "score", "score_kind", "normalized_score", "text", "metadata")
        values = {name: to_json(getattr(self, name)) for name in names}
        if self.span is not None:
            own = ("document_id", "number", "span", "headings", "source")
            values |= {name: to_json(getattr(self, name)) for name in own}
            values["place"] = None if self.place is None else self.place.to_dict()
        if self.n_matching is not None:
            values["n_matching"] = self.n_matching
        return values | ({"matches": [match.to_dict() for match in self.matches]} if self.matches else {})

    def _repr_html_(self) -> str:
        return Hits([self])._repr_html_()


class Hits(list[Hit]):
    """The hits of a query, best first: a list that notebooks show as a table.

    Attributes
    ----------
    missing_shards
        Of a collection in shards: those that didn't answer, so that hits may be missing, too.
    """

    missing_shards: tuple[str, ...] = ()

    @classmethod
    def like(cls, hits: Sequence[Hit], other: Sequence[Hit]) -> Hits:
        """Some hits, of shards as another list is."""
        found = cls(hits)
        if missing := getattr(other, "missing_shards", ()):
            found.missing_shards = missing
        return found

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each as JSON values, see :meth:`Hit.to_dict`."""
        return [hit.to_dict() for hit in self]

    def _repr_html_(self) -> str:
        rows = [(hit.rank, hit.score, hit.id, hit.text, hit.metadata) for hit in self]
        return html_table(("rank", "score", "id", "text", "metadata"), rows) if rows else "<p>no hits</p>"
