"""Hits of a search as the terminal shows them: where, under which headings, and the sentence that answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..documents.sentences import sentences
from ..errors import InvalidInputError
from ..printable import printable
from ._output import format_hit
from ._places import check_beneath, location, open_at, opening_command

if TYPE_CHECKING:
    from ..hits import Hit, Place
    from ..retriever.excerpts import Excerpt
    from ..retriever.reading import ReadingRetriever

__all__ = ["Found", "find_places"]

_LEAST, _MOST = 160, 600
"""A sentence of fewer characters is shown with those behind it; of more, its beginning."""


@dataclass(frozen=True)
class Found:
    """A hit with the sentence that answers.

    Parameters
    ----------
    hit
        The hit.
    excerpt
        The sentence; None for a hit without text.
    place, headings
        Where the sentence lies in its file, and what stands above it; of a hit that isn't from a file, none.
    """

    hit: Hit
    excerpt: Excerpt | None
    place: Place | None = None
    headings: tuple[str, ...] = ()

    def format(self) -> str:
        """A few lines; what matched is bold on a terminal, and nothing is added elsewhere."""
        bold = sys.stdout.isatty()
        hit, name, title = self.hit, None, None
        if hit.source is not None and self.place is not None:
            name, title = location(hit.source, self.place), " › ".join(self.headings)
        if hit.n_matching:
            title = f"{title or ''}  (+{hit.n_matching:,} more)".strip()
        if self.excerpt is None:
            return format_hit(hit, bold=bold, name=name, title=title)
        span = self.excerpt.start, _shown_until(hit.text or "", self.excerpt)
        return format_hit(hit, self.excerpt.words, _MOST, span=span, bold=bold, name=name, title=title)

    def to_dict(self) -> dict[str, Any]:
        """The hit as JSON values, with its best sentence and the spans of the words in it that matched."""
        values = replace(self.hit, matches=()).to_dict()
        excerpt: Mapping[str, Any] | None = None
        if self.excerpt is not None:
            excerpt = self.excerpt.to_dict(self.hit.text or "")
            if self.place is not None:
                excerpt = {**excerpt, "place": self.place.to_dict(), "headings": list(self.headings)}
        return {**values, "excerpt": excerpt}

    def open(self, folders: Sequence[Path] = ()) -> None:
        """Open the file where what answers begins; see `check_beneath`.

        Raises
        ------
        InvalidInputError
            If the hit comes from no file, or this can't be opened.
        """
        hit = self.hit
        if hit.source is None:
            raise InvalidInputError(f"--open {hit.rank}: as far as the index says, {hit.id} is from no file")
        line = self.place.lines[0] if self.place is not None and self.place.lines else None
        opening_command(hit.source, line)  # what can't be opened anyway isn't asked about
        check_beneath(hit.source, folders, _ask if sys.stdin.isatty() else None)
        if (code := open_at(hit.source, line)) != 0:
            raise InvalidInputError(f"--open {hit.rank}: what opens {hit.source} ended with exit code {code}")


def find_places(
    retriever: ReadingRetriever, hits: Sequence[Hit], excerpts: Sequence[Excerpt | None]
) -> list[Found]:
    """Hits with where their sentences lie, as their whole documents tell."""
    from ..documents import FileDocument

    found = []
    for hit, excerpt in zip(hits, excerpts, strict=True):
        if hit.span is None or hit.source is None or excerpt is None:
            found.append(Found(hit, excerpt, hit.place, hit.headings))
            continue
        document = retriever.document(hit.document_id)
        start, end = hit.span[0] + excerpt.start, hit.span[0] + excerpt.end
        if isinstance(document, FileDocument) and document.text[start:end]:
            headings = document.structure.path(start)
            found.append(Found(hit, excerpt, document.place(start, end), headings))
        else:
            found.append(Found(hit, excerpt, hit.place, hit.headings))
    return found


def _ask(path: str) -> bool:
    import click

    return click.confirm(f"Open {printable(path)}?", default=False, err=True)


def _shown_until(text: str, excerpt: Excerpt) -> int:
    """Where what is shown ends: with the sentence, or one behind it in the same paragraph."""
    stop = text.find("\n\n", excerpt.end)
    end = excerpt.end
    for _, behind in sentences(text, excerpt.end, len(text) if stop < 0 else stop):
        if end - excerpt.start >= _LEAST or behind - excerpt.start > _MOST:
            break
        end = behind
    return end
