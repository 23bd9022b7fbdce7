"""Whole documents of an open index: those that were split into passages, or else what the index holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from ..errors import StoredIndexError
from .catalogue.catalogue import SweptError
from .catalogue.rows import ALIVE, COLUMNS, Entry, decode_row, encode_ids
from .catalogue.sources import (
    HEAD_COLUMNS,
    SOURCE_COLUMNS,
    StoredDocument,
    StoredPassage,
    decode_source,
    living_source,
    passage_id,
    passages_of_source,
    sources_of_rows,
)
from .commits.documents import HeldDocument
from .filters.where import Condition, Where, parse_where
from .stored_text import decode_text
from .views import View, Views

__all__ = ["Sources"]

_WHOLE_AT_ONCE = 16
"""So many documents are read at a time: each may be long."""


class Sources:
    """The documents of an index as they were given, read at the commit that the index is read at.

    In an index without passages they are what it holds.

    Parameters
    ----------
    views
        Of the index.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def get(self, id: str) -> StoredDocument | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[StoredDocument | None]:
        """The documents under some ids, in their order; None where there is none."""
        encoded = encode_ids(ids)

        def read(view: View) -> list[StoredDocument | None]:
            commit = view.snapshot.commit
            if not view.snapshot.has_passages:
                found = view.catalogue.fetch(commit, "id", list(dict.fromkeys(encoded)))
                return [None if (one := found.get(id)) is None else _plain(one) for id in encoded]
            with view.catalogue.reading_at(commit) as connection:
                rows = [living_source(connection, id, commit) for id in encoded]
            return [None if values is None else decode_source(values) for values in rows]

        return self._views.read(read)

    def held(self, id: str) -> HeldDocument | None:
        """A document of an index of passages with its passages, or None."""
        [encoded] = encode_ids([id])

        def read(view: View) -> HeldDocument | None:
            commit = view.snapshot.commit
            with view.catalogue.reading_at(commit) as connection:
                values = living_source(connection, encoded, commit)
                if values is None:
                    return None
                document = decode_source(values)
                passages = passages_of_source(connection, document.row)
            return HeldDocument(document, [_entry(document, one) for one in passages])

        return self._views.read(read)

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        condition = None if where is None else parse_where(where)

        def read(view: View) -> int:
            snapshot = view.snapshot
            if not snapshot.has_passages:
                return view.filter.apply(snapshot, condition).count if condition else snapshot.count
            if condition is not None:
                return len(_matching(view, condition))
            with view.catalogue.reading_at(snapshot.commit) as connection:
                return int(
                    connection.execute(
                        f"SELECT count(*) FROM sources WHERE {ALIVE}", (snapshot.commit, snapshot.commit)
                    ).fetchone()[0]
                )

        return self._views.read(read)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        return [id for id, _ in self._heads(where)]

    def facts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and facts of each document, in order of insertion; no text is read."""
        yield from self._heads(None)

    def documents(self, where: Where | None = None) -> Iterator[StoredDocument]:
        """All documents, or those that meet a filter, in order of insertion, read a few at a time.

        They are those of one commit, whatever happens until the last one is read.

        Raises
        ------
        StoredIndexError
            If a writer deleted the rest of them, see `IndexReader.documents`.
        """
        view = self._views.seen()
        condition = None if where is None else parse_where(where)
        try:
            yield from self._stream(view, condition)
        except SweptError:
            if self._views.is_held:
                raise
            raise StoredIndexError(
                f"{self._views.folder}: what was being read was deleted meanwhile, which a reader that can't "
                "write to the folder can't prevent: begin anew"
            ) from None

    def page(
        self, limit: int, *, after: int = 0, where: Where | None = None
    ) -> tuple[list[StoredDocument], int | None]:
        """Some documents in order of insertion, for callers who come back for more.

        Parameters
        ----------
        limit
            How many at most.
        after
            What the page before gave, also if the index has changed since.
        where
            Only those that meet this filter.

        Returns
        -------
        tuple
            The documents, and what the next page takes as ``after``; None after the last one.
        """
        found = self.keyed(limit + 1, after=after, where=where)
        more = found[limit - 1][0] if len(found) > limit else None
        return [document for _, document in found[:limit]], more

    def keyed(
        self, limit: int, *, after: int = 0, where: Where | None = None
    ) -> list[tuple[int, StoredDocument]]:
        """Some documents with their keys, in order of insertion, from behind a key on."""
        condition = None if where is None else parse_where(where)

        def read(view: View) -> list[tuple[int, StoredDocument]]:
            wanted, commit = self._keys(view, condition, after, limit), view.snapshot.commit
            if not view.snapshot.has_passages:
                found = view.catalogue.fetch(commit, "key", wanted)
                return [(key, _plain(found[key])) for key in wanted]
            documents: list[tuple[int, StoredDocument]] = []
            for first in range(0, len(wanted), _WHOLE_AT_ONCE):
                some = wanted[first : first + _WHOLE_AT_ONCE]
                with view.catalogue.reading_at(commit) as connection:
                    rows = connection.execute(
                        f"SELECT key, {SOURCE_COLUMNS} FROM sources "
                        f"WHERE key IN ({','.join('?' * len(some))}) "
                        f"AND {ALIVE} ORDER BY key",
                        (*some, commit, commit),
                    ).fetchall()
                documents += ((int(key), decode_source(values)) for key, *values in rows)
            return documents

        return self._views.read(read)

    @staticmethod
    def _keys(view: View, condition: Condition | None, after: int, limit: int) -> list[int]:
        """The keys of so many documents behind another."""
        snapshot = view.snapshot
        table: Literal["documents", "sources"] = "sources" if snapshot.has_passages else "documents"
        if condition is None:
            pages = view.catalogue.pages(snapshot.commit, "key", table=table, after=after, size=limit)
            return [key for (key,) in next(pages, [])]
        if not snapshot.has_passages:
            keys = (key for (key,) in view.filter.select(snapshot, condition, "key") if key > after)
            return sorted(keys)[:limit]
        wanted = set(_matching(view, condition))
        found = view.catalogue.pages(snapshot.commit, "key, row", table="sources", after=after)
        return list(islice((key for page in found for key, row in page if row in wanted), limit))

    def _stream(self, view: View, condition: Condition | None) -> Iterator[StoredDocument]:
        commit = view.snapshot.commit
        if not view.snapshot.has_passages:
            if condition is None:
                for page in view.catalogue.pages(commit, COLUMNS):
                    yield from (_plain(decode_row(values)) for values in page)
                return
            keys = [key for (key,) in view.filter.select(view.snapshot, condition, "key")]
            for key in keys:
                yield from map(_plain, view.catalogue.fetch(commit, "key", [key]).values())
            return
        if condition is None:
            pages = view.catalogue.pages(commit, SOURCE_COLUMNS, table="sources", size=_WHOLE_AT_ONCE)
            for page in pages:
                yield from map(decode_source, page)
            return
        for row in _matching(view, condition):
            with view.catalogue.reading_at(commit) as connection:
                values = connection.execute(
                    f"SELECT {SOURCE_COLUMNS} FROM sources WHERE row = ?", (row,)
                ).fetchone()
            yield decode_source(values)

    def _heads(self, where: Where | None) -> list[tuple[str, dict[str, Any]]]:
        condition = None if where is None else parse_where(where)

        def read(view: View) -> list[tuple[str, dict[str, Any]]]:
            snapshot = view.snapshot
            if not snapshot.has_passages:
                if condition is not None:
                    rows = view.filter.select(snapshot, condition, "id")
                else:
                    rows = [row for page in view.catalogue.pages(snapshot.commit, "id") for row in page]
                return [(decode_text(id), {}) for (id,) in rows]
            wanted = None if condition is None else set(_matching(view, condition))
            pages = view.catalogue.pages(snapshot.commit, HEAD_COLUMNS, table="sources")
            heads = (decode_source(values, whole=False) for page in pages for values in page)
            return [(one.id, dict(one.facts)) for one in heads if wanted is None or one.row in wanted]

        return self._views.read(read)


def _plain(entry: Entry) -> StoredDocument:
    return StoredDocument(entry.id, entry.text, entry.metadata)


def _entry(document: StoredDocument, passage: StoredPassage) -> Entry:
    id = passage_id(passage.document_id, passage.number)
    return Entry(id, passage.text, document.metadata, passage=passage)


def _matching(view: View, condition: Condition) -> list[int]:
    """The rows of the documents of which passages meet a condition, in order of insertion."""
    rows = [row for (row,) in view.filter.select(view.snapshot, condition, "row")]
    with view.catalogue.reading_at(view.snapshot.commit) as connection:
        return sources_of_rows(connection, rows)
