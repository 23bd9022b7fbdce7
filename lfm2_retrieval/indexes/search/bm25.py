"""BM25 over the documents of one commit.

An FTS5 table keeps which document has which word how often; scores are ours. FTS5's own `bm25` counts every
row of the table: documents that are deleted, or newer than the commit that a reader sees, would change its
scores, and words that most documents have would score nothing. Here the statistics are those of the living
documents of the snapshot.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError, InvalidInputError
from ...platform.forks import Lock
from ..analysis.versions import analysis_of
from ..analysis.words import QueryWord

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..commits.snapshot import Snapshot

__all__ = ["Bm25", "Scored"]

_K1, _B = 1.2, 0.75
"""FTS5's and Lucene's defaults."""
_COMMON = 10_000
"""A word in more rows than this, and in more than half of all, is read only if the query has no others."""
_PART, _PART_OF_LETTERS = 0.25, 0.5
"""What a part of a form weighs, and of one of letters alone, where some document has the form: whoever looks
for C++ means no other C, and for well-known perhaps well known."""
_REMEMBERED = 1 << 22
"""So many postings, of 12 bytes, are kept in memory."""
_LAST = "\U0010ffff"

Term = tuple[int, str, bool]
"""A term, and whether those that begin with it count, too; before it the number of the analysis."""


class Scored(NamedTuple):
    """The documents that share a word with a query: int64 keys, rising, and float32 scores above 0."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float32]

    def among(self, keys: NDArray[np.int64]) -> Scored:
        """Those of these documents; ``keys`` rise, too."""
        mine = np.isin(self.keys, keys, assume_unique=True)
        return Scored(self.keys[mine], self.scores[mine])

    def of(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 ``[n]``: the scores of these documents, 0 for those that share no word."""
        scores = np.zeros(len(keys), np.float32)
        places, there = _find(self.keys, keys)
        scores[there] = self.scores[places]
        return scores


@dataclass(frozen=True, slots=True)
class _Postings:
    """The rows of documents that have a word: int64, rising, and how often they have it.

    ``newest``: the newest row there was when they were read; they hold for all commits without newer ones.
    """

    newest: int
    rows: NDArray[np.int64]
    counts: NDArray[np.int32]


class _Rows(NamedTuple):
    """The rows that have words, of the living documents of a snapshot.

    ``places`` says of every row up to the last where it is among these, -1 where it isn't; ``saturation``
    what BM25 makes of a document's length.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.int64]
    saturation: NDArray[np.float32]
    places: NDArray[np.int32]
    rising: bool

    @classmethod
    def of(cls, rows: NDArray[np.int64], keys: NDArray[np.int64], lengths: NDArray[np.int64]) -> _Rows:
        """From rising rows, their keys, and how many words they have."""
        relative = lengths / lengths.mean() if len(rows) else lengths
        saturation = (_K1 * (1 - _B + _B * relative)).astype(np.float32)
        places = np.full(int(rows[-1]) + 1 if len(rows) else 0, -1, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        return cls(rows, keys, saturation, places, bool((keys[1:] > keys[:-1]).all()))

    def find(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Where rows are, of those that are there; and which these are."""
        there = rows < len(self.places)
        found = (
            self.places[np.where(there, rows, 0)] if len(self.places) else np.full(len(rows), -1, np.int32)
        )
        there &= found >= 0
        return found[there], there


class Bm25:
    """Scores of documents by their words. Any thread may use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = Lock()
        self._counts = np.zeros((0, 4), np.int64)  # as the table word_counts
        self._latest: tuple[int, _Rows] | None = None  # of the commit that was asked last
        self._analysis = 0  # of both; words may be made anew between two searches
        self._common: dict[Term, int] = {}  # very common terms, and the newest row when that was found out
        self._postings: OrderedDict[Term, _Postings] = OrderedDict()
        self._held = 0

    def score(self, snapshot: Snapshot, texts: Sequence[str]) -> list[Scored]:
        """Score the documents of a snapshot for some queries.

        The score is the sum, over the words of the query, of ``log(1 + (N - n + .5) / (n + .5))`` times
        ``c (k1 + 1) / (c + k1 (1 - b + b L))``: of ``N`` documents with words ``n`` have this one; this
        document has it ``c`` times, and is ``L`` times as long as the mean; k1 = 1.2, b = 0.75. A word that
        the query repeats counts as often. So do forms, see `lexical`; where a document has one that the
        query asks for, its parts count a quarter, or half if it is all letters. In a large index words that
        more than half of the documents have count only if the query has no others.

        Raises
        ------
        InvalidInputError
            If the index keeps no words.
        SweptError
            If the snapshot was swept.
        """
        if not snapshot.settings.get("lexical"):
            raise InvalidInputError(
                f"{self._catalogue.folder} keeps no words to search by: add them with "
                "index.configure(lexical=True), or lfm2-retrieve configure --lexical"
            )
        with self._catalogue.reading_at(snapshot.commit) as connection:
            analysis = analysis_of(connection)
            [newest] = connection.execute("SELECT coalesce(max(row), 0) FROM word_counts").fetchone()
            living = self._living(connection, snapshot, analysis.number)
            scores = []
            for text in texts:
                total = np.zeros(len(living.rows), np.float32)
                for places, counts, weight in self._weigh(
                    connection, analysis.query_words(text), analysis.number, newest, living
                ):
                    idf = np.float32(np.log1p((len(living.rows) - len(places) + 0.5) / (len(places) + 0.5)))
                    gain = idf * counts * np.float32(_K1 + 1) / (counts + living.saturation[places])
                    total[places] += np.float32(weight) * gain
                some = np.flatnonzero(total)
                if not living.rising:
                    some = some[np.argsort(living.keys[some])]
                scores.append(Scored(living.keys[some], total[some]))
        return scores

    def _weigh(
        self,
        connection: sqlite3.Connection,
        asked: Mapping[QueryWord, int],
        analysis: int,
        newest: int,
        living: _Rows,
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32], float]]:
        """Of each term of a query: where it is among the living rows, how often, and what it weighs."""
        terms = list(dict.fromkeys((analysis, word.term, word.prefix) for word in asked))
        found: dict[tuple[str, bool], tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
        for (_, word, prefix), postings in self._read(connection, terms, newest).items():
            places, there = living.find(postings.rows)
            found[word, prefix] = places, postings.counts[there].astype(np.float32)
        weights = dict.fromkeys(found, 0.0)
        for one, count in asked.items():
            forms = [form for form in one.forms if (form, False) in found and len(found[form, False][0])]
            share = _PART_OF_LETTERS if all(form.isalpha() for form in forms) else _PART
            if (one.term, one.prefix) in found:
                weights[one.term, one.prefix] += count * (share if forms else 1)
        for term, (places, counts) in found.items():
            yield places, counts, weights[term]

    def _living(self, connection: sqlite3.Connection, snapshot: Snapshot, analysis: int) -> _Rows:
        """The rows of the documents that are alive: of each its last one that is no newer than the commit.

        Rows never change, so only new ones are read.
        """
        with self._guard:
            if self._analysis != analysis:
                self._analysis, self._counts, self._latest = analysis, self._counts[:0], None
            counts, before = self._counts, self._latest
        if before is not None and before[0] == snapshot.commit:
            return before[1]
        last = int(counts[-1, 0]) if len(counts) else 0
        new = connection.execute(
            "SELECT row, key, born, n FROM word_counts WHERE row > ? ORDER BY row", (last,)
        ).fetchall()
        if new:
            try:
                counts = np.concatenate([counts, np.array(new, np.int64)])
            except (TypeError, ValueError, OverflowError) as error:
                raise DamagedIndexError("index.db: the numbers of words are damaged; see verify()") from error
            with self._guard:
                if self._analysis == analysis:
                    self._counts = counts
        rows, keys, born, lengths = counts.T
        seen = np.flatnonzero(born <= snapshot.commit)[::-1]
        _, first = np.unique(keys[seen], return_index=True)
        latest = np.sort(seen[first])
        alive = latest[(lengths[latest] > 0) & np.isin(keys[latest], snapshot.places.keys)]
        found = _Rows.of(rows[alive], keys[alive], lengths[alive])
        with self._guard:
            if self._analysis == analysis:
                self._latest = snapshot.commit, found
        return found

    def _read(
        self, connection: sqlite3.Connection, terms: Sequence[Term], newest: int
    ) -> dict[Term, _Postings]:
        """The postings of some terms; very common ones only if there are no others."""
        looked_up = {term: self._look_up(connection, term, newest) for term in terms}
        found = {term: postings for term, postings in looked_up.items() if postings is not None}
        if not any(len(postings.rows) for postings in found.values()):
            common = [term for term, postings in looked_up.items() if postings is None]
            found |= {term: _fetch(connection, term, newest) for term in common}
        return found

    def _look_up(self, connection: sqlite3.Connection, term: Term, newest: int) -> _Postings | None:
        """The postings of a term, from memory if they are there; None for a very common one."""
        with self._guard:
            known = self._postings.get(term)
            if known is not None and known.newest >= newest:
                self._postings.move_to_end(term)
                return known
            if self._common.get(term) == newest:
                return None
        if len(self._counts) > _COMMON and not term[2]:
            held = connection.execute("SELECT doc FROM word_documents WHERE term = ?", term[1:2]).fetchone()
            if held is not None and held[0] > max(_COMMON, len(self._counts) / 2):
                with self._guard:
                    self._common[term] = newest
                return None
        read = _fetch(connection, term, newest)
        with self._guard:
            self._forget(term)
            self._postings[term] = read
            self._held += len(read.rows)
            while self._held > _REMEMBERED:
                self._forget(next(iter(self._postings)))
        return read

    def _forget(self, term: Term) -> None:
        old = self._postings.pop(term, None)
        if old is not None:
            self._held -= len(old.rows)


def _fetch(connection: sqlite3.Connection, term: Term, newest: int) -> _Postings:
    _, word, prefix = term
    found = connection.execute(
        "SELECT doc FROM word_places WHERE term >= ? AND term <= ?", (word, word + _LAST if prefix else word)
    )
    each = np.fromiter((row for (row,) in found), np.int64)
    rows, counts = np.unique(each, return_counts=True)
    return _Postings(newest, rows, counts.astype(np.int32))


def _find(
    sorted_values: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where wanted values are, of those that are there; and which these are."""
    if not len(sorted_values):
        return np.zeros(0, np.intp), np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    there = sorted_values[places] == wanted
    return places[there], there
