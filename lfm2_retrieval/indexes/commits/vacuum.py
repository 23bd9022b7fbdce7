"""Forgetting what earlier commits retired, once no reader needs it, and sweeping what no commit names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ...errors import DamagedIndexError
from ..catalogue.fts import forget_words, tidy_words
from ..catalogue.schema import read_settings, write_settings
from ..catalogue.sources import has_passages
from ..segments.files import fsync_folder, sweep
from ..spool import sweep_spool
from .pins import oldest_pin
from .snapshot import newest_commit

__all__ = ["delete_rows", "delete_sources", "vacuum"]


def vacuum(
    connection: sqlite3.Connection,
    folder: Path,
    most: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Delete dead rows and segments that no pinned commit holds; for the holder of the writer lock.

    Parameters
    ----------
    connection
        One that may write, outside of a transaction.
    folder
        That of the index.
    most
        How many documents' rows to delete at most; None for all, and to give their space back to the disk.
    check
        Raises if another index lies in that place by now, of which nothing may be deleted.
    """
    pinned = oldest_pin(folder)
    newest = newest_commit(connection)
    horizon = newest if pinned is None else min(pinned, newest)
    rows = connection.execute(
        "SELECT row FROM documents WHERE died IS NOT NULL AND died <= ? LIMIT ?",
        (horizon, -1 if most is None else most),
    ).fetchall()
    segments = connection.execute("SELECT id FROM segments WHERE died <= ?", (horizon,)).fetchall()
    sources = dead_sources(connection, horizon)
    if rows or segments or sources:
        connection.execute("BEGIN IMMEDIATE")
        delete_rows(connection, rows)
        delete_sources(connection, sources)
        connection.executemany("DELETE FROM tombstones WHERE segment = ?", segments)
        connection.executemany("DELETE FROM segments WHERE id = ?", segments)
        connection.execute("DELETE FROM codecs WHERE died <= ?", (horizon,))
        if horizon > read_settings(connection)["horizon"]:
            write_settings(connection, {"horizon": horizon})
        connection.execute("COMMIT")
    if most is None:
        connection.execute("BEGIN IMMEDIATE")
        tidy_words(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA incremental_vacuum").fetchall()
        sweep_spool(folder)
    _sweep_files(connection, folder, check)


def delete_rows(connection: sqlite3.Connection, rows: list[tuple[int]]) -> None:
    """Delete rows of documents, whose numbers are given, and all that was derived from them."""
    if rows and has_passages(connection):
        connection.executemany("DELETE FROM passages WHERE row = ?", rows)
    connection.executemany("DELETE FROM documents WHERE row = ?", rows)
    forget_words(connection, rows)


def dead_sources(connection: sqlite3.Connection, horizon: int) -> list[tuple[int]]:
    """The rows of whole documents that died up to a commit."""
    if not has_passages(connection):
        return []
    return connection.execute(
        "SELECT row FROM sources WHERE died IS NOT NULL AND died <= ?", (horizon,)
    ).fetchall()


def delete_sources(connection: sqlite3.Connection, rows: list[tuple[int]]) -> None:
    """Delete rows of whole documents, but those of which there still are passages."""
    if not rows:  # a catalogue of format 1 has no such table
        return
    connection.executemany(
        "DELETE FROM sources WHERE row = ?1 AND NOT EXISTS (SELECT 1 FROM passages WHERE source = ?1)", rows
    )


def _sweep_files(connection: sqlite3.Connection, folder: Path, check: Callable[[], None]) -> None:
    for table in ("segments", "codecs"):
        names = [name for (name,) in connection.execute(f"SELECT name FROM {table}")]
        home = folder / table
        if home.is_symlink():
            raise DamagedIndexError(f"{home} is a link; put the folder itself there")
        if not home.is_dir():
            home.mkdir()
            fsync_folder(home.parent)
        sweep(home, names, check)
