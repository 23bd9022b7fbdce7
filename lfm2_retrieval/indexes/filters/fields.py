"""Fields of the metadata: their names, their values, and columns with an index for those that are declared.

A field is a key, or a path of keys joined by dots: ``author.name`` is the key ``author.name`` where a
document has it, else ``name`` in the object ``author``. Of several readings the one with the longest first
key that leads to a value counts. Any key can be named, also an empty one or one of dots.

A declared field has two generated columns in ``documents``, its JSON type (empty where it is missing) and its
value, and one index on both. The columns are numbered, so that no name of a caller's is ever part of a query.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from ...errors import InvalidInputError, InvalidTypeError

__all__ = [
    "ID",
    "MISSING",
    "check_field",
    "check_fields",
    "columns",
    "declare",
    "declared_by_path",
    "field_value",
    "usable_columns",
]

ID = "id"
"""The field that stands for a document's id where its metadata has no such key."""
MISSING: Any = object()
"""The value of a field that isn't there."""

_MOST = 64
_MOST_PARTS, _LONGEST = 500, 10_000
_MOST_PARTS_READ = 4
"""A field of more parts has more readings than a column should try."""


def check_field(field: str) -> str:
    """A field to look for.

    Raises
    ------
    InvalidInputError
        If it has more parts than metadata have levels, or is too long.
    """
    if len(field) > _LONGEST or field.count(".") >= _MOST_PARTS:
        raise InvalidInputError(
            f"the field {field[:80]!r}… has {len(field):,} characters in {field.count('.') + 1:,} parts; at "
            f"most {_LONGEST:,} and {_MOST_PARTS} are possible"
        )
    return field


def field_value(metadata: Mapping[str, Any], field: str) -> Any:
    """What a document has under a field; `MISSING` where it has none."""
    if field in metadata:
        return metadata[field]
    dot = field.rfind(".")
    while dot >= 0:
        inner = metadata.get(field[:dot])
        # Each object is entered at most once, as the way to it says what is left of the name.
        if isinstance(inner, Mapping):
            found = field_value(inner, field[dot + 1 :])
            if found is not MISSING:
                return found
        dot = field.rfind(".", 0, dot)
    return MISSING


def columns(fields: Sequence[str]) -> dict[str, str]:
    """The column of each declared field; that of its type ends in ``_type``."""
    return {field: f"field_{number}" for number, field in enumerate(fields, 1)}


def usable_columns(connection: sqlite3.Connection, fields: Sequence[str]) -> dict[str, str]:
    """The columns that say what filters mean by a declared field.

    Those of a dotted field don't where they were made before such a field could be a key. The id has none.
    """
    if not fields:
        return {}
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'documents'").fetchone()
    return {
        field: column
        for field, column in columns(fields).items()
        if field != ID
        and field.count(".") < _MOST_PARTS_READ
        and all(definition in sql for definition in _definitions(field, column))
    }


def check_fields(fields: Sequence[str]) -> list[str]:
    """Fields to declare, each once.

    Raises
    ------
    InvalidInputError
        If SQLite has no path for one, or they are too many.
    InvalidTypeError
        If they are no list of names.
    """
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise InvalidTypeError(f"fields must be a list of names like 'lang' or 'author.name', not {fields!r}")
    for field in fields:
        _check_declarable(check_field(field))
    distinct = list(dict.fromkeys(fields))
    if len(distinct) > _MOST:
        raise InvalidInputError(f"{len(distinct)} fields are declared; at most {_MOST} can be")
    return distinct


def declare(
    connection: sqlite3.Connection, before: Sequence[str], after: Sequence[str], by_path: Container[str] = ()
) -> None:
    """Make columns and indexes of the fields that come new at the end; inside a transaction.

    Those of the fields ``by_path`` become as they were before a dotted field could be a key.
    """
    for field, column in list(columns(after).items())[len(before) :]:
        for definition in _definitions(field, column, by_path=field in by_path):
            connection.execute(f"ALTER TABLE documents ADD COLUMN {definition}")
        connection.execute(
            f"CREATE INDEX by_{column} ON documents ({column}_type, {column}, died, born, key)"
        )


def declared_by_path(sql: str, fields: Sequence[str]) -> frozenset[str]:
    """The dotted fields whose columns the table's SQL makes without the keys they could be."""
    return frozenset(
        field
        for field, column in columns(fields).items()
        if "." in field and not all(definition in sql for definition in _definitions(field, column))
    )


def _definitions(field: str, column: str, *, by_path: bool = False) -> tuple[str, str]:
    """The columns of a field's type and of its value, in SQL."""
    parts = field.split(".")
    readings = [parts] if by_path or len(parts) > _MOST_PARTS_READ else list(_readings(parts))
    paths = [_path(reading) for reading in readings]
    types = [f"json_type(metadata, '{path}')" for path in paths]
    value = f"json_extract(metadata, '{paths[-1]}')"
    if len(paths) > 1:
        cases = [
            f"WHEN {type} IS NOT NULL THEN json_extract(metadata, '{path}')"
            for type, path in zip(types[:-1], paths[:-1], strict=True)
        ]
        value = f"CASE {' '.join(cases)} ELSE {value} END"
    return f"{column}_type AS (coalesce({', '.join(types)}, ''))", f"{column} AS ({value})"


def _readings(parts: Sequence[str]) -> Iterator[list[str]]:
    """The paths of keys that a name may be, in the order of `field_value`."""
    yield [".".join(parts)]
    for first in range(len(parts) - 1, 0, -1):
        for rest in _readings(parts[first:]):
            yield [".".join(parts[:first]), *rest]


def _path(keys: Sequence[str]) -> str:
    """A path of SQLite's in a string of SQL, escaped as the stored JSON is."""
    return ("$" + "".join("." + json.dumps(key) for key in keys)).replace("'", "''")


def _check_declarable(field: str) -> None:
    if not all(field.split(".")):
        raise InvalidInputError(
            f"the field {field!r} has an empty part and can't be declared, which filters on it don't need"
        )
    if any(character in '"\\' for character in field) or any(ord(character) < 32 for character in field):
        raise InvalidInputError(
            f"the field {field!r} has a quote, a backslash or a control character and can't be declared, "
            "which filters on it don't need"
        )
