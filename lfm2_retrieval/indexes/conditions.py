"""Conditions in SQL on the metadata of documents, whose every value is bound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InvalidInputError, InvalidTypeError
from .fields import columns, field_path

__all__ = ["Condition", "Fields", "join"]

_MOST_VALUES = 10_000
_MOST_CONDITIONS, _DEEPEST = 2_000, 24
"""What SQLite is sure to parse: comparisons in a statement, and levels of AND, OR and NOT."""
_LONGEST_PATTERN = 50_000


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the column ``metadata``.

    Parameters
    ----------
    sql
        An expression that is 1 or 0 for every row.
    parameters
        What its question marks stand for, in order.
    where
        The filter that it is, as a caller wrote it.
    size, depth
        How many comparisons there are in it, and how many levels of AND, OR and NOT.
    """

    sql: str
    parameters: tuple[Any, ...] = ()
    where: Any = field(default=None, compare=False)
    size: int = field(default=1, compare=False)
    depth: int = field(default=0, compare=False)

    def __invert__(self) -> Condition:
        if self.sql.startswith("NOT "):
            return replace(self, sql=self.sql.removeprefix("NOT "), depth=self.depth - 1)
        return replace(self, sql=f"NOT {self.sql}", depth=self.depth + 1)

    def check(self) -> None:
        """Refuse what SQLite couldn't parse.

        Raises
        ------
        InvalidInputError
            If it is too long or too deep.
        """
        if self.depth > _DEEPEST:
            raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep: simplify it")
        if self.size > _MOST_CONDITIONS:
            raise InvalidInputError(
                f"the filter makes {self.size} comparisons, at most {_MOST_CONDITIONS} are possible: IN, or "
                "$in, compares with a whole list"
            )


class Fields:
    """Conditions on one field each: by its columns if it is declared, else by its path in the metadata.

    A test is on ``{type}`` and ``{value}``. Types are never NULL, and no value is where a type matches; so
    conditions are 1 or 0, and NOT is the exact opposite.
    """

    def __init__(self, declared: Sequence[str] = ()) -> None:
        self._columns = columns(declared)

    def compare(self, name: str, operator: str, value: Any) -> Condition:
        """``operator`` is one of ``= > >= < <= LIKE``."""
        if value is None:
            if operator != "=":
                raise InvalidInputError(f"the filter on {name!r} compares with null; only equality can")
            if column := self._column(name):
                return Condition(f"({column}_type IN ('', 'null'))")
            return Condition("(coalesce(json_type(metadata, ?), 'null') = 'null')", (field_path(name),))
        types, bound = _typed(name, value)
        if operator == "LIKE" and len(value.encode()) > _LONGEST_PATTERN:
            raise InvalidInputError(f"the pattern for {name!r} is longer than {_LONGEST_PATTERN} bytes")
        if types in ("'true'", "'false'"):
            if operator != "=":
                raise InvalidInputError(f"the filter on {name!r} orders booleans; they are only equal or not")
            return self._any_element(name, f"{{type}} = {types}", ())
        return self._any_element(name, f"{{type}} IN ({types}) AND {{value}} {operator} ?", (bound,))

    def is_in(self, name: str, values: Any) -> Condition:
        """Whether it is one of some values."""
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
            raise InvalidInputError(f"the filter on {name!r} needs a list of values, not {values!r}")
        if len(values) > _MOST_VALUES:
            raise InvalidInputError(
                f"the filter on {name!r} lists {len(values)} values; at most {_MOST_VALUES}"
            )
        alone = [value for value in values if value is None or isinstance(value, bool)]
        conditions = [self.compare(name, "=", value) for value in dict.fromkeys(alone)]
        by_type: dict[str, list[Any]] = {}
        for value in values:
            if value is not None and not isinstance(value, bool):
                types, bound = _typed(name, value)
                by_type.setdefault(types, []).append(bound)
        for types, bound_values in by_type.items():
            # One parameter for the whole list: SQLite limits how many there may be.
            test = f"{{type}} IN ({types}) AND {{value}} IN (SELECT value FROM json_each(?))"
            conditions.append(self._any_element(name, test, (json.dumps(bound_values),)))
        return join("OR", conditions)

    def exists(self, name: str, wanted: Any) -> Condition:
        """Whether it is there, or isn't."""
        if not isinstance(wanted, bool):
            raise InvalidInputError(f"$exists on {name!r} takes true or false, not {wanted!r}")
        if column := self._column(name):
            return Condition(f"({column}_type {'>' if wanted else '='} '')")
        return Condition(f"(json_type(metadata, ?) IS {'NOT ' * wanted}NULL)", (field_path(name),))

    def _column(self, name: str) -> str | None:
        field_path(name)  # refuses what is no name
        return self._columns.get(name)

    def _any_element(self, name: str, test: str, parameters: tuple[Any, ...]) -> Condition:
        """Whether the field, or an element of it where it is a list, passes a test."""
        path = field_path(name)
        element = test.format(type="e.type", value="e.value")
        if column := self._column(name):
            alone = test.format(type=f"{column}_type", value=column)
            return Condition(
                f"(({alone}) OR ({column}_type = 'array' AND EXISTS "
                f"(SELECT 1 FROM json_each(metadata, ?) AS e WHERE {element})))",
                (*parameters, path, *parameters),
            )
        return Condition(
            "(json_type(metadata, ?) IS NOT 'object' AND EXISTS "
            f"(SELECT 1 FROM json_each(metadata, ?) AS e WHERE {element}))",
            (path, path, *parameters),
        )


def _typed(field: str, value: Any) -> tuple[str, Any]:
    """The JSON types that a value compares with, as SQL, and the value as SQLite takes it."""
    if isinstance(value, bool):
        return ("'true'" if value else "'false'"), value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the filter on {field!r} compares with a lone surrogate") from error
        if "\0" in value:
            raise InvalidInputError(
                f"the filter on {field!r} compares with a NUL character, where strings of SQLite end"
            )
        return "'text'", value
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return "'integer', 'real'", value
        value = _to_float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(
                f"the filter on {field!r} compares with NaN or with a number beyond those of 64-bit floats"
            )
        return "'integer', 'real'", value
    raise InvalidTypeError(
        f"the filter on {field!r} compares with a {type(value).__name__}; "
        "values are strings, numbers, booleans or None"
    )


def _to_float(value: int) -> float:
    """Infinity where it is too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def join(word: str, conditions: Sequence[Condition]) -> Condition:
    """All or any of some conditions, joined in pairs, as SQLite takes few levels; of none, true or false."""
    if not conditions:
        return Condition("(1)" if word == "AND" else "(0)")
    if len(conditions) == 1:
        return conditions[0]
    halves = conditions[: len(conditions) // 2], conditions[len(conditions) // 2 :]
    left, right = (join(word, half) for half in halves)
    return Condition(
        f"({left.sql} {word} {right.sql})",
        left.parameters + right.parameters,
        size=left.size + right.size,
        depth=max(left.depth, right.depth) + 1,
    )
