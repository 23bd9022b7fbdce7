"""Filters on metadata: SQL text or a mapping, turned into one SQL condition whose every value is bound.

A condition compares a **field**, a dotted path into the metadata (``author.name``), with values:

- A list compares as any of its elements would: ``tags = 'new'`` holds where one of the tags is ``'new'``.
- Numbers compare with numbers, strings with strings (by code points), booleans with booleans. A value of
  another type, an object or a field that isn't there compares as false.
- ``!=``, ``NOT IN`` and ``NOT`` are the exact opposite of ``=``, ``IN`` and of what follows: they hold
  where the field is missing.
- ``LIKE`` has ``%`` and ``_``, and ignores the case of ASCII letters.
- ``IS NULL`` and ``None`` hold where the field is null or missing; ``$exists`` tells the two apart.

The same filter in both forms::

    {"lang": "de", "year": {"$gte": 2020}, "$or": [{"tags": {"$in": ["a", "b"]}}, {"draft": False}]}
    lang = 'de' AND year >= 2020 AND (tags IN ('a', 'b') OR draft = FALSE)

Mapping operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not``. SQL: ``= != <> > >= < <= IN
BETWEEN LIKE IS NULL AND OR NOT`` and parentheses; ``"a field"`` in double quotes where it isn't a plain
word. SQL is read by sqlglot (the extra ``sql``), and no part of it reaches the database: names and values
are bound as parameters, operators come from a fixed list.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError, InvalidTypeError, MissingExtraError
from .catalogue import ALIVE
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .catalogue import Catalogue

__all__ = ["Condition", "Filter", "Where", "parse_where"]

Where = str | Mapping[str, Any]
"""A filter as callers write it."""

_OPERATORS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_MIRRORED = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_NAMES = (*_OPERATORS, "$ne", "$in", "$nin", "$exists", "$and", "$or", "$not")
_DEEPEST = 100
_MOST_VALUES = 10_000
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the column ``metadata``.

    Parameters
    ----------
    sql
        An expression that is 1 or 0 for every row.
    parameters
        What its question marks stand for, in order.
    """

    sql: str
    parameters: tuple[Any, ...] = ()

    def __invert__(self) -> Condition:
        return Condition(f"NOT {self.sql}", self.parameters)


def parse_where(where: Where) -> Condition:
    """Turn a filter into SQL.

    Raises
    ------
    InvalidInputError
        If it isn't understood; the message says which part.
    InvalidTypeError
        If it is neither a str nor a mapping.
    MissingExtraError
        If it is a str and sqlglot isn't there.
    """
    if isinstance(where, str):
        return _from_sql(where)
    if isinstance(where, Mapping):
        return _from_mapping(where, 0)
    raise InvalidTypeError(f"where must be a str or a mapping, not {type(where).__name__}")


class Filter:
    """Which documents of a snapshot meet a condition; the last answers are kept. Any thread may use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = threading.Lock()
        self._known: OrderedDict[tuple[int, Condition], Snapshot] = OrderedDict()

    def clear(self) -> None:
        """Forget all answers, and so let go of the snapshots that they hold."""
        with self._guard:
            self._known.clear()

    def apply(self, snapshot: Snapshot, condition: Condition) -> Snapshot:
        """The snapshot with those documents alone."""
        with self._guard:
            if (known := self._known.get((snapshot.commit, condition))) is not None:
                self._known.move_to_end((snapshot.commit, condition))
                return known
        with self._catalogue.reading_at(snapshot.commit) as connection:
            rows = connection.execute(
                f"SELECT key FROM documents WHERE {ALIVE} AND {condition.sql}",
                (snapshot.commit, snapshot.commit, *condition.parameters),
            ).fetchall()
        keys = np.array(rows, np.int64).reshape(-1)
        parts = tuple(
            replace(part, keys=np.where(np.isin(part.keys, keys), part.keys, 0)) for part in snapshot.parts
        )
        filtered = replace(snapshot, parts=parts)
        with self._guard:
            for stale in [known for known in self._known if known[0] != snapshot.commit]:
                del self._known[stale]
            self._known[snapshot.commit, condition] = filtered
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return filtered


# Conditions on one field


def _compare(field: str, operator: str, value: Any) -> Condition:
    """``operator`` is one of `_OPERATORS`' values, or ``LIKE``."""
    if value is None:
        if operator != "=":
            raise InvalidInputError(f"the filter on {field!r} compares with null; only equality can")
        return Condition("(coalesce(json_type(metadata, ?), 'null') = 'null')", (_path(field),))
    types, bound = _typed(field, value)
    if types in ("'true'", "'false'"):
        if operator != "=":
            raise InvalidInputError(f"the filter on {field!r} orders booleans; they are only equal or not")
        return _any_element(field, f"e.type = {types}", ())
    return _any_element(field, f"e.type IN ({types}) AND e.value {operator} ?", (bound,))


def _any_element(field: str, test: str, parameters: tuple[Any, ...]) -> Condition:
    """Whether the field, or an element of it where it is a list, passes a test on ``e``."""
    path = _path(field)
    return Condition(
        "(json_type(metadata, ?) IS NOT 'object' AND EXISTS "
        f"(SELECT 1 FROM json_each(metadata, ?) AS e WHERE {test}))",
        (path, path, *parameters),
    )


