"""Patterns of SQL's LIKE, matched in time that no pattern makes explode."""

from __future__ import annotations

import re

__all__ = ["Pattern", "lower"]


def lower(text: str) -> str:
    """The text with ASCII letters in lower case, and no others, as LIKE of SQLite compares them."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


class Pattern:
    """A pattern: ``%`` is any text, ``_`` any character, all else itself.

    Each piece between two ``%`` is looked for behind the one before, at its first place: if there is any way
    to match the whole, that is one. So no piece is looked for twice.

    Attributes
    ----------
    weight
        How many characters are looked at for each one of a text, at most and about.
    """

    def __init__(self, pattern: str) -> None:
        pieces = lower(pattern).split("%")
        self.weight = 1 + max((len(piece) for piece in pieces if "_" in piece), default=0)
        self._pieces = [
            re.compile(re.escape(piece).replace("_", "."), re.DOTALL) if "_" in piece else piece
            for piece in pieces
        ]
        self._lengths = [len(piece) for piece in pieces]

    def matches(self, text: str) -> bool:
        """Whether it matches a text in lower case, see `lower`."""
        first, last = self._lengths[0], self._lengths[-1]
        if len(self._pieces) == 1:
            return len(text) == first and self._find(0, text, 0, first) == 0
        end = len(text) - last
        if end < first or self._find(0, text, 0, first) != 0 or self._find(-1, text, end, len(text)) != end:
            return False
        place = first
        for number in range(1, len(self._pieces) - 1):
            place = self._find(number, text, place, end)
            if place < 0:
                return False
            place += self._lengths[number]
        return True

    def _find(self, number: int, text: str, start: int, end: int) -> int:
        """The first place of a piece between two places; -1 if there is none."""
        piece = self._pieces[number]
        if isinstance(piece, str):
            return text.find(piece, start, end)
        found = piece.search(text, start, end)
        return found.start() if found else -1
