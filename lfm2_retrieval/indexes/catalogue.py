"""The catalogue: one SQLite file that says what the index holds. What it doesn't name doesn't exist."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import (
    DamagedIndexError,
    IndexClosedError,
    IndexFormatError,
    IndexNotFoundError,
    IndexWriteError,
    NewerFormatError,
    RetrievalError,
    StoredIndexError,
)
from .arrays import fsync_folder
from .derived import derive
from .fields import check_fields
from .lock import WriterLock
from .noted import note_newest, noted_newest
from .rows import COLUMNS, Entry, bury, checksum, decode_row, load_json

if TYPE_CHECKING:
    from .filters import Condition

__all__ = [
    "ALIVE",
    "CATALOGUE",
    "FORMAT",
    "IDS_PER_QUERY",
    "UNDER_CONSTRUCTION",
    "Catalogue",
    "SweptError",
    "connect",
    "has_our_objects",
    "is_index",
    "is_vacant",
    "last_row",
    "make_catalogue",
    "read_settings",
    "storing",
    "translated",
    "write_settings",
]

FORMAT = 1
"""The format that this version writes."""
CATALOGUE = "index.db"

_APPLICATION_ID = int.from_bytes(b"LFM2", "big")
UNDER_CONSTRUCTION = "index.db.new"
"""The name of a catalogue before it is whole; a folder without another one is no index."""
_BUSY_SECONDS = 30.0
_PAGE = 512
_STEPS_PER_BYTE, _FEWEST_STEPS = 10, 500_000
"""Of SQLite's machine: more than opening or verifying takes of a file of that size."""
IDS_PER_QUERY = 500  # SQLite's oldest limit on bound parameters is 999

_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc32 INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE commits (id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE codecs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    facts TEXT NOT NULL,
    files TEXT NOT NULL,
    born INTEGER NOT NULL REFERENCES commits,
    died INTEGER REFERENCES commits,
    crc32 INTEGER NOT NULL
);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    codec TEXT NOT NULL,
    codec_id INTEGER REFERENCES codecs,
    n_documents INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    files TEXT NOT NULL,
    born INTEGER NOT NULL REFERENCES commits,
    died INTEGER REFERENCES commits,
    crc32 INTEGER NOT NULL
);
CREATE TABLE tombstones (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    segment INTEGER NOT NULL REFERENCES segments,
    born INTEGER NOT NULL REFERENCES commits,
    positions BLOB NOT NULL,
    crc32 INTEGER NOT NULL
);
CREATE INDEX graves ON tombstones (segment);
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    born INTEGER NOT NULL REFERENCES commits,
    died INTEGER REFERENCES commits,
    crc32 INTEGER NOT NULL,
    id BLOB NOT NULL,
    metadata TEXT NOT NULL,
    text BLOB
);
CREATE INDEX keys ON documents (key);
CREATE UNIQUE INDEX live_ids ON documents (id) WHERE died IS NULL;
CREATE INDEX dead_ids ON documents (id) WHERE died IS NOT NULL;
CREATE INDEX deaths ON documents (died) WHERE died IS NOT NULL;
"""

_KEPT = ("uuid", "horizon")
"""Settings that stay when the content is replaced."""

ALIVE = "born <= ? AND (died IS NULL OR died > ?)"
"""The rows of `documents` that are alive at a commit, whose number is bound twice."""

_UPGRADES: dict[int, str] = {}
"""What brings a catalogue of a format to the next one: SQL, run in one transaction by the first to open it
where it can be written."""


def is_vacant(folder: Path) -> bool:
    """Whether an index may be made there: nothing yet, or only what a killed ``create`` left."""
    if not folder.is_dir():
        return not os.path.lexists(folder)
    return all(path.name == "lock" or path.name.startswith(UNDER_CONSTRUCTION) for path in folder.iterdir())


def is_index(folder: Path) -> bool:
    """Whether the folder has a catalogue of ours. No file is created, whatever lies there.

    SQLite reads it, and not we: closing a file drops all locks that the process has on it, those of its other
    connections included.
    """
    path = folder / CATALOGUE
    if path.is_symlink() or not path.is_file():
        return False
    for how in ("immutable=1", "mode=ro"):
        try:
            with closing(connect(path, how)) as connection:
                (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            return bool(application_id == _APPLICATION_ID)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            # A writer killed while it moved its journal into the file leaves one that is whole only with it.
            journal = path.with_name(path.name + "-wal")
            if not journal.is_file() or not journal.stat().st_size:
                break
    return False


def read_settings(connection: sqlite3.Connection) -> dict[str, Any]:
    """All settings: key → JSON value.

    Raises
    ------
    DamagedIndexError
        If one is not JSON.
    """
    rows = connection.execute("SELECT key, value, crc32 FROM settings").fetchall()
    try:
        settings = {key: load_json(value) for key, value, _ in rows}
        if all(checksum(key, value) == crc32 for key, value, crc32 in rows) and set(_KEPT) <= set(settings):
            return settings
    except (TypeError, ValueError):
        pass
    raise DamagedIndexError(f"{CATALOGUE}: the settings are damaged; restore it from a backup")


def write_settings(
    connection: sqlite3.Connection, settings: Mapping[str, Any], *, replace: bool = False
) -> None:
    """Change these settings, or, with ``replace``, put them in the place of all but the index's identity."""
    if replace:
        marks = ",".join("?" * len(_KEPT))
        connection.execute(f"DELETE FROM settings WHERE key NOT IN ({marks})", _KEPT)
    values = [(key, json.dumps(value)) for key, value in settings.items()]
    connection.executemany(
        "INSERT OR REPLACE INTO settings VALUES (?, ?, ?)",
        [(key, value, checksum(key, value)) for key, value in values],
    )