def _is_in(field: str, values: Any) -> Condition:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise InvalidInputError(f"the filter on {field!r} needs a list of values, not {values!r}")
    if len(values) > _MOST_VALUES:
        raise InvalidInputError(f"the filter on {field!r} lists {len(values)} values; at most {_MOST_VALUES}")
    alone = [value for value in values if value is None or isinstance(value, bool)]
    conditions = [_compare(field, "=", value) for value in dict.fromkeys(alone)]
    by_type: dict[str, list[Any]] = {}
    for value in values:
        if value is not None and not isinstance(value, bool):
            types, bound = _typed(field, value)
            by_type.setdefault(types, []).append(bound)
    for types, bound_values in by_type.items():
        # One parameter for the whole list: SQLite limits how many there may be.
        test = f"e.type IN ({types}) AND e.value IN (SELECT value FROM json_each(?))"
        conditions.append(_any_element(field, test, (json.dumps(bound_values),)))
    return _join("OR", conditions)


def _exists(field: str, wanted: Any) -> Condition:
    if not isinstance(wanted, bool):
        raise InvalidInputError(f"$exists on {field!r} takes true or false, not {wanted!r}")
    return Condition(f"(json_type(metadata, ?) IS {'NOT ' * wanted}NULL)", (_path(field),))


def _typed(field: str, value: Any) -> tuple[str, Any]:
    """The JSON types that a value compares with, as SQL, and the value as SQLite takes it."""
    if isinstance(value, bool):
        return ("'true'" if value else "'false'"), value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the filter on {field!r} compares with a lone surrogate") from error
        return "'text'", value
    if isinstance(value, int):
        return "'integer', 'real'", value if -(1 << 63) <= value < 1 << 63 else float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"the filter on {field!r} compares with {value}, which no JSON value is")
        return "'integer', 'real'", value
    raise InvalidTypeError(
        f"the filter on {field!r} compares with a {type(value).__name__}; "
        "values are strings, numbers, booleans or None"
    )


def _path(field: str) -> str:
    """A dotted field as a path of SQLite's, escaped as the stored JSON is."""
    parts = field.split(".")
    if not all(parts):
        raise InvalidInputError(f"the filter's field {field!r} has an empty part; write it like author.name")
    if any(character in '"\\' for character in field) or any(ord(character) < 32 for character in field):
        raise InvalidInputError(
            f"the filter's field {field!r} has a quote, a backslash or a control character, which no filter "
            "can name; rename the field"
        )
    return "$" + "".join("." + json.dumps(part) for part in parts)


def _join(word: str, conditions: Sequence[Condition]) -> Condition:
    """All or any of some conditions; of none, true or false."""
    if not conditions:
        return Condition("(1)" if word == "AND" else "(0)")
    if len(conditions) == 1:
        return conditions[0]
    sql = f" {word} ".join(condition.sql for condition in conditions)
    return Condition(f"({sql})", tuple(p for condition in conditions for p in condition.parameters))


# Mappings


def _from_mapping(where: Mapping[str, Any], depth: int) -> Condition:
    if depth > _DEEPEST:
        raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep")
    conditions = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise InvalidTypeError(f"the filter's keys are fields or operators, str; not {key!r}")
        if key in ("$and", "$or"):
            if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
                raise InvalidInputError(f"{key} takes a list of filters, not {value!r}")
            word = key[1:].upper()
            conditions.append(_join(word, [_nested(part, key, depth) for part in value]))
        elif key == "$not":
            conditions.append(~_nested(value, key, depth))
        elif key.startswith("$"):
            raise InvalidInputError(f"the filter has no operator {key!r} here; there are {', '.join(_NAMES)}")
        elif isinstance(value, Mapping):
            conditions.append(_operators(key, value, depth))
        else:
            conditions.append(_compare(key, "=", value))
    return _join("AND", conditions)


def _nested(part: Any, key: str, depth: int) -> Condition:
    if not isinstance(part, Mapping):
        raise InvalidInputError(f"{key} takes filters like {{'lang': 'de'}}, not {part!r}")
    return _from_mapping(part, depth + 1)


def _operators(field: str, operators: Mapping[str, Any], depth: int) -> Condition:
    """``{"$gte": 2020, "$lt": 2024}``: all of them."""
    if depth > _DEEPEST:
        raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep")
    if not operators:
        raise InvalidInputError(f"the filter on {field!r} is empty: give a value or an operator")
    conditions = []
    for name, value in operators.items():
        if name in _OPERATORS:
            conditions.append(_compare(field, _OPERATORS[name], value))
        elif name == "$ne":
            conditions.append(~_compare(field, "=", value))
        elif name == "$in":
            conditions.append(_is_in(field, value))
        elif name == "$nin":
            conditions.append(~_is_in(field, value))
        elif name == "$exists":
            conditions.append(_exists(field, value))
        elif name == "$not" and isinstance(value, Mapping):
            conditions.append(~_operators(field, value, depth + 1))
        else:
            raise InvalidInputError(
                f"the filter on {field!r} has no operator {name!r}; there are {', '.join(_NAMES)}"
            )
    return _join("AND", conditions)


