"""Files and folders as documents, read while the consumer works on those before."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ForkedProcessError
from .file_document import FileDocument
from .formats import DocumentFormat
from .reading import Reading
from .report import ReadingReport
from .rows import ReadOptions
from .workers import Limits

__all__ = ["DocumentReader", "read"]

_AHEAD = 256
"""How many documents are read ahead of their turn at most."""
_AHEAD_CHARACTERS = 16 << 20
_WAIT = 0.1


def read(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    format: DocumentFormat | str | None = None,
    text: str | None = None,
    id: str | None = None,
    metadata: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    types: Mapping[str, str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    gitignore: bool = True,
    strict: bool = False,
    limits: Limits | None = None,
) -> DocumentReader:
    """Read documents from files and folders.

    Text of all kinds, source code, notebooks and tables need nothing further; PDF, Office files, books, web
    pages, mail and Parquet the extra ``documents``. What of a folder can't be read is left out and reported;
    a file that is named itself and can't be read is an error.

    Parameters
    ----------
    paths
        Files and folders; ``-`` is the standard input. Of a folder, hidden files, those that ``.gitignore``
        names, links that lead out of it and what is no text are left out.
    format
        Of all files; by default what their names and first bytes say.
    text, id, metadata
        The columns, or keys, of tables. By default the text's is found, which the report tells; ``_id`` or
        ``id`` is the id, and all else metadata.
    delimiter, types
        Of CSV and TSV, see :class:`ReadOptions`.
    encoding
        Of all files; by default it is found out, and the report counts which ones there are.
    include, exclude
        Patterns as in ``.gitignore``: of a folder's files only those that match one of the former, if there
        are any, and none of the latter.
    gitignore
        Whether ``.gitignore`` counts.
    strict
        Raise at the end if files of folders were left out that somebody may miss.
    limits
        What a file may take to be parsed.

    Returns
    -------
    DocumentReader
        An iterator of documents, with a report.

    Raises
    ------
    InvalidInputError
        If an argument can't be used; while reading, if a file that was named itself can't be read.
    MissingExtraError
        If such a file needs a parser, and none is installed.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    options = ReadOptions(
        text=text,
        id=id,
        metadata=None if metadata is None else tuple(metadata),
        delimiter=delimiter,
        encoding=encoding,
        types=types or {},
        strict=strict,
        include=(include,) if isinstance(include, str) else tuple(include),
        exclude=(exclude,) if isinstance(exclude, str) else tuple(exclude),
        gitignore=gitignore,
    )
    return DocumentReader(Reading(given, format, options, limits=limits))


class _ReadAhead:
    """A thread's work: documents into a queue. It doesn't hold the reader, so that one forgotten ends it."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._room = threading.Condition()
        self._characters = 0
        self.queue: queue.Queue[FileDocument | BaseException | None] = queue.Queue(_AHEAD)
        self.stop = threading.Event()

    def run(self) -> None:
        """Read all."""
        documents = self._reading.documents()
        try:
            for document in documents:
                with self._room:
                    while self._characters > _AHEAD_CHARACTERS and not self.stop.is_set():
                        self._room.wait(_WAIT)
                    self._characters += len(document.text)
                if not self._put(document):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001  (raised where the documents are awaited)
            self._put(error)
        finally:
            documents.close()

    def _put(self, item: FileDocument | BaseException | None) -> bool:
        while not self.stop.is_set():
            try:
                self.queue.put(item, timeout=_WAIT)
            except queue.Full:
                continue
            return True
        return False

    def get(self) -> FileDocument | BaseException | None:
        """The next document, once it is there; an error; None at the end."""
        found = self.queue.get()
        if isinstance(found, FileDocument):
            with self._room:
                self._characters -= len(found.text)
                self._room.notify()
        return found


class DocumentReader(Iterator[FileDocument]):
    """Documents, one by one. A thread, and processes for what needs a parser, read ahead in bounds.

    It ends when all is read, on :meth:`close`, and with a ``with`` block.

    Parameters
    ----------
    reading
        What is read.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._ahead = _ReadAhead(reading)
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._done = False

    @property
    def report(self) -> ReadingReport:
        """What was read so far, and what was left out. Reading may be ahead of what was handed out."""
        return self._reading.report

    def __iter__(self) -> DocumentReader:
        return self

    def __next__(self) -> FileDocument:
        if self._done:
            raise StopIteration
        if self._thread is None:
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._ahead.run, name="reading", daemon=True)
            self._thread.start()
        elif os.getpid() != self._process:
            raise ForkedProcessError("this reader was begun before the process forked; begin another one")
        found = self._ahead.get()
        if isinstance(found, FileDocument):
            return found
        self.close()
        if found is None:
            raise StopIteration
        raise found

    def close(self) -> None:
        """Stop reading."""
        self._done = True
        self._ahead.stop.set()
        if self._thread is not None and os.getpid() == self._process:
            self._thread.join()

    def __enter__(self) -> DocumentReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self._ahead.stop.set()