def last_row(connection: sqlite3.Connection) -> int:
    """The highest number that a row of ``documents`` has or had."""
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
    return 0 if last is None else int(last[0])


class SweptError(Exception):
    """What a snapshot held was swept: nothing could pin it."""


class Catalogue:
    """Connections to the ``index.db`` of an index. Any thread may use it; closing it closes them all.

    Connections are lent one to a thread at a time and reused, so threads that come and go leave none behind.

    Parameters
    ----------
    folder
        The folder of the index.

    Raises
    ------
    IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
        If there is no index, or none that can be read. Nothing is created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self._closed = False
        _check_place(folder)
        try:
            if self._format() in _UPGRADES:
                _upgrade(folder)
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
        with translated(path):
            make_catalogue(path, settings).close()
        path.rename(folder / CATALOGUE)
        fsync_folder(folder)
        fsync_folder(folder.parent)

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: everything read through it is of one commit.

        With ``limited``, what takes more work than reading the whole file is interrupted.
        """
        with translated(self.folder / CATALOGUE):
            connection = self._lend()
            if not limited:
                connection.set_progress_handler(None, 0)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                self._take_back(connection)

    @contextmanager
    def reading_at(self, commit: int) -> Iterator[sqlite3.Connection]:
        """As `reading`, to read what was alive at some commit.

        Raises
        ------
        SweptError
            If some of that was swept.
        """
        with self.reading() as connection:
            if int(read_settings(connection)["horizon"]) > commit:
                raise SweptError
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that may write; for the holder of the writer lock.

        What isn't committed at the end is rolled back.
        """
        path = self.folder / CATALOGUE
        with translated(path), closing(connect(path, "mode=rw")) as connection:
            _harden(connection)
            self._check_identity(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            connection.create_function("bury", 2, bury, deterministic=True)
            try:
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM commits").fetchone()
                    note_newest(self.folder, self._identity, newest)

    @property
    def noted(self) -> int:
        """A commit that there was; the newest can't be older."""
        return noted_newest(self.folder, self._identity)

    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for connection in idle:
                connection.close()

    def fetch(self, commit: int, column: Literal["id", "key"], values: Sequence[Any]) -> dict[Any, Entry]:
        """Documents alive at a commit, by id (bytes) or by key; those that aren't there are left out."""
        found: dict[Any, Entry] = {}
        for values_found in self._select(commit, column, values, COLUMNS):
            entry = decode_row(values_found)
            found[values_found[1 if column == "key" else 6]] = entry
        return found

    def keys(self, commit: int, ids: Sequence[bytes]) -> dict[bytes, int]:
        """The keys of documents alive at a commit, by id; those that aren't there are left out."""
        return dict(self._select(commit, "id", ids, "id, key"))

    def living(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of some ids that the newest commit has."""
        found: set[bytes] = set()
        with self.reading() as connection:
            for start in range(0, len(ids), IDS_PER_QUERY):
                some = ids[start : start + IDS_PER_QUERY]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id FROM documents WHERE died IS NULL AND id IN ({marks})", some
                )
                found.update(id for (id,) in rows)
        return found

    def pages(self, commit: int, columns: str, condition: Condition | None = None) -> Iterator[list[Any]]:
        """All documents alive at a commit, in order of insertion, some at a time; no read lasts longer."""
        test, bound = ("1", ()) if condition is None else (condition.sql, condition.parameters)
        last = 0
        while True:
            with self.reading_at(commit) as connection:
                rows = connection.execute(
                    f"SELECT key, {columns} FROM documents WHERE key > ? AND {ALIVE} AND {test} "
                    f"ORDER BY key LIMIT {_PAGE}",
                    (last, commit, commit, *bound),
                ).fetchall()
            if rows:
                last = rows[-1][0]
                yield [row[1:] for row in rows]
            if len(rows) < _PAGE:
                return

    def _select(self, commit: int, column: str, values: Sequence[Any], columns: str) -> list[Any]:
        found: list[Any] = []
        with self.reading_at(commit) as connection:
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
        if version > FORMAT:
            raise NewerFormatError(
                f"{self.folder} was made by a newer version of lfm2-retrieval (format {version}, this one "
                f"reads up to {FORMAT}): upgrade with pip install -U lfm2-retrieval"
            )
        if version < FORMAT:
            raise IndexFormatError(
                f"{self.folder} has the format {version}, from before the first release, which this version "
                "doesn't read: index the documents anew"
            )

    @staticmethod
    def _identify(connection: sqlite3.Connection) -> str:
        return str(read_settings(connection).get("uuid"))

    def _lend(self) -> sqlite3.Connection:
        with self._guard:
            if self._closed:
                raise IndexClosedError(f"the index {self.folder} is closed; open it again")
            if self._pid != os.getpid():
                # SQLite's connections don't survive a fork: leave the parent's alone, unclosed.
                _inherited.extend(self._idle)
                self._idle, self._pid = [], os.getpid()
            connection = self._idle.pop() if self._idle else None
        path = self.folder / CATALOGUE
        if connection is not None:
            _limit(connection, path)
            return connection
        connection = _connect_to_read(path)
        _limit(connection, path)
        if hasattr(self, "_identity"):
            try:
                self._check_identity(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _check_identity(self, connection: sqlite3.Connection) -> None:
        if self._identify(connection) != self._identity:
            raise IndexClosedError(f"the index {self.folder} was replaced by another; open it again")

    def _take_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_TOOBIG,
)
_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process, kept from being closed by the garbage collector."""


def _check_place(folder: Path) -> None:
    """Tell apart: no index, something else, an index without its catalogue, one that others may not read."""
    try:
        _check_kind(folder)
    except PermissionError as error:
        raise StoredIndexError(f"{folder} can't be read: {error.strerror}; see to its permissions") from error


def _check_kind(folder: Path) -> None:
    if is_index(folder):
        return
    if is_vacant(folder):
        raise IndexNotFoundError(f"no index at {folder}: make one with create(), or check the path")
    if (folder / "segments").is_dir():
        raise DamagedIndexError(
            f"{folder / CATALOGUE} is missing or damaged; restore it from a backup or build the index again"
        )
    raise IndexFormatError(f"{folder} is not an index of lfm2-retrieval")


def _upgrade(folder: Path) -> None:
    """Bring an older catalogue to the newest format that there is a way to, a step at a time."""
    path = folder / CATALOGUE
    with (
        WriterLock(folder / "lock", _BUSY_SECONDS),
        translated(path),
        closing(connect(path, "mode=rw")) as connection,
    ):
        connection.execute("PRAGMA synchronous = FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        while (step := _UPGRADES.get(version)) is not None:
            version += 1
            connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT")


def make_catalogue(path: Path, settings: Mapping[str, Any]) -> sqlite3.Connection:
    """Make a catalogue of an empty index at a path where nothing is; a connection to it."""
    connection = connect(path, "mode=rwc")
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.executescript(_SCHEMA)
        derived = derive(connection, {}, settings)
        write_settings(connection, {"uuid": uuid.uuid4().hex, "horizon": 0, **settings, **derived})
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, how: str) -> sqlite3.Connection:
    """A connection to a SQLite file, in a mode of its URIs: ``mode=rw``, ``immutable=1`` …"""
    return sqlite3.connect(
        f"{path.as_uri()}?{how}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # the pool lends a connection to one thread at a time
    )


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Connect for reading, also where nothing can be written.

    Reading a database in WAL mode makes a small file beside it. Where the folder can't be written, SQLite
    reads it as immutable instead, which is right as long as no commit waits in the journal.
    """
    connection = connect(path, "mode=rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        _harden(connection)
    except sqlite3.OperationalError as error:
        connection.close()
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        journal = path.with_name(path.name + "-wal")
        refused = code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        writable = os.access(path.parent, os.W_OK)
        if not refused or writable or (journal.exists() and journal.stat().st_size):
            raise
        connection = connect(path, "immutable=1")
        _harden(connection)
        return connection
    except BaseException:
        connection.close()
        raise
    return connection


def _harden(connection: sqlite3.Connection) -> None:
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
    if version == FORMAT and not has_our_objects(connection):
        raise DamagedIndexError(
            f"{CATALOGUE}: its tables aren't those of an index; somebody changed it, or it is damaged: "
            "repair it (lfm2-retrieve repair) or restore a backup"
        )


def has_our_objects(connection: sqlite3.Connection) -> bool:
    """Whether a catalogue has the tables, columns and indexes that its settings ask for, and nothing else."""
    found = set(connection.execute(_OBJECTS))
    plain = _objects(_SCHEMA, lexical=False, fields=())
    if not {row for row in plain if row[2] == "settings"} <= found:
        return False
    rows = dict(connection.execute("SELECT key, value FROM settings WHERE key IN ('lexical', 'fields')"))
    try:
        lexical, fields = json.loads(rows.get("lexical", "false")), json.loads(rows.get("fields", "[]"))
        return found == _objects(_SCHEMA, lexical=bool(lexical), fields=tuple(check_fields(fields)))
    except (RetrievalError, RecursionError, TypeError, ValueError):
        return False


_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master"


@cache
def _objects(
    schema: str, *, lexical: bool, fields: tuple[str, ...]
) -> frozenset[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        derive(connection, {}, {"lexical": lexical, "fields": fields})
        return frozenset(connection.execute(_OBJECTS))


def _limit(connection: sqlite3.Connection, path: Path) -> None:
    """Interrupt what takes more steps than reading all of the file: pages that lead back to themselves."""
    steps = _FEWEST_STEPS
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(OSError):
            steps += _STEPS_PER_BYTE * file.stat().st_size
    calls = iter(range(steps // _STEPS_AT_ONCE + 1))
    connection.set_progress_handler(lambda: next(calls, None) is None, _STEPS_AT_ONCE)


_STEPS_AT_ONCE = 100_000


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # names may be noise too
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DAMAGE:
            raise DamagedIndexError(
                f"{path} is damaged ({error}); restore it from a backup or build the index again"
            ) from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise IndexWriteError(
                f"{path}: {error}; the last commit is intact: make room, or see to the disk, and repeat"
            ) from error
        raise StoredIndexError(f"{path}: {error}; the last commit is intact") from error


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Turn what the disk and SQLite refuse into our errors, while something is written to an index."""
    try:
        with translated(folder / CATALOGUE):
            yield
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        raise IndexWriteError(
            f"{folder} can't be written: {error}; the last commit is intact: make room, or see to the disk, "
            "and repeat"
        ) from error
