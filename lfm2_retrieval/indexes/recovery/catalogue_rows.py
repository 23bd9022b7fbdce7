"""What is left of a catalogue: every row that matches its checksum. Nothing is written to the original."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError, NewerFormatError
from ...platform.forks import busy
from ...platform.plain_files import is_regular
from ..access import is_damage, of_sqlite
from ..catalogue.rows import checksum, load_json, row_checksum
from ..catalogue.schema import CATALOGUE, FORMAT, READABLE, has_our_objects
from ..stored_text import decode_text
from .passages import settle_passages
from .sqlite_pages import Pages

__all__ = ["TABLES", "CatalogueRows", "is_sound", "read_rows"]

TABLES = {
    "settings": (("key", "value"), "NULL, key, value"),
    "commits": (("id", "time"), "NULL, id, time"),
    "codecs": (("id", "name", "facts", "files", "born", "died"), "died, id, name, facts, files, born"),
    "segments": (
        ("id", "name", "codec", "codec_id", "n_documents", "n_tokens", "files", "born", "died"),
        "died, id, name, codec, codec_id, n_documents, n_tokens, files, born",
    ),
    "tombstones": (("id", "segment", "born", "positions"), "NULL, segment, born, positions"),
    "documents": (
        ("row", "key", "n_tokens", "born", "died", "crc32", "id", "metadata", "text"),
        "died, row, key, n_tokens, born, id, text, metadata",
    ),
    "sources": (
        ("row", "key", "born", "died", "crc32", "id", "facts", "metadata", "body_crc32", "structure", "text"),
        "died, row, key, born, id, facts, metadata, body_crc32",
    ),
    "passages": (
        (
            *("row", "source", "number", "start", "stop", "start_byte", "stop_byte", "text_crc32"),
            *("crc32", "facts"),
        ),
        "NULL, row, source, number, start, stop, start_byte, stop_byte, text_crc32, facts",
    ),
}
"""Of each table: its columns as they are stored, ``crc32`` last where it isn't named; and those behind the
checksum, of which the first is the commit in which the row died."""

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("id", "born", "n_documents", "n_tokens", "segment", "row", "key"), int),
    **dict.fromkeys(("died", "codec_id"), (int, NoneType)),
    **dict.fromkeys(("name", "facts", "files", "time", "codec", "metadata"), str),
    **dict.fromkeys(("source", "number", "start", "stop", "start_byte", "stop_byte"), int),
    **dict.fromkeys(("text_crc32", "body_crc32"), int),
    "structure": str,
    "positions": bytes,
}
_KINDS_OF: dict[str, dict[str, Any]] = {
    "documents": {"id": bytes, "text": (bytes, NoneType)},
    "sources": {"id": bytes, "text": bytes},
}
"""What is in each column."""
_NO_FORMAT = 1000
"""A higher number of a format is no newer one, but damage."""
_STORE = """
CREATE TABLE documents (row INTEGER PRIMARY KEY, key, n_tokens, id, text, metadata);
CREATE TABLE named (row INTEGER, id);
CREATE TABLE sources (row INTEGER PRIMARY KEY, key, id, facts, metadata, structure, text);
CREATE TABLE passages (row INTEGER PRIMARY KEY, source, number, start, stop, start_byte, stop_byte,
    text_crc32, facts);
