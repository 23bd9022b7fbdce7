"""One document as conditions look at it: its metadata, parsed once, and its id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ...errors import InvalidInputError
from ..stored_text import decode_text
from .fields import ID, MISSING, field_value
from .patterns import Pattern, lower

__all__ = ["Row", "number_of"]

MOST_STEPS = 1 << 28
"""Patterns' work on a document, in characters: some seconds."""


STEPS_A_TEXT = 100
"""What a text takes beside its characters."""


class Row:
    """A document as conditions see it: its metadata, parsed, and its id as it is stored."""

    __slots__ = ("_id", "_lists", "_lowered", "_metadata", "_steps")

    def __init__(self, metadata: dict[str, Any], id: bytes = b"") -> None:
        self._metadata = metadata
        self._id = id
        self._lists: dict[str, Elements] = {}
        self._lowered: dict[str, list[str]] = {}
        self._steps = 0

    def value(self, field: str) -> Any:
        """What there is under a field; `MISSING` if nothing is."""
        found = self._metadata.get(field, MISSING)
        if found is MISSING and "." in field:
            return field_value(self._metadata, field)
        if found is MISSING and field == ID:
            return decode_text(self._id)
        return found

    def elements(self, field: str, values: list[Any]) -> Elements:
        """The list under a field, as comparisons need it."""
        if field not in self._lists:
            self._lists[field] = Elements(values)
        return self._lists[field]

    def matches(self, field: str, texts: Sequence[str], pattern: Pattern) -> bool:
        """Whether a pattern matches one of the texts under a field."""
        if field not in self._lowered:
            self._lowered[field] = [lower(text) for text in texts]
        lowered = self._lowered[field]
        self._steps += pattern.weight * (sum(map(len, lowered)) + STEPS_A_TEXT * len(lowered))
        if self._steps > MOST_STEPS:
            raise InvalidInputError(
                f"the filter's LIKE is too much work for document {decode_text(self._id)[:80]!r}: patterns "
                f"times characters go beyond {MOST_STEPS:,}; use fewer patterns, or fewer _ in them"
            )
        return any(map(pattern.matches, lowered))


class Elements:
    """The elements of a list that compare with something."""

    def __init__(self, values: list[Any]) -> None:
        self.numbers = {number_of(value) for value in values if type(value) in (int, float)}
        self.texts = {value for value in values if type(value) is str}
        self.booleans = {value for value in values if type(value) is bool}

    @cached_property
    def number_ends(self) -> tuple[Any, ...]:
        """The lowest and the highest, if there are any: all that an order asks."""
        return (min(self.numbers), max(self.numbers)) if self.numbers else ()

    @cached_property
    def text_ends(self) -> tuple[Any, ...]:
        """The same of strings."""
        return (min(self.texts), max(self.texts)) if self.texts else ()


def number_of(value: Any) -> Any:
    """A number as SQLite has it: whole ones beyond 64 bits are floats, infinite where they are too large."""
    if type(value) is float or -(1 << 63) <= value < 1 << 63:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
