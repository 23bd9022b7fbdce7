"""Filters on metadata: SQL text or a mapping, turned into one SQL condition whose every value is bound.

A condition compares a **field**, a dotted path into the metadata (``author.name``), with values:

- A list compares as any of its elements would: ``tags = 'new'`` holds where one of the tags is ``'new'``.
- Numbers compare with numbers, strings with strings (by code points), booleans with booleans. A value of
  another type, an object or a field that isn't there compares as false.
- ``!=``, ``NOT IN`` and ``NOT`` are the exact opposite of ``=``, ``IN`` and of what follows: they hold
  where the field is missing.
- ``BETWEEN`` is ``>=`` and ``<=``, so two elements of a list may meet it together: 1 and 9 lie between 4
  and 5.
- Whole numbers beyond 64 bits compare as floats.
- ``LIKE`` has ``%`` and ``_``, and ignores the case of ASCII letters.
- Of a string with a NUL character SQLite may see only what stands before it.
- ``IS NULL`` and ``None`` hold where the field is null or missing; ``$exists`` tells the two apart.

The same filter in both forms::

    {"lang": "de", "year": {"$gte": 2020}, "$or": [{"tags": {"$in": ["a", "b"]}}, {"draft": False}]}
    lang = 'de' AND year >= 2020 AND (tags IN ('a', 'b') OR draft = FALSE)

Mapping operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not``. SQL: ``= != <> > >= < <= IN
BETWEEN LIKE IS NULL AND OR NOT`` and parentheses; ``"a field"`` in double quotes where it isn't a plain
word. SQL is read by sqlglot (the extra ``sql``), and no part of it reaches the database: names and values
are bound as parameters, operators come from a fixed list.

A filter makes at most 2,000 comparisons, each with a list of 10,000 values at most, on 24 levels of AND, OR
and NOT: what every SQLite takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError, InvalidTypeError, MissingExtraError
from ..forks import Lock
from .conditions import Condition, Fields, join
from .schema import ALIVE
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .catalogue import Catalogue

__all__ = ["Condition", "Filter", "Where", "parse_where", "with_columns"]

Where = str | Mapping[str, Any]
"""A filter as callers write it."""

_OPERATORS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_MIRRORED = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_NAMES = (*_OPERATORS, "$ne", "$in", "$nin", "$exists", "$and", "$or", "$not")
_DEEPEST = 100
_PARTS = ("this", "expression", "expressions", "low", "high", "negate", "table", "db", "catalog")
"""The parts of sqlglot's trees that are looked at."""
_REMEMBERED = 16


