"""From a question to hits: filter, search, fetch the documents, group; all in one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datatypes import By, Hit, Mode, ScoreKind, SearchParams, TokenEmbeddings
from ...errors import DamagedIndexError, InvalidInputError, InvalidTypeError, StoredIndexError
from ...hits import Place, Surroundings
from ...platform.forks import cached_property
from ..catalogue.rows import Entry, check_id, name_some
from ..catalogue.sources import StoredPassage, text_around
from ..commits.matching import Filter
from ..commits.snapshot import Snapshot
from ..filters.conditions import Condition
from ..filters.fields import check_field
from ..stored_text import encode_text
from .bm25 import Bm25, Scored
from .dense import Found, rescore, search
from .fusion import best_scored, find
from .grouping import Search, choose_all
from .min_score import thresholds
from .tuned import as_tuned
from .word_statistics import Word, WordStatistics

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue

__all__ = ["Question", "Searcher", "SnapshotLists"]

_AT_ONCE = 64
"""So many queries' words are scored before any is answered; each may have a score for every document."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an index.

    Parameters
    ----------
    queries, texts
        The queries' vectors, and the queries themselves; which is needed depends on ``params.mode``.
    params, where
        As for `Index.search`; the filter, parsed.

    Raises
    ------
    InvalidInputError
        If one is missing, or they differ in number, or a field can't be named.
    """

    queries: TokenEmbeddings | None
    texts: Sequence[str] | None
    params: SearchParams
    where: Condition | None = None

    def __post_init__(self) -> None:
        queries, texts, mode = self.queries, self.texts, self.params.mode
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts or ()):
            raise InvalidTypeError("texts must be a list of str, a query each")
        if queries is None and mode is not Mode.LEXICAL:
            raise InvalidInputError(f"a {mode} search needs the queries' vectors")
        if texts is None and mode is not Mode.DENSE:
            raise InvalidInputError(f"a {mode} search needs the queries' texts: give texts=")
        if queries is not None and texts is not None and len(queries) != len(texts):
            raise InvalidInputError(f"there are {len(queries)} queries, but {len(texts)} texts")
        if self.params.group_by is not None:
            check_field(self.params.group_by)

    def parts(self) -> Iterator[Question]:
        """The same, some queries at a time where words are scored."""
        if self.texts is None or self.params.mode is Mode.DENSE or len(self.texts) <= _AT_ONCE:
            yield self
            return
        for first in range(0, len(self.texts), _AT_ONCE):
            texts = self.texts[first : first + _AT_ONCE]
            chosen = np.arange(first, first + len(texts))
            yield replace(
                self, texts=texts, queries=None if self.queries is None else self.queries.select(chosen)
            )


class SnapshotLists:
    """What some documents of one commit have for the queries of a question; see `Lists`.

    Parameters
    ----------
    snapshot, seen
        The commit, and those of its documents that may be found.
    question
        What is asked.
    bm25
        Scores words.
    words
        The statistics by which; by default those of the commit.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        seen: Snapshot,
        question: Question,
        bm25: Bm25,
        words: WordStatistics | None = None,
    ) -> None:
        self._snapshot, self._seen, self._question = snapshot, seen, question
        self._bm25, self._words = bm25, words

    def by_vectors(self, k: int) -> list[list[Found]]:
        """See `Lists`."""
        return search(self._seen, self._queries, replace(self._question.params, k=k))

    def by_words(self, k: int) -> list[list[Found]]:
        """See `Lists`."""
        return [best_scored(one.keys, one.scores, k, ScoreKind.BM25) for one in self._scored]

    def rescored(self, keys: Sequence[NDArray[np.int64]]) -> list[list[Found]]:
        """See `Lists`."""
        return rescore(self._seen, self._queries, keys)

    def word_scores(self, keys: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """See `Lists`."""
        return [scored.of(some) for scored, some in zip(self._scored, keys, strict=True)]

    @property
    def count(self) -> int:
        """How many documents may be found."""
        return self._seen.count

    @property
    def _queries(self) -> TokenEmbeddings:
        assert self._question.queries is not None
        return self._question.queries

    @cached_property
    def _scored(self) -> list[Scored]:
        scored = self._bm25.score(self._snapshot, self._question.texts or (), self._words)
        if self._seen is self._snapshot:
            return scored
        return [one.among(self._seen.places.keys) for one in scored]


class Searcher:
    """Answers questions; any thread may use it."""

    def __init__(self, catalogue: Catalogue, filter: Filter) -> None:
        self._catalogue = catalogue
        self._filter = filter
        self._bm25 = Bm25(catalogue)

    def answer(self, snapshot: Snapshot, question: Question, *, as_tuned: bool = True) -> list[list[Hit]]:
        """The hits of each query.

        Parameters
        ----------
        snapshot
            Where to search.
        question
            What is asked.
        as_tuned
            Whether what the question leaves open is as the index was tuned; else it is as by default.
        """
        seen = snapshot if question.where is None else self._filter.apply(snapshot, question.where)
        if question.params.group_by is not None:
            self._filter.check_field(snapshot, question.params.group_by)
        return [
            hits
            for part in question.parts()
            for hits in self._answer(snapshot, seen, part, as_tuned=as_tuned)
        ]

    def completed(self, params: SearchParams, snapshot: Snapshot) -> SearchParams:
        """What the caller left open, as the index was tuned."""
        return as_tuned(params, snapshot.settings.get("tuned"), self._catalogue.folder)

    def lists(
        self,
        snapshot: Snapshot,
        question: Question,
        words: WordStatistics | None = None,
        *,
        as_tuned: bool = True,
    ) -> SnapshotLists:
        """What the documents of a snapshot that meet a question's filter have for it.

        Parameters
        ----------
        snapshot, question, as_tuned
            As for `answer`.
        words
            The statistics of the collection that this index is a part of.
        """
        seen = snapshot if question.where is None else self._filter.apply(snapshot, question.where)
        params = self.completed(question.params, snapshot) if as_tuned else question.params
        return SnapshotLists(snapshot, seen, replace(question, params=params), self._bm25, words)

    def statistics(
        self, snapshot: Snapshot, texts: Sequence[str], counted: Collection[Word] = ()
    ) -> WordStatistics:
        """What BM25 has to know of a snapshot, see `Bm25.statistics`."""
        return self._bm25.statistics(snapshot, texts, counted)

    def _answer(
        self, snapshot: Snapshot, seen: Snapshot, question: Question, *, as_tuned: bool
    ) -> list[list[Hit]]:
        """The hits of some queries, few enough to score the words of all of them at once.

        ``snapshot`` and ``seen``: the commit, with whose statistics words are scored, and those of its
        documents that the filter leaves.
        """
        queries, params = question.queries, question.params
        lists = self.lists(snapshot, question, as_tuned=as_tuned)
        n_queries = len(queries) if queries is not None else len(question.texts or ())
        chosen = choose_all(
            Search(
                params,
                thresholds(params, queries, snapshot.settings, self._catalogue.folder, n_queries),
                seen.count,
                params.by is By.DOCUMENT and snapshot.has_passages,
                lambda depth: find(lists, replace(params, k=depth)),
                lambda found: self._fetch(snapshot, found),
                lambda found: self._documents(snapshot, found),
            )
        )
        hits = self._hits(chosen.found, self._fetch(snapshot, chosen.found), queries)
        if chosen.n_matching is None:
            return hits
        return [
            [replace(hit, n_matching=n) for hit, n in zip(some, numbers, strict=True)]
            for some, numbers in zip(hits, chosen.n_matching, strict=True)
        ]

    def rerank(
        self, snapshot: Snapshot, queries: TokenEmbeddings, ids: Sequence[Sequence[str]]
    ) -> list[list[Hit]]:
        """The documents under some ids, those of each query in the order of their scores."""
        found = self.ranked(snapshot, queries, ids)
        return self._hits(found, self._fetch(snapshot, found), queries)

    def unscored(self, snapshot: Snapshot, keys: Sequence[int]) -> dict[int, Hit]:
        """What is stored of documents, by key, as hits without rank and score."""
        nothing = Found(0.0, 0, ScoreKind.BM25)
        entries = self._fetch(snapshot, [[nothing._replace(key=key) for key in keys]])
        return {key: self._hit(entry, nothing, 0, 0) for key, entry in entries.items()}

    def ranked(
        self, snapshot: Snapshot, queries: TokenEmbeddings, ids: Sequence[Sequence[str]]
    ) -> list[list[Found]]:
        """The same, before anything is read of them."""
        if len(ids) != len(queries):
            raise InvalidInputError(f"there are {len(queries)} queries, but {len(ids)} lists of ids")
        encoded = {id: encode_text(check_id(id)) for some in ids for id in some}
        known = self._catalogue.keys(snapshot.commit, list(dict.fromkeys(encoded.values())))
        if missing := [id for id, name in encoded.items() if name not in known]:
            raise InvalidInputError(f"not in the index: {name_some(missing)}")
        keys = [np.unique(np.array([known[encoded[id]] for id in some], np.int64)) for some in ids]
        return rescore(snapshot, queries, keys)

    def _fetch(self, snapshot: Snapshot, found: Sequence[Sequence[Found]]) -> dict[int, Entry]:
        keys = sorted({hit.key for hits in found for hit in hits})
        entries = self._catalogue.fetch(snapshot.commit, "key", keys)
        if len(entries) < len(keys):
            raise self._lacking()
        return entries

    def _documents(self, snapshot: Snapshot, found: Sequence[Sequence[Found]]) -> dict[int, int]:
        """The documents of the passages found: the rows of these by the keys of those."""
        keys = sorted({hit.key for hits in found for hit in hits})
        documents = self._catalogue.documents_of(snapshot.commit, keys)
        if len(documents) < len(keys):
            raise self._lacking()
        return documents

    def _hits(
        self,
        found: Sequence[Sequence[Found]],
        entries: Mapping[int, Entry],
        queries: TokenEmbeddings | None,
    ) -> list[list[Hit]]:
        lengths = [0] * len(found) if queries is None else queries.lengths.tolist()
        return [
            [self._hit(entries[hit.key], hit, rank, length) for rank, hit in enumerate(hits, 1)]
            for hits, length in zip(found, lengths, strict=True)
        ]

    def _hit(self, entry: Entry, found: Found, rank: int, length: int) -> Hit:
        maxsim = found.kind in (ScoreKind.MAXSIM, ScoreKind.ESTIMATE)
        hit = Hit(
            entry.id,
            found.score,
            rank,
            found.kind,
            entry.text,
            entry.metadata,
            normalized_score=found.score / length if maxsim else None,
        )
        if (passage := entry.passage) is None:
            return hit
        return replace(
            hit,
            document_id=passage.document_id,
            number=passage.number,
            span=(passage.start, passage.end),
            headings=passage.headings,
            place=Place.from_dict(passage.place),
            source=passage.origin,
            in_front=passage.context,
            surroundings=Surroundings(partial(_around, self._catalogue, passage)),
        )

    def _lacking(self) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self._catalogue.folder}: the catalogue lacks documents that segments have; restore it from a "
            "backup"
        )


def _around(catalogue: Catalogue, passage: StoredPassage, before: int, after: int) -> str:
    """The text around a passage, see `Hit.context`."""
    with catalogue.reading() as connection:
        text = text_around(connection, passage, before, after)
    if text is None:
        raise StoredIndexError(
            f"{catalogue.folder}: the document {passage.document_id[:80]!r} was changed or deleted since: "
            "search again"
        )
    return text
