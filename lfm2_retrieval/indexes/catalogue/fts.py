"""The words of the documents in the catalogue: an FTS5 table, filled in the transaction that adds them.

It keeps no texts (``content=''``), for the catalogue has them. Scores are made elsewhere, see `bm25`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter

from ...errors import DamagedIndexError
from ..access import is_damage
from ..analysis.versions import ANALYSES, ANALYSIS, Analysis, analysis_of
from ..stored_text import decode_text
from .sources import word_rows

__all__ = ["add_words", "check_words", "drop_words", "forget_words", "make_words", "tidy_words"]

_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (terms, content='', columnsize=0, tokenize={})"
_PLACES = "CREATE VIRTUAL TABLE word_places USING fts5vocab (words, instance)"
_DOCUMENTS = "CREATE VIRTUAL TABLE word_documents USING fts5vocab (words, row)"
_COUNTS = """CREATE TABLE word_counts (
    row INTEGER PRIMARY KEY, key INTEGER NOT NULL, born INTEGER NOT NULL, n INTEGER NOT NULL
)"""

_EACH = "SELECT doc FROM word_places"


def make_words(connection: sqlite3.Connection, number: int = ANALYSIS) -> None:
    """Make the tables, and fill them with the documents that are there; inside a transaction.

    Parameters
    ----------
    number
        Of the analysis.
    """
    analysis = ANALYSES[number]
    for statement in (_WORDS.format(analysis.tokenizer), _PLACES, _DOCUMENTS, _COUNTS):
        connection.execute(statement)
    _fill(connection, analysis)


def drop_words(connection: sqlite3.Connection) -> None:
    """Remove the tables; inside a transaction."""
    for table in ("word_counts", "word_documents", "word_places", "words"):
        connection.execute(f"DROP TABLE {table}")


def add_words(
    connection: sqlite3.Connection,
    rows: Iterable[tuple[int, int, int, bytes | None]],
    analysis: Analysis = ANALYSES[ANALYSIS],
) -> None:
    """Add rows of documents in the transaction that adds them: number, key, commit of birth and text.

    The words that are there must be of the same analysis.
    """
    for row, key, born, text in rows:
        terms, count = ([], 0) if text is None else analysis.terms(decode_text(text))
        if terms:
            connection.execute("INSERT INTO words (rowid, terms) VALUES (?, ?)", (row, " ".join(terms)))
        # Also one without words: it takes the place of an earlier row of the document.
        connection.execute("INSERT INTO word_counts VALUES (?, ?, ?, ?)", (row, key, born, count))


def forget_words(connection: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
    """Forget rows of documents in the transaction that deletes them, if the index keeps words.

    Only that they have words: those stay until `tidy_words`, and cost room, but nothing else, as no row's
    number is used again. FTS5 would need their exact words to forget them, which another version of Unicode
    may split differently.
    """
    if _has_words(connection):
        connection.executemany("DELETE FROM word_counts WHERE row = ?", rows)


def tidy_words(connection: sqlite3.Connection) -> bool:
    """Write all words anew if there are any of documents that were forgotten; inside a transaction.

    For the holder of the writer lock, now and then: it takes as long as adding all documents' words did.

    Returns
    -------
    bool
        Whether anything was done.
    """
    if not _has_words(connection) or not _forgotten(connection):
        return False
    connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    connection.execute("DELETE FROM word_counts")
    _fill(connection, analysis_of(connection))
    return True


def check_words(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the tables, held to the texts of the documents: each word is looked up."""
    try:
        analysis = analysis_of(connection)
        with closing(sqlite3.connect("")) as fresh:
            for statement in (_WORDS.format(analysis.tokenizer), _PLACES, _COUNTS):
                fresh.execute(statement)
            add_words(fresh, word_rows(connection), analysis)
            counts = "SELECT row, key, born, n FROM word_counts ORDER BY row"
            if list(connection.execute(counts)) != list(fresh.execute(counts)):
                return ["index.db: the numbers of words differ from those of the texts"]
            forgotten = _forgotten(connection)
            surplus = sum(1 for (row,) in connection.execute(_EACH) if row not in forgotten)
            places = fresh.execute("SELECT term, doc, offset FROM word_places")
            for term, group in groupby(places, key=itemgetter(0)):
                expected = list(group)
                found = connection.execute(
                    "SELECT term, doc, offset FROM word_places WHERE term = ?", (term,)
                )
                if expected != [place for place in found if place[1] not in forgotten]:
                    return [f"index.db: the places of the word {term!r} differ from those in the texts"]
                surplus -= len(expected)
            if surplus:
                return [f"index.db: {surplus} words have places that no text has"]
    except (sqlite3.DatabaseError, DamagedIndexError) as error:
        if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
            raise
        return [f"index.db: the words are damaged ({error})"]
    return []


def _forgotten(connection: sqlite3.Connection) -> set[int]:
    """The rows that have words, but were forgotten."""
    held = {row for (row,) in connection.execute(_EACH)}
    return held - {row for (row,) in connection.execute("SELECT row FROM word_counts")}


def _has_words(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'word_counts'").fetchone() is not None


def _fill(connection: sqlite3.Connection, analysis: Analysis) -> None:
    add_words(connection, word_rows(connection), analysis)
