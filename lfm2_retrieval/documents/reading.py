"""Files and folders as rows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InvalidInputError
from .folders import find_files, folder_names
from .formats import DocumentFormat, format_of, suffix
from .lines import STDIN, RefusedFileError, read_lines, read_text, refuse
from .report import Report
from .rows import ReadOptions, Row, to_row
from .tables import header_of, read_table

__all__ = ["Reading", "read_documents"]


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    format: DocumentFormat | str | None = None,
    options: ReadOptions | None = None,
) -> Iterator[Row]:
    """Read documents, one by one; see :class:`Reading`."""
    return iter(Reading(paths, format, options))


class Reading:
    """Documents of files and folders, which can be read several times.

    Parameters
    ----------
    paths
        Files, folders, or ``-`` for the standard input. In a folder the files with an extension of the format
        are read in sorted order. Without a format each file that is plain text by its extension, or has none
        and is UTF-8, is a document there, and tables with a text column give theirs. A ``.gz`` is unpacked.
    format
        Of all of them; without it the name decides, and the standard input is JSON Lines.
    options
        Columns, encoding, types.
    prefixes
        What stands before the ids of a folder's files, by folder. By default the folder's name and a slash,
        if there are several folders, or text files beside it, and else nothing.

    Yields
    ------
    dict
        ``id``, ``text``, ``metadata`` and, where there is one, ``title``. A row without an id is called
        ``FILE:LINE``; a text file by its path, in a folder relative to that.

    Attributes
    ----------
    report
        Of the last time: what was left out of folders, and the types of columns.

    Raises
    ------
    InvalidInputError
        Naming file and line, if something can't be read or has no text.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        format: DocumentFormat | str | None = None,
        options: ReadOptions | None = None,
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        if format is not None and format not in set(DocumentFormat):
            raise InvalidInputError(f"the format must be one of {', '.join(DocumentFormat)}, not {format!r}")
        self.paths = [os.fspath(path) for path in paths]
        self.format = None if format is None else DocumentFormat(format)
        self.options = options or ReadOptions()
        self.report = Report()
        self.prefixes = self._prefixes() if prefixes is None else prefixes

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self.rows())

    @property
    def folders(self) -> list[str]:
        """Those of the paths that are folders."""
        return [path for path in self.paths if path != STDIN and Path(path).is_dir()]

    def rows(self, paths: Iterable[str] | None = None) -> Iterator[tuple[str, Row]]:
        """Rows with the path that each comes from; of some of the paths only."""
        types, numeric, self.report = self.report.types, self.report.numeric, Report()
        self.report.types, self.report.numeric = types, numeric  # found once
        for path in self.paths if paths is None else paths:
            for row in self._read(path):
                yield path, row
        if self.options.strict and self.report.missed:
            raise InvalidInputError(f"--strict: {self.report.summary()}")

    def _prefixes(self) -> dict[str, str]:
        folders = self.folders
        texts = [
            path for path in self.paths if path not in folders and self._format(path) is DocumentFormat.TEXT
        ]
        if len(folders) + bool(texts) < 2:
            return {}
        return {folder: f"{name}/" for folder, name in folder_names(folders).items()}

    def _format(self, path: str) -> DocumentFormat | None:
        if self.format is not None:
            return self.format
        if path == STDIN:
            return DocumentFormat.JSONL
        plain = not suffix(path) and Path(path).is_file()
        return DocumentFormat.TEXT if plain else format_of(path, alone=True)

    def _read(self, path: str) -> Iterator[Row]:
        if path != STDIN and Path(path).is_dir():
            yield from self._read_folder(path)
            return
        found = self._format(path)
        if found is None:
            if not Path(path).exists():
                raise InvalidInputError(f"{path}: no such file or folder")
            raise InvalidInputError(
                f"{path}: its name does not tell the format; name it: {', '.join(DocumentFormat)}"
            )
        self.report.files += 1
        yield from self._read_file(path, "stdin" if path == STDIN else path, found)

    def _read_file(self, path: str, name: str, format: DocumentFormat) -> Iterator[Row]:
        options = self.options
        if format is DocumentFormat.TEXT:
            return iter([{"id": name, "text": read_text(path, options.encoding), "metadata": {"path": path}}])
        if format is DocumentFormat.LINES:
            return _read_plain_lines(path, name, options)
        if format is DocumentFormat.JSONL:
            read = _read_json if suffix(path) == ".json" else _read_jsonl
            return read(path, name, options)
        return read_table(path, name, "\t" if format is DocumentFormat.TSV else None, options, self.report)

    def _read_folder(self, folder: str) -> Iterator[Row]:
        before = self.report.left_out, self.report.files
        prefix = self.prefixes.get(folder, "")
        try:
            for path, relative, format in find_files(folder, self.format, self.report):
                if format is DocumentFormat.TEXT or format is None:
                    yield from self._read_member(path, relative, prefix)
                elif self.format is None and (reason := self._why_no_table(path, format)):
                    self.report.leave_out(relative, reason)
                else:
                    self.report.files += 1
                    yield from self._read_file(path, prefix + relative, format)
        except OSError as error:
            raise InvalidInputError(f"{folder}: can't be read: {error.strerror or error}") from error
        if self.report.files == before[1]:
            left = self.report.left_out - before[0]
            why = f": {self.report.summary()}" if left else ""
            kind = f"{self.format} file" if self.format else ".txt or .md file, nor other text or table,"
            raise InvalidInputError(f"{folder}: holds no {kind} that can be read{why}")

    def _read_member(self, path: str, relative: str, prefix: str) -> Iterator[Row]:
        """A file of a folder as one document, unless it is no text."""
        try:
            text = read_text(path, self.options.encoding)
        except RefusedFileError as error:
            self.report.leave_out(relative, error.reason)
            return
        reason = "binary" if "\0" in text else None if text.strip() else "empty"
        if reason is not None:
            self.report.leave_out(relative, reason)
            return
        self.report.files += 1
        yield {"id": prefix + relative, "text": text, "metadata": {"path": path}}

    def _why_no_table(self, path: str, format: DocumentFormat) -> str | None:
        """Why a table of a folder holds no documents, by its first line; None if it does."""
        try:
            if format is DocumentFormat.JSONL:
                first = next(_read_jsonl(path, path, self.options), None)
                return "empty" if first is None else None
            header = header_of(path, "\t" if format is DocumentFormat.TSV else None, self.options)
        except RefusedFileError as error:
            return error.reason
        return None if header else "empty"


