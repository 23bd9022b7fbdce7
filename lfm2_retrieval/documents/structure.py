"""What is known of a document's text: its headings, and where each stretch of it lies in the file.

Offsets count characters of the text. Nothing here holds text of its own but headings' titles, so
that a structure stays small beside its document.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..hits import Place

__all__ = ["Heading", "Place", "Places", "Region", "Structure", "TextKind"]


class TextKind(StrEnum):
    """How a text is written, which decides where it is best split."""

    TEXT = "text"
    MARKDOWN = "markdown"
    """Also what a parser made of an office file: headings, lists, tables a row a line."""
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, or in source code the beginning of a definition.

    Parameters
    ----------
    level
        1 for the highest.
    title
        Without markup.
    start, end
        Its span; what follows it up to the next heading of its level or above is its section.
    """

    level: int
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of text that comes from one page, sheet or cell, or whose lines are numbered.

    Parameters
    ----------
    start, end
        Its span.
    page
        Of a PDF; the slide of a presentation.
    sheet
        Of a workbook. Each line of the region is a row then.
    columns
        With ``sheet``: the first and the last one, such as ``("A", "D")``.
    cell
        Of a notebook, from 1.
    first
        The number of the line, or row, at ``start``; further ones count on.
    last
        Where the text's lines are not the file's, as in a record of a table: the last line.
    """

    start: int
    end: int
    page: int | None = None
    sheet: str | None = None
    columns: tuple[str, str] | None = None
    cell: int | None = None
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """What is known of a text.

    Parameters
    ----------
    kind
        How it is written.
    headings
        In the order of the text.
    regions
        In the order of the text; they don't overlap.
    """

    kind: TextKind = TextKind.TEXT
    headings: tuple[Heading, ...] = ()
    regions: tuple[Region, ...] = ()

    def path(self, at: int) -> tuple[str, ...]:
        """The titles of the headings above an offset, or that begin there, the highest first."""
        path: list[Heading] = []
        for heading in self.headings:
            if heading.start > at:
                break
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
        return tuple(heading.title for heading in path)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": str(self.kind),
            "headings": [[one.level, one.title, one.start, one.end] for one in self.headings],
            "regions": [
                {name: value for name, value in asdict(one).items() if value is not None}
                for one in self.regions
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Structure:
        """What :meth:`to_dict` gave."""
        regions = []
        for one in values["regions"]:
            columns = one.get("columns")
            regions.append(Region(**{**one, "columns": None if columns is None else tuple(columns)}))
        return cls(
            TextKind(values["kind"]),
            tuple(Heading(*one) for one in values["headings"]),
            tuple(regions),
        )


class Places:
    """Tells places of many spans of one text."""

    def __init__(self, text: str, structure: Structure) -> None:
        self._text = text
        self._regions = structure.regions
        self._starts = [region.start for region in self._regions]
        self._breaks: array[int] | None = None

    def of(self, start: int, end: int) -> Place:
        """The place of a span.

        Parameters
        ----------
        start, end
            Of the text; white space at its end counts for nothing.
        """
        end = start + len(self._text[start:end].rstrip())
        at = max(bisect_right(self._starts, start) - 1, 0)
        found = [
            region
            for region in self._regions[at : max(bisect_left(self._starts, end), at + 1)]
            if (region.start < end and start < region.end) or region.start == start == region.end
        ]
        if not found:
            return Place()
        first, last = found[0], found[-1]
        sheet = first.sheet
        if sheet is not None:
            last = next(one for one in reversed(found) if one.sheet == sheet)
        lines = self._lines(first, last, start, end)
        spans: dict[str, tuple[int, int] | None] = {}
        for name, numbers in (("pages", [one.page for one in found]), ("cells", [one.cell for one in found])):
            known = [number for number in numbers if number is not None]
            spans[name] = (known[0], known[-1]) if known else None
        if sheet is None:
            return Place(spans["pages"], lines, spans["cells"])
        columns = first.columns
        area = f"{columns[0]}{lines[0]}:{columns[1]}{lines[1]}" if columns and lines else None
        return Place(spans["pages"], None, spans["cells"], sheet, area)

    def _lines(self, first: Region, last: Region, start: int, end: int) -> tuple[int, int] | None:
        if first.first is None or last.first is None:
            return None
        if first.cell != last.cell:
            return None  # lines of several cells are no range
        if last.last is not None:
            return first.first, last.last
        return (
            first.first + self._count(first.start, max(start, first.start)),
            last.first + self._count(last.start, max(min(end, last.end) - 1, last.start)),
        )

    def _count(self, start: int, end: int) -> int:
        """How many line feeds lie in a span."""
        if self._breaks is None:
            self._breaks = array("Q", (i for i, c in enumerate(self._text) if c == "\n"))
        return bisect_left(self._breaks, end) - bisect_left(self._breaks, start)
