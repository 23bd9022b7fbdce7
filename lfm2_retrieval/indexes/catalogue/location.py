"""What lies in a folder: nothing yet, an index, or something else; and a catalogue made in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ...errors import (
    DamagedIndexError,
    IndexFormatError,
    IndexNotFoundError,
    remedy,
)
from ...platform.forks import busy
from ...platform.plain_files import is_regular
from ..access import REMEDY, access, is_damage, of_sqlite, refused
from . import schema
from .connections import (
    connect,
)
from .schema import APPLICATION_ID, CATALOGUE

__all__ = [
    "MANIFEST",
    "UNDER_CONSTRUCTION",
    "check_kind",
    "is_collection",
    "is_index",
    "is_vacant",
    "make_catalogue",
]

MANIFEST = "manifest.json"
"""The file that makes a folder a collection of several indexes, its shards."""

UNDER_CONSTRUCTION = "index.db.new"
"""The name of a catalogue before it is whole; a folder without another one is no index."""


def is_vacant(folder: Path) -> bool:
    """Whether an index may be made there: nothing yet, or only what a killed ``create`` left."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return not folder.is_symlink()
    except NotADirectoryError:
        return False
    except OSError as error:
        raise refused(folder, error) from error
    ours = all(name == "lock" or name.startswith(UNDER_CONSTRUCTION) for name in names)
    return ours and all(is_regular(folder / name) or not os.path.lexists(folder / name) for name in names)


def is_collection(path: Path) -> bool:
    """Whether a path is that of several indexes: their manifest, or a folder with one that is no index."""
    if path.name == MANIFEST:
        return is_regular(path)
    return is_regular(path / MANIFEST) and not os.path.lexists(path / CATALOGUE)


@busy
def is_index(folder: Path) -> bool:
    """Whether the folder has a catalogue of ours. No file is created, whatever lies there.

    What the system refuses to read is an error, and not taken for something else.

    SQLite reads it, and not we: closing a file drops all locks that the process has on it, those of its other
    connections included.
    """
    path = folder / CATALOGUE
    with access(folder):
        if not is_regular(path):
            return False
    for how in ("immutable=1", "mode=ro"):
        try:
            with closing(connect(path, how)) as connection:
                (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            return bool(application_id == APPLICATION_ID)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise of_sqlite(path, error, writing=False) from error
            # A writer killed while it moved its journal into the file leaves one that is whole only with it.
            journal = path.with_name(path.name + "-wal")
            if not is_regular(journal) or not journal.stat().st_size:
                break
    return False


def check_kind(folder: Path) -> None:
    """Tell apart: no index, something else, an index without its catalogue, one that others may not read."""
    if is_index(folder):
        return
    if is_vacant(folder):
        make = remedy("make one with Retriever.index()", "make one with lfm2-retrieve index")
        raise IndexNotFoundError(f"no index at {folder}: {make}, or check the path")
    if is_index(folder):  # now: another process has just made it
        return
    with access(folder):
        damaged = (folder / "segments").is_dir()
    if damaged:
        raise DamagedIndexError(f"{folder / CATALOGUE} is missing or damaged; {REMEDY}")
    if is_collection(folder):
        reads = remedy(
            "ShardedRetriever.open reads and changes it",
            "lfm2-retrieve search, get, list, add, delete, serve and mcp take it",
        )
        raise IndexFormatError(
            f"{folder} is a collection in shards: {reads}; each of its folders shard-NUMBER is an index"
        )
    raise IndexFormatError(f"{folder} is not an index of lfm2-retrieval")


@busy
def make_catalogue(path: Path, settings: Mapping[str, Any]) -> sqlite3.Connection:
    """Make a catalogue of an empty index at a path where nothing is; a connection to it."""
    connection = connect(path, "mode=rwc")
    try:
        schema.make_tables(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection
