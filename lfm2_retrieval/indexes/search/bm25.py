"""BM25 over the documents of one commit.

An FTS5 table keeps which document has which word how often; scores are ours. FTS5's own `bm25` counts every
row of the table: documents that are deleted, or newer than the commit that a reader sees, would change its
scores, and words that most documents have would score nothing. Here the statistics are those of the living
documents of the snapshot.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError, InvalidInputError
from ...platform.forks import Lock
from ..analysis.versions import Analysis, analysis_of
from ..analysis.words import QueryWord
from .word_statistics import Word, WordStatistics, least_common

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..commits.snapshot import Snapshot

__all__ = ["Bm25", "Scored"]

_K1, _B = 1.2, 0.75
"""FTS5's and Lucene's defaults."""
_PART, _PART_OF_LETTERS = 0.25, 0.5
"""What a part of a form weighs, and of one of letters alone, where some document has the form: whoever looks
for C++ means no other C, and for well-known perhaps well known."""
_REMEMBERED = 1 << 22
"""So many postings, of 12 bytes, are kept in memory."""
_SPARSE = 64
"""Where rows' numbers go up to so many times their number, they are looked for among them."""
_LAST = "\U0010ffff"

Term = tuple[int, str, bool]
"""A word behind the number of its analysis."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows that have words, of the living documents of a snapshot.

    ``lengths``: how many words they have. ``places`` says of every row up to the last where it is among
    these, -1 where it isn't; it is empty where the numbers go far beyond how many rows there are.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int32]
    rising: bool
    _saturation: dict[float, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: NDArray[np.int64], keys: NDArray[np.int64], lengths: NDArray[np.int64]) -> _Rows:
        """From rising rows, their keys, and how many words they have."""
        n = int(rows[-1]) + 1 if len(rows) else 0
        places = np.full(n if n <= _SPARSE * len(rows) else 0, -1, np.int32)
        if len(places):
            places[rows] = np.arange(len(rows), dtype=np.int32)
        return cls(rows, keys, lengths, places, bool((keys[1:] > keys[:-1]).all()))

    def saturation(self, mean_length: float) -> NDArray[np.float32]:
        """What BM25 makes of the documents' lengths, given the mean of all that are searched."""
        known = self._saturation.get(mean_length)
        if known is None:
            self._saturation.clear()  # the last is kept
            known = (_K1 * (1 - _B + _B * (self.lengths / mean_length))).astype(np.float32)
            self._saturation[mean_length] = known
        return known

    def find(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        """Where rows are, of those that are there; and which these are."""
        if len(self.rows) and not len(self.places):
            return _find(self.rows, rows)
        there = rows < len(self.places)
        found = (
            self.places[np.where(there, rows, 0)] if len(self.places) else np.full(len(rows), -1, np.int32)
        )
        there &= found >= 0
        return found[there], there


class _Occurrences(NamedTuple):
    """Where a word is among the living rows, and how often; ``n_rows``: how many have it with the dead."""

    n_rows: int
    places: NDArray[np.integer]
    counts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A commit's catalogue as one call reads it: how texts became words, the newest row, the living ones."""

    connection: sqlite3.Connection
    analysis: Analysis
    newest: int
    living: _Rows

    def words(self, texts: Iterable[str]) -> list[Word]:
        """What to look up for some queries."""
        asked = (word for text in texts for word in self.analysis.query_words(text))
        return list(dict.fromkeys((word.term, word.prefix) for word in asked))


class Bm25:
    """Scores of documents by their words. Any thread may use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = Lock()
        self._counts = np.zeros((0, 4), np.int64)  # as the table word_counts
        self._latest: tuple[int, _Rows] | None = None  # of the commit that was asked last
        self._analysis = 0  # of both; words may be made anew between two searches
        self._common: dict[Term, tuple[int, int]] = {}  # the newest row when a very common one was looked up,
        # and how many rows had it
        self._postings: OrderedDict[Term, _Postings] = OrderedDict()
        self._held = 0

    def statistics(
        self, snapshot: Snapshot, texts: Sequence[str], counted: Collection[Word] = ()
    ) -> WordStatistics:
        """What the documents of a snapshot say of the words of some queries.

        Parameters
        ----------
        snapshot, texts
            As for `score`.
        counted
            Words whose documents are counted however common they are.

        Raises
        ------
        InvalidInputError, SweptError
            As for `score`.
        """
        with self._reading(snapshot) as reading:
            found = self._statistics(reading, self._read(reading, reading.words(texts), counted))
            return replace(found, asked=[reading.words([text]) for text in texts])

    def score(
        self, snapshot: Snapshot, texts: Sequence[str], whole: WordStatistics | None = None
    ) -> list[Scored]:
        """Score the documents of a snapshot for some queries.

        The score is the sum, over the words of the query, of ``log(1 + (N - n + .5) / (n + .5))`` times
        ``c (k1 + 1) / (c + k1 (1 - b + b L))``: of ``N`` documents with words ``n`` have this one; this
        document has it ``c`` times, and is ``L`` times as long as the mean; k1 = 1.2, b = 0.75. A word that
        the query repeats counts as often. So do forms, see `lexical`; where a document has one that the
        query asks for, its parts count a quarter, or half if it is all letters. In a large index words that
        more than half of the documents have count only if the query has no others.

        Parameters
        ----------
        snapshot
            The documents.
        texts
            The queries.
        whole
            The statistics of the collection that these documents are a part of; by default theirs.

        Raises
        ------
        InvalidInputError
            If the index keeps no words.
        SweptError
            If the snapshot was swept.
        """
        with self._reading(snapshot) as reading:
            return [self._score(reading, text, whole) for text in texts]

    def _score(self, reading: _Reading, text: str, whole: WordStatistics | None) -> Scored:
        asked, living = reading.analysis.query_words(text), reading.living
        words = reading.words([text])
        known: Collection[Word] = () if whole is None else whole.counting(words)
        found = self._read(reading, words, known)
        if whole is None:
            whole = self._statistics(reading, found)
            if missing := whole.counting(words) - whole.documents.keys():  # the query has no others
                found = self._read(reading, words, missing)
                whole = self._statistics(reading, found)
        counting = whole.counting(words)
        total = np.zeros(len(living.rows), np.float32)
        saturation = living.saturation(whole.n_words / whole.n_documents if whole.n_documents else 1.0)
        for word, weight in _weights(asked, whole, [word for word in words if word in counting]).items():
            occurrences = found[word]
            assert isinstance(occurrences, _Occurrences)
            _, places, counts = occurrences
            n = whole.documents[word]
            idf = np.float32(np.log1p((whole.n_documents - n + 0.5) / (n + 0.5)))
            gain = idf * counts * np.float32(_K1 + 1) / (counts + saturation[places])
            total[places] += np.float32(weight) * gain
        some = np.flatnonzero(total)
        if not living.rising:
            some = some[np.argsort(living.keys[some])]
        return Scored(living.keys[some], total[some])

    @contextmanager
    def _reading(self, snapshot: Snapshot) -> Iterator[_Reading]:
        if not snapshot.settings.get("lexical"):
            raise InvalidInputError(
                f"{self._catalogue.folder} keeps no words to search by: add them with "
                "index.configure(lexical=True), or lfm2-retrieve configure --lexical"
            )
        with self._catalogue.reading_at(snapshot.commit) as connection:
            analysis = analysis_of(connection)
            [newest] = connection.execute("SELECT coalesce(max(row), 0) FROM word_counts").fetchone()
            yield _Reading(connection, analysis, newest, self._living(connection, snapshot, analysis.number))

    def _statistics(self, reading: _Reading, found: Mapping[Word, _Occurrences | int]) -> WordStatistics:
        living = reading.living
        return WordStatistics(
            len(living.rows),
            int(living.lengths.sum()),
            len(self._counts),
            {word: one if isinstance(one, int) else one.n_rows for word, one in found.items()},
            {word: len(one.places) for word, one in found.items() if not isinstance(one, int)},
        )

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
        self, reading: _Reading, words: Iterable[Word], counted: Collection[Word]
    ) -> dict[Word, _Occurrences | int]:
        """Where some words are; of a very common one, unless it is to be counted, how many rows have it."""
        found: dict[Word, _Occurrences | int] = {}
        for word in words:
            postings = self._look_up(reading, word, always=word in counted)
            if isinstance(postings, int):
                found[word] = postings
            else:
                places, there = reading.living.find(postings.rows)
                counts = postings.counts[there].astype(np.float32)
                found[word] = _Occurrences(len(postings.rows), places, counts)
        return found

    def _look_up(self, reading: _Reading, word: Word, *, always: bool) -> _Postings | int:
        """The postings of a word, from memory if they are there."""
        term, newest, connection = (reading.analysis.number, *word), reading.newest, reading.connection
        with self._guard:
            known = self._postings.get(term)
            if known is not None and known.newest >= newest:
                self._postings.move_to_end(term)
                return known
            common = self._common.get(term)
        if not always and common is not None and common[0] == newest:
            return common[1]
        least = least_common(word, len(self._counts))
        if not always and least is not None:
            held = connection.execute("SELECT doc FROM word_documents WHERE term = ?", word[:1]).fetchone()
            if held is not None and held[0] > least:
                with self._guard:
                    self._common[term] = newest, int(held[0])
                return int(held[0])
        read = _fetch(connection, word, newest)
        if common is None or common[0] != newest:
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


def _weights(
    asked: Mapping[QueryWord, int], whole: WordStatistics, words: Sequence[Word]
) -> dict[Word, float]:
    """What each of a query's words that count weighs, in the order in which their gains are added."""
    weights = dict.fromkeys(words, 0.0)
    for one, count in asked.items():
        if (one.term, one.prefix) not in weights:
            continue
        forms = [form for form in one.forms if (form, False) in weights and whole.documents[form, False]]
        share = _PART_OF_LETTERS if all(form.isalpha() for form in forms) else _PART
        weights[one.term, one.prefix] += count * (share if forms else 1)
    return weights


def _fetch(connection: sqlite3.Connection, term: Word, newest: int) -> _Postings:
    word, prefix = term
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
