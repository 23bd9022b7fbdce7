"""Whole documents in the catalogue, each with its text once, and the passages that are spans of it.

A passage is a row of ``documents``, to which vectors belong, without a text of its own, and the row of
``passages`` that says where its text lies in that of its document, a row of ``sources``.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from ...errors import DamagedIndexError, InvalidInputError
from ...hits import encode_front
from ..access import REMEDY
from ..stored_text import decode_text, encode_text
from .rows import ALIVE, Entry, check_whole, checksum, decode_row, encode_metadata, load_json, row_checksum

__all__ = [
    "HEAD_COLUMNS",
    "MOST_BYTES",
    "PASSAGE_COLUMNS",
    "SOURCE_COLUMNS",
    "GivenPassage",
    "PassageRow",
    "SourceRow",
    "StoredDocument",
    "StoredPassage",
    "decode_source",
    "described",
    "document_id_of",
    "has_passages",
    "living_source",
    "passage_id",
    "passages_of_rows",
    "passages_of_source",
    "read_entries",
    "read_text",
    "sources_of_rows",
    "text_around",
    "word_rows",
]

MOST_BYTES = 1 << 24
"""So many bytes of text a passage has at most: more than any model reads."""
_ROWS_PER_QUERY = 500

SOURCE_COLUMNS = "row, key, born, died, crc32, id, facts, metadata, body_crc32, structure, text"
"""What `decode_source` reads of the table ``sources``."""
HEAD_COLUMNS = "row, key, born, died, crc32, id, facts, metadata, body_crc32, NULL, NULL"
"""Of `SOURCE_COLUMNS` what is read without the text."""
PASSAGE_COLUMNS = "row, source, number, start, stop, start_byte, stop_byte, text_crc32, crc32, facts"
"""What is read of the table ``passages``."""


class GivenPassage(Protocol):
    """A passage as it is written: its number, its span in characters, headings, and where it lies."""

    @property
    def number(self) -> int:
        """Which one of its document."""

    @property
    def start(self) -> int:
        """Where it begins."""

    @property
    def end(self) -> int:
        """Where it ends."""

    @property
    def headings(self) -> tuple[str, ...]:
        """The titles above it."""

    @property
    def context(self) -> tuple[str, ...]:
        """Those that are encoded in front of it."""

    @property
    def place(self) -> Any:
        """JSON values, or what gives them by ``to_dict()``."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A whole document as stored.

    Parameters
    ----------
    id, text, metadata
        As given; ``text`` is None where an index without passages was given none.
    facts
        What is kept of where it comes from, such as ``source``, ``format`` and ``digest``.
    structure
        Of its text, as JSON values; empty where nothing is known of it.
    row
        Its row in ``sources``; 0 in an index without passages.
    key
        Of its first row: order of insertion.
    """

    id: str
    text: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    structure: Mapping[str, Any] = field(default_factory=dict)
    row: int = 0
    key: int = 0


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """What is stored of a passage beside its vectors.

    Parameters
    ----------
    row, source
        Its row, and that of its document.
    document_id, number
        Whose, and which one.
    start, end
        Its span in the document's text, in characters.
    text
        The text of the span.
    headings, context
        Titles of headings: above it, and those of them that were encoded in front of it.
    place
        Where it lies in its file, as JSON values.
    origin
        The file itself, if the document came from one.
    """

    row: int
    source: int
    document_id: str
    number: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    place: Mapping[str, Any] = field(default_factory=dict)
    origin: str | None = None

    @property
    def encoded(self) -> str:
        """What was encoded: the headings in front, and the text."""
        return encode_front(self.context) + self.text


class SourceRow(NamedTuple):
    """A whole document as it is stored: bytes, and JSON in ASCII."""

    id: bytes
    facts: str
    metadata: str
    structure: str
    text: bytes

    @classmethod
    def of(cls, document: StoredDocument) -> SourceRow:
        """A document's; refused where its metadata or facts aren't JSON."""
        facts = encode_metadata(document.id, document.facts)
        structure = json.dumps(dict(document.structure), separators=(",", ":"))
        return cls(
            encode_text(document.id),
            facts,
            encode_metadata(document.id, document.metadata),
            structure,
            encode_text(document.text or ""),
        )

    def values(self, row: int, key: int, born: int) -> tuple[Any, ...]:
        """All columns but ``died``."""
        body = checksum(self.structure, self.text)
        crc32 = checksum(row, key, born, self.id, self.facts, self.metadata, body)
        return (row, key, born, crc32, *self[:3], body, self.structure, self.text)


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A passage as it is stored, beside its row in ``documents``; and its words: what was encoded."""

    source: int
    number: int
    span: tuple[int, int]
    span_bytes: tuple[int, int]
    text_crc32: int
    facts: str
    words: bytes

    def values(self, row: int) -> tuple[Any, ...]:
        """All columns."""
        values = (row, self.source, self.number, *self.span, *self.span_bytes, self.text_crc32)
        return (*values, checksum(*values, self.facts), self.facts)

    @classmethod
    def of(cls, passage: GivenPassage, source: int, text: str, span_bytes: tuple[int, int]) -> PassageRow:
        """A passage of a text.

        Raises
        ------
        InvalidInputError
            If it is longer than one may be, or its span isn't one of the text's.
        """
        start, end = passage.start, passage.end
        if not 0 <= start <= end <= len(text) or span_bytes[1] - span_bytes[0] > MOST_BYTES:
            raise InvalidInputError(
                f"passage {passage.number}: the span {start}–{end} is none of a passage of {len(text)} "
                f"characters; it has {MOST_BYTES:,} bytes at most"
            )
        own = encode_text(text[start:end])
        front = encode_text(encode_front(passage.context))
        return cls(
            source,
            passage.number,
            (start, end),
            span_bytes,
            zlib.crc32(own),
            _encode_facts(passage),
            front + own,
        )


