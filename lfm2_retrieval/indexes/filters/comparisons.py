"""Comparisons of a field with values: the conditions that others are made of.

Of a list that a document has under a field, what comparisons need is gathered once. So a document takes as
much work as it is long, and each comparison little more; `MOST_STEPS` limits patterns, which read all of it.
"""

from __future__ import annotations

import json
import math
import operator
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError, InvalidTypeError
from ...json_values import plain
from .columns import Columns, Kind
from .conditions import FALSE, NEVER, TRUE, AnyOf, Bounds, Condition, Sql, joined
from .document import Row, number_of
from .fields import ID, MISSING, check_field
from .patterns import Pattern

__all__ = ["Comparison", "Comparisons", "Exists", "Like", "OneOf", "Order", "any_of"]

_MOST_VALUES = 10_000
_MOST_COMPARISONS = 2_000
_LONGEST_PATTERN = 50_000
"""In bytes: SQLite's limit."""


class Comparison(Condition):
    """A condition on one field."""

    field: str

    def fields(self) -> Iterator[str]:
        """See `Condition`."""
        yield self.field

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        if (column := columns.get(self.field)) is None:
            return Bounds(FALSE, TRUE, exact=False)
        sure = self._sql(column)
        return Bounds(sure, joined("OR", [sure, Sql(f"({column}_type = 'array')")]))

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        value = row.value(self.field)
        if type(value) is list:
            return self._list_holds(row, value)
        return (
            value is not MISSING
            and value is not None
            and type(value) is not dict
            and self._scalar_holds(row, value)
        )

    @abstractmethod
    def _sql(self, column: str) -> Sql:
        """The comparison by a column, false for lists."""

    @abstractmethod
    def _scalar_holds(self, row: Row, value: Any) -> bool:
        """Whether it holds for a string, a number or a boolean."""

    @abstractmethod
    def _list_holds(self, row: Row, values: list[Any]) -> bool:
        """Whether it holds for an element of a list."""


@dataclass(frozen=True)
class OneOf(Comparison):
    """Whether a field is one of some values, and, with ``null``, whether it is null or missing."""

    field: str
    numbers: frozenset[float] = frozenset()
    texts: frozenset[str] = frozenset()
    booleans: frozenset[bool] = frozenset()
    null: bool = False

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        value = row.value(self.field)
        if type(value) is str:
            return value in self.texts
        if value is MISSING or value is None:
            return self.null
        return super().holds(row)

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        if self.null and self.field in columns and not (self.numbers or self.texts or self.booleans):
            sure = self._sql(columns[self.field])
            return Bounds(sure, sure)
        return super().bounds(columns)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        column = columns[self.field]
        found = column.is_in(self.numbers, self.texts, self.booleans)
        if self.null:
            found |= column.is_of(Kind.MISSING, Kind.NULL)
        return found

    def sought(self) -> Sql:
        """What the JSON of a document must hold as text, so that most needn't be parsed."""
        if self.field == ID or self.numbers or self.booleans or self.null or len(self.texts) > 1:
            return TRUE
        return joined("OR", [Sql("(instr(metadata, ?) > 0)", (json.dumps(text),)) for text in self.texts])

    def _scalar_holds(self, row: Row, value: Any) -> bool:
        return value in self.booleans if type(value) is bool else number_of(value) in self.numbers

    def _list_holds(self, row: Row, values: list[Any]) -> bool:
        elements = row.elements(self.field, values)
        return not (
            self.numbers.isdisjoint(elements.numbers)
            and self.texts.isdisjoint(elements.texts)
            and self.booleans.isdisjoint(elements.booleans)
        )

    def _sql(self, column: str) -> Sql:
        parts = [Sql(f"({column}_type IN ('', 'null'))")] if self.null else []
        for types, values in (("'integer', 'real'", self.numbers), ("'text'", self.texts)):
            if len(values) == 1:
                parts.append(Sql(f"({column}_type IN ({types}) AND {column} = ?)", (*values,)))
            elif values:
                # One parameter for all: SQLite limits how many there may be.
                test = f"({column}_type IN ({types}) AND {column} IN (SELECT value FROM json_each(?)))"
                parts.append(Sql(test, (json.dumps(list(values)),)))
        parts += [Sql(f"({column}_type = '{'true' if value else 'false'}')") for value in self.booleans]
        return joined("OR", parts)


@dataclass(frozen=True)
class Order(Comparison):
    """Whether a field is greater or less than a number or a string."""

    field: str
    operator: str
    bound: Any

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        return columns[self.field].compares(self.operator, self.bound)

    def _scalar_holds(self, row: Row, value: Any) -> bool:
        if isinstance(self.bound, str):
            return type(value) is str and self._compares(value)
        return type(value) in (int, float) and self._compares(number_of(value))

    def _list_holds(self, row: Row, values: list[Any]) -> bool:
        elements = row.elements(self.field, values)
        ends = elements.text_ends if isinstance(self.bound, str) else elements.number_ends
        return any(map(self._compares, ends))

    def _compares(self, value: Any) -> bool:
        return bool(_ORDERS[self.operator](value, self.bound))

    def _sql(self, column: str) -> Sql:
        types = "'text'" if isinstance(self.bound, str) else "'integer', 'real'"
        return Sql(f"({column}_type IN ({types}) AND {column} {self.operator} ?)", (self.bound,))