"""


def is_sound(table: str, row: Mapping[str, Any]) -> bool:
    """Whether a row matches its checksum."""
    names = TABLES[table][1].split(", ")
    kinds = _KINDS | _KINDS_OF.get(table, {})
    if table == "settings":
        kinds = {}
    if not all(isinstance(value, kinds.get(name, object)) for name, value in row.items()):
        return False  # SQLite keeps whatever it is given
    try:
        if table == "sources" and checksum(row["structure"], row["text"]) != row["body_crc32"]:
            return False
        return bool(row_checksum(*(row.get(name) for name in names)) == row["crc32"])
    except (TypeError, UnicodeEncodeError):
        return False


@dataclass
class CatalogueRows:
    """The living rows of a damaged catalogue.

    Attributes
    ----------
    settings
        JSON values.
    codecs, segments
        By number.
    tombstones
        Dead positions by segment.
    documents
        A database with the table ``documents`` (``row``, ``key``, ``n_tokens``, ``id``, ``text``,
        ``metadata``), one row a key; and of an index of passages with ``sources`` and ``passages``.
    lost
        Ids of which the documents are gone.
    last_row, last_source, last_commit
        The highest numbers seen.
    problems
        What is damaged.
    """

    documents: sqlite3.Connection
    settings: dict[str, Any] = field(default_factory=dict)
    codecs: dict[int, dict[str, Any]] = field(default_factory=dict)
    segments: dict[int, dict[str, Any]] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    tombstones: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    last_row: int = 0
    last_source: int = 0
    last_commit: int = 0
    problems: list[str] = field(default_factory=list)
    _dead_sources: list[tuple[int, bytes]] = field(default_factory=list)
    _dead: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in TABLES})

    def take(self, table: str, row: dict[str, Any]) -> None:
        """Count a row that is sound. What died in one version of a row is dead, whatever another one says."""
        if table == "settings":
            with suppress(TypeError, ValueError):
                self.settings[row["key"]] = load_json(row["value"])
        elif table == "commits":
            self.last_commit = max(self.last_commit, row["id"])
        elif table == "tombstones":
            marked = np.frombuffer(row["positions"], "<u4").astype(np.int64)
            before = self.tombstones.get(row["segment"], marked)
            self.tombstones[row["segment"]] = np.union1d(before, marked)
        elif table == "documents":
            self.last_row = max(self.last_row, row["row"])
            if row["died"] is None:
                values = [row[name] for name in ("row", "key", "n_tokens", "id", "text", "metadata")]
                self.documents.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", values)
            else:
                self._dead[table].add(row["row"])
        elif table == "passages":
            self.documents.execute(
                "INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [row[name] for name in TABLES[table][0] if name != "crc32"],
            )
        elif table == "sources":
            self._take_source(row)
        elif row["died"] is None:
            getattr(self, table)[row["id"]] = row
        else:
            self._dead[table].add(row["id"])
            if table == "segments":
                self.retired.add(row["name"])

    def _take_source(self, row: dict[str, Any]) -> None:
        self.last_source = max(self.last_source, row["row"])
        if row["died"] is not None:
            self._dead_sources.append((row["row"], row["id"]))
            return
        values = [row[name] for name in ("row", "key", "id", "facts", "metadata", "structure", "text")]
        self.documents.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def settle(self) -> None:
        """Once all rows are counted: leave out the dead, and older versions; find out what is lost."""
        for table in ("codecs", "segments"):
            for id in self._dead[table]:
                getattr(self, table).pop(id, None)
        dead = [(row,) for row in self._dead["documents"]]
        for table in ("documents", "named"):
            self.documents.executemany(f"DELETE FROM {table} WHERE row = ?", dead)
        for column in ("key", "id"):
            self.documents.execute(
                f"DELETE FROM documents WHERE row NOT IN (SELECT max(row) FROM documents GROUP BY {column})"
            )
        settle_passages(self.documents, self._dead_sources, self.settings)
        lost = self.documents.execute(
            "SELECT DISTINCT id FROM named WHERE row NOT IN (SELECT row FROM documents) "
            "AND id NOT IN (SELECT id FROM documents) AND id NOT IN (SELECT id FROM sources) ORDER BY row"
        )
        for (id,) in lost:
            with suppress(DamagedIndexError):
                self.lost.append(decode_text(id))


@busy
def read_rows(folder: Path, scratch: Path) -> CatalogueRows:
    """Read the catalogue of an index that nobody writes to.

    Where its structure is whole, SQLite reads it, else we do, page by page.

    Parameters
    ----------
    folder
        That of the index.
    scratch
        An empty folder, for copies of what is read.
    """
    found = CatalogueRows(sqlite3.connect(scratch / "documents.db", isolation_level=None))
    found.documents.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_STORE} BEGIN")
    path = folder / CATALOGUE
    if not is_regular(path):
        found.problems.append(f"{path} is missing, or no file")
        return found
    pages = Pages(path)
    found.problems += [f"{CATALOGUE}: {problem}" for problem in pages.problems]
    pages.save(scratch / CATALOGUE)
    whole, problem = _structure(scratch / CATALOGUE)
    if not whole:
        found.problems.append(f"{CATALOGUE}: {problem}")
    rows = _by_sqlite(scratch / CATALOGUE) if whole else _by_page(pages)
    for table, row in rows:
        if table == "named":
            found.documents.execute("INSERT INTO named VALUES (?, ?)", (row["row"], row["id"]))
        elif is_sound(table, row):
            found.take(table, row)
        elif whole:
            name = row.get("key" if table == "settings" else "id")
            found.problems.append(f"{CATALOGUE}: a row of {table} doesn't match its checksum: {name!r}")
    found.settle()
    return found


def _structure(path: Path) -> tuple[bool, str]:
    """Whether SQLite finds nothing wrong with a database, and all our tables there; what it says."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = ON")  # see Catalogue
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if FORMAT < version < _NO_FORMAT:
                raise NewerFormatError(
                    f"the index was made by a newer version of lfm2-retrieval (format {version}): upgrade "
                    "with pip install -U lfm2-retrieval, and repair it with that"
                )
            if version not in READABLE or not has_our_objects(connection):
                return False, "its tables aren't those of an index"
            problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            return problem == "ok", problem
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise of_sqlite(path, error, writing=False) from error
        return False, str(error)
    except TypeError as error:
        return False, str(error)


Rows = Iterator[tuple[str, dict[str, Any]]]


def _by_sqlite(path: Path) -> Rows:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.text_factory = _text
        connection.row_factory = sqlite3.Row
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        for table, (columns, _) in TABLES.items():
            if table not in found:  # a catalogue of format 1
                continue
            for row in connection.execute(f"SELECT {', '.join(columns)}, crc32 FROM {table}"):
                yield table, dict(row)
        for row in connection.execute("SELECT row, id FROM documents WHERE died IS NULL"):
            yield "named", dict(row)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data  # then no checksum will match


def _by_page(pages: Pages) -> Rows:
    """Rows of tables are known by their number of columns, and by their checksums."""
    for cell in pages.cells():
        if cell.row is None and len(cell.values) == 2 and isinstance(cell.values[0], bytes):
            yield "named", {"id": cell.values[0], "row": cell.values[1]}  # of an index of ids
        for table, (names, _) in TABLES.items():
            columns = names if "crc32" in names else (*names, "crc32")
            if len(cell.values) == len(columns) and (cell.row is None) == (table == "settings"):
                row = dict(zip(columns, cell.values, strict=True))
                if cell.row is not None:
                    row[columns[0]] = cell.row
                if is_sound(table, row):
                    yield table, row