def _read_plain_lines(path: str, name: str, options: ReadOptions) -> Iterator[Row]:
    for number, line in read_lines(path, options.encoding):
        if line.strip():
            yield {"id": f"{name}:{number}", "text": line.rstrip("\r\n"), "metadata": {}}


def _read_jsonl(path: str, name: str, options: ReadOptions) -> Iterator[Row]:
    for number, line in read_lines(path, options.encoding):
        if not line.strip():
            continue
        row = _parse(line, path, number)
        if not isinstance(row, dict):
            refuse(path, number, f"a JSON object is expected, not {line.strip()[:40]}")
        yield to_row(row, path, name, number, options)


def _read_json(path: str, name: str, options: ReadOptions) -> Iterator[Row]:
    """A list of objects, numbered from 1; one object; or JSON Lines after all."""
    text = read_text(path, options.encoding)
    try:
        found = json.loads(text, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError):
        yield from _read_jsonl(path, name, options)
        return
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        if not isinstance(row, dict):
            refuse(path, number, f"a JSON object is expected, not {json.dumps(row)[:40]}")
        yield to_row(row, path, name, number, options)


def _parse(line: str, path: str, number: int) -> Any:
    try:
        return json.loads(line, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        refuse(path, number, f"not valid JSON: {getattr(error, 'msg', error)}{at}")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is beyond the numbers of 64-bit floats")
    return number


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