_ORDERS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True)
class Like(Comparison):
    """Whether a field is a string that a pattern of SQL matches."""

    field: str
    pattern: str

    @cached_property
    def _compiled(self) -> Pattern:
        return Pattern(self.pattern)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        return columns.matches(self.field, self._compiled)

    def _scalar_holds(self, row: Row, value: Any) -> bool:
        return type(value) is str and row.matches(self.field, [value], self._compiled)

    def _list_holds(self, row: Row, values: list[Any]) -> bool:
        texts = [value for value in values if type(value) is str]
        return row.matches(self.field, texts, self._compiled)

    def _sql(self, column: str) -> Sql:
        return Sql(f"({column}_type = 'text' AND {column} LIKE ?)", (self.pattern,))


@dataclass(frozen=True)
class Exists(Comparison):
    """Whether a field is there, also as null."""

    field: str

    def holds(self, row: Row) -> bool:
        """See `Condition`."""
        return row.value(self.field) is not MISSING

    def bounds(self, columns: Mapping[str, str]) -> Bounds:
        """See `Condition`."""
        if self.field in columns:
            sure = self._sql(columns[self.field])
            return Bounds(sure, sure)
        return super().bounds(columns)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """See `Condition`."""
        found = columns[self.field].is_of(Kind.MISSING)
        return np.logical_not(found, out=found)

    def _scalar_holds(self, row: Row, value: Any) -> bool:
        return True

    def _list_holds(self, row: Row, values: list[Any]) -> bool:
        return True

    def _sql(self, column: str) -> Sql:
        return Sql(f"({column}_type > '')")


def any_of(parts: Sequence[Condition]) -> Condition:
    """The disjunction of some conditions; what a field is compared with there becomes one set of values."""
    merged: dict[str, OneOf] = {}
    others: list[Condition] = []
    for part in parts:
        if not isinstance(part, OneOf):
            others.append(part)
        elif (known := merged.get(part.field)) is None:
            merged[part.field] = part
        else:
            merged[part.field] = OneOf(
                part.field,
                known.numbers | part.numbers,
                known.texts | part.texts,
                known.booleans | part.booleans,
                known.null or part.null,
            )
    return AnyOf.of([*merged.values(), *others])


class Comparisons:
    """Makes the comparisons of one filter, from what its writer wrote; too many are refused."""

    def __init__(self) -> None:
        self._n = 0

    def compare(self, field: str, operator: str, value: Any) -> Condition:
        """``operator`` is one of ``= > >= < <= LIKE``."""
        self._count(field)
        if operator == "=":
            return _one_of(field, [value])
        if value is None:
            raise InvalidInputError(f"the filter on {field!r} compares with null; only equality can")
        if isinstance(value, bool):
            raise InvalidInputError(f"the filter on {field!r} orders booleans; they are only equal or not")
        bound = _checked(field, value)
        if operator != "LIKE":
            return Order(field, operator, bound)
        if len(bound.encode()) > _LONGEST_PATTERN:
            raise InvalidInputError(f"the pattern for {field!r} is longer than {_LONGEST_PATTERN} bytes")
        return Like(field, bound)

    def is_in(self, field: str, values: Any) -> Condition:
        """Whether it is one of some values."""
        self._count(field)
        if isinstance(values, (set, frozenset)):
            values = list(values)
        elif hasattr(values, "tolist"):  # an array
            values = values.tolist()
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
            raise InvalidInputError(f"the filter on {field!r} needs a list of values, not {values!r:.80}")
        if len(values) > _MOST_VALUES:
            raise InvalidInputError(
                f"the filter on {field!r} lists {len(values)} values; at most {_MOST_VALUES}"
            )
        return _one_of(field, values) if values else NEVER

    def exists(self, field: str, wanted: Any) -> Condition:
        """Whether it is there, or isn't."""
        self._count(field)
        if not isinstance(wanted, bool):
            raise InvalidInputError(f"$exists on {field!r} takes true or false, not {wanted!r:.80}")
        return Exists(field) if wanted else ~Exists(field)

    def _count(self, field: str) -> None:
        check_field(field)
        self._n += 1
        if self._n > _MOST_COMPARISONS:
            raise InvalidInputError(
                f"the filter makes more than {_MOST_COMPARISONS} comparisons, which are possible at most: "
                "IN, or $in, compares with a whole list"
            )


def _one_of(field: str, values: Sequence[Any]) -> OneOf:
    checked = [value if value is None else _checked(field, value) for value in values]
    return OneOf(
        field,
        frozenset(one for one in checked if isinstance(one, (int, float)) and type(one) is not bool),
        frozenset(value for value in checked if type(value) is str),
        frozenset(value for value in checked if type(value) is bool),
        None in checked,
    )


def _checked(field: str, value: Any) -> Any:
    """A value to compare with: str, bool, or a number that SQLite has."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the filter on {field!r} compares with a lone surrogate") from error
        if "\0" in value:
            raise InvalidInputError(
                f"the filter on {field!r} compares with a NUL character, where strings of SQLite end"
            )
        return str(value)
    if isinstance(value, (int, float)):
        found = number_of(int(value) if isinstance(value, int) else float(value))
        if not math.isfinite(found):
            raise InvalidInputError(
                f"the filter on {field!r} compares with NaN or with a number beyond those of 64-bit floats"
            )
        return found
    if isinstance(value, (list, tuple, set, frozenset)):
        raise InvalidTypeError(
            f"the filter on {field!r} compares with a {type(value).__name__}; one of several is "
            '{"$in": […]}, or IN (…)'
        )
    try:
        found = plain(value)  # dates, NumPy's numbers …, as metadata have them
    except InvalidInputError:
        found = value
    if type(found) in (str, bool, int, float):
        return _checked(field, found)
    raise InvalidTypeError(
        f"the filter on {field!r} compares with a {type(value).__name__}; values are strings, numbers, "
        "booleans or None"
    )
