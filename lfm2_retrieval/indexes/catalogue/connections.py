"""Connections to a catalogue: careful ones, whatever the file holds, and SQLite's errors as ours."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import (
    DamagedIndexError,
    RetrievalError,
)
from ...platform.plain_files import check_database
from ..access import gone, no_memory, of_sqlite, refused_to_write
from . import schema

__all__ = ["BUSY_SECONDS", "connect", "connect_to_read", "harden", "limit", "storing", "translated"]

BUSY_SECONDS = 30.0
_STEPS_PER_BYTE, _FEWEST_STEPS = 10, 500_000
"""Of SQLite's machine: more than opening or verifying takes of a file of that size."""
_STEPS_AT_ONCE = 100_000


def connect(path: Path, how: str) -> sqlite3.Connection:
    """A connection to a SQLite file, in a mode of its URIs: ``mode=rw``, ``immutable=1`` …

    Raises
    ------
    DamagedIndexError
        If something else than a regular file is in the place of one that SQLite would open.
    """
    check_database(path)
    return sqlite3.connect(
        f"{path.as_uri()}?{how}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # the pool lends a connection to one thread at a time
    )


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Connect for reading, also where nothing can be written.

    Reading a database in WAL mode makes a small file beside it. Where the folder can't be written, SQLite
    reads it as immutable instead, which is right as long as no commit waits in the journal.
    """
    connection = connect(path, "mode=rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        harden(connection)
    except sqlite3.OperationalError as error:
        connection.close()
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        journal = path.with_name(path.name + "-wal")
        refused = code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        writable = os.access(path.parent, os.W_OK)
        if not refused or writable or (journal.exists() and journal.stat().st_size):
            raise
        connection = connect(path, "immutable=1")
        harden(connection)
        return connection
    except BaseException:
        connection.close()
        raise
    return connection


def harden(connection: sqlite3.Connection) -> None:
    """Refuse a schema that isn't ours, before anything in it is used.

    A view in the place of a table, a trigger or a column with a default could compute without end, or change
    what is stored.

    Raises
    ------
    DamagedIndexError
        If there is anything else, or something lacks.
    """
    # Declared fields are columns that SQLite's JSON functions compute, which an untrusted schema may not use;
    # until the schema is known to be ours, only its own table and that of the settings are read.
    connection.execute("PRAGMA trusted_schema = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version in schema.READABLE and not schema.has_our_objects(connection):
        raise DamagedIndexError(
            f"{schema.CATALOGUE}: its tables aren't those of an index; somebody changed it, or it is "
            "damaged: repair it (Retriever.repair, or lfm2-retrieve repair) or restore a backup"
        )


def limit(connection: sqlite3.Connection, path: Path) -> None:
    """Interrupt what takes more steps than reading all of the file: pages that lead back to themselves."""
    steps = _FEWEST_STEPS
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(OSError):
            steps += _STEPS_PER_BYTE * file.stat().st_size
    calls = iter(range(steps // _STEPS_AT_ONCE + 1))
    connection.set_progress_handler(lambda: next(calls, None) is None, _STEPS_AT_ONCE)


@contextmanager
def translated(path: Path, *, writing: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into ours, while a database is read or, with ``writing``, written to."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # names may be noise too
        raise of_sqlite(path, error, writing=writing) from error
    except MemoryError as error:  # which is what Python makes of SQLite's
        raise no_memory(path) from error


@contextmanager
def storing(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Turn what the disk and SQLite refuse into our errors, while something is written to an index.

    With ``new`` the index is about to be made, and so nobody has moved it.
    """
    try:
        with translated(folder / schema.CATALOGUE, writing=True):
            yield
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        if error.errno == errno.ENOENT and not new and not folder.exists():
            raise gone(folder) from error
        raise refused_to_write(folder, error) from error


def close_all(idle: list[sqlite3.Connection], pid: int) -> None:
    while idle:
        connection = idle.pop()
        if pid == os.getpid():
            connection.close()
        else:
            inherited.append(connection)


inherited: list[sqlite3.Connection] = []
"""Connections of a parent process, kept from being closed by the garbage collector."""
