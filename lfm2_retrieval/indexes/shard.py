"""An index as a part of a collection: what it tells to whoever searches all parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datatypes import Hit, Mode, SearchParams, TokenEmbeddings
from ..errors import StoredIndexError
from ..platform.forks import Lock
from .catalogue.sources import StoredDocument
from .filters.where import Where, parse_where
from .index import Index
from .search.dense import Found
from .search.searcher import Question, SnapshotLists
from .search.word_statistics import Word, WordStatistics
from .views import View

__all__ = ["Asked", "CommitGoneError", "Listed", "Shard"]

_REMEMBERED = 4
_PAGE = 100


class CommitGoneError(StoredIndexError):
    """The commit that was asked for can't be read any more, or isn't there yet: ask which one is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every part of a collection.

    Parameters
    ----------
    queries, texts, params, where
        As of `Index.search`; ``params.k`` documents are listed of each kind.
    words
        The statistics of the whole collection, for a search by words.
    with_hits
        Whether what is stored of the documents listed is wanted at once.
    """

    queries: TokenEmbeddings | None
    texts: Sequence[str] | None
    params: SearchParams
    where: Where | None = None
    words: WordStatistics | None = None
    with_hits: bool = False


class Listed(NamedTuple):
    """What a part has for some queries.

    Parameters
    ----------
    by_vectors, by_words
        Of each query, best first.
    n_found
        How many documents meet the filter.
    hits
        By key, where they were wanted.
    """

    by_vectors: list[list[Found]]
    by_words: list[list[Found]]
    n_found: int
    hits: dict[int, Hit]


class _Checked(set[str]):
    """Fields none of which this part warns of: whether the collection has one, no part knows."""

    def __contains__(self, name: object) -> bool:
        return True


class Shard:
    """A part of a collection. Any thread may use it.

    Every call names the commit that it is of, so that several calls are of one; the last few are kept.

    Parameters
    ----------
    index
        The index, which is closed with `close`.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._guard = Lock()
        self._known: OrderedDict[int, View] = OrderedDict()

    def newest(self) -> int:
        """Go on to the newest commit; its number."""
        self.index.refresh()
        return self.index.commit

    def _view(self, commit: int) -> View:
        with self._guard:
            if (known := self._known.get(commit)) is not None:
                self._known.move_to_end(commit)
                return known
        view = self.index._views.seen()
        if view.snapshot.commit < commit:
            view = self.index._views.renew()[0]
        if view.snapshot.commit != commit:
            raise CommitGoneError(
                f"{self.index.path}: commit {commit} can't be read any more; {view.snapshot.commit} can"
            )
        view.catalogue.checked_fields = _Checked()
        with self._guard:
            self._known[commit] = view
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return view

    def statistics(self, commit: int, texts: Sequence[str], counted: Collection[Word] = ()) -> WordStatistics:
        """What BM25 has to know of this part; see `Bm25.statistics`."""
        view = self._view(commit)
        return view.searcher.statistics(view.snapshot, texts, counted)

    def find(self, commit: int, asked: Asked) -> Listed:
        """The best documents by vectors, by words, or by both."""
        view, params = self._view(commit), asked.params
        lists = self._lists(view, asked)
        by_vectors = [] if params.mode is Mode.LEXICAL else lists.by_vectors(params.k)
        by_words = [] if params.mode is Mode.DENSE else lists.by_words(params.k)
        hits = {}
        if asked.with_hits:
            hits = self.hits(commit, {one.key for some in (*by_vectors, *by_words) for one in some})
        return Listed(by_vectors, by_words, lists.count, hits)

    def rescored(self, commit: int, asked: Asked, keys: Sequence[NDArray[np.int64]]) -> list[list[Found]]:
        """Some documents of each query by their MaxSim."""
        return self._lists(self._view(commit), asked).rescored(keys)

    def word_scores(
        self, commit: int, asked: Asked, keys: Sequence[NDArray[np.int64]]
    ) -> list[NDArray[np.float32]]:
        """BM25 of some documents of each query."""
        return self._lists(self._view(commit), asked).word_scores(keys)

    @staticmethod
    def _lists(view: View, asked: Asked) -> SnapshotLists:
        where = None if asked.where is None else parse_where(asked.where)
        question = Question(asked.queries, asked.texts, asked.params, where)
        return view.searcher.lists(view.snapshot, question, asked.words)

    def hits(self, commit: int, keys: Iterable[int]) -> dict[int, Hit]:
        """What is stored of some documents, by key, as hits without a score."""
        view = self._view(commit)
        return view.searcher.unscored(view.snapshot, sorted(keys))

    def documents_of(self, commit: int, keys: Sequence[int]) -> dict[int, int]:
        """By the keys of passages the numbers of their documents."""
        return self._view(commit).catalogue.documents_of(commit, keys)

    def ranked(
        self, commit: int, queries: TokenEmbeddings, ids: Sequence[str]
    ) -> tuple[list[Found], dict[int, Hit]]:
        """Documents under some ids by their MaxSim with one query, and what is stored of them."""
        view = self._view(commit)
        found = view.searcher.ranked(view.snapshot, queries, [list(ids)])[0]
        return found, self.hits(commit, [one.key for one in found])

    def page(
        self, commit: int, after: int, limit: int = _PAGE, where: Where | None = None
    ) -> list[tuple[int, StoredDocument]]:
        """Whole documents with their keys, in order of insertion, from behind a key on."""
        return self.at(commit).sources.keyed(limit, after=after, where=where)

    def missing_fields(self, commit: int, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those of some fields that no document here has, and fields that documents have."""
        view = self._view(commit)
        return view.filter.missing_fields(view.snapshot, names)

    def at(self, commit: int) -> Index:
        """The index at a commit, to read from."""
        view = self._view(commit)
        held: Index = object.__new__(type(self.index))
        held.__dict__.update(self.index.__dict__)
        held._views = self.index._views.held_at(view)
        return held

    def close(self) -> None:
        """Close the index."""
        with self._guard:
            self._known.clear()
        self.index.close()
