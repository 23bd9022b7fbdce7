"""Documents from files: JSON Lines in BEIR layout, CSV, TSV, plain text and Markdown, gzipped or not.

Everything is streamed: memory holds one line of a table, or one text file, at a time.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from .errors import InvalidInputError

__all__ = ["STDIN", "DocumentFormat", "read_documents", "read_lines"]

STDIN = "-"

Row = dict[str, Any]
Lines = Iterator[tuple[int, str]]


class DocumentFormat(StrEnum):
    """How a file holds documents."""

    JSONL = "jsonl"
    """One JSON object a line: ``_id`` or ``id``, ``text``, perhaps ``title``; other keys are metadata.

    An id is a string, or a whole number, which counts as its digits.
    """
    CSV = "csv"
    """Comma separated, with a header of the same names."""
    TSV = "tsv"
    """The same with tabs."""
    TEXT = "text"
    """One document a file."""
    LINES = "lines"
    """One document a line."""


_SUFFIXES = {
    DocumentFormat.JSONL: (".jsonl", ".ndjson"),
    DocumentFormat.CSV: (".csv",),
    DocumentFormat.TSV: (".tsv",),
    DocumentFormat.TEXT: (".txt", ".md", ".markdown"),
    DocumentFormat.LINES: (".txt", ".md", ".markdown"),
}
_BY_SUFFIX = {
    suffix: format
    for format, suffixes in _SUFFIXES.items()
    if format is not DocumentFormat.LINES
    for suffix in suffixes
}


def read_documents(
    paths: Iterable[str | os.PathLike[str]], format: DocumentFormat | str | None = None
) -> Iterator[Row]:
    """Read documents, one by one.

    Parameters
    ----------
    paths
        Files, folders, or ``-`` for the standard input. In a folder the files with a suffix of the format
        (without one: texts) are read in sorted order, hidden ones left out. A ``.gz`` is unpacked.
    format
        Of all of them; without it the suffix decides, and the standard input is JSON Lines.

    Yields
    ------
    dict
        ``id``, ``text``, ``metadata`` and, where there is one, ``title``. A row without an id is called
        ``FILE:LINE``; a text file by its path, in a folder relative to that.

    Raises
    ------
    InvalidInputError
        Naming file and line, if something can't be read or has no text.
    """
    if format is not None and format not in set(DocumentFormat):
        raise InvalidInputError(f"the format must be one of {', '.join(DocumentFormat)}, not {format!r}")
    wanted = None if format is None else DocumentFormat(format)
    return (row for path in paths for row in _read(os.fspath(path), wanted))


def read_lines(path: str) -> Lines:
    """The lines of a UTF-8 file with their numbers, from 1; ``-`` is the standard input.

    Lines end at a line feed only, which they keep.

    Raises
    ------
    InvalidInputError
        If the file can't be read, or a line is not UTF-8.
    """
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, 1):
                yield number, _decode(line, path, number)
    except (OSError, EOFError, zlib.error) as error:
        _refuse(path, number + 1, f"can't be read: {getattr(error, 'strerror', None) or error}")


def _read(path: str, format: DocumentFormat | None) -> Iterator[Row]:
    if path != STDIN and Path(path).is_dir():
        return _read_folder(Path(path), format or DocumentFormat.TEXT)
    found = format or (DocumentFormat.JSONL if path == STDIN else _BY_SUFFIX.get(_suffix(path)))
    if found is None:
        if not Path(path).exists():
            raise InvalidInputError(f"{path}: no such file or folder")
        raise InvalidInputError(
            f"{path}: its name does not tell the format; name it: {', '.join(DocumentFormat)}"
        )
    return _READERS[found](path, "stdin" if path == STDIN else path)


def _read_folder(folder: Path, format: DocumentFormat) -> Iterator[Row]:
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if _suffix(file.name) in _SUFFIXES[format]
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    if not files:
        raise InvalidInputError(f"{folder}: holds no {' or '.join(_SUFFIXES[format])} file")
    for file in files:
        yield from _READERS[format](str(file), file.relative_to(folder).as_posix())


def _suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _read_text(path: str, name: str) -> Iterator[Row]:
    text = "".join(line for _, line in read_lines(path))
    yield {"id": name, "text": text, "metadata": {"path": path}}


def _read_plain_lines(path: str, name: str) -> Iterator[Row]:
    for number, line in read_lines(path):
        if line.strip():
            yield {"id": f"{name}:{number}", "text": line.rstrip("\r\n"), "metadata": {}}


def _read_jsonl(path: str, name: str) -> Iterator[Row]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_not_json, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            _refuse(path, number, f"not valid JSON: {getattr(error, 'msg', error)}{at}")
        if not isinstance(row, dict):
            _refuse(path, number, f"a JSON object is expected, not {line.strip()[:40]}")
        yield _document(row, path, name, number)


def _read_table(path: str, name: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            number, start = start, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if "text" not in header or len(set(header)) < len(header):
                    _refuse(path, number, f"a header with 'text', each name once, is expected, not {header}")
            elif len(cells) != len(header):
                _refuse(path, number, f"has {len(cells)} fields, the header {len(header)}")
            else:
                yield _document(dict(zip(header, cells, strict=True)), path, name, number)
    except csv.Error as error:
        _refuse(path, start, f"not valid {'CSV' if delimiter == ',' else 'TSV'}: {error}")


_READERS: dict[DocumentFormat, Callable[[str, str], Iterator[Row]]] = {
    DocumentFormat.JSONL: _read_jsonl,
    DocumentFormat.CSV: lambda path, name: _read_table(path, name, ","),
    DocumentFormat.TSV: lambda path, name: _read_table(path, name, "\t"),
    DocumentFormat.TEXT: _read_text,
    DocumentFormat.LINES: _read_plain_lines,
}


def _document(row: Row, path: str, name: str, number: int) -> Row:
    """A row of a table as a document: what is neither id, title nor text is metadata."""
    key, has_text = "_id" if "_id" in row else "id", "text" in row
    id, title, text = row.pop(key, None), row.pop("title", None), row.pop("text", None)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    for what, value in (("id", id), ("title", title), ("text", text)):
        if value is not None and not isinstance(value, str):
            kinds = "a string or a whole number" if what == "id" else "a string"
            _refuse(path, number, f"{what!r} must be {kinds}, not {json.dumps(value)[:40]}")
    if text is None and has_text:
        _refuse(path, number, "'text' is null; a document without text has the text \"\"")
    if text is None:
        _refuse(path, number, f"no 'text'; it has {', '.join(map(repr, row)) or 'nothing'}")
    if isinstance(row.get("metadata"), dict):
        row |= row.pop("metadata")
    return {
        "id": id or f"{name}:{number}",
        "text": text,
        "metadata": row,
        **({"title": title} if title else {}),
    }


def _open(path: str) -> AbstractContextManager[Iterable[bytes]]:
    if path == STDIN:
        return nullcontext(sys.stdin.buffer)
    return gzip.open(path) if path.lower().endswith(".gz") else Path(path).open("rb")


def _decode(line: bytes, path: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        _refuse(path, number, f"not UTF-8: byte {line[error.start]:#04x} at position {error.start}")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is beyond the numbers of 64-bit floats")
    return number


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _refuse(path: str, number: int, why: str) -> NoReturn:
    raise InvalidInputError(f"{'stdin' if path == STDIN else path}:{number}: {why}")
