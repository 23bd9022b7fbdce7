"""The words of the documents in the catalogue: an FTS5 table, filled in the transaction that adds them.

It keeps no texts (``content=''``), for the catalogue has them. Scores are made elsewhere, see `bm25`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from .lexical import words
from .rows import decode_text

__all__ = ["add_words", "drop_words", "forget_words", "make_words", "stem", "tidy_words"]

_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (terms, content='', columnsize=0, tokenize='porter ascii')"
_PLACES = "CREATE VIRTUAL TABLE word_places USING fts5vocab (words, instance)"
_DOCUMENTS = "CREATE VIRTUAL TABLE word_documents USING fts5vocab (words, row)"
_COUNTS = """CREATE TABLE word_counts (
    row INTEGER PRIMARY KEY, key INTEGER NOT NULL, born INTEGER NOT NULL, n INTEGER NOT NULL
)"""


def make_words(connection: sqlite3.Connection) -> None:
    """Make the tables, and fill them with the documents that are there; inside a transaction."""
    for statement in (_WORDS, _PLACES, _DOCUMENTS, _COUNTS):
        connection.execute(statement)
    _fill(connection)


def drop_words(connection: sqlite3.Connection) -> None:
    """Remove the tables; inside a transaction."""
    for table in ("word_counts", "word_documents", "word_places", "words"):
        connection.execute(f"DROP TABLE {table}")


def add_words(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, int, bytes | None]]) -> None:
    """Add rows of documents in the transaction that adds them: number, key, commit of birth and text."""
    for row, key, born, text in rows:
        terms = "" if text is None else words(decode_text(text))
        if terms:
            connection.execute("INSERT INTO words (rowid, terms) VALUES (?, ?)", (row, terms))
        # Also one without words: it takes the place of an earlier row of the document.
        count = terms.count(" ") + 1 if terms else 0
        connection.execute("INSERT INTO word_counts VALUES (?, ?, ?, ?)", (row, key, born, count))


def forget_words(connection: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
    """Forget rows of documents in the transaction that deletes them, if the index keeps words.

    Only that they have words: those stay until `tidy_words`, and cost room, but nothing else, as no row's
    number is used again. FTS5 would need their exact words to forget them, which another version of Unicode may
    split differently.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'word_counts'").fetchone():
        connection.executemany("DELETE FROM word_counts WHERE row = ?", rows)


def tidy_words(connection: sqlite3.Connection) -> bool:
    """Write all words anew if there are any of documents that were forgotten; inside a transaction.

    Returns
    -------
    bool
        Whether anything was done.
    """
    known = {row for (row,) in connection.execute("SELECT row FROM word_counts WHERE n > 0")}
    held = {row for (row,) in connection.execute("SELECT DISTINCT doc FROM word_places")}
    if held <= known:
        return False
    connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    connection.execute("DELETE FROM word_counts")
    _fill(connection)
    return True


def _fill(connection: sqlite3.Connection) -> None:
    add_words(connection, connection.execute("SELECT row, key, born, text FROM documents ORDER BY row"))


def stem(found: Sequence[str]) -> Mapping[str, str]:
    """Each word as FTS5 indexes it, by asking FTS5."""
    distinct = list(dict.fromkeys(found))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(_WORDS)
        connection.execute(_PLACES)
        connection.executemany("INSERT INTO words (rowid, terms) VALUES (?, ?)", enumerate(distinct))
        rows = connection.execute("SELECT doc, term FROM word_places")
        return {distinct[number]: term for number, term in rows}