def _encode_facts(passage: GivenPassage) -> str:
    headings, context = list(passage.headings), list(passage.context)
    place = passage.place if isinstance(passage.place, Mapping) else passage.place.to_dict()
    facts: dict[str, Any] = {}
    if headings:
        facts["headings"] = headings
    if context:
        facts["context"] = len(context) if headings[: len(context)] == context else context
    if place:
        facts["place"] = dict(place)
    return json.dumps(facts, separators=(",", ":"))


def has_passages(connection: sqlite3.Connection) -> bool:
    """Whether a catalogue has the tables of passages, which format 1 had not."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'passages'").fetchone() is not None


def passage_id(document_id: str, number: int) -> str:
    """The id of a passage, such as ``guide.md#12``."""
    return f"{document_id}#{number}"


def document_id_of(id: bytes) -> bytes:
    """The id of the document that a passage is of, by its own."""
    return id.rpartition(b"#")[0]


def decode_source(values: Sequence[Any], *, whole: bool = True) -> StoredDocument:
    """A document from its `SOURCE_COLUMNS`; without ``whole``, structure and text are not looked at.

    Raises
    ------
    DamagedIndexError
        If the row isn't what was written.
    """
    row, key, born, died, crc32, id, facts, metadata, body, structure, text = values
    try:
        sound = row_checksum(died, row, key, born, id, facts, metadata, body) == crc32
        sound = sound and (not whole or checksum(structure, text) == body)
        if sound and all(type(number) is int for number in (row, key, born)):
            decoded = load_json(facts), load_json(metadata), load_json(structure) if whole else {}
            if all(isinstance(one, dict) for one in decoded):
                read = decode_text(text) if whole else None
                return StoredDocument(decode_text(id), read, decoded[1], decoded[0], decoded[2], row, key)
    except (DamagedIndexError, TypeError, ValueError):  # other types than were written
        pass
    raise damaged_source(id)


def damaged_source(id: object) -> DamagedIndexError:
    """That a document's row isn't what was written."""
    return DamagedIndexError(
        f"index.db: the checksum of the document {id!r:.80} doesn't match; {REMEDY}, or add it anew"
    )


