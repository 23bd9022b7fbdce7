"""From a question to hits: filter, search, fetch the documents, group; all in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...datatypes import By, Hit, Mode, ScoreKind, SearchParams, TokenEmbeddings
from ...errors import DamagedIndexError, InvalidInputError, InvalidTypeError, StoredIndexError
from ...hits import Place, Surroundings
from ..catalogue.rows import Entry, check_id, name_some
from ..catalogue.sources import StoredPassage, text_around
from ..commits.matching import Filter
from ..commits.snapshot import Snapshot
from ..filters.conditions import Condition
from ..filters.fields import check_field
from ..stored_text import encode_text
from .bm25 import Bm25
from .dense import Found, rescore, search
from .fusion import Dense, find
from .grouping import choose, count_matching
from .min_score import thresholds
from .tuned import as_tuned

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue

__all__ = ["Question", "Searcher"]

_AT_ONCE = 64
"""So many queries' words are scored before any is answered; each may have a score for every document."""
_POOL = 50
"""Among so many passages at least those that match are counted, see `SearchParams.by`."""
_GROWTH = 4
"""So many times as many documents are looked for when those found don't fill the groups."""


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

        def dense(queries: TokenEmbeddings, params: SearchParams) -> list[list[Found]]:
            return search(seen, queries, self.completed(params, snapshot) if as_tuned else params)

        return [hits for part in question.parts() for hits in self._answer(snapshot, seen, part, dense)]

    def completed(self, params: SearchParams, snapshot: Snapshot) -> SearchParams:
        """What the caller left open, as the index was tuned."""
        return as_tuned(params, snapshot.settings.get("tuned"), self._catalogue.folder)

    def _answer(
        self, snapshot: Snapshot, seen: Snapshot, question: Question, dense: Dense
    ) -> list[list[Hit]]:
        """The hits of some queries.

        Where groups pass over documents, more are looked for until every query has enough hits, or all
        documents were looked at.

        Parameters
        ----------
        snapshot, seen
            The commit, with whose statistics words are scored, and those of its documents that the filter
            leaves.
        question
            Few enough queries to score the words of all of them at once.
        dense
            Finds documents by vectors.
        """
        queries, texts, params = question.queries, question.texts, question.params
        by_words = None
        if texts is not None and params.mode is not Mode.DENSE:
            by_words = self._bm25.score(snapshot, texts)
            if seen is not snapshot:
                by_words = [one.among(seen.places.keys) for one in by_words]
        n_queries = len(queries) if queries is not None else len(texts or ())
        limits = thresholds(params, queries, snapshot.settings, self._catalogue.folder, n_queries)
        by_document = params.by is By.DOCUMENT and snapshot.has_passages
        depth, pool = params.k, max(_POOL, _GROWTH * params.k)
        if params.group_by is not None or by_document:
            depth = min(pool if by_document else _GROWTH * params.k, max(seen.count, params.k))
        while True:
            found = find(seen, queries, by_words, replace(params, k=depth), dense)
            documents = self._documents(snapshot, found) if by_document else None
            entries = self._fetch(snapshot, found) if params.group_by is not None or not by_document else {}
            chosen = [choose(some, entries, one, documents) for some, one in zip(found, limits, strict=True)]
            wants_more = any(
                is_open and len(some) == depth for some, (_, is_open) in zip(found, chosen, strict=True)
            )
            if depth >= seen.count or not wants_more:
                break
            depth = min(_GROWTH * depth, seen.count)
        kept = [hits for hits, _ in chosen]
        if documents is None:
            return self._hits(kept, entries, queries)
        counts = [count_matching(some, documents, one, pool) for some, one in zip(found, limits, strict=True)]
        hits = self._hits(kept, entries or self._fetch(snapshot, kept), queries)
        return [
            [
                replace(hit, n_matching=max(0, count[documents[one.key]] - 1))
                for hit, one in zip(some, ones, strict=True)
            ]
            for some, ones, count in zip(hits, kept, counts, strict=True)
        ]

    def rerank(
        self, snapshot: Snapshot, queries: TokenEmbeddings, ids: Sequence[Sequence[str]]
    ) -> list[list[Hit]]:
        """The documents under some ids, those of each query in the order of their scores."""
        if len(ids) != len(queries):
            raise InvalidInputError(f"there are {len(queries)} queries, but {len(ids)} lists of ids")
        encoded = {id: encode_text(check_id(id)) for some in ids for id in some}
        known = self._catalogue.keys(snapshot.commit, list(dict.fromkeys(encoded.values())))
        if missing := [id for id, name in encoded.items() if name not in known]:
            raise InvalidInputError(f"not in the index: {name_some(missing)}")
        keys = [np.unique(np.array([known[encoded[id]] for id in some], np.int64)) for some in ids]
        found = rescore(snapshot, queries, keys)
        return self._hits(found, self._fetch(snapshot, found), queries)

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
