"""What is in a catalogue: its tables, its settings, and how an older one becomes one of this format."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from typing import Any

from ...errors import DamagedIndexError, RetrievalError
from ...platform.forks import busy
from ...printable import quoted
from ..access import REMEDY
from ..analysis.versions import analysis_of
from ..filters.fields import check_fields, declare, declared_by_path
from .derived import derive
from .fts import make_words
from .rows import checksum, load_json
from .settings import LONGEST, faults

__all__ = [
    "APPLICATION_ID",
    "CATALOGUE",
    "FORMAT",
    "READABLE",
    "UPGRADES",
    "has_our_objects",
    "last_row",
    "last_source",
    "make_tables",
    "read_settings",
    "upgrade",
    "write_settings",
]

FORMAT = 2
"""The format that this version writes. It reads those that `UPGRADES` begins with, too, as they are."""
CATALOGUE = "index.db"
APPLICATION_ID = int.from_bytes(b"LFM2", "big")

_FIRST = """
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
"""The tables of format 1."""

_PASSAGES = """
CREATE TABLE sources (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL,
    born INTEGER NOT NULL REFERENCES commits,
    died INTEGER REFERENCES commits,
    crc32 INTEGER NOT NULL,
    id BLOB NOT NULL,
    facts TEXT NOT NULL,
    metadata TEXT NOT NULL,
    body_crc32 INTEGER NOT NULL,
    structure TEXT NOT NULL,
    text BLOB NOT NULL
);
CREATE INDEX source_keys ON sources (key);
CREATE UNIQUE INDEX live_sources ON sources (id) WHERE died IS NULL;
CREATE INDEX dead_sources ON sources (id) WHERE died IS NOT NULL;
CREATE INDEX source_deaths ON sources (died) WHERE died IS NOT NULL;
CREATE TABLE passages (
    row INTEGER PRIMARY KEY REFERENCES documents,
    source INTEGER NOT NULL REFERENCES sources,
    number INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    start_byte INTEGER NOT NULL,
    stop_byte INTEGER NOT NULL,
    text_crc32 INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX passages_of ON passages (source, start);
"""
"""What format 2 has beside those."""

UPGRADES: dict[int, str] = {1: _PASSAGES}
"""What brings a catalogue of a format to the next one: SQL, run in one transaction by the first to write to
it. Until then it is read as it is."""

_SCHEMAS = {1: _FIRST, 2: _FIRST + _PASSAGES}
READABLE = tuple(_SCHEMAS)
"""The formats that this version reads."""

_KEPT = ("uuid", "horizon")
"""Settings that stay when the content is replaced."""


def read_settings(connection: sqlite3.Connection, *names: str) -> dict[str, Any]:
    """All settings, or those of some names: key → JSON value; the index's own have values that can be.

    Raises
    ------
    DamagedIndexError
        If one is not JSON, or of those of the index itself one is missing, of another type or out of range.
    """
    among = f" WHERE key IN ({','.join('?' * len(names))})" if names else ""
    rows = connection.execute(
        f"SELECT key, CASE WHEN length(value) <= ? THEN value END, crc32 FROM settings{among}",
        (LONGEST, *names),
    ).fetchall()
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM commits").fetchone()
    try:
        settings = {key: load_json(value) for key, value, _ in rows}
        sound = all(checksum(key, value) == crc32 for key, value, crc32 in rows)
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise DamagedIndexError(f"{CATALOGUE}: the settings are damaged; {REMEDY}")
    wrong = [name for name in faults(settings) if not names or name in names]
    if not wrong and settings.get("horizon", 0) > newest:  # every search would wait for a newer commit
        wrong = ["horizon"]
    if wrong:
        value = quoted(settings.get(wrong[0]))
        raise DamagedIndexError(f"{CATALOGUE}: the setting {wrong[0]} can't be {value}; {REMEDY}")
    return settings


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


def last_source(connection: sqlite3.Connection) -> int:
    """The highest number that a row of ``sources`` has or had."""
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sources'").fetchone()
    return 0 if last is None else int(last[0])


def make_tables(connection: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
    """Make everything that an empty catalogue has."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.executescript(_SCHEMAS[FORMAT])
    derived = derive(connection, {}, settings)
    write_settings(connection, {"uuid": uuid.uuid4().hex, "horizon": 0, **settings, **derived})


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring an older catalogue to the newest format that there is a way to, a step at a time; for the holder
    of the writer lock, outside of a transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    while (step := UPGRADES.get(version)) is not None:
        version += 1
        connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT")


def has_our_objects(connection: sqlite3.Connection) -> bool:
    """Whether a catalogue has the tables, columns and indexes that its settings ask for, and nothing else."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (schema := _SCHEMAS.get(version)) is None:
        return False
    found = set(connection.execute(_OBJECTS))
    plain = _objects(schema, None)
    if not {row for row in plain if row[2] == "settings"} <= found:
        return False
    rows = dict(connection.execute("SELECT key, value FROM settings WHERE key IN ('lexical', 'fields')"))
    try:
        lexical, fields = json.loads(rows.get("lexical", "false")), json.loads(rows.get("fields", "[]"))
        analysis = analysis_of(connection).number if lexical else None
        names = tuple(check_fields(fields))
        [table] = [sql for kind, name, _, sql in found if (kind, name) == ("table", "documents")]
        return found == _objects(schema, analysis, names, declared_by_path(table or "", names))
    except (RetrievalError, RecursionError, TypeError, ValueError):
        return False


_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master"


@cache
@busy
def _objects(
    schema: str,
    analysis: int | None,
    fields: tuple[str, ...] = (),
    by_path: frozenset[str] = frozenset(),
) -> frozenset[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        declare(connection, [], fields, by_path)
        if analysis is not None:
            make_words(connection, analysis)
        return frozenset(connection.execute(_OBJECTS))