class _Spans(NamedTuple):
    """A row of ``passages``, checked by itself."""

    row: int
    source: int
    number: int
    start: int
    stop: int
    start_byte: int
    stop_byte: int
    text_crc32: int
    facts: dict[str, Any]


def _checked(values: Sequence[Any]) -> _Spans:
    *numbers, crc32, facts = values
    try:
        if checksum(*numbers, facts) == crc32 and all(type(number) is int for number in numbers):
            spans = _Spans._make((*numbers, load_json(facts)))
            _, _, _, start, stop, start_byte, stop_byte, *_ = numbers
            lengths = stop - start, stop_byte - start_byte
            fits = min(start, start_byte, lengths[0]) >= 0 and lengths[0] <= lengths[1] <= 4 * lengths[0]
            if fits and lengths[1] <= MOST_BYTES and isinstance(spans.facts, dict):
                return spans
    except (TypeError, ValueError):
        pass
    raise _damaged(values[0])


def _damaged(row: object) -> DamagedIndexError:
    return DamagedIndexError(f"index.db: the passage in row {row!r:.80} isn't what was written; {REMEDY}")


def _texts(value: Any, row: int) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise _damaged(row)


def read_text(connection: sqlite3.Connection, source: int, start: int, stop: int) -> str:
    """A stretch of a document's text, in bytes; only what is asked for is read.

    Raises
    ------
    DamagedIndexError
        If the text has no such stretch.
    """
    try:
        with connection.blobopen("sources", "text", source, readonly=True) as blob:
            blob.seek(min(start, len(blob)))
            data = blob.read(stop - start)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        raise DamagedIndexError(
            f"index.db: the document in row {source} is gone, or has no text; {REMEDY}"
        ) from error
    if len(data) != stop - start:
        raise DamagedIndexError(f"index.db: a passage lies outside its document, row {source}; {REMEDY}")
    return decode_text(data)


def described(facts: Mapping[str, Any], row: int) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]:
    """The headings above the passage in a row, those in front of it, and its place.

    Raises
    ------
    DamagedIndexError
        If its facts aren't what is written.
    """
    headings, context = _texts(facts.get("headings", []), row), facts.get("context", 0)
    place = facts.get("place", {})
    if not isinstance(place, dict):
        raise _damaged(row)
    return headings, headings[:context] if type(context) is int else _texts(context, row), place


def _passage(
    connection: sqlite3.Connection, spans: _Spans, document_id: str, origin: str | None
) -> StoredPassage:
    text = read_text(connection, spans.source, spans.start_byte, spans.stop_byte)
    headings, front, place = described(spans.facts, spans.row)
    if len(text) != spans.stop - spans.start or zlib.crc32(encode_text(text)) != spans.text_crc32:
        raise _damaged(spans.row)
    return StoredPassage(
        spans.row,
        spans.source,
        document_id,
        spans.number,
        spans.start,
        spans.stop,
        text,
        headings,
        front,
        place,
        origin,
    )


def passages_of_rows(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, StoredPassage]:
    """The passages in some rows, by row; those that are none are left out.

    Raises
    ------
    DamagedIndexError
        If one isn't what was written.
    """
    if not rows or not has_passages(connection):
        return {}
    spans: list[_Spans] = []
    for first in range(0, len(rows), _ROWS_PER_QUERY):
        some = rows[first : first + _ROWS_PER_QUERY]
        marks = ",".join("?" * len(some))
        query = f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE row IN ({marks})"
        spans += map(_checked, connection.execute(query, some))
    names = {number: _named(connection, number) for number in sorted({one.source for one in spans})}
    return {one.row: _passage(connection, one, *names[one.source]) for one in spans}


def _named(connection: sqlite3.Connection, source: int) -> tuple[str, str | None]:
    """The id of the document in a row, and the file that it came from."""
    values = connection.execute(f"SELECT {HEAD_COLUMNS} FROM sources WHERE row = ?", (source,)).fetchone()
    if values is None:
        raise DamagedIndexError(
            f"index.db: passages name a document, row {source}, that isn't there; {REMEDY}"
        )
    found = decode_source(values, whole=False)
    origin = found.facts.get("source")
    return found.id, origin if isinstance(origin, str) else None


