"""Holding every byte of an index to its checksum."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DamagedIndexError, IndexAccessError
from ..access import REMEDY
from ..catalogue.fts import check_words
from ..catalogue.rows import COLUMNS, decode_row, row_checksum
from .sources import check_sources

if TYPE_CHECKING:
    import sqlite3

    from ..catalogue.catalogue import Catalogue
    from ..commits.snapshot import Snapshot

__all__ = ["verify"]


def verify(catalogue: Catalogue, snapshot: Snapshot) -> None:
    """Read everything.

    Raises
    ------
    DamagedIndexError
        Naming everything that is damaged.
    IndexAccessError
        If nothing was found to be damaged, but something can't be read just now.
    """
    folders = (*(part.segment for part in snapshot.parts), *(codec.folder for codec in snapshot.codecs))
    checks: list[Callable[[], list[str]]] = [folder.problems for folder in folders]
    checks.append(lambda: _check_catalogue(catalogue, snapshot))
    problems: list[str] = []
    refusal: IndexAccessError | None = None
    with catalogue.in_place():
        for check in checks:
            try:
                problems += check()
            except IndexAccessError as error:
                refusal = error
    if problems and snapshot.pin is None:
        catalogue.check_unswept(snapshot.commit)
    if problems:
        raise DamagedIndexError(f"{catalogue.folder} is damaged: {'; '.join(problems)}; {REMEDY}")
    if refusal is not None:
        raise refusal


def _check_catalogue(catalogue: Catalogue, snapshot: Snapshot) -> list[str]:
    with catalogue.reading(limited=True) as connection:
        problems = [
            f"index.db: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"
        ]
        problems += [f"index.db: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        problems += _check_tables(connection)
        problems += _check_sequences(connection)
        problems += _check_documents(connection, snapshot)
        problems += check_sources(connection)
        if snapshot.settings.get("lexical"):
            problems += check_words(connection)
    return problems


_TABLES = {
    "settings": "NULL, key, value",
    "commits": "NULL, id, time",
    "codecs": "died, id, name, facts, files, born",
    "segments": "died, id, name, codec, codec_id, n_documents, n_tokens, files, born",
    "tombstones": "NULL, segment, born, positions",
}
"""The columns behind each row's checksum; the first is the commit in which the row died."""


def _check_tables(connection: sqlite3.Connection) -> list[str]:
    problems = []
    for table, columns in _TABLES.items():
        for crc32, died, *values in connection.execute(f"SELECT crc32, {columns} FROM {table}"):
            try:
                sound = row_checksum(died, *values) == crc32
            except TypeError:
                sound = False
            if not sound:
                problems.append(f"index.db: a row of {table} doesn't match its checksum: {values[0]!r}")
    return problems


def _check_sequences(connection: sqlite3.Connection) -> list[str]:
    """The last numbers given: SQLite goes on from the larger of them and the highest in the table."""
    rows = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
    return [
        f"index.db: the last number of {name!r} can't be {number!r}"
        for name, number in rows
        if name not in _NUMBERED or not isinstance(number, int) or not 0 <= number < _MOST_NUMBERS
    ]


_NUMBERED = ("codecs", "commits", "documents", "segments", "sources", "tombstones")
_MOST_NUMBERS = 1 << 62


def _check_documents(connection: sqlite3.Connection, snapshot: Snapshot) -> list[str]:
    """All rows against their checksums, and the living against their places."""
    problems = []
    alive = []
    for values in connection.execute(f"SELECT {COLUMNS} FROM documents"):
        try:
            entry = decode_row(values)
        except DamagedIndexError as error:
            problems.append(str(error))
            continue
        _, key, _, born, died = values[:5]
        if born <= snapshot.commit and (died is None or died > snapshot.commit):
            alive.append((key, entry.n_tokens))
    placed = [
        pair
        for part in snapshot.parts
        for pair in zip(part.keys.tolist(), np.diff(part.segment.offsets).tolist(), strict=True)
        if pair[0]
    ]
    n_unplaced = len(set(alive) - set(placed)) + len(placed) - len(set(placed))
    if n_unplaced:
        problems.append(f"index.db: {n_unplaced} documents have other places or lengths than in the segments")
    if n_unnamed := len(set(placed) - set(alive)) + len(alive) - len(set(alive)):
        problems.append(f"index.db: the segments have {n_unnamed} documents that it doesn't name")
    return problems
