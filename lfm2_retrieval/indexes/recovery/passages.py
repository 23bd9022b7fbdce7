"""Passages of a damaged index: those whose documents are left, with the text that they were encoded from."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...errors import DamagedIndexError
from ...hits import encode_front
from ..catalogue.rows import checksum, load_json
from ..catalogue.sources import MOST_BYTES, PASSAGE_COLUMNS, SOURCE_COLUMNS, described
from ..stored_text import decode_text

__all__ = ["encoded_texts", "insert_sources", "settle_passages"]

_SPANS = """SELECT p.row, p.facts, p.text_crc32, p.stop - p.start,
    substr(s.text, p.start_byte + 1, min(p.stop_byte - p.start_byte, ?))
    FROM passages p JOIN sources s ON s.row = p.source"""


def settle_passages(
    rows: sqlite3.Connection, dead: Sequence[tuple[int, bytes]], settings: Mapping[str, Any]
) -> None:
    """Leave out older versions of documents, passages that have none or don't fit it, and their rows.

    Parameters
    ----------
    rows
        The tables ``documents``, ``named``, ``sources`` and ``passages`` of what was found.
    dead
        Row and id of documents that died.
    settings
        Of the index.
    """
    rows.executemany("DELETE FROM named WHERE row = ? AND id = ?", dead)
    rows.executemany("DELETE FROM sources WHERE row = ?", [(row,) for row, _ in dead])
    rows.execute("DELETE FROM sources WHERE row NOT IN (SELECT max(row) FROM sources GROUP BY id)")
    rows.execute("DELETE FROM passages WHERE row NOT IN (SELECT row FROM documents)")
    sound = [(row,) for row, *values in rows.execute(_SPANS, (MOST_BYTES,)) if _text(*values) is not None]
    rows.execute("CREATE TEMP TABLE sound (row INTEGER PRIMARY KEY)")
    rows.executemany("INSERT INTO sound VALUES (?)", sound)
    rows.execute("DELETE FROM passages WHERE row NOT IN (SELECT row FROM sound)")
    rows.execute("DROP TABLE sound")
    if sound or settings.get("passages") is not None:
        rows.execute("DELETE FROM documents WHERE row NOT IN (SELECT row FROM passages)")


def _text(facts: str, text_crc32: int, length: int, data: bytes) -> str | None:
    """What was encoded of a passage; None where that isn't what was written."""
    with suppress(DamagedIndexError, TypeError, ValueError, AttributeError):
        _, front, _ = described(load_json(facts), 0)
        text = decode_text(data)
        if zlib.crc32(data) == text_crc32 and len(text) == length:
            return encode_front(front) + text
    return None


def encoded_texts(rows: sqlite3.Connection, keys: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Of documents, or passages, key and the text that was encoded, by key."""
    marks = ",".join("?" * len(keys))
    texts = dict(rows.execute(f"SELECT key, text FROM documents WHERE key IN ({marks}) ORDER BY key", keys))
    spans = rows.execute(
        f"{_SPANS.replace('SELECT p.row', 'SELECT d.key')} JOIN documents d ON d.row = p.row "
        f"WHERE d.key IN ({marks})",
        (MOST_BYTES, *keys),
    )
    passages = {key: _text(*values) or "" for key, *values in spans}
    for key, text in texts.items():
        yield key, passages.get(key, "" if text is None else decode_text(text))


def insert_sources(
    connection: sqlite3.Connection, rows: sqlite3.Connection, commit: int, lost: Sequence[str]
) -> None:
    """Put the documents that are left, and their passages, into a new catalogue.

    Of one that lost passages no digest is kept, so that it is read again when folders are compared.
    """
    incomplete = {id.rpartition("#")[0] for id in lost}
    marks = ", ".join("?" * (len(SOURCE_COLUMNS.split(", ")) - 1))
    for row, key, id, facts, metadata, structure, text in rows.execute(
        "SELECT row, key, id, facts, metadata, structure, text FROM sources ORDER BY row"
    ):
        if decode_text(id) in incomplete:
            kept = {name: value for name, value in load_json(facts).items() if name != "digest"}
            facts = json.dumps(kept)  # noqa: PLW2901
        body = checksum(structure, text)
        head: tuple[Any, ...] = (row, key, commit)
        crc32 = checksum(*head, id, facts, metadata, body)
        connection.execute(
            f"INSERT INTO sources ({SOURCE_COLUMNS.replace(' died,', '')}) VALUES ({marks})",
            (*head, crc32, id, facts, metadata, body, structure, text),
        )
    for *values, facts in rows.execute(
        "SELECT row, source, number, start, stop, start_byte, stop_byte, text_crc32, facts FROM passages"
    ):
        connection.execute(
            f"INSERT INTO passages ({PASSAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values, facts), facts),
        )
