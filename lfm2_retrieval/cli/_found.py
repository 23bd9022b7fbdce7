"""Hits of a search as the terminal shows them: where, under which headings, and the sentence that answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..documents.sentences import sentences
from ._output import format_hit

if TYPE_CHECKING:
    from ..hits import Hit
    from ..retriever.excerpts import Excerpt

__all__ = ["format_found", "found_json"]

_LEAST, _MOST = 160, 600
"""A sentence of fewer characters is shown with those behind it; of more, its beginning."""


def format_found(hit: Hit, excerpt: Excerpt | None) -> str:
    """A hit in a few lines; what matched is bold on a terminal, and nothing is added elsewhere."""
    bold = sys.stdout.isatty()
    if excerpt is None:
        return format_hit(hit, bold=bold)
    text = hit.text or ""
    end = _shown_until(text, excerpt)
    return format_hit(hit, excerpt.words, _MOST, span=(excerpt.start, end), bold=bold)


def _shown_until(text: str, excerpt: Excerpt) -> int:
    """Where what is shown ends: with the sentence, or one behind it in the same paragraph."""
    stop = text.find("\n\n", excerpt.end)
    end = excerpt.end
    for _, behind in sentences(text, excerpt.end, len(text) if stop < 0 else stop):
        if end - excerpt.start >= _LEAST or behind - excerpt.start > _MOST:
            break
        end = behind
    return end


def found_json(hits: Sequence[Hit], found: Sequence[Excerpt | None]) -> list[dict[str, Any]]:
    """Hits as JSON values, each with its best sentence and the spans of the words in it that matched."""
    return [
        {
            **replace(hit, matches=()).to_dict(),
            "excerpt": None if excerpt is None else excerpt.to_dict(hit.text or ""),
        }
        for hit, excerpt in zip(hits, found, strict=True)
    ]
