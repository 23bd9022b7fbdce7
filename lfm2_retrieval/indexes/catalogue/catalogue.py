"""The catalogue: one SQLite file that says what the index holds. What it doesn't name doesn't exist."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from ...errors import (
    IndexClosedError,
    IndexFormatError,
    IndexNotFoundError,
    IndexReplacedError,
    NewerFormatError,
    StoredIndexError,
)
from ...platform.forks import busy
from ..access import unreadable
from ..segments.files import fsync_folder
from . import connections, schema
from .connections import connect, connect_to_read, harden, limit, translated
from .location import UNDER_CONSTRUCTION, check_kind, make_catalogue
from .newest import read_newest, write_newest
from .rows import ALIVE, COLUMNS, Entry, check_whole, dead_checksum
from .schema import CATALOGUE, read_settings
from .sources import read_entries

__all__ = ["IDS_PER_QUERY", "Catalogue", "SweptError"]

_PAGE = 512
_WRITERS_CACHE_KIB = 1 << 16
"""Rows that die lie all over the indexes: with the 2 MB that SQLite has by default, pages come and go."""
IDS_PER_QUERY = 500  # SQLite's oldest limit on bound parameters is 999


class SweptError(Exception):
    """What a snapshot held was swept: nothing could pin it."""


class Catalogue:
    """Connections to the ``index.db`` of an index. Any thread may use it; closing it closes them all.

    Connections are lent one to a thread at a time and reused, so threads that come and go leave none behind.

    Parameters
    ----------
    folder
        The folder of the index.

    Attributes
    ----------
    checked_fields
        Fields of filters that were looked for, so that one that no document has is warned of once.

    Raises
    ------
    IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError, IndexAccessError
        If there is no index, or none that can be read. Nothing is created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = folder, folder / CATALOGUE
        self._guard = threading.Lock()
        self._returned = threading.Condition(self._guard)
        self._n_lent = 0
        self._idle: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self._closed = False
        self.checked_fields: set[str] = set()
        # Of a catalogue that was replaced while threads read it: when the last one lets go of it.
        self._finalizer = weakref.finalize(self, connections.close_all, self._idle, self._pid)
        self._finalizer.atexit = False
        check_kind(folder)
        self._place: tuple[int, ...] = ()
        self._place = self._look()
        try:
            self._check_format(self._format())
            with self.reading(limited=True) as connection:
                self._identity = self._identify(connection)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(folder: Path, settings: Mapping[str, Any]) -> None:
        """Make the catalogue of an empty index, whole or not at all; for the holder of the writer lock."""
        path = folder / UNDER_CONSTRUCTION
        for leftover in folder.glob(UNDER_CONSTRUCTION + "*"):
            leftover.unlink()
        with busy, translated(path, writing=True):
            make_catalogue(path, settings).close()
        path.rename(folder / CATALOGUE)
        fsync_folder(folder)
        fsync_folder(folder.parent)

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: everything read through it is of one commit.

        With ``limited``, what takes more work than reading the whole file is interrupted.
        """
        with busy, translated(self.folder / CATALOGUE):
            process, connection = os.getpid(), self._lend()
            try:
                if limited:
                    limit(connection, self.folder / CATALOGUE)
                connection.execute("BEGIN")
                yield connection
            finally:
                if process == os.getpid():
                    self._take_back(connection)
                else:
                    connections.inherited.append(connection)

    @contextmanager
    def reading_at(self, commit: int) -> Iterator[sqlite3.Connection]:
        """As `reading`, to read what was alive at some commit.

        Raises
        ------
        SweptError
            If some of that was swept.
        """
        with self.reading() as connection:
            if read_settings(connection, "horizon")["horizon"] > commit:
                raise SweptError
            yield connection

    def check_unswept(self, commit: int) -> None:
        """Refuse to go on with what was alive at some commit, once a newer one may have swept it.

        Raises
        ------
        SweptError
            If there is a newer one.
        """
        with self.reading() as connection:
            if connection.execute("SELECT max(id) FROM commits").fetchone()[0] != commit:
                raise SweptError

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that may write; for the holder of the writer lock.

        What isn't committed at the end is rolled back.
        """
        self._check_open()
        process = os.getpid()
        with translated(self.folder / CATALOGUE, writing=True):
            connection = self._connect_to_write()
            try:
                yield connection
            finally:
                if process == os.getpid():
                    self._end_writing(connection)
                else:  # the parent's, with all that it has begun
                    connections.inherited.append(connection)

    @busy
    def _connect_to_write(self) -> sqlite3.Connection:
        connection = connect(self.folder / CATALOGUE, "mode=rw")
        try:
            harden(connection)
            self.check_place()
            self._check_identity(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_WRITERS_CACHE_KIB}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            connection.create_function("dead_checksum", 2, dead_checksum, deterministic=True)
        except BaseException:
            connection.close()
            raise
        return connection

    @busy
    def _end_writing(self, connection: sqlite3.Connection) -> None:
        with closing(connection), suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM commits").fetchone()
            write_newest(self.folder, self._identity, newest)

    def check_place(self) -> None:
        """Refuse an index that was moved away, deleted, or exchanged for another, since it was opened.

        Files are told apart by device and inode, which no other file gets as long as a connection has this
        one open. It takes some microseconds.

        Raises
        ------
        IndexClosedError
            If this one is closed.
        IndexReplacedError
            If another index lies there.
        IndexNotFoundError
            If none does.
        """
        self._check_open()
        if self._look() != self._place:
            raise self._replaced()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While files of the index are read by their names: that they are of this index, and not of another.

        Raises
        ------
        IndexReplacedError, IndexNotFoundError
            If another one, or none, lies there at the end, whatever was found meanwhile.
        """
        self.check_place()
        try:
            yield
        except StoredIndexError:
            self.check_place()
            raise
        self.check_place()

    def _look(self) -> tuple[int, ...]:
        """What tells which folder, and which catalogue in it, the path leads to."""
        folder = None
        try:
            folder = self._paths[0].stat()
            file = self._paths[1].stat()
        except OSError as error:
            if folder is not None and (folder.st_dev, folder.st_ino) != self._place[:2]:
                raise self._replaced() from error  # by something else, or by one that is still being made
            raise unreadable(self.folder / CATALOGUE, error, self.folder) from error
        return folder.st_dev, folder.st_ino, file.st_dev, file.st_ino

    def _replaced(self) -> IndexReplacedError:
        return IndexReplacedError(
            f"the index {self.folder} was replaced by another since it was opened: refresh() goes on to "
            "that, or open it again"
        )

    @property
    def recorded_newest(self) -> int:
        """A commit that there was; the newest can't be older."""
        return read_newest(self.folder, self._identity)

    @busy
    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        with self._returned:
            self._closed = True
            self._returned.notify_all()
        self._finalizer()

    def fetch(self, commit: int, column: Literal["id", "key"], values: Sequence[Any]) -> dict[Any, Entry]:
        """Documents alive at a commit, by id (bytes) or by key; those that aren't there are left out."""
        with self.reading_at(commit) as connection:
            rows = self._select(connection, commit, column, values, COLUMNS)
            entries = read_entries(connection, rows)
        return {row[1 if column == "key" else 6]: entry for row, entry in zip(rows, entries, strict=True)}

    def keys(self, commit: int, ids: Sequence[bytes]) -> dict[bytes, int]:
        """The keys of documents alive at a commit, by id; those that aren't there are left out."""
        with self.reading_at(commit) as connection:
            found = dict(self._select(connection, commit, "id", ids, "id, key"))
        check_whole(found.values())
        return found

    def documents_of(self, commit: int, keys: Sequence[int]) -> dict[int, int]:
        """By the keys of passages alive at a commit, the rows of their documents in ``sources``."""
        columns = "key, (SELECT source FROM passages WHERE row = documents.row)"
        with self.reading_at(commit) as connection:
            found = dict(self._select(connection, commit, "key", keys, columns))
        check_whole(found.values())
        return found

    def living(
        self, ids: Sequence[bytes], table: Literal["documents", "sources"] = "documents"
    ) -> set[bytes]:
        """Those of some ids that the newest commit has."""
        found: set[bytes] = set()
        with self.reading() as connection:
            for start in range(0, len(ids), IDS_PER_QUERY):
                some = ids[start : start + IDS_PER_QUERY]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id FROM {table} WHERE died IS NULL AND id IN ({marks})", some
                )
                found.update(id for (id,) in rows)
        return found

    def pages(
        self,
        commit: int,
        columns: str,
        read: Callable[[sqlite3.Connection, list[Any]], list[Any]] = lambda _, rows: rows,
        *,
        table: Literal["documents", "sources"] = "documents",
        after: int = 0,
        size: int = _PAGE,
    ) -> Iterator[list[Any]]:
        """All documents alive at a commit, in order of insertion, some at a time; no read lasts longer.

        Parameters
        ----------
        commit, columns
            Which, and what of them.
        read
            What becomes of the columns of a page, while it is read.
        table
            Whole documents of an index of passages are in ``sources``.
        after
            The key of the document behind which to begin.
        size
            How many make a page.
        """
        last = after
        while True:
            with self.reading_at(commit) as connection:
                rows = connection.execute(
                    f"SELECT key, {columns} FROM {table} WHERE key > ? AND {ALIVE} ORDER BY key LIMIT {size}",
                    (last, commit, commit),
                ).fetchall()
                page = read(connection, [row[1:] for row in rows])
            if rows:
                last = rows[-1][0]
                yield page
            if len(rows) < size:
                return

    @staticmethod
    def _select(
        connection: sqlite3.Connection, commit: int, column: str, values: Sequence[Any], columns: str
    ) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(values), IDS_PER_QUERY):
            some = values[start : start + IDS_PER_QUERY]
            asked = f"SELECT {columns} FROM documents WHERE {column} IN ({','.join('?' * len(some))})"
            # In two parts, as there is an index of the living ids and one of the dead ones.
            found += connection.execute(f"{asked} AND died IS NULL AND born <= ?", (*some, commit))
            found += connection.execute(f"{asked} AND died > ? AND born <= ?", (*some, commit, commit))
        return found

    def _format(self) -> int:
        with self.reading(limited=True) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _check_format(self, version: int) -> None:
        if version > schema.FORMAT:
            raise NewerFormatError(
                f"{self.folder} was made by a newer version of lfm2-retrieval (format {version}, this one "
                f"reads up to {schema.FORMAT}): upgrade with pip install -U lfm2-retrieval"
            )
        if version not in schema.READABLE:
            raise IndexFormatError(
                f"{self.folder} has the format {version}, from before the first release, which this version "
                "doesn't read: index the documents anew"
            )

    @staticmethod
    def _identify(connection: sqlite3.Connection) -> str:
        return str(read_settings(connection, "uuid")["uuid"])

    def _lend(self) -> sqlite3.Connection:
        with self._guard:
            self._check_open()
            if self._pid != os.getpid():
                # SQLite's connections don't survive a fork: leave the parent's alone, unclosed.
                connections.inherited.extend(self._idle)
                self._idle.clear()
                self._pid = os.getpid()
                self._n_lent = 0
            connection = self._idle.pop() if self._idle else None
            self._n_lent += 1
        try:
            if connection is None:
                connection = self._connect()
        except BaseException:
            with self._returned:
                self._n_lent -= 1
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        """One more connection; where the file is out of reach by now, one that another thread gives back."""
        connection = None
        try:
            self.check_place()
            connection = connect_to_read(self.folder / CATALOGUE)
            if hasattr(self, "_identity"):
                self._check_identity(connection)
            self.check_place()
        except BaseException:
            if connection is not None:
                connection.close()
            try:
                self.check_place()
            except (IndexReplacedError, IndexNotFoundError):
                if (returned := self._wait()) is None:
                    raise
                return returned
            raise
        return connection

    def _wait(self) -> sqlite3.Connection | None:
        """A connection that is given back by another thread, if any has one."""
        with self._returned:
            if self._n_lent > 1:  # besides this one, which has none yet
                self._returned.wait_for(lambda: self._idle or self._closed, connections.BUSY_SECONDS)
            return self._idle.pop() if self._idle else None

    def _check_open(self) -> None:
        if self._closed:
            raise IndexClosedError(f"the index {self.folder} is closed; open it again")

    def _check_identity(self, connection: sqlite3.Connection) -> None:
        if self._identify(connection) != self._identity:
            raise self._replaced()

    def _take_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.set_progress_handler(None, 0)
        with self._returned:
            self._n_lent -= 1
            if not self._closed:
                self._idle.append(connection)
                self._returned.notify()
                return
        connection.close()
