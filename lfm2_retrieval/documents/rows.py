"""Rows of tables as documents: which column is what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InvalidInputError
from .column_types import check_types
from .ignoring import FileRules
from .lines import check_encoding, refuse

__all__ = ["LOOKED_AT", "ReadOptions", "Row", "find_text", "to_row"]

Row = dict[str, Any]
"""A document: ``id``, ``text``, ``metadata`` and perhaps ``title``; within this package also ``structure`` or
``line``, the number of the line that it begins in."""

LOOKED_AT = 100
"""How many rows decide which column is the text's."""

_NAMES = (
    "text", "body", "content", "contents", "passage", "document", "abstract", "description", "summary",
    "message", "comment", "review", "article", "plot", "notes", "note",
)  # fmt: skip
_LEAST = 4
"""How many words a column has on average that is a text."""


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Parameters
    ----------
    text
        The column, or key, of the text; None to find it by its name, or else as that with most text.
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
    include, exclude
        Patterns as in ``.gitignore``, such as ``*.md`` or ``drafts/``: of a folder's files only those that
        match one of the former, if there are any, and none of the latter.
    gitignore
        Whether a folder's files are left out that ``.gitignore`` names.
    """

    text: str | None = "text"
    id: str | None = None
    metadata: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        check_types(self.types)
        self.rules()
        if self.delimiter is not None:
            delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
            if len(delimiter) != 1 or delimiter in '"\r\n':
                raise InvalidInputError(f"a delimiter is one character, such as ; or tab, not {delimiter!r}")
            object.__setattr__(self, "delimiter", delimiter)

    def rules(self) -> FileRules:
        """Those for the files of a folder."""
        return FileRules(self.include, self.exclude, gitignore=self.gitignore)

    def with_text(self, rows: Sequence[Mapping[str, Any]]) -> ReadOptions:
        """The options with the column of the text, found in the first rows where it isn't named."""
        if self.text is not None:
            return self
        return replace(self, text=find_text(rows, self.id_of(rows[0]) if rows else "id") or "text")

    def id_of(self, names: Mapping[str, Any]) -> str:
        """The column of the id among those that there are."""
        return self.id if self.id is not None else "_id" if "_id" in names else "id"


def find_text(rows: Sequence[Mapping[str, Any]], id: str) -> str | None:
    """The column that holds the text: one of a customary name, or else that with most words.

    Parameters
    ----------
    rows
        Some, by column.
    id
        The column of the id, which is not it.

    Returns
    -------
    str or None
        None if no column holds text of more than a few words.
    """
    words: dict[str, int] = {}
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str) and column not in (id, "title"):
                words[column] = words.get(column, 0) + len(value.split()) + len(value) // 40
    by_name = {column.lower(): column for column in words}
    for name in _NAMES:
        if name in by_name:
            return by_name[name]
    best = max(words, key=lambda column: words[column], default=None)
    return best if best is not None and words[best] >= _LEAST * len(rows) else None


def to_row(row: Row, path: str, name: str, number: int, options: ReadOptions) -> Row:
    """A row of a table as a document: what is neither id, title nor text is metadata.

    Raises
    ------
    InvalidInputError
        Naming file and line, if it has no text or one of these is of a type that it can't have.
    """
    if options.id is not None and options.id not in row:
        refuse(path, number, f"no {options.id!r}; {_has(row)}", "without the column of the id")
    column = options.text or "text"
    has_text = column in row
    text, id = row.pop(column, None), row.pop(options.id_of(row), None)
    title = row.pop("title", None)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    for what, value in (("id", id), ("title", title), ("text", text)):
        if value is not None and not isinstance(value, str):
            kinds = "a string or a whole number" if what == "id" else "a string"
            refuse(path, number, f"{what!r} must be {kinds}, not {json.dumps(value)[:40]}")
    if text is None and has_text:
        refuse(path, number, f'{column!r} is null; a document without text has the text ""')
    if text is None:
        refuse(
            path,
            number,
            f"no {column!r}; {_has(row)}" + (": --text-column, or text=, names the text's" if row else ""),
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
        "line": number,
        **({"title": title} if title else {}),
    }


def _has(row: Row) -> str:
    return f"it has {', '.join(map(repr, row)) or 'nothing'}"