# SQL


def _from_sql(text: str) -> Condition:
    try:
        import sqlglot
        from sqlglot import expressions as sql
    except ImportError as error:
        raise MissingExtraError("a filter in SQL (mappings work without)", "sql") from error
    try:
        trees = sqlglot.parse(text, read="sqlite")
        if len(trees) != 1 or trees[0] is None:
            raise InvalidInputError(f"the filter must be one condition, like lang = 'de'; not {text!r}")
        return _Translator(sql, text).condition(trees[0])
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        first = str(error).split("\n", 1)[0] or "it is nested too deep"
        raise InvalidInputError(f"the filter {text!r} is not SQL: {first}") from error


class _Translator:
    """Turns sqlglot's trees into conditions; what it doesn't know is refused."""

    def __init__(self, sql: Any, text: str) -> None:
        self._sql = sql
        self._text = text
        self._comparisons = {
            sql.EQ: "=",
            sql.NEQ: "=",
            sql.GT: ">",
            sql.GTE: ">=",
            sql.LT: "<",
            sql.LTE: "<=",
        }
        self._kinds: dict[Any, Callable[[Any], Condition]] = {
            **dict.fromkeys(self._comparisons, self._comparison),
            sql.In: self._in,
            sql.Between: self._between,
            sql.Like: self._like,
            sql.Is: self._is,
            sql.Column: lambda tree: _compare(self._field(tree), "=", True),
            sql.Dot: lambda tree: _compare(self._field(tree), "=", True),
            sql.Boolean: lambda tree: _join("AND" if tree.this else "OR", []),
        }

    def condition(self, tree: Any, depth: int = 0) -> Condition:
        """The condition that a tree is."""
        sql, kind = self._sql, type(tree)
        if depth > _DEEPEST:
            raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep")
        if kind in (sql.And, sql.Or):
            parts = [self.condition(part, depth + 1) for part in tree.flatten(unnest=False)]
            return _join("AND" if kind is sql.And else "OR", parts)
        if kind in (sql.Paren, sql.Not):
            inner = self.condition(tree.this, depth + 1)
            return inner if kind is sql.Paren else ~inner
        if kind not in self._kinds:
            raise self._refusal(tree)
        return self._kinds[kind](tree)

    def _comparison(self, tree: Any) -> Condition:
        operator, left, right = self._comparisons[type(tree)], tree.this, tree.expression
        if not isinstance(left, (self._sql.Column, self._sql.Dot)):
            operator, left, right = _MIRRORED[operator], right, left
        found = _compare(self._field(left), operator, self._value(right))
        return ~found if type(tree) is self._sql.NEQ else found

    def _in(self, tree: Any) -> Condition:
        if not tree.expressions or tree.args.get("query"):
            raise self._refusal(tree)
        return _is_in(self._field(tree.this), [self._value(part) for part in tree.expressions])

    def _between(self, tree: Any) -> Condition:
        field, low, high = self._field(tree.this), tree.args["low"], tree.args["high"]
        bounds = [_compare(field, ">=", self._value(low)), _compare(field, "<=", self._value(high))]
        return _join("AND", bounds)

    def _like(self, tree: Any) -> Condition:
        pattern = self._value(tree.expression)
        if not isinstance(pattern, str):
            raise self._refusal(tree)
        return _compare(self._field(tree.this), "LIKE", pattern)

    def _is(self, tree: Any) -> Condition:
        wanted = self._value(tree.expression)
        if wanted is not None and not isinstance(wanted, bool):
            raise self._refusal(tree)
        return _compare(self._field(tree.this), "=", wanted)

    def _field(self, tree: Any) -> str:
        sql = self._sql
        if isinstance(tree, sql.Dot):
            return f"{self._field(tree.this)}.{self._field(tree.expression)}"
        if isinstance(tree, sql.Identifier):
            return str(tree.this)
        if not isinstance(tree, sql.Column) or isinstance(tree.this, sql.Star):
            raise self._refusal(tree)
        return ".".join(part.name for part in tree.parts)

    def _value(self, tree: Any) -> Any:
        sql = self._sql
        if isinstance(tree, sql.Paren):
            return self._value(tree.this)
        if isinstance(tree, sql.Neg) and isinstance(number := self._value(tree.this), (int, float)):
            return -number
        if isinstance(tree, (sql.Boolean, sql.Null)):
            return bool(tree.this) if isinstance(tree, sql.Boolean) else None
        if not isinstance(tree, sql.Literal):
            raise self._refusal(tree)
        if tree.is_string:
            return str(tree.this)
        return float(tree.this) if set(tree.this) & set(".eE") else int(tree.this)

    def _refusal(self, tree: Any) -> InvalidInputError:
        return InvalidInputError(
            f"the filter {self._text!r} can't use {tree.sql()!r}: it takes fields, values, = != < <= > >= IN "
            "BETWEEN LIKE IS NULL AND OR NOT and parentheses"
        )
