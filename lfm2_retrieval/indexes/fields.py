"""Fields of the metadata: their names, their values, and columns with an index for those that are declared.

A declared field has two generated columns in ``documents``, its JSON type (empty where it is missing) and its
value, and one index on both. The columns are numbered, so that no name of a caller's is ever part of a query.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError, InvalidTypeError

__all__ = ["check_fields", "columns", "declare", "field_path", "field_value"]

_MOST = 64


def field_path(field: str) -> str:
    """A dotted field as a path of SQLite's, escaped as the stored JSON is.

    Raises
    ------
    InvalidInputError
        If it can't be named.
    """
    if not all(field.split(".")):
        raise InvalidInputError(f"the field {field!r} has an empty part; write it like author.name")
    if any(character in '"\\' for character in field) or any(ord(character) < 32 for character in field):
        raise InvalidInputError(
            f"the field {field!r} has a quote, a backslash or a control character, which no filter can name; "
            "rename it"
        )
    return "$" + "".join("." + json.dumps(part) for part in field.split("."))


def field_value(metadata: Mapping[str, Any], field: str) -> Any:
    """What a document has under a dotted field; None where that is missing."""
    value: Any = metadata
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def columns(fields: Sequence[str]) -> dict[str, str]:
    """The column of each declared field; that of its type ends in ``_type``."""
    return {field: f"field_{number}" for number, field in enumerate(fields, 1)}


def check_fields(fields: Sequence[str]) -> list[str]:
    """Fields to declare, each once.

    Raises
    ------
    InvalidInputError
        If one can't be named, or they are too many.
    InvalidTypeError
        If they are no list of names.
    """
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise InvalidTypeError(f"fields must be a list of names like 'lang' or 'author.name', not {fields!r}")
    for field in fields:
        field_path(field)
    distinct = list(dict.fromkeys(fields))
    if len(distinct) > _MOST:
        raise InvalidInputError(f"{len(distinct)} fields are declared; at most {_MOST} can be")
    return distinct


def declare(connection: sqlite3.Connection, before: Sequence[str], after: Sequence[str]) -> None:
    """Make columns and indexes of the fields that come new at the end; inside a transaction."""
    for field, column in list(columns(after).items())[len(before) :]:
        path = field_path(field).replace("'", "''")
        for name, value in (
            (f"{column}_type", f"coalesce(json_type(metadata, '{path}'), '')"),
            (column, f"json_extract(metadata, '{path}')"),
        ):
            connection.execute(f"ALTER TABLE documents ADD COLUMN {name} AS ({value})")
        connection.execute(
            f"CREATE INDEX by_{column} ON documents ({column}_type, {column}, died, born, key)"
        )