def parse_where(where: Where, fields: Sequence[str] = ()) -> Condition:
    """Turn a filter into SQL.

    Parameters
    ----------
    where
        The filter.
    fields
        The declared fields of the table that it is for; see `fields`. The meaning doesn't depend on them.

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
        found = _from_sql(where, Fields(fields))
    elif isinstance(where, Mapping):
        found = _Mappings(Fields(fields)).condition(where, 0)
    else:
        raise InvalidTypeError(f"where must be a str or a mapping, not {type(where).__name__}")
    found.check()
    return replace(found, where=where)


def with_columns(condition: Condition, fields: Sequence[str]) -> Condition:
    """The same condition, by the columns of declared fields."""
    return parse_where(condition.where, fields) if fields else condition


class Filter:
    """Which documents of a snapshot meet a condition; the last answers are kept. Any thread may use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = Lock()
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
        test = with_columns(condition, snapshot.fields)
        with self._catalogue.reading_at(snapshot.commit) as connection:
            rows = connection.execute(
                f"SELECT key FROM documents WHERE {ALIVE} AND {test.sql}",
                (snapshot.commit, snapshot.commit, *test.parameters),
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


# Mappings


class _Mappings:
    """Turns mappings into conditions."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def condition(self, where: Mapping[str, Any], depth: int) -> Condition:
        """The condition that a mapping is: all of its items."""
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
                conditions.append(join(word, [self._nested(part, key, depth) for part in value]))
            elif key == "$not":
                conditions.append(~self._nested(value, key, depth))
            elif key.startswith("$"):
                raise InvalidInputError(
                    f"the filter has no operator {key!r} here; there are {', '.join(_NAMES)}"
                )
            elif isinstance(value, Mapping):
                conditions.append(self._operators(key, value, depth))
            else:
                conditions.append(self._fields.compare(key, "=", value))
        return join("AND", conditions)

    def _nested(self, part: Any, key: str, depth: int) -> Condition:
        if not isinstance(part, Mapping):
            raise InvalidInputError(f"{key} takes filters like {{'lang': 'de'}}, not {part!r}")
        return self.condition(part, depth + 1)

    def _operators(self, name: str, operators: Mapping[str, Any], depth: int) -> Condition:
        """``{"$gte": 2020, "$lt": 2024}``: all of them."""
        if depth > _DEEPEST:
            raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep")
        if not operators:
            raise InvalidInputError(f"the filter on {name!r} is empty: give a value or an operator")
        fields, conditions = self._fields, []
        for operator, value in operators.items():
            if operator in _OPERATORS:
                conditions.append(fields.compare(name, _OPERATORS[operator], value))
            elif operator == "$ne":
                conditions.append(~fields.compare(name, "=", value))
            elif operator == "$in":
                conditions.append(fields.is_in(name, value))
            elif operator == "$nin":
                conditions.append(~fields.is_in(name, value))
            elif operator == "$exists":
                conditions.append(fields.exists(name, value))
            elif operator == "$not" and isinstance(value, Mapping):
                conditions.append(~self._operators(name, value, depth + 1))
            else:
                raise InvalidInputError(
                    f"the filter on {name!r} has no operator {operator!r}; there are {', '.join(_NAMES)}"
                )
        return join("AND", conditions)


# SQL


def _from_sql(text: str, fields: Fields) -> Condition:
    try:
        import sqlglot
        from sqlglot import expressions as sql
    except ImportError as error:
        raise MissingExtraError("a filter in SQL (mappings work without)", "sql") from error
    try:
        # Not as statements, or fields called "comment" or "begin" would begin one.
        trees = sqlglot.Dialect.get_or_raise("sqlite").parse_into(sql.Condition, text)
        if len(trees) != 1 or trees[0] is None:
            raise InvalidInputError(f"the filter must be one condition, like lang = 'de'; not {text!r}")
        return _Translator(sql, text, fields).condition(trees[0])
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        first = str(error.__cause__ or error).split("\n", 1)[0] or "it is nested too deep"
        raise InvalidInputError(f"the filter {text!r} is not SQL: {first}") from error


class _Translator:
    """Turns sqlglot's trees into conditions; what it doesn't know is refused."""

    def __init__(self, sql: Any, text: str, fields: Fields) -> None:
        self._sql = sql
        self._fields = fields
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
            sql.Column: lambda tree: self._fields.compare(self._field(tree), "=", True),
            sql.Dot: lambda tree: self._fields.compare(self._field(tree), "=", True),
            sql.Boolean: lambda tree: join("AND" if tree.this else "OR", []),
        }

    def condition(self, tree: Any, depth: int = 0) -> Condition:
        """The condition that a tree is."""
        sql, kind = self._sql, type(tree)
        if depth > _DEEPEST:
            raise InvalidInputError(f"the filter is nested more than {_DEEPEST} deep")
        if kind in (sql.And, sql.Or):
            parts = [self.condition(part, depth + 1) for part in tree.flatten(unnest=False)]
            return join("AND" if kind is sql.And else "OR", parts)
        if kind in (sql.Paren, sql.Not):
            inner = self.condition(tree.this, depth + 1)
            return inner if kind is sql.Paren else ~inner
        if kind not in self._kinds:
            raise self._refusal(tree)
        self._check(tree)
        found = self._kinds[kind](tree)
        return ~found if tree.args.get("negate") else found

    def _check(self, tree: Any) -> None:
        """Refuse a tree with a part that isn't looked at, whose meaning would be lost."""
        if any(value for name, value in tree.args.items() if name not in _PARTS):
            raise self._refusal(tree)

    def _comparison(self, tree: Any) -> Condition:
        operator, left, right = self._comparisons[type(tree)], tree.this, tree.expression
        if not isinstance(left, (self._sql.Column, self._sql.Dot)):
            operator, left, right = _MIRRORED[operator], right, left
        found = self._fields.compare(self._field(left), operator, self._value(right))
        return ~found if type(tree) is self._sql.NEQ else found

    def _in(self, tree: Any) -> Condition:
        if not tree.expressions:
            raise self._refusal(tree)
        return self._fields.is_in(self._field(tree.this), [self._value(part) for part in tree.expressions])

    def _between(self, tree: Any) -> Condition:
        field, low, high = self._field(tree.this), tree.args["low"], tree.args["high"]
        bounds = [
            self._fields.compare(field, ">=", self._value(low)),
            self._fields.compare(field, "<=", self._value(high)),
        ]
        return join("AND", bounds)

    def _like(self, tree: Any) -> Condition:
        pattern = self._value(tree.expression)
        if not isinstance(pattern, str):
            raise self._refusal(tree)
        return self._fields.compare(self._field(tree.this), "LIKE", pattern)

    def _is(self, tree: Any) -> Condition:
        wanted = self._value(tree.expression)
        if wanted is not None and not isinstance(wanted, bool):
            raise self._refusal(tree)
        return self._fields.compare(self._field(tree.this), "=", wanted)

    def _field(self, tree: Any) -> str:
        sql = self._sql
        if isinstance(tree, sql.Dot):
            return f"{self._field(tree.this)}.{self._field(tree.expression)}"
        if isinstance(tree, sql.Identifier):
            return str(tree.this)
        if not isinstance(tree, sql.Column) or isinstance(tree.this, sql.Star):
            raise self._refusal(tree)
        self._check(tree)
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
        try:
            return float(tree.this) if set(tree.this) & set(".eE") else int(tree.this)
        except ValueError:  # of thousands of digits
            raise self._refusal(tree) from None

    def _refusal(self, tree: Any) -> InvalidInputError:
        return InvalidInputError(
            f"the filter {self._text!r} can't use {tree.sql()!r}: it takes fields, values, = != < <= > >= IN "
            "BETWEEN LIKE IS NULL AND OR NOT and parentheses"
        )
