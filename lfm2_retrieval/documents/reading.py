"""Files and folders as rows and documents."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidInputError, MissingExtraError
from ..titles import join
from .folders import find_files, folder_names
from .formats import TABLES, DocumentFormat, format_of, rich_format, suffix
from .json_files import documents_of, read_json, read_jsonl
from .lines import STDIN, RefusedFileError, find_encoding, read_lines, refuse
from .report import ReadingReport, storable
from .rows import ReadOptions, Row
from .sniffing import HEAD, RICH, sniff
from .structure import Region, Structure
from .tables import read_table
from .text_files import decode, read_bytes, structured
from .workers import Job, Limits, Parsers

if TYPE_CHECKING:
    from .file_document import FileDocument

__all__ = ["ChosenFile", "Reading", "read_documents"]

_PARSER = "kreuzberg"
_NEEDS_EXTRA = "of a format that needs an extra: pip install 'lfm2-retrieval[documents]'"

_CHANGED = "changed while it was read"
_REMEDIES = {
    "encrypted": "save it without its password",
    "broken": "open it in the program that made it, and save it anew",
    _CHANGED: "read it once nobody writes to it",
}


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    format: DocumentFormat | str | None = None,
    options: ReadOptions | None = None,
) -> Iterator[Row]:
    """Read documents as rows, one by one; see :class:`Reading`."""
    return iter(Reading(paths, format, options))


class ChosenFile(NamedTuple):
    """A file of a folder that somebody else has found.

    Parameters
    ----------
    path, name
        Of the file, and what its documents are called by.
    relative
        How reports call it.
    format
        What its name tells; None for one without extension.
    """

    path: str
    name: str
    relative: str
    format: DocumentFormat | None


Refusal = Callable[[str, str, str], None]
"""Told of a file that gave nothing: its path, the reason, and what else is known."""


@dataclass
class _Folder:
    """A folder that is being read."""

    path: str
    prefix: str
    files: int = 0
    left_out: int = 0


@dataclass
class _File:
    """A file that is to be read; ``folder`` is None if it was named itself."""

    path: str
    name: str
    relative: str
    format: DocumentFormat | None
    folder: _Folder | None = None
    job: Job | None = None
    encoding: str | None = None


class Reading:
    """Documents of files and folders, which can be read several times.

    Parameters
    ----------
    paths
        Files, folders, or ``-`` for the standard input. In a folder the files with an extension of the format
        are read in sorted order. Without a format each file that is plain text by its extension, or has none
        and is text, is a document there, as is one that a parser reads (the extra ``documents``), and tables
        with a text column give theirs. A ``.gz`` is unpacked.
    format
        Of all of them; without it the name decides, unless a file's first bytes say otherwise, and the
        standard input is JSON Lines.
    options
        Columns, encoding, types, which files of folders.
    prefixes
        What stands before the ids of a folder's files, by folder. By default the folder's name and a slash,
        if there are several folders, or text files beside it, and else nothing.
    limits
        What a file may take to be parsed.
    chosen
        Instead of paths: files of folders, which are read once, in this order. A table that breaks in a later
        line gives what comes before.
    on_refusal
        Called for each file of a folder that can't be used.

    Yields
    ------
    dict
        ``id``, ``text``, ``metadata`` and, where there is one, ``title``. A row without an id is called
        ``FILE:LINE``; a text file by its path, in a folder relative to that.

    Attributes
    ----------
    report
        Of the last time: what was read and in which encodings, what was left out of folders, and the types of
        columns.

    Raises
    ------
    InvalidInputError
        Naming file and line, if something can't be read or has no text.
    MissingExtraError
        If a file that was named itself needs a parser, and none is installed.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        format: DocumentFormat | str | None = None,
        options: ReadOptions | None = None,
        prefixes: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        *,
        chosen: Iterable[ChosenFile] | None = None,
        on_refusal: Refusal = lambda path, reason, detail: None,
    ) -> None:
        if format is not None and format not in set(DocumentFormat):
            raise InvalidInputError(f"the format must be one of {', '.join(DocumentFormat)}, not {format!r}")
        self.paths = [os.fspath(path) for path in paths]
        self.format = None if format is None else DocumentFormat(format)
        self.options = options or ReadOptions()
        self.limits = limits or Limits()
        self.report = ReadingReport()
        self._chosen = chosen
        self._on_refusal = on_refusal
        self._check_extras()
        self.prefixes = self._prefixes() if prefixes is None else prefixes

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self.rows())

    @property
    def folders(self) -> list[str]:
        """Those of the paths that are folders."""
        return [path for path in self.paths if path != STDIN and Path(path).is_dir()]

    def rows(self, paths: Iterable[str] | None = None) -> Iterator[tuple[str, Row]]:
        """Rows with the path that each comes from; of some of the paths only."""
        for file, row in self._read(paths):
            found = {key: value for key, value in row.items() if key not in ("structure", "line", "format")}
            yield file.path if file.folder is None else file.folder.path, found

    def documents(self, paths: Iterable[str] | None = None) -> Generator[FileDocument, None, None]:
        """Documents with their structure; of some of the paths only."""
        from .file_document import FileDocument

        for file, row in self._read(paths):
            title, text = row.get("title"), row["text"]
            metadata = {**row["metadata"], "title": title} if title else row["metadata"]
            text = join(title, text)
            structure = row.get("structure")
            if structure is None:
                line = row.get("line")
                regions = () if line is None else (Region(0, len(text), first=line, last=line),)
                structure = Structure(regions=regions)
            source = "" if file.path == STDIN else os.path.abspath(file.path)  # noqa: PTH100  (follows no link)
            yield FileDocument(row["id"], text, metadata, source, row["format"], structure)

    def _check_extras(self) -> None:
        needed = any(
            self._format(path) is DocumentFormat.RICH
            for path in self.paths
            if path != STDIN and Path(path).is_file()
        )
        if needed and find_spec(_PARSER) is None:
            raise MissingExtraError("reading PDF, Office files, books, web pages and mail", "documents")

    def _prefixes(self) -> dict[str, str]:
        folders = self.folders
        whole = (DocumentFormat.TEXT, DocumentFormat.RICH)
        texts = [path for path in self.paths if path not in folders and self._format(path) in whole]
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

    def _read(self, paths: Iterable[str] | None) -> Iterator[tuple[_File, Row]]:
        """All rows, with the file that each is from; what needs a parser is parsed ahead of its turn."""
        types, numeric, self.report = self.report.types, self.report.numeric, ReadingReport()
        self.report.types, self.report.numeric = types, numeric  # found once
        begun = perf_counter()
        with Parsers(limits=self.limits) as parsers:
            ahead: deque[_File | _Folder] = deque()
            files = self._files(self.paths if paths is None else paths)
            ended = False
            while True:
                while not ended and len(ahead) <= 2 * parsers.workers:
                    file = next(files, None)
                    if file is None:
                        ended = True
                        break
                    if isinstance(file, _File) and file.format is DocumentFormat.RICH and find_spec(_PARSER):
                        file.job = parsers.submit({"path": file.path, "format": rich_format(file.path)})
                    ahead.append(file)
                if not ahead:
                    break
                entry = ahead.popleft()
                if isinstance(entry, _Folder):
                    self._check_folder(entry)
                    continue
                for row in self._read_file(entry, parsers):
                    self.report.documents += 1
                    self.report.formats[row.setdefault("format", str(entry.format))] += 1
                    self.report.seconds += perf_counter() - begun
                    yield entry, row
                    begun = perf_counter()
        self.report.seconds += perf_counter() - begun
        if self.options.strict and self.report.missed:
            raise InvalidInputError(f"--strict: {self.report.summary()}")

    def _files(self, paths: Iterable[str]) -> Iterator[_File | _Folder]:
        """The files to read; behind those of a folder the folder itself."""
        anywhere = _Folder("", "")
        for one in self._chosen or ():
            yield _File(*one, anywhere)
        for path in paths:
            if path != STDIN and Path(path).is_dir():
                folder = _Folder(path, self.prefixes.get(path, ""))
                before = self.report.left_out
                try:
                    for inner, relative, format in find_files(
                        path, self.format, self.report, self.options.rules()
                    ):
                        yield _File(inner, folder.prefix + storable(relative), relative, format, folder)
                except OSError as error:
                    raise InvalidInputError(f"{path}: can't be read: {error.strerror or error}") from error
                folder.left_out = before
                yield folder
                continue
            found = self._format(path)
            if found is None:
                if not Path(path).exists():
                    raise InvalidInputError(f"{path}: no such file or folder")
                raise InvalidInputError(
                    f"{path}: its name does not tell the format; name it: {', '.join(DocumentFormat)}"
                )
            name = "stdin" if path == STDIN else storable(path)
            yield _File(path, name, path, found)

    def _check_folder(self, folder: _Folder) -> None:
        if folder.files:
            return
        why = f": {self.report.summary()}" if self.report.left_out > folder.left_out else ""
        kind = f"{self.format} file" if self.format else ".txt or .md file, nor other text or table,"
        raise InvalidInputError(f"{folder.path}: holds no {kind} that can be read{why}")

    def _read_file(self, file: _File, parsers: Parsers) -> Iterator[Row]:
        """The rows of a file; one of a folder that can't be used is left out."""
        if file.folder is None:
            yield from self._rows_of(file, parsers)
            self._count(file)
            return
        tables = TABLES.values()
        try:
            if file.format in tables and self._chosen is None:  # to its end first: none is taken in half
                deque(self._rows_of(file, parsers), maxlen=0)
            rows = self._rows_of(file, parsers)
            first = next(rows, None)
        except RefusedFileError as error:
            if self.format in tables:  # asked for
                raise
            self._leave_out(file, error.reason, error.detail or _where(file, error))
            return
        if first is None:
            self._leave_out(file, "empty")
            return
        file.folder.files += 1
        self._count(file)
        yield first
        try:
            yield from rows
        except RefusedFileError as error:  # all of it was sound just now
            if self.format in tables:
                raise
            self._leave_out(file, _CHANGED, error.detail or _where(file, error))

    def _leave_out(self, file: _File, reason: str, detail: str = "") -> None:
        self.report.leave_out(file.relative, reason, detail)
        self._on_refusal(file.path, reason, detail)

    def _count(self, file: _File) -> None:
        self.report.files += 1
        if file.encoding is not None:
            self.report.encodings[file.encoding] += 1
        try:
            self.report.bytes += 0 if file.path == STDIN else Path(file.path).stat().st_size
        except OSError:
            return  # gone meanwhile

    def _rows_of(self, file: _File, parsers: Parsers) -> Iterator[Row]:
        """The rows of a file.

        Raises
        ------
        RefusedFileError
            If it can't be used.
        """
        path, name, format = file.path, file.name, file.format
        if format is DocumentFormat.RICH:
            return self._parsed(file, parsers, rich_format(path))
        if format is DocumentFormat.TEXT or format is None:
            return self._text(file, parsers)
        if format is DocumentFormat.PARQUET:
            return self._parquet(file, parsers)
        options = self.options
        encoding = find_encoding(path) if options.encoding is None else None
        if encoding is not None and (format is not DocumentFormat.JSONL or encoding.startswith("utf")):
            options = replace(options, encoding=encoding)
        file.encoding = options.encoding or "utf-8"
        if format is DocumentFormat.LINES:
            return _read_plain_lines(path, name, options)
        if format is DocumentFormat.JSONL:
            read = read_json if suffix(path) == ".json" else read_jsonl
            return read(path, name, options, self.report)
        return read_table(path, name, "\t" if format is DocumentFormat.TSV else None, options, self.report)

    def _text(self, file: _File, parsers: Parsers, kind: str | None = None) -> Iterator[Row]:
        """A text file, unless its first bytes are those of something else."""
        data = read_bytes(file.path, regular=file.folder is not None)
        found = sniff(data[:HEAD]) if self.format is None and kind is None else None
        if found == "html" and suffix(file.path) not in ("", ".txt"):
            found = None  # code and Markdown may begin with tags
        if found in RICH or found in ("zip", "ole"):
            file.job = (
                parsers.submit({"path": file.path, "format": str(found)}) if find_spec(_PARSER) else None
            )
            yield from self._parsed(file, parsers, str(found))
            return
        text, encoding = decode(data, file.path, self.options.encoding)
        if file.folder is not None and not text.strip():
            refuse(file.path, 1, "is empty", "empty")
        file.encoding = encoding
        whole = self.format is not None or kind is not None
        made = structured(text, file.path, "text" if whole and kind else None)
        yield {
            "id": file.name,
            "text": made.text,
            "metadata": {**made.metadata, "path": storable(file.path)},
            "structure": made.structure,
            "format": made.format,
        }

    def _parsed(self, file: _File, parsers: Parsers, format: str) -> Iterator[Row]:
        if file.job is None:
            if not find_spec(_PARSER):
                refuse(file.path, 1, _NEEDS_EXTRA, _NEEDS_EXTRA)
            file.job = parsers.submit({"path": file.path, "format": format})
        for answer in file.job.answers():
            self._refuse_answer(file, answer)
            if answer.get("no_parser"):
                yield from self._text(file, parsers, "text")
                return
            yield {
                "id": file.name,
                "text": answer["text"],
                "metadata": {**answer["metadata"], "path": storable(file.path)},
                "structure": Structure.from_dict(answer["structure"]),
                "format": answer["format"],
            }

    def _parquet(self, file: _File, parsers: Parsers) -> Iterator[Row]:
        if not find_spec("pyarrow"):
            if file.folder is None:
                raise MissingExtraError("reading Parquet", "documents")
            refuse(file.path, 1, _NEEDS_EXTRA, _NEEDS_EXTRA)
        job = parsers.submit({"path": file.path, "want": "rows"})

        def objects() -> Iterator[tuple[int, Row]]:
            number = 0
            for answer in job.answers():
                self._refuse_answer(file, answer)
                for row in answer["rows"]:
                    number += 1
                    yield number, row

        rows = documents_of(objects(), file.path, file.name, self.options, self.report)
        return ({key: value for key, value in row.items() if key != "line"} for row in rows)

    def _refuse_answer(self, file: _File, answer: Mapping[str, Any]) -> None:
        if "refused" in answer:
            reason, detail = str(answer["refused"]), str(answer.get("detail") or "")
            why = f"{reason}: {detail}" if detail else reason
            remedy = _REMEDIES.get(reason)
            refuse(file.path, 1, f"{why}; {remedy}" if remedy else why, reason, detail)


def _where(file: _File, error: RefusedFileError) -> str:
    """Which line a table breaks in, and why; of other files the reason says enough."""
    if file.format not in TABLES.values() or error.reason == "without a text column":
        return ""
    return str(error).removeprefix(file.path).lstrip(":")[:200]


def _read_plain_lines(path: str, name: str, options: ReadOptions) -> Iterator[Row]:
    for number, line in read_lines(path, options.encoding):
        if line.strip():
            yield {"id": f"{name}:{number}", "text": line.rstrip("\r\n"), "metadata": {}, "line": number}
