"""Values of declared fields in memory, as arrays, on which a filter is a few comparisons for all documents.

A list has an entry for each of its elements: a comparison holds for it where it holds for any of them.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...platform.forks import cached_property
from ..stored_text import encode_text
from .document import STEPS_A_TEXT, number_of
from .patterns import Pattern, lower

__all__ = ["Column", "Columns", "Kind", "NotInMemoryError", "column_of"]

Mask = NDArray[np.bool_]


class Kind:
    """What a value is, as a filter tells values apart."""

    MISSING, NULL, FALSE, TRUE, WHOLE, REAL, TEXT, LIST, OBJECT = range(9)


_NAMED = {
    "": Kind.MISSING,
    "null": Kind.NULL,
    "false": Kind.FALSE,
    "true": Kind.TRUE,
    "integer": Kind.WHOLE,
    "real": Kind.REAL,
    "text": Kind.TEXT,
    "array": Kind.LIST,
    "object": Kind.OBJECT,
}
"""SQLite's names of the types of JSON values. Whole numbers that it can't hold are floats."""
_FEW = 8
_LARGEST_COLUMN = 1 << 28
"""In bytes."""
_MOST_STEPS = 1 << 24
"""Patterns' work on all distinct strings, in characters: a fraction of a second."""
_WHOLE = np.iinfo(np.int64)


class NotInMemoryError(Exception):
    """A column takes more memory, or a comparison more work, than it is worth: only the rows tell."""


