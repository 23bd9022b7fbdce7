"""CSV and TSV: a header, and rows of as many cells."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn

from .column_types import ColumnType, TypeFinder, convert, fits
from .lines import MAX_BYTES, STDIN, Lines, read_lines, refuse, refuse_length
from .report import ReadingReport
from .rows import LOOKED_AT, ReadOptions, Row, to_row

__all__ = ["LOOK_AHEAD", "header_of", "read_table"]

LOOK_AHEAD = 1000
"""How many rows of what can be read only once, as the standard input, decide its columns' types."""

_DELIMITERS = ",;\t|"

Records = Iterator[tuple[int, list[str]]]
"""Cells with the number of the line that they begin in."""


def read_table(
    path: str, name: str, delimiter: str | None, options: ReadOptions, report: ReadingReport
) -> Iterator[Row]:
    """The documents of a table.

    A file is read twice, for its columns' types and for its rows; of what can be read only once the first
    `LOOK_AHEAD` rows decide, and a later cell that doesn't fit is an error.

    Parameters
    ----------
    path, name
        The file, and how its rows without ids are called.
    delimiter
        Between cells; None for what the header tells.
    options
        What the columns are.
    report
        Gets the types. Those that it has of this file are taken for found.
    """
    once = path == STDIN or not Path(path).is_file()
    if not once:
        options = _with_text(path, delimiter, options)
    if not once and path not in report.types:
        _note_types(path, report, options, *_columns(path, delimiter, options))
    header, records = _columns(path, delimiter, options)
    if once:
        first = list(islice(records, LOOK_AHEAD))
        rows = [dict(zip(header, cells, strict=True)) for _, cells in first]
        options = options.with_text(rows)
        _check_asked(path, 1, header, options)
        _note_types(path, report, options, header, iter(first))
        records = chain(first, records)
    found = report.types[path]
    report.text_columns[path] = str(options.text)
    types = [ColumnType(found.get(column, "str")) for column in header]
    texts = _texts(header, options)
    for number, cells in records:
        row: Row = {}
        for column, cell, type in zip(header, cells, types, strict=True):
            if column in texts:
                row[column] = cell
            elif cell:
                if column not in options.types and not fits(cell, type):
                    _refuse_cell(path, number, column, cell, type)
                try:
                    row[column] = convert(cell, type)
                except (ValueError, KeyError):
                    _refuse_cell(path, number, column, cell, type)
        yield to_row(row, path, name, number, options)


def header_of(path: str, delimiter: str | None, options: ReadOptions) -> list[str]:
    """The names of a table's columns, checked; none of an empty file."""
    return _columns(path, delimiter, _with_text(path, delimiter, options))[0]


def _with_text(path: str, delimiter: str | None, options: ReadOptions) -> ReadOptions:
    """The options with the column of the text, where that is to be found."""
    if options.text is not None:
        return options
    header, records = _columns(path, delimiter, options)
    rows = [dict(zip(header, cells, strict=True)) for _, cells in islice(records, LOOKED_AT)]
    return options.with_text(rows or [dict.fromkeys(header, "")])


def _refuse_cell(path: str, number: int, column: str, cell: str, type: ColumnType) -> NoReturn:
    kinds = {ColumnType.INT: "a whole number", ColumnType.FLOAT: "a number", ColumnType.BOOL: "true or false"}
    refuse(
        path,
        number,
        f"the column {column!r} is {type}, and {cell[:40]!r} is not {kinds.get(type, 'text')}: "
        f"--types {column}=str, or types=, keeps the column as text",
    )


def _texts(header: list[str], options: ReadOptions) -> set[str]:
    """The columns that are text whatever they hold."""
    return {options.text or "text", options.id_of(dict.fromkeys(header)), "title"}


