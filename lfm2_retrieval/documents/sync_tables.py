"""The tables in which a sync compares files with what an index holds of them: on disk, not in memory.

Paths and ids are bytes there, as not all of them are UTF-8.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..platform.forks import busy

__all__ = ["SyncTables", "to_id", "to_path"]

_SCHEMA = """
CREATE TABLE held (
    id BLOB PRIMARY KEY, source BLOB, root BLOB, name BLOB, version TEXT, disk BLOB
) WITHOUT ROWID;
CREATE INDEX held_sources ON held (source);
CREATE TABLE newer (
    id BLOB PRIMARY KEY, source BLOB, root BLOB, name BLOB, version TEXT, disk BLOB
) WITHOUT ROWID;
CREATE TABLE files (
    number INTEGER PRIMARY KEY, source BLOB UNIQUE, root INTEGER, relative BLOB, format TEXT, digest TEXT,
    size INTEGER, version TEXT, disk BLOB, state TEXT, name BLOB, before BLOB
);
CREATE INDEX versions ON files (version);
CREATE INDEX names ON files (name);
CREATE TABLE kept (source BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE gone (
    source BLOB PRIMARY KEY, version TEXT, base BLOB, suffix BLOB, taken INTEGER DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX gone_versions ON gone (version);
CREATE INDEX gone_bases ON gone (version, base, source) WHERE NOT taken;
CREATE INDEX gone_suffixes ON gone (version, suffix, source) WHERE NOT taken;
CREATE TABLE rows (id BLOB PRIMARY KEY, source BLOB) WITHOUT ROWID;
CREATE INDEX row_sources ON rows (source);
"""
_PAGE = 512


def to_id(id: bytes) -> str:
    """An id as a string."""
    return id.decode("utf-8", "surrogatepass")


def to_path(path: bytes) -> str:
    """A path as Python's functions take it."""
    return os.fsdecode(path)


class SyncTables:
    """A database of one sync, in a temporary file that goes with it; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        with busy:
            self._connection.execute("PRAGMA journal_mode = OFF")
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute("PRAGMA cache_size = -8192")
            self._connection.executescript(_SCHEMA)
            # Never committed: of a temporary file each commit counts the changed pages in the cache.
            self._connection.execute("BEGIN")

    def run(self, statement: str, values: Iterable[Any] | Mapping[str, Any] = ()) -> None:
        """Change something."""
        with self._lock, busy:
            self._connection.execute(statement, values if isinstance(values, Mapping) else tuple(values))

    def many(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        """Change something for each of many values, some at a time."""
        batch: list[tuple[Any, ...]] = []
        for one in values:
            batch.append(one)
            if len(batch) == _PAGE:
                self._write(statement, batch)
                batch = []
        self._write(statement, batch)

    def _write(self, statement: str, batch: list[tuple[Any, ...]]) -> None:
        with self._lock, busy:
            self._connection.executemany(statement, batch)

    def one(self, query: str, *values: Any) -> Any:
        """The first row, or None."""
        with self._lock, busy:
            return self._connection.execute(query, values).fetchone()

    def count(self, query: str, *values: Any) -> int:
        """The number that a query gives."""
        return int(self.one(query, *values)[0])

    def pages(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """All rows of a query whose first column rises and is asked for as ``> ?``, some at a time.

        Rows may be changed meanwhile.
        """
        last: Any = None
        while True:
            with self._lock, busy:
                page = self._connection.execute(
                    f"{query} LIMIT {_PAGE}", (*values, b"" if last is None else last)
                ).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def close(self) -> None:
        """Forget all of it."""
        with self._lock, busy:
            self._connection.close()