@dataclass(frozen=True, eq=False)
class Column:
    """The values of a field in ``n`` documents.

    Parameters
    ----------
    kinds
        uint8 ``[n]``: `Kind`.
    values
        int64 ``[n]``: whole numbers, the bits of float64, or the places of strings in ``texts``; by kind.
    texts
        The distinct strings in UTF-8, rising.
    elements, owners
        The elements of lists that compare with something, and int64, rising: of which documents they are.
    """

    kinds: NDArray[np.uint8]
    values: NDArray[np.int64]
    texts: Sequence[bytes] = ()
    elements: Column | None = None
    owners: NDArray[np.int64] | None = None

    def take(self, which: NDArray[np.int64]) -> Column:
        """The values of some documents, each named once at most."""
        if self.elements is None or self.owners is None:
            return Column(self.kinds[which], self.values[which], self.texts)
        places = np.full(len(self.kinds), -1, np.int64)
        places[which] = np.arange(len(which))
        owners = places[self.owners]
        order = np.argsort(owners, kind="stable")[np.count_nonzero(owners < 0) :]
        elements = self.elements.take(order)
        return Column(self.kinds[which], self.values[which], self.texts, elements, owners[order])

    def followed_by(self, other: Column) -> Column:
        """The values of these documents and of others."""
        texts, mine, theirs = _merged(self.texts, other.texts)
        values = [self.renumbered(mine).values, other.renumbered(theirs).values]
        elements, owners = self.elements, self.owners
        if other.elements is not None and other.owners is not None:
            moved = other.owners + len(self.kinds)
            elements = other.elements if elements is None else elements.followed_by(other.elements)
            owners = moved if owners is None else np.concatenate([owners, moved])
        return Column(
            np.concatenate([self.kinds, other.kinds]), np.concatenate(values), texts, elements, owners
        )

    def renumbered(self, places: NDArray[np.int64]) -> Column:
        """The same, with other numbers for the strings."""
        values, strings = self.values.copy(), self.kinds == Kind.TEXT
        values[strings] = places[values[strings]]
        return replace(self, values=values)

    @cached_property
    def steps(self) -> int:
        """What matching a simple pattern takes."""
        mine = sum(map(len, self.texts)) + STEPS_A_TEXT * len(self.texts)
        return mine if self.elements is None else mine + self.elements.steps

    @cached_property
    def _present(self) -> frozenset[int]:
        return frozenset(np.flatnonzero(np.bincount(self.kinds, minlength=1)).tolist())

    @cached_property
    def _reals(self) -> NDArray[np.float64]:
        return self.values.view(np.float64)

    def is_of(self, *kinds: int) -> Mask:
        """Which values are of some kinds, lists as such."""
        found = np.zeros(len(self.kinds), bool)
        for kind in kinds:
            if kind in self._present:
                found |= self.kinds == kind
        return found

    def is_in(self, numbers: Collection[float], texts: Collection[str], booleans: Collection[bool]) -> Mask:
        """Which values, or elements of lists, are one of some values."""
        return self._any(lambda column: column._is_in(numbers, texts, booleans))

    def compares(self, operator: str, bound: float | str) -> Mask:
        """Which values, or elements of lists, are ``<``, ``<=``, ``>`` or ``>=`` a number or a string."""
        if isinstance(bound, str):
            return self._any(lambda column: column._compares_text(operator, bound.encode()))
        return self._any(lambda column: column._compares_number(operator, bound))

    def matches(self, pattern: Pattern) -> Mask:
        """See `Columns`."""
        return self._any(lambda column: column._matches(pattern))

    def _any(self, test: Callable[[Column], Mask]) -> Mask:
        found = test(self)
        if self.elements is not None and self.owners is not None:
            found[self.owners[test(self.elements)]] = True
        return found

    def _is_in(self, numbers: Collection[float], texts: Collection[str], booleans: Collection[bool]) -> Mask:
        found = self.is_of(*(Kind.TRUE if value else Kind.FALSE for value in booleans))
        whole = [int(one) for one in numbers if one == math.floor(one) and _WHOLE.min <= one <= _WHOLE.max]
        self._add(found, Kind.WHOLE, lambda: _one_of(self.values, whole), whole)
        real = [float(one) for one in numbers if float(one) == one]
        self._add(found, Kind.REAL, lambda: _one_of(self._reals, real), real)
        wanted = [text.encode() for text in texts]
        places = [at for text in wanted for at in [bisect_left(self.texts, text)] if self._has(at, text)]
        self._add(found, Kind.TEXT, lambda: _one_of(self.values, places), places)
        return found

    def _compares_text(self, operator: str, bound: bytes) -> Mask:
        after = operator in ("<=", ">")
        place = (bisect_right if after else bisect_left)(self.texts, bound)
        found = np.zeros(len(self.kinds), bool)
        self._add(found, Kind.TEXT, lambda: self.values < place if "<" in operator else self.values >= place)
        return found

    def _compares_number(self, operator: str, bound: float) -> Mask:
        found = np.zeros(len(self.kinds), bool)
        self._add(found, Kind.WHOLE, lambda: _compares_whole(self.values, operator, bound))
        self._add(found, Kind.REAL, lambda: _compares_real(self._reals, operator, bound))
        return found

    def _matches(self, pattern: Pattern) -> Mask:
        try:
            texts = [text.decode() for text in self.texts]
        except UnicodeDecodeError as error:
            raise NotInMemoryError from error
        matching = np.array([pattern.matches(lower(text)) for text in texts], bool)
        found = np.zeros(len(self.kinds), bool)
        some = np.flatnonzero(self.kinds == Kind.TEXT)
        found[some] = matching[self.values[some]]
        return found

    def _has(self, place: int, text: bytes) -> bool:
        return place < len(self.texts) and self.texts[place] == text

    def _add(
        self, found: Mask, kind: int, test: Callable[[], Mask], wanted: Sequence[Any] | None = None
    ) -> None:
        """Add what a test finds among the values of a kind, if there are any, and anything is wanted."""
        if kind not in self._present or (wanted is not None and not wanted):
            return
        holds = test()
        if len(self._present) > 1:
            holds &= self.kinds == kind
        found |= holds


class Columns:
    """Columns by field, each of the same ``n`` documents; for one filter."""

    def __init__(self, n: int, by_field: Mapping[str, Column]) -> None:
        self.n = n
        self._by_field = by_field
        self._steps = 0

    def __getitem__(self, field: str) -> Column:
        return self._by_field[field]

    def matches(self, field: str, pattern: Pattern) -> Mask:
        """Which values, or elements of lists, a pattern matches.

        Raises
        ------
        NotInMemoryError
            If the filter's patterns are too much work, or a string is one that SQLite reads in its own way.
        """
        column = self[field]
        self._steps += pattern.weight * column.steps
        if self._steps > _MOST_STEPS:
            raise NotInMemoryError
        return column.matches(pattern)


def column_of(pieces: Iterable[Sequence[tuple[Any, ...]]]) -> Column:
    """A column from SQLite's rows, some at a time, which end with the type of a JSON value and the value.

    Strings are bytes, and lists JSON.

    Raises
    ------
    NotInMemoryError
        If it would take more memory than it is worth, or a list isn't one.
    """
    texts = _Texts()
    kinds, values = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    elements: list[tuple[str, Any]] = []
    owners: list[int] = []
    n = 0
    for some in pieces:
        stored = _stored(some, texts)
        for at in np.flatnonzero(stored[0] == Kind.LIST).tolist():
            found = list(_elements(some[at][-1]))
            elements += found
            owners += [n + at] * len(found)
        n += len(some)
        kinds.append(stored[0])
        values.append(stored[1])
        if texts.size + 16 * (n + len(elements)) > _LARGEST_COLUMN:
            raise NotInMemoryError
    column = texts.sorted(np.concatenate(kinds), np.concatenate(values))
    if not elements:
        return column
    return replace(column, elements=column_of([elements]), owners=np.array(owners, np.int64))


