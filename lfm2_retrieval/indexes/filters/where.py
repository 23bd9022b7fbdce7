"""Filters on metadata: SQL text or a mapping, turned into a condition.

A condition compares a **field** with values: a key of the metadata, a dotted path into it (``author.name``),
or ``id``, the document's id. A key goes before a path: ``loc.page`` is the key ``loc.page`` where a document
has it, and else ``page`` in the object ``loc``. A document whose metadata has the key ``id`` is compared by
that.

- A list compares as any of its elements would: ``tags = 'new'`` holds where one of the tags is ``'new'``.
- Numbers compare with numbers, strings with strings (by code points), booleans with booleans. A value of
  another type, an object or a field that isn't there compares as false.
- ``!=``, ``NOT IN`` and ``NOT`` are the exact opposite of ``=``, ``IN`` and of what follows: they hold
  where the field is missing.
- ``BETWEEN`` is ``>=`` and ``<=``, so two elements of a list may meet it together: 1 and 9 lie between 4
  and 5.
- Whole numbers beyond 64 bits compare as floats.
- ``LIKE`` has ``%`` and ``_``, and ignores the case of ASCII letters.
- Of a string with a NUL character a declared field may have only what stands before it.
- ``IS NULL`` and ``None`` hold where the field is null or missing; ``$exists`` tells the two apart.

The same filter in both forms::

    {"lang": "de", "year": {"$gte": 2020}, "$or": [{"tags": {"$in": ["a", "b"]}}, {"draft": False}]}
    lang = 'de' AND year >= 2020 AND (tags IN ('a', 'b') OR draft = FALSE)

Mapping operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not``. SQL: ``= != <> > >= < <= IN
BETWEEN LIKE IS NULL AND OR NOT`` and parentheses; ``"a field"`` in double quotes where it isn't a plain
word, such as ``"loc.page"`` or ``"$price"``. See `filter_sql` for the grammar.

A filter makes at most 2,000 comparisons, each with a list of 10,000 values at most, on 24 levels of AND, OR
and NOT. The empty mapping is a filter that all documents meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InvalidInputError, InvalidTypeError
from .comparisons import Comparisons, any_of
from .conditions import All, Condition
from .foreign import OURS, foreign_form, foreign_operator
from .sql import parse_sql

__all__ = ["Condition", "Where", "parse_where"]

Where = str | Mapping[str, Any]
"""A filter as callers write it."""

_OPERATORS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NAMES = (*_OPERATORS, "$ne", "$in", "$nin", "$exists", "$and", "$or", "$not")
_DEEPEST_WRITTEN = 100
_DEEPEST = 24
"""What every SQLite takes."""


def parse_where(where: Where | object) -> Condition:
    """Turn a filter into a condition.

    Raises
    ------
    InvalidInputError
        If it isn't understood; the message says which part.
    InvalidTypeError
        If it is neither a str nor a mapping.
    """
    if isinstance(where, str):
        found = parse_sql(where)
    elif isinstance(where, Mapping):
        found = _Mappings().condition(where, 0)
    else:
        _refuse_foreign(where)
        raise InvalidTypeError(f"where must be a str or a mapping, not {type(where).__name__}: {OURS}")
    if found.depth > _DEEPEST:
        raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep: simplify it")
    return found


def _refuse_foreign(where: Any) -> None:
    if (form := foreign_form(where)) is not None:
        raise InvalidInputError(f"the filter {where!r:.80} has a form that looks like {form}; {OURS}")


class _Mappings:
    """Turns mappings into conditions."""

    def __init__(self) -> None:
        self._comparisons = Comparisons()

    def condition(self, where: Mapping[str, Any], depth: int) -> Condition:
        """The condition that a mapping is: all of its items."""
        _check_depth(depth)
        _refuse_foreign(where)
        conditions = []
        for key, value in where.items():
            if not isinstance(key, str):
                raise InvalidTypeError(f"the filter's keys are fields or operators, str; not {key!r}")
            if key in ("$and", "$or"):
                if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
                    raise InvalidInputError(f"{key} takes a list of filters, not {value!r:.80}")
                parts = [self._nested(part, key, depth) for part in value]
                conditions.append(All.of(parts) if key == "$and" else any_of(parts))
            elif key == "$not":
                conditions.append(~self._nested(value, key, depth))
            elif key.startswith("$"):
                raise InvalidInputError(
                    f"the filter has no operator {key!r} here{foreign_operator(key)}; there are "
                    f'{", ".join(_NAMES)}, and a field of that name can be compared in SQL: "{key}" = 5'
                )
            elif isinstance(value, Mapping):
                conditions.append(self._operators(key, value, depth))
            else:
                conditions.append(self._comparisons.compare(key, "=", value))
        return All.of(conditions)

    def _nested(self, part: Any, key: str, depth: int) -> Condition:
        if not isinstance(part, Mapping):
            raise InvalidInputError(f"{key} takes filters like {{'lang': 'de'}}, not {part!r:.80}")
        return self.condition(part, depth + 1)

    def _operators(self, name: str, operators: Mapping[str, Any], depth: int) -> Condition:
        """``{"$gte": 2020, "$lt": 2024}``: all of them."""
        _check_depth(depth)
        if not operators:
            raise InvalidInputError(f"the filter on {name!r} is empty: give a value or an operator")
        make, conditions = self._comparisons, []
        for operator, value in operators.items():
            if operator in _OPERATORS:
                conditions.append(make.compare(name, _OPERATORS[operator], value))
            elif operator == "$ne":
                conditions.append(~make.compare(name, "=", value))
            elif operator == "$in":
                conditions.append(make.is_in(name, value))
            elif operator == "$nin":
                conditions.append(~make.is_in(name, value))
            elif operator == "$exists":
                conditions.append(make.exists(name, value))
            elif operator == "$not" and isinstance(value, Mapping):
                conditions.append(~self._operators(name, value, depth + 1))
            else:
                raise InvalidInputError(
                    f"the filter on {name!r} has no operator {operator!r}{foreign_operator(operator)}; there "
                    f"are {', '.join(_NAMES)}, and a field in an object is {name + '.field'!r:.80}"
                )
        return All.of(conditions)


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST_WRITTEN:
        raise InvalidInputError(f"the filter is nested more than {_DEEPEST_WRITTEN} deep")