def _note_types(
    path: str, report: ReadingReport, options: ReadOptions, header: list[str], records: Records
) -> None:
    finder = TypeFinder(len(header))
    for _, cells in records:
        finder.feed(cells)
    found = {column: str(type) for column, type in zip(header, finder.types(), strict=True)}
    given = dict.fromkeys(_texts(header, options) & set(header), "str") | dict(options.types)
    kept = set(header) if options.metadata is None else set(options.metadata)
    numeric = [header[i] for i, is_numeric in enumerate(finder.numeric()) if is_numeric]
    report.types[path] = {column: type for column, type in (found | given).items() if column in kept}
    report.numeric[path] = [column for column in numeric if column in kept and column not in given]


def _columns(path: str, delimiter: str | None, options: ReadOptions) -> tuple[list[str], Records]:
    """The header and the rows behind it."""
    records = _records(path, delimiter, options)
    number, cells = next(records, (1, []))
    if not cells:
        return [], iter(())
    header = _check_header(path, number, cells, options)

    def rows() -> Records:
        for number, cells in records:
            if len(cells) != len(header):
                refuse(path, number, f"has {len(cells)} fields, the header {len(header)}")
            yield number, cells

    return header, rows()


def _check_header(path: str, number: int, cells: list[str], options: ReadOptions) -> list[str]:
    header = [cell.strip() or f"column_{i}" for i, cell in enumerate(cells, 1)]
    if twice := next((name for name in header if header.count(name) > 1), None):
        wanted = options.text or "a text"
        refuse(
            path,
            number,
            f"a header with {wanted!r}, each name once, is expected; {twice!r} comes twice: rename one",
        )
    _check_asked(path, number, header, options)
    if unknown := next((column for column in options.types if column not in header), None):
        refuse(path, number, f"--types names {unknown!r}, which is none of the columns {header}")
    return header


def _check_asked(path: str, number: int, header: list[str], options: ReadOptions) -> None:
    """Refuse a table that lacks a column that was asked for."""
    asked = (
        ("text", options.text),
        ("id", options.id),
        *(("metadata", one) for one in options.metadata or ()),
    )
    for keyword, column in asked:
        if column is not None and column not in header:
            flag = "--metadata-column" if keyword == "metadata" else f"--{keyword}-column"
            refuse(
                path,
                number,
                f"a header with {column!r} is expected, not {header}: {flag}, or {keyword}=, names the column"
                + ("; --delimiter, what lies between columns" if len(header) == 1 else ""),
                "without a text column",
            )


def _records(path: str, delimiter: str | None, options: ReadOptions) -> Records:
    """The cells of all lines that aren't blank."""
    if csv.field_size_limit() < sys.maxsize:
        csv.field_size_limit(sys.maxsize)  # lines have their own limit
    lines = read_lines(path, options.encoding)
    head = next(((number, line) for number, line in lines if line.strip()), None)
    if head is None:
        return
    delimiter = options.delimiter or delimiter or _guess(head[1])
    meter = _Meter(chain([head], lines), path)
    reader = csv.reader(meter, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            start = meter.next_record()
            if cells:
                yield start, cells
    except csv.Error as error:
        refuse(path, meter.start, f"not valid {'TSV' if delimiter == chr(9) else 'CSV'}: {error}")


def _guess(line: str) -> str:
    """The delimiter that splits a header into most names."""

    def count(delimiter: str) -> int:
        try:
            return len(next(csv.reader([line], delimiter=delimiter)))
        except (csv.Error, StopIteration):
            return 0

    key: Callable[[str], int] = count
    return max(_DELIMITERS, key=key)


class _Meter:
    """Lines, with the number of that in which a record began, and a limit to how long a record gets."""

    def __init__(self, lines: Lines, path: str) -> None:
        self._lines = lines
        self._path = path
        self._length = 0
        self.start = 0

    def __iter__(self) -> _Meter:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if not self._length:
            self.start = number
        self._length += len(line)
        if self._length > MAX_BYTES:
            refuse_length(self._path, self.start, "a record (perhaps a quote is left open)")
        return line

    def next_record(self) -> int:
        """The line in which the record just read began."""
        self._length = 0
        return self.start