class _Texts:
    """Distinct strings, numbered as they come."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self.size = 0

    def place(self, text: bytes) -> int:
        """The number of a string."""
        found = self._places.setdefault(text, len(self._places))
        if found == len(self._places) - 1:
            self.size += len(text)
        return found

    def sorted(self, kinds: NDArray[np.uint8], values: NDArray[np.int64]) -> Column:
        """The column, in which strings are numbered in their order."""
        distinct = sorted(self._places)
        ranks = np.empty(len(distinct), np.int64)
        ranks[[self._places[text] for text in distinct]] = np.arange(len(distinct))
        return Column(kinds, values, distinct).renumbered(ranks)


def _stored(some: Sequence[tuple[Any, ...]], texts: _Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Kinds and values of a few."""
    kinds = np.array([_NAMED[row[-2]] for row in some], np.uint8)
    given = [row[-1] for row in some]
    values = np.zeros(len(some), np.int64)
    strings = np.flatnonzero(kinds == Kind.TEXT)
    values[strings] = [texts.place(given[at]) for at in strings.tolist()]
    numbers = np.flatnonzero((kinds == Kind.WHOLE) | (kinds == Kind.REAL)).tolist()
    real = [at for at in numbers if type(given[at]) is float]
    whole = [at for at in numbers if type(given[at]) is int]
    kinds[real], kinds[whole] = Kind.REAL, Kind.WHOLE
    values[real] = np.array([given[at] for at in real], np.float64).view(np.int64)
    values[whole] = np.array([given[at] for at in whole], np.int64)
    return kinds, values


def _elements(text: str) -> Iterable[tuple[str, Any]]:
    """The elements of a list that compare with something, named as SQLite would."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotInMemoryError from error
    for value in values:
        if type(value) is bool:
            yield ("true" if value else "false"), None
        elif type(value) is str:
            yield "text", encode_text(value)
        elif type(value) in (int, float):
            yield "real", number_of(value)


def _merged(
    some: Sequence[bytes], more: Sequence[bytes]
) -> tuple[Sequence[bytes], NDArray[np.int64], NDArray[np.int64]]:
    """All of two rising sequences, and where those of each are now."""
    known = set(some)
    new = [text for text in more if text not in known]
    if not new:
        return some, np.arange(len(some)), np.array([bisect_left(some, text) for text in more], np.int64)
    before = np.array([bisect_left(some, text) for text in new], np.int64)
    old = np.arange(len(some)) + np.searchsorted(before, np.arange(len(some)), "right")
    merged = sorted([*some, *new])
    return merged, old, np.array([bisect_left(merged, text) for text in more], np.int64)


def _one_of(values: NDArray[Any], wanted: Sequence[Any]) -> Mask:
    if len(wanted) > _FEW:
        return np.isin(values, np.array(wanted, values.dtype))
    found: Mask = values == wanted[0]
    for one in wanted[1:]:
        found |= values == one
    return found


def _compares_whole(values: NDArray[np.int64], operator: str, bound: float) -> Mask:
    """Whole numbers and a number, exactly: those below the least one that is beyond, or from there on."""
    least = math.floor(bound) + 1 if operator in ("<=", ">") else math.ceil(bound)
    below = "<" in operator
    if least > _WHOLE.max or least < _WHOLE.min:
        return np.full(len(values), (least > _WHOLE.max) == below)
    return values < least if below else values >= least


def _compares_real(values: NDArray[np.float64], operator: str, bound: float) -> Mask:
    """Floats and a number that may be no float: then the next one in the way of the comparison counts."""
    near = float(bound)
    if near == bound:
        exact = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[operator]
        found: Mask = exact(values, near)
        return found
    # Strictly between two floats, so that it is all one whether equality counts.
    return values < _next_above(near, bound) if "<" in operator else values >= _next_above(near, bound)


def _next_above(near: float, bound: float) -> float:
    """The least float above a number, of which ``near`` is the nearest float."""
    return near if near > bound else math.nextafter(near, math.inf)
