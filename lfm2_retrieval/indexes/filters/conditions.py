"""Conditions on documents: whether one holds, and what SQL tells of that by the columns of declared fields.

Whether a condition holds is found out from the metadata, parsed once. SQL only narrows down which documents
are looked at. It gives two bounds, what surely holds and what possibly does, which differ where a field isn't
declared or a document has a list there. Where the values of all its fields are in memory, as `Columns`, a
condition tells of all documents at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .columns import Columns
    from .document import Row

__all__ = ["ALWAYS", "FALSE", "NEVER", "TRUE", "All", "AnyOf", "Bounds", "Condition", "Not", "Sql", "joined"]


class Sql(NamedTuple):
    """An expression that is 1 or 0 for every row, and what its question marks stand for, in order."""

    text: str
    parameters: tuple[Any, ...] = ()


TRUE, FALSE = Sql("(1)"), Sql("(0)")


class Bounds(NamedTuple):
    """What SQL can tell: where ``sure`` is 1 a condition holds, where ``possible`` is 0 it doesn't.

    Where none of the declared fields has a list, the two are the same, if ``exact``: all fields are declared.
    """

    sure: Sql
    possible: Sql
    exact: bool = True


class Condition(ABC):
    """A filter, whatever the form it was written in."""

    @property
    def depth(self) -> int:
        """How many levels of AND, OR and NOT there are in it, with many parts joined in pairs."""
        return 0

    @abstractmethod
    def holds(self, row: Row) -> bool:
        """Whether a document meets it."""

    @abstractmethod
    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """What the columns of declared fields tell of it."""

    @abstractmethod
    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """Which documents meet it, bool ``[n]``, of its own; the columns of all its fields are given.

        Raises
        ------
        NotInMemoryError
            If that is too much work.
        """

    @abstractmethod
    def fields(self) -> Iterator[str]:
        """The fields that it names, each as often as it does."""

    def __invert__(self) -> Condition:
        return Not(self)


@dataclass(frozen=True)
class _Junction(Condition):
    """Several conditions together."""

    parts: tuple[Condition, ...]

    @classmethod
    def _simplified(cls, parts: Sequence[Condition], decisive: Condition, idle: Condition) -> Condition:
        """They together, unless one is decisive; without those that change nothing."""
        if decisive in parts:
            return decisive
        left = tuple(part for part in parts if part != idle)
        return cls(left) if len(left) > 1 else left[0] if left else idle

    def fields(self) -> Iterator[str]:
        """See `Condition`."""
        for part in self.parts:
            yield from part.fields()

    @property
    def depth(self) -> int:
        """See `Condition`."""
        return _depth(self.parts)


@dataclass(frozen=True)
class All(_Junction):
    """All of some conditions; made by `of`."""

    @classmethod
    def of(cls, parts: Sequence[Condition]) -> Condition:
        """The conjunction of some conditions, with what is constant left out."""
        return cls._simplified(parts, NEVER, ALWAYS)

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        return all(part.holds(row) for part in self.parts)

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        return _bounds("AND", self.parts, columns)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        found = self.parts[0].mask(columns)
        for part in self.parts[1:]:
            found &= part.mask(columns)
        return found


@dataclass(frozen=True)
class AnyOf(_Junction):
    """Any of some conditions; made by `of`."""

    @classmethod
    def of(cls, parts: Sequence[Condition]) -> Condition:
        """The disjunction of some conditions, with what is constant left out."""
        return cls._simplified(parts, ALWAYS, NEVER)

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        return any(part.holds(row) for part in self.parts)

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        return _bounds("OR", self.parts, columns)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        found = self.parts[0].mask(columns)
        for part in self.parts[1:]:
            found |= part.mask(columns)
        return found


@dataclass(frozen=True)
class Not(Condition):
    """The exact opposite of a condition."""

    part: Condition

    def __invert__(self) -> Condition:
        return self.part

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        return not self.part.holds(row)

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        sure, possible, exact = self.part.bounds(columns)
        return Bounds(_opposite(possible), _opposite(sure), exact)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        found = self.part.mask(columns)
        return np.logical_not(found, out=found)

    def fields(self) -> Iterator[str]:
        """See `Condition`."""
        return self.part.fields()

    @property
    def depth(self) -> int:
        """See `Condition`."""
        return self.part.depth + 1


class _Constant(Condition):
    """What holds for all documents, or for none."""

    def __init__(self, holds: bool) -> None:
        self._holds = holds

    def __invert__(self) -> Condition:
        return NEVER if self._holds else ALWAYS

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        return self._holds

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        sql = TRUE if self._holds else FALSE
        return Bounds(sql, sql)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        return np.full(columns.n, self._holds)

    def fields(self) -> Iterator[str]:
        """See `Condition`."""
        return iter(())


ALWAYS: Condition = _Constant(True)
NEVER: Condition = _Constant(False)


def joined(word: str, parts: Sequence[Sql]) -> Sql:
    """All (AND) or any (OR) of some expressions, joined in pairs, as SQLite takes few levels."""
    decisive, idle = (FALSE, TRUE) if word == "AND" else (TRUE, FALSE)
    if decisive in parts:
        return decisive
    left = [part for part in parts if part != idle]
    if not left:
        return idle
    while len(left) > 1:
        pairs = [left[first : first + 2] for first in range(0, len(left), 2)]
        left = [
            pair[0]
            if len(pair) == 1
            else Sql(f"({pair[0].text} {word} {pair[1].text})", pair[0].parameters + pair[1].parameters)
            for pair in pairs
        ]
    return left[0]


def _opposite(sql: Sql) -> Sql:
    if sql in (TRUE, FALSE):
        return FALSE if sql == TRUE else TRUE
    return Sql(f"NOT {sql.text}", sql.parameters)


def _bounds(word: str, parts: Sequence[Condition], columns: Mapping[str, str]) -> Bounds:
    bounds = [part.bounds(columns) for part in parts]
    return Bounds(
        joined(word, [part.sure for part in bounds]),
        joined(word, [part.possible for part in bounds]),
        all(part.exact for part in bounds),
    )


def _depth(parts: Sequence[Condition]) -> int:
    depths = [part.depth for part in parts]
    while len(depths) > 1:
        pairs = [depths[first : first + 2] for first in range(0, len(depths), 2)]
        depths = [max(pair) + len(pair) - 1 for pair in pairs]
    return depths[0] if depths else 0