def read_entries(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[Entry]:
    """Documents from their `COLUMNS`, and passages with their texts.

    Raises
    ------
    DamagedIndexError
        If one isn't what was written.
    """
    entries = [decode_row(values) for values in rows]
    passages = passages_of_rows(
        connection, [values[0] for values, entry in zip(rows, entries, strict=True) if entry.text is None]
    )
    if not passages:
        return entries
    found = ((passages.get(values[0]), entry) for values, entry in zip(rows, entries, strict=True))
    return [
        entry if passage is None else replace(entry, text=passage.text, passage=passage)
        for passage, entry in found
    ]


def passages_of_source(connection: sqlite3.Connection, source: int) -> list[StoredPassage]:
    """All passages of a document, in the order of its text."""
    found = connection.execute(
        f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE source = ? ORDER BY start, number", (source,)
    ).fetchall()
    name = _named(connection, source)
    return [_passage(connection, _checked(values), *name) for values in found]


def sources_of_rows(connection: sqlite3.Connection, rows: Sequence[int]) -> list[int]:
    """The rows of the documents that the passages in some rows are of, each once, in order of insertion."""
    found: dict[int, int] = {}
    for first in range(0, len(rows), _ROWS_PER_QUERY):
        some = rows[first : first + _ROWS_PER_QUERY]
        found.update(
            connection.execute(
                "SELECT s.row, s.key FROM passages p JOIN sources s ON s.row = p.source "
                f"WHERE p.row IN ({','.join('?' * len(some))})",
                some,
            )
        )
    return sorted(found, key=lambda row: found[row])


def living_source(
    connection: sqlite3.Connection, id: bytes, commit: int | None = None
) -> tuple[Any, ...] | None:
    """The `SOURCE_COLUMNS` of the document under an id that lives, or did at a commit."""
    if not has_passages(connection):
        return None
    asked = f"SELECT {SOURCE_COLUMNS} FROM sources WHERE id = ? AND "
    if commit is None:
        found = connection.execute(asked + "died IS NULL", (id,)).fetchone()
    else:
        found = connection.execute(asked + ALIVE, (id, commit, commit)).fetchone()
    return None if found is None else tuple(found)


def word_rows(connection: sqlite3.Connection) -> Iterator[tuple[int, int, int, bytes | None]]:
    """Number, key, birth and text of each row of documents, in order: of a passage, what was encoded."""
    if not has_passages(connection):
        yield from connection.execute("SELECT row, key, born, text FROM documents ORDER BY row")
        return
    rows = connection.execute(
        "SELECT d.row, d.key, d.born, d.text, p.row, p.source, p.number, p.start, p.stop, p.start_byte, "
        "p.stop_byte, p.text_crc32, p.crc32, p.facts FROM documents d LEFT JOIN passages p ON p.row = d.row "
        "ORDER BY d.row"
    )
    for row, key, born, text, *passage in rows:
        check_whole((row, key, born))
        if passage[0] is not None:
            text = encode_text(_passage(connection, _checked(passage), "", None).encoded)  # noqa: PLW2901
        yield row, key, born, text


def text_around(
    connection: sqlite3.Connection, passage: StoredPassage, before: int, after: int
) -> str | None:
    """The text from so many passages before one to so many after it; None if its document is gone."""
    if not has_passages(connection):
        return None
    found = connection.execute("SELECT id FROM sources WHERE row = ?", (passage.source,)).fetchone()
    if found is None or found[0] != encode_text(passage.document_id):
        return None
    place = passage.source, passage.start
    first = connection.execute(
        "SELECT start_byte FROM passages WHERE source = ? AND start <= ? ORDER BY start DESC LIMIT ?",
        (*place, before + 1),
    ).fetchall()
    last = connection.execute(
        "SELECT stop_byte FROM passages WHERE source = ? AND start >= ? ORDER BY start LIMIT ?",
        (*place, after + 1),
    ).fetchall()
    if not first or not last:
        return None
    text = read_text(connection, passage.source, first[-1][0], last[-1][0])
    return text if passage.text in text else None
