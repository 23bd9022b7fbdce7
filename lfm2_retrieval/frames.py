"""Frames, Arrow tables and cursors as rows, known by what they can do: no library of theirs is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from .datatypes import Document
from .errors import InvalidInputError

__all__ = ["collected", "column_names", "is_frame", "iter_records", "length"]

_ROWS = 1024
"""How many rows of a table are turned into Python's values at a time."""


def collected(documents: Any) -> Any:
    """A lazy frame as the frame that it stands for; all else as it is."""
    return documents.collect() if _can(documents, "collect", "collect_schema") else documents


def length(documents: Any) -> int | None:
    """How many documents there are, if that can be told without reading them."""
    if not hasattr(type(documents), "__len__"):
        return None
    if isinstance(documents, (list, tuple)) and any(is_frame(one) for one in documents[:1]):
        return None  # each has many
    return len(documents)


def column_names(source: Any) -> list[str] | None:
    """The columns of a frame, a table or a data set; None for what names none before it is read."""
    if isinstance(source, (str, Mapping, list, tuple)):
        return None
    names = getattr(getattr(source, "schema", None), "names", None)
    if not isinstance(names, (list, tuple)):
        names = getattr(source, "column_names", None)
    if not isinstance(names, (list, tuple)):
        if not is_frame(source) or not isinstance(names := getattr(source, "columns", None), Iterable):
            return None
        names = [*names, *(getattr(getattr(source, "index", None), "names", None) or ())]
    return [_name(name) for name in names if name is not None]


def is_frame(source: object) -> bool:
    """Whether something is rows as a whole: a frame, an Arrow table, a cursor."""
    return _reader(source) is not None


def iter_records(documents: Iterable[Any]) -> Iterator[Any]:
    """The documents given, one by one: rows of frames and tables as mappings, the rest as it is.

    Frames may also stand among the documents, as where a file is read in chunks.

    Raises
    ------
    InvalidInputError
        If two columns of a frame have one name.
    """
    for record in (documents,) if is_frame(documents) else documents:
        # What most documents are is told at once.
        if isinstance(record, (str, Mapping, Document)) or (rows := _reader(record)) is None:
            yield record
        else:
            yield from rows(record)


Rows = Callable[[Any], Iterator[Any]]


def _reader(source: Any) -> Rows | None:
    """What gives the rows of a frame; None for what is none."""
    if isinstance(source, (str, bytes, Mapping, Document, list, tuple, type)):
        return None
    return next((rows for known, rows in _KINDS if known(source)), None)


def _can(source: object, *methods: str) -> bool:
    return all(callable(getattr(source, method, None)) for method in methods)


def _polars_rows(frame: Any) -> Iterator[dict[str, Any]]:
    names = list(frame.columns)
    return (dict(zip(names, row, strict=True)) for row in frame.iter_rows())


def _pandas_rows(frame: Any) -> Iterator[dict[str, Any]]:
    """Rows by column; an index that has a name is a column, too."""
    names = [_name(column) for column in frame.columns]
    index = getattr(frame, "index", None)
    levels = [level for level in getattr(index, "names", None) or () if level is not None]
    if levels and not {_name(level) for level in levels} & set(names):
        frame = frame.reset_index(level=levels)
        names = [_name(column) for column in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"two columns of the frame are called {twice[0]!r}; rename one of them")
    return (dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None))


def _name(column: object) -> str:
    return ".".join(map(str, column)) if isinstance(column, tuple) else str(column)


def _arrow_rows(batch: Any) -> Iterator[dict[str, Any]]:
    names = list(batch.schema.names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"two columns of the table are called {twice[0]!r}; rename one of them")
    return chain.from_iterable(
        batch.slice(start, _ROWS).to_pylist() for start in range(0, batch.num_rows, _ROWS)
    )


def _cursor_rows(cursor: Any) -> Iterator[Any]:
    names: list[str] | None = None
    for row in cursor if hasattr(cursor, "__iter__") else iter(cursor.fetchone, None):
        if type(row) is not tuple:
            yield row  # mappings, sqlite3.Row and the like know their names
            continue
        if names is None:
            names = [str(column[0]) for column in cursor.description or ()]
            if len(set(names)) < len(names):
                raise InvalidInputError(
                    f"two columns of the query have one name: {', '.join(names)}; name them with AS"
                )
        yield dict(zip(names, row, strict=True))


def _batched_rows(batches: Iterable[Any]) -> Iterator[Any]:
    return chain.from_iterable(map(_arrow_rows, batches))


_KINDS: tuple[tuple[Callable[[Any], bool], Rows], ...] = (
    (lambda it: _can(it, "iter_rows") and hasattr(it, "columns"), _polars_rows),
    (lambda it: _can(it, "itertuples") and hasattr(it, "columns"), _pandas_rows),
    # Arrow: a table or data set, a record batch, an open Parquet file
    (lambda it: _can(it, "to_batches"), lambda it: _batched_rows(it.to_batches())),
    (lambda it: _can(it, "to_pylist", "slice") and hasattr(it, "schema"), _arrow_rows),
    (
        lambda it: _can(it, "iter_batches") and hasattr(it, "schema"),
        lambda it: _batched_rows(it.iter_batches()),
    ),
    (lambda it: _can(it, "collect", "collect_schema"), lambda it: iter_records(it.collect())),
    # a cursor of Python's database interface
    (lambda it: _can(it, "fetchone") and hasattr(it, "description"), _cursor_rows),
)
