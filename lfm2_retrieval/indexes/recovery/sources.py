"""Holding whole documents, and the passages that are spans of them, to what was written."""

from __future__ import annotations

import sqlite3

from ...errors import DamagedIndexError
from ..catalogue.sources import (
    SOURCE_COLUMNS,
    StoredDocument,
    decode_source,
    has_passages,
    passage_id,
    passages_of_source,
)
from ..stored_text import encode_text

__all__ = ["check_sources"]

_MOST_TIMES = 3
"""All passages of a document have so many times its text at most; they overlap by less than a half."""


def check_sources(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with documents and their passages: checksums, spans, and which belongs to which."""
    if not has_passages(connection):
        return []
    problems = _check_rows(connection)
    for values in connection.execute(f"SELECT {SOURCE_COLUMNS} FROM sources ORDER BY row"):
        try:
            document = decode_source(values)
            problems += _check_passages(connection, document)
        except DamagedIndexError as error:
            problems.append(str(error))
    return problems


def _check_rows(connection: sqlite3.Connection) -> list[str]:
    """Passages that have no row of documents, whose document is of another commit, and rows without one."""
    lone = connection.execute(
        "SELECT p.row FROM passages p LEFT JOIN documents d ON d.row = p.row "
        "LEFT JOIN sources s ON s.row = p.source "
        "WHERE d.row IS NULL OR s.row IS NULL OR d.born <> s.born OR d.died IS NOT s.died LIMIT 5"
    )
    problems = [f"index.db: the passage in row {row} doesn't fit its document" for (row,) in lone]
    setting = connection.execute("SELECT 1 FROM settings WHERE key = 'passages'").fetchone()
    (loose,) = connection.execute(
        "SELECT count(*) FROM documents WHERE died IS NULL AND row NOT IN (SELECT row FROM passages)"
    ).fetchone()
    if setting is not None and loose:
        problems.append(f"index.db: {loose} documents are no passages, as all are to be")
    return problems


def _check_passages(connection: sqlite3.Connection, document: StoredDocument) -> list[str]:
    text = document.text or ""
    size = len(encode_text(text))
    (total,) = connection.execute(
        "SELECT total(stop_byte - start_byte) FROM passages WHERE source = ?", (document.row,)
    ).fetchone()
    if total > _MOST_TIMES * size:  # before all of it is read
        return [f"index.db: the passages of {document.id!r:.80} are longer than it is"]
    ids = dict(
        connection.execute(
            "SELECT row, id FROM documents WHERE row IN (SELECT row FROM passages WHERE source = ?)",
            (document.row,),
        )
    )
    return [
        f"index.db: passage {passage.number} of {document.id!r:.80} isn't where its row says"
        for passage in passages_of_source(connection, document.row)
        if text[passage.start : passage.end] != passage.text
        or ids.get(passage.row) != encode_text(passage_id(document.id, passage.number))
    ]
