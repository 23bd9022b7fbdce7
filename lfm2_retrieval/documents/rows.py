"""Rows of tables as documents: which column is what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError
from .column_types import check_types
from .lines import check_encoding, refuse

__all__ = ["ReadOptions", "Row", "to_row"]

Row = dict[str, Any]


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Parameters
    ----------
    text
        The column, or key, of the text.
    id
        That of the id; None for ``_id`` or ``id``.
    metadata
        What is kept as metadata; None for all that is left.
    delimiter
        Between the columns of CSV and TSV: one character, or ``tab``. By default a tab in TSV, and in CSV
        what splits the header into most names: a comma, a semicolon, a tab or a bar.
    encoding
        Of all files; by default UTF-8.
    types
        Columns of CSV and TSV to ``int``, ``float``, ``bool`` or ``str``; those of the others are found out.
    strict
        Raise at the end if files of folders were left out that somebody may miss.
    """

    text: str = "text"
    id: str | None = None
    metadata: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        check_types(self.types)
        if self.delimiter is not None:
            delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
            if len(delimiter) != 1 or delimiter in '"\r\n':
                raise InvalidInputError(f"a delimiter is one character, such as ; or tab, not {delimiter!r}")
            object.__setattr__(self, "delimiter", delimiter)

    def id_of(self, names: Mapping[str, Any]) -> str:
        """The column of the id among those that there are."""
        return self.id if self.id is not None else "_id" if "_id" in names else "id"


def to_row(row: Row, path: str, name: str, number: int, options: ReadOptions) -> Row:
    """A row of a table as a document: what is neither id, title nor text is metadata.

    Raises
    ------
    InvalidInputError
        Naming file and line, if it has no text or one of these is of a type that it can't have.
    """
    if options.id is not None and options.id not in row:
        refuse(path, number, f"no {options.id!r}; {_has(row)}", "without the column of the id")
    has_text = options.text in row
    text, id = row.pop(options.text, None), row.pop(options.id_of(row), None)
    title = row.pop("title", None)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    for what, value in (("id", id), ("title", title), ("text", text)):
        if value is not None and not isinstance(value, str):
            kinds = "a string or a whole number" if what == "id" else "a string"
            refuse(path, number, f"{what!r} must be {kinds}, not {json.dumps(value)[:40]}")
    if text is None and has_text:
        refuse(path, number, f'{options.text!r} is null; a document without text has the text ""')
    if text is None:
        refuse(
            path,
            number,
            f"no {options.text!r}; {_has(row)}"
            + (": --text-column, or text=, names the text's" if row else ""),
            "without a text column",
        )
    if isinstance(row.get("metadata"), dict):
        row |= row.pop("metadata")
    if options.metadata is not None:
        row = {key: row[key] for key in options.metadata if key in row}
    return {
        "id": id or f"{name}:{number}",
        "text": text,
        "metadata": row,
        **({"title": title} if title else {}),
    }


def _has(row: Row) -> str:
    return f"it has {', '.join(map(repr, row)) or 'nothing'}"
